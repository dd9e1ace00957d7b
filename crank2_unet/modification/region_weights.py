"""Region weights: P(solvent) at every point of the map of a cycle, by which it is modified."""

from __future__ import annotations

from typing import Callable

import gemmi
import numpy as np

from ..crystal.filters import local_deviation, soften
from ..crystal.grids import resample
from ..crystal.masks import cut_at_fraction
from ..crystal.observations import PhasedData
from ..crystal.phases import phi_fom_from_hl


def deviation_radius(fom: float) -> float:
    """Radius, Angstrom, of the sphere for the local deviation of a map of a mean figure of merit.

    6 A up to a figure of merit of 0.1 and 4 A from 0.3: a larger sphere averages out more noise.
    This gave the best or nearly the best phases after density modification, of 4 to 8 A, for six
    experimental data sets of 1.5-3.2 A; resolution by itself did not matter.
    """
    return float(np.interp(fom, [0.1, 0.3], [6.0, 4.0]))


def variance_weights(solvent_content: float, radius: float = 4.0, blur: float = 2.0,
                     ) -> Callable[[gemmi.FloatGrid, int], gemmi.FloatGrid]:
    """The classical solvent mask as region weights for density modification.

    Parameters
    ----------
    solvent_content : fraction of the cell, in [0, 1].
    radius : of the sphere for the local deviation, Angstrom; see :func:`deviation_radius`.
    blur : standard deviation of the Gaussian that softens the mask, Angstrom; 2 A was better
        than 1 or 3 A for most of the maps of :func:`deviation_radius`.

    Returns
    -------
    Function of the current map and the cycle number that gives solvent weights in [0, 1].
    """
    def weights(grid: gemmi.FloatGrid, cycle: int) -> gemmi.FloatGrid:
        return soften(cut_at_fraction(local_deviation(grid, radius), solvent_content), blur)
    return weights


RegionWeights = Callable[[gemmi.FloatGrid, int], gemmi.FloatGrid]


def classical_weights(data: PhasedData, solvent_content: float) -> RegionWeights:
    """Region weights by local variance, with the radius that suits the figure of merit."""
    _, fom = phi_fom_from_hl(data.hl, data.reflections.allowed_phase)
    return variance_weights(solvent_content, deviation_radius(fom[np.isfinite(data.f)].mean()))


def fixed_weights(mask: gemmi.FloatGrid) -> RegionWeights:
    """The same region weights in every cycle, from a mask on any grid of the crystal."""
    def weights(density: gemmi.FloatGrid, cycle: int) -> gemmi.FloatGrid:
        return resample(mask, density)
    return weights
