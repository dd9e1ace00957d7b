"""The network's prediction of prepared crystals, exactly as at run time, beside the truth."""

from __future__ import annotations

from ...crystal.grids import asymmetric_unit
from ...network.segmentation import Regions, map_logits
from ...network.session import SolventNet
from ..preparation.prepared import PreparedStructure


def predict(structure: PreparedStructure, number: int, net: SolventNet) -> tuple[Regions, Regions]:
    """Prediction of one map at the points of the asymmetric unit of the truth's grid.

    Returns
    -------
    Calibrated logits, (n,) each, and the truth, (n,) each, true = solvent or flat density.
    """
    logits = map_logits(structure.seen(number), net, structure.truth)
    unit = asymmetric_unit(structure.truth)
    truth = Regions(structure.truth, structure.flat)
    return (Regions(*(grid.array[unit] for grid in logits)),
            Regions(*(grid.array[unit] > 0.5 for grid in truth)))
