"""Maps on a grid: Fourier transforms and CCP4 map files.

A grid is a ``gemmi.FloatGrid`` over one whole unit cell in XYZ order, its sizes compatible with the
space group; ``grid.array`` is its (nu, nv, nw) float32 view.
"""

from __future__ import annotations

from functools import lru_cache

import gemmi
import numpy as np

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
    transform.mat.fromlist(grid_steps(grid).tolist())
    return transform


def grid_steps(grid: gemmi.FloatGrid) -> np.ndarray:
    """Matrix (3, 3) from point indices to orthogonal coordinates, Angstrom: its columns are the steps
    along the axes."""
    return np.array(grid.unit_cell.orth.mat.tolist()) / np.array(grid.shape)


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


def spread(grid: gemmi.FloatGrid, values: np.ndarray) -> gemmi.FloatGrid:
    """Map on the grid of another from values (n,) at its asymmetric unit, exactly symmetric."""
    lowest = values.min()
    out = grid.clone()
    out.fill(0)
    # not negative, so that the largest value of an orbit is its one value
    out.array[asymmetric_unit(grid)] = values - lowest
    out.symmetrize_max()
    out.array[...] += lowest
    return out


def orbit_sizes(grid: gemmi.FloatGrid) -> np.ndarray:
    """Points in the symmetry orbit of each point of the asymmetric unit, (n,); not to be changed."""
    return _orbit_sizes(grid.shape, grid.spacegroup.xhm())


@lru_cache(maxsize=1)  # the masks of a job are on one grid
def _orbit_sizes(shape: tuple, symbol: str) -> np.ndarray:
    fixed = gemmi.FloatGrid(*shape)
    fixed.spacegroup = gemmi.SpaceGroup(symbol)
    chosen = asymmetric_unit(fixed)
    fixed.array[chosen] = 1
    fixed.symmetrize_sum()  # the operations that leave a point where it is
    sizes = len(fixed.spacegroup.operations()) // fixed.array[chosen].astype(int)
    sizes.flags.writeable = False
    return sizes


def orbits(grid: gemmi.FloatGrid) -> np.ndarray:
    """Number of the symmetry orbit of each grid point, int32 (nu, nv, nw), counted from 0; not to be
    changed."""
    return _orbits(grid.shape, grid.spacegroup.xhm())


@lru_cache(maxsize=1)  # the masks of a job are on one grid
def _orbits(shape: tuple, symbol: str) -> np.ndarray:
    grid = gemmi.FloatGrid(*shape)
    grid.spacegroup = gemmi.SpaceGroup(symbol)
    # exact in float32 up to 16 million
    number = spread(grid, np.arange(asymmetric_unit(grid).sum())).array.astype(np.int32)
    number.flags.writeable = False
    return number
