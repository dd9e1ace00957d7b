"""Shared fixtures: real data where it is, small crystals made here."""

import os
from pathlib import Path

import pytest



@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with sad/ and structures/, named by the environment variable CRANK2_UNET_DATA."""
    folder = os.environ.get("CRANK2_UNET_DATA")
    if not folder:
        pytest.skip("CRANK2_UNET_DATA does not name a folder with real data")
    path = Path(folder)
    assert (path / "sad").is_dir(), f"CRANK2_UNET_DATA={folder} has no folder sad"
    return path
