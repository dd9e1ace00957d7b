"""Any program that improves phases, as a command with placeholders, run on one data set."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from ...crystal.phases import hl_from_phi_fom, phi_fom_from_hl, to_complex
from ...crystal.reflections import Reflections
from ...errors import ProgramError
from ...files.columns import (
    HENDRICKSON_LATTMAN,
    MAP_COEFFICIENTS,
    PHASE_AND_FOM,
    Column,
    ColumnSet,
    Kind,
    candidates,
)
from ...files.mtz import MtzFile
from ...solvent.matthews import MEAN_RESIDUE_MASS
from ..commands import Command, run_program
from .cases import INPUT_LABELS, SEQUENCE, SITES, Case
from .scores import PhaseSet

PLACEHOLDERS = {
    "data": "MTZ file with F, SIGF and HLA to HLD",
    "sequence": "sequence file (measured data sets)",
    "sites": "heavy-atom sites (measured data sets)",
    "residues": "number of residues of one copy, as their mass tells",
    "solvent": "solvent content that crank2-unet finds with the composition",
    "cycles": "number of cycles",
    "output": "MTZ file to be written; without it, the last one that is written to {folder}",
    "folder": "empty folder",
}
_R_FREE, _FRACTION = re.compile(r"^.*\br[\s_-]?free.*$", re.I | re.M), re.compile(r"\b0?\.\d+")


def run_command(command: Command, case: Case, solvent: float, cycles: int | None,
                ) -> PhaseSet:
    """Phases that a command makes of a data set.

    Parameters
    ----------
    solvent, cycles : values of these placeholders.

    Raises
    ------
    ProgramError : it fails, or leaves no phases.
    """
    with tempfile.TemporaryDirectory() as place:
        output, folder = Path(place) / "output.mtz", Path(place) / "folder"
        values = _values(case, Path(place), case.data.hl) | {
            "output": str(output), "solvent": f"{solvent:.4f}"}
        if cycles:
            values["cycles"] = str(cycles)
        run_program(command.words(values), folder)
        # the last one: 'dm' with Parrot leaves what Parrot was given, too
        written = [output] if output.exists() else sorted(
            folder.glob("*.mtz"), key=lambda file: file.stat().st_mtime_ns)
        if not written:
            raise ProgramError(f"{command.text} has left no MTZ file.")
        return read_phases(written[-1])


def build_model(command: Command, case: Case, phases: PhaseSet) -> float:
    """R-free that a program for model building prints last.

    Parameters
    ----------
    command : its {data} are the amplitudes with the phases that follow.
    phases : over the reflections of the case.

    Raises
    ------
    ProgramError : it fails, or prints none.
    """
    hl = hl_from_phi_fom(phases.phi, phases.fom, phases.reflections.allowed_phase)
    with tempfile.TemporaryDirectory() as place:
        values = _values(case, Path(place), hl)
        return r_free(run_program(command.words(values), Path(values["folder"])))


def _values(case: Case, place: Path, hl: np.ndarray) -> dict[str, str]:
    """Placeholders of what every command may need; the files are made in ``place``."""
    case.write_mtz(place / "data.mtz", hl)
    (place / "folder").mkdir()
    values = {"data": str(place / "data.mtz"), "folder": str(place / "folder"),
              "residues": str(round(case.composition.mass / MEAN_RESIDUE_MASS))}
    for name, file in (("sequence", SEQUENCE), ("sites", SITES)):
        if case.folder and (case.folder / file).exists():
            values[name] = str(case.folder / file)
    return values


def r_free(log: str) -> float:
    """The last number between 0 and 1 of the last line that has one and speaks of R-free.

    Raises
    ------
    ProgramError : there is none.
    """
    found = [number for line in _R_FREE.findall(log) for number in _FRACTION.findall(line)]
    if not found:
        raise ProgramError("The program for model building has printed no R-free.")
    return float(found[-1])


def read_phases(path: Path) -> PhaseSet:
    """The phases in a file that a program wrote: those that its input had not, if there are such.

    Hendrickson-Lattman coefficients come before phases with figures of merit, whose phase may be that
    of a 2mFo-DFc map, and the last of several sets of either is taken.

    Raises
    ------
    ProgramError : there are none.
    """
    file = MtzFile(path)
    new = [column for column in file.columns if column.label not in INPUT_LABELS]
    lead = (_last(new, HENDRICKSON_LATTMAN) or _last(new, PHASE_AND_FOM)
            or _last(file.columns, HENDRICKSON_LATTMAN))
    if lead is None:
        raise ProgramError(f"{path.name} has no phases. Its columns are: "
                           f"{', '.join(column.label for column in file.columns)}.")
    cell = file.cell_of(lead)
    with np.errstate(divide="ignore"):  # of (0, 0, 0)
        d_min = float((1 / np.sqrt(cell.calculate_1_d2_array(file.hkl))).min())
    r = Reflections(cell, file.mtz.spacegroup, d_min)

    def laid_out(found: ColumnSet) -> np.ndarray:
        return np.nan_to_num(r.spread(file.hkl, file.values(found)))
    phi, fom = (phi_fom_from_hl(laid_out(lead), r.allowed_phase)
                if lead.kind is HENDRICKSON_LATTMAN else laid_out(lead).T)
    drawn = _last(new, MAP_COEFFICIENTS)
    return PhaseSet(r, phi, fom, to_complex(*laid_out(drawn).T) if drawn else None)


def _last(columns: list[Column], kind: Kind) -> ColumnSet | None:
    """The last of the sets of a kind that come first by rank."""
    sets = [(one.rank, one) for one in candidates(columns, kind) if one.rank is not None]
    best = min((rank for rank, _ in sets), default=0)
    return next((one for rank, one in reversed(sets) if rank == best), None)
