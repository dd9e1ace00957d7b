"""The trained network as an ONNX file, built from its weights: any Keras backend will do."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .unet import PROTEIN, SOLVENT

# old enough for ONNX Runtime 1.15, the last that many Python 3.9 installations have
_OPSET, _IR_VERSION = 13, 8


class _Graph:
    """Nodes and weights of the growing ONNX graph; methods return the name of their result."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def convolution(self, operator: str, name: str, x: str, kernel: np.ndarray, bias: np.ndarray,
                    **attributes) -> str:
        return self.node(operator, name, x, self.weight(f"{name}_kernel", kernel),
                         self.weight(f"{name}_bias", bias), kernel_shape=kernel.shape[2:],
                         **attributes)


def to_onnx(model: keras.Model, path: str | Path) -> None:
    """Write a network of :func:`~crank2_unet.training.fitting.unet.build_unet` as ONNX.

    Batch normalisation is folded into the convolutions and the two classes into one logit; the
    density is left out.  The input ``density`` is (n, channels, d, h, w) float32, d, h, w multiples
    of 8 for the networks in use; the output ``logits`` is (n, 2, d, h, w) float32, the logits of
    P(solvent) and of P(flat density).
    """
    graph = _Graph()
    x, skips = "density", []
    if any(layer.name == "stem_conv" for layer in model.layers):
        x = _normalised_convolution(graph, model, "stem", x)
    blocks = sum(layer.name.startswith("pool") for layer in model.layers) + 1
    for block in range(blocks):
        if block:
            skips.append(x)
            x = graph.node("MaxPool", f"pool{block}", x, kernel_shape=[2] * 3, strides=[2] * 3)
        for half in "ab":
            x = _normalised_convolution(graph, model, f"encoder{block}{half}", x)
    for block in reversed(range(blocks - 1)):
        x = _doubling(graph, model, f"decoder{block}_up", x)
        x = graph.node("Concat", f"decoder{block}_join", x, skips[block], axis=1)
        x = _normalised_convolution(graph, model, f"decoder{block}", x)
    kernel, bias = model.get_layer("logits").get_weights()
    flat_kernel, flat_bias = model.get_layer("flat").get_weights()
    kernel = np.concatenate([kernel[..., [SOLVENT], :] - kernel[..., [PROTEIN], :], flat_kernel], -2)
    bias = np.concatenate([bias[[SOLVENT]] - bias[[PROTEIN]], flat_bias])
    graph.convolution("ConvTranspose", "logits", x, _to_onnx_order(kernel), bias,
                      strides=kernel.shape[:3])
    _write(graph, model.input_shape[-1], path)


def _normalised_convolution(graph: _Graph, model: keras.Model, name: str, x: str) -> str:
    """Convolution, batch normalisation (by its running means) and ReLU."""
    layer = model.get_layer(f"{name}_conv")
    kernel, bias = layer.get_weights()
    norm = model.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    x = graph.convolution("Conv", f"{name}_conv", x, _to_onnx_order(kernel * scale),
                          (bias - mean) * scale + beta, pads=[1] * 6, strides=layer.strides)
    return graph.node("Relu", f"{name}_relu", x)


def _doubling(graph: _Graph, model: keras.Model, name: str, x: str) -> str:
    """Transposed convolution of stride 2; "same" in Keras drops the last plane of each axis."""
    kernel, bias = model.get_layer(name).get_weights()
    return graph.convolution("ConvTranspose", name, x, _to_onnx_order(kernel), bias,
                             strides=[2] * 3, pads=[0, 0, 0, 1, 1, 1])


def _to_onnx_order(kernel: np.ndarray) -> np.ndarray:
    """Kernel of Keras, (d, h, w, a, b), in the order (b, a, d, h, w).

    For a convolution a, b are input and output, for a transposed one output and input, in Keras;
    ONNX has the two the other way round in both.
    """
    return kernel.transpose(4, 3, 0, 1, 2)


def _write(graph: _Graph, channels: int, path: str | Path) -> None:
    size = ["d", "h", "w"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "unet",
            [helper.make_tensor_value_info("density", TensorProto.FLOAT, ["n", channels, *size])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2, *size])],
            graph.weights),
        producer_name="crank2-unet", ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def compare(model: keras.Model, path: str | Path, seed: int = 0) -> float:
    """Largest difference, in logits, of network and ONNX file on two random shapes of windows."""
    import onnxruntime

    from .trainer import window_logits

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    worst = 0.0
    for shape in ((2, 16, 24, 32), (1, 40, 16, 8)):
        x = rng.standard_normal((*shape, model.input_shape[-1])).astype(np.float32)
        logits, = session.run(["logits"], {"density": np.moveaxis(x, -1, 1)})
        difference = np.moveaxis(logits, 1, -1) - window_logits(model, x)
        worst = max(worst, float(np.abs(difference).max()))
    return worst
