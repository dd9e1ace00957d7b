"""The job of the command ``phase``: SAD phases from Friedel mates and sites."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import gemmi
import numpy as np

from .. import __version__
from ..crystal.maps import CrystalMap
from ..crystal.observations import AnomalousData
from ..crystal.phases import to_complex
from ..crystal.reflections import Reflections
from ..errors import InputError
from ..files.coordinates import read_sites
from ..files.mtz import MtzFile
from ..files.mtz_input import mates_of, read_anomalous, read_phased
from ..files.mtz_output import hl_columns, write_mtz
from ..files.output import staged
from ..pipeline import Progress
from ..report.figures import Layer
from ..sad.phasing import SadResult, Scatterer, other_hand, phase_sad
from ..solvent.matthews import Composition
from .result import Clock, Warnings, describe_input, finish, header

_log = logging.getLogger(__name__)
# right sites of 13 measured data sets have 0.37 to 2.13 and of one 0.30, sites in random places of 15
# sets 0.06 to 0.23; a native crystal without an anomalous scatterer has 0.26
_NO_POWER = 0.35
# f'' as refined against that of the element, in uncertainties: up to 1.9 for 22 measured data sets, 12
# and 19 for two whose files have a wrong wavelength
_FAR_FROM_GIVEN = 3.0
# free flags and anomalous data; older amplitudes and phases would make the new ones ambiguous
_KEPT_WHEN_PHASED = "IGLKM"
_HANDED_ON = ("mtz", "sites")  # to density modification
MADE_MATES = ("F(+)", "SIGF(+)", "F(-)", "SIGF(-)")  # columns of those made of F and DANO


def run_phase(mtzin: str, folder: str, sites: str, scatterer: Scatterer | str, hands: str = "given",
              colin_fpm: str | None = None, colin_ipm: str | None = None,
              colin_fdano: str | None = None, wavelength: float | None = None, cycles: int = 5,
              progress: Progress | None = None, complete: bool = True, phases: str | None = None,
              colin_phases: str | None = None, sequence: str | None = None,
              residues: int | None = None, part_of: str | None = None) -> dict:
    """SAD phases from Friedel mates and known sites, which are completed; writes phased.mtz, sites.pdb,
    result.json and report.html (with ``_other_hand`` in the names of the second hand), and returns the
    result.

    Parameters
    ----------
    sites : coordinate file; of several elements the atoms of the scatterer are taken.
    scatterer : element with f' and f'', or the element's symbol: then f' and f'' are the
        theoretical values at ``wavelength``, by default that of the MTZ file.
    hands : "given" or "both".
    complete : find further sites and drop wrong ones.
    phases : MTZ file with improved phases of the given hand to find sites by: dm.mtz as
        :func:`~.dm.run_dm` has left it, or any with ``colin_phases``.
    colin_phases : its Hendrickson-Lattman coefficients, of the modified map alone.
    sequence, residues : of one copy, file or number, for the absolute scale.
    part_of : command of which this is a stage, "solve"; that compares the hands.
    """
    if phases and (hands == "both" or not complete):
        raise InputError("Improved phases are to complete the sites of one hand: they are of no use "
                         "with both hands, or with sites that are kept.")
    clock = Clock()
    with Warnings() as warnings, staged(
            folder, "phase", [mtzin, sites, phases, sequence], ["phased.mtz", "sites.pdb"]) as stage:
        with clock.stage("read"):
            file, data, labels = read_anomalous(mtzin, colin_fpm, colin_ipm, colin_fdano)
            element = scatterer if isinstance(scatterer, str) else scatterer.element
            structure = read_sites(sites, data.reflections, element)
            scatterer = _scatterer(scatterer, wavelength or data.wavelength, mtzin)
            composition = Composition.given(sequence, residues)
            prior = _improved_phases(phases, colin_phases, data.reflections)
        reports, layers = [], []
        with clock.stage("phasing"):
            wanted = ("given", "other") if hands == "both" else ("given",)
            for number, hand in enumerate(wanted):
                if hand == "other":
                    structure, group = other_hand(structure, data.reflections.spacegroup)
                    file.mtz.spacegroup = group
                    turned = Reflections(data.reflections.cell, group, data.reflections.d_min)
                    data = replace(data, reflections=turned)
                phased = phase_sad(data, structure, scatterer, cycles, progress and partial(
                    _progress_of_part, progress, number, len(wanted)), complete, prior, composition)
                _judge(phased, hand, hands_compared=part_of == "solve")
                reports.append(_write_hand(stage, file, data, phased, hand, labels))
                places = [site["xyz"] for site in phased.statistics["sites"]]
                layers.append(Layer(f"{hand.capitalize()} hand", _density(data, phased), sites=places))
                if hand == "given":
                    _judge_scatterer(phased)
                    anomalous = Layer("Anomalous differences", _anomalous_density(data, phased),
                                      sites=places)
        result = {**header("phase", clock, warnings, {r["hand"]: r["outputs"] for r in reports},
                           part_of),
                  "input": describe_input(mtzin, data.reflections, phased.f, labels),
                  "scatterer": asdict(scatterer), "model": None, "device": None,
                  "phasing": {**reports[0]["statistics"], "hands": reports}}
        finish(stage, result, [*layers, anomalous])
    return result


def _improved_phases(path: str | None, columns: str | None, reflections: Reflections,
                     ) -> np.ndarray | None:
    """Hendrickson-Lattman coefficients (n, 4) of a modified map alone: those of dm.mtz less what it
    believed of the experiment, which the sites are to be judged by."""
    if path is None:
        return None
    trust = 0.0
    if columns is None:
        try:
            told = json.loads((Path(path).parent / "result.json").read_text())
            columns = ",".join(told["outputs"]["columns"][f"HL{letter}"] for letter in "ABCD")
            given = told["input"]["labels"]["hl"]
            # Parrot takes what it is given in full
            trust = told["phases"]["trust"] if "phases" in told else 1.0
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is not the dm.mtz of 'crank2-unet dm' with its result.json "
                             "beside it: name the Hendrickson-Lattman coefficients of the modified "
                             "map with --colin-phases.") from error
    found = read_phased(path, colin_hl=columns).data
    if found.reflections.spacegroup.operations() != reflections.spacegroup.operations():
        raise InputError(f"{path} has space group {found.reflections.spacegroup.xhm()}, but the data "
                         f"have {reflections.spacegroup.xhm()}. Give phases of the same hand.")
    hl = found.hl - trust * read_phased(path, colin_hl=given).data.hl if trust else found.hl
    return reflections.spread(found.reflections.hkl, hl, 0.0)


def _judge(phased: SadResult, hand: str, hands_compared: bool = False) -> None:
    """Say what is odd about the sites, and if they hardly explain the anomalous differences."""
    completion = phased.statistics["completion"]
    for row in completion["merged"] if completion else ():
        _log.warning("The sites at %s and %s coincide, by symmetry or directly: they are taken as one.",
                     _place(row["xyz"]), _place(row["into"]))
    for row in completion["dropped"] if completion else ():
        _log.warning("The site at %s is dropped: the data do not support it (%.1f sigma).",
                     _place(row["xyz"]), row["height"])
    if _scattering(phased, given=False) > _scattering(phased, given=True):
        _log.warning("The sites that were added to the %s hand scatter more than those that were "
                     "given: they can be of the other hand, or wrong altogether.%s", hand,
                     "" if hands_compared else " Judge by the maps of both hands, as 'crank2-unet "
                     "solve' does.")
    power = phased.statistics["phasing_power"]
    if power < _NO_POWER:
        _log.warning("The phasing power of the %s hand is %.2f, as of sites that do not explain the "
                     "data: wrong sites, another origin, setting or element, or no anomalous signal.",
                     hand, power)


def _judge_scatterer(phased: SadResult) -> None:
    """Say if the sites scatter anomalously as their element cannot at the wavelength that is given."""
    absolute, fitted = phased.statistics["absolute"], phased.statistics["f_double_prime"]
    given, width = absolute["f_double_prime_given"], absolute["f_double_prime_uncertainty"]
    if abs(np.log(fitted / given)) > _FAR_FROM_GIVEN * width:
        _log.warning("The anomalous differences are those of f'' = %.2f electrons; %.2f would need "
                     "sites of occupancy %.2f. Check the element and the wavelength, which some "
                     "programs write as 1 where they do not know it.", fitted, given,
                     absolute["occupancy"] * fitted / given)


def _scattering(phased: SadResult, given: bool) -> float:
    """Sum of the squared occupancies of the sites that were given, or of those that were not."""
    return sum(site["occupancy"] ** 2 for site in phased.statistics["sites"] if site["given"] is given)


def _density(data: AnomalousData, phased: SadResult) -> gemmi.FloatGrid:
    """The map that the phases give."""
    weighted = np.nan_to_num(phased.f * phased.fom)
    return CrystalMap(data.reflections, to_complex(weighted, phased.phi)).density


def _anomalous_density(data: AnomalousData, phased: SadResult) -> gemmi.FloatGrid:
    """The anomalous difference Fourier map, where anomalous scatterers stand out."""
    difference = np.nan_to_num((data.f_plus - data.f_minus) * phased.fom)
    return CrystalMap(data.reflections, to_complex(difference, phased.phi - 90)).density


def _place(xyz: list[float]) -> str:
    return "({:.3f}, {:.3f}, {:.3f})".format(*xyz)


def _progress_of_part(progress: Progress, number: int, parts: int, done: int, total: int) -> None:
    """Progress of all parts from that within one of them."""
    progress(number * total + done, parts * total)


def _write_hand(stage: Path, file: MtzFile, data: AnomalousData, phased: SadResult, hand: str,
                labels: dict) -> dict:
    suffix = "" if hand == "given" else "_other_hand"
    reflections = data.reflections
    columns = {"F": ("F", phased.f), "SIGF": ("Q", phased.sigf), "PHIB": ("P", phased.phi),
               "FOM": ("W", phased.fom), **hl_columns(phased.hl)}
    unmeasured = ~np.isfinite(phased.f)
    columns = {label: (kind, np.where(unmeasured, np.nan, values))
               for label, (kind, values) in columns.items()}
    if "fdano" in labels:  # what the mates were made of would be a second set of amplitudes
        mates = data.f_plus, data.sigf_plus, data.f_minus, data.sigf_minus
        columns |= {label: (kind, values) for label, kind, values in zip(MADE_MATES, "GLGL", mates)}
    names = write_mtz(stage / f"phased{suffix}.mtz", file, reflections, columns,
                      f"SAD phases by crank2-unet {__version__}", keep=_KEPT_WHEN_PHASED,
                      beside=mates_of(file, labels))
    phased.sites.spacegroup_hm = reflections.spacegroup.xhm()
    # gemmi's own writing does not notice a full disk
    (stage / f"sites{suffix}.pdb").write_text(phased.sites.make_pdb_string())
    files = {"mtz": f"phased{suffix}.mtz", "sites": f"sites{suffix}.pdb"}
    return {"hand": hand, "spacegroup": reflections.spacegroup.xhm(),
            "outputs": {**files, "columns": names},
            "sha256": {kind: _sha256(stage / file) for kind, file in files.items()},
            "statistics": phased.statistics}


def sites_that_phased(mtzin: str | Path) -> str | None:
    """The sites by which :func:`run_phase` has made an MTZ file; None if it did not.

    Both must be in the folder of that job, as its result.json records them, and unchanged since.
    """
    folder = Path(mtzin).parent
    try:
        hands = json.loads((folder / "result.json").read_text())["phasing"]["hands"]
        for hand in hands:
            files = {kind: folder / hand["outputs"][kind] for kind in _HANDED_ON}
            if files["mtz"].name == Path(mtzin).name and hand["sha256"] == {
                    kind: _sha256(file) for kind, file in files.items()}:
                return str(files["sites"])
    except (OSError, ValueError, LookupError, TypeError):  # no job of ours, or files are gone
        pass
    return None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _scatterer(scatterer: Scatterer | str, wavelength: float | None, mtzin: str) -> Scatterer:
    if isinstance(scatterer, Scatterer):
        return scatterer
    if not wavelength:
        raise InputError(f"{mtzin} does not say the wavelength. Give --wavelength, or --f-prime "
                         "and --f-double-prime.")
    return Scatterer.at_wavelength(scatterer, wavelength)
