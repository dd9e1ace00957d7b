"""Density modification by Parrot, patched or not, with masks of ours or its own.

========== ================================== ============================================
Parrot     masks                              how it gets them
========== ================================== ============================================
patched    renewed in every cycle             one run; it asks the mask server (-mask-command)
patched    the same in every cycle            one run; it reads a file (-mskin)
unpatched  of ours                            a run for each cycle, each with a carrier (-colin-fmsk)
any        its own, by local variance         one run
========== ================================== ============================================

Runs of one cycle equal one run of many: Parrot goes back to the experimental phases in every cycle,
so that its state is the map and the operators of non-crystallographic symmetry, and both are handed
on.  Everything that went in stays in one MTZ file, so that each command can be repeated.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import gemmi
import numpy as np

from . import __version__
from .data import PhasedData
from .engines import Masks, Modified
from .errors import InputError, ProgramError
from .grids import density_map, write_map
from .mask_server import CLIENT_COMMAND, mask_writer, serving
from .masks import cut_at_fraction, local_deviation
from .mtz import MtzFile
from .parrot import (
    CARRIER_FILTER_RADIUS,
    ParrotLog,
    carrier_coefficients,
    find_parrot,
    log_tail,
    parrot_places,
    parrot_usage,
    parrot_version,
)
from .phases import angle_degrees, mean_phase_error, phi_fom_from_hl, to_complex
from .reflections import Reflections

_log = logging.getLogger(__name__)

_INPUT, _OUTPUT = "parrot_input.mtz", "parrot_output.mtz"
_MAP, _MASK = "parrot_map.ccp4", "parrot_mask.ccp4"
_LOG, _SCRIPT = "parrot.log", "parrot.sh"
_FO, _HL = "F,SIGF", "HLA,HLB,HLC,HLD"  # labels in the input file
_FINEST = 1.0  # Angstrom; Parrot leaves out all data beyond
# options that the user may add: what their value is
_OPTIONS = {
    "-pdbin-ha": "file", "-pdbin-mr": "file", "-ncs-operator": "text",
    "-ncs-mask-filter-radius": "text", "-ncs-asu-fraction": "text",
    "-mtzin-ref": "file", "-pdbin-ref": "file", "-colin-ref-fo": "text", "-colin-ref-hl": "text",
    "-solvent-flatten": None, "-histogram-match": None, "-ncs-average": None,
    "-rice-probability": None, "-anisotropy-correction": None,
}
# options that only the first of several runs gets: later ones get the operators that it found
_NCS_SOURCES = ("-pdbin-ha", "-pdbin-mr", "-ncs-operator")


def parrot_options(text: str) -> list[str]:
    """Options for Parrot in one string, as a shell would split it; names of files made absolute.

    Raises
    ------
    InputError : an option that is not known or that this package sets itself, or a missing file.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"The options for Parrot cannot be read ({error}): {text}") from error
    options, rest = [], iter(words)
    for word in rest:
        if word not in _OPTIONS:
            raise InputError(f"{word} cannot be passed on to Parrot. These can: "
                             f"{', '.join(_OPTIONS)}.")
        options.append(word)
        if _OPTIONS[word] is None:
            continue
        value = next(rest, None)
        if value is None:
            raise InputError(f"Parrot's option {word} needs a value.")
        # Parrot goes on without a file that it cannot read
        if _OPTIONS[word] == "file" and not Path(value).is_file():
            raise InputError(f"{value}, given to Parrot as {word}, is not a file.")
        options.append(str(Path(value).resolve()) if _OPTIONS[word] == "file" else value)
    return options


