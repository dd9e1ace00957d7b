"""How well a mask lets density modification predict reflections that the map does not know.

It sees what density modification sees, errors of the mask where they matter to it, and the map's own
part is zero by construction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...crystal.filters import soften
from ...crystal.grids import structure_factors
from ...crystal.phases import map_correlation
from ...modification.expectation import modify_map
from ...modification.region_weights import RegionWeights, fixed_weights, variance_weights
from ...network.session import SolventNet
from ...pipeline import network_weights
from ..preparation.prepared import PreparedStructure

SHARE = 0.08  # of the measured reflections, left out of the map
_SHELLS = {"> 4": (4.0, np.inf), "3 - 4": (3.0, 4.0), "< 3": (0.0, 3.0)}  # Angstrom
SHELLS = tuple(_SHELLS)
KINDS = ("variance", "unet", "model")
_BLUR = 1.5  # Angstrom, of the mask of the model, as of uncertain ones of the network


def withheld_correlations(structure: PreparedStructure, number: int, net: SolventNet,
                          ) -> dict[str, dict[str, float]]:
    """Complex correlations of predicted and true structure factors, sharpened, that were withheld.

    Some of the measured reflections, always the same ones, are left out of a map.  It is modified once
    (:func:`~crank2_unet.modification.expectation.modify_map`) with each kind of region weights, found
    in the map without them.

    Returns
    -------
    kind of the weights ("variance", "unet", and "model": those of the model's mask, as a measure of
    what a mask can give) -> resolution shell (Angstrom) -> correlation, -1..1, NaN without reflections.
    """
    data, r = structure.data, structure.data.reflections
    withheld = np.isfinite(data.f) & (np.random.default_rng(1).random(len(r)) < SHARE)
    known = replace(structure, coefficients=np.where(withheld, 0, structure.coefficients))
    seen, truth = known.seen(number), structure.seen_truth.coefficients
    content = structure.solvent_matthews
    weights: dict[str, RegionWeights] = {
        "variance": variance_weights(data, content), "unet": network_weights(data, net, content),
        "model": fixed_weights(soften(structure.truth, _BLUR))}
    predicted = {kind: structure_factors(modify_map(seen.density, find(seen, 1), r.d_min).density, r)
                 for kind, find in weights.items()}
    inside = {shell: withheld & (low <= r.d) & (r.d < high) for shell, (low, high) in _SHELLS.items()}
    return {kind: {shell: map_correlation(f[chosen], truth[chosen], r.multiplicity[chosen])
                   if chosen.any() else float("nan") for shell, chosen in inside.items()}
            for kind, f in predicted.items()}


def withheld_means(records: list[dict]) -> dict[str, dict[str, float]]:
    """Means over the maps that have reflections in a shell: shell -> kind of weights -> correlation.

    ``records`` hold results of :func:`withheld_correlations` as ``withheld``.
    """
    return {shell: {kind: _mean([record["withheld"][kind][shell] for record in records])
                    for kind in KINDS} for shell in SHELLS}


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
