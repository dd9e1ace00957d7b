"""Density modification: solvent flattening and protein density statistics with region weights.

One cycle: map, region weights, modification, removal of the map's own part (gamma), weighting
against the experiment, combination with the experimental phases, coefficients of the next map.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

import gemmi
import numpy as np

from ..crystal.grids import asymmetric_unit, like, orbits, structure_factors
from ..crystal.maps import CrystalMap
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, map_correlation, phase_difference
from ..errors import InputError
from .ncs import NcsSums
from .protein_statistics import protein_levels
from .region_weights import RegionWeights
from .sharpening import Sharpening
from .weighting import Weighted, combine

Averager = Callable[[gemmi.FloatGrid, int], NcsSums]

# Least share of the variance in the protein that is taken as signal, where the protein is hardly
# more varied than the solvent, and as noise, where the solvent is already flat.
_MIN_SHARE = 0.02
# Share of the points on either side that is clipped to measure means and variances: the peaks of
# heavy atoms, 15-45 standard deviations high in SAD maps, would dominate them.
_EXTREME = 0.01
# Correlation of the changes of the map in two cycles, below which the second takes back the first.
# Others have hardly any correlation, however far the phases are from their end.
_BACK = -0.25
# of the amplitudes: enough of them to tell, and few enough that the control stays like the map that
# knows all
HELD_BACK = 0.08
_MAP_LEVELS = 1000  # to tabulate a smooth function of density
_NOISE_LEVELS = 17  # to tabulate it for the shares of noise that NCS averaging leaves


@dataclass(frozen=True)
class CycleStatistics:
    """What happened in one cycle, over the measured reflections, sharpened.

    Parameters
    ----------
    cycle : number from 1.
    fom : mean figure of merit after phase combination.
    solvent_fraction : mean region weight.
    gamma : share of the input map that the modification returned unchanged, and that was removed.
    f_correlation : correlation of observed amplitudes with those of the modified map.
    r_factor : sum |Fo - Fc| / sum Fo after scaling.
    phase_change : mean change of the best phase since the previous cycle (in the first: since the
        starting map), degrees.
    seconds : time it took, region weights included.
    """

    cycle: int
    fom: float
    solvent_fraction: float
    gamma: float
    f_correlation: float
    r_factor: float
    phase_change: float
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
    next_coefficients : (n,) complex, the map that a further cycle would modify.
    modified : (n,) complex, what :func:`modify_map` made of the map in the last cycle, on the
        scale of that map: for programs that combine phases themselves.
    """

    coefficients: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    hl: np.ndarray
    weights: gemmi.FloatGrid
    cycles: list[CycleStatistics]
    next_coefficients: np.ndarray
    modified: np.ndarray


def modify_density(data: PhasedData, region_weights: RegionWeights, cycles: int,
                   progress: Callable[[CycleStatistics], None] | None = None,
                   averager: Averager | None = None, held_back: float = HELD_BACK,
                   ) -> ModificationResult:
    """Improve phases by what is known of solvent and protein density.

    All cycles work on sharpened amplitudes (:mod:`~.sharpening`); the result has the
    fall-off of the data.

    Each cycle starts from the map that :func:`~.weighting.combine` makes for it.  Poor maps
    can go to and fro between two solutions, for ever; where a change takes back the one before, half
    of it is made, which ends on the way between them.

    Beside the map runs a second one, the control, with the same weights but without some of the
    amplitudes, which tell how far the agreement of amplitudes and modified map can be trusted.  The
    idea is that of the bias parameter beta of Skubak & Pannu (2011, Acta Cryst. D67, 345-354), which
    is found by cross-validation, too; here it is a distribution over the share of sigma-A that
    overfitting leaves, by likelihood in each cycle, and the map keeps all its amplitudes.

    Parameters
    ----------
    data : amplitudes, experimental phase probabilities (used anew in each cycle), starting map.
    region_weights : see :data:`~.region_weights.RegionWeights`.  They are found in the map without
        the reflections that are neither measured nor in the starting map: what the modification
        filled in there is mostly the last mask, and masks that see it confirm themselves until the
        phases are lost (seen on 5xfd, which has no data beyond 9.5 A).
    cycles : number of cycles, at least 1.
    progress : called with the statistics of each cycle.
    averager : sums over copies of the molecule, for instance
        :class:`~crank2_unet.modification.ncs.NcsAverager`; called with the current map and the cycle.
    held_back : share of the amplitudes that the control does not know; 0: all agreement is trusted.

    Raises
    ------
    InputError : no cycles, no starting map, or no amplitudes.
    """
    if cycles < 1:
        raise InputError(f"The number of cycles is {cycles}; it must be at least 1.")
    if not np.any(data.coefficients):
        raise InputError("The starting map is empty: all its coefficients are zero.")
    sharpening = Sharpening.of(data)
    data = sharpening.apply(data)
    main = _Sequence(data, averager)
    control = _Sequence(data, averager, _some(data, held_back)) if held_back else None
    statistics = []
    for cycle in range(1, cycles + 1):
        started = time.perf_counter()
        previous_phi = main.phi
        weights = region_weights(main.seen, cycle)
        trust = control.modify(weights, cycle).trust if control else 1.0
        weighted = main.modify(weights, cycle, trust)
        statistics.append(_statistics(data, previous_phi, weights, main.gamma, weighted, cycle,
                                      started))
        if progress:
            progress(statistics[-1])
    filled, further, modified = map(sharpening.undo, (
        weighted.filled, main.map.coefficients, main.modified))
    return ModificationResult(filled, weighted.phi, weighted.fom, weighted.hl, weights, statistics,
                              further, modified)


