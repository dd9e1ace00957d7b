"""Runs of Parrot in the folder of a job: files in and out, the log, and a script that repeats them."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import gemmi
import numpy as np

from .. import __version__
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, to_complex
from ..errors import ProgramError
from ..files.mtz import MtzFile
from .log import RunLog, log_tail

INPUT, OUTPUT = "parrot_input.mtz", "parrot_output.mtz"
LOG, SCRIPT = "parrot.log", "parrot.sh"
FO, HL = "F,SIGF", "HLA,HLB,HLC,HLD"  # labels in the input file


class Runs:
    """Runs of Parrot in one folder, their log, and a script that repeats them."""

    def __init__(self, folder: Path, program: Path):
        self.folder, self.environment = folder, _environment(program)
        self.commands: list[str] = []

    def run(self, command: list[str], cycle_begins: Callable[[int], None] = lambda cycle: None,
            wrapper: Sequence[str] = ()) -> RunLog:
        """Run Parrot.

        Parameters
        ----------
        command : program and arguments; names of files are those in the folder.
        cycle_begins : called with the number of each cycle.
        wrapper : command that must run ``command`` when the script repeats it.

        Raises
        ------
        ProgramError : it fails; with the end of its log.
        """
        self.commands.append(shlex.join([*wrapper, *command]))
        self._write_script()
        (self.folder / OUTPUT).unlink(missing_ok=True)
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command)}\n")
            status, text = self._watch(command, log, cycle_begins)
        found = RunLog.parse(text)
        complete = found.finished and found.cycles and (self.folder / OUTPUT).is_file()
        if status != 0 or not complete:
            hint = ("Set up CCP4, so that $CLIBD names the folder of its reference structures. "
                    if "No reference data" in text else "")
            raise ProgramError(f"Parrot failed (status {status}). {hint}The end of its log:\n"
                               f"{log_tail(text)}")
        if "FAILED TO READ" in text:  # Parrot goes on without the file
            raise ProgramError(f"Parrot could not read a file. Its log:\n{log_tail(text, 40)}")
        return found

    def _watch(self, command: list[str], log, cycle_begins: Callable[[int], None],
               ) -> tuple[int, str]:
        """Exit status and output of Parrot, which is followed as it comes."""
        try:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        except OSError as error:
            raise ProgramError(f"{command[0]} does not start ({error.strerror}).") from error
        assert process.stdout is not None  # a pipe was asked for
        lines, cycle = [], 0
        try:
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                if line.startswith("-- Cycle:"):
                    cycle += 1
                    cycle_begins(cycle)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        return process.returncode, "".join(lines)

    def tidy(self, *names: str) -> None:
        """Remove files that the script makes anew."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _write_script(self) -> None:
        data = self.environment.get("CLIBD")
        lines = ["#!/bin/sh", f"# What crank2-unet {__version__} ran; its result is {OUTPUT}"
                 + (" of the last run." if len(self.commands) > 1 else "."), "set -e",
                 'cd "$(dirname "$0")"']
        if data:  # where Parrot finds its reference structure
            lines.append(f"export CLIBD={shlex.quote(data)}")
        script = self.folder / SCRIPT
        script.write_text("\n".join([*lines, *self.commands]) + "\n")
        script.chmod(0o755)


def _environment(path: Path) -> dict:
    """Our environment; also where Parrot finds its reference structure if CCP4 is not set up."""
    environment = dict(os.environ)
    beside = path.resolve().parent.parent / "lib" / "data"
    if "CLIBD" not in environment and (beside / "reference_structures").is_dir():
        environment["CLIBD"] = str(beside)
    return environment


def pair(stem: str, number: int) -> str:
    """Labels of the amplitude and the phase of a column pair, as for an option of Parrot."""
    return f"{stem}_{number},PHI{stem}_{number}"


def write_input(path: Path, data: PhasedData, pairs: dict) -> None:
    """An MTZ file with a row for every unique reflection, so that nothing filled in gets lost.

    Parameters
    ----------
    pairs : labels of amplitude and phase, separated by a comma -> (n,) complex.
    """
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = data.reflections.spacegroup
    mtz.set_cell_for_all(data.reflections.cell)
    mtz.add_dataset("crank2_unet")
    labels = [*FO.split(","), *HL.split(","), *(label for both in pairs for label in both.split(","))]
    for label, kind in zip(labels, "FQAAAA" + "FP" * len(pairs)):
        mtz.add_column(label, kind)
    table = [data.reflections.hkl, data.f, data.sigf, data.hl]
    for coefficients in pairs.values():
        table += [np.abs(coefficients), angle_degrees(coefficients)]
    mtz.set_data(np.column_stack(table).astype(np.float32))
    mtz.sort()
    mtz.write_to_file(str(path))


def read_output(path: Path, data: PhasedData) -> tuple[np.ndarray, np.ndarray]:
    """Hendrickson-Lattman coefficients (n, 4) and map coefficients (n,) from Parrot.

    Reflections that it left out keep what they had.
    """
    file = MtzFile(path)
    labels = [f"parrot.ABCD.{letter}" for letter in "ABCD"] + ["parrot.F_phi.F", "parrot.F_phi.phi"]
    values = data.reflections.spread(file.hkl, np.column_stack([file.column(label)
                                                                for label in labels]))
    hl = np.where(np.isfinite(values[:, :4]), values[:, :4], data.hl)
    coefficients = to_complex(values[:, 4], values[:, 5])
    return hl, np.where(np.isfinite(coefficients), coefficients, data.coefficients)
