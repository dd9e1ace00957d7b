#!/bin/sh
# The anomalous substructure by Crank2, for "crank2-unet model prepare": Crank2's default run, and a longer one where that
# finds no correct substructure, are
#
#   --substructure "sh examples/crank2/substructure.sh {data} {sequence} {element} {output} {folder}"
#   --substructure "sh examples/crank2/substructure.sh {data} {sequence} {element} {output} {folder} num_trials::10000"
#
#   substructure.sh DATA SEQUENCE ELEMENT OUTPUT FOLDER [KEYWORD...]
#
# DATA      MTZ file with F, SIGF, F(+), SIGF(+), F(-), SIGF(-) and the wavelength
# OUTPUT    PDB file with the sites; none is written if there is no solution
# FOLDER    for the job
# KEYWORD   parameters of Crank2's substrdet: num_trials::N, high_res_cutoff::A, high_res_cutoff_radius::A, num_atoms::N
#
# The programs are those that Crank2 chooses: SHELXC and SHELXD where they are, else Afro and PRASA.  Set PYTHON (a program)
# and CRANK2_COMMAND (the beginning of a command line, quoted as for the shell) where the defaults, for a CCP4 that is set
# up, are not right.
set -u
: "${PYTHON:=ccp4-python}"
: "${CRANK2_COMMAND:='$PYTHON' '${CCP4:-}/share/ccp4i2/pipelines/crank2/crank2/crank2.py'}"
[ $# -ge 5 ] || { sed -n '2,19s/^# \{0,1\}//p' "$0"; exit 2; }
element=$(echo "$3" | tr '[:lower:]' '[:upper:]') output=$4
# Crank2 does not quote paths, which may have blanks
mkdir -p "$5" && cp "$1" "$5/data.mtz" && cp "$2" "$5/sequence.fasta" && cd "$5" || exit 1
shift 5
cat > substructure.inp <<END
target::SAD
fsigf average f=F sigf=SIGF xname=crystal dname=data file=data.mtz
fsigf plus f=F(+) sigf=SIGF(+) xname=crystal dname=data file=data.mtz
fsigf minus f=F(-) sigf=SIGF(-) xname=crystal dname=data file=data.mtz
model substr atomtype=$element d_name=data xname=crystal
sequence file=sequence.fasta
faest
substrdet $*
END
eval "$CRANK2_COMMAND --keyin substructure.inp --dirout job --xyzout sites.pdb --disable-rvapi" > log 2>&1 < /dev/null
status=$?
cat log
# to find nothing is an answer, not a failure
grep -q "Unsuccessful: " log && exit 0
[ $status = 0 ] && cp sites.pdb "$output"
