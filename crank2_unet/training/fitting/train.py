"""Training of the network: one script from prepared structures to a checkpoint.

    python -m crank2_unet.training.fitting.train prepared/train prepared/validation run1 --minutes 120

leaves in ``run1`` the checkpoint (``checkpoint.npz``), the log (``log.csv``) and its picture
(``log.png``), renewed at each validation.  ``--resume`` continues from the checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
from tqdm import tqdm

from ...errors import InputError
from ...network.inputs import InputSpec
from ...network.model_card import ModelCard
from ..evaluation.metrics import Confusion
from ..preparation.sampling import WindowSource
from .log import plot, read_rows, write_rows
from .prefetch import prefetched
from .start import load_onnx_weights
from .unet import DENSITY, FLAT, PROTEIN, SOLVENT, build_unet, keras

_log = logging.getLogger(__name__)
# Three poolings leave 2x2x2 points of a window of 16.  There oneDNN's bfloat16 gradient of a
# convolution holds memory that was never written (TensorFlow 2.21); from 3x3x3 points it is right.
_SMALLEST_BFLOAT16_WINDOW = 24


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training; they are stored in its checkpoint."""

    training: str  # folder of prepared structures to learn from
    validation: str  # folder of other prepared structures, to validate on
    output: str  # folder for checkpoint and log
    input: InputSpec = InputSpec()
    steps: int = 0  # length of the training in steps: reproducible
    minutes: float = 0.0  # or length of the training by the clock
    window: int = 48  # points along an edge, as in the paper
    filters: int = 32  # features of the first block; 24 in the paper
    blocks: int = 3  # encoding blocks; 4 in the paper
    stem: int = 2  # window points along an axis that become one before the blocks; 1 in the paper
    flat_loss: float = 1.0  # weight of the cross-entropy of flat density, beside that of solvent
    density_loss: float = 0.2  # weight of the squared error of the true density
    batch_size: int = 8  # windows in a step
    rate: float = 3e-3  # highest learning rate; 2e-3 suits batches of 4
    warm_up: float = 0.05  # share of the training in which the rate rises
    weight_decay: float = 0.01  # of AdamW, times the rate
    clip_norm: float = 1.0  # largest norm of the gradient; keeps the first steps in hand
    average: float = 0.995  # decay of the averaged weights, the ones used: the last 200 steps
    report_every: int = 100  # steps between validations, checkpoints and lines of the log
    validation_windows: int = 96  # each from another map, always the same ones
    precision: str = "float32"  # or mixed_bfloat16: 1.4 times faster on some CPUs, slower on others
    ahead: int = 32  # batches prepared ahead by another process; 0: none, no other process
    seed: int = 1  # of the initial weights and the windows
    deterministic: bool = False  # only deterministic operations (TensorFlow), which can be slower
    start: str = ""  # model card whose weights to start from; default: random weights

    def __post_init__(self):
        if (self.steps > 0) == (self.minutes > 0):
            raise InputError(f"Training length: steps = {self.steps}, minutes = {self.minutes}. "
                             "Give one of the two.")
        if self.precision != "float32" and self.window < _SMALLEST_BFLOAT16_WINDOW:
            raise InputError(f"Windows of {self.window} points need precision float32; "
                             f"{self.precision} needs {_SMALLEST_BFLOAT16_WINDOW} or more.")

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        values = json.loads(text)
        return cls(**{**values, "input": InputSpec(**values["input"])})

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def learning_rate(config: TrainConfig, share: float) -> float:
    """Rate after ``share`` (0..1) of the training: linear warm-up, then half a cosine to zero."""
    if share < config.warm_up:
        return config.rate * max(share, 1e-3) / config.warm_up  # the first step, too, should learn
    return config.rate * 0.5 * (1 + np.cos(np.pi * (share - config.warm_up) / (1 - config.warm_up)))


