#!/bin/sh
# SAD phases by REFMAC5 in Crank2 from sites that are there, for "crank2-unet model prepare":
#
#   --phasing "sh examples/crank2/phase.sh {data} {sites} {sequence} {element} {output} {folder}"
#
#   phase.sh DATA SITES SEQUENCE ELEMENT OUTPUT FOLDER
#
# DATA      MTZ file with F, SIGF, F(+), SIGF(+), F(-), SIGF(-) and the wavelength
# SITES     PDB file, in the right hand
# OUTPUT    MTZ file with Hendrickson-Lattman coefficients
# FOLDER    for the job
#
# Set PYTHON (a program) and CRANK2_COMMAND (the beginning of a command line, quoted as for the shell) where the defaults,
# for a CCP4 that is set up, are not right.
set -u
: "${PYTHON:=ccp4-python}"
: "${CRANK2_COMMAND:='$PYTHON' '${CCP4:-}/share/ccp4i2/pipelines/crank2/crank2/crank2.py'}"
[ $# -eq 6 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
element=$(echo "$4" | tr '[:lower:]' '[:upper:]') output=$5
# Crank2 does not quote paths, which may have blanks
mkdir -p "$6" && cp "$1" "$6/data.mtz" && cp "$2" "$6/sites.pdb" && cp "$3" "$6/sequence.fasta" && cd "$6" || exit 1
cat > phase.inp <<END
target::SAD
fsigf average f=F sigf=SIGF xname=crystal dname=data file=data.mtz
fsigf plus f=F(+) sigf=SIGF(+) xname=crystal dname=data file=data.mtz
fsigf minus f=F(-) sigf=SIGF(-) xname=crystal dname=data file=data.mtz
model substr atomtype=$element d_name=data xname=crystal file=sites.pdb
sequence file=sequence.fasta
phas
END
eval "$CRANK2_COMMAND --keyin phase.inp --dirout job --hklout phases.mtz --disable-rvapi" < /dev/null && cp phases.mtz "$output"
