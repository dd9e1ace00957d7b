"""Windows for training, cut once from prepared maps and kept in packed files.

``PREPARED/windows`` holds two files for each prepared one.  ``CODE_VARIANT.npy`` is an array (n, size,
size, size, channels + 1) of bytes, which is read through a memory map.  ``CODE_VARIANT.json``, its
manifest, is written last: without it the windows are cut anew, so that cutting can be interrupted at
any point.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import InputError
from ...network.inputs import InputSpec, input_maps, sample_window
from ..parallel import run_all
from .prepared import PreparedHeader, PreparedStructure, prepared_files

FOLDER = "windows"
REVISION = 1  # raise it when the same prepared file and settings give other bytes
# degrees of the mean phase error, in which masks are worth most: twice the windows
_WORTH_MOST = (60.0, 80.0)
# The density has 127 steps to each side of zero, the deviation steps of 0.05 from -5 to 7.75, which
# one point in 10,000 exceeds.  Of twelve maps as phased, 99.9 % of the points of the shipped network's
# masks stay as they are, and its accuracy is .77602 instead of .77607 (half precision: .77607).
_DEVIATION_STEP, _DEVIATION_LOWEST = 0.05, -5.0
_TRUE_LEVELS = 31  # to each side of zero: six bits beside the two of the masks


@dataclass(frozen=True)
class WindowSettings:
    """How windows are cut.

    Parameters
    ----------
    input : what the network sees.
    size : points along an edge.
    per_map : windows of a map, in random places and orientations; twice as many where the mean phase
        error is from 60 to 80 degrees.
    """

    input: InputSpec
    size: int
    per_map: int

    def to_json(self) -> dict:
        return {**asdict(self), "revision": REVISION}


def cut_windows(prepared: str | Path, split: str, settings: WindowSettings, workers: int = 1,
                scheduler: str | None = None) -> list[dict]:
    """Cut the windows of all prepared files of a folder that have none yet.

    The windows of a file depend on its content and the settings only.

    Parameters
    ----------
    prepared : folder of prepared files.
    split : "train" or "validation"; files of structures of another split are refused.
    workers, scheduler : see :func:`~crank2_unet.training.parallel.run_all`.

    Returns
    -------
    The manifests, in the order of the names of the files: windows (path of the array), source and
    sha256 (name and hash of the prepared file), code, split, settings, maps (cycle, phase_error and
    number of windows of each), crc32 of each window, in the order of the maps.

    Raises
    ------
    InputError : no prepared file, one of another split, or windows cut with other settings.
    """
    files = prepared_files(prepared)
    folder = files[0].parent / FOLDER
    folder.mkdir(exist_ok=True)
    missing = {path.stem: (str(path), settings) for path in files
               if not _is_cut(path, folder, split, settings)}
    if missing:
        run_all(_cut, missing, workers, scheduler)
    manifests = [folder / f"{path.stem}.json" for path in files]
    return [{**json.loads(path.read_text()), "windows": str(path.with_suffix(".npy"))}
            for path in manifests if path.exists()]


def _is_cut(path: Path, folder: Path, split: str, settings: WindowSettings) -> bool:
    """Whether the windows of a prepared file, as it is now, are there."""
    manifest = folder / f"{path.stem}.json"
    found = json.loads(manifest.read_text()) if manifest.exists() else None
    its = found["split"] if found else PreparedHeader.read(path).split
    if its != split:
        raise InputError(f'{path} is of split "{its}", not "{split}". Remove it from the folder.')
    if found is None:
        return False
    if found["settings"] != settings.to_json():
        raise InputError(f"The windows in {folder} were cut with {found['settings']}, not with "
                         f"{settings.to_json()}. Remove the folder, or train with its settings.")
    return found["sha256"] == _sha256(path)


def _cut(path: str, settings: WindowSettings) -> None:
    """Write the windows of a prepared file, then their manifest."""
    source = Path(path)
    structure = PreparedStructure.read(path)
    counts = [settings.per_map * (2 if _WORTH_MOST[0] <= error < _WORTH_MOST[1] else 1)
              for error in structure.phase_error]
    rng = np.random.default_rng(zlib.crc32(source.stem.encode()))
    truth = [structure.truth, structure.flat, _true_density(structure, settings.input)]
    windows = np.stack([
        _window([*maps, *truth], settings, rng)
        for maps, count in zip((input_maps(structure.seen(number), settings.input)
                                for number in range(len(counts))), counts) for _ in range(count)])
    manifest = {
        "source": source.name, "sha256": _sha256(source), "code": structure.code,
        "split": structure.split, "settings": settings.to_json(),
        "maps": [{"cycle": int(cycle), "phase_error": round(float(error), 2), "windows": count}
                 for cycle, error, count in zip(structure.cycle, structure.phase_error, counts)],
        "crc32": [zlib.crc32(window) for window in windows]}
    target = source.parent / FOLDER / source.stem
    with open(f"{target}.part", "wb") as file:
        np.save(file, windows)
    os.replace(f"{target}.part", f"{target}.npy")
    Path(f"{target}.part").write_text(json.dumps(manifest))
    os.replace(f"{target}.part", f"{target}.json")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _true_density(structure: PreparedStructure, spec: InputSpec) -> gemmi.FloatGrid:
    """The sharpened map of the measured amplitudes with the true phases."""
    return input_maps(structure.seen_truth, InputSpec(spec.spacing, spec.clip, deviation_radius=0.0))[0]


def _window(maps: list[gemmi.FloatGrid], settings: WindowSettings, rng: np.random.Generator,
            ) -> np.ndarray:
    """Bytes (size, size, size, channels + 1) at a random place in a random orientation."""
    spec, shape = settings.input, (settings.size,) * 3
    rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()  # uniform
    centre = maps[0].unit_cell.orthogonalize(gemmi.Fractional(*rng.random(3)))
    start = np.array(centre.tolist()) - rotation @ np.full(3, (settings.size - 1) / 2 * spec.spacing)
    values = np.stack([sample_window(m, start, shape, spec.spacing, rotation) for m in maps], axis=-1)
    return pack(values[..., :-3], values[..., -3:], spec.clip)


def pack(x: np.ndarray, y: np.ndarray, clip: float) -> np.ndarray:
    """Bytes (..., channels + 1) of what the network sees and the truth; see :func:`unpack`."""
    packed = np.empty((*x.shape[:-1], x.shape[-1] + 1), np.uint8)
    packed[..., 0] = np.rint(x[..., 0] * (127 / clip)) + 128
    deviation = (x[..., 1:] - _DEVIATION_LOWEST) / _DEVIATION_STEP
    packed[..., 1:-1] = np.rint(np.clip(deviation, 0, 255))
    solvent, flat = y[..., 0] > 0.5, y[..., 1] > 0.5
    true = np.rint(y[..., 2] * (_TRUE_LEVELS / clip)) + _TRUE_LEVELS
    packed[..., -1] = 4 * true + 2 * flat + solvent
    return packed


def unpack(packed: np.ndarray, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees and the truth.

    Parameters
    ----------
    packed : (..., channels + 1) bytes.
    clip : largest density, of the input specification.

    Returns
    -------
    x : (..., channels) float32, density and local deviation.
    y : (..., 3) float32: the solvent mask, 1 = solvent, that of flat density, and the true density.
    """
    density, deviation, truth = _tables(clip)
    # by tables, which is several times faster than arithmetic
    x = np.empty((*packed.shape[:-1], packed.shape[-1] - 1), np.float32)
    x[..., 0] = density[packed[..., 0]]
    x[..., 1:] = deviation[packed[..., 1:-1]]
    return x, truth[packed[..., -1]]


@lru_cache(maxsize=1)
def _tables(clip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each byte means: density, deviation, (256,), and the truth, (256, 3)."""
    byte = np.arange(256)
    true = ((byte >> 2) - _TRUE_LEVELS) * (clip / _TRUE_LEVELS)
    return (((byte - 128) * (clip / 127)).astype(np.float32),
            (byte * _DEVIATION_STEP + _DEVIATION_LOWEST).astype(np.float32),
            np.stack([byte & 1, byte >> 1 & 1, true], axis=-1).astype(np.float32))
