"""What a step of density modification knows of its masks, and what Crank2's main log says of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .programs import Parrot

_NETWORK = "the network"
_FAILED = "local variance, because the network failed"
_VARIANCE = "local variance"


@dataclass
class StepMasks:
    """Kept on the step (attribute ``unet``), with which Crank2 pickles it: plain values only.

    Parameters
    ----------
    dmmask : value of the option.
    parrot : the program that the step runs; None: whatever Crank2 finds.
    problem : why masks of the network, which were asked for, cannot be used; empty if they can.
    """

    dmmask: str
    parrot: Parrot | None = None
    problem: str = ""
    used: float = 0.0  # solvent content that Parrot was given in this cycle
    _network: float | None = None  # by the network, when last asked
    _sources: list[str] = field(default_factory=list)  # of the mask, in each cycle that is done
    _fom: float = 0.0  # of the last of them
    _source: str = _VARIANCE  # in this cycle

    def from_network(self, solvent_content: float | None) -> None:
        """The network was asked for the mask of this cycle; None: in vain."""
        self._source = _FAILED if solvent_content is None else _NETWORK
        self._network = solvent_content or self._network

    def end_of_cycle(self, matthews, decided, fom: float) -> str:
        """A line on the cycle that is done.

        Parameters
        ----------
        matthews, decided : solvent contents as Crank2 has them, None where it has none.
        fom : mean figure of merit.
        """
        self._sources.append(self._source)
        self._fom = float(fom)
        what = "Mask" if self.dmmask != "none" else "No solvent flattening; mask for histograms"
        line = (f"  {what} by {self._source}; solvent content {self.used:.3f} "
                f"({self._contents(matthews, decided)}); FOM {self._fom:.3f}")
        self._source = _VARIANCE
        return line

    def summary(self, matthews, decided, hand: str = "") -> str:
        """Two lines on the whole step; empty if no cycle was done."""
        if not self._sources:
            return ""
        done, failed = (self._sources.count(source) for source in (_NETWORK, _FAILED))
        cycles = len(self._sources)
        if self.dmmask == "none":
            first = f"There was no solvent flattening{hand} in any of {cycles} cycles."
        elif self.dmmask == "classic":
            first = f"Masks were made by local variance{hand} in all {cycles} cycles."
        elif self.problem:
            first = (f"The network's mask was used{hand} in 0 of {cycles} cycles: SOLVENT MASKS OF THE "
                     f"NETWORK COULD NOT BE USED. {self.problem}")
        else:
            first = (f"The network's mask was used{hand} in {done} of {done + failed} cycles that "
                     f"asked for it; Crank2 asked for none in {cycles - done - failed}.")
        return (f"{first}\nSolvent content: {self._contents(matthews, decided)}. "
                f"FOM after the last cycle: {self._fom:.3f}.")

    def _contents(self, matthews, decided) -> str:
        contents = {"Matthews": matthews, "network": self._network, "decided": decided}
        return ", ".join(f"{name} {float(value):.3f}" for name, value in contents.items() if value)
