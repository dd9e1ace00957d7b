"""Sums over the periodic cell: local deviation, softening.

Convolutions run over the periodic cell by FFT and hold for any cell."""

from __future__ import annotations

from functools import lru_cache

import gemmi
import numpy as np
import scipy.fft

from .grids import like


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
    out = grid.clone()
    values = out.array
    values -= centre
    values /= scale
    sphere = sphere_transform(grid.shape, grid.unit_cell.parameters, radius)

    def mean(values: np.ndarray) -> np.ndarray:
        terms = scipy.fft.rfftn(values)
        terms *= sphere
        return scipy.fft.irfftn(terms, s=grid.shape, overwrite_x=True)

    # in place: maps may have many millions of points
    square = mean(values)
    square *= square
    values *= values
    np.subtract(mean(values), square, out=values)
    np.sqrt(np.maximum(values, 0.0, out=values), out=values)
    values *= scale
    return out


@lru_cache(maxsize=2)  # one radius for masks, one for the network's input
def sphere_transform(shape: tuple, cell: tuple, radius: float) -> np.ndarray:
    """Real FFT of a normalised sphere, itself real; times that of a map it gives means over it.

    Parameters
    ----------
    shape : of the grid.
    cell : six parameters of the cell, Angstrom and degrees.
    radius : Angstrom.
    """
    return scipy.fft.rfftn(_sphere(shape, gemmi.UnitCell(*cell), radius)).real.copy()


def _sphere(shape: tuple, cell: gemmi.UnitCell, radius: float) -> np.ndarray:
    """A sphere round the origin of the periodic grid, float32, normalised to sum 1.

    A sphere wider than the cell overlaps its own copies; a point then counts once for each of them.
    """
    orthogonal = np.array(cell.orth.mat.tolist()) / np.array(shape)
    # a row of the inverse matrix is normal to a set of grid planes, its length 1/spacing
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(orthogonal), axis=1)).astype(int)
    points = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    inside = points[np.linalg.norm(points @ orthogonal.T, axis=-1) <= radius]
    sphere = np.zeros(shape, np.float32)
    np.add.at(sphere, tuple((inside % shape).T), np.float32(1.0 / len(inside)))
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
