"""Two copies of a molecule in one asymmetric unit: operators are found and averaging helps."""

import hashlib
import json

import gemmi
import numpy as np
import pytest
from blob import blob, noisy
from scipy.spatial.transform import Rotation

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import asymmetric_unit, density_map
from crank2_unet.crystal.phases import map_correlation, phi_fom_from_hl, to_complex
from crank2_unet.errors import InputError
from crank2_unet.jobs.choices import EngineChoice, NetworkChoice
from crank2_unet.jobs.phase import sites_that_phased
from crank2_unet.modification import cycles, ncs, ncs_map
from crank2_unet.modification.cycles import modify_density
from crank2_unet.modification.engine import EmbeddedEngine
from crank2_unet.modification.expectation import Knowledge, modify_map
from crank2_unet.modification.ncs import NcsAverager, NcsSums, copy_weight
from crank2_unet.modification.ncs_map import LOOKS, MapAverager, operators_from_map
from crank2_unet.modification.ncs_mask import correlation_level
from crank2_unet.modification.ncs_operator import Operator
from crank2_unet.modification.ncs_search import (
    equal_by_symmetry,
    operators_from_chains,
    operators_from_sites,
)
from crank2_unet.modification.region_weights import fixed_weights
from crank2_unet.parrot.engine import ParrotEngine

CELL, RADIUS = (48, 36, 28, 90, 97, 90), 8.0
TURN = Rotation.from_rotvec(np.deg2rad(100) * np.array([1, 2, 2]) / 3).as_matrix()


def dimer() -> tuple[gemmi.Structure, Operator]:
    """A blob and its rotated copy in P 21, and the operator from the first to the second."""
    structure = blob("P 1")
    first = structure[0][0]
    centre = np.mean([a.pos.tolist() for r in first for a in r], axis=0)
    here, there = np.array([10.0, 8.0, 8.0]), np.array([30.0, 8.0, 18.0])
    operator = Operator(TURN, here, there)
    second = first.clone()
    second.name = "B"
    for chain, place in ((first, lambda x: x), (second, operator.apply)):
        for residue in chain:
            for atom in residue:
                moved = place(np.array(atom.pos.tolist()) - centre + here)
                atom.pos = gemmi.Position(*moved)
    structure[0].add_chain(second)
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*CELL), "P 1 21 1"
    structure.setup_entities()
    structure.setup_cell_images()
    return structure, operator


@pytest.fixture(scope="module")
def crystal():
    structure, operator = dimer()
    data, truth, mask = noisy(structure, fom=0.55)
    return structure, operator, data, truth, mask


def start(data):
    return density_map(data.reflections, data.coefficients, data.reflections.d_min / 3)


def off(found: Operator, operator: Operator) -> tuple[float, float]:
    """Degrees and Angstrom between two operators, the latter at the first's source."""
    turn = Rotation.from_matrix(found.rotation @ operator.rotation.T).magnitude()
    return np.rad2deg(turn), np.linalg.norm(found.target - operator.apply(found.source))


