"""Phases, reflection lists, maps and files keep symmetry, origin and values."""

import gemmi
import numpy as np
import pytest
from crystals import SETTINGS, crystal, random_coefficients

from crank2_unet.crystal import phases
from crank2_unet.crystal.french_wilson import french_wilson
from crank2_unet.crystal.grids import (
    asymmetric_unit,
    density_map,
    empty_grid,
    like,
    resample,
    structure_factors,
)
from crank2_unet.crystal.masks import cut_at_fraction
from crank2_unet.crystal.reflections import NEIGHBOURS, Reflections, spacegroup_of
from crank2_unet.errors import InputError
from crank2_unet.files.maps import read_map, write_map


@pytest.mark.parametrize("symbol", SETTINGS)
def test_map_and_back(symbol):
    """Allowed phases, epsilon and symmetry are right: only then does the map give them back."""
    reflections = crystal(symbol)
    coefficients = random_coefficients(reflections)
    density = density_map(reflections, coefficients, 1.3)
    assert np.abs(structure_factors(density, reflections) - coefficients).max() < 1e-3
    variance = np.sum(reflections.multiplicity * np.abs(coefficients) ** 2)
    # Parseval; centring multiplies the number of operators, not the number of lattice points
    assert density.array.var() * density.unit_cell.volume**2 == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("symbol", SETTINGS)
def test_one_point_of_each_orbit(symbol):
    grid = empty_grid(gemmi.UnitCell(*SETTINGS[symbol]), spacegroup_of(symbol, "test"), 2.0)
    marks = like(grid, asymmetric_unit(grid))
    marks.symmetrize_sum()
    # an orbit on a special position is met several times by the operators: never 0
    assert marks.array.min() == 1


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


@pytest.mark.parametrize("kappa", [0.0, 0.3, 2.0, 30.0])
def test_hendrickson_lattman_of_one_peak(kappa):
    hl = np.array([[kappa * np.cos(1.0), kappa * np.sin(1.0), 0, 0]])
    phi, fom = phases.phi_fom_from_hl(hl, np.array([np.nan]))
    again = phases.hl_from_phi_fom(phi, fom, np.array([np.nan]))
    assert np.allclose(again, hl, atol=0.01 * max(kappa, 1))
    if kappa:
        assert phases.phase_difference(phi, np.rad2deg(1.0))[0] < 0.01


def test_bimodal_phase_lies_between_and_is_uncertain():
    hl = np.array([[0.0, 0.0, 20.0, 0.0], [1.0, 0.0, -20.0, 0.0]])  # peaks at 0, 180 and at +-90
    phi, fom = phases.phi_fom_from_hl(hl, np.full(2, np.nan))
    assert fom[0] < 1e-6 and fom[1] < 0.3 and phases.phase_difference(phi[1], 0.0) < 1e-6


def test_centric_phases_take_allowed_values():
    hl = np.array([[1.2, 0.7, 5.0, -3.0]])
    phi, fom = phases.phi_fom_from_hl(hl, np.array([90.0]))
    assert phi[0] == pytest.approx(90.0) and fom[0] == pytest.approx(np.tanh(0.7))
    assert phases.hl_from_phi_fom(phi, fom, np.array([90.0]))[0, 1] == pytest.approx(0.7)


def test_phase_difference_on_the_circle():
    assert np.allclose(phases.phase_difference([350, 10, 180], [10, 350, 0]), [20, 20, 180])


@pytest.mark.parametrize("symbol", ["P 1 21 1", "R 3:H", "R 3:R", "P 61 2 2"])
def test_map_files_of_any_axis_order(symbol, tmp_path):
    reflections = crystal(symbol)
    density = density_map(reflections, random_coefficients(reflections), 1.4)
    write_map(density, tmp_path / "map.ccp4")
    turned = gemmi.read_ccp4_map(str(tmp_path / "map.ccp4"))
    turned.set_extent(gemmi.find_asu_brick(density.spacegroup).get_extent())
    turned.write_ccp4_map(str(tmp_path / "asu.ccp4"))
    for name in ("map.ccp4", "asu.ccp4"):
        got = read_map(tmp_path / name)
        assert got.spacegroup.xhm() == density.spacegroup.xhm()
        assert got.unit_cell.is_similar(density.unit_cell, 1e-5, 1e-3)
        assert np.allclose(got.array, density.array, atol=1e-5 * np.abs(density.array).max())


def test_no_shift_from_mask_to_file_and_coefficients(tmp_path):
    """A blob keeps its place through cut, file, reading, resampling and Fourier coefficients."""
    reflections = crystal("P 21 21 21", 3.0)
    grid = empty_grid(reflections.cell, reflections.spacegroup, 1.0)
    grid.set_points_around(gemmi.Position(9.0, 14.0, 20.0), 6.0, 1.0)
    grid.symmetrize_max()
    mask = cut_at_fraction(grid, grid.array.mean(), lowest=False)
    write_map(mask, tmp_path / "mask.ccp4")
    other = empty_grid(reflections.cell, reflections.spacegroup, 0.73)
    read = resample(read_map(tmp_path / "mask.ccp4"), other)
    again = density_map(reflections, structure_factors(read, reflections), 0.9)
    points = np.argwhere(again.array > again.array.max() / 2) / again.shape
    near = points[np.linalg.norm((points - [9 / 34, 14 / 55, 20 / 68]) * [34, 55, 68], axis=1) < 9]
    centre = near.mean(axis=0) * [34, 55, 68]
    assert np.linalg.norm(centre - [9.0, 14.0, 20.0]) < 0.1


@pytest.mark.parametrize("bad, said", [("nan", "undefined"), ("text", "CCP4 map"),
                                       ("missing", "CCP4 map")])
def test_unusable_maps_are_refused(bad, said, tmp_path):
    path = tmp_path / "bad map.ccp4"
    if bad == "nan":
        grid = empty_grid(gemmi.UnitCell(20, 20, 20, 90, 90, 90), gemmi.SpaceGroup("P 1"), 1.0)
        grid.array[3, 4, 5] = np.nan
        write_map(grid, path)
    elif bad == "text":
        path.write_text("no map " * 400)
    with pytest.raises(InputError, match=said):
        read_map(path)


@pytest.mark.parametrize("name, said", [("No.4", "unknown"), ("P -1", "chiral")])
def test_unusable_space_groups_are_refused(name, said):
    with pytest.raises(InputError, match=said):
        spacegroup_of(name, "x.mtz")


def test_french_wilson_follows_strong_and_repairs_negative_intensities():
    reflections = Reflections(gemmi.UnitCell(40, 50, 60, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"),
                              2.5)
    rng = np.random.default_rng(0)
    true = reflections.epsilon * rng.exponential(1000.0, len(reflections))
    sigma = np.where(rng.random(len(true)) < 0.5, 5.0, 800.0)
    measured = true + sigma * rng.standard_normal(len(true))
    f, sigf = french_wilson(np.stack([measured, sigma], axis=1), reflections).T
    strong = (sigma == 5.0) & (measured > 500)
    assert np.allclose(f[strong], np.sqrt(measured[strong]), rtol=0.01)
    weak = sigma == 800.0
    assert (f[weak] > 0).all()
    naive = np.sqrt(np.maximum(measured[weak], 0))
    assert np.abs(f[weak] - np.sqrt(true[weak])).mean() < np.abs(naive - np.sqrt(true[weak])).mean()
