"""Window of the task ``unetmask`` in CCP4i2 2.6."""

from .. import __version__
from . import suite
from .unetmask import missing_input, unetmask


class unetmask_gui(suite.part("qtgui.CCP4TaskWidget").CTaskWidget):  # type: ignore[misc]
    """The map, what is known of the crystal, and where to run the network."""

    TASKNAME = "unetmask"
    TASKVERSION = __version__
    TASKMODULE = "density_modification"
    WHATNEXT = unetmask.WHATNEXT

    def drawContents(self):
        self.openFolder(folderFunction="inputData", title="Input Data")
        self.createLine(["subtitle", "Map", "The map that is segmented into protein and solvent"])
        self.openSubFrame(frame=[True])
        self.createLine(["label", "Segment the map of", "widget", "INPUT"])
        self.createLine(["widget", "FPHIIN"], toggle=["INPUT", "open", ["map"]])
        self.createLine(["widget", "F_SIGF"])
        self.createLine(["widget", "ABCD"], toggle=["INPUT", "open", ["phases"]])
        self.closeSubFrame()
        self.createLine(["subtitle", "Content of the crystal", "All optional"])
        self.openSubFrame(frame=[True])
        self.createLine(["widget", "ASUIN"])
        self.createLine(["label", "Solvent content, if known (0-1)", "widget", "SOLVENT_CONTENT"])
        self.closeSubFrame()
        self.createLine(["subtitle", "Computer", "Where the network runs"])
        self.openSubFrame(frame=[True])
        self.createLine(["label", "Run the network on", "widget", "DEVICE",
                         "label", "with CPU threads (empty: all)", "widget", "THREADS"])
        self.closeSubFrame()

    def taskValidity(self):
        errors = suite.part("core.CCP4ErrorHandling").CErrorReport()
        missing = missing_input(self.container.inputData)
        if missing:
            errors.append(unetmask, 201, missing, stack=False)
        return errors
