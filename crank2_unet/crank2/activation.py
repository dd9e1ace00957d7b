"""What the import hook does to Crank2 when it starts: option dmmask, and masks for Parrot.

Nothing changes for a job without the option: each replaced method then only calls the original.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from pathlib import Path

from ..hook import is_crank2
from . import option
from .option import OPTION, OptionError
from .programs import OWN_PARROT, ROUTES, Parrot, choose_parrot, network_problem
from .step_masks import StepMasks


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
    _replace(classes["dmfull"], "GetActualStats", _log_cycle)
    _replace(classes["dmfull"], "RunPostprocess", _log_summary)
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
    dmfull.unet = None
    value = dmfull.GetParam(OPTION) or ("unet" if dmfull.GetParam("map_segmentation") else None)
    if value is None:
        return
    program = dmfull.dm.GetProg("parrot") if dmfull.dm else None
    if program is None:
        if value != "classic":
            _say(common.Warning, f"dmmask={value} is not used in the step of {dmfull.name}"
                 f"{_within(dmfull)}: only Parrot, in cycles of Crank2, takes masks.")
    elif value == "unet" and not _is_ours(prefix):
        dmfull.SetParam("map_segmentation", True)
        _say(common.Info, "Solvent masks by the process segmentmap that this Crank2 brings along.")
    else:
        dmfull.unet = _masks(common, value, program)
        if value == "unet":
            dmfull.SetParam("map_segmentation", not dmfull.unet.problem)
            if not dmfull.unet.problem:
                dmfull.references = (option.REFERENCE,)
        elif value == "none":
            program.SetKey("histogram-match", True, keep_previous=False)
            program.SetKey("ncs-average", True, keep_previous=False)


def _masks(common, value: str, program) -> StepMasks:
    """Network and Parrot of a step, if they are usable; says which, or why not."""
    masks = StepMasks(value, problem=network_problem() if value == "unet" else "")
    try:
        masks.parrot = choose_parrot(program.GetParam("binary"))
    except Exception as error:  # Crank2 itself stops if it needs the program
        masks.problem = masks.problem or str(error)
    if masks.problem and value == "unet":
        _say(common.Warning, "SOLVENT MASKS OF THE NETWORK CANNOT BE USED: the job goes on with the "
             f"CLASSICAL mask. {masks.problem}")
    if masks.parrot and not masks.problem:
        mask = {"unet": "Solvent masks by the network (crank2-unet)",
                "classic": "Solvent masks by local variance",
                "none": "No solvent flattening: histograms are matched in the protein, which is found "
                        "by local variance, and NCS is averaged"}[value]
        _say(common.Info, f"{mask}; density modification by {masks.parrot.binary}"
             + (f", {ROUTES[masks.parrot.route]}." if value == "unet" or
                masks.parrot.route == OWN_PARROT else "."))
    return masks


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


def _masks_of(program) -> StepMasks | None:
    """Of the step that this Parrot works for; None where dmmask is not used."""
    return getattr(getattr(program.process, "parent_process", None), "unet", None)


def _parrot_of(program) -> Parrot | None:
    """What was chosen for this Parrot; None where that was left to Crank2."""
    masks = _masks_of(program)
    return masks.parrot if masks else None


def _check_binary(original, program, *arguments, **keywords):
    if _parrot_of(program):
        program.binary = _parrot_of(program).binary
    return original(program, *arguments, **keywords)


def _treat_params(original, program):
    original(program)
    if _parrot_of(program):
        program.binary = _parrot_of(program).binary


def _treat_input(original, program):
    """Hand Parrot the mask of this cycle, and note the solvent content for the log."""
    _treat_mask(original, program)
    if _masks_of(program):
        _masks_of(program).used = _solvent_content(program)


def _treat_mask(original, program):
    """In cycles without a mask Parrot makes its own."""
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


def _log_cycle(original, dmfull, verbose, update_loggraph):
    original(dmfull, verbose, update_loggraph)
    if getattr(dmfull, "unet", None) and dmfull.cyc:  # 0: phases are combined only
        dmfull.Info(dmfull.unet.end_of_cycle(*_solvent_contents(dmfull), dmfull.ph.fom))


def _log_summary(original, dmfull, *arguments, **keywords):
    """Each hand has had its own masks."""
    hands = [(f" for hand {i + 1}", hand) for i, hand in enumerate(getattr(dmfull, "dmf", ()))]
    for name, step in hands or [("", dmfull)]:
        summary = getattr(step, "unet", None) and step.unet.summary(*_solvent_contents(step), name)
        if summary:
            dmfull.Info(summary)
    original(dmfull, *arguments, **keywords)


def _solvent_contents(dmfull):
    """By Matthews statistics (or given with the sequence), and as decided."""
    holder = dmfull.inp.Get(has_solvent_content=True)
    matthews = holder and holder.solvent_content
    return matthews, dmfull.GetParam("solvent_content") or matthews
