"""What the network sees of a crystal: normalised maps, sampled in Cartesian windows.

Windows are cubes in orthogonal Angstrom whatever the cell: a network that has learnt how protein
looks at a fixed spacing, in any orientation, needs no knowledge of cell angles or axis order.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from ..crystal.filters import local_deviation
from ..crystal.grids import asymmetric_unit, density_map
from ..crystal.maps import CrystalMap, standard_spacing

# raise it when the same map and settings give other values: older networks are then refused
REVISION = 1


@dataclass(frozen=True)
class InputSpec:
    """How maps are presented to the network; stored in the model card.

    Parameters
    ----------
    spacing : distance of window points, Angstrom.  The density is cut at the resolution that this
        spacing can carry (2 * spacing).
    clip : normalised density is limited to +-clip, so that heavy-atom peaks, 15-45 sigma in real
        SAD maps, neither set the scale nor dazzle the network.
    deviation_radius : radius, Angstrom, of the local standard deviation of the uncut map, the
        second channel; it carries the contrast of the reflections beyond 2 * spacing.  0: none.
        It is given as 5 * (deviation / mean - 1), which is about as large as the density.
    revision : of this module; a network needs the inputs that it was trained on.
    """

    spacing: float = 1.2
    clip: float = 4.0
    deviation_radius: float = 3.0
    revision: int = REVISION

    @property
    def channels(self) -> int:
        return 2 if self.deviation_radius > 0 else 1


def normalise(density: gemmi.FloatGrid, clip: float) -> gemmi.FloatGrid:
    """Density in units of the 68.3 % quantile of its absolute value, limited to +-clip.

    For a Gaussian map the unit is the standard deviation; unlike it, the quantile is not moved by a
    few heavy atoms.
    """
    unit = np.quantile(np.abs(density.array[asymmetric_unit(density)]), 0.683)
    scaled = density.clone()
    scaled.array[...] /= max(unit, 1e-30)
    np.clip(scaled.array, -clip, clip, out=scaled.array)
    return scaled


def input_maps(seen: CrystalMap, spec: InputSpec) -> list[gemmi.FloatGrid]:
    """The network's input channels as maps over the cell.

    Parameters
    ----------
    seen : the map, on any scale.
    spec : see :class:`InputSpec`.

    Returns
    -------
    Normalised density cut at 2 * spacing and, if asked for, the local deviation of the uncut one.
    Each map has its own grid.
    """
    reflections, limit = seen.reflections, 2.0 * spec.spacing
    if reflections.d_min >= limit:
        density = whole = normalise(seen.density, spec.clip)
    else:
        cut = np.where(reflections.d >= limit, seen.coefficients, 0)
        density = normalise(density_map(reflections, cut, standard_spacing(limit)), spec.clip)
    if spec.deviation_radius <= 0:
        return [density]
    if reflections.d_min < limit:
        whole = normalise(seen.density, spec.clip)
    deviation = local_deviation(whole, spec.deviation_radius)
    deviation.array[...] *= 5.0 / deviation.array.mean()
    deviation.array[...] -= 5.0
    return [density, deviation]


def sample_window(grid: gemmi.FloatGrid, start: np.ndarray, shape: tuple, spacing: float,
                  rotation: np.ndarray | None = None, order: int = 1) -> np.ndarray:
    """Values of a map on a Cartesian lattice, interpolated in the periodic crystal.

    Parameters
    ----------
    grid : map over the cell.
    start : (3,) orthogonal coordinates, Angstrom, of the first point.
    shape : number of points along the three window axes.
    spacing : Angstrom.
    rotation : (3, 3) matrix whose columns are the window axes; default: the orthogonal axes.
    order : 1 for linear, 3 for cubic interpolation.

    Returns
    -------
    float32 array of ``shape``.
    """
    transform = gemmi.Transform()
    transform.mat.fromlist((spacing * (np.eye(3) if rotation is None else rotation)).tolist())
    transform.vec.fromlist(list(start))
    values = np.empty(shape, np.float32)
    grid.interpolate_values(values, transform, order=order)
    return values
