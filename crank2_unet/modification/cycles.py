"""Density modification: solvent flattening and protein density statistics with region weights.

One cycle: map, region weights, modification, removal of the map's own part (gamma), weighting
against the experiment, combination with the experimental phases, coefficients of the next map.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import gemmi
import numpy as np

from ..crystal.grids import resample
from ..crystal.observations import PhasedData
from ..crystal.phases import phase_difference
from ..crystal.reflections import Reflections
from ..errors import InputError
from .expectation import ALL_KNOWN, Knowledge
from .ncs import NcsAverager
from .region_weights import RegionWeights
from .sequence import MapSequence
from .sharpening import Sharpening
from .shell_statistics import shell_statistics
from .weighting import Trust, Weighted, no_surer_than

# of the amplitudes: enough of them to tell, and few enough that the control stays like the map that
# knows all
HELD_BACK = 0.08
_MOST = 40  # by convergence, within the resolution of the data, and as many beyond it
# Fewer cycles by convergence only if the map stands still, since held-back amplitudes hardly agree at
# first; and gain of their correlation in the last cycles for which more are worth their time
_LEAST_CYCLES, _STILL = 10, 1.0  # degrees of phase change
_LAST, _GAIN = 3, 0.005
# Then the same with more reflections than there are data, to this share of their resolution, to no more
# than this, Angstrom, and where they are not too many to be worth memory and time
_FURTHER, _FINEST, _MOST_REFLECTIONS = 0.8, 1.0, 2e6
_LEAST_FURTHER = 4  # cycles
MOST_CYCLES = 2 * _MOST  # if their number is not given


@dataclass(frozen=True)
class CycleStatistics:
    """What happened in one cycle, over the measured reflections, sharpened.

    Parameters
    ----------
    cycle : number from 1.
    d_min : of the map, Angstrom; beyond the data it is filled in.
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
    d_min: float
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
class BeyondData:
    """What cycles with reflections beyond the data came to.

    Parameters
    ----------
    d_min : of their maps, Angstrom.
    used : whether the result is theirs.
    free_correlation, free_correlation_before : of the held-back amplitudes, after them and before.
    """

    d_min: float
    used: bool
    free_correlation: float
    free_correlation_before: float


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
    beyond_data : what was tried with reflections beyond the data; None: nothing.
    averager : as the last cycle left it.
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
    beyond_data: BeyondData | None
    averager: NcsAverager | None


