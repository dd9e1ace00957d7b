"""Training of the network, its checkpoint and its ONNX file, on toy windows."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from crank2_unet.errors import InputError, ProgramError
from crank2_unet.network.inputs import InputSpec
from crank2_unet.training.fitting.export import compare, to_onnx
from crank2_unet.training.fitting.settings import TrainConfig, learning_rate
from crank2_unet.training.fitting.speed import Pace, matrix_peak, training_flops
from crank2_unet.training.fitting.start import load_onnx_weights
from crank2_unet.training.fitting.train import train
from crank2_unet.training.fitting.trainer import Trainer, load_network, scores, window_logits
from crank2_unet.training.fitting.unet import build_unet


class Spheres:
    """Windows of noise, stronger inside a sphere of protein; like Windows.

    All of the solvent is flat.  The "true density" is the noise in protein and -1 in solvent.
    """

    def __init__(self, spec, size, seed):
        self.spec, self.size, self.seed = spec, size, seed
        self.provenance = {"digest": seed, "windows": 7}

    def batch(self, step, batch_size):
        rng = np.random.default_rng((self.seed, step))
        shape = (batch_size, self.size, self.size, self.size)
        points = np.indices(shape[1:]) - rng.uniform(4, self.size - 4, (batch_size, 3, 1, 1, 1))
        solvent = np.linalg.norm(points, axis=1) > 0.45 * self.size
        noise = rng.standard_normal((*shape, self.spec.channels))
        truth = np.stack([solvent, solvent, np.where(solvent, -1, noise[..., 0])], axis=-1)
        return (noise * (2 - solvent[..., None])).astype("f4"), truth.astype("f4")


class FailingSpheres(Spheres):
    """Fails at step 4 of the training."""

    def batch(self, step, batch_size):
        if step == 4:
            raise ProgramError("made to fail")
        return super().batch(step, batch_size)


def spheres(config, kind=Spheres):
    return (kind(config.input, config.window, config.seed), Spheres(config.input, config.window, 0))


def failing_spheres(config):
    return spheres(config, FailingSpheres)


@pytest.fixture
def config(tmp_path):
    return TrainConfig("train", "validation", str(tmp_path), InputSpec(deviation_radius=0.0),
                       steps=6, window=16, filters=2, batch_size=4, rate=2e-3, report_every=3,
                       validation_windows=4, deterministic=True)


def randomise(model):
    """Give every weight, the running means too, a value that an export must not forget."""
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else
                       rng.standard_normal(w.shape) / np.sqrt(w[..., 0].size)
                       for w in model.get_weights()])


def test_network_of_the_paper_has_its_number_of_parameters():
    of_the_other_outputs = 2 * (24 + 1)
    assert build_unet().count_params() == 3_286_778 + of_the_other_outputs


SIZES = [{"channels": 1}, {"channels": 2, "blocks": 3},
         {"channels": 4, "blocks": 3, "stem": 2}]


@pytest.mark.parametrize("size", SIZES)
def test_network_keeps_the_shape_of_any_window(size):
    found = build_unet(filters=2, **size)(np.zeros((1, 8, 16, 24, size["channels"]), "f4"))
    assert found.shape == (1, 8, 16, 24, 4)


def test_stem_does_not_shift_the_mask(config):
    """What is learnt of one point of a window must not end beside it."""
    model = build_unet(filters=2, blocks=1, stem=2)
    randomise(model)
    x = np.zeros((1, 16, 16, 16, 1), "f4")
    flat = window_logits(model, x)
    x[0, 8:10, 8:10, 8:10] = 1.0  # two points, which the stem joins
    for kind in (0, 1):
        change = np.argwhere(np.abs(window_logits(model, x) - flat)[0, ..., kind] > 1e-6)
        np.testing.assert_array_equal(change.min(axis=0) + change.max(axis=0), [8 + 9] * 3)


@pytest.mark.parametrize("size", SIZES)
def test_onnx_file_gives_the_logits_of_the_network(tmp_path, size):
    model = build_unet(filters=3, **size)
    randomise(model)
    to_onnx(model, tmp_path / "net.onnx")
    assert compare(model, tmp_path / "net.onnx") < 1e-3


def test_training_can_start_from_the_function_of_an_onnx_file(tmp_path):
    finished, fresh = (build_unet(channels=2, filters=3, blocks=3, stem=2) for _ in range(2))
    randomise(finished)
    to_onnx(finished, tmp_path / "net.onnx")
    windows = np.random.default_rng(5).standard_normal((4, 16, 16, 16, 2)).astype("f4")
    load_onnx_weights(fresh, tmp_path / "net.onnx", windows)
    expected = window_logits(finished, windows)
    assert np.abs(window_logits(fresh, windows) - expected).max() < 1e-3 * np.abs(expected).max()
    # in training a batch is normalised by its own statistics, which are the same here
    trained = fresh(windows, training=True)[..., 1] - fresh(windows, training=True)[..., 0]
    assert np.corrcoef(np.ravel(trained), expected[..., 0].ravel())[0, 1] > 0.98


def test_training_does_not_start_from_another_size(tmp_path):
    to_onnx(build_unet(filters=2), tmp_path / "net.onnx")
    with pytest.raises(InputError, match="another size"):
        load_onnx_weights(build_unet(filters=3), tmp_path / "net.onnx", np.zeros((1, 8, 8, 8, 1)))


def test_compare_finds_a_difference(tmp_path):
    model = build_unet(filters=2)
    to_onnx(model, tmp_path / "net.onnx")
    randomise(model)
    assert compare(model, tmp_path / "net.onnx") > 0.01


def test_onnx_file_suits_old_runtimes(tmp_path):
    import onnx
    to_onnx(build_unet(filters=2), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert model.ir_version <= 8 and model.opset_import[0].version <= 13


def test_network_learns_spheres(config):
    checkpoint = train(dataclasses.replace(config, steps=180, filters=4, rate=1e-2, report_every=60),
                       sources=spheres)
    model, _ = load_network(checkpoint)
    x, y = Spheres(config.input, 16, 99).batch(0, 8)
    for kind in (0, 1):
        learnt = scores(window_logits(model, x)[..., kind], y[..., kind])
        assert learnt["mcc"] > 0.75 and learnt["loss"] < 0.35
    density = model.predict_on_batch(x)[..., 3]
    assert np.corrcoef(density.ravel(), y[..., 2].ravel())[0, 1] > 0.3
    table = np.genfromtxt(checkpoint.parent / "log.csv", delimiter=",", names=True)
    assert list(table["step"]) == [60, 120, 180]
    assert table["loss"][-1] < table["loss"][0]
    assert (checkpoint.parent / "log.png").stat().st_size > 1000


def assert_same_run(one, other):
    """All that is in two checkpoints but for times and folders."""
    with np.load(one) as a, np.load(other) as b:
        assert set(a.files) == set(b.files)
        for name in set(a.files) - {"config", "minutes", "rows"}:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        rows = [[{name: value for name, value in row.items() if name in
                  ("step", "rate", "loss", "accuracy", "validation_loss", "validation_flat_mcc")}
                 for row in json.loads(str(file["rows"]))] for file in (a, b)]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == [3, 6]


def test_resumed_training_equals_an_uninterrupted_one(config, tmp_path):
    whole = train(dataclasses.replace(config, output=str(tmp_path / "whole")), sources=spheres)
    broken = dataclasses.replace(config, output=str(tmp_path / "broken"))
    with pytest.raises(ProgramError, match="made to fail"):
        train(broken, sources=failing_spheres)
    with np.load(tmp_path / "broken" / "checkpoint.npz") as file:
        assert file["step"] == 3
    assert_same_run(whole, train(broken, resume=True, sources=spheres))
    assert len(json.loads((tmp_path / "broken" / "data.json").read_text())) == 1


KILLED = """
import os, sys
sys.path[:0] = [{tests!r}]
import test_training
from crank2_unet.files import output
from crank2_unet.training.fitting.settings import TrainConfig
from crank2_unet.training.fitting.train import train

