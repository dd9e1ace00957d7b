"""Packing of a molecule into a crystal by random search and rigid-body minimisation."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from side_chains import REACH, energy

EDGES = (0.75, 1.35)  # allowed cell edges as fractions of the cube root of the volume
SHIFTS = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


def pack(xyz: np.ndarray, kind: np.ndarray, spacegroup: gemmi.SpaceGroup, volume: float,
         rng: np.random.Generator, tries: int = 300, refined: int = 5,
         ) -> tuple[gemmi.UnitCell, np.ndarray]:
    """Orthorhombic cell and place of a molecule with much contact and no clash between mates.

    Parameters
    ----------
    xyz : (atoms, 3), Angstrom.
    kind : (atoms,), see :func:`side_chains.kinds`.
    spacegroup : an orthorhombic one.
    volume : of the cell, cubic Angstrom.

    Returns
    -------
    The cell and the coordinates in it, (atoms, 3).
    """
    xyz = xyz - xyz.mean(0)

    def crystal_energy(x):
        return contact_energy(*_placed(xyz, x, volume), kind, spacegroup)

    trials = [_random_packing(rng) for _ in range(tries)]
    ranked = sorted(trials, key=crystal_energy)[:refined]
    simplex = np.diag([0.15] * 3 + [0.05] * 3 + [0.05] * 2)  # radians, fractions, log of edges
    fits = [minimize(crystal_energy, x, method="Nelder-Mead",
                     options={"initial_simplex": np.vstack([x, x + simplex]), "maxfev": 400})
            for x in ranked]
    cell, placed = _placed(xyz, min(fits, key=lambda fit: fit.fun).x, volume)
    # cells of files have few digits; atoms keep their place in the molecule
    return gemmi.UnitCell(*np.round(cell.parameters, 2)), placed


def _random_packing(rng):
    """Rotation vector, fractional position and logarithms of a and b over the cube's edge, (8,)."""
    rotation = Rotation.from_quat(rng.standard_normal(4)).as_rotvec()
    while True:
        edges = rng.uniform(*np.log(EDGES), 2)
        if EDGES[0] < np.exp(-edges.sum()) < EDGES[1]:
            return np.concatenate([rotation, rng.random(3), edges])


def _placed(xyz, x, volume):
    """Cell and coordinates of the packing with parameters ``x``."""
    a, b = np.cbrt(volume) * np.exp(x[6:])
    cell = gemmi.UnitCell(a, b, volume / (a * b), 90, 90, 90)
    origin = x[3:6] * cell.parameters[:3]
    return cell, Rotation.from_rotvec(x[:3]).apply(xyz) + origin


def mates(cell: gemmi.UnitCell, xyz: np.ndarray, spacegroup: gemmi.SpaceGroup) -> np.ndarray:
    """Coordinates of all molecules that may touch the one at ``xyz``, (m, atoms, 3)."""
    edges = np.array(cell.parameters[:3])
    fractional = xyz / edges
    near = 2 * np.linalg.norm(xyz - xyz.mean(0), axis=1).max() + REACH
    images = []
    for number, op in enumerate(spacegroup.operations()):
        image = fractional @ (np.array(op.rot) / op.DEN).T + np.array(op.tran) / op.DEN
        image -= np.round((image - fractional).mean(0))
        for shift in SHIFTS:
            moved = (image + shift) * edges
            identity = number == 0 and not shift.any()
            if not identity and np.linalg.norm((moved - xyz).mean(0)) < near:
                images.append(moved)
    return np.array(images)


def contact_energy(cell: gemmi.UnitCell, xyz: np.ndarray, kind: np.ndarray,
                   spacegroup: gemmi.SpaceGroup) -> float:
    """Lennard-Jones energy of a molecule with its symmetry mates."""
    images = mates(cell, xyz, spacegroup)
    pairs = cKDTree(xyz).sparse_distance_matrix(cKDTree(images.reshape(-1, 3)), REACH,
                                                output_type="ndarray")
    return float(energy(pairs["v"], kind[pairs["i"]], np.tile(kind, len(images))[pairs["j"]]).sum())
