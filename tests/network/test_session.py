"""The packaged model is refused if it is not what its card says, and runs where it says it runs."""

import hashlib
import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from crank2_unet.errors import DeviceError, ModelError
from crank2_unet.network.model_card import DEFAULT_CARD, KINDS, ModelCard
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


def with_weights(card, content):
    """Another network in the place of the card's, with its hash."""
    card.with_name(json.loads(card.read_text())["file"]).write_bytes(content)
    change(card, sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("content", [b"", b"no network " * 100, "cut"])
def test_damaged_weights_with_the_right_hash_are_refused(copied, content):
    with_weights(copied, ModelCard.read().weights[:200000] if content == "cut" else content)
    with pytest.raises(ModelError, match="cannot be used as a network"):
        SolventNet.load(copied, "cpu")


def test_weights_in_other_files_are_refused(copied, tmp_path):
    """They would be read from wherever the network says."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(ModelCard.read().weights)
    path = tmp_path / "external.onnx"
    # onnx looks in the working folder, not beside the network, whether the location is taken
    location = f"weights of {os.getpid()}"
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)
    with_weights(copied, path.read_bytes())
    with pytest.raises(ModelError, match="weights in other files"):
        SolventNet.load(copied, "cpu")


@pytest.mark.parametrize("name", ["../weights.onnx", "/dev/zero", "sub/weights.onnx", "", "..",
                                  "link.onnx"])
def test_weights_outside_the_folder_of_the_card_are_refused(copied, name, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights.onnx"
    elsewhere.write_bytes(ModelCard.read().weights)
    copied.with_name("link.onnx").symlink_to(elsewhere)
    change(copied, file=name)
    with pytest.raises(ModelError, match="folder of the card"):
        ModelCard.read(copied)


def test_installed_as_links(copied, tmp_path_factory):
    """As some installers do: card and weights are links to files side by side."""
    folder = tmp_path_factory.mktemp("links")
    for file in copied.parent.iterdir():
        (folder / file.name).symlink_to(file)
    assert ModelCard.read(folder / copied.name).weights


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_cards_that_are_no_files(path):
    with pytest.raises(ModelError, match="no file"):
        ModelCard.read(path)


@pytest.mark.parametrize("entry, value", [
    ("name", 5), ("window", 64), ("window", {"size": "64", "margin": 8}),
    ("window", {"size": 10**9, "margin": 8}), ("window", {"size": 64, "margin": 32}),
    ("input", {"spacing": "1", "clip": 4.0, "deviation_radius": 3.0, "revision": 1}),
    ("input", {"spacing": 1e-9, "clip": 4.0, "deviation_radius": 3.0, "revision": 1}),
    ("calibration", []), ("calibration", {kind: {"scale": "x", "offset": 0} for kind in KINDS}),
    ("training", {"d_min_range": 3}), ("self_test", {"seed": -1}), ("self_test", None),
    ("self_test", {"seed": 1, "shape": [2, 10**6, 10**6, 8], "values": [0.0] * 6, "tolerance": 1}),
    ("file", ["weights"]), ("sha256", None), ("cutoff_distribution", 10**400),
])
def test_cards_with_values_of_wrong_kinds_are_refused(copied, entry, value):
    change(copied, **{entry: value})
    with pytest.raises(ModelError):
        SolventNet.load(copied, "cpu")


def test_network_that_does_not_fit_its_card_is_refused(copied):
    test = json.loads(copied.read_text())["self_test"]
    for changed in ({"shape": [5, 32, 32, 32]}, {"values": [0.0] * 5}):
        change(copied, self_test={**test, **changed})
        with pytest.raises(ModelError, match="does not predict"):
            SolventNet.load(copied, "cpu")


@pytest.fixture
def no_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)


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


@pytest.mark.usefixtures("no_openvino")
def test_cuda_that_does_not_start_is_announced_or_an_error(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "onnxruntime", PretendedRuntime())
    net = SolventNet.load(device="auto")
    assert net.device.used == "cpu" and "fell back" in net.device.note
    assert "CUDA does not start" in caplog.text
    with pytest.raises(DeviceError, match="CUDA does not start"):
        SolventNet.load(device="cuda")


@pytest.mark.usefixtures("no_openvino")
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
    SolventNet.load(device="cpu", threads=3, runtime="onnxruntime")
    assert asked.threads == 3


class PretendedOpenVINO:
    """OpenVINO on a CPU with given abilities; its network gives a constant, or fails."""

    def __init__(self, abilities=(), constant=None):
        self._abilities, self._constant = abilities, constant
        self.settings = {}

    def Core(self):
        return self

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", *self._abilities]

    def read_model(self, weights):
        return weights

    def compile_model(self, model, device, settings):
        self.settings = settings
        if self._constant is None:
            raise RuntimeError("Exception from src: no such instruction\nand so on")
        return self

    def create_infer_request(self):
        return self

    def infer(self, inputs, share_inputs):
        return [np.full((1, 2, *inputs[0].shape[2:]), self._constant, np.float32)]


@pytest.mark.parametrize("constant, reason", [(None, "no such instruction"), (77.0, "off by")])
def test_openvino_that_does_not_work_is_announced(monkeypatch, caplog, constant, reason):
    monkeypatch.setitem(sys.modules, "openvino", PretendedOpenVINO(constant=constant))
    net = SolventNet.load(device="cpu")
    assert net.device.provider == "CPUExecutionProvider"
    assert reason in net.device.note and net.device.note in caplog.text
    assert "the network runs by CPUExecutionProvider" in caplog.text
    with pytest.raises(ModelError, match=reason):
        SolventNet.load(device="cpu", runtime="openvino")


@pytest.mark.parametrize("abilities, precision, name", [
    (["BF16", "INT8"], "bf16", "OpenVINO bf16"), (["INT8"], "f32", "OpenVINO fp32")])
def test_openvino_calculates_in_bfloat16_where_the_cpu_does(monkeypatch, abilities, precision, name):
    pretended = PretendedOpenVINO(abilities, 0.0)
    monkeypatch.setitem(sys.modules, "openvino", pretended)
    monkeypatch.setattr(SolventNet, "self_test", lambda net: None)
    assert SolventNet.load(device="cpu", threads=3).device.provider == name
    assert pretended.settings["INFERENCE_PRECISION_HINT"] == precision
    assert pretended.settings["INFERENCE_NUM_THREADS"] == 3
    with pytest.raises(ModelError, match="no runtime 'openvino' for device 'cuda'"):
        SolventNet.load(device="cuda", runtime="openvino")


def test_openvino_agrees_with_onnxruntime():
    pytest.importorskip("openvino")
    one, other = (SolventNet.load(device="cpu", threads=1, runtime=name)
                  for name in ("openvino", "onnxruntime"))
    for shape in ((24, 16, 32), (32, 32, 32)):
        windows = np.random.default_rng(0).standard_normal(
            (1, one.card.input.channels, *shape)).astype(np.float32)
        assert np.abs(one.logits(windows) - other.logits(windows)).max() < 0.1
