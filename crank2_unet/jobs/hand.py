"""The job of the command ``hand``: which of two maps, phased in either hand, is the right one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..crystal.reflections import enantiomorph
from ..errors import InputError
from ..files.mtz_input import Input, read_phased
from ..files.output import staged
from ..network.map_quality import MapQuality
from ..pipeline import Progress, compare_hands
from ..report.figures import Layer
from .choices import Columns, NetworkChoice
from .result import Clock, Warnings, common, finish, judge

_log = logging.getLogger(__name__)
# correlation of the amplitudes m|F| of both maps: of other data it is nearly 0, and in either hand of
# the same data the figures of merit are alike
_LEAST_AGREEMENT = 0.8
_SHOWN = ("contrast", "skewness")  # features that other programs print


def run_hand(first: str, other: str, folder: str, columns: Columns = Columns(),
             choice: NetworkChoice = NetworkChoice(), progress: Progress | None = None,
             part_of: str | None = None) -> dict:
    """Compare two maps phased with the same data in either hand, as they are and after three cycles of
    density modification; writes result.json and report.html, which shows both maps, and returns the
    result.

    Parameters
    ----------
    first, other : MTZ files, such as phased.mtz and phased_other_hand.mtz of ``phase --hand both``.
    columns : of both files.
    part_of : command of which this is a stage, "solve".

    Raises
    ------
    Crank2UnetError : nothing is left under the final names.
    """
    clock = Clock()
    with Warnings() as warnings, staged(
            folder, "hand", [first, other, choice.model]) as stage:
        with clock.stage("read"):
            given = [read_phased(path, columns.fo, columns.hl, columns.phifom, columns.fc)
                     for path in (first, other)]
            check_same_crystal(given[0], given[1])
            net = choice.load()
        with clock.stage("modification"):
            compared = compare_hands(given[0].data, given[1].data, net, progress)
        if compared.same_map:
            _log.warning("Both files hold the same map, with another origin: the sites are "
                         "centrosymmetric, so that neither hand is wrong. Use either.")
        found, probabilities = compared.found, (compared.p_first, 1 - compared.p_first)
        best = int(np.argmax(probabilities))
        judgement = judge(found[best], given[best], net, None)
        result = common("hand", given[best], net, clock, warnings, {}, part_of) | judgement | {
            "best": best + 1, "same_map": compared.same_map,
            "hands": [_describe(hand, segmented.quality, probability) for hand, segmented, probability
                      in zip(given, found, probabilities) if segmented.quality]}
        finish(stage, result, [Layer(f"{number}: {Path(hand.file.path).name}", segmented.density,
                                     segmented.mask)
                               for number, (hand, segmented) in enumerate(zip(given, found), 1)])
    return result


def check_same_crystal(first: Input, other: Input) -> None:
    """Make sure that two files hold one crystal in the same or opposite hands.

    Raises
    ------
    InputError : other cells, space groups that are no pair, other data, or the same map twice.
    """
    one, two = first.data.reflections, other.data.reflections
    names = f"{first.file.path} and {other.file.path}"
    if (not one.cell.is_similar(two.cell, 0.01, 1.0)
            or enantiomorph(one.spacegroup).number != two.spacegroup.number):
        raise InputError(f"{names} are not the two hands of one crystal.\n"
                         f"  first: {one.cell.parameters} {one.spacegroup.xhm()}\n"
                         f"  other: {two.cell.parameters} {two.spacegroup.xhm()}\n"
                         "Give phased.mtz and phased_other_hand.mtz of one 'crank2-unet phase'.")
    place = two.find(one.hkl)
    a, b = first.data.coefficients[place >= 0], other.data.coefficients[place[place >= 0]]
    if np.allclose(a, b, rtol=1e-3):
        raise InputError(f"{names} hold the same map. Give the maps of the two hands.")
    agreement = np.corrcoef(np.abs(a), np.abs(b))[0, 1]
    if agreement < _LEAST_AGREEMENT:
        raise InputError(f"The amplitudes of {names} correlate by {agreement:.2f} only. "
                         "Give two maps that were phased with the same data.")


def _describe(given: Input, quality: MapQuality, probability: float) -> dict:
    """A line of the table of hands."""
    return {"file": str(given.file.path), "spacegroup": given.data.reflections.spacegroup.xhm(),
            "probability": probability, "map_correlation": quality.correlation,
            "uncertainty": quality.uncertainty, **{name: quality.features[name] for name in _SHOWN}}
