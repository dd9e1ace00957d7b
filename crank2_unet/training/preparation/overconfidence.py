"""Phases that are worse than they claim, as those of other programs and real crystals are.

Phases of simulated data are honest: the mean cosine of their error is what their figures of merit say.
Of fourteen measured data sets, phased by several programs, ten claim more, by up to 0.4 beyond
6 Angstrom and at the limit of the data, less so between, and at low resolution some are hardly better
than random: there phases are drawn to those of the heavy atoms, which bulk solvent hides in the crystal
and not in the model.  A network that had learnt from honest maps alone took such maps for others.
"""

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np

from ...crystal.model_factors import atomic_structure_factors
from ...crystal.observations import PhasedData
from ...crystal.phases import phi_fom_from_hl, to_complex
from ...crystal.reflections import Reflections
from ...crystal.shells import Shells

# Highest logarithm of the factor of Hendrickson-Lattman coefficients: of all, and what is added at
# lowest and at highest resolution
_ALL, _LOW, _HIGH = 0.7, 2.0, 1.5
_DRAWN = 4.0  # highest weight of the phases of the heavy atoms, at lowest resolution
_WIDTH = 4.0, 12.0  # Angstrom, where what is added at low resolution falls to 1/e


def make_overconfident(data: PhasedData, sites: gemmi.Structure, rng: np.random.Generator,
                       ) -> PhasedData:
    """The data as phased if the phases were drawn to those of the heavy atoms at low resolution, and
    claimed more than they do."""
    r = data.reflections
    every, low, high, drawn = rng.uniform(0, (_ALL, _LOW, _HIGH, _DRAWN))
    at_low = np.exp(-(rng.uniform(*_WIDTH) / r.d)**2)
    measured = np.isfinite(data.f)
    heavy = _normalised(atomic_structure_factors(sites, r), r, np.ones_like(measured))
    # as Sim (1959) weighs a part of the structure
    strength = drawn * at_low * np.where(r.centric, 1, 2)
    strength *= _normalised(np.nan_to_num(data.f), r, measured)
    ghost = np.zeros_like(data.hl)
    ghost[:, 0], ghost[:, 1] = strength * heavy.real, strength * heavy.imag
    claim = np.exp(every + low * at_low + high * (r.d.min() / r.d)**4)
    hl = claim[:, None] * data.hl + ghost
    phi, fom = phi_fom_from_hl(hl, r.allowed_phase)
    return replace(data, hl=hl, coefficients=to_complex(fom * np.nan_to_num(data.f), phi))


def _normalised(f: np.ndarray, reflections: Reflections, known: np.ndarray) -> np.ndarray:
    """Structure factors or amplitudes (n,) over their root mean square at their resolution."""
    root_epsilon = np.sqrt(reflections.epsilon)
    rms = Shells(reflections, known).rms(np.abs(f) / root_epsilon)
    return f / (rms * root_epsilon)
