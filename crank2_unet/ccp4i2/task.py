"""What the scripts of our tasks have in common: they run ``crank2-unet`` on files of CCP4i2."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import gemmi

from .. import __version__
from . import suite

RESULTS = "unet"  # subfolder of the job with all that crank2-unet writes


def complaint(folder: str | Path) -> str:
    """The error message of crank2-unet in a job that failed; empty if there is none."""
    for name in ("log_err.txt", "stderr.txt"):  # CCP4i2 2.6 and 3
        path = Path(folder, name)
        text = path.read_text(errors="replace") if path.exists() else ""
        if "ERROR: " in text:
            return text.rpartition("ERROR: ")[2].strip()
    return ""


class UnetTask(suite.CPluginScript):
    """A task says which command it runs (``COMMAND``), what it needs (``missing_input``), which of its
    input goes into one MTZ file with the reflections (``joined``: map or phases, then what else), and
    what it makes of the results."""

    TASKVERSION = __version__
    TASKCOMMAND = sys.executable  # wherever this package is importable, its command line runs
    ERROR_CODES = {
        201: {"description": "Some input is missing. Give what the message asks for"},
        202: {"description": "Reflections and phases could not be put together. Check that they are "
                             "of the same crystal and that the reflections are amplitudes"},
        203: {"description": "crank2-unet could not do its work. Do what the message says; "
                             "'crank2-unet check' tells whether the installation is usable"},
    }

    def validity(self):  # asked by CCP4i2 3 before a job may start; 2.6 asks the GUI
        errors = super().validity()
        missing = self.missing_input(self.container.inputData)
        if missing:
            errors.append(klass=self.TASKNAME, code=201, details=missing,
                          name=f"{self.TASKNAME}.container.inputData")
        return errors

    def processInputFiles(self):
        inputs = self.container.inputData
        missing = self.missing_input(inputs)
        if missing:
            suite.record_error(self, 201, missing)
            return self.FAILED
        if not inputs.F_SIGF.isSet():
            self.columns = [str(inputs.FPHIIN), "--colin-fc", "F,PHI"]
            return self.SUCCEEDED
        return self._join_reflections_with(*self.joined(inputs))

    def _join_reflections_with(self, name: str, *further: str):
        data = suite.part("core.CCP4XtalData")
        mean = data.CObsDataFile.CONTENT_FLAG_FMEAN
        path, _, errors = self.makeHklin0([["F_SIGF", mean], name, *further])
        if errors.maxSeverity() > suite.part("core.CCP4ErrorHandling").SEVERITY_WARNING:
            suite.record_error(self, 202, str(errors.report()))
            return self.FAILED
        self.columns = [path, "--colin-fo", "F_SIGF_F,F_SIGF_SIGF", *self._labels_of(name, data)]
        return self.SUCCEEDED

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
        self.appendCommandLine(["-m", "crank2_unet", self.COMMAND, *self.columns, "-o", RESULTS,
                                "--device", control.DEVICE])
        if self.container.inputData.ASUIN.isSet():
            sequence = os.path.join(self.workDirectory, "sequence.fasta")
            self.container.inputData.ASUIN.writeFasta(sequence)
            self.appendCommandLine(["--seq", sequence])
        self.append_options(("--solvent-content", control.SOLVENT_CONTENT),
                            ("--threads", control.THREADS))
        return self.SUCCEEDED

    def append_options(self, *pairs) -> None:
        """Options with the items of their values, where these are set."""
        for option, item in pairs:
            if item.isSet():
                self.appendCommandLine([option, item])

    def startProcess(self, *arguments, **keywords):
        outcome = super().startProcess(*arguments, **keywords)
        if not self.result_file("result.json").exists():
            suite.record_error(self, 203, complaint(self.workDirectory) or
                               "The program ended without a result; its log may say why.")
        return outcome

    def result_file(self, name: str) -> Path:
        """A file among what crank2-unet has written."""
        return Path(self.workDirectory, RESULTS, name)

    def result(self) -> dict:
        """Contents of result.json."""
        return json.loads(self.result_file("result.json").read_text())

    def store_map(self, name: str, item, annotation: str, is_mask: bool = False) -> None:
        """Move a map to where CCP4i2 wants it; version 3 draws masks as such."""
        os.replace(self.result_file(name), str(item))
        item.annotation.set(annotation)
        if is_mask and hasattr(item, "SUBTYPE_MASK"):
            item.subType.set(item.SUBTYPE_MASK)

    def store_columns(self, name: str, labels: dict[str, str], item, annotation: str) -> None:
        """Copy columns, under the labels of CCP4i2; its own way (splitHklout) loses the outermost
        reflections.

        Parameters
        ----------
        labels : label in the file -> label for CCP4i2.
        """
        mtz = gemmi.read_mtz_file(str(self.result_file(name)))
        for number in reversed(range(3, len(mtz.columns))):
            label = mtz.columns[number].label
            if label in labels:
                mtz.columns[number].label = labels[label]
            else:
                mtz.remove_column(number)
        mtz.write_to_file(str(item))
        item.annotation.set(annotation)
