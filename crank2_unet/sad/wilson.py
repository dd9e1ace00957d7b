"""Absolute scale and B factor of measured amplitudes (Wilson, 1942, Nature 150, 151-152)."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from ..solvent.matthews import Composition, matthews_options
from .friedel import Observed, bin_means
from .scatterer import Scatterer

# Atoms and mass, Da, of the mean residue and the mean nucleotide (hydrogen, bound to them, adds
# little), and the mean crystal: cubic Angstrom per Da (Matthews, 1968, J. Mol. Biol. 33, 491-497).
_RESIDUE = ({"C": 5.0, "N": 1.35, "O": 1.5, "S": 0.05, "H": 8.0}, 112.5)
_NUCLEOTIDE = ({"C": 9.5, "N": 3.75, "O": 7.0, "P": 1.0, "H": 11.5}, 325.0)
_MEAN_VM = 2.4
# Standard deviations of the logarithm of the scale: of the line through few and uneven shells, and
# of the root of what a crystal of unknown content holds (40 to 65 % of solvent).
_OF_LINE, _OF_UNKNOWN_CONTENT = 0.17, 0.11
# probability that a composition has little to do with the crystal, as for the solvent content
_DOUBT = 0.2
# At lower resolution solvent and packing decide the mean intensity, not atoms.
_LOWEST_RESOLUTION = 4.5  # Angstrom
_BINS = 15


@dataclass(frozen=True)
class AbsoluteScale:
    """Amplitudes are exp(log - b/4d^2) times those of the atoms at rest, in electrons.

    Parameters
    ----------
    log : logarithm of the scale.
    b : mean B factor, Angstrom^2.
    width : standard deviation of ``log``.
    """

    log: float
    b: float
    width: float


def wilson_scale(obs: Observed, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup,
                 composition: Composition | None = None) -> AbsoluteScale:
    """Straight line through the logarithm of mean F^2 in shells beyond 4.5 Angstrom, or in the outer
    half of the reflections where these are fewer than half.

    Parameters
    ----------
    composition : of one copy.  How many there are is told by :func:`~.matthews.matthews_options`; the
        mean and spread of what they scatter count, and with some doubt the mean protein crystal, which
        is what is taken without a composition.

    Raises
    ------
    InputError : one copy of the composition does not fit into the crystal.
    """
    operations = spacegroup.operations()
    s2 = obs.inverse_d_squared
    nucleic = composition.nucleic / composition.mass if composition else 0.0
    of_mass = ((1 - nucleic) * _scattering_of_mass(*_RESIDUE, s2)
               + nucleic * _scattering_of_mass(*_NUCLEOTIDE, s2))
    expected = of_mass * cell.volume / len(operations) / _MEAN_VM * len(operations.sym_ops)
    used = s2 > min(_LOWEST_RESOLUTION ** -2, np.median(s2))
    edges = np.quantile(s2[used], np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.searchsorted(edges, s2[used])
    log_ratio = np.log(bin_means((obs.f ** 2 / obs.epsilon / expected)[used], bins))
    slope, intercept = np.polyfit(bin_means(s2[used], bins), log_ratio, 1)
    more, spread = _content(composition, cell, spacegroup, float(s2.max() ** -0.5))
    return AbsoluteScale(intercept / 2 - more, -2 * slope, float(np.hypot(_OF_LINE, spread)))


def _scattering_of_mass(atoms: dict[str, float], mass: float, s2: np.ndarray) -> np.ndarray:
    """Sum of the squared form factors of 1 Da, electrons^2."""
    squares = [number * Scatterer(element, 0.0, 0.0).form_factor(s2) ** 2
               for element, number in atoms.items()]
    return np.sum(squares, axis=0) / mass


def _content(composition: Composition | None, cell: gemmi.UnitCell, spacegroup: gemmi.SpaceGroup,
             d_min: float) -> tuple[float, float]:
    """Logarithm of the root of the mass in the crystal over that of the mean crystal: mean and
    standard deviation."""
    if composition is None:
        return 0.0, _OF_UNKNOWN_CONTENT
    options = matthews_options(composition, cell, spacegroup, d_min)
    logs = np.array([0.0, *(np.log(_MEAN_VM / option.vm) / 2 for option in options)])
    widths = np.array([_OF_UNKNOWN_CONTENT, *(0.0 for _ in options)])
    weights = np.array([_DOUBT, *((1 - _DOUBT) * option.probability for option in options)])
    mean = weights @ logs
    return float(mean), float(np.sqrt(weights @ (widths ** 2 + (logs - mean) ** 2)))
