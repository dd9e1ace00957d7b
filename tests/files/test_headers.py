"""Damaged headers: one message that says what is wrong, before a library has allocated anything."""

import gzip
import os
import struct

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients
from damage import map_file, mtz_file, replaced, word

from crank2_unet.crystal.grids import density_map
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.files.coordinates import read_structure
from crank2_unet.files.headers import check_lattice, check_map, check_mtz
from crank2_unet.files.maps import read_map, read_mask, write_map
from crank2_unet.files.mtz import MtzFile

MTZ, MAP = mtz_file(), map_file()


def record(name, text):
    """Replace the first line of the header that begins with a name."""
    place = MTZ.index(name, 80)
    return MTZ[:place] + text.ljust(80)[:80] + MTZ[place + 80:]


@pytest.mark.parametrize("content, said", [
    (b"", "begin as one"),
    (b"text " * 100, "begin as one"),
    (MTZ[:60], "begin as one"),
    (MTZ[:len(MTZ) // 2], "truncated"),
    (replaced(MTZ, 8, b"\x11\x11"), "machine stamp is wrong"),
    (replaced(MTZ, 8, b"\x77\x77"), "machine stamp 7777"),
    (replaced(MTZ, 4, struct.pack("<i", 2**31 - 1)), "truncated"),
    (replaced(MTZ, 4, struct.pack("<i", -5)), "header begins at byte"),
    (replaced(MTZ, 4, struct.pack("<i", 30)), "no header where it says"),
    (record(b"NCOL", b"NCOL        9           10        0"), "bytes of data"),
    (record(b"NCOL", b"NCOL        9   2000000000        0"), "bytes of data"),
    (record(b"NCOL", b"NCOL        0          100        0"), "0 columns"),
    (record(b"NCOL", b"NCOL        7          100        0"), "lists another number"),
    (record(b"NCOL", b"NCOL        9            0        0"), "no reflections"),
    (record(b"NCOL", b"NCOL        9       -10000        0"), "-10000 reflections"),
    (record(b"NCOL", b"NCOL    eight           10"), "3 numbers after NCOL"),
    (record(b"CELL", b"CELL  0 0 0 0 0 0"), "impossible unit cell 0 0 0"),
    (record(b"CELL", b"CELL  30 40 50 90 90"), "6 numbers after CELL"),
    (record(b"CELL", b"CELL  thirty forty fifty 90 90 90"), "6 numbers after CELL"),
    (record(b"CELL", b"CELL  30 40 nan 90 90 90"), "6 numbers after CELL"),
    (record(b"CELL", b"CELL  30 40 1e30 90 90 90"), "impossible unit cell"),
    (record(b"CELL", b"CELL  30 40 50 10 10 170"), "impossible unit cell"),
    (record(b"SYMINF", b"SYMINF 900 1 P 18 'P 21 21 2' PG222"), "symmetry operators where"),
    (record(b"SYMM", b"SYMM X, Y, what"), "symmetry operator 'X, Y, what'"),
    (record(b"TITLE", b"TITLE \xff\xfe"), "not text"),
    (record(b"COLUMN F", b"COLUMN \xe4\xf6 F 0 1 0"), "not text"),
])
def test_mtz_headers(content, said, tmp_path):
    path = tmp_path / "bad.mtz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        MtzFile(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("column, value, said", [
    (0, np.nan, "impossible index"), (1, np.inf, "impossible index"), (2, 2e9, "impossible index"),
    (3, np.inf, "1 infinite values in the column F"),
    (8, -np.inf, "infinite values in the column HLD")])
def test_mtz_values(column, value, said, tmp_path):
    content = replaced(MTZ, 80 + 4 * (5 * 9 + column), struct.pack("<f", value))
    (tmp_path / "bad.mtz").write_bytes(content)
    with pytest.raises(InputError, match=said):
        MtzFile(tmp_path / "bad.mtz")


@pytest.mark.parametrize("content, said", [
    (MAP[:1000], "header of one"),
    (b"\0" * 2000, "header of one"),
    (MAP[:-40], "bytes, where its header asks for"),
    (MAP + b"1234", "bytes, where its header asks for"),
    (replaced(MAP, 212, b"\x11\x11"), "mode"),
    (replaced(MAP, 212, b"\0\0"), "machine stamp 0000"),
    *((word(MAP, number, value), "says that it has") for number in (1, 2, 3, 8, 9, 10)
      for value in (0, -1)),
    *((word(MAP, number, 2**31 - 1), "says that it has") for number in (1, 2, 3, 8, 9, 10)),
    (word(MAP, 4, 5), "mode 5"),
    (word(MAP, 5, -2**31), "begins at point"),
    (word(MAP, 17, 2), "axis order"),
    (word(MAP, 23, 0x7fffffff), "unknown space group number"),
    (word(MAP, 23, 300), "unknown space group number"),
    (word(MAP, 24, 2**30), "bytes, where"),
    (word(MAP, 24, -80), "bytes, where"),
    (word(MAP, 8, 400), "do not cover the asymmetric unit"),
    (word(MAP, 11, 0.0), "impossible unit cell"),
    (word(MAP, 11, float("nan")), "impossible unit cell"),
    (word(MAP, 11, 1e30), "impossible unit cell"),
    (word(MAP, 14, 180.0), "impossible unit cell"),
    (word(MAP, 15, 110.0), "symmetry of its space group"),
])
def test_map_headers(content, said, tmp_path):
    path = tmp_path / "bad.ccp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_map(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_good_files_pass(tmp_path):
    """Either byte order, compressed, all settings."""
    (tmp_path / "good.mtz").write_bytes(MTZ)
    (tmp_path / "good.mtz.gz").write_bytes(gzip.compress(MTZ))
    (tmp_path / "big_endian.mtz").write_bytes(big_endian(MTZ))
    for name in ("good.mtz", "good.mtz.gz", "big_endian.mtz"):
        good = MtzFile(tmp_path / "good.mtz")
        assert np.allclose(MtzFile(tmp_path / name).column("F"), good.column("F"))
    for name, content in (("good.ccp4", MAP), ("good.ccp4.gz", gzip.compress(MAP))):
        (tmp_path / name).write_bytes(content)
        assert read_map(tmp_path / name).shape == (12, 16, 20)


