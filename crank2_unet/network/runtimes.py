"""What can run the network: OpenVINO or ONNX Runtime on a CPU, ONNX Runtime on CUDA."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, NamedTuple

import numpy as np

from ..errors import DeviceError, ModelError
from .model_card import ModelCard

# (n, channels, x, y, z) float32 -> (n, 2, x, y, z) float32, logits before calibration
Predict = Callable[[np.ndarray], np.ndarray]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Runtime(NamedTuple):
    """A way to run the network.

    Parameters
    ----------
    name : "onnxruntime" or "openvino", the Python package.
    device : "cpu" or "cuda".
    present : whether it is installed; it may fail nevertheless.
    start : (card, CPU threads) -> the prediction, and what makes it in a few words.  Raises
        ModelError or DeviceError.
    """

    name: str
    device: str
    present: Callable[[], bool]
    start: Callable[[ModelCard, int], tuple[Predict, str]]


def _installed(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError:
        return False
    except Exception:
        pass  # installed and broken: starting it says how
    return True


def cuda_in_runtime() -> bool:
    """Whether this ONNX Runtime was built with CUDA, which need not work here."""
    try:
        return _CUDA in import_module("onnxruntime").get_available_providers()
    except Exception:  # not installed, or broken
        return False


def start_cuda(card: ModelCard, threads: int) -> tuple[Predict, str]:
    """ONNX Runtime on CUDA, if it really starts there."""
    try:
        # the list of available providers says what was compiled in, not what works here
        session = _session(card, threads, [_CUDA, _CPU])
        reason = "" if session.get_providers()[0] == _CUDA else "ONNX Runtime fell back to the CPU"
    except Exception as error:  # ONNX Runtime raises bare Exception subclasses of its own
        reason = _reason(error)
    if reason:
        raise DeviceError(f"CUDA does not start ({reason}). Use --device cpu, or see 'crank2-unet "
                          "check'.")
    return _by_session(session), _CUDA


def start_onnxruntime(card: ModelCard, threads: int) -> tuple[Predict, str]:
    """ONNX Runtime on the CPU."""
    try:
        session = _session(card, threads, [_CPU])
    except ImportError as error:
        raise ModelError(f"ONNX Runtime cannot be imported ({error}). Install it with "
                         "'pip install onnxruntime', or onnxruntime-gpu for CUDA.") from error
    except Exception as error:  # as above
        raise ModelError(f"{card.onnx} cannot be used as a network ({_reason(error)}). "
                         "Install the package again.") from error
    return _by_session(session), session.get_providers()[0]


def _session(card: ModelCard, threads: int, providers: list[str]):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # explicit: its own guess fails under cpusets
    options.enable_cpu_mem_arena = False  # memory for a window is not kept until the next
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # what does not start is reported in one line
    return onnxruntime.InferenceSession(card.weights, options, providers)


def _by_session(session) -> Predict:
    name = session.get_inputs()[0].name
    return lambda windows: session.run(None, {name: windows})[0]


def start_openvino(card: ModelCard, threads: int) -> tuple[Predict, str]:
    """OpenVINO: in bfloat16 on CPUs that calculate with it (AMX, AVX512-BF16), else in float32."""
    try:
        import openvino

        core = openvino.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        network = core.compile_model(core.read_model(card.weights), "CPU",
                                     _openvino_settings(bf16, threads))
        request = network.create_infer_request()
    except Exception as error:  # RuntimeError for all kinds of failure, ImportError, OSError
        raise ModelError(f"OpenVINO does not run {card.onnx} ({_reason(error)}). Install it "
                         "again.") from error
    return (lambda windows: request.infer([windows], share_inputs=True)[0],
            f"OpenVINO {'bf16' if bf16 else 'fp32'}")


def _openvino_settings(bf16: bool, threads: int) -> dict[str, Any]:
    """Pinned threads would be the same cores in each of several processes."""
    return {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32", "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}


def _reason(error: Exception) -> str:
    """What a library says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


# in the order in which they are tried
RUNTIMES = (Runtime("onnxruntime", "cuda", cuda_in_runtime, start_cuda),
            Runtime("openvino", "cpu", lambda: _installed("openvino"), start_openvino),
            Runtime("onnxruntime", "cpu", lambda: _installed("onnxruntime"), start_onnxruntime))
