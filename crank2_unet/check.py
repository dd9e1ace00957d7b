"""Is this installation usable, on which devices, how fast: the lines of ``crank2-unet check``."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .crank2.places import CRANK2_PLACES
from .errors import Crank2UnetError
from .process import usable_cores

REQUIRED = ("numpy", "scipy", "gemmi", "jinja2", "tqdm")
# distributions that all install the package onnxruntime: whichever came last overwrote the others
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
ENOUGH_MEMORY = 2.0  # GB; six maps of 400 x 400 x 400 points take 1.5


@dataclass(frozen=True)
class CheckLine:
    """One thing that was looked at.

    ``status`` is "ok", "warning" (works, with a limit), "missing" (absent, and segmentation works
    without it) or "error" (segmentation cannot run); ``detail`` says what was found or what to do.
    """

    name: str
    status: str
    detail: str


def check_installation(model_path: str | Path | None = None) -> list[CheckLine]:
    """Look at everything that segmentation needs, then at what it can be used with.

    The network is started on each device and run on one window, which takes seconds.

    Parameters
    ----------
    model_path : model card; default: the packaged one.
    """
    lines = [CheckLine("python", "ok", platform.python_version())]
    lines += [_package(name) for name in REQUIRED] + _runtimes()
    if exit_status(lines) == 0:  # otherwise the package cannot even be imported
        lines += [*_network(model_path), _parrot()]
    return lines + [_cores(), _memory(), _ccp4(), _crank2()]


def exit_status(lines: list[CheckLine]) -> int:
    """0 if segmentation can run, else 1."""
    return int(any(line.status == "error" for line in lines))


def render(lines: list[CheckLine]) -> str:
    """The lines as text, the last one "ready" or one sentence on what is wrong."""
    width = max(len(line.name) for line in lines)
    text = [f"{line.status:8} {line.name:{width}}  {line.detail}" for line in lines]
    errors = [line for line in lines if line.status == "error"]
    verdict = f"not ready: {errors[0].name}: {errors[0].detail}" if errors else "ready"
    return "\n".join([*text, verdict])


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> CheckLine:
    version = _version(name)
    if version is None:
        return CheckLine(name, "error", f"not installed; install it with 'pip install {name}'.")
    return CheckLine(name, "ok", version)


def _runtimes() -> list[CheckLine]:
    """What there is to run the network with: one of them is enough."""
    openvino = _version("openvino")
    lines = [CheckLine("openvino", "ok", openvino) if openvino else CheckLine(
        "openvino", "missing", "not installed; with it ('pip install openvino') the network is "
        "faster on a CPU: 1.7 times, and 3 times where it calculates with bfloat16.")]
    found = {name: version for name in ONNX_RUNTIMES if (version := _version(name))}
    if not found:
        status, use = ("missing", ", for CUDA only") if openvino else ("error", "")
        return [*lines, CheckLine("onnxruntime", status, "not installed; install it with 'pip install "
                                  f"onnxruntime', or onnxruntime-gpu for CUDA{use}.")]
    versions = " and ".join(f"{version} ({name})" for name, version in found.items())
    if len(found) == 1:
        return [*lines, CheckLine("onnxruntime", "ok", versions)]
    return [*lines, CheckLine("onnxruntime", "warning", f"{versions} overwrite each other; what came "
                              "last is used. If CUDA is missing below, run 'pip install "
                              "--force-reinstall --no-deps onnxruntime-gpu'.")]


def _network(model_path: str | Path | None) -> list[CheckLine]:
    """The model's files, then each device."""
    from .network.model_card import ModelCard

    try:
        card = ModelCard.read(model_path)
    except Crank2UnetError as error:
        return [CheckLine("model", "error", str(error))]
    found = f"{card.name} {card.version}, sha256 {card.sha256[:12]}, {card.onnx}"
    return [CheckLine("model", "ok", found), _device(model_path, "cpu"), _cuda(model_path)]


def _cuda(model_path: str | Path | None) -> CheckLine:
    """CUDA: present only if the runtime was built for it, and usable only if a session starts."""
    from .network.runtimes import cuda_in_runtime

    if not cuda_in_runtime():
        return CheckLine("cuda", "missing", "there is no ONNX Runtime that was built with CUDA; for a "
                         "GPU replace the package onnxruntime by onnxruntime-gpu.")
    return _device(model_path, "cuda")


