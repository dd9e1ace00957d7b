"""Parrot (Cowtan, 2010, Acta Cryst. D66, 470-478): where it is, what it can do, what its log says,
and how an unpatched one is given a mask.

A patched Parrot reads masks by itself (option -mskin).  An unpatched one only takes the
coefficients of another map (-colin-fmsk), whose local standard deviation it cuts at the solvent
content, in the first cycle of a run.  :func:`carrier_coefficients` makes coefficients whose local
deviation is high in the protein and low in the solvent of any mask.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from ..crystal.grids import density_map, resample, structure_factors
from ..crystal.masks import cut_at_fraction, local_deviation, soften
from ..crystal.reflections import Reflections
from ..errors import InputError, ProgramError

PROGRAM = "cparrot"
VARIABLE = "CRANK2_UNET_PARROT"
# Angstrom, of the sphere in which Parrot takes the standard deviation of a carrier
# (-solvent-mask-filter-radius): small, so that it follows the mask closely.
CARRIER_FILTER_RADIUS = 2.0
_CARRIER_EDGE = 0.7     # Angstrom; the data cannot carry a sharper edge
_CARRIER_ROUNDS = 5     # more gain less than 0.005 in the mask's correlation
_STEEPEST = 3.0         # largest factor in one round; it keeps quiet spots from ringing


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


def carrier_coefficients(solvent: gemmi.FloatGrid, reflections: Reflections) -> np.ndarray:
    """Map coefficients from which an unpatched Parrot makes a given mask.

    They are those of symmetric noise whose local standard deviation follows the mask: noise is
    multiplied by what its deviation lacks, cut to the reflections there are, and again.  Parrot
    must be given them as -colin-fmsk, with -solvent-mask-filter-radius CARRIER_FILTER_RADIUS and
    the mean of the mask as -solvent-content.

    Parameters
    ----------
    solvent : mask or P(solvent), in [0, 1], on any grid; Parrot sees it cut at its mean.
    reflections : complete list of n reflections, to the resolution that Parrot uses.

    Returns
    -------
    (n,) complex; the largest amplitude is 1000.

    Raises
    ------
    InputError : the mask holds one region only.
    """
    spacing = reflections.d_min / 3
    noise = density_map(reflections, _noise(reflections), spacing)
    solvent = resample(solvent, noise)
    mask = cut_at_fraction(solvent, float(solvent.array.mean()), lowest=False)
    if mask.array.min() == mask.array.max():
        raise InputError("The mask holds one region only; there must be both protein and solvent.")
    protein = 1 - soften(mask, _CARRIER_EDGE).array
    for _ in range(_CARRIER_ROUNDS):
        deviation = local_deviation(noise, CARRIER_FILTER_RADIUS).array
        deviation /= np.sqrt(np.mean(deviation**2))
        noise.array[...] *= np.minimum(protein / np.maximum(deviation, 0.01), _STEEPEST)
        coefficients = structure_factors(noise, reflections)
        coefficients *= 1000 / np.abs(coefficients).max()
        noise = density_map(reflections, coefficients, spacing)
    return coefficients


def _noise(reflections: Reflections) -> np.ndarray:
    """Structure factors (n,) of noise with the symmetry of the crystal; always the same."""
    random = np.random.default_rng(0).random(len(reflections))
    allowed = np.nan_to_num(reflections.allowed_phase) + np.where(random < 0.5, 0, 180)
    phi = np.where(reflections.centric, allowed, 360 * random)
    return np.sqrt(reflections.epsilon) * np.exp(1j * np.deg2rad(phi))


@dataclass(frozen=True)
class ParrotLog:
    """What Parrot says in its log.

    Parameters
    ----------
    version : of the program, "" if it does not say.
    cycles : for each cycle ``fom``, ``f_correlation`` and ``gamma``.
    radius : of the sphere for the local deviation in the next cycle, Angstrom; None if it ran none.
    operators : non-crystallographic symmetry, refined, as values of -ncs-operator.
    cut_at : resolution limit of the reference structure, Angstrom, if the data were cut there.
    finished : it ended as it should.
    """

    version: str
    cycles: list[dict]
    radius: float | None
    operators: list[str]
    cut_at: float | None
    finished: bool

    @classmethod
    def parse(cls, text: str) -> ParrotLog:
        table = re.search(r"\$TABLE :Reflection statistics:.*?\n\$\$\n(.*?)\$\$", text, re.S)
        rows = [row.split() for row in table[1].splitlines()] if table else []
        gammas = [float(value) for value in re.findall(r"^Gamma (\S+)", text, re.M)]
        cycles = [{"fom": float(row[1]), "f_correlation": float(row[2]), "gamma": gamma}
                  for row, gamma in zip(rows[1:], gammas)]  # the first row is that of the input
        radii = re.findall(r"^Suggested radius for solvent mask determination: (\S+)", text, re.M)
        cut = re.search(r"truncated to reference:\s+Ref: (\S+)", text)
        return cls(parrot_version(text), cycles, float(radii[-1]) if radii else None,
                   re.findall(r"^ -ncs-operator (\S+)$", text, re.M),
                   float(cut[1]) if cut else None, "Normal termination" in text)


def parrot_version(text: str) -> str:
    """Version of Parrot by the banner of its log or usage; "" if there is none."""
    found = re.search(r"cparrot\s+version (\S+)", text)
    return found[1] if found else ""


def log_tail(text: str, lines: int = 12) -> str:
    """The last lines of a log of CCP4, without its HTML and blank lines."""
    plain = re.sub(r"<[^<>]*>", "", text)
    return "\n".join([line.rstrip() for line in plain.splitlines() if line.strip()][-lines:])
