"""The option dmmask: what it means, where it may stand, and what contradicts it.

In a keyword file ``dmmask::VALUE`` stands on a line of its own, for all steps, or in the line of a
step.  The nearest to dmfull counts; ``--dmmask=VALUE`` on the command line replaces the line for all
steps, and the environment variable CRANK2_DMMASK takes its place where there is neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

REFERENCE = ("Skubak P (2024) Deep-learning map segmentation for protein X-ray crystallographic "
             "structure determination. Acta Cryst. D80, 528-534.")
OPTION = "dmmask"
VARIABLE = "CRANK2_DMMASK"
MEANINGS = {
    "unet": "solvent mask and solvent content by the network in most cycles",
    "classic": "mask by Parrot's local variance, as without the option",
    "none": "no solvent flattening: Parrot matches histograms and averages NCS only",
}
DESCRIPTION = "Solvent mask: " + "; ".join(f"{name} = {text}" for name, text in MEANINGS.items())
PROCESSES = ("dmfull", "comb_phdmmb", "handdet", "mbref")


class OptionError(Exception):
    """What is wrong with the input; the message goes to the user as it is."""


def from_command_line(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of ``--dmmask VALUE`` or ``--dmmask=VALUE``, and the other arguments."""
    value, rest, left = None, [], list(arguments)
    while left:
        name, equals, text = left.pop(0).partition("=")
        if name != f"--{OPTION}":
            rest.append(name + equals + text)
        elif equals or left:
            value = text if equals else left.pop(0)
        else:
            raise OptionError(f"--{OPTION} needs a value: {' or '.join(MEANINGS)}.")
    return value, rest


def settle(crank, command_line: str | None, dummy: bool) -> None:
    """Give each step of a job that was just read its dmmask.

    Parameters
    ----------
    crank : Crank2's tree of processes.
    command_line : value of ``--dmmask``.
    dummy : as Crank2's own ``dummy`` of this tree.

    Raises
    ------
    OptionError : a wrong value, or a contradiction.
    """
    for process in _tree(crank):
        if OPTION in process.param:  # what was written, and Crank2's copies of it
            written = process.param[OPTION].value
            was_none = written[0] is None  # of which Crank2 makes no copies
            written[0] = _checked(written[0], f"{OPTION}::")
            for child in process.processes if was_none and process is not crank else ():
                if OPTION in child.supported_params and not _typed(child, OPTION):
                    child.SetParam(OPTION, written[0])
    source = f"--{OPTION}=" if command_line else f"{VARIABLE}="
    value = command_line or (None if _typed(crank, OPTION) else os.environ.get(VARIABLE))
    if value:
        value = _checked(value, source)
    else:
        value, source = crank.GetParam(OPTION), f"{OPTION}::"
    for step in crank.processes if value else ():
        # the environment is a default for whole sessions and yields to what a job says by itself
        yields = source.startswith(VARIABLE) and any(_typed(p, "map_segmentation")
                                                    for p in _tree(step))
        if OPTION in step.supported_params and not step.IsParam(OPTION) and not yields:
            step.SetParam(OPTION, value)
    for process in _tree(crank):
        if process.nick == "handdet":
            _use_parrot_for_hands(process, dummy)
        elif process.nick == "dmfull":
            _refuse_contradictions(process)
            if process.GetParam(OPTION) == "unet":
                _need_content(crank)


def _tree(process) -> Iterator:
    yield process
    for child in process.processes:
        yield from _tree(child)


def _typed(process, name: str) -> bool:
    """Whether the user wrote a parameter in the line of this very process."""
    return name in process.param and process.param[name].inputted


def _checked(value, source: str) -> str:
    """One of ``MEANINGS``, which may be written in capitals; Crank2 reads "None" as Python's."""
    found = str(value).lower()
    if found not in MEANINGS:
        raise OptionError(f"{source}{value} is not a solvent mask. Use {source}"
                          f"{f' or {source}'.join(MEANINGS)}.")
    return found


def _use_parrot_for_hands(handdet, dummy: bool) -> None:
    """Solomon, which Crank2 takes to tell hands apart, reads no masks: who asks for a mask in this
    very step gets Parrot, as with ``handdet dmfull dm parrot``."""
    if _typed(handdet, OPTION) and handdet.GetParam(OPTION) != "classic" \
            and not handdet.GetProcess("dmfull"):
        dmfull = handdet.AddProcess("dmfull", dummy=dummy)
        dmfull.AddProcess("dm", dummy=dummy).AddProg("parrot", dummy=dummy)


def _refuse_contradictions(dmfull) -> None:
    value = dmfull.GetParam(OPTION)
    if value and _typed(dmfull, "map_segmentation") \
            and bool(dmfull.GetParam("map_segmentation")) != (value == "unet"):
        raise OptionError(f"dmfull has map_segmentation::{dmfull.GetParam('map_segmentation')} and "
                          f"{OPTION}::{value}, which contradict each other. Leave one out.")
    if _typed(dmfull, OPTION) and value != "classic":
        dm = dmfull.GetProcess("dm")
        others = [p.nick for p in dmfull.programs + (dm.programs if dm else []) if p.nick != "parrot"]
        if others:
            raise OptionError(f"dmfull has {OPTION}::{value} and the program {others[0]}; only Parrot "
                              f"takes masks. Leave {others[0]} out, or use {OPTION}::classic.")
        if dmfull.programs:
            raise OptionError(f"dmfull has {OPTION}::{value} and runs the cycles within Parrot. Write "
                              f"'dmfull {OPTION}::{value} dm parrot' for cycles of Crank2.")


def _need_content(crank) -> None:
    """Crank2 weighs the network's solvent content against Matthews probabilities; without a sequence
    it would stop in the first cycle."""
    for process in _tree(crank):
        if process.inp.Get("sequence") or process.inp.Get(has_residues_mon=True):
            return
    raise OptionError(f"{OPTION}::unet needs the content of the crystal. Give a sequence (keyword "
                      "sequence or --seqin) or residues_mon=N.")
