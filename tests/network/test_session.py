"""The packaged model is refused if it is not what its card says, and runs where it says it runs."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from crank2_unet.errors import DeviceError, ModelError
from crank2_unet.network.model_card import DEFAULT_CARD, ModelCard
from crank2_unet.network.session import SolventNet


@pytest.fixture
def copied(tmp_path):
    """Path of a copy of the packaged card, beside a copy of the weights."""
    card = ModelCard.read()
    for file in (card.path, card.onnx):
        shutil.copy(file, tmp_path)
    return tmp_path / DEFAULT_CARD


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_packaged_model_starts_on_the_cpu():
    net = SolventNet.load(device="cpu", threads=1)
    assert (net.device.used, net.device.threads) == ("cpu", 1)
    windows = np.random.default_rng(0).standard_normal(
        (2, net.card.input.channels, 24, 16, 32)).astype(np.float32)
    logits = net.logits(windows)
    assert logits.shape == (2, 2, 24, 16, 32)
    assert np.allclose(logits[:1], net.logits(windows[:1]), atol=1e-4)


def test_damaged_weights_are_refused(copied):
    weights = copied.with_name(json.loads(copied.read_text())["file"])
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="sha256"):
        SolventNet.load(copied)


def test_other_predictions_than_in_the_card_are_refused(copied):
    test = json.loads(copied.read_text())["self_test"]
    change(copied, self_test={**test, "values": [v + 1.0 for v in test["values"]]})
    with pytest.raises(ModelError, match="off by 1"):
        SolventNet.load(copied, "cpu")


def test_network_for_other_input_is_refused(copied):
    card = json.loads(copied.read_text())
    change(copied, input={**card["input"], "revision": card["input"]["revision"] + 1})
    with pytest.raises(ModelError, match="revision"):
        SolventNet.load(copied)


def test_network_of_an_earlier_version_is_refused(copied):
    change(copied, calibration={"scale": 1.0, "offset": 0.0})
    with pytest.raises(ModelError, match="does not tell flat density"):
        SolventNet.load(copied)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\x00"])
def test_unreadable_cards_are_refused(copied, content):
    copied.write_text(content)
    with pytest.raises(ModelError, match="cannot be used"):
        SolventNet.load(copied)


class PretendedRuntime:
    """ONNX Runtime that lists CUDA, as onnxruntime-gpu does without a GPU, but runs on the CPU."""

    def __init__(self):
        import onnxruntime

        self._real = onnxruntime
        self.SessionOptions = onnxruntime.SessionOptions

    def get_available_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path, options, providers):
        return self._real.InferenceSession(path, options, ["CPUExecutionProvider"])


def test_cuda_that_does_not_start_is_announced_or_an_error(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "onnxruntime", PretendedRuntime())
    net = SolventNet.load(device="auto")
    assert net.device.used == "cpu" and "fell back" in net.device.note
    assert "CUDA does not start" in caplog.text
    with pytest.raises(DeviceError, match="CUDA does not start"):
        SolventNet.load(device="cuda")


def test_missing_runtime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="pip install onnxruntime"):
        SolventNet.load()


def test_session_gets_the_threads_asked_for(monkeypatch):
    asked = SimpleNamespace(threads=None)
    runtime = PretendedRuntime()
    start = runtime._real.InferenceSession

    def session(path, options, providers):
        asked.threads = options.intra_op_num_threads
        return start(path, options, ["CPUExecutionProvider"])

    runtime.InferenceSession = session
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    SolventNet.load(device="cpu", threads=3)
    assert asked.threads == 3
