/*! \file external_mask.h
  An external solvent mask for Parrot's cycles: all of the work behind the options -mskin,
  -mskin-cycles, -mskin-one-is, -mskin-value, -mask-command and -mask-map.

  Copyright (c) 2026 the crank2-unet developers. MIT licence.

  Needs Clipper 2.1 and nothing newer than C++98, as Parrot does. A function that fails has printed
  one line that starts with "ERROR: -mskin" or "ERROR: -mask-command" and returns false; the program
  should then end with status 1 by returning from main, so that CCP4 prints its "Failed". */
#ifndef CRANK2_UNET_EXTERNAL_MASK
#define CRANK2_UNET_EXTERNAL_MASK

#include <clipper/clipper.h>
#include <clipper/clipper-ccp4.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <new>
#include <sstream>
#include <string>
#include <vector>
#ifndef _WIN32
#include <sys/wait.h>
#endif


//! What is wrong, as one line without the name of the option
struct ExternalMaskError {
  explicit ExternalMaskError( const std::string& what ) : text( what ) {}
  std::string text;
};


//! The values of a map file over the whole unit cell
class ExternalMaskFile {
 public:
  //! Read a CCP4 map: any grid, axis order and extent that gives the whole cell by its own symmetry
  /*! \param name The file; bytes or floats.
    \param spacegroup The space group of the data. A file in P1 must hold the whole cell.
    \param cell The cell of the data; that of the file may differ by 1 % and 1 degree. */
  ExternalMaskFile( const std::string& name, const clipper::Spacegroup& spacegroup,
                    const clipper::Cell& cell )
  {
    check_bytes( name );
    clipper::CCP4MAPfile file;
    clipper::NXmap<float> box;
    file.open_read( name );
    const bool p1 = file.spacegroup().num_symops() == 1;
    check_cell( file.cell(), cell );
    if ( !p1 && file.spacegroup().descr().hash() != spacegroup.descr().hash() )
      throw ExternalMaskError( "is in space group " + file.spacegroup().symbol_hm() + ", the data in "
        + spacegroup.symbol_hm() + ". Make it for these data, or as a whole cell in P1." );
    file.import_nxmap( box );
    grid_ = file.grid_sampling();
    fill( box, file.spacegroup() );
    file.close_read();
    const long missing = std::count_if( values_.begin(), values_.end(), is_undefined );
    if ( missing > 0 ) {
      std::ostringstream text;
      text << "covers " << 100.0 * ( 1.0 - double( missing ) / double( values_.size() ) )
           << " % of the unit cell only" << ( p1 ? ": it has no symmetry but P1" : "" )
           << ". Write the whole cell, or the asymmetric unit with the symmetry operators.";
      throw ExternalMaskError( text.str() );
    }
  }

  //! The value at a point, by linear interpolation: it does not overshoot as cubic would
  double interpolate( const clipper::Coord_frac& point ) const
  {
    int lower[3], upper[3];
    double share[3];
    for ( int i = 0; i < 3; i++ ) {
      const int n = grid_[i];
      const double u = ( point[i] - std::floor( point[i] ) ) * n;
      const int k = int( u );
      share[i] = u - k;
      lower[i] = k % n;
      upper[i] = ( k + 1 ) % n;
    }
    double value = 0.0;
    for ( int corner = 0; corner < 8; corner++ ) {
      double weight = 1.0;
      int g[3];
      for ( int i = 0; i < 3; i++ ) {
        const bool up = ( corner >> i ) & 1;
        g[i] = up ? upper[i] : lower[i];
        weight *= up ? share[i] : 1.0 - share[i];
      }
      if ( weight > 0.0 )
        value += weight * values_[ grid_.index( clipper::Coord_grid( g[0], g[1], g[2] ) ) ];
    }
    return value;
  }

  double lowest() const { return *std::min_element( values_.begin(), values_.end() ); }
  double highest() const { return *std::max_element( values_.begin(), values_.end() ); }

