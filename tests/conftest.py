"""Shared fixtures: real data where it is, small crystals made here."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from crank2_unet.parrot.program import find_parrot


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
        source = Path(__file__).parent / "stand_in_parrot.py"
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
