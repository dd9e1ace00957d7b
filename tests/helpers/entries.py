"""Entries of the PDB: coordinates and structure factors of a small crystal."""

from dataclasses import replace

import gemmi
import numpy as np
from peptide import toy
from perfect_experiment import PERFECT

from crank2_unet.simulation.experiment import simulate_sad
from crank2_unet.training.deposited.substructure import deposited_substructure

WAVELENGTH = "_diffrn_radiation_wavelength.id 1\n_diffrn_radiation_wavelength.wavelength 0.979\n"


def selenium(structure):
    """The crystal with selenium in place of sulphur."""
    structure = structure.clone()
    for cra in structure[0].all():
        if cra.atom.element.name == "S":
            cra.atom.element = gemmi.Element("Se")
    return structure


def measured(structure):
    """Reflections and Friedel mates, (n, 4), of a good experiment."""
    settings = replace(PERFECT, i_over_sigma=20.0)
    data = simulate_sad(structure, settings, np.random.default_rng(0)).data
    mates = np.stack([data.f_plus, data.sigf_plus, data.f_minus, data.sigf_minus], axis=1)
    mates[data.reflections.centric, 2:] = mates[data.reflections.centric, :2]
    return data.reflections, mates


def as_cif(reflections, mates, anomalous=True):
    """Structure factors as deposited, with Friedel mates or their first ones only."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("peak").wavelength = 0.979
    columns = [("F(+)", "G"), ("SIGF(+)", "L"), ("F(-)", "G"), ("SIGF(-)", "L")] if anomalous else [
        ("F", "F"), ("SIGF", "Q")]
    for label, kind in columns:
        mtz.add_column(label, kind)
    mtz.set_data(np.hstack([reflections.hkl, mates[:, :len(columns)]]).astype(np.float32))
    return gemmi.MtzToCif().write_cif_to_string(mtz)


def deposit(folder, code):
    """Write the files of a good entry; returns its substructure."""
    structure = selenium(toy("aaaa"))
    folder.mkdir()
    (folder / f"{code}.cif").write_text(structure.make_mmcif_document().as_string() + WAVELENGTH)
    (folder / f"{code}-sf.cif").write_text(as_cif(*measured(structure)))
    return deposited_substructure(structure, 0.979)[1]
