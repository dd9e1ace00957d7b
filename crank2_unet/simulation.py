"""Simulated SAD data of a known crystal structure, with the errors of real data and real sites."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from .data import AnomalousData
from .errors import InputError
from .grids import empty_grid, structure_factors
from .reflections import Reflections
from .sad import Scatterer

_HC = 12398.4198  # eV Angstrom


@dataclass(frozen=True)
class SadSettings:
    """One simulated SAD experiment: crystal, measurement and the sites given to phasing.

    Parameters
    ----------
    scenario : "SeMet" (selenium replaces the sulphur of methionine), "native" (an element of the
        structure: sulphur, a metal) or "soak" (atoms placed on the protein's surface).
    scatterer : the anomalous scatterer.
    wavelength : Angstrom; decides the anomalous scattering of all other elements.
    d_min, d_max : resolution limits, Angstrom.
    occupancy : mean occupancy of replaced or soaked sites.
    n_soaked : number of soaked sites in the asymmetric unit.
    b_added : added to all B factors, Angstrom^2.
    anisotropy : size of the anisotropic B tensor of the crystal, Angstrom^2.
    k_sol, b_sol : density (e/Angstrom^3) and B factor (Angstrom^2) of the bulk solvent.
    i_over_sigma : mean I/sigma in the outermost shell, each mate by itself.
    background : counts of background in units of the mean intensity of the outermost shell.
    relative_error : error of an intensity independent of counting, in units of the intensity.
    outliers : fraction of intensities with an error five times larger.
    sigma_scale : reported over true standard uncertainty.
    completeness : fraction of mates measured.
    overloads : fraction of the strongest reflections below 6 Angstrom that is lost.
    site_shift : root mean square displacement of the given sites, Angstrom.
    missing_sites, spurious_sites : as fractions of the number of true sites.
    site_error : relative error of the occupancies and B factors of given sites.
    """

    scenario: str
    scatterer: Scatterer
    wavelength: float
    d_min: float
    d_max: float
    occupancy: float
    n_soaked: int
    b_added: float
    anisotropy: float
    k_sol: float
    b_sol: float
    i_over_sigma: float
    background: float
    relative_error: float
    outliers: float
    sigma_scale: float
    completeness: float
    overloads: float
    site_shift: float
    missing_sites: float
    spurious_sites: float
    site_error: float


@dataclass(frozen=True)
class SimulatedSad:
    """A simulated data set as a user would have it, and the truth.

    Parameters
    ----------
    data : measured amplitudes of Friedel mates.
    sites : anomalous scatterers with the errors of a substructure solution.
    scatterer : the anomalous scatterer.
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
    crystal = _crystal(structure, settings, rng)
    true_sites = _atoms(crystal, settings.scatterer.element)
    if not true_sites:
        raise InputError(f"{structure.name} has no {settings.scatterer.element} atom for the "
                         f'scenario "{settings.scenario}". Choose other settings.')
    reflections = Reflections(crystal.cell, crystal.find_spacegroup(), settings.d_min)
    f_normal, f_anomalous = _model_factors(crystal, reflections, settings)
    fall_off = _anisotropic_fall_off(reflections, settings.anisotropy, rng)
    f_true = fall_off * (f_normal + _bulk_solvent(crystal, reflections, settings))
    f_anomalous = fall_off * 1j * f_anomalous
    return SimulatedSad(
        data=_measure(reflections, f_true + f_anomalous, f_true - f_anomalous, settings, rng),
        sites=_given_sites(crystal, true_sites, settings, rng),
        scatterer=settings.scatterer,
        f_true=f_true)


# ---- the crystal

def is_methionine_sulphur(cra: gemmi.CRA) -> bool:
    """Whether an atom is the one that selenium takes the place of."""
    return cra.residue.name == "MET" and cra.atom.element.name == "S"


def _crystal(structure: gemmi.Structure, settings: SadSettings, rng: np.random.Generator,
             ) -> gemmi.Structure:
    """The structure with oddities of depositions repaired and the anomalous scatterers in."""
    crystal = structure.clone()
    positive = [cra.atom.b_iso for cra in crystal[0].all() if cra.atom.b_iso > 0]
    typical_b = float(np.median(positive)) if positive else 20.0
    for cra in crystal[0].all():
        atom = cra.atom
        # depositions hold B <= 0 for "unknown" and up to 999 for "not seen"
        b_iso = atom.b_iso if atom.b_iso > 0 else typical_b
        atom.b_iso = min(max(b_iso, 2.0), 200.0) + settings.b_added
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
        atom.occ = 0.0 if atom.element.name == "X" else min(max(atom.occ, 0.0), 1.0)
        if settings.scenario == "SeMet" and is_methionine_sulphur(cra):
            atom.element = gemmi.Element("Se")
            atom.occ *= _draw_occupancy(settings, rng)
    if settings.scenario == "soak":
        _soak(crystal, settings, typical_b + settings.b_added, rng)
    return crystal


def _draw_occupancy(settings: SadSettings, rng: np.random.Generator) -> float:
    return settings.occupancy ** rng.lognormal(0.0, 0.5)  # stays in (0, 1]


def _soak(crystal: gemmi.Structure, settings: SadSettings, b_iso: float,
          rng: np.random.Generator) -> None:
    """Add heavy atoms in contact with the surface of the molecules of ``crystal``."""
    near, far = (_solvent(crystal, radius) for radius in (1.6, 2.2))  # van der Waals, Angstrom
    points = np.argwhere((near.array == 1) & (far.array == 0))
    if not len(points):  # no solvent between the molecules
        points = np.argwhere(near.array >= 0)
    # off the grid points, some of which lie on symmetry elements
    chosen = rng.choice(points, settings.n_soaked) + rng.uniform(-0.5, 0.5, (settings.n_soaked, 3))
    positions = [crystal.cell.orthogonalize(gemmi.Fractional(*(point / near.shape)))
                 for point in chosen]
    _append_atoms(crystal, settings.scatterer.element, positions,
                  [_draw_occupancy(settings, rng) for _ in positions],
                  b_iso * rng.lognormal(0.2, 0.3, len(positions)))


def _append_atoms(structure: gemmi.Structure, element: str, positions: list[gemmi.Position],
                  occupancies, b_factors) -> None:
    """Add a chain of single atoms to a structure of one model."""
    chain = gemmi.Chain("SUB")
    for number, (position, occ, b_iso) in enumerate(zip(positions, occupancies, b_factors), 1):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = element.upper(), gemmi.Element(element), position
        atom.occ, atom.b_iso = float(occ), float(b_iso)
        residue = gemmi.Residue()
        residue.name, residue.het_flag = element.upper(), "H"
        residue.seqid = gemmi.SeqId(number, " ")
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure[0].add_chain(chain)


def _solvent(crystal: gemmi.Structure, probe: float, spacing: float = 1.0) -> gemmi.FloatGrid:
    """1 where a sphere of radius ``probe`` (Angstrom) touches no atom, 0 elsewhere."""
    grid = empty_grid(crystal.cell, crystal.find_spacegroup(), spacing)
    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.VanDerWaals)
    masker.rprobe, masker.rshrink = probe, 0.0
    masker.put_mask_on_float_grid(grid, crystal[0])
    return grid


