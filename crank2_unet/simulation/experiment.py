"""Simulated SAD data of a known crystal structure, with the errors of real data and real sites."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np

from ..crystal.grids import empty_grid, structure_factors
from ..crystal.observations import AnomalousData
from ..crystal.reflections import Reflections
from ..errors import InputError
from ..sad.scatterer import Scatterer
from .faults import on_ice_rings, out_of_reach, twinned
from .settings import SadSettings
from .substructure import atoms_of, crystal_with_scatterers, given_sites, with_minor_sites

_HC = 12398.4198  # eV Angstrom


@dataclass(frozen=True)
class SimulatedSad:
    """A simulated data set as a user would have it, and the truth.

    Parameters
    ----------
    data : measured amplitudes of Friedel mates.
    sites : anomalous scatterers with the errors of a substructure solution.
    scatterer : the anomalous scatterer, with the f'' that is taken for true.
    f_true : (n,) complex, electrons; atoms and bulk solvent, mean of F(+) and F(-)*.
    """

    data: AnomalousData
    sites: gemmi.Structure
    scatterer: Scatterer
    f_true: np.ndarray


def simulate_sad(structure: gemmi.Structure, settings: SadSettings, rng: np.random.Generator,
                 ) -> SimulatedSad:
    """A SAD data set of a crystal structure.

    With real electron density F0 and the density F" of f" electrons, F(+) = F0 + i F" and
    F(-)* = F0 - i F".

    Parameters
    ----------
    structure : complete asymmetric unit with true cell and space group; is not changed.
    settings : the experiment.
    rng : source of all randomness.

    Raises
    ------
    InputError : the structure has no atom of the settings' element.
    """
    crystal = crystal_with_scatterers(structure, settings, rng)
    true_sites = atoms_of(crystal, settings.scatterer.element)
    if not true_sites:
        raise InputError(f"{structure.name} has no {settings.scatterer.element} atom for the "
                         f'scenario "{settings.scenario}". Choose other settings.')
    reflections = Reflections(crystal.cell, crystal.find_spacegroup(), settings.d_min)
    complete = with_minor_sites(crystal, len(true_sites), settings, rng)
    f_normal, f_anomalous = _model_factors(complete, reflections, settings)
    fall_off = _anisotropic_fall_off(reflections, settings.anisotropy, rng)
    f_true = fall_off * (f_normal + _bulk_solvent(crystal, reflections, settings))
    f_anomalous = fall_off * 1j * f_anomalous
    mates = [f_true + f_anomalous, f_true - f_anomalous]
    if settings.radiation_damage:
        normal, anomalous = _model_factors(_only(complete, settings.scatterer.element), reflections,
                                           settings)
        lost = settings.radiation_damage * fall_off
        second = rng.random(len(reflections)) < 0.5  # which of the mates is measured later
        mates = [f - np.where(late, lost * (normal + sign * 1j * anomalous), 0.0)
                 for f, late, sign in zip(mates, (second, ~second), (1, -1))]
    given = replace(settings.scatterer, f_double_prime=(settings.scatterer.f_double_prime
                                                        * settings.f_double_prime_error))
    return SimulatedSad(
        data=_measure(reflections, mates[0], mates[1], settings, rng),
        sites=given_sites(crystal, true_sites, settings, rng),
        scatterer=given,
        f_true=f_true)


def _only(crystal: gemmi.Structure, element: str) -> gemmi.Structure:
    """The crystal with the atoms of one element only; the others have no occupancy."""
    out = crystal.clone()
    for cra in out[0].all():
        if cra.atom.element.name != element:
            cra.atom.occ = 0.0
    return out


def _model_factors(crystal: gemmi.Structure, reflections: Reflections, settings: SadSettings,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Structure factors of f0 + f' and of f'' of all atoms, each (n,) complex."""
    energy = _HC / settings.wavelength
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min = reflections.d_min
    calculator.set_refmac_compatible_blur(crystal[0])
    calculator.set_grid_cell_and_spacegroup(crystal)
    maps = []
    for real_only in (True, False):
        for z in {cra.atom.element.atomic_number for cra in crystal[0].all()} - {0}:
            element = gemmi.Element(z)
            f1, f2 = gemmi.cromer_liberman(z, energy)
            if element.name == settings.scatterer.element:
                f1, f2 = settings.scatterer.f_prime, settings.scatterer.f_double_prime
            calculator.addends.set(element, f1 if real_only else f1 + f2)
        calculator.put_model_density_on_grid(crystal[0])
        maps.append(structure_factors(calculator.grid, reflections))
    sharpening = np.exp(calculator.blur / 4 * reflections.inverse_d_squared)
    return sharpening * maps[0], sharpening * (maps[1] - maps[0])


