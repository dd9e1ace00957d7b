"""Where an operator of non-crystallographic symmetry holds: where the map agrees with its copy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
import scipy.fft
from scipy.ndimage import affine_transform, label

from ..crystal.filters import sphere_transform
from ..crystal.grids import asymmetric_unit, grid_steps, orbits
from .ncs_operator import Operator

# Local correlations count from 4 standard deviations of those between the map and its inverse
# through the origin, which have nothing in common.
_SIGMAS = 4.0
_COARSE = 3  # grid steps between points at which correlations are calculated
_POINTS = 1500  # of the mask, enough to refine an operator


@dataclass(frozen=True)
class NcsMask:
    """Grid points (m) where an operator holds.

    ``points`` : (m, 3) orthogonal Angstrom; ``orbit`` : (m,) their numbers in the asymmetric unit;
    ``weight`` : (m,) 0..1; ``volume`` : cubic Angstrom.
    """

    points: np.ndarray
    orbit: np.ndarray
    weight: np.ndarray
    volume: float

    @property
    def overlap(self) -> float:
        """How many symmetry copies of the mask typically cover one of its points: those of a
        crystallographic neighbour, as a mask may reach into it."""
        return float(np.median(np.bincount(self.orbit)[self.orbit]))

    @property
    def some(self) -> NcsMask:
        """About _POINTS of the points, evenly."""
        every = slice(None, None, max(1, len(self.points) // _POINTS))
        return replace(self, points=self.points[every], orbit=self.orbit[every],
                       weight=self.weight[every])


def correlation_level(grid: gemmi.FloatGrid, radius: float) -> float:
    """Local correlation that noise hardly reaches."""
    inverted = np.roll(grid.array[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    sphere = sphere_transform(grid.shape, grid.unit_cell.parameters, radius)
    unit = asymmetric_unit(grid)  # kept of each map: there may be many points in a cell

    def mean(values: np.ndarray) -> np.ndarray:
        terms = scipy.fft.rfftn(values)
        terms *= sphere
        return scipy.fft.irfftn(terms, s=grid.shape, overwrite_x=True)[unit]
    return _SIGMAS * float(_local_correlation(grid.array, inverted, mean).std())


def _local_correlation(a: np.ndarray, b: np.ndarray, mean) -> np.ndarray:
    """Correlation of two maps round each point; ``mean`` averages a map over a sphere."""
    scale = a.std() or 1.0  # keeps differences of squares accurate in single precision
    a, b = a / scale, b / scale
    mean_a, mean_b = mean(a), mean(b)
    variance = (mean(a * a) - mean_a**2) * (mean(b * b) - mean_b**2)
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(np.maximum(variance, 1e-6))


def ncs_mask(density: gemmi.FloatGrid, operator: Operator, radius: float, level: float,
             ) -> NcsMask | None:
    """Where the map agrees with its copy: the largest connected region round the source whose local
    correlation exceeds ``level``; None if there is none."""
    from scipy.signal import fftconvolve  # takes half a second to load, and few maps have NCS

    spacing = _COARSE * max(density.spacing)
    reach = int(np.ceil(asu_volume(density) ** (1 / 3) / spacing))
    axis = spacing * np.arange(-reach, reach + 1)
    start = operator.source - spacing * reach
    here = _sample(density, start, np.eye(3), spacing, len(axis))
    there = _sample(density, operator.apply(start), operator.rotation, spacing, len(axis))
    offsets = np.stack(np.meshgrid(*[axis[np.abs(axis) <= radius]] * 3, indexing="ij"), axis=-1)
    ball = (np.linalg.norm(offsets, axis=-1) <= radius).astype(np.float32)
    share = fftconvolve(np.ones_like(here), ball, "same")
    correlation = _local_correlation(here, there,
                                     lambda values: fftconvolve(values, ball, "same") / share)
    regions, count = label(correlation > level)
    if not count:
        return None
    largest = 1 + np.argmax(np.bincount(regions.ravel())[1:])
    weight = np.where(regions == largest, np.tanh((correlation - level) / level), 0)
    return _on_grid(density, weight.astype(np.float32), start, spacing,
                    spacing**3 * float((regions == largest).sum()))


def _on_grid(density: gemmi.FloatGrid, weight: np.ndarray, start: np.ndarray, spacing: float,
             volume: float) -> NcsMask | None:
    """A mask on a Cartesian lattice, brought to the points of the map's grid."""
    steps = grid_steps(density)
    to_grid = np.linalg.inv(steps)
    low, high = (edge(np.argwhere(weight > 0), axis=0) for edge in (np.min, np.max))
    corners = np.array(np.meshgrid(*zip(low - 1, high + 1), indexing="ij")).reshape(3, -1)
    corners = to_grid @ (start[:, None] + spacing * corners)
    first, last = np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1))
    # from grid indices to those of the lattice
    to_lattice = steps / spacing
    values = affine_transform(weight, to_lattice, to_lattice @ first - start / spacing, order=1,
                              output_shape=tuple((last - first + 1).astype(int)))
    # short integers: there may be millions of points
    index = np.argwhere(values > 0).astype(np.int32)
    if not len(index):
        return None
    index += first.astype(np.int32)
    orbit = orbits(density)[tuple((index % np.array(density.shape, np.int32)).T)]
    return NcsMask(index @ steps.T, orbit, values[values > 0], volume)


def _sample(grid: gemmi.FloatGrid, start: np.ndarray, axes: np.ndarray, spacing: float, count: int,
            ) -> np.ndarray:
    """Values on a cubic lattice whose axes are the columns of ``axes``, by linear interpolation."""
    transform = gemmi.Transform()
    transform.mat.fromlist((spacing * axes).tolist())
    transform.vec.fromlist(list(start))
    values = np.empty((count, count, count), np.float32)
    grid.interpolate_values(values, transform, order=1)
    return values


def asu_volume(grid: gemmi.FloatGrid) -> float:
    """Volume of the asymmetric unit, cubic Angstrom."""
    return grid.unit_cell.volume / len(grid.spacegroup.operations())