def sites_of(structure, seed=1) -> gemmi.Structure:
    """Five atoms of each copy, displaced by 0.3 Angstrom, and a wrong site."""
    rng = np.random.default_rng(seed)
    sites = structure.clone()
    chosen = rng.choice(len(structure[0][0]), 5, replace=False)
    positions = [chain[int(i)][0].pos.tolist() for chain in structure[0] for i in chosen]
    positions = [np.array(p) + rng.normal(0, 0.17, 3) for p in positions]
    positions.append(rng.uniform(0, 30, 3))
    chain = gemmi.Chain("S")
    for number, position in enumerate(rng.permutation(positions), 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "SE", gemmi.SeqId(number, " ")
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "SE", gemmi.Element("Se"), gemmi.Position(*position)
        residue.add_atom(atom)
        chain.add_residue(residue)
    for name in [c.name for c in sites[0]]:
        sites[0].remove_chain(name)
    sites[0].add_chain(chain)
    return sites


def test_operator_as_text_and_inverse():
    text = "30,40,50,1,2,3,4,5,6"
    operator = Operator.parse(text)
    assert np.allclose(operator.apply(np.array([1, 2, 3])), [4, 5, 6])
    rz, ry = (lambda a: Rotation.from_euler("z", a, degrees=True).as_matrix()), (
        lambda a: Rotation.from_euler("y", a, degrees=True).as_matrix())
    assert np.allclose(operator.rotation, rz(30) @ ry(40) @ rz(50))
    again = Operator.parse(str(operator))
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(again.apply(points), operator.apply(points), atol=1e-3)
    assert np.allclose(operator.inverse().apply(operator.apply(points)), points)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d,e,f,g,h,i"])
def test_wrong_operators_are_refused(text):
    with pytest.raises(InputError, match="nine numbers"):
        Operator.parse(text)


def test_operators_are_found_from_sites_and_from_chains(crystal):
    structure, operator, data, _, _ = crystal
    density = start(data)
    for found in (operators_from_sites(sites_of(structure), density, RADIUS, 0.1),
                  operators_from_chains(structure, density)):
        for wanted in (operator, operator.inverse()):
            assert sum(equal_by_symmetry(one, wanted, density, (4.0, 1.0)) for one in found) == 1
        assert len(found) == 2


def test_no_operator_comes_from_wrong_sites(crystal):
    structure, _, data, _, _ = crystal
    sites = sites_of(structure)
    rng = np.random.default_rng(5)
    for cra in sites[0].all():
        cra.atom.pos = gemmi.Position(*rng.uniform(0, 30, 3))
    assert operators_from_sites(sites, start(data), RADIUS, 0.1) == []


def test_operators_are_found_in_the_map(crystal, monkeypatch):
    _, operator, data, _, _ = crystal
    # for molecules of 9 Angstrom
    for name, value in (("_RADII", (7.0, 8.0)), ("_RESOLUTION", 3.5), ("_PEAK", (25.0, 6.0)),
                        ("_LEAST_SHARE", 0.1), ("SITES_RADIUS", RADIUS)):
        monkeypatch.setattr(ncs_map, name, value)
    density = start(data)
    # copies do not agree better than there is signal
    assert operators_from_map(density, reliability=0.2) == []
    found = operators_from_map(density, reliability=1.0)
    for wanted in (operator, operator.inverse()):
        assert sum(equal_by_symmetry(one, wanted, density, (4.0, 1.0)) for one in found) == 1
    assert len(found) == 2


def test_no_operator_comes_from_a_map_without_copies():
    data, _, _ = noisy(blob("C 1 2 1"), fom=0.75)
    assert operators_from_map(start(data), reliability=1.0) == []


def searched_in(monkeypatch, density, agreement, found=()):
    """The averager after a run and the cycles in which the map was searched."""
    cycles = []
    monkeypatch.setattr(ncs_map, "operators_from_map",
                        lambda map_, reliability: cycles.append(cycle) or list(found))
    averager = MapAverager(density)
    for cycle in range(1, 13):
        for one in (agreement, None):  # the control, and the map, which holds nothing back
            averager.look(density, cycle, 0.3, one)
    return averager, cycles


@pytest.mark.parametrize("agreement, searched", [(0.3, list(LOOKS)), (None, list(LOOKS)), (0.7, [])])
def test_a_map_is_searched_while_it_shows_nothing_unless_it_is_good(agreement, searched, crystal,
                                                                     monkeypatch):
    density = start(crystal[2])
    averager, cycles = searched_in(monkeypatch, density, agreement)
    assert cycles == searched and averager.looked == bool(searched)
    assert averager(density, 12) is None


def test_a_map_that_shows_copies_is_not_searched_again(crystal, monkeypatch):
    _, operator, data, _, _ = crystal
    averager, cycles = searched_in(monkeypatch, start(data), 0.3, [operator])
    assert cycles == [LOOKS[0]] and averager(start(data), 12, 0.3).weight.any()


def test_operators_that_become_one_count_once(crystal, monkeypatch):
    _, operator, data, _, _ = crystal
    averager, _ = searched_in(monkeypatch, start(data), 0.3, [operator])
    averager.operators = [operator, operator.moved(np.deg2rad([1, 0, 0]), np.array([0.2, 0, 0]))]
    averager.look(start(data), 12, 0.3, 0.3)
    assert averager.operators == [operator]


def test_what_sites_and_map_show_counts_once(crystal, monkeypatch):
    structure, operator, data, _, _ = crystal
    density = start(data)
    monkeypatch.setattr(ncs_map, "operators_from_map", lambda density, reliability: [operator])
    monkeypatch.setattr(ncs_map, "operators_from_sites",
                        lambda sites, map_: operators_from_sites(sites, map_, RADIUS))
    averager = MapAverager(density, sites_of(structure))
    averager.look(density, LOOKS[0], 0.3, None)
    assert len(averager.operators) == 2  # it and its inverse


def test_refinement_finds_the_operator_from_nearby(crystal):
    structure, operator, *_ = crystal
    data, _, _ = noisy(structure, fom=0.75)  # a poorer map of so small a molecule leaves 2 degrees
    near = operator.moved(np.deg2rad([2.5, -2, 1.5]), np.array([0.6, -0.5, 0.4]))
    averager = NcsAverager([near], start(data), RADIUS)
    for cycle in (1, 2):
        averager(start(data), cycle)
    before, after = off(near, operator), off(averager.operators[0], operator)
    assert after[0] < 0.4 * before[0] and after[1] < 0.4 * before[1]
    assert averager.statistics[0].correlation > averager.level


@pytest.mark.slow
def test_averaging_lowers_the_noise_and_improves_phases(crystal):
    _, operator, data, truth, mask = crystal
    density = start(data)
    averager = NcsAverager([operator, operator.inverse()], density, RADIUS)
    sums = averager(density, 3)  # no refinement in cycle 3
    true_map = density_map(data.reflections, truth, data.reflections.d_min / 3).array
    inside = sums.weight > 0.5
    assert inside.mean() > 0.05
    assert np.all(sums.weight_square <= sums.weight + 1e-6)
    unit = asymmetric_unit(density)
    before, true_map = density.array[unit], true_map[unit]
    averaged = (before + sums.density) / (1 + sums.weight)

    def agreement(values):
        return np.corrcoef(values[inside], true_map[inside])[0, 1]
    assert agreement(averaged) > agreement(before) + 0.06

    def quality(**keywords):
        out = modify_density(data, lambda density, cycle: soften(mask, 0.7), 3, **keywords)
        return map_correlation(to_complex(np.abs(truth) * out.fom, out.phi), truth,
                               data.reflections.multiplicity)
    assert quality(averager=averager) > quality() + 0.03


def test_a_wrong_operator_is_hardly_used(crystal):
    _, operator, data, _, _ = crystal
    density = start(data)
    wrong = Operator(np.eye(3)[[1, 2, 0]], operator.source, operator.target)
    right = NcsAverager([operator], density, RADIUS)
    averager = NcsAverager([wrong], density, RADIUS)
    assert averager(density, 3).weight.mean() < 0.1 * right(density, 3).weight.mean()


def test_gamma_is_what_a_change_of_the_averaged_map_leaves(crystal):
    _, _, data, _, mask = crystal
    density = start(data)
    weight = np.where(mask.array < 0.5, 0.8, 0.0).astype(np.float32)
    rng = np.random.default_rng(0)
    noise = (density.array.std() * rng.normal(size=density.shape)).astype(np.float32)
    sums = NcsSums(*(values[asymmetric_unit(density)] for values in (
        weight * (density.array + noise), weight, weight**2)))
    plain, gamma_plain, _ = modify_map(density, soften(mask, 0.7), 2.5)
    modified, gamma, _ = modify_map(density, soften(mask, 0.7), 2.5, sums)
    change = 0.01 * density.array.std() * rng.normal(size=density.shape)
    moved = density.clone()
    moved.array[...] += change
    second = modify_map(moved, soften(mask, 0.7), 2.5, sums).density
    share = np.vdot(change, second.array - modified.array) / np.vdot(change, change)
    assert gamma > 0.02 and abs(share) < 0.1 * gamma
    none = NcsSums(*np.zeros((3, len(sums.weight)), np.float32))
    same, gamma_none, _ = modify_map(density, soften(mask, 0.7), 2.5, none)
    assert gamma_none == pytest.approx(gamma_plain, rel=1e-5)
    assert np.allclose(same.array, plain.array, atol=1e-4 * plain.array.std())


def test_level_is_that_of_noise(crystal):
    _, _, data, _, _ = crystal
    small, large = (correlation_level(start(data), radius) for radius in (4.0, 7.0))
    assert 0 < large < small


def test_cycles_beyond_the_data_refine_operators_of_their_own(crystal, monkeypatch):
    _, operator, data, _, mask = crystal
    monkeypatch.setattr(cycles, "_MOST", 4)
    weights = fixed_weights(soften(mask, 0.7))

    def run(count):
        averager = NcsAverager([operator], start(data), RADIUS)
        out = modify_density(data, weights, count, averager=averager)
        return out, averager, [str(one) for one in averager.operators], averager.statistics
    further, averager, *state = run(None)
    within, its_averager, *its_state = run(4)
    assert within.averager is its_averager and state == its_state
    assert further.beyond_data.used and further.averager is not averager
    assert [str(one) for one in further.averager.operators] != state[0]
    assert further.averager.statistics[0].correlation == further.cycles[-1].ncs_correlation
    # as if held-back amplitudes agreed less well with the finer map
    monkeypatch.setattr(cycles._Run, "free_correlation",
                        property(lambda run: run.data.reflections.d_min))
    refused, averager, *its_state = run(None)
    assert not refused.beyond_data.used and refused.averager is averager and its_state == state


def test_whoever_looks_for_operators_knows_how_good_the_map_is(crystal, monkeypatch):
    """Also in the first cycle with reflections beyond the data."""
    _, _, data, _, mask = crystal
    monkeypatch.setattr(cycles, "_MOST", 4)
    told = {}
    monkeypatch.setattr(NcsAverager, "look", lambda self, density, cycle, reliability, agreement:
                        told.setdefault(cycle, agreement))
    out = modify_density(data, fixed_weights(soften(mask, 0.7)), None,
                         averager=NcsAverager([], start(data)))
    assert out.beyond_data and max(told) > 5
    assert [cycle for cycle, agreement in told.items() if agreement is None] == [1]
    assert [told[cycle] for cycle in (2, 5)] == [out.cycles[0].free_correlation,
                                                 out.cycles[3].free_correlation]


@pytest.mark.slow
def test_copies_that_differ_are_not_averaged(crystal, tmp_path, monkeypatch, caplog):
    """Held-back amplitudes tell, however alike the map takes them to be."""
    _, operator, data, _, mask = crystal
    monkeypatch.setattr(NcsAverager, "level", 1e-3)
    monkeypatch.setattr(ncs, "copy_weight", lambda *_: 1.0)

    def run(*operators):
        weights = fixed_weights(soften(mask, 0.7))
        return EmbeddedEngine(None, operators).modify(data, weights, 0.7, 2, tmp_path)
    wrong = run(Operator(np.eye(3)[[1, 2, 0]], operator.source, operator.target))
    assert wrong.how["ncs"] == [] and "better without averaging" in caplog.text
    assert np.array_equal(wrong.coefficients, run().coefficients)
    alone = modify_density(data, fixed_weights(mask), 1, averager=NcsAverager([operator], start(data)),
                           knowledge=Knowledge(solvent=False, protein=False))
    assert alone.cycles[0].ncs_correlation and np.isfinite(alone.coefficients).all()


@pytest.mark.slow
def test_the_embedded_engine_averages_by_sites(crystal, tmp_path):
    structure, operator, data, truth, mask = crystal

    def run(sites, *operators, cycles=LOOKS[0]):
        weights = fixed_weights(soften(mask, 0.7))
        out = EmbeddedEngine(sites, operators).modify(data, weights, 0.7, cycles, tmp_path)
        phi, fom = phi_fom_from_hl(out.hl, data.reflections.allowed_phase)
        return out.how, map_correlation(to_complex(np.abs(truth) * fom, phi), truth,
                                        data.reflections.multiplicity)
    how, averaged = run(sites_of(structure))
    assert len(how["ncs"]) == 2 and set(how["ncs"][0]) == {"operator", "volume", "correlation"}
    assert any(equal_by_symmetry(Operator.parse(ncs["operator"]), operator, start(data), (4.0, 1.0))
               for ncs in how["ncs"])
    nothing, plain = run(None)
    assert "ncs" not in nothing and averaged > plain + 0.01
    how, known = run(None, operator)
    assert len(how["ncs"]) == 2 and known > plain + 0.01  # it and its inverse, each with its mask
    lone = sites_of(structure)
    del lone[0][0][2:]
    how, unchanged = run(lone)
    assert how["ncs"] == [] and unchanged == pytest.approx(plain, abs=1e-5)
    assert "ncs" not in run(lone, cycles=LOOKS[0] - 1)[0]  # it was not looked for


@pytest.mark.slow
def test_parrot_itself_averages_by_operators_that_we_found(crystal, real_parrot, tmp_path):
    """It takes them in our convention, keeps them, and its map gains."""
    structure, operator, data, truth, mask = crystal
    quality = {}
    for sites in (None, sites_of(structure)):
        engine = ParrotEngine.find(str(real_parrot), ahead=EmbeddedEngine(sites))
        found = engine.modify(data, fixed_weights(mask), float(mask.array.mean()), 3, tmp_path)
        phi, fom = phi_fom_from_hl(found.hl, data.reflections.allowed_phase)
        quality[bool(sites)] = map_correlation(to_complex(fom * np.abs(truth), phi), truth,
                                               data.reflections.multiplicity)
    used = [Operator.parse(text) for text in found.how["parrot"]["ncs_operators"]]
    assert len(used) == len(found.how["ncs"]) == 2
    for wanted in (operator, operator.inverse()):
        assert sum(equal_by_symmetry(one, wanted, start(data), (4.0, 1.0)) for one in used) == 1
    assert quality[True] > quality[False] + 0.01


def phase_job(folder):
    """Files as ``phase`` leaves them; returns the sites."""
    folder.mkdir()
    hands = []
    for suffix in ("", "_other_hand"):
        files = {"mtz": f"phased{suffix}.mtz", "sites": f"sites{suffix}.pdb"}
        for name in files.values():
            (folder / name).write_text(f"{folder} {name}")
        hands.append({"outputs": files, "sha256": {
            kind: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for kind, name in files.items()}})
    (folder / "result.json").write_text(json.dumps({"phasing": {"hands": hands}}))
    return folder / "sites.pdb", folder / "sites_other_hand.pdb"


def test_sites_are_those_of_the_job_that_phased_the_file(tmp_path):
    sites, other = phase_job(tmp_path / "job")
    phased = tmp_path / "job" / "phased.mtz"

    def found(**choice):
        return EngineChoice(**choice).with_sites_of(str(phased)).ncs_sites
    assert found() == str(sites)
    assert sites_that_phased(phased.with_name("phased_other_hand.mtz")) == str(other)
    assert found(ncs="none") is None and found(ncs_sites="mine.pdb") == "mine.pdb"


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "sites.pdb").write_text("of a later job"),
    lambda folder: (folder / "phased.mtz").write_text("of another program"),
    lambda folder: (folder / "sites.pdb").unlink(),
    lambda folder: (folder / "result.json").unlink(),
    lambda folder: (folder / "result.json").write_text('{"command": "dm", "cycles": []}'),
    lambda folder: (folder / "result.json").write_text("[]"),
    lambda folder: (folder / "result.json").write_text("no JSON")])