def _bulk_solvent(crystal: gemmi.Structure, reflections: Reflections, settings: SadSettings,
                  ) -> np.ndarray:
    """Structure factors of a flat bulk solvent, (n,) complex.

    Jiang & Bruenger (1994), J. Mol. Biol. 243, 100.
    """
    grid = empty_grid(reflections.cell, reflections.spacegroup, reflections.d_min / 3)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(grid, crystal[0])
    blurred = settings.k_sol * np.exp(-settings.b_sol / 4 * reflections.inverse_d_squared)
    return blurred * structure_factors(grid, reflections)


def _anisotropic_fall_off(reflections: Reflections, size: float, rng: np.random.Generator,
                          ) -> np.ndarray:
    """Factor of each amplitude, (n,), of a random traceless B tensor that the lattice allows."""
    tensor = rng.normal(0.0, size, (3, 3))
    tensor = tensor + tensor.T - 2 / 3 * np.trace(tensor) * np.eye(3)
    to_orthogonal = np.array(reflections.cell.orth.mat.tolist())
    to_fractional = np.array(reflections.cell.frac.mat.tolist())
    rotations = [to_orthogonal @ (np.array(op.rot) / op.DEN) @ to_fractional
                 for op in reflections.spacegroup.operations().sym_ops]
    tensor = np.mean([r @ tensor @ r.T for r in rotations], axis=0)
    s = reflections.hkl @ to_fractional
    return np.exp(-np.einsum("ni,ij,nj->n", s, tensor, s) / 4)


def _measure(reflections: Reflections, plus: np.ndarray, minus: np.ndarray, settings: SadSettings,
             rng: np.random.Generator) -> AnomalousData:
    """Amplitudes of Friedel mates with errors, some of them missing."""
    squares = twinned(np.abs(plus) ** 2, np.abs(minus) ** 2, reflections, settings.twin_fraction)
    common = rng.standard_normal(len(plus)) if settings.friedel_correlation else np.zeros(len(plus))
    mates = [_measure_mate(reflections, intensity, common, settings, rng) for intensity in squares]
    d = reflections.d
    low = d > 6.0
    lost = d > settings.d_max
    if low.any():
        f_low = np.abs(plus[low])
        lost[low] |= (f_low > np.quantile(f_low, 1 - settings.overloads)) & (settings.overloads > 0)
    if settings.missing_cone or settings.missing_wedge:
        lost |= out_of_reach(reflections, settings.missing_cone, settings.missing_wedge, rng)
    lost |= on_ice_rings(reflections, settings.ice_rings)
    for f, sigma in mates:
        f[lost | (rng.random(len(f)) > settings.completeness)] = np.nan
        sigma[np.isnan(f)] = np.nan
    for values in mates[1]:
        values[reflections.centric] = np.nan
    return AnomalousData(reflections, *mates[0], *mates[1], wavelength=settings.wavelength)


def _measure_mate(reflections: Reflections, intensity: np.ndarray, common: np.ndarray,
                  settings: SadSettings, rng: np.random.Generator,
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Observed amplitude and standard uncertainty of true intensities, each (n,).

    ``common`` is the part of the error, in standard deviations, that the other mate has, too.

    Intensity to amplitude: Sivia & David (1994), Acta Cryst. A50, 703-714.
    """
    outer = intensity[reflections.in_bins(20) == 19].mean()
    # counting statistics: the variance grows with all counts, those of the background included
    background = settings.background * outer
    gain = (outer / settings.i_over_sigma) ** 2 / (outer + background)
    sigma = np.sqrt(gain * (intensity + background) + (settings.relative_error * intensity) ** 2)
    number, shared = len(intensity), settings.friedel_correlation
    error = np.sqrt(1 - shared) * rng.standard_normal(number) + np.sqrt(shared) * common
    error *= np.where(rng.random(number) < settings.outliers, 5.0, 1.0)
    observed = intensity + sigma * error
    sigma = sigma * settings.sigma_scale
    amplitude = np.sqrt((observed + np.sqrt(observed ** 2 + 2 * sigma ** 2)) / 2)
    precision = amplitude ** -2 + 2 * (3 * amplitude ** 2 - observed) / sigma ** 2
    return amplitude, 1 / np.sqrt(precision)
