"""Script of the task ``unetmask``: runs ``crank2-unet segment`` and takes over its results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import gemmi

from .. import __version__
from . import suite

RESULTS = "unet"  # subfolder of the job with all that crank2-unet writes


def missing_input(inputs) -> str:
    """What the user has yet to give, as a request; empty if nothing is missing.

    Parameters
    ----------
    inputs : the container inputData.
    """
    if str(inputs.INPUT) == "map":
        return "" if inputs.FPHIIN.isSet() else "Give the coefficients of the map to be segmented."
    if not inputs.F_SIGF.isSet() or not inputs.ABCD.isSet():
        return "Give both reflections and phases, or choose map coefficients instead."
    return ""


def complaint(folder: str | Path) -> str:
    """The error message of crank2-unet in a job that failed; empty if there is none."""
    for name in ("log_err.txt", "stderr.txt"):  # CCP4i2 2.6 and 3
        path = Path(folder, name)
        text = path.read_text(errors="replace") if path.exists() else ""
        if "ERROR: " in text:
            return text.rpartition("ERROR: ")[2].strip()
    return ""


class unetmask(suite.CPluginScript):
    """Map in; solvent mask, probability, coefficients of the mask and solvent content out."""

    TASKNAME = "unetmask"
    TASKVERSION = __version__
    TASKCOMMAND = sys.executable  # wherever this package is importable, its command line runs
    WHATNEXT = ["unetcrank2", "parrot", "coot_rebuild"]
    ERROR_CODES = {
        201: {"description": "Some input is missing. Give what the message asks for"},
        202: {"description": "Reflections and phases could not be put together. Check that they are "
                             "of the same crystal and that the reflections are amplitudes"},
        203: {"description": "The network could not segment the map. Do what the message says; "
                             "'crank2-unet check' tells whether the installation is usable"},
    }

    def validity(self):  # asked by CCP4i2 3 before a job may start; 2.6 asks the GUI
        errors = super().validity()
        missing = missing_input(self.container.inputData)
        if missing:
            errors.append(klass=self.TASKNAME, code=201, details=missing,
                          name=f"{self.TASKNAME}.container.inputData.INPUT")
        return errors

    def processInputFiles(self):
        inputs = self.container.inputData
        missing = missing_input(inputs)
        if missing:
            suite.record_error(self, 201, missing)
            return self.FAILED
        of_map = str(inputs.INPUT) == "map"
        if of_map and not inputs.F_SIGF.isSet():
            self.columns = [str(inputs.FPHIIN), "--colin-fc", "F,PHI"]
        elif not self._join_reflections_with("FPHIIN" if of_map else "ABCD"):
            return self.FAILED
        return self.SUCCEEDED

    def _join_reflections_with(self, name: str) -> bool:
        data = suite.part("core.CCP4XtalData")
        mean = data.CObsDataFile.CONTENT_FLAG_FMEAN
        path, _, errors = self.makeHklin0([["F_SIGF", mean], name])
        if errors.maxSeverity() > suite.part("core.CCP4ErrorHandling").SEVERITY_WARNING:
            suite.record_error(self, 202, str(errors.report()))
            return False
        self.columns = [path, "--colin-fo", "F_SIGF_F,F_SIGF_SIGF", *self._labels_of(name, data)]
        return True

    def _labels_of(self, name: str, data) -> list[str]:
        """Of the map or the phases in the joint file."""
        if name == "FPHIIN":
            return ["--colin-fc", "FPHIIN_F,FPHIIN_PHI"]
        phases = self.container.inputData.ABCD
        phases.setContentFlag()
        if phases.contentFlag == data.CPhsDataFile.CONTENT_FLAG_HL:
            return ["--colin-hl", "ABCD_HLA,ABCD_HLB,ABCD_HLC,ABCD_HLD"]
        return ["--colin-phifom", "ABCD_PHI,ABCD_FOM"]

    def makeCommandAndScript(self, **keywords):
        control = self.container.controlParameters
        self.appendCommandLine(["-m", "crank2_unet", "segment", *self.columns, "-o", RESULTS,
                                "--pictures", "--device", control.DEVICE])
        if self.container.inputData.ASUIN.isSet():
            sequence = os.path.join(self.workDirectory, "sequence.fasta")
            self.container.inputData.ASUIN.writeFasta(sequence)
            self.appendCommandLine(["--seq", sequence])
        if control.SOLVENT_CONTENT.isSet():
            self.appendCommandLine(["--solvent-content", control.SOLVENT_CONTENT])
        if control.THREADS.isSet():
            self.appendCommandLine(["--threads", control.THREADS])
        return self.SUCCEEDED

    def startProcess(self, *arguments, **keywords):
        outcome = super().startProcess(*arguments, **keywords)
        if not self._result_file().exists():
            suite.record_error(self, 203, complaint(self.workDirectory) or
                               "The program ended without a result; its log may say why.")
        return outcome

    def processOutputFiles(self):
        result = json.loads(self._result_file().read_text())
        output, files = self.container.outputData, result["outputs"]
        content = result["solvent_content"]["value"]
        for item, name, what in (
                (output.MASK, files["mask"], f"Solvent mask ({content:.0%} solvent)"),
                (output.PROBABILITY, files["probability"], "Probability of solvent")):
            os.replace(self._result_file().with_name(name), str(item))
            item.annotation.set(f"{what} by U-net")
        output.SOLVENT_CONTENT_FOUND.set(content)
        self._store_coefficients(files["mask_coefficients"])
        return self.SUCCEEDED

    def _store_coefficients(self, name: str) -> None:
        """Under the labels of CCP4i2; its own way (splitHklout) loses the outermost reflections."""
        mtz = gemmi.read_mtz_file(str(self._result_file().with_name(name)))
        for old, new in (("FMSK", "F"), ("PHMSK", "PHI")):
            mtz.column_with_label(old).label = new
        item = self.container.outputData.FPHIMASK
        mtz.write_to_file(str(item))
        item.annotation.set("Coefficients of the solvent mask by U-net")

    def _result_file(self) -> Path:
        return Path(self.workDirectory, RESULTS, "result.json")
