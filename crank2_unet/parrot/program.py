"""Parrot (Cowtan, 2010, Acta Cryst. D66, 470-478): where it is, what it can do, what its log says,
and how an unpatched one is given a mask.

A patched Parrot reads masks by itself (option -mskin).  An unpatched one only takes the
coefficients of another map (-colin-fmsk), whose local standard deviation it cuts at the solvent
content, in the first cycle of a run.  :func:`carrier_coefficients` makes coefficients whose local
deviation is high in the protein and low in the solvent of any mask.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ..errors import ProgramError

PROGRAM = "cparrot"
VARIABLE = "CRANK2_UNET_PARROT"


def parrot_places(explicit: str | None = None) -> list[str]:
    """Where :func:`find_parrot` looks, in its order, as text for messages."""
    if explicit:
        return [str(explicit)]
    if os.environ.get(VARIABLE):
        return [f"{os.environ[VARIABLE]} (${VARIABLE})"]
    ccp4 = os.environ.get("CCP4")
    return [f"{PROGRAM} on PATH", f"{Path(ccp4, 'bin')} ($CCP4/bin)" if ccp4 else
            "$CCP4/bin ($CCP4 is not set)"]


def find_parrot(explicit: str | None = None) -> Path | None:
    """The program cparrot; None if there is none.

    Parameters
    ----------
    explicit : path or name of the program.  Default: what the environment variable
        CRANK2_UNET_PARROT names; without that, cparrot on PATH, then in $CCP4/bin.
    """
    named = explicit or os.environ.get(VARIABLE)
    found = shutil.which(named or PROGRAM)
    if not (found or named) and os.environ.get("CCP4"):
        found = shutil.which(PROGRAM, path=str(Path(os.environ["CCP4"], "bin")))
    return Path(found).absolute() if found else None


def parrot_usage(path: str | Path) -> str:
    """What Parrot prints when it is started without arguments: version and options.

    Raises
    ------
    ProgramError : it does not start, or it is not Parrot.
    """
    try:
        run = subprocess.run([str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"{path} does not start ({error}). Name another Parrot.") from error
    text = run.stdout.decode(errors="replace")
    if "-mtzin" not in text:
        last = (text.strip().splitlines() or ["nothing"])[-1]
        raise ProgramError(f"{path} does not print the options of Parrot when it is started "
                           f"without any; its last line is: {last}. Set up CCP4, or name another "
                           "Parrot.")
    return text


def knows_mskin(path: str | Path) -> bool:
    """Whether a Parrot reads mask files in each cycle (option -mskin of the patched one).

    Raises
    ------
    ProgramError : it does not start, or it is not Parrot.
    """
    return "-mskin" in parrot_usage(path)
