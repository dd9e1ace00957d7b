"""The installation check: what it finds, what it says, and when it fails."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from crank2_unet import check
from crank2_unet.check import CheckLine, check_installation, exit_status, render


@pytest.fixture
def card(tmp_path):
    """Model card of a network that averages its two channels."""
    onnx = pytest.importorskip("onnx", reason="the toy network is made with onnx")
    pytest.importorskip("onnxruntime", reason="the check starts the network")
    from crank2_unet.network.session import self_test_values

    shape = ["n", 2, "x", "y", "z"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["density"], ["logits"])], "toy",
        [onnx.helper.make_tensor_value_info("density", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, shape)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)],
                                   ir_version=8)
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    test_shape = [2, 16, 16, 16]
    values = self_test_values(lambda windows: windows, 1, test_shape)
    content = {
        "name": "toy", "version": "9.8", "file": "toy.onnx",
        "sha256": hashlib.sha256((tmp_path / "toy.onnx").read_bytes()).hexdigest(),
        "input": {"spacing": 1.2, "clip": 4.0, "deviation_radius": 3.0},
        "window": {"size": 16, "margin": 4},
        "calibration": {kind: {"scale": 1.0, "offset": 0.0} for kind in ("solvent", "flat")},
        "cutoff_distribution": {"cutoffs": [-1, 0, 1], "density": [0, 1, 0]},
        "training": {"d_min_range": [1.5, 4.0]},
        "self_test": {"seed": 1, "shape": test_shape, "values": values.tolist(), "tolerance": 1e-3}}
    (tmp_path / "toy.json").write_text(json.dumps(content))
    return tmp_path / "toy.json"


def by_name(lines):
    return {line.name: line for line in lines}


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No CCP4 and no programs on PATH."""
    for variable in ("CCP4", "CRANK2_UNET_PARROT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture
def ccp4(monkeypatch, tmp_path, stand_in, clean):
    """A folder that looks like CCP4 with Parrot and Crank2."""
    folder = tmp_path / "my ccp4-9"
    crank2 = folder / "share/ccp4i2/pipelines/crank2/crank2/crank2.py"
    crank2.parent.mkdir(parents=True)
    crank2.write_text("raise SystemExit('nothing of Crank2 may be run')")
    (folder / "bin").mkdir()
    stand_in(patched=True).rename(folder / "bin" / "cparrot")
    monkeypatch.setenv("CCP4", str(folder))
    return folder


def test_working_installation_is_ready(card, ccp4):
    lines = check_installation(card)
    found = by_name(lines)
    assert exit_status(lines) == 0
    assert render(lines).splitlines()[-1] == "ready"
    assert found["model"].detail.startswith("toy 9.8, sha256 ")
    assert found["cpu"].status == "ok" and "CPUExecutionProvider" in found["cpu"].detail
    assert "16 x 16 x 16" in found["cpu"].detail
    assert found["parrot"].detail == (
        f"9.9.9, {ccp4 / 'bin' / 'cparrot'}, patched: it reads masks (-mskin)")
    assert found["crank2"].detail.endswith("crank2.py") and found["ccp4"].status == "ok"


@pytest.mark.usefixtures("clean")
def test_without_ccp4_it_is_still_ready(card, monkeypatch):
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    lines = check_installation(card)
    found = by_name(lines)
    assert [found[name].status for name in ("parrot", "ccp4", "crank2")] == ["missing"] * 3
    assert exit_status(lines) == 0


@pytest.mark.usefixtures("clean")
def test_parrot_in_the_current_folder_is_not_found(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cparrot").write_text("")
    (tmp_path / "bin" / "cparrot").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert by_name([check._parrot()])["parrot"].status == "missing"


def test_parrot_that_does_not_start(ccp4):
    (ccp4 / "bin" / "cparrot").write_text("#!/bin/sh\necho libclipper.so: not found\nexit 127\n")
    line = check._parrot()
    assert line.status == "warning" and "libclipper.so: not found" in line.detail


def test_damaged_weights_are_an_error(card):
    (card.parent / "toy.onnx").write_bytes(b"damaged")
    lines = check_installation(card)
    assert by_name(lines)["model"].status == "error"
    assert exit_status(lines) == 1
    assert render(lines).splitlines()[-1].startswith("not ready: model: ")


def test_wrong_prediction_is_an_error(card):
    content = json.loads(card.read_text())
    content["self_test"]["values"][2] += 0.5
    card.write_text(json.dumps(content))
    lines = check_installation(card)
    assert by_name(lines)["cpu"].status == "error" and "0.5" in by_name(lines)["cpu"].detail
    assert exit_status(lines) == 1


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_does_not_start_is_a_warning(card, monkeypatch):
    """ONNX Runtime lists CUDA wherever it was compiled in, with or without a GPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA may really start here")
    assert by_name(check_installation(card))["cuda"].status == "missing"
    monkeypatch.setattr(onnxruntime, "get_available_providers",
                        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    lines = check_installation(card)
    assert by_name(lines)["cuda"].status == "warning"
    assert "CUDA does not start" in by_name(lines)["cuda"].detail
    assert exit_status(lines) == 0


@pytest.mark.parametrize("installed, status, words", [
    ({"onnxruntime": "1.32.0"}, "ok", "1.32.0 (onnxruntime)"),
    ({"onnxruntime-gpu": "1.23.2"}, "ok", "1.23.2 (onnxruntime-gpu)"),
    ({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.23.2"}, "warning",
     "1.32.0 (onnxruntime) and 1.23.2 (onnxruntime-gpu) overwrite each other"),
    ({"openvino": "2026.1.0"}, "missing", "for CUDA only"),
    ({}, "error", "pip install onnxruntime"),
])
def test_one_runtime_is_enough(monkeypatch, installed, status, words):
    monkeypatch.setattr(check, "_version", installed.get)
    found = by_name(check._runtimes())
    assert found["onnxruntime"].status == status and words in found["onnxruntime"].detail
    assert found["openvino"].status == ("ok" if "openvino" in installed else "missing")


def test_two_runtimes_are_compared(card):
    pytest.importorskip("openvino")
    line = by_name(check_installation(card))["cpu"]
    assert line.status == "ok" and line.detail.startswith("OpenVINO ")
    assert "CPUExecutionProvider" in line.detail and "P differs by at most 0.00" in line.detail


def test_missing_package_is_an_error_and_the_network_is_not_started(monkeypatch):
    monkeypatch.setattr(check, "_version", lambda name: None if name == "scipy" else "1.0")
    monkeypatch.setattr(check, "_runtimes", lambda: [CheckLine("onnxruntime", "ok", "")])
    for part in ("_network", "_parrot"):
        monkeypatch.setattr(check, part, lambda *_: pytest.fail("started without scipy"))
    lines = check_installation()
    assert by_name(lines)["scipy"].status == "error"
    assert "pip install scipy" in render(lines).splitlines()[-1]


@pytest.mark.parametrize("content, status, words", [
    ("MemTotal: 9 kB\nMemAvailable: 8123456 kB\n", "ok", "8.1 GB"),
    ("MemTotal: 9 kB\nMemAvailable: 512000 kB\n", "warning", "0.5 GB"),
    ("nothing of use", "ok", "not known"),
])
def test_memory(tmp_path, content, status, words):
    (tmp_path / "meminfo").write_text(content)
    line = check._memory(str(tmp_path / "meminfo"))
    assert line.status == status and words in line.detail


def test_ccp4_folder_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setenv("CCP4", str(tmp_path / "gone"))
    assert check._ccp4().status == "warning" and "gone" in check._ccp4().detail


def test_crank2_package_is_found_without_importing_it(monkeypatch, clean):
    spec = SimpleNamespace(origin="/somewhere/crank2/__init__.py")
    monkeypatch.setattr(check.importlib.util, "find_spec",
                        lambda name: spec if name == "crank2" else None)
    assert "/somewhere/crank2" in check._crank2().detail
