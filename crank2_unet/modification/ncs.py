"""Averaging of density over non-crystallographic symmetry (NCS).

Follows Cowtan (2010, Acta Cryst. D66, 470-478): an operator is used where the map agrees locally with
its rotated copy, with a weight that grows with the agreement.  No envelope is needed.  As the map
becomes so good that copies are seen to differ, they are used less (:func:`copy_weight`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import gemmi
import numpy as np
import scipy.fft
from scipy.ndimage import affine_transform, label, map_coordinates, spline_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from ..crystal.filters import sphere_transform
from ..crystal.grids import asymmetric_unit, like, orbits
from ..errors import InputError

# Local correlations count from 4 standard deviations of those between the map and its inverse
# through the origin, which have nothing in common.
_SIGMAS = 4.0
_PEAK = 2.0  # times the 68.3 % quantile of the absolute density, at which peaks are clipped
_COARSE = 3  # grid steps between points at which correlations are calculated
_POINTS = 1500  # of the mask, enough to refine an operator
_STEP = 2.0, 0.3  # degrees and Angstrom, first steps of the refinement


@dataclass(frozen=True)
class Operator:
    """x' = rotation (x - source) + target, orthogonal coordinates in Angstrom.

    Parameters
    ----------
    rotation : (3, 3) proper rotation.
    source, target : (3,) a point of one copy and where it goes, near the middle of the copies.
    """

    rotation: np.ndarray
    source: np.ndarray
    target: np.ndarray

    @classmethod
    def parse(cls, text: str) -> Operator:
        """From "alpha,beta,gamma,x,y,z,x,y,z": Euler angles in degrees (turn by gamma about z, by beta
        about y, by alpha about z), source and target.

        Raises
        ------
        InputError : not nine numbers.
        """
        try:
            values = [float(word) for word in text.replace(",", " ").split()]
        except ValueError:
            values = []
        if len(values) != 9:
            raise InputError(f"The NCS operator {text} must be nine numbers: "
                             "alpha,beta,gamma,x,y,z,x,y,z.")
        rotation = Rotation.from_euler("ZYZ", values[:3], degrees=True).as_matrix()
        return cls(rotation, np.array(values[3:6]), np.array(values[6:]))

    def __str__(self) -> str:
        angles = Rotation.from_matrix(self.rotation).as_euler("ZYZ", degrees=True)
        return ",".join(f"{value:.4f}" for value in (*angles, *self.source, *self.target))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 3) go."""
        return points @ self.rotation.T + (self.target - self.rotation @ self.source)

    def inverse(self) -> Operator:
        return Operator(self.rotation.T, self.target, self.source)

    def moved(self, turn: np.ndarray, shift: np.ndarray) -> Operator:
        """With a further rotation (rotation vector, radians) about the target, and shift, Angstrom."""
        return Operator(Rotation.from_rotvec(turn).as_matrix() @ self.rotation, self.source,
                        self.target + shift)


@dataclass(frozen=True)
class OperatorStatistics:
    """What an operator was worth in one cycle.

    Parameters
    ----------
    volume : of its mask, as a share of the asymmetric unit.
    correlation : of the density within the mask, weighted.
    """

    volume: float
    correlation: float


@dataclass(frozen=True)
class NcsSums:
    """Over all operators, at the points of the asymmetric unit, (m,): sums of w rho(Rx), w and w^2.

    ``correlation`` : of the density with its copies, mean over the operators by volume; None if none
    holds.  ``rotations`` : (3, 3) of those that hold.
    """

    density: np.ndarray
    weight: np.ndarray
    weight_square: np.ndarray
    correlation: float | None = None
    rotations: Sequence[np.ndarray] = ()


