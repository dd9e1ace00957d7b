"""Jobs of several stages: what is finished stays, and is not repeated when the job is started again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Optional

from .. import __version__
from ..files.output import RESULT, staged_file, write_json
from ..pipeline import Progress

ProgressOf = Callable[[str], AbstractContextManager[Optional[Progress]]]

_log = logging.getLogger(__name__)
_RECORD = "stage.json"  # in the folder of a stage


@dataclass(frozen=True)
class Stage:
    """A stage that is done.

    Parameters
    ----------
    folder : of its files; its name is that of the stage.
    title : what it is, in words.
    kept : an earlier run has done it.
    result : contents of its result.json.
    """

    folder: Path
    title: str
    kept: bool
    result: dict

    def file(self, name: str) -> str:
        """Path of one of its files."""
        return str(self.folder / name)


class Stages:
    """Runs stages, each in a sub-folder.

    A stage is what its function makes of its arguments, with the contents of files in the place of
    their names.  If an earlier run of this version has finished the same, and its files are still as
    they were, it is taken over.

    Parameters
    ----------
    folder : of the job.
    command : of the job, which the stages are told to be part of.
    progress_of : makes, of a title, the place where progress is shown.
    tell : called with a sentence for each stage that is taken over.
    """

    def __init__(self, folder: str | Path, command: str, progress_of: ProgressOf,
                 tell: Callable[[str], None]):
        self.done: list[Stage] = []  #: in the order in which they were asked for
        self._folder, self._command = Path(folder), command
        self._progress_of, self._tell = progress_of, tell

    def run(self, name: str, title: str, job: Callable[..., dict], *inputs: str,
            **options: Any) -> Stage:
        """Run a job, or take over what it has left.

        Parameters
        ----------
        name : of the sub-folder.
        title : what is done, in words.
        job : function of the ``inputs``, which are files, of ``folder``, ``progress``, ``part_of``
            and the ``options``; it returns its result.
        """
        folder = self._folder / name
        made_from = _identity([__version__, job.__name__, inputs, options])
        kept = _is_finished(folder, made_from)
        if kept:
            self._tell(f"{title}: done by an earlier run, in {folder}")
            result = json.loads((folder / RESULT).read_text())
            for warning in result["warnings"]:
                _log.warning("%s", warning)
        else:
            with self._progress_of(title) as progress:
                result = job(*inputs, folder=str(folder), **options, part_of=self._command,
                             progress=progress)
            with staged_file(folder / _RECORD) as record:
                write_json({"made_from": made_from, "files": _contents(folder)}, record)
        self.done.append(Stage(folder, title, kept, result))
        return self.done[-1]

    def forget_others(self, inputs: Iterable[str | None]) -> None:
        """Remove what stages of earlier runs have left that are none of this one and hold none of its
        ``inputs``: files as they left them, and nothing else."""
        used = {stage.folder.resolve() for stage in self.done}
        used |= {Path(file).resolve().parent for file in inputs if file}
        for record in self._folder.glob(f"*/{_RECORD}"):
            folder = record.parent
            recorded = _recorded(folder)
            if recorded and folder.resolve() not in used and not folder.is_symlink():
                for name, _ in recorded["files"].items() & _contents(folder).items():
                    (folder / name).unlink()
                record.unlink()
                with suppress(OSError):  # there is something else in it
                    folder.rmdir()


def _identity(value: object) -> str:
    """A text that is the same for the same value, and for files with the same content."""
    return hashlib.sha256(json.dumps(_by_content(value)).encode()).hexdigest()


def _by_content(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return _by_content(asdict(value))
    if isinstance(value, Mapping):
        return {key: _by_content(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_content(item) for item in value]
    if isinstance(value, str):
        with suppress(OSError):
            return _sha256(Path(value))
    return value


def _is_finished(folder: Path, made_from: str) -> bool:
    record = _recorded(folder)
    return (record is not None and record["made_from"] == made_from
            and record["files"].items() <= _contents(folder).items())


def _recorded(folder: Path) -> dict | None:
    """What a stage has recorded of itself; None: it has not, or not by this job."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        files = {str(name): str(content) for name, content in record["files"].items()}
        return {"made_from": record["made_from"], "files": files}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _contents(folder: Path) -> dict[str, str]:
    """SHA-256 of the files in a folder, by name."""
    return {file.name: _sha256(file) for file in sorted(folder.iterdir())
            if file.is_file() and file.name != _RECORD}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
