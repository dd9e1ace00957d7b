"""Region weights: P(solvent) at every point of the map of a cycle, by which it is modified.

Those of the network are made by :func:`crank2_unet.pipeline.network_weights`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Callable

import gemmi
import numpy as np

from ..crystal.filters import local_deviation, soften
from ..crystal.grids import resample
from ..crystal.maps import CrystalMap
from ..crystal.masks import cut_at_fraction, deviation_ratio
from ..crystal.observations import PhasedData
from ..crystal.phases import phi_fom_from_hl
from ..errors import InputError

_log = logging.getLogger(__name__)
# variation of the density in solvent over that in protein: right masks of 15 measured maps have 0.64 to
# 0.98, so that inverted ones have 1.02 to 1.56, 12 of them more than 1.1; random maps have 0.99 to 1.01
_INVERTED, _DOUBTED = 1.1, 1.02

# from the current map, sharpened, and the number of the cycle, counted from 1: weights in [0, 1] on
# the grid of the density of that map
RegionWeights = Callable[[CrystalMap, int], gemmi.FloatGrid]


@dataclass(frozen=True, eq=False)
class FixedWeights:
    """The same region weights in every cycle.

    Parameters
    ----------
    mask : weights in [0, 1] on any grid of the crystal, 1 = solvent.
    """

    mask: gemmi.FloatGrid

    def __call__(self, current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
        return resample(self.mask, current.density)


@dataclass(frozen=True)
class VarianceWeights:
    """The classical solvent mask, by local variance, softened.

    Parameters
    ----------
    solvent_content : fraction of the cell, in [0, 1].
    radius : of the sphere for the local deviation, Angstrom; see :func:`deviation_radius`.
    blur : standard deviation of the Gaussian that softens the mask, Angstrom; 2 A was better
        than 1 or 3 A for most of the maps of :func:`deviation_radius`.
    """

    solvent_content: float
    radius: float = 4.0
    blur: float = 2.0

    def __call__(self, current: CrystalMap, cycle: int) -> gemmi.FloatGrid:
        deviation = local_deviation(current.density, self.radius)
        return soften(cut_at_fraction(deviation, self.solvent_content), self.blur)


def check_convention(mask: gemmi.FloatGrid, seen: CrystalMap, source: str, option: str,
                     certain: bool) -> None:
    """The density must not say that a mask, 1 = solvent, is the other way round.

    Parameters
    ----------
    seen : sharpened map.
    source, option : name of the mask's file, and of the option that says what 1 means in it.
    certain : the user has given that option: then only a doubt is said.

    Raises
    ------
    InputError : the mask looks inverted.
    """
    ratio = deviation_ratio(mask, seen.density)
    if not certain and ratio > _INVERTED:
        raise InputError(f"{source} looks inverted: the density varies {ratio:.2f} times as much where "
                         f"it is 1 (solvent) as where it is 0 (protein). Give {option} protein if "
                         f"1 is protein, or {option} solvent if you are sure of it.")
    if ratio > _DOUBTED:
        _log.warning("%s: the density varies %.2f times as much in the solvent of this mask as in its "
                     "protein. Is it of this crystal, and does 1 mean what %s says?", source, ratio,
                     option)


def deviation_radius(fom: float) -> float:
    """Radius, Angstrom, of the sphere for the local deviation of a map of a mean figure of merit.

    6 A up to a figure of merit of 0.1 and 4 A from 0.3: a larger sphere averages out more noise.
    This gave the best or nearly the best phases after density modification, of 4 to 8 A, for six
    experimental data sets of 1.5-3.2 A; resolution by itself did not matter.
    """
    return float(np.interp(fom, [0.1, 0.3], [6.0, 4.0]))


def fixed_weights(mask: gemmi.FloatGrid) -> RegionWeights:
    """The same region weights in every cycle, from a mask (1 = solvent) on any grid of the crystal."""
    return FixedWeights(mask)


def variance_weights(data: PhasedData, solvent_content: float) -> RegionWeights:
    """Region weights by local variance, with the radius that suits the figure of merit."""
    _, fom = phi_fom_from_hl(data.hl, data.reflections.allowed_phase)
    return VarianceWeights(solvent_content, deviation_radius(fom[np.isfinite(data.f)].mean()))
