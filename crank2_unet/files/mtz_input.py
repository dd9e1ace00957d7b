"""Phased data and Friedel mates from MTZ files, laid out over the complete list of reflections."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..crystal.french_wilson import french_wilson
from ..crystal.observations import AnomalousData, PhasedData
from ..crystal.phases import hl_from_phi_fom, phi_fom_from_hl, to_complex
from ..crystal.reflections import Reflections
from ..errors import InputError
from .mtz import (
    AMPLITUDES,
    ANOMALOUS_AMPLITUDES,
    ANOMALOUS_INTENSITIES,
    HENDRICKSON_LATTMAN,
    MAP_COEFFICIENTS,
    PHASE_AND_FOM,
    MtzFile,
)


@dataclass(frozen=True)
class Input:
    """Phased data as read, with what was chosen: ``labels`` maps roles (fo, hl, ...) to labels."""

    file: MtzFile
    data: PhasedData
    labels: dict = field(default_factory=dict)


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
    labels = {}
    by_hand = colin_hl or colin_phifom or colin_fo
    if colin_fc or not (need_phases or by_hand):
        labels["fc"] = file.find(MAP_COEFFICIENTS, colin_fc, optional=True)
    if labels.get("fc") and not (need_phases or colin_hl or colin_phifom):
        main = "fc"
        labels["fo"] = file.find(AMPLITUDES, colin_fo) if colin_fo else file.only(AMPLITUDES)
    else:
        main = "fo"
        labels["fo"] = file.find(AMPLITUDES, colin_fo)
        if not colin_phifom:
            labels["hl"] = file.find(HENDRICKSON_LATTMAN, colin_hl, optional=True)
        if not labels.get("hl"):
            labels["phifom"] = file.find(PHASE_AND_FOM, colin_phifom, optional=True)
            if labels["phifom"] is None:
                raise InputError(f"{path} has no phases: neither Hendrickson-Lattman coefficients "
                                 "nor a phase with its figure of merit. Phase it first, for "
                                 "instance with 'crank2-unet phase'.")
    labels = {role: names for role, names in labels.items() if names}
    data = _assemble(file, labels, main, d_min)
    return Input(file, data, {role: ",".join(names) for role, names in labels.items()})


def _assemble(file: MtzFile, labels: dict, main: str, d_min: float) -> PhasedData:
    """Lay the chosen columns out over the complete list, which ends where the ``main`` ones do."""
    columns = {role: np.stack([file.column(name) for name in names], axis=1)
               for role, names in labels.items()}
    d = file.mtz.make_d_array()
    present = {role: np.isfinite(values[:, 0]) & (d >= d_min) for role, values in columns.items()}
    if "fo" in columns:  # some programs write 0 with sigma 0 for an unmeasured reflection
        f, sigf = columns["fo"].T
        present["fo"] &= np.isfinite(sigf) & ~((f == 0) & (sigf == 0))
        if (f[present["fo"]] < 0).any():
            raise InputError(f"{file.path}: {labels['fo'][0]} has negative values, so that it does "
                             "not hold amplitudes. Choose other columns with --colin-fo.")
        columns["fo"][~present["fo"]] = np.nan
    usable = present[main]
    if usable.sum() < 50:
        raise InputError(f"{file.path} has only {usable.sum()} usable values in "
                         f"{','.join(labels[main])}: too few for a map.")
    reflections = Reflections(file.mtz.cell, file.mtz.spacegroup, float(d[usable].min()))
    spread = {role: reflections.spread(file.hkl, values) for role, values in columns.items()}
    nothing = np.full((len(reflections), 2), np.nan)
    f, sigf = spread.get("fo", nothing).T
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
        raise InputError(f"{file.path}: the phases in "
                         f"{labels.get('fc') or labels.get('hl') or labels.get('phifom')} are all "
                         "missing or without weight, so that there is no map.")
    return PhasedData(reflections, f, sigf, hl, coefficients)


def read_anomalous(path: str | Path, colin_fpm: str | None = None, colin_ipm: str | None = None,
                   ) -> tuple[MtzFile, AnomalousData, dict]:
    """Read Friedel mates: amplitudes, or intensities that are converted (French & Wilson, 1978).

    Returns
    -------
    The file, the data, and the labels used by role.

    Raises
    ------
    InputError : see :class:`MtzFile`; also neither amplitudes nor intensities of mates.
    """
    file = MtzFile(path)
    names = None if colin_ipm else file.find(ANOMALOUS_AMPLITUDES, colin_fpm, optional=True)
    role, kind = "fpm", ANOMALOUS_AMPLITUDES
    if names is None:
        role, kind = "ipm", ANOMALOUS_INTENSITIES
        names = file.find(kind, colin_ipm, optional=True)
    if names is None:
        raise InputError(f"{path} has neither F(+), F(-) nor I(+), I(-) (column types GLGL or "
                         f"KMKM). Its columns are: {', '.join(file.mtz.column_labels())}.")
    values = np.stack([file.column(name) for name in names], axis=1)
    if role == "fpm":  # 0 with sigma 0 stands for an unmeasured mate
        values[:, :2][values[:, 1] == 0] = np.nan
        values[:, 2:][values[:, 3] == 0] = np.nan
    measured = np.isfinite(values[:, 0]) | np.isfinite(values[:, 2])
    if measured.sum() < 50:
        raise InputError(f"{path} has only {measured.sum()} usable values in {','.join(names)}.")
    d_min = file.mtz.make_d_array()[measured].min()
    reflections = Reflections(file.mtz.cell, file.mtz.spacegroup, float(d_min))
    mates = reflections.spread(file.hkl[measured], values[measured])
    plus, minus = mates[:, :2], mates[:, 2:]
    if role == "ipm":
        plus, minus = french_wilson(plus, reflections), french_wilson(minus, reflections)
    plus, minus = _merge_centric(plus, minus, reflections.centric)
    wavelength = file.mtz.dataset(file.mtz.column_with_label(names[0]).dataset_id).wavelength
    data = AnomalousData(reflections, *plus.T, *minus.T, wavelength if wavelength > 0 else None)
    return file, data, {role: ",".join(names)}


def _merge_centric(plus: np.ndarray, minus: np.ndarray, centric: np.ndarray,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Centric reflections have no anomalous difference: their value goes to the plus side."""
    plus, minus = plus.copy(), minus.copy()
    only_minus = centric & ~np.isfinite(plus[:, 0])
    plus[only_minus] = minus[only_minus]
    minus[centric] = np.nan
    return plus, minus
