"""Is the network usable, and which Parrot does a step run?  Both are found once for a job."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from typing import NamedTuple

from ..errors import ProgramError
from ..parrot.program import VARIABLE, find_parrot, knows_mskin

OWN_PARROT = "unet-parrot"
# Routes of a mask to Parrot, and what is said of them.
ROUTES = {
    "mskin": "which reads the weights of the network (-mskin)",
    "carrier": "which does not read masks: it gets coefficients from which it makes that mask "
               "(-colin-fmsk)",
    "unet-parrot": "the replacement for Parrot of crank2-unet, because no cparrot was found",
}


class Parrot(NamedTuple):
    """The program that a step with the option dmmask runs, and how it gets masks (``ROUTES``)."""

    binary: str
    route: str


@functools.cache
def network_problem() -> str:
    """Why the network cannot be used, by ``crank2-unet check``; empty if it can."""
    run = subprocess.run([sys.executable, "-m", "crank2_unet", "check"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = run.stdout.decode(errors="replace").strip().splitlines()
    return "" if run.returncode == 0 else (lines or ["crank2-unet check failed"])[-1]


@functools.cache
def choose_parrot(explicit: str | None) -> Parrot:
    """The Parrot to run and its route.

    Parameters
    ----------
    explicit : what the job names by ``binary::``; default: see
        :func:`crank2_unet.parrot.program.find_parrot`, then our own replacement.

    Raises
    ------
    ProgramError : there is none, it does not start, or it is not Parrot.
    """
    found = find_parrot(explicit)
    if found:
        return Parrot(str(found), "mskin" if knows_mskin(found) else "carrier")
    named = explicit or os.environ.get(VARIABLE)
    if named:
        raise ProgramError(f"There is no program {named}. Correct "
                           f"{'binary:: of parrot' if explicit else VARIABLE}.")
    # Python's folder of programs need not be on PATH
    places = os.pathsep.join([sysconfig.get_path("scripts"),
                              sysconfig.get_path("scripts", f"{os.name}_user")])
    own = shutil.which(OWN_PARROT) or shutil.which(OWN_PARROT, path=places)
    if own is None:
        raise ProgramError(f"Neither cparrot nor {OWN_PARROT} was found. Set up CCP4, or install "
                           "crank2-unet again.")
    return Parrot(own, "unet-parrot")
