"""Random SAD experiments for training: what could have been done with a deposited structure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import gemmi
import numpy as np

from ..sad.phasing import Scatterer
from .experiment import SadSettings
from .substructure import is_methionine_sulphur

_SOAKED_ELEMENTS = ("Br", "I", "Xe", "Hg", "Pt", "Au")
_D_MIN = 1.5  # Angstrom; better maps need no mask
_MOST_REFLECTIONS = 60_000  # more would take most of the time
_LIGHTEST_SCATTERER = 15  # P; the anomalous signal of Na and Mg is of no use
# wavelengths used in practice, Angstrom: Br, Se and Zn peaks, 1, Cu Ka and two for sulphur
_WAVELENGTHS = (0.919, 0.979, 1.0, 1.28, 1.5418, 1.77, 2.07)


def random_settings(structure: gemmi.Structure, rng: np.random.Generator) -> SadSettings:
    """Draw an experiment that this crystal could have had, most often a weak one.

    The noise follows from an anomalous signal-to-noise ratio, drawn first, because that is what
    decides the phase error; drawn by itself it would leave most structures unphased.

    Parameters
    ----------
    structure : a deposited structure; ``structure.resolution`` limits d_min if it is known.
    """
    n_atoms = structure[0].count_atom_sites()
    scenario, counts = _draw_scenario(structure, rng)
    wavelength, scatterer = _draw_wavelength(counts, rng)
    n_sites = counts[scatterer.element]
    occupancy = rng.uniform(0.25, 0.9) if scenario == "soak" else rng.uniform(0.7, 1.0)
    # Hendrickson & Teeter (1981), Nature 290, 107: 6.7 electrons for the average protein atom
    bijvoet_ratio = np.sqrt(2 * n_sites * occupancy / n_atoms) * scatterer.f_double_prime / 6.7
    signal_to_noise = np.exp(rng.uniform(np.log(0.5), np.log(6.0)))
    i_over_sigma = np.clip(signal_to_noise / (np.sqrt(2) * bijvoet_ratio), 6.0, 80.0)

    own_d_min = max(structure.resolution or 2.0, _D_MIN,
                    _resolution_of(structure, _MOST_REFLECTIONS))
    d_min = own_d_min
    if rng.random() < 2 / 3 and own_d_min < 4.0:
        d_min += (4.0 - own_d_min) * rng.beta(1.0, 2.0)
    return SadSettings(
        scenario=scenario, scatterer=scatterer, wavelength=wavelength, d_min=d_min,
        d_max=rng.uniform(8.0, 20.0) if rng.random() < 0.25 else rng.uniform(20.0, 60.0),
        occupancy=occupancy, n_soaked=n_sites if scenario == "soak" else 0,
        # a crystal that diffracts to d_min only has higher B factors
        b_added=rng.uniform(0.0, 25.0) * (d_min - own_d_min),
        anisotropy=rng.exponential(4.0),
        k_sol=rng.normal(0.35, 0.03), b_sol=rng.uniform(25.0, 70.0),
        i_over_sigma=max(i_over_sigma * rng.uniform(0.1, 0.4), 1.0),
        background=rng.uniform(0.5, 5.0),
        relative_error=rng.uniform(0.4, 0.9) / i_over_sigma,
        outliers=rng.exponential(0.002), sigma_scale=rng.lognormal(0.0, 0.3),
        completeness=rng.uniform(0.9, 1.0), overloads=rng.choice([0.0, rng.uniform(0.0, 0.3)]),
        site_shift=rng.uniform(0.05, 0.4), missing_sites=0.5 * rng.beta(1.0, 3.0),
        spurious_sites=0.5 * rng.beta(1.0, 3.0), site_error=rng.uniform(0.05, 0.4),
        f_double_prime_error=_draw_f_double_prime_error(scatterer, wavelength, rng),
        **_draw_faults(rng))


def _draw_faults(rng: np.random.Generator) -> dict:
    """What is wrong with a data set beyond noise; how often is a judgement, made with 16 measured sets
    in view, not a count."""
    def now_and_then(probability: float, low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < probability else 0.0

    return {"friedel_correlation": now_and_then(0.5, 0.2, 0.9),
            "minor_sites": now_and_then(0.33, 0.2, 1.0),
            "radiation_damage": now_and_then(0.2, 0.02, 0.2),
            "missing_cone": now_and_then(0.1, 5.0, 25.0),
            "missing_wedge": now_and_then(0.1, 10.0, 80.0),
            "ice_rings": now_and_then(0.1, 0.002, 0.01),
            "twin_fraction": now_and_then(0.05, 0.02, 0.1)}


def _draw_f_double_prime_error(scatterer: Scatterer, wavelength: float, rng: np.random.Generator,
                               ) -> float:
    """f'' that a table gives over the true one; tables are good to 5 % away from edges."""
    table = Scatterer.at_wavelength(scatterer.element, wavelength)
    return table.f_double_prime / scatterer.f_double_prime * float(rng.lognormal(0.0, 0.05))


def _resolution_of(structure: gemmi.Structure, n_unique: int) -> float:
    """Resolution, Angstrom, to which a crystal has a number of unique reflections."""
    n_symops = len(structure.find_spacegroup().operations())
    return (2 * np.pi / 3 * structure.cell.volume / (n_symops * n_unique)) ** (1 / 3)


def _draw_scenario(structure: gemmi.Structure, rng: np.random.Generator) -> tuple[str, Counter]:
    """A way of SAD that the structure allows, and how many atoms of which elements it relies on."""
    native = Counter(cra.atom.element.name for cra in structure[0].all()
                     if cra.atom.element.atomic_number >= _LIGHTEST_SCATTERER)
    selenium = native.pop("Se", 0) + sum(map(is_methionine_sulphur, structure[0].all()))
    soaked = 1 + rng.poisson(structure[0].count_atom_sites() / 600)
    counts = {"SeMet": Counter(Se=selenium), "native": native,
              "soak": Counter({str(rng.choice(_SOAKED_ELEMENTS)): soaked})}
    # roughly how often each is used; soaks stand for everything else
    weights = np.array([0.5, 0.3, 0.2]) * [sum(c.values()) > 0 for c in counts.values()]
    scenario = str(rng.choice(list(counts), p=weights / weights.sum()))
    return scenario, counts[scenario]


def _draw_wavelength(counts: Counter, rng: np.random.Generator) -> tuple[float, Scatterer]:
    """A wavelength (Angstrom) that suits the strongest scatterer at it, and this scatterer."""
    table = {w: [Scatterer.at_wavelength(element, w) for element in counts] for w in _WAVELENGTHS}
    best = {element: max(row[i].f_double_prime for row in table.values())
            for i, element in enumerate(counts)}
    strongest = {w: max(row, key=lambda s: counts[s.element] * s.f_double_prime ** 2)
                 for w, row in table.items()}
    wavelength = float(rng.choice([w for w, s in strongest.items()
                                   if s.f_double_prime >= best[s.element] / 2]))
    scatterer = strongest[wavelength]
    if scatterer.uncertainty > 0.1:  # the white line, which no table knows
        scatterer = replace(scatterer, f_prime=scatterer.f_prime + rng.uniform(-1.5, 1.5),
                            f_double_prime=scatterer.f_double_prime * rng.uniform(0.6, 1.6))
    return wavelength, scatterer
