"""Window of the task ``unetmask`` in CCP4i2 2.6."""

from .task_gui import UnetWindow
from .unetmask import unetmask


class unetmask_gui(UnetWindow):
    """The map, what is known of the crystal, and where to run the network."""

    TASKNAME = "unetmask"
    SCRIPT = unetmask
    WHATNEXT = unetmask.WHATNEXT

    def drawContents(self):
        self.openFolder(folderFunction="inputData", title="Input Data")
        self.draw_frame("Map", "Map coefficients, best with the reflections; or reflections and phases",
                        "FPHIIN", "F_SIGF", "ABCD")
        self.draw_crystal()
        self.draw_computer()
