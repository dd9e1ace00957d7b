"""The benchmark of density modification, on a data set made from a model."""

import gzip
import json

import gemmi
import numpy as np
import pytest
from peptide import peptide
from prepared import toy_card, write_prepared

from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import hl_from_phi_fom, phi_fom_from_hl
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError
from crank2_unet.modification.region_weights import fixed_weights
from crank2_unet.training.evaluation.benchmark_measured import (
    Case,
    benchmark_sad,
    cut_resolution,
    render,
    share_of_gain,
)

ERROR = 40.0  # degrees, of the phases of the data set


@pytest.fixture(scope="module")
def sad(tmp_path_factory):
    """A folder with one data set: a model, its amplitudes, its phases with errors."""
    root = tmp_path_factory.mktemp("sad")
    folder = root / "toy"
    folder.mkdir()
    model = peptide(n_residues=36, cell=(36, 40, 44, 90, 90, 90))
    with gzip.open(folder / "model.pdb.gz", "wt") as file:
        file.write(model.make_pdb_string())
    (folder / "sequence.fasta").write_text(">toy\n" + "AAAM" * 9 + "\n")
    (folder / "meta.json").write_text(json.dumps({"validation": {"solvent_content_matthews": 0.7}}))
    reflections = Reflections(model.cell, gemmi.SpaceGroup("P 21 21 21"), 2.2)
    f = model_structure_factors(model, reflections)
    rng = np.random.default_rng(1)
    sign = rng.choice([-1, 1], len(f)) * ~reflections.centric
    phi = np.rad2deg(np.angle(f)) + ERROR * sign
    hl = hl_from_phi_fom(phi, np.full(len(f), np.cos(np.deg2rad(ERROR))), reflections.allowed_phase)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = reflections.spacegroup
    mtz.set_cell_for_all(model.cell)
    mtz.add_dataset("toy")
    for label, kind in (("F", "F"), ("SIGF", "Q"), *((f"HL{x}_SAD", "A") for x in "ABCD")):
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([reflections.hkl, np.abs(f), 0.02 * np.abs(f) + 0.1, hl]
                                 ).astype(np.float32))
    mtz.write_to_file(str(folder / "data.mtz"))
    return root


def test_case_knows_the_errors_of_its_phases(sad):
    case = Case.read(sad / "toy")
    phi, fom = phi_fom_from_hl(case.data.hl, case.data.reflections.allowed_phase)
    scores = case.scores(phi, fom)
    acentric = 1 - case.data.reflections.centric.mean()
    assert scores["phase_error"] == pytest.approx(ERROR * acentric, abs=0.5)
    assert scores["fom"] == pytest.approx(np.cos(np.deg2rad(ERROR)), abs=0.01)
    assert 0.7 < scores["cc"] < 0.9
    assert case.scores(case.phi_true, np.ones(len(phi)))["cc"] == pytest.approx(1.0)


def test_true_mask_is_recognised(sad):
    case = Case.read(sad / "toy")
    truth = case.truth
    assert 0.4 < truth.array.mean() < 0.9 and case.mask_mcc(truth) == pytest.approx(1.0)
    scores = case.modify(fixed_weights(truth), 2)
    assert scores["mcc_first"] == scores["mcc_last"] == pytest.approx(1.0, abs=0.05)


def test_cut_keeps_the_reflections_inside(sad):
    data = Case.read(sad / "toy").data
    cut = cut_resolution(data, 3.0)
    inside = data.reflections.d >= 3.0
    assert len(cut.reflections) == inside.sum()
    assert np.nansum(cut.f) == pytest.approx(np.nansum(data.f[inside]))
    place = data.reflections.find(cut.reflections.hkl)
    np.testing.assert_array_equal(cut.hl, data.hl[place])
    with pytest.raises(InputError, match="cannot be cut at 1.5 A"):
        cut_resolution(data, 1.5)


def test_share_of_the_gain():
    assert share_of_gain(0.4, 0.5, 0.6) == pytest.approx(0.5)
    assert share_of_gain(0.4, 0.3, 0.6) == pytest.approx(-0.5)
    assert share_of_gain(0.6, 0.7, 0.61) is None


def test_benchmark_reports_sets_and_failures(sad, tmp_path):
    card = toy_card(tmp_path, [write_prepared(tmp_path, code) for code in ("aaaa", "bbbb")])
    report = benchmark_sad(sad, card, tmp_path, ["toy@2.5", "none"], cycles=2,
                           workers=0, radii=(3.0, 5.0), blurs=(1.0,))
    result = report["sets"]["toy@2.5"]
    assert result["d_min"] == 2.5 and result["solvent_true"] == 0.7
    assert set(result["methods"]) == {"start", "variance", "best variance", "unet", "true mask",
                                      "flat mask"}
    assert len(result["variances"]) == 2
    best = result["methods"]["best variance"]
    tried = [*result["variances"], result["methods"]["variance"]]
    assert best["cc"] == max(scores["cc"] for scores in tried)
    assert list(report["failures"]) == ["none"]
    assert json.loads((tmp_path / "benchmark.json").read_text())["cycles"] == 2
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    text = render(report)
    assert "best variance" in text and "none failed: " in text
