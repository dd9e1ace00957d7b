"""Completing a substructure: sites found in gradient maps, dropped if the data do not need them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter

from ..crystal.grids import asymmetric_unit
from .disulphides import with_disulphides
from .gradient import describe, distances, gradient_map, heights, joined, take, threshold
from .likelihood import Model, Values

_GIVEN_STAYS = 1.5  # sigma; what is found must reach the threshold when refined, too
_SAME = 1.0  # Angstrom: nearer to each other, two sites are one
_APART = 1.8  # Angstrom, or d_min if larger: nearer to a site, a peak belongs to that one
_ROUNDS = 10


@dataclass
class Changes:
    """What completion did: rows of :func:`~.gradient.describe` that were added and dropped; places
    (fractional) of sites that were merged with another or split, and what they became."""

    added: list[dict] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)
    merged: list[dict] = field(default_factory=list)
    split: list[dict] = field(default_factory=list)
    rounds: int = 0


def complete(model: Model, values: Values, changes: Changes) -> Values:
    """Sites added, dropped, merged and refined until nothing changes.

    Parameters
    ----------
    model : of the paired reflections.
    values : refined.
    changes : so far; what is done is written there.
    """
    refused: list[list[float]] = []
    for _ in range(2):
        if model.restraints.scatterer.element == "S":
            values, split = with_disulphides(model, values)
            changes.split += split
        values, changed = _rounds(model, values, changes, refused)
        if not changed:
            break
    changes.added = [row for row in describe(model, values) if not row["given"]]
    return values


def _rounds(model: Model, values: Values, changes: Changes, refused: list) -> tuple[Values, int]:
    """Sites added, dropped and refined until nothing changes, and in how many rounds."""
    for done in range(_ROUNDS):
        if heights(model, values).max() < threshold(model):
            return values, done  # what has no phases shows no sites, but noise
        values, dropped = without_weak(model, values)
        refused += [row["xyz"] for row in dropped if not row["given"]]
        values, added = with_peaks(model, values, refused)
        if not dropped and not added:
            return values, done
        changes.dropped += [row for row in dropped if row["given"]]
        values = merged(model, model.fit(values, sites_too=True), changes)
        changes.rounds += 1
    return values, _ROUNDS


def without_weak(model: Model, values: Values) -> tuple[Values, list[dict]]:
    """Without sites that are too low, and what these are; the highest always stays."""
    rows = describe(model, values)
    height = np.array([row["height"] for row in rows])
    needed = np.where(values["given"] < 0, threshold(model), _GIVEN_STAYS)
    keep = height >= np.minimum(needed, height.max())
    return take(values, keep), [row for row, kept in zip(rows, keep) if not kept]


def with_peaks(model: Model, values: Values, refused: list) -> tuple[Values, int]:
    """With the highest peaks above the threshold as new sites, and how many these are.

    At most half as many as there are, but one: while a few sites are nearly centrosymmetric, each
    true peak has a false one opposite.  None at places, fractional, that were refused before.
    """
    b_iso = float(np.average(values["b_iso"], weights=values["occupancy"]))
    xyz, height, sigma = peaks(model, values, b_iso, threshold(model))
    if refused and len(xyz):
        anew = distances(model, np.array(refused), xyz).min(axis=0) > _SAME
        xyz, height, sigma = xyz[anew], height[anew], sigma[anew]
    count = min(len(xyz), max(1, len(values["xyz"]) // 2))
    new = {"xyz": xyz[:count], "reference": xyz[:count], "occupancy": height[:count] / sigma[:count],
           "b_iso": np.full(count, b_iso), "given": np.full(count, -1)}
    return joined(values, new), count


def peaks(model: Model, values: Values, b_iso: float, lowest: float,
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks of the gradient map above ``lowest`` sigma, highest first, away from sites and from
    each other.

    Returns
    -------
    xyz (peaks, 3) fractional; height, in sigma; sigma, of the gradient.
    """
    grid = gradient_map(model, values, b_iso)
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
    apart = max(_APART, model.reflections.d_min)
    others = values["xyz"]
    for i in np.argsort(-height):
        if height[i] < lowest:
            break
        if distances(model, others, xyz[i:i + 1]).min() > apart:
            chosen.append(i)
            others = np.concatenate([others, xyz[i:i + 1]])
    return xyz[chosen], height[chosen], noise[chosen]


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
