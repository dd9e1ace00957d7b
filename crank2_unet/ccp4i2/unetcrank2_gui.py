"""Window of the task ``unetcrank2`` in CCP4i2 2.6: that of Crank2 with one more menu."""

from .. import __version__
from . import suite

_crank2 = suite.part("pipelines.crank2.script.CTaskCrank2")
whatNext = _crank2.whatNext
exportMtzColumnLabels = _crank2.exportMtzColumnLabels


class unetcrank2_gui(_crank2.CTaskCrank2):  # type: ignore[name-defined]
    """Crank2's window with the menu DMMASK."""

    TASKNAME = "unetcrank2"
    TASKVERSION = __version__
    TASKMODULE = "expt_phasing"

    def drawImportant(self):
        super().drawImportant()
        self.createLine(["subtitle", "Solvent masks in density modification"])
        self.createLine(["label", "Make solvent masks", "widget", "DMMASK"])
