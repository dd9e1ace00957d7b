"""Judgement of maps and hands: features, fit, the card's entry."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from blob import blob, noisy
from crystals import random_coefficients
from quality import MODEL, crystal_of

from crank2_unet.crystal.filters import local_deviation
from crank2_unet.crystal.grids import density_map, like
from crank2_unet.errors import ModelError
from crank2_unet.network.map_quality import Linear, QualityModel, map_features
from crank2_unet.network.model_card import ModelCard


def features_of(reflections, coefficients, truth=None):
    density = density_map(reflections, coefficients, reflections.d_min / 3)
    # stands for a network: little local deviation means solvent
    deviation = local_deviation(density, 3.0).array
    return map_features(density, like(density, 4.0 * (1 - deviation / deviation.mean())))


def with_errors(reflections, truth, fom):
    rng = np.random.default_rng(0)
    noise = random_coefficients(reflections, 1) * np.sqrt(np.mean(np.abs(truth) ** 2) / 100)
    return fom * truth + np.sqrt(1 - fom ** 2) * noise * rng.choice([1, 1], len(truth))


def test_features_fall_with_noise_and_do_not_depend_on_the_scale():
    _, truth, mask = noisy(blob("P 21 21 21"))
    reflections = crystal_of(mask)
    rows = [features_of(reflections, with_errors(reflections, truth, fom)) for fom in (0.95, 0.5, 0.1)]
    for name in ("region_contrast", "skewness", "contrast", "logit_spread", "agreement"):
        assert rows[0][name] > rows[1][name] > rows[2][name], name
    scaled = features_of(reflections, 1e3 * with_errors(reflections, truth, 0.5))
    assert scaled == pytest.approx(rows[1], rel=1e-3)
    negative = features_of(reflections, -truth)
    assert negative["skewness"] < 0 < rows[0]["skewness"]


def test_judgement_is_limited_and_symmetric():
    good, bad = ({"region_contrast": x, "skewness": 0.1} for x in (2.0, 0.1))
    assert MODEL.judge(good).correlation == 1.0 and MODEL.judge(good).solvent_structure
    assert MODEL.judge(bad).correlation == 0.0 and not MODEL.judge(bad).solvent_structure
    never = replace(MODEL, structure=Linear(-1.0, {}))
    assert never.judge(good).solvent_structure and not never.judge(bad).solvent_structure
    p = MODEL.probability_of_hand(good, bad)
    assert p > 0.99 and MODEL.probability_of_hand(bad, good) == pytest.approx(1 - p)
    assert MODEL.probability_of_hand(good, good) == 0.5
    old = replace(MODEL, hand=Linear(0.0, {"modified_contrast": 1.0}))
    with pytest.raises(ModelError, match="by modified_contrast(.|\n)*'crank2-unet model quality'"):
        old.probability_of_hand(good, bad)


def test_card_entry_survives_and_damage_is_named(card):
    assert ModelCard.read(card).quality == MODEL
    broken = {**asdict(MODEL), "hand": {"weights": 3}}
    with pytest.raises(ModelError, match="map quality cannot be read"):
        QualityModel.from_json(broken)
