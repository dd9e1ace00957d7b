"""Headers of MTZ and CCP4 map files, checked before a library allocates what they ask for.

gemmi believes a header: one that is damaged costs gigabytes, or ends the process by a signal.  What is
checked here is what the formats say (http://www.ccp4.ac.uk/html/mtzformat.html, maplib.html): the
machine stamp, sizes against that of the file, text, cell and symmetry.
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import gemmi
import numpy as np

from ..errors import InputError

_MAP_HEADER, _MTZ_START, _RECORD = 1024, 80, 80  # bytes
_MAP_BYTES = {0: 1, 1: 2, 2: 4, 6: 2}  # mode of a map -> bytes of a point
_LONGEST_CELL, _SHORTEST_CELL = 10_000.0, 2.0  # Angstrom
_MOST_COLUMNS, _LONGEST_HEADER = 10_000, 1 << 24
_LARGEST_INDEX, _MOST_POINTS = 1 << 20, 1 << 31
_MOST_UNPACKED = 1 << 30  # bytes of a compressed file


@dataclass(frozen=True)
class _File:
    """A regular file, perhaps compressed by gzip, as gemmi would see it."""

    path: Path
    kind: str

    def read(self, start: int, count: int) -> bytes:
        with self._open() as file:
            file.seek(start)
            return file.read(count)

    @property
    def size(self) -> int:
        """Bytes, after decompression."""
        if not self._packed:
            return self.path.stat().st_size
        size = 0
        with self._open() as file:
            while part := file.read(1 << 20):
                size += len(part)
                if size > _MOST_UNPACKED:
                    raise self.error("is larger than 1 GB when it is decompressed")
        return size

    def error(self, what: str, advice: str = "") -> InputError:
        return InputError(f"{self.path} cannot be read as {self.kind}: it {what}. "
                          + (advice or "The file is damaged or of another kind: get it again."))

    @property
    def _packed(self) -> bool:
        return self.path.suffix == ".gz"

    def _open(self):
        return gzip.open(self.path) if self._packed else open(self.path, "rb")


def _opened(path: str | Path, kind: str) -> _File:
    """A file that exists, is one, and can be named to the libraries.

    Raises
    ------
    InputError : it is not so.
    """
    file = _File(Path(path), kind)
    try:
        os.fspath(path).encode()
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise file.error("is not a file", "Name a file.")
        file.read(0, 1)
    except UnicodeEncodeError:
        raise file.error("has a name that is not UTF-8", "Rename it.") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as {kind} "
                         f"({getattr(error, 'strerror', None) or error}).") from error
    return file


def check_text_file(path: str | Path, kind: str) -> None:
    """Make sure that a file of text is a file, of a size that can be read.

    Raises
    ------
    InputError : it is not.
    """
    file = _opened(path, kind)
    try:
        if file.size > _MOST_UNPACKED:
            raise file.error("is larger than 1 GB")
    except (OSError, EOFError, ValueError) as error:
        raise file.error(f"cannot be decompressed ({error})") from error


def check_mtz(path: str | Path) -> None:
    """Check the header of an MTZ file.

    Raises
    ------
    InputError : missing, not an MTZ file, damaged, or with an impossible cell.
    """
    file = _opened(path, "an MTZ file")
    try:
        _check_mtz(file)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise file.error(f"is damaged ({error})") from error


def _check_mtz(file: _File) -> None:
    start, size = file.read(0, _MTZ_START), file.size
    if start[:4] != b"MTZ " or len(start) < _MTZ_START:
        raise file.error("does not begin as one", "Other kinds are known by their ending: mmCIF (.cif, "
                         ".mmcif, .ent), SHELXE's .phs, Scalepack (.sca). Convert it, for instance by "
                         "CCP4's f2mtz or pointless; if it was an MTZ file, get it again.")
    order = _byte_order(file, start[8:10])
    place, = struct.unpack(f"{order}i", start[4:8])
    if place == -1:  # a file of more than 8 GB
        place, = struct.unpack(f"{order}q", start[12:20])
    header = 4 * (place - 1)
    if not _MTZ_START <= header <= size - 2 * _RECORD:
        raise file.error(f"says that its header begins at byte {header} of {size}, so that it is "
                         "truncated or its machine stamp is wrong")
    records = _mtz_records(file, header, size)
    columns, rows, batches = _numbers(file, records, "NCOL", 3)
    if not 3 <= columns <= _MOST_COLUMNS or rows < 0 or batches < 0:
        raise file.error(f"says that it has {columns:g} columns and {rows:g} reflections")
    if columns != sum(record.startswith("COLUMN ") for record in records):
        raise file.error(f"says that it has {columns:g} columns and lists another number")
    if not rows:
        raise InputError(f"{file.path} has no reflections.")
    if _MTZ_START + 4 * columns * rows != header:
        raise file.error(f"has {header - _MTZ_START} bytes of data, where {rows:g} reflections in "
                         f"{columns:g} columns need {4 * columns * rows:g}")
    check_cell(_numbers(file, records, "CELL", 6), str(file.path))
    _check_syminf(file, records)


def _mtz_records(file: _File, header: int, size: int) -> list[str]:
    """The lines of the header up to END, as text."""
    content = file.read(header, min(size - header, _LONGEST_HEADER))
    lines = [content[at:at + _RECORD] for at in range(0, len(content), _RECORD)]
    end = next((n for n, line in enumerate(lines) if line.startswith(b"END")), None)
    if end is None or not lines[0].startswith(b"VERS"):
        raise file.error("has no header where it says")
    last = next((n for n, line in enumerate(lines) if line.startswith(b"MTZENDOFHEADERS")), len(lines))
    history = [line for line in lines[end:last] if not line.startswith(b"MTZBATS")]
    if any(line.startswith(b"MTZBATS") for line in lines[end:last]):
        history = []  # batch headers hold binary numbers
    for line in lines[:end] + history:
        try:
            if "\0" in line.decode().rstrip("\0 "):
                raise ValueError
        except ValueError:
            raise file.error(f"has a line in its header that is not text: {line[:60]!r}",
                             "Correct it, for instance with CCP4's mtzutils.") from None
    return [line.decode() for line in lines[:end]]


def _numbers(file: _File, records: list[str], name: str, count: int) -> list[float]:
    """The numbers that follow a name in the header, at its first place."""
    line = next((record for record in records if record.split(None, 1)[:1] == [name]), name)
    try:
        values = [float(word) for word in line.split()[1:1 + count]]
    except ValueError:
        values = []
    if len(values) < count or not np.isfinite(values).all():
        raise file.error(f"has no {count} numbers after {name} in its header: {line.strip()!r}")
    return values


def _check_syminf(file: _File, records: list[str]) -> None:
    """Symmetry operators that can be read, and as many as are announced."""
    operators = [record[5:].strip() for record in records if record.startswith("SYMM ")]
    announced = int(_numbers(file, records, "SYMINF", 1)[0])
    if len(operators) != announced or not 1 <= announced <= 192:
        raise file.error(f"has {len(operators)} symmetry operators where it says {announced}")
    for operator in operators:
        try:
            gemmi.parse_triplet(operator)
        except (RuntimeError, ValueError) as error:
            raise file.error(f"has the symmetry operator {operator!r}") from error


def check_map(path: str | Path) -> None:
    """Check the header of a CCP4 map.

    Raises
    ------
    InputError : missing, not a map, damaged, or with an impossible cell or unknown space group.
    """
    file = _opened(path, "a CCP4 map")
    try:
        _check_map(file)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise file.error(f"is damaged ({error})") from error


def _check_map(file: _File) -> None:
    header = file.read(0, _MAP_HEADER)
    if len(header) < _MAP_HEADER or header[208:211] != b"MAP":
        raise file.error("does not have the header of one")
    order = _byte_order(file, header[212:214])
    words = struct.unpack(f"{order}256i", header)
    size, start, sampling = words[:3], words[4:7], words[7:10]
    mode, symmetry = words[3], words[23]
    if mode not in _MAP_BYTES:
        raise file.error(f"has data of mode {mode}; known are {', '.join(map(str, _MAP_BYTES))}",
                         "Write it with another program, as real numbers (mode 2).")
    if min(*size, *sampling) < 1 or prod(size) > _MOST_POINTS or prod(sampling) > _MOST_POINTS:
        raise file.error(f"says that it has {size} points, on {sampling} in the cell")
    if max(map(abs, start)) > _LARGEST_INDEX:
        raise file.error(f"says that it begins at point {start}")
    if sorted(words[16:19]) != [1, 2, 3]:
        raise file.error(f"has the axis order {words[16:19]}, which is none")
    expected = _MAP_HEADER + symmetry + prod(size) * _MAP_BYTES[mode]
    if symmetry < 0 or symmetry % 80 or expected != file.size:
        raise file.error(f"has {file.size} bytes, where its header asks for {expected}")
    group = gemmi.find_spacegroup_by_number(words[22])
    if group is None:
        raise InputError(f"{file.path} has the unknown space group number {words[22]}. Correct its "
                         "header.")
    order_of_group = len(group.operations())
    if prod(sampling) > prod(size) * order_of_group:
        raise file.error(f"holds {prod(size)} of the {prod(sampling)} points of its cell, which in "
                         f"{group.xhm()} do not cover the asymmetric unit", "Write the whole cell.")
    cell = struct.unpack(f"{order}6f", header[40:64])
    check_cell(cell, str(file.path))
    check_lattice(gemmi.UnitCell(*cell), group, str(file.path))


def _byte_order(file: _File, stamp: bytes) -> str:
    """Of struct: "<" or ">"; the stamp has 4 or 1 in its first four bits, and the same for integers."""
    orders = {4: "<", 1: ">"}
    order = orders.get(stamp[0] >> 4)
    if order is None or orders.get(stamp[1] >> 4, order) != order:
        raise file.error(f"has the machine stamp {stamp.hex()}; known are 4441 and 1111")
    return order


def check_cell(parameters, source: str) -> None:
    """Make sure that a cell could be one of a crystal.

    Parameters
    ----------
    parameters : a, b, c, Angstrom, alpha, beta, gamma, degrees.
    source : the file, for messages.

    Raises
    ------
    InputError : it cannot.
    """
    shown = " ".join(f"{value:g}" for value in parameters)
    lengths, angles = np.array(parameters[:3]), np.array(parameters[3:])
    possible = (np.isfinite(parameters).all() and (lengths >= _SHORTEST_CELL).all()
                and (lengths <= _LONGEST_CELL).all() and (angles > 0).all() and (angles < 180).all())
    cosines = np.cos(np.deg2rad(angles)) if possible else np.ones(3)
    if not possible or 1 + 2 * cosines.prod() - (cosines**2).sum() < 1e-4:  # (volume / abc)^2
        raise InputError(f"{source} has the impossible unit cell {shown}. Correct its header.")


def check_lattice(cell: gemmi.UnitCell, group: gemmi.SpaceGroup, source: str) -> None:
    """Make sure that a cell has the symmetry of its space group, to 2 % and 2 degrees.

    Raises
    ------
    InputError : it has not.
    """
    orth = np.array(cell.orth.mat.tolist())
    metric = orth.T @ orth
    turned = []
    for op in group.operations().sym_ops:
        rotation = np.array(op.rot) / op.DEN
        turned.append(rotation.T @ metric @ rotation)
    mean = np.mean(turned, axis=0)
    lengths = np.sqrt(np.diag(mean))
    angles = np.rad2deg(np.arccos([mean[1, 2] / lengths[1] / lengths[2],
                                   mean[0, 2] / lengths[0] / lengths[2],
                                   mean[0, 1] / lengths[0] / lengths[1]]))
    if not cell.is_similar(gemmi.UnitCell(*lengths, *angles), 0.02, 2.0):
        shown = " ".join(f"{value:g}" for value in cell.parameters)
        raise InputError(f"{source} has the cell {shown}, which does not have the symmetry of its "
                         f"space group {group.xhm()}. Correct its header.")


def check_numbers(mtz: gemmi.Mtz, source: str) -> None:
    """Make sure that the indices of an MTZ file are numbers, and no value infinite.

    Raises
    ------
    InputError : they are not.
    """
    indices = mtz.array[:, :3]
    if not (np.abs(indices) < _LARGEST_INDEX).all():  # false for NaN
        raise InputError(f"{source} has an impossible index: "
                         f"{indices[~(np.abs(indices) < _LARGEST_INDEX).all(axis=1)][0]}. "
                         "The file is damaged: get it again.")
    infinite = np.isinf(mtz.array).sum(axis=0)
    if infinite.any():
        column = int(infinite.argmax())
        raise InputError(f"{source} has {infinite[column]} infinite values in the column "
                         f"{mtz.columns[column].label}, as a division by zero leaves them. Correct or "
                         "remove these reflections.")
