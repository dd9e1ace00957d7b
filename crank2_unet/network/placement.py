"""Where the network's windows lie in a crystal: tied to its map, whatever its setting.

The answer of the network depends a little on where its points lie and how its axes are turned.  Both
are therefore chosen by what does not change with the origin, the axes or the hand of the description:
the lattice of the crystal and the density.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

import gemmi
import numpy as np
from scipy.ndimage import maximum_filter

from ..crystal.grids import asymmetric_unit, density_map
from ..crystal.maps import CrystalMap
from .windows import Box, WindowPlan, boxes

_LOW_RESOLUTION = 7.0  # Angstrom, of the map that windows are tied to
_PEAKS = 8  # of its grid, among which is its highest
_ROUNDING = 1e-3  # of values of it, standard deviations
_FLAT = 1e-2  # the same per square Angstrom: curvature that is taken for none
_EQUAL = 1e-3  # relative difference of lattice vectors that are taken for equally long
_NEIGHBOURS = np.array(list(product((-1, 0, 1), repeat=3)))
# points, in units of the edge of the asymmetric unit, at which the density that axes find is compared:
# any that no symmetry of a lattice carries into each other
_PROBES = np.random.default_rng(0).uniform(-0.7, 0.7, (24, 3))
_PROBE_WEIGHTS = np.linspace(0.5, 1.0, len(_PROBES))
# places round which a box may lie, in the same units from the highest peak
_PLACES = np.vstack([np.zeros(3), np.random.default_rng(2).uniform(-0.5, 0.5, (63, 3))])
# points by which a box is known to hold all: those that hold some are tried with more
_SAMPLE = np.random.default_rng(1).uniform(-0.5, 0.5, (10000, 3))
_SOME, _MORE, _MOST = 16, 200, 1000
_NEAR = 32  # copies of each point that are tried
_AT_ONCE = 1 << 15  # points, so that little memory is needed


@dataclass(frozen=True, eq=False)
class Placement:
    """Anchor, axes and plan of the windows.

    Parameters
    ----------
    anchor : (3,) orthogonal coordinates, Angstrom, of lattice point 0, in the middle of all windows.
    axes : (3, 3), its columns are orthogonal unit vectors along vectors of the crystal's lattice; they
        may be left-handed.
    spacing : of the window points, Angstrom.
    sides : (3,) proportions of the box that holds the asymmetric unit: of the copies of each point,
        the one in the smallest box round the anchor.
    plan : windows that cover it.
    """

    anchor: np.ndarray
    axes: np.ndarray
    spacing: float
    sides: np.ndarray
    plan: WindowPlan
    _known: dict = field(default_factory=dict, init=False, repr=False)  # of the grids of a job

    @classmethod
    def of(cls, seen: CrystalMap, spacing: float, margin: int, largest: int) -> Placement:
        """The placement for a map.  Equal maps in other settings give the same place in the crystal.

        Of the boxes round the highest peak and round places beside it the one is taken that needs the
        least work.  Axes that the lattice cannot tell apart are told apart by the density.

        Parameters
        ----------
        seen : the map.
        spacing : of the window points, Angstrom.
        margin, largest : see :func:`~.windows.boxes`.
        """
        low = _LowMap(seen)
        crystal = _Symmetry.of(low.grid)
        edge = (low.grid.unit_cell.volume / crystal.order) ** (1 / 3)
        peak, frames = low.highest(), crystal.frames()
        found = [low.values(peak + edge * _PROBES @ frame.T) @ _PROBE_WEIGHTS for frame in frames]
        axes = frames[int(np.argmax(found))]
        anchors = peak + edge * _PLACES @ axes.T
        # points of all places in the crystal, which the peak and the axes tie to it, too
        sample = peak + np.linalg.norm(crystal.basis, axis=1).sum() * _SAMPLE @ axes.T
        anchor, box = _smallest(crystal, anchors, axes, sample, spacing, margin, largest)
        copies = crystal.in_smallest_box(anchor, sample, axes, box.inner)
        return cls(anchor, axes, spacing, box.inner, box.plan(copies.T / spacing))

    def corner(self, start: np.ndarray) -> np.ndarray:
        """Orthogonal coordinates, Angstrom, of a lattice point."""
        return self.anchor + self.spacing * self.axes @ start

    def places(self, grid: gemmi.FloatGrid) -> np.ndarray:
        """Where the points of the asymmetric unit of a grid are found: (3, n) points of the plan's
        lattice, counted from its first, in the order of
        :func:`~crank2_unet.crystal.grids.asymmetric_unit`; not to be changed."""
        if grid.shape not in self._known:
            self._known[grid.shape] = _places(self, grid)
        return self._known[grid.shape]


def _smallest(crystal: _Symmetry, anchors: np.ndarray, axes: np.ndarray, sample: np.ndarray,
              spacing: float, margin: int, largest: int) -> tuple[np.ndarray, Box]:
    """The box of the least work round any anchor that holds a copy of each point of a sample."""
    def around(place: int, most: int) -> np.ndarray:
        copies = crystal.copies_around(anchors[place], sample[:most]) @ axes / spacing
        return np.ascontiguousarray(np.moveaxis(np.abs(copies), -1, 0), np.float32)

    some = np.stack([around(place, _SOME) for place in range(len(anchors))], axis=1)
    more = lru_cache(lambda place: around(place, _MORE))
    volume = abs(np.linalg.det(crystal.basis)) / len(crystal.turns) / spacing**3
    reach = 2 * np.abs(crystal.basis @ axes).sum(axis=0) / spacing
    for box in boxes(volume, reach, margin, largest):
        half = (box.inner - 1) / 2
        for place in np.flatnonzero(_held(some, half)):
            most = spacing * (half + 1)  # a corner may reach a point into the margin
            if _held(more(place), half) and all(
                    np.all(np.abs(crystal.in_smallest_box(anchors[place], points, axes, half, most))
                           <= most[:, None]) for points in (sample[:_MOST], sample)):
                return anchors[place], box
    return anchors[0], box  # the last, which holds a whole cell


def _held(copies: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Whether of each point a copy, (3, ..., points, copies), is in a box of half these sides."""
    x, y, z = (values <= most for values, most in zip(copies, half))
    return (x & y & z).any(axis=-1).all(axis=-1)


