"""Solvent masks without a network: by local deviation of a map, from a model, cut and softened.

In every mask 1 is solvent.  Convolutions run over the periodic cell by FFT and hold for any cell.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Callable

import gemmi
import numpy as np
import scipy.fft

from ..errors import InputError
from .grids import asymmetric_unit, like


def local_deviation(grid: gemmi.FloatGrid, radius: float) -> gemmi.FloatGrid:
    """Standard deviation of a map within a sphere round each point.

    Parameters
    ----------
    grid : map.
    radius : of the sphere, Angstrom, in orthogonal space.

    Returns
    -------
    Map of the local standard deviation, in the unit of ``grid`` (Wang, 1985, Methods Enzymol. 115,
    90-112; variance form of Abrahams & Leslie, 1996, Acta Cryst. D52, 30-42).
    """
    # scaling first keeps the difference of two squares accurate in single precision
    centre, scale = grid.array.mean(), grid.array.std() or 1.0
    values = (grid.array - centre) / scale
    sphere = sphere_transform(grid.shape, grid.unit_cell.parameters, radius)
    mean, mean_square = (scipy.fft.irfftn(scipy.fft.rfftn(power) * sphere, s=grid.shape)
                         for power in (values, values**2))
    return like(grid, scale * np.sqrt(np.maximum(mean_square - mean**2, 0.0)))


@lru_cache(maxsize=2)  # one radius for masks, one for the network's input
def sphere_transform(shape: tuple, cell: tuple, radius: float) -> np.ndarray:
    """Real FFT of a normalised sphere; times the FFT of a map it gives means over the sphere.

    Parameters
    ----------
    shape : of the grid.
    cell : six parameters of the cell, Angstrom and degrees.
    radius : Angstrom.
    """
    grid = gemmi.FloatGrid(*shape)
    grid.set_unit_cell(gemmi.UnitCell(*cell))
    return scipy.fft.rfftn(_sphere(grid, radius))


def _sphere(grid: gemmi.FloatGrid, radius: float) -> np.ndarray:
    """A sphere round the origin of the periodic grid, float32, normalised to sum 1.

    A sphere wider than the cell overlaps its own copies; a point then counts once for each of them.
    """
    orthogonal = np.array(grid.unit_cell.orth.mat.tolist()) / np.array(grid.shape)
    # a row of the inverse matrix is normal to a set of grid planes, its length 1/spacing
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(orthogonal), axis=1)).astype(int)
    points = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    inside = points[np.linalg.norm(points @ orthogonal.T, axis=-1) <= radius]
    sphere = np.zeros(grid.shape, np.float32)
    np.add.at(sphere, tuple((inside % grid.shape).T), np.float32(1.0 / len(inside)))
    return sphere


def soften(mask: gemmi.FloatGrid, sigma: float) -> gemmi.FloatGrid:
    """A mask blurred by a Gaussian of standard deviation ``sigma`` Angstrom; its mean stays."""
    if sigma == 0:
        return mask
    damping = _damping(mask.shape, mask.unit_cell.parameters, sigma)
    blurred = scipy.fft.irfftn(scipy.fft.rfftn(mask.array) * damping, s=mask.shape)
    return like(mask, np.clip(blurred, mask.array.min(), mask.array.max()))


@lru_cache(maxsize=1)
def _damping(shape: tuple, cell: tuple, sigma: float) -> np.ndarray:
    """Fourier transform of a Gaussian of standard deviation ``sigma`` Angstrom, float32, at each term
    of the real FFT of a grid."""
    fractional = np.array(gemmi.UnitCell(*cell).frac.mat.tolist())
    metric = fractional @ fractional.T
    nu, nv, nw = shape
    h, k, m = np.meshgrid(np.fft.fftfreq(nu, 1 / nu), np.fft.fftfreq(nv, 1 / nv),
                          np.fft.rfftfreq(nw, 1 / nw), indexing="ij", sparse=True)
    inverse_d_squared = (metric[0, 0] * h**2 + metric[1, 1] * k**2 + metric[2, 2] * m**2
                         + 2 * (metric[0, 1] * h * k + metric[0, 2] * h * m + metric[1, 2] * k * m))
    return np.exp(-2.0 * (np.pi * sigma) ** 2 * inverse_d_squared.astype(np.float32))


def orbits(grid: gemmi.FloatGrid) -> np.ndarray:
    """Number of the symmetry orbit of each grid point, int32 (nu, nv, nw), counted from 0; not to be
    changed."""
    return _orbits(grid.shape, grid.spacegroup.xhm())


@lru_cache(maxsize=1)  # the masks of a job are on one grid
def _orbits(shape: tuple, symbol: str) -> np.ndarray:
    label = gemmi.FloatGrid(*shape)
    label.spacegroup = gemmi.SpaceGroup(symbol)
    chosen = asymmetric_unit(label)
    label.array[chosen] = np.arange(1, chosen.sum() + 1)  # exact in float32 up to 16 million
    label.symmetrize_max()
    number = label.array.astype(np.int32) - 1
    number.flags.writeable = False
    return number


def cut_at_fraction(grid: gemmi.FloatGrid, fraction: float, lowest: bool = True) -> gemmi.FloatGrid:
    """0/1 mask that marks a given fraction of the cell, by value.

    Parameters
    ----------
    grid : map; symmetry-related points are taken to have the value of one of them.
    fraction : of the grid points to mark, in [0, 1].
    lowest : mark the lowest values (local deviation: low in solvent) or, if False, the highest
        (probability of solvent).

    Returns
    -------
    Mask with the symmetry of the map whose mean differs from ``fraction`` by at most one orbit,
    also where many points have the same value.

    Raises
    ------
    InputError : ``fraction`` is not in [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"The solvent content is {fraction:g}; give a value between 0 and 1.")
    orbit = orbits(grid).ravel()
    size = np.bincount(orbit)
    value = grid.array[asymmetric_unit(grid)] * np.float32(1 if lowest else -1)
    wanted = fraction * len(orbit)
    # all below the value of the last point wanted, and as many as needed of those that equal it
    order = np.argsort(value)
    points = np.cumsum(size[order])
    last = value[order[min(np.searchsorted(points, wanted, "right"), len(order) - 1)]]
    marked = value < last
    equal = np.flatnonzero(value == last)
    marked[equal] = size[marked].sum() + np.cumsum(size[equal]) <= wanted + size[equal] / 2
    return like(grid, marked[orbit].reshape(grid.shape))


