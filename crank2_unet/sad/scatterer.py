"""Anomalous scatterers: form factors, f' and f''."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from ..errors import InputError

_NEAR_EDGE = 12.0  # eV: chemical shift, calibration and energy spread together
# f'' of selenomethionine at the peak is 4 to 7 electrons, at the inflection point 2 to 3.5
_WHITE_LINE, _WHITE_LINE_UNCERTAINTY = 1.2, 0.4
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
