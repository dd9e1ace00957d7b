"""The trained network: model card, computing device, prediction by ONNX Runtime."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DeviceError, ModelError
from ..process import usable_cores
from .model_card import ModelCard

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where the network runs: what was asked for and what really started."""

    asked: str
    used: str
    provider: str
    threads: int
    note: str = ""


class SolventNet:
    """The network, ready to predict on one device; made by :meth:`load`."""

    def __init__(self, card: ModelCard, session, device: Device):
        self.card, self.device, self._session = card, device, session
        # windows predicted together: a CPU gains nothing from more, a GPU does
        self.batch = 8 if device.used == "cuda" else 1

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", threads: int | None = None,
             ) -> SolventNet:
        """Start the network and check that it predicts what its card says.

        Parameters
        ----------
        path : model card; default: the packaged one.
        device : "auto" (CUDA if it really starts, else CPU), "cpu" or "cuda".
        threads : CPU threads; default: the cores that this process may use.

        Raises
        ------
        ModelError : unusable model files, wrong self-test values, or no ONNX Runtime.
        DeviceError : "cuda" was asked for and does not start.
        """
        card = ModelCard.read(path)
        session, started = _start(card, device, threads or usable_cores())
        net = cls(card, session, started)
        net.self_test()
        return net

    def logits(self, windows: np.ndarray) -> np.ndarray:
        """Calibrated logits of P(solvent) and of P(the true density is flat here).

        Parameters
        ----------
        windows : (n, channels, x, y, z) float32; x, y, z multiples of 8.

        Returns
        -------
        (n, 2, x, y, z) float32, in the order of ``KINDS``.
        """
        raw = self._session.run(None, {self._session.get_inputs()[0].name: windows})[0]
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
        except Exception as error:  # ONNX Runtime's own, or shapes that do not go together
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


def _start(card: ModelCard, asked: str, threads: int):
    """ONNX Runtime session and the device that it really runs on."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"ONNX Runtime cannot be imported ({error}). Install it with "
                         "'pip install onnxruntime', or onnxruntime-gpu for CUDA.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # explicit: its own guess fails under cpusets
    options.log_severity_level = 4  # a CUDA that does not start is reported below, in one line
    cuda = "CUDAExecutionProvider"
    note = ""
    if asked == "cuda" or (asked == "auto" and cuda in onnxruntime.get_available_providers()):
        try:
            # the list of available providers says what was compiled in, not what works here
            session = onnxruntime.InferenceSession(card.weights, options,
                                                   [cuda, "CPUExecutionProvider"])
            if session.get_providers()[0] == cuda:
                return session, Device(asked, "cuda", cuda, threads)
            reason = "ONNX Runtime fell back to the CPU"
        except Exception as error:  # ONNX Runtime raises bare Exception subclasses of its own
            reason = str(error).splitlines()[0]
        note = f"CUDA does not start ({reason})"
        if asked == "cuda":
            raise DeviceError(f"{note}. Use --device cpu, or see 'crank2-unet check'.")
        _log.warning("%s: the network runs on the CPU.", note)
    try:
        session = onnxruntime.InferenceSession(card.weights, options, ["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelError(f"{card.onnx} cannot be used as a network ({str(error).splitlines()[0]}). "
                         "Install the package again.") from error
    return session, Device(asked, "cpu", session.get_providers()[0], threads, note)