class Deadly(test_training.Spheres):
    def batch(self, step, batch_size):
        if step == {step}:
            os.kill(os.getpid(), 9)
        return super().batch(step, batch_size)

def sources(config):
    return test_training.spheres(config, Deadly)

replace, calls = output.os.replace, []
def deadly_replace(*arguments):
    calls.append(arguments)
    if len(calls) == {call}:
        os.kill(os.getpid(), 9)
    return replace(*arguments)
output.os.replace = deadly_replace
train(TrainConfig.from_json({config!r}), {resume}, sources)
"""


@pytest.mark.slow
def test_training_can_be_killed_at_any_point(config, tmp_path):
    """While it learns, and while it writes a checkpoint."""
    whole = train(dataclasses.replace(config, output=str(tmp_path / "whole")), sources=spheres)
    broken = dataclasses.replace(config, output=str(tmp_path / "broken"))

    def killed(step, call, resume):
        script = KILLED.format(tests=os.path.dirname(__file__), config=broken.to_json(), step=step,
                               call=call, resume=resume)
        assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    killed(step=4, call=0, resume=False)
    killed(step=99, call=1, resume=True)  # the second checkpoint is not yet in its place
    with np.load(tmp_path / "broken" / "checkpoint.npz") as file:
        assert file["step"] == 3
    assert_same_run(whole, train(broken, resume=True, sources=spheres))


def test_data_that_change_are_noted(config, caplog):
    with pytest.raises(ProgramError):
        train(config, sources=failing_spheres)
    path = train(dataclasses.replace(config, seed=2), resume=True, sources=spheres)
    entries = json.loads((path.parent / "data.json").read_text())
    assert [(entry["from_step"], entry["digest"]) for entry in entries] == [(0, 1), (3, 2)]
    assert "no uninterrupted training" in caplog.text


def test_pace_is_measured(config):
    """The paper's network needs 65 GFLOP for each window, by the profiler."""
    assert training_flops(build_unet(), 48) == pytest.approx(65e9, rel=0.01)
    assert matrix_peak("float32") > 1e8
    pace = Pace(flops=1e6, peak=1e12)
    x, y = Spheres(config.input, 16, 1).batch(0, 2)
    assert pace.reading(lambda a: a, 3) == 3
    assert pace.learning(lambda a, b: float((a ** 2).sum() + b.sum()), x, y) > 0
    rates = pace.rates()
    assert rates["windows_per_s"] <= rates["learnt_per_s"]
    assert "windows/s" in pace.render(rates)


