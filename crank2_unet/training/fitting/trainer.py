"""The network, its optimiser and its averaged weights, as they learn; their checkpoint."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files.output import staged_file
from ..evaluation.metrics import Confusion
from .log import Row
from .settings import TrainConfig, learning_rate
from .unet import DENSITY, FLAT, PROTEIN, SOLVENT, build_unet, keras

_log = logging.getLogger(__name__)


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
        self.rows: list[Row] = []  # of the log

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

    def report(self, logs: dict, rates: dict, validation: dict) -> None:
        """Add a line to the log; loss and accuracy start anew."""
        self.rows.append({
            "step": self.step, "minutes": round(self.minutes, 2),
            "rate": learning_rate(self.config, self.share), **logs,
            **{f"validation_{name}": value for name, value in validation.items()}, **rates})
        self.model.reset_metrics()

    def save(self, path: Path) -> None:
        """Write the checkpoint; a crash while writing, even of the machine, leaves the one before."""
        optimizer = [np.asarray(keras.ops.convert_to_numpy(v)) for v in
                     self.model.optimizer.variables]
        arrays = {f"{kind}{i:03d}": array for kind, group in
                  (("weight", self.model.get_weights()), ("average", self.average),
                   ("optimizer", optimizer)) for i, array in enumerate(group)}
        with staged_file(path) as partial_file, open(partial_file, "wb") as file:
            np.savez(file, step=self.step, minutes=self.minutes, config=self.config.to_json(),
                     rows=json.dumps(self.rows), **arrays)

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
            self.rows = json.loads(str(file["rows"]))


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
