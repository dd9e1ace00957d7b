"""Anomalous scatterers: form factors, f' and f''."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from ..errors import InputError

_NEAR_EDGE = 12.0  # eV: chemical shift, calibration and energy spread together
# f'' of selenomethionine at the peak is 4 to 7 electrons, at the inflection point 2 to 3.5
_WHITE_LINE, _WHITE_LINE_UNCERTAINTY = 1.2, 0.4
# What surrounds an atom scatters in phase with it, or against it where solvent is displaced: mean
# structure factor in the direction of the atoms of a kind less their own form factor, electrons, from
# 1/d = 0.0125/A on in steps of 0.025/A; 400 deposited structures with bulk solvent.
_STEP = 0.025
_AROUND_METHIONINE = np.array([
    3.0, -15.0, -21.0, -31.0, -25.0, -14.0, -7.0, -1.6, 4.5, 6.5,
    6.0, 2.8, -1.0, -3.3, -4.0, -3.0, -1.8, -0.8, -0.5, -0.4])
_AROUND_CYSTEINE = np.array([
    24.0, 4.0, -2.0, -10.0, -18.0, -16.0, -11.0, -9.0, -3.5, 1.3,
    4.0, 4.0, 2.0, 0.4, -0.6, -1.7, -1.8, -1.4, -0.3, -0.2])
_AROUND_HALIDE = np.array([
    20.0, 3.0, -18.0, -18.0, -12.0, -9.0, -13.0, -16.0, -9.0, -1.0,
    4.8, 4.0, 1.6, 0.6, -0.9, -0.3, 0.5, -0.2, -1.0, -1.5])
_AROUND = {"Se": _AROUND_METHIONINE, "S": (_AROUND_METHIONINE + _AROUND_CYSTEINE) / 2,
           **dict.fromkeys(("Cl", "Br", "I"), _AROUND_HALIDE)}
_LARGEST = 50.0  # electrons; those of all elements, at any wavelength of crystallography, are smaller


@dataclass(frozen=True)
class Scatterer:
    """The anomalous scatterer: element symbol, f' and f'' in electrons.

    ``uncertainty`` is that of log f'': 0.1 for tables far from an edge and for fluorescence scans.
    """

    element: str
    f_prime: float
    f_double_prime: float
    uncertainty: float = 0.1

    def __post_init__(self):
        if gemmi.Element(self.element).name != self.element:  # it takes "selenium" for Se
            raise InputError(f"{self.element!r} is not the symbol of an element: give that of the "
                             "anomalous scatterer, such as Se.")
        if not max(abs(self.f_prime), abs(self.f_double_prime)) < _LARGEST:
            raise InputError(f"f' = {self.f_prime:g} and f'' = {self.f_double_prime:g} are not those "
                             f"of {self.element}: give electrons, at most {_LARGEST:g}.")

    @classmethod
    def at_wavelength(cls, element: str, wavelength: float) -> Scatterer:
        """Theoretical f', f'' (Cromer & Liberman, 1970) at a wavelength in Angstrom.

        Within 12 eV of an absorption edge the chemical environment and the calibration of the
        beamline decide on which side of the edge the data were measured, and the white line raises
        f'' beyond its theoretical value: there f'' is 1.2 times that above the edge, and f'' has an
        uncertainty that spans inflection points and strong white lines.  Use values of a
        fluorescence scan where there are any.
        """
        z, energy = gemmi.Element(element).atomic_number, gemmi.hc / wavelength
        (below, lower), (at, here), (above, upper) = (
            gemmi.cromer_liberman(z, energy + step) for step in (-_NEAR_EDGE, 0.0, _NEAR_EDGE))
        if upper > 2 * lower:
            return cls(element, (below + above) / 2, _WHITE_LINE * upper, _WHITE_LINE_UNCERTAINTY)
        return cls(element, at, here)

    def form_factor(self, inverse_d_squared: np.ndarray) -> np.ndarray:
        """f0 + f' in electrons at 1/d^2 (Angstrom^-2), without displacement factor."""
        table = gemmi.Element(self.element).it92
        if table is None:
            raise InputError(f"No X-ray form factor is known for element {self.element!r}: "
                             "give the symbol of the anomalous scatterer, such as Se.")
        terms = [a * np.exp(-b * inverse_d_squared / 4) for a, b in zip(table.a, table.b)]
        return np.sum(terms, axis=0) + table.c + self.f_prime

    def with_surroundings(self, inverse_d_squared: np.ndarray) -> np.ndarray:
        """The form factor with what usually surrounds such an atom in a protein crystal, electrons.

        Of metals nothing is added: their surroundings are of too many kinds, and their own form factor
        is large.
        """
        own = self.form_factor(inverse_d_squared)
        if self.element not in _AROUND:
            return own
        around = _AROUND[self.element]
        centres = _STEP * (np.arange(len(around)) + 0.5)
        return own + np.interp(np.sqrt(inverse_d_squared), centres, around)