  //! Refuse values that differ between symmetry copies of a point; warn if they differ a little
  /*! \param copies The number of copies.
    \param between The mean variance between the copies of a point.
    \param in_map The variance in the map. The correlation of two copies follows from both: 1 for a
      symmetric map, near 0 for one on another origin or of one molecule only; interpolation of a
      coarse binary mask costs a few hundredths. */
  static void check_symmetry( int copies, double between, double in_map )
  {
    if ( copies < 2 || between <= 0.0 ) return;
    const double correlation = 1.0 - between / in_map * copies / ( copies - 1.0 );
    std::ostringstream text;
    text << "does not obey the symmetry of the data: correlation " << correlation
         << " between symmetry copies.";
    if ( correlation < 0.7 )
      throw ExternalMaskError( text.str() + " Is it on another origin, or are molecules missing?" );
    if ( correlation < 0.9 )
      std::cout << "WARNING: -mskin " << text.str() << " Their mean is used." << std::endl;
  }

 private:
  clipper::Grid_sampling grid_;
  std::vector<float> values_;

  static bool is_undefined( float value ) { return !( value - value == 0.0f ); }

  //! Refuse what libccp4 would read wrongly without a word: other modes and files cut short
  static void check_bytes( const std::string& name )
  {
    std::ifstream file( name.c_str(), std::ios::binary );
    if ( !file ) throw ExternalMaskError( "cannot be opened." );
    unsigned char header[1024];
    file.read( reinterpret_cast<char*>( header ), sizeof header );
    if ( !file || std::memcmp( header + 208, "MAP", 3 ) != 0 )
      throw ExternalMaskError( "is not a CCP4 map." );
    // no map has more than 65535 columns, so their number tells the byte order
    const bool little = header[2] == 0 && header[3] == 0;
    const double mode = word( header, 3, little );
    if ( mode != 0.0 && mode != 2.0 ) {
      std::ostringstream text;
      text << "has data mode " << mode << ". Write it as floats (mode 2) or bytes (mode 0).";
      throw ExternalMaskError( text.str() );
    }
    double points = 1.0;
    for ( int i = 0; i < 3; i++ ) points *= word( header, i, little );
    const double symmetry = word( header, 23, little );
    const double expected = sizeof header + symmetry + points * ( mode == 0.0 ? 1 : 4 );
    file.seekg( 0, std::ios::end );
    const double size = double( std::streamoff( file.tellg() ) );
    if ( points < 1.0 || size < expected ) {
      std::ostringstream text;
      text.precision( 12 );
      text << "is cut short: " << size << " of " << expected << " bytes.";
      throw ExternalMaskError( text.str() );
    }
  }

  static double word( const unsigned char* header, int n, bool little )
  {
    double value = 0.0;
    for ( int i = 0; i < 4; i++ ) value = 256.0 * value + header[ 4 * n + ( little ? 3 - i : i ) ];
    return value;
  }

  static void check_cell( const clipper::Cell& file, const clipper::Cell& data )
  {
    const double ratios[] = { file.a() / data.a(), file.b() / data.b(), file.c() / data.c() };
    const double turns[] = { file.alpha() - data.alpha(), file.beta() - data.beta(),
                             file.gamma() - data.gamma() };
    for ( int i = 0; i < 3; i++ )
      if ( !( std::fabs( ratios[i] - 1.0 ) <= 0.01 )
           || !( std::fabs( clipper::Util::rad2d( turns[i] ) ) <= 1.0 ) )
        throw ExternalMaskError( "has the cell " + text_of( file ) + ", the data " + text_of( data )
          + ". Make it for these data." );
  }

  static std::string text_of( const clipper::Cell& cell )
  {
    const clipper::Cell_descr d = cell.descr();
    std::ostringstream text;
    text << std::fixed << std::setprecision( 3 ) << d.a() << " " << d.b() << " " << d.c()
         << std::setprecision( 2 ) << " " << d.alpha_deg() << " " << d.beta_deg() << " "
         << d.gamma_deg();
    return text.str();
  }

