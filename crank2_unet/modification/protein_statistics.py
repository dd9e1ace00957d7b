"""What is usual within a protein: the distribution of its density, the mean of its intensities."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

import numpy as np

LEVELS = 50  # equally probable density values that stand for the distribution


def protein_levels(d_min: float) -> np.ndarray:
    """Densities of a protein region without noise, mean 0 and standard deviation 1, in a map that was
    sharpened by :func:`~crank2_unet.modification.sharpening.sharpened`.

    Parameters
    ----------
    d_min : resolution limit, Angstrom.  Beyond the table, 1.5-4 Angstrom, its ends are used.

    Returns
    -------
    (LEVELS,) increasing; each stands for the same share of the volume.
    """
    table = _table()
    levels = np.array([np.interp(d_min, table["d_min"], level)
                       for level in np.transpose(table["levels"])])
    return (levels - levels.mean()) / levels.std()


def log_mean_intensity(inverse_d_squared: np.ndarray) -> np.ndarray:
    """Logarithm of the mean intensity of a protein whose atoms are at rest, up to a constant.

    Parameters
    ----------
    inverse_d_squared : 1/Angstrom^2.  Beyond the table, which reaches 1.2 Angstrom, its end is used.
    """
    table = _table()["intensity"]
    return np.interp(inverse_d_squared, table["inverse_d_squared"], table["log_mean"])


@cache
def _table() -> dict:
    return json.loads(resources.files(__package__).joinpath("protein_statistics.json").read_text())
