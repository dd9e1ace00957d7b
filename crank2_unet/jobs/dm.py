"""The job of the command ``dm``: density modification with a mask for every cycle."""

from __future__ import annotations

from dataclasses import asdict

from ..crystal.maps import CrystalMap
from ..errors import InputError
from ..files.free_flags import set_aside
from ..files.maps import read_mask, write_map
from ..files.mtz_input import Input, read_phased
from ..files.mtz_output import write_phased
from ..files.output import staged, write_json
from ..modification.region_weights import check_convention
from ..network.session import SolventNet
from ..network.verdict import judge_result
from ..pipeline import Plan, Progress, modify, plan, plan_by_mask, sharpened_map
from ..process import usable_cores
from ..report.figures import Layer
from ..solvent.matthews import Composition
from .choices import Columns, Content, EngineChoice, NetworkChoice
from .result import Clock, Warnings, announce_size, common, describe_mask, finish, judge

_OUTPUTS = {"mtz": "dm.mtz", "mask": "mask.ccp4"}
_FLAT = {"flat": "flat.ccp4"}  # where the network says it
_MADE = "unet", "variance"  # masks that are not of a file
_USUAL = 20  # cycles, if their number is not given


def run_dm(mtzin: str, folder: str, columns: Columns = Columns(), content: Content = Content(),
           choice: NetworkChoice = NetworkChoice(), mask: str = "unet", cycles: int | None = None,
           progress: Progress | None = None, engine: EngineChoice = EngineChoice(),
           mask_one_is: str | None = None, free: str | None = None, report: bool = True,
           part_of: str | None = None) -> dict:
    """Density modification with the mask renewed in every cycle; writes dm.mtz, mask.ccp4,
    with masks of the network flat.ccp4 (P(flat) of the last cycle), result.json and, if wanted,
    report.html, and returns the result.  Parrot leaves its log, its input and a script that repeats it.

    Parameters
    ----------
    mask : "unet", "variance" (local variance, the classical mask; Parrot's own if that is the
        engine) or a CCP4 map with 1 = solvent, which is used in every cycle.
    cycles : of density modification, 1 or more; None: as many as the engine finds worth their time.
    mask_one_is : what 1 stands for in the mask file, "solvent" or "protein"; None: solvent, unless the
        density says otherwise, which is an error.
    free : column of flags whose reflections are kept out, see :func:`~.free_flags.set_aside`.
    report : False leaves report.html out.
    part_of : command of which this is a stage, "solve"; that compares the hands.

    Raises
    ------
    Crank2UnetError : nothing is left under the final names.
    ProgramError : Parrot failed; what it was given and its log are kept in a folder that the
        message names.
    """
    if cycles is not None and cycles < 1:
        raise InputError(f"The number of cycles is {cycles}. Give 1 or more.")
    if mask_one_is and mask in _MADE:
        raise InputError(f"--mask-one-is {mask_one_is} says what 1 means in a mask file, but --mask is "
                         f"{mask}. Name the file with --mask, or leave --mask-one-is out.")
    clock = Clock()
    with Warnings() as warnings, staged(
            folder, "dm", [mtzin, mask, content.sequence, choice.model, engine.ncs_sites],
            [*_OUTPUTS.values(), *_FLAT.values()]) as stage:
        with clock.stage("read"):
            given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc)
            kept_out = None
            if free:
                given, kept_out = set_aside(given, free)
            engine = engine.with_sites_of(mtzin)
            program = engine.find(choice, given.data.reflections)
            most = cycles or program.most_cycles
            net = choice.load() if mask in _MADE else None
            if net:
                composition = content.composition()
            else:
                by_file = read_mask(mask, given.data.reflections, one_is=mask_one_is or "solvent")
                check_convention(by_file, sharpened_map(given.data), mask, "--mask-one-is",
                                 mask_one_is is not None)
                by = plan_by_mask(by_file)
                entries = {"solvent_content": {"value": by.solvent_content, "rule": "file"}}
            announce_size(given.data.reflections, (cycles or min(most, _USUAL)) + 1,
                          net.device.threads if net else usable_cores(),
                          program.finest(given.data.reflections, cycles))
        with clock.stage("network"):
            if net:
                by = plan(given.data, net, mask, composition, content.solvent_content)
                entries = _describe_plan(by, given, net, composition)
        with clock.stage("modification"):
            modified, solvent = modify(given.data, by, program, cycles, stage,
                                       progress and (lambda cycle: progress(cycle, most)))
            if progress:  # fewer cycles may have been enough
                progress(len(modified.cycles), len(modified.cycles))
        with clock.stage("write"):
            names = write_phased(stage / "dm.mtz", given, modified)
            write_map(solvent, stage / "mask.ccp4")
            if mask == "unet":
                write_map(modified.weights, stage / _FLAT["flat"])
        outputs = {**_OUTPUTS, **(_FLAT if mask == "unet" else {}), **modified.files, "columns": names}
        start = by.found.quality if by.found else None
        verdict = judge_result(given.data, modified, start, bool(given.model),
                               hands_compared=part_of == "solve", ncs_chosen=engine.ncs_chosen)
        result = common("dm", given, net, clock, warnings, outputs, part_of) | entries | {
            "engine": program.name, "engine_asked": engine.engine, **modified.how,
            "ncs_sites": engine.ncs_sites,
            "mask_source": mask, "free": kept_out and asdict(kept_out),
            "cycles_asked": cycles, "cycles": modified.cycles,
            "verdict": asdict(verdict)}
        if not report:
            write_json(result, stage / "result.json")
            return result
        density = CrystalMap(given.data.reflections, modified.coefficients).density
        first = by.found.mask if by.found else solvent
        flat = [Layer("P(flat)", modified.weights, solvent, "probability")] if mask == "unet" else []
        finish(stage, result, [Layer("Before", given.data.map.density, first),
                               Layer("After", density, solvent), *flat])
    return result


def _describe_plan(by: Plan, given: Input, net: SolventNet, composition: Composition | None) -> dict:
    """Entries of the result on mask and solvent content that density modification starts with."""
    found = by.found
    return {} if found is None else {**judge(found, given, net, composition),
            "solvent_content": found.solvent.to_json(), "mask": describe_mask(found)}
