"""Phased data and Friedel mates from MTZ files, laid out over the complete list of reflections."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..crystal.french_wilson import french_wilson
from ..crystal.observations import AnomalousData, PhasedData
from ..crystal.phases import hl_from_phi_fom, phi_fom_from_hl, to_complex
from ..crystal.reflections import Reflections
from ..errors import InputError
from .columns import (
    AMPLITUDES,
    ANOMALOUS_AMPLITUDES,
    ANOMALOUS_DIFFERENCES,
    ANOMALOUS_INTENSITIES,
    CALCULATED,
    DIFFERENCE,
    HENDRICKSON_LATTMAN,
    INTENSITIES,
    MAP_COEFFICIENTS,
    PHASE_AND_FOM,
    ColumnSet,
    called_intensity,
    candidates,
    fom_of_phase,
)
from .mtz import MtzFile
from .plausibility import (
    check_cell,
    check_mates,
    check_resolution,
    check_values,
    looks_like_intensities,
    without_negatives,
)

_log = logging.getLogger(__name__)
# weighted mean |cos| of phase differences of acentric reflections, above which phases are those of a
# model; 0.64 for unrelated ones.  Those of 2mFo-DFc and mFo-DFc are equal but for the sign where Fc is
# a model's; where it is that of a substructure, as after SAD phasing, they had up to 0.995.
_SAME_PHASES = {CALCULATED: 0.95, DIFFERENCE: 0.9995}
_CALCULATED_PHASE = r"ph(i|ase)?[-_]?f?[-_]?(calc?|c|model)(?![a-z])"
_FEWEST = 50  # reflections of which a map is made
# columns that Friedel mates are read from, by their role; those of an earlier one are taken first
_MATES = {"fpm": ANOMALOUS_AMPLITUDES, "ipm": ANOMALOUS_INTENSITIES, "fdano": ANOMALOUS_DIFFERENCES}


@dataclass(frozen=True)
class Input:
    """Phased data as read, with what was chosen: ``labels`` maps roles (fo, hl, ...) to labels,
    ``source`` are the columns whose crystal and dataset the results belong to, ``model`` those whose
    phases the data have, if they were calculated from a model."""

    file: MtzFile
    data: PhasedData
    labels: dict
    source: ColumnSet
    model: str | None = None


def read_phased(path: str | Path, colin_fo: str | None = None, colin_hl: str | None = None,
                colin_phifom: str | None = None, colin_fc: str | None = None,
                need_phases: bool = True, d_min: float = 0.0) -> Input:
    """Read a map or phased amplitudes.

    Columns not named are looked for by type.  Map coefficients that the user names are the starting
    map; without a name they are only looked for if ``need_phases`` is false, and then come before
    Hendrickson-Lattman coefficients, which come before phases with figures of merit.  A map that
    needs no phases is read with the amplitudes that the user names, or that the file has, if they are
    the only ones: they tell its fall-off.

    Parameters
    ----------
    path : merged MTZ file.
    colin_fo, colin_hl, colin_phifom, colin_fc : labels "F,SIGF", "A,B,C,D", "PHI,FOM", "F,PHI".
    need_phases : amplitudes and experimental phases are needed (density modification), not only a
        map (segmentation).
    d_min : high-resolution limit, Angstrom; default: that of the data.

    Raises
    ------
    InputError : see :class:`MtzFile`; also no usable value in the columns.
    """
    file = MtzFile(path)
    sets: dict[str, ColumnSet | None] = {}
    by_hand = colin_hl or colin_phifom or colin_fo
    if colin_fc or not (need_phases or by_hand):
        sets["fc"] = file.find(MAP_COEFFICIENTS, colin_fc)
    fc = sets.get("fc")
    if fc and not (need_phases or colin_hl or colin_phifom):
        main = "fc"
        if not colin_fc:
            _say_unused_fom(file, fc)
        sets["fo"] = file.find(AMPLITUDES, colin_fo) if colin_fo else file.only(AMPLITUDES, fc)
    else:
        main = "fo"
        sets["fo"] = _observed(file, colin_fo)
        sets.update(_phases(file, colin_hl, colin_phifom))
    chosen = {role: found for role, found in sets.items() if found}
    data = _assemble(file, chosen, main, d_min)
    return Input(file, data, {role: file.written(found) for role, found in chosen.items()},
                 chosen[main], _model_of(file, chosen, data))


def _model_of(file: MtzFile, chosen: dict[str, ColumnSet], data: PhasedData) -> str | None:
    """Labels of the columns by which phases are seen to be those of a model, as after molecular
    replacement or refinement: named so, or, but for signs, equal to those of calculated structure
    factors or of a difference map, since mFo-DFc has the phases of Fc."""
    phases = chosen.get("phifom") or chosen.get("fc")
    if phases and any(re.match(_CALCULATED_PHASE, column.key) for column in phases.columns):
        return file.written(phases)
    taken = [found.columns for found in chosen.values()]
    acentric, map_now = ~data.reflections.centric, data.coefficients
    for other in candidates(file.columns, MAP_COEFFICIENTS):
        if other.meaning not in _SAME_PHASES or other.columns in taken:
            continue
        model = to_complex(*np.nan_to_num(data.reflections.spread(file.hkl, file.values(other))).T)
        product = (model * map_now.conj())[acentric]
        if np.abs(product.real).sum() > _SAME_PHASES[other.meaning] * np.abs(product).sum() > 0:
            return file.written(other)
    return None


def _say_unused_fom(file: MtzFile, fc: ColumnSet) -> None:
    """Amplitudes of a map should hold the figure of merit, which need not be so where one is named
    after their phase: in files of F, PHI and FOM without a sigma."""
    for phase, fom in (s.columns for s in candidates(file.columns, PHASE_AND_FOM)):
        if phase == fc.columns[1] and fom_of_phase(phase, fom) is not None:
            _log.warning("%s: %s is taken as a map as it is, without %s. If its amplitudes are those "
                         "measured, give them with their sigma and with phases: --colin-fo, "
                         "--colin-phifom.", file.path, fc.path, fom.label)


def _observed(file: MtzFile, text: str | None) -> ColumnSet:
    """Amplitudes, or, where there are none, intensities that will be converted."""
    found = file.find(AMPLITUDES, text) or file.find(INTENSITIES)
    if found:
        return found
    for mates in (ANOMALOUS_AMPLITUDES, ANOMALOUS_INTENSITIES):
        if every := candidates(file.columns, mates):
            raise InputError(f"{file.path} has {mates.what}, {every[0].path}, but no mean of "
                             "them with its sigma. 'crank2-unet phase' makes it and phases; or make F "
                             "and SIGF, for instance with CCP4's ctruncate.")
    return file.choose(AMPLITUDES)  # which says what is missing


def _phases(file: MtzFile, colin_hl: str | None, colin_phifom: str | None) -> dict:
    """Hendrickson-Lattman coefficients, or else a phase with its figure of merit."""
    hl = None if colin_phifom else file.find(HENDRICKSON_LATTMAN, colin_hl)
    if hl and (colin_hl or not file.is_blank(hl)):
        return {"hl": hl}
    phifom = file.find(PHASE_AND_FOM, colin_phifom)
    if phifom and hl:
        _log.warning("%s: %s are all zero or missing; taken instead are %s.", file.path, hl.path,
                     phifom.path)
    if not (phifom or hl):
        raise InputError(f"{file.path} has no phases: neither Hendrickson-Lattman coefficients "
                         "nor a phase with its figure of merit. Phase it first, for "
                         "instance with 'crank2-unet phase'.")
    return {"phifom": phifom} if phifom else {"hl": hl}


def _assemble(file: MtzFile, sets: dict[str, ColumnSet], main: str, d_min: float) -> PhasedData:
    """Lay the chosen columns out over the complete list, which ends where the ``main`` ones do."""
    columns = {role: file.values(found) for role, found in sets.items()}
    cell = file.cell_of(sets[main])
    with np.errstate(divide="ignore"):  # of (0, 0, 0), which some programs write
        d = 1 / np.sqrt(cell.calculate_1_d2_array(file.hkl))
    present = {role: np.isfinite(values[:, 0]) & (d >= d_min) for role, values in columns.items()}
    for role, values in columns.items():
        check_values(file.path, sets[role], values)
    if "fo" in columns:  # some programs write 0 with sigma 0 for an unmeasured reflection
        f, sigf = columns["fo"].T
        present["fo"] &= np.isfinite(sigf) & ~((f == 0) & (sigf == 0))
        if present["fo"].any() and not f[present["fo"]].any():
            raise InputError(f"{file.path}: {sets['fo'].labels[0]} is 0 for all reflections. Choose "
                             "other columns with --colin-fo.")
        columns["fo"][~present["fo"]] = np.nan
    usable = present[main]
    if usable.sum() < _FEWEST:
        raise InputError(f"{file.path} has only {usable.sum()} usable values in "
                         f"{','.join(sets[main].labels)}: too few for a map.")
    check_cell(file.path, cell, file.mtz.spacegroup)
    check_resolution(file.path, file.hkl[usable], d[usable])
    reflections = Reflections(cell, file.mtz.spacegroup, float(d[usable].min()))
    spread = {role: reflections.spread(file.hkl, values) for role, values in columns.items()}
    nothing = np.full((len(reflections), 2), np.nan)
    observed = spread.get("fo", nothing)
    if "fo" in sets:
        observed = _amplitudes(file, sets["fo"], observed, reflections)
    f, sigf = observed.T
    hl = np.zeros((len(reflections), 4))
    if "hl" in spread:
        hl = np.nan_to_num(spread["hl"], posinf=0.0, neginf=0.0)
    elif "phifom" in spread:
        phi, fom = np.nan_to_num(spread["phifom"]).T
        hl = hl_from_phi_fom(phi, fom, reflections.allowed_phase)
    hl[~np.isfinite(f)] = 0.0
    if "fc" in spread:
        coefficients = np.nan_to_num(to_complex(*spread["fc"].T))
    else:
        phi, fom = phi_fom_from_hl(hl, reflections.allowed_phase)
        coefficients = np.nan_to_num(to_complex(fom * f, phi))
    if not np.any(hl if "fc" not in spread else coefficients):
        phases = next(sets[role] for role in ("fc", "hl", "phifom") if role in sets)
        raise InputError(f"{file.path}: the phases in {','.join(phases.labels)} are all "
                         "missing or without weight, so that there is no map.")
    return PhasedData(reflections, f, sigf, hl, coefficients)


def _amplitudes(file: MtzFile, found: ColumnSet, values: np.ndarray, reflections: Reflections,
                ) -> np.ndarray:
    """Amplitudes with sigmas (n, 2); intensities are converted (French & Wilson, 1978)."""
    labelled = found.kind is AMPLITUDES and called_intensity(found.lead)
    looks = looks_like_intensities(values[:, 0], reflections)
    if found.kind is INTENSITIES or (labelled and looks):
        _log.warning("%s: %s are intensities%s; amplitudes are made of them (French & Wilson, 1978).",
                     file.path, found.path, f", though of type {found.lead.type}" if labelled else "")
        return french_wilson(values, reflections)
    if (values[:, 0] < 0).any():
        raise InputError(f"{file.path}: {found.labels[0]} has negative values, so that it does "
                         "not hold amplitudes. Choose other columns with --colin-fo.")
    if looks:
        _log.warning("%s: %s are spread like intensities, not like amplitudes. If they are, give them "
                     "the type J, or choose other columns with --colin-fo.", file.path, found.path)
    return values


def read_anomalous(path: str | Path, colin_fpm: str | None = None, colin_ipm: str | None = None,
                   colin_fdano: str | None = None) -> tuple[MtzFile, AnomalousData, dict]:
    """Read Friedel mates: amplitudes, or intensities that are converted (French & Wilson, 1978), or
    mean amplitudes with anomalous differences, F(+) - F(-).

    Parameters
    ----------
    path : merged MTZ file.
    colin_fpm, colin_ipm, colin_fdano : labels "F+,SIGF+,F-,SIGF-", "I+,SIGI+,I-,SIGI-",
        "F,SIGF,DANO,SIGDANO"; default: the first of these kinds that the file has.

    Returns
    -------
    The file, the data, and the labels used by role.

    Raises
    ------
    InputError : see :class:`MtzFile`; also none of these columns.
    """
    file = MtzFile(path)
    given = {"fpm": colin_fpm, "ipm": colin_ipm, "fdano": colin_fdano}
    named = [role for role, text in given.items() if text]
    if len(named) > 1:
        options = " and ".join(_MATES[role].option for role in named)
        raise InputError(f"{options} name Friedel mates of {len(named)} kinds. Give one of them.")
    found = None
    for role in named or _MATES:
        if found := file.find(_MATES[role], given[role]):
            break
    if found and not named:
        _say_other_mates(file, found)
    if found is None:
        raise InputError(f"{path} has neither F(+), F(-) nor I(+), I(-) (column types GLGL or KMKM), "
                         "and no mean amplitude with an anomalous difference of its own (FQDQ). Its "
                         f"columns are: {', '.join(c.label for c in file.columns)}.")
    values = file.values(found)
    check_values(file.path, found, values)
    if role != "ipm":  # 0 with sigma 0 stands for an unmeasured one
        values[:, :2][values[:, 1] == 0] = np.nan
        values[:, 2:][values[:, 3] == 0] = np.nan
    if role == "fdano":
        _log.warning("%s: Friedel mates are made of %s.", file.path, found.path)
        values = _mates_of_differences(values)
    if role != "ipm":
        values = without_negatives(file.path, found, values)
    measured = np.isfinite(values[:, 0]) | np.isfinite(values[:, 2])
    if measured.sum() < _FEWEST:
        raise InputError(f"{path} has only {measured.sum()} usable values in {','.join(found.labels)}.")
    cell = file.cell_of(found)
    d = 1 / np.sqrt(cell.calculate_1_d2_array(file.hkl[measured]))
    check_cell(file.path, cell, file.mtz.spacegroup)
    check_resolution(file.path, file.hkl[measured], d)
    reflections = Reflections(cell, file.mtz.spacegroup, float(d.min()))
    mates = reflections.spread(file.hkl[measured], values[measured])
    plus, minus = mates[:, :2], mates[:, 2:]
    if role == "ipm":
        plus, minus = french_wilson(plus, reflections), french_wilson(minus, reflections)
    plus, minus = _merge_centric(plus, minus, reflections.centric)
    data = AnomalousData(reflections, plus[:, 0], plus[:, 1], minus[:, 0], minus[:, 1],
                         file.wavelength_of(found))
    check_mates(file.path, found, data)
    return file, data, {role: file.written(found)}


def mates_of(file: MtzFile, labels: dict) -> ColumnSet:
    """The columns that :func:`read_anomalous` read, from the labels that it gave."""
    (role, text), = labels.items()
    return file.choose(_MATES[role], text)


def _say_other_mates(file: MtzFile, taken: ColumnSet) -> None:
    """Anomalous data of other crystals or wavelengths, as other columns, that may be meant."""
    others = [s for kind in _MATES.values() if kind is not taken.kind
              for s in candidates(file.columns, kind) if s.lead.dataset_id != taken.lead.dataset_id]
    if others:
        _log.warning("%s: taken as %s is %s; there is also %s. Choose others with %s.", file.path,
                     taken.kind.what, taken.path, ", ".join(s.path for s in others),
                     " or ".join(dict.fromkeys(s.kind.option for s in others)))


def _mates_of_differences(values: np.ndarray) -> np.ndarray:
    """F(+) and F(-) with their sigmas, (n, 4), of F and F(+) - F(-) with theirs.

    The errors of the mates are independent where F is their mean; a reflection without a difference
    has its amplitude as F(+), since one mate was measured, or they are equal.
    """
    f, sigf, dano, sig_dano = values.T
    paired = np.isfinite(dano) & np.isfinite(sig_dano)
    half, sigma = np.where(paired, dano / 2, 0.0), np.hypot(sigf, np.where(paired, sig_dano / 2, 0.0))
    minus = np.where(paired, f - half, np.nan)
    return np.stack([f + half, sigma, minus, np.where(paired, sigma, np.nan)], axis=1)


def _merge_centric(plus: np.ndarray, minus: np.ndarray, centric: np.ndarray,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Centric reflections have no anomalous difference: their value goes to the plus side."""
    plus, minus = plus.copy(), minus.copy()
    only_minus = centric & ~np.isfinite(plus[:, 0])
    plus[only_minus] = minus[only_minus]
    minus[centric] = np.nan
    return plus, minus
