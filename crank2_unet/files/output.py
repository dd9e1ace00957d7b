"""Outputs get their final names only when all of them are complete, never those of other files.

One mechanism serves folders (:func:`staged`) and single files (:func:`staged_file`): a temporary folder
on the same file system, with an unpredictable name and locked by its job, whose content is synced and
then renamed.  Names are replaced, links never followed.  What a killed job leaves is recognised by its
free lock, and finished or removed by the next job of that name.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import InputError, ProgramError
from ..process import note_written, uninterrupted

RESULT, REPORT = "result.json", "report.html"
_MARK = ".crank2-unet-"
# in a stage that is complete, for the files that its own replace: while they are moved there, and when
# all are.  A job killed in between is undone; one killed later is completed.
_REPLACING, _REPLACED = ".replacing", ".replaced"


@contextmanager
def staged(folder: str | Path, command: str = "", inputs: Iterable[str | Path | None] = (),
           names: Iterable[str] = (), parts: bool = False) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder``, all or none, if the block ends without error.

    A job that fails, whenever it does, leaves everything as it was; but if a program that it ran
    failed, the files so far are kept in a folder ``failed`` inside, for a person to look at.

    Parameters
    ----------
    folder : of the results; made if need be.
    command : whose results these are: they replace those of an earlier run of the same command, all of
        them, and no other file.  "": files of the same names are replaced.
    inputs : files that the job reads, which are not replaced in any case.
    names : of the files that the job is known to write, so that it is refused before it starts.
    parts : the job makes folders inside meanwhile, which stay whatever becomes of it.

    Raises
    ------
    InputError : the folder cannot be made or written to, the disk is full, another job is writing
        there, or other files are in the way.
    ProgramError : that of the block; it says where the files are.
    """
    folder = Path(folder)
    with _claimed(folder) as made:
        place = Path(os.path.realpath(folder))
        for where in {place, place.parent}:
            _sweep(where, place.name)
        _replaceable(folder, command, inputs, names)
        with _stage(place.parent if made and not parts else place, place.name) as stage:
            try:
                yield stage
                _sync(*(path for path in stage.rglob("*") if not path.is_symlink()))
                outdated = _replaceable(folder, command, inputs, os.listdir(stage))
                with uninterrupted():
                    _publish(stage, place, outdated)
                    note_written(folder)
            except (ProgramError, _InTheWay) as error:
                if not any(stage.iterdir()):
                    raise
                raise type(error)(f"{error}\nIts files are in {_set_aside(stage, folder)}") from error
            except OSError as error:
                raise _unwritable(error, stage, folder, "another output folder with -o") from error


@contextmanager
def staged_file(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> Iterator[Path]:
    """A temporary file that becomes ``path`` if the block ends without an error.

    Raises
    ------
    InputError : the file cannot be written, is an input, or is no file.
    """
    path = Path(path)
    if os.path.lexists(path) and not path.is_file() and not path.is_symlink():
        raise InputError(f"{path} is not a file. Choose another name for the output.")
    refuse_inputs(path, inputs)
    try:
        _sweep(path.parent, path.name)
        with _stage(path.parent, path.name) as stage:
            yield stage / "new"
            _sync(stage / "new")
            with uninterrupted():
                os.replace(stage / "new", path)
                _sync(path.parent)
                note_written(path)
    except OSError as error:
        raise _unwritable(error, path, path, "another place for the output") from error


class _InTheWay(InputError):
    """A file that is not the job's own has the name of a result."""


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Lock a folder; it is made if need be (then true), and removed again if nothing is put there."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = None
    try:
        os.fspath(folder).encode()  # the libraries that write take no other names
        with uninterrupted():
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY)
        if not _lock(lock):
            raise InputError(f"Another job is writing to {folder}. Wait for its end, or choose "
                             "another folder with -o.")
        yield bool(made)
    except UnicodeEncodeError:
        raise InputError(f"The name of the output folder {folder} is not UTF-8. "
                         "Choose another with -o.") from None
    except OSError as error:
        raise InputError(f"Cannot write to the output folder {folder} ({error.strerror}). "
                         "Choose another with -o.") from error
    finally:
        with uninterrupted():
            with suppress(OSError):  # one of them is not empty
                for place in made:
                    place.rmdir()
            if lock is not None:
                os.close(lock)


