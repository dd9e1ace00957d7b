"""What density modification and phasing start from, laid out over the complete reflection list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .maps import CrystalMap
from .reflections import Reflections


@dataclass(frozen=True)
class PhasedData:
    """Amplitudes with experimental phase information.

    Parameters
    ----------
    reflections : complete list of n reflections.
    f, sigf : (n,) observed amplitudes and standard uncertainties; NaN = unmeasured.
    hl : (n, 4) experimental Hendrickson-Lattman coefficients; 0 = no phase information.
    coefficients : (n,) complex coefficients of the starting map; 0 where there are none.
    """

    reflections: Reflections
    f: np.ndarray
    sigf: np.ndarray
    hl: np.ndarray
    coefficients: np.ndarray

    @property
    def map(self) -> CrystalMap:
        """The starting map."""
        return CrystalMap(self.reflections, self.coefficients)

    @property
    def known(self) -> np.ndarray:
        """Whether each reflection is measured or in the starting map, (n,) bool.

        A mask is found in a map of these only: what density modification fills in for the others
        is mostly the last mask, and masks that see it confirm themselves until the phases are lost
        (seen on 5xfd, which has no data beyond 9.5 A).
        """
        return np.isfinite(self.f) | (self.coefficients != 0)

    def at_resolution(self, d_min: float) -> PhasedData:
        """The same data in the list of reflections to another limit, Angstrom: without what is beyond
        it, or with reflections that have neither amplitudes nor phases."""
        old = self.reflections
        new = Reflections(old.cell, old.spacegroup, d_min)
        return PhasedData(new, *(new.spread(old.hkl, values, fill) for values, fill in (
            (self.f, np.nan), (self.sigf, np.nan), (self.hl, 0.0), (self.coefficients, 0.0))))


@dataclass(frozen=True)
class AnomalousData:
    """Amplitudes of Friedel mates.

    Parameters
    ----------
    reflections : complete list of n reflections.
    f_plus, sigf_plus, f_minus, sigf_minus : (n,); NaN = unmeasured.  A centric reflection, whose
        mates are equal, has its value in ``f_plus`` and NaN in ``f_minus``.
    wavelength : Angstrom, or None if the file does not say.
    """

    reflections: Reflections
    f_plus: np.ndarray
    sigf_plus: np.ndarray
    f_minus: np.ndarray
    sigf_minus: np.ndarray
    wavelength: float | None
