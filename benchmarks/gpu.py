"""The network on CUDA: is it used, does it agree with the CPU, how fast is it; see gpu.sh."""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.special import expit

from crank2_unet.errors import Crank2UnetError
from crank2_unet.network.session import SolventNet

SIZE, BATCH, SECONDS = 48, 8, 20.0


def rate(step, seconds: float = SECONDS) -> float:
    """Windows a second of a step with a batch of them, after two steps to warm up."""
    step()
    step()
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        step()
        done += BATCH
    return done / (time.perf_counter() - start)


def inference() -> None:
    """Agreement and speed of CUDA and CPU by ONNX Runtime."""
    on_gpu = SolventNet.load(device="cuda")  # an error if CUDA does not really start
    on_cpu = SolventNet.load(device="cpu", runtime="onnxruntime")
    print(f"provider: {on_gpu.device.provider}; compared with {on_cpu.device.provider}, "
          f"{on_cpu.device.threads} threads")
    windows = np.random.default_rng(0).standard_normal(
        (BATCH, on_gpu.card.input.channels, SIZE, SIZE, SIZE)).astype(np.float32)
    apart = np.abs(expit(on_gpu.logits(windows)) - expit(on_cpu.logits(windows)))
    print(f"P differs by at most {apart.max():.2g}, by {apart.mean():.2g} in the mean")
    for name, net in (("CUDA", on_gpu), ("CPU", on_cpu)):
        print(f"{name}: {rate(lambda net=net: net.logits(windows)):.1f} windows of {SIZE}^3 a second")


class Layers:
    """The shipped network in PyTorch, built from the nodes of its ONNX file."""

    def __init__(self, torch, device: str):
        import onnx
        from onnx import numpy_helper

        graph = onnx.load_from_string(SolventNet.load(device="cpu").card.weights).graph
        self.torch, self.graph = torch, graph
        self.weights = {one.name: torch.tensor(numpy_helper.to_array(one), device=device,
                                               requires_grad=True) for one in graph.initializer}

    def __call__(self, x):
        functional, values = self.torch.nn.functional, {**self.weights, self.graph.input[0].name: x}
        for node in self.graph.node:
            given = [values[name] for name in node.input]
            said = {one.name: one for one in node.attribute}
            if node.op_type == "Conv":
                out = functional.conv3d(*given, stride=tuple(said["strides"].ints),
                                        padding=said["pads"].ints[0])
            elif node.op_type == "ConvTranspose":
                out = self._up(functional, given, said)
            elif node.op_type == "Relu":
                out = functional.relu(given[0])
            elif node.op_type == "MaxPool":
                out = functional.max_pool3d(given[0], 2)
            elif node.op_type == "Concat":
                out = self.torch.cat(given, 1)
            else:
                raise ValueError(f"The network has a node {node.op_type}, which is not known here.")
            values[node.output[0]] = out
        return values[self.graph.output[0].name]

    @staticmethod
    def _up(functional, given, said):
        """Transposed convolution; what ONNX pads at the end is cut off."""
        out = functional.conv_transpose3d(*given, stride=tuple(said["strides"].ints))
        pads = said["pads"].ints if "pads" in said else [0] * 6
        ends = [size - pads[3 + axis] for axis, size in enumerate(out.shape[2:])]
        return out[:, :, pads[0]:ends[0], pads[1]:ends[1], pads[2]:ends[2]]


def in_pytorch(device: str = "cuda") -> None:
    """The same network in PyTorch: agreement, windows a second, a training step."""
    try:
        import torch
    except ImportError as error:
        print(f"PyTorch is not compared: {error}")
        return
    layers = Layers(torch, device)
    cpu = SolventNet.load(device="cpu", runtime="onnxruntime")
    shown = np.random.default_rng(0).standard_normal(
        (BATCH, cpu.card.input.channels, SIZE, SIZE, SIZE)).astype(np.float32)
    x = torch.tensor(shown, device=device)
    with torch.no_grad():
        got = layers(x[:1]).cpu().numpy() * cpu.card.scale[:, None, None, None]
    apart = np.abs(got + cpu.card.offset[:, None, None, None] - cpu.logits(shown[:1])).max()
    print(f"PyTorch: logits differ by at most {apart:.2g}")
    truth = torch.rand(BATCH, 2, SIZE, SIZE, SIZE, device=device).round()
    optimizer = torch.optim.AdamW(layers.weights.values())

    def finish():
        if device == "cuda":
            torch.cuda.synchronize()

    def predict():
        with torch.no_grad():
            layers(x)
        finish()

    def learn():
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(layers(x), truth).backward()
        optimizer.step()
        finish()

    for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            print(f"PyTorch {name}: {rate(predict):.1f} windows of {SIZE}^3 a second")
            print(f"PyTorch {name}: a training step of {BATCH} windows takes "
                  f"{BATCH / rate(learn):.4f} s")


if __name__ == "__main__":
    try:
        inference()
    except Crank2UnetError as error:
        sys.exit(f"ERROR: {error}")
    in_pytorch()
