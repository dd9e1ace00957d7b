"""What ``unet-parrot`` does: read, choose the mask, modify density, write Parrot's columns."""

from __future__ import annotations

import logging

import gemmi
import numpy as np

from .. import __version__
from ..crystal.maps import CrystalMap
from ..crystal.observations import PhasedData
from ..crystal.phases import angle_degrees
from ..errors import InputError
from ..files.coordinates import read_structure
from ..files.mtz_input import Input, read_phased
from ..files.mtz_output import append_columns
from ..files.output import refuse_inputs
from ..modification.cycles import CycleStatistics, ModificationResult, modify_density
from ..modification.expectation import Knowledge
from ..modification.ncs import NcsAverager
from ..modification.ncs_operator import Operator
from ..modification.ncs_search import operators_from_chains, operators_from_sites
from ..modification.sharpening import Sharpening
from .log import JobLog
from .masks import Masks
from .options import ParrotOptions

_log = logging.getLogger(__name__)


def run(options: ParrotOptions, notes: list[str]) -> None:
    """Run a job of ``unet-parrot``.

    Raises
    ------
    Crank2UnetError : the output file is not written.
    """
    log = JobLog(options, notes)
    for output in (options.mtzout, options.xmlout):
        refuse_inputs(output, options.files)
    given = read_phased(options.mtzin, options.colin_fo, options.colin_hl,
                        "" if options.colin_hl else options.colin_phifom, options.colin_fc,
                        d_min=options.resolution)
    data = given.data
    log.say("Columns: " + "; ".join(given.labels.values()))
    log.say("Fall-off of amplitudes, removed in all cycles, U (Angstrom^2):", *(
        "  " + "  ".join(f"{value:8.4f}" for value in row) for row in Sharpening.of(data).u))
    masks = Masks(options, given, data)
    log.solvent(masks.solvent_content, masks.solvent_source, masks.matthews)
    log.start(masks.fom, _correlation_with_map(data))
    averager = _averager(options, data, log)

    def weights(current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
        log.cycle_begins(cycle, masks.radius, masks.describe(cycle))
        return masks.weights(current, cycle)

    def cycle_ends(statistics: CycleStatistics) -> None:
        ncs = averager.statistics if averager else []
        if statistics.ncs_correlation is None and any(one.volume for one in ncs):
            log.say("Not averaged: amplitudes that were held back agree better without it.")
        log.cycle_ends(statistics, ncs)  # Crank2, which hands operators on, needs these either way

    knowledge = Knowledge(options.does("solvent_flatten"), options.does("histogram_match"))
    if averager is None and not any(knowledge):
        raise InputError("-ncs-average is the only step, and there is no NCS: nothing would be "
                         "modified. Give an operator or the file of a model in which to find it, or "
                         "-solvent-flatten or -histogram-match, too.")
    result = modify_density(data, weights, options.cycles, cycle_ends, averager,
                            knowledge=knowledge)
    _write(options, given, result)
    log.finish(averager.operators if averager else [])


def _averager(options: ParrotOptions, data: PhasedData, log: JobLog) -> NcsAverager | None:
    """NCS as the options tell; None without operators."""
    if not options.does("ncs_average"):
        return None
    density = data.map.density
    operators = [Operator.parse(text) for text in options.ncs_operator]
    if options.pdbin_ha:
        found = operators_from_sites(read_structure(options.pdbin_ha), density,
                                     options.ncs_mask_filter_radius, options.ncs_asu_fraction)
        log.operators("heavy atoms", found)
        operators += found
    if options.pdbin_mr:
        found = operators_from_chains(read_structure(options.pdbin_mr), density)
        log.operators("atomic model", found)
        operators += found
    return NcsAverager(operators, density, options.ncs_mask_filter_radius) if operators else None


def _correlation_with_map(data: PhasedData) -> float:
    """Of the observed amplitudes with those of the starting map."""
    measured = np.isfinite(data.f)
    return float(np.corrcoef(data.f[measured], np.abs(data.coefficients[measured]))[0, 1])


def _write(options: ParrotOptions, given: Input, result: ModificationResult) -> None:
    """Parrot's columns: HL coefficients and map, or the modified map alone."""
    coefficients = result.coefficients
    if options.modify_map_and_terminate:  # of any scale: give it that of the amplitudes
        coefficients = result.modified * _scale(given.data.f, result.modified)
    groups = [_group(options.colout_fc or options.colout, given, ("F_phi.F", "F_phi.phi"), "FP",
                     (np.abs(coefficients), angle_degrees(coefficients)))]
    if not options.modify_map_and_terminate:
        groups.insert(0, _group(options.colout_hl or options.colout, given,
                                ("ABCD.A", "ABCD.B", "ABCD.C", "ABCD.D"), "AAAA", result.hl.T))
    append_columns(options.mtzout, given.file, given.data.reflections, groups,
                   f"Density modification by unet-parrot, crank2-unet {__version__}", options.files)


def _scale(f: np.ndarray, modified: np.ndarray) -> float:
    """What brings structure factors to the root mean square of the observed amplitudes."""
    measured = np.isfinite(f)
    return np.sqrt(np.mean(f[measured] ** 2) / np.mean(np.abs(modified[measured]) ** 2))


def _group(name: str, given: Input, endings: tuple, kinds: str, values) -> tuple[str, str, dict]:
    """Crystal, dataset and columns of a Clipper path: crystal/dataset/[A,B] or a prefix of labels."""
    head, _, tail = name.rpartition("/")
    labels = [part.strip() for part in tail.strip("[]").split(",")]
    if len(labels) == 1 and not tail.startswith("["):
        labels = [f"{tail}.{ending}" for ending in endings]
    if len(labels) != len(kinds):
        raise InputError(f"The output columns {name} are {len(labels)}; they must be {len(kinds)}.")
    path = [part for part in head.split("/") if part]
    lead = given.source.lead
    crystal, dataset = (lead.crystal, lead.dataset) if len(path) != 2 or "*" in path else path
    return crystal, dataset, {label: (kind, column)
                              for label, kind, column in zip(labels, kinds, values)}
