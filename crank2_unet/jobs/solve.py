"""The job of the command ``solve``: from Friedel mates and sites to the final map.

Its stages are the jobs of ``phase``, ``hand`` and ``dm``, each in a sub-folder with its own result and
report.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass

from ..files.maps import read_map
from ..files.mtz_input import read_phased
from ..files.output import staged
from ..network.verdict import NOT_SOLVED, probability_of_hand
from ..report.figures import Layer
from ..report.words import headline, show_probability
from .dm import run_dm
from .hand import run_hand
from .phase import MADE_MATES, run_phase
from .result import Clock, Warnings, finish, header
from .stages import ProgressOf, Stage, Stages

_log = logging.getLogger(__name__)
_OUTPUTS = {"mtz": "dm.mtz", "mask": "mask.ccp4", "sites": "sites.pdb"}
_HANDS = {"given": "", "other": "_other_hand"}  # what names of its files have
_SURE = 0.95  # probability from which a hand is taken without all cycles of the other one


@dataclass(frozen=True)
class _Hand:
    """Which hand is right, for result.json.

    Parameters
    ----------
    chosen : "given" or "other".
    spacegroup : of this hand.
    probability : that it is right; None if neither is wrong.
    decided_by : "hand", "modification" or "same map".
    modified : verdict on each hand after density modification, where both had it.
    """

    chosen: str
    spacegroup: str
    probability: float | None
    decided_by: str
    modified: list[dict] | None = None


def run_solve(mtzin: str, folder: str, phasing: dict, modification: dict,
              progress_of: ProgressOf = lambda _: nullcontext(),
              tell: Callable[[str], None] = _log.info) -> dict:
    """Phase both hands, choose one, modify its density; writes dm.mtz, mask.ccp4, sites.pdb,
    result.json and report.html, and each stage in a sub-folder; returns the result.

    If the hands cannot be told apart, both go through density modification, and the better map is
    taken.  Stages that an earlier run has finished are taken over (:class:`~.stages.Stages`), and
    those that are not of this one removed when it ends well.

    Parameters
    ----------
    phasing : arguments of :func:`~.phase.run_phase`.
    modification : arguments of :func:`~.dm.run_dm`, without what would be right in one hand only (a
        mask file, NCS sites or operators); its network also compares the hands.
    progress_of, tell : see :class:`~.stages.Stages`.

    Raises
    ------
    Crank2UnetError : the stages before the one that failed stay.
    """
    clock, inputs = Clock(), _files(mtzin, phasing, modification)
    with Warnings() as warnings, staged(
            folder, "solve", inputs, _OUTPUTS.values(), parts=True) as stage:
        stages = Stages(folder, "solve", progress_of, tell)
        phased = stages.run("phase", "phasing both hands", run_phase, mtzin, hands="both", **phasing)
        compared = stages.run("hand", "comparing the hands", run_hand,
                              *(phased.file(f"phased{suffix}.mtz") for suffix in _HANDS.values()),
                              choice=modification["choice"])

        def modify(hand: str) -> Stage:
            suffix = _HANDS[hand]
            return stages.run(f"dm{suffix}", f"modifying the density of the {hand} hand", run_dm,
                              phased.file(f"phased{suffix}.mtz"), **modification)
        hand, modified = _choose(compared.result, modify)
        best = _Solution.of(phased, modified, _HANDS[hand.chosen])
        if phasing["complete"] and modified.result["verdict"]["word"] != NOT_SOLVED:
            best = _completed(best, stages, phasing, modification)
        for name, file in best.files.items():
            shutil.copyfile(file, stage / _OUTPUTS[name])
        modified = best.modified
        outputs = {**_OUTPUTS, "columns": modified.result["outputs"]["columns"]}
        result = {**phased.result, **compared.result, **modified.result,
                  **header("solve", clock, warnings, outputs),
                  "input": phased.result["input"], "hand": asdict(hand), "phasing": best.phasing,
                  "verdict": _verdict(modified.result["verdict"], hand),
                  "stages": [_describe(done, best) for done in stages.done]}
        result["timings"] |= {done.folder.name: done.result["timings"]["total"] for done in stages.done}
        finish(stage, result, _layers(best))
    stages.forget_others(inputs)
    return result


@dataclass(frozen=True)
class _Solution:
    """One hand, phased and with its density modified.

    Parameters
    ----------
    phased, sites : paths of its phases and its sites.
    phasing : statistics of its phasing.
    mates : arguments of :func:`~.phase.run_phase` that name the mates in ``phased``, if it made them.
    modified : its density modification.
    """

    phased: str
    sites: str
    phasing: dict
    mates: dict
    modified: Stage

    @classmethod
    def of(cls, phased: Stage, modified: Stage, suffix: str = "") -> _Solution:
        """From the stages; ``suffix`` is what the names of the hand's files have."""
        hands = phased.result["phasing"]["hands"]
        statistics = next(hand for hand in hands if hand["outputs"]["mtz"] == f"phased{suffix}.mtz")
        columns = statistics["outputs"]["columns"]
        mates = [columns[label] for label in MADE_MATES if label in columns]
        return cls(phased.file(f"phased{suffix}.mtz"), phased.file(f"sites{suffix}.pdb"),
                   {**statistics["statistics"], "hands": hands},
                   {"colin_fpm": ",".join(mates), "colin_fdano": None} if mates else {}, modified)

    @property
    def files(self) -> dict[str, str]:
        """The results, by the names of ``_OUTPUTS``."""
        return {"mtz": self.modified.file("dm.mtz"), "mask": self.modified.file("mask.ccp4"),
                "sites": self.sites}

    @property
    def expected(self) -> float:
        """Correlation with the true map."""
        return self.modified.result["verdict"]["expected"]["correlation"]