def model_mask(structure: gemmi.Structure, grid: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """Solvent mask of a model: polymer only, van der Waals radii, no ligands and no waters.

    Parameters
    ----------
    structure : model in the cell and origin of ``grid``.
    grid : gives the grid points, cell and space group of the mask.

    Raises
    ------
    InputError : the structure has no polymer.
    """
    polymer = structure.clone()
    polymer.setup_entities()
    polymer.remove_ligands_and_waters()
    polymer.remove_empty_chains()
    if len(polymer) == 0 or polymer[0].count_atom_sites() == 0:
        raise InputError(f"The model {structure.name} has no protein or nucleic acid residues.")
    mask = like(grid, np.ones(grid.shape))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.VanDerWaals).put_mask_on_float_grid(mask, polymer[0])
    return mask


def deviation_radius(fom: float) -> float:
    """Radius, Angstrom, of the sphere for the local deviation of a map of a mean figure of merit.

    6 A up to a figure of merit of 0.1 and 4 A from 0.3: a larger sphere averages out more noise.
    This gave the best or nearly the best phases after density modification, of 4 to 8 A, for six
    experimental data sets of 1.5-3.2 A; resolution by itself did not matter.
    """
    return float(np.interp(fom, [0.1, 0.3], [6.0, 4.0]))


def variance_weights(solvent_content: float, radius: float = 4.0, blur: float = 2.0,
                     ) -> Callable[[gemmi.FloatGrid, int], gemmi.FloatGrid]:
    """The classical solvent mask as region weights for density modification.

    Parameters
    ----------
    solvent_content : fraction of the cell, in [0, 1].
    radius : of the sphere for the local deviation, Angstrom; see :func:`deviation_radius`.
    blur : standard deviation of the Gaussian that softens the mask, Angstrom; 2 A was better
        than 1 or 3 A for most of the maps of :func:`deviation_radius`.

    Returns
    -------
    Function of the current map and the cycle number that gives solvent weights in [0, 1].
    """
    def weights(grid: gemmi.FloatGrid, cycle: int) -> gemmi.FloatGrid:
        return soften(cut_at_fraction(local_deviation(grid, radius), solvent_content), blur)
    return weights
