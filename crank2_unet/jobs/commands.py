"""Jobs of the command line: read files, run the pipeline, write maps, result.json and report.html.

The contents of result.json are described in docs/result.md.
"""

from __future__ import annotations

import logging
import os
import subprocess
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote

import gemmi
import numpy as np

from .. import __version__
from ..crystal.grids import density_map, like, read_map_of, structure_factors, write_map
from ..crystal.masks import cut_at_fraction
from ..crystal.phases import angle_degrees
from ..crystal.reflections import Reflections
from ..errors import InputError, ProgramError
from ..files.mtz import Input, read_anomalous, read_phased, write_mtz
from ..files.output import staged, write_json
from ..modification.engine import EmbeddedEngine, Engine, Modified
from ..modification.ncs_search import SITES_RADIUS
from ..network.doubts import doubts
from ..network.session import SolventNet
from ..parrot.engine import ParrotEngine
from ..parrot.mask_server import mask_writer, serving
from ..pipeline import Progress, Segmentation, segment, unet_weights
from ..report.page import DrawnSection, ReportMaps, draw_sections, write_report
from ..sad.phasing import SadResult, Scatterer, other_hand, phase_sad
from ..solvent.matthews import Composition
from .result import Clock, Warnings, common, describe_input, describe_mask, header

_log = logging.getLogger(__name__)
# free flags and anomalous data; older amplitudes and phases would make the new ones ambiguous
_KEPT_WHEN_PHASED = "IGLKMD"


@dataclass(frozen=True)
class Columns:
    """Column labels given by the user; None = found by type."""

    fo: str | None = None
    hl: str | None = None
    phifom: str | None = None
    fc: str | None = None


@dataclass(frozen=True)
class NetworkChoice:
    """Model card, device and CPU threads asked for."""

    model: str | None = None
    device: str = "auto"
    threads: int | None = None

    def load(self) -> SolventNet:
        return SolventNet.load(self.model, self.device, self.threads)

    def options(self) -> list[str]:
        """The same choice as options of the command line."""
        model = self.model and str(Path(self.model).resolve())
        given = {"--model": model, "--device": self.device, "--threads": self.threads}
        return [str(part) for pair in given.items() if pair[1] is not None for part in pair]


@dataclass(frozen=True)
class EngineChoice:
    """Program that modifies density asked for.

    Parameters
    ----------
    engine : "embedded", "parrot", or "auto": Parrot if one of the following is given.
    parrot : path or name of the program; default: found.
    options : for Parrot, in one string.
    ncs_sites : coordinate file of heavy atoms, for NCS averaging by either program.
    """

    engine: str = "auto"
    parrot: str | None = None
    options: str = ""
    ncs_sites: str | None = None

    def find(self, choice: NetworkChoice, reflections: Reflections) -> Engine:
        sites = _read_sites(self.ncs_sites, reflections) if self.ncs_sites else None
        about_parrot = bool(self.parrot or self.options)
        if self.engine == "embedded" and about_parrot:
            raise InputError("--parrot and --parrot-options are of no use with --engine embedded. "
                             "Leave them out, or give --engine parrot.")
        if self.engine == "parrot" or about_parrot:
            options = self.options
            if sites:
                options += f" -ncs-mask-filter-radius {SITES_RADIUS} -pdbin-ha {quote(self.ncs_sites)}"
            return ParrotEngine.find(self.parrot, options, tuple(choice.options()))
        return EmbeddedEngine(sites)


@dataclass(frozen=True)
class Content:
    """What the user knows of the crystal's content; all optional."""

    sequence: str | None = None
    residues: int | None = None
    solvent_content: float | None = None

    def composition(self) -> Composition | None:
        if self.sequence:
            return Composition.from_file(self.sequence)
        return Composition.from_residues(self.residues) if self.residues else None


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
    with Warnings() as warnings, staged(folder) as stage:
        with clock.stage("read"):
            given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc,
                                need_phases=False)
            if not np.isfinite(given.data.f).any():
                _log.warning("%s: no amplitudes go with the map %s, so that it is not sharpened, for "
                             "which its mask will be a little poorer. Name amplitudes with "
                             "--colin-fo if there are any.", mtzin, given.labels["fc"])
            net = choice.load()
            composition = content.composition()
        with clock.stage("network"):
            found = segment(given.data, net, composition, content.solvent_content, progress)
            judgement = judge(found, given, net, composition)
        with clock.stage("write"):
            _write_masks(stage, given, found)
        outputs = {"mask": "mask.ccp4", "probability": "probability.ccp4", "flat": "flat.ccp4",
                   "mask_coefficients": "mask.mtz"}
        result = common("segment", given, net, clock, warnings, outputs) | {
            "solvent_content": found.solvent.to_json(), "mask": describe_mask(found), **judgement}
        if report:
            maps = ReportMaps(found.density, found.probability, found.mask)
            _finish(stage, result, maps, pictures)
        else:
            write_json(result, stage / "result.json")
    return result


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
            file_mask = None if mask in ("unet", "variance") else _read_mask(mask, given)
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
        _finish(stage, result, ReportMaps(density, None if net is None else modified.weights,
                                          solvent))
    return result


