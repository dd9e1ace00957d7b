"""The whole flow on one page: phased data -> map -> logits -> solvent content -> masks -> map.

:func:`segment` finds solvent and protein in a map; :func:`plan` chooses what density modification goes
by, :func:`modify` does it; :func:`compare_hands` tells which of two hands is right.  Nothing here
reads or writes files; :mod:`crank2_unet.jobs` does, around these functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import gemmi
import numpy as np

from .crystal.filters import soften
from .crystal.grids import asymmetric_unit
from .crystal.maps import CrystalMap
from .crystal.masks import cut_at_fraction
from .crystal.observations import PhasedData
from .crystal.phases import hl_from_phi_fom, phi_fom_from_hl
from .errors import ModelError
from .modification.cycles import modify_density
from .modification.engine import Engine, Modified
from .modification.region_weights import RegionWeights, fixed_weights, variance_weights
from .modification.sharpening import Sharpening
from .network.map_quality import SAME_MAP, MapQuality, likeness, map_features, skewness
from .network.segmentation import (
    certainty,
    map_logits,
    placement_for,
    probability,
    probability_with_mean,
)
from .network.session import SolventNet
from .solvent.content import SolventEstimate, estimate_solvent
from .solvent.matthews import Composition, matthews_options

Progress = Callable[[int, int], None]

# Angstrom.  Masks of poor maps are wrong in whole regions, and soft edges hedge against that; those of
# good maps are worth most as they are: on 31 unseen simulated data sets, softening certain masks by
# 1 A instead of 1.5 gained 0.5 degrees of phase error, softening all of them nothing.
_BLUR, _BLUR_OF_CERTAIN = 1.5, 1.0
_CERTAIN = 0.5  # see :func:`~crank2_unet.network.segmentation.certainty`
_HAND_CYCLES = 3  # of density modification, before hands are compared


@dataclass(frozen=True)
class Segmentation:
    """What :func:`segment` finds, all on one grid over the cell.

    Parameters
    ----------
    density : the map that was segmented, sharpened.
    probability : P(solvent) by the network, in [0, 1].
    flat : P(the true density is flat) by the network, in [0, 1]: for density modification.
    mask : 1 = solvent, 0 = protein; its mean is the solvent content.
    solvent : the estimate of the solvent content and how it came about.
    quality : of the map; None if the model card cannot tell.
    """

    density: gemmi.FloatGrid
    probability: gemmi.FloatGrid
    flat: gemmi.FloatGrid
    mask: gemmi.FloatGrid
    solvent: SolventEstimate
    quality: MapQuality | None


def segment(data: PhasedData, net: SolventNet, composition: Composition | None = None,
            solvent_content: float | None = None, progress: Progress | None = None) -> Segmentation:
    """Segment a map, sharpened as in density modification, into solvent and protein.

    Parameters
    ----------
    data : reflections and the coefficients of the map.
    net : the network.
    composition : what is in one copy of the molecule, for Matthews probabilities.
    solvent_content : fixes the solvent content, 0..1; default: estimated.
    progress : called with (windows done, windows in all).
    """
    seen = sharpened_map(data)
    density = seen.density
    logits = map_logits(seen, net, progress=progress)
    options = [] if composition is None else matthews_options(
        composition, density.unit_cell, density.spacegroup, data.reflections.d_min)
    solvent = estimate_solvent(logits.solvent.array[asymmetric_unit(density)], net.card.cutoffs,
                               options, solvent_content)
    judge = net.card.quality
    quality = None if judge is None else judge.judge(map_features(density, logits.solvent))
    mask = cut_at_fraction(logits.solvent, solvent.value, lowest=False)
    return Segmentation(density, probability(logits.solvent), probability(logits.flat), mask, solvent,
                        quality)


def sharpened_map(data: PhasedData) -> CrystalMap:
    """The map of data as it is looked at."""
    return Sharpening.of(data).sharpen(data.coefficients)


@dataclass(frozen=True)
class Plan:
    """What density modification goes by.

    Parameters
    ----------
    weights : region weights of each cycle.
    solvent_content : 0..1.
    found : segmentation of the starting map; None with a mask of the user's.
    """

    weights: RegionWeights
    solvent_content: float
    found: Segmentation | None


def plan(data: PhasedData, net: SolventNet, mask: str = "unet",
         composition: Composition | None = None, solvent_content: float | None = None) -> Plan:
    """Choose masks and solvent content; :func:`plan_by_mask` does with a mask of the user's.

    Parameters
    ----------
    data : to be modified.
    net : the network, which also finds the solvent content of "variance".
    mask : "unet" or "variance" (local variance, the classical mask).
    composition, solvent_content : see :func:`segment`.
    """
    found = segment(data, net, composition, solvent_content)
    content = found.solvent.value
    weights = network_weights(data, net, content) if mask == "unet" else variance_weights(data, content)
    return Plan(weights, content, found)


def plan_by_mask(mask: gemmi.FloatGrid) -> Plan:
    """The same mask, 1 = solvent, in every cycle; its mean is the solvent content."""
    return Plan(fixed_weights(mask), float(mask.array.mean()), None)


def modify(data: PhasedData, plan: Plan, engine: Engine, cycles: int | None, folder: Path,
           progress: Callable[[int], None] | None = None) -> tuple[Modified, gemmi.FloatGrid]:
    """Density modification by an engine; see :meth:`~crank2_unet.modification.engine.Engine.modify`.

    Returns
    -------
    What the engine gives, and the mask (1 = solvent) of the last cycle.
    """
    modified = engine.modify(data, plan.weights, plan.solvent_content, cycles, folder, progress)
    return modified, cut_at_fraction(modified.weights, plan.solvent_content, lowest=False)


def network_weights(data: PhasedData, net: SolventNet, solvent_content: float) -> RegionWeights:
    """Region weights that the network predicts anew from the map of each cycle.

    The solvent content and the place of the windows stay what they were for the first map.
    """
    placement = placement_for(sharpened_map(data), net)

    def weights(current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
        return region_weights(map_logits(current, net, placement=placement).flat, solvent_content)
    return weights


def region_weights(logits: gemmi.FloatGrid, solvent_content: float) -> gemmi.FloatGrid:
    """Weights of the solvent region, in [0, 1], from logits of P(flat density); their mean is the
    solvent content.  They are softened, more so where the network is less certain."""
    flat = probability_with_mean(logits, solvent_content)
    return soften(flat, _BLUR_OF_CERTAIN if certainty(flat) >= _CERTAIN else _BLUR)


@dataclass(frozen=True)
class Hands:
    """Which of two hands is right.

    Parameters
    ----------
    p_first : probability that the first is.
    same_map : both are the same map with another origin, so that neither is wrong.
    found : segmentations of both.
    """

    p_first: float
    same_map: bool
    found: tuple[Segmentation, Segmentation]


def compare_hands(first: PhasedData, other: PhasedData, net: SolventNet,
                  progress: Progress | None = None) -> Hands:
    """Compare the maps of one crystal phased in either hand, as they are and after some cycles of
    density modification.

    Parameters
    ----------
    first, other : data of the hands.
    net : the network.
    progress : called with (hands done, 2) as their density is modified.

    Raises
    ------
    ModelError : the card of the network does not say how to judge hands.
    """
    judge = net.card.quality
    if judge is None:
        raise ModelError(f"Model {net.card.name} {net.card.version} has not learnt to tell hands "
                         "apart. Use the packaged model, or complete the card with 'crank2-unet "
                         "model quality'.")
    found = segment(first, net), segment(other, net)
    same = likeness(*(hand.density for hand in found)) > SAME_MAP
    if same:
        return Hands(0.5, True, found)
    features = []
    for data, hand in zip((first, other), found):
        assert hand.quality  # the card can judge
        features.append(features_of_hand(data, net, hand.solvent.value, hand.quality.features))
        if progress:
            progress(len(features), 2)
    return Hands(judge.probability_of_hand(*features), False, found)


def features_of_hand(data: PhasedData, net: SolventNet, solvent_content: float,
                     first: dict[str, float]) -> dict[str, float]:
    """Features by which hands are told apart: of the map as it is and after density modification.

    The right hand gains more by it.  The phases are taken as unimodal, as a map shows them, and no
    amplitudes are held back: the judgement is fitted to figures of merit that all agreement raises.

    Parameters
    ----------
    data : of this hand.
    solvent_content : 0..1.
    first : features of its map.

    Returns
    -------
    ``first``; fom, gamma and f_correlation of the last cycle
    (:class:`~.cycles.CycleStatistics`); and modified_skewness, of the map after it.
    """
    reflections = data.reflections
    phi, fom = phi_fom_from_hl(data.hl, reflections.allowed_phase)
    hl = hl_from_phi_fom(phi, fom, reflections.allowed_phase)
    modified = modify_density(replace(data, hl=hl), network_weights(data, net, solvent_content),
                              _HAND_CYCLES, held_back=0)
    last = modified.cycles[-1]
    seen = replace(data, coefficients=np.where(data.known, modified.next_coefficients, 0))
    return {**first, "fom": last.fom, "gamma": last.gamma, "f_correlation": last.f_correlation,
            "modified_skewness": skewness(sharpened_map(seen).density)}


def features_of_map(data: PhasedData, net: SolventNet) -> tuple[dict[str, float], gemmi.FloatGrid]:
    """Features of the sharpened map (:func:`~.map_quality.map_features`) and its logits of
    P(solvent)."""
    seen = sharpened_map(data)
    logits = map_logits(seen, net).solvent
    return map_features(seen.density, logits), logits