@dataclass(frozen=True)
class ParrotEngine:
    """Parrot as an engine; made by :meth:`find`.

    Parameters
    ----------
    path, version : of the program.
    patched : it reads masks (option -mskin).
    options : further ones from the user.
    server_options : of the mask server, for the script that repeats the job.
    """

    path: Path
    version: str
    patched: bool
    options: tuple = ()
    server_options: tuple = ()

    name = "parrot"

    @classmethod
    def find(cls, explicit: str | None = None, options: str = "", server_options: tuple = (),
             ) -> ParrotEngine:
        """Find Parrot and what it can do.

        Parameters
        ----------
        explicit : path or name of the program; see :func:`~crank2_unet.parrot.find_parrot`.
        options : see :func:`parrot_options`.
        server_options : see the class.

        Raises
        ------
        InputError : unusable options.
        ProgramError : there is no Parrot, or it does not start.
        """
        extra = tuple(parrot_options(options))
        path = find_parrot(explicit)
        if path is None:
            raise ProgramError(
                f"Parrot is not found; looked for: {', '.join(parrot_places(explicit))}. Set up CCP4 "
                "or name the program with --parrot. --engine embedded works without it.")
        usage = parrot_usage(path)
        return cls(path, parrot_version(usage), "-mskin" in usage, extra, server_options)

    @property
    def description(self) -> str:
        kind = "reads our masks (-mskin)" if self.patched else "unpatched"
        return f"Parrot {self.version} ({self.path}; {kind})"

    def modify(self, data: PhasedData, masks: Masks, solvent_content: float, cycles: int,
               folder: Path, progress: Callable[[int], None] | None = None) -> Modified:
        """See :class:`~crank2_unet.engines.Engine`.

        Raises
        ------
        ProgramError : Parrot failed; what it was given and its log are in ``folder``.
        """
        runs = _Runs(folder, _environment(self.path))
        if masks is None or self.patched:
            return self._in_one_run(data, masks, solvent_content, cycles, runs, progress)
        _log.warning("%s has no option -mskin, so that it does not read masks: it gets them as "
                     "carrier coefficients, in a run for each cycle, with sharp edges and nearly, "
                     "not exactly, as they are.", self.path)
        return self._in_chained_runs(data, masks, solvent_content, cycles, runs, progress)

    def _command(self, solvent_content: float, cycles: int, number: int = 1) -> list[str]:
        return [str(self.path), "-mtzin", _INPUT, "-mtzout", _OUTPUT,
                "-colin-fo", f"/*/*/[{_FO}]", "-colin-hl", f"/*/*/[{_HL}]",
                "-colin-fc", f"/*/*/[{_pair('FC', number)}]",
                "-solvent-content", f"{solvent_content:.4f}", "-cycles", str(cycles)]

    def _in_one_run(self, data: PhasedData, masks: Masks, solvent_content: float, cycles: int,
                    runs: _Runs, progress: Callable[[int], None] | None) -> Modified:
        """Masks by Parrot itself, or by -mskin."""
        _write_input(runs.folder / _INPUT, data, {_pair("FC", 1): data.coefficients})
        command = [*self._command(solvent_content, cycles), *self.options]
        wrapper: list[str] = []
        weights = masks
        if callable(masks):
            weights = _Last(masks)
            command += ["-mskin", _MASK, "-mskin-value", "soft", "-mask-map", _MAP,
                        "-mask-command", CLIENT_COMMAND]
            wrapper = [sys.executable, "-m", __package__, "mask-server", _INPUT,
                       "--colin-fo", _FO, "--colin-hl", _HL, "--colin-fc", _pair("FC", 1),
                       "--solvent-content", f"{solvent_content:.4f}", *self.server_options, "--"]
        elif masks is not None:
            write_map(masks, runs.folder / _MASK)
            command += ["-mskin", _MASK, "-mskin-value", "soft"]
        seconds = _Stopwatch()

        def begins(cycle: int) -> None:
            seconds.lap()
            if progress and cycle > 1:
                progress(cycle - 1)
        with _server(data, weights) as variables:
            runs.environment.update(variables)
            log = runs.run(command, begins, wrapper)
        seconds.lap()
        _warn_of_cut(log, data.reflections)
        hl, coefficients = _read_output(runs.folder / _OUTPUT, data)
        runs.tidy(_OUTPUT, _MAP, f"{_MASK}.previous", *[_MASK] if callable(masks) else [])
        if progress:
            progress(cycles)
        if masks is None:
            way, used, means = "its own", _own_mask(log, data, coefficients, solvent_content), []
        elif callable(masks):
            way, used, means = "mask command", weights.last, weights.means
        else:
            way, used, means = "mask file", masks, []
        means = means or [float(used.array.mean())] * len(log.cycles)
        statistics = [_statistics(number, entry, mean, None, lap) for number, (entry, mean, lap)
                      in enumerate(zip(log.cycles, means, seconds.laps[1:]), 1)]
        return self._modified(data, coefficients, hl, used, statistics, way, log)

    def _in_chained_runs(self, data: PhasedData, masks: Masks, solvent_content: float, cycles: int,
                         runs: _Runs, progress: Callable[[int], None] | None) -> Modified:
        """A run for each cycle, in which the local deviation of a carrier gives the mask."""
        r = data.reflections
        options, limit = list(self.options), max(r.d_min, _FINEST)
        columns, statistics = {}, []
        coefficients, phi = data.coefficients, angle_degrees(data.coefficients)
        for cycle in range(1, cycles + 1):
            watch = _Stopwatch()
            columns[_pair("FC", cycle)] = coefficients
            if callable(masks):
                known = np.where(data.known, coefficients, 0)
                used = masks(density_map(r, known, r.d_min / 3), cycle)
            else:
                used = masks
            number = cycle if callable(masks) else 1
            while True:
                if _pair("FMSK", number) not in columns:
                    columns[_pair("FMSK", number)] = _carrier(used, r, limit)
                _write_input(runs.folder / _INPUT, data, columns)
                log = runs.run([
                    *self._command(solvent_content, 1, cycle),
                    "-colin-fmsk", f"/*/*/[{_pair('FMSK', number)}]",
                    "-solvent-mask-filter-radius", f"{CARRIER_FILTER_RADIUS:g}", *options])
                if log.cut_at is None or log.cut_at < limit * 1.001:
                    break
                # the carrier must be made anew, without the reflections that Parrot leaves out
                _warn_of_cut(log, r)
                limit = log.cut_at
                del columns[_pair("FMSK", number)], runs.commands[-1]
            hl, coefficients = _read_output(runs.folder / _OUTPUT, data)
            options = _without_ncs(options)
            for operator in log.operators:
                options += ["-ncs-operator", operator]
            previous, (phi, _) = phi, phi_fom_from_hl(hl, r.allowed_phase)
            measured = np.isfinite(data.f)
            watch.lap()
            statistics.append(_statistics(
                cycle, log.cycles[0], float(used.array.mean()),
                mean_phase_error(phi[measured], previous[measured]), watch.laps[0]))
            if progress:
                progress(cycle)
        runs.tidy(_OUTPUT)
        return self._modified(data, coefficients, hl, used, statistics, "carrier", log)

    def _modified(self, data: PhasedData, coefficients: np.ndarray, hl: np.ndarray,
                  weights: gemmi.FloatGrid, statistics: list[dict], way: str, log: ParrotLog,
                  ) -> Modified:
        _, fom = phi_fom_from_hl(hl, data.reflections.allowed_phase)
        how = {"path": str(self.path), "version": self.version, "patched": self.patched,
               "masks": way, "ncs_operators": log.operators}
        files = {"parrot_log": _LOG, "parrot_script": _SCRIPT, "parrot_input": _INPUT}
        if way == "mask file":
            files["parrot_mask"] = _MASK
        return Modified(coefficients, fom, hl, weights, statistics, {"parrot": how}, files)


