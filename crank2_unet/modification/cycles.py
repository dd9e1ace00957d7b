"""Density modification: solvent flattening and protein density statistics with region weights.

One cycle: map, region weights, modification, removal of the map's own part (gamma), weighting
against the experiment, combination with the experimental phases, coefficients of the next map.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import gemmi
import numpy as np

from ..crystal.grids import like, structure_factors
from ..crystal.maps import CrystalMap
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, map_correlation, phase_difference
from ..errors import InputError
from .expectation import ALL_KNOWN, Knowledge, ModifiedMap, modify_map, reliability
from .ncs import NcsSums
from .region_weights import RegionWeights
from .sharpening import Sharpening
from .shell_statistics import shell_statistics
from .weighting import Trust, Weighted, combine, no_surer_than

Averager = Callable[[gemmi.FloatGrid, int, float], Optional[NcsSums]]

# Correlation of the changes of the map in two cycles, below which the second takes back the first.
# Others have hardly any correlation, however far the phases are from their end.
_BACK = -0.25
# of the amplitudes: enough of them to tell, and few enough that the control stays like the map that
# knows all
HELD_BACK = 0.08
MOST_CYCLES = 20  # by convergence
# Fewer cycles by convergence only if the map stands still, since held-back amplitudes hardly agree at
# first; and gain of their correlation in the last cycles for which more are worth their time
_LEAST_CYCLES, _STILL = 10, 1.0  # degrees of phase change
_LAST, _GAIN = 3, 0.005


@dataclass(frozen=True)
class CycleStatistics:
    """What happened in one cycle, over the measured reflections, sharpened.

    Parameters
    ----------
    cycle : number from 1.
    fom : mean figure of merit after phase combination, as :func:`modify_density` believes it.
    solvent_fraction : mean region weight.
    gamma : share of the input map that the modification returned unchanged, and that was removed.
    f_correlation : correlation of observed amplitudes with those of the modified map.
    r_factor : sum |Fo - Fc| / sum Fo after scaling.
    phase_change : mean change of the best phase since the previous cycle (in the first: since the
        starting map), degrees.
    work_correlation, free_correlation : correlation of normalised observed and modified amplitudes
        in the control, of those that it knows and of those held back; None without control.
    agreement_trust, phase_trust : see :class:`~.weighting.Trust`.
    ncs_correlation : of the density with that of its copies, mean over the operators by volume; None
        without any.
    seconds : time it took, region weights included.
    """

    cycle: int
    fom: float
    solvent_fraction: float
    gamma: float
    f_correlation: float
    r_factor: float
    phase_change: float
    work_correlation: float | None
    free_correlation: float | None
    agreement_trust: float
    phase_trust: float
    ncs_correlation: float | None
    seconds: float


@dataclass(frozen=True)
class ModificationResult:
    """Outcome of density modification; n reflections.

    Parameters
    ----------
    coefficients : (n,) complex 2mFo-DFc (centric: mFo); DFc where there is no amplitude.
    phi, fom : (n,) combined phase, degrees, and figure of merit.
    hl : (n, 4) Hendrickson-Lattman coefficients of the combined phases.
    weights : region weights of the last cycle.
    cycles : statistics of each cycle.
    trust : what was believed in the last cycle.
    next_coefficients : (n,) complex, the map that a further cycle would modify.
    modified : (n,) complex, what :func:`~.expectation.modify_map` made of the map in the last
        cycle, on the scale of that map: for programs that combine phases themselves.
    shells : :func:`~.shell_statistics.shell_statistics` of the last cycle.
    """

    coefficients: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    hl: np.ndarray
    weights: gemmi.FloatGrid
    cycles: list[CycleStatistics]
    trust: Trust
    next_coefficients: np.ndarray
    modified: np.ndarray
    shells: list[dict]


def modify_density(data: PhasedData, region_weights: RegionWeights, cycles: int | None = None,
                   progress: Callable[[CycleStatistics], None] | None = None,
                   averager: Averager | None = None, held_back: float = HELD_BACK,
                   knowledge: Knowledge = ALL_KNOWN) -> ModificationResult:
    """Improve phases by what is known of solvent and protein density.

    All cycles work on sharpened amplitudes (:mod:`~.sharpening`); the result has the
    fall-off of the data.

    Each cycle starts from the map that :func:`~.weighting.combine` makes for it.  Poor maps
    can go to and fro between two solutions, for ever; where a change takes back the one before, half
    of it is made, which ends on the way between them.

    Beside the map runs a second one, the control, with the same weights but without some of the
    amplitudes, which tell how far the agreement of amplitudes and modified map can be trusted.  The
    idea is that of the bias parameter beta of Skubak & Pannu (2011, Acta Cryst. D67, 345-354): a ratio
    of correlations of amplitudes, found once, in cycles of its own.  Here the control runs beside
    every cycle, and the share of sigma-A that overfitting leaves is a mean over its likelihood.  It
    also tells how far the experimental phases can be trusted (:func:`~.weighting.combine`).

    The masks that the control gets know the held-back amplitudes a little: where phases stay poor these
    agree too well (docs/experiments.md).

    Amplitudes that were held back choose in each cycle whether copies are averaged: the map of 5vxb at
    1.7 A, three copies, went from 32 to 34 degrees by averaging, and without it to 27.

    Averaging tells the control of amplitudes that were held back by those at places turned by NCS.
    How sure phases are that are written follows from amplitudes in units of what those let expect; the
    map goes on with weights as without, since with these phases got 2 to 6 degrees worse.

    Parameters
    ----------
    data : amplitudes, experimental phase probabilities (used anew in each cycle), starting map.
    region_weights : see :data:`~.region_weights.RegionWeights`.  They are found in the map without
        the reflections that are neither measured nor in the starting map: what the modification
        filled in there is mostly the last mask, and masks that see it confirm themselves until the
        phases are lost (seen on 5xfd, which has no data beyond 9.5 A).
    cycles : number of cycles, at least 1; None: as many as :func:`converged` takes, at most
        :data:`MOST_CYCLES`.
    progress : called with the statistics of each cycle.
    averager : sums over copies of the molecule, for instance
        :class:`~crank2_unet.modification.ncs.NcsAverager`; called with the current map and the cycle.
    held_back : share of the amplitudes that the control does not know; 0: all agreement is
        trusted, and all experimental phases.
    knowledge : of density, which is used; see :func:`~.expectation.modify_map`.

    Raises
    ------
    InputError : no cycles, no starting map, or no amplitudes.
    """
    if cycles is not None and cycles < 1:
        raise InputError(f"The number of cycles is {cycles}; it must be at least 1.")
    if not np.any(data.coefficients):
        raise InputError("The starting map is empty: all its coefficients are zero.")
    sharpening = Sharpening.of(data)
    data = sharpening.apply(data)
    main = _Sequence(data, averager, knowledge)
    unknown = _some(data, held_back)
    control = _Sequence(data, averager, knowledge, unknown) if held_back else None
    statistics = []
    for cycle in range(1, (cycles or MOST_CYCLES) + 1):
        started = time.perf_counter()
        previous_phi = main.phi
        weights = region_weights(main.seen, cycle)
        free = control.modify(weights, cycle, Trust()) if control else None
        average = control is None or control.last.ncs is not None
        weighted = main.modify(weights, cycle, free.trust if free else Trust(), average)
        if control and main.last.ncs:
            weighted = no_surer_than(weighted, main.judged(control.last.judged.trust), data)
        statistics.append(_statistics(data, previous_phi, weights, main, weighted, free, cycle,
                                      started))
        if progress:
            progress(statistics[-1])
        if cycles is None and converged(statistics):
            break
    filled, further, modified = map(sharpening.undo, (
        weighted.filled, main.map.coefficients, main.last.modified))
    shells = shell_statistics(data, weighted.phi, weighted.fom, weighted, free, unknown)
    return ModificationResult(filled, weighted.phi, weighted.fom, weighted.hl, weights, statistics,
                              weighted.trust, further, modified, shells)


def converged(cycles: Sequence[CycleStatistics]) -> bool:
    """Whether further cycles would gain nothing: the map stands still, or the held-back amplitudes
    agree no better with the control than some cycles before."""
    last = cycles[-1]
    if last.phase_change < _STILL or len(cycles) < _LEAST_CYCLES:
        return last.phase_change < _STILL
    before = cycles[-1 - _LAST].free_correlation
    return (last.free_correlation is None or before is None
            or last.free_correlation < before + _GAIN)


def _some(data: PhasedData, share: float) -> np.ndarray:
    """(n,) bool: a share of the measured reflections, always the same ones."""
    return np.isfinite(data.f) & (np.random.default_rng(0).random(len(data.f)) < share)


@dataclass(frozen=True)
class _Made:
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


class _Sequence:
    """A map that goes from cycle to cycle.

    Parameters
    ----------
    data : the experiment.
    averager, knowledge : see :func:`modify_density`.
    held_back : (n,) bool, measured reflections that the map does not know; default: none.
    """

    def __init__(self, data: PhasedData, averager: Averager | None, knowledge: Knowledge,
                 held_back: np.ndarray | None = None):
        self._data, self._averager, self._held_back = data, averager, held_back
        self._knowledge = knowledge
        start = data.coefficients if held_back is None else np.where(held_back, 0, data.coefficients)
        measured = np.isfinite(data.f)
        self._filled_in = ~measured if held_back is None else ~measured | held_back
        self.map, self.phi = CrystalMap(data.reflections, start), angle_degrees(start)
        self._step = np.zeros_like(start)

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
            ncs = self._averager(density, cycle, reliability(density, weights))
        if ncs and self._held_back is not None and any(self._knowledge):
            self.last = max((self._made(density, weights, trust, way, ncs.rotations)
                             for way in (ncs, None)),
                            key=lambda made: made.judged.free_correlation or 0.0)
        else:
            self.last = self._made(density, weights, trust, ncs)
        weighted = self.last.weighted
        before, self._step = self._step, weighted.extrinsic - self.map.coefficients
        if map_correlation(before, self._step, self._data.reflections.multiplicity) < _BACK:
            self._step = self._step / 2
        self.map = CrystalMap(self._data.reflections, self.map.coefficients + self._step)
        self.phi = weighted.phi
        return weighted

    def judged(self, trust: Trust) -> Weighted:
        """The last combination, averaged over NCS, as :class:`_Made` has it judged, by that trust."""
        ncs = self.last.ncs
        return combine(self._data, self.last.modified, trust, None, ncs.rotations if ncs else ())

    def _made(self, density: gemmi.FloatGrid, weights: gemmi.FloatGrid, trust: Trust,
              ncs: NcsSums | None, rotations: Sequence[np.ndarray] = ()) -> _Made:
        made = modify_map(density, weights, self._data.reflections.d_min, ncs, self._knowledge)
        modified = self._less_own(made)
        weighted = combine(self._data, modified, trust, self._held_back)
        judged = (combine(self._data, modified, trust, self._held_back, rotations) if rotations
                  else weighted)
        return _Made(made.gamma, modified, weighted, judged, ncs)

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


def _statistics(data: PhasedData, previous_phi: np.ndarray, weights: gemmi.FloatGrid, main: _Sequence,
                weighted: Weighted, free: Weighted | None, cycle: int, started: float,
                ) -> CycleStatistics:
    measured = np.isfinite(data.f)
    f_obs, f_calc = data.f[measured], np.abs(weighted.f_calc[measured])
    change = phase_difference(weighted.phi, previous_phi)[measured].mean()
    return CycleStatistics(
        cycle=cycle, fom=float(weighted.fom[measured].mean()),
        solvent_fraction=float(weights.array.mean()), gamma=main.last.gamma,
        f_correlation=float(np.corrcoef(f_obs, f_calc)[0, 1]),
        r_factor=float(np.abs(f_obs - f_calc).sum() / f_obs.sum()),
        phase_change=float(change),
        work_correlation=free.correlation if free else None,
        free_correlation=free.free_correlation if free else None,
        agreement_trust=weighted.trust.agreement, phase_trust=weighted.trust.phases,
        ncs_correlation=main.last.ncs.correlation if main.last.ncs else None,
        seconds=time.perf_counter() - started)
