"""The same crystal, described in another setting."""

from __future__ import annotations

import gemmi
import numpy as np

from crank2_unet.crystal.maps import CrystalMap
from crank2_unet.crystal.reflections import Reflections

SOHNCKE = [group for group in gemmi.spacegroup_table() if group.is_sohncke()]


def parts(op: gemmi.Op) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation of x -> R x + t."""
    return np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN


def changed(spacegroup: gemmi.SpaceGroup, op: gemmi.Op) -> gemmi.SpaceGroup | None:
    """The space group in coordinates op(x), if gemmi has it."""
    operations = spacegroup.operations()
    operations.change_basis_forward(op)
    return gemmi.find_spacegroup_by_ops(operations)


def origin_shifts(spacegroup: gemmi.SpaceGroup) -> list[gemmi.Op]:
    """Shifts of the origin by halves and quarters that leave all operations as they are."""
    found = []
    for shift in np.ndindex(4, 4, 4):
        op = gemmi.Op()
        op.tran = [6 * n for n in shift]
        operations = spacegroup.operations()
        operations.change_basis_forward(op)
        if any(shift) and operations == spacegroup.operations():
            found.append(op)
    return found


def moved(seen: CrystalMap, op: gemmi.Op, spacegroup: gemmi.SpaceGroup) -> CrystalMap:
    """A map in coordinates op(x); the space group there."""
    old, (rotation, shift) = seen.reflections, parts(op)
    basis = np.array(old.cell.orth.mat.tolist()) @ np.linalg.inv(rotation)
    a, b, c = basis.T
    angles = [np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
              for u, v in ((b, c), (a, c), (a, b))]
    new = Reflections(gemmi.UnitCell(*np.linalg.norm(basis, axis=0), *angles), spacegroup, old.d_min)
    known = {}
    for operation in old.spacegroup.operations().sym_ops:
        turn, step = parts(operation)
        hkl = np.rint(old.hkl @ turn).astype(int)
        f = seen.coefficients * np.exp(-2j * np.pi * (old.hkl @ step))
        known.update(zip(map(tuple, hkl.tolist()), f))
        known.update(zip(map(tuple, (-hkl).tolist()), f.conj()))
    hkl = np.rint(new.hkl @ rotation).astype(int)
    f = np.array([known.get(tuple(h), 0) for h in hkl.tolist()])
    return CrystalMap(new, f * np.exp(2j * np.pi * (new.hkl @ shift)))
