"""A judgement of maps for tests, a card that holds it, and maps to be judged."""

import json
import shutil
from dataclasses import asdict

import gemmi
import numpy as np
from blob import blob
from crystals import random_coefficients

from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.network.map_quality import Linear, QualityModel
from crank2_unet.network.model_card import ModelCard

MODEL = QualityModel(Linear(-0.2, {"region_contrast": 0.8}), 0.1,
                     Linear(0.0, {"region_contrast": 20.0, "skewness": 5.0}),
                     Linear(-0.3, {"region_contrast": 1.0}))


def make_card(folder):
    """Copy of the packaged card in a folder, with an entry for map quality."""
    packaged = ModelCard.read()
    shutil.copy(packaged.onnx, folder)
    path = folder / packaged.path.name
    path.write_text(json.dumps({**json.loads(packaged.path.read_text()), "quality": asdict(MODEL)}))
    return path


def crystal_of(grid):
    return Reflections(grid.unit_cell, grid.spacegroup, 2.5)


def write_map(path, reflections, coefficients):
    """Map coefficients; the same as amplitudes, phases and a figure of merit."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("test")
    for label, kind in (("FWT", "F"), ("PHWT", "P"), ("F", "F"), ("SIGF", "Q"),
                        ("PHIB", "P"), ("FOM", "W")):
        mtz.add_column(label, kind)
    f, phi = np.abs(coefficients), np.rad2deg(np.angle(coefficients))
    mtz.set_data(np.column_stack([reflections.hkl, f, phi, f, 0.1 * f, phi, np.full(len(f), 0.9)]
                                 ).astype(np.float32))
    mtz.write_to_file(str(path))
    return str(path)


def make_hands(folder):
    """Maps of a blob in P 41 and of its wrong hand, which is noise with the same amplitudes."""
    one, two = (Reflections(gemmi.UnitCell(40, 40, 50, 90, 90, 90), gemmi.SpaceGroup(symbol), 2.5)
                for symbol in ("P 41", "P 43"))
    structure = blob("P 21 21 21", radius=11)
    structure.cell, structure.spacegroup_hm = one.cell, "P 41"
    structure.setup_cell_images()
    truth = model_structure_factors(structure, one)
    wrong = np.abs(truth) * np.exp(1j * np.angle(random_coefficients(two)))
    return (write_map(folder / "right.mtz", one, truth),
            write_map(folder / "wrong.mtz", two, wrong))
