"""Scores of masks against hand-made confusion matrices."""

import numpy as np
import pytest

from crank2_unet.training.evaluation.metrics import SCORES, Confusion, format_table


def test_scores_by_hand():
    confusion = Confusion(true_positive=6, false_positive=2, true_negative=9, false_negative=3)
    assert confusion.scores() == pytest.approx({
        "accuracy": 15 / 20, "majority": 11 / 20, "precision": 6 / 8, "recall": 6 / 9,
        "specificity": 9 / 11, "f1": 12 / 17, "mcc": (54 - 6) / np.sqrt(8 * 9 * 11 * 12)})
    assert list(confusion.scores()) == list(SCORES)


def test_masks_are_weighted():
    truth = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
    predicted = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    weights = np.array([[1, 2, 3], [4, 5, 0]])
    assert Confusion.of_masks(predicted, truth, weights) == Confusion(1, 3, 9, 2)
    asu = Confusion.of_masks(predicted, truth, weights > 0)
    assert asu == Confusion(1, 1, 2, 1)
    assert asu + Confusion(1, 0, 0, 0) == Confusion(2, 1, 2, 1)


def test_one_class_only():
    empty = Confusion.of_masks(np.zeros(5), np.zeros(5), np.ones(5))
    assert (empty.accuracy, empty.majority, empty.mcc, empty.specificity) == (1, 1, 0, 1)
    assert np.isnan([empty.precision, empty.recall, empty.f1]).all()


def test_mcc_of_perfect_and_inverted_masks():
    truth = np.arange(10) < 4
    assert Confusion.of_masks(truth, truth, np.ones(10)).mcc == pytest.approx(1)
    assert Confusion.of_masks(~truth, truth, np.ones(10)).mcc == pytest.approx(-1)


def test_table():
    text = format_table(["code", "n", "mcc"], [["1abc", 12, 0.5], ["hewl_s", 3, float("nan")],
                                               ["x", None, np.float32(-0.25)]])
    assert text.split("\n") == ["code     n     mcc", "------  --  ------", "1abc    12   0.500",
                                "hewl_s   3       -", "x        -  -0.250"]
    assert format_table(["a"], []).split("\n") == ["a", "-"]