def run_mask_server(mtzin: str, command: list[str], columns: Columns = Columns(),
                    content: Content = Content(), choice: NetworkChoice = NetworkChoice()) -> int:
    """Run a program and give masks by the network to clients that it starts.

    Parameters
    ----------
    mtzin : the data that the program modifies.
    command : the program and its arguments.

    Returns
    -------
    Exit status of the program.

    Raises
    ------
    Crank2UnetError : unusable data or network; the program is not found.
    """
    given = read_phased(mtzin, columns.fo, columns.hl, columns.phifom, columns.fc)
    net, composition = choice.load(), content.composition()
    found = segment(given.data, net, composition, content.solvent_content)
    judge(found, given, net, composition)
    weights = unet_weights(given.data, net, found.solvent.value)
    with serving(mask_writer(given.data, weights, command)) as variables:
        try:
            return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
        except OSError as error:
            raise ProgramError(f"{command[0]} does not start ({error.strerror}).") from error


def run_phase(mtzin: str, folder: str, sites: str, scatterer: Scatterer | str, hands: str = "given",
              colin_fpm: str | None = None, colin_ipm: str | None = None,
              wavelength: float | None = None, cycles: int = 5, progress: Progress | None = None,
              ) -> dict:
    """SAD phases from Friedel mates and known sites; writes phased.mtz, sites.pdb, result.json and
    report.html (with ``_other_hand`` in the names of the second hand), and returns the result.

    Parameters
    ----------
    sites : coordinate file whose atoms are all taken as sites.
    scatterer : element with f' and f'', or the element's symbol: then f' and f'' are the
        theoretical values at ``wavelength``, by default that of the MTZ file.
    hands : "given" or "both".
    """
    clock = Clock()
    with Warnings() as warnings, staged(folder) as stage:
        with clock.stage("read"):
            file, data, labels = read_anomalous(mtzin, colin_fpm, colin_ipm)
            structure = _read_sites(sites, data.reflections)
            scatterer = _scatterer(scatterer, wavelength or data.wavelength, mtzin)
        reports = []
        with clock.stage("phasing"):
            wanted = ("given", "other") if hands == "both" else ("given",)
            for number, hand in enumerate(wanted):
                if hand == "other":
                    structure, group = other_hand(structure, data.reflections.spacegroup)
                    file.mtz.spacegroup = group
                    turned = Reflections(data.reflections.cell, group, data.reflections.d_min)
                    data = replace(data, reflections=turned)
                phased = phase_sad(data, structure, scatterer, cycles, progress and partial(
                    _progress_of_part, progress, number, len(wanted)))
                reports.append(_write_phased(stage, file, data.reflections, phased, hand))
        result = {**header("phase", clock, warnings, {r["hand"]: r["outputs"] for r in reports}),
                  "input": describe_input(mtzin, data.reflections, phased.f, labels),
                  "scatterer": asdict(scatterer), "model": None, "device": None,
                  "phasing": {**reports[0]["statistics"], "hands": reports}}
        _finish(stage, result, None)
    return result


def _progress_of_part(progress: Progress, number: int, parts: int, done: int, total: int) -> None:
    """Progress of all parts from that within one of them."""
    progress(number * total + done, parts * total)


def judge(found: Segmentation, given: Input, net: SolventNet, composition: Composition | None,
          ) -> dict:
    """Entries of the result on the quality of a map and on doubts about its mask, with warnings."""
    reasons = doubts(net.card, given.data.reflections, composition, found.quality,
                     found.solvent)
    for sentence in reasons.values():
        _log.warning("%s", sentence)
    return {"map_quality": found.quality and asdict(found.quality), "doubts": list(reasons)}


