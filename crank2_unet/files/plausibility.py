"""Can numbers be what their columns say?  What cannot be right is refused, what is unlikely is said."""

from __future__ import annotations

import logging
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.observations import AnomalousData
from ..crystal.reflections import Reflections
from ..errors import InputError
from .columns import DIFFERENCE, HENDRICKSON_LATTMAN, MAP_COEFFICIENTS, PHASE_AND_FOM, ColumnSet

_log = logging.getLogger(__name__)

_ENOUGH = 100  # values, below which statistics say little
_FOM_ROUNDING = 1e-3  # above 1
# <x^2>/<x>^2 of acentric reflections in shells: 1.27 for amplitudes, 2 for intensities (Wilson, 1949)
_INTENSITY_RATIO = 1.6
_SHELL = 200  # reflections
_LONE = 0.002  # share of the reflections that may not set the resolution alone ...
_FARTHER = 1.3  # ... by so much in 1/d
_CELL_REFUSED, _CELL_DOUBTED = 0.02, 0.003  # relative change of the metric under the symmetry
# mean of (DANO/sigma)^2 at low resolution, without the largest: 0.9 for noise.  Of 16 measured data
# sets only one, a native crystal without an anomalous scatterer (0.85), is below; the next has 1.04.
_NOISE_RATIO = 1.0
# largest share of negative mates, which weak F -+ DANO/2 may be; of intensities more are negative
_NEGATIVE = 0.01


def check_values(path: Path, found: ColumnSet, values: np.ndarray) -> None:
    """Refuse values that the columns of a set cannot have; say which are unlikely.

    Parameters
    ----------
    found : the columns.
    values : theirs, (n, columns); NaN = missing.

    Raises
    ------
    InputError : figures of merit outside 0 to 1, or phases in radians.
    """
    if found.kind is PHASE_AND_FOM:
        _check_phases(path, found.labels[0], values[values[:, 1] != 0, 0])
        _check_fom(path, found.labels[1], values[:, 1])
    elif found.kind is MAP_COEFFICIENTS:
        _check_phases(path, found.labels[1], values[values[:, 0] != 0, 1])
        _check_map(path, found, values)
    elif found.kind is HENDRICKSON_LATTMAN and np.nanmax(np.abs(values), initial=0.0) > 1e6:
        raise InputError(f"{path} has values up to {np.nanmax(np.abs(values)):.3g} in "
                         f"{','.join(found.labels)}, far from what Hendrickson-Lattman coefficients "
                         "are. Choose others with --colin-hl.")


def _check_phases(path: Path, label: str, phi: np.ndarray) -> None:
    phi = phi[np.isfinite(phi)]
    if len(phi) >= _ENOUGH and np.abs(phi).max() <= 2 * np.pi + 1e-3 and phi.std() > 0.5:
        raise InputError(f"{path}: the phases {label} lie between {phi.min():.2f} and "
                         f"{phi.max():.2f}, as in radians. Phases in MTZ files are in degrees: "
                         "multiply them by 180/pi.")


def _check_fom(path: Path, label: str, fom: np.ndarray) -> None:
    fom = fom[np.isfinite(fom)]
    low, high = fom.min(initial=0.0), fom.max(initial=0.0)
    if low < 0 or high > 1 + _FOM_ROUNDING:
        cause = "Are they per cent? Divide them by 100." if low >= 0 and 1.5 < high <= 100.1 else (
            "Choose others with --colin-phifom.")
        raise InputError(f"{path}: the figures of merit {label} lie between {low:g} and {high:g}, but "
                         f"must be from 0 to 1. {cause}")
    weighted = fom[fom > 0]
    if len(weighted) >= _ENOUGH and weighted.min() > 0.999:
        _log.warning("%s: the figure of merit %s is 1 everywhere, as of calculated phases: they are "
                     "believed without a doubt, and density modification will hardly change them.",
                     path, label)


def _check_map(path: Path, found: ColumnSet, values: np.ndarray) -> None:
    f, phi = values[np.isfinite(values).all(axis=1) & (values[:, 0] != 0)].T
    if found.meaning and found.rank is None or found.meaning == DIFFERENCE:
        _log.warning("%s: %s is a %s, which shows no solvent; taken because it is named.",
                     path, found.path, found.meaning)
    if len(f) < _ENOUGH:
        return
    if phi.std() < 1e-3 or f.std() < 1e-3 * np.abs(f).mean():
        what = "phases" if phi.std() < 1e-3 else "amplitudes"
        raise InputError(f"{path}: all {what} of {found.path} are equal, so that the map has no "
                         "structure. Choose other columns with --colin-fc.")


def check_resolution(path: Path, hkl: np.ndarray, d: np.ndarray) -> None:
    """Refuse data whose limit is set by a few indices far from all others.

    Parameters
    ----------
    hkl, d : (n, 3) and (n,) indices and spacings, Angstrom, of what is used.

    Raises
    ------
    InputError : at least one reflection lies far beyond the others.
    """
    s = np.sort(1 / d)
    rest = s[-1 - min(len(s) - 1, max(3, int(_LONE * len(s))))]
    if s[-1] > _FARTHER * rest:
        far = hkl[np.argmin(d)]
        raise InputError(f"{path}: reflection {tuple(int(i) for i in far)} at {d.min():.2f} A lies "
                         f"far from all others, which end at about {1 / rest:.2f} A: an error in its "
                         "indices? Remove it or correct it.")


