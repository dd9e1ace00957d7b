"""Crank2's process ``segmentmap``; executed under the name ``processes.segmentmap``.

``dmfull`` runs it in most cycles and asks it for a mask, for the solvent content by the network, and
for the network's view of other solvent contents.  Nothing of gemmi or ONNX Runtime is kept on it:
Crank2 copies and pickles its processes.
"""

import json
import os
from importlib import import_module

# absolute: Crank2 executes this file under a name of its own
from crank2_unet import __version__
from crank2_unet.crank2.activation import activate
from crank2_unet.crank2.option import REFERENCE
from crank2_unet.crank2.programs import choose_parrot
from crank2_unet.crank2.step_masks import StepMasks

_CRANK2 = __name__.rpartition("processes.")[0]
activate(import_module(_CRANK2 + "parse"))  # where this file was reached without the import hook


class segmentmap(import_module(_CRANK2 + "process").process):  # type: ignore[misc]  # Crank2's, found at run time
    """Map coefficients of typ "mask" and the solvent content that goes with them."""

    name = "map segmentation by a neural network"
    short_name = "map segmentation"
    supported_progs = ["unetsegment"]
    supported_params: dict = {}
    references = (REFERENCE,)

    def Init(self):
        """No estimate yet; the mask is for the density modification of the parent alone."""
        self.out.never_propagate = True
        self.est_solvcont = None
        self._unet = self._cutoffs = None
        self._introduced = False

    def RunBody(self, *args, **kwargs):
        """Segment; if that fails, hand the present map on, from which Parrot makes its own mask."""
        dmfull = self.parent_process
        if getattr(dmfull, "unet", None) is None:  # its parameters were treated without us
            dmfull.unet = StepMasks("unet")
        dmfull.ref_use = self._measured()
        try:
            self._segment()
        except Exception as error:  # whatever happens here must not end a job of hours
            self._fall_back(error)
        dmfull.unet.from_network(self._unet and self.est_solvcont)

    def _segment(self):
        from crank2_unet.crank2 import handover
        from crank2_unet.network.model_card import ModelCard
        from crank2_unet.solvent.content import UnetSolvent

        self._unet = None
        dmfull = self.parent_process
        if dmfull.unet.parrot is None:
            dmfull.unet.parrot = choose_parrot(dmfull.dm.GetProg("parrot").GetParam("binary"))
        program = self.AddProg("unetsegment")
        handover.clear(self.rundir)
        program.Run()
        with open(os.path.join(self.rundir, "result.json")) as file:
            result = json.load(file)
        self._cutoffs = ModelCard.read().cutoffs
        self._unet = UnetSolvent.from_json(result["solvent_content"], self._cutoffs)
        self.est_solvcont = self._unet.expected
        if not 0 < self.est_solvcont < 1:
            raise ValueError(f"a solvent content of {self.est_solvcont:g} is impossible")
        self.out.Get("mapcoef", typ="mask").segmentation = self.rundir
        if not self._introduced:
            self._introduced = True
            model, device = result["model"], result["device"]
            self.Info(f"Solvent masks by crank2-unet {__version__}, network {model['name']} "
                      f"{model['version']} on {device['used']}. Please reference:\n{REFERENCE}")
        self.Info(f"Solvent content by the network {self.est_solvcont:.3f}", stdout=False)
        self.programs.remove(program)

    def _fall_back(self, error):
        """Leave things as if there were no segmentation, and say so."""
        self._unet = None
        for program in self.programs[:]:  # a program that failed is not in a state to run again
            for container, name, relabelled in getattr(program, "files_before_merge", ()):
                if not relabelled:
                    container.GetFile("mtz").name = name
            self.programs.remove(program)
        os.chdir(self.rundir)
        self.out.ClearAll(propagate=False)
        mask = self.out.AddCopy(self.inp.Get("mapcoef"))
        mask.SetType("mask")
        mask.segmentation = None
        self.est_solvcont = self._present_solvent_content()
        self.Info(f"WARNING: map segmentation failed in cycle {self.parent_process.cyc}; this cycle "
                  f"is done with the classical mask. {error}")

    def _present_solvent_content(self):
        content = self.parent_process.GetParam("solvent_content")
        holder = self.inp.Get(has_solvent_content=True)
        return float(content or (holder.solvent_content if holder else 0.5))

    def _measured(self):
        """MTZ column that is set for the measured reflections, of all data: Crank2 removes others
        from Parrot's output by it.  Parrot's own input lacks the free ones in bias estimation."""
        import gemmi

        data = self.inp.Get("fsigf", typ="average", col="f", filetype="mtz")
        column = gemmi.read_mtz_file(data.GetFileName("mtz")).column_with_label(data.GetLabel("f"))
        column.label = "MEASURED"  # it is copied; a second F would be asking for trouble
        return column

    def GetLogitFromSolv(self, solvent_content):
        """Logit above which the map has this solvent content; None unless it is within (0, 1)."""
        if self._unet is None or solvent_content is None:
            return None
        return self._unet.logit_from_solvent(solvent_content)

    def GetProbFromLogitDiff(self, difference):
        """Likelihood, 0-1, of being so far from the best logit; without an estimate 0, so that the
        solvent content stays as it is."""
        if self._unet is None or difference is None:
            return 0.0
        return self._cutoffs.likelihood_of_difference(difference)

    def GetExpSolvFromCombDist(self, solvents, probabilities):
        """Expected solvent content by Matthews probabilities and the network together."""
        if self._unet is None:
            return self.est_solvcont
        return self._unet.expected_with(solvents, probabilities)
