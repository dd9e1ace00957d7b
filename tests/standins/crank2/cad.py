"""Stand-in for cad: merges columns of several files, renames them and their data sets."""

import numpy as np
from tools import Table, arguments, keywords

files, lines, merged = arguments(), keywords(), None
for number in range(1, 99):
    if f"HKLIN{number}" not in files:
        break
    mine = {line[0].upper(): dict(word.split("=", 1) for word in line[3:]) for line in lines
            if line[0].upper() in ("LABI", "LABO", "XNAM", "DNAM") and line[2] == str(number)}
    source = Table.read(files[f"HKLIN{number}"], list(mine["LABI"].values()))
    part = Table(source.cell, source.spacegroup, source.hkl)
    for e, label in mine["LABI"].items():
        column = source.columns[label]
        column.crystal = mine.get("XNAM", {}).get(e, column.crystal)
        column.dataset = mine.get("DNAM", {}).get(e, column.dataset)
        part.columns[mine["LABO"][e]] = column
    if merged is None:
        merged = part
    else:
        merged.join(part)
keep = np.ones(len(merged.hkl), bool)
if any(line[0].upper() == "VALM" for line in lines):
    keep = np.any([np.isfinite(c.values) for c in merged.columns.values()], axis=0)
merged.write(files["HKLOUT"], keep)
