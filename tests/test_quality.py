"""Judgement of maps and hands: features, fit, the card's entry, doubts, and the command ``hand``."""

import json
import shutil
from dataclasses import asdict, replace

import gemmi
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the network needs ONNX Runtime")

from blob import blob, noisy
from crystals import crystal, random_coefficients

from crank2_unet.cli.main import main
from crank2_unet.crystal.filters import local_deviation
from crank2_unet.crystal.grids import density_map, like
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError, ModelError
from crank2_unet.jobs.choices import Columns, Content, NetworkChoice
from crank2_unet.jobs.hand import run_hand
from crank2_unet.jobs.segment import run_segment
from crank2_unet.network.doubts import doubts
from crank2_unet.network.map_quality import Linear, MapQuality, QualityModel, likeness, map_features
from crank2_unet.network.model_card import ModelCard
from crank2_unet.solvent.content import CutoffDistribution, estimate_solvent
from crank2_unet.solvent.matthews import Composition, MatthewsOption

MODEL = QualityModel(Linear(-0.2, {"region_contrast": 0.8}), 0.1,
                     Linear(0.0, {"region_contrast": 20.0, "skewness": 5.0}),
                     Linear(-0.3, {"region_contrast": 1.0}))


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """Copy of the packaged card with an entry for map quality."""
    folder = tmp_path_factory.mktemp("card")
    packaged = ModelCard.read()
    shutil.copy(packaged.onnx, folder)
    path = folder / packaged.path.name
    path.write_text(json.dumps({**json.loads(packaged.path.read_text()), "quality": asdict(MODEL)}))
    return path


def features_of(reflections, coefficients, truth=None):
    density = density_map(reflections, coefficients, reflections.d_min / 3)
    # stands for a network: little local deviation means solvent
    deviation = local_deviation(density, 3.0).array
    return map_features(density, like(density, 4.0 * (1 - deviation / deviation.mean())))


def with_errors(reflections, truth, fom):
    rng = np.random.default_rng(0)
    noise = random_coefficients(reflections, 1) * np.sqrt(np.mean(np.abs(truth) ** 2) / 100)
    return fom * truth + np.sqrt(1 - fom ** 2) * noise * rng.choice([1, 1], len(truth))


def test_features_fall_with_noise_and_do_not_depend_on_the_scale():
    _, truth, mask = noisy(blob("P 21 21 21"))
    reflections = crystal_of(mask)
    rows = [features_of(reflections, with_errors(reflections, truth, fom)) for fom in (0.95, 0.5, 0.1)]
    for name in ("region_contrast", "skewness", "contrast", "logit_spread", "agreement"):
        assert rows[0][name] > rows[1][name] > rows[2][name], name
    scaled = features_of(reflections, 1e3 * with_errors(reflections, truth, 0.5))
    assert scaled == pytest.approx(rows[1], rel=1e-3)
    negative = features_of(reflections, -truth)
    assert negative["skewness"] < 0 < rows[0]["skewness"]


def crystal_of(grid):
    return Reflections(grid.unit_cell, grid.spacegroup, 2.5)


def test_judgement_is_limited_and_symmetric():
    good, bad = ({"region_contrast": x, "skewness": 0.1} for x in (2.0, 0.1))
    assert MODEL.judge(good).correlation == 1.0 and MODEL.judge(good).solvent_structure
    assert MODEL.judge(bad).correlation == 0.0 and not MODEL.judge(bad).solvent_structure
    never = replace(MODEL, structure=Linear(-1.0, {}))
    assert never.judge(good).solvent_structure and not never.judge(bad).solvent_structure
    p = MODEL.probability_of_hand(good, bad)
    assert p > 0.99 and MODEL.probability_of_hand(bad, good) == pytest.approx(1 - p)
    assert MODEL.probability_of_hand(good, good) == 0.5
    old = replace(MODEL, hand=Linear(0.0, {"modified_contrast": 1.0}))
    with pytest.raises(ModelError, match="by modified_contrast(.|\n)*'crank2-unet model quality'"):
        old.probability_of_hand(good, bad)


