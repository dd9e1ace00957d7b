"""The gradient map of a substructure: where the data ask for a site, and how strongly.

The derivative of the log-likelihood by the occupancy of a site that is not there yet is, as a function
of its place, a map, found by one Fourier transform (Bricogne, 1984, Acta Cryst. A40, 410-445; for SAD
La Fortelle & Bricogne, 1997, Methods Enzymol. 276, 472-494; McCoy & Read, 2010, Acta Cryst. D66,
458-469).  Divided by the root of the information on the occupancy, it is in standard deviations: its
noise is that of the differences that no site explains.
"""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.special import ndtri

from ..crystal.grids import density_map
from .likelihood import Model, Values, likelihood

OF_SITES = ("occupancy", "b_iso", "xyz", "reference", "given")

# A peak is a site if noise would hardly ever be so high anywhere in the map: this often by normal
# distribution, whose tails measured differences exceed (highest noise peaks of 15 complete
# substructures: .94 to 1.2 times what is expected).
_FALSE_PEAKS, _TAILS = 0.05, 1.25


def threshold(model: Model) -> float:
    """Height of a peak that is a site, sigma."""
    return float(-_TAILS * ndtri(_FALSE_PEAKS / len(model.obs.f)))


def take(values: Values, chosen: np.ndarray) -> Values:
    """Only the chosen sites (bool or indices)."""
    return {**values, **{name: values[name][chosen] for name in OF_SITES}}


def joined(values: Values, more: Values) -> Values:
    """The sites of both, with the scales of the first."""
    return {**values, **{name: np.concatenate([values[name], more[name]]) for name in OF_SITES}}


def heights(model: Model, values: Values) -> np.ndarray:
    """Occupancy of each site over its standard deviation, (sites,)."""
    partials = model.partials(values)
    information = np.abs(_gradient(model, values, partials)) ** 2 @ np.abs(partials) ** 2 / 2
    return values["occupancy"] * np.sqrt(information)


def _gradient(model: Model, values: Values, partials: np.ndarray) -> np.ndarray:
    """Derivative of the log-likelihood by the sum over the sites in H" only, (rows,) complex.

    That by H has high peaks in wrong places on real data: see :mod:`crank2_unet.sad.phasing`.
    """
    base = partials @ values["occupancy"]
    to_h, to_h2 = model.factors(values)
    t, measured, extra = model.variances(values)
    return to_h2 * likelihood(model.obs, to_h * base, to_h2 * base, t, measured + extra,
                              model.prior)[2]


def describe(model: Model, values: Values) -> list[dict]:
    """A row for each site: xyz (fractional), occupancy (largest 1), b_iso (Angstrom^2), height
    (:func:`heights`), and whether it was given."""
    largest = values["occupancy"].max()
    return [{"xyz": x.tolist(), "occupancy": float(q / largest), "b_iso": float(b),
             "height": float(z), "given": bool(number >= 0)} for x, q, b, z, number in zip(
                 values["xyz"], values["occupancy"], values["b_iso"], heights(model, values),
                 values["given"])]


def gradient_map(model: Model, values: Values, b_iso: float) -> gemmi.FloatGrid:
    """Derivative of the log-likelihood by the occupancy of a site of that B factor, for any place."""
    obs, r = model.obs, model.reflections
    coefficients = np.zeros(len(r), complex)
    coefficients[obs.place] = (_gradient(model, values, model.partials(values)) * obs.epsilon
                               * np.exp(-model.quarter * b_iso) * r.cell.volume / 2)
    return density_map(r, coefficients, r.d_min / 4)


def distances(model: Model, one: np.ndarray, other: np.ndarray, own: bool = False) -> np.ndarray:
    """Distance in Angstrom of fractional positions and the nearest symmetry copy, (one, other).

    With ``own`` that of each position and its own copies, (operations, positions).
    """
    orthogonal = np.array(model.cell.orth.mat.tolist())
    copies = np.array([[op.apply_to_xyz(x) for x in other.tolist()]
                       for op in model.spacegroup.operations()])
    difference = copies - one[None] if own else copies[:, None] - one[None, :, None]
    difference -= np.rint(difference)
    length = np.linalg.norm(difference @ orthogonal.T, axis=-1)
    return length if own else length.min(axis=0)
