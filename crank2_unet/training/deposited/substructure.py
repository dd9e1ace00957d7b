"""The anomalous substructure of an entry: the deposited one, and whether one that was found is that."""

from __future__ import annotations

from collections import defaultdict

import gemmi
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ...crystal.origins import best_shift
from ...crystal.reflections import Reflections, enantiomorph
from ...crystal.sites import model_of_sites
from ...sad.phasing import other_hand

_LIGHT = ("H", "D", "C", "N", "O")
_MATCH = 2.0  # Angstrom between a site and the deposited atom that it stands for (paper)
_OVERLAY = 4.0  # Angstrom: resolution at which substructures are laid on each other


def deposited_substructure(structure: gemmi.Structure, wavelength: float,
                           ) -> tuple[str, gemmi.Structure]:
    """The element whose anomalous scattering at a wavelength (Angstrom) is strongest, and its atoms.

    Strength is the mean square of the anomalous structure factor, the sum of (f'' occupancy)^2.

    Raises
    ------
    ValueError : the model holds light elements only.
    """
    strength: dict[str, float] = defaultdict(float)
    for cra in structure[0].all():
        name, number = cra.atom.element.name, cra.atom.element.atomic_number
        if name not in _LIGHT and number:
            _, f2 = gemmi.cromer_liberman(number, gemmi.hc / wavelength)
            strength[name] += (f2 * cra.atom.occ) ** 2
    if not any(strength.values()):
        raise ValueError("only light elements")
    element = max(strength, key=lambda symbol: strength[symbol])
    sites = gemmi.Structure()
    sites.cell, sites.spacegroup_hm = structure.cell, structure.spacegroup_hm
    sites.add_model(model_of_sites(cra.atom for cra in structure[0].all()
                                   if cra.atom.element.name == element and cra.atom.occ > 0))
    sites.setup_cell_images()
    return element, sites


def laid_on(found: gemmi.Structure, deposited: gemmi.Structure) -> tuple[gemmi.Structure, float]:
    """A substructure in the origin and hand of the deposited one, and what it has of it.

    The other hand counts where it is of the same space group; else a program that was told the space
    group finds that hand only.

    Parameters
    ----------
    found, deposited : sites in the same crystal.

    Returns
    -------
    The sites, moved by the permitted shift and in the hand that agree best, and the share of the
    deposited atoms that have one of them, each one of its own, within 2 Angstrom.
    """
    spacegroup = deposited.find_spacegroup()
    r = Reflections(deposited.cell, spacegroup, _OVERLAY)
    hands = [found]
    if enantiomorph(spacegroup).operations() == spacegroup.operations():
        hands.append(other_hand(found, spacegroup)[0])
    placed = [_moved(hand, best_shift(_factors(hand, r), _factors(deposited, r), r)) for hand in hands]
    return max(((sites, _share(sites, deposited)) for sites in placed), key=lambda one: one[1])


def _factors(sites: gemmi.Structure, r: Reflections) -> np.ndarray:
    """Structure factors (n,) of point atoms."""
    total = np.zeros(len(r), complex)
    operations = list(r.spacegroup.operations())
    for site in sites[0].all():
        x = sites.cell.fractionalize(site.atom.pos).tolist()
        for operation in operations:
            total += site.atom.occ * np.exp(2j * np.pi * (r.hkl @ operation.apply_to_xyz(x)))
    return total


def _moved(sites: gemmi.Structure, shift: np.ndarray) -> gemmi.Structure:
    moved = sites.clone()
    for site in moved[0].all():
        x = np.add(moved.cell.fractionalize(site.atom.pos).tolist(), shift)
        site.atom.pos = moved.cell.orthogonalize(gemmi.Fractional(*x))
    return moved


def _share(sites: gemmi.Structure, deposited: gemmi.Structure) -> float:
    """Share of the deposited atoms that a site of its own is near to."""
    near = [[deposited.cell.find_nearest_image(atom.atom.pos, site.atom.pos).dist() < _MATCH
             for site in sites[0].all()] for atom in deposited[0].all()]
    matched = maximum_bipartite_matching(csr_array(np.array(near)), perm_type="column")
    return float(np.mean(matched >= 0))
