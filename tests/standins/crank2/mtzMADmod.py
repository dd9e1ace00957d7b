"""Stand-in for mtzMADmod: mean amplitude and anomalous difference from F(+) and F(-)."""

import numpy as np
from tools import Column, Table, arguments, assignments, keywords

files, lines = arguments(), keywords()
given, wanted = assignments(lines, "LABI"), assignments(lines, "LABO")
table = Table.read(files["HKLIN"])
for n in range(1, 1 + sum(name.startswith("SIGF") for name in wanted)):
    plus, minus = (table.columns[given[f"F{n}({sign})"]] for sign in "+-")
    f = np.array([plus.values, minus.values])
    sigma = np.array([table.columns[given[f"SIGF{n}({sign})"]].values for sign in "+-"])
    number = np.isfinite(f).sum(axis=0)  # 1 where a mate is missing
    with np.errstate(invalid="ignore"):
        total = np.sqrt(np.nansum(sigma**2, axis=0))
        for name, kind, values in (("F", "F", np.nansum(f, axis=0) / number),
                                   ("SIGF", "Q", total / number),
                                   ("D", "D", f[0] - f[1]),
                                   ("SIGD", "Q", np.where(number == 2, total, np.nan))):
            table.columns[wanted[f"{name}{n}"]] = Column(
                kind, plus.crystal, plus.dataset, plus.wavelength, values)
table.write(files["HKLOUT"])
