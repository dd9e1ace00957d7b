"""Structure factors of a model with bulk solvent."""

from __future__ import annotations

import gemmi
import numpy as np

from .grids import empty_grid, structure_factors
from .reflections import Reflections

# usual bulk solvent: density in electrons per cubic Angstrom, B in square Angstrom
# (Fokine & Urzhumtsev, 2002, Acta Cryst. D58, 1387-1392)
_K_SOLVENT, _B_SOLVENT = 0.35, 46.0


def model_structure_factors(structure: gemmi.Structure, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,), complex, of a model with bulk solvent in the rest of the cell."""
    # 0.7 A keeps the edge of the mask smooth at low resolution
    solvent = empty_grid(reflections.cell, reflections.spacegroup, min(reflections.d_min / 3, 0.7))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Refmac).put_mask_on_float_grid(solvent, structure[0])
    bulk = structure_factors(solvent, reflections)
    return (atomic_structure_factors(structure, reflections)
            + _K_SOLVENT * np.exp(-_B_SOLVENT * reflections.inverse_d_squared / 4) * bulk)


def atomic_structure_factors(structure: gemmi.Structure, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,), complex, of the atoms alone."""
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min = reflections.d_min
    calculator.set_grid_cell_and_spacegroup(structure)
    # some depositions have atoms of B = 0, whose density is too sharp for any grid
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.put_model_density_on_grid(structure[0])
    sharpening = np.exp(calculator.blur / 4 * reflections.inverse_d_squared)
    return sharpening * structure_factors(calculator.grid, reflections)