class _Runs:
    """Runs of Parrot in one folder, their log, and a script that repeats them."""

    def __init__(self, folder: Path, environment: dict):
        self.folder, self.environment = folder, environment
        self.commands: list[str] = []

    def run(self, command: list[str], cycle_begins: Callable[[int], None] = lambda cycle: None,
            wrapper: list[str] | None = None) -> ParrotLog:
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
        self.commands.append(shlex.join([*(wrapper or []), *command]))
        self._write_script()
        (self.folder / _OUTPUT).unlink(missing_ok=True)
        with open(self.folder / _LOG, "a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command)}\n")
            status, text = self._watch(command, log, cycle_begins)
        found = ParrotLog.parse(text)
        complete = found.finished and found.cycles and (self.folder / _OUTPUT).is_file()
        if status != 0 or not complete:
            raise ProgramError(f"Parrot failed (status {status}). The end of its log:\n"
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
        lines = ["#!/bin/sh", f"# What crank2-unet {__version__} ran; its result is {_OUTPUT}"
                 + (" of the last run." if len(self.commands) > 1 else "."), "set -e",
                 'cd "$(dirname "$0")"']
        if data:  # where Parrot finds its reference structure
            lines.append(f"export CLIBD={shlex.quote(data)}")
        script = self.folder / _SCRIPT
        script.write_text("\n".join([*lines, *self.commands]) + "\n")
        script.chmod(0o755)


class _Last:
    """Region weights that are remembered: the last ones, and the mean of each."""

    def __init__(self, masks: Masks):
        self._masks, self.last, self.means = masks, None, []

    def __call__(self, density: gemmi.FloatGrid, cycle: int) -> gemmi.FloatGrid:
        self.last = self._masks(density, cycle)
        self.means.append(float(self.last.array.mean()))
        return self.last


class _Stopwatch:
    """Seconds between events."""

    def __init__(self):
        self.laps, self._last = [], time.perf_counter()

    def lap(self) -> None:
        now = time.perf_counter()
        self.laps.append(now - self._last)
        self._last = now


@contextmanager
def _server(data: PhasedData, masks: Masks) -> Iterator[dict]:
    """Environment variables of clients of the mask server; none if no mask has to be made."""
    if not callable(masks):
        yield {}
        return
    with serving(mask_writer(data, masks)) as variables:
        yield variables


def _environment(path: Path) -> dict:
    """Our environment; also where Parrot finds its reference structure if CCP4 is not set up."""
    environment = dict(os.environ)
    beside = path.resolve().parent.parent / "lib" / "data"
    if "CLIBD" not in environment and (beside / "reference_structures").is_dir():
        environment["CLIBD"] = str(beside)
    return environment


def _without_ncs(options: list[str]) -> list[str]:
    """Options without those that operators come from."""
    sources = [place for place, option in enumerate(options) if option in _NCS_SOURCES]
    gone = {*sources, *(place + 1 for place in sources)}
    return [option for place, option in enumerate(options) if place not in gone]


def _pair(stem: str, number: int) -> str:
    """Labels of the amplitude and the phase of a column pair, as for an option of Parrot."""
    return f"{stem}_{number},PHI{stem}_{number}"


def _write_input(path: Path, data: PhasedData, pairs: dict) -> None:
    """An MTZ file with a row for every unique reflection, so that nothing filled in gets lost.

    Parameters
    ----------
    pairs : labels of amplitude and phase, separated by a comma -> (n,) complex.
    """
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = data.reflections.spacegroup
    mtz.set_cell_for_all(data.reflections.cell)
    mtz.add_dataset("crank2_unet")
    labels = [*_FO.split(","), *_HL.split(","), *(label for pair in pairs for label in pair.split(","))]
    for label, kind in zip(labels, "FQAAAA" + "FP" * len(pairs)):
        mtz.add_column(label, kind)
    table = [data.reflections.hkl, data.f, data.sigf, data.hl]
    for coefficients in pairs.values():
        table += [np.abs(coefficients), angle_degrees(coefficients)]
    mtz.set_data(np.column_stack(table).astype(np.float32))
    mtz.sort()
    mtz.write_to_file(str(path))


def _read_output(path: Path, data: PhasedData) -> tuple[np.ndarray, np.ndarray]:
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


def _carrier(mask: gemmi.FloatGrid, reflections: Reflections, limit: float) -> np.ndarray:
    """Carrier coefficients (n,) to a resolution limit; 0 beyond."""
    inner = Reflections(reflections.cell, reflections.spacegroup, limit)
    return reflections.spread(inner.hkl, carrier_coefficients(mask, inner), 0)


def _own_mask(log: ParrotLog, data: PhasedData, coefficients: np.ndarray, solvent_content: float,
              ) -> gemmi.FloatGrid:
    """The mask that Parrot, which writes none, would find in its final map."""
    density = density_map(data.reflections, coefficients, data.reflections.d_min / 3)
    return cut_at_fraction(local_deviation(density, log.radius), solvent_content)


def _warn_of_cut(log: ParrotLog, reflections: Reflections) -> None:
    if log.cut_at is not None:
        _log.warning("Parrot's reference structure ends at %.2f A: data between that and %.2f A "
                     "keep the phases they had.", log.cut_at, reflections.d_min)


def _statistics(cycle: int, entry: dict, solvent_fraction: float, phase_change: float | None,
                seconds: float) -> dict:
    """Statistics of a cycle in the order of the embedded engine, which also knows an R factor."""
    return {"cycle": cycle, "fom": entry["fom"], "solvent_fraction": solvent_fraction,
            "gamma": entry["gamma"], "f_correlation": entry["f_correlation"], "r_factor": None,
            "phase_change": phase_change, "seconds": seconds}
