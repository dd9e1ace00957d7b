"""MTZ files in and out: columns found by label or by type, rows laid out over the complete list."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.french_wilson import french_wilson
from ..crystal.observations import AnomalousData, PhasedData
from ..crystal.phases import hl_from_phi_fom, phi_fom_from_hl, to_complex
from ..crystal.reflections import Reflections, spacegroup_of
from ..errors import InputError


@dataclass(frozen=True)
class _Kind:
    """A group of columns that belong together.

    ``types`` are MTZ column types in the order of the file, ``clipper`` the endings of Clipper's
    compound labels, ``option`` the command-line option by which the user names the columns.
    """

    what: str
    option: str
    types: str
    clipper: tuple


AMPLITUDES = _Kind("observed amplitudes", "--colin-fo", "FQ", ("F_sigF.F", "F_sigF.sigF"))
HENDRICKSON_LATTMAN = _Kind("Hendrickson-Lattman coefficients", "--colin-hl", "AAAA",
                            ("ABCD.A", "ABCD.B", "ABCD.C", "ABCD.D"))
PHASE_AND_FOM = _Kind("phase and figure of merit", "--colin-phifom", "PW",
                      ("Phi_fom.phi", "Phi_fom.fom"))
MAP_COEFFICIENTS = _Kind("map coefficients", "--colin-fc", "FP", ("F_phi.F", "F_phi.phi"))
ANOMALOUS_AMPLITUDES = _Kind("amplitudes of Friedel mates", "--colin-fpm", "GLGL",
                             ("F_sigF_anom.F+", "F_sigF_anom.sigF+", "F_sigF_anom.F-",
                              "F_sigF_anom.sigF-"))
ANOMALOUS_INTENSITIES = _Kind("intensities of Friedel mates", "--colin-ipm", "KMKM",
                              ("I_sigI_anom.I+", "I_sigI_anom.sigI+", "I_sigI_anom.I-",
                               "I_sigI_anom.sigI-"))


class MtzFile:
    """A merged MTZ file, its reflections moved to gemmi's asymmetric unit.

    Raises
    ------
    InputError : missing, unreadable, truncated, unmerged or empty file, or unusable symmetry.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.mtz = gemmi.read_mtz_file(str(path))
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{path} cannot be read as an MTZ file: {error}. "
                             "Give a merged MTZ file.") from error
        if self.mtz.batches:
            raise InputError(f"{path} is unmerged ({len(self.mtz.batches)} batches). "
                             "Merge it first, for instance with aimless.")
        if not self.mtz.nreflections:
            raise InputError(f"{path} has no reflections.")
        found = self.mtz.spacegroup  # by the operators; "R 3" may mean either kind of axes
        self.mtz.spacegroup = spacegroup_of(found.xhm() if found else self.mtz.spacegroup_name,
                                            str(path))
        if not np.isfinite(self.mtz.cell.volume) or self.mtz.cell.volume < 1.0:
            raise InputError(f"{path} has the impossible unit cell {self.mtz.cell.parameters}. "
                             "Correct its header.")
        self.mtz.ensure_asu()
        self.hkl = self.mtz.make_miller_array()
        if len(np.unique(self.hkl, axis=0)) < len(self.hkl):
            raise InputError(f"{path} has several rows for one unique reflection. Merge it first.")

    def find(self, kind: _Kind, labels: str | None = None, optional: bool = False,
             ) -> tuple[str, ...] | None:
        """Labels of the columns of a kind: those the user named, or the only ones there are.

        Parameters
        ----------
        kind : what is looked for.
        labels : comma-separated labels or a Clipper path; None = look by column type.
        optional : return None where there are none, instead of an error.

        Raises
        ------
        InputError : unknown label, wrong column type, no candidate, or several.
        """
        if labels:
            return self._named(kind, labels)
        candidates = self._candidates(kind)
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            listed = " and ".join(",".join(c) for c in candidates)
            raise InputError(f"{self.path} has {len(candidates)} sets of {kind.what}: {listed}. "
                             f"Choose with {kind.option} {','.join(candidates[0])}.")
        if optional:
            return None
        raise InputError(f"{self.path} has no {kind.what}. Its columns are: "
                         f"{', '.join(self.mtz.column_labels())}. "
                         f"Name them with {kind.option} if they have unusual types.")

    def only(self, kind: _Kind) -> tuple[str, ...] | None:
        """Labels of the columns of a kind if there is one set of them, else None."""
        candidates = self._candidates(kind)
        return candidates[0] if len(candidates) == 1 else None

    def column(self, label: str) -> np.ndarray:
        """Values of a column, float64, missing values NaN."""
        return self.mtz.column_with_label(label).array.astype(float)

    def _candidates(self, kind: _Kind) -> list[tuple[str, ...]]:
        columns = list(self.mtz.columns)
        types = "".join(c.type for c in columns)
        found = [tuple(c.label for c in columns[match.start():match.end()])
                 for match in re.finditer(kind.types, types)]
        if kind is PHASE_AND_FOM and not found:  # often the fom comes first
            found = [(columns[match.start() + 1].label, columns[match.start()].label)
                     for match in re.finditer("WP", types)]
        return found

    def _named(self, kind: _Kind, text: str) -> tuple[str, ...]:
        stem = text.rsplit("/", 1)[-1].strip("[]")
        labels = tuple(part.strip() for part in stem.split(","))
        if len(labels) == 1 and len(kind.types) > 1:
            labels = tuple(f"{stem}.{ending}" for ending in kind.clipper)
        if len(labels) != len(kind.types):
            raise InputError(f"{kind.option} {text} names {len(labels)} columns; {kind.what} are "
                             f"{len(kind.types)}, for instance {','.join(kind.clipper)}.")
        known = self.mtz.column_labels()
        for label, wanted in zip(labels, kind.types):
            if label not in known:
                near = difflib.get_close_matches(label, known, 1, 0.5)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise InputError(f"{self.path} has no column {label}{hint}. "
                                 f"Its columns are: {', '.join(known)}.")
            got = self.mtz.column_with_label(label).type
            # a calculated or intensity-like type in place of the usual one is a mistaken label
            if got != wanted and not (wanted in "FG" and got in "FGE"):
                raise InputError(f"Column {label} of {self.path} has type {got}; {kind.option} "
                                 f"needs type {wanted} ({kind.what}).")
        return labels


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