def _some(data: PhasedData, share: float) -> np.ndarray:
    """(n,) bool: a share of the measured reflections, always the same ones."""
    return np.isfinite(data.f) & (np.random.default_rng(0).random(len(data.f)) < share)


class _Sequence:
    """A map that goes from cycle to cycle.

    Parameters
    ----------
    data : the experiment.
    averager : see :func:`modify_density`.
    held_back : (n,) bool, measured reflections that the map does not know; default: none.
    """

    def __init__(self, data: PhasedData, averager: Averager | None,
                 held_back: np.ndarray | None = None):
        self._data, self._averager, self._held_back = data, averager, held_back
        start = data.coefficients if held_back is None else np.where(held_back, 0, data.coefficients)
        self.map, self.phi = CrystalMap(data.reflections, start), angle_degrees(start)
        self._step = np.zeros_like(start)

    @property
    def seen(self) -> CrystalMap:
        """The map without what modification has filled in."""
        known = self._data.known
        return self.map if known.all() else CrystalMap(
            self._data.reflections, np.where(known, self.map.coefficients, 0))

    def modify(self, weights: gemmi.FloatGrid, cycle: int, trust: float = 1.0) -> Weighted:
        """One cycle, after which the map is that of the next."""
        reflections = self._data.reflections
        ncs = self._averager(self.map.density, cycle) if self._averager else None
        flattened, self.gamma = modify_map(self.map.density, weights, reflections.d_min, ncs)
        self.modified = structure_factors(flattened, reflections)
        weighted = combine(self._data, self.modified, trust, self._held_back)
        before, self._step = self._step, weighted.extrinsic - self.map.coefficients
        if map_correlation(before, self._step, reflections.multiplicity) < _BACK:
            self._step = self._step / 2
        self.map = CrystalMap(reflections, self.map.coefficients + self._step)
        self.phi = weighted.phi
        return weighted


def _statistics(data: PhasedData, previous_phi: np.ndarray, weights: gemmi.FloatGrid, gamma: float,
                weighted: Weighted, cycle: int, started: float) -> CycleStatistics:
    measured = np.isfinite(data.f)
    f_obs, f_calc = data.f[measured], np.abs(weighted.f_calc[measured])
    change = phase_difference(weighted.phi, previous_phi)[measured].mean()
    return CycleStatistics(
        cycle=cycle, fom=float(weighted.fom[measured].mean()),
        solvent_fraction=float(weights.array.mean()), gamma=gamma,
        f_correlation=float(np.corrcoef(f_obs, f_calc)[0, 1]),
        r_factor=float(np.abs(f_obs - f_calc).sum() / f_obs.sum()),
        phase_change=float(change), seconds=time.perf_counter() - started)


