"""Reasons to doubt a mask."""

from dataclasses import replace

import numpy as np
import pytest
from crystals import crystal, random_coefficients
from quality import write_map

from crank2_unet.jobs.choices import Columns, Content, NetworkChoice
from crank2_unet.jobs.segment import run_segment
from crank2_unet.network.doubts import doubts
from crank2_unet.network.map_quality import MapQuality
from crank2_unet.network.model_card import ModelCard
from crank2_unet.solvent.content import CutoffDistribution, estimate_solvent
from crank2_unet.solvent.matthews import Composition, MatthewsOption


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
    found = doubts(read, usual, protein, fine, wrong, "FC,PHIC")
    assert list(found) == ["model bias", "composition"] and "FC,PHIC" in found["model bias"]
    assert "Check the sequence" not in found["composition"]


def test_noise_is_said_to_have_no_solvent_structure(card, tmp_path):
    reflections = crystal("P 21 21 21", 2.6)
    path = write_map(tmp_path / "noise.mtz", reflections, random_coefficients(reflections))
    result = run_segment(path, tmp_path / "out", choice=NetworkChoice(str(card), "cpu", 1))
    assert result["doubts"] == ["solvent structure"]
    assert result["map_quality"]["correlation"] < 0.15
    assert any("no protein-like solvent structure" in text for text in result["warnings"])
    report = (tmp_path / "out/report.html").read_text()
    assert "no protein-like solvent structure" in report and "Map correlation" in report


@pytest.mark.realdata
def test_nucleic_acid_only_is_doubted(shared_data, tmp_path):
    folder = shared_data / "sad" / "3mei_br_rna"
    columns = Columns("F,SIGF", "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD")
    result = run_segment(folder / "data.mtz", tmp_path, columns,
                         Content(str(folder / "sequence.fasta")), NetworkChoice(None, "cpu", 1))
    assert "nucleic acid" in result["doubts"]
    assert any("nucleic acid only" in text for text in result["warnings"])
