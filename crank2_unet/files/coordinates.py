"""Coordinate files in."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.reflections import Reflections, enantiomorph
from ..crystal.sites import model_of_sites
from ..errors import InputError
from .headers import check_text_file
from .shelx import ENDINGS, read_shelx

_log = logging.getLogger(__name__)
_SAME_CELL = 0.02, 2.0  # relative and in degrees: fractional coordinates mean the same so far
_LARGEST = 1e5  # Angstrom, or Angstrom^2
_FRACTIONAL = 1.05  # Angstrom; atoms are not all that near to the origin


def read_structure(path: str | Path) -> gemmi.Structure:
    """A coordinate file with atoms in it: PDB, mmCIF, small-molecule CIF, SHELX .res, .ins or .hat.

    Raises
    ------
    InputError : it cannot be read, has no atoms, or coordinates that are no numbers.
    """
    check_text_file(path, "a coordinate file")
    try:
        structure = (_from_shelx(path) if Path(path).suffix.lower() in ENDINGS
                     else gemmi.read_structure(str(path)))
        if not _n_atoms(structure) and structure.input_format != gemmi.CoorFormat.Pdb:
            structure = _from_small(path)
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a coordinate file: {error}. Give PDB, mmCIF, CIF "
                         "or SHELX .res.") from error
    if not _n_atoms(structure):
        raise InputError(f"{path} has no atoms. Give a PDB or mmCIF file with atoms in it.")
    for site in structure[0].all():
        atom = site.atom
        if not (np.abs([*atom.pos.tolist(), atom.occ, atom.b_iso]) < _LARGEST).all():  # or NaN
            raise InputError(f"{path}: atom {atom.name} has the position {atom.pos.tolist()}, "
                             f"occupancy {atom.occ:g} and B {atom.b_iso:g}. Correct the file.")
    return structure


def read_sites(path: str | Path, reflections: Reflections, element: str | None = None,
               ) -> gemmi.Structure:
    """Sites in the crystal of the data; their fractional coordinates are those of the file.

    Parameters
    ----------
    element : of the sites: if others are among the atoms, these are left out.  None: all atoms.

    Raises
    ------
    InputError : as :func:`read_structure`; also another cell or space group than that of the data,
        fractional coordinates in a file of orthogonal ones, or several elements but not that.
    """
    structure = read_structure(path)
    cell = structure.cell if structure.cell.is_crystal() else reflections.cell
    if not cell.is_similar(reflections.cell, *_SAME_CELL):
        raise InputError(f"{path} has another cell than the data.\n"
                         f"  sites: {cell.parameters}\n"
                         f"  data:  {reflections.cell.parameters}\n"
                         "Give sites in the cell of the data.")
    _check_spacegroup(path, structure.find_spacegroup(), reflections.spacegroup)
    _check_orthogonal(path, structure)
    structure = _of_element(path, structure, element) if element else structure
    for site in structure[0].all():
        site.atom.pos = reflections.cell.orthogonalize(cell.fractionalize(site.atom.pos))
    structure.cell = reflections.cell
    structure.spacegroup_hm = reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure


def _n_atoms(structure: gemmi.Structure) -> int:
    return structure[0].count_atom_sites() if len(structure) else 0


def _check_spacegroup(path: str | Path, sites: gemmi.SpaceGroup | None, data: gemmi.SpaceGroup) -> None:
    if sites is None or sites.operations() == data.operations():
        return
    if sites.number == 1:
        _log.warning("%s says no space group (P 1); its atoms are taken for those of an asymmetric "
                     "unit of %s.", path, data.xhm())
        return
    advice = "Give sites in the space group of the data."
    if enantiomorph(sites).operations() == data.operations():
        advice = ("They are the two hands of one: give the sites of the other hand, or correct the "
                  "space group of the data if it was not known.")
    raise InputError(f"{path} has space group {sites.xhm()}, but the data have {data.xhm()}. {advice}")


def _check_orthogonal(path: str | Path, structure: gemmi.Structure) -> None:
    positions = np.array([site.atom.pos.tolist() for site in structure[0].all()])
    if structure.input_format != gemmi.CoorFormat.Pdb or np.abs(positions).max() > _FRACTIONAL:
        return
    if len(positions) > 1:
        raise InputError(f"{path}: all {len(positions)} atoms lie between -1 and 1 Angstrom, as "
                         "fractional coordinates do. A PDB file holds Angstrom: give them as SHELX "
                         ".res, or convert them, for instance with CCP4's coordconv.")
    _log.warning("%s: the only atom lies within 1 Angstrom of the origin, %s. Is it in fractional "
                 "coordinates?", path, positions[0].tolist())


def _of_element(path: str | Path, structure: gemmi.Structure, element: str) -> gemmi.Structure:
    """The atoms of an element; all if the file knows but one element, which may be a makeshift."""
    wanted = gemmi.Element(element)
    if wanted.name.lower() != element.lower():
        raise InputError(f"There is no element {element}. Give a symbol, such as Se.")
    count = Counter(site.atom.element.name for site in structure[0].all())
    there = ", ".join(f"{number} {name}" for name, number in count.most_common())
    if wanted.name not in count:
        if len(count) > 1:
            raise InputError(f"{path} has no atom of {element}, but {there}. Give the element of the "
                             "sites with --element, or a file with the sites only.")
        _log.warning("%s: its atoms, %s, are taken as sites of %s.", path, there, element)
        structure = structure.clone()
        for site in structure[0].all():
            site.atom.element = wanted
        return structure
    if len(count) > 1:
        _log.warning("%s: its %d atoms of %s are taken as sites; there are also %s.", path,
                     count[wanted.name], element, ", ".join(
                         f"{number} {name}" for name, number in count.most_common()
                         if name != wanted.name))
        structure = structure.clone()
        for chain in structure[0]:
            for residue in chain:
                for index in reversed(range(len(residue))):
                    if residue[index].element != wanted:
                        del residue[index]
        structure.remove_empty_chains()
    return structure


def _from_shelx(path: str | Path) -> gemmi.Structure:
    shelx = read_shelx(path)
    return _structure(shelx.cell, shelx.spacegroup, shelx.atoms)


def _from_small(path: str | Path) -> gemmi.Structure:
    """From the CIF of a small molecule, whose coordinates are fractional."""
    small = gemmi.read_small_structure(str(path))
    return _structure(small.cell, small.spacegroup, [
        (site.element.name, site.label, *site.fract.tolist(), site.occ, site.u_iso)
        for site in small.sites])


def _structure(cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup | None, atoms) -> gemmi.Structure:
    """Atoms (element, name, fractional x, y, z, occupancy, U), each a residue of its own."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = cell, spacegroup.xhm() if spacegroup else ""
    sites = []
    for element, name, x, y, z, occupancy, u in atoms:
        atom = gemmi.Atom()
        atom.name, atom.element = name[:4], gemmi.Element(element)
        atom.pos = cell.orthogonalize(gemmi.Fractional(x, y, z))
        atom.occ, atom.b_iso = occupancy, 8 * np.pi ** 2 * u
        sites.append(atom)
    structure.add_model(model_of_sites(sites))
    return structure
