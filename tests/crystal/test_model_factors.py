"""Structure factors of models."""

import numpy as np
from peptide import peptide

from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.reflections import Reflections


def factors(b_iso):
    structure = peptide()
    structure[0]["A"][0][0].b_iso = b_iso
    reflections = Reflections(structure.cell, structure.find_spacegroup(), 3.0)
    return model_structure_factors(structure, reflections)


def test_an_atom_at_rest_scatters_as_one_nearly_at_rest():
    at_rest, nearly = factors(0.0), factors(0.5)
    assert np.isfinite(at_rest).all()
    assert np.abs(at_rest - nearly).max() < 0.1 * np.abs(nearly).mean()
    assert np.abs(at_rest - factors(60.0)).max() > 0.1 * np.abs(nearly).mean()
