"""The job of the command ``segment``: mask and solvent content of a map."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..crystal.grids import structure_factors
from ..crystal.phases import angle_degrees
from ..files.maps import write_map
from ..files.mtz_input import Input, read_phased
from ..files.mtz_output import write_mtz
from ..files.output import staged, write_json
from ..pipeline import Progress, Segmentation, segment
from ..report.figures import Layer
from .choices import Columns, Content, NetworkChoice
from .result import Clock, Warnings, announce_size, common, describe_mask, finish, judge

_log = logging.getLogger(__name__)
_OUTPUTS = {"mask": "mask.ccp4", "probability": "probability.ccp4", "flat": "flat.ccp4",
            "mask_coefficients": "mask.mtz"}


def run_segment(mtzin: str, folder: str, columns: Columns = Columns(), content: Content = Content(),
                choice: NetworkChoice = NetworkChoice(), progress: Progress | None = None,
                report: bool = True, pictures: bool = False) -> dict:
    """Segment the map of an MTZ file; writes mask.ccp4, probability.ccp4, flat.ccp4, mask.mtz,
    result.json and, if wanted, report.html, and returns the result.

    Parameters
    ----------
    report : False leaves report.html out.
    pictures : also write the sections that the report shows as PNG files.

    Raises
    ------
    Crank2UnetError : nothing is left under the final names.
    """
    clock = Clock()
    with Warnings() as warnings, staged(
            folder, "segment", [mtzin, content.sequence, choice.model], _OUTPUTS.values()) as stage:
        with clock.stage("read"):
            given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc,
                                need_phases=False)
            if not np.isfinite(given.data.f).any():
                _log.warning("%s: no amplitudes go with the map %s, so that it is not sharpened, for "
                             "which its mask will be a little poorer. Name amplitudes with "
                             "--colin-fo if there are any.", mtzin, given.labels["fc"])
            net = choice.load()
            composition = content.composition()
            reflections = given.data.reflections
            announce_size(reflections, 1, net.device.threads, reflections.d_min)
        with clock.stage("network"):
            found = segment(given.data, net, composition, content.solvent_content, progress)
            judgement = judge(found, given, net, composition)
        with clock.stage("write"):
            _write_masks(stage, given, found)
        result = common("segment", given, net, clock, warnings, dict(_OUTPUTS)) | {
            "solvent_content": found.solvent.to_json(), "mask": describe_mask(found), **judgement}
        if report:
            finish(stage, result, [Layer("Density", found.density, found.mask),
                                   Layer("P(solvent)", found.probability, found.mask, "probability")],
                   pictures)
        else:
            write_json(result, stage / "result.json")
    return result


def _write_masks(stage: Path, given: Input, found: Segmentation) -> None:
    write_map(found.mask, stage / "mask.ccp4")
    write_map(found.probability, stage / "probability.ccp4")
    write_map(found.flat, stage / "flat.ccp4")
    reflections = given.data.reflections
    coefficients = structure_factors(found.mask, reflections)
    write_mtz(stage / "mask.mtz", given.file, reflections, {
        "FMSK": ("F", np.abs(coefficients)), "PHMSK": ("P", angle_degrees(coefficients))},
        "Fourier coefficients of the solvent mask by crank2-unet", keep="",
        beside=given.source)