def test_learning_rate_rises_falls_and_ends_at_zero(config):
    rates = [learning_rate(config, share) for share in (0.0, 0.025, 0.05, 0.525, 1.0)]
    np.testing.assert_allclose(np.array(rates) / config.rate, [0.02, 0.5, 1.0, 0.5, 0.0], atol=1e-9)


def test_length_by_the_clock(config):
    trainer = Trainer(dataclasses.replace(config, steps=0, minutes=10.0))
    trainer.minutes = 2.5
    assert trainer.share == 0.25


def test_scores():
    truth = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    found = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    logits = np.where(found, 2.0, -2.0)
    got = scores(logits, truth)
    assert got["accuracy"] == 0.75
    assert got["mcc"] == pytest.approx(np.corrcoef(truth, found)[0, 1])
    p = 1 / (1 + np.exp(-logits))
    assert got["loss"] == pytest.approx(-np.log(np.where(truth, p, 1 - p)).mean())


def test_training_stops_at_a_loss_that_is_not_finite(config):
    trainer = Trainer(config)
    x, y = Spheres(config.input, 16, 1).batch(0, 2)
    with pytest.raises(InputError, match="The loss is nan at step 0"):
        trainer.learn(np.full_like(x, np.nan), y)


def test_settings_survive_the_checkpoint(config):
    assert TrainConfig.from_json(config.to_json()) == config


def test_checkpoint_of_another_version_is_refused(config):
    values = {**json.loads(config.to_json()), "ahead": 32}
    with pytest.raises(InputError, match="with the settings ahead"):
        TrainConfig.from_json(json.dumps(values))


def test_length_must_be_given_once(config):
    with pytest.raises(InputError, match="one of the two"):
        dataclasses.replace(config, minutes=5.0)


def test_bfloat16_refuses_windows_with_wrong_gradients(config):
    with pytest.raises(InputError, match="need precision float32"):
        dataclasses.replace(config, precision="mixed_bfloat16")


def test_bfloat16_learns_as_single_precision_does(config):
    x, y = Spheres(config.input, 24, 1).batch(0, 2)
    losses = []
    for precision in ("float32", "mixed_bfloat16"):
        trainer = Trainer(dataclasses.replace(config, precision=precision, window=24, rate=1e-2))
        for _ in range(4):
            trainer.model.reset_metrics()
            logs = trainer.learn(x, y)
        losses.append(logs["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_existing_training_is_not_overwritten(config, tmp_path):
    (tmp_path / "checkpoint.npz").touch()
    with pytest.raises(InputError, match="exists"):
        train(config, sources=spheres)


def test_nothing_to_resume(config):
    with pytest.raises(InputError, match="nothing to resume"):
        train(config, resume=True, sources=spheres)