def orthogonal(grid: gemmi.FloatGrid) -> np.ndarray:
    """Matrix from fractional to orthogonal coordinates."""
    return np.array(grid.unit_cell.orth.mat.tolist())


def _box(points: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Size of the boxes of given proportions that reach from the anchor to points, (3, ...).

    It is an eighth power of a length: nearly the largest coordinate, but without its ties.
    """
    size = np.zeros(points.shape[1:], np.float32)
    for values, side in zip(points, sides):
        part = values * np.float32(1 / side)
        for _ in range(3):
            part *= part
        size += part
    return size


class _LowMap:
    """The map at low resolution, in units of its standard deviation."""

    def __init__(self, seen: CrystalMap):
        reflections = seen.reflections
        used = (reflections.d >= _LOW_RESOLUTION) & (seen.coefficients != 0)
        self.grid = density_map(reflections, np.where(used, seen.coefficients, 0), _LOW_RESOLUTION / 6)
        unit = float(self.grid.array.std()) or 1.0
        self.grid.array[...] /= unit
        # its Fourier terms over the whole sphere: exact heights and places, whatever the grid
        hkl, f = reflections.hkl[used], (reflections.multiplicity * seen.coefficients)[used] / unit
        parts = [(hkl @ (np.array(op.rot) / op.DEN), np.array(op.tran) / op.DEN)
                 for op in reflections.spacegroup.operations().sym_ops]
        self._vectors = np.vstack([h for h, _ in parts]) @ np.array(reflections.cell.frac.mat.tolist())
        self._terms = np.concatenate([f * np.exp(-2j * np.pi * (hkl @ shift)) for _, shift in parts])
        self._terms /= reflections.cell.volume * len(parts)

    def values(self, positions: np.ndarray) -> np.ndarray:
        """At orthogonal coordinates, (n, 3) Angstrom, interpolated."""
        return np.array([self.grid.interpolate_value(gemmi.Position(*x), order=3) for x in positions])

    def highest(self) -> np.ndarray:
        """The highest peak, orthogonal coordinates (3,)."""
        values = self.grid.array
        # rounding may make a copy by symmetry beside it, in another asymmetric unit, seem higher
        highest = values >= maximum_filter(values, 3, mode="wrap") - _ROUNDING
        there = highest & asymmetric_unit(self.grid)
        places = np.argwhere(there)
        places = places[np.argsort(-values[there], kind="stable")[:_PEAKS]]
        peaks = [self._climb(place) for place in places / values.shape @ orthogonal(self.grid).T]
        return max(peaks, key=lambda peak: peak[0])[1]

    def _climb(self, place: np.ndarray) -> tuple[float, np.ndarray]:
        """Height and place of the maximum near a grid point."""
        for _ in range(12):
            terms = self._terms * np.exp(-2j * np.pi * (self._vectors @ place))
            slope = 2 * np.pi * terms.imag @ self._vectors
            curvature, along = np.linalg.eigh(
                -4 * np.pi**2 * (self._vectors.T * terms.real) @ self._vectors)
            # uphill, whatever the curvature: between two tops it is that of a saddle
            step = along @ ((slope @ along) / np.maximum(np.abs(curvature), _FLAT))
            place = place + step / max(np.linalg.norm(step), 1.0)
        return float(terms.real.sum()), place


@dataclass(frozen=True, eq=False)
class _Symmetry:
    """Symmetry in orthogonal coordinates.

    Parameters
    ----------
    turns, shifts : (k, 3, 3) and (k, 3) Angstrom; the first operation is the identity, centring is left
        to the lattice.
    basis : (3, 3), its rows are the three shortest vectors of the primitive lattice.
    vectors : (n, 3) vectors of the lattice, by length.
    order : number of asymmetric units in the cell.
    """

    turns: np.ndarray
    shifts: np.ndarray
    basis: np.ndarray
    vectors: np.ndarray
    order: int

    @classmethod
    def of(cls, grid: gemmi.FloatGrid) -> _Symmetry:
        operations = grid.spacegroup.operations()
        orth, frac = (np.array(x.mat.tolist()) for x in (grid.unit_cell.orth, grid.unit_cell.frac))
        turns = np.array([orth @ (np.array(op.rot) / op.DEN) @ frac for op in operations.sym_ops])
        shifts = np.array([orth @ (np.array(op.tran) / op.DEN) for op in operations.sym_ops])
        centring = np.array(operations.cen_ops) / gemmi.Op.DEN
        steps = np.array(list(product(range(-4, 5), repeat=3)))
        vectors = (steps[:, None] + centring).reshape(-1, 3) @ orth.T
        lengths = np.linalg.norm(vectors, axis=1)
        vectors = vectors[np.argsort(lengths, kind="stable")][1:200]
        return cls(turns, shifts, _basis(vectors), vectors, len(operations))

    def copies_around(self, anchor: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The copies of points that are nearest to the anchor, as seen from it: (n, k, 3)."""
        apart = (self.turns @ points.T).transpose(2, 0, 1) + self.shifts - anchor
        apart = apart - np.round(apart @ np.linalg.inv(self.basis)) @ self.basis
        apart = (apart[:, :, None] + _NEIGHBOURS @ self.basis).reshape(len(points), -1, 3)
        few = min(_NEAR, apart.shape[1])
        nearest = np.argpartition((apart**2).sum(axis=-1), few - 1, axis=1)[:, :few]
        return np.take_along_axis(apart, nearest[:, :, None], axis=1)

    def in_smallest_box(self, anchor: np.ndarray, points: np.ndarray, axes: np.ndarray,
                        sides: np.ndarray, half: np.ndarray | float = np.inf) -> np.ndarray:
        """Of all copies of each point the one in the smallest box round the anchor, as seen from there
        along the axes: (3, n) Angstrom.  ``half`` of the largest box is known to be enough."""
        along = self.basis @ axes  # vectors of the lattice
        lattice = _NEIGHBOURS @ along
        most = np.abs(along).sum(axis=0) / 2 + half
        lattice = lattice[np.all(np.abs(lattice) <= most, axis=1)].astype(np.float32)
        size = np.full(len(points), np.inf, np.float32)
        copies = np.zeros((3, len(points)), np.float32)
        points, inverse = points.T.astype(np.float32), np.linalg.inv(self.basis)
        for rotation, shift in zip(self.turns, self.shifts):
            into = (rotation @ inverse).T.astype(np.float32)
            cells = into @ points - ((shift @ rotation + anchor) @ inverse)[:, None].astype(np.float32)
            cells -= np.round(cells)
            apart = along.T.astype(np.float32) @ cells
            for vector in lattice:
                copy = apart + vector[:, None]
                found = _box(copy, sides)
                smaller = found < size * np.float32(1 - _EQUAL)
                np.copyto(size, found, where=smaller)
                np.copyto(copies, copy, where=smaller)
        return copies

    def frames(self) -> list[np.ndarray]:
        """Right- and left-handed axes along the shortest vectors of the lattice, one for each way to
        choose among equally long ones."""
        found = []
        for first in self.vectors[_shortest(self.vectors)]:
            x = first / np.linalg.norm(first)
            beside = self.vectors[np.linalg.norm(np.cross(self.vectors, x), axis=1) > 1e-3]
            for second in beside[_shortest(beside)]:
                y = second - (second @ x) * x
                y /= np.linalg.norm(y)
                found += [np.column_stack([x, y, sign * np.cross(x, y)]) for sign in (1, -1)]
        return found


def _shortest(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1)
    return lengths <= lengths.min() * (1 + _EQUAL)


def _basis(vectors: np.ndarray) -> np.ndarray:
    """The three shortest independent vectors of those given by length."""
    first = vectors[0]
    second = next(v for v in vectors if np.linalg.norm(np.cross(first, v)) > 1e-3)
    normal = np.cross(first, second)
    return np.array([first, second, next(v for v in vectors if abs(normal @ v) > 1e-3)])


def _places(placement: Placement, grid: gemmi.FloatGrid) -> np.ndarray:
    shape = grid.shape
    crystal, axes = _Symmetry.of(grid), placement.axes
    points = np.flatnonzero(asymmetric_unit(grid))
    half = placement.spacing * np.array(placement.plan.extent) / 2
    fractional = orthogonal(grid).T / np.array(shape)[:, None]
    places = np.empty((3, len(points)), np.float32)
    for first in range(0, len(points), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        index = np.transpose(np.unravel_index(points[some], shape))
        copies = crystal.in_smallest_box(placement.anchor, index @ fractional, axes, placement.sides,
                                         half)
        places[:, some] = copies / placement.spacing - np.array(placement.plan.low)[:, None]
    places.flags.writeable = False
    return places
