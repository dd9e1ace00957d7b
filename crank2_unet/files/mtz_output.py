"""MTZ files out: the input's columns and new ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import gemmi
import numpy as np

from .. import __version__
from ..crystal.phases import angle_degrees
from ..crystal.reflections import Reflections
from ..errors import InputError
from .columns import ColumnSet
from .mtz import MtzFile, read_mtz, to_asu
from .mtz_input import Input
from .output import staged_file


class Phased(Protocol):
    """A map with phase probabilities, of n reflections, such as density modification gives.

    Parameters
    ----------
    coefficients : (n,) complex, of the map.
    fom : (n,) figures of merit.
    hl : (n, 4) Hendrickson-Lattman coefficients.
    """

    @property
    def coefficients(self) -> np.ndarray: ...
    @property
    def fom(self) -> np.ndarray: ...
    @property
    def hl(self) -> np.ndarray: ...


def write_phased(path: str | Path, given: Input, phased: Phased) -> dict:
    """Write the input's columns with FWT, PHWT, FOM and HLA to HLD; returns as :func:`write_mtz`."""
    columns = {"FWT": ("F", np.abs(phased.coefficients)),
               "PHWT": ("P", angle_degrees(phased.coefficients)), "FOM": ("W", phased.fom)}
    return write_mtz(path, given.file, given.data.reflections, columns | hl_columns(phased.hl),
                     f"Density modification by crank2-unet {__version__}", beside=given.source)


def hl_columns(hl: np.ndarray) -> dict:
    """Hendrickson-Lattman coefficients (n, 4) as columns HLA to HLD for :func:`write_mtz`."""
    return {f"HL{letter}": ("A", values) for letter, values in zip("ABCD", hl.T)}


def write_mtz(path: str | Path, file: MtzFile, reflections: Reflections,
              columns: dict, title: str, keep: str | None = None, beside: ColumnSet | None = None,
              ) -> dict:
    """Write the input's columns and new ones, with a row for every unique reflection.

    Parameters
    ----------
    path : file to be written.
    file : input whose columns are kept.
    reflections : complete list over which the new columns run.
    columns : label -> (MTZ column type, (n,) values; NaN = missing).
    title : title and history line of the file.
    keep : MTZ types of the input's columns to keep, of one crystal: those beside the new ones, and
        integers (free flags) of any; default: all.
    beside : columns of the input whose dataset the new ones belong to; default: the last dataset.

    Returns
    -------
    Wanted label -> label in the file; they differ where the input had such a column already.
    """
    old = file.mtz
    beyond = reflections.find(file.hkl) < 0
    hkl = np.concatenate([reflections.hkl, file.hkl[beyond]])
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.title = old.spacegroup, title
    mtz.set_cell_for_all(reflections.cell)
    sources = [d for d in old.datasets
               if keep is None or beside is None or d.id == beside.lead.dataset_id]
    number = {}  # of each dataset of the input in the output
    for source in sources:  # the first of them need not be HKL_base
        if source.dataset_name == mtz.datasets[0].dataset_name:
            mtz.datasets[0].wavelength = source.wavelength
            continue
        added = mtz.add_dataset(source.dataset_name)
        added.project_name, added.crystal_name = source.project_name, source.crystal_name
        added.wavelength, added.cell = source.wavelength, source.cell
        number[source.id] = added.id
    if not number:
        mtz.add_dataset("crank2_unet")
    last = mtz.datasets[-1].id
    home = number.get(beside.lead.dataset_id, last) if beside else last
    table = [hkl.astype(float)]
    known: set[str] = set()
    for column in list(old.columns)[3:]:
        of_another = column.dataset_id not in {d.id for d in sources}
        if keep is not None and (column.type not in keep or of_another and column.type != "I"):
            continue
        label = _free_label(column.label, known) if of_another else column.label
        mtz.add_column(label, column.type,
                       dataset_id=home if of_another else number.get(column.dataset_id, 0))
        known.add(label)
        values = column.array
        table.append(np.concatenate([reflections.spread(file.hkl, values), values[beyond]])[:, None])
    names = {}
    for label, (kind, values) in columns.items():
        names[label] = _free_label(label, known)
        known.add(names[label])
        mtz.add_column(names[label], kind, dataset_id=home)
        table.append(np.concatenate([values, np.full(beyond.sum(), np.nan)])[:, None])
    mtz.set_data(np.hstack(table).astype(np.float32))
    mtz.history = [title, *old.history]
    mtz.sort()
    _save(mtz, path)
    return names


