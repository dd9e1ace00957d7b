"""Training windows from prepared structures: random places and orientations of random maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from ...crystal.grids import density_map, like, resample
from ...crystal.masks import cut_at_fraction, local_deviation
from ...crystal.observations import PhasedData
from ...crystal.phases import to_complex
from ...crystal.reflections import Reflections
from ...errors import InputError
from ...modification.sharpening import fall_off, fall_off_u
from ...network.inputs import InputSpec, input_maps, sample_window

# Angstrom; finer density costs more time than it changes in the mask
_FLAT_LIMIT, _FLAT_RADIUS = 2.0, 2.0
_MODERATE = (0.001, 0.995)  # quantiles of the density


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

    @cached_property
    def sharp_coefficients(self) -> np.ndarray:
        """(m, n) complex: the maps as the network sees them, sharpened."""
        return self.coefficients / self._fall_off

    @cached_property
    def _fall_off(self) -> np.ndarray:
        return fall_off(self.data.reflections, fall_off_u(self.data))

    @property
    def sharp_true_coefficients(self) -> np.ndarray:
        """(n,) complex: ``true_coefficients``, sharpened."""
        return self.true_coefficients / self._fall_off

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


def flat_mask(reflections: Reflections, true: np.ndarray, solvent: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """Where the true density is flat: a mask (1 = flat) on the grid of that of the solvent, and of the
    same volume.

    Density modification gains more by this mask than by that of the model: ordered water is not flat,
    and loops that the map does not show, though protein, are.  The mask marks the least deviation of
    the true map within 2 Angstrom.

    Parameters
    ----------
    true : (n,) complex, measured amplitudes with the true phases; 0 where there is no amplitude.
    solvent : true solvent mask, 1 = solvent.
    """
    limit = max(reflections.d_min, _FLAT_LIMIT)
    density = density_map(reflections, np.where(reflections.d >= limit, true, 0), limit / 3)
    # the peaks of heavy atoms would reach into the solvent
    density = like(density, np.clip(density.array, *np.quantile(density.array, _MODERATE)))
    deviation = resample(local_deviation(density, _FLAT_RADIUS), solvent)
    return cut_at_fraction(deviation, float(solvent.array.mean()))


def _either(rng: np.random.Generator, count: int) -> int:
    """The first of a number of maps half of the time, or one of the later ones, if there are any."""
    return int(rng.integers(1, count)) if count > 1 and rng.random() < 0.5 else 0


class WindowSource:
    """Batches of windows as a pure function of (seed, step), so that training can be resumed.

    Reading a structure and transforming its map costs more than cutting windows from it.  Steps are
    therefore taken in blocks: the maps of a block are loaded once, and every step of the block
    draws from all of them.

    Parameters
    ----------
    folder : folder of prepared ``*.npz`` files.
    spec : input specification of the network.
    size : points along a window edge.
    seed : of the random choice of maps, places and orientations.

    Raises
    ------
    InputError : there is no prepared file.
    """

    # 16 maps serve 32 steps: with batches of 8, a map gives 16 windows before the next 16 are read
    _MAPS = 16
    _STEPS = 32

    def __init__(self, folder: str | Path, spec: InputSpec, size: int, seed: int):
        self.files = prepared_files(folder)
        self._spec, self._size, self._seed = spec, size, seed
        self._block = lru_cache(maxsize=1)(self._load_block)

    def batch(self, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows of one training step.

        Returns
        -------
        x : (batch_size, size, size, size, channels) float32.
        y : (batch_size, size, size, size, 3) float32: the solvent mask, 1 = solvent, that of
            flat density, and the true density, cut and normalised as that of x.
        """
        maps = self._block(step // self._STEPS)
        rng = np.random.default_rng((self._seed, 1, step))
        chosen = rng.permutation(len(maps))[:batch_size] if batch_size <= len(maps) else \
            rng.integers(len(maps), size=batch_size)
        pairs = [self._cut(*maps[i], rng) for i in chosen]
        return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])

    def _load_block(self, block: int) -> list[tuple[list[gemmi.FloatGrid], list[gemmi.FloatGrid]]]:
        """Input maps and true maps of a block.  Each pass over the files is a new random order."""
        first = block * self._MAPS
        loaded = []
        for number in range(first, first + self._MAPS):
            epoch, place = divmod(number, len(self.files))
            order = np.random.default_rng((self._seed, 0, epoch)).permutation(len(self.files))
            structure = PreparedStructure.read(self.files[order[place]])
            which = _either(np.random.default_rng((self._seed, 2, number)),
                            len(structure.coefficients))
            maps = input_maps(structure.data.reflections, structure.sharp_coefficients[which],
                              self._spec)
            loaded.append((maps, [structure.truth, structure.flat, self._true_density(structure)]))
        return loaded

    def _true_density(self, structure: PreparedStructure) -> gemmi.FloatGrid:
        """The sharpened map of the measured amplitudes with the true phases."""
        return input_maps(structure.data.reflections, structure.sharp_true_coefficients,
                          InputSpec(self._spec.spacing, self._spec.clip, deviation_radius=0.0))[0]

    def _cut(self, maps: list[gemmi.FloatGrid], truth: list[gemmi.FloatGrid],
             rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A window at a random place in a random orientation, and its truth."""
        rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()  # uniform
        centre = truth[0].unit_cell.orthogonalize(gemmi.Fractional(*rng.random(3)))
        half = (self._size - 1) / 2 * self._spec.spacing
        start = np.array(centre.tolist()) - rotation @ np.full(3, half)
        shape = (self._size,) * 3
        x, y = (np.stack([sample_window(m, start, shape, self._spec.spacing, rotation)
                          for m in group], axis=-1) for group in (maps, truth))
        y[..., :2] = y[..., :2] > 0.5
        return x, y
