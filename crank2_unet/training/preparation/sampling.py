"""Windows cut from prepared maps, in batches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from ...network.inputs import InputSpec, input_maps, sample_window
from .prepared import PreparedStructure, prepared_files


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
        loaded = self._block(step // self._STEPS)
        rng = np.random.default_rng((self._seed, 1, step))
        chosen = rng.permutation(len(loaded))[:batch_size] if batch_size <= len(loaded) else \
            rng.integers(len(loaded), size=batch_size)
        pairs = [self._cut(maps, truth, rng) for maps, truth in (loaded[i] for i in chosen)]
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
            maps = input_maps(structure.seen(which), self._spec)
            loaded.append((maps, [structure.truth, structure.flat, self._true_density(structure)]))
        return loaded

    def _true_density(self, structure: PreparedStructure) -> gemmi.FloatGrid:
        """The sharpened map of the measured amplitudes with the true phases."""
        return input_maps(structure.seen_truth,
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
