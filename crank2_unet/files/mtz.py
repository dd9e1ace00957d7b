"""Reflection files in: MTZ and what can be turned into it, rows in the asymmetric unit."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.reflections import spacegroup_of
from ..errors import InputError
from .column_names import named
from .columns import (
    ANOMALOUS_AMPLITUDES,
    ANOMALOUS_INTENSITIES,
    HENDRICKSON_LATTMAN,
    Column,
    ColumnSet,
    Kind,
    candidates,
    columns_of,
)
from .headers import check_cell, check_mtz, check_numbers, check_text_file
from .reflection_formats import as_mtz

_log = logging.getLogger(__name__)
_NO_WAVELENGTH = 9.0  # Angstrom; 9.999 is that of CCP4's HKL_base, which says none
_SAME_CELL = 0.005, 0.5  # relative and in degrees: what crystals of one structure differ by
_RECORD = 80  # bytes of a line of the header


class MtzFile:
    """A merged reflection file, its reflections moved to gemmi's asymmetric unit.

    Missing-number flags become NaN, phases and Hendrickson-Lattman coefficients turn with their
    reflections, and Friedel mates are exchanged by what the columns mean, whatever they are called.

    Parameters
    ----------
    path : MTZ; also mmCIF with _refln, SHELXE's .phs or Scalepack (:func:`.reflection_formats.as_mtz`).

    Raises
    ------
    InputError : missing, unreadable, truncated, unmerged or empty file, or unusable symmetry.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.mtz = read_mtz(path)
        self.columns = columns_of(self.mtz)
        self._move_to_asu()
        self.hkl = self.mtz.make_miller_array()
        if len(np.unique(self.hkl, axis=0)) < len(self.hkl):
            raise InputError(f"{path} has several rows for one unique reflection. Merge it first; of "
                             "several crystals or wavelengths, give one.")

    def find(self, kind: Kind, text: str | None = None) -> ColumnSet | None:
        """The columns of a kind: those that the user named, or those that can only be meant; None if
        there are none.

        Parameters
        ----------
        kind : what is looked for.
        text : labels or a path, see :func:`.column_names.named`; None = by meaning.

        Raises
        ------
        InputError : see :func:`.column_names.named`; also several that may be meant.
        """
        if text:
            return named(self.columns, kind, text, str(self.path))
        every = candidates(self.columns, kind)
        best = self._best(every)
        if len(best) > 1:
            paths = [s.path for s in best]
            raise InputError(f"{self.path} has {len(best)} sets of {kind.what}: {' and '.join(paths)}. "
                             f"Choose with {kind.option} '{paths[0]}'.")
        if not best:
            return None
        self._say(best[0], every)
        return best[0]

    def choose(self, kind: Kind, text: str | None = None) -> ColumnSet:
        """As :meth:`find`, but there must be such columns.

        Raises
        ------
        InputError : as :meth:`find`; also no columns of that kind.
        """
        found = self.find(kind, text)
        if found:
            return found
        hint = "".join(f" {','.join(s.labels)}: {s.meaning}, taken only if named."
                       for s in candidates(self.columns, kind))
        raise InputError(f"{self.path} has no {kind.what} of types {'-'.join(kind.types)}.{hint} Its "
                         f"columns are: {', '.join(f'{c.label} ({c.type})' for c in self.columns)}. "
                         f"Name them with {kind.option} if they have unusual types.")

    def only(self, kind: Kind, beside: ColumnSet) -> ColumnSet | None:
        """The columns of a kind if there is one set of them, or one in the dataset of others."""
        every = self._best(candidates(self.columns, kind))
        if len(every) > 1:
            every = [s for s in every if s.lead.dataset_id == beside.lead.dataset_id]
        return every[0] if len(every) == 1 else None

    def values(self, found: ColumnSet) -> np.ndarray:
        """Values of a set, (rows, columns) float64, missing values NaN."""
        return np.stack([self._values(column) for column in found.columns], axis=1)

    def column(self, label: str) -> np.ndarray:
        """Values of the first column of a label, float64, missing values NaN."""
        return self.mtz.column_with_label(label).array.astype(float)

    def is_blank(self, found: ColumnSet) -> bool:
        """Whether the columns of a set hold nothing: zeros or missing values only."""
        return not np.nan_to_num(self.values(found)).any()

    def written(self, found: ColumnSet) -> str:
        """The labels of a set, comma-separated, as its path where others have the same labels."""
        known = [c.label for c in self.columns]
        unique = all(known.count(label) == 1 for label in found.labels)
        return ",".join(found.labels) if unique else found.path

    def cell_of(self, found: ColumnSet) -> gemmi.UnitCell:
        """The unit cell of the dataset that columns belong to; other cells in the file are said."""
        cells = {d.id: d.cell for d in self.mtz.datasets if _is_cell(d.cell)}
        cell = cells.get(found.lead.dataset_id, self.mtz.cell)
        check_cell(cell.parameters, str(self.path))
        others = [c for c in (self.mtz.cell, *cells.values()) if not cell.is_similar(c, *_SAME_CELL)]
        if others:
            _log.warning("%s holds several unit cells: taken is that of %s, %s; another is %s. If "
                         "that is wrong, correct the header.", self.path, found.path, _shown(cell),
                         _shown(others[0]))
        return cell

    def wavelength_of(self, found: ColumnSet) -> float | None:
        """Wavelength of the dataset that columns belong to, Angstrom; None if it is not said."""
        wavelength = self.mtz.dataset(found.lead.dataset_id).wavelength
        return wavelength if 0 < wavelength < _NO_WAVELENGTH else None

    def _values(self, column: Column) -> np.ndarray:
        return self.mtz.columns[column.index].array.astype(float)

    def _best(self, sets: Sequence[ColumnSet]) -> list[ColumnSet]:
        """The sets of the best rank, without blank ones if others hold something."""
        ranked = [(s.rank, s) for s in sets if s.rank is not None]
        filled = [(rank, s) for rank, s in ranked if len(ranked) > 1 and not self.is_blank(s)] or ranked
        return [s for rank, s in filled if rank == min(best for best, _ in filled)]

    def _say(self, chosen: ColumnSet, every: Sequence[ColumnSet]) -> None:
        """What was chosen where there was a choice."""
        others = [s.path + (f" ({s.meaning})" if s.meaning else "") for s in every if s is not chosen]
        if others:
            _log.warning("%s: taken as %s is %s; there is also %s. Choose others with %s.", self.path,
                         chosen.kind.what, chosen.path, ", ".join(others), chosen.kind.option)
        elif chosen.rank:
            _log.warning("%s: %s is %s.", self.path, chosen.path, chosen.meaning)

    def _move_to_asu(self) -> None:
        """Turn all values with their reflections.

        gemmi knows mates by their labels and the order of Hendrickson-Lattman coefficients by their
        position; here both are what they mean.
        """
        hkl, sign, shift = self._move
        turned = sign < 0
        array = self.mtz.array
        array[:, :3] = hkl
        for column in self.columns:
            values = array[:, column.index]
            if column.type == "P":
                moves = turned | (shift != 0)
                values[moves] = ((sign * values + shift) % 360.0)[moves]
            elif column.type == "D":
                values[turned] *= -1
        for four in candidates(self.columns, HENDRICKSON_LATTMAN):
            index = [c.index for c in four.columns]
            for order, (x, y) in ((1, index[:2]), (2, index[2:])):
                turn = (array[:, x] + 1j * sign * array[:, y]) * np.exp(1j * np.deg2rad(order * shift))
                moves = turned | (shift != 0)
                array[moves, x], array[moves, y] = turn.real[moves], turn.imag[moves]
        for kind in (ANOMALOUS_AMPLITUDES, ANOMALOUS_INTENSITIES):
            for mates in candidates(self.columns, kind):
                index = [c.index for c in mates.columns]
                kept = array[turned]
                for here, there in zip(index, index[2:] + index[:2]):
                    array[turned, here] = kept[:, there]

    @cached_property
    def _move(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return to_asu(self.mtz)


def to_asu(mtz: gemmi.Mtz) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the rows of a file go in gemmi's asymmetric unit, and how phases change.

    Returns
    -------
    hkl : (n, 3) in the asymmetric unit.
    sign, shift : (n,); phi(asu) = sign * phi(row) + shift, degrees.
    """
    probe = gemmi.Mtz(with_base=True)
    probe.spacegroup = mtz.spacegroup
    probe.set_cell_for_all(mtz.cell)
    probe.add_dataset("probe")
    for label in ("P0", "P90"):  # gemmi moves both; what became of them tells what it did
        probe.add_column(label, "P")
    hkl = mtz.make_miller_array()
    probe.set_data(np.column_stack([hkl, np.zeros(len(hkl)), np.full(len(hkl), 90.0)]
                                   ).astype(np.float32))
    probe.ensure_asu()
    shift, turned = (probe.column_with_label(label).array.astype(float) for label in ("P0", "P90"))
    return probe.make_miller_array(), np.sign(np.sin(np.deg2rad(turned - shift))), shift


def read_mtz(path: str | Path) -> gemmi.Mtz:
    """A merged reflection file as MTZ: H, K, L first, missing values NaN, symmetry made sure of.

    Raises
    ------
    InputError : see :class:`MtzFile`.
    """
    check_text_file(path, "a reflection file")
    mtz = as_mtz(path)
    if mtz is None:
        check_mtz(path)
        try:
            mtz = gemmi.read_mtz_file(str(path))
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{path} cannot be read as an MTZ file: {error}. "
                             "Give a merged MTZ file.") from error
        if mtz.batches:
            raise InputError(f"{path} is unmerged ({len(mtz.batches)} batches). "
                             "Merge it first, for instance with aimless.")
        if not mtz.nreflections:
            raise InputError(f"{path} has no reflections.")
        mtz.spacegroup = _spacegroup(mtz, path)
        mtz = _indices_first(mtz, path)
    known = {d.id for d in mtz.datasets} or {mtz.add_dataset("unknown").id}
    for column in mtz.columns:  # old files, and damaged ones, name datasets that they do not have
        if column.dataset_id not in known:
            column.dataset_id = max(known)
    check_cell(mtz.cell.parameters, str(path))
    array = mtz.array
    if np.isfinite(mtz.valm):  # of CCP4: this value stands for "missing"
        array[:, 3:][array[:, 3:] == np.float32(mtz.valm)] = np.nan
    check_numbers(mtz, str(path))
    indices = array[:, :3]
    if not np.isfinite(indices).all() or np.abs(indices - np.round(indices)).max() > 1e-3:
        worst = indices[np.argmax(np.abs(indices - np.round(indices)).max(axis=1))]
        raise InputError(f"{path} has indices that are no integers, such as {worst.tolist()}: it may "
                         "be indexed in another cell, or H, K, L are other columns. Reindex it.")
    return mtz


def _spacegroup(mtz: gemmi.Mtz, path: str | Path) -> gemmi.SpaceGroup:
    """The space group by operators and by name, which must be one.

    "R 3" may mean either kind of axes: the operators tell.
    """
    named_group = mtz.spacegroup
    group = spacegroup_of(named_group.xhm() if named_group else mtz.spacegroup_name, str(path))
    operators = _operators(Path(path))
    by_operators = operators and gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operators))
    if not by_operators or by_operators.operations() == group.operations():
        return group
    if by_operators.number != group.number:
        shown = "; ".join(op.triplet() for op in operators)
        raise InputError(f'{path} contradicts itself: its space group is named "{group.xhm()}", but '
                         'its '
                         f"operators are those of {by_operators.xhm()} ({shown}). Correct its header.")
    return spacegroup_of(by_operators.xhm(), str(path))


def _operators(path: Path) -> list[gemmi.Op]:
    """Symmetry operators in the header of an MTZ file, which gemmi does not give."""
    content = path.read_bytes()
    for order in "<>":
        start = 4 * (struct.unpack_from(f"{order}i", content, 4)[0] - 1)
        if content[start:start + 4] == b"VERS":
            break
    lines = (content[place:place + _RECORD] for place in range(start, len(content), _RECORD))
    try:
        return [gemmi.Op(line[5:].decode("ascii").strip()) for line in lines
                if line[:5] == b"SYMM "]
    except (ValueError, RuntimeError):
        return []


def _indices_first(mtz: gemmi.Mtz, path: str | Path) -> gemmi.Mtz:
    """The file with H, K, L as its first columns, wherever they were."""
    indices = [c.idx for c in mtz.columns if c.type == "H"][:3]
    by_label = {c.label.upper(): c.idx for c in mtz.columns if c.type == "H"}
    if all(letter in by_label for letter in "HKL"):
        indices = [by_label[letter] for letter in "HKL"]
    if len(indices) < 3:
        raise InputError(f"{path} has {len(indices)} columns of indices (type H), not H, K and L. "
                         "Give a file with all three.")
    if indices == [0, 1, 2]:
        return mtz
    order = indices + [c.idx for c in mtz.columns if c.idx not in indices]
    out = gemmi.Mtz()
    out.spacegroup, out.cell, out.title, out.history = mtz.spacegroup, mtz.cell, mtz.title, mtz.history
    out.valm = mtz.valm
    for source in mtz.datasets:
        copy = out.add_dataset(source.dataset_name)
        copy.id, copy.project_name = source.id, source.project_name
        copy.crystal_name = source.crystal_name
        copy.wavelength, copy.cell = source.wavelength, source.cell
    for column in (mtz.columns[i] for i in order):
        out.add_column(column.label, column.type, dataset_id=column.dataset_id)
    out.set_data(np.ascontiguousarray(mtz.array[:, order]))
    return out


def _is_cell(cell: gemmi.UnitCell) -> bool:
    return bool(np.isfinite(cell.volume) and cell.volume > 1.0 and cell.is_crystal())


def _shown(cell: gemmi.UnitCell) -> str:
    return "(" + " ".join(f"{x:g}" for x in np.round(cell.parameters, 3)) + ")"
