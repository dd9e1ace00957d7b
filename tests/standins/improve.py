"""A stand-in for a program that improves phases, to test what compares such: it knows the truth.

    improve.py INPUT.mtz OUTPUT.mtz TRUTH.mtz ERROR [shift|invert]

Writes phases with an error of ERROR degrees to the input's columns, on another origin or in the other
hand if asked.
"""

import sys

import gemmi
import numpy as np

given, output, truth = (gemmi.read_mtz_file(path) if path.endswith(".mtz") and number != 1 else path
                        for number, path in enumerate(sys.argv[1:4]))
error, *how = sys.argv[4:]
if float(error) < 0:
    print("The input is not to my taste.")
    sys.exit(3)
lookup = {tuple(hkl): phi for hkl, phi in zip(truth.make_miller_array(),
                                              truth.column_with_label("PHI").array)}
hkl = given.make_miller_array()
phi = np.array([lookup[tuple(h)] for h in hkl])
phi += float(error) * np.where(np.arange(len(phi)) % 2, 1, -1)
if "shift" in how:
    phi += 180.0 * hkl[:, 0]  # by half of a
if "invert" in how:
    phi = -phi
fom = np.full(len(phi), np.cos(np.deg2rad(float(error))))
f = np.nan_to_num(given.column_with_label("F").array)
columns = {"PHIX": ("P", phi), "FOMX": ("W", fom), "FWT": ("F", f * fom), "PHWT": ("P", phi)}
for label, (kind, _) in columns.items():
    given.add_column(label, kind)
given.set_data(np.column_stack([given.array[:, :-4], *(v for _, v in columns.values())])
               .astype(np.float32))
given.write_to_file(output)
print("Cycle 1  R-free = 0.412\nFinal    R-work = 0.25 R-free = 0.298\nDone in 0.5 s")
