"""The files of entries, downloaded or from a folder; where each came from and its checksum are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from tqdm import tqdm

from ...errors import InputError
from ...files.output import staged_file, write_json
from ..parallel import sha256
from .archive import KINDS, Archive, Missing

# of a code, a kind of file and what is recorded of the entry's files: what is to be recorded of that
# file ("path", in the output folder or absolute, and "sha256"), None if there is none
Supply = Callable[[str, str, dict], Optional[dict]]
_IN_A_ROW = 3  # entries whose files do not come: then it is the server or the network


def recorded(out: Path, code: str) -> dict:
    """Path, checksum and origin of the files of an entry by kind; None of one that does not exist."""
    path = out / "files" / f"{code}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def fetch_all(out: Path, codes: list[str], supply: Supply) -> tuple[dict[str, dict], dict[str, str]]:
    """Make sure that the files of entries are there and unchanged, and their origin recorded.

    Returns
    -------
    What is recorded of each entry (:func:`recorded`), and a message for each whose files do not come.

    Raises
    ------
    InputError : the files of several entries in a row do not come.
    """
    found, failures, row = {}, {}, 0
    for code in tqdm(codes, desc="files", unit="entry", mininterval=1.0):
        known = recorded(out, code)
        try:
            found[code] = {kind: supply(code, kind, known) for kind in KINDS}
        except InputError as error:
            failures[code] = str(error)
            row += 1
            if row == min(_IN_A_ROW, len(codes)):
                raise
            continue
        row = 0
        if found[code] != known:
            with staged_file(out / "files" / f"{code}.json") as file:
                write_json(found[code], file)
    return found, failures


def downloaded(out: Path, archive: Archive, code: str, kind: str, known: dict) -> dict | None:
    """A file from the archive, of now or of an earlier run."""
    path, found = out / "files" / KINDS[kind].format(code.lower()), known.get(kind)
    if kind in known and (not found or path.exists() and sha256(path) == found["sha256"]):
        return found
    try:
        return {"path": f"files/{path.name}", "date": now(), **asdict(archive.fetch(code, kind, path))}
    except Missing:
        return None


def local(folder: Path, code: str, kind: str, known: dict) -> dict | None:
    """A file of a folder, compressed or not, its code in small or capital letters."""
    for written in (code.lower(), code):
        name = KINDS[kind].format(written)
        for path in (folder / name, folder / name.removesuffix(".gz")):
            if path.is_file():
                return {"path": str(path), "sha256": sha256(path), "size": path.stat().st_size}
    return None


def now() -> str:
    """Date and time, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
