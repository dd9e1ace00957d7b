"""Other programs, as command lines with placeholders: what they are given, how they are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import gemmi
import numpy as np

from ..crystal.reflections import Reflections
from ..errors import InputError, ProgramError

_LOG_LINES = 15  # of a program that failed
_PLAIN = re.compile(r"[\w{}@%+=:,./-]+")  # nothing in it that a shell would split or replace


@dataclass(frozen=True)
class Command:
    """A command line with placeholders in braces.

    Parameters
    ----------
    text : as a shell splits it into words; nothing else is done as by a shell.
    known : the placeholders that it may have, and what they stand for.

    Raises
    ------
    InputError : it has unknown placeholders, or cannot be split into words as a shell does.
    """

    text: str
    known: Mapping[str, str]

    def __post_init__(self):
        try:
            names = {name for _, name, _, _ in Formatter().parse(self.text) if name is not None}
            words = shlex.split(self.text)
        except ValueError as error:
            raise InputError(f"The command cannot be read ({error}): {self.text}") from error
        if unknown := names - set(self.known) | (set() if words else {""}):
            raise InputError(f'The command "{self.text}" has the unknown placeholder '
                             f"{{{sorted(unknown)[0]}}}. There are: "
                             f"{', '.join(f'{{{name}}}' for name in self.known)}.")

    def words(self, values: dict[str, str]) -> list[str]:
        """The words of the command line; a value with spaces stays one word."""
        try:
            return [word.format(**values) for word in shlex.split(self.text)]
        except KeyError as error:
            raise InputError(f"There is no {{{error.args[0]}}} for this data set, which the command "
                             f"needs: {self.text}") from error


def from_anywhere(text: str) -> str:
    """A command line whose files are named from the present folder, for programs that run in another.

    The first word is a file if it has a slash, as for a shell; what cannot be split stays as it is.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return text
    whole = [str(Path(word).resolve()) if Path(word).is_file() and (number or os.sep in word) else word
             for number, word in enumerate(words)]
    return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in whole)


def run_program(words: list[str], folder: Path) -> str:
    """What a program prints, which must end well.

    Raises
    ------
    ProgramError : it does not start, or fails.
    """
    try:
        done = subprocess.run(words, cwd=folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, errors="replace", stdin=subprocess.DEVNULL,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
    except OSError as error:
        raise ProgramError(f"{words[0]} does not start ({error.strerror}).") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-_LOG_LINES:])
        raise ProgramError(f"{shlex.join(words)} failed (exit status {done.returncode}):\n{tail}")
    return done.stdout


def write_data(path: Path, reflections: Reflections, columns: dict[str, tuple[str, np.ndarray]],
               wavelength: float = 0.0) -> None:
    """Write an MTZ file for a program, with a row for every reflection.

    Parameters
    ----------
    columns : label -> (MTZ column type, (n,) values; NaN = missing).
    wavelength : Angstrom; 0: not known.
    """
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.title = reflections.spacegroup, "crank2-unet"
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("data").wavelength = wavelength
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    values = [values for _, values in columns.values()]
    mtz.set_data(np.column_stack([reflections.hkl, *values]).astype(np.float32))
    mtz.write_to_file(str(path))