def write_mtz(path: str | Path, file: MtzFile, reflections: Reflections,
              columns: dict, title: str, keep: str | None = None) -> dict:
    """Write the input's columns and new ones, with a row for every unique reflection.

    Parameters
    ----------
    path : file to be written.
    file : input whose columns are kept.
    reflections : complete list over which the new columns run.
    columns : label -> (MTZ column type, (n,) values; NaN = missing).
    title : title and history line of the file.
    keep : MTZ types of the input's columns to keep; default: all.

    Returns
    -------
    Wanted label -> label in the file; they differ where the input had such a column already.
    """
    old = file.mtz
    beyond = reflections.find(file.hkl) < 0
    hkl = np.concatenate([reflections.hkl, file.hkl[beyond]])
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.title = old.spacegroup, title
    mtz.set_cell_for_all(old.cell)
    for source in list(old.datasets)[1:]:
        added = mtz.add_dataset(source.dataset_name)
        added.project_name, added.crystal_name = source.project_name, source.crystal_name
        added.wavelength, added.cell = source.wavelength, source.cell
    if len(mtz.datasets) == 1:
        mtz.add_dataset("crank2_unet")
    table = [hkl.astype(float)]
    known = set()
    for column in list(old.columns)[3:]:
        if keep is not None and column.type not in keep:
            continue
        place = min(column.dataset_id, len(mtz.datasets) - 1)
        mtz.add_column(column.label, column.type, dataset_id=place)
        known.add(column.label)
        values = column.array
        table.append(np.concatenate([reflections.spread(file.hkl, values), values[beyond]])[:, None])
    names = {}
    for label, (kind, values) in columns.items():
        names[label] = _free_label(label, known)
        known.add(names[label])
        mtz.add_column(names[label], kind, dataset_id=len(mtz.datasets) - 1)
        table.append(np.concatenate([values, np.full(beyond.sum(), np.nan)])[:, None])
    mtz.set_data(np.hstack(table).astype(np.float32))
    mtz.history = [title, *old.history]
    mtz.sort()
    mtz.write_to_file(str(path))
    return names


