from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
from blob import blob
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal import filters
from crank2_unet.crystal.filters import local_deviation, soften
from crank2_unet.crystal.grids import density_map, empty_grid, like, orbit_sizes, orbits
from crank2_unet.crystal.masks import cut_at_fraction, model_mask
from crank2_unet.errors import InputError
from crank2_unet.modification.region_weights import VarianceWeights


def random_map(symbol, spacing=3.0):
    reflections = crystal(symbol, 2.5 * spacing)
    return density_map(reflections, random_coefficients(reflections), spacing)


def periodic_distances(grid, image_range=1):
    """Distance of every point from point 0, over all periodic images, (points, images)."""
    points = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3) / grid.shape
    images = np.stack(np.indices([2 * image_range + 1] * 3), axis=-1).reshape(-1, 3) - image_range
    orth = np.array(grid.unit_cell.orth.mat.tolist())
    return np.linalg.norm((points[:, None] + images) @ orth.T, axis=-1)


@pytest.mark.parametrize("symbol", ["P 1", "C 1 2 1", "P 61 2 2"])
@pytest.mark.parametrize("radius", [7.0, 33.0])
def test_local_deviation_is_that_of_the_points_within_the_radius(symbol, radius):
    grid = random_map(symbol, 4.0)
    inside = np.count_nonzero(periodic_distances(grid, 2) <= radius, axis=1)
    deviation = local_deviation(grid, radius).array
    for place in [(0, 0, 0), (3, 1, 2), (-1, 2, -3)]:
        around = np.roll(grid.array, [-n for n in place], axis=(0, 1, 2)).ravel()
        mean = np.average(around, weights=inside)
        expected = np.sqrt(np.average((around - mean) ** 2, weights=inside))
        assert deviation[place] == pytest.approx(expected, rel=2e-4)


def test_local_deviation_does_not_depend_on_scale_and_offset():
    grid = random_map("P 1")
    other = like(grid, 1e-3 * (grid.array + 100 * grid.array.std()))
    ratio = local_deviation(other, 6.0).array / local_deviation(grid, 6.0).array
    assert np.abs(ratio / 1e-3 - 1).max() < 1e-3


@pytest.mark.parametrize("symbol", ["P 1", "P 61 2 2"])
def test_local_deviation_of_a_large_map_is_found_in_slabs(symbol, monkeypatch):
    grid = random_map(symbol)
    expected = local_deviation(grid, 7.0).array
    monkeypatch.setattr(filters, "_SLAB", grid.array.size // grid.shape[0])
    found = local_deviation(grid, 7.0).array
    assert not np.array_equal(found, expected)  # by other transforms
    assert np.allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("symbol", list(SETTINGS))
def test_orbits_hold_the_images_of_each_point(symbol):
    grid = empty_grid(crystal(symbol).cell, crystal(symbol).spacegroup, 4.0)
    label = orbits(grid)
    shape = np.array(grid.shape)
    points = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3)
    for op in grid.spacegroup.operations():
        image = (points / shape) @ (np.array(op.rot).T / op.DEN) + np.array(op.tran) / op.DEN
        image = np.rint(image * shape).astype(int) % shape
        assert np.array_equal(label[tuple(image.T)], label.ravel())
    assert np.array_equal(orbit_sizes(grid), np.bincount(label.ravel()))
    assert label.max() + 1 >= label.size / len(list(grid.spacegroup.operations()))


@pytest.mark.parametrize("symbol", list(SETTINGS))
@pytest.mark.parametrize("fraction", [0.0, 0.37, 0.655, 1.0])
def test_cut_marks_the_fraction_and_obeys_symmetry(symbol, fraction):
    grid = random_map(symbol)
    mask = cut_at_fraction(grid, fraction).array
    order = len(list(grid.spacegroup.operations()))
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert abs(mask.sum() - fraction * mask.size) <= order
    symmetric = like(grid, mask)
    symmetric.symmetrize_avg()
    assert np.array_equal(symmetric.array, mask)


def test_cut_marks_the_lowest_or_the_highest_values():
    grid = random_map("P 21 21 21")
    lowest = cut_at_fraction(grid, 0.4).array == 1
    highest = cut_at_fraction(grid, 0.4, lowest=False).array == 1
    rounding = 1e-5 * grid.array.std()  # symmetry-related values differ by this
    assert grid.array[lowest].max() <= grid.array[~lowest].min() + rounding
    assert grid.array[highest].min() >= grid.array[~highest].max() - rounding


