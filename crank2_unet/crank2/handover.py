"""The mask as Parrot takes it: a file made from P(flat density) for the solvent content of one cycle.

Crank2 decides on the solvent content after the segmentation and changes it from cycle to cycle, so
that these files are made when Parrot is about to start.
"""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
from scipy.special import logit

from ..crystal.grids import like
from ..crystal.phases import angle_degrees
from ..crystal.reflections import Reflections
from ..files.maps import read_map, write_map
from ..files.mtz import MtzFile
from ..files.mtz_output import write_mtz
from ..parrot.carrier import carrier_coefficients
from ..pipeline import region_weights

FLAT = "flat.ccp4"  # of `crank2-unet segment`, as the next one
COEFFICIENTS = "mask.mtz"


def clear(folder: str | Path) -> None:
    """Remove what was made for an earlier map."""
    for pattern in ("weights_*.ccp4", "carrier_*.mtz"):
        for path in Path(folder).glob(pattern):
            path.unlink()


def weights_file(folder: str | Path, solvent_content: float) -> Path:
    """Map of solvent weights for a Parrot that reads masks (-mskin, -mskin-value soft).

    Parameters
    ----------
    folder : output of ``crank2-unet segment``.
    solvent_content : mean of the weights, 0..1.
    """
    path = Path(folder) / f"weights_{solvent_content:.4f}.ccp4"
    if not path.exists():
        write_map(_weights(folder, solvent_content), path)
    return path


def carrier_file(folder: str | Path, solvent_content: float) -> Path:
    """MTZ file with FMSK, PHMSK for a Parrot that does not read masks (-colin-fmsk): see
    :func:`crank2_unet.parrot.carrier.carrier_coefficients`."""
    path = Path(folder) / f"carrier_{solvent_content:.4f}.mtz"
    if not path.exists():
        file = MtzFile(Path(folder) / COEFFICIENTS)
        d_min = float(file.mtz.make_d_array().min())
        reflections = Reflections(file.mtz.cell, file.mtz.spacegroup, d_min)
        carrier = carrier_coefficients(_weights(folder, solvent_content), reflections)
        write_mtz(path, file, reflections, {
            "FMSK": ("F", np.abs(carrier)), "PHMSK": ("P", angle_degrees(carrier))},
            "Noise with high variance in the protein", keep="")
    return path


def _weights(folder: str | Path, solvent_content: float) -> gemmi.FloatGrid:
    probability = read_map(Path(folder) / FLAT)
    # the file's single precision rounds the most certain points to 0 and 1
    logits = like(probability, logit(np.clip(probability.array.astype(float), 1e-6, 1 - 1e-6)))
    return region_weights(logits, solvent_content)
