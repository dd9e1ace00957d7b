"""Stand-in for prasa: it "finds" the sites in STANDIN_SITES, if it may try more than
STANDIN_TRIALS times."""

import os
import shutil

from tools import keywords

given = {words[0]: words[-1] for words in keywords()}
# a solution is refined without trials
enough = int(given.get("ntrials", 10**6)) > int(os.environ.get("STANDIN_TRIALS", 0))
sites = os.environ.get("STANDIN_SITES") if enough else None
cc = 40.0 if sites else 5.0
for trial in range(45, 48):  # Crank2 believes none before
    if sites:
        shutil.copy(sites, f"{given['pdbout']}_{trial}")
        shutil.copy(sites, given["pdbout"])
    print(f"End of trial {trial}, final CC is {cc} , CCrange is {cc}")
