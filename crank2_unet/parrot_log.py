"""Log and XML in the form of Parrot's, for the programs that read them."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from . import __version__
from .errors import InputError
from .matthews import MatthewsOption
from .modification import CycleStatistics
from .parrot_options import ParrotOptions


class ParrotLog:
    """Prints the log as the job goes on and keeps what the tables and the XML file need.

    Crank2 reads "Suggested radius ...", "-ncs-operator ..." and "NCS operator statistics:"; CCP4i2
    reads the XML file and draws the tables that begin with $TABLE.
    """

    def __init__(self, options: ParrotOptions, notes: list[str]):
        self._options = options
        self._statistics: list[tuple[float, float]] = []  # fom and F correlation; [0] = start
        self._solvent, self._matthews = 0.0, []
        self.say(f"unet-parrot {__version__}: density modification with a solvent mask from a U-net",
                 "Please reference:",
                 " Skubak P. (2024) Acta Cryst. D80, 528-534.",
                 " Cowtan K. (2010) Acta Cryst. D66, 470-478 (the procedure that is followed).", "")
        self.say(*(f"NOTE: {note}" for note in notes))

    @staticmethod
    def say(*lines: str) -> None:
        for line in lines:
            print(line, flush=True)

    def solvent(self, value: float, source: str, matthews: list[MatthewsOption]) -> None:
        """The solvent content in use, and what a sequence would say."""
        self._solvent, self._matthews = value, matthews
        if matthews:
            self.say("", "Solvent content estimation from sequence:",
                     " N(NCS)   Solvent_fraction    Probability")
            self.say(*(f"    {o.copies:2d}       {o.solvent:8.3f}         {o.probability:8.3f}"
                       for o in matthews))
        self.say("", f"Solvent content: {value:.3f}   ({source})", "")

    def start(self, fom: float, correlation: float) -> None:
        """Mean figure of merit of the input phases, correlation of amplitudes with the map's."""
        self._statistics = [(fom, correlation)]

    def cycle_begins(self, cycle: int, radius: float, mask: str) -> None:
        self.say("", f"-- Cycle: {cycle} --------------------------------", "",
                 f"Suggested radius for solvent mask determination: {radius:.3f}", f"Mask: {mask}")

    def cycle_ends(self, statistics: CycleStatistics) -> None:
        self._statistics.append((statistics.fom, statistics.f_correlation))
        self.say(f"Mean weight of solvent: {statistics.solvent_fraction:.3f}",
                 f"Gamma {statistics.gamma:.4f}",
                 f"Figure of merit: {statistics.fom:.3f}   F correlation: "
                 f"{statistics.f_correlation:.3f}   R factor: {statistics.r_factor:.3f}   "
                 f"phase change: {statistics.phase_change:.1f}   {statistics.seconds:.2f} s")
        if self._options.xmlout:
            self._write_xml()

    def finish(self) -> None:
        """The table of all cycles."""
        self.say("", "$TABLE :Reflection statistics:",
                 "$GRAPHS :Reflection statistics:N:1,2,3,4: $$",
                 " Cycle   FOM     Fcorrel(work)   Fcorrel(free)$$", "$$")
        self.say(*(f" {cycle:4d}    {fom:6.3f}  {correlation:12.3f}    {0:12.3f}"
                   for cycle, (fom, correlation) in enumerate(self._statistics)))
        self.say("$$", "")

    def _write_xml(self) -> None:
        root = ElementTree.Element("ParrotResult")
        content = _add(root, "SolventContent")
        likely = max(self._matthews, key=lambda o: o.probability, default=None)
        _add(content, "NMolsFromSequence", str(likely.copies if likely else 0))
        _add(content, "SolventContent", f"{self._solvent:.4f}")
        for option in self._matthews:
            entry = _add(content, "NMols")
            _add(entry, "N", str(option.copies))
            _add(entry, "SolventContent", f"{option.solvent:.4f}")
            _add(entry, "Probability", f"{option.probability:.4f}")
        _add(root, "Title", self._options.title)
        _add(root, "Nncs", "0")
        cycles = _add(root, "Cycles")
        for number, statistics in enumerate(self._statistics):
            entry = _add(cycles, "Cycle")
            _add(entry, "Number", str(number))
            _add_statistics(entry, *statistics)
        _add_statistics(_add(root, "Final"), *self._statistics[-1])
        path = Path(self._options.xmlout)
        unfinished = Path(f"{path}.part")  # readers look while the job runs
        try:
            ElementTree.ElementTree(root).write(unfinished, encoding="unicode")
            os.replace(unfinished, path)
        except OSError as error:
            raise InputError(f"-xmlout {path} cannot be written ({error.strerror}).") from error


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    element.text = text
    return element


def _add_statistics(parent: ElementTree.Element, fom: float, correlation: float) -> None:
    _add(parent, "MeanFOM", f"{fom:.3f}")
    _add(parent, "Fcorrel", f"{correlation:.3f}")
    _add(parent, "FreeFcorrel", "0.000")  # no reflection is left out, as in Parrot
