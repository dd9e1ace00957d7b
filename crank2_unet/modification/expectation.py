"""Modification of a map: each density becomes its expectation, less the map's own part."""

from __future__ import annotations

from typing import NamedTuple

import gemmi
import numpy as np

from ..crystal.grids import asymmetric_unit, like, orbits
from ..errors import InputError
from .ncs import NcsSums
from .protein_statistics import protein_levels

# Least share of the variance in the protein that is taken as signal, where the protein is hardly
# more varied than the solvent, and as noise, where the solvent is already flat.
_MIN_SHARE = 0.02
# Share of the points on either side that is clipped to measure means and variances: the peaks of
# heavy atoms, 15-45 standard deviations high in SAD maps, would dominate them.
_EXTREME = 0.01
# Noise in the protein over that in the solvent, whose map was flattened in earlier cycles, is
# 1 + this * s^2, with s the share of signal by the noise in the solvent: maps as phased have been
# flattened in none, and with more noise poor ones would lose their signal (docs/experiments.md).
_FLATTENED = 1.0
_CAUTION = 1.25  # factor of the noise where copies are weighed: 1 + s^2 is no better there
_MAP_LEVELS = 1000  # to tabulate a smooth function of density
_NOISE_LEVELS = 17  # to tabulate it for the shares of noise that NCS averaging leaves


class ModifiedMap(NamedTuple):
    """What :func:`modify_map` makes of a map.

    Parameters
    ----------
    density : modified, less gamma times the map.
    gamma : share of the map that the modification returns; the mean of ``response``.
    response : how much the modified density at a point follows a small change of the map there.
    """

    density: gemmi.FloatGrid
    gamma: float
    response: gemmi.FloatGrid


class Knowledge(NamedTuple):
    """What is known of true density and used.

    Parameters
    ----------
    solvent : it is flat.
    protein : its distribution.
    """

    solvent: bool = True
    protein: bool = True


ALL_KNOWN = Knowledge()


def modify_map(density: gemmi.FloatGrid, solvent: gemmi.FloatGrid, d_min: float,
               ncs: NcsSums | None = None, knowledge: Knowledge = ALL_KNOWN) -> ModifiedMap:
    """Replace each density by its expectation, then remove the map's own part.

    The map is taken as truth plus Gaussian noise.  True density is flat in the solvent, so its
    variance there is the noise; in the protein the noise is larger (``_FLATTENED``), and true density
    has the distribution of :func:`protein_levels`, whose mean and scale follow from those of the map
    in the protein less the noise.  A point of protein then becomes its posterior mean
    E[truth | map], a point of solvent becomes the solvent mean, and in between the two are mixed by
    the weights.  Unlike histogram matching (Zhang & Main, 1990, Acta Cryst. A46, 41-46), which this
    becomes for small noise, it does not give a noisy map the contrast of a good one: what cannot be
    known is set to the mean of the region, so that the step between the regions counts more the poorer
    the map is.

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
    knowledge : where it lacks a region, the density there stays as it is, but for averaging.
    """
    # one point of each orbit says all, and there may be ten times as many in the cell
    unit = asymmetric_unit(density)
    start, p_solvent = density.array[unit], solvent.array[unit]
    rho, noise_left = start, None
    own: np.ndarray | float = 1.0
    row: np.ndarray | int = 0
    if ncs is not None:
        own = 1 / (1 + ncs.weight)
        rho = own * (start + ncs.density)
        noise_left = own**2 * (1 + ncs.weight_square)
        row = np.rint((1 - noise_left) * (_NOISE_LEVELS - 1)).astype(np.int32)
    level, posterior, flat = _expectations(rho, p_solvent, noise_left, d_min)
    step, slope = level[1] - level[0], np.diff(posterior, axis=1)
    place = (rho - level[0]) / step
    interval = np.clip(place.astype(np.int32), 0, slope.shape[1] - 1)
    slope = slope[row, interval]
    # density, and how it follows the map: what is not known is as the map has it
    as_it_is = rho, 1.0
    protein, in_protein = (posterior[row, interval] + (place - interval) * slope,
                           slope / step) if knowledge.protein else as_it_is
    flat, in_solvent = (flat, 0.0) if knowledge.solvent else as_it_is
    response = own * (in_protein + p_solvent * (in_solvent - in_protein))
    gamma = float(np.mean(response, dtype=float))
    modified = protein + p_solvent * (flat - protein) - gamma * start
    whole = orbits(density)
    return ModifiedMap(like(density, modified[whole]), gamma, like(density, response[whole]))


def reliability(density: gemmi.FloatGrid, solvent: gemmi.FloatGrid) -> float:
    """Share of the variance of the density in the protein, 0..1, that is signal, by the noise seen in
    the solvent."""
    unit = asymmetric_unit(density)
    rho, p_solvent = density.array[unit], solvent.array[unit]
    _, noise, _, variance = _moments(rho, p_solvent)
    return float(np.clip(1 - _CAUTION * noise / variance, _MIN_SHARE, 1 - _MIN_SHARE))


def _expectations(rho: np.ndarray, p_solvent: np.ndarray, noise_left: np.ndarray | None,
                  d_min: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Map values, the expected true density of protein at each, and that of solvent.

    The expected densities have a row for each share of the noise that averaging may have left, from 1
    down to nearly 0; one row without averaging.
    """
    flat, noise, mean, variance = _moments(rho, p_solvent)
    noise *= 1 + _FLATTENED * max(0.0, 1 - noise / variance)**2
    left, shares = 1.0, np.ones(1)
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


def _moments(rho: np.ndarray, p_solvent: np.ndarray) -> tuple[float, float, float, float]:
    """Mean and variance of the density in the solvent, and in the protein."""
    moderate = np.clip(rho, *np.quantile(rho, [_EXTREME, 1 - _EXTREME]))
    return *_mean_variance(moderate, p_solvent), *_mean_variance(moderate, 1 - p_solvent)


def _mean_variance(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and variance."""
    total = weights.sum(dtype=float)
    if total == 0:
        raise InputError("The region weights hold one region only; there must be both protein "
                         "and solvent. Check the mask and the solvent content.")
    mean = (weights @ values) / total
    return float(mean), float(weights @ (values - mean) ** 2 / total)
