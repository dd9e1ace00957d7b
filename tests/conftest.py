"""Shared fixtures: real data where it is, small crystals made here."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

# read when numpy is loaded; threads that wait for each other crawl where the cores are not ours alone
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from quality import make_card, make_hands

import crank2_unet
from crank2_unet.parrot.program import find_parrot

REPOSITORY = Path(__file__).parents[1]


def pytest_sessionstart(session):
    """Tests of a changed checkout must not test an older, installed copy: the import hook loads the
    installed one before the checkout is on sys.path."""
    tested, checkout = Path(crank2_unet.__file__).parent, REPOSITORY / "crank2_unet"
    if tested == checkout:
        return
    sources = {folder: {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.py")
                        if "models" not in file.relative_to(folder).parts}
               for folder in (tested, checkout)}
    if sources[tested] != sources[checkout]:
        pytest.exit(f"The tests would test {tested}, which is not as this checkout is. Install it "
                    "with pip install -e '.[cpu,test]', or again with pip install '.[cpu,test]'.", 3)


def pytest_collection_modifyitems(items):
    """What runs other programs, trains networks or tries hundreds of damaged files is slow; single
    tests elsewhere say so themselves."""
    for item in items:
        if {"integration", "training", "fuzz"} & set(item.path.relative_to(REPOSITORY).parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with sad/ and structures/, named by the environment variable CRANK2_UNET_DATA."""
    folder = os.environ.get("CRANK2_UNET_DATA")
    if not folder:
        pytest.skip("CRANK2_UNET_DATA does not name a folder with real data")
    path = Path(folder)
    assert (path / "sad").is_dir(), f"CRANK2_UNET_DATA={folder} has no folder sad"
    return path


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program "cparrot" that stands in for Parrot; called with patched=True, one with -mskin."""
    def make(patched: bool = False, folder: str | None = None) -> Path:
        program = tmp_path / (folder or f"patched {patched}") / "cparrot"
        program.parent.mkdir(exist_ok=True)
        source = Path(__file__).parent / "standins" / "parrot.py"
        program.write_text(f"#!/bin/sh\n{'STAND_IN_PATCHED=yes ' if patched else ''}"
                           f'exec {shlex.join([sys.executable, str(source)])} "$@"\n')
        program.chmod(0o755)
        return program
    for variable in ("CRANK2_UNET_PARROT", "CCP4", "CLIBD"):
        monkeypatch.delenv(variable, raising=False)
    return make


@pytest.fixture(scope="session")
def real_parrot() -> Path:
    """Parrot itself, where CRANK2_UNET_PARROT, PATH or $CCP4/bin has it."""
    program = find_parrot()
    if program is None:
        pytest.skip("no cparrot in $CRANK2_UNET_PARROT, PATH or $CCP4/bin")
    return program


@pytest.fixture(scope="session")
def card(tmp_path_factory):
    """See :func:`quality.make_card`."""
    return make_card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="session")
def hands(tmp_path_factory):
    """See :func:`quality.make_hands`."""
    return make_hands(tmp_path_factory.mktemp("hands"))