def test_card_entry_survives_and_damage_is_named(card):
    assert ModelCard.read(card).quality == MODEL
    broken = {**asdict(MODEL), "hand": {"weights": 3}}
    with pytest.raises(ModelError, match="map quality cannot be read"):
        QualityModel.from_json(broken)


def test_doubts(card):
    read = replace(ModelCard.read(card), point_groups=("2", "222"))
    protein, rna = Composition.from_residues(100), Composition(0.0, 10000.0)
    fine = MapQuality(0.5, 0.1, True, {})
    logits = np.linspace(-5, 5, 1001)
    cutoffs = CutoffDistribution(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0]))
    agreed, wrong = (estimate_solvent(logits, cutoffs, [MatthewsOption(1, s, 2.0, 1.0, 1.0)])
                     for s in (0.4, 0.9))
    usual = crystal("P 21 21 21", 2.5)
    assert doubts(read, usual, protein, fine, agreed) == {} == doubts(read, usual, None, None, agreed)
    assert list(doubts(read, crystal("P 21 21 21", 7.0), None, fine, agreed)) == ["resolution"]
    assert list(doubts(read, crystal("F 4 3 2", 3.0), protein, fine, agreed)) == ["symmetry"]
    found = doubts(read, usual, rna, MapQuality(0.04, 0.1, False, {}), agreed)
    assert list(found) == ["nucleic acid", "solvent structure"]
    assert doubts(replace(read, point_groups=()), crystal("F 4 3 2", 3.0), protein, fine, agreed) == {}
    assert list(doubts(read, usual, protein, fine, wrong)) == ["composition"]
    assert doubts(read, usual, None, fine, estimate_solvent(logits, cutoffs)) == {}


