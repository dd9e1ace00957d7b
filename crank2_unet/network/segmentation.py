"""From a map to the probability of solvent at every point of the crystal."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import gemmi
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq
from scipy.special import expit

from ..crystal.filters import soften
from ..crystal.grids import asymmetric_unit, like, spread
from ..crystal.maps import CrystalMap
from .inputs import input_maps, sample_window
from .placement import Placement
from .session import SolventNet
from .windows import Stitcher

# Angstrom.  The network has learnt from windows by linear interpolation, which blurs the density, more
# or less so with the grid and the direction; cubic interpolation after this blur gives the same on
# average, in every setting of the crystal.
_INTERPOLATED = 0.28


class Regions(NamedTuple):
    """Something of the regions that the network tells apart: logits, truth.

    Solvent is what the model of the protein leaves free; flat is density without features, which
    bulk solvent has, but not ordered water, and which the protein has where it is disordered.  Masks
    and solvent contents go by the first, density modification by the second.
    """

    solvent: Any
    flat: Any


def map_logits(seen: CrystalMap, net: SolventNet, grid: gemmi.FloatGrid | None = None,
               progress: Callable[[int, int], None] | None = None,
               placement: Placement | None = None) -> Regions:
    """Maps of calibrated logits by the network, exactly symmetric.

    The asymmetric unit is covered by Cartesian windows that overlap and are blended; symmetry
    carries the result over the rest of the cell.

    Parameters
    ----------
    seen : the map.
    net : see :class:`~crank2_unet.network.session.SolventNet`.
    grid : its points are those of the result, its values are not used; default: the map's density.
    progress : called with (windows done, windows in all).
    placement : of the windows (:func:`placement_for`); default: that for this map.
    """
    grid = seen.density if grid is None else grid
    placement = placement or placement_for(seen, net)
    lattice, places = _on_lattice(seen, net, placement, progress), placement.places(grid)
    return Regions(*(spread(grid, map_coordinates(logits, places, order=1, mode="nearest"))
                     for logits in lattice))


def _on_lattice(seen: CrystalMap, net: SolventNet, placement: Placement,
                progress: Callable[[int, int], None] | None) -> list[np.ndarray]:
    """Logits of both regions on the lattice of the windows."""
    spec, plan = net.card.input, placement.plan
    density, *smooth = input_maps(seen, spec)
    maps = [(soften(density, _INTERPOLATED), 3), *((one, 1) for one in smooth)]
    stitchers = Regions(Stitcher(plan), Stitcher(plan))
    for first in range(0, len(plan.starts), net.batch):
        starts = plan.starts[first:first + net.batch]
        windows = np.stack([[sample_window(m, placement.corner(s), plan.shape, spec.spacing,
                                           placement.axes, order) for m, order in maps]
                            for s in starts])
        for start, found in zip(starts, net.logits(windows)):
            for stitcher, logits in zip(stitchers, found):
                stitcher.add(start, logits)
        if progress:
            progress(first + len(starts), len(plan.starts))
    return [stitcher.mean() for stitcher in stitchers]


def placement_for(seen: CrystalMap, net: SolventNet) -> Placement:
    """Where a network's windows lie in a map."""
    return Placement.of(seen, net.card.input.spacing, net.card.margin, net.card.window)


def probability(logits: gemmi.FloatGrid) -> gemmi.FloatGrid:
    """Probability in [0, 1] from its logits, in their place."""
    expit(logits.array, out=logits.array)
    return logits


def probability_with_mean(logits: gemmi.FloatGrid, solvent_content: float) -> gemmi.FloatGrid:
    """Probability, its logits shifted so that the mean over the crystal is the solvent content.

    Region weights of density modification need the right total: too little solvent hurts.
    """
    unit = logits.array[asymmetric_unit(logits)].astype(float)
    shift = brentq(lambda s: expit(unit + s).mean() - solvent_content, -50.0, 50.0)
    return like(logits, expit(logits.array + shift))


def certainty(probability: gemmi.FloatGrid) -> float:
    """How sure probabilities are, from 0 (the same everywhere) to 1 (all are 0 or 1): their variance
    as a share of what it can be."""
    values = probability.array[asymmetric_unit(probability)]
    mean = values.mean(dtype=float)
    return float(values.var(dtype=float) / (mean * (1 - mean)))