class NcsAverager:
    """Averages the map of each cycle; keeps and refines the operators.

    Parameters
    ----------
    operators : as found or given; an operator averages one copy with another, and its inverse the
        other way round.
    start : map by whose noise local correlations are judged.
    radius : of the sphere of local correlation, Angstrom.
    """

    looked = True  #: whether the operators are known by now

    def __init__(self, operators: Sequence[Operator], start: gemmi.FloatGrid, radius: float = 6.0):
        self.operators = list(operators)  #: as last refined
        self.statistics: list[OperatorStatistics] = []  #: of the last cycle
        self._radius, self._start = radius, start

    @cached_property
    def level(self) -> float:
        """Local correlation from which the map agrees with its copy."""
        return correlation_level(_clipped(self._start), self._radius)

    def __call__(self, density: gemmi.FloatGrid, cycle: int, reliability: float = 0.0,
                 ) -> NcsSums | None:
        """Sums over the operators; those are refined in cycles 1, 2, 4, 7, 10, ...

        ``reliability`` is the share of the variance of the density that is signal, 0..1.
        """
        fine = _Periodic(density)
        count = orbits(density).max() + 1
        sums, rotations = np.zeros((3, count)), []
        for operator, mask, one in self._masks(density, cycle):
            weight = copy_weight(one.correlation, reliability) * mask.weight / mask.overlap
            rotated = fine.at(operator.apply(mask.points))
            rotations.append(operator.rotation)
            for total, values in zip(sums, (weight * rotated, weight, weight**2)):
                total += np.bincount(mask.orbit, values, count)
        volume, correlation = np.array([(one.volume, one.correlation) for one in self.statistics]).T
        mean = float(np.average(correlation, weights=volume)) if volume.any() else None
        copies, weight, weight_square = sums.astype(np.float32)
        return NcsSums(copies, weight, weight_square, mean, rotations)

    def measure(self, density: gemmi.FloatGrid, cycle: int) -> None:
        """Refine the operators as in a cycle and find what they are worth, without averaging."""
        for _ in self._masks(density, cycle):
            pass

    def _masks(self, density: gemmi.FloatGrid, cycle: int,
               ) -> Iterator[tuple[Operator, _Mask, OperatorStatistics]]:
        """Operators, refined as in a cycle, where they hold and what they are worth there; those that
        hold nowhere are left out."""
        clipped = _clipped(density)
        level_peaks, unique = _Periodic(clipped), clipped.array[asymmetric_unit(clipped)]
        self.statistics = []
        for number, operator in enumerate(self.operators):
            mask = ncs_mask(clipped, operator, self._radius, self.level)
            if mask is None:
                self.statistics.append(OperatorStatistics(0.0, 0.0))
                continue
            some = mask.some
            values = unique[some.orbit]
            if cycle <= 2 or cycle % 3 == 1:
                operator = _refined(operator, some.points, some.weight, values, level_peaks, _STEP)
                self.operators[number] = operator
            correlation = _correlation(values, level_peaks.at(operator.apply(some.points)), some.weight)
            self.statistics.append(OperatorStatistics(mask.volume / _asu_volume(density), correlation))
            yield operator, mask, self.statistics[-1]


def copy_weight(correlation: float, reliability: float) -> float:
    """Weight, 0..1, of a copy's density beside a point's own in the best estimate of the truth.

    With a share q of signal in the density, maps of copies whose true densities have correlation r
    show a correlation c = qr.  The linear estimate of least error (Wiener) then weighs the two as
    r(1 - q)/(1 - q r^2) to 1: equally where noise is all that copies differ by, or while nobody can
    tell, and less and less as the map becomes so good that copies are seen to differ.
    """
    alike = min(1.0, max(correlation, 0.0) / max(reliability, 1e-6))
    return alike * (1 - reliability) / (1 - reliability * alike**2)