  //! Spread the box of the file over the cell; points that it does not reach stay NaN
  void fill( const clipper::NXmap<float>& box, const clipper::Spacegroup& spacegroup )
  {
    const clipper::Coord_map zero = box.coord_map( clipper::Coord_orth( 0.0, 0.0, 0.0 ) );
    const clipper::Coord_grid first( -clipper::Util::intr( zero.u() ), -clipper::Util::intr( zero.v() ),
                                     -clipper::Util::intr( zero.w() ) );
    const bool whole = box.grid().nu() >= grid_.nu() && box.grid().nv() >= grid_.nv()
                       && box.grid().nw() >= grid_.nw();
    // a whole cell is taken as it is: the mean over the symmetry copies comes later
    const int symops = whole ? 1 : spacegroup.num_symops();
    std::vector<clipper::Isymop> ops;
    for ( int s = 0; s < symops; s++ ) {
      check_grid( spacegroup.symop( s ) );
      ops.push_back( clipper::Isymop( spacegroup.symop( s ), grid_ ) );
    }
    values_.assign( grid_.size(), std::numeric_limits<float>::quiet_NaN() );
    double sum = 0.0, squares = 0.0, conflict = 0.0, repeats = 0.0;
    for ( clipper::NXmap_base::Map_reference_index ix = box.first(); !ix.last(); ix.next() ) {
      const float value = box[ix];
      if ( is_undefined( value ) ) throw ExternalMaskError( "holds NaN or infinite values." );
      sum += value;
      squares += double( value ) * value;
      for ( int s = 0; s < symops; s++ ) {
        const clipper::Coord_grid place = ( ix.coord() + first ).transform( ops[s] ).unit( grid_ );
        float& stored = values_[ grid_.index( place ) ];
        if ( !is_undefined( stored ) ) {
          conflict += 0.5 * ( value - stored ) * ( value - stored );
          repeats += 1.0;
        }
        stored = value;
      }
    }
    const double n = box.grid().size();
    check_symmetry( 2, conflict / std::max( repeats, 1.0 ), squares / n - ( sum / n ) * ( sum / n ) );
  }

  void check_grid( const clipper::Symop& op ) const
  {
    for ( int i = 0; i < 3; i++ ) {
      bool fits = is_whole( op.trn()[i] * grid_[i] );
      for ( int j = 0; j < 3; j++ ) fits = fits && is_whole( op.rot()( i, j ) * grid_[i] / grid_[j] );
      if ( !fits ) throw ExternalMaskError( "has a grid of " + grid_.format()
        + " that does not fit the operator " + op.format() + ". Write the whole cell." );
    }
  }

  static bool is_whole( double value ) { return std::fabs( value - std::floor( value + 0.5 ) ) < 1e-3; }
};


//! The options and what they do in a cycle of Parrot
class ExternalMask {
 public:
  typedef clipper::Xmap<float> Map;
  typedef clipper::Xmap_base::Map_reference_index MRI;

  ExternalMask() : first_only_( false ), one_is_protein_( false ), value_( "soft" ) {}

  //! Text for the usage of the program; whoever looks for "-mskin" there knows that this is in
  static const char* usage()
  {
    return "External solvent mask:\n"
           "\t-mskin <filename>\t\tCCP4 map used in place of the program's own mask\n"
           "\t-mskin-cycles first|all\t\tdefault: all\n"
           "\t-mskin-one-is solvent|protein\tdefault: solvent\n"
           "\t-mskin-value soft|mask|prob\tdefault: soft, values 0..1 are region weights;\n"
           "\t\tmask: cut at 0.5; prob: cut at the solvent content\n"
           "\t-mask-command <command>\t\trun as: command MAP MASK CYCLE before each of these cycles;\n"
           "\t\tmust write the file of -mskin anew\n"
           "\t-mask-map <filename>\t\tMAP; default: the name of -mtzout with -current.map\n";
  }

  static bool is_option( const std::string& key )
  {
    return key == "-mskin" || key == "-mskin-cycles" || key == "-mskin-one-is" || key == "-mskin-value"
        || key == "-mask-command" || key == "-mask-map";
  }

