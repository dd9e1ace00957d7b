"""Weighting of a modified map against the experiment: sigma-A by likelihood, phase combination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.special import logsumexp

from .data import PhasedData
from .phases import phi_fom_from_hl, to_complex
from .reflections import Reflections

_SIGMA_A = np.concatenate([np.linspace(0.0, 0.9, 16), [0.93, 0.95, 0.97, 0.98]])
# 15 degree steps for the likelihood, whose terms are averaged over thousands of reflections
_PHI = np.deg2rad(np.arange(0.0, 360.0, 15.0))
_BASIS = np.stack([np.cos(_PHI), np.sin(_PHI), np.cos(2 * _PHI), np.sin(2 * _PHI)])
# expected change of the slope of sigma-A from bin to bin; keeps neighbours together
_ROUGHNESS = 0.05


@dataclass(frozen=True)
class Weighted:
    """Modified structure factors combined with the experimental phases; all arrays are (n,).

    hl (n, 4), phi in degrees, fom: of the combined phase probabilities.
    coefficients: complex, of the next map.
    f_calc: scaled amplitudes of the modified map.
    sigma_a: correlation of its normalised structure factors with the true ones, by resolution.
    """

    hl: np.ndarray
    phi: np.ndarray
    fom: np.ndarray
    coefficients: np.ndarray
    f_calc: np.ndarray
    sigma_a: np.ndarray


def combine(data: PhasedData, modified: np.ndarray) -> Weighted:
    r, measured = data.reflections, np.isfinite(data.f)
    bins = Bins(r, measured)
    sqrt_eps = np.sqrt(r.epsilon)
    scale_o = bins.smooth_rms(data.f / sqrt_eps)
    scale_c = bins.smooth_rms(np.abs(modified) / sqrt_eps)
    f_calc = modified * scale_o / scale_c
    e_o = data.f / (scale_o * sqrt_eps)
    e_c = np.abs(f_calc) / (scale_o * sqrt_eps)
    sig_e = np.nan_to_num(data.sigf / (scale_o * sqrt_eps))
    direction = np.exp(1j * np.angle(modified))
    sigma_a = bins.fit(e_o[measured], e_c[measured], sig_e[measured], r.centric[measured],
                       data.hl[measured], direction[measured])
    x = _concentration(sigma_a, np.nan_to_num(e_o), e_c, sig_e, r.centric)
    hl = data.hl.copy()
    hl[:, 0] += x * direction.real
    hl[:, 1] += x * direction.imag
    phi, fom = phi_fom_from_hl(hl, r.allowed_phase)
    model = sigma_a * f_calc
    coefficients = np.where(measured, to_complex(2 * fom * np.nan_to_num(data.f), phi) - model, model)
    return Weighted(hl, phi, fom, coefficients, np.abs(f_calc), sigma_a)


def _variance(sigma_a, sig_e):
    return 1.0 - sigma_a**2 + VARSIG * sig_e**2
VARSIG = 0.0

def _concentration(sigma_a, e_o, e_c, sig_e, centric):
    """Factor of cos(phi - phi_c) in the exponent of the phase probability."""
    x = 2 * sigma_a * e_o * e_c / _variance(sigma_a, sig_e)
    return np.where(centric, x/2, x)


class Bins:
    """Resolution bins with interpolation between their centres."""

    def __init__(self, r, measured):
        self.measured = measured
        n = int(measured.sum())
        self.count = int(np.clip(n / 500, 2, 20))
        self.bin = r.in_bins(self.count, measured)
        s2 = r.inverse_d_squared
        self.order = np.interp(s2, np.sort(s2[measured]), np.arange(n) / n * self.count - 0.5)
        self.r = r

    def interpolate(self, v):
        return np.interp(self.order, np.arange(self.count), v)

    def smooth_rms(self, f):
        m = self.measured
        mean = np.bincount(self.bin[m], f[m]**2) / np.bincount(self.bin[m])
        s = np.exp(self.interpolate(np.log(mean)) / 2)
        fine = np.bincount(self.bin[m], (f[m] / s[m])**2) / np.bincount(self.bin[m])
        return s * np.exp(self.interpolate(np.log(fine)) / 2)

    def fit(self, e_o, e_c, sig_e, centric, hl, direction):
        like = log_likelihood(e_o, e_c, sig_e, centric, hl, direction)
        per_bin = np.stack([np.bincount(self.bin[self.measured], l) for l in like])
        curve = CubicSpline(_SIGMA_A, per_bin)
        slope = curve.derivative()
        k = np.arange(self.count)

        def target(v):
            bend = np.diff(v, 2) / _ROUGHNESS
            d = np.zeros(self.count)
            if len(bend):
                d[:-2] += bend; d[1:-1] -= 2 * bend; d[2:] += bend
            return (-curve(v)[k, k].sum() + (bend**2).sum() / 2, -slope(v)[k, k] + d / _ROUGHNESS)
        start = _SIGMA_A[per_bin.argmax(0)]
        best = minimize(target, start, jac=True, method="L-BFGS-B", bounds=[(0, _SIGMA_A[-1])] * self.count)
        return self.interpolate(best.x)


def log_likelihood(e_o, e_c, sig_e, centric, hl, direction):
    """(len(_SIGMA_A), n) log P(e_o; e_c, hl)."""
    weight = np.where(centric, 0.5, 1.0)
    delta = np.angle(direction)
    prior = (hl @ _BASIS).astype(np.float32)
    prior -= logsumexp(prior, axis=1, keepdims=True)
    cosine = np.cos(_PHI - delta[:, None]).astype(np.float32)
    # a centric reflection: only its direction and the opposite one
    if centric.any():
        a = hl[centric, 0] * direction[centric].real + hl[centric, 1] * direction[centric].imag
        prior[centric] = -np.inf
        lp = np.stack([a, -a], 1); lp -= logsumexp(lp, axis=1, keepdims=True)
        prior[centric, :2] = lp
        cosine[centric, :2] = [1, -1]
    out = []
    for s in _SIGMA_A:
        d = _variance(s, sig_e)
        x = _concentration(s, e_o, e_c, sig_e, centric)
        y = prior + x[:, None].astype(np.float32) * cosine
        top = y.max(1)
        lse = top + np.log(np.exp(y - top[:, None]).sum(1))
        out.append(-weight * (np.log(d) + (e_o**2 + s**2 * e_c**2) / d) + lse)
    return out
