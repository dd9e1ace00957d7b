"""The network's prediction of prepared crystals, exactly as at run time, beside the truth."""

from __future__ import annotations

import numpy as np

from ..grids import asymmetric_unit
from ..network import SolventNet
from ..segmentation import solvent_logits
from .dataset import PreparedStructure


def predict(structure: PreparedStructure, number: int, net: SolventNet,
            ) -> tuple[np.ndarray, np.ndarray]:
    """Prediction of one map at the points of the asymmetric unit of the truth's grid.

    Returns
    -------
    Calibrated solvent logits (n,) and the truth (n,), true = solvent.
    """
    logits = solvent_logits(structure.data.reflections, structure.coefficients[number],
                            structure.truth, net)
    unit = asymmetric_unit(structure.truth)
    return logits.array[unit], structure.truth.array[unit] > 0.5
