"""The complete list of reflections."""

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal

from crank2_unet.crystal.reflections import NEIGHBOURS, Reflections, spacegroup_of
from crank2_unet.errors import InputError


@pytest.mark.parametrize("symbol", SETTINGS)
def test_neighbours_are_found_through_symmetry(symbol):
    reflections = crystal(symbol)
    asu, operations = gemmi.ReciprocalAsu(reflections.spacegroup), reflections.spacegroup.operations()
    for step, row in zip(NEIGHBOURS[::5], reflections.neighbours[::5]):
        unique = np.array([asu.to_asu(list(map(int, hkl)), operations)[0]
                           for hkl in reflections.hkl[::7] + step])
        assert np.array_equal(row[::7], reflections.find(unique))


def test_missing_reflections_are_listed():
    reflections = crystal("C 1 2 1")
    hkl = reflections.hkl[5:9]
    values = reflections.spread(hkl, np.arange(4.0))
    assert np.isfinite(values).sum() == 4 and values[7] == 2.0
    assert reflections.find(np.array([[40, 40, 40]]))[0] == -1
    counts = np.bincount(reflections.in_bins(7))
    assert len(counts) == 7 and counts.max() - counts.min() <= 2


@pytest.mark.parametrize("name, said", [("No.4", "unknown"), ("P -1", "chiral")])
def test_unusable_space_groups_are_refused(name, said):
    with pytest.raises(InputError, match=said):
        spacegroup_of(name, "x.mtz")


def test_what_is_nearest_to_turned_reflections():
    reflections = Reflections(gemmi.UnitCell(20, 20, 25, 90, 90, 90), gemmi.SpaceGroup("P 2"), 3.0)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for rotation in (quarter, np.eye(3)):
        wanted = np.rint(reflections.hkl @ rotation).astype(int)
        place = reflections.turned(rotation)[0]
        there = place >= 0
        assert there.any() == (rotation is quarter)  # itself does not count
        for one, other in zip(wanted[there][::7], reflections.hkl[place[there]][::7]):
            mates = [s * one * m for s in (1, -1) for m in ([1, 1, 1], [-1, 1, -1])]
            assert any(np.array_equal(mate, other) for mate in mates)
