"""Merged reflections in other formats than MTZ: mmCIF, SHELXE's .phs, Scalepack."""

from __future__ import annotations

import logging
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.reflections import spacegroup_of
from ..errors import InputError
from .shelx import ENDINGS, read_shelx

_log = logging.getLogger(__name__)
_SIDE_FILES = (*ENDINGS, ".pdb")  # of SHELXE, under the same name

# of the mmCIF dictionary and of depositions: tag, label (of the first tag that is there), MTZ type,
# dataset, numbers for letters
_CIF_COLUMNS = ["pdbx_r_free_flag FreeR_flag I 1", "status FreeR_flag I 1 o=1,f=0"]
_CIF_COLUMNS += [f"{line} 1" for line in (
    "F_meas_au F F", "F_meas F F", "F_meas_sigma_au SIGF Q", "F_meas_sigma SIGF Q",
    "intensity_meas IMEAN J", "F_squared_meas IMEAN J", "intensity_sigma SIGIMEAN Q",
    "F_squared_sigma SIGIMEAN Q",
    "pdbx_F_plus F(+) G", "pdbx_F_plus_sigma SIGF(+) L", "pdbx_F_minus F(-) G",
    "pdbx_F_minus_sigma SIGF(-) L", "pdbx_I_plus I(+) K", "pdbx_I_plus_sigma SIGI(+) M",
    "pdbx_I_minus I(-) K", "pdbx_I_minus_sigma SIGI(-) M",
    "phase_meas PHIB P", "fom FOM W", "pdbx_HL_A_iso HLA A", "pdbx_HL_B_iso HLB A",
    "pdbx_HL_C_iso HLC A", "pdbx_HL_D_iso HLD A", "F_calc_au FC F", "F_calc FC F", "phase_calc PHIC P",
    "pdbx_FWT FWT F", "pdbx_PHWT PHWT P", "pdbx_DELFWT DELFWT F", "pdbx_DELPHWT PHDELWT P")]


def as_mtz(path: str | Path) -> gemmi.Mtz | None:
    """A reflection file of another format as MTZ; None if it seems to be MTZ.

    The format follows from the ending: .cif, .mmcif and .ent with _refln; .phs with h k l F FOM PHI
    SIGF; .sca with a header of cell and space group.

    Raises
    ------
    InputError : the file cannot be read or lacks the cell.
    """
    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    reader = {".cif": _from_cif, ".mmcif": _from_cif, ".ent": _from_cif, ".phs": _from_phs,
              ".sca": _from_scalepack}.get(suffixes[-1] if suffixes else "")
    if reader is None:
        return None
    try:
        mtz = reader(path)
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a reflection file: {error}. Give a merged MTZ "
                         "file.") from error
    if not mtz.nreflections:
        raise InputError(f"{path} has no reflections.")
    mtz.spacegroup = spacegroup_of(mtz.spacegroup.xhm() if mtz.spacegroup else "", str(path))
    return mtz


def _from_cif(path: Path) -> gemmi.Mtz:
    """The first merged block of a structure-factor file; others are said."""
    blocks = [b for b in gemmi.as_refln_blocks(gemmi.cif.read(str(path)))
              if b.default_loop and b.is_merged()]
    if not blocks:
        raise InputError(f"{path} holds no merged structure factors (_refln). Give an MTZ file or a "
                         "structure-factor file.")
    if len(blocks) > 1:
        names = [block.block.name for block in blocks]
        _log.warning("%s holds %d sets of merged data: taken is the first, %s; there is also %s. If "
                     "another is meant, give it in a file of its own.", path, len(names), names[0],
                     ", ".join(names[1:]))
    converter = gemmi.CifToMtz()
    converter.spec_lines = _CIF_COLUMNS
    mtz = converter.convert_block_to_mtz(blocks[0])
    mtz.spacegroup = mtz.spacegroup or _spacegroup_without_name(blocks[0].block)
    if not mtz.cell.is_crystal():
        raise InputError(f"{path} has no unit cell (_cell). Give an MTZ file with cell and space "
                         "group.")
    return mtz


