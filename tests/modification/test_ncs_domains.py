"""Domains that have moved against each other: one operator for each, with a mask of its own."""

import gemmi
import numpy as np
import pytest
from blob import blob, noisy
from scipy.spatial.transform import Rotation

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import density_map
from crank2_unet.crystal.observations import PhasedData
from crank2_unet.jobs.choices import EngineChoice, NetworkChoice
from crank2_unet.modification.ncs import NcsAverager
from crank2_unet.modification.ncs_operator import Operator
from crank2_unet.modification.ncs_search import with_inverses
from crank2_unet.modification.region_weights import fixed_weights

CELL, RADIUS = (46, 44, 26, 90, 90, 90), 7.0
# centres of a domain and of its copy, and how it is turned
DOMAINS = [((12, 11, 13), (34, 11, 13), (100, [1, 2, 2])),
           ((12, 33, 13), (34, 33, 13), (70, [2, -1, 2]))]
PLACES = np.array([place for here, there, _ in DOMAINS for place in (here, there)], float)


@pytest.fixture(scope="module")
def crystal() -> tuple[list[Operator], PhasedData, gemmi.FloatGrid]:
    """Two domains and their copies in P 1: the operator of each, noisy data, the true mask."""
    structure, operators = blob("P 1"), []
    del structure[0]["A"]
    for seed, (here, there, (angle, axis)) in enumerate(DOMAINS):
        turn = Rotation.from_rotvec(np.deg2rad(angle) * np.array(axis) / 3).as_matrix()
        operators.append(Operator(turn, np.array(here, float), np.array(there, float)))
        domain = blob("P 1", 8.0, seed)[0][0]
        centre = np.mean([atom.pos.tolist() for residue in domain for atom in residue], axis=0)
        for copy, place in enumerate((lambda x: x, operators[-1].apply)):
            chain = domain.clone()
            chain.name = "AB"[copy] + str(seed)
            for residue in chain:
                for atom in residue:
                    atom.pos = gemmi.Position(*place(np.array(atom.pos.tolist()) - centre + here))
            structure[0].add_chain(chain)
    structure.cell = gemmi.UnitCell(*CELL)
    structure.setup_entities()
    structure.setup_cell_images()
    data, _, mask = noisy(structure, fom=0.6)
    return operators, data, mask


def near(density, place, radius=5.0):
    """Points of the grid within a sphere, bool like the map."""
    ball = gemmi.Int8Grid(*density.shape)
    ball.set_unit_cell(density.unit_cell)
    ball.spacegroup = density.spacegroup
    ball.set_points_around(gemmi.Position(*place), radius, 1)
    return ball.array > 0


@pytest.mark.slow
def test_each_domain_is_averaged_by_its_own_operator(crystal):
    operators, data, _ = crystal
    density = density_map(data.reflections, data.coefficients, data.reflections.d_min / 3)

    def weights(*used):
        """Mean weight in each domain and in each copy."""
        sums = NcsAverager(with_inverses(used, density), density, RADIUS)(density, 3)
        weight = sums.weight.reshape(density.shape)  # P 1
        return [weight[near(density, place)].mean() for place in PLACES]
    first, both = weights(operators[0]), weights(*operators)
    assert min(first[:2]) > 0.3 and max(first[2:]) < 0.1
    assert min(both) > 0.3 and both[:2] == pytest.approx(first[:2], abs=0.1)


@pytest.mark.slow
def test_operators_are_named_one_by_one(crystal, tmp_path):
    operators, data, mask = crystal
    choice = EngineChoice(ncs_operators=tuple(map(str, operators)))
    engine = choice.find(NetworkChoice(), data.reflections)
    found = engine.modify(data, fixed_weights(soften(mask, 0.7)), float(mask.array.mean()), 1, tmp_path)
    used = found.how["ncs"]
    assert len(used) == 4 and all(one["volume"] > 0.03 and one["correlation"] > 0.2 for one in used)
    assert np.array([Operator.parse(one["operator"]).source for one in used]) == pytest.approx(
        PLACES[[0, 2, 1, 3]], abs=3.0)  # both, then their inverses