  //! Take the value that follows an option; `arg` is its place in `args` and is moved on
  bool set_option( const std::vector<std::string>& args, int& arg )
  {
    const std::string key = args[arg];
    const bool given = arg + 1 < int( args.size() ) && !args[arg+1].empty() && args[arg+1][0] != '-';
    if ( !given ) return fail( key, "needs a value." );
    const std::string value = args[++arg];
    given_ = key;
    if ( key == "-mskin" ) file_ = value;
    else if ( key == "-mask-command" ) command_ = value;
    else if ( key == "-mask-map" ) map_ = value;
    else if ( key == "-mskin-cycles" ) first_only_ = value == "first";
    else if ( key == "-mskin-one-is" ) one_is_protein_ = value == "protein";
    else value_ = value;
    const std::string choices = key == "-mskin-cycles" ? " first all"
                              : key == "-mskin-one-is" ? " solvent protein"
                              : key == "-mskin-value" ? " soft mask prob" : "";
    const bool known = ( choices + " " ).find( " " + value + " " ) != std::string::npos;
    if ( choices.empty() || known ) return true;
    return fail( key, "is \"" + value + "\", but must be one of:" + choices );
  }

  //! Check the options against each other once all are known
  /*! \param mtzout The output file of the program: it names the map for the command. */
  bool check_options( const std::string& mtzout )
  {
    if ( !given_.empty() && file_.empty() )
      return fail( "-mskin", "is missing, but " + given_ + " is given." );
    if ( !command_.empty() && map_.empty() ) {
      const std::string::size_type n = mtzout.size();
      const bool suffix = n > 4 && mtzout.compare( n - 4, 4, ".mtz" ) == 0;
      map_ = mtzout.substr( 0, suffix ? n - 4 : n ) + "-current.map";
    }
    if ( command_.empty() && !map_.empty() )
      return fail( "-mask-command", "is missing, but -mask-map is given." );
    if ( !file_.empty() && file_ == map_ )
      return fail( "-mask-command", "cannot use " + file_ + " as -mskin and as -mask-map." );
    return true;
  }

  //! Read the mask unless a command makes it, so that a bad file ends the run before it starts
  /*! \param like Any map of the data: gives space group, cell and grid.
    \param solvent_content Is set from the mask if it is not known, that is 0. */
  bool prepare( const Map& like, double& solvent_content )
  {
    if ( file_.empty() ) return true;
    if ( value_ == "prob" && solvent_content <= 0.0 )
      return fail( "-mskin-value", "prob needs -solvent-content, -seqin or -pdbin." );
    return !command_.empty() || read( like, solvent_content );
  }

  //! Replace the program's own masks in this cycle, if there is an external one for it
  /*! \param cycle Counted from 0.
    \param own_is_new True if the program makes its own mask anew in each cycle; otherwise the
      first one is kept here, to be compared with and for cycles without the external mask.
    \param map The map that the cycle starts from.
    \param protein, solvent The program's masks; replaced by weights that add up to 1.
    \param solvent_content Is set from the mask if it is not known, that is 0. */
  bool apply( int cycle, bool own_is_new, const Map& map, Map& protein, Map& solvent,
              double& solvent_content )
  {
    if ( file_.empty() ) return true;
    if ( cycle == 0 || own_is_new ) own_ = protein;
    const bool active = cycle == 0 || !first_only_;
    if ( active && !command_.empty() && !( run_command( map, cycle ) && read( map, solvent_content ) ) )
      return false;
    const Map& used = active ? weights_ : own_;
    for ( MRI ix = protein.first(); !ix.last(); ix.next() ) {
      protein[ix] = used[ix];
      solvent[ix] = 1.0f - used[ix];
    }
    if ( active ) report( cycle );
    return true;
  }

 private:
  std::string file_, command_, map_, given_;
  bool first_only_, one_is_protein_;
  std::string value_;
  Map weights_;               // protein weight from the file
  Map own_;                   // the program's own protein mask
  std::ostringstream about_;  // lines of the log on the file that was read last

  static bool fail( const std::string& option, const std::string& what )
  {
    std::cout << std::endl << "ERROR: " << option << " " << what << std::endl;
    return false;
  }

