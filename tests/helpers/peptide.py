"""A small structure to simulate experiments of, and collections of such."""

import csv

import gemmi
import numpy as np

CELLS = {"aaaa": (40, 50, 60, 90, 90, 90), "bbbb": (44, 46, 52, 90, 90, 90),
         "cccc": (42, 48, 55, 90, 90, 90), "huge": (400, 400, 400, 90, 90, 90)}


def peptide(spacegroup="P 21 21 21", n_residues=12, cell=(28, 32, 36, 90, 90, 90)):
    """A compact random chain of alanine and methionine; only its atoms matter."""
    rng = np.random.default_rng(5)
    structure = gemmi.Structure()
    structure.name, structure.spacegroup_hm = "toy", spacegroup
    structure.cell = gemmi.UnitCell(*cell)
    structure.resolution = 2.0
    chain = gemmi.Chain("A")
    for number in range(1, n_residues + 1):
        residue = gemmi.Residue()
        residue.name = "MET" if number % 4 == 0 else "ALA"
        residue.seqid = gemmi.SeqId(number, " ")
        centre = np.array([3.0 * (number % 4), 3.0 * (number // 4), 5.0]) + rng.normal(0, 0.5, 3)
        names = ["N", "CA", "C", "O", "CB"] + ["SD"] * (residue.name == "MET")
        for place, name in enumerate(names):
            atom = gemmi.Atom()
            atom.name, atom.element = name, gemmi.Element(name[0])
            atom.pos = gemmi.Position(*(centre + [0.3 * place, 1.1 * (place % 2), 1.2 * place]))
            atom.b_iso = 20.0 + 2 * place
            residue.add_atom(atom)
        chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.setup_entities()
    structure.setup_cell_images()
    return structure


def row_of(collection, code):
    with open(collection / "index.csv", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["code"] == code)


def toy(code):
    return peptide(n_residues=36, cell=CELLS[code])
