"""Makes the table of protein density from deposited structures.

Run as ``python -m crank2_unet.training.histograms structures histograms.json``, where the folder
has an index.csv and <code>.cif.gz files.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import gemmi
import numpy as np
from tqdm import tqdm

from ..grids import density_map, empty_grid, structure_factors
from ..histograms import LEVELS
from ..masks import model_mask
from ..reflections import Reflections

# usual bulk solvent: density in electrons per cubic Angstrom, B in square Angstrom
# (Fokine & Urzhumtsev, 2002, Acta Cryst. D58, 1387-1392)
_K_SOLVENT, _B_SOLVENT = 0.35, 46.0
_RESOLUTIONS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # Angstrom
_STRUCTURES = 40  # spread of the skewness between structures is 0.1-0.2; of their mean 0.03
_RESIDUES = (80, 400)  # not peptides, not slow


def model_structure_factors(structure: gemmi.Structure, reflections: Reflections) -> np.ndarray:
    """Structure factors (n,), complex, of a model with bulk solvent in the rest of the cell."""
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min = reflections.d_min
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    atoms = structure_factors(calculator.grid, reflections)
    # 0.7 A keeps the edge of the mask smooth at low resolution
    solvent = empty_grid(reflections.cell, reflections.spacegroup, min(reflections.d_min / 3, 0.7))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Refmac).put_mask_on_float_grid(solvent, structure[0])
    bulk = structure_factors(solvent, reflections)
    return atoms + _K_SOLVENT * np.exp(-_B_SOLVENT * reflections.inverse_d_squared / 4) * bulk


def density_levels(structure: gemmi.Structure, d_min: float) -> np.ndarray:
    """Equally probable densities, (LEVELS,), of a model's protein region; mean 0, deviation 1."""
    reflections = Reflections(structure.cell, gemmi.SpaceGroup(structure.spacegroup_hm), d_min)
    density = density_map(reflections, model_structure_factors(structure, reflections), d_min / 3)
    inside = np.sort(density.array[model_mask(structure, density).array < 0.5])
    levels = np.array([part.mean() for part in np.array_split(inside, LEVELS)])
    return (levels - levels.mean()) / levels.std()


def choose_structures(index: Path) -> list[str]:
    """Codes of complete protein structures of the training split, the same ones at every call."""
    with open(index, newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if row["split"] == "train" and float(row["n_nuc"]) == 0
                and float(row["f_sidechain"]) > 0.99 and float(row["mean_B"]) > 8
                and _RESIDUES[0] <= int(row["n_residues"]) <= _RESIDUES[1]]
    return list(np.random.default_rng(1).permutation([row["code"] for row in rows])[:_STRUCTURES])


def make_table(folder: Path) -> dict:
    """The table of :func:`crank2_unet.histograms.protein_levels`."""
    total = np.zeros((len(_RESOLUTIONS), LEVELS))
    codes = choose_structures(folder / "index.csv")
    for code in tqdm(codes, desc="structures"):
        structure = gemmi.read_structure(str(folder / f"{code}.cif.gz"))
        total += [density_levels(structure, d_min) for d_min in _RESOLUTIONS]
    origin = (f"{len(codes)} protein crystal structures of the wwPDB (training split) with bulk "
              "solvent, averaged by crank2_unet.training.histograms")
    return {"origin": origin, "d_min": _RESOLUTIONS,
            "levels": (total / len(codes)).round(3).tolist()}


def main(arguments: list[str] | None = None) -> None:
    """Command line of the maker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", type=Path, help="folder with index.csv and <code>.cif.gz")
    parser.add_argument("output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    options.output.write_text(json.dumps(make_table(options.structures)) + "\n")


if __name__ == "__main__":
    main()