  bool read( const Map& like, double& solvent_content )
  {
    try {
      const ExternalMaskFile file( file_, like.spacegroup(), like.cell() );
      about_.str( "" );
      about_ << "  values " << file.lowest() << " to " << file.highest() << ", 1 is "
             << ( one_is_protein_ ? "protein" : "solvent" );
      resample( file, like );
      make_weights( solvent_content );
      return true;
    } catch ( const ExternalMaskError& error ) {
      return fail( "-mskin", file_ + " " + error.text );
    } catch ( const clipper::Message_fatal& error ) {
      return fail( "-mskin", file_ + " cannot be read: " + error.text() );
    } catch ( const std::bad_alloc& ) {
      return fail( "-mskin", file_ + " does not fit in the memory." );
    }
  }

  //! Solvent value of the file at the points of the data: mean over all symmetry copies
  /*! The mean is what makes a map in P1 symmetric, and in hexagonal cells also the interpolation. */
  void resample( const ExternalMaskFile& file, const Map& like )
  {
    weights_.init( like.spacegroup(), like.cell(), like.grid_sampling() );
    const int symops = like.spacegroup().num_symops();
    double sum = 0.0, squares = 0.0, between = 0.0, n = 0.0;
    for ( MRI ix = weights_.first(); !ix.last(); ix.next() ) {
      const clipper::Coord_frac point = ix.coord().coord_frac( like.grid_sampling() );
      double s = 0.0, q = 0.0;
      for ( int i = 0; i < symops; i++ ) {
        const double value = file.interpolate( point.transform( like.spacegroup().symop( i ) ) );
        s += value / symops;
        q += value * value / symops;
      }
      weights_[ix] = one_is_protein_ ? 1.0 - s : s;
      sum += s;
      squares += q;
      between += q - s * s;
      n += 1.0;
    }
    ExternalMaskFile::check_symmetry( symops, between / n, squares / n - ( sum / n ) * ( sum / n ) );
  }

  //! Turn solvent values into protein weights
  void make_weights( double& solvent_content )
  {
    if ( value_ == "soft" ) {
      clip();
      about_ << ", used as weights" << std::endl;
    } else {
      const float cutoff = value_ == "prob" ? quantile( solvent_content ) : 0.5f;
      for ( MRI ix = weights_.first(); !ix.last(); ix.next() )
        weights_[ix] = weights_[ix] > cutoff ? 0.0f : 1.0f;
      about_ << ", cut at " << ( one_is_protein_ ? 1.0f - cutoff : cutoff ) << std::endl;
    }
    double protein = 0.0, n = 0.0;
    for ( MRI ix = weights_.first(); !ix.last(); ix.next(), n += 1.0 ) protein += weights_[ix];
    protein /= n;
    about_ << "  protein " << protein << ", solvent " << 1.0 - protein;
    if ( protein < 0.005 || protein > 0.995 )
      throw ExternalMaskError( "leaves one region only (" + about_.str().substr( 2 )
        + "). Is it a mask, and does -mskin-one-is fit it?" );
    if ( solvent_content > 0.0 ) {
      about_ << " (solvent content " << solvent_content << ")" << std::endl;
      if ( value_ == "prob" && std::fabs( 1.0 - protein - solvent_content ) > 0.01 )
        about_ << "  WARNING: many points share one value, so that the cut misses the solvent content"
               << std::endl;
    } else {
      solvent_content = 1.0 - protein;
      about_ << std::endl << "  Solvent content from the mask: " << solvent_content << std::endl;
    }
  }

  void clip()
  {
    for ( MRI ix = weights_.first(); !ix.last(); ix.next() ) {
      const float value = weights_[ix];
      // a slight overshoot comes from smoothing; more is no weight but density, logits or percent
      if ( value < -0.5f || value > 1.5f ) {
        std::ostringstream text;
        text << "holds values such as " << ( one_is_protein_ ? 1.0f - value : value )
             << ", which are no weights in 0..1. Give -mskin-value prob or mask to cut them.";
        throw ExternalMaskError( text.str() );
      }
      weights_[ix] = 1.0f - std::min( std::max( value, 0.0f ), 1.0f );
    }
  }

