"""NCS operators from the map alone.

The density in a sphere is looked for in every orientation round every point of the cell, by a phased
translation function for each orientation (Cowtan, 1998, Acta Cryst. D54, 750-756), at low resolution,
where few orientations and points are enough.  What stands out is refined and has to be confirmed by the
map at full resolution, as operators from sites have to be.
"""

from __future__ import annotations

from collections.abc import Iterator

import gemmi
import numpy as np
import scipy.fft
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from ..crystal.filters import local_deviation
from ..crystal.grids import asymmetric_unit, grid_steps
from .ncs import NcsAverager
from .ncs_operator import Operator, PeriodicMap, refined, weighted_correlation
from .ncs_search import (
    LEAST_CORRELATION,
    SITES_RADIUS,
    confirmed,
    distinct,
    is_symmetry,
    operators_from_sites,
)

# Cycles whose map is searched, the second one if the first map showed nothing: the earlier, the more
# averaging helps, but poor maps get better.
LOOKS = 5, 10
# Correlation of held-back amplitudes from which averaging adds nothing to a map: one of 2.2 A with 0.68
# and phase errors of 21 degrees lost 1.2 by it; one with 0.52 and 29 degrees gained 4.8.
_GOOD = 0.6
# Angstrom: spheres that are looked for, the one in which most is to be seen and the next one of each
# size; small molecules are lost in a large sphere, and a small one holds too little of a poor map
_RADII, _SOURCES = (15.0, 18.0), 2
_RESOLUTION = 6.0  # Angstrom
_ORIENTATIONS = 3000  # 17 degrees apart, so that the sphere is hardly off by half the resolution
_MATCHES, _MOST = 12, 6  # of each sphere that are refined, and of each size that are tried after that
_PER_MATCH = 4  # orientations that may show one match
_POINTS = 450  # of a sphere, which are enough to refine by
# degrees and Angstrom: matches closer than this are of one peak, and those so close to a symmetry of
# the crystal are the sphere itself
_PEAK = 25.0, 10.0
_STEP = 4.0, 1.0  # degrees and Angstrom, first steps of the refinement
# What the search finds has to hold in more of the asymmetric unit than what sites show, and copies
# cannot agree better than the signal in the map allows, up to an error.  In cycles 5 and 10 of 13 sets,
# three of them poor ones in which a tenth of the unit lets false operators pass, those of whole
# molecules have 0.35 and more of the unit and up to 1.1 of the signal; false ones, nearly all in maps
# of phase errors beyond 70 degrees, have up to 0.24 of the unit, or 1.4 of the signal and more.
_LEAST_SHARE, _MOST_OF_SIGNAL = 0.25, 1.2


class MapAverager(NcsAverager):
    """Averages by the operators that it finds in the maps of the cycles :data:`LOOKS`.

    Parameters
    ----------
    start : the map as phased.
    sites : heavy atoms whose arrangement may show operators.
    everywhere : operators are looked for without sites, too, if the map is not good without.
    """

    def __init__(self, start: gemmi.FloatGrid, sites: gemmi.Structure | None = None,
                 everywhere: bool = True):
        super().__init__((), start, SITES_RADIUS)
        self._sites, self._everywhere = sites, everywhere
        self.looked, self._last = False, 0  # and the cycle in which it might have

    def look(self, density: gemmi.FloatGrid, cycle: int, reliability: float,
             agreement: float | None) -> None:
        if self.operators:  # refined, two may have become one, whose noise would count twice
            self.operators = distinct(self.operators, density)
        if cycle not in LOOKS or cycle == self._last or self.operators:
            return
        self._last = cycle
        everywhere = self._everywhere and (agreement or 0.0) < _GOOD
        if everywhere or self._sites is not None:
            self.looked = True
            by_sites = operators_from_sites(self._sites, density) if self._sites is not None else []
            by_map = operators_from_map(density, reliability) if everywhere else []
            self.operators = distinct([*by_sites, *by_map], density)


