"""A file in Crank2's own folder that leads to us, for where the import hook is not at work.

That is a Python started with -S, or one whose site-packages may not hold .pth files.  The file alone
gives ``map_segmentation::True``; with it come the options and Parrot's masks, once it is imported.
Where the hook works nothing needs to be installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .. import hook
from ..errors import InputError
from ..files.output import staged

_FIRST = "# written by crank2-unet install; crank2-unet uninstall removes it"
# both classes are found by the importing Crank2's name, flat or package
_TEXT = f'''{_FIRST}
import importlib.util

crank2_unet = True  # map_segmentation is ours
_spec = importlib.util.find_spec("crank2_unet.crank2")
with open(_spec.submodule_search_locations[0] + "/{{name}}.py") as _file:
    exec(compile(_file.read(), _file.name, "exec"))
'''
FILES = {Path("processes/segmentmap.py"): "segmentmap", Path("programs/unetsegment.py"): "unetsegment"}


def install(folder: Path) -> list[Path]:
    """Write the files into Crank2's folder, all or none; returns them.

    Raises
    ------
    InputError : Crank2 has such files of its own, or the folder cannot be written to.
    """
    for name in FILES:
        if (folder / name).exists() and not _is_shim(folder / name):
            raise InputError(f"{folder / name} exists and is not ours: this Crank2 brings its own "
                             "segmentation. It was left as it is.")
    for name, module in FILES.items():
        with staged((folder / name).parent) as stage:
            (stage / name.name).write_text(_TEXT.format(name=module))
    return [folder / name for name in FILES]


def uninstall(folder: Path) -> list[Path]:
    """Remove what :func:`install` wrote, and what Python compiled from it; returns the files."""
    removed = [folder / name for name in FILES if _is_shim(folder / name)]
    for path in removed:
        try:
            path.unlink()
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()
        except OSError as error:
            raise InputError(f"{path} cannot be removed ({error.strerror}). Use an account that may "
                             "write there.") from error
    return removed


def status(folders: list[Path]) -> list[str]:
    """Lines on the hook of this Python and on each Crank2."""
    at_work = any(type(finder).__module__ == hook.__name__ for finder in sys.meta_path)
    switched = os.environ.get("CRANK2_UNET_HOOK", "").lower() == "off"
    lines = [f"Import hook of {sys.executable}: " + (
        "at work; Crank2 needs nothing else" if at_work else
        "switched off by CRANK2_UNET_HOOK" if switched else
        "not at work; install the package with pip in this Python, or use crank2-unet install")]
    for folder in folders:
        supported = "map_segmentation" in (folder / "processes" / "dmfull.py").read_text()
        files = [name for name in FILES if (folder / name).exists()]
        own = [name for name in files if not _is_shim(folder / name)]
        lines.append(f"Crank2 in {folder}: " + (
            "too old, it has no map_segmentation; get a CCP4 with Crank2 2.0.345 or later"
            if not supported else f"has its own {own[0]}, which is used" if own else
            "files of crank2-unet install are there" if files else "untouched"))
    return lines if folders else [*lines, "No Crank2 was found; name its folder with --crank2."]


def _is_shim(path: Path) -> bool:
    return path.is_file() and path.read_text(errors="replace").startswith(_FIRST)
