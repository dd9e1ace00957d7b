"""All settings of a training."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...network.inputs import InputSpec

# Three poolings leave 2x2x2 points of a window of 16.  There oneDNN's bfloat16 gradient of a
# convolution holds memory that was never written (TensorFlow 2.21); from 3x3x3 points it is right.
_SMALLEST_BFLOAT16_WINDOW = 24


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training; they are stored in its checkpoint."""

    training: str  # folder of prepared structures of the split "train", to learn from
    validation: str  # folder of prepared structures of the split "validation"
    output: str  # folder for checkpoint and log
    input: InputSpec = InputSpec()
    steps: int = 0  # length of the training in steps: reproducible
    minutes: float = 0.0  # or length of the training by the clock
    window: int = 48  # points along an edge, as in the paper
    windows_per_map: int = 4  # cut once, twice as many from maps of 60 to 80 degrees
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
    report_every: int = 200  # steps between validations, checkpoints and lines of the log
    validation_windows: int = 96  # each from another map, always the same ones
    precision: str = "float32"  # or mixed_bfloat16: 1.4 times faster on some CPUs, slower on others
    workers: int = 1  # processes that cut windows; 0: this one
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
        """Settings of a checkpoint.

        Raises
        ------
        InputError : it is of a version of the program with other settings.
        """
        values = json.loads(text)
        strangers = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if strangers:
            raise InputError("The checkpoint is of another version of the program, with the settings "
                             f"{', '.join(sorted(strangers))}. Start a new training; --start takes the "
                             "weights of a model that was exported.")
        return cls(**{**values, "input": InputSpec(**values["input"])})

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def learning_rate(config: TrainConfig, share: float) -> float:
    """Rate after ``share`` (0..1) of the training: linear warm-up, then half a cosine to zero."""
    if share < config.warm_up:
        return config.rate * max(share, 1e-3) / config.warm_up  # the first step, too, should learn
    return config.rate * 0.5 * (1 + np.cos(np.pi * (share - config.warm_up) / (1 - config.warm_up)))
