"""Reflections that are set aside for a free R value."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.phases import angle_degrees
from crank2_unet.errors import InputError
from crank2_unet.files.free_flags import set_aside
from crank2_unet.files.mtz_input import read_phased


@pytest.fixture
def given(tmp_path):
    reflections = crystal("P 21 21 21", 3.0)
    map_now = random_coefficients(reflections)
    number = np.arange(len(reflections))
    columns = {"F": ("F", np.abs(map_now)), "SIGF": ("Q", 0.1 * np.abs(map_now)),
               "PHIB": ("P", angle_degrees(map_now)), "FOM": ("W", np.full(len(number), 0.5)),
               "FreeR_flag": ("I", number % 20), "R-free-flags": ("I", (number % 10 == 3) * 1.0),
               "turned": ("I", (number % 10 != 3) * 1.0), "all": ("I", np.zeros(len(number)))}
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("test")
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([reflections.hkl, *(values for _, values in columns.values())]
                                 ).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "in.mtz"))
    return read_phased(tmp_path / "in.mtz")


@pytest.mark.parametrize("text, modulus, rest, value", [
    ("FreeR_flag", 20, 0, 0), ("FreeR_flag=3", 20, 3, 3), ("R-free-flags", 10, 3, 1),
    ("turned", 10, 3, 0)])
def test_flagged_reflections_are_unknown(given, text, modulus, rest, value):
    found, free = set_aside(given, text)
    kept_out = ~np.isfinite(found.data.f)
    np.testing.assert_array_equal(np.flatnonzero(kept_out) % modulus, rest)
    assert free.value == value and free.n == kept_out.sum()
    assert free.n == pytest.approx(len(kept_out) / modulus, abs=1)
    assert not found.data.hl[kept_out].any() and not found.data.coefficients[kept_out].any()
    assert not found.data.known[kept_out].any()
    np.testing.assert_array_equal(found.data.f[~kept_out], given.data.f[~kept_out])


@pytest.mark.parametrize("text, said", [
    ("free", "FreeR_flag, R-free-flags"), ("FreeR_flag=x", "no whole number"),
    ("FreeR_flag=25", "0 of"), ("turned=1", "Name the value"), ("all", "Name the value")])
def test_flags_that_tell_nothing_are_refused(given, text, said):
    with pytest.raises(InputError, match=said):
        set_aside(given, text)
