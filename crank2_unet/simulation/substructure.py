"""The anomalous scatterers of a simulated crystal: put into it, and found again with errors."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np

from ..crystal.grids import empty_grid
from .settings import SadSettings


def is_methionine_sulphur(cra: gemmi.CRA) -> bool:
    """Whether an atom is the one that selenium takes the place of."""
    return cra.residue.name == "MET" and cra.atom.element.name == "S"


def crystal_with_scatterers(structure: gemmi.Structure, settings: SadSettings,
                            rng: np.random.Generator) -> gemmi.Structure:
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
        occupancies = [_draw_occupancy(settings, rng) for _ in range(settings.n_soaked)]
        _soak(crystal, settings.scatterer.element, occupancies, typical_b + settings.b_added, rng)
    return crystal


def with_minor_sites(crystal: gemmi.Structure, n_sites: int, settings: SadSettings,
                     rng: np.random.Generator) -> gemmi.Structure:
    """The crystal and, beside its ``n_sites`` main ones, weak sites, 5 to 30 % of them there."""
    out, number = crystal.clone(), round(n_sites * settings.minor_sites)
    if number:
        typical_b = float(np.median([cra.atom.b_iso for cra in out[0].all()]))
        _soak(out, settings.scatterer.element, rng.uniform(0.05, 0.3, number).tolist(), typical_b, rng)
    return out


def _draw_occupancy(settings: SadSettings, rng: np.random.Generator) -> float:
    return settings.occupancy ** rng.lognormal(0.0, 0.5)  # stays in (0, 1]


def _soak(crystal: gemmi.Structure, element: str, occupancies: Sequence[float], b_iso: float,
          rng: np.random.Generator) -> None:
    """Add heavy atoms in contact with the surface of the molecules of ``crystal``."""
    near, far = (_solvent(crystal, radius) for radius in (1.6, 2.2))  # van der Waals, Angstrom
    points = np.argwhere((near.array == 1) & (far.array == 0))
    if not len(points):  # no solvent between the molecules
        points = np.argwhere(near.array >= 0)
    # off the grid points, some of which lie on symmetry elements
    chosen = rng.choice(points, len(occupancies)) + rng.uniform(-0.5, 0.5, (len(occupancies), 3))
    positions = [crystal.cell.orthogonalize(gemmi.Fractional(*(point / near.shape)))
                 for point in chosen]
    _append_atoms(crystal, element, positions, occupancies,
                  (b_iso * rng.lognormal(0.2, 0.3, len(positions))).tolist())


def _append_atoms(structure: gemmi.Structure, element: str, positions: list[gemmi.Position],
                  occupancies: Sequence[float], b_factors: Sequence[float]) -> None:
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


def atoms_of(structure: gemmi.Structure, element: str) -> list[gemmi.Atom]:
    """Atoms of an element with an occupancy above zero."""
    return [cra.atom for cra in structure[0].all()
            if cra.atom.element.name == element and cra.atom.occ > 0]


def given_sites(crystal: gemmi.Structure, true_sites: list[gemmi.Atom], settings: SadSettings,
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
