#!/bin/sh
# A model built by Crank2 into phases that are there, and its R-free, for "crank2-unet model validate":
#
#   crank2-unet model validate SAD --building "sh examples/crank2/build.sh {data} {sequence} {folder}" -o out
#
#   build.sh DATA SEQUENCE FOLDER
#
# DATA      MTZ file with F, SIGF and HLA to HLD; its free reflections are chosen by Crank2
# FOLDER    for the job
#
# Buccaneer and REFMAC5 build and refine in turn.  Set PYTHON (a program) and CRANK2_COMMAND (the beginning of a command
# line, quoted as for the shell) where the defaults, for a CCP4 that is set up, are not right.
set -u
: "${PYTHON:=ccp4-python}"
: "${CRANK2_COMMAND:='$PYTHON' '${CCP4:-}/share/ccp4i2/pipelines/crank2/crank2/crank2.py'}"
[ $# -eq 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
# Crank2 does not quote paths, which may have blanks
mkdir -p "$3" && cp "$1" "$3/phases.mtz" && cp "$2" "$3/sequence.fasta" && cd "$3" || exit 1
cat > build.inp <<END
target::MLHL
fsigf average f=F sigf=SIGF xname=crystal dname=data file=phases.mtz
mapcoef best hla=HLA hlb=HLB hlc=HLC hld=HLD xname=crystal dname=data file=phases.mtz
sequence file=sequence.fasta
createfree
mbref bigcyc::10
END
eval "exec $CRANK2_COMMAND --keyin build.inp --dirout job --disable-rvapi"
