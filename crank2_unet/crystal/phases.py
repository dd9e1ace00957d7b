"""Phase arithmetic: Hendrickson-Lattman coefficients, best phases, agreement.

Phase probabilities are P(phi) ~ exp(A cos phi + B sin phi + C cos 2phi + D sin 2phi)
(Hendrickson & Lattman, 1970, Acta Cryst. B26, 136-143).  A centric reflection can only take its
two allowed phases; everywhere below ``allowed`` holds one of them, and NaN marks an acentric
reflection.  Phases are in degrees.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ive

# 5 degree steps integrate even a fom of 0.999 (kappa 500) to better than 1e-3.
_STEP = 5.0
_PHI = np.deg2rad(np.arange(0.0, 360.0, _STEP))
_BASIS = np.stack([np.cos(_PHI), np.sin(_PHI), np.cos(2 * _PHI), np.sin(2 * _PHI)])
_AT_ONCE = 1 << 13  # distributions that are tabulated, so that little memory is needed


def _allowed_values(hl: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Half the log-ratio of P(allowed) to P(allowed + 180): the tanh argument of a centric."""
    angle = np.deg2rad(allowed)
    return hl[:, 0] * np.cos(angle) + hl[:, 1] * np.sin(angle)


def phi_fom_from_hl(hl: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best phase and figure of merit of phase probability distributions.

    Parameters
    ----------
    hl : (n, 4) float, Hendrickson-Lattman coefficients A, B, C, D.
    allowed : (n,) float, degrees; an allowed phase of each centric reflection, NaN if acentric.

    Returns
    -------
    phi : (n,) float, degrees in [0, 360).
    fom : (n,) float in [0, 1]; length of the centroid of the distribution.
    """
    hl = np.asarray(hl, float)
    centroid = np.empty(len(hl), complex)
    centric = np.isfinite(allowed)
    acentric = np.flatnonzero(~centric)
    for first in range(0, len(acentric), _AT_ONCE):
        some = acentric[first:first + _AT_ONCE]
        p = hl[some] @ _BASIS
        p = np.exp(p - p.max(axis=1, keepdims=True))
        moments = p @ _BASIS[:2].T
        centroid[some] = (moments[:, 0] + 1j * moments[:, 1]) / p.sum(axis=1)
    centroid[centric] = np.tanh(_allowed_values(hl[centric], allowed[centric])) * np.exp(
        1j * np.deg2rad(allowed[centric]))
    return np.rad2deg(np.angle(centroid)) % 360.0, np.minimum(np.abs(centroid), 1.0)


def log_integral(hl: np.ndarray) -> np.ndarray:
    """Logarithm of the mean of exp(A cos phi + B sin phi + C cos 2phi + D sin 2phi) over all phases,
    (n,), of acentric Hendrickson-Lattman coefficients (n, 4)."""
    log_p = hl @ _BASIS[:, ::2]
    largest = log_p.max(axis=1)
    return largest + np.log(np.exp(log_p - largest[:, None]).mean(axis=1))


def kappa_from_fom(fom: np.ndarray, centric: np.ndarray) -> np.ndarray:
    """Concentration of the unimodal distribution with a given figure of merit.

    Solves I1(kappa)/I0(kappa) = fom for acentric and tanh(kappa) = fom for centric reflections.
    Figures of merit are capped at 0.999, where phases are certain for any practical purpose.
    """
    fom = np.clip(fom, 0.0, 0.999)
    kappa = np.linspace(0.0, 32.0, 4001) ** 2  # quadratic: fine where fom changes fast
    return np.where(centric, np.arctanh(fom), np.interp(fom, ive(1, kappa) / ive(0, kappa), kappa))


def hl_from_phi_fom(phi: np.ndarray, fom: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Unimodal Hendrickson-Lattman coefficients, (n, 4), from phases (degrees) and foms."""
    kappa = kappa_from_fom(fom, np.isfinite(allowed))
    hl = np.zeros((len(kappa), 4))
    hl[:, 0] = kappa * np.cos(np.deg2rad(phi))
    hl[:, 1] = kappa * np.sin(np.deg2rad(phi))
    return hl


def to_complex(f: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Structure factors f * exp(i phi), phi in degrees."""
    return f * np.exp(1j * np.deg2rad(phi))


def angle_degrees(coefficients: np.ndarray) -> np.ndarray:
    """Phases of complex structure factors, degrees in [0, 360)."""
    return np.rad2deg(np.angle(coefficients)) % 360.0


def phase_difference(phi1: np.ndarray, phi2: np.ndarray) -> np.ndarray:
    """Absolute difference of two phases on the circle, degrees in [0, 180]."""
    return np.abs((np.asarray(phi1) - phi2 + 180.0) % 360.0 - 180.0)


def mean_phase_error(phi: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None,
                     ) -> float:
    """(Weighted) mean absolute phase difference, degrees."""
    return float(np.average(phase_difference(phi, reference), weights=weights))


def map_correlation(a: np.ndarray, b: np.ndarray, multiplicity: np.ndarray) -> float:
    """Correlation of the maps of two sets of coefficients on the same unique reflections.

    By Parseval's theorem no map is needed.  ``a`` and ``b`` are complex, without F(000);
    ``multiplicity`` is how often each reflection occurs in the whole sphere, (n,).
    """
    product = np.sum(multiplicity * (a * np.conj(b)).real)
    norm = np.sqrt(np.sum(multiplicity * np.abs(a) ** 2) * np.sum(multiplicity * np.abs(b) ** 2))
    return float(product / norm) if norm > 0 else 0.0