def _lock(descriptor: int) -> bool:
    """Whether the lock was free; where the file system knows none it always is."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextmanager
def _stage(place: Path, name: str) -> Iterator[Path]:
    """A new folder inside ``place``, locked; removed with what is left in it."""
    lock = None
    try:
        with uninterrupted():
            stage = Path(tempfile.mkdtemp(prefix=f".{name[:80]}{_MARK}", dir=place))
            lock = os.open(stage, os.O_RDONLY)
            _lock(lock)
        yield stage
    finally:
        with uninterrupted():
            if lock is not None:
                shutil.rmtree(stage, ignore_errors=True)
                os.close(lock)


def _sweep(place: Path, name: str) -> None:
    """Remove what killed jobs have left; if one was killed while it renamed its files, finish that."""
    start = f".{name[:80]}{_MARK}"
    for entry in list(os.scandir(place)):
        if not entry.name.startswith(start) or not entry.is_dir(follow_symlinks=False):
            continue
        with suppress(OSError):  # of another user, or just gone
            lock = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    _finish(Path(entry.path))
            finally:
                os.close(lock)


def _finish(stage: Path) -> None:
    """Put right what a job that was killed has left of its stage."""
    if (stage / _REPLACING).is_dir():
        for file in (stage / _REPLACING).iterdir():
            os.replace(file, stage.parent / file.name)
    elif (stage / _REPLACED).is_dir():
        for name in _in_order(stage):
            os.replace(stage / name, stage.parent / name)
    shutil.rmtree(stage, ignore_errors=True)


def _in_order(stage: Path) -> list[str]:
    """Names of the files of a stage; the result comes last and thus says that all are there."""
    return sorted((file.name for file in stage.iterdir() if file.name != _REPLACED),
                  key=lambda name: (name == RESULT, name))


def _publish(stage: Path, folder: Path, outdated: set[str]) -> None:
    """Rename a stage beside the folder to it, else its files one by one."""
    if stage.parent == folder.parent:
        if any(folder.iterdir()):
            raise _InTheWay(f"Another program has put files into {folder} meanwhile.")
        stage.chmod(folder.stat().st_mode)  # a temporary folder is closed to colleagues
        os.rename(stage, folder)
        _sync(folder.parent)
        return
    names, moved = _in_order(stage), []

    def move(now: Path, then: Path) -> None:
        os.rename(now, then)
        moved.append((then, now))

    (stage / _REPLACING).mkdir()
    try:
        for name in sorted(outdated, key=lambda name: name != RESULT):
            move(folder / name, stage / _REPLACING / name)
        move(stage / _REPLACING, stage / _REPLACED)
        for name in names:
            move(stage / name, folder / name)
    except OSError:
        for now, before in reversed(moved):
            os.rename(now, before)
        raise
    _sync(folder)


def _replaceable(folder: Path, command: str, inputs: Iterable, names: Iterable[str]) -> set[str]:
    """Files of a folder that files of these names, and their command, may replace.

    Raises
    ------
    InputError : there are other files of these names, results of another command, or inputs.
    """
    there = {name for name in names if os.path.lexists(folder / name)}
    own = _files_of(folder, command) if command else there
    foreign = sorted(there - own) or sorted(name for name in there if (folder / name).is_dir())
    if foreign:
        raise _InTheWay(f"{folder / foreign[0]} is in the way: it is not a result of an earlier run "
                        "of this command. Choose another output folder with -o.")
    for name in own | there:
        refuse_inputs(folder / name, inputs)
    return own | there


def _files_of(folder: Path, command: str) -> set[str]:
    """Names of the results of a command in a folder; none if there is no result.

    Raises
    ------
    InputError : the results are of another command.
    """
    if not os.path.lexists(folder / RESULT):
        return set()
    try:
        old = json.loads((folder / RESULT).read_text())
        owner, outputs = old["command"], old["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        owner, outputs = "another program", {}
    if owner != command:
        raise _InTheWay(f"{folder} holds the results of {owner}, which {command} does not replace. "
                        "Choose another output folder with -o.")
    names = {name for name in (RESULT, REPORT, *_texts(outputs)) if os.path.basename(name) == name}
    return {name for name in names if (folder / name).is_file() or (folder / name).is_symlink()}


def _texts(outputs) -> Iterator[str]:
    """All texts in the entry of the result about outputs, labels of columns excepted."""
    if isinstance(outputs, str):
        yield outputs
    elif isinstance(outputs, dict):
        for key, value in outputs.items():
            yield from _texts(value if key != "columns" else [])
    elif isinstance(outputs, list):
        for value in outputs:
            yield from _texts(value)


def refuse_inputs(path: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Make sure that an output is none of the inputs, under whatever name.

    Raises
    ------
    InputError : it is.
    """
    for given in inputs:
        with suppress(OSError):  # one of them is not there
            if given and os.path.samefile(path, given):
                raise InputError(f"{path} would replace {given}, which is an input. Choose another "
                                 "place for the output.")


def _unwritable(error: OSError, stage: Path, path: Path, other: str) -> InputError:
    """The error for the user, who knows nothing of temporary folders."""
    file = str(error.filename or path)
    if stage in Path(file).parents:
        file = str(path / Path(file).name)
    return InputError(f"Cannot write {file} ({error.strerror or error}). Choose {other}.")


def _sync(*paths: Path) -> None:
    """Have files and folders written to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that cannot
                raise
        finally:
            os.close(descriptor)


def _set_aside(stage: Path, folder: Path) -> Path:
    """Give a temporary folder a name that can be seen."""
    number, kept = 2, folder / "failed"
    while os.path.lexists(kept):
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
