"""Output folders: files get their final names only when all of them are complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import InputError, ProgramError


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder`` if the block ends without an error.

    A job that fails, whenever it does, leaves the folder as it was; but if a program that it ran
    failed, the files so far are kept in a folder ``failed`` inside, for a person to look at.

    Raises
    ------
    InputError : the folder cannot be made or written to, or the disk is full.
    ProgramError : that of the block; it says where the files are.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".crank2-unet-", dir=folder))
    except OSError as error:
        raise InputError(f"Cannot write to the output folder {folder} ({error.strerror}). "
                         "Choose another with -o.") from error
    try:
        yield stage
        for file in sorted(stage.iterdir()):
            os.replace(file, folder / file.name)
    except ProgramError as error:
        if not any(stage.iterdir()):
            raise
        raise ProgramError(f"{error}\nIts files are in {_set_aside(stage, folder)}") from error
    except OSError as error:
        raise InputError(f"Cannot write {error.filename or folder} ({error.strerror}). "
                         "Choose another output folder with -o.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _set_aside(stage: Path, folder: Path) -> Path:
    """Give a temporary folder a name that can be seen."""
    number, kept = 2, folder / "failed"
    while kept.exists():
        number, kept = number + 1, folder / f"failed_{number}"
    stage.chmod(folder.stat().st_mode)  # a temporary folder is closed to colleagues
    return stage.rename(kept)


def write_json(result: dict, path: str | Path) -> None:
    """Write a result with numpy numbers in it; NaN, which is not JSON, becomes null."""
    Path(path).write_text(json.dumps(_plain(result), indent=1, allow_nan=False) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
