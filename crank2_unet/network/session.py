"""The trained network: model card, computing device, prediction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import Crank2UnetError, ModelError
from ..process import usable_cores
from .model_card import ModelCard
from .runtimes import RUNTIMES, Predict

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where the network runs.

    Parameters
    ----------
    asked : "auto", "cpu" or "cuda".
    used : what really started, "cpu" or "cuda".
    provider : what calculates there: an execution provider of ONNX Runtime, or OpenVINO and its
        precision.
    threads : of the CPU.
    note : why it is not what would have been faster.
    """

    asked: str
    used: str
    provider: str
    threads: int
    note: str = ""


class SolventNet:
    """The network, ready to predict on one device; made by :meth:`load`."""

    def __init__(self, card: ModelCard, predict: Predict, device: Device):
        self.card, self.device, self._predict = card, device, predict
        # windows predicted together: a CPU gains nothing from more, a GPU does
        self.batch = 8 if device.used == "cuda" else 1

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", threads: int | None = None,
             runtime: str = "auto") -> SolventNet:
        """Start the network and check that it predicts what its card says.

        Parameters
        ----------
        path : model card; default: the packaged one.
        device : "auto" (CUDA if it really starts, else CPU), "cpu" or "cuda".
        threads : CPU threads; default: the cores that this process may use.
        runtime : "auto" (on a CPU OpenVINO if it is installed and works, else ONNX Runtime),
            "openvino" or "onnxruntime".

        Raises
        ------
        ModelError : unusable model files, wrong self-test values, or nothing to run them with.
        DeviceError : "cuda" was asked for and does not start.
        """
        card, threads = ModelCard.read(path), threads or usable_cores()
        asked = [one for one in RUNTIMES
                 if device in ("auto", one.device) and runtime in ("auto", one.name)]
        ways = [one for one in asked if one.present()] or asked[-1:]
        note = ""
        for way in ways:
            try:
                predict, provider = way.start(card, threads)
                net = cls(card, predict, Device(device, way.device, provider, threads, note))
                net.self_test()
            except Crank2UnetError as error:
                if way is ways[-1]:
                    raise
                note = str(error)
                continue
            if note:
                _log.warning("%s Instead of it, the network runs by %s.", note, provider)
            return net
        raise ModelError(f"There is no runtime {runtime!r} for device {device!r}.")

    def logits(self, windows: np.ndarray) -> np.ndarray:
        """Calibrated logits of P(solvent) and of P(the true density is flat here).

        Parameters
        ----------
        windows : (n, channels, x, y, z) float32; x, y, z multiples of 8.

        Returns
        -------
        (n, 2, x, y, z) float32, in the order of ``KINDS``.
        """
        raw = self._predict(windows)
        scale, offset = (values[:, None, None, None] for values in (self.card.scale, self.card.offset))
        return scale * raw + offset

    def self_test(self) -> None:
        """Predict the seeded window of the card and compare.

        Raises
        ------
        ModelError : a value is off by more than the card's tolerance.
        """
        test = self.card.self_test
        try:
            got = self_test_values(self.logits, test["seed"], test["shape"])
            worst = float(np.max(np.abs(got - np.array(test["values"]))))
        except Exception as error:  # of a runtime, or shapes that do not go together
            raise ModelError(f"{self.card.onnx} does not predict for the input of its card "
                             f"({str(error).splitlines()[0]}). Install the package again.") from error
        if not worst <= test["tolerance"]:
            raise ModelError(f"Model {self.card.name} {self.card.version} predicts values off by "
                             f"{worst:.3g} from its card on {self.device.provider} (tolerance "
                             f"{test['tolerance']}). Use --device cpu, or install the package again.")


def self_test_values(predict, seed: int, shape: list[int]) -> np.ndarray:
    """Mean and five logits of a seeded window of noise, (6,); ``shape`` is (channels, x, y, z)."""
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    logits = predict(noise[None])[0]
    return np.append(logits.mean(), logits.ravel()[:: logits.size // 5][:5])
