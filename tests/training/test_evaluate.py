"""Evaluation against masks of known quality, and its report."""

import json
from dataclasses import replace

import numpy as np
import pytest
from prepared import SOLVENT, toy_card, write_prepared

from crank2_unet.cli.main import main
from crank2_unet.crystal.grids import like
from crank2_unet.errors import InputError
from crank2_unet.network.model_card import ModelCard
from crank2_unet.network.session import SolventNet
from crank2_unet.training.evaluation.masks import evaluate_map, evaluate_masks, render, summarise
from crank2_unet.training.evaluation.withheld import SHARE, withheld_correlations
from crank2_unet.training.parallel import run_all
from crank2_unet.training.preparation.prepared import PreparedStructure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three prepared structures and, calibrated on them, a network that sees local deviation."""
    folder = tmp_path_factory.mktemp("evaluate")
    files = [write_prepared(folder, code, (0.8, 0.3)) for code in ("aaaa", "bbbb", "cccc")]
    toy_card(folder, files, 3.0, 2.0)
    (folder / "index.csv").write_text("code,n_chains\naaaa,2\nbbbb,1\ncccc,1\n")
    return folder


def record(name="x_0", unet=0.8, variance=0.7, phase_error=55.0, **changes):
    def scores(mcc):
        return dict.fromkeys(("accuracy", "majority", "precision", "recall", "specificity", "f1",
                              "mcc"), mcc)
    return {"name": name, "kind": "as phased", "phase_error": phase_error, "d_min": 2.2, "solvent": 0.5,
            "masks": {"unet": scores(unet), "unet P > 0.5": scores(unet - 0.1),
                      "majority": {**scores(0.5), "precision": float("nan")},
                      "variance 3": scores(variance - 0.3), "variance 4": scores(variance)},
            "flat": {"unet": scores(unet), "variance 3": scores(variance),
                     "variance 4": scores(variance - 0.1)},
            "withheld": {kind: {"> 4": cc, "3 - 4": cc / 2, "< 3": float("nan")} for kind, cc in
                         (("variance", variance / 2), ("unet", unet / 2), ("model", 0.6))},
            "solvent_content": {"true": 0.5, "estimate": 0.55, "matthews": 0.7, "unet": 0.45},
            "copies": {"true": 2, "possible": 3, "estimate": 2, "matthews": 1}, **changes}


def test_map_is_scored_against_the_truth(folder):
    structure = PreparedStructure.read(folder / "aaaa_0.npz")
    net = SolventNet.load(folder / "solvent.json", "cpu")
    noisy, clean = (evaluate_map(structure, number, net, (3.0, 8.0), 1)
                    for number in (0, 1))
    assert clean["masks"]["unet"]["mcc"] > noisy["masks"]["unet"]["mcc"] > 0.3
    # the toy network is the local deviation at 3 Angstrom
    assert clean["masks"]["unet"]["mcc"] == pytest.approx(clean["masks"]["variance 3"]["mcc"],
                                                          abs=0.05)
    # where density varies is where the protein is
    assert clean["flat"]["unet"]["mcc"] == pytest.approx(clean["masks"]["unet"]["mcc"], abs=0.1)
    assert clean["masks"]["majority"]["accuracy"] == pytest.approx(SOLVENT, abs=0.01)
    assert clean["masks"]["unet"]["precision"] == pytest.approx(clean["masks"]["unet"]["recall"],
                                                                abs=1e-3)  # as many as true ones
    assert (noisy["kind"], clean["kind"]) == ("as phased", "later") and clean["phase_error"] == 49.5


def test_evaluation_reports_all_maps_and_fills_the_card(folder, tmp_path):
    assert main(["model", "evaluate", str(folder), "--model", str(folder / "solvent.json"), "-o",
                 str(tmp_path), "--fill-card", "--workers", "0"]) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert (report["n_maps"], report["n_structures"]) == (6, 3) and not report["failures"]
    assert (tmp_path / "evaluation.png").stat().st_size > 1000
    assert ModelCard.read(folder / "solvent.json").name == "toy"
    metrics = json.loads((folder / "solvent.json").read_text())["metrics"]
    assert metrics["overall"]["unet"]["accuracy"] == pytest.approx(
        report["overall"]["unet"]["accuracy"], abs=1e-5)
    text = render(report)
    assert "Worst masks: " in text and "Mean phase error" in text and "nan" not in text
    assert "Withheld reflections: 8% are left out" in text and "> 4 model" in text


def test_withheld_reflections_are_predicted_better_by_better_masks(folder):
    """And their own amplitudes have no part in it."""
    structure = PreparedStructure.read(folder / "aaaa_0.npz")
    net = SolventNet.load(folder / "solvent.json", "cpu")
    found = withheld_correlations(structure, 1, net)
    assert min(found["model"]["> 4"], found["unet"]["> 4"]) > 0.5
    noisy = withheld_correlations(structure, 0, net)
    assert noisy["model"]["> 4"] < found["model"]["> 4"]
    withheld = np.random.default_rng(1).random(len(structure.data.reflections)) < SHARE
    other = replace(structure, coefficients=np.where(withheld, 1e3, structure.coefficients))
    assert withheld_correlations(other, 1, net) == found
    opposite = like(structure.truth, 1 - structure.truth.array)
    assert withheld_correlations(replace(structure, truth=opposite), 1, net)["model"]["> 4"] < 0.1


def test_chains_decide_what_one_copy_is(folder, tmp_path):
    def of_first(**options):
        report = evaluate_masks(folder, folder / "solvent.json", tmp_path, radii=(3.0,), workers=0,
                                **options)
        found = next(r for r in report["maps"] if r["name"] == "aaaa_0")
        return found["solvent_content"], found["copies"]
    (whole, one), (halves, two) = of_first(), of_first(index_csv=folder / "index.csv")
    assert (one["true"], one["possible"], one["estimate"]) == (1, 2, 1)
    assert (two["true"], two["possible"]) == (2, 4)
    # one copy of all of it is the obvious answer; of halves, any number up to four fits
    assert whole["matthews"] == pytest.approx(whole["true"], abs=0.02)
    assert halves["true"] == whole["true"]
    assert min(abs(halves["matthews"] - x) for x in (0.1, 0.325, 0.55, 0.775)) < 0.02


def test_summary_by_hand():
    records = [record("a_0", 0.9, 0.7, 45.0), record("a_0", 0.6, 0.7, 65.0, kind="later"),
               record("b_0", 0.8, 0.6, 65.0,
                      copies={"true": 1, "possible": 1, "estimate": 1, "matthews": 1})]
    report = summarise(records)
    assert report["best_variance"] == "variance 4"
    assert report["overall"]["unet"]["mcc"] == pytest.approx(2.3 / 3)
    assert np.isnan(report["overall"]["majority"]["precision"])
    assert report["worse_than_variance"] == pytest.approx(1 / 3)
    assert report["worst"] == ["a_0", "b_0"]
    rows = report["bins"]["phase_error"]
    assert [(row["bin"], row["n"]) for row in rows] == [("< 50", 1), ("60 - 70", 2)]
    assert rows[1]["unet_mcc"] == pytest.approx(0.7)
    assert rows[1]["withheld"]["> 4"] == pytest.approx({"variance": 0.325, "unet": 0.35, "model": 0.6})
    assert report["withheld"]["3 - 4"]["unet"] == pytest.approx(2.3 / 12)
    assert np.isnan(report["withheld"]["< 3"]["unet"])
    assert [row["bin"] for row in report["bins"]["kind"]] == ["as phased", "later"]
    assert report["solvent_content"]["estimate"] == pytest.approx(
        {"median_error": 0.05, "rms_error": 0.05, "within_0.1": 1.0})
    assert report["copies"] == {"n": 2, "estimate": 1.0, "matthews": 0.0}
    assert report["solvent_content"]["matthews"]["within_0.1"] == 0.0


def reciprocal(x):
    return 1 / x


@pytest.mark.parametrize("workers", [0, 1])
def test_one_failure_does_not_stop_the_others(workers):
    jobs = {name: (x,) for name, x in (("d", 4), ("zero", 0), ("b", 2))}
    results, failures = run_all(reciprocal, jobs, workers)
    assert list(results.items()) == [("d", 0.25), ("b", 0.5)]
    assert failures == {"zero": "ZeroDivisionError: division by zero"}


def test_failure_of_all_is_an_error():
    with pytest.raises(InputError, match="division by zero"):
        run_all(reciprocal, {"zero": (0,)}, workers=0)
