"""A stand-in for Parrot with its command line and its log, to test what drives it.  It is NOT Parrot:
all it does to the map is to flatten what it takes as solvent.

Masks are found as Parrot finds them, written anew here: the local standard deviation of a map within
a sphere, cut by a histogram of 200 bins; or, if STAND_IN_PATCHED is set, read from a file.
Variables in the environment make it fail: see ``main``.
"""

import os
import subprocess
import sys
import time

import gemmi
import numpy as np

OPERATOR = "10,20,-30,1.5,2,3,4,5,6.25"


def local_deviation_mask(grid, radius, solvent_content):
    """1 = solvent, of a gemmi.FloatGrid over the cell."""
    axes = [np.fft.fftfreq(n) for n in grid.shape]  # fractional, -0.5 to 0.5
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = np.linalg.norm(points @ np.array(grid.unit_cell.orth.mat.tolist()).T, axis=-1)
    sphere = np.fft.fftn((distance <= radius) / np.sum(distance <= radius))
    mean, square = (np.fft.ifftn(np.fft.fftn(grid.array**power) * sphere).real for power in (1, 2))
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    counts, edges = np.histogram(deviation, 200)
    cumulative = np.append(0, np.cumsum(counts)) / counts.sum()
    return (deviation <= np.interp(solvent_content, cumulative, edges)).astype(np.float32)


def density(mtz, labels, d_min):
    amplitude, phase = labels.rsplit("/", 1)[-1].strip("[]").split(",")
    size = mtz.get_size_for_hkl(sample_rate=3.0)
    f, phi = (np.nan_to_num(mtz.column_with_label(label).array) for label in (amplitude, phase))
    f = np.where(mtz.make_d_array() < d_min - 1e-4, 0, f)
    asu = gemmi.ComplexAsuData(mtz.cell, mtz.spacegroup, mtz.make_miller_array(),
                               (f * np.exp(1j * np.deg2rad(phi))).astype(np.complex64))
    return asu.transform_f_phi_to_map(exact_size=size)


def read_mask(path, grid):
    ccp4 = gemmi.read_ccp4_map(path, setup=True)
    if ccp4.grid.shape == grid.shape:
        return ccp4.grid.array
    values = np.empty(grid.shape, np.float32)
    transform = gemmi.Transform()
    transform.mat.fromlist((np.array(grid.unit_cell.orth.mat.tolist()) / grid.shape).tolist())
    ccp4.grid.interpolate_values(values, transform, order=1)
    return values


def solvent_mask(options, grid, mtz, cycle, d_min):
    content = float(options["-solvent-content"])
    if "-mskin" in options:
        if "-mask-command" in options:
            ccp4 = gemmi.Ccp4Map()
            ccp4.grid = grid
            ccp4.update_ccp4_header()
            ccp4.write_ccp4_map(options["-mask-map"])
            command = f"{options['-mask-command']} {options['-mask-map']} {options['-mskin']} {cycle}"
            if subprocess.call(command, shell=True):
                print(f"ERROR: -mask-command failed: {command}")
                sys.exit(1)
        return read_mask(options["-mskin"], grid)
    if "-colin-fmsk" in options and cycle == 1:
        grid = density(mtz, options["-colin-fmsk"], d_min)
    return local_deviation_mask(grid, float(options.get("-solvent-mask-filter-radius", 3)), content)


def main(words):
    """STAND_IN_FAILS: "status", "silent" (no output, status 0), "sleep" or "reference" (2.9 A)."""
    fails = os.environ.get("STAND_IN_FAILS", "")
    print(" ### CCP4 9.9: cparrot                version 9.9.9 : 01/01/99##")
    patched = os.environ.get("STAND_IN_PATCHED")
    if not words:
        print("Usage: cparrot\n\t-mtzin <filename>" + ("\n\t-mskin <filename>" if patched else ""))
        return 1
    options = {}
    while words:
        word = words.pop(0)
        flag = word in ("-anisotropy-correction", "-ncs-average")
        options[word] = None if flag else words.pop(0)
    if "-mskin" in options and not patched:
        print("Unrecognized:\t-mskin")
        return 1
    mtz = gemmi.read_mtz_file(options["-mtzin"])
    d_min = mtz.resolution_high()
    if fails == "reference":
        d_min = 2.9
        print(f"WARNING: resolution of work structure truncated to reference:\n Ref: {d_min} Wrk: "
              f"{mtz.resolution_high()}")
    if fails == "status":
        print("No reference data <b>at all</b>\n\n")
        return 3
    grid = density(mtz, options["-colin-fc"], d_min)
    for cycle in range(1, int(options["-cycles"]) + 1):
        print(f"-- Cycle: {cycle} ----", flush=True)
        if fails == "sleep":
            time.sleep(60)
        print("Suggested radius for solvent mask determination: 3.0")
        solvent = solvent_mask(options, grid, mtz, cycle, d_min)
        grid.array[...] *= 1 - solvent
        print(f"Gamma {1 + cycle / 10}")
    if fails == "silent":
        return 0
    write_output(options, mtz, grid, d_min)
    rows = "\n".join(f"    {cycle}     0.{300 + cycle}         0.7{cycle}           0.000"
                     for cycle in range(int(options["-cycles"]) + 1))
    print("$TABLE :Reflection statistics:\n$GRAPHS :Reflection statistics:N:1,2,3,4: $$\n"
          f" Cycle   FOM     Fcorrel(work)   Fcorrel(free)$$\n$$\n{rows}\n$$\n")
    if "-pdbin-ha" in options or "-ncs-operator" in options:
        print(f"Non-crystallographic operators:\n -ncs-operator {OPERATOR}\n")
    print("cparrot: Normal termination")
    return 0


def write_output(options, mtz, grid, d_min):
    """Map coefficients of the flattened map; Hendrickson-Lattman coefficients doubled."""
    found = gemmi.transform_map_to_f_phi(grid, half_l=True)
    coefficients = found.get_value_by_hkl(mtz.make_miller_array())
    labels = options["-colin-hl"].rsplit("/", 1)[-1].strip("[]").split(",")
    new = [(f"parrot.ABCD.{letter}", "A", 2 * mtz.column_with_label(label).array.copy())
           for letter, label in zip("ABCD", labels)]
    new += [("parrot.F_phi.F", "F", np.abs(coefficients)),
            ("parrot.F_phi.phi", "P", np.rad2deg(np.angle(coefficients)))]
    beyond = mtz.make_d_array() < d_min - 1e-4
    table = [mtz.array.copy()]  # a view, which new columns invalidate
    for label, kind, values in new:
        mtz.add_column(label, kind)
        table.append(np.where(beyond, np.nan, values)[:, None])
    mtz.set_data(np.hstack(table).astype(np.float32))
    mtz.write_to_file(options["-mtzout"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
