"""What the windows of our tasks in CCP4i2 2.6 have in common."""

from .. import __version__
from . import suite


class UnetWindow(suite.part("qtgui.CCP4TaskWidget").CTaskWidget):  # type: ignore[misc]
    """A window says which script it is for (``SCRIPT``) and draws frames."""

    TASKVERSION = __version__
    TASKMODULE = "density_modification"

    def draw_frame(self, title: str, advice: str, *lines) -> None:
        """A frame with a title.

        Parameters
        ----------
        lines : names of parameters that have a line each, or the words of a line.
        """
        self.createLine(["subtitle", title, advice])
        self.openSubFrame(frame=[True])
        for line in lines:
            self.createLine(["widget", line] if isinstance(line, str) else line)
        self.closeSubFrame()

    def draw_crystal(self) -> None:
        self.draw_frame("Content of the crystal", "All optional", "ASUIN",
                        ["label", "Solvent content, if known (0-1)", "widget", "SOLVENT_CONTENT"])

    def draw_computer(self) -> None:
        self.draw_frame("Computer", "Where the network runs",
                        ["label", "Run the network on", "widget", "DEVICE",
                         "label", "with CPU threads (empty: all)", "widget", "THREADS"])

    def taskValidity(self):
        errors = suite.part("core.CCP4ErrorHandling").CErrorReport()
        missing = self.SCRIPT.missing_input(self.container.inputData)
        if missing:
            errors.append(self.SCRIPT, 201, missing, stack=False)
        return errors
