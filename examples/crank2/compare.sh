#!/bin/sh
# Crank2 with and without the network's masks, everything else equal, on all data sets of a folder.
#
#   compare.sh FOLDER OUT [STEPS]
#
# FOLDER/NAME/crystal.inp  Crank2's keywords of data, sites and sequence of a data set (the lines of
#                          sad_to_building.inp before its steps); names of files count from FOLDER/NAME
# FOLDER/NAME/model.pdb    if there is one, in the origin and hand of the sites: the truth to compare with
# OUT                      folders of the jobs and their logs; jobs that are done there are not run again;
#                          no blanks in its path, which Crank2 does not quote
# STEPS                    file with the steps, one a line; default: phas, dmfull, comb_phdmmb
#
# "without" is Crank2 as CCP4 has it: no option, import hook off.  Set PYTHON (a program) and CRANK2_COMMAND (the
# beginning of a command line, quoted as for the shell) where the defaults, for a CCP4 that is set up, are not right.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PYTHON:=ccp4-python}"
: "${CRANK2_COMMAND:='$PYTHON' '${CCP4:-}/share/ccp4i2/pipelines/crank2/crank2/crank2.py'}"
[ $# -ge 2 ] && [ -d "$1" ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$(cd "$1" && pwd)
mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
steps=$(if [ $# -ge 3 ]; then cat "$3"; else printf 'phas\ndmfull\ncomb_phdmmb\n'; fi) || exit 1

for crystal in "$folder"/*/crystal.inp; do
    [ -f "$crystal" ] || { echo "No crystal.inp in the folders of $folder." >&2; exit 1; }
    name=$(basename "$(dirname "$crystal")")
    mkdir -p "$out/$name"
    for masks in without unet; do
        job=$out/$name/$masks
        [ -f "$job.status" ] && continue
        case $masks in
            without) hook=off option= ;;
            *) hook=on option=dmmask::$masks ;;
        esac
        # Crank2's name for a folder that it has begun would be another one
        rm -rf "$job"
        (cd "$(dirname "$crystal")" && printf '%s\n' "$(cat crystal.inp)" "$option" "$steps" > "$job.inp" &&
            export CRANK2_UNET_HOOK=$hook &&
            eval "$CRANK2_COMMAND"' --keyin "$job.inp" --dirout "$job" --disable-rvapi' > "$job.log" 2>&1 < /dev/null)
        echo $? > "$job.status"
    done
done
exec "$PYTHON" "$here/compare_table.py" "$folder" "$out"
