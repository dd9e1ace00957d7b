"""Calibration finds the right scale, offset and cutoffs, and its card is one that loads."""

import json

import numpy as np
import pytest
from prepared import INPUT, write_prepared, write_toy_network
from scipy.special import expit

from crank2_unet.errors import InputError, ModelError
from crank2_unet.network.model_card import ModelCard
from crank2_unet.network.session import SolventNet
from crank2_unet.training.calibration import calibrate as module
from crank2_unet.training.calibration.calibrate import (
    ONNX_FILE,
    calibrate,
    cross_entropy,
    describe_structures,
    fit_scale_offset,
    make_card,
    reliability,
)
from crank2_unet.training.evaluation.predictions import predict
from crank2_unet.training.preparation.prepared import PreparedStructure, prepared_files

CARD = {"name": "toy", "version": "1.0.0", "licence": "MIT", "limits": [], "input": INPUT,
        "window": {"size": 32, "margin": 4}, "training": {"d_min_range": [2.0, 3.0]}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    return [write_prepared(folder, code, (0.8, 0.4)) for code in ("aaaa", "bbbb", "cccc")]


def made(folder, files, slope, offset):
    folder.mkdir()
    write_toy_network(folder / ONNX_FILE, slope, offset)
    calibrate(folder, CARD, files, workers=0)
    return folder / "solvent.json"


def histogram_of(scale, offset):
    """Gaussian raw logits whose calibrated values are exactly right."""
    raw = np.exp(-(module._CENTRES - 1.0) ** 2 / 18)
    p = expit(scale * module._CENTRES + offset)
    both = np.stack([raw * (1 - p), raw * p])
    return both / both.sum()


def test_fit_recovers_scale_and_offset():
    histogram = histogram_of(0.4, -0.7)
    scale, offset = fit_scale_offset(histogram)
    assert (scale, offset) == pytest.approx((0.4, -0.7), abs=1e-3)
    assert cross_entropy(histogram, scale, offset) < cross_entropy(histogram, 1.0, 0.0)
    for row in reliability(histogram, scale, offset):
        assert row["observed"] == pytest.approx(row["predicted"], abs=1e-3)
    assert sum(row["share"] for row in reliability(histogram, 1.0, 0.0)) == pytest.approx(1.0)


def test_useless_network_is_refused():
    with pytest.raises(ModelError, match="no better than chance"):
        fit_scale_offset(histogram_of(-0.3, 0.0))


def test_card_is_calibrated_whatever_the_raw_logits(files, tmp_path):
    cards = [made(tmp_path / "a", files, 4.0, 1.0), made(tmp_path / "b", files, 1.0, -6.0)]
    one, other = (SolventNet.load(card, "cpu") for card in cards)  # passes its self-test
    np.testing.assert_allclose(one.card.scale * 4.0, other.card.scale, rtol=0.02)
    structure = PreparedStructure.read(files[0])
    found, true = predict(structure, 0, one)
    for logits, others, truth in zip(found, predict(structure, 0, other)[0], true):
        np.testing.assert_allclose(logits, others, atol=0.05)
        assert expit(logits).mean() == pytest.approx(truth.mean(), abs=0.1)
        assert np.corrcoef(logits, truth)[0, 1] > 0.5
    np.testing.assert_allclose(one.card.cutoffs.cutoffs, other.card.cutoffs.cutoffs, atol=0.1)


def test_most_probable_cutoff_gives_the_true_solvent_content(files, tmp_path):
    net = SolventNet.load(made(tmp_path / "a", files, 3.0, 2.0), "cpu")
    mode = net.card.cutoffs.cutoffs[np.argmax(net.card.cutoffs.density)]
    for file in files:
        structure = PreparedStructure.read(file)
        found, _ = predict(structure, 0, net)
        assert np.mean(found.solvent > mode) == pytest.approx(structure.solvent_matthews, abs=0.1)


def test_self_test_of_the_card_notices_other_weights(files, tmp_path):
    path = made(tmp_path / "a", files, 3.0, 2.0)
    card = json.loads(path.read_text())
    card["sha256"] = write_toy_network(path.parent / ONNX_FILE, 3.2, 2.0)
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match="values off by"):
        SolventNet.load(path, "cpu")


def test_card_and_picture_are_complete(files, tmp_path):
    path = made(tmp_path / "a", files, 3.0, 2.0)
    card = json.loads(path.read_text())
    assert {"name", "version", "licence", "limits", "training", "metrics"} <= set(card)
    assert card["calibration"]["n_structures"] == 3 and not card["calibration"]["failures"]
    assert ModelCard.read(path).d_min_range == (2.0, 3.0)
    assert (path.parent / "reliability.png").stat().st_size > 1000


def test_one_structure_is_too_few(files, tmp_path):
    with pytest.raises(InputError, match="at least two"):
        made(tmp_path / "a", files[:1], 3.0, 2.0)


def test_folder_is_described(files):
    facts = describe_structures(files[0].parent)
    assert facts["structures"] == ["aaaa", "bbbb", "cccc"] and facts["n_maps"] == 6
    assert facts["point_groups"] == ["222"]
    assert facts["d_min_range"] == [2.6, 2.6] and facts["phase_error_range"] == [51.0, 57.0]
    assert len(prepared_files(files[0].parent, limit=2)) == 2
    with pytest.raises(InputError, match="no prepared structures"):
        prepared_files(files[0].parent / "none")


def test_checkpoint_becomes_a_model(files, tmp_path, caplog):
    from crank2_unet.network.inputs import InputSpec
    from crank2_unet.training.fitting.settings import TrainConfig
    from crank2_unet.training.fitting.train import train

    folder = str(files[0].parent)
    (tmp_path / "validation").mkdir()
    write_prepared(tmp_path / "validation", "dddd", split="validation")
    config = TrainConfig(folder, str(tmp_path / "validation"), str(tmp_path / "run"),
                         InputSpec(**INPUT), steps=40, window=16, filters=3, rate=1e-2,
                         validation_windows=4, precision="float32", workers=0)
    path = make_card(train(config), folder, tmp_path / "model", "0.0.1", window=32, margin=4,
                     workers=0)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "reliability.png", "solvent.json", "solvent.onnx"]
    assert SolventNet.load(path, "cpu").card.input == config.input
    training = json.loads(path.read_text())["training"]
    assert training["structures"] == ["aaaa", "bbbb", "cccc"] and training["steps"] == 40
    assert training["config"]["filters"] == 3 and "numpy" in training["versions"]
    assert "trained on 3 of the 3 files" in caplog.text
