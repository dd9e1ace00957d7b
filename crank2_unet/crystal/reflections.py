"""The complete list of unique reflections of a crystal, with what symmetry says of each."""

from __future__ import annotations

from functools import cached_property

import gemmi
import numpy as np

from ..errors import InputError

_D_MIN_RANGE = (0.4, 30.0)  # Angstrom
_MOST_REFLECTIONS = 20_000_000  # about three times those of a virus at 3.5 A

# the 26 steps in h, k, l that lead to the points next to one
NEIGHBOURS = np.array([step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)]) - 1


class Reflections:
    """All unique reflections of a crystal to a resolution limit, measured or not.

    Density modification predicts unmeasured reflections too, so that every array of this package
    that runs over reflections has one entry for each reflection of this complete list, in its order.

    Parameters
    ----------
    cell, spacegroup : gemmi objects.
    d_min : high-resolution limit, Angstrom.

    Raises
    ------
    InputError : no crystal of a macromolecule has such a limit, or so many reflections to it.
    """

    def __init__(self, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup, d_min: float):
        _check_extent(cell, spacegroup, d_min)
        self.cell, self.spacegroup, self.d_min = cell, spacegroup, d_min
        # the margin keeps the reflection that defines d_min in spite of rounding in files
        self.hkl = gemmi.make_miller_array(cell, spacegroup, d_min * (1 - 1e-5))
        self._operations = spacegroup.operations()

    def __len__(self) -> int:
        return len(self.hkl)

    @cached_property
    def inverse_d_squared(self) -> np.ndarray:
        """1/d^2, (n,) in Angstrom^-2."""
        return self.cell.calculate_1_d2_array(self.hkl)

    @cached_property
    def d(self) -> np.ndarray:
        """Resolution, (n,) in Angstrom."""
        return 1.0 / np.sqrt(self.inverse_d_squared)

    @cached_property
    def epsilon(self) -> np.ndarray:
        """Expected-intensity factor of each reflection, (n,), lattice centring not counted."""
        return self._operations.epsilon_factor_without_centering_array(self.hkl).astype(float)

    @cached_property
    def centric(self) -> np.ndarray:
        """Whether each reflection is centric, (n,) bool."""
        return self._operations.centric_flag_array(self.hkl).astype(bool)

    @cached_property
    def multiplicity(self) -> np.ndarray:
        """How many reflections of the whole sphere each unique one stands for, (n,)."""
        order = len(self._operations.sym_ops)
        return np.where(self.centric, 1.0, 2.0) * order / self.epsilon

    @cached_property
    def allowed_phase(self) -> np.ndarray:
        """One of the two possible phases of each centric reflection, (n,) degrees; NaN if acentric.

        An operator (R, t) with hR = -h makes F(h) and its conjugate equal but for exp(-2 pi i h.t),
        so that phi(h) = pi h.t modulo pi.
        """
        allowed = np.full(len(self), np.nan)
        for op in self._operations.sym_ops:
            rotation = np.array(op.rot) // op.DEN
            inverts = np.isnan(allowed) & np.all(self.hkl @ rotation == -self.hkl, axis=1)
            shift = self.hkl[inverts] @ (np.array(op.tran) / op.DEN)
            allowed[inverts] = (180.0 * shift) % 180.0
        return allowed

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Positions in this list of what is next to each reflection, (26, n); -1 beyond the list.

        The order is that of :data:`NEIGHBOURS`.
        """
        return self._anywhere(self.hkl + NEIGHBOURS[:, None])

    def turned(self, rotation: np.ndarray) -> np.ndarray:
        """Positions in this list of what is nearest to each reflection and its mates by symmetry once
        density is turned by ``rotation``, (3, 3) in orthogonal coordinates.

        (operations, n); -1 beyond the list and where it is the reflection itself.
        """
        to_orthogonal, back = (np.array(matrix.mat.tolist()) for matrix in (
            self.cell.frac, self.cell.orth))
        found = self._anywhere(np.rint(self._mates @ to_orthogonal @ rotation @ back).astype(int))
        return np.where(found == np.arange(len(self)), -1, found)

    @cached_property
    def _mates(self) -> np.ndarray:
        """Indices equivalent by symmetry, without those of Friedel, (operations, n, 3)."""
        return np.stack([self.hkl @ (np.array(op.rot) // op.DEN) for op in self._operations.sym_ops])

    @cached_property
    def _sphere(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted keys of all reflections of the sphere and their positions in this list."""
        keys = np.concatenate([_keys(self._mates), _keys(-self._mates)]).ravel()
        order = np.argsort(keys)
        return keys[order], (order % len(self)).astype(np.int32)

    def _anywhere(self, hkl: np.ndarray) -> np.ndarray:
        """Position of reflections (..., 3), anywhere in the sphere, in this list; -1 beyond it."""
        (keys, position), wanted = self._sphere, _keys(hkl)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, position[place], -1)

    def find(self, hkl: np.ndarray) -> np.ndarray:
        """Position of reflections (m, 3), which must be in gemmi's asu, in this list; -1 if absent."""
        keys, wanted = _keys(self.hkl), _keys(hkl)
        order = np.argsort(keys)
        place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
        found = order[place]
        return np.where(keys[found] == wanted, found, -1)

    def spread(self, hkl: np.ndarray, values: np.ndarray, fill=np.nan) -> np.ndarray:
        """Values given for reflections ``hkl``, laid out over this complete list.

        Reflections beyond the resolution limit are dropped, those not given get ``fill``.
        """
        place = self.find(hkl)
        out = np.full((len(self),) + values.shape[1:], fill, dtype=np.result_type(values, type(fill)))
        out[place[place >= 0]] = values[place >= 0]
        return out

    def in_bins(self, count: int, chosen: np.ndarray | None = None) -> np.ndarray:
        """Number of the resolution bin of each reflection, (n,) in 0..count-1, low to high angle.

        Bins hold equal numbers of the ``chosen`` reflections (default: of all).
        """
        s2 = self.inverse_d_squared
        edges = np.quantile(s2 if chosen is None else s2[chosen], np.linspace(0, 1, count + 1)[1:-1])
        return np.searchsorted(edges, s2)


