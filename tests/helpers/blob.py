"""A toy crystal: a blob of random atoms with solvent round it, and noisy phases of it."""

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np

from crank2_unet.crystal.grids import density_map
from crank2_unet.crystal.masks import model_mask
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.observations import PhasedData
from crank2_unet.crystal.phases import hl_from_phi_fom, phi_fom_from_hl, to_complex
from crank2_unet.crystal.reflections import Reflections

CELLS = {"P 1": (27, 25, 26, 83, 95, 104), "P 21 21 21": (42, 38, 36, 90, 90, 90),
         "C 1 2 1": (52, 30, 38, 90, 108, 90)}
D_MIN = 2.5


def blob(symbol: str, radius: float = 9.5, seed: int = 0) -> gemmi.Structure:
    """Atoms at the density of protein, 1.3 A or more apart, in one sphere per asymmetric unit."""
    rng = np.random.default_rng(seed)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*CELLS[symbol]), symbol
    centre = np.array(structure.cell.orthogonalize(gemmi.Fractional(0.25, 0.3, 0.27)).tolist())
    places: list[np.ndarray] = []
    while len(places) < 0.055 * 4 / 3 * np.pi * radius**3:
        place = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(place) < radius and all(np.linalg.norm(place - p) > 1.3 for p in places):
            places.append(place)
    chain = gemmi.Chain("A")
    for number in range(0, len(places) - 4, 5):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number // 5 + 1, " ")
        for name, place in zip(("N", "CA", "C", "O", "CB"), places[number:number + 5]):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(name[0]), 20.0
            atom.pos = gemmi.Position(*(centre + place))
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.setup_cell_images()
    return structure


def noisy(structure: gemmi.Structure, fom: float = 0.45, seed: int = 0,
          ) -> tuple[PhasedData, np.ndarray, gemmi.FloatGrid]:
    """Data with phase errors that agree with ``fom``, true structure factors, true mask."""
    rng = np.random.default_rng(seed)
    reflections = Reflections(structure.cell, gemmi.SpaceGroup(structure.spacegroup_hm), D_MIN)
    truth = model_structure_factors(structure, reflections)
    centric = reflections.centric
    # phases drawn from the unimodal distribution of that fom round the true one
    kappa = hl_from_phi_fom(np.zeros(1), np.array([fom]), np.array([np.nan]))[0, 0]
    error = np.where(centric, np.pi * (rng.random(len(truth)) > (1 + fom) / 2),
                     rng.vonmises(0, kappa, len(truth)))
    phi = np.rad2deg(np.angle(truth) + error)
    hl = hl_from_phi_fom(phi, np.full(len(truth), fom), reflections.allowed_phase)
    f = np.abs(truth)
    best, m = phi_fom_from_hl(hl, reflections.allowed_phase)
    data = PhasedData(reflections, f, 0.02 * f, hl, to_complex(m * f, best))
    return data, truth, model_mask(structure, density_map(reflections, truth, D_MIN / 3))


def without(data: PhasedData, chosen: np.ndarray) -> PhasedData:
    """The data with ``chosen`` reflections unmeasured."""
    gone = np.where(chosen, np.nan, 1.0)
    return replace(data, f=data.f * gone, sigf=data.sigf * gone,
                   hl=np.where(chosen[:, None], 0, data.hl),
                   coefficients=np.where(chosen, 0, data.coefficients))