def test_cut_is_exact_where_all_values_are_equal():
    grid = random_map("P 1")
    mask = cut_at_fraction(like(grid, np.ones(grid.shape)), 0.3).array
    assert mask.sum() == pytest.approx(0.3 * mask.size, abs=1)


def test_cut_refuses_a_percentage():
    with pytest.raises(InputError, match="45"):
        cut_at_fraction(random_map("P 1"), 45.0)


@pytest.mark.parametrize("symbol", ["P 1", "C 1 2 1", "P 61 2 2"])
def test_soften_is_a_gaussian_in_angstrom(symbol):
    grid = empty_grid(crystal(symbol).cell, crystal(symbol).spacegroup, 1.5)
    point = np.zeros(grid.shape)
    point[0, 0, 0] = 1.0
    blurred = soften(like(grid, point), 2.5).array.ravel()
    nearest = periodic_distances(grid).min(axis=1)
    assert blurred.sum() == pytest.approx(1.0, abs=1e-4)
    # in three dimensions the mean square distance is 3 sigma^2
    assert blurred @ nearest**2 == pytest.approx(3 * 2.5**2, rel=0.02)


def test_soften_keeps_the_mean_and_the_range_of_a_mask():
    mask = cut_at_fraction(random_map("P 21 21 21"), 0.4)
    soft = soften(mask, 3.0).array
    assert soft.mean() == pytest.approx(mask.array.mean(), abs=0.01)
    assert soft.min() >= 0 and soft.max() <= 1 and soft.std() < mask.array.std()
    assert np.array_equal(soften(mask, 0.0).array, mask.array)


@pytest.mark.parametrize("symbol", ["P 1", "P 21 21 21", "C 1 2 1"])
def test_model_mask_lies_on_the_atoms(symbol):
    structure = blob(symbol)
    grid = empty_grid(structure.cell, gemmi.SpaceGroup(symbol), 1.0)
    mask = model_mask(structure, grid)
    assert mask.shape == grid.shape
    for site in structure[0].all():
        assert mask.get_nearest_point(site.atom.pos).value == 0
    # a shift by half a grid step would move the centre of the protein by as much
    centre = np.mean([site.atom.pos.tolist() for site in structure[0].all()], axis=0)
    offset = []
    for place in np.argwhere(mask.array == 0):
        position = mask.point_to_position(mask.get_point(*map(int, place)))
        image = structure.cell.find_nearest_image(gemmi.Position(*centre), position)
        if image.sym_idx == 0 and image.dist() < 13:
            offset.append(structure.cell.find_nearest_pbc_position(
                gemmi.Position(*centre), position, 0).tolist() - centre)
    assert np.linalg.norm(np.mean(offset, axis=0)) < 0.25


def test_model_mask_leaves_out_waters_and_refuses_a_model_without_polymer():
    structure = blob("P 1")
    grid = empty_grid(structure.cell, gemmi.SpaceGroup("P 1"), 1.0)
    expected = model_mask(structure, grid).array.copy()
    water = gemmi.Residue()
    water.name, water.seqid = "HOH", gemmi.SeqId("900")
    oxygen = gemmi.Atom()
    oxygen.name, oxygen.element = "O", gemmi.Element("O")
    oxygen.pos = structure.cell.orthogonalize(gemmi.Fractional(0.8, 0.8, 0.8))
    water.add_atom(oxygen)
    structure[0].add_chain(gemmi.Chain("W")).add_residue(water)
    assert np.array_equal(model_mask(structure, grid).array, expected)
    structure[0].remove_chain("A")
    with pytest.raises(InputError, match="no protein"):
        model_mask(structure, grid)


def test_variance_weights_are_soft_with_the_solvent_content_as_mean():
    current = SimpleNamespace(density=random_map("P 21 21 21", 1.5))
    weights = VarianceWeights(0.6, radius=5.0, blur=1.0)(current, 1)
    assert weights.array.mean() == pytest.approx(0.6, abs=0.01)
    assert 0 < np.median(np.abs(weights.array - 0.5)) < 0.5
