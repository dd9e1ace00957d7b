"""Fit of the expected correlation after density modification."""

import numpy as np
from prepared import write_prepared

from crank2_unet.cli.main import main
from crank2_unet.training.calibration.verdict import fit, render


def maps(crystals, seed=0):
    """Maps whose figure of merit tells their correlation, and whose skewness tells nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(crystals):
        for kind, correlation in (("right", rng.uniform(0, 1)), ("wrong", 0.0), ("noise", 0.0)):
            noise = rng.normal(0, 0.05, 4)
            rows.append({"name": f"x{number}", "kind": kind, "correlation": correlation, "features": {
                "fom": 0.2 + 0.6 * correlation + noise[0], "skewness": noise[1],
                "free_correlation": correlation + noise[2], "start": 0.3 + noise[3]}})
    return rows


def test_fit_expects_what_is_true():
    given = maps(60)
    regression, expected = fit(given, ["fom", "skewness", "free_correlation"])
    step = {name: np.std([row["features"][name] for row in given]) for name in regression.weights}
    assert abs(regression.weights["skewness"] * step["skewness"]) < 0.3 < min(
        regression.weights[name] * step[name] for name in ("fom", "free_correlation"))
    truth = np.array([row["correlation"] for row in given])
    assert np.sqrt(np.mean((expected - truth) ** 2)) < 0.12
    other = maps(60, seed=1)
    errors = [(found.correlation - row["correlation"]) / found.uncertainty for row in other
              for found in [regression(row["features"])]]
    assert 0.5 < np.sqrt(np.mean(np.square(errors))) < 1.6


def test_what_is_printed_can_be_read():
    text = render(maps(40))
    assert text.count("Regression(") == 4 and "free_correlation: good from" in text
    assert "40 right, 40 wrong, 40 noise" in text and "not solved" in text


def test_command(tmp_path, card, capsys):
    for folder in ("prepared", "one"):
        (tmp_path / folder).mkdir()
    write_prepared(tmp_path / "prepared", "1abc", both_hands=True)
    assert main(["model", "verdict", str(tmp_path / "prepared"), "--model", str(card),
                 "--workers", "0"]) == 1
    assert "The 3 maps have correlations of 0.00 to" in capsys.readouterr().err
    write_prepared(tmp_path / "one", "1abc")
    assert main(["model", "verdict", str(tmp_path / "one"), "--model", str(card),
                 "--workers", "0"]) == 1
