"""Batches of windows from their packed files."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count, permutations, product
from typing import Callable

import numpy as np

from ...errors import InputError
from .windows import unpack

Batch = tuple[np.ndarray, np.ndarray]
# the 24 rotations of a cube: order of the axes, and which of them are turned round
_ROTATIONS = [(order, turned) for order in permutations(range(3))
              for turned in product((False, True), repeat=3)
              if np.linalg.det(np.eye(3)[list(order)]) * (-1) ** sum(turned) > 0]


class Windows:
    """Batches as a pure function of (manifests, seed, step), so that training can be resumed.

    Each pass over the windows is in a new random order, and each window is turned by one of the 24
    rotations of the cube.

    Parameters
    ----------
    manifests : of :func:`~.windows.cut_windows`.
    seed : of order and rotations.
    one_of_each_map : only the first window of each map.
    """

    def __init__(self, manifests: Sequence[dict], seed: int, one_of_each_map: bool = False):
        self._manifests, self._seed = manifests, seed
        self._places = [(shard, window) for shard, manifest in enumerate(manifests)
                        for window in (_firsts(manifest) if one_of_each_map
                                       else range(len(manifest["crc32"])))]
        self._order = lru_cache(maxsize=2)(self._new_order)
        self._open = lru_cache(maxsize=1000)(self._map_file)  # a process may have 1024 files open

    def __len__(self) -> int:
        return len(self._places)

    @property
    def provenance(self) -> dict:
        """Numbers of windows and maps, hashes of the prepared files, and a digest that changes with any
        byte of any window, their number and their order."""
        return {"digest": zlib.crc32(repr([m["crc32"] for m in self._manifests]).encode()),
                "windows": len(self), "maps": sum(len(m["maps"]) for m in self._manifests),
                "files": {m["source"]: m["sha256"] for m in self._manifests}}

    def batch(self, step: int, batch_size: int) -> Batch:
        """Windows of one training step; shapes (batch_size, size, size, size, channels) and (..., 3)
        as of :func:`~.windows.unpack`.

        Raises
        ------
        InputError : a file has been damaged since it was written.
        """
        numbers = range(step * batch_size, (step + 1) * batch_size)
        clip = self._manifests[0]["settings"]["input"]["clip"]
        return unpack(np.stack([self._window(number) for number in numbers]), clip)

    def _window(self, number: int) -> np.ndarray:
        round_, place = divmod(number, len(self))
        shard, window = self._places[self._order(round_)[place]]
        packed = self._open(shard)[window]
        manifest = self._manifests[shard]
        if zlib.crc32(packed) != manifest["crc32"][window]:
            raise InputError(f"Window {window} of {manifest['windows']} has changed since it was cut. "
                             "Remove the file and its .json: they are made anew.")
        chosen = np.random.default_rng((self._seed, 1, number)).integers(len(_ROTATIONS))
        return turn(packed, int(chosen))

    def _new_order(self, round_: int) -> np.ndarray:
        return np.random.default_rng((self._seed, 0, round_)).permutation(len(self))

    def _map_file(self, shard: int) -> np.ndarray:
        return np.load(self._manifests[shard]["windows"], mmap_mode="r")


def _firsts(manifest: dict) -> list[int]:
    """Number of the first window of each map."""
    counts = [entry["windows"] for entry in manifest["maps"]]
    return [sum(counts[:i]) for i in range(len(counts))]


def turn(window: np.ndarray, rotation: int) -> np.ndarray:
    """A window (size, size, size, ...) turned by one of the 24 rotations of the cube."""
    order, turned = _ROTATIONS[rotation]
    return window.transpose(*order, 3)[tuple(slice(None, None, -1 if t else 1) for t in turned)]


def read_ahead(read: Callable[[int], Batch], first: int) -> Generator[Batch, None, None]:
    """Batches of the steps from ``first`` on, each read while the one before is in use."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(read, first)
        for step in count(first + 1):
            batch, following = following.result(), reader.submit(read, step)
            yield batch
