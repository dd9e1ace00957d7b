"""Small MTZ and CCP4 map files made by code, to be damaged."""

import struct
import tempfile
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np

CELL, GROUP = (30, 40, 50, 90, 90, 90), "P 21 21 21"


def replaced(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new):]


def word(content: bytes, number: int, value) -> bytes:
    """A word of the header of a map replaced, counted from 1 as in the format's description."""
    return replaced(content, 4 * (number - 1), struct.pack("<f" if isinstance(value, float) else "<i",
                                                           value))


@lru_cache
def mtz_file() -> bytes:
    """F, SIGF, HLA to HLD of a crystal to 6 A: nine columns, no history."""
    rng = np.random.default_rng(0)
    mtz = gemmi.Mtz(with_base=True)
    mtz.title = "made by code"
    mtz.spacegroup = gemmi.SpaceGroup(GROUP)
    mtz.set_cell_for_all(gemmi.UnitCell(*CELL))
    mtz.add_dataset("test")
    hkl = gemmi.make_miller_array(mtz.cell, mtz.spacegroup, 6.0)
    values = [rng.uniform(10, 100, len(hkl)), rng.uniform(1, 5, len(hkl)),
              *rng.normal(0, 1, (4, len(hkl)))]
    for label, kind in zip(("F", "SIGF", "HLA", "HLB", "HLC", "HLD"), "FQAAAA"):
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, *values]).astype(np.float32))
    mtz.sort()
    return _written(mtz.write_to_file)


@lru_cache
def map_file() -> bytes:
    """A mask with a ball in it, 12 x 16 x 20 points."""
    grid = gemmi.FloatGrid(12, 16, 20)
    grid.set_unit_cell(gemmi.UnitCell(*CELL))
    grid.spacegroup = gemmi.SpaceGroup(GROUP)
    grid.set_points_around(gemmi.Position(8, 10, 12), 9.0, 1.0)
    grid.symmetrize_max()
    ccp4 = gemmi.Ccp4Map()
    ccp4.grid = grid
    ccp4.update_ccp4_header(2, True)
    return _written(ccp4.write_ccp4_map)


def _written(write) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(str(path))
        return path.read_bytes()
