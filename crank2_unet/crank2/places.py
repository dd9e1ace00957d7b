"""Where Crank2 is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from .. import hook
from ..errors import InputError

CRANK2_PLACES = (
    "share/ccp4i2/pipelines/crank2/crank2/crank2.py",
    "lib/python3*/site-packages/ccp4i2/pipelines/crank2/crank2/crank2.py",
)


def find_crank2(given: str | None = None) -> list[Path]:
    """Folders of Crank2: the one given, or those in $CCP4 and in this Python's packages.

    Raises
    ------
    InputError : the folder given is not Crank2's.
    """
    if given:
        for folder in (Path(given), Path(given) / "crank2"):
            if hook.is_crank2(folder):
                return [folder.resolve()]
        raise InputError(f"{given} is not the folder of Crank2: it lacks process.py and "
                         "processes/dmfull.py. Give the folder in which crank2.py is.")
    found = []
    ccp4 = os.environ.get("CCP4")
    if ccp4:
        for pattern in CRANK2_PLACES:
            found += [path.parent for path in Path(ccp4).glob(pattern)]
    ccp4i2 = importlib.util.find_spec("ccp4i2")
    for place in (ccp4i2.submodule_search_locations or ()) if ccp4i2 else ():
        found.append(Path(place) / "pipelines" / "crank2" / "crank2")
    return sorted({folder.resolve() for folder in found if hook.is_crank2(folder)})
