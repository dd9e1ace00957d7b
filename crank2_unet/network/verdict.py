"""What a map is worth after density modification, in a word, with reasons and what to do next.

The correlation with the true map is expected from a few numbers that density modification leaves, by a
logistic regression.  Its constants were fitted, as 'crank2-unet model verdict' does, to simulated SAD
data of 46 structures of the training split that the network has not seen, each in the right hand, in
the wrong one, and with random phases, after ten cycles.  What it says of them, of 89 others modified
until they converge, and of measured data is in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr

from ..crystal.observations import PhasedData
from ..crystal.phases import phi_fom_from_hl, to_complex
from ..modification.engine import Modified
from ..modification.sharpening import Sharpening
from .map_quality import MapQuality, skewness

SOLVED, PROMISING, DOUBTFUL, NOT_SOLVED = WORDS = "solved", "promising", "doubtful", "not solved"
# expected correlation from which a map is called so; a solved one must also be more than 0.5 with a
# probability of _SURE
_LEAST = {SOLVED: 0.7, PROMISING: 0.5, DOUBTFUL: 0.2}
_TRACEABLE, _SURE = 0.5, 0.95
AT = (0.1, 0.5, 0.9)  # expected correlations for which uncertainties are known
_PER_CORRELATION = 8.0  # logit of a hand's probability by difference of expected correlations
_OF_MODEL = ("The phases were calculated from a model: figure of merit and agreement are as good for a "
             "wrong model as for a right one.")
_REFINE = "Refine the model: R-free, and density that it does not explain, tell whether it is right."


@dataclass(frozen=True)
class Evidence:
    """A number that tells good maps from wrong ones.

    Parameters
    ----------
    what : it is, in words.
    good : 95 % of the maps with a correlation above 0.7 have at least this.
    wrong : 95 % of those with one below 0.2 have at most this.
    """

    what: str
    good: float
    wrong: float

    def is_silent(self, value: float) -> bool:
        """Whether a value tells nothing."""
        low, high = sorted((self.good, self.wrong))
        return low <= value <= high

    def sentence(self, value: float) -> str:
        """What a value says."""
        if value > max(self.good, self.wrong):
            said = f"as of good maps; wrong ones hardly exceed {self.wrong:.2f}"
        elif value < min(self.good, self.wrong):
            said = f"as of wrong maps; good ones hardly fall below {self.good:.2f}"
        elif self.wrong < self.good:
            said = f"between wrong maps (to {self.wrong:.2f}) and good ones (from {self.good:.2f})"
        else:
            said = f"as of good maps (from {self.good:.2f}) or wrong ones (to {self.wrong:.2f})"
        return f"{self.what}: {value:.2f}, {said}."


@dataclass(frozen=True)
class Expectation:
    """What to expect of a map.

    Parameters
    ----------
    correlation : with the true map, 0..1.
    uncertainty : its standard deviation.
    probability : that the correlation is above 0.5.
    """

    correlation: float
    uncertainty: float
    probability: float


@dataclass(frozen=True)
class Regression:
    """From numbers to the expected correlation.

    Parameters
    ----------
    intercept, weights : of the logit of the correlation.
    uncertainty : standard deviations of the error where ``AT`` is expected, linear in between.
    """

    intercept: float
    weights: Mapping[str, float]
    uncertainty: tuple[float, float, float]

    def __call__(self, features: Mapping[str, float]) -> Expectation:
        expected = float(expit(self.intercept + sum(weight * features[name]
                                                    for name, weight in self.weights.items())))
        error = float(np.interp(expected, AT, self.uncertainty))
        return Expectation(expected, error, float(ndtr((expected - _TRACEABLE) / error)))


EVIDENCE = {
    "free_correlation": Evidence("Agreement with amplitudes that were held back", 0.47, 0.30),
    "fom": Evidence("Mean figure of merit", 0.66, 0.50),
    "skewness": Evidence("Skewness of the density", 0.55, 0.86),
    "start": Evidence("Expected correlation of the map as phased", 0.40, 0.34)}
# Weights of the numbers, and standard deviations at AT, for crystals that they were not fitted to;
# the first whose numbers are all there is used: Parrot holds nothing back, and there is no expected
# correlation of the map as phased without the network
REGRESSIONS = (
    Regression(-5.85, {"free_correlation": 1.14, "fom": 2.71, "skewness": 1.69, "start": 7.09},
               (0.18, 0.24, 0.06)),
    Regression(-4.47, {"free_correlation": 1.38, "fom": 4.13, "skewness": 2.23},
               (0.18, 0.26, 0.07)),
    Regression(-7.06, {"skewness": 2.29, "start": 13.56},
               (0.17, 0.26, 0.11)),
    Regression(-3.73, {"skewness": 4.20},
               (0.23, 0.31, 0.12)))


@dataclass(frozen=True)
class Verdict:
    """What a map is worth.

    Parameters
    ----------
    word : one of the four at the top of this module.
    expected : correlation with the true map; None if nothing tells.
    reasons, advice : sentences, the most important first; reasons that tell nothing last.
    features : the numbers behind it.
    """

    word: str
    expected: Expectation | None
    reasons: list[str]
    advice: list[str]
    features: dict[str, float]


def judge_result(data: PhasedData, modified: Modified, start: MapQuality | None,
                 of_model: bool = False, hands_compared: bool = False, ncs_chosen: bool = False,
                 ) -> Verdict:
    """Judge a map after density modification.

    Parameters
    ----------
    data : that was modified.
    modified : outcome.
    start : quality of the map before; None if it is not known.
    of_model : the phases were calculated from a model, so that nothing here tells whether it is right.
    hands_compared : both hands are tried, phased from the sites.
    ncs_chosen : sites that may show NCS were asked, its operators are known, or it is not wanted.
    """
    features = features_of_result(data, modified, start)
    if of_model:
        return Verdict(DOUBTFUL, None, [_OF_MODEL], [_REFINE], features)
    regression = next(r for r in REGRESSIONS if r.weights.keys() <= features.keys())
    expected = regression(features)
    word, ncs_settled = word_for(expected), ncs_chosen or bool(modified.how.get("ncs"))
    telling = sorted(regression.weights, key=lambda name: EVIDENCE[name].is_silent(features[name]))
    return Verdict(word, expected, [EVIDENCE[name].sentence(features[name]) for name in telling],
                   _advise(word, hands_compared, ncs_settled), features)


def features_of_result(data: PhasedData, modified: Modified, start: MapQuality | None,
                       ) -> dict[str, float]:
    """The numbers by which maps are judged after density modification, those that are known.

    Returns
    -------
    skewness : of the sharpened m|F| map (:func:`~.map_quality.skewness`).
    start : expected correlation of the map before.
    free_correlation, fom : of the last cycle (:class:`~.cycles.CycleStatistics`), where amplitudes were
        held back; other figures of merit mean something else.
    """
    phi, fom = phi_fom_from_hl(modified.hl, data.reflections.allowed_phase)
    best = to_complex(fom * np.nan_to_num(data.f), phi)
    features = {"skewness": skewness(Sharpening.of(data).sharpen(best).density)}
    if start is not None:
        features["start"] = start.correlation
    last = modified.cycles[-1]
    if last.get("free_correlation") is not None:
        features |= {name: last[name] for name in ("free_correlation", "fom")}
    return features


def word_for(expected: Expectation) -> str:
    """The word for an expectation."""
    for word, least in _LEAST.items():
        if expected.correlation >= least and (word != SOLVED or expected.probability >= _SURE):
            return word
    return NOT_SOLVED


def _advise(word: str, hands_compared: bool, ncs_settled: bool) -> list[str]:
    """What to do next, but for what is done already."""
    if word == SOLVED:
        return ["Build a model into FWT, PHWT of dm.mtz."]
    advice = []
    if not hands_compared:
        # phases given may be worse than they claim: with those of another program lysozyme in P 1 stays
        # at 70 degrees, with those that 'phase' makes of the same sites it comes to 33.5
        advice.append("Phase from the sites, in both hands ('crank2-unet solve', or 'phase --hand "
                      "both' and 'hand').")
    if word == PROMISING:
        return ["Build what is clear: phases of a partial model improve the rest.", *advice,
                *([] if ncs_settled else ["If there are copies of the molecule, name sites that show "
                                          "it with --ncs-sites."])]
    if word == DOUBTFUL:
        return [*advice, "Look for solvent and helices before you build anything.",
                "Check the sites: some may be missing or wrong.",
                "More or better anomalous data help most."]
    return [*advice, "Check element, wavelength and origin of the sites, cell and space group.",
            "Do not build into this map."]


def probability_of_hand(before: float, one: float, other: float) -> float:
    """Probability that the first of two hands is right, after density modification of both.

    Parameters
    ----------
    before : probability by the comparison of hands, after three cycles.
    one, other : expected correlations after density modification.
    """
    return float(expit(logit(np.clip(before, 0.01, 0.99)) + _PER_CORRELATION * (one - other)))
