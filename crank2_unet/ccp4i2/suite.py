"""The classes of CCP4i2 that the tasks derive from, of whichever generation is running.

CCP4i2 2.6 puts its folders on sys.path (``core``, ``report``), CCP4i2 3 is the package ``ccp4i2``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# the module through which 2.6 came to know our tasks
QT = "core.CCP4TaskManager" in sys.modules
FOLDER = Path(__file__).parent


def part(name: str):
    """Module of CCP4i2 by its name in 2.6, for example ``core.CCP4XtalData``."""
    return importlib.import_module(name if QT else f"ccp4i2.{name}")


CPluginScript = part("core.CCP4PluginScript").CPluginScript
Report = part("report.CCP4ReportParser").Report


def record_error(script, code: int, details: str) -> None:
    """Put an error of ``ERROR_CODES`` into the report of a script.

    Without its severity CCP4i2 3 would take it as a warning, which 2.6 reads from the codes.
    """
    if QT:
        script.appendErrorReport(code, details, stack=False)
    else:
        script.appendErrorReport(code, details, severity=part("core.CCP4ErrorHandling").SEVERITY_ERROR)


class WithReferences:
    """Mixin for a Report: references come from TASKNAME.medline.txt beside this module."""

    def standardisePythonReport(self):
        name = self.TASKNAME
        if not QT:  # it looks in a folder of its own, out of which an absolute path leads
            self.TASKNAME = str(FOLDER / name)
        try:
            super().standardisePythonReport()
        finally:
            self.TASKNAME = name
