"""MTZ files in and out: columns found by label or by type, rows laid out over the complete list."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.reflections import spacegroup_of
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
