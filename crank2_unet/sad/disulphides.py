"""Disulphides that were given, or found, as one site: split where the data resolve them.

At low resolution the two sulphurs of a disulphide are one peak, and programs that find substructures
give it as one (Usón, Schmidt, von Bülow, Grimme, von Fritsch, Dall'Antonia & Sheldrick, 2003, Acta
Cryst. D59, 57-66).  At higher resolution two atoms explain more than one of a large B factor can.
"""

from __future__ import annotations

import gemmi
import numpy as np

from .gradient import distances, gradient_map, joined, take, threshold
from .likelihood import Model, Values

_HALF, _BOND = 1.02, (1.5, 2.6)  # Angstrom: half of the bond, and what may be one after refinement
_ALONE = 3.0  # Angstrom: with another site so near, a site is one sulphur already
_ANGLES = 60  # directions that are tried, some 15 degrees apart
_OCCUPANCY = 0.75  # of each half against the whole, whose B factor makes up for its place
_FITS = 2


def with_disulphides(model: Model, values: Values) -> tuple[Values, list[dict]]:
    """With sites split that the data show to be two, and a row for each of these: its xyz, and
    ``into``, those of its halves.

    All sites without a neighbour are split along the direction in which the gradient map is highest
    on both sides, and refined; a pair stays where it still is one and explains the data better than the
    single site by as much as a site of the threshold does.
    """
    near = distances(model, values["xyz"], values["xyz"]) < _ALONE
    singles = np.flatnonzero(near.sum(axis=0) == 1)
    if not len(singles):
        return values, []
    trial = _split(model, values, singles)
    for _ in range(_FITS):
        trial = model.fit(trial, sites_too=True)
    first = len(values["occupancy"]) - len(singles)  # of the halves
    better = _log_likelihood(model, trial)
    stays = np.ones(len(singles), bool)
    for i, single in enumerate(singles):
        pair = np.arange(2) + first + 2 * i
        others = np.setdiff1d(np.arange(len(trial["occupancy"])), pair)
        whole = joined(take(trial, others), take(values, np.array([single])))
        length = distances(model, *trial["xyz"][pair][:, None])[0, 0]
        stays[i] = (_BOND[0] < length < _BOND[1]
                    and better - _log_likelihood(model, whole) > threshold(model) ** 2 / 2)
    if not stays.any():
        return values, []
    keep = np.ones(len(values["occupancy"]), bool)
    keep[singles[stays]] = False
    halves = first + 2 * np.flatnonzero(stays)[:, None] + np.arange(2)
    rows = [{"xyz": values["xyz"][single].tolist(), "into": trial["xyz"][pair].tolist()}
            for single, pair in zip(singles[stays], halves)]
    return model.fit(joined(take(values, keep), take(trial, halves.ravel())), sites_too=True), rows


def _split(model: Model, values: Values, singles: np.ndarray) -> Values:
    """The sites, those to be split replaced by their halves, which come last."""
    b_iso = min(float(np.median(values["b_iso"])), max(model.restraints.scale.b, 1.0))
    grid = gradient_map(model, values, b_iso)
    bond = _HALF * _directions()
    to_fractional = np.array(model.cell.frac.mat.tolist())
    pairs = []
    for xyz in values["xyz"][singles]:
        ends = xyz + np.stack([bond, -bond]) @ to_fractional.T
        height = [sum(grid.tricubic_interpolation(gemmi.Fractional(*end)) for end in both)
                  for both in zip(*ends)]
        pairs.append(ends[:, int(np.argmax(height))])
    halves = take(values, np.repeat(singles, 2))
    halves["xyz"] = halves["reference"] = np.concatenate(pairs)
    halves["occupancy"] = halves["occupancy"] * _OCCUPANCY
    halves["b_iso"] = np.minimum(halves["b_iso"], b_iso)
    return joined(take(values, np.setdiff1d(np.arange(len(values["occupancy"])), singles)), halves)


def _directions() -> np.ndarray:
    """Unit vectors spread evenly over half a sphere, (k, 3)."""
    number = np.arange(_ANGLES) + 0.5
    z, turn = 1 - number / _ANGLES, np.pi * (1 + np.sqrt(5)) * number
    across = np.sqrt(1 - z ** 2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)


def _log_likelihood(model: Model, values: Values) -> float:
    return float(model.log_likelihood(values, model.partials(values))[0])
