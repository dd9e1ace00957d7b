"""How fast a training is, and how much of what the machine can do that is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .unet import keras

_T = TypeVar("_T")
_SIDE = 1024  # of the matrices whose product shows the peak
_BACKWARD = 2  # the gradients by inputs and by weights cost as much as the prediction each


def training_flops(model: keras.Model, size: int) -> float:
    """Floating-point operations that learning from a window of ``size``^3 points takes, those of the
    convolutions."""
    layers = [layer for layer in model.layers
              if isinstance(layer, (keras.layers.Conv3D, keras.layers.Conv3DTranspose))]
    shapes = keras.Model(model.input, [
        layer.input if isinstance(layer, keras.layers.Conv3DTranspose) else layer.output
        for layer in layers]).compute_output_shape((1, *[size] * 3, model.input_shape[-1]))
    return (1 + _BACKWARD) * sum(2.0 * math.prod(layer.kernel.shape) * math.prod(shape[1:4])
                                 for layer, shape in zip(layers, shapes))


def matrix_peak(precision: str) -> float:
    """Operations in a CPU second of a product of large matrices, the best of twenty, in a precision of
    :func:`~.unet.build_unet`."""
    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    a, b = (keras.ops.cast(keras.random.normal((_SIDE, _SIDE), seed=seed), dtype) for seed in (1, 2))

    def seconds() -> float:
        began = time.process_time()
        float(keras.ops.matmul(a, b)[0, 0])  # waits for it
        return time.process_time() - began
    return 2.0 * _SIDE**3 / min(seconds() for _ in range(20))


@dataclass
class Pace:
    """Time spent in reading and in learning, and the windows that were learnt from.

    Parameters
    ----------
    flops : of learning from a window.
    peak : operations that the machine can do in a CPU second.
    """

    flops: float
    peak: float

    def __post_init__(self):
        self.restart()

    def restart(self) -> None:
        """Forget what was measured."""
        self._windows, self._reading, self._learning, self._cpu = 0, 0.0, 0.0, 0.0
        self._began = time.perf_counter()

    def reading(self, read: Callable[..., _T], *arguments) -> _T:
        """Call a function that reads a batch."""
        began = time.perf_counter()
        result = read(*arguments)
        self._reading += time.perf_counter() - began
        return result

    def learning(self, learn: Callable[..., _T], x: np.ndarray, y: np.ndarray) -> _T:
        """Call a function that learns from a batch."""
        began, cpu = time.perf_counter(), time.process_time()
        result = learn(x, y)
        self._learning += time.perf_counter() - began
        self._cpu += time.process_time() - cpu
        self._windows += len(x)
        return result

    def rates(self) -> dict[str, float]:
        """Windows a second of reading, of learning and of both, which overlap; the share of the peak
        that learning reaches, in CPU time, which other programs do not disturb."""
        return {"read_per_s": round(self._windows / self._reading, 1),
                "learnt_per_s": round(self._windows / self._learning, 2),
                "windows_per_s": round(self._windows / (time.perf_counter() - self._began), 2),
                "share_of_peak": round(self._windows * self.flops / self._cpu / self.peak, 3)}

    def render(self, rates: dict[str, float]) -> str:
        """The rates in words."""
        return (f"windows/s: {rates['read_per_s']:.0f} read, {rates['learnt_per_s']:.1f} learnt, "
                f"{rates['windows_per_s']:.1f} both; {self.flops / 1e9:.1f} GFLOP each, "
                f"{rates['share_of_peak']:.0%} of the matrix peak of {self.peak / 1e9:.0f} GFLOP/s")