def _device(model_path: str | Path | None, device: str) -> CheckLine:
    """Start the network, which runs its self-test, time one window, compare runtimes."""
    import numpy as np
    from scipy.special import expit

    from .network.session import SolventNet

    try:
        net = SolventNet.load(model_path, device)
    except Crank2UnetError as error:
        # without a GPU the network runs on the CPU; without a CPU session it does not run
        return CheckLine(device, "error" if device == "cpu" else "warning", str(error))
    channels, size = net.card.input.channels, net.card.window
    window = np.random.default_rng(1).standard_normal((1, channels, size, size, size), np.float32)
    logits, seconds = _timed(net, window)
    detail = (f"{net.device.provider}, {net.device.threads} threads, self-test passed, {seconds:.2f} s "
              f"for {size} x {size} x {size} points")
    if net.device.note:
        return CheckLine(device, "warning", f"{detail}; {net.device.note}")
    try:
        other = SolventNet.load(model_path, "cpu", runtime="onnxruntime")
    except Crank2UnetError:
        return CheckLine(device, "ok", detail)
    if other.device.provider != net.device.provider:
        expected, seconds = _timed(other, window)
        worst = np.abs(expit(logits) - expit(expected)).max()
        detail += f"; {other.device.provider} {seconds:.2f} s, P differs by at most {worst:.3f}"
    return CheckLine(device, "ok", detail)


def _timed(net, window):
    """Logits of a window, and the seconds that they take."""
    net.logits(window)  # the first run of a size also plans it
    start = time.perf_counter()
    logits = net.logits(window)
    return logits, time.perf_counter() - start


def _cores() -> CheckLine:
    total = os.cpu_count() or 1
    return CheckLine("cores", "ok", f"{usable_cores()} usable of {total}")


def _memory(meminfo: str = "/proc/meminfo") -> CheckLine:
    try:
        rows = dict(row.split(":", 1) for row in Path(meminfo).read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) / 1e6  # the file counts in kB
    except (OSError, KeyError, ValueError):
        return CheckLine("memory", "ok", "free memory is not known on this system")
    status = "ok" if free >= ENOUGH_MEMORY else "warning"
    return CheckLine("memory", status, f"{free:.1f} GB free")


def _parrot() -> CheckLine:
    """Parrot, and whether it reads our masks by itself."""
    from .parrot.log import parrot_version
    from .parrot.program import find_parrot, parrot_places, parrot_usage

    path = find_parrot()
    if path is None:
        return CheckLine("parrot", "missing", f"not found ({', '.join(parrot_places())}); the built-in "
                         "density modification works without it")
    try:
        usage = parrot_usage(path)
    except Crank2UnetError as error:
        return CheckLine("parrot", "warning", str(error))
    kind = "patched: it reads masks (-mskin)" if "-mskin" in usage else (
        "unpatched: it gets masks as carrier coefficients")
    return CheckLine("parrot", "ok", f"{parrot_version(usage)}, {path}, {kind}")


def _ccp4() -> CheckLine:
    folder = os.environ.get("CCP4")
    if not folder:
        return CheckLine("ccp4", "missing", "$CCP4 is not set; needed only for Crank2 and Parrot")
    if not Path(folder).is_dir():
        return CheckLine("ccp4", "warning",
                         f"$CCP4 is {folder}, which does not exist. Set up CCP4 again.")
    return CheckLine("ccp4", "ok", folder)


def _crank2() -> CheckLine:
    """Crank2 as a script of CCP4 or as a Python package; nothing of it is imported."""
    for pattern in CRANK2_PLACES if os.environ.get("CCP4") else ():
        for path in Path(os.environ["CCP4"]).glob(pattern):
            return CheckLine("crank2", "ok", str(path))
    for package in ("crank2", "ccp4i2"):
        spec = importlib.util.find_spec(package)
        if spec is not None:
            return CheckLine("crank2", "ok", f"package {package}, {spec.origin or 'namespace'}")
    return CheckLine("crank2", "missing", "found neither in $CCP4 nor as a Python package; needed "
                     "only to use the masks inside Crank2")