def big_endian(content):
    """The same MTZ file as a machine of the other kind writes it."""
    place = struct.unpack("<i", content[4:8])[0]
    data = np.frombuffer(content[80:4 * (place - 1)], "<f4").astype(">f4").tobytes()
    return (content[:4] + struct.pack(">i", place) + b"\x11\x11\0\0" + content[12:80] + data
            + content[4 * (place - 1):])


@pytest.mark.parametrize("reader", [MtzFile, read_map, read_structure])
def test_what_is_no_file(reader, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", tmp_path, tmp_path / "fifo", tmp_path / "absent"):
        with pytest.raises(InputError, match="cannot be read"):
            reader(path)
    other = os.fsdecode(os.fsencode(tmp_path / "name") + b"\xff")
    open(other, "w").close()
    with pytest.raises(InputError, match="name that is not UTF-8"):
        reader(other)


def test_compressed_file_that_does_not_end(tmp_path):
    """A gigabyte of nothing, in a megabyte."""
    path = tmp_path / "bomb.mtz.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(MTZ)
        for _ in range(1025):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="larger than 1 GB"):
        check_mtz(path)
    (tmp_path / "cut.ccp4.gz").write_bytes(gzip.compress(MAP)[:300])
    with pytest.raises(InputError, match="is damaged"):
        check_map(tmp_path / "cut.ccp4.gz")


def test_cell_has_the_symmetry_of_the_group_nearly():
    """Cells are refined without it, and indexed in it."""
    for group in gemmi.spacegroup_table():
        if not group.is_sohncke() or not group.is_reference_setting():
            continue
        system = group.crystal_system_str()
        a, b, c, *angles = {
            "triclinic": (30, 40, 50, 80, 85, 95), "monoclinic": (30, 40, 50, 90, 105, 90),
            "orthorhombic": (30, 40, 50, 90, 90, 90), "tetragonal": (40, 40, 50, 90, 90, 90),
            "trigonal": (40, 40, 50, 90, 90, 120), "hexagonal": (40, 40, 50, 90, 90, 120),
            "cubic": (40, 40, 40, 90, 90, 90)}[system]
        for off in (1, 1.005):
            check_lattice(gemmi.UnitCell(a, b * off, c, *angles), group, "file")
        if system != "triclinic":
            with pytest.raises(InputError, match="symmetry"):
                check_lattice(gemmi.UnitCell(a, b, c, angles[0] + 5, angles[1] + 5, angles[2]),
                              group, "file")


@pytest.mark.parametrize("cell, d_min", [((30, 40, 50), 0.01), ((9000, 9000, 9000), 2.0),
                                         ((3000, 4000, 5000), 100.0), ((30, 40, 50), np.nan)])
def test_extent_of_data(cell, d_min):
    with pytest.raises(InputError, match="unique reflections: one of them is wrong"):
        Reflections(gemmi.UnitCell(*cell, 90, 90, 90), gemmi.SpaceGroup("P 1"), d_min)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-5])
def test_mask_that_tells_nothing(value, tmp_path):
    reflections = crystal("P 21 21 21")
    grid = density_map(reflections, random_coefficients(reflections), 1.4)
    grid.array[...] = value
    write_map(grid, tmp_path / "mask.ccp4")
    with pytest.raises(InputError, match="everywhere"):
        read_mask(tmp_path / "mask.ccp4", reflections)


@pytest.mark.parametrize("content, said", [
    ("{}", "coordinate file"), ("[1, 2]", "coordinate file"), ("", "no atoms"),
    ("HETATM    1 SE   MSE A   1         inf   2.000   3.000  1.00 20.00          SE",
     "Correct the file"),
    ("HETATM    1 SE   MSE A   1       1.000   2.000   3.000   inf 20.00          SE",
     "Correct the file"),
    ("HETATM    1 SE   MSE A   1       1.000   2.000   3.000  1.00   nan          SE",
     "Correct the file"),
])
def test_coordinates(content, said, tmp_path):
    path = tmp_path / ("sites.json" if content[:1] in "{[" and content else "sites.pdb")
    path.write_text(content + "\n")
    with pytest.raises(InputError, match=said):
        read_structure(path)
