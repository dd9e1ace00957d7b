"""Density modification: solvent flattening and histogram matching with region weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

import gemmi
import numpy as np

from .data import PhasedData
from .grids import asymmetric_unit, density_map, like, structure_factors
from .histograms import target
from .phases import mean_phase_error, map_correlation
from .weighting import Weighted, combine

CONTRAST = None   # None: from the map
UNTOUCHED = False


@dataclass(frozen=True)
class CycleStatistics:
    cycle: int
    fom: float
    solvent_fraction: float
    gamma: float
    f_correlation: float
    phase_change: float
    r_factor: float
    seconds: float


@dataclass(frozen=True)
class ModificationResult:
    coefficients: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    hl: np.ndarray
    weights: gemmi.FloatGrid
    cycles: list


def modify_density(data, region_weights, cycles, progress=None):
    r = data.reflections
    coefficients = data.coefficients
    stats = []
    out = None
    measured = np.isfinite(data.f)
    old = None
    for cycle in range(1, cycles + 1):
        start = time.perf_counter()
        density = density_map(r, coefficients, r.d_min / 3)
        weights = region_weights(density, cycle)
        modified, gamma = modify_map(density.array, weights.array, r.d_min)
        f_mod = structure_factors(like(density, modified - gamma * density.array), r)
        out = combine(data, f_mod)
        coefficients = out.coefficients
        stats.append(CycleStatistics(cycle, float(out.fom[measured].mean()), float(weights.array.mean()), gamma,
            float(np.corrcoef(data.f[measured], out.f_calc[measured])[0, 1]),
            mean_phase_error(out.phi, old) if old is not None else float('nan'),
            float(np.abs(data.f - out.f_calc)[measured].sum() / data.f[measured].sum()), time.perf_counter() - start))
        old = out.phi
        if progress:
            progress(stats[-1])
    return ModificationResult(coefficients, out.phi, out.fom, out.hl, weights, stats)


def modify_map(rho, solvent, d_min):
    protein = 1.0 - solvent
    mean = float(np.average(rho, weights=protein)); sd = float(np.sqrt(np.average((rho - mean)**2, weights=protein)))
    flat = float(np.average(rho, weights=solvent))
    probability, quantile, contrast = target(d_min)
    edges = np.linspace(rho.min(), rho.max(), 2001)
    n, _ = np.histogram(rho, edges, weights=protein)
    cdf = np.concatenate([[0], np.cumsum(n)]) / n.sum()
    clip = 2 * cdf - 1; clip /= np.sqrt(1 + 0.01 * clip**2)
    shape = np.interp((clip + 1) / 2, probability, quantile)
    if CONTRAST is None:
        table = mean + sd * shape
    else:
        table = flat + sd * (CONTRAST * contrast + shape)
    matched = np.interp(rho, edges, table)
    slope = np.diff(table) / np.diff(edges)
    if UNTOUCHED:
        w_p, w_s = protein, solvent; w_o = protein * solvent; tot = w_p + w_s + w_o
        out = (w_p * matched + w_s * flat + w_o * rho) / tot
        n2, _ = np.histogram(rho, edges, weights=w_p / tot)
        gamma = float(n2 @ slope + (w_o / tot).sum()) / rho.size
    else:
        out = protein * matched + solvent * flat
        gamma = float(n @ slope) / rho.size
    return out, gamma
