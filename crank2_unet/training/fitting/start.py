"""Training that starts from the weights of a finished model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import InputError
from .unet import PROTEIN, SOLVENT, keras


def load_onnx_weights(model: keras.Model, path: str | Path, windows: np.ndarray) -> None:
    """Give a network the function of an ONNX file of :func:`~.export.to_onnx`.

    The file has batch normalisation folded into its convolutions.  Each normalisation here is made
    to undo itself on the given windows: its running mean and variance are those of what it sees,
    and its own shift and scale restore them.  The network then predicts what the file does, and
    batches of training, which are normalised by their own statistics, hardly change that.

    Parameters
    ----------
    model : network of :func:`~crank2_unet.training.fitting.unet.build_unet`; its weights are replaced.
    path : the ONNX file.
    windows : (n, d, h, w, channels) typical training windows.

    Raises
    ------
    InputError : the file is of a network of another size.
    """
    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(str(path)).graph.initializer}
    try:
        for layer in model.layers:
            # the density is not in the file, and is learnt anew
            if isinstance(layer, (keras.layers.Conv3D, keras.layers.Conv3DTranspose)) \
                    and layer.name != "true":
                layer.set_weights(_weights_of(layer.name, weights))
        norms = [layer for layer in model.layers
                 if isinstance(layer, keras.layers.BatchNormalization)]
        for norm in norms:  # neutral until the statistics are known
            zero = np.zeros(norm.gamma.shape)
            norm.set_weights([np.sqrt(1 + norm.epsilon) + zero, zero, zero, zero + 1])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} is of a network of another size ({error}). Start from a model "
                         "with the same filters and input channels.") from error
    moments = _moments(model, norms, windows)
    for norm, (mean, variance) in zip(norms, moments):
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean, mean, variance])


def _weights_of(name: str, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Kernel and bias of a layer in Keras order; see ``export._to_onnx_order``."""
    if name in ("logits", "flat"):  # together in the file, with one logit for solvent
        kernel, bias = weights["logits_kernel"], weights["logits_bias"]
        if name == "flat":
            kernel, bias = kernel[:, 1:], bias[1:]
        else:  # the difference of the two of the network
            sign = np.zeros(2)
            sign[[SOLVENT, PROTEIN]] = 0.5, -0.5
            kernel, bias = sign[:, None, None, None] * kernel[:, :1], sign * bias[0]
    else:
        kernel, bias = weights[f"{name}_kernel"], weights[f"{name}_bias"]
    return [kernel.transpose(2, 3, 4, 1, 0), bias]


def _moments(model: keras.Model, norms: list, windows: np.ndarray,
             ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance, over all points, of what each normalisation is given."""
    seen = keras.Model(model.input, [norm.input for norm in norms])
    sums = [np.zeros(1)] * len(norms)
    for window in windows:
        for i, values in enumerate(seen.predict_on_batch(window[None])):
            values = keras.ops.convert_to_numpy(values).astype(float)
            values = values.reshape(-1, values.shape[-1])
            sums[i] = sums[i] + np.stack([values.mean(axis=0), (values**2).mean(axis=0)])
    means = [total / len(windows) for total in sums]
    return [(mean, square - mean**2) for mean, square in means]