# ---- structure factors

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


# ---- the measurement

def _measure(reflections: Reflections, plus: np.ndarray, minus: np.ndarray, settings: SadSettings,
             rng: np.random.Generator) -> AnomalousData:
    """Amplitudes of Friedel mates with errors, some of them missing."""
    mates = [_measure_mate(reflections, np.abs(f), settings, rng) for f in (plus, minus)]
    d = reflections.d
    low = d > 6.0
    lost = d > settings.d_max
    if low.any():
        f_low = np.abs(plus[low])
        lost[low] |= (f_low > np.quantile(f_low, 1 - settings.overloads)) & (settings.overloads > 0)
    for f, sigma in mates:
        f[lost | (rng.random(len(f)) > settings.completeness)] = np.nan
        sigma[np.isnan(f)] = np.nan
    for values in mates[1]:
        values[reflections.centric] = np.nan
    return AnomalousData(reflections, *mates[0], *mates[1], wavelength=settings.wavelength)


def _measure_mate(reflections: Reflections, f: np.ndarray, settings: SadSettings,
                  rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observed amplitude and standard uncertainty of true amplitudes, each (n,).

    Intensity to amplitude: Sivia & David (1994), Acta Cryst. A50, 703-714.
    """
    intensity = f ** 2
    outer = intensity[reflections.in_bins(20) == 19].mean()
    # counting statistics: the variance grows with all counts, those of the background included
    background = settings.background * outer
    gain = (outer / settings.i_over_sigma) ** 2 / (outer + background)
    sigma = np.sqrt(gain * (intensity + background) + (settings.relative_error * intensity) ** 2)
    error = rng.standard_normal(len(f)) * np.where(rng.random(len(f)) < settings.outliers, 5.0, 1.0)
    observed = intensity + sigma * error
    sigma = sigma * settings.sigma_scale
    amplitude = np.sqrt((observed + np.sqrt(observed ** 2 + 2 * sigma ** 2)) / 2)
    precision = amplitude ** -2 + 2 * (3 * amplitude ** 2 - observed) / sigma ** 2
    return amplitude, 1 / np.sqrt(precision)


# ---- the sites

def _atoms(structure: gemmi.Structure, element: str) -> list[gemmi.Atom]:
    return [cra.atom for cra in structure[0].all()
            if cra.atom.element.name == element and cra.atom.occ > 0]


def _given_sites(crystal: gemmi.Structure, true_sites: list[gemmi.Atom], settings: SadSettings,
                 rng: np.random.Generator) -> gemmi.Structure:
    """What a substructure solution finds: most strong sites, displaced, and a few wrong ones."""
    # seen from 3 Angstrom data, s^2/4 = 1/36
    strength = [atom.occ * np.exp(-atom.b_iso / 36) * rng.lognormal(0, 0.2) for atom in true_sites]
    n_found = max(1, round(len(true_sites) * (1 - settings.missing_sites)))
    found = [true_sites[i] for i in np.argsort(strength)[::-1][:n_found]]
    shift = settings.site_shift / np.sqrt(3)
    positions = [atom.pos + gemmi.Position(*rng.normal(0, shift, 3)) for atom in found]
    n_spurious = round(len(true_sites) * settings.spurious_sites)
    positions += [crystal.cell.orthogonalize(gemmi.Fractional(*rng.random(3)))
                  for _ in range(n_spurious)]
    occupancy = np.array([atom.occ for atom in found])
    wrong = occupancy.mean() * rng.uniform(0.2, 0.6, n_spurious)
    sites = gemmi.Structure()
    sites.cell, sites.spacegroup_hm = crystal.cell, crystal.spacegroup_hm
    sites.add_model(gemmi.Model(1))
    factor = rng.lognormal(0, settings.site_error, (2, len(positions)))
    mean_b = np.mean([atom.b_iso for atom in found])
    _append_atoms(sites, settings.scatterer.element, positions,
                  np.concatenate([occupancy, wrong]) * factor[0], mean_b * factor[1])
    sites.setup_cell_images()
    return sites
