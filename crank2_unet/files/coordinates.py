"""Coordinate files in."""

from __future__ import annotations

from pathlib import Path

import gemmi

from ..crystal.reflections import Reflections
from ..errors import InputError


def read_structure(path: str | Path) -> gemmi.Structure:
    """A coordinate file with atoms in it, PDB or mmCIF.

    Raises
    ------
    InputError : it cannot be read or has no atoms.
    """
    try:
        structure = gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a coordinate file: {error}.") from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise InputError(f"{path} has no atoms. Give a PDB or mmCIF file with atoms in it.")
    return structure


def read_sites(path: str | Path, reflections: Reflections) -> gemmi.Structure:
    """Sites in the crystal of the data.

    Raises
    ------
    InputError : as :func:`read_structure`; also another cell than that of the data.
    """
    structure = read_structure(path)
    if structure.cell.is_crystal() and not structure.cell.is_similar(reflections.cell, 0.02, 2.0):
        raise InputError(f"{path} has another cell than the data.\n"
                         f"  sites: {structure.cell.parameters}\n"
                         f"  data:  {reflections.cell.parameters}\n"
                         "Give sites in the cell of the data.")
    structure.cell = reflections.cell
    structure.spacegroup_hm = reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure
