"""Is a crystal of the kind that the network has learnt?  Reasons to doubt its mask, in words."""

from __future__ import annotations

from ..crystal.reflections import Reflections
from ..solvent.content import SolventEstimate
from ..solvent.matthews import Composition
from .map_quality import MapQuality
from .model_card import ModelCard

_RESOLUTION_MARGIN = 0.2  # Angstrom


def doubts(card: ModelCard, reflections: Reflections, composition: Composition | None,
           quality: MapQuality | None, solvent: SolventEstimate, model: str | None = None,
           ) -> dict[str, str]:
    """Why the network's mask of this crystal may be unreliable; empty for most crystals.

    Parameters
    ----------
    card : of the network.
    reflections : of the map.
    composition : what is in the crystal, if it is known.
    quality : of the map, if the card can tell.
    solvent : how the solvent content was found.
    model : columns of calculated structure factors whose phases the map has.

    Returns
    -------
    "resolution", "symmetry", "nucleic acid", "model bias", "composition" or "solvent structure" -> what
    is wrong, in a sentence.
    """
    found = {}
    low, high = card.d_min_range
    if not low - _RESOLUTION_MARGIN <= reflections.d_min <= high + _RESOLUTION_MARGIN:
        found["resolution"] = (
            f"The data extend to {reflections.d_min:.2f} A; the network was trained on maps of "
            f"{low:.1f}-{high:.1f} A, so that the mask may be unreliable.")
    point_group = reflections.spacegroup.point_group_hm()
    if card.point_groups and point_group not in card.point_groups:
        found["symmetry"] = (
            f"The crystal has point group {point_group}, of which the network has seen no example, "
            "so that the mask may be unreliable.")
    if composition and not composition.protein:
        found["nucleic acid"] = (
            "The sequence is nucleic acid only; the network was trained on protein, so that the "
            "mask is unreliable.")
    if model:
        found["model bias"] = (
            f"The phases are those of a model ({model}), and the map shows that model, right or wrong: "
            "what it lacks counts as solvent, and expected correlation, figure of merit and agreement "
            "are too high. Judge by refinement, and by density that the model does not explain.")
    if solvent.options and sum(option.joint for option in solvent.options) < 0.5:
        found["composition"] = (
            "No number of copies of the sequence fits the map well: the network alone gives a "
            f"solvent content of {solvent.unet.expected:.2f}. " + (
                "The model may lack a part of it, or a copy; give --solvent-content if it is known."
                if model else "Check the sequence or the number of residues, the unit cell and the "
                "space group."))
    if quality and not quality.solvent_structure:
        found["solvent structure"] = (
            "The map shows no protein-like solvent structure and can hardly be told from one with "
            "random phases, so that mask and expected correlation mean little. Improve the phases, "
            "or try the other hand.")
    return found
