"""Map files keep symmetry, origin and values."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.grids import (
    density_map,
    empty_grid,
    resample,
    structure_factors,
)
from crank2_unet.crystal.masks import cut_at_fraction
from crank2_unet.errors import InputError
from crank2_unet.files.maps import read_map, write_map


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
