"""Amino-acid sequence and side chains for a backbone, chosen together by how well they pack."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from build_protein import place
from scipy.spatial import cKDTree

# Common rotamers (chi1, chi2, ... in degrees), rounded: Lovell et al. (2000), Proteins 40, 389.
ROTAMERS = {
    "GLY": [()], "ALA": [()], "SER": [(62,), (-65,), (180,)], "THR": [(62,), (-65,)],
    "VAL": [(175,), (-60,), (63,)],
    "ILE": [(-65, 170), (-57, -60), (-177, 66), (-177, 165), (62, 170)],
    "LEU": [(-65, 175), (-177, 65)],
    "PHE": [(-65, -85), (-65, -30), (-177, 80), (62, 90)],
    "TYR": [(-65, -85), (-65, -30), (-177, 80), (62, 90)],
    "TRP": [(-65, 95), (-65, -5), (-65, -90), (-177, -105), (-177, 90), (62, -90)],
    "ASP": [(-70, -15), (-177, 0), (62, -10)],
    "ASN": [(-65, -20), (-65, -75), (-174, -20), (-177, 30), (62, -10)],
    "GLU": list(itertools.product((-67, -177), (180, -65, 65), (-20, 70))),
    "GLN": list(itertools.product((-67, -177), (180, -65, 65), (-40, 60))),
    "MSE": list(itertools.product((-67, -177), (180, -65, 65), (-75, 75, 180))),
    "LYS": list(itertools.product((-67, -177), (180, -68), (180, 68, -68), (180, 65))),
    "ARG": list(itertools.product((-67, -177), (180, -68), (180, 65, -65), (180, 85, -85))),
}
# Residues in proportion to how often helices, loops and the inside of proteins have them
CORE = ["LEU", "ILE", "VAL", "ALA", "PHE"]
BOUNDARY = ["ALA", "LEU", "VAL", "THR", "LYS", "GLN", "TYR", "TRP"]
SURFACE = (["GLU"] * 5 + ["LYS"] * 5 + ["ARG"] * 3 + ["GLN"] * 2 + ["ALA"] * 2
           + ["ASP", "SER", "ASN"])
LOOP = ["ASN", "ASP", "SER", "THR", "LYS", "GLU", "GLY"]
# Energy of having a residue at all, in units of WELL: offsets that large residues touch more
COST = {"VAL": -5.0, "ILE": -3.0, "LEU": -4.0, "PHE": 4.0, "THR": -3.0, "LYS": 2.0,
        "TYR": 5.0, "TRP": 10.0}

CORE_NEIGHBOURS, SURFACE_NEIGHBOURS = 3.4, 1.9  # weighted numbers of residues around a side chain
RADII = {"C": 1.95, "N": 1.7, "O": 1.65, "S": 2.0}  # Angstrom; S stands for Se
HYDROGEN_BOND, LIKE_POLAR = 2.9, 3.4  # Angstrom; N...O, and N...N or O...O
REACH = 6.0  # Angstrom; beyond it attraction is negligible
STRAIN = 15.0  # degrees of deviation from a rotamer that cost one WELL


@dataclass(frozen=True)
class SideChain:
    """One residue type in one conformation at one position of the chain; ``xyz`` is (atoms, 3)."""

    position: int
    residue: str
    chi: tuple
    names: tuple
    xyz: np.ndarray


def read_geometry() -> dict:
    """Rows of the table of side-chain geometry by residue name."""
    with open(Path(__file__).with_name("side_chains.tsv")) as file:
        rows = csv.DictReader((line for line in file if line[0] != "#"), delimiter="\t")
        geometry = {"GLY": []}
        for row in rows:
            geometry.setdefault(row["residue"], []).append(row)
    return geometry


GEOMETRY = read_geometry()


def build(position: int, residue: str, chi: tuple, backbone: np.ndarray) -> SideChain:
    """Side chain on the backbone (5, 3) of its residue."""
    atoms = dict(zip(("N", "CA", "C", "O"), backbone))  # CB has a place of its own in each type
    for row in GEOMETRY[residue]:
        torsion = np.asarray(_torsion(row["torsion"], chi))
        atoms[row["atom"]] = place(*(atoms[row[k]] for k in "abc"), float(row["length"]),
                                   float(row["angle"]), torsion)
    names = tuple(atoms)[4:]
    xyz = np.array([atoms[name] for name in names]).reshape(-1, 3)  # glycine has none
    return SideChain(position, residue, chi, names, xyz)


def _torsion(text: str, chi: tuple) -> float:
    """Value of "120" or "chi1" or "chi1+120"."""
    if not text.startswith("chi"):
        return float(text)
    return chi[int(text[3]) - 1] + float(text[4:] or 0)


def energy(distance: np.ndarray, kinds_a: np.ndarray, kinds_b: np.ndarray) -> np.ndarray:
    """Lennard-Jones energies of atom pairs in units of its well, at most 30 each."""
    radius = np.array([[RADII[a] + RADII[b] for b in "CNOS"] for a in "CNOS"])
    radius[1:3, 1:3] = [[LIKE_POLAR, HYDROGEN_BOND], [HYDROGEN_BOND, LIKE_POLAR]]
    sixth = (radius[kinds_a, kinds_b] / np.maximum(distance, 0.5)) ** 6
    return np.minimum(sixth ** 2 - 2 * sixth, 30.0)


def kinds(names: list[str]) -> np.ndarray:
    """Element of atoms by name, as an index of "CNOS"."""
    return np.array(["CNOS".index(name[0]) for name in names], int)


def neighbours(backbone: np.ndarray) -> np.ndarray:
    """Weighted number of residues that each side chain points at, (n,)."""
    beta = backbone[:, 4]
    direction = beta - backbone[:, 1]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    offset = beta[None] - beta[:, None]
    distance = np.linalg.norm(offset, axis=-1)
    cosine = np.einsum("ik,ijk->ij", direction, offset) / np.maximum(distance, 0.1)
    weight = (np.maximum(cosine + 0.5, 0) / 1.5) ** 2 / (1 + np.exp(distance - 9.0))
    np.fill_diagonal(weight, 0.0)
    return weight.sum(1)


def candidates(backbone: np.ndarray, phi: np.ndarray, helical: np.ndarray, n_selenium: int,
               rng: np.random.Generator) -> list[list[str]]:
    """Residue types allowed at each position: hydrophobic inside, polar outside, Gly at phi > 0."""
    burial = neighbours(backbone)
    allowed = []
    for i in range(len(backbone)):
        if not helical[i]:
            allowed.append(["GLY"] if phi[i] % 360 < 180 else [str(rng.choice(LOOP))])
        elif burial[i] > CORE_NEIGHBOURS:
            allowed.append(CORE)
        elif burial[i] > SURFACE_NEIGHBOURS:
            allowed.append(BOUNDARY)
        else:
            allowed.append([str(rng.choice(SURFACE))])
    inside = [i for i, types in enumerate(allowed) if types is CORE]
    # one selenomethionine in each stretch of the chain, as sequences have them
    for stretch in np.array_split(inside, n_selenium):
        allowed[rng.choice(stretch)] = ["MSE"]
    return allowed


def design(backbone: np.ndarray, allowed: list[list[str]], rng: np.random.Generator,
           steps: int = 150_000) -> list[SideChain]:
    """One side chain for each position, by simulated annealing over types and rotamers."""
    states = [build(i, residue, chi, backbone[i]) for i, types in enumerate(allowed)
              for residue in types for chi in ROTAMERS[residue]]
    own, pair = _energies(states, backbone)
    position = np.array([s.position for s in states])
    options = [np.flatnonzero(position == i) for i in range(len(backbone))]
    current = np.array([rng.choice(o) for o in options])
    field = own + pair[current].sum(0)
    for temperature in np.geomspace(10.0, 0.2, steps):
        i = rng.integers(len(options))
        new, old = rng.choice(options[i]), current[i]
        if rng.random() < np.exp(min(0.0, (field[old] - field[new]) / temperature)):
            field += pair[new] - pair[old]
            current[i] = new
    return [states[k] for k in current]


def _energies(states, backbone):
    """Energy of each state with the backbone, (m,), and of pairs of states, (m, m)."""
    owner = np.repeat(np.arange(len(states)), [len(s.xyz) for s in states])
    xyz = np.concatenate([s.xyz for s in states])
    kind = kinds([name for s in states for name in s.names])
    depth = np.concatenate([np.arange(len(s.xyz)) for s in states])
    position = np.array([s.position for s in states])
    main = backbone[:, :4].reshape(-1, 3)
    main_kind = np.tile(kinds(["N", "C", "C", "O"]), len(backbone))
    tree = cKDTree(xyz)

    near = tree.sparse_distance_matrix(cKDTree(main), REACH, output_type="ndarray")
    gap = np.abs(position[owner[near["i"]]] - near["j"] // 4)
    # CB and the atoms after it are bonded, or nearly, to the main chain around them
    near = near[(gap > 1) | ((gap == 1) & (depth[near["i"]] > 0)) | (depth[near["i"]] > 1)]
    own = np.bincount(owner[near["i"]], energy(near["v"], kind[near["i"]], main_kind[near["j"]]),
                      len(states)) + [COST.get(s.residue, 0.0) for s in states]

    near = tree.sparse_distance_matrix(tree, REACH, output_type="ndarray")
    a, b = owner[near["i"]], owner[near["j"]]
    other = position[a] != position[b]
    pair = np.zeros((len(states), len(states)), np.float32)
    np.add.at(pair, (a[other], b[other]),
              energy(near["v"], kind[near["i"]], kind[near["j"]])[other])
    return own, pair


def relax(chosen: list[SideChain], backbone: np.ndarray, rng: np.random.Generator,
          rounds: int = 8, tries: int = 30) -> list[SideChain]:
    """The side chains turned a little from their rotamers where that relieves contacts."""
    chosen = list(chosen)
    ideal = [np.array(s.chi) for s in chosen]
    for _ in range(rounds):
        for i in rng.permutation([i for i, s in enumerate(chosen) if s.chi]):
            trials = [chosen[i]] + [
                build(i, chosen[i].residue, tuple(chosen[i].chi + rng.normal(0, 8, len(ideal[i]))),
                      backbone[i]) for _ in range(tries)]
            rest = [s for s in chosen if s.position != i]
            chosen[i] = trials[np.argmin(_trial_energies(trials, rest, backbone, ideal[i]))]
    return chosen


def _trial_energies(trials, rest, backbone, ideal):
    """Energy of each of several conformations of one side chain in its surroundings, (m,)."""
    i = trials[0].position
    far = np.arange(len(backbone)) != i
    xyz = np.concatenate([s.xyz for s in rest] + [backbone[far, :4].reshape(-1, 3)])
    kind = np.concatenate([kinds([n for s in rest for n in s.names]),
                           np.tile(kinds(["N", "C", "C", "O"]), far.sum())])
    near = np.linalg.norm(xyz - trials[0].xyz.mean(0), axis=1) < 12.0  # no side chain is longer
    moved = np.array([s.xyz[1:] for s in trials])  # CB stays
    distance = np.linalg.norm(moved[:, :, None] - xyz[near], axis=-1)
    strain = [np.sum(((np.array(s.chi) - ideal) / STRAIN) ** 2) for s in trials]
    moving = kinds(trials[0].names[1:])
    return energy(distance, moving[:, None], kind[near]).sum((1, 2)) + strain
