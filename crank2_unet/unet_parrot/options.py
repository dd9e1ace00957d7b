"""The command line and keywords of cparrot, and our own options for the mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError

# Options of cparrot that change nothing here: name -> (takes a value, why)
UNNEEDED = {
    "mtzin-ref": (True, "no reference structure is needed"),
    "pdbin-ref": (True, "no reference structure is needed"),
    "colin-ref-fo": (True, "no reference structure is needed"),
    "colin-ref-hl": (True, "no reference structure is needed"),
    "colin-ref-phifom": (True, "no reference structure is needed"),
    "colin-free": (True, "all reflections are used, as in Parrot"),
    "rice-probability": (False, "sigma-A always comes from the amplitudes alone"),
    "verbose": (True, "there is one level of detail"),
}
# Options of cparrot that would change the result and do not exist here: name -> why
REFUSED = {
    "sharpen": "sharpen the amplitudes beforehand",
    "mapout-ncs": "NCS masks are not written",
}


@dataclass(frozen=True)
class ParrotOptions:
    """What was asked for; names are those of cparrot with ``_`` for ``-``, "" or 0 = not given.

    Amplitudes are always corrected for anisotropy; ``anisotropy_correction`` says that the map for
    ``mask_command`` is, as in cparrot.  The lines below ``ncs_operator`` are our own options:

    mask : "unet", "variance", or "" = the network if it can be used, else local variance.
    mskin, mskin_cycles, mskin_one_is, mskin_value, mask_command, mask_map : mask from a file.
    model, device, threads : of the network.
    """

    title: str = ""
    mtzin: str = ""
    seqin: str = ""
    pdbin: str = ""
    pdbin_ha: str = ""
    pdbin_mr: str = ""
    colin_fo: str = ""
    colin_hl: str = ""
    colin_phifom: str = ""
    colin_fc: str = ""
    colin_fmsk: str = ""
    mtzout: str = "parrot.mtz"
    colout: str = "parrot"
    colout_hl: str = ""
    colout_fc: str = ""
    xmlout: str = ""
    solvent_flatten: bool = False
    histogram_match: bool = False
    ncs_average: bool = False
    force_solvent_mask_calculation: bool = False
    anisotropy_correction: bool = False
    modify_map_and_terminate: bool = False
    resolution: float = 1.0
    cycles: int = 3
    solvent_content: float = 0.0
    solvent_mask_filter_radius: float = 0.0
    ncs_mask_filter_radius: float = 6.0
    ncs_asu_fraction: float = 0.1
    ncs_operator: list = field(default_factory=list)
    mask: str = ""
    mskin: str = ""
    mskin_cycles: str = "all"
    mskin_one_is: str = ""
    mskin_value: str = "soft"
    mask_command: str = ""
    mask_map: str = ""
    model: str = ""
    device: str = "auto"
    threads: int = 0

    def does(self, step: str) -> bool:
        """Whether a step is on, by cparrot's rule: one step named switches the others off.

        Parameters
        ----------
        step : "solvent_flatten", "histogram_match" or "ncs_average".
        """
        return getattr(self, step) or not (self.solvent_flatten or self.histogram_match
                                           or self.ncs_average)

    @property
    def files(self) -> list[str]:
        """The files that are read, which no output may replace."""
        return [name for name in (self.mtzin, self.seqin, self.pdbin, self.pdbin_ha, self.pdbin_mr,
                                  self.mskin, self.model) if name]


_CHOICES = {
    "mask": ("unet", "variance"),
    "mskin_cycles": ("first", "all"),
    "mskin_one_is": ("solvent", "protein"),
    "mskin_value": ("mask", "prob", "soft"),
    "device": ("auto", "cpu", "cuda"),
}
_KINDS = {f.name: str(f.type) for f in fields(ParrotOptions)}


def parse(arguments: Iterable[str], keywords: Iterable[str] = ()) -> tuple[ParrotOptions, list[str]]:
    """Read a command line of cparrot.

    Parameters
    ----------
    arguments : without the program's name; "-stdin" stands for the keywords.
    keywords : lines of standard input, one option a line without its dash; "#" begins a comment.

    Returns
    -------
    The options, and a line about each option that was accepted without effect.

    Raises
    ------
    InputError : unknown or unsupported option, missing, wrong or contradictory value.
    """
    rest = _with_keywords(arguments, keywords)
    values: dict[str, Any] = {}
    notes: list[str] = []
    while rest:
        given = rest.pop(0)
        # "--colin-fo" is what messages of crank2-unet call it; "-colin-wrk-fo" is cparrot's long form
        name = given.lstrip("-").replace("-wrk", "", 1)
        key = name.replace("-", "_")
        if not given.startswith("-") or not (key in _KINDS or name in UNNEEDED or name in REFUSED):
            raise InputError(f"Unrecognized: {given}. See unet-parrot -help for the options.")
        if name in REFUSED:
            raise InputError(f"{given} is an option of cparrot that unet-parrot does not have: "
                             f"{REFUSED[name]}.")
        flag = not UNNEEDED[name][0] if name in UNNEEDED else _KINDS[key] == "bool"
        if not flag and not rest:
            raise InputError(f"{given} needs a value.")
        value = "" if flag else rest.pop(0)
        if name in UNNEEDED:
            notes.append(f"{given} has no effect: {UNNEEDED[name][1]}.")
        elif _KINDS[key] == "list":
            values.setdefault(key, []).append(value)
        else:
            values[key] = True if flag else _converted(given, key, value)
    return _checked(ParrotOptions(**values)), notes


def _with_keywords(arguments: Iterable[str], keywords: Iterable[str]) -> list[str]:
    """Arguments with "-stdin" replaced by the keyword lines."""
    rest = []
    for argument in arguments:
        if argument != "-stdin":
            rest.append(argument)
            continue
        for line in keywords:
            words = line.strip().split(None, 1)
            if words and not words[0].startswith("#"):
                rest.append("-" + words[0])
                rest.extend(_unquoted(word) for word in words[1:])
    return rest


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


def _converted(given: str, key: str, value: str):
    kind = _KINDS[key]
    try:
        converted = {"int": int, "float": float}.get(kind, str)(value)
    except ValueError:
        raise InputError(f"{given} {value}: give a number.") from None
    if key in _CHOICES and converted not in _CHOICES[key]:
        raise InputError(f"{given} {value}: choose {' or '.join(_CHOICES[key])}.")
    return converted


def _checked(options: ParrotOptions) -> ParrotOptions:
    if not options.mtzin:
        raise InputError("No data: give -mtzin FILE.mtz.")
    if options.cycles < 1:
        raise InputError(f"-cycles {options.cycles}: give 1 or more.")
    if not 0 <= options.solvent_content < 1:
        raise InputError(f"-solvent-content {options.solvent_content:g}: give a fraction between "
                         "0 and 1.")
    if options.mask_command and not options.mskin:
        raise InputError("-mask-command writes the mask that -mskin names: give both.")
    if options.mask_map and not options.mask_command:
        raise InputError("-mask-map is for -mask-command, which is missing.")
    return options


USAGE = """Usage: unet-parrot -mtzin FILE -colin-fo F,SIGF -colin-hl A,B,C,D [options]
       unet-parrot -stdin            options as keyword lines, without the dash

