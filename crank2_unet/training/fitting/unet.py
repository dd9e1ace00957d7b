"""The 3D U-net that segments a map into protein and solvent, in Keras 3 (any backend)."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # read by keras when it is first imported
# TensorFlow turns oneDNN on only where a CPU has instructions made for networks (AVX-512 VNNI); one
# with AVX2 trained three times faster with it, too
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from keras import layers

# what the network gives for each point: logits of the two classes, that of flat density, and density
PROTEIN, SOLVENT, FLAT, DENSITY = range(4)
PAPER_FILTERS = 24


def build_unet(channels: int = 1, filters: int = PAPER_FILTERS, blocks: int = 4, stem: int = 1,
               momentum: float = 0.95, precision: str = "float32",
               ) -> keras.Model:
    """Fully convolutional U-net; the defaults are the network of the paper.

    Each of the ``blocks`` encoding blocks has two 3x3x3 convolutions with batch normalisation and
    ReLU and twice the filters of the block before; between them the map is halved by max-pooling.
    Each decoding block doubles the map by a transposed convolution, appends the features of the
    encoding block of that size, and has one convolution.

    With a ``stem`` of 2 all this happens at half the number of points along each axis: a convolution
    of stride 2 goes before, and each of the last features gives the logits of 2x2x2 points.  Maps
    carry nothing finer than two points of the window anyway, and most of the time of the network
    without stem goes into its outermost convolutions.

    Parameters
    ----------
    channels : maps seen at each grid point.
    filters : features after the first block.
    blocks : encoding blocks; the sides of a window must be multiples of ``stem * 2**(blocks - 1)``.
    stem : points of the window along an axis that become one.
    momentum : of the running means of batch normalisation.  Lower than the 0.99 of Keras, which
        would still remember the untrained network at the end of a training of hundreds of steps.
    precision : "float32", or "mixed_bfloat16" to compute, but not store, in bfloat16.

    Returns
    -------
    Model from (n, d, h, w, channels) to (n, d, h, w, 4): the logits of protein and solvent, the logit
    of P(the true density is flat here) and the true density, which is of use only in learning.

    References
    ----------
    Skubák (2024), Acta Cryst. D80, 528-534, its Fig. 2; 3,286,778 parameters as there, and
    those of the last two outputs.
    """
    def convolve(x, name: str, features: int, size: int = 3, stride: int = 1):
        x = layers.Conv3D(features, size, stride, padding="same", kernel_initializer="he_normal",
                          name=f"{name}_conv", dtype=precision)(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"{name}_norm", dtype=precision)(x)
        return layers.ReLU(name=f"{name}_relu", dtype=precision)(x)

    def outputs(x, name: str, count: int):
        return layers.Conv3DTranspose(count, stem, stem, padding="same", name=name,
                                      kernel_initializer="he_normal", dtype="float32")(x)

    x = shown = layers.Input((None, None, None, channels), name="density")
    skips = []
    if stem > 1:
        x = convolve(x, "stem", filters, 2 * stem, stem)
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
    found = layers.Concatenate(name="found", dtype="float32")(
        [outputs(x, "logits", 2), outputs(x, "flat", 1), outputs(x, "true", 1)])
    return keras.Model(shown, found, name=f"unet{filters}")
