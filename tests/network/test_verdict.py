"""The verdict on a map after density modification."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.observations import PhasedData
from crank2_unet.crystal.phases import angle_degrees, hl_from_phi_fom
from crank2_unet.modification.engine import Modified
from crank2_unet.network import verdict
from crank2_unet.network.map_quality import MapQuality
from crank2_unet.network.verdict import judge_result, probability_of_hand, word_for

GOOD = {"fom": 0.75, "free_correlation": 0.7}
WRONG = {"fom": 0.4, "free_correlation": 0.05}


@pytest.fixture(scope="module")
def data():
    reflections = crystal("P 21 21 21", 3.0)
    f = random_coefficients(reflections)
    hl = hl_from_phi_fom(angle_degrees(f), np.full(len(f), 0.5), reflections.allowed_phase)
    return PhasedData(reflections, np.abs(f), 0.1 * np.abs(f), hl, f)


def modified(data, last, **how):
    return Modified(data.coefficients, np.full(len(data.f), 0.5), data.hl, gemmi.FloatGrid(2, 2, 2),
                    [WRONG, last], how)


def start(correlation):
    return MapQuality(correlation, 0.1, True, {})


def test_good_maps_are_told_from_wrong_ones(data):
    good = judge_result(data, modified(data, GOOD), start(0.6))
    wrong = judge_result(data, modified(data, WRONG), start(0.25))
    assert good.expected.correlation > 0.7 > 0.3 > wrong.expected.correlation
    assert good.word in ("solved", "promising") and wrong.word == "not solved"
    assert good.expected.probability > 0.8 > 0.1 > wrong.expected.probability
    assert any("as of good maps" in reason for reason in good.reasons)
    assert sum("as of wrong maps" in reason for reason in wrong.reasons) >= 3
    assert "Build" in good.advice[0] and any("both hands" in text for text in wrong.advice)
    assert good.features.keys() == {"fom", "free_correlation", "skewness", "start"}


def test_nothing_is_advised_that_is_done_already(data, monkeypatch):
    monkeypatch.setattr(verdict, "word_for", lambda expected: verdict.PROMISING)

    def advice(ncs=(), **known):
        return " ".join(judge_result(data, modified(data, GOOD, ncs=ncs), start(0.6), **known).advice)
    assert "both hands" in advice() and "--ncs-sites" in advice()
    assert "both hands" not in advice(hands_compared=True)
    assert "--ncs-sites" not in advice(ncs_chosen=True)
    assert "--ncs-sites" not in advice(ncs=[{"operator": ""}])


def test_reasons_that_tell_nothing_come_last(data, monkeypatch):
    monkeypatch.setattr(verdict, "skewness", lambda _: 0.7)
    reasons = judge_result(data, modified(data, GOOD), start(0.6)).reasons
    assert reasons[-1].startswith("Skewness") and " or wrong ones" in reasons[-1]
    assert not any(" or wrong ones" in reason for reason in reasons[:-1]) and len(reasons) == 4


@pytest.mark.parametrize("good, wrong, value, said", [
    (0.4, 0.3, 0.5, "as of good maps; wrong ones hardly exceed 0.30"),
    (0.4, 0.3, 0.35, "between wrong maps (to 0.30) and good ones (from 0.40)"),
    (0.4, 0.3, 0.2, "as of wrong maps; good ones hardly fall below 0.40"),
    (0.3, 0.4, 0.35, "as of good maps (from 0.30) or wrong ones (to 0.40)")])
def test_what_a_value_says(good, wrong, value, said):
    assert verdict.Evidence("It", good, wrong).sentence(value) == f"It: {value:.2f}, {said}."


def test_what_is_not_known_is_done_without(data):
    """Parrot holds nothing back, and its figures of merit mean something else; a mask of the user's
    needs no network."""
    parrot = modified(data, {"fom": 0.95})
    assert judge_result(data, parrot, start(0.5)).features.keys() == {"skewness", "start"}
    assert judge_result(data, parrot, None).features.keys() == {"skewness"}
    without = judge_result(data, modified(data, GOOD), None)
    assert without.features.keys() == {"fom", "free_correlation", "skewness"}
    assert len(without.reasons) == 3


def test_phases_of_a_model_prove_nothing(data):
    found = judge_result(data, modified(data, GOOD), start(0.9), of_model=True)
    assert found.word == "doubtful" and found.expected is None and "model" in found.reasons[0]


@pytest.mark.parametrize("correlation, uncertainty, word", [
    (0.9, 0.1, "solved"), (0.75, 0.3, "promising"), (0.6, 0.05, "promising"), (0.4, 0.1, "doubtful"),
    (0.1, 0.1, "not solved")])
def test_words(correlation, uncertainty, word):
    regression = replace(verdict.REGRESSIONS[0], intercept=np.log(correlation / (1 - correlation)),
                         weights={}, uncertainty=(uncertainty,) * 3)
    assert word_for(regression({})) == word


def test_a_hand_is_judged_by_both_maps():
    assert probability_of_hand(0.6, 0.8, 0.2) > 0.9 > 0.1 > probability_of_hand(0.6, 0.2, 0.8)
    assert probability_of_hand(0.6, 0.4, 0.4) == pytest.approx(0.6)
    assert 0 < probability_of_hand(0.0, 0.1, 0.9) < probability_of_hand(1.0, 0.9, 0.1) < 1
