"""What the import hook does when CCP4i2 starts: it tells CCP4i2 of our tasks.

Nothing of CCP4i2 is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    TaskEntry("unetdm", "density_modification", ("Failed",),
              "Density modification with solvent masks by a U-net", "U-NET DM",
              "Improve experimental phases by solvent flattening, histogram matching and NCS averaging "
              "with masks by a deep network, made anew in each cycle"),
]


def add_to_tasks(tasks) -> None:
    """Add our tasks to those of CCP4i2 3.

    Parameters
    ----------
    tasks : the module ccp4i2.core.tasks.
    """
    for entry in TASKS:
        tasks.TASKS.setdefault(entry.name, tasks.Task(
            title=entry.title, shortTitle=entry.short_title, description=entry.description,
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
