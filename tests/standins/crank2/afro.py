"""Stand-in for afro: anomalous differences and their E values, over the shells of a loggraph."""

import sys

import numpy as np
from tools import Column, Table, arguments, assignments, keywords

if "-i" in sys.argv:
    sys.exit(print(" Program: afro; version 1.0 (stand-in)"))
files, lines = arguments(), keywords()
columns, out = assignments(lines, "COLU"), assignments(lines, "LABO")
table = Table.read(files["HKLIN"])
plus, minus = (table.columns[columns[name]] for name in ("F+", "F-"))
sigma = np.hypot(*(table.columns[columns[name]].values for name in ("SF+", "SF-")))
dano = np.abs(plus.values - minus.values)
seen = np.isfinite(dano) & (dano > 0)
scale = np.sqrt(np.mean(dano[seen] ** 2))
for name, kind, values in (("FA", "F", dano), ("SGFA", "Q", sigma), ("EA", "R", dano / scale),
                           ("SGEA", "Q", sigma / scale)):
    table.columns[out[name]] = Column(kind, plus.crystal, plus.dataset, plus.wavelength,
                                      np.where(seen, values, np.nan))
table.write(files["HKLOUT"])
print(" afro; version 1.0 (stand-in)")
d = np.sort(table.d()[seen])[::-1]
# Crank2 looks for each column below a head of its own
for head, between in (
        (" Bin  LoRes  HiRes    Res   STOL2    Refls     F/SigmaF   AnoRefls    Dano/SigDano $$",
         "0.01 100 20.0 100"),
        (" IsoRefls   Diso/SigDiso   AnoRefls    Dano/SigDano $$", "0.01 100 100")):
    print(head + "\n$$")
    for number, shell in enumerate(np.array_split(d, 5), 1):
        inside = seen & (table.d() <= shell[0]) & (table.d() >= shell[-1])
        print(f" {number} {shell[0]:.2f} {shell[-1]:.2f}  {shell.mean():.2f} {between} "
              f"{np.mean(dano[inside] / sigma[inside]):.2f}")
    print("$$")
