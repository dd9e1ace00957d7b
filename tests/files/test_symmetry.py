"""Reading in all 65 chiral groups and usual settings: rows, asymmetric units, phases, Friedel mates."""

import gemmi
import numpy as np
import pytest
from crystals import random_coefficients

from crank2_unet.crystal.reflections import Reflections
from crank2_unet.files.mtz_input import read_anomalous, read_phased

CELLS = {"triclinic": (21, 25, 29, 80, 85, 95), "monoclinic": (21, 25, 29, 90, 105, 90),
         "orthorhombic": (21, 25, 29, 90, 90, 90), "tetragonal": (24, 24, 29, 90, 90, 90),
         "trigonal": (24, 24, 29, 90, 90, 120), "hexagonal": (24, 24, 29, 90, 90, 120),
         "cubic": (28, 28, 28, 90, 90, 90)}
GROUPS = [group.xhm() for group in gemmi.spacegroup_table()
          if group.is_sohncke() and group.is_reference_setting()]
SETTINGS = ["P 1 1 21", "P 1 1 2", "I 1 2 1", "A 1 2 1", "P 21 21 2 (a)", "P 2 21 21", "P 21 2 21",
            "P 2 2 21", "P 21 2 2", "R 3:R", "R 3 2:R"]
KNOWN = [symbol for symbol in SETTINGS if gemmi.find_spacegroup_by_name(symbol)]


def crystal(symbol):
    group = gemmi.SpaceGroup(symbol)
    cell = CELLS[group.crystal_system_str()]
    if group.ext == "R":
        cell = (24, 24, 24, 83, 83, 83)
    elif symbol.startswith("P 1 1"):
        cell = (21, 25, 29, 90, 90, 105)
    return Reflections(gemmi.UnitCell(*cell), group, 1.8)


def rows(reflections, rng):
    """A symmetry or Friedel mate of each reflection, in the order of a shuffled file.

    Returns
    -------
    hkl of the rows, sign and shift (degrees) with phi(row) = sign * phi + shift, whether each row is
    on the side of the Friedel mate, the reflection of each row.
    """
    operators = list(reflections.spacegroup.operations().sym_ops)
    order = rng.permutation(len(reflections))
    hkl, sign, shift = np.empty((len(order), 3), int), np.empty(len(order)), np.empty(len(order))
    for row, number in enumerate(order):
        op = operators[rng.integers(len(operators))]
        h = reflections.hkl[number]
        # phi(hR) = phi(h) - 2 pi h.t
        hkl[row] = h @ (np.array(op.rot) // op.DEN)
        sign[row], shift[row] = 1, -360.0 * (h @ (np.array(op.tran) / op.DEN))
        if rng.random() < 0.5:
            hkl[row], sign[row], shift[row] = -hkl[row], -1, -shift[row]
    return hkl, sign, shift, order


def write(path, reflections, hkl, columns):
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("test")
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, *(values for _, values in columns.values())]
                                 ).astype(np.float32))
    mtz.write_to_file(str(path))


def test_there_are_65_groups():
    assert len(GROUPS) == 65 and len(KNOWN) >= 9


@pytest.mark.parametrize("symbol", GROUPS + KNOWN)
def test_phases_from_any_asymmetric_unit(symbol, tmp_path):
    """Map, phases and Hendrickson-Lattman coefficients do not depend on the rows' choice."""
    reflections, rng = crystal(symbol), np.random.default_rng(0)
    wanted = random_coefficients(reflections)
    hkl, sign, shift, order = rows(reflections, rng)
    f, phi = np.abs(wanted), np.rad2deg(np.angle(wanted))
    there = sign * phi[order] + shift
    x = 1.5 * np.exp(1j * np.deg2rad(there))
    write(tmp_path / "in.mtz", reflections, hkl, {
        "F": ("F", f[order]), "SIGF": ("Q", 0.1 * f[order]), "FWT": ("F", f[order]),
        "PHWT": ("P", there), "HLA": ("A", x.real), "HLB": ("A", x.imag), "HLC": ("A", 0 * x.real),
        "HLD": ("A", 0 * x.real)})
    got = read_phased(tmp_path / "in.mtz", colin_fc="FWT,PHWT", colin_fo="F,SIGF", need_phases=False)
    assert got.data.reflections.spacegroup.xhm() == reflections.spacegroup.xhm()
    place = got.data.reflections.find(reflections.hkl)
    assert (place >= 0).all()
    assert np.allclose(got.data.coefficients[place], wanted, atol=2e-3 * f.max())
    assert np.allclose(got.data.f[place], f, rtol=1e-4)
    hl = read_phased(tmp_path / "in.mtz", colin_hl="HLA,HLB,HLC,HLD", colin_fo="F,SIGF").data.hl[place]
    chosen = ~reflections.centric
    assert np.allclose((hl[:, 0] + 1j * hl[:, 1])[chosen],
                       (1.5 * np.exp(1j * np.deg2rad(phi)))[chosen], atol=1e-3)


@pytest.mark.parametrize("symbol", GROUPS + KNOWN)
def test_friedel_mates_from_any_asymmetric_unit(symbol, tmp_path):
    """A row at -h holds F(+) of -h, which is F(-) of h."""
    reflections, rng = crystal(symbol), np.random.default_rng(1)
    plus, minus = rng.uniform(50, 100, (2, len(reflections)))
    plus[reflections.centric] = minus[reflections.centric]
    hkl, sign, _, order = rows(reflections, rng)
    first = np.where(sign > 0, plus[order], minus[order])
    second = np.where(sign > 0, minus[order], plus[order])
    write(tmp_path / "in.mtz", reflections, hkl, {
        "F(+)": ("G", first), "SIGF(+)": ("L", 0.01 * first), "F(-)": ("G", second),
        "SIGF(-)": ("L", 0.01 * second)})
    _, got, _ = read_anomalous(tmp_path / "in.mtz")
    place = got.reflections.find(reflections.hkl)
    assert (place >= 0).all()
    assert np.allclose(got.f_plus[place], plus, rtol=1e-4)
    acentric = ~reflections.centric
    assert np.allclose(got.f_minus[place][acentric], minus[acentric], rtol=1e-4)
    assert np.isnan(got.f_minus[place][~acentric]).all()
