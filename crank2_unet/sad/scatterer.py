"""Anomalous scatterers: form factors, f' and f''."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Scatterer:
    """The anomalous scatterer: element symbol, f' and f'' in electrons."""

    element: str
    f_prime: float
    f_double_prime: float

    @classmethod
    def at_wavelength(cls, element: str, wavelength: float) -> Scatterer:
        """Theoretical f', f'' (Cromer & Liberman, 1970) at a wavelength in Angstrom.

        Near an absorption edge the chemical environment matters; use values of a fluorescence scan.
        """
        f_prime, f_double_prime = gemmi.cromer_liberman(
            gemmi.Element(element).atomic_number, gemmi.hc / wavelength)
        return cls(element, f_prime, f_double_prime)

    def form_factor(self, inverse_d_squared: np.ndarray) -> np.ndarray:
        """f0 + f' in electrons at 1/d^2 (Angstrom^-2), without displacement factor."""
        table = gemmi.Element(self.element).it92
        if table is None:
            raise InputError(f"No X-ray form factor is known for element {self.element!r}: "
                             "give the symbol of the anomalous scatterer, such as Se.")
        f0 = sum(a * np.exp(-b * inverse_d_squared / 4) for a, b in zip(table.a, table.b))
        return f0 + table.c + self.f_prime
