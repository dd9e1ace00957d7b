"""Script of the task ``unetdm``: runs ``crank2-unet dm`` and takes over its results."""

from __future__ import annotations

from . import suite
from .task import UnetTask


class unetdm(UnetTask):
    """Amplitudes and phases in; better map, phases and the last mask out."""

    TASKNAME = "unetdm"
    COMMAND = "dm"
    PERFORMANCECLASS = "CExpPhasPerformance"
    WHATNEXT = ["modelcraft", "coot_rebuild"]

    @staticmethod
    def missing_input(inputs) -> str:
        """What the user has yet to give, as a request; empty if nothing is missing.

        Parameters
        ----------
        inputs : the container inputData.
        """
        given = inputs.F_SIGF.isSet() and inputs.ABCD.isSet()
        return "" if given else "Give both reflections and phases."

    @staticmethod
    def joined(inputs) -> list[str]:
        """Names of the input that goes into one file with the reflections."""
        return ["ABCD", *(["FREERFLAG"] if inputs.FREERFLAG.isSet() else [])]

    def makeCommandAndScript(self, **keywords):
        outcome = super().makeCommandAndScript(**keywords)
        inputs = self.container.inputData
        self.append_options(("--cycles", self.container.controlParameters.CYCLES),
                            ("--ncs-sites", inputs.XYZIN_HA))
        if inputs.FREERFLAG.isSet():
            self.appendCommandLine(["--free", "FREERFLAG_FREER"])
        return outcome

    def processOutputFiles(self):
        result, output = self.result(), self.container.outputData
        files, fom = result["outputs"], result["cycles"][-1]["fom"]
        labels = files["columns"]
        self.store_columns(files["mtz"], {labels["FWT"]: "F", labels["PHWT"]: "PHI"}, output.FPHIOUT,
                           f"Map coefficients after density modification by U-net (FOM {fom:.2f})")
        self.store_columns(files["mtz"], {labels[f"HL{x}"]: f"HL{x}" for x in "ABCD"}, output.ABCDOUT,
                           "Phases after density modification by U-net")
        self.store_map(files["mask"], output.MASK, "Solvent mask of the last cycle by U-net",
                       is_mask=True)
        output.FPHIOUT.contentFlag.set(1)
        output.FPHIOUT.subType.set(1)
        output.ABCDOUT.contentFlag.set(suite.part("core.CCP4XtalData").CPhsDataFile.CONTENT_FLAG_HL)
        output.PERFORMANCE.FOM.set(fom)
        output.SOLVENT_CONTENT_FOUND.set(result["solvent_content"]["value"])
        return self.SUCCEEDED
