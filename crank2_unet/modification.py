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

from .data import PhasedData
from .errors import InputError
from .grids import asymmetric_unit, density_map, like, structure_factors
from .histograms import protein_levels
from .phases import phase_difference
from .weighting import Weighted, combine

RegionWeights = Callable[[gemmi.FloatGrid, int], gemmi.FloatGrid]

# Shannon rate 1.5: the grid of a map to d_min has spacing d_min/3
_POINTS_PER_D_MIN = 3.0
# Least share of the variance in the protein that is taken as signal, where the protein is hardly
# more varied than the solvent, and as noise, where the solvent is already flat.
_MIN_SHARE = 0.02
# Share of the points on either side that is clipped to measure means and variances: the peaks of
# heavy atoms, 15-45 standard deviations high in SAD maps, would dominate them.
_EXTREME = 0.01
_MAP_LEVELS = 1000  # to tabulate a smooth function of density


@dataclass(frozen=True)
class CycleStatistics:
    """What happened in one cycle, over the measured reflections.

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
                   ) -> ModificationResult:
    """Improve phases by what is known of solvent and protein density.

    Parameters
    ----------
    data : amplitudes, experimental phase probabilities (used anew in each cycle), starting map.
    region_weights : gives P(solvent) in [0, 1] on the grid of the current map from that map and
        the number of the cycle.  It sees the map without the reflections that are neither measured
        nor in the starting map: what the modification filled in there is mostly the last mask,
        and masks that see it confirm themselves until the phases are lost (seen on 5xfd, which
        has no data beyond 9.5 A).
    cycles : number of cycles, at least 1.
    progress : called with the statistics of each cycle.

    Raises
    ------
    InputError : no cycles, no starting map, or no amplitudes.
    """
    if cycles < 1:
        raise InputError(f"The number of cycles is {cycles}; it must be at least 1.")
    if not np.any(data.coefficients):
        raise InputError("The starting map is empty: all its coefficients are zero.")
    reflections, coefficients = data.reflections, data.coefficients
    spacing = reflections.d_min / _POINTS_PER_D_MIN
    known = np.isfinite(data.f) | (coefficients != 0)
    phi = np.rad2deg(np.angle(coefficients))
    statistics = []
    for cycle in range(1, cycles + 1):
        started = time.perf_counter()
        density = density_map(reflections, coefficients, spacing)
        seen = density if known.all() else density_map(
            reflections, np.where(known, coefficients, 0), spacing)
        weights = region_weights(seen, cycle)
        density, gamma = modify_map(density, weights, reflections.d_min)
        modified = structure_factors(density, reflections)
        weighted = combine(data, modified)
        statistics.append(_statistics(data, phi, weights, gamma, weighted, cycle, started))
        coefficients, phi = weighted.extrinsic, weighted.phi
        if progress:
            progress(statistics[-1])
    return ModificationResult(weighted.filled, weighted.phi, weighted.fom, weighted.hl, weights,
                              statistics, weighted.extrinsic, modified)


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
               ) -> tuple[gemmi.FloatGrid, float]:
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

    Parameters
    ----------
    density : current map.
    solvent : P(solvent) on its grid, in [0, 1].
    d_min : resolution of the map, Angstrom.

    Returns
    -------
    Modified map less gamma times the map, and gamma.
    """
    unit = asymmetric_unit(density)
    level, posterior, flat = _expectations(density.array[unit], solvent.array[unit], d_min)
    step, slope = level[1] - level[0], np.diff(posterior)
    place = (density.array - level[0]) / step
    interval = np.clip(place.astype(np.int32), 0, len(slope) - 1)
    slope = slope[interval]
    expected = posterior[interval] + (place - interval) * slope
    gamma = float(np.mean((1 - solvent.array) * slope, dtype=float) / step)
    modified = expected + solvent.array * (flat - expected)
    return like(density, modified - gamma * density.array), gamma


def _expectations(rho: np.ndarray, p_solvent: np.ndarray, d_min: float,
                  ) -> tuple[np.ndarray, np.ndarray, float]:
    """Map values, the expected true density of protein at each, and that of solvent."""
    moderate = np.clip(rho, *np.quantile(rho, [_EXTREME, 1 - _EXTREME]))
    flat, noise = _mean_variance(moderate, p_solvent)
    mean, variance = _mean_variance(moderate, 1 - p_solvent)
    noise = np.clip(noise, _MIN_SHARE * variance, (1 - _MIN_SHARE) * variance)
    truth = mean + np.sqrt(variance - noise) * protein_levels(d_min)
    level = np.linspace(rho.min(), rho.max(), _MAP_LEVELS, dtype=np.float32)
    exponent = -0.5 * (level[:, None] - truth) ** 2 / noise
    probability = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    posterior = probability @ truth / probability.sum(axis=1)
    return level, posterior.astype(np.float32), flat


def _mean_variance(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and variance."""
    total = weights.sum(dtype=float)
    if total == 0:
        raise InputError("The region weights hold one region only; there must be both protein "
                         "and solvent. Check the mask and the solvent content.")
    mean = (weights @ values) / total
    return float(mean), float(weights @ (values - mean) ** 2 / total)
