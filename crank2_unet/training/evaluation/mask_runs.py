"""Density modification of one data set with masks of several sources, everything else equal."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np

from ...crystal.filters import local_deviation, soften
from ...crystal.grids import asymmetric_unit, resample
from ...crystal.masks import cut_at_fraction
from ...crystal.phases import phi_fom_from_hl
from ...modification.engine import EmbeddedEngine, Engine
from ...modification.region_weights import (
    RegionWeights,
    VarianceWeights,
    deviation_radius,
    fixed_weights,
    variance_weights,
)
from ...network.session import SolventNet
from ...parrot.engine import ParrotEngine
from ...pipeline import Segmentation, network_weights, segment
from .cases import Case
from .metrics import Confusion
from .scores import PhaseSet

MASKS = {
    "network": "by the network, anew in every cycle",
    "variance": "by local variance, with the solvent content that the network's mask has",
    "classical": "by local variance, with the most probable solvent content by Matthews: no network",
    "best variance": "the best, by the final map correlation, of local variance and four other "
                     "combinations of radius and blur",
    "model": "of the deposited model, with the better of two blurs",
    "flat": "where the true density is flat, of the same volume, with the better of two blurs",
}
DEFAULT_MASKS = ("network", "variance", "classical")
_RADII, _BLURS = (4.0, 6.0), (1.0, 2.0)  # Angstrom, of "best variance"
_TRUE_BLURS = (1.0, 2.0)  # Angstrom; soft edges are worth more than sharp ones, for the true mask too


class Run(NamedTuple):
    """Phases, their scores (:meth:`~.scores.Truth.scores`), ``mcc`` of the last mask, cut at its mean,
    with the true one and the number of cycles among them, with NCS how many operators were used, and,
    where there was a choice, what was chosen."""

    phases: PhaseSet
    scores: dict


def run_masks(case: Case, found: Segmentation, net: SolventNet, masks: Sequence[str],
              cycles: int | None, ncs: bool, parrot: str | None) -> Iterator[tuple[str, Run]]:
    """Density modification with each of the masks.

    Parameters
    ----------
    found : segmentation of the starting map, by which the solvent content is that of all masks but
        "classical", "model" and "flat".
    masks : names in ``MASKS``.
    cycles : None: until it converges.
    ncs : density is averaged over the copies that sites or the map show, where the map confirms them.
    parrot : the program Parrot, which then modifies the density; None: this package does.
    """
    embedded = EmbeddedEngine(case.sites() if ncs else None, ncs_from_map=ncs)
    engine: Engine = embedded if parrot is None else ParrotEngine.find(parrot, ahead=embedded)
    data, content = case.data, found.solvent.value

    def modify(weights: RegionWeights, solvent: float = content, **choice) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            modified = engine.modify(data, weights, solvent, cycles, Path(folder))
        phases = PhaseSet(data.reflections, *phi_fom_from_hl(
            modified.hl, data.reflections.allowed_phase), modified.coefficients)
        averaged = {"ncs_operators": len(modified.how.get("ncs", []))} if ncs else {}
        return Run(phases, {**case.truth.scores(phases), "mcc": _mcc(modified.weights, case.mask),
                            "cycles": len(modified.cycles),
                            **averaged, **choice})

    def fixed(mask: gemmi.FloatGrid) -> Run:
        mask = resample(mask, found.density)
        return _best([modify(fixed_weights(soften(mask, blur)), float(mask.array.mean()), blur=blur)
                      for blur in _TRUE_BLURS])

    makers = {
        "network": lambda: modify(network_weights(data, net, content)),
        "variance": lambda: modify(variance_weights(data, content)),
        "classical": lambda: modify(variance_weights(data, case.matthews.solvent),
                                    case.matthews.solvent),
        "best variance": lambda: _best([modify(variance_weights(data, content)), *(
            modify(VarianceWeights(content, radius, blur), radius=radius, blur=blur)
            for radius, blur in product(_RADII, _BLURS))]),
        "model": lambda: fixed(case.mask),
        "flat": lambda: fixed(case.flat)}
    for name in MASKS:
        if name in masks:
            yield name, makers[name]()


def segmentation_scores(case: Case, found: Segmentation) -> dict[str, dict]:
    """Masks of the starting map against the true one, at the points of the asymmetric unit: by the
    network and by local variance, both with the solvent content found."""
    mean_fom = float(case.start.fom[np.isfinite(case.data.f)].mean())
    truth, unit = resample(case.mask, found.density), asymmetric_unit(found.density)
    deviation = local_deviation(found.density, deviation_radius(mean_fom))
    masks = {"network": found.mask, "variance": cut_at_fraction(deviation, found.solvent.value)}
    return {name: Confusion.of_masks(mask.array, truth.array, unit).scores()
            for name, mask in masks.items()}


def segment_case(case: Case, net: SolventNet) -> tuple[Segmentation, dict]:
    """The network's segmentation, and the solvent contents: true, that used (``network``) with its
    rule, and that by the cell and the composition alone (``matthews``)."""
    found = segment(case.data, net, case.composition)
    return found, {"true": case.solvent, "network": found.solvent.value, "rule": found.solvent.rule,
                   "matthews": case.matthews.solvent}


def _mcc(weights: gemmi.FloatGrid, truth: gemmi.FloatGrid) -> float:
    """MCC of region weights, cut so that their mean stays, with the true mask."""
    mask = cut_at_fraction(weights, float(np.clip(weights.array.mean(), 0, 1)), lowest=False)
    return Confusion.of_masks(mask.array, resample(truth, weights).array, asymmetric_unit(weights)).mcc


def _best(candidates: Sequence[Run]) -> Run:
    return max(candidates, key=lambda run: run.scores["cc"])
