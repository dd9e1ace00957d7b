"""Calibration and evaluation of the judgement of maps and hands."""

import json

import numpy as np
import pytest
from crystals import crystal, random_coefficients
from prepared import toy_card, write_prepared

from crank2_unet.cli.main import main
from crank2_unet.errors import InputError, ModelError
from crank2_unet.files.output import write_json
from crank2_unet.network.model_card import ModelCard
from crank2_unet.training.calibration.map_quality import (
    HAND_FEATURES,
    calibrate_quality,
    evaluate_quality,
    fit,
    random_phases,
    summarise,
)


def records(n, seed=0):
    """Maps whose features follow their correlation with some noise; the wrong hand lags behind."""
    rng = np.random.default_rng(seed)

    def features(cc):
        return {name: 2 * cc + 1 + rng.normal(0, 0.3) for name in HAND_FEATURES}
    rows = []
    for i in range(n):
        cc = rng.uniform(0.1, 0.7)
        rows.append({"name": f"x{i}", "spacegroup": "P 1", "phase_error": 90 - 60 * cc,
                     "cc": cc, "likeness": 0.2, "right": features(cc), "wrong": features(0.0),
                     "noise": features(0.0)})
    rows[0]["likeness"] = 0.95
    return rows


def test_fit_predicts_other_records():
    model = fit(records(80))
    report = summarise(records(200, seed=1), model)
    assert report["correlation"]["rms_error"] < 0.1
    assert 0.85 < report["correlation"]["within_2_sd"] <= 1
    below = report["hands"][0]
    assert below["phase error"] == "below 80" and 1 > below["modified skewness"]
    assert below["network"] > below["modified skewness"]
    # probabilities mean what they say
    calibration = report["calibration"]
    assert calibration["probability"] == pytest.approx(calibration["right"], abs=0.06)
    alarms = list(report["alarms"].values())
    assert alarms[0] < 0.1 and alarms[3] > 0.3
    assert len(report["wrong"]) == round((1 - calibration["right"]) * 199)
    assert report["n_same_map"] == 1


def test_too_few_or_too_poor_crystals():
    with pytest.raises(InputError, match="Only 4 crystals"):
        fit(records(5))
    with pytest.raises(InputError, match="None of the 20 crystals"):
        fit([{**row, "phase_error": 85.0} for row in records(20)])


def test_random_phases_keep_amplitudes_and_symmetry():
    reflections = crystal("P 43 21 2")
    given = random_coefficients(reflections)
    found = random_phases(reflections, given, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(given))
    assert abs(np.corrcoef(np.angle(found), np.angle(given))[0, 1]) < 0.2
    centric = reflections.centric
    off = np.angle(found[centric], deg=True) - reflections.allowed_phase[centric]
    assert np.abs((off + 90) % 180 - 90).max() < 1e-6


def test_card_gets_its_entry(tmp_path, capsys):
    files = [write_prepared(tmp_path, f"a{letter}aa", (0.3 + 0.2 * i,), both_hands=True)
             for i, letter in enumerate("bcdefghijkl")]
    card = toy_card(tmp_path, files[:2], 3.0, 2.0)
    with pytest.raises(ModelError, match="Run 'crank2-unet model quality' first"):
        evaluate_quality(tmp_path, card, tmp_path / "out", workers=0)
    before = json.loads(card.read_text())
    report = calibrate_quality(tmp_path, card, workers=0)
    after = json.loads(card.read_text())
    assert after.pop("quality")["n_structures"] == 11 and after == before
    model = ModelCard.read(card).quality
    assert set(model.hand.weights) == set(HAND_FEATURES) and model.hand.intercept == 0
    write_prepared(tmp_path, "zzzz")  # one hand only
    assert main(["model", "evaluate-quality", str(tmp_path), "--model", str(card), "-o",
                 str(tmp_path / "out"), "--workers", "0"]) == 0
    again = json.loads((tmp_path / "out/quality.json").read_text())
    write_json(report, tmp_path / "calibration.json")
    assert again["hands"] == json.loads((tmp_path / "calibration.json").read_text())["hands"]
    assert again["n"] == 11 and "one hand only" in again["failures"]["zzzz_0"]
    text = capsys.readouterr().out
    assert "random phases" in text and "zzzz_0 failed" in text