  //! The value that the wanted share of the points exceeds, as nearly as equal values allow
  float quantile( double share ) const
  {
    std::vector<float> values;
    for ( MRI ix = weights_.first(); !ix.last(); ix.next() ) values.push_back( weights_[ix] );
    std::sort( values.begin(), values.end() );
    const int n = values.size();
    const int wanted = std::min( std::max( int( ( 1.0 - share ) * n + 0.5 ), 1 ), n );
    const float value = values[ wanted - 1 ];
    // cut above or below all the points that share this value
    const int below = std::lower_bound( values.begin(), values.end(), value ) - values.begin();
    const int up_to = std::upper_bound( values.begin(), values.end(), value ) - values.begin();
    return below > 0 && wanted - below < up_to - wanted ? values[ below - 1 ] : value;
  }

  //! Let the command make the mask from the current map
  bool run_command( const Map& map, int cycle ) const
  {
    const std::string kept = file_ + ".previous";
    try {
      clipper::CCP4MAPfile file;
      file.open_write( map_ );
      file.export_xmap( map );
      file.close_write();
    } catch ( const clipper::Message_fatal& error ) {
      return fail( "-mask-command", "is not run: " + map_ + " cannot be written: " + error.text() );
    }
    // moved away, so that a file under the name of the mask can only be a new one
    if ( std::ifstream( file_.c_str() ) ) {
      std::remove( kept.c_str() );
      if ( std::rename( file_.c_str(), kept.c_str() ) != 0 )
        return fail( "-mask-command", "is not run: " + file_ + " cannot be renamed to " + kept + "." );
    }
    std::ostringstream line;
    line << command_ << " " << quote( map_ ) << " " << quote( file_ ) << " " << cycle + 1;
    std::cout << "Mask command: " << line.str() << std::endl;
    std::fflush( stdout );
    const int status = std::system( line.str().c_str() );
    if ( status != 0 )
      return fail( "-mask-command", "failed with " + text_of( status ) + ": " + line.str() );
    if ( !std::ifstream( file_.c_str() ) )
      return fail( "-mask-command", "ended without writing " + file_ + " anew: " + line.str() );
    return true;
  }

  static std::string text_of( int status )
  {
    std::ostringstream text;
#ifndef _WIN32
    if ( WIFSIGNALED( status ) ) {
      text << "signal " << WTERMSIG( status );
      return text.str();
    }
    if ( WIFEXITED( status ) ) status = WEXITSTATUS( status );
#endif
    text << "status " << status;
    return text.str();
  }

  static std::string quote( const std::string& name )
  {
#ifdef _WIN32
    return "\"" + name + "\"";
#else
    std::string quoted = "'";
    for ( std::string::size_type i = 0; i < name.size(); i++ )
      quoted += name[i] == '\'' ? std::string( "'\\''" ) : std::string( 1, name[i] );
    return quoted + "'";
#endif
  }

  void report( int cycle ) const
  {
    double n = 0.0, same = 0.0, s1 = 0.0, s2 = 0.0, s11 = 0.0, s22 = 0.0, s12 = 0.0;
    for ( MRI ix = weights_.first(); !ix.last(); ix.next() ) {
      const double ours = weights_[ix], own = own_[ix];
      n += 1.0;
      same += ( ours > 0.5 ) == ( own > 0.5 ) ? 1.0 : 0.0;
      s1 += ours; s11 += ours * ours;
      s2 += own; s22 += own * own; s12 += ours * own;
    }
    const double spread = ( n * s11 - s1 * s1 ) * ( n * s22 - s2 * s2 );
    std::cout << "External solvent mask in cycle " << cycle + 1 << ": " << file_ << std::endl
              << about_.str()
              << "  agreement with the program's own mask: " << same / n << " of the points";
    if ( spread > 0.0 ) std::cout << ", correlation " << ( n * s12 - s1 * s2 ) / std::sqrt( spread );
    std::cout << std::endl << std::endl;
  }
};

#endif
