"""Amplitudes from measured intensities (French & Wilson, 1978, Acta Cryst. A34, 517-525)."""

from __future__ import annotations

import numpy as np

from .reflections import Reflections


def french_wilson(intensities: np.ndarray, reflections: Reflections, bins: int = 20) -> np.ndarray:
    """Posterior mean amplitude and its standard deviation, given a Wilson prior.

    A measured intensity may be negative, the true one may not: the posterior of the true intensity J
    is exp(-(I - J)^2 / 2 sigma^2) times Wilson's distribution of J about the mean intensity of its
    resolution bin.

    Parameters
    ----------
    intensities : (n, 2) I and sigma(I) over the complete list; NaN = unmeasured.
    reflections : complete list of n reflections.
    bins : number of resolution bins of the mean intensity.

    Returns
    -------
    (n, 2) F and sigma(F); NaN where unmeasured.
    """
    i, sigma = intensities.T
    known = np.isfinite(i) & (sigma > 0)
    number = reflections.in_bins(bins, known)
    total = np.bincount(number[known], i[known] / reflections.epsilon[known], bins)
    mean = np.maximum(total / np.maximum(np.bincount(number[known], minlength=bins), 1), 1e-6)
    prior = (mean[number] * reflections.epsilon)[known]
    out = np.full(intensities.shape, np.nan)
    # amplitudes up to where the likelihood and the prior have both died off
    top = np.sqrt(np.maximum(i[known], 0) + 6 * sigma[known])
    f = top[:, None] * (np.arange(200) + 0.5) / 200
    centric = reflections.centric[known][:, None]
    # Wilson in F: F exp(-F^2/S) for acentric, exp(-F^2/2S) for centric reflections
    log_p = (-0.5 * ((i[known, None] - f**2) / sigma[known, None]) ** 2
             - f**2 / prior[:, None] / np.where(centric, 2, 1) + np.where(centric, 0, np.log(f)))
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    out[known, 0] = (p * f).sum(axis=1)
    out[known, 1] = np.sqrt(np.maximum((p * f**2).sum(axis=1) - out[known, 0] ** 2, 0))
    return out
