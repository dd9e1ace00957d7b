"""Training windows from prepared structures: random places and orientations of random maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gemmi
import numpy as np

from ...crystal.grids import like
from ...crystal.maps import CrystalMap
from ...crystal.masks import flat_mask
from ...crystal.observations import PhasedData
from ...crystal.phases import to_complex
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...modification.sharpening import Sharpening


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


@dataclass(frozen=True)
class PreparedStructure:
    """One file written by ``crank2-unet model prepare``.

    Parameters
    ----------
    code : entry of the PDB.
    data : reflections, amplitudes and experimental phases; its coefficients are those of map 0.
    coefficients : (m, n) complex, one row for each map.
    cycle, phase_error : (m,) density-modification cycle (0: as phased) and mean phase error, degrees.
    truth : solvent mask of the model, 1 = solvent, on its own grid.
    solvent_matthews : solvent content of the modelled mass, 0..1.
    n_residues : in the asymmetric unit.
    map_cc : (m,) correlation of each map with the true one.
    phi_true : (n,) degrees.
    other_hand : map of the same data phased with the other hand of the sites, where it was made.
    """

    code: str
    data: PhasedData
    coefficients: np.ndarray
    cycle: np.ndarray
    phase_error: np.ndarray
    truth: gemmi.FloatGrid
    solvent_matthews: float
    n_residues: int
    map_cc: np.ndarray
    phi_true: np.ndarray
    other_hand: OtherHand | None

    @property
    def true_coefficients(self) -> np.ndarray:
        """(n,) complex: the measured amplitudes with the true phases."""
        return to_complex(np.nan_to_num(self.data.f), self.phi_true)

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
        InputError : the file is of a version that did not write all of this.
        """
        with np.load(path) as file:
            if "phi_true" not in file:
                raise InputError(f"{path} is too old to hold the true phases. Prepare the structures "
                                 "anew with this version of 'crank2-unet model prepare'.")
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
            return cls(str(file["code"]), data, coefficients, file["map_cycle"],
                       file["phase_error"], like(empty, bits), float(file["solvent_matthews"]),
                       int(file["n_residues"]), file["map_cc"],
                       file["phi_true"].astype(float),
                       OtherHand.read(file, reflections) if "other_map_cc" in file else None)


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
