"""CCP4 maps in and out."""

from __future__ import annotations

import errno
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.grids import like
from ..crystal.reflections import Reflections
from ..errors import InputError
from .headers import check_map

_ROUNDING = 1e-3  # of weights that programs write as small integers


def read_map(path: str | Path) -> gemmi.FloatGrid:
    """Read a CCP4 map of any axis order, of the asymmetric unit or the whole cell.

    Raises
    ------
    InputError : the file is missing, is not a map, does not cover the asymmetric unit, or holds NaN.
    """
    check_map(path)
    try:
        ccp4 = gemmi.read_ccp4_map(str(path))
        ccp4.setup(float("nan"))  # expands by symmetry; points left at NaN were not in the file
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a CCP4 map: {error}.") from error
    if not np.isfinite(ccp4.grid.array).all():
        raise InputError(f"{path} has undefined points: the map must cover the asymmetric unit "
                         "and hold finite values.")
    return ccp4.grid


def read_map_of(path: str | Path, reflections: Reflections) -> gemmi.FloatGrid:
    """Read a map that must be of the crystal of the data.

    Cells may differ by 1 % or 1 degree, as after scaling.  A map without symmetry, as some programs
    write it, gets that of the data: symmetry copies are averaged.

    Raises
    ------
    InputError : as :func:`read_map`; also another cell or space group.
    """
    grid = read_map(path)
    cell, group = reflections.cell, reflections.spacegroup
    same = grid.unit_cell.is_similar(cell, 0.01, 1.0)
    if same and grid.spacegroup.number == 1 and group.number != 1:
        grid.spacegroup = group
        try:
            grid.symmetrize_avg()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} has no symmetry, and its grid does not allow that of the data, "
                             f"{group.xhm()} ({error}). Write it with the true space group.") from error
    if not same or grid.spacegroup.number != group.number:
        raise InputError(f"{path} is of another crystal than the data.\n"
                         f"  map:  {grid.unit_cell.parameters} {grid.spacegroup.xhm()}\n"
                         f"  data: {cell.parameters} {group.xhm()}\n"
                         "Give a map in the cell and space group of the data.")
    return grid


def write_map(grid: gemmi.FloatGrid, path: str | Path) -> None:
    """Write a whole-cell CCP4 map with the true space group; 0/1 masks are best given as such.

    Raises
    ------
    OSError : the file is not complete.
    """
    ccp4 = gemmi.Ccp4Map()
    ccp4.grid = grid
    ccp4.update_ccp4_header(2, True)
    ccp4.write_ccp4_map(str(path))
    try:  # gemmi does not notice that the end could not be written
        check_map(path)
    except InputError as error:
        raise OSError(errno.EIO, "disk full, or a limit of file sizes", str(path)) from error


def read_mask(path: str | Path, reflections: Reflections, advice: str = "", one_is: str = "solvent",
              ) -> gemmi.FloatGrid:
    """Read a mask of the crystal of the data, or weights, in [0, 1], as 1 = solvent.

    Parameters
    ----------
    advice : what to do if the file holds other values.
    one_is : what 1 stands for in the file, "solvent" or "protein".

    Raises
    ------
    InputError : as :func:`read_map_of`; also values that are no weights, or the same everywhere.
    """
    mask = read_map_of(path, reflections)
    low, high = float(mask.array.min()), float(mask.array.max())
    if high - low < _ROUNDING:
        raise InputError(f"{path} has the value {low:g} everywhere, so that it tells no region from "
                         "another. Give a mask of protein and solvent.")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(f"{path} has values from {low:g} to {high:g}. " + (
            advice or "Give a mask with values between 0 (protein) and 1 (solvent)."))
    if high - low < _ROUNDING:
        raise InputError(f"{path} is {low:g} everywhere: it tells no solvent from protein. "
                         "Give another mask.")
    values = np.clip(mask.array, 0, 1)
    return like(mask, 1 - values if one_is == "protein" else values)