@dataclass(frozen=True)
class _Mask:
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
    def some(self) -> _Mask:
        """About _POINTS of the points, evenly."""
        every = slice(None, None, max(1, len(self.points) // _POINTS))
        return replace(self, points=self.points[every], orbit=self.orbit[every],
                       weight=self.weight[every])


class _Periodic:
    """A map with cubic interpolation anywhere in the crystal."""

    def __init__(self, grid: gemmi.FloatGrid):
        self._spline = spline_filter(grid.array, order=3, mode="grid-wrap", output=np.float32)
        self._to_index = _to_grid(grid)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Values at orthogonal coordinates (m, 3)."""
        return map_coordinates(self._spline, self._to_index @ points.T, order=3, mode="grid-wrap",
                               prefilter=False)


def _clipped(density: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """The map without high peaks: heavy atoms, which an operator found from them superposes anyway,
    would make densities seem to agree."""
    limit = _PEAK * np.quantile(np.abs(density.array), 0.683)
    return like(density, np.clip(density.array, -limit, limit))


def correlation_level(grid: gemmi.FloatGrid, radius: float) -> float:
    """Local correlation that noise hardly reaches."""
    inverted = np.roll(grid.array[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    sphere = sphere_transform(grid.shape, grid.unit_cell.parameters, radius)

    def mean(values: np.ndarray) -> np.ndarray:
        return scipy.fft.irfftn(scipy.fft.rfftn(values) * sphere, s=grid.shape)
    found = _local_correlation(grid.array, inverted, mean)
    return _SIGMAS * float(found[asymmetric_unit(grid)].std())


def _local_correlation(a: np.ndarray, b: np.ndarray, mean) -> np.ndarray:
    """Correlation of two maps round each point; ``mean`` averages a map over a sphere."""
    scale = a.std() or 1.0  # keeps differences of squares accurate in single precision
    a, b = a / scale, b / scale
    mean_a, mean_b = mean(a), mean(b)
    variance = (mean(a * a) - mean_a**2) * (mean(b * b) - mean_b**2)
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(np.maximum(variance, 1e-6))


def ncs_mask(density: gemmi.FloatGrid, operator: Operator, radius: float, level: float) -> _Mask | None:
    """Where the map agrees with its copy: the largest connected region round the source whose local
    correlation exceeds ``level``; None if there is none."""
    from scipy.signal import fftconvolve  # takes half a second to load, and few maps have NCS

    spacing = _COARSE * max(density.spacing)
    reach = int(np.ceil(_asu_volume(density) ** (1 / 3) / spacing))
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
             volume: float) -> _Mask | None:
    """A mask on a Cartesian lattice, brought to the points of the map's grid."""
    to_grid = _to_grid(density)
    low, high = (edge(np.argwhere(weight > 0), axis=0) for edge in (np.min, np.max))
    corners = np.array(np.meshgrid(*zip(low - 1, high + 1), indexing="ij")).reshape(3, -1)
    corners = to_grid @ (start[:, None] + spacing * corners)
    first, last = np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1))
    # from grid indices to those of the lattice
    to_lattice = np.linalg.inv(to_grid) / spacing
    values = affine_transform(weight, to_lattice, to_lattice @ first - start / spacing, order=1,
                              output_shape=tuple((last - first + 1).astype(int)))
    chosen = np.argwhere(values > 0)
    if not len(chosen):
        return None
    index = chosen + first.astype(int)
    return _Mask(index @ np.linalg.inv(to_grid).T, orbits(density)[tuple((index % density.shape).T)],
                 values[tuple(chosen.T)], volume)


def refined(operator: Operator, points: np.ndarray, density: gemmi.FloatGrid,
            step: tuple[float, float]) -> Operator:
    """The operator nearby by which densities at points (m, 3) and where it brings them correlate best.

    ``step`` : degrees and Angstrom, of the first steps of the search.
    """
    fine = _Periodic(density)
    return _refined(operator, points, np.ones(len(points)), fine.at(points), fine, step)


def _refined(operator: Operator, points: np.ndarray, weight: np.ndarray, values: np.ndarray,
             fine: _Periodic, step: tuple[float, float]) -> Operator:
    centre = np.average(points, axis=0, weights=weight)
    operator = replace(operator, source=centre, target=operator.apply(centre))
    unit = np.repeat([np.deg2rad(step[0]), step[1]], 3)

    def cost(steps: np.ndarray) -> float:
        turn, shift = np.split(steps * unit, 2)
        return -_correlation(values, fine.at(operator.moved(turn, shift).apply(points)), weight)
    simplex = np.vstack([np.zeros(6), np.eye(6)])
    found = minimize(cost, np.zeros(6), method="Nelder-Mead",
                     options={"initial_simplex": simplex, "maxfev": 200, "xatol": 0.01, "fatol": 1e-4})
    return operator.moved(*np.split(found.x * unit, 2))


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    a, b = (values - np.average(values, weights=weight) for values in (a, b))
    norm = np.sqrt((weight @ a**2) * (weight @ b**2))
    return float(weight @ (a * b) / norm) if norm > 0 else 0.0


def _sample(grid: gemmi.FloatGrid, start: np.ndarray, axes: np.ndarray, spacing: float, count: int,
            ) -> np.ndarray:
    """Values on a cubic lattice whose axes are the columns of ``axes``, by linear interpolation."""
    transform = gemmi.Transform()
    transform.mat.fromlist((spacing * axes).tolist())
    transform.vec.fromlist(list(start))
    values = np.empty((count, count, count), np.float32)
    grid.interpolate_values(values, transform, order=1)
    return values


def _to_grid(grid: gemmi.FloatGrid) -> np.ndarray:
    """Matrix (3, 3) from orthogonal coordinates to grid indices."""
    return np.array(grid.unit_cell.frac.mat.tolist()) * np.array(grid.shape)[:, None]


def _asu_volume(grid: gemmi.FloatGrid) -> float:
    return grid.unit_cell.volume / len(grid.spacegroup.operations())