def _save(mtz: gemmi.Mtz, path: str | Path) -> None:
    """Write a file; gemmi does not say what went wrong, and not that the end could not be written.

    Raises
    ------
    OSError : the file is not complete.
    """
    try:
        mtz.write_to_file(str(path))
        with open(path, "rb") as file:
            file.seek(-80, os.SEEK_END)
            complete = file.read().startswith(b"MTZENDOFHEADERS")
    except RuntimeError:
        complete = False
    if not complete:
        raise OSError(errno.EIO, "disk full, or a limit of file sizes", str(path))


def append_columns(path: str | Path, file: MtzFile, reflections: Reflections, groups: list,
                   title: str, inputs: Iterable[str] = ()) -> None:
    """Write a copy of the input with new columns, and with its rows only.

    The way of Clipper programs: reflections that have no row in the input are not written.

    Parameters
    ----------
    path : file to be written; it appears when it is complete.
    file : the input.
    reflections : complete list over which the new columns run.
    groups : (crystal, dataset, columns) of what belongs together; columns are label ->
        (MTZ column type, (n,) values; NaN = missing).  A dataset that the input lacks is added.
    title : line for the history.
    inputs : further files that the output must not replace.

    Raises
    ------
    InputError : the input has a column of that label, or the file cannot be written.
    """
    mtz = read_mtz(file.path)  # as it was, before reflections moved to the asu
    _, sign, shift = to_asu(mtz)
    row = reflections.find(file.hkl)
    for crystal, dataset, columns in groups:
        taken = set(columns) & set(mtz.column_labels())
        if taken:
            raise InputError(f"{file.path} already has a column {min(taken)}. Choose other output "
                             "labels, for instance with -colout.")
        place = _dataset(mtz, crystal, dataset)
        for label, (kind, values) in _in_setting(columns, row, sign, shift).items():
            mtz.add_column(label, kind, dataset_id=place).array[:] = np.where(row < 0, np.nan, values)
    mtz.history = [title, *mtz.history]
    with staged_file(path, [file.path, *inputs]) as unfinished:
        _save(mtz, unfinished)


def _dataset(mtz: gemmi.Mtz, crystal: str, dataset: str) -> int:
    """Number of a dataset, which is added if need be."""
    for known in mtz.datasets:
        if (known.crystal_name, known.dataset_name) == (crystal, dataset):
            return known.id
    added = mtz.add_dataset(dataset)
    added.crystal_name, added.cell = crystal, mtz.cell
    return added.id


def _in_setting(columns: dict, row: np.ndarray, sign: np.ndarray, shift: np.ndarray) -> dict:
    """Columns of the complete list at the rows of a file, phases and HL coefficients turned.

    ``sign`` and ``shift`` are those of :func:`.mtz.to_asu`: phi(row) = sign * (phi(asu) - shift).
    """
    found = {label: (kind, values[row]) for label, (kind, values) in columns.items()}
    for label, (kind, values) in found.items():
        if kind == "P":
            found[label] = kind, (sign * (values - shift)) % 360.0
    hl = [label for label, (kind, _) in found.items() if kind == "A"]
    for order, pair in ((1, hl[:2]), (2, hl[2:])):
        if pair:
            x, y = (found[label][1] for label in pair)
            turn = (x - 1j * y) * np.exp(1j * np.deg2rad(order * shift))
            found[pair[0]], found[pair[1]] = ("A", turn.real), ("A", -sign * turn.imag)
    return found


def _free_label(label: str, known: set) -> str:
    """``label``, or with the first number that makes it new."""
    number, free = 2, label
    while free in known:
        free, number = f"{label}_{number}", number + 1
    return free
