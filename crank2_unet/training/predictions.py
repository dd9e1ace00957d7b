"""The network's prediction of prepared crystals, exactly as at run time, beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..grids import asymmetric_unit
from ..network import SolventNet
from ..segmentation import solvent_logits
from .dataset import PreparedStructure


def prepared_files(folder: str | Path, limit: int | None = None, seed: int = 0) -> list[Path]:
    """Prepared files of a folder, or ``limit`` of them chosen at random.

    Raises
    ------
    InputError : there is none.
    """
    files = sorted(Path(folder).resolve().glob("*.npz"))
    if not files:
        raise InputError(f"{folder} has no prepared structures (*.npz). "
                         "Run 'crank2-unet model prepare' first.")
    if limit is None or limit >= len(files):
        return files
    chosen = np.random.default_rng(seed).choice(len(files), limit, replace=False)
    return [files[i] for i in sorted(chosen)]


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
