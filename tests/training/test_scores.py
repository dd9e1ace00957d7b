"""Scores of phases against a model, wherever their origin is and whichever hand they are in."""

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients

from crank2_unet.crystal.origins import permitted_shifts, shifted
from crank2_unet.crystal.phases import angle_degrees
from crank2_unet.crystal.reflections import Reflections, enantiomorph
from crank2_unet.errors import InputError
from crank2_unet.training.evaluation.scores import PhaseSet, Truth
from crank2_unet.training.preparation.prepare import enantiomorphic_factors

ERROR = 30.0  # degrees, of acentric phases


def truth_of(reflections, measured=None):
    f_true = random_coefficients(reflections, 1)
    f = 7.0 * np.abs(f_true)  # on another scale than the model
    f[~measured if measured is not None else []] = np.nan
    return Truth(reflections, f, angle_degrees(f_true), np.abs(f_true)), f_true


def with_errors(f_true, reflections):
    """Coefficients with acentric phases off by ERROR, and an honest figure of merit of them."""
    sign = np.random.default_rng(3).choice([-1, 1], len(f_true)) * ~reflections.centric
    fom = np.where(reflections.centric, 1.0, np.cos(np.deg2rad(ERROR)))
    return fom * f_true * np.exp(1j * np.deg2rad(ERROR * sign))


def phase_set(coefficients, reflections, f_true):
    return PhaseSet(reflections, angle_degrees(coefficients), np.abs(coefficients / f_true),
                    7 * coefficients)


def test_scores_by_hand():
    r = crystal("P 21 21 21", 3.0)
    measured = np.random.default_rng(0).random(len(r)) < 0.8
    truth, f_true = truth_of(r, measured)
    scores = truth.scores(phase_set(with_errors(f_true, r), r, f_true))
    cosine = np.cos(np.deg2rad(ERROR))
    assert scores["acentric"]["phase_error"] == pytest.approx(ERROR, abs=1e-6)
    assert scores["centric"]["phase_error"] == pytest.approx(0, abs=1e-6)
    assert scores["acentric"]["fom"] == pytest.approx(scores["acentric"]["cos"])
    assert scores["acentric"]["cc"] == pytest.approx(cosine) and scores["cc"] < 1
    assert scores["fom"] == pytest.approx(scores["cos"])
    assert cosine < scores["cc_filled"] < 1  # the scale of the model does not matter
    assert (scores["hand"], scores["shift"]) == ("as given", None)
    sizes = [shell[group]["n"] for shell in scores["shells"] for group in ("acentric", "centric")
             if shell[group]]
    assert 0.8 * measured.sum() < sum(sizes) <= measured.sum()
    assert len(scores["shells"]) >= 3


@pytest.mark.parametrize("symbol", ["P 1", "P 1 21 1", "P 21 21 21", "P 43 21 2", "P 61 2 2", "I 41",
                                    "R 3:H", "I 2 3"])
@pytest.mark.parametrize("hand", ["as given", "other"])
def test_any_origin_and_hand_gives_the_same_scores(symbol, hand):
    r = crystal(symbol, 3.5) if symbol != "I 41" else Reflections(
        crystal("P 43 21 2").cell, gemmi.SpaceGroup("I 41"), 3.5)
    truth, f_true = truth_of(r)
    coefficients = with_errors(f_true, r)
    expected = truth.scores(phase_set(coefficients, r, f_true))
    shifts, polar = permitted_shifts(r.spacegroup)
    moved = shifted(coefficients, r, shifts[-1] + np.full(len(polar), 0.137) @ polar)
    there = r
    if hand == "other":
        moved = enantiomorphic_factors(moved, r)
        there = Reflections(r.cell, enantiomorph(r.spacegroup), r.d_min)
    found = truth.scores(phase_set(moved, there, f_true))
    for key in ("phase_error", "weighted_error", "cc", "cc_filled", "fom", "cos"):
        assert found[key] == pytest.approx(expected[key], abs=0.05), key
    assert found["hand"] == hand
    assert (found["shift"] is None) == (len(shifts) == 1 and len(polar) == 0)


def test_another_space_group_is_an_error():
    r = crystal("P 21 21 21", 3.5)
    truth, f_true = truth_of(r)
    other = Reflections(r.cell, gemmi.SpaceGroup("P 2 2 2"), 3.5)
    found = phase_set(f_true, r, f_true)
    with pytest.raises(InputError, match="P 2 2 2, the model in P 21 21 21"):
        truth.scores(PhaseSet(other, found.phi, found.fom, None))


def test_unknown_amplitudes_of_the_model():
    r = crystal("P 21 21 21", 3.5)
    truth, f_true = truth_of(r)
    blind = Truth(r, truth.f, truth.phi, None)
    assert blind.scores(phase_set(f_true, r, f_true))["cc_filled"] is None
