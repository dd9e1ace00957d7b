"""The shipped example: a sane protein, packed without clashes, and data that belong to it."""

import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial import cKDTree

from crank2_unet.crystal.phases import mean_phase_error
from crank2_unet.files.mtz_input import read_anomalous
from crank2_unet.sad.phasing import phase_sad
from crank2_unet.simulation.experiment import simulate_sad

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # its scripts import each other as scripts do

import build_protein  # noqa: E402
import make_example  # noqa: E402
import pack_crystal  # noqa: E402
import side_chains  # noqa: E402


@pytest.fixture(scope="module")
def structure() -> gemmi.Structure:
    structure = gemmi.read_structure(str(EXAMPLES / "model.pdb"))
    structure.setup_entities()
    return structure


@pytest.fixture(scope="module")
def simulated(structure):
    return simulate_sad(structure, make_example.SETTINGS,
                        np.random.default_rng(make_example.DATA_SEED))


def chiral_volume(residue, *names) -> float:
    """Of a centre, named first, and three neighbours; positive if these run anticlockwise."""
    centre, *others = (np.array(residue[name][0].pos.tolist()) for name in names)
    return float(np.linalg.det(np.array(others) - centre))


def test_place_puts_the_atom_at_the_internal_coordinates():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 3))
    points = [gemmi.Position(*x) for x in
              (a, b, c, build_protein.place(a, b, c, 1.5, 110.0, np.asarray(-65.0)))]
    assert points[2].dist(points[3]) == pytest.approx(1.5)
    assert np.rad2deg(gemmi.calculate_angle(*points[1:])) == pytest.approx(110.0)
    assert np.rad2deg(gemmi.calculate_dihedral(*points)) == pytest.approx(-65.0)


def test_bond_lengths_are_standard(structure):
    for residue in structure[0][0]:
        atoms = {atom.name: atom.pos for atom in residue}
        bonds = [("N", "CA", 1.458), ("CA", "C", 1.525), ("C", "O", 1.231)]
        bonds += [(row["c"], row["atom"], float(row["length"]))
                  for row in side_chains.GEOMETRY[residue.name]]
        assert len(residue) == 4 + len(side_chains.GEOMETRY[residue.name])
        for first, second, length in bonds:
            assert atoms[first].dist(atoms[second]) == pytest.approx(length, abs=0.003)


def test_rings_close():
    """No bond of the table closes a ring, so that these come out right only if the angles are."""
    backbone = build_protein.grow(np.array([[0.0, 0, 0], [1.458, 0, 0], [2.0, 1.42, 0]]), 120.0,
                                  np.array([-60.0]), np.array([-45.0]))[0]
    for residue, bond, length in (("PHE", ("CE2", "CZ"), 1.382), ("TYR", ("CE2", "CZ"), 1.378),
                                  ("TRP", ("NE1", "CE2"), 1.370), ("TRP", ("CZ3", "CH2"), 1.400)):
        side = side_chains.build(0, residue, (-65.0, 90.0), backbone)
        first, second = (side.xyz[side.names.index(name)] for name in bond)
        assert np.linalg.norm(first - second) == pytest.approx(length, abs=0.02)


def test_peptides_are_trans_and_connected(structure):
    residues = list(structure[0][0])
    for left, right in zip(residues, residues[1:]):
        assert left["C"][0].pos.dist(right["N"][0].pos) == pytest.approx(1.329, abs=0.003)
        assert abs(np.rad2deg(gemmi.calculate_omega(left, right))) == pytest.approx(180.0, abs=0.5)


def test_amino_acids_are_of_the_natural_hand(structure):
    for residue in structure[0][0]:
        if residue.name != "GLY":
            assert chiral_volume(residue, "CA", "N", "C", "CB") > 2.0
        if residue.name == "ILE":  # (3S)
            assert chiral_volume(residue, "CB", "CA", "CG1", "CG2") > 2.0
        if residue.name == "THR":  # (3R)
            assert chiral_volume(residue, "CB", "OG1", "CA", "CG2") < -2.0


def test_only_glycine_has_positive_phi_and_most_residues_are_helical(structure):
    chain = structure[0][0]
    torsions = [(r.name, *np.rad2deg(gemmi.calculate_phi_psi(chain.previous_residue(r), r,
                                                             chain.next_residue(r))))
                for r in list(chain)[1:-1]]
    assert {name for name, phi, _ in torsions if phi > 0} == {"GLY"}
    helical = [abs(phi + 63) < 10 and abs(psi + 42) < 10 for _, phi, psi in torsions]
    assert 0.75 < np.mean(helical) < 0.95