def modify_density(data: PhasedData, region_weights: RegionWeights, cycles: int | None = None,
                   progress: Callable[[CycleStatistics], None] | None = None,
                   averager: NcsAverager | None = None, held_back: float = HELD_BACK,
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

    Atoms, and flat solvent, tell of reflections beyond those measured.  Once the cycles have converged,
    they go on with the map to 0.8 of the resolution, where all is filled in ("free lunch": Caliandro et
    al., 2005, Acta Cryst. D61, 556-565; Uson et al., 2007, Acta Cryst. D63, 1069-1074).  Of what comes
    out, with these and without, that is taken with which held-back amplitudes agree better: good maps
    gain one to three degrees, poor ones may lose.

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
    cycles : number of cycles, at least 1, within the resolution of the data; None: as many as
        :func:`converged` takes, and those beyond that resolution, at most :data:`MOST_CYCLES`.
    progress : called with the statistics of each cycle.
    averager : sums over copies of the molecule, called with the current map and the cycle.
        Cycles beyond the data are made with a copy of it, whichever of the two is then that of the
        result.
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
    sharp = sharpening.apply(data)
    run = _Run.of(sharp, region_weights, averager, held_back, knowledge, progress)
    if cycles is not None:
        run.go_on(cycles, cycles)
        return run.result(sharp, sharpening)
    run.go_on(1, _MOST)
    run, beyond = _with_more_reflections(run)
    return run.result(sharp, sharpening, beyond)


def finest(reflections: Reflections) -> float:
    """Resolution, Angstrom, of the finest map that is made of data, if the number of cycles is not
    given."""
    d_min = max(_FURTHER * reflections.d_min, _FINEST)
    if len(reflections) * (reflections.d_min / d_min)**3 > _MOST_REFLECTIONS:
        return reflections.d_min
    return min(reflections.d_min, d_min)


def _with_more_reflections(run: _Run) -> tuple[_Run, BeyondData | None]:
    """What a run comes to with reflections beyond the data, if amplitudes that were held back agree
    better then, else the run; and what was seen."""
    d_min, before = finest(run.data.reflections), run.free_correlation
    if before is None or d_min == run.data.reflections.d_min:
        return run, None
    further = run.extended(d_min)
    further.go_on(_LEAST_FURTHER, _MOST)
    after = further.free_correlation
    assert after is not None  # the same amplitudes are held back
    return further if after > before else run, BeyondData(d_min, after > before, after, before)


def converged(cycles: Sequence[CycleStatistics]) -> bool:
    """Whether further cycles would gain nothing: the map stands still, or the held-back amplitudes
    agree no better with the control than some cycles before."""
    last = cycles[-1]
    if last.phase_change < _STILL or len(cycles) < _LEAST_CYCLES:
        return last.phase_change < _STILL
    before = cycles[-1 - _LAST].free_correlation
    return (last.free_correlation is None or before is None
            or last.free_correlation < before + _GAIN)


class _Run:
    """The map and its control, from cycle to cycle.

    Parameters
    ----------
    data : sharpened.
    main, control : the map, and that without the amplitudes of ``unknown``, (n,) bool; None: there is
        no control.
    averager : of both.
    region_weights, progress : see :func:`modify_density`.
    statistics : of the cycles so far.
    """

    def __init__(self, data: PhasedData, main: MapSequence, control: MapSequence | None,
                 unknown: np.ndarray, averager: NcsAverager | None, region_weights: RegionWeights,
                 progress: Callable[[CycleStatistics], None] | None,
                 statistics: Sequence[CycleStatistics] = ()):
        self.data, self._main, self._control, self._unknown = data, main, control, unknown
        self._averager, self._region_weights, self._progress = averager, region_weights, progress
        self._statistics = list(statistics)

    @classmethod
    def of(cls, data: PhasedData, region_weights: RegionWeights, averager: NcsAverager | None,
           held_back: float, knowledge: Knowledge,
           progress: Callable[[CycleStatistics], None] | None) -> _Run:
        """Before the first cycle; see :func:`modify_density`."""
        unknown = np.isfinite(data.f) & (np.random.default_rng(0).random(len(data.f)) < held_back)
        control = MapSequence(data, averager, knowledge, unknown) if held_back else None
        return cls(data, MapSequence(data, averager, knowledge), control, unknown, averager,
                   region_weights, progress)

    def extended(self, d_min: float) -> _Run:
        """The same run, from which another goes on with all reflections to a finer resolution."""
        data, old = self.data.at_resolution(d_min), self.data.reflections
        unknown = data.reflections.spread(old.hkl, self._unknown, fill=False)
        averager = copy.copy(self._averager)  # each refines its operators in its own maps
        return _Run(data, self._main.extended(data, averager, None),
                    self._control and self._control.extended(data, averager, unknown), unknown,
                    averager, self._region_weights, self._progress, self._statistics)

    @property
    def free_correlation(self) -> float | None:
        """That of the last cycle."""
        return self._statistics[-1].free_correlation

    def go_on(self, least: int, most: int) -> None:
        """Cycles until they have converged, at least and at most so many."""
        for done in range(1, most + 1):
            self._cycle()
            if done >= least and converged(self._statistics):
                break

    def _cycle(self) -> None:
        started = time.perf_counter()
        main, control, cycle = self._main, self._control, len(self._statistics) + 1
        previous_phi = main.phi
        weights = self._region_weights(main.seen, cycle)
        free = control.modify(weights, cycle, Trust()) if control else None
        average = control is None or control.last.ncs is not None
        weighted = main.modify(weights, cycle, free.trust if free else Trust(), average)
        if control and main.last.ncs:
            weighted = no_surer_than(weighted, main.judged(control.last.judged.trust), self.data)
        self._weights, self._weighted, self._free = weights, weighted, free
        self._statistics.append(_statistics(self.data, previous_phi, weights, main, weighted, free,
                                            cycle, started))
        if self._progress:
            self._progress(self._statistics[-1])

    def result(self, given: PhasedData, sharpening: Sharpening,
               beyond: BeyondData | None = None) -> ModificationResult:
        """What the last cycle gives for the reflections of the data given, sharpened."""
        place = self.data.reflections.find(given.reflections.hkl)
        weighted = self._weighted.take(place)
        free = self._free and self._free.take(place)
        filled, further, modified = map(sharpening.undo, (
            weighted.filled, self._main.map.coefficients[place], self._main.last.modified[place]))
        shells = shell_statistics(given, weighted.phi, weighted.fom, weighted, free,
                                  self._unknown[place])
        return ModificationResult(
            filled, weighted.phi, weighted.fom, weighted.hl,
            resample(self._weights, given.map.density), self._statistics, weighted.trust, further,
            modified, shells, beyond, self._averager)


def _statistics(data: PhasedData, previous_phi: np.ndarray, weights: gemmi.FloatGrid, main: MapSequence,
                weighted: Weighted, free: Weighted | None, cycle: int, started: float,
                ) -> CycleStatistics:
    measured = np.isfinite(data.f)
    f_obs, f_calc = data.f[measured], np.abs(weighted.f_calc[measured])
    change = phase_difference(weighted.phi, previous_phi)[measured].mean()
    return CycleStatistics(
        cycle=cycle, d_min=data.reflections.d_min, fom=float(weighted.fom[measured].mean()),
        solvent_fraction=float(weights.array.mean()), gamma=main.last.gamma,
        f_correlation=float(np.corrcoef(f_obs, f_calc)[0, 1]),
        r_factor=float(np.abs(f_obs - f_calc).sum() / f_obs.sum()),
        phase_change=float(change),
        work_correlation=free.correlation if free else None,
        free_correlation=free.free_correlation if free else None,
        agreement_trust=weighted.trust.agreement, phase_trust=weighted.trust.phases,
        ncs_correlation=main.last.ncs.correlation if main.last.ncs else None,
        seconds=time.perf_counter() - started)
