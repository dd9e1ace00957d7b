"""Maps on a grid: Fourier transforms and CCP4 map files.

A grid is a ``gemmi.FloatGrid`` over one whole unit cell in XYZ order, its sizes compatible with the
space group; ``grid.array`` is its (nu, nv, nw) float32 view.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np

from ..errors import InputError
from .reflections import Reflections


def empty_grid(cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup, spacing: float) -> gemmi.FloatGrid:
    """A zero map with at most ``spacing`` Angstrom between points, sizes fit for symmetry and FFT."""
    grid = gemmi.FloatGrid()
    grid.set_unit_cell(cell)
    grid.spacegroup = spacegroup
    grid.set_size_from_spacing(spacing, gemmi.GridSizeRounding.Up)
    return grid


def density_map(reflections: Reflections, coefficients: np.ndarray, spacing: float) -> gemmi.FloatGrid:
    """Electron density of structure factors by FFT.

    Parameters
    ----------
    reflections : complete list of n reflections.
    coefficients : (n,) complex, electrons.  Zero or NaN-free for every reflection.
    spacing : largest distance between grid points, Angstrom; must be below d_min/2.

    Returns
    -------
    Map in electrons per cubic Angstrom, without the F(000) term (mean zero).
    """
    size = empty_grid(reflections.cell, reflections.spacegroup, spacing).shape
    data = gemmi.ComplexAsuData(reflections.cell, reflections.spacegroup, reflections.hkl,
                                np.ascontiguousarray(coefficients, np.complex64))
    return data.transform_f_phi_to_map(exact_size=size)


def structure_factors(grid: gemmi.FloatGrid, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,), complex, of a map; the inverse of :func:`density_map`."""
    return gemmi.transform_map_to_f_phi(grid, half_l=True).get_value_by_hkl(reflections.hkl)


def like(grid: gemmi.FloatGrid, values: np.ndarray) -> gemmi.FloatGrid:
    """A map on the grid, cell and symmetry of ``grid`` with other values, (nu, nv, nw)."""
    out = gemmi.FloatGrid(np.ascontiguousarray(values, np.float32))
    out.copy_metadata_from(grid)
    return out


def resample(source: gemmi.FloatGrid, target: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """``source`` interpolated linearly at the points of ``target`` (same cell, any grids)."""
    if source.shape == target.shape:
        return like(target, source.array)
    values = np.empty(target.shape, np.float32)
    source.interpolate_values(values, _grid_to_position(target), order=1)
    return like(target, values)


def _grid_to_position(grid: gemmi.FloatGrid) -> gemmi.Transform:
    """Transform from point indices (u, v, w) to orthogonal coordinates, Angstrom."""
    transform = gemmi.Transform()
    transform.mat.fromlist(
        (np.array(grid.unit_cell.orth.mat.tolist()) / np.array(grid.shape)).tolist())
    return transform


def read_map(path: str | Path) -> gemmi.FloatGrid:
    """Read a CCP4 map of any axis order, of the asymmetric unit or the whole cell.

    Raises
    ------
    InputError : the file is missing, is not a map, does not cover the asymmetric unit, or holds NaN.
    """
    try:
        ccp4 = gemmi.read_ccp4_map(str(path))
        ccp4.setup(float("nan"))  # expands by symmetry; points left at NaN were not in the file
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a CCP4 map: {error}.") from error
    if not np.isfinite(ccp4.grid.array).all():
        raise InputError(f"{path} has undefined points: the map must cover the asymmetric unit "
                         "and hold finite values.")
    return ccp4.grid


def read_map_of(path: str | Path, reflections: Reflections) -> gemmi.FloatGrid:
    """Read a map that must be of the crystal of the data.

    Cells may differ by 1 % or 1 degree, as after scaling.  A map without symmetry, as some programs
    write it, gets that of the data: symmetry copies are averaged.

    Raises
    ------
    InputError : as :func:`read_map`; also another cell or space group.
    """
    grid = read_map(path)
    cell, group = reflections.cell, reflections.spacegroup
    same = grid.unit_cell.is_similar(cell, 0.01, 1.0)
    if same and grid.spacegroup.number == 1 and group.number != 1:
        grid.spacegroup = group
        try:
            grid.symmetrize_avg()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} has no symmetry, and its grid does not allow that of the data, "
                             f"{group.xhm()} ({error}). Write it with the true space group.") from error
    if not same or grid.spacegroup.number != group.number:
        raise InputError(f"{path} is of another crystal than the data.\n"
                         f"  map:  {grid.unit_cell.parameters} {grid.spacegroup.xhm()}\n"
                         f"  data: {cell.parameters} {group.xhm()}\n"
                         "Give a map in the cell and space group of the data.")
    return grid


def write_map(grid: gemmi.FloatGrid, path: str | Path) -> None:
    """Write a whole-cell CCP4 map with the true space group; 0/1 masks are best given as such."""
    ccp4 = gemmi.Ccp4Map()
    ccp4.grid = grid
    ccp4.update_ccp4_header(2, True)
    ccp4.write_ccp4_map(str(path))


def asymmetric_unit(grid: gemmi.FloatGrid) -> np.ndarray:
    """Boolean array, true at one point of each symmetry orbit of the grid; not to be changed."""
    return _asymmetric_unit(grid.shape, grid.spacegroup.xhm())


@lru_cache(maxsize=4)  # grids of a job are few, and its maps many
def _asymmetric_unit(shape: tuple, symbol: str) -> np.ndarray:
    grid = gemmi.FloatGrid(*shape)
    grid.spacegroup = gemmi.SpaceGroup(symbol)
    unit = ~grid.masked_asu().mask_array.astype(bool)
    unit.flags.writeable = False
    return unit