def _write_masks(stage: Path, given: Input, found: Segmentation) -> None:
    write_map(found.mask, stage / "mask.ccp4")
    write_map(found.probability, stage / "probability.ccp4")
    write_map(found.flat, stage / "flat.ccp4")
    reflections = given.data.reflections
    coefficients = structure_factors(found.mask, reflections)
    write_mtz(stage / "mask.mtz", given.file, reflections, {
        "FMSK": ("F", np.abs(coefficients)), "PHMSK": ("P", angle_degrees(coefficients))},
        "Fourier coefficients of the solvent mask by crank2-unet", keep="")


def _write_modified(path: Path, given: Input, modified: Modified) -> dict:
    columns = {"FWT": ("F", np.abs(modified.coefficients)),
               "PHWT": ("P", angle_degrees(modified.coefficients)), "FOM": ("W", modified.fom)}
    for letter, values in zip("ABCD", modified.hl.T):
        columns[f"HL{letter}"] = ("A", values)
    return write_mtz(path, given.file, given.data.reflections, columns,
                     f"Density modification by crank2-unet {__version__}")


def _write_phased(stage: Path, file, reflections: Reflections, phased: SadResult, hand: str) -> dict:
    suffix = "" if hand == "given" else "_other_hand"
    columns = {"F": ("F", phased.f), "SIGF": ("Q", phased.sigf), "PHIB": ("P", phased.phi),
               "FOM": ("W", phased.fom)}
    for letter, values in zip("ABCD", phased.hl.T):
        columns[f"HL{letter}"] = ("A", values)
    unmeasured = ~np.isfinite(phased.f)
    columns = {label: (kind, np.where(unmeasured, np.nan, values))
               for label, (kind, values) in columns.items()}
    names = write_mtz(stage / f"phased{suffix}.mtz", file, reflections, columns,
                      f"SAD phases by crank2-unet {__version__}", keep=_KEPT_WHEN_PHASED)
    phased.sites.spacegroup_hm = reflections.spacegroup.xhm()
    phased.sites.write_pdb(str(stage / f"sites{suffix}.pdb"))
    outputs = {"mtz": f"phased{suffix}.mtz", "sites": f"sites{suffix}.pdb", "columns": names}
    return {"hand": hand, "spacegroup": reflections.spacegroup.xhm(), "outputs": outputs,
            "statistics": phased.statistics}


def _read_mask(path: str, given: Input) -> gemmi.FloatGrid:
    """A mask file of the same crystal."""
    mask = read_map_of(path, given.data.reflections)
    if mask.array.min() < -1e-3 or mask.array.max() > 1 + 1e-3:
        raise InputError(f"{path} has values from {mask.array.min():g} to {mask.array.max():g}. "
                         "Give a mask with values between 0 (protein) and 1 (solvent).")
    return like(mask, np.clip(mask.array, 0, 1))


def _read_sites(path: str, reflections: Reflections) -> gemmi.Structure:
    """Sites in the crystal of the data."""
    try:
        structure = gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a coordinate file: {error}.") from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise InputError(f"{path} has no atoms. Give a PDB or mmCIF file with the sites.")
    if structure.cell.is_crystal() and not structure.cell.is_similar(reflections.cell, 0.02, 2.0):
        raise InputError(f"{path} has another cell than the data.\n"
                         f"  sites: {structure.cell.parameters}\n"
                         f"  data:  {reflections.cell.parameters}\n"
                         "Give sites in the cell of the data.")
    structure.cell = reflections.cell
    structure.spacegroup_hm = reflections.spacegroup.xhm()
    structure.setup_cell_images()
    return structure


def _scatterer(scatterer: Scatterer | str, wavelength: float | None, mtzin: str) -> Scatterer:
    if isinstance(scatterer, Scatterer):
        return scatterer
    if not wavelength:
        raise InputError(f"{mtzin} does not say the wavelength. Give --wavelength, or --f-prime "
                         "and --f-double-prime.")
    return Scatterer.at_wavelength(scatterer, wavelength)


def _finish(stage: Path, result: dict, maps: ReportMaps | None, pictures: bool = False) -> None:
    sections = draw_sections(maps) if maps else []
    if pictures:
        result["outputs"]["pictures"] = _write_pictures(stage, sections)
    write_json(result, stage / "result.json")
    write_report(result, stage / "report.html", sections)


def _write_pictures(stage: Path, sections: list[DrawnSection]) -> list[dict]:
    """Write each picture to a file of its own; returns what there is to say of each."""
    written = []
    for number, (section, pictures) in enumerate(sections, 1):
        for picture in pictures:
            kind = "density" if picture is pictures[0] else "probability"
            name = f"section_{number}_{kind}.{picture.kind}"
            (stage / name).write_bytes(picture.content)
            written.append({"file": name, "section": section, "title": picture.title})
    return written
