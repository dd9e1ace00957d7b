"""The job of the command ``dm``: density modification with a mask for every cycle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import __version__
from ..crystal.grids import density_map
from ..crystal.masks import cut_at_fraction
from ..crystal.phases import angle_degrees
from ..errors import InputError
from ..files.maps import read_mask, write_map
from ..files.mtz_input import Input, read_phased
from ..files.mtz_output import write_mtz
from ..files.output import staged
from ..modification.engine import Modified
from ..pipeline import Progress, segment, unet_weights
from ..report.page import ReportMaps
from .choices import Columns, Content, EngineChoice, NetworkChoice
from .result import Clock, Warnings, common, describe_mask, finish, judge


def run_dm(mtzin: str, folder: str, columns: Columns = Columns(), content: Content = Content(),
           choice: NetworkChoice = NetworkChoice(), mask: str = "unet", cycles: int = 10,
           progress: Progress | None = None, engine: EngineChoice = EngineChoice()) -> dict:
    """Density modification with the mask renewed in every cycle; writes dm.mtz, mask.ccp4,
    result.json and report.html, and returns the result.  Parrot leaves its log, its input and a
    script that repeats it.

    Parameters
    ----------
    mask : "unet", "variance" (local variance, the classical mask; Parrot's own if that is the
        engine) or a CCP4 map with 1 = solvent, which is used in every cycle.
    cycles : of density modification, 1 or more.

    Raises
    ------
    Crank2UnetError : nothing is left under the final names.
    ProgramError : Parrot failed; what it was given and its log are kept in a folder that the
        message names.
    """
    if cycles < 1:
        raise InputError(f"The number of cycles is {cycles}. Give 1 or more.")
    clock = Clock()
    with Warnings() as warnings, staged(folder) as stage:
        with clock.stage("read"):
            given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc)
            program = engine.find(choice, given.data.reflections)
            own = mask in ("unet", "variance")
            file_mask = None if own else read_mask(mask, given.data.reflections)
            net = choice.load() if file_mask is None else None
        entries = {}
        with clock.stage("network"):
            if file_mask is not None:
                masks = file_mask
                entries["solvent_content"] = {"value": float(file_mask.array.mean()), "rule": "file"}
            else:
                composition = content.composition()
                found = segment(given.data, net, composition, content.solvent_content)
                entries |= judge(found, given, net, composition)
                entries["solvent_content"] = found.solvent.to_json()
                entries["mask"] = describe_mask(found)
                masks = unet_weights(given.data, net, found.solvent.value) if mask == "unet" else None
        solvent_content = entries["solvent_content"]["value"]
        with clock.stage("modification"):
            modified = program.modify(given.data, masks, solvent_content, cycles, stage,
                                      progress and (lambda cycle: progress(cycle, cycles)))
        with clock.stage("write"):
            names = _write_modified(stage / "dm.mtz", given, modified)
            solvent = cut_at_fraction(modified.weights, solvent_content, lowest=False)
            write_map(solvent, stage / "mask.ccp4")
        outputs = {"mtz": "dm.mtz", "mask": "mask.ccp4", **modified.files, "columns": names}
        result = common("dm", given, net, clock, warnings, outputs) | entries | {
            "engine": program.name, "engine_asked": engine.engine, **modified.how,
            "mask_source": mask, "cycles": modified.cycles}
        density = density_map(given.data.reflections, modified.coefficients,
                              given.data.reflections.d_min / 3)
        finish(stage, result, ReportMaps(density, None if net is None else modified.weights,
                                          solvent))
    return result


def _write_modified(path: Path, given: Input, modified: Modified) -> dict:
    columns = {"FWT": ("F", np.abs(modified.coefficients)),
               "PHWT": ("P", angle_degrees(modified.coefficients)), "FOM": ("W", modified.fom)}
    for letter, values in zip("ABCD", modified.hl.T):
        columns[f"HL{letter}"] = ("A", values)
    return write_mtz(path, given.file, given.data.reflections, columns,
                     f"Density modification by crank2-unet {__version__}")