def scores(logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Cross-entropy (nats), accuracy and Matthews correlation of solvent logits and a 0/1 truth."""
    confusion = Confusion.of_masks(logits > 0, truth, np.ones(truth.shape))
    return {"loss": float(np.logaddexp(0, np.where(truth, -logits, logits)).mean()),
            "accuracy": confusion.accuracy, "mcc": float(confusion.mcc)}


class Trainer:
    """Network, optimiser and averaged weights, with all that is needed to continue later."""

    def __init__(self, config: TrainConfig):
        self.config = config
        keras.utils.set_random_seed(config.seed)
        if config.deterministic and keras.backend.backend() == "tensorflow":
            import tensorflow
            tensorflow.config.experimental.enable_op_determinism()
        self.model = _network(config, config.precision)
        self.model.compile(
            keras.optimizers.AdamW(config.rate, config.weight_decay,
                                   global_clipnorm=config.clip_norm),
            partial(_loss, flat_weight=config.flat_loss, density_weight=config.density_loss),
            metrics=[keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy")],
            jit_compile=keras.backend.backend() == "jax")  # XLA is 16 times slower on TF CPUs
        self.model.optimizer.build(self.model.trainable_variables)
        self.average = self.model.get_weights()
        self.step = 0
        self.minutes = 0.0

    @property
    def share(self) -> float:
        """Share of the training that is done, 0..1."""
        done = self.step / self.config.steps if self.config.steps else \
            self.minutes / self.config.minutes
        return min(done, 1.0)

    def learn(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """One step; returns mean loss and accuracy since ``model.reset_metrics``.

        Raises
        ------
        InputError : the training has failed; the checkpoint of the last validation is still good.
        """
        self.model.optimizer.learning_rate = learning_rate(self.config, self.share)
        logs = {name: float(value) for name, value in
                self.model.train_on_batch(x, y, return_dict=True).items()}
        if not np.isfinite(logs["loss"]):
            raise InputError(f"The loss is {logs['loss']} at step {self.step}. Lower the learning "
                             f"rate ({self.config.rate}), or look for windows that are not finite.")
        self.step += 1
        # a shorter memory at the start forgets the untrained weights
        keep = min(self.config.average, self.step / (10 + self.step))
        for mean, weight in zip(self.average, self.model.get_weights()):
            mean += (1 - keep) * (weight - mean)
        return logs

    def validate(self, batches: list) -> dict[str, float]:
        """Scores of the averaged weights, those of the running means included."""
        current = self.model.get_weights()
        self.model.set_weights(self.average)
        logits = [window_logits(self.model, x) for x, _ in batches]
        self.model.set_weights(current)
        found, truth = np.concatenate(logits), np.concatenate([y for _, y in batches])
        flat = scores(found[..., 1], truth[..., 1])
        return {**scores(found[..., 0], truth[..., 0]), "flat_mcc": flat["mcc"]}

    def save(self, path: Path) -> None:
        """Write the checkpoint; a crash while writing leaves the one before."""
        optimizer = [np.asarray(keras.ops.convert_to_numpy(v)) for v in
                     self.model.optimizer.variables]
        arrays = {f"{kind}{i:03d}": array for kind, group in
                  (("weight", self.model.get_weights()), ("average", self.average),
                   ("optimizer", optimizer)) for i, array in enumerate(group)}
        partial_file = path.with_suffix(".partial")
        with open(partial_file, "wb") as file:
            np.savez(file, step=self.step, minutes=self.minutes, config=self.config.to_json(),
                     **arrays)
        os.replace(partial_file, path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of a network of the same size."""
        with np.load(path) as file:
            if TrainConfig.from_json(str(file["config"])) != self.config:
                _log.warning("%s was made with other settings; training goes on with the new ones.",
                             path)
            self.model.set_weights(_group(file, "weight"))
            self.average = _group(file, "average")
            for variable, value in zip(self.model.optimizer.variables, _group(file, "optimizer")):
                variable.assign(value)
            self.step, self.minutes = int(file["step"]), float(file["minutes"])


def _network(config: TrainConfig, precision: str = "float32") -> keras.Model:
    return build_unet(config.input.channels, config.filters, config.blocks, config.stem,
                      precision=precision)


def _loss(truth, found, flat_weight: float, density_weight: float):
    """Cross-entropy of solvent and of flat density (nats), and squared error of the density."""
    def cross_entropy(number: int, logit):
        return keras.ops.mean(keras.losses.binary_crossentropy(
            truth[..., number, None], logit[..., None], from_logits=True))

    return (cross_entropy(0, _solvent_logit(found)) + flat_weight * cross_entropy(1, found[..., FLAT])
            + density_weight * keras.ops.mean(keras.ops.square(found[..., DENSITY] - truth[..., 2])))


def _accuracy(truth, found):
    """Share of the points on the right side."""
    solvent = keras.ops.cast(_solvent_logit(found) > 0, truth.dtype)
    return keras.ops.mean(keras.ops.cast(solvent == truth[..., 0], "float32"))


def _solvent_logit(found):
    return found[..., SOLVENT] - found[..., PROTEIN]


def window_logits(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Logits of solvent and of flat density, (n, d, h, w, 2), of windows (n, d, h, w, channels)."""
    found = keras.ops.convert_to_numpy(model.predict_on_batch(x))
    return np.stack([_solvent_logit(found), found[..., FLAT]], axis=-1)


def load_network(checkpoint: str | Path) -> tuple[keras.Model, TrainConfig]:
    """Network in single precision, with averaged weights, and settings of a checkpoint."""
    with np.load(checkpoint) as file:
        config = TrainConfig.from_json(str(file["config"]))
        model = _network(config)
        model.set_weights(_group(file, "average"))
    return model, config


def _group(file, kind: str) -> list[np.ndarray]:
    return [file[name] for name in sorted(file.files) if name.startswith(kind)]


def train(config: TrainConfig, resume: bool = False, make_source: Callable = WindowSource) -> Path:
    """Train a network; progress on stderr.

    Parameters
    ----------
    config : all settings.
    resume : continue from the checkpoint in the output folder.
    make_source : called with (folder, input specification, window, seed), returns an object with
        ``batch(step, batch_size)`` like :class:`~.sampling.WindowSource`.

    Returns
    -------
    Path of the checkpoint, for :func:`load_network`.

    Raises
    ------
    InputError : no prepared structures, or an output folder that already holds another training.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint, table = output / "checkpoint.npz", output / "log.csv"
    if checkpoint.exists() != resume:
        raise InputError(f"{checkpoint} exists: resume it or choose another folder." if not resume
                         else f"{checkpoint} is missing: there is nothing to resume.")
    validation = _validation_batches(config, make_source)
    trainer = Trainer(config)
    rows = []
    source = partial(make_source, config.training, config.input, config.window, config.seed)
    if resume:
        trainer.load(checkpoint)
        rows = [row for row in read_rows(table) if row["step"] <= trainer.step]
    elif config.start:
        _start_from(trainer, Path(config.start), source().batch(0, 16)[0])
    began = time.monotonic() - 60 * trainer.minutes
    with prefetched(source, trainer.step, config.batch_size, config.ahead) as next_batch, \
            tqdm(total=1.0, initial=trainer.share, mininterval=1.0, bar_format="{percentage:3.0f}%|"
                 "{bar}| {elapsed}<{remaining} {postfix}") as bar:
        while trainer.share < 1:
            logs = trainer.learn(*next_batch())
            trainer.minutes = (time.monotonic() - began) / 60
            if trainer.step % config.report_every == 0 or trainer.share == 1:
                rows.append(_row(trainer, logs, trainer.validate(validation)))
                trainer.model.reset_metrics()
                trainer.save(checkpoint)
                write_rows(rows, table)
                plot(rows, output / "log.png")
            bar.update(trainer.share - bar.n)
            bar.set_postfix_str(f"step {trainer.step} loss {logs['loss']:.4f} validation mcc "
                                f"{rows[-1]['validation_mcc'] if rows else float('nan'):.3f}")
    return checkpoint


def _start_from(trainer: Trainer, path: Path, windows: np.ndarray) -> None:
    """Take the weights of a model that sees what this training shows."""
    card = ModelCard.read(path)
    if card.input != trainer.config.input:
        raise InputError(f"{path} has the input {card.input}, the training {trainer.config.input}. "
                         "Start from a model with the same input.")
    load_onnx_weights(trainer.model, card.onnx, windows)
    trainer.average = trainer.model.get_weights()


def _validation_batches(config: TrainConfig, make_source: Callable) -> list:
    """The same windows for every seed of the training, so that runs can be compared."""
    source = make_source(config.validation, config.input, config.window, 0)
    size = 16  # windows of a batch; a source may draw neighbouring steps from the same maps,
    return [source.batch(100 * i, size) for i in range(-(-config.validation_windows // size))]


def _row(trainer: Trainer, logs: dict, validation: dict) -> dict[str, float]:
    return {"step": trainer.step, "minutes": round(trainer.minutes, 2),
            "rate": learning_rate(trainer.config, trainer.share), **logs,
            **{f"validation_{name}": value for name, value in validation.items()}}


def main(arguments: list[str] | None = None) -> None:
    """Command line: one option for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in dataclasses.fields(TrainConfig):
        if field.default is dataclasses.MISSING:
            parser.add_argument(field.name)
        elif isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", action="store_true")
        elif field.name != "input":
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default),
                                default=field.default, help=f"default: {field.default}")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    options = vars(parser.parse_args(arguments))
    resume = options.pop("resume")
    train(TrainConfig(**options), resume)