Density modification with a solvent mask from a U-net: a replacement for CCP4's cparrot that takes
its command line, writes its columns and needs no reference structure.

data        -mtzin FILE  -colin-fo F,SIGF  -colin-hl A,B,C,D or -colin-phifom PHI,FOM
            -colin-fc F,PHI (starting map)  -resolution D
content     -solvent-content X  -seqin FILE
output      -mtzout FILE (parrot.mtz)  -colout PREFIX (parrot)  -colout-hl A,B,C,D
            -colout-fc F,PHI  -xmlout FILE  -title TEXT
run         -cycles N (3)  -modify-map-and-terminate (write the modified map of the last cycle)
mask        -mask unet|variance   default: the network if it can be used, else local variance
            -solvent-mask-filter-radius R   of the local variance, Angstrom
            -colin-fmsk F,PHI   cycle 1: mask by local variance of this map
            -pdbin FILE   mask of this model, unless -force-solvent-mask-calculation
            -mskin FILE   mask from a CCP4 map;  -mskin-cycles first|all (all)
            -mskin-value mask|prob|soft (soft)
            -mskin-one-is solvent|protein (solvent; if not given, an inverted mask is refused)
            -mask-command CMD   before each cycle run CMD MAP MASK CYCLE, which writes -mskin
            -mask-map FILE   the MAP that the command is given
            -anisotropy-correction   of that MAP; the work always has it
network     -model CARD.json  -device auto|cpu|cuda  -threads N
NCS         -ncs-operator ALPHA,BETA,GAMMA,X,Y,Z,X,Y,Z   -pdbin-ha FILE  -pdbin-mr FILE
            -ncs-mask-filter-radius R (6)  -ncs-asu-fraction X (0.1)
steps       -solvent-flatten  -histogram-match  -ncs-average   these only; default: all three
no effect   """ + "  ".join(f"-{name}" for name in UNNEEDED) + "\n"
