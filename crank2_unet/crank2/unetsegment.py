"""Crank2's program around ``crank2-unet segment``; executed under the name ``programs.unetsegment``.

The network runs in a process of its own, because Crank2 forks (both hands) and a forked process must
not inherit the threads of ONNX Runtime or a CUDA context.
"""

import sys
from importlib import import_module

_CRANK2 = __name__.rpartition("programs.")[0]
common = import_module(_CRANK2 + "common")


class unetsegment(import_module(_CRANK2 + "program").program):  # type: ignore[misc]  # Crank2's, found at run time
    """Map coefficients in; masks and result.json in the run directory out."""

    name = "U-net map segmentation"
    binary = sys.executable
    stat: dict = {}

    def TreatInput(self):
        """Labels of the amplitudes, which tell the fall-off of a map, and of the map: coefficients,
        else Hendrickson-Lattman coefficients or phases and figures of merit.  They may be in another
        file, which CAD merges."""
        amplitudes = self.inp.Get("fsigf", typ="average", col="f")
        phases = self.inp.Get("mapcoef")
        if amplitudes is None or phases is None:
            common.Error(f"No {'phases' if amplitudes else 'amplitudes'} for {self.name}.")
        self.data = amplitudes
        columns = [amplitudes.GetFileName("mtz"), "--colin-fo", _labels(amplitudes, "f", "sigf")]
        phases.GetFileName("mtz")  # this is how Crank2 learns that it is needed
        if phases.GetLabel("f") and phases.GetLabel("ph"):
            columns += ["--colin-fc", _labels(phases, "f", "ph")]
        elif phases.GetLabel("hla"):
            columns += ["--colin-hl", _labels(phases, "hla", "hlb", "hlc", "hld")]
        else:
            columns += ["--colin-phifom", _labels(phases, "ph", "fom")]
        self.SetArg("-m", ["crank2_unet", "segment", *columns, "-o", ".", "--no-report"],
                    keep_previous=False)

    def DefineOutput(self):
        """The mask's Fourier coefficients, in the data set of the amplitudes."""
        mask = self.out.AddNew("mapcoef", "mask.mtz", typ="mask",
                               xname=self.data.GetCrystalName(), dname=self.data.GetDataName())
        mask.SetLabel(["f", "ph"])


def _labels(container, *columns):
    return ",".join(container.GetLabel(column) for column in columns)
