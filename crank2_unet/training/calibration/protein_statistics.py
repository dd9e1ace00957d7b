"""Makes the tables of protein density and of mean intensities from deposited structures.

Run as ``crank2-unet model histograms structures protein_statistics.json``, where the folder has an
index.csv and <code>.cif.gz files.  Densities are those of sharpened maps, and sharpening goes
by the intensities of the packaged table: to change these, make the table twice.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import gemmi
import numpy as np
from tqdm import tqdm

from ...crystal.masks import model_mask
from ...crystal.model_factors import model_structure_factors
from ...crystal.observations import PhasedData
from ...crystal.reflections import Reflections
from ...modification.protein_statistics import LEVELS
from ...modification.sharpening import LEAST_RESOLUTION, Sharpening

_RESOLUTIONS = (1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0)  # Angstrom
_FINEST = 1.2  # Angstrom, of mean intensities
_LIMITS = np.linspace(LEAST_RESOLUTION**-2, _FINEST**-2, 41)  # of their shells, 1/Angstrom^2
_REST_B = 20.0  # of atoms while their density is sampled; their fall-off is taken out again
_STRUCTURES = 40  # spread of the skewness between structures is 0.04-0.06; of their mean 0.01
_RESIDUES = (80, 400)  # not peptides, not slow


def density_levels(structure: gemmi.Structure, d_min: float) -> np.ndarray:
    """Equally probable densities, (LEVELS,), of a model's protein region in a sharpened map; mean 0,
    deviation 1."""
    reflections = Reflections(structure.cell, gemmi.SpaceGroup(structure.spacegroup_hm), d_min)
    true = model_structure_factors(structure, reflections)
    data = PhasedData(reflections, np.abs(true), np.zeros(len(true)), np.zeros((len(true), 4)), true)
    density = Sharpening.of(data).sharpen(true).density
    inside = np.sort(density.array[model_mask(structure, density).array < 0.5])
    levels = np.array([part.mean() for part in np.array_split(inside, LEVELS)])
    return (levels - levels.mean()) / levels.std()


def log_intensities(structure: gemmi.Structure) -> np.ndarray:
    """Logarithm of the mean intensity, (shells,), of a model whose atoms are at rest; mean 0."""
    structure = structure.clone()
    for site in structure[0].all():
        site.atom.b_iso, site.atom.aniso = _REST_B, gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    reflections = Reflections(structure.cell, gemmi.SpaceGroup(structure.spacegroup_hm), _FINEST)
    s2 = reflections.inverse_d_squared
    intensity = np.abs(model_structure_factors(structure, reflections)) ** 2 / reflections.epsilon
    intensity *= np.exp(_REST_B * s2 / 2)
    counts, sums = (np.histogram(s2, _LIMITS, weights=weights)[0] for weights in (None, intensity))
    log_mean = np.log(sums / counts)
    return log_mean - log_mean.mean()


def choose_structures(index: Path) -> list[str]:
    """Codes of complete protein structures of the training split, the same ones at every call."""
    with open(index, newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if row["split"] == "train" and float(row["n_nuc"]) == 0
                and float(row["f_sidechain"]) > 0.99 and float(row["mean_B"]) > 8
                and _RESIDUES[0] <= int(row["n_residues"]) <= _RESIDUES[1]]
    return list(np.random.default_rng(1).permutation([row["code"] for row in rows])[:_STRUCTURES])


def intensity_table(structures: list[gemmi.Structure]) -> dict:
    """The table of :func:`crank2_unet.modification.protein_statistics.log_mean_intensity`."""
    log_mean = np.mean([log_intensities(one) for one in tqdm(structures, desc="intensities")], axis=0)
    return {"inverse_d_squared": ((_LIMITS[1:] + _LIMITS[:-1]) / 2).round(5).tolist(),
            "log_mean": log_mean.round(3).tolist()}


def level_table(structures: list[gemmi.Structure]) -> dict:
    """The table of :func:`crank2_unet.modification.protein_statistics.protein_levels`."""
    levels = np.mean([[density_levels(one, d_min) for d_min in _RESOLUTIONS]
                      for one in tqdm(structures, desc="levels")], axis=0)
    return {"d_min": _RESOLUTIONS, "levels": levels.round(3).tolist()}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crank2-unet model histograms",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("structures", type=Path, help="folder with index.csv and <code>.cif.gz")
    parser.add_argument("output", type=Path, help="JSON file to write")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line of the maker."""
    options = make_parser().parse_args(arguments)
    codes = choose_structures(options.structures / "index.csv")
    structures = [gemmi.read_structure(str(options.structures / f"{code}.cif.gz")) for code in codes]
    origin = (f"{len(codes)} protein crystal structures of the wwPDB (training split) with bulk "
              "solvent, averaged by crank2_unet.training.calibration.protein_statistics")
    tables = {"origin": origin, "intensity": intensity_table(structures), **level_table(structures)}
    options.output.write_text(json.dumps(tables) + "\n")
