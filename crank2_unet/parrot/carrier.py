"""Coefficients that an unpatched Parrot turns into a mask."""

from __future__ import annotations

import gemmi
import numpy as np

from ..crystal.filters import local_deviation, soften
from ..crystal.grids import density_map, resample, structure_factors
from ..crystal.masks import cut_at_fraction
from ..crystal.reflections import Reflections
from ..errors import InputError

# Angstrom, of the sphere in which Parrot takes the standard deviation of a carrier
# (-solvent-mask-filter-radius): small, so that it follows the mask closely.
CARRIER_FILTER_RADIUS = 2.0
_CARRIER_EDGE = 0.7     # Angstrom; the data cannot carry a sharper edge
_CARRIER_ROUNDS = 5     # more gain less than 0.005 in the mask's correlation
_STEEPEST = 3.0         # largest factor in one round; it keeps quiet spots from ringing


def carrier_coefficients(solvent: gemmi.FloatGrid, reflections: Reflections) -> np.ndarray:
    """Map coefficients from which an unpatched Parrot makes a given mask.

    They are those of symmetric noise whose local standard deviation follows the mask: noise is
    multiplied by what its deviation lacks, cut to the reflections there are, and again.  Parrot
    must be given them as -colin-fmsk, with -solvent-mask-filter-radius CARRIER_FILTER_RADIUS and
    the mean of the mask as -solvent-content.

    Parameters
    ----------
    solvent : mask or P(solvent), in [0, 1], on any grid; Parrot sees it cut at its mean.
    reflections : complete list of n reflections, to the resolution that Parrot uses.

    Returns
    -------
    (n,) complex; the largest amplitude is 1000.

    Raises
    ------
    InputError : the mask holds one region only.
    """
    spacing = reflections.d_min / 3
    noise = density_map(reflections, _noise(reflections), spacing)
    solvent = resample(solvent, noise)
    mask = cut_at_fraction(solvent, float(solvent.array.mean()), lowest=False)
    if mask.array.min() == mask.array.max():
        raise InputError("The mask holds one region only; there must be both protein and solvent.")
    protein = 1 - soften(mask, _CARRIER_EDGE).array
    for _ in range(_CARRIER_ROUNDS):
        deviation = local_deviation(noise, CARRIER_FILTER_RADIUS).array
        deviation /= np.sqrt(np.mean(deviation**2))
        noise.array[...] *= np.minimum(protein / np.maximum(deviation, 0.01), _STEEPEST)
        coefficients = structure_factors(noise, reflections)
        coefficients *= 1000 / np.abs(coefficients).max()
        noise = density_map(reflections, coefficients, spacing)
    return coefficients


def _noise(reflections: Reflections) -> np.ndarray:
    """Structure factors (n,) of noise with the symmetry of the crystal; always the same."""
    random = np.random.default_rng(0).random(len(reflections))
    allowed = np.nan_to_num(reflections.allowed_phase) + np.where(random < 0.5, 0, 180)
    phi = np.where(reflections.centric, allowed, 360 * random)
    return np.sqrt(reflections.epsilon) * np.exp(1j * np.deg2rad(phi))