def append_columns(path: str | Path, file: MtzFile, reflections: Reflections, groups: list,
                   title: str) -> None:
    """Write a copy of the input with new columns, and with its rows only.

    The way of Clipper programs: reflections that have no row in the input are not written.

    Parameters
    ----------
    path : file to be written; it appears when it is complete.
    file : the input.
    reflections : complete list over which the new columns run.
    groups : (crystal, dataset, columns) of what belongs together; columns are label ->
        (MTZ column type, (n,) values; NaN = missing).  A dataset that the input lacks is added.
    title : line for the history.

    Raises
    ------
    InputError : the input has a column of that label, or the file cannot be written.
    """
    mtz = gemmi.read_mtz_file(str(file.path))  # as it was, before reflections moved to the asu
    mtz.spacegroup = file.mtz.spacegroup
    sign, shift = _from_asu(mtz)
    row = reflections.find(file.hkl)
    for crystal, dataset, columns in groups:
        taken = set(columns) & set(mtz.column_labels())
        if taken:
            raise InputError(f"{file.path} already has a column {min(taken)}. Choose other output "
                             "labels, for instance with -colout.")
        place = _dataset(mtz, crystal, dataset)
        for label, (kind, values) in _in_setting(columns, row, sign, shift).items():
            mtz.add_column(label, kind, dataset_id=place).array[:] = np.where(row < 0, np.nan, values)
    mtz.history = [title, *mtz.history]
    unfinished = Path(f"{path}.part")
    try:
        mtz.write_to_file(str(unfinished))
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be written ({error}).") from error


def _dataset(mtz: gemmi.Mtz, crystal: str, dataset: str) -> int:
    """Number of a dataset, which is added if need be."""
    for known in mtz.datasets:
        if (known.crystal_name, known.dataset_name) == (crystal, dataset):
            return known.id
    added = mtz.add_dataset(dataset)
    added.crystal_name, added.cell = crystal, mtz.cell
    return added.id


def _from_asu(mtz: gemmi.Mtz) -> tuple[np.ndarray, np.ndarray]:
    """How phases change from gemmi's asymmetric unit to the rows' own reflections.

    Returns
    -------
    sign, shift : (n,); phi(row) = sign * (phi(asu) - shift), degrees.
    """
    probe = gemmi.Mtz(with_base=True)
    probe.spacegroup = mtz.spacegroup
    probe.set_cell_for_all(mtz.cell)
    probe.add_dataset("probe")
    for label in ("P0", "P90"):  # gemmi moves both; what became of them tells what it did
        probe.add_column(label, "P")
    hkl = mtz.make_miller_array()
    probe.set_data(np.column_stack([hkl, np.zeros(len(hkl)), np.full(len(hkl), 90.0)]
                                   ).astype(np.float32))
    probe.ensure_asu()
    shift, turned = (probe.column_with_label(label).array.astype(float) for label in ("P0", "P90"))
    return np.sign(np.sin(np.deg2rad(turned - shift))), shift


def _in_setting(columns: dict, row: np.ndarray, sign: np.ndarray, shift: np.ndarray) -> dict:
    """Columns of the complete list at the rows of a file, phases and HL coefficients turned."""
    found = {label: (kind, values[row]) for label, (kind, values) in columns.items()}
    for label, (kind, values) in found.items():
        if kind == "P":
            found[label] = kind, (sign * (values - shift)) % 360.0
    hl = [label for label, (kind, _) in found.items() if kind == "A"]
    for order, pair in ((1, hl[:2]), (2, hl[2:])):
        if pair:
            x, y = (found[label][1] for label in pair)
            turn = (x - 1j * y) * np.exp(1j * np.deg2rad(order * shift))
            found[pair[0]], found[pair[1]] = ("A", turn.real), ("A", -sign * turn.imag)
    return found


def _free_label(label: str, known: set) -> str:
    """``label``, or with the first number that makes it new."""
    number, free = 2, label
    while free in known:
        free, number = f"{label}_{number}", number + 1
    return free
