"""Phase probabilities in numpy only: stand-ins are started dozens of times."""

import numpy as np


def normalised(f, epsilon, bins):
    """Amplitudes over their root mean square, by bins of resolution."""
    e2 = f**2 / epsilon
    mean = np.bincount(bins, e2) / np.bincount(bins)
    return np.sqrt(e2 / np.maximum(mean[bins], 1e-9))


def modified_terms(f, centric, epsilon, d, fmod, phi):
    """Hendrickson-Lattman coefficients of Sim's distribution about modified phases, degrees.

    Sigma-A is from correlations of E^2 in 12 bins of resolution.
    """
    bins = np.empty(len(f), int)
    bins[np.argsort(d)] = np.arange(len(f)) * 12 // len(f)
    e, ec = normalised(f, epsilon, bins), normalised(fmod, epsilon, bins)
    correlation = [np.corrcoef(e[bins == i] ** 2, ec[bins == i] ** 2)[0, 1] for i in range(12)]
    sigma_a = np.sqrt(np.clip(correlation, 0.01, 0.9))[bins]
    x = sigma_a * e * ec / (1 - sigma_a**2) * np.where(centric, 1, 2)
    angle = np.deg2rad(phi)
    return x[:, None] * np.stack([np.cos(angle), np.sin(angle), 0 * phi, 0 * phi], axis=1)


def centroid(hl, centric):
    """Best phase, degrees, and figure of merit; the allowed phases of a centric reflection are those
    of its A and B."""
    angle = np.deg2rad(np.arange(0, 360, 10.0))
    log_p = hl @ np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)])
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    mean = p @ np.exp(1j * angle) / p.sum(axis=1)
    two = np.tanh(np.hypot(hl[:, 0], hl[:, 1])) * np.exp(1j * np.arctan2(hl[:, 1], hl[:, 0]))
    mean = np.where(centric, two, mean)
    return np.rad2deg(np.angle(mean)) % 360, np.abs(mean)
