"""Made-up crystals whose mates are summed atom by atom, independently of the code."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from crank2_unet.crystal.observations import AnomalousData
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.sad.scatterer import Scatterer

SELENIUM = Scatterer("Se", -4.0, 5.0)
CRYSTALS = {
    "P 1": (25, 28, 31, 80, 95, 104), "P 1 21 1": (31, 32, 37, 90, 103, 90),
    "C 1 2 1": (51, 33, 42, 90, 112, 90), "P 31 2 1": (43, 43, 52, 90, 90, 120),
    "P 43 21 2": (48, 48, 61, 90, 90, 90)}
B_ISO = 25.0


@dataclass(frozen=True)
class Made:
    data: AnomalousData
    sites: gemmi.Structure
    f: np.ndarray  # (n,) complex, without f''


def make_sites(cell: gemmi.UnitCell, group: gemmi.SpaceGroup, xyz: np.ndarray) -> gemmi.Structure:
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = cell, group.xhm()
    residue = gemmi.Residue()
    for x in xyz:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = "SE", gemmi.Element("Se"), B_ISO
        atom.pos = cell.orthogonalize(gemmi.Fractional(*x))
        residue.add_atom(atom)
    chain = gemmi.Chain("S")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    return structure


def waves(hkl: np.ndarray, group: gemmi.SpaceGroup, xyz: np.ndarray) -> np.ndarray:
    """Sum over symmetry mates of exp(2 pi i hx), (reflections, atoms)."""
    total = np.zeros((len(hkl), len(xyz)), complex)
    for op in group.operations():
        moved = np.array([op.apply_to_xyz(x) for x in xyz.tolist()])
        total += np.exp(2j * np.pi * (hkl @ moved.T))
    return total


def make(symbol: str, noise: float = 0.0, d_min: float = 2.6, n_sites: int = 3, n_light: int = 100,
         seed: int = 0) -> Made:
    """A crystal of carbon-like atoms and some Se; ``noise`` is relative to the rms amplitude."""
    rng = np.random.default_rng(seed)
    cell, group = gemmi.UnitCell(*CRYSTALS[symbol]), gemmi.SpaceGroup(symbol)
    r = Reflections(cell, group, d_min)
    fall = np.exp(-B_ISO * r.inverse_d_squared / 4)
    light = 7.0 * fall * waves(r.hkl, group, rng.random((n_light, 3))).sum(axis=1)
    xyz = rng.random((n_sites, 3))
    f0 = np.array([gemmi.Element("Se").it92.calculate_sf(x / 4) for x in r.inverse_d_squared])
    plus, minus = (waves(sign * r.hkl, group, xyz).sum(axis=1) * fall for sign in (1, -1))
    f = light + (f0 + SELENIUM.f_prime) * plus
    scattering = f0 + SELENIUM.f_prime + 1j * SELENIUM.f_double_prime
    mates = [np.abs(light + scattering * plus), np.abs(np.conj(light) + scattering * minus)]
    sigma = np.full(len(r), max(noise, 1e-4) * np.sqrt(np.mean(mates[0] ** 2)))
    measured = [np.abs(mate + noise / max(noise, 1e-30) * rng.normal(0, sigma)) for mate in mates]
    absent = np.where(r.centric, np.nan, 1.0)
    data = AnomalousData(r, measured[0], sigma, measured[1] * absent, sigma * absent, 0.98)
    return Made(data, make_sites(cell, group, xyz), f)
