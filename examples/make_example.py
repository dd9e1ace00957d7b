"""Make the example: a protein crystal built from scratch and its simulated SAD data.

    python make_example.py -o DIR                      everything, about a minute
    python make_example.py -o DIR --model model.pdb    only the data, for a model that exists

No measured or deposited data are used; the same seed gives the same files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gemmi
import numpy as np
from build_protein import build_backbone
from pack_crystal import mates, pack
from scipy.constants import N_A
from scipy.spatial import cKDTree
from side_chains import candidates, design, kinds, relax

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.sad.friedel import mean_amplitude
from crank2_unet.sad.phasing import Scatterer
from crank2_unet.simulation.experiment import SadSettings, simulate_sad

SEED = 2  # of the protein and its crystal
DATA_SEED = 1  # of the measurement
N_SELENIUM = 5
SPACEGROUP = "P 21 21 21"
SOLVENT_CONTENT = 0.57
SPECIFIC_VOLUME = 0.74  # cm^3/g, of proteins; Matthews (1968), J. Mol. Biol. 33, 491-497
B_RANGE = (18.0, 65.0)  # Angstrom^2, of the best and least packed atoms
B_REACH = 8.0  # Angstrom; B factors follow the number of atoms this near
WAVELENGTH = 0.9792  # Angstrom, peak of the Se K edge
SELENIUM = Scatterer("Se", -7.6855, 3.8415)  # by theory at this wavelength; phasing supposes more
TITLE = "Simulated SAD data of a four-helix bundle that does not exist"
MODEL_TITLE = "Four-helix bundle made by a program for simulated data"

# A weak case: about 65 degrees of mean phase error after SAD phasing
SETTINGS = SadSettings(
    scenario="metal", scatterer=SELENIUM, wavelength=WAVELENGTH,
    d_min=2.4, d_max=30.0, occupancy=1.0, n_soaked=0, b_added=0.0, anisotropy=2.0, k_sol=0.35,
    b_sol=46.0, i_over_sigma=1.8, background=1.0, relative_error=0.03, outliers=0.002,
    sigma_scale=1.0, completeness=0.98, overloads=0.0, site_shift=0.2, missing_sites=0.0,
    spurious_sites=0.0, site_error=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("."), help="folder to write to")
    parser.add_argument("--model", type=Path, help="use this model instead of building one")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    model = args.model
    if model is None:
        model = args.output / "model.pdb"
        build_model(np.random.default_rng(SEED)).write_pdb(str(model))
    write_data(gemmi.read_structure(str(model)), args.output)


def build_model(rng: np.random.Generator) -> gemmi.Structure:
    """A protein packed into its crystal."""
    backbone, phi, _, helical = build_backbone(rng)
    allowed = candidates(backbone, phi, helical, N_SELENIUM, rng)
    side_chains = relax(design(backbone, allowed, rng), backbone, rng)
    chain = gemmi.Chain("A")
    for number, (main, side) in enumerate(zip(backbone, side_chains), 1):
        names = ("N", "CA", "C", "O") + side.names
        chain.add_residue(_residue(number, side.residue, names, np.vstack([main[:4], side.xyz])))
    structure = gemmi.Structure()
    structure.name, structure.info["_struct.title"] = "example", MODEL_TITLE
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    _crystallise(structure, rng)
    structure.setup_entities()
    structure.entities[0].full_sequence = [residue.name for residue in structure[0][0]]
    return structure


def _residue(number, name, atom_names, xyz) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name, residue.seqid = name, gemmi.SeqId(number, " ")
    residue.het_flag = "H" if name == "MSE" else "A"
    for atom_name, position in zip(atom_names, xyz):
        atom = gemmi.Atom()
        atom.name, atom.pos, atom.occ = atom_name, gemmi.Position(*position), 1.0
        atom.element = gemmi.Element("Se" if atom_name == "SE" else atom_name[0])
        residue.add_atom(atom)
    return residue


def _crystallise(structure: gemmi.Structure, rng: np.random.Generator) -> None:
    """Give the structure a cell, a place in it and B factors that follow the packing."""
    atoms = [cra.atom for cra in structure[0].all()]
    xyz, kind = np.array([a.pos.tolist() for a in atoms]), kinds([a.name for a in atoms])
    spacegroup = gemmi.SpaceGroup(SPACEGROUP)
    copies = len(spacegroup.operations())
    volume = copies * molecule_volume(structure[0][0]) / (1 - SOLVENT_CONTENT)
    cell, xyz = pack(xyz, kind, spacegroup, volume, rng)
    everything = np.concatenate([xyz, mates(cell, xyz, spacegroup).reshape(-1, 3)])
    around = cKDTree(everything).query_ball_point(xyz, B_REACH, return_length=True)
    low, high = B_RANGE
    b_iso = high - (high - low) * (around - around.min()) / np.ptp(around)
    for atom, position, b in zip(atoms, xyz, b_iso):
        atom.pos, atom.b_iso = gemmi.Position(*position), float(b)
    structure.cell, structure.spacegroup_hm = cell, SPACEGROUP


def molecule_volume(chain: gemmi.Chain) -> float:
    """Volume of a protein, cubic Angstrom, from its mass."""
    water = gemmi.find_tabulated_residue("HOH").weight
    mass = water + sum(gemmi.find_tabulated_residue(r.name).weight - water for r in chain)
    return mass * SPECIFIC_VOLUME * 1e24 / N_A


def write_data(structure: gemmi.Structure, folder: Path) -> None:
    """Data, sites and sequence of a structure."""
    simulated = simulate_sad(structure, SETTINGS, np.random.default_rng(DATA_SEED))
    make_mtz(simulated.data).write_to_file(str(folder / "example.mtz"))
    simulated.sites.shorten_chain_names()  # PDB files hold one letter
    simulated.sites.info["_struct.title"] = "Selenium sites of the simulated example, with errors"
    simulated.sites.write_pdb(str(folder / "sites.pdb"))
    # the gene has methionine where the crystal has selenomethionine
    names = ["MET" if residue.name == "MSE" else residue.name for residue in structure[0][0]]
    sequence = gemmi.one_letter_code(names)
    lines = [sequence[i:i + 60] for i in range(0, len(sequence), 60)]
    (folder / "sequence.fasta").write_text(
        "\n".join([">example designed four-helix bundle", *lines, ""]))


def make_mtz(data: AnomalousData) -> gemmi.Mtz:
    """Measured reflections with mates, mean amplitudes and a free set of 5 %."""
    refl = data.reflections
    mtz = gemmi.Mtz(with_base=True)
    mtz.title, mtz.history = TITLE, [TITLE, "Made by examples/make_example.py of crank2_unet"]
    mtz.spacegroup = refl.spacegroup
    mtz.set_cell_for_all(refl.cell)
    dataset = mtz.add_dataset("peak")
    dataset.project_name, dataset.crystal_name = "simulated", "example"
    dataset.wavelength = data.wavelength
    minus, sig_minus = (np.where(refl.centric, plus, minus) for plus, minus in (
        (data.f_plus, data.f_minus), (data.sigf_plus, data.sigf_minus)))
    columns = dict(zip(("F(+)", "SIGF(+)", "F(-)", "SIGF(-)"),
                       (data.f_plus, data.sigf_plus, minus, sig_minus)))
    columns["F"], columns["SIGF"] = mean_amplitude(data)
    columns["FreeR_flag"] = np.random.default_rng(SEED).integers(0, 20, len(refl))
    for label, kind in zip(columns, "GLGLFQI"):
        mtz.add_column(label, kind)
    measured = np.isfinite(columns["F"])
    table = np.column_stack([refl.hkl, *columns.values()])[measured]
    mtz.set_data(table.astype(np.float32))
    mtz.sort()
    return mtz


if __name__ == "__main__":
    main()
