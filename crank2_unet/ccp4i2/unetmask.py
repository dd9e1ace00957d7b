"""Script of the task ``unetmask``: runs ``crank2-unet segment`` and takes over its results."""

from __future__ import annotations

from .task import UnetTask


class unetmask(UnetTask):
    """Map in; solvent mask, probability, coefficients of the mask and solvent content out."""

    TASKNAME = "unetmask"
    COMMAND = "segment"
    WHATNEXT = ["unetdm", "parrot", "coot_rebuild"]

    @staticmethod
    def missing_input(inputs) -> str:
        """What the user has yet to give, as a request; empty if nothing is missing.

        Parameters
        ----------
        inputs : the container inputData.
        """
        if inputs.FPHIIN.isSet():
            return ("Give either map coefficients or phases, not both: which map is to be segmented?"
                    if inputs.ABCD.isSet() else "")
        if inputs.F_SIGF.isSet() and inputs.ABCD.isSet():
            return ""
        return "Give map coefficients, or reflections and phases."

    @staticmethod
    def joined(inputs) -> list[str]:
        """Names of the input that goes into one file with the reflections."""
        return ["FPHIIN" if inputs.FPHIIN.isSet() else "ABCD"]

    def makeCommandAndScript(self, **keywords):
        outcome = super().makeCommandAndScript(**keywords)
        self.appendCommandLine(["--pictures"])
        return outcome

    def processOutputFiles(self):
        result, output = self.result(), self.container.outputData
        files, content = result["outputs"], result["solvent_content"]["value"]
        self.store_map(files["mask"], output.MASK, f"Solvent mask ({content:.0%} solvent) by U-net",
                       is_mask=True)
        self.store_map(files["probability"], output.PROBABILITY, "Probability of solvent by U-net")
        self.store_columns(files["mask_coefficients"], {"FMSK": "F", "PHMSK": "PHI"}, output.FPHIMASK,
                           "Coefficients of the solvent mask by U-net")
        output.SOLVENT_CONTENT_FOUND.set(content)
        return self.SUCCEEDED
