"""The command ``hand``."""

import json
import shutil

import gemmi
import numpy as np
import pytest
from crystals import crystal, random_coefficients
from quality import write_map

from crank2_unet.cli.main import main
from crank2_unet.crystal.grids import density_map
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError, ModelError
from crank2_unet.jobs.choices import Columns, NetworkChoice
from crank2_unet.jobs.hand import run_hand
from crank2_unet.jobs.segment import run_segment
from crank2_unet.network.map_quality import likeness
from crank2_unet.network.model_card import ModelCard


@pytest.mark.slow
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