def test_sites_of_another_job_are_not_taken(tmp_path, change):
    phase_job(tmp_path / "job")
    change(tmp_path / "job")
    assert sites_that_phased(tmp_path / "job" / "phased.mtz") is None


def test_sites_and_no_averaging_contradict_each_other():
    for choice in ({"ncs": "none", "ncs_sites": "sites.pdb"}, {"ncs": "none", "ncs_operators": ("",)},
                   {"ncs_sites": "sites.pdb", "ncs_operators": ("",)}):
        with pytest.raises(InputError, match="contradict"):
            EngineChoice(**choice)


def test_copies_count_less_the_better_a_map_shows_that_they_differ():
    assert copy_weight(0.3, 0.0) == copy_weight(0.3, 0.3) == 1.0  # nothing but noise between them
    weights = [copy_weight(0.4, q) for q in (0.4, 0.6, 0.8, 0.98)]
    assert weights == sorted(weights, reverse=True) and weights[-1] < 0.05
    assert copy_weight(0.0, 0.5) == copy_weight(-0.2, 0.5) == 0.0
    # the linear estimate of least error, by simulation
    rng = np.random.default_rng(0)
    alike, q = 0.8, 0.6
    truth = rng.multivariate_normal([0, 0], q * np.array([[1, alike], [alike, 1]]), 200_000)
    seen = truth + rng.normal(0, np.sqrt(1 - q), truth.shape)
    best = np.linalg.lstsq(seen, truth[:, 0], rcond=None)[0]
    assert copy_weight(np.corrcoef(seen.T)[0, 1], q) == pytest.approx(best[1] / best[0], abs=0.02)


