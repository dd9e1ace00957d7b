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
from .ncs import NcsAverager, NcsSums
from .ncs_operator import Operator, PeriodicMap, refined
from .ncs_search import SITES_RADIUS, confirmed, distinct, operators_from_sites

# Cycle whose map is searched: the earlier, the more averaging helps, but poor maps get better.
LOOK = 5
# Reliability of a map to which averaging would add nothing: one of 1.8 A with phase errors of 20
# degrees lost 2.4 by it.
_GOOD = 0.7
_RADIUS = 15.0  # of the sphere that is looked for, Angstrom
_RESOLUTION = 6.0  # Angstrom
_ORIENTATIONS = 3000  # 17 degrees apart, so that the sphere is hardly off by half the resolution
# Best matches of the orientations, in units of what those below the median deviate: of 40 crystals
# without NCS one in five has one beyond, which the map at full resolution does not confirm.
_STANDS_OUT = 8.0
_MOST = 8  # matches that are refined
# degrees and Angstrom: matches closer than this are of one peak, and those so close to a symmetry of
# the crystal are the sphere itself
_PEAK = 25.0, 10.0
_STEP = 4.0, 1.0  # degrees and Angstrom, first steps of the refinement


class MapAverager(NcsAverager):
    """Averages by the operators that it finds in the map of cycle :data:`LOOK`.

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
        self.looked = False

    def __call__(self, density: gemmi.FloatGrid, cycle: int, reliability: float = 0.0,
                 ) -> NcsSums | None:
        """Sums over the operators; None while there are none."""
        everywhere = self._everywhere and reliability < _GOOD
        if cycle == LOOK and not self.looked and (everywhere or self._sites is not None):
            self.looked = True
            by_sites = operators_from_sites(self._sites, density) if self._sites is not None else []
            by_map = operators_from_map(density) if everywhere else []
            self.operators = distinct([*by_sites, *by_map], density)
        return super().__call__(density, cycle, reliability) if self.operators else None


def operators_from_map(density: gemmi.FloatGrid) -> list[Operator]:
    """Operators, and their inverses, that bring density onto like density, best first."""
    low = _low_resolution(density)
    found = distinct(_matches(low), low, _PEAK)[:_MOST]
    sphere = _sphere(low)
    fine = PeriodicMap(low)
    found = [refined(operator, operator.source + sphere, fine, _STEP) for operator in found]
    return confirmed(found, density, SITES_RADIUS)


def _low_resolution(density: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """The map to 6 Angstrom, or as far as it goes, at points half of that apart."""
    d_min = max(_RESOLUTION, 3 * max(density.spacing))
    terms = gemmi.transform_map_to_f_phi(density, half_l=True).prepare_asu_data(dmin=d_min)
    low = terms.transform_f_phi_to_map(sample_rate=2.0)
    low.array[...] /= low.array.std() or 1.0
    return low


def _sphere(grid: gemmi.FloatGrid) -> np.ndarray:
    """Grid points of a sphere round the origin, (m, 3) orthogonal Angstrom."""
    reach = np.ceil(_RADIUS / np.array(grid.spacing)).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    points = steps.reshape(-1, 3) @ grid_steps(grid).T
    return points[np.linalg.norm(points, axis=1) <= _RADIUS]


def _matches(low: gemmi.FloatGrid) -> list[Operator]:
    """The best match of each orientation, if it stands out, best first."""
    sphere, to_grid = _sphere(low), np.linalg.inv(grid_steps(low))
    deviation = local_deviation(low, _RADIUS).array
    unit = asymmetric_unit(low)
    start = np.unravel_index(np.argmax(deviation * unit), low.shape)  # where most is to be seen
    source = grid_steps(low) @ start
    itself = _copies(low, source)
    points = np.rint(sphere @ to_grid.T).astype(int) % low.shape
    place = np.ravel_multi_index(tuple(points.T), low.shape)
    terms = scipy.fft.rfftn(low.array)
    scale = 1 / (len(sphere) * np.maximum(deviation, np.median(deviation[unit])))
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
    median = np.median(heights)
    standing_out = (heights - median) / (median - np.quantile(heights, 0.16))
    return [operators[i] for i in np.argsort(heights)[::-1] if standing_out[i] > _STANDS_OUT]


def _copies(grid: gemmi.FloatGrid, point: np.ndarray) -> np.ndarray:
    """Boolean array, true near a point, orthogonal, and near those equivalent by symmetry."""
    near = grid.clone()
    near.fill(0)
    near.set_points_around(gemmi.Position(*point), _PEAK[1], 1)
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
