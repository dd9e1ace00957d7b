"""A map that goes from cycle to cycle of density modification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import gemmi
import numpy as np

from ..crystal.grids import like, structure_factors
from ..crystal.maps import CrystalMap
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, map_correlation
from .expectation import Knowledge, ModifiedMap, modify_map, reliability
from .ncs import NcsAverager, NcsSums
from .weighting import Trust, Weighted, combine

# Correlation of the changes of the map in two cycles, below which the second takes back the first.
# Others have hardly any correlation, however far the phases are from their end.
_BACK = -0.25


@dataclass(frozen=True)
class Made:
    """What modification makes of a map.

    Parameters
    ----------
    gamma : share of the map that was removed.
    modified : (n,) complex structure factors.
    weighted : these and the experiment.
    judged : the same with what is left of the agreement of amplitudes once they are in units of what
        those that NCS makes alike let expect.
    ncs : sums that were averaged over; None without.
    """

    gamma: float
    modified: np.ndarray
    weighted: Weighted
    judged: Weighted
    ncs: NcsSums | None


class MapSequence:
    """A map that goes from cycle to cycle.

    Parameters
    ----------
    data : the experiment.
    averager, knowledge : see :func:`~.cycles.modify_density`.
    held_back : (n,) bool, measured reflections that the map does not know; default: none.
    """

    def __init__(self, data: PhasedData, averager: NcsAverager | None, knowledge: Knowledge,
                 held_back: np.ndarray | None = None):
        self._data, self._averager, self._held_back = data, averager, held_back
        self._knowledge = knowledge
        start = data.coefficients if held_back is None else np.where(held_back, 0, data.coefficients)
        measured = np.isfinite(data.f)
        self._filled_in = ~measured if held_back is None else ~measured | held_back
        self.map, self.phi = CrystalMap(data.reflections, start), angle_degrees(start)
        self._step = np.zeros_like(start)
        self._agreement: float | None = None  # of amplitudes held back, in the last cycle

    def extended(self, data: PhasedData, averager: NcsAverager | None, held_back: np.ndarray | None,
                 ) -> MapSequence:
        """The same map, which goes on in the longer list of reflections of ``data``."""
        spread = partial(data.reflections.spread, self._data.reflections.hkl, fill=0)
        longer = MapSequence(data, averager, self._knowledge, held_back)
        longer.map = CrystalMap(data.reflections, spread(self.map.coefficients))
        longer.phi, longer._step = spread(self.phi), spread(self._step)
        longer._agreement = self._agreement
        return longer

    @property
    def seen(self) -> CrystalMap:
        """The map without what modification has filled in."""
        known = self._data.known
        return self.map if known.all() else CrystalMap(
            self._data.reflections, np.where(known, self.map.coefficients, 0))

    def modify(self, weights: gemmi.FloatGrid, cycle: int, trust: Trust, average: bool = True,
               ) -> Weighted:
        """One cycle, after which the map is that of the next.

        ``average`` : over NCS, if there are operators.  A map that knows not all amplitudes then does
        so only if the others agree better with it, or if nothing else modifies it.
        """
        density, ncs = self.map.density, None
        if average and self._averager:
            reliable = reliability(density, weights)
            self._averager.look(density, cycle, reliable, self._agreement)
            ncs = self._averager(density, cycle, reliable)
        if ncs and self._held_back is not None and any(self._knowledge):
            self.last = max((self._made(density, weights, trust, way, ncs.rotations)
                             for way in (ncs, None)),
                            key=lambda made: made.judged.free_correlation or 0.0)
        else:
            self.last = self._made(density, weights, trust, ncs)
        weighted = self.last.weighted
        self._agreement = weighted.free_correlation
        before, self._step = self._step, weighted.extrinsic - self.map.coefficients
        if map_correlation(before, self._step, self._data.reflections.multiplicity) < _BACK:
            self._step = self._step / 2
        self.map = CrystalMap(self._data.reflections, self.map.coefficients + self._step)
        self.phi = weighted.phi
        return weighted

    def judged(self, trust: Trust) -> Weighted:
        """The last combination, averaged over NCS, as :class:`Made` has it judged, by that trust."""
        ncs = self.last.ncs
        return combine(self._data, self.last.modified, trust, None, ncs.rotations if ncs else ())

    def _made(self, density: gemmi.FloatGrid, weights: gemmi.FloatGrid, trust: Trust,
              ncs: NcsSums | None, rotations: Sequence[np.ndarray] = ()) -> Made:
        made = modify_map(density, weights, self._data.reflections.d_min, ncs, self._knowledge)
        modified = self._less_own(made)
        weighted = combine(self._data, modified, trust, self._held_back)
        judged = (combine(self._data, modified, trust, self._held_back, rotations) if rotations
                  else weighted)
        return Made(made.gamma, modified, weighted, judged, ncs)

    def _less_own(self, made: ModifiedMap) -> np.ndarray:
        """Structure factors (n,) of the modified map, in which those that are filled in have no part
        of what filled them in the cycle before.

        Gamma is the mean of the response.  It is all that a single reflection returns to itself, but
        neighbours that are all filled in, as in a missing cone, return more to one another; they
        would grow from cycle to cycle, with nothing measured to hold them.
        """
        reflections = self._data.reflections
        modified = structure_factors(made.density, reflections)
        if not self._filled_in.any():
            return modified
        filled = np.where(self._filled_in, self.map.coefficients, 0)
        returned = CrystalMap(reflections, filled).density.array * made.response.array
        own = structure_factors(like(made.response, returned), reflections) - made.gamma * filled
        return np.where(self._filled_in, modified - own, modified)