def modify_map(density: gemmi.FloatGrid, solvent: gemmi.FloatGrid, d_min: float,
               ncs: NcsSums | None = None) -> tuple[gemmi.FloatGrid, float]:
    """Replace each density by its expectation, then remove the map's own part.

    The map is taken as truth plus Gaussian noise of the same size everywhere.  True density is flat
    in the solvent, so its variance there is the noise; in the protein it has the distribution of
    :func:`protein_levels`, whose mean and scale follow from those of the map in the protein less
    the noise.  A point of protein then becomes its posterior mean E[truth | map], a point of
    solvent becomes the solvent mean, and in between the two are mixed by the weights.  Unlike
    histogram matching (Zhang & Main, 1990, Acta Cryst. A46, 41-46), which this becomes for small
    noise, it does not give a noisy map the contrast of a good one: what cannot be known is set to
    the mean of the region, so that the step between the regions counts more the poorer the map is.

    The result would still hold a share gamma of the input and hence of its errors (Abrahams, 1997,
    Acta Cryst. D53, 371-376).  A small change of one point changes the same point only, so that
    gamma is the mean derivative of the modification over the cell; no perturbation is needed.

    With NCS the map is averaged first.  Where the weights w of k copies add up, noise of independent
    copies falls to (1 + sum w^2)/(1 + sum w)^2 of its variance, and the posterior mean is that of the
    noise left; the map's own share falls by 1/(1 + sum w).

    Parameters
    ----------
    density : current map, sharpened.
    solvent : P(solvent) on its grid, in [0, 1].
    d_min : resolution of the map, Angstrom.
    ncs : sums over the other copies.

    Returns
    -------
    Modified map less gamma times the map, and gamma.
    """
    # one point of each orbit says all, and there may be ten times as many in the cell
    unit = asymmetric_unit(density)
    start, p_solvent = density.array[unit], solvent.array[unit]
    rho, own, noise_left, row = start, 1.0, None, 0
    if ncs is not None:
        own = 1 / (1 + ncs.weight[unit])
        rho = own * (start + ncs.density[unit])
        noise_left = own**2 * (1 + ncs.weight_square[unit])
        row = np.rint((1 - noise_left) * (_NOISE_LEVELS - 1)).astype(np.int32)
    level, posterior, flat = _expectations(rho, p_solvent, noise_left, d_min)
    step, slope = level[1] - level[0], np.diff(posterior, axis=1)
    place = (rho - level[0]) / step
    interval = np.clip(place.astype(np.int32), 0, slope.shape[1] - 1)
    slope = slope[row, interval]
    expected = posterior[row, interval] + (place - interval) * slope
    gamma = float(np.mean(own * (1 - p_solvent) * slope, dtype=float) / step)
    modified = expected + p_solvent * (flat - expected) - gamma * start
    return like(density, modified[orbits(density)]), gamma


def _expectations(rho: np.ndarray, p_solvent: np.ndarray, noise_left: np.ndarray | None,
                  d_min: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Map values, the expected true density of protein at each, and that of solvent.

    The expected densities have a row for each share of the noise that averaging may have left, from 1
    down to nearly 0; one row without averaging.
    """
    moderate = np.clip(rho, *np.quantile(rho, [_EXTREME, 1 - _EXTREME]))
    flat, noise = _mean_variance(moderate, p_solvent)
    mean, variance = _mean_variance(moderate, 1 - p_solvent)
    left, shares = 1.0, [1.0]
    if noise_left is not None:
        noise /= _mean_variance(noise_left, p_solvent)[0]
        left, shares = _mean_variance(noise_left, 1 - p_solvent)[0], np.linspace(1, 0, _NOISE_LEVELS)
    noise = np.clip(noise, _MIN_SHARE * variance / left, (1 - _MIN_SHARE) * variance / left)
    truth = mean + np.sqrt(variance - noise * left) * protein_levels(d_min)
    level = np.linspace(rho.min(), rho.max(), _MAP_LEVELS, dtype=np.float32)
    rows = []
    for share in shares:
        exponent = -0.5 * (level[:, None] - truth) ** 2 / (noise * max(share, 1 / _NOISE_LEVELS))
        probability = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        rows.append(probability @ truth / probability.sum(axis=1))
    return level, np.array(rows, np.float32), flat


def _mean_variance(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and variance."""
    total = weights.sum(dtype=float)
    if total == 0:
        raise InputError("The region weights hold one region only; there must be both protein "
                         "and solvent. Check the mask and the solvent content.")
    mean = (weights @ values) / total
    return float(mean), float(weights @ (values - mean) ** 2 / total)