def _spacegroup_without_name(block: gemmi.cif.Block) -> gemmi.SpaceGroup | None:
    """By operators or number, as in the files of CCP4's mtz2various."""
    for tag in ("_symmetry_equiv.pos_as_xyz", "_space_group_symop.operation_xyz"):
        operators = [gemmi.Op(gemmi.cif.as_string(text)) for text in block.find_values(tag)]
        if operators:
            return gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operators))
    for tag in ("_symmetry.Int_Tables_number", "_space_group.IT_number"):
        number = gemmi.cif.as_int(block.find_value(tag) or "?", 0)
        if 0 < number <= 230:
            return gemmi.find_spacegroup_by_number(number)
    return None


def _from_phs(path: Path) -> gemmi.Mtz:
    """Phases of SHELXE: h k l F FOM PHI SIGF, cell and space group from a file beside it."""
    cell, spacegroup = _crystal_beside(path)
    table = np.loadtxt(path, ndmin=2, usecols=range(7))
    return _assembled(cell, spacegroup, table, [("F", "F"), ("FOM", "W"), ("PHI", "P"), ("SIGF", "Q")])


def _crystal_beside(path: Path) -> tuple[gemmi.UnitCell, gemmi.SpaceGroup]:
    """Cell and space group from a SHELX, PDB or CIF file of the same name."""
    for ending in _SIDE_FILES:
        beside = path.with_suffix(ending)
        if not beside.is_file():
            continue
        if ending in ENDINGS:
            shelx = read_shelx(beside)
            cell, group = shelx.cell, shelx.spacegroup
        else:
            structure = gemmi.read_structure(str(beside))
            cell, group = structure.cell, structure.find_spacegroup()
        if cell.is_crystal() and group is not None:
            _log.warning("%s: cell and space group, %s, are those of %s.", path, group.xhm(), beside)
            return cell, group
    raise InputError(f"{path} does not say cell and space group. Put a file of the same name beside it "
                     f"that does ({', '.join(path.stem + e for e in _SIDE_FILES)}), or convert it "
                     "with f2mtz.")


def _from_scalepack(path: Path) -> gemmi.Mtz:
    """Merged Scalepack: three lines of header, then h k l I sigI, or I+ sigI+ I- sigI-."""
    lines = path.read_text(errors="replace").splitlines()
    head = lines[2].split()
    if len(head) < 7:
        raise InputError(f"{path} is no merged Scalepack file: its third line does not hold the cell "
                         "and the space group. Merge without 'no merge original index'.")
    cell = gemmi.UnitCell(*map(float, head[:6]))
    spacegroup = spacegroup_of("".join(head[6:]), str(path))
    edges = (0, 4, 8, 12, 20, 28, 36, 44)  # columns of fixed width that may touch
    rows = [[float(line[a:b].strip() or "nan") for a, b in zip(edges, edges[1:])]
            for line in lines[3:] if line.strip()]
    table = np.array(rows)
    columns = [("I(+)", "K"), ("SIGI(+)", "M"), ("I(-)", "K"), ("SIGI(-)", "M")]
    if not np.isfinite(table[:, 5:]).any():
        table, columns = table[:, :5], [("IMEAN", "J"), ("SIGIMEAN", "Q")]
    else:  # a sigma of -1 marks an unmeasured mate
        for value, sigma in ((3, 4), (5, 6)):
            table[~(table[:, sigma] > 0), value:sigma + 1] = np.nan
    return _assembled(cell, spacegroup, table, columns)


def _assembled(cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup, table: np.ndarray,
               columns: list[tuple[str, str]]) -> gemmi.Mtz:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = spacegroup
    mtz.set_cell_for_all(cell)
    mtz.add_dataset("from_file")
    for label, kind in columns:
        mtz.add_column(label, kind)
    mtz.set_data(table.astype(np.float32))
    return mtz
