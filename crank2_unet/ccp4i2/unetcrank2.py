"""Script of the task ``unetcrank2``: CCP4i2's own Crank2 task with the option dmmask.

The choice reaches Crank2's keyword file through :func:`.registration.pass_dmmask`.
"""

from __future__ import annotations

from .. import __version__
from . import suite


class unetcrank2(suite.part("pipelines.crank2.script.crank2_script").crank2):  # type: ignore[misc]
    """Everything is as in Crank2 but for the menu DMMASK."""

    TASKNAME = "unetcrank2"
    TASKVERSION = __version__
