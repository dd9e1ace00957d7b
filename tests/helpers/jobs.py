"""Jobs for tests of the machinery that runs them: they say, in a folder, what was run."""

import os
import signal
import time
import uuid
from pathlib import Path


def square(number: int, folder: str, kills: int = 0, seconds: float = 0.0) -> dict:
    """The square of a number; the first ``kills`` calls kill their process before they are done."""
    here = Path(folder)
    (here / f"{number}-{uuid.uuid4()}.begun").touch()
    if len(begun(here, number)) <= kills:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    return {"square": number**2}


def begun(folder: Path, number: int) -> list[Path]:
    """A file for each call with a number."""
    return list(folder.glob(f"{number}-*.begun"))
