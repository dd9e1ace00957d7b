"""A map of a crystal: its coefficients, and its density on the one standard grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import gemmi
import numpy as np

from .grids import density_map, structure_factors
from .reflections import Reflections


def standard_spacing(d_min: float) -> float:
    """Distance of the points of a map to ``d_min``, Angstrom: Shannon rate 1.5, which keeps linear
    interpolation between grid points harmless."""
    return d_min / 3.0


def skew(values: np.ndarray) -> float:
    """Skewness of values: their third central moment over the cube of the standard deviation."""
    apart = np.asarray(values, float) - np.mean(values, dtype=float)
    return float(np.mean(apart**3) / np.mean(apart**2) ** 1.5)


@dataclass(frozen=True, eq=False)
class CrystalMap:
    """A map as its coefficients; its density is made when it is first asked for.

    Parameters
    ----------
    reflections : complete list of n reflections.
    coefficients : (n,) complex, on any scale; 0 where there are none.
    """

    reflections: Reflections
    coefficients: np.ndarray

    @classmethod
    def of(cls, density: gemmi.FloatGrid, reflections: Reflections) -> CrystalMap:
        """From the density of a map, for instance of another program's file."""
        return cls(reflections, structure_factors(density, reflections))

    @cached_property
    def density(self) -> gemmi.FloatGrid:
        """At :func:`standard_spacing`, without the F(000) term (mean zero)."""
        return density_map(self.reflections, self.coefficients,
                           standard_spacing(self.reflections.d_min))