def _check_extent(cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup, d_min: float) -> None:
    """One wrong index, or a wrong cell, would ask for more than any machine has."""
    count = 4 / 3 * np.pi * cell.volume / d_min**3 / (2 * len(spacegroup.operations()))
    if not _D_MIN_RANGE[0] <= d_min <= _D_MIN_RANGE[1] or count > _MOST_REFLECTIONS:
        shown = " ".join(f"{value:g}" for value in cell.parameters)
        raise InputError(f"The cell {shown} and the indices make a resolution of {d_min:.3g} A, with "
                         f"{count:.2g} unique reflections: one of them is wrong. Correct the cell, or "
                         "remove reflections with impossible indices.")


def _keys(hkl: np.ndarray) -> np.ndarray:
    """One integer for each Miller index triple; injective for |index| < 2^20."""
    h = np.asarray(hkl, np.int64) + (1 << 20)
    return (h[..., 0] << 42) | (h[..., 1] << 21) | h[..., 2]


def enantiomorph(spacegroup: gemmi.SpaceGroup) -> gemmi.SpaceGroup:
    """The space group of the other hand: P43 for P41 and the like, for most groups itself."""
    if not spacegroup.is_enantiomorphic():
        return spacegroup
    operations = spacegroup.operations()
    operations.change_basis_forward(spacegroup.change_of_hand_op())
    return gemmi.find_spacegroup_by_ops(operations)


def spacegroup_of(symbol: str, source: str) -> gemmi.SpaceGroup:
    """The space group with a name; rejects unknown and, for proteins, impossible ones.

    Raises
    ------
    InputError : the name is unknown, or the group contains an improper operation.
    """
    spacegroup = gemmi.find_spacegroup_by_name(symbol)
    if spacegroup is None:
        raise InputError(f'{source} has the unknown space group "{symbol}". Correct its header, '
                         "for instance with CCP4's mtzutils or pointless.")
    if not spacegroup.is_sohncke():
        raise InputError(f"{source} has space group {spacegroup.xhm()}, in which a chiral molecule "
                         "cannot crystallise. Correct its header.")
    return spacegroup
