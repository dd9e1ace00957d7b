"""Damaged files of each kind that the programs read, and what reading may do: give data or one error.

A case is a seed file made by code and some mutations that know its structure: a number of a header, a
line, a column of a line, a value of the data, or any bytes.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from damage import map_file, mtz_file, replaced
from hypothesis import strategies as st

from crank2_unet.errors import Crank2UnetError
from crank2_unet.files.coordinates import read_structure
from crank2_unet.files.maps import read_mask
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.network.model_card import ModelCard

INTEGERS = st.sampled_from([0, 1, -1, 2, 3, 5, 7, 80, 255, 1000, 65536, 10**6, -10**6, 2**30, 2**31 - 1,
                            -2**31]) | st.integers(-2**31, 2**31 - 1)
REALS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, -1e30, 90.0, 180.0, 360.0, 1e6,
                         float("inf"), -float("inf"), float("nan")]) | st.floats(width=32)
WORDS = (INTEGERS.map(str) | REALS.map(repr)
         | st.sampled_from(["", "x", "*", "-", "'", "P 1", "P 6 2 2", "P -1", "R 3", "unknown", "END",
                            "\0", "\xff", "1/0", "X,Y,Z", "0x10", "1d5", "9" * 30]))
NOISE = st.binary(min_size=0, max_size=40)


@st.composite
def damaged_bytes(draw, content: bytes) -> bytes:
    """Cut, lengthened, or with some bytes replaced or repeated."""
    place = draw(st.integers(0, len(content)))
    kind = draw(st.sampled_from(["cut", "longer", "replaced", "repeated", "removed"]))
    if kind == "cut":
        return content[:place]
    if kind == "longer":
        return content + draw(NOISE)
    end = min(place + draw(st.integers(1, 400)), len(content))
    middle = {"replaced": draw(NOISE), "repeated": 2 * content[place:end], "removed": b""}[kind]
    return content[:place] + middle + content[end:]


@st.composite
def damaged_line(draw, line: bytes) -> bytes:
    """A line of text with a word, or what stands in some columns, exchanged."""
    new = draw(WORDS).encode("latin-1")
    if draw(st.booleans()):
        words = line.split()
        if words:
            words[draw(st.integers(0, len(words) - 1))] = new
        return b" ".join(words)
    start = draw(st.integers(0, max(len(line) - 1, 0)))
    return replaced(line, start, new.rjust(draw(st.integers(0, 12))))


@st.composite
def mtz(draw) -> bytes:
    content = mtz_file()
    header = content.index(b"VERS", 80)
    data = bytearray(content[:header])
    lines = [content[at:at + 80] for at in range(header, len(content), 80)]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["line"] * 3 + ["start", "value", "drop", "twice", "swap"]))
        number = draw(st.integers(0, len(lines) - 1))
        if kind == "line":
            lines[number] = draw(damaged_line(lines[number])).ljust(80)[:80]
        elif kind == "start":
            place = 4 * draw(st.integers(0, 19))
            data[place:place + 4] = np.array(draw(INTEGERS), "<i4").tobytes()
        elif kind == "value":
            place = 80 + 4 * draw(st.integers(0, (header - 80) // 4 - 1))
            with np.errstate(over="ignore"):
                data[place:place + 4] = np.array(draw(REALS), "<f4").tobytes()
        elif kind == "drop" and len(lines) > 1:
            del lines[number]
        elif kind == "twice":
            lines.insert(number, lines[number])
        else:
            lines[0], lines[number] = lines[number], lines[0]
    whole = bytes(data) + b"".join(lines)
    return draw(damaged_bytes(whole)) if draw(st.integers(0, 4)) == 0 else whole


@st.composite
def ccp4_map(draw) -> bytes:
    content = map_file()
    for _ in range(draw(st.integers(1, 3))):
        word = draw(st.integers(0, 55) | st.integers(56, len(content) // 4 - 1))
        with np.errstate(over="ignore"):
            new = (np.array(draw(INTEGERS), "<i4") if draw(st.booleans())
                   else np.array(draw(REALS), "<f4")).tobytes()
        content = replaced(content, 4 * word, new)
    return draw(damaged_bytes(content)) if draw(st.integers(0, 4)) == 0 else content


SITES = b"""CRYST1   30.000   40.000   50.000  90.00  90.00  90.00 P 21 21 21
SCALE1      0.033333  0.000000  0.000000        0.00000
HETATM    1 SE   MSE A   1       1.000   2.000   3.000  1.00 20.00          SE
HETATM    2 SE   MSE A   2      11.000  12.000  13.000  0.50 30.00          SE
END
"""
CIF = b"""data_x
_cell.length_a 30
_cell.length_b 40
_cell.length_c 50
_cell.angle_alpha 90
_cell.angle_beta 90
_cell.angle_gamma 90
_symmetry.space_group_name_H-M 'P 21 21 21'
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
HETATM 1 Se SE . MSE A 1 1.0 2.0 3.0 1.0 20.0
HETATM 2 Se SE . MSE A 2 11.0 12.0 13.0 0.5 30.0
"""


@st.composite
def coordinates(draw, content: bytes) -> bytes:
    lines = content.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        if draw(st.integers(0, 3)):
            lines[number] = draw(damaged_line(lines[number]))
        elif len(lines) > 1:
            del lines[number]
    whole = b"\n".join(lines) + b"\n"
    return draw(damaged_bytes(whole)) if draw(st.integers(0, 4)) == 0 else whole


WEIGHTS = b"not a network"


@lru_cache
def packaged_card() -> dict:
    card = json.loads(ModelCard.read().path.read_text())
    return card | {"file": "weights.onnx", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}


VALUES = (INTEGERS | REALS | WORDS | st.none() | st.booleans()
          | st.sampled_from([[], {}, [1], {"a": 1}, "../weights.onnx", "/dev/zero", [[]], 10**400]))


@st.composite
def model_card(draw) -> bytes:
    card = json.loads(json.dumps(packaged_card()))
    for _ in range(draw(st.integers(1, 2))):
        place, inside = card, True
        while inside:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            inside = bool(isinstance(place[key], (dict, list)) and place[key]
                          and draw(st.integers(0, 2)))
            if inside:
                place = place[key]
        if draw(st.integers(0, 3)) or not isinstance(place, dict) or len(place) < 2:
            place[key] = copy.deepcopy(draw(VALUES))
        else:
            del place[key]
    whole = json.dumps(card).encode()
    return draw(damaged_bytes(whole)) if draw(st.integers(0, 9)) == 0 else whole


@lru_cache
def _reflections(folder: Path):
    (folder / "good.mtz").write_bytes(mtz_file())
    return read_phased(folder / "good.mtz").data.reflections


def _read_mtz(path: Path) -> None:
    given = read_phased(path, need_phases=False)
    data = given.data
    assert np.isfinite(data.hl).all() and np.isfinite(data.coefficients).all()
    assert np.isfinite(data.f).any() and not np.isinf(data.f).any()


def _read_map(path: Path) -> None:
    mask = read_mask(path, _reflections(path.parent))
    assert 0 <= mask.array.min() < mask.array.max() <= 1


def _read_coordinates(path: Path) -> None:
    for site in read_structure(path)[0].all():
        assert np.isfinite(site.atom.pos.tolist()).all()


def _read_card(path: Path) -> None:
    (path.parent / "weights.onnx").write_bytes(WEIGHTS)
    card = ModelCard.read(path)
    assert np.isfinite([*card.scale, *card.offset, *card.d_min_range]).all()
    assert card.window > 2 * card.margin >= 0


# kind -> name of the file, damaged contents, reader
KINDS: dict[str, tuple[str, st.SearchStrategy[bytes], Callable[[Path], None]]] = {
    "mtz": ("in.mtz", mtz(), _read_mtz),
    "map": ("mask.ccp4", ccp4_map(), _read_map),
    "pdb": ("sites.pdb", coordinates(SITES), _read_coordinates),
    "cif": ("sites.cif", coordinates(CIF), _read_coordinates),
    "card": ("card.json", model_card(), _read_card),
}


def try_one(kind: str, content: bytes, folder: Path) -> str:
    """Read a damaged file; returns what became of it, "read" or "refused".

    Raises
    ------
    Exception : anything but an error for the user, or a message that is not one.
    """
    name, _, read = KINDS[kind]
    path = folder / name
    path.write_bytes(content)
    try:
        read(path)
    except Crank2UnetError as error:
        assert 20 < len(str(error)) < 1500
        return "refused"
    return "read"
