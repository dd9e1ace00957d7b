"""A folder of one data set as measured ones are: a model, its amplitudes, its phases with errors."""

import gzip
import json
from pathlib import Path

import gemmi
import numpy as np
from peptide import peptide

from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import hl_from_phi_fom
from crank2_unet.crystal.reflections import Reflections

ERROR = 40.0  # degrees, of the acentric phases
SEQUENCE = "AAAM" * 9


def write_measured(folder: Path, d_min: float = 2.2) -> Path:
    """Writes what ``crank2-unet model validate`` reads; every tenth reflection is not measured."""
    folder.mkdir(parents=True)
    model = peptide(n_residues=36, cell=(36, 40, 44, 90, 90, 90))
    with gzip.open(folder / "model.pdb.gz", "wt") as file:
        file.write(model.make_pdb_string())
    (folder / "sequence.fasta").write_text(f">toy\n{SEQUENCE}\n")
    (folder / "meta.json").write_text(json.dumps({"validation": {"solvent_content_matthews": 0.7}}))
    reflections = Reflections(model.cell, gemmi.SpaceGroup("P 21 21 21"), d_min)
    f = model_structure_factors(model, reflections)
    rng = np.random.default_rng(1)
    sign = rng.choice([-1, 1], len(f)) * ~reflections.centric
    phi = np.rad2deg(np.angle(f)) + ERROR * sign
    hl = hl_from_phi_fom(phi, np.full(len(f), np.cos(np.deg2rad(ERROR))), reflections.allowed_phase)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(model.cell)
    mtz.add_dataset("toy")
    for label, kind in (("F", "F"), ("SIGF", "Q"), *((f"HL{x}_SAD", "A") for x in "ABCD")):
        mtz.add_column(label, kind)
    columns = np.column_stack([np.abs(f), 0.02 * np.abs(f) + 0.1, hl])
    columns[1::10] = np.nan
    mtz.set_data(np.column_stack([reflections.hkl, columns]).astype(np.float32))
    mtz.write_to_file(str(folder / "data.mtz"))
    return folder
