"""Makes the reference statistics of protein density from deposited structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterable

import gemmi
import numpy as np

from ..grids import density_map, empty_grid, structure_factors
from ..histograms import QUANTILES, sharpness
from ..masks import model_mask
from ..reflections import Reflections

# usual bulk solvent: scale in electrons per cubic Angstrom, B in square Angstrom
# (Fokine & Urzhumtsev, 2002, Acta Cryst. D58, 1387-1392)
_K_SOLVENT, _B_SOLVENT = 0.35, 46.0


def model_structure_factors(structure: gemmi.Structure, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,), complex, of a model with bulk solvent filling the rest of the cell."""
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min = reflections.d_min
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    atoms = structure_factors(calculator.grid, reflections)
    solvent = empty_grid(reflections.cell, reflections.spacegroup, min(reflections.d_min / 3, 0.7))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Refmac).put_mask_on_float_grid(solvent, structure[0])
    bulk = structure_factors(solvent, reflections)
    return atoms + _K_SOLVENT * np.exp(-_B_SOLVENT * reflections.inverse_d_squared / 4) * bulk


def protein_statistics(structure: gemmi.Structure, d_min: float) -> dict:
    """Sharpness, contrast and standardised quantiles of the density of a model at a resolution."""
    spacegroup = gemmi.SpaceGroup(structure.spacegroup_hm)
    reflections = Reflections(structure.cell, spacegroup, d_min)
    f = model_structure_factors(structure, reflections)
    density = density_map(reflections, f, d_min / 3)
    protein = model_mask(structure, density).array < 0.5
    inside, outside = density.array[protein], density.array[~protein]
    deviation = inside.std()
    return {"d_min": d_min, "sharpness": sharpness(reflections, np.abs(f)),
            "contrast": float((inside.mean() - outside.mean()) / deviation),
            "quantiles": np.quantile((inside - inside.mean()) / deviation, QUANTILES)}
