"""Windows lie at the same place in a crystal, however it is described."""

from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients
from scipy.ndimage import map_coordinates
from settings import SOHNCKE, changed, moved, origin_shifts, parts

from crank2_unet.crystal.maps import CrystalMap
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.network.inputs import InputSpec
from crank2_unet.network.placement import Placement
from crank2_unet.network.segmentation import map_logits

CELLS = {"Triclinic": (31, 37, 43, 81, 95, 104), "Monoclinic": (43, 52, 37, 90, 107, 90),
         "Orthorhombic": (41, 52, 63, 90, 90, 90), "Tetragonal": (58, 58, 77, 90, 90, 90),
         "Trigonal": (61, 61, 76, 90, 90, 120), "Hexagonal": (64, 64, 83, 90, 90, 120),
         "Cubic": (79, 79, 79, 90, 90, 90)}
NUMBERS = sorted({group.number for group in SOHNCKE})
FEW = (1, 5, 19, 146, 178)  # the others take minutes


class CrookedNet:
    """Stands in for the network: what it gives depends on the lattice, the axes and the hand of the
    windows as much as on the map."""

    batch = 1
    card = SimpleNamespace(input=InputSpec(1.2, 4.0, 0.0), window=64, margin=8)

    def logits(self, windows):
        x, y, z = (np.arange(n) % 8 for n in windows.shape[2:])
        crooked = 1 + 0.3 * (x[:, None, None] % 2) - 0.2 * (y[:, None] // 4) + 0.1 * z
        found = windows[:, 0] * crooked + 0.5 * np.roll(windows[:, 0], (1, 2, 3), (1, 2, 3))
        return np.stack([found, -found], axis=1)


def smooth_map(reflections: Reflections, seed: int) -> CrystalMap:
    """With a fall-off, so that linear interpolation on the grids of different settings agrees."""
    fall_off = np.exp(-150.0 / 4 * reflections.inverse_d_squared)
    return CrystalMap(reflections, fall_off * random_coefficients(reflections, seed))


def difference(one: gemmi.FloatGrid, other: gemmi.FloatGrid, op: gemmi.Op) -> float:
    """Share of the points at which masks of half the cell differ; "other" is "one" moved by op."""
    rotation, shift = parts(op)
    points = np.argwhere(np.ones(other.shape))[::5]
    places = (points / other.shape - shift) @ np.linalg.inv(rotation).T * one.shape
    expected = map_coordinates(one.array, places.T, order=1, mode="grid-wrap")
    found = other.array[tuple(points.T)]
    return np.mean((expected > np.median(expected)) != (found > np.median(found)))


@pytest.mark.parametrize("number", [pytest.param(n, marks=() if n in FEW else pytest.mark.slow)
                                    for n in NUMBERS])
def test_settings_origins_and_hands_make_no_difference(number):
    reference = gemmi.get_spacegroup_reference_setting(number)
    reflections = Reflections(gemmi.UnitCell(*CELLS[reference.crystal_system_str().capitalize()]),
                              reference, 5.0)
    seen = smooth_map(reflections, number)
    base = map_logits(seen, CrookedNet()).solvent
    rng = np.random.default_rng(number)
    settings = [group for group in SOHNCKE if group.number == number and group != reference]
    ways = [(group.basisop, group) for group in rng.permutation(settings)[:2]]
    ways += [(op, reference) for op in rng.permutation(origin_shifts(reference))[:1]]
    hand = reference.change_of_hand_op()
    ways.append((hand, changed(reference, hand)))
    for op, group in ways:
        again = moved(seen, op, group)
        other = map_logits(again, CrookedNet()).solvent
        # grids of other axes have other points, between which maps are interpolated, and interpolation
        # in a hexagonal grid depends on the direction
        by_grid = difference(seen.density, again.density, op)
        assert difference(base, other, op) < 0.03 + 1.5 * by_grid, (op.triplet(), group.xhm())


@pytest.mark.parametrize("symbol", SETTINGS)
def test_each_point_of_the_asymmetric_unit_is_in_a_window(symbol):
    reflections = crystal(symbol)
    seen = CrystalMap(reflections, random_coefficients(reflections))
    placement = Placement.of(seen, 1.2, 12, 48)
    plan, places = placement.plan, placement.places(seen.density).T
    assert np.allclose(placement.axes @ placement.axes.T, np.eye(3))
    inside = [np.all((places >= start) & (places <= start + np.array(plan.shape) - 1), axis=1)
              for start in plan.starts - plan.low]
    assert np.any(inside, axis=0).all()
    # the points are copies of those of the asymmetric unit: the density there is the same
    points = [placement.corner(place + plan.low) for place in places[::97]]
    unit = np.argwhere(~seen.density.masked_asu().mask_array.astype(bool))[::97]
    there = [seen.density.interpolate_value(gemmi.Position(*point)) for point in points]
    assert np.allclose(there, seen.density.array[tuple(unit.T)], atol=2e-2 * seen.density.array.std())


def test_windows_follow_the_asymmetric_unit():
    """How much more than the asymmetric unit of a hexagonal and a cubic crystal is computed."""
    for symbol, cell, most in (("P 65", (110, 110, 90, 90, 90, 120), 3.0),
                               ("I 2 3", (150, 150, 150, 90, 90, 90), 3.3)):
        reflections = Reflections(gemmi.UnitCell(*cell), gemmi.SpaceGroup(symbol), 6.0)
        seen = CrystalMap(reflections, random_coefficients(reflections))
        plan = Placement.of(seen, 1.2, 12, 96).plan
        unit = reflections.cell.volume / len(reflections.spacegroup.operations()) / 1.2**3
        assert plan.size < most * unit, symbol


def test_maps_without_low_resolution_have_a_placement():
    reflections = crystal("P 21 21 21")
    coefficients = np.where(reflections.d < 6.5, random_coefficients(reflections), 0)
    plan = Placement.of(CrystalMap(reflections, coefficients), 1.2, 12, 96).plan
    assert plan.size > 0
