"""Prepared structures: the format of their files, written and read here only."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import gemmi
import numpy as np

from ... import __version__
from ...crystal.grids import like
from ...crystal.maps import CrystalMap
from ...crystal.masks import flat_mask
from ...crystal.observations import PhasedData
from ...crystal.phases import map_correlation, mean_phase_error, to_complex
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...modification.sharpening import Sharpening

_MAKERS = "crystal", "simulation", "sad", "modification"  # folders of the code that makes maps
MAP_KINDS = "as phased", "overconfident", "later"  # the first of a file; its phases made worse; of both


@dataclass(frozen=True)
class OtherHand:
    """The wrong hand of a prepared experiment.

    Parameters
    ----------
    reflections : in the enantiomorphic space group.
    coefficients : (n,) complex, of its map.
    map_cc : correlation with the map of the structure's enantiomorph.
    """

    reflections: Reflections
    coefficients: np.ndarray
    map_cc: float

    @classmethod
    def read(cls, file: Mapping, given: Reflections) -> OtherHand:
        """From a prepared file, and the reflections of its right hand."""
        turned = Reflections(given.cell, gemmi.SpaceGroup(str(file["other_spacegroup"])), given.d_min)
        return cls(turned, file["other_coefficients"], float(file["other_map_cc"]))


class PreparedMap(NamedTuple):
    """Coefficients (n,) complex after a number of cycles, and their phases and foms."""

    cycle: int
    coefficients: np.ndarray
    phi: np.ndarray
    fom: np.ndarray


@dataclass(frozen=True)
class PreparedStructure:
    """One file written by ``crank2-unet model prepare``.

    Parameters
    ----------
    code, split : entry of the PDB and the split that it was of when it was prepared.
    data : reflections, amplitudes and experimental phases; its coefficients are those of map 0.
    coefficients : (m, n) complex, one row for each map.
    cycle, phase_error : (m,) density-modification cycle (0: before any) and mean phase error, degrees.
    truth : solvent mask of the model, 1 = solvent, on its own grid.
    solvent_matthews : solvent content of the modelled mass, 0..1.
    n_residues : in the asymmetric unit.
    map_cc : (m,) correlation of each map with the true one.
    phi_true : (n,) degrees.
    f_true : (n,) true amplitudes, of unmeasured reflections, too; None in files that do not have them.
    other_hand : map of the same data phased with the other hand of the sites, where it was made.
    """

    code: str
    split: str
    data: PhasedData
    coefficients: np.ndarray
    cycle: np.ndarray
    phase_error: np.ndarray
    truth: gemmi.FloatGrid
    solvent_matthews: float
    n_residues: int
    map_cc: np.ndarray
    phi_true: np.ndarray
    f_true: np.ndarray | None
    other_hand: OtherHand | None

    @property
    def true_coefficients(self) -> np.ndarray:
        """(n,) complex: the measured amplitudes with the true phases."""
        return to_complex(np.nan_to_num(self.data.f), self.phi_true)

    def kind(self, number: int) -> str:
        """Of a map: one of :data:`MAP_KINDS`."""
        first, overconfident, later = MAP_KINDS
        return later if self.cycle[number] else overconfident if number else first

    def seen(self, number: int) -> CrystalMap:
        """A map as the network sees it, sharpened."""
        return self._sharpening.sharpen(self.coefficients[number])

    @property
    def seen_truth(self) -> CrystalMap:
        """The map of ``true_coefficients``, sharpened."""
        return self._sharpening.sharpen(self.true_coefficients)

    @cached_property
    def _sharpening(self) -> Sharpening:
        return Sharpening.of(self.data)

    @property
    def flat(self) -> gemmi.FloatGrid:
        """See :func:`flat_mask`."""
        return flat_mask(self.data.reflections, self.true_coefficients, self.truth)

    @classmethod
    def read(cls, path: str | Path) -> PreparedStructure:
        """Read a file.

        Raises
        ------
        InputError : the file is of a version of the program that did not write all of this.
        """
        with np.load(path) as file:
            _refuse_old(file, path)
            cell = gemmi.UnitCell(*file["cell"])
            spacegroup = gemmi.SpaceGroup(str(file["spacegroup"]))
            reflections = Reflections(cell, spacegroup, float(file["d_min"]))
            shape = tuple(file["truth_shape"])
            bits = np.unpackbits(file["truth"], count=int(np.prod(shape))).reshape(shape)
            empty = gemmi.FloatGrid(*(int(n) for n in shape))
            empty.set_unit_cell(cell)
            empty.spacegroup = spacegroup
            f = file["f"].astype(float)
            coefficients = file["coefficients"]
            data = PhasedData(reflections, f, file["sigf"].astype(float), file["hl"].astype(float),
                              coefficients[0])
            return cls(str(file["code"]), str(file["split"]), data, coefficients, file["map_cycle"],
                       file["phase_error"], like(empty, bits), float(file["solvent_matthews"]),
                       int(file["n_residues"]), file["map_cc"],
                       file["phi_true"].astype(float),
                       file["f_true"].astype(float) if "f_true" in file else None,
                       OtherHand.read(file, reflections) if "other_map_cc" in file else None)


def encode(code: str, split: str, variant: int, n_residues: int, solvent: float,
           settings: Any, data: PhasedData, truth: gemmi.FloatGrid, f_true: np.ndarray,
           maps: list[PreparedMap], other: OtherHand | None) -> dict:
    """The arrays of one prepared file.

    Parameters
    ----------
    code, split, variant : entry of the PDB, its split and number of the experiment.
    n_residues, solvent : in the asymmetric unit; solvent content of the modelled mass.
    settings : of the experiment, a dataclass.
    data, maps : phased data and their maps, the first as phased.
    truth : solvent mask of the model.
    f_true : (n,) complex, true structure factors.
    other : the other hand, where it was made.

    Returns
    -------
    made_by (:func:`made_by`), code, split, variant, cell (6), spacegroup, d_min; f, sigf (n,) and
    hl (n, 4); coefficients (m, n) of m maps with map_cycle, phase_error (degrees), map_cc and fom
    (m,) each; truth (packed bits of the solvent mask) and truth_shape; phi_true (n,), degrees, and
    f_true (n,), of all reflections; solvent_mask, solvent_matthews;
    n_residues; settings (as JSON).  With ``other`` also other_spacegroup,
    other_coefficients (n,) and other_map_cc of the map of the other hand, which is compared with
    the enantiomorph of the structure.
    """
    r, measured = data.reflections, np.isfinite(data.f)
    phi_true = np.rad2deg(np.angle(f_true))  # within +-180: half precision is finer there
    hand = {} if other is None else {
        "other_spacegroup": other.reflections.spacegroup.xhm(),
        "other_coefficients": other.coefficients.astype(np.complex64), "other_map_cc": other.map_cc}
    return {
        "made_by": made_by(), "code": code, "split": split, "variant": variant,
        "n_residues": n_residues, "solvent_matthews": solvent, "settings": json.dumps(asdict(settings)),
        "cell": np.array(r.cell.parameters), "d_min": r.d_min,
        "spacegroup": r.spacegroup.xhm(),
        **{name: getattr(data, name).astype(np.float32) for name in ("f", "sigf", "hl")},
        "truth": np.packbits(truth.array > 0.5), "truth_shape": np.array(truth.shape),
        "phi_true": phi_true.astype(np.float16), "f_true": np.abs(f_true).astype(np.float32),
        "solvent_mask": float(truth.array.mean()),
        "coefficients": np.stack([m.coefficients for m in maps]).astype(np.complex64),
        "map_cycle": np.array([m.cycle for m in maps]),
        "phase_error": np.array([mean_phase_error(m.phi[measured], phi_true[measured])
                                 for m in maps]),
        "fom": np.array([m.fom[measured].mean() for m in maps]),
        "map_cc": np.array([map_correlation(m.coefficients, f_true, r.multiplicity) for m in maps]),
        **hand}


@lru_cache(maxsize=1)
def made_by() -> str:
    """Version of the program, and a digest of the code that decides what maps are like.

    Networks learn the errors of maps.  One that had learnt those of better phases at low resolution
    seemed worse than its predecessor on maps that had been prepared before, and was better on others.
    """
    digest = 0
    for name in _MAKERS:
        for path in sorted((Path(__file__).parents[2] / name).glob("*.py")):
            digest = zlib.crc32(path.read_bytes(), digest)
    return f"{__version__}+{digest:08x}"


def makers(folder: str | Path) -> set[str]:
    """What the prepared files of a folder were made by; those of before this was noted: "unknown"."""
    found = set()
    for path in prepared_files(folder):
        with np.load(path) as file:
            found.add(str(file["made_by"]) if "made_by" in file else "unknown")
    return found


def write_prepared(path: str | Path, arrays: dict) -> None:
    """Write a prepared file, which appears only when it is complete."""
    with open(f"{path}.part", "wb") as file:
        np.savez(file, **arrays)
    os.replace(f"{path}.part", path)


def _refuse_old(file: Mapping, path: str | Path) -> None:
    if "split" not in file:
        raise InputError(f"{path} is too old to tell its split. Prepare the structures anew with this "
                         "version of 'crank2-unet model prepare'.")


class PreparedHeader(NamedTuple):
    """What can be read of a prepared file at little cost: see :class:`PreparedStructure`."""

    code: str
    split: str
    cell: gemmi.UnitCell
    spacegroup: gemmi.SpaceGroup
    d_min: float
    phase_error: np.ndarray

    @classmethod
    def read(cls, path: str | Path) -> PreparedHeader:
        with np.load(path) as file:
            _refuse_old(file, path)
            return cls(str(file["code"]), str(file["split"]), gemmi.UnitCell(*file["cell"]),
                       gemmi.SpaceGroup(str(file["spacegroup"])), float(file["d_min"]),
                       file["phase_error"])


def prepared_files(folder: str | Path, limit: int | None = None, seed: int = 0) -> list[Path]:
    """Prepared files of a folder, or ``limit`` of them chosen at random.

    Raises
    ------
    InputError : there is none.
    """
    files = sorted(Path(folder).resolve().glob("*.npz"))
    if not files:
        raise InputError(f"{folder} has no prepared structures (*.npz). "
                         "Run 'crank2-unet model prepare' first.")
    if limit is None or limit >= len(files):
        return files
    chosen = np.random.default_rng(seed).choice(len(files), limit, replace=False)
    return [files[i] for i in sorted(chosen)]
