"""Solvent content: the U-net's distribution, the posterior with a composition, plateaus."""

import json

import numpy as np
import pytest

from crank2_unet.errors import InputError, ModelError
from crank2_unet.solvent.content import (
    SOLVENT,
    CutoffDistribution,
    UnetSolvent,
    cutoff_for,
    estimate_solvent,
    interpolate_options,
)
from crank2_unet.solvent.matthews import MatthewsOption

LOGITS = np.linspace(-5, 5, 10001)  # solvent(cutoff) = (5 - cutoff) / 10
FLAT = CutoffDistribution(np.array([-10.0, 10.0]), np.array([0.05, 0.05]))


def triangle(centre, half_width):
    return CutoffDistribution(centre + half_width * np.array([-1.0, 0.0, 1.0]),
                              np.array([0.0, 1.0, 0.0]) / half_width)


def option(solvent, probability, copies=1):
    return MatthewsOption(copies, solvent, 1.23 / (1 - solvent), probability, probability)


def test_cutoff_and_solvent_are_inverse():
    for solvent in (0.1, 0.43, 0.9):
        again = np.mean(LOGITS > cutoff_for(LOGITS, solvent))
        assert again == pytest.approx(solvent, abs=2e-4)
    assert cutoff_for(LOGITS, 0.43) == pytest.approx(0.7, abs=1e-3)


def test_expectation_is_equation_1():
    cutoffs = np.array([-2.0, 0.0, 1.0, 3.0])
    distribution = CutoffDistribution(cutoffs, np.array([0.0, 2.0, 1.0, 0.0]))
    x = np.linspace(-2, 3, 5001)
    p = np.interp(x, cutoffs, distribution.density)
    by_hand = np.sum(p * [np.mean(LOGITS > c) for c in x]) / p.sum()
    unet = UnetSolvent.from_logits(LOGITS, distribution)
    assert unet.expected == pytest.approx(by_hand, abs=1e-3)
    assert unet.probability.sum() == pytest.approx(1)
    assert SOLVENT @ unet.probability == pytest.approx(by_hand, abs=2e-3)


def test_unet_alone_without_composition():
    estimate = estimate_solvent(LOGITS, triangle(1.0, 0.5))
    assert estimate.rule == "unet"
    assert estimate.value == pytest.approx(0.4, abs=1e-3)
    assert estimate.cutoff == pytest.approx(1.0, abs=1e-2)
    assert estimate.matthews is None and estimate.joint is None and estimate.options == ()


def test_user_overrules():
    estimate = estimate_solvent(LOGITS, triangle(1.0, 0.5), [option(0.4, 1.0)], given=0.66)
    assert (estimate.value, estimate.rule) == (0.66, "user")
    assert estimate.unet.expected == pytest.approx(0.4, abs=1e-3)
    for bad in (0.0, 1.0, 55):
        with pytest.raises(InputError, match="between 0 and 1"):
            estimate_solvent(LOGITS, triangle(1.0, 0.5), given=bad)


def test_network_that_knows_nothing_leaves_matthews():
    options = [option(0.7, 0.05), option(0.4, 0.9, 2), option(0.1, 0.05, 3)]
    estimate = estimate_solvent(LOGITS, FLAT, options)
    assert estimate.rule == "joint"
    assert [o.unet for o in estimate.options] == [1, 1, 1]
    # the doubt about the composition has the weight of its prior, 0.2, and the network's mean of 0.5
    assert [o.joint for o in estimate.options] == pytest.approx([0.04, 0.72, 0.04], abs=1e-3)
    assert estimate.value == pytest.approx(0.8 * (0.05 * 0.7 + 0.9 * 0.4 + 0.05 * 0.1) + 0.2 * 0.5,
                                           abs=5e-3)  # peaks near 0 and 1 are cut off there
    assert estimate.matthews.sum() == pytest.approx(1)


def test_network_decides_between_copy_numbers():
    options = [option(0.6, 0.55), option(0.4, 0.45, 2)]
    estimate = estimate_solvent(LOGITS, triangle(1.0, 1.0), options)
    assert estimate.options[1].joint > 0.8 > 0.1 > estimate.options[0].joint
    assert estimate.value == pytest.approx(0.4, abs=0.01)


def test_posterior_by_hand():
    estimate = estimate_solvent(LOGITS, triangle(1.5, 1.0), [option(0.4, 1.0)])
    # the network's distribution is a triangle on 0.25..0.45 and its mean likelihood 0.1
    s = np.linspace(0, 1, 20001)
    unet = np.clip(1 - np.abs(s - 0.35) / 0.1, 0, None)
    copies = np.exp(-0.5 * ((s - 0.4) / (0.08 * 0.6)) ** 2) / (0.08 * 0.6 * np.sqrt(2 * np.pi))
    posterior = 0.8 * copies * unet + 0.2 * 0.1 * unet / 0.1
    assert estimate.value == pytest.approx(s @ posterior / posterior.sum(), abs=5e-4)
    assert estimate.options[0].joint == pytest.approx(
        0.8 * (copies @ unet) / posterior.sum(), abs=5e-3)
    assert 0.35 < estimate.value < 0.4
    assert SOLVENT @ estimate.joint == pytest.approx(estimate.value)
    assert estimate.joint.sum() == pytest.approx(1)


