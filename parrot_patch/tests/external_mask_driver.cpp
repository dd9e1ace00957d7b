/* Uses external_mask.h as Parrot does, without Parrot: for the tests.
   Usage: external_mask_driver MAP PROTEIN_OUT SOLVENT_CONTENT CYCLES OWN_IS_NEW options...
   MAP takes the part of the map that a cycle starts from, and the program's own mask is MAP > 0;
   after the last cycle the protein weights are written as a map. */
#include "external_mask.h"

int main( int argc, char** argv )
{
  CCP4CommandInput args( argc, argv );
  int arg = 5;
  if ( int( args.size() ) <= arg ) {
    std::cout << ExternalMask::usage();
    return 1;
  }
  clipper::Xmap<float> map;
  clipper::CCP4MAPfile file;
  file.open_read( args[1] );
  file.import_xmap( map );
  file.close_read();
  double solvent_content = clipper::String( args[3] ).f64();
  const int cycles = clipper::String( args[4] ).i();
  const bool own_is_new = args[5] == "1";

  ExternalMask mask;
  while ( ++arg < int( args.size() ) ) {
    if ( !ExternalMask::is_option( args[arg] ) ) {
      std::cout << "unknown: " << args[arg] << std::endl;
      return 2;
    }
    if ( !mask.set_option( args, arg ) ) return 1;
  }
  clipper::Xmap<float> protein( map ), solvent( map );
  if ( !mask.check_options( "out dir/parrot.mtz" ) ) return 1;
  if ( !mask.prepare( map, solvent_content ) ) return 1;
  for ( int cycle = 0; cycle < cycles; cycle++ ) {
    if ( cycle == 0 || own_is_new )
      for ( ExternalMask::MRI ix = map.first(); !ix.last(); ix.next() ) {
        protein[ix] = map[ix] > 0.0f ? 1.0f : 0.0f;
        solvent[ix] = 1.0f - protein[ix];
      }
    if ( !mask.apply( cycle, own_is_new, map, protein, solvent, solvent_content ) ) return 1;
    for ( ExternalMask::MRI ix = map.first(); !ix.last(); ix.next() )
      if ( std::fabs( protein[ix] + solvent[ix] - 1.0f ) > 1e-6f ) return 3;
  }
  std::cout << "solvent content at the end: " << solvent_content << std::endl;
  file.open_write( args[2] );
  file.export_xmap( protein );
  file.close_write();
  return 0;
}
