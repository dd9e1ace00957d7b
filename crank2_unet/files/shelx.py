"""SHELX instruction and result files: cell, symmetry and atoms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gemmi

from ..errors import InputError

ENDINGS = (".res", ".ins", ".hat")
_A, _B, _C = (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)
# translations by the number of LATT: P, I, R (obverse), F, A, B, C
_CENTRING = {2: ((0.5, 0.5, 0.5),), 3: ((2 / 3, 1 / 3, 1 / 3), (1 / 3, 2 / 3, 2 / 3)),
             4: (_A, _B, _C), 5: (_A,), 6: (_B,), 7: (_C,)}
# instructions; every other line of a name and five numbers or more is an atom
_WORDS = set("WORD ABIN ACTA AFIX ANIS ANSC ANSR BASF BIND BLOC BOND BUMP CELL CGLS CHIV CONF CONN "
             "DAMP DANG DEFS DELU DFIX DISP EADP END EQIV EXTI EXYZ FEND FLAT FMAP FRAG FREE FVAR "
             "GRID HFIX HKLF HTAB ISOR LATT LAUE LIST MERG MORE MOVE MPLA NCSY NEUT OMIT PART PLAN "
             "PRIG REM RESI RIGU RTAB SADI SAME SFAC SHEL SIMU SIZE SPEC STIR SUMP SWAT SYMM TEMP "
             "TITL TWIN TWST UNIT WGHT WIGL WPDB XNPD ZERR".split())


@dataclass(frozen=True)
class Shelx:
    """What a file says: ``atoms`` are (element, name, fractional x, y, z, occupancy, U)."""

    cell: gemmi.UnitCell
    spacegroup: gemmi.SpaceGroup | None
    atoms: tuple


def read_shelx(path: str | Path) -> Shelx:
    """Read a .res, .ins or .hat file.

    Raises
    ------
    InputError : it cannot be read or has no cell.
    """
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    cell, latt, symm, elements, atoms, fvar = gemmi.UnitCell(), 1, [], [], [], []
    for line in re.sub(r"=\s*\n", " ", text).splitlines():
        words = line.split("!")[0].split()
        if not words or line.startswith(" "):
            continue
        name, values = words[0].upper()[:4], words[1:]
        try:
            if name == "CELL":
                cell = gemmi.UnitCell(*map(float, values[1:7]))
            elif name == "LATT":
                latt = int(float(values[0]))
            elif name == "SYMM":
                symm.append(gemmi.Op("".join(values)))
            elif name == "SFAC":
                elements += [gemmi.Element(v).name for v in values if v[0].isalpha()]
            elif name == "FVAR":
                fvar += [float(v) for v in values]
            elif name in ("END", "HKLF"):
                break
            elif words[0].upper().split("_")[0] not in _WORDS and len(values) >= 4:
                atoms.append((elements[int(values[0]) - 1], words[0], *_numbers(values[1:6], fvar)))
        except (ValueError, IndexError, RuntimeError) as error:
            raise InputError(f'{path}: the line "{line.strip()}" cannot be read ({error}). Give a '
                             'SHELX .res '
                             "or .hat file, or a PDB file.") from error
    if not cell.is_crystal():
        raise InputError(f"{path} has no unit cell (CELL). Give a complete SHELX file, or a PDB file.")
    return Shelx(cell, _group(latt, symm), tuple(atoms))


def _numbers(words: list[str], fvar: list[float]) -> tuple:
    """x, y, z, occupancy and U; 10 and more means fixed, 20 and more a free variable."""
    x, y, z, *rest = map(float, words)
    xyz = [v - 10 if 5 < abs(v) < 15 else v for v in (x, y, z)]
    occupancy = rest[0] if rest else 11.0
    number = int(abs(occupancy) // 10)
    share = abs(occupancy) - 10 * number
    if number > 1 and len(fvar) >= number:
        share *= fvar[number - 1] if occupancy > 0 else 1 - fvar[number - 1]
    u = rest[1] if len(rest) > 1 and 0 < rest[1] < 5 else 0.0
    return (*xyz, share, u)


def _group(latt: int, symm: list[gemmi.Op]) -> gemmi.SpaceGroup | None:
    """The space group of LATT (negative: no centre of symmetry) and SYMM."""
    operators = [gemmi.Op("x,y,z"), *symm]
    if latt > 0:
        operators += [gemmi.Op("-x,-y,-z").combine(op) for op in operators]
    operators += [gemmi.Op("x,y,z").translated([round(v * gemmi.Op.DEN) for v in shift])
                  for shift in _CENTRING.get(abs(latt), ())]
    group = gemmi.GroupOps(operators)
    group.add_missing_elements()
    return gemmi.find_spacegroup_by_ops(group)
