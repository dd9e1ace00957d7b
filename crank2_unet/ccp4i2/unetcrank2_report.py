"""Report of the task ``unetcrank2``: that of CCP4i2's own Crank2 task."""

from . import suite


class unetcrank2_report(suite.WithReferences,
                        suite.part("pipelines.crank2.script.crank2_report").crank2_report):  # type: ignore[misc]
    """Crank2's report with our references."""

    TASKNAME = "unetcrank2"