def test_no_clash_within_the_molecule_or_with_symmetry_mates(structure):
    neighbours = gemmi.NeighborSearch(structure[0], structure.cell, 4.5).populate()
    search = gemmi.ContactSearch(4.5)
    search.ignore = gemmi.ContactSearch.Ignore.AdjacentResidues
    contacts = search.find_contacts(neighbours)
    polar = [{c.partner1.atom.element.name, c.partner2.atom.element.name} <= {"N", "O"}
             for c in contacts]
    assert min(c.dist for c, p in zip(contacts, polar) if p) > 2.5
    assert min(c.dist for c, p in zip(contacts, polar) if not p) > 2.9


def test_crystal_contacts_hold_the_crystal_together(structure):
    neighbours = gemmi.NeighborSearch(structure[0], structure.cell, 4.5).populate()
    contacts = [c for c in gemmi.ContactSearch(4.5).find_contacts(neighbours) if c.image_idx > 0]
    # two screw axes generate the third, and all lattice translations as their squares
    assert len({c.image_idx for c in contacts}) >= 2
    assert len({c.partner2.residue.seqid.num for c in contacts}) > 10
    xyz = np.array([cra.atom.pos.tolist() for cra in structure[0].all()])
    others = pack_crystal.mates(structure.cell, xyz, structure.find_spacegroup())
    touching = sum(cKDTree(xyz).count_neighbors(cKDTree(mate), 4.5) > 0 for mate in others)
    assert touching >= 6


def test_protein_is_compact(structure):
    alphas = np.array([r["CA"][0].pos.tolist() for r in structure[0][0]])
    gyration = np.sqrt(((alphas - alphas.mean(0)) ** 2).sum(1).mean())
    # 2.2 N^0.38 Angstrom is usual of globular proteins; a bundle is a little longer
    assert gyration < 1.25 * 2.2 * len(alphas) ** 0.38


def test_solvent_content(structure):
    copies = len(structure.find_spacegroup().operations())
    volume = make_example.molecule_volume(structure[0][0])
    assert 1 - copies * volume / structure.cell.volume == pytest.approx(
        make_example.SOLVENT_CONTENT, abs=0.001)


def test_files_agree_on_crystal_and_sequence(structure):
    sites = gemmi.read_structure(str(EXAMPLES / "sites.pdb"))
    mtz = gemmi.read_mtz_file(str(EXAMPLES / "example.mtz"))
    for other in (sites, mtz):
        assert other.cell.parameters == pytest.approx(structure.cell.parameters, abs=1e-3)
    assert mtz.spacegroup == sites.find_spacegroup() == structure.find_spacegroup()
    assert "Simulated" in mtz.title and "Simulated" in mtz.history[0]
    fasta = "".join((EXAMPLES / "sequence.fasta").read_text().splitlines()[1:])
    sequence = [residue.name for residue in structure[0][0]]
    assert fasta == gemmi.one_letter_code(["MET" if r == "MSE" else r for r in sequence])


def test_shipped_data_are_those_of_the_script(simulated):
    shipped = gemmi.read_mtz_file(str(EXAMPLES / "example.mtz"))
    made = make_example.make_mtz(simulated.data)
    assert made.column_labels() == shipped.column_labels()
    np.testing.assert_array_equal(made.make_miller_array(), shipped.make_miller_array())
    np.testing.assert_allclose(made.array, shipped.array, rtol=2e-3, atol=0.02)
    sites = gemmi.read_structure(str(EXAMPLES / "sites.pdb"))
    for made_site, site in zip(simulated.sites[0].all(), sites[0].all()):
        assert made_site.atom.pos.dist(site.atom.pos) < 0.002


@pytest.mark.slow
def test_phasing_the_shipped_files_gives_a_weak_but_useful_map(simulated):
    _, data, _ = read_anomalous(EXAMPLES / "example.mtz")
    assert data.wavelength == pytest.approx(make_example.WAVELENGTH, abs=1e-4)
    result = phase_sad(data, gemmi.read_structure(str(EXAMPLES / "sites.pdb")),
                       simulated.scatterer)
    truth = data.reflections.spread(simulated.data.reflections.hkl, simulated.f_true, fill=0j)
    measured = np.isfinite(result.f)
    error = mean_phase_error(result.phi[measured], np.rad2deg(np.angle(truth[measured])))
    assert 60.0 < error < 70.0
