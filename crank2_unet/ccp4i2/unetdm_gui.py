"""Window of the task ``unetdm`` in CCP4i2 2.6."""

from .task_gui import UnetWindow
from .unetdm import unetdm


class unetdm_gui(UnetWindow):
    """The data, what is known of the crystal, and how to go about it."""

    TASKNAME = "unetdm"
    SCRIPT = unetdm
    WHATNEXT = unetdm.WHATNEXT

    def drawContents(self):
        self.openFolder(folderFunction="inputData", title="Input Data")
        self.draw_frame("Data", "Observed amplitudes, and phases of an experiment", "F_SIGF", "ABCD",
                        "FREERFLAG")
        self.draw_crystal()
        self.draw_frame("Non-crystallographic symmetry", "Optional: it is averaged where heavy-atom "
                        "sites show it and the map confirms it", "XYZIN_HA")
        self.draw_frame("Density modification", "", ["label", "Number of cycles (empty: until "
                        "no more is gained)", "widget", "CYCLES"])
        self.draw_computer()