def operators_from_map(density: gemmi.FloatGrid, reliability: float) -> list[Operator]:
    """Operators, and their inverses, that bring density onto like density, best first.

    Parameters
    ----------
    density : map.
    reliability : share of the variance of the density that is signal, 0..1.
    """
    most = _MOST_OF_SIGNAL * reliability
    if most < LEAST_CORRELATION:  # nothing could be confirmed
        return []
    low = _low_resolution(density)
    fine, found = PeriodicMap(low), []
    for radius in _RADII:
        sphere, tried = _sphere(low, radius), []
        some = sphere[::max(1, len(sphere) // _POINTS)]
        for source in _sources(low, radius):
            for operator in distinct(_matches(low, source, sphere), low, _PEAK)[:_MATCHES]:
                operator = refined(operator, source + some, fine, _STEP)
                if not is_symmetry(operator, low):
                    here, there = (fine.at(points) for points in (
                        source + some, operator.apply(source + some)))
                    tried.append((weighted_correlation(here, there, np.ones(len(some))), operator))
        found += [operator for _, operator in sorted(tried, key=lambda one: -one[0])[:_MOST]]
    return confirmed(distinct(found, low), density, SITES_RADIUS, _LEAST_SHARE, most)


def _low_resolution(density: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """The map to 6 Angstrom, or as far as it goes, at points half of that apart."""
    d_min = max(_RESOLUTION, 3 * max(density.spacing))
    terms = gemmi.transform_map_to_f_phi(density, half_l=True).prepare_asu_data(dmin=d_min)
    low = terms.transform_f_phi_to_map(sample_rate=2.0)
    low.array[...] /= low.array.std() or 1.0
    return low


def _sphere(grid: gemmi.FloatGrid, radius: float) -> np.ndarray:
    """Grid points of a sphere round the origin, (m, 3) orthogonal Angstrom."""
    reach = np.ceil(radius / np.array(grid.spacing)).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    points = steps.reshape(-1, 3) @ grid_steps(grid).T
    return points[np.linalg.norm(points, axis=1) <= radius]


def _sources(low: gemmi.FloatGrid, radius: float) -> Iterator[np.ndarray]:
    """Points, orthogonal, round which most is to be seen, in spheres of which none holds the middle of
    another."""
    left = local_deviation(low, radius).array * asymmetric_unit(low)
    for _ in range(_SOURCES):
        source = grid_steps(low) @ np.unravel_index(left.argmax(), low.shape)
        yield source
        left[_copies(low, source, radius)] = 0


def _matches(low: gemmi.FloatGrid, source: np.ndarray, sphere: np.ndarray) -> list[Operator]:
    """The best match of each orientation of the sphere round a point, best first."""
    to_grid = np.linalg.inv(grid_steps(low))
    deviation = local_deviation(low, np.linalg.norm(sphere, axis=1).max()).array
    itself = _copies(low, source, _PEAK[1])
    points = np.rint(sphere @ to_grid.T).astype(int) % low.shape
    place = np.ravel_multi_index(tuple(points.T), low.shape)
    terms = scipy.fft.rfftn(low.array)
    usual = np.median(deviation[asymmetric_unit(low)])
    scale = 1 / (len(sphere) * np.maximum(deviation, usual))
    heights, operators = [], []
    for rotation in _orientations(low):
        turned = to_grid @ (source + sphere @ rotation).T
        seen = map_coordinates(low.array, turned, order=1, mode="grid-wrap", prefilter=False)
        seen = (seen - seen.mean()) / (seen.std() or 1.0)
        template = np.bincount(place, seen, low.array.size).astype(np.float32).reshape(low.shape)
        match = scale * scipy.fft.irfftn(terms * scipy.fft.rfftn(template).conj(), s=low.shape)
        if np.trace(rotation) > 1 + 2 * np.cos(np.deg2rad(_PEAK[0])):
            match[itself] = 0
        best = np.unravel_index(match.argmax(), low.shape)
        heights.append(match[best])
        operators.append(Operator(rotation, source, grid_steps(low) @ best))
    return [operators[i] for i in np.argsort(heights)[::-1][:_PER_MATCH * _MATCHES]]


def _copies(grid: gemmi.FloatGrid, point: np.ndarray, radius: float) -> np.ndarray:
    """Boolean array, true near a point, orthogonal, and near those equivalent by symmetry."""
    near = grid.clone()
    near.fill(0)
    near.set_points_around(gemmi.Position(*point), radius, 1)
    near.symmetrize_max()
    return near.array > 0


def _orientations(grid: gemmi.FloatGrid) -> Iterator[np.ndarray]:
    """Rotation matrices, evenly spread, of which none is another one after a symmetry of the crystal.

    They lie on super-Fibonacci spirals (Alexa, 2022, IEEE/CVF Conf. Computer Vision and Pattern
    Recognition, 8281-8290).
    """
    step = np.arange(_ORIENTATIONS) + 0.5
    inner, outer = np.sqrt(step / _ORIENTATIONS), np.sqrt(1 - step / _ORIENTATIONS)
    one, other = 2 * np.pi * step / np.sqrt(2), 2 * np.pi * step / 1.533751168755204288118041
    rotations = Rotation.from_quat(np.stack([
        inner * np.sin(one), inner * np.cos(one), outer * np.sin(other), outer * np.cos(other)],
        axis=1)).as_matrix()
    orth, frac = (np.array(t.mat.tolist()) for t in (grid.unit_cell.orth, grid.unit_cell.frac))
    turns = np.array([orth @ (np.array(op.rot) / op.DEN) @ frac
                      for op in grid.spacegroup.operations().sym_ops])
    # of those alike by symmetry the one that turns least: it has the largest trace
    trace = np.einsum("sij,nji->sn", turns, rotations)
    yield from rotations[trace[0] >= trace.max(axis=0) - 1e-9]
