"""Density modification by Parrot, patched or not, with masks of ours or its own.

========== ========================= ==============================================================
Parrot     masks                     how it gets them
========== ========================= ==============================================================
any        its own                   one run
patched    the same in every cycle   one run, which reads a file (-mskin)
patched    renewed in every cycle    one run, which asks the mask server (-mask-command)
unpatched  any of ours               a run for each cycle, each with a carrier (-colin-fmsk)
========== ========================= ==============================================================

Runs of one cycle equal one run of many: Parrot goes back to the experimental phases in every cycle,
so that its state is the map and the operators of non-crystallographic symmetry, and both are handed
on.  All that goes in stays in one MTZ file, so that each command can be repeated.

Parrot believes the phases that it is given as far as they claim, in every cycle, and looks for NCS
in the map as phased.  So some cycles of the embedded engine go ahead, which tell how far the phases can
be trusted and which operators hold: Parrot gets the Hendrickson-Lattman coefficients times that trust,
and the operators.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import gemmi
import numpy as np

from ..crystal.filters import local_deviation
from ..crystal.maps import CrystalMap
from ..crystal.masks import cut_at_fraction
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees, mean_phase_error, phi_fom_from_hl
from ..crystal.reflections import Reflections
from ..errors import ProgramError
from ..files.maps import write_map
from ..modification.engine import EmbeddedEngine, Modified
from ..modification.ncs_map import LOOKS
from ..modification.ncs_search import SITES_RADIUS
from ..modification.region_weights import FixedWeights, RegionWeights, VarianceWeights
from ..modification.sharpening import Sharpening
from ..modification.shell_statistics import shell_statistics
from .carrier import CARRIER_FILTER_RADIUS, carrier_coefficients
from .log import RunLog, parrot_version
from .mask_server import ANISOTROPY_OPTION, CLIENT_COMMAND, mask_writer, serving
from .options import checked_options, ncs_options, with_operators
from .program import find_parrot, parrot_places, parrot_usage
from .runs import FO, HL, INPUT, LOG, OUTPUT, SCRIPT, Runs, pair, read_output, write_input

_log = logging.getLogger(__name__)

_MAP, _MASK = "parrot_map.ccp4", "parrot_mask.ccp4"
# cycles of the embedded engine: in the last it looks for NCS in the map, and its trust in the phases
# hardly changes any more
_AHEAD = LOOKS[0]
_FINEST = 1.0  # Angstrom; Parrot leaves out all data beyond


@dataclass(frozen=True)
class ParrotEngine:
    """Parrot as an engine; made by :meth:`find`.

    Parameters
    ----------
    path, version : of the program.
    patched : it reads masks (option -mskin).
    options : further ones from the user.
    server_options : of the mask server, for the script that repeats the job.
    ahead : the embedded engine, with what it is to know of NCS.
    """

    path: Path
    version: str
    patched: bool
    options: tuple = ()
    server_options: tuple = ()
    ahead: EmbeddedEngine = EmbeddedEngine()

    name, most_cycles = "parrot", 10  # always 10: Parrot does not tell when to stop

    def finest(self, reflections: Reflections, cycles: int | None) -> float:
        return reflections.d_min

    @classmethod
    def find(cls, explicit: str | None = None, options: str = "", server_options: tuple = (),
             ahead: EmbeddedEngine = EmbeddedEngine()) -> ParrotEngine:
        """Find Parrot and what it can do.

        Parameters
        ----------
        explicit : path or name of the program; see :func:`~crank2_unet.parrot.program.find_parrot`.
        options : see :func:`~.options.checked_options`.
        server_options, ahead : see the class.

        Raises
        ------
        InputError : unusable options.
        ProgramError : there is no Parrot, or it does not start.
        """
        extra = tuple(checked_options(options))
        path = find_parrot(explicit)
        if path is None:
            raise ProgramError(
                f"Parrot is not found; looked for: {', '.join(parrot_places(explicit))}. Set up CCP4 "
                "or name the program with --parrot. --engine embedded works without it.")
        usage = parrot_usage(path)
        return cls(path, parrot_version(usage), "-mskin" in usage, extra, server_options, ahead)

    def modify(self, data: PhasedData, weights: RegionWeights, solvent_content: float,
               cycles: int | None, folder: Path,
               progress: Callable[[int], None] | None = None) -> Modified:
        """See :class:`~crank2_unet.modification.engine.Engine`.

        Raises
        ------
        ProgramError : Parrot failed; what it was given and its log are in ``folder``.
        """
        found = self.ahead.modify(data, weights, solvent_content, _AHEAD, folder).how
        trusted = replace(data, hl=found["phases"]["trust"] * data.hl)
        operators = [one["operator"] for one in found.get("ncs", ()) if one["volume"]]
        job = _Job(self, trusted, solvent_content, cycles or self.most_cycles, Runs(folder, self.path),
                   progress, (*self._radius, *self.options, *ncs_options(operators)),
                   {name: found[name] for name in ("phases", "ncs") if name in found})
        if isinstance(weights, VarianceWeights):
            return job.with_its_own_masks()
        if not self.patched:
            _log.warning("%s has no option -mskin, so that it does not read masks: it gets them as "
                         "carrier coefficients, in a run for each cycle, with sharp edges and "
                         "nearly, not exactly, as they are.", self.path)
            return job.with_carriers(weights)
        if isinstance(weights, FixedWeights):
            return job.with_mask_file(weights.mask)
        return job.with_mask_command(weights)

    @property
    def _radius(self) -> tuple[str, ...]:
        """Option for the radius of the local correlation by which operators were judged ahead."""
        return () if self.ahead.ncs_operators else ("-ncs-mask-filter-radius", f"{SITES_RADIUS:g}")


@dataclass(frozen=True)
class _Job:
    """Density modification of one crystal; arguments as of :meth:`ParrotEngine.modify`.

    Parameters
    ----------
    data : with the phases as far as they are trusted.
    options : of Parrot, beside those that every run gets.
    how : what the embedded engine has found, for the result.
    """

    engine: ParrotEngine
    data: PhasedData
    solvent_content: float
    cycles: int
    runs: Runs
    progress: Callable[[int], None] | None
    options: tuple[str, ...]
    how: dict

    def with_its_own_masks(self) -> Modified:
        log, seconds = self._run_all_cycles([])
        if log.radius is None:
            raise ProgramError("Parrot's log does not say the radius of its mask, so that the mask "
                               "cannot be made again. Use a Parrot 1.0.6, or masks of ours.")
        # Parrot writes no mask; this is the one that it would find in its final map
        _, coefficients = read_output(self.runs.folder / OUTPUT, self.data)
        final = CrystalMap(self.data.reflections, coefficients)
        deviation = local_deviation(final.density, log.radius)
        weights = cut_at_fraction(deviation, self.solvent_content)
        return self._result(weights, _table(log, weights, seconds), "its own", log)

    def with_mask_file(self, mask: gemmi.FloatGrid) -> Modified:
        write_map(mask, self.runs.folder / _MASK)
        log, seconds = self._run_all_cycles(["-mskin", _MASK, "-mskin-value", "soft"])
        result = self._result(mask, _table(log, mask, seconds), "mask file", log)
        result.files["parrot_mask"] = _MASK
        return result

    def with_mask_command(self, weights: RegionWeights) -> Modified:
        made: list[gemmi.FloatGrid] = []

        def remembered(current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
            made[:] = [weights(current, cycle)]
            return made[0]
        server = [sys.executable, "-m", "crank2_unet", "mask-server", INPUT, "--colin-fo", FO,
                  "--colin-hl", HL, "--colin-fc", pair("FC", 1), "--solvent-content",
                  f"{self.solvent_content:.4f}", *self.engine.server_options, "--"]
        with serving(mask_writer(self.data, remembered, [ANISOTROPY_OPTION])) as variables:
            self.runs.environment.update(variables)
            log, seconds = self._run_all_cycles(
                ["-mskin", _MASK, "-mskin-value", "soft", "-mask-map", _MAP,
                 "-mask-command", CLIENT_COMMAND], server)
        result = self._result(made[0], _table(log, made[0], seconds), "mask command", log)
        self.runs.tidy(_MASK, f"{_MASK}.previous", _MAP)
        return result

    def with_carriers(self, region_weights: RegionWeights) -> Modified:
        """A run for each cycle, in which the local deviation of a carrier gives the mask."""
        r, measured = self.data.reflections, np.isfinite(self.data.f)
        options, limit = list(self.options), max(r.d_min, _FINEST)
        coefficients, phi = self.data.coefficients, angle_degrees(self.data.coefficients)
        columns, table = {}, []
        sharpening = Sharpening.of(self.data)
        for cycle in range(1, self.cycles + 1):
            started = time.perf_counter()
            columns[pair("FC", cycle)] = coefficients
            if isinstance(region_weights, FixedWeights):
                weights = region_weights.mask
            else:
                known = np.where(self.data.known, coefficients, 0)
                weights = region_weights(sharpening.sharpen(known), cycle)
            label = pair("FMSK", 1 if isinstance(region_weights, FixedWeights) else cycle)
            command = [*self._command(cycle, 1), "-colin-fmsk", f"/*/*/[{label}]",
                       "-solvent-mask-filter-radius", f"{CARRIER_FILTER_RADIUS:g}", *options]
            log = self._run_with_carrier(command, columns, label, weights, limit)
            limit = max(limit, log.cut_at or 0)
            hl, coefficients = read_output(self.runs.folder / OUTPUT, self.data)
            options = with_operators(options, log.operators)
            before, (phi, _) = phi, phi_fom_from_hl(hl, r.allowed_phase)
            change = mean_phase_error(phi[measured], before[measured])
            table.append(_statistics(cycle, log.cycles[0], weights, time.perf_counter() - started,
                                     change))
            if self.progress:
                self.progress(cycle)
        return self._result(weights, table, "carrier", log)

    def _run_with_carrier(self, command: list[str], columns: dict, label: str,
                          weights: gemmi.FloatGrid, limit: float) -> RunLog:
        """Run with the carrier of a mask, which is added to the columns if it is not there."""
        r = self.data.reflections
        if label not in columns:
            columns[label] = _carrier(weights, r, limit)
        write_input(self.runs.folder / INPUT, self.data, columns)
        log = self.runs.run(command)
        if log.cut_at and limit < log.cut_at:  # the carrier had reflections that Parrot left out
            del columns[label], self.runs.commands[-1]
            return self._run_with_carrier(command, columns, label, weights, log.cut_at)
        return log

    def _command(self, cycle: int, cycles: int) -> list[str]:
        """Parrot from the map before a cycle on."""
        return [str(self.engine.path), "-mtzin", INPUT, "-mtzout", OUTPUT,
                "-colin-fo", f"/*/*/[{FO}]", "-colin-hl", f"/*/*/[{HL}]",
                "-colin-fc", f"/*/*/[{pair('FC', cycle)}]",
                "-solvent-content", f"{self.solvent_content:.4f}", ANISOTROPY_OPTION,
                "-cycles", str(cycles)]

    def _run_all_cycles(self, mask_options: list[str], server: Sequence[str] = (),
                        ) -> tuple[RunLog, list[float]]:
        """One run of all cycles; its log, and the seconds of each cycle."""
        begun = []

        def begins(cycle: int) -> None:
            begun.append(time.perf_counter())
            if self.progress and cycle > 1:
                self.progress(cycle - 1)
        write_input(self.runs.folder / INPUT, self.data, {pair("FC", 1): self.data.coefficients})
        log = self.runs.run([*self._command(1, self.cycles), *mask_options, *self.options],
                            begins, server)
        if self.progress:
            self.progress(self.cycles)
        return log, np.diff([*begun, time.perf_counter()]).tolist()

    def _result(self, weights: gemmi.FloatGrid, table: list[dict], way: str, log: RunLog,
                ) -> Modified:
        r = self.data.reflections
        if log.cut_at:
            _log.warning("Parrot's reference structure ends at %.2f A: reflections between that and "
                         "%.2f A keep the phases they had.", log.cut_at, r.d_min)
        hl, coefficients = read_output(self.runs.folder / OUTPUT, self.data)
        self.runs.tidy(OUTPUT)
        phi, fom = phi_fom_from_hl(hl, r.allowed_phase)
        how = {"path": str(self.engine.path), "version": self.engine.version,
               "patched": self.engine.patched, "masks": way, "ncs_operators": log.operators}
        return Modified(coefficients, fom, hl, weights, table,
                        {**self.how, "parrot": how, "shells": shell_statistics(self.data, phi, fom)},
                        {"parrot_log": LOG, "parrot_script": SCRIPT, "parrot_input": INPUT})


def _carrier(mask: gemmi.FloatGrid, reflections: Reflections, limit: float) -> np.ndarray:
    """Carrier coefficients (n,) to a resolution limit; 0 beyond."""
    inner = Reflections(reflections.cell, reflections.spacegroup, limit)
    return reflections.spread(inner.hkl, carrier_coefficients(mask, inner), 0)


def _table(log: RunLog, weights: gemmi.FloatGrid, seconds: list[float]) -> list[dict]:
    """Statistics of the cycles of one run."""
    return [_statistics(cycle, entry, weights, lap)
            for cycle, (entry, lap) in enumerate(zip(log.cycles, seconds), 1)]


def _statistics(cycle: int, entry: dict, weights: gemmi.FloatGrid, seconds: float,
                phase_change: float | None = None) -> dict:
    """Statistics of a cycle as the embedded engine gives them; it also knows an R factor."""
    return {"cycle": cycle, "fom": entry["fom"], "solvent_fraction": float(weights.array.mean()),
            "gamma": entry["gamma"], "f_correlation": entry["f_correlation"], "r_factor": None,
            "phase_change": phase_change, "seconds": seconds}
