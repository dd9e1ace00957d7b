"""What the import hook does when CCP4i2 starts: it tells CCP4i2 of our tasks.

Nothing of CCP4i2 is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__

FOLDER = Path(__file__).parent
MAINTAINER = "crank2-unet"


@dataclass(frozen=True)
class TaskEntry:
    """A task as it is offered to the user.

    ``section`` is that of the menu in CCP4i2 2.6, and ``modes`` are the states of a job, besides the
    finished one, in which CCP4i2 2.6 asks for the report.
    """

    name: str
    section: str
    modes: tuple[str, ...]
    title: str
    short_title: str
    description: str


TASKS = [
    TaskEntry("unetmask", "density_modification", ("Failed",), "Solvent mask by a U-net",
              "U-NET MASK",
              "Segment a map into protein and solvent with a deep network and estimate the solvent "
              "content"),
    TaskEntry("unetcrank2", "expt_phasing", ("Running",),
              "Automated structure solution - CRANK2 with solvent masks by a U-net", "CRANK2 U-NET",
              "CRANK2 experimental phasing pipeline in which a deep network makes the solvent masks "
              "of density modification"),
]


def add_to_tasks(tasks) -> None:
    """Add our tasks to those of CCP4i2 3.

    Parameters
    ----------
    tasks : the module ccp4i2.core.tasks.
    """
    for entry in TASKS:
        # what a task derived from Crank2 does not say itself is as in Crank2
        base = tasks.TASKS["crank2"] if entry.name == "unetcrank2" else tasks.Task()
        tasks.TASKS.setdefault(entry.name, replace(
            base, title=entry.title, shortTitle=entry.short_title, description=entry.description,
            pluginPath=f"{__package__}.{entry.name}:{entry.name}",
            reportPath=f"{__package__}.{entry.name}_report:{entry.name}_report",
            defXmlPath=str(FOLDER / f"{entry.name}.def.xml")))


def add_to_task_manager(manager) -> None:
    """Add our tasks to those of CCP4i2 2.6, whenever it builds its tables.

    Parameters
    ----------
    manager : the module core.CCP4TaskManager.
    """
    build = manager.CTaskManager.buildLookup

    def build_with_ours(self):
        errors = build(self)
        self.appendSearchPath(str(FOLDER))
        for entry in TASKS:
            _add_entry(self, entry)
        return errors

    manager.CTaskManager.buildLookup = build_with_ours


def pass_dmmask(ccp4i2crank) -> None:
    """Put the choice of the task unetcrank2 into the keyword file that it hands to Crank2.

    Parameters
    ----------
    ccp4i2crank : Crank2's module of this name, through which CCP4i2 calls it.
    """
    call = ccp4i2crank.CallCrankFromCCP4i2

    def call_with_dmmask(task, *arguments, inpfile=None, **keywords):
        if task.TASKNAME == "unetcrank2":
            file = Path(inpfile)
            file.write_text(f"dmmask::{task.container.controlParameters.DMMASK}\n"
                            f"{file.read_text()}")
        return call(task, *arguments, inpfile=inpfile, **keywords)

    ccp4i2crank.CallCrankFromCCP4i2 = call_with_dmmask


def _add_entry(manager, entry: TaskEntry) -> None:
    """The entries that CCP4i2 2.6 itself would make if it found the classes."""
    def described(kind: str) -> dict:
        return {"class": None, "clsName": f"{entry.name}{kind}",
                "clsModule": f"{__package__}.{entry.name}{kind}", "MAINTAINER": MAINTAINER}

    shown = {"TASKTITLE": entry.title, "DESCRIPTION": entry.description}
    manager.scriptLookup[entry.name] = {__version__: {
        **described(""), **shown, "subTasks": [], "internal": False, "INTERRUPTLABEL": None}}
    manager.taskLookup[entry.name] = {"0.0.0": {
        **described("_gui"), **shown, "taskName": entry.name, "taskVersion": __version__,
        "shortTitle": entry.short_title, "RANK": None}}
    manager.reportLookup[entry.name] = {"0.0.0": {
        **described("_report"), "modes": list(entry.modes)}}
    section = manager.moduleLookup.setdefault(entry.section, [])
    if entry.name not in section:
        section.append(entry.name)