def write_map(path, reflections, coefficients):
    """Map coefficients; the same as amplitudes, phases and a figure of merit."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(reflections.cell)
    mtz.add_dataset("test")
    for label, kind in (("FWT", "F"), ("PHWT", "P"), ("F", "F"), ("SIGF", "Q"),
                        ("PHIB", "P"), ("FOM", "W")):
        mtz.add_column(label, kind)
    f, phi = np.abs(coefficients), np.rad2deg(np.angle(coefficients))
    mtz.set_data(np.column_stack([reflections.hkl, f, phi, f, 0.1 * f, phi, np.full(len(f), 0.9)]
                                 ).astype(np.float32))
    mtz.write_to_file(str(path))
    return str(path)


def test_noise_is_said_to_have_no_solvent_structure(card, tmp_path):
    reflections = crystal("P 21 21 21", 2.6)
    path = write_map(tmp_path / "noise.mtz", reflections, random_coefficients(reflections))
    result = run_segment(path, tmp_path / "out", choice=NetworkChoice(str(card), "cpu", 1))
    assert result["doubts"] == ["solvent structure"]
    assert result["map_quality"]["correlation"] < 0.15
    assert any("no protein-like solvent structure" in text for text in result["warnings"])
    report = (tmp_path / "out/report.html").read_text()
    assert "no protein-like solvent structure" in report and "Map quality" in report


@pytest.mark.realdata
def test_nucleic_acid_only_is_doubted(shared_data, tmp_path):
    folder = shared_data / "sad" / "3mei_br_rna"
    columns = Columns("F,SIGF", "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD")
    result = run_segment(folder / "data.mtz", tmp_path, columns,
                         Content(str(folder / "sequence.fasta")), NetworkChoice(None, "cpu", 1))
    assert "nucleic acid" in result["doubts"]
    assert any("nucleic acid only" in text for text in result["warnings"])


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """Maps of a blob in P 41 and of its wrong hand, which is noise with the same amplitudes."""
    folder = tmp_path_factory.mktemp("hands")
    one, two = (Reflections(gemmi.UnitCell(40, 40, 50, 90, 90, 90), gemmi.SpaceGroup(symbol), 2.5)
                for symbol in ("P 41", "P 43"))
    structure = blob("P 21 21 21", radius=11)
    structure.cell, structure.spacegroup_hm = one.cell, "P 41"
    structure.setup_cell_images()
    from crank2_unet.crystal.model_factors import model_structure_factors
    truth = model_structure_factors(structure, one)
    wrong = np.abs(truth) * np.exp(1j * np.angle(random_coefficients(two)))
    return (write_map(folder / "right.mtz", one, truth),
            write_map(folder / "wrong.mtz", two, wrong))


def test_right_hand_is_found_in_either_order(card, hands, tmp_path, capsys):
    right, wrong = hands
    for number, files in enumerate(((right, wrong), (wrong, right))):
        out = tmp_path / str(number)
        assert main(["hand", *files, "-o", str(out), "--model", str(card), "--device", "cpu"]) == 0
        result = json.loads((out / "result.json").read_text())
        best = result["hands"][result["best"] - 1]
        assert best["file"] == right and best["spacegroup"] == "P 41" and best["probability"] > 0.9
        assert sum(hand["probability"] for hand in result["hands"]) == pytest.approx(1)
        assert "P 43" in capsys.readouterr().out and not result["same_map"]
    report = (tmp_path / "0/report.html").read_text()
    assert "Right hand" in report and "wrong.mtz" in report


def test_centrosymmetric_sites_have_no_wrong_hand(card, tmp_path):
    reflections = crystal("P 21 21 21", 3.0)
    given = random_coefficients(reflections)
    moved = given * np.exp(1j * np.pi * (reflections.hkl @ [1, 0, 1]))
    files = [write_map(tmp_path / f"{i}.mtz", reflections, c) for i, c in enumerate((given, moved))]
    result = run_hand(*files, tmp_path / "out", Columns(), NetworkChoice(str(card), "cpu", 1))
    assert result["same_map"] and [hand["probability"] for hand in result["hands"]] == [0.5, 0.5]
    assert any("neither hand is wrong" in text for text in result["warnings"])
    density, shifted = (density_map(reflections, c, 1.0) for c in (given, moved))
    assert likeness(density, density) == pytest.approx(1) and likeness(density, shifted) > 0.9
    assert likeness(density, density_map(reflections, moved, 0.8)) > 0.9
    inverted = density_map(reflections, given.conj(), 1.0)
    assert likeness(density, inverted) < 0.5


def test_what_is_no_pair_of_hands_is_refused(card, hands, tmp_path):
    right, wrong = hands
    choice = NetworkChoice(str(card), "cpu", 1)
    other = crystal("P 21 21 21", 2.6)
    with pytest.raises(InputError, match="not the two hands of one crystal(.|\n)*P 41(.|\n)*P 41"):
        run_hand(right, right, tmp_path, Columns(), choice)
    with pytest.raises(InputError, match="P 21 21 21"):
        run_hand(right, write_map(tmp_path / "other.mtz", other, random_coefficients(other)),
                 tmp_path, Columns(), choice)
    same = write_map(tmp_path / "same.mtz", other, random_coefficients(other))
    with pytest.raises(InputError, match="hold the same map"):
        run_hand(same, same, tmp_path, Columns(), choice)
    reflections = Reflections(gemmi.UnitCell(40, 40, 50, 90, 90, 90), gemmi.SpaceGroup("P 43"), 2.5)
    strange = write_map(tmp_path / "strange.mtz", reflections, random_coefficients(reflections, 5))
    with pytest.raises(InputError, match="correlate by 0.* only"):
        run_hand(right, strange, tmp_path, Columns(), choice)
    assert not (tmp_path / "result.json").exists()


def test_card_without_the_entry_cannot_tell_hands(hands, tmp_path, card):
    content = json.loads(card.read_text())
    del content["quality"]
    shutil.copy(ModelCard.read(card).onnx, tmp_path)
    path = tmp_path / "solvent.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has not learnt to tell hands apart"):
        run_hand(*hands, tmp_path / "out", Columns(), NetworkChoice(str(path), "cpu", 1))
    result = run_segment(hands[0], tmp_path / "out", choice=NetworkChoice(str(path), "cpu", 1))
    assert result["map_quality"] is None and result["doubts"] == []
