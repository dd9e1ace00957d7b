"""The 3D U-net that segments a map into protein and solvent, in Keras 3 (any backend)."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # read by keras when it is first imported

import keras
from keras import layers

PROTEIN, SOLVENT = 0, 1  # classes, in the order of the network's two outputs
PAPER_FILTERS = 24
COMPACT_FILTERS = 12  # three times faster to train on a CPU than the paper's, hardly less accurate


def build_unet(channels: int = 1, filters: int = PAPER_FILTERS, blocks: int = 4,
               momentum: float = 0.95, precision: str = "float32") -> keras.Model:
    """Fully convolutional U-net; the defaults are the network of the paper.

    Each of the ``blocks`` encoding blocks has two 3x3x3 convolutions with batch normalisation and
    ReLU and twice the filters of the block before; between them the map is halved by max-pooling.
    Each decoding block doubles the map by a transposed convolution, appends the features of the
    encoding block of that size, and has one convolution.

    Parameters
    ----------
    channels : maps seen at each grid point.
    filters : features after the first block.
    blocks : encoding blocks; the sides of a window must be multiples of ``2 ** (blocks - 1)``.
    momentum : of the running means of batch normalisation.  Lower than the 0.99 of Keras, which
        would still remember the untrained network at the end of a training of hundreds of steps.
    precision : "float32", or "mixed_bfloat16" to compute, but not store, in bfloat16.

    Returns
    -------
    Model from (n, d, h, w, channels) to the (n, d, h, w, 2) logits of protein and solvent.

    References
    ----------
    Skubák (2024), Acta Cryst. D80, 528-534, its Fig. 2; 3,286,778 parameters as there.
    """
    def convolve(x, name: str, features: int):
        x = layers.Conv3D(features, 3, padding="same", kernel_initializer="he_normal",
                          name=f"{name}_conv", dtype=precision)(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"{name}_norm", dtype=precision)(x)
        return layers.ReLU(name=f"{name}_relu", dtype=precision)(x)

    x = density = layers.Input((None, None, None, channels), name="density")
    skips = []
    for block in range(blocks):
        if block:
            skips.append(x)
            x = layers.MaxPooling3D(name=f"pool{block}", dtype=precision)(x)
        for half in "ab":
            x = convolve(x, f"encoder{block}{half}", filters << block)
    for block in reversed(range(blocks - 1)):
        x = layers.Conv3DTranspose(filters << block, 3, 2, padding="same", dtype=precision,
                                   kernel_initializer="he_normal", name=f"decoder{block}_up")(x)
        x = layers.Concatenate(name=f"decoder{block}_join", dtype=precision)([x, skips[block]])
        x = convolve(x, f"decoder{block}", filters << block)
    logits = layers.Conv3D(2, 1, kernel_initializer="he_normal", name="logits", dtype="float32")(x)
    return keras.Model(density, logits, name=f"unet{filters}")
