"""Sums over the periodic cell: local deviation, softening.

Convolutions run over the periodic cell by FFT and hold for any cell."""

from __future__ import annotations

from functools import lru_cache

import gemmi
import numpy as np
import scipy.fft

from .grids import like

_SLAB = 1 << 20  # points of a map that are averaged over spheres at once


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
    planes, sphere = _slab(grid.shape, grid.unit_cell.parameters, radius)
    halo = (len(sphere) - planes) // 2
    out = grid.clone()
    for first in range(0, len(out.array), planes):
        values = grid.array.take(np.arange(first - halo, first - halo + len(sphere)), 0, mode="wrap")
        values -= centre
        values /= scale
        square = filtered(values, sphere)
        square *= square
        values *= values
        values = filtered(values, sphere)
        values -= square
        np.sqrt(np.maximum(values, 0.0, out=values), out=values)
        values *= scale
        part = out.array[first:first + planes]
        part[...] = values[halo:halo + len(part)]
    return out


def filtered(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Periodic values, (nu, nv, nw) float32, whose real FFT is multiplied by factors."""
    terms = scipy.fft.rfftn(values)
    terms *= factors
    # the inverse real FFT of three axes at once would need as much memory again
    terms = scipy.fft.ifftn(terms, axes=(0, 1), overwrite_x=True)
    return scipy.fft.irfft(terms, values.shape[2], axis=2)


def _slab(shape: tuple, cell: tuple, radius: float) -> tuple[int, np.ndarray]:
    """How many planes of a map are averaged over spheres at once, and the transform of a sphere in as
    many and those that the spheres of their points reach, too: large maps need much less memory so."""
    halo = int(_reach(shape, gemmi.UnitCell(*cell), radius)[0])
    slabs = -(-int(np.prod(shape)) // _SLAB)
    height = scipy.fft.next_fast_len(-(-shape[0] // slabs) + 2 * halo)
    if slabs == 1 or height >= shape[0]:
        return shape[0], sphere_transform(shape, cell, radius)
    return height - 2 * halo, sphere_transform(shape, cell, radius, height)


@lru_cache(maxsize=2)  # one radius for masks, one for the network's input
def sphere_transform(shape: tuple, cell: tuple, radius: float, height: int | None = None) -> np.ndarray:
    """Real FFT of a normalised sphere, itself real; times that of a map it gives means over it.

    Parameters
    ----------
    shape : of the grid.
    cell : six parameters of the cell, Angstrom and degrees.
    radius : Angstrom.
    height : planes of the grid that are transformed; default: all.
    """
    return scipy.fft.rfftn(_sphere(shape, gemmi.UnitCell(*cell), radius, height)).real.copy()


def _sphere(shape: tuple, cell: gemmi.UnitCell, radius: float, height: int | None) -> np.ndarray:
    """A sphere round the origin of the periodic grid, float32, normalised to sum 1.

    A sphere wider than the cell overlaps its own copies; a point then counts once for each of them.
    """
    orthogonal = np.array(cell.orth.mat.tolist()) / np.array(shape)
    points = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in _reach(shape, cell, radius)),
                                  indexing="ij"), axis=-1)
    inside = points[np.linalg.norm(points @ orthogonal.T, axis=-1) <= radius]
    sphere = np.zeros((height or shape[0], *shape[1:]), np.float32)
    np.add.at(sphere, tuple((inside % sphere.shape).T), np.float32(1.0 / len(inside)))
    return sphere


def _reach(shape: tuple, cell: gemmi.UnitCell, radius: float) -> np.ndarray:
    """Grid planes along each axis, (3,), that a sphere reaches over from its centre."""
    orthogonal = np.array(cell.orth.mat.tolist()) / np.array(shape)
    # a row of the inverse matrix is normal to a set of grid planes, its length 1/spacing
    return np.floor(radius * np.linalg.norm(np.linalg.inv(orthogonal), axis=1)).astype(int)


def soften(mask: gemmi.FloatGrid, sigma: float) -> gemmi.FloatGrid:
    """A mask blurred by a Gaussian of standard deviation ``sigma`` Angstrom; its mean stays."""
    if sigma == 0:
        return mask
    damping = _damping(mask.shape, mask.unit_cell.parameters, sigma)
    blurred = filtered(mask.array, damping)
    return like(mask, np.clip(blurred, mask.array.min(), mask.array.max(), out=blurred))


@lru_cache(maxsize=2)  # of masks and of the network's input
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
