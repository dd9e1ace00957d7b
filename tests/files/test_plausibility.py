"""Numbers that cannot be what their columns say are refused, unlikely ones are said."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.grids import density_map, like
from crank2_unet.crystal.masks import deviation_ratio
from crank2_unet.errors import InputError
from crank2_unet.files.maps import read_mask, write_map
from crank2_unet.files.mtz_input import read_anomalous, read_phased
from crank2_unet.files.plausibility import intensity_ratio

TYPES = {"F": "F", "SIGF": "Q", "PHIB": "P", "FOM": "W", "FWT": "F", "PHWT": "P"}
MATES = ("F(+)", "SIGF(+)", "F(-)", "SIGF(-)")


@pytest.fixture
def columns():
    """Reflections of a crystal and columns of it, to be spoilt."""
    reflections = crystal("P 43 21 2", 4.0)
    true = random_coefficients(reflections)
    f, phi = np.abs(true), np.rad2deg(np.angle(true)) % 360
    return reflections, {"F": f, "SIGF": 0.1 * f, "PHIB": phi, "FOM": np.full(len(f), 0.7)}


def write(path, reflections, columns, hkl=None, cell=None):
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(cell or reflections.cell)
    mtz.add_dataset("d")
    for label in columns:
        mtz.add_column(label, TYPES.get(label) or ("L" if "SIG" in label else "G"))
    hkl = reflections.hkl if hkl is None else hkl
    mtz.set_data(np.column_stack([hkl, *columns.values()]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


@pytest.mark.parametrize("label, change, said", [
    ("FOM", lambda x: 100 * x, "lie between 0 and 70.*per cent"),
    ("FOM", lambda x: -x, "must be from 0 to 1"),
    ("PHIB", lambda x: np.deg2rad(x), "radians"),
    ("PHIB", lambda x: np.deg2rad((x + 180) % 360 - 180), "radians"),
    ("F", lambda x: np.where(np.arange(len(x)) == 7, np.inf, x), "1 infinite values in the column F"),
    ("SIGF", lambda x: np.where(np.arange(len(x)) < 3, -np.inf, x),
     "3 infinite values in the column SIGF"),
])
def test_what_cannot_be_is_refused(label, change, said, columns, tmp_path):
    reflections, values = columns
    values[label] = change(values[label])
    with pytest.raises(InputError, match=said):
        read_phased(write(tmp_path / "a.mtz", reflections, values))


def test_rounding_is_no_reason(columns, tmp_path):
    reflections, values = columns
    values["FOM"][0] = 1.0004
    read_phased(write(tmp_path / "a.mtz", reflections, values))


def test_calculated_phases_are_said(columns, tmp_path, caplog):
    reflections, values = columns
    values["FOM"][:] = 1
    read_phased(write(tmp_path / "a.mtz", reflections, values))
    assert "1 everywhere, as of calculated phases" in caplog.text


@pytest.mark.parametrize("what", ["amplitudes", "phases"])
def test_a_map_of_equal_coefficients_is_refused(what, columns, tmp_path):
    reflections, values = columns
    f, phi = values["F"], values["PHIB"]
    values |= ({"FWT": f, "PHWT": 0 * phi} if what == "phases" else {"FWT": 0 * f + 1, "PHWT": phi})
    with pytest.raises(InputError, match=f"all {what}.*no structure"):
        read_phased(write(tmp_path / "a.mtz", reflections, values), need_phases=False)


def test_indices_are_integers(columns, tmp_path):
    reflections, values = columns
    with pytest.raises(InputError, match="no integers"):
        read_phased(write(tmp_path / "a.mtz", reflections, values, hkl=reflections.hkl * 1.1))


def test_one_reflection_does_not_set_the_resolution(columns, tmp_path):
    reflections, values = columns
    hkl = reflections.hkl.copy()
    hkl[5] = 300, 0, 0
    with pytest.raises(InputError, match=r"\(300, 0, 0\) at 0.19 A lies far from.*about 4.0. A"):
        read_phased(write(tmp_path / "a.mtz", reflections, values, hkl=hkl))


@pytest.mark.parametrize("change, refused", [(1.05, True), (1.004, False), (1.0005, None)])
def test_the_cell_has_the_symmetry_of_the_lattice(change, refused, columns, tmp_path, caplog):
    reflections, values = columns
    a, b, *rest = reflections.cell.parameters
    path = write(tmp_path / "a.mtz", reflections, values, cell=gemmi.UnitCell(a, b * change, *rest))
    if refused:
        with pytest.raises(InputError, match="symmetry of the space group P 43 21 2"):
            read_phased(path)
        return
    read_phased(path)
    assert ("symmetry of the space group" in caplog.text) == (refused is False)


def mates(reflections, f, signal, seed=3):
    rng = np.random.default_rng(seed)
    sigma = np.full(len(f), 0.3)
    difference = np.where(reflections.centric, 0, signal * rng.standard_normal(len(f)))
    noise = sigma * rng.standard_normal((2, len(f)))
    plus, minus = f + 5 + difference + noise[0], f + 5 - difference + noise[1]
    return dict(zip(MATES, (plus, sigma, minus, sigma)))


def test_mates_without_a_difference(columns, tmp_path, caplog):
    reflections, values = columns
    f = values["F"]
    merged = dict(zip(MATES, (f, 0.1 * f, f, 0.1 * f)))
    with pytest.raises(InputError, match="Friedel mates were merged"):
        read_anomalous(write(tmp_path / "a.mtz", reflections, merged))
    read_anomalous(write(tmp_path / "b.mtz", reflections, mates(reflections, f, 1.0)))
    assert not caplog.text
    read_anomalous(write(tmp_path / "c.mtz", reflections, mates(reflections, f, 0.0)))
    assert "no anomalous signal" in caplog.text


def test_negative_mates(columns, tmp_path, caplog):
    reflections, values = columns
    pair = mates(reflections, values["F"], 1.0)
    number = np.arange(len(values["F"]))
    few, many = (np.where(number % every, pair["F(-)"], -0.1) for every in (200, 20))
    _, data, _ = read_anomalous(write(tmp_path / "a.mtz", reflections, {**pair, "F(-)": few}))
    assert "are negative, as weak F -+ DANO/2 can be" in caplog.text
    assert np.nanmin(data.f_minus) > 0 and np.isfinite(data.f_plus).all()
    with pytest.raises(InputError, match="68 amplitudes of mates in .* are negative"):
        read_anomalous(write(tmp_path / "b.mtz", reflections, {**pair, "F(-)": many}))


@pytest.mark.parametrize("symbol", ["P 1", "P 43 21 2", "R 3:H"])
def test_amplitudes_are_told_from_intensities(symbol):
    reflections = crystal(symbol, 3.0)
    f = np.abs(random_coefficients(reflections)) / np.sqrt(reflections.epsilon)
    fall_off = np.exp(-10 * reflections.inverse_d_squared)
    assert intensity_ratio(f * fall_off, reflections) == pytest.approx(1.27, abs=0.08)
    assert intensity_ratio((f * fall_off) ** 2, reflections) == pytest.approx(2.0, abs=0.25)


def test_a_mask_is_read_in_either_convention(tmp_path):
    """Density that varies in the lower half of the cell only: there is the protein."""
    reflections = crystal("P 1", 4.0)
    density = density_map(reflections, random_coefficients(reflections), 1.3)
    solvent = np.zeros(density.shape)
    solvent[:, :, density.nw // 2:] = 1
    density = like(density, np.where(solvent > 0, 0.3, 1.0) * density.array)
    write_map(like(density, solvent), tmp_path / "m.ccp4")
    right = read_mask(tmp_path / "m.ccp4", reflections)
    turned = read_mask(tmp_path / "m.ccp4", reflections, one_is="protein")
    assert np.allclose(right.array, 1 - turned.array)
    assert deviation_ratio(right, density) < 0.6 and deviation_ratio(turned, density) > 1.7
    write_map(like(density, 1 + 0 * solvent), tmp_path / "m.ccp4")
    with pytest.raises(InputError, match="1 everywhere"):
        read_mask(tmp_path / "m.ccp4", reflections)