def check_cell(path: Path, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup) -> None:
    """Compare the cell with the symmetry of its lattice.

    Raises
    ------
    InputError : the space group cannot have such a cell.
    """
    distortion = _distortion(cell, spacegroup)
    if distortion < _CELL_DOUBTED:
        return
    said = (f"{path}: the unit cell {tuple(round(x, 3) for x in cell.parameters)} does not have the "
            f"symmetry of the space group {spacegroup.xhm()}. One of them is wrong: correct the "
            "header, or reindex the data.")
    if distortion > _CELL_REFUSED:
        raise InputError(said)
    _log.warning("%s", said)


def _distortion(cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup) -> float:
    """Largest change of the metric tensor under the symmetry, relative to the lengths of its axes."""
    axes = np.array(cell.orth.mat.tolist())
    metric = axes.T @ axes
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    rotations = (np.array(op.rot) / op.DEN for op in spacegroup.operations().sym_ops)
    return max(float(np.abs((r.T @ metric @ r - metric) / scale).max()) for r in rotations)


def intensity_ratio(values: np.ndarray, reflections: Reflections) -> float:
    """<x^2>/<x>^2 of acentric reflections in resolution shells: 1.27 for amplitudes, 2 for
    intensities; NaN for few reflections.

    Parameters
    ----------
    values : (n,) over the complete list; NaN = unmeasured.
    """
    used = np.isfinite(values) & ~reflections.centric
    if used.sum() < _ENOUGH:
        return float("nan")
    order = np.argsort(reflections.inverse_d_squared[used])
    shells = np.array_split(values[used][order], max(1, used.sum() // _SHELL))
    ratios = [np.mean(x ** 2) / np.mean(x) ** 2 for x in shells if np.mean(x) > 0]
    return float(np.median(ratios)) if ratios else float("nan")


def looks_like_intensities(values: np.ndarray, reflections: Reflections) -> bool:
    """Whether values (n,) over the complete list are spread as intensities are."""
    return bool(intensity_ratio(values, reflections) > _INTENSITY_RATIO)


def without_negatives(path: Path, found: ColumnSet, mates: np.ndarray) -> np.ndarray:
    """Amplitudes of mates with their sigmas, (n, 4), without the few that are negative.

    Raises
    ------
    InputError : more are negative than of amplitudes that were made of F and DANO.
    """
    values = mates[:, ::2]
    negative = values < 0
    number, known = int(negative.sum()), int(np.isfinite(values).sum())
    if number > _NEGATIVE * known:
        raise InputError(f"{path}: {number} amplitudes of mates in {found.path} are negative, so that "
                         f"these are no amplitudes. Choose others with {found.kind.option}, or "
                         "intensities with --colin-ipm.")
    if number:
        _log.warning("%s: %d of %d amplitudes of mates in %s are negative, as weak F -+ DANO/2 can be; "
                     "they are taken as not measured.", path, number, known, found.path)
    return np.where(np.repeat(negative, 2, axis=1), np.nan, mates)


def check_mates(path: Path, found: ColumnSet, data: AnomalousData) -> None:
    """Refuse mates without any difference; say if there is no more than noise.

    Raises
    ------
    InputError : F(+) equals F(-).
    """
    plus, minus = data.f_plus, data.f_minus
    both = np.isfinite(plus) & np.isfinite(minus)
    if both.sum() < _ENOUGH:
        return
    difference = (plus - minus)[both]
    if np.abs(difference).max() <= 1e-6 * plus[both].mean():
        raise InputError(f"{path}: both mates of {found.path} are equal in all {both.sum()} pairs: "
                         "Friedel mates were merged, so that there is no anomalous signal. Merge the "
                         "data again with the mates apart.")
    if looks_like_intensities(plus, data.reflections):
        _log.warning("%s: %s are spread like intensities, not like amplitudes. If they are, choose "
                     "them with --colin-ipm.", path, found.path)
    ratio = anomalous_ratio(data)
    if ratio < _NOISE_RATIO:
        _log.warning("%s: the differences of %s are no larger than their uncertainties (mean square "
                     "ratio %.2f): there may be no anomalous signal.", path, found.path, ratio)


def anomalous_ratio(data: AnomalousData) -> float:
    """Mean of (DANO/sigma)^2 over the innermost fifth of the acentric reflections, without the largest
    hundredth: about 0.9 if there is noise only.  NaN for few reflections."""
    sigma2 = data.sigf_plus ** 2 + data.sigf_minus ** 2
    square = (data.f_plus - data.f_minus) ** 2 / np.where(sigma2 > 0, sigma2, np.nan)
    used = np.isfinite(square)
    if used.sum() < _ENOUGH:
        return float("nan")
    inner = square[used][np.argsort(data.reflections.inverse_d_squared[used])[:used.sum() // 5]]
    return float(np.mean(inner[inner <= np.quantile(inner, 0.99)]))