def test_both_engines_are_given_the_sites(crystal, tmp_path, monkeypatch):
    structure, _, data, _, _ = crystal
    file = tmp_path / "some sites.pdb"
    sites_of(structure).write_pdb(str(file))
    engine = EngineChoice(ncs_sites=str(file)).find(NetworkChoice(), data.reflections)
    assert engine.ncs_sites[0].count_atom_sites() == 11
    asked = []
    monkeypatch.setattr(ParrotEngine, "find", lambda *arguments: asked.append(arguments[-1]))
    EngineChoice("parrot", ncs_sites=str(file)).find(NetworkChoice(), data.reflections)
    assert asked[0].ncs_sites[0].count_atom_sites() == 11
    operators = ("10,20,30,1,2,3,4,5,6", "40,50,60,1,2,3,4,5,6")
    found = EngineChoice(ncs_operators=operators).find(NetworkChoice(), data.reflections).ncs_operators
    assert [np.round(float(str(one).split(",")[0])) for one in found] == [10, 40]
    EngineChoice("parrot", ncs_operators=operators).find(NetworkChoice(), data.reflections)
    assert list(map(str, asked[1].ncs_operators)) == list(map(str, found))
    with pytest.raises(InputError, match="nine numbers"):
        EngineChoice(ncs_operators=("1,2",)).find(NetworkChoice(), data.reflections)
    with pytest.raises(InputError, match="cannot be read"):
        EngineChoice(ncs_sites="absent.pdb").find(NetworkChoice(), data.reflections)