def _completed(first: _Solution, stages: Stages, phasing: dict, modification: dict) -> _Solution:
    """The better one of a solution and of what its sites give once its phases have completed them."""
    phased = stages.run(
        "phase_completed", "completing the sites by the improved phases", run_phase, first.phased,
        **{**phasing, **first.mates, "sites": first.sites}, phases=first.modified.file("dm.mtz"))
    changes = phased.result["phasing"]["completion"]
    if not any(changes[what] for what in ("added", "dropped", "split")):
        return first
    modified = stages.run("dm_completed", "modifying the density of the completed sites", run_dm,
                          phased.file("phased.mtz"), **modification)
    return max(first, _Solution.of(phased, modified), key=lambda solution: solution.expected)


def _files(mtzin: str, phasing: dict, modification: dict) -> list[str | None]:
    """Files that are read, which no output may replace."""
    return [mtzin, phasing["sites"], modification["content"].sequence, modification["choice"].model]


def _choose(compared: dict, modify: Callable[[str], Stage]) -> tuple[_Hand, Stage]:
    """The hand that is taken, and what density modification makes of it."""
    probability, spacegroup = ({name: hand[key] for name, hand in zip(_HANDS, compared["hands"])}
                               for key in ("probability", "spacegroup"))
    best = max(probability, key=probability.__getitem__)
    if compared["same_map"]:
        return _Hand(best, spacegroup[best], None, "same map"), modify(best)
    if probability[best] >= _SURE:
        return _Hand(best, spacegroup[best], probability[best], "hand"), modify(best)
    _log.warning("The comparison of the hands does not tell which is right (the %s one with a "
                 "probability of %.2f), so that the density of both is modified and the better map is "
                 "taken.", best, probability[best])
    both = {name: modify(name) for name in _HANDS}
    verdicts = {name: done.result["verdict"] for name, done in both.items()}
    p_given = probability_of_hand(probability["given"], *(
        verdict["expected"]["correlation"] for verdict in verdicts.values()))
    best = "given" if p_given >= 0.5 else "other"
    return (_Hand(best, spacegroup[best], max(p_given, 1 - p_given), "modification",
                  [{"hand": name, "word": verdict["word"], **verdict["expected"]}
                   for name, verdict in verdicts.items()]), both[best])


def _verdict(found: dict, hand: _Hand) -> dict:
    """The verdict on the map, with what is known of its hand."""
    if hand.probability is None:
        return found
    reason = f"The hand is right with a probability of {show_probability(hand.probability)}."
    return {**found, "reasons": [reason, *found["reasons"]]}


def _describe(done: Stage, best: _Solution) -> dict:
    """An entry of the result on a stage; "chosen" is the last one, which made the map."""
    return {"name": done.folder.name, "command": done.result["command"], "title": done.title,
            "said": _said(done.result), "chosen": done is best.modified,
            "kept": done.kept, "seconds": done.result["timings"]["total"],
            "report": f"{done.folder.name}/report.html"}


def _said(result: dict) -> str:
    """What came out of a stage, in a line."""
    if result["command"] == "hand":
        return "neither is wrong" if result["same_map"] else ", ".join(
            f"{name} {show_probability(hand['probability'])}"
            for name, hand in zip(_HANDS, result["hands"]))
    if result["command"] == "dm":
        return headline(result["verdict"])
    phasing = result["phasing"]
    changes = phasing["completion"] or {"added": [], "dropped": []}
    return (f"{phasing['n_sites']} sites ({len(changes['added'])} added, {len(changes['dropped'])} "
            f"dropped), figure of merit {phasing['fom']:.2f}")


def _layers(best: _Solution) -> list[Layer]:
    """The map as phased and the final one, with the sites, and P(flat) where the network says it, all
    with the final mask."""
    last = best.modified
    columns = last.result["outputs"]["columns"]
    before = read_phased(best.phased).data
    after = read_phased(last.file("dm.mtz"), colin_fc=f"{columns['FWT']},{columns['PHWT']}",
                        need_phases=False).data
    mask = read_map(last.file("mask.ccp4"))
    sites = [site["xyz"] for site in best.phasing["sites"]]
    flat = last.result["outputs"].get("flat")
    return [*(Layer(name, data.map.density, mask, sites=sites)
              for name, data in (("Before", before), ("After", after))),
            *([Layer("P(flat)", read_map(last.file(flat)), mask, "probability")] if flat else [])]
