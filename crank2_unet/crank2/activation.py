"""What the import hook does to Crank2 when it starts: option dmmask, and masks for Parrot.

Nothing changes for a job without the option: each replaced method then only calls the original.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..errors import ProgramError
from ..hook import is_crank2
from . import option
from .option import OPTION, OptionError

OWN_PARROT = "unet-parrot"
# Routes of a mask to Parrot, and what is said of them.
ROUTES = {
    "mskin": "which reads the weights of the network (-mskin)",
    "carrier": "which does not read masks: it gets coefficients from which it makes that mask "
               "(-colin-fmsk)",
    "unet-parrot": "the replacement for Parrot of crank2-unet, because no cparrot was found",
}


class Parrot(NamedTuple):
    """The program that a step with masks of the network runs, and how it gets them (``ROUTES``)."""

    binary: str
    route: str


def activate(parse) -> None:
    """Give Crank2 the option dmmask; once, and only if the module is that of a fitting Crank2.

    Parameters
    ----------
    parse : Crank2's module of this name; modules of other programs are left alone.
    """
    if not is_crank2(Path(parse.__file__).parent) or hasattr(parse, "crank2_unet"):
        return
    prefix = parse.__name__.rpartition("parse")[0]
    common = import_module(prefix + "common")
    classes = {name: getattr(import_module(f"{prefix}processes.{name}"), name)
               for name in option.PROCESSES}
    if "map_segmentation" not in classes["dmfull"].supported_params:
        return  # an older Crank2, which refuses dmmask by itself
    parse.crank2_unet = True
    for name, process in [*classes.items(), ("crank", import_module(prefix + "manager").crank)]:
        # at the top it is not shared by Crank2, so that we know who was named by the user
        process.supported_params[OPTION] = common.parameter(
            desc=option.DESCRIPTION, typ=str, share=name != "crank")
    _replace(parse.parse, "ParseCommandLine", functools.partial(_parse_command_line, common))
    _replace(parse.parse, "ParseAll", functools.partial(_parse_all, common))
    _replace(classes["dmfull"], "TreatInOutPar", functools.partial(_treat_dmfull, common, prefix))
    _replace(classes["dmfull"], "RunPostprocess", _report_masks)
    parrot = import_module(prefix + "programs.parrot").parrot
    for method, ours in [("CheckBinary", _check_binary), ("TreatParams", _treat_params),
                         ("TreatInput", _treat_input)]:
        _replace(parrot, method, ours)


def _replace(cls, name: str, ours) -> None:
    """Replace a method by ``ours``, which is called with the original before the arguments."""
    original = getattr(cls, name)

    @functools.wraps(original)
    def method(self, *arguments, **keywords):
        return ours(original, self, *arguments, **keywords)

    setattr(cls, name, method)


def _parse_command_line(common, original, parser, argv=None):
    try:
        parser.dmmask, rest = option.from_command_line(sys.argv[1:] if argv is None else argv)
    except OptionError as error:
        common.Error(str(error), debug=False)
    original(parser, rest)


def _parse_all(common, original, parser, dummy=False, skip_commline_parse=False):
    crank = original(parser, dummy, skip_commline_parse)
    if dummy:  # the first of two readings of a job; a server may run several in one process
        for remembered in (_say, network_problem, choose_parrot):
            remembered.cache_clear()
    try:
        option.settle(crank, getattr(parser, OPTION, None), dummy)
    except OptionError as error:
        # within CCP4i2 an exception is reported, and leaving the program would end its server
        if skip_commline_parse:
            raise common.CrankError(str(error)) from None
        common.Error(str(error), debug=False)
    return crank


def _treat_dmfull(common, prefix, original, dmfull, set_all_par=False):
    """Turn dmmask into what Crank2 and Parrot know, once the programs of the step are chosen."""
    original(dmfull, set_all_par)
    dmfull.unet_parrot = None
    value = dmfull.GetParam(OPTION)
    segments = value == "unet" or (value is None and dmfull.GetParam("map_segmentation"))
    if not segments and value != "none":
        return
    program = dmfull.dm.GetProg("parrot") if dmfull.dm else None
    if program is None:
        _say(common.Warning, f"dmmask={value} is not used in the step of {dmfull.name}"
             f"{_within(dmfull)}: only Parrot, in cycles of Crank2, takes masks.")
    elif value == "none":
        program.SetKey("histogram-match", True, keep_previous=False)
        program.SetKey("ncs-average", True, keep_previous=False)
    elif _is_ours(prefix):
        _segment_or_not(common, dmfull, program)
    else:
        dmfull.SetParam("map_segmentation", True)
        _say(common.Info, "Solvent masks by the process segmentmap that this Crank2 brings along.")


def _segment_or_not(common, dmfull, program) -> None:
    """Masks by the network if network and Parrot are usable, else the classical mask, and say so."""
    explicit = program.GetParam("binary")
    problem = network_problem()
    if problem is None:
        try:
            dmfull.unet_parrot = choose_parrot(explicit)
        except Exception as error:
            problem = str(error)
    if problem:
        dmfull.SetParam("map_segmentation", False)
        _say(common.Warning, "SOLVENT MASKS OF THE NETWORK CANNOT BE USED: the job goes on with the "
             f"CLASSICAL mask. {problem}")
        return
    dmfull.SetParam("map_segmentation", True)
    dmfull.references = (option.REFERENCE,)
    binary, route = dmfull.unet_parrot
    _say(common.Info, f"Solvent masks by the network (crank2-unet); density modification by {binary}, "
                      f"{ROUTES[route]}.")


def _within(dmfull) -> str:
    parent = dmfull.parent_process
    return f" of {parent.name}" if parent and parent.nick != "crank" else ""


@functools.cache
def _say(how, message: str) -> None:
    """Tell a thing once: Crank2 treats the parameters of a step several times."""
    how(message)


def _is_ours(prefix: str) -> bool:
    """Whether map_segmentation would be done by us, and not by a process that Crank2 has itself."""
    module = import_module(prefix + "processes.segmentmap")
    own = module.__file__ is not None and Path(module.__file__).parent == Path(__file__).parent
    return own or hasattr(module, "crank2_unet")


@functools.cache
def network_problem() -> str | None:
    """Why the network cannot be used, by ``crank2-unet check``; None if it can."""
    run = subprocess.run([sys.executable, "-m", "crank2_unet", "check"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = run.stdout.decode(errors="replace").strip().splitlines()
    return None if run.returncode == 0 else (lines or ["crank2-unet check failed"])[-1]


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
    from ..parrot.program import VARIABLE, find_parrot, knows_mskin

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


def _parrot_of(program) -> Parrot | None:
    """What was chosen for this Parrot; None where masks of the network are not used."""
    return getattr(getattr(program.process, "parent_process", None), "unet_parrot", None)


def _check_binary(original, program, *arguments, **keywords):
    if _parrot_of(program):
        program.binary = _parrot_of(program).binary
    return original(program, *arguments, **keywords)


def _treat_params(original, program):
    original(program)
    if _parrot_of(program):
        program.binary = _parrot_of(program).binary


def _treat_input(original, program):
    """Hand Parrot the mask of this cycle; in cycles without one it makes its own."""
    chosen = _parrot_of(program)
    mask = chosen and program.inp.Get("mapcoef", typ=("weighted", "mask"), col=("f", "ph"))
    folder = getattr(mask, "segmentation", None)
    if chosen and chosen.route == "carrier" and folder:
        original(program)
        _carry(program, mask, folder)
        return
    hidden = program.inp.mapcoef[:]
    if chosen:  # what reads mask files need not see the mask's coefficients
        program.inp.mapcoef[:] = [m for m in hidden if not hasattr(m, "segmentation")]
    try:
        original(program)
    finally:
        program.inp.mapcoef[:] = hidden
    if folder:
        from .handover import weights_file

        program.SetKey("mskin", str(weights_file(folder, _solvent_content(program))))
        program.SetKey("mskin-value", "soft")
        program.SetKey("mskin-one-is", "solvent")
    elif program.process.nick == "dm" and Path(program.binary).stem == OWN_PARROT:
        program.SetKey("mask", "variance")  # it would use the network by itself


def _carry(program, mask, folder: str) -> None:
    """Coefficients and radius for a Parrot that does not read masks; the radius that Crank2 finds for
    classical masks would blur this one."""
    from ..parrot.carrier import CARRIER_FILTER_RADIUS
    from .handover import carrier_file

    file = mask.GetFile("mtz")
    if Path(file.name).parent == Path(folder):  # else Crank2 has merged it with the data already
        file.name = str(carrier_file(folder, _solvent_content(program)))
    program.SetKey("solvent-mask-filter-radius", CARRIER_FILTER_RADIUS, keep_previous=False)


def _solvent_content(program) -> float:
    """Of this cycle, with Crank2's perturbation; Parrot's own default is 0.5."""
    return float(program.GetKey("solvent-content") or 0.5)


def _report_masks(original, dmfull, *arguments, **keywords):
    """Say how often the network was used; each hand keeps its own count."""
    for name, counted in [("", dmfull)] if not hasattr(dmfull, "dmf") else [
            (f" for hand {i + 1}", hand) for i, hand in enumerate(dmfull.dmf)]:
        done, failed = (getattr(counted, key, 0) for key in ("unet_masks", "unet_failures"))
        if done + failed:
            dmfull.Info(f"The network's mask was used{name} in {done} of {done + failed} cycles that "
                        "asked for it.")
            counted.unet_masks = counted.unet_failures = 0  # building runs the step many times
    original(dmfull, *arguments, **keywords)
