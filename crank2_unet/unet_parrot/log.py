"""Log and XML in the form of Parrot's, for the programs that read them."""

from __future__ import annotations

from xml.etree import ElementTree

from .. import __version__
from ..files.output import staged_file
from ..modification.cycles import CycleStatistics
from ..modification.ncs import OperatorStatistics
from ..modification.ncs_operator import Operator
from ..solvent.matthews import MatthewsOption
from .options import ParrotOptions


class JobLog:
    """Prints the log as the job goes on and keeps what the tables and the XML file need.

    Crank2 reads "Suggested radius ...", "-ncs-operator ..." and "NCS operator statistics:"; CCP4i2
    reads the XML file and draws the tables that begin with $TABLE.
    """

    def __init__(self, options: ParrotOptions, notes: list[str]):
        self._options = options
        self._statistics: list[tuple[float, float]] = []  # fom and F correlation; [0] = start
        self._solvent = 0.0
        self._matthews: list[MatthewsOption] = []
        self._found: dict[str, int] = {}  # source of NCS operators -> their number
        self._ncs: list[list[OperatorStatistics]] = [[]]  # of each cycle
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

    def operators(self, source: str, operators: list[Operator]) -> None:
        """NCS operators found in "heavy atoms" or an "atomic model"."""
        self._found[source] = len(operators)
        if operators:
            self.say(*(f"NCS operator found from {source}: {operator}" for operator in operators))
        else:
            self.say(f"$TEXT:Warning: $$ $$\nWARNING: No NCS found from {source}.\n$$")

    def cycle_begins(self, cycle: int, radius: float, mask: str) -> None:
        self.say("", f"-- Cycle: {cycle} --------------------------------", "",
                 f"Suggested radius for solvent mask determination: {radius:.3f}", f"Mask: {mask}")

    def cycle_ends(self, statistics: CycleStatistics, ncs: list[OperatorStatistics]) -> None:
        self._statistics.append((statistics.fom, statistics.f_correlation))
        self._ncs.append(ncs)
        if ncs:
            self.say("NCS operator statistics:", " Operator_number  Mask_volume/ASU  Correlation")
            self.say(*(f"         {number:4d}         {one.volume:8.3f}     {one.correlation:8.3f}"
                       for number, one in enumerate(ncs, 1)), "")
        self.say(f"Mean weight of solvent: {statistics.solvent_fraction:.3f}",
                 f"Gamma {statistics.gamma:.4f}",
                 f"Figure of merit: {statistics.fom:.3f}   F correlation: "
                 f"{statistics.f_correlation:.3f}   R factor: {statistics.r_factor:.3f}   "
                 f"phase change: {statistics.phase_change:.1f}   {statistics.seconds:.2f} s")
        if self._options.xmlout:
            self._write_xml()

    def finish(self, operators: list[Operator]) -> None:
        """The operators as refined, to be given to the next run, and the table of all cycles."""
        if operators:
            self.say("Non-crystallographic operators:",
                     *(f" -ncs-operator {operator}" for operator in operators))
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
        _add(root, "Nncs", str(len(self._ncs[-1])))
        for tag, source in (("NncsHA", "heavy atoms"), ("NncsMR", "atomic model")):
            if source in self._found:
                _add(root, tag, str(self._found[source]))
        cycles = _add(root, "Cycles")
        for number, (statistics, ncs) in enumerate(zip(self._statistics, self._ncs)):
            entry = _add(cycles, "Cycle")
            _add(entry, "Number", str(number))
            _add_statistics(entry, statistics, ncs)
        final = _add(root, "Final")
        _add_statistics(final, self._statistics[-1], self._ncs[-1])
        listed = _add(final, "Operators")
        for number, one in enumerate(self._ncs[-1], 1):
            _add(listed, "Operator", str(number))
            _add(listed, "NCScorrel", f"{one.correlation:.3f}")
            _add(listed, "NCSvolume", f"{one.volume:.3f}")
        # it is read while the job runs
        with staged_file(self._options.xmlout, self._options.files) as unfinished:
            ElementTree.ElementTree(root).write(unfinished, encoding="utf-8")


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    element.text = text
    return element


def _add_statistics(parent: ElementTree.Element, statistics: tuple[float, float],
                    ncs: list[OperatorStatistics]) -> None:
    volumes = [one.volume for one in ncs] or [0.0]
    values = {"MeanFOM": statistics[0], "Fcorrel": statistics[1],
              "FreeFcorrel": 0.0,  # no reflection is left out, as in Parrot
              "NCScormean": sum(one.correlation for one in ncs) / max(len(ncs), 1),
              "NCSvolmean": sum(volumes) / len(volumes), "NCSvolmin": min(volumes),
              "NCSvolmax": max(volumes)}
    for tag, value in values.items():
        _add(parent, tag, f"{value:.3f}")