def test_composition_that_contradicts_the_map_is_not_believed():
    estimate = estimate_solvent(LOGITS, triangle(1.0, 1.0), [option(0.9, 0.7), option(0.8, 0.3, 2)])
    assert estimate.rule == "joint" and max(o.joint for o in estimate.options) < 1e-6
    assert estimate.value == pytest.approx(estimate.unet.expected, abs=2e-3)


def test_small_molecule_in_a_large_cell():
    options = [option(1 - 0.0014 * n, 1 / 700, n) for n in range(1, 701)]
    estimate = estimate_solvent(LOGITS, triangle(1.0, 1.0), options)
    assert estimate.rule == "joint" and estimate.value == pytest.approx(0.4, abs=0.01)
    assert estimate.joint.sum() == pytest.approx(1) == estimate.matthews.sum()


def test_interpolated_options_reach_zero_at_the_ends():
    curve = interpolate_options([0.8, 0.6, 0.4, 0.2], [0.0, 0.1, 0.7, 0.2])
    assert curve[[0, 100]] == pytest.approx([0, 0])
    assert np.argmax(curve) == 40
    assert curve[50] / curve[40] == pytest.approx(0.4 / 0.7)
    # Crank2 gives the ends itself
    assert interpolate_options([1, 0.8, 0.6, 0.4, 0.2, 0], [0, 0.0, 0.1, 0.7, 0.2, 0]
                               ) == pytest.approx(curve)


def test_plateaus():
    saturated = np.repeat([-20.0, 20.0], [400, 600])
    estimate = estimate_solvent(saturated, triangle(0.0, 1.0), [option(0.3, 0.5), option(0.6, 0.5)])
    assert estimate.unet.expected == pytest.approx(0.6)
    assert estimate.unet.probability.sum() == pytest.approx(1)
    assert np.all(estimate.unet.probability >= 0)
    assert SOLVENT @ estimate.unet.probability == pytest.approx(0.6, abs=0.01)
    assert estimate.options[0].unet == 0  # 30 % needs a cutoff of 20
    constant = estimate_solvent(np.full(50, 3.0), triangle(0.0, 1.0), [option(0.5, 1.0)])
    assert (constant.value, constant.rule) == (1.0, "unet")


def test_primitives_of_crank2():
    distribution = triangle(1.0, 2.0)
    unet = UnetSolvent.from_logits(LOGITS, distribution)
    assert unet.logit_from_solvent(0.43) == pytest.approx(0.7, abs=1e-3)
    for outside in (0, 1, 43.0, -0.1):
        assert unet.logit_from_solvent(outside) is None
    values = [distribution.likelihood_of_difference(d) for d in (0, 0.5, 1.0, 5.0, None)]
    assert values == pytest.approx([1, 0.75, 0.5, 0, 0])


def test_cutoff_distribution_from_samples_and_card(tmp_path):
    samples = np.random.default_rng(0).normal(0.4, 0.3, 2000)
    distribution = CutoffDistribution.from_samples(samples)
    assert distribution.cumulative(0.4) == pytest.approx(0.5, abs=0.03)
    assert distribution.cumulative(0.7) == pytest.approx(0.84, abs=0.03)
    assert distribution.cumulative([-9, 9]) == pytest.approx([0, 1])
    assert distribution.likelihood(distribution.cutoffs).max() == 1
    again = CutoffDistribution.from_json(json.loads(json.dumps(distribution.to_json())))
    assert again.cutoffs == pytest.approx(distribution.cutoffs, abs=1e-4)
    assert again.likelihood(0.7) == pytest.approx(distribution.likelihood(0.7), rel=1e-2)


@pytest.mark.parametrize("entry", [{}, None, {"cutoffs": [0, 1], "density": [1]},
                                   {"cutoffs": [1, 0], "density": [1, 1]},
                                   {"cutoffs": [0, 1], "density": [0, 0]},
                                   {"cutoffs": [0, 1], "density": [1, "NaN"]}])
def test_damaged_card(entry):
    with pytest.raises(ModelError, match="cutoff distribution"):
        CutoffDistribution.from_json(entry)


def test_result_entry():
    estimate = estimate_solvent(LOGITS, triangle(1.0, 1.0), [option(0.4, 1.0)])
    entry = json.loads(json.dumps(estimate.to_json(), allow_nan=False))
    assert set(entry) == {"value", "rule", "cutoff", "unet_expected", "matthews", "distributions"}
    assert set(entry["matthews"][0]) == {"copies", "solvent", "vm", "probability",
                                         "kantardjieff_rupp", "unet", "joint"}
    assert {len(column) for column in entry["distributions"].values()} == {101}
    alone = json.loads(json.dumps(estimate_solvent(LOGITS, FLAT).to_json(), allow_nan=False))
    assert alone["matthews"] == [] and alone["distributions"]["joint"] is None
