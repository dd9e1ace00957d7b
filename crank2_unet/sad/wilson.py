"""Absolute scale and B factor of measured amplitudes (Wilson, 1942, Nature 150, 151-152)."""

from __future__ import annotations

import gemmi
import numpy as np

from .friedel import Observed, bin_means
from .scatterer import Scatterer

# Atoms of the mean residue, 112.5 Da (hydrogen, bound to them, adds little), and the mean crystal:
# cubic Angstrom per Da (Matthews, 1968, J. Mol. Biol. 33, 491-497).
_RESIDUE = {"C": 5.0, "N": 1.35, "O": 1.5, "S": 0.05, "H": 8.0}
_VOLUME_OF_RESIDUE = 112.5 * 2.4
# At lower resolution solvent and packing decide the mean intensity, not atoms.
_LOWEST_RESOLUTION = 4.5  # Angstrom
_BINS = 15


def wilson_scale(obs: Observed, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup,
                 ) -> tuple[float, float]:
    """Amplitudes are exp(log_scale - B/4d^2) times those of the atoms at rest, in electrons.

    The content of the crystal is that of the mean protein crystal: from 40 to 65 % of solvent this
    is 15 % of the amplitude at most.

    Returns
    -------
    log_scale, B (Angstrom^2): straight line through the logarithm of mean F^2 in shells beyond
    4.5 Angstrom, or in the outer half of the reflections where these are fewer than half.
    """
    operations = spacegroup.operations()
    residues = cell.volume / len(operations) / _VOLUME_OF_RESIDUE * len(operations.sym_ops)
    s2 = obs.inverse_d_squared
    expected = residues * sum(number * Scatterer(element, 0.0, 0.0).form_factor(s2) ** 2
                              for element, number in _RESIDUE.items())
    used = s2 > min(_LOWEST_RESOLUTION ** -2, np.median(s2))
    edges = np.quantile(s2[used], np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.searchsorted(edges, s2[used])
    log_ratio = np.log(bin_means((obs.f ** 2 / obs.epsilon / expected)[used], bins))
    slope, intercept = np.polyfit(bin_means(s2[used], bins), log_ratio, 1)
    return intercept / 2, -2 * slope
