"""Completing a substructure: sites found in gradient maps, dropped where the data do not support them.

The derivative of the log-likelihood by the occupancy of a site that is not there yet is, as a function
of its place, a map, found by one Fourier transform (Bricogne, 1984, Acta Cryst. A40, 410-445; for SAD
La Fortelle & Bricogne, 1997, Methods Enzymol. 276, 472-494; McCoy & Read, 2010, Acta Cryst. D66,
458-469).  Divided by the root of the information on the occupancy, it is in standard deviations: its
noise is that of the differences that no site explains.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import ndtri

from ..crystal.grids import asymmetric_unit, density_map
from ..crystal.reflections import Reflections
from .likelihood import Model, Values, likelihood

# A peak is a site if noise would hardly ever be so high anywhere in the map: this often by normal
# distribution, whose tails measured differences exceed (highest noise peaks of 15 complete
# substructures: .94 to 1.2 times what is expected).  A site that was given or found stays with less.
_FALSE_PEAKS, _TAILS = 0.05, 1.2
_STAYS, _GIVEN_STAYS = 0.8, 2.5  # times the threshold; sigma
_SAME = 1.0  # Angstrom: nearer to each other, two sites are one
_APART = 1.8  # Angstrom, or d_min if larger: nearer to a site, a peak belongs to that one
_ROUNDS = 10
_OF_SITES = ("occupancy", "b_iso", "xyz", "reference", "given")


@dataclass
class Changes:
    """What completion did, as rows of :func:`describe`."""

    added: list[dict] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)
    merged: list[dict] = field(default_factory=list)
    rounds: int = 0


def complete(model: Model, values: Values, reflections: Reflections, changes: Changes,
             ) -> tuple[Values, Changes]:
    """Sites added, dropped, merged and refined until nothing changes.

    Parameters
    ----------
    model : of the paired reflections.
    values : refined.
    reflections : those that ``model.obs.place`` counts.
    """
    refused: list[list[float]] = []
    for _ in range(_ROUNDS):
        values, dropped = without_weak(model, values)
        refused += [row["xyz"] for row in dropped if not row["given"]]
        values, added = with_peaks(model, values, reflections, refused)
        if not dropped and not added:
            break
        changes.dropped += [row for row in dropped if row["given"]]
        values = merged(model, model.fit(values, sites_too=True), changes)
        changes.rounds += 1
    changes.added = [row for row in describe(model, values) if not row["given"]]
    return values, changes


def threshold(model: Model) -> float:
    """Height of a peak that is a site, sigma."""
    return float(-_TAILS * ndtri(_FALSE_PEAKS / len(model.obs.f)))


def take(values: Values, chosen: np.ndarray) -> Values:
    """Only the chosen sites (bool or indices)."""
    return {**values, **{name: values[name][chosen] for name in _OF_SITES}}


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


def without_weak(model: Model, values: Values) -> tuple[Values, list[dict]]:
    """Without sites that are too low, and what these are; the highest always stays."""
    rows = describe(model, values)
    height = np.array([row["height"] for row in rows])
    keep = height >= np.minimum(np.where(
        values["given"] < 0, _STAYS * threshold(model), _GIVEN_STAYS), height.max())
    return take(values, keep), [row for row, kept in zip(rows, keep) if not kept]


def with_peaks(model: Model, values: Values, reflections: Reflections, refused: list,
               ) -> tuple[Values, int]:
    """With the highest peaks above the threshold as new sites, and how many these are.

    Peaks at places (fractional) that were refused before are left.

    At most half as many as there are, but one: while a few sites are nearly centrosymmetric, each
    true peak has a false one opposite.
    """
    typical = {"b_iso": float(np.average(values["b_iso"], weights=values["occupancy"]))}
    xyz, height, sigma = peaks(model, values, reflections, typical["b_iso"], threshold(model))
    if refused and len(xyz):
        anew = distances(model, np.array(refused), xyz).min(axis=0) > _SAME
        xyz, height, sigma = xyz[anew], height[anew], sigma[anew]
    count = min(len(xyz), max(1, len(values["xyz"]) // 2))
    new = {"xyz": xyz[:count], "reference": xyz[:count], "occupancy": height[:count] / sigma[:count],
           "b_iso": np.full(count, typical["b_iso"]), "given": np.full(count, -1)}
    return {**values, **{name: np.concatenate([values[name], new[name]])
                         for name in _OF_SITES}}, count


def peaks(model: Model, values: Values, reflections: Reflections, b_iso: float, lowest: float,
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks of the gradient map above ``lowest`` sigma, highest first, away from sites and from
    each other.

    Returns
    -------
    xyz (peaks, 3) fractional; height, in sigma; sigma, of the gradient.
    """
    obs = model.obs
    gradient = _gradient(model, values, model.partials(values))
    coefficients = np.zeros(len(reflections), complex)
    coefficients[obs.place] = gradient * obs.epsilon * np.exp(-model.quarter * b_iso)
    grid = density_map(reflections, coefficients, reflections.d_min / 4)
    grid.array[:] *= grid.unit_cell.volume / 2
    density = grid.array
    sigma = 1.4826 * np.median(np.abs(density))  # whatever peaks there are
    top = (density == maximum_filter(density, 3, mode="wrap")) & asymmetric_unit(grid)
    top &= density > lowest * sigma
    places = np.argwhere(top)
    xyz = places / density.shape
    # where operations map a place to itself, its gradient and that of its noise add up
    copies = (distances(model, xyz, xyz, own=True) < _SAME).sum(axis=0) if len(xyz) else np.ones(0)
    noise = sigma * np.sqrt(copies)
    height = density[top] / noise
    chosen: list[int] = []
    apart = max(_APART, reflections.d_min)
    others = values["xyz"]
    for i in np.argsort(-height):
        if height[i] < lowest:
            break
        if distances(model, others, xyz[i:i + 1]).min() > apart:
            chosen.append(i)
            others = np.concatenate([others, xyz[i:i + 1]])
    return xyz[chosen], height[chosen], noise[chosen]


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


def merged(model: Model, values: Values, changes: Changes) -> Values:
    """Sites that coincide with a larger one, by symmetry or not, added to that one."""
    near = distances(model, values["xyz"], values["xyz"]) < _SAME
    occupancy, keep = values["occupancy"].copy(), np.ones(len(near), bool)
    for i in np.argsort(-occupancy, kind="stable"):
        if keep[i]:
            for j in np.flatnonzero(near[i] & keep):
                if j != i:
                    keep[j] = False
                    occupancy[i] += occupancy[j]
                    changes.merged.append({name: values["xyz"][k].tolist()
                                           for name, k in (("xyz", j), ("into", i))})
    return take({**values, "occupancy": occupancy}, keep)
