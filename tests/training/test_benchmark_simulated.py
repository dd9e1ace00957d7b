"""The benchmark on simulated data sets: choice of sets, kept results, summary."""

import json

import numpy as np
import pytest
from peptide import row_of
from prepared import toy_card, write_prepared

from crank2_unet.errors import InputError
from crank2_unet.training.evaluation.benchmark_simulated import (
    benchmark_simulated,
    choose,
    render,
    summarise,
)
from crank2_unet.training.preparation.prepare import prepare_structure


def sets(*errors):
    """Results of data sets; ``errors``: phase error of variance, best variance and network."""
    return {f"set{i}": {"d_min": 2.5, "share": 0.5 if i else None, "methods": {
        method: {"phase_error": error, "cc": 1 - error / 100}
        for method, error in zip(("variance", "best variance", "unet", "start", "true mask",
                                  "flat mask"),
                                 (*row, 70.0, 30.0, 25.0))}} for i, row in enumerate(errors)}


def test_summary_counts_by_phase_error():
    found = summarise(sets((50, 45, 40), (50, 49.5, 49.4), (50, 50, 52), (50, 50, 50.5)))
    assert found["n"] == 4 and found["share_of_gain"] == {"n": 3, "median": 0.5}
    default = found["against"]["variance"]
    assert (default["better"], default["better_clearly"], default["worse_clearly"]) == (0.5, 0.25, 0.25)
    assert list(default["worst"].items())[0] == ("set2", -2.0)
    assert found["against"]["best variance"]["median"] == pytest.approx(-0.2)
    assert found["medians"]["unet"]["phase_error"] == pytest.approx(49.95)


def test_bins_by_starting_phase_error_and_resolution():
    found = sets((50, 45, 40), (50, 49, 46))
    found["set1"]["methods"]["start"]["phase_error"] = 59.9
    found["set0"]["d_min"] = 1.9
    bins = summarise(found)["bins"]
    assert [(row["d_min"], row["n"]) for row in bins["d_min"]] == [("1.75 - 2", 1), ("2.5 - 3", 1)]
    low, high = bins["start"]
    assert (low["start"], low["n"], low["share"]) == ("< 60", 1, 0.5)
    assert (high["start"], high["n"], high["share"]) == ("70 - 75", 1, None)
    assert (high["variance error"], high["unet error"], high["unet cc"]) == (50, 40, 0.6)


def test_choice_of_data_sets(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    write_prepared(one, "aaaa", noises=(1.0, 0.2))  # phase errors 60 and 48
    write_prepared(two, "bbbb", noises=(2.0, 0.2))  # 75 and 48
    names = [path.stem for path in choose([one, two], (45, 85), np.inf, None)]
    assert sorted(names) == ["aaaa_0", "bbbb_0"]
    assert len(choose([one, two], (45, 85), np.inf, 1)) == 1
    assert [path.stem for path in choose([one, two], (70, 85), np.inf, None)] == ["bbbb_0"]
    with pytest.raises(InputError, match="None of the 2 .* at most 1000 cubic"):
        choose([one, two], (45, 85), 1000, None)
    write_prepared(two, "aaaa")
    with pytest.raises(InputError, match="aaaa_0 is in two folders"):
        choose([one, two], (45, 85), np.inf, None)


def test_results_are_kept_while_settings_stay(collection, tmp_path):
    card = toy_card(tmp_path, [write_prepared(tmp_path, code) for code in ("aaaa", "bbbb")])
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    arrays = prepare_structure(row_of(collection, "aaaa"), collection / "aaaa.cif.gz", 0, 1, 0)
    np.savez(prepared / "aaaa_0.npz", **arrays)
    old = write_prepared(prepared, "bbbb")
    with np.load(old) as file:
        np.savez(old, **{name: file[name] for name in file.files if name != "phi_true"})
    limits = {"errors": (0, 90), "workers": 0, "radii": (4.0,), "blurs": (1.0,)}
    report = benchmark_simulated([prepared], card, tmp_path / "out", 1, **limits)
    found = report["sets"]["aaaa_0"]
    assert found["methods"]["start"]["phase_error"] == pytest.approx(arrays["phase_error"][0], abs=0.2)
    assert found["methods"]["start"]["cc"] == pytest.approx(arrays["map_cc"][0], abs=0.1)
    assert found["methods"]["true mask"]["mcc_last"] > found["methods"]["variance"]["mcc_last"]
    assert "too old to hold the true phases" in report["failures"]["bbbb_0"]
    text = render(report)
    assert "1 data sets" in text and "bbbb_0 failed" in text and "best variance" in text
    assert json.loads((tmp_path / "out/simulated.json").read_text())["n"] == 1
    assert (tmp_path / "out/simulated.png").stat().st_size > 1000

    kept = tmp_path / "out/sets/aaaa_0.json"
    before = kept.stat().st_mtime_ns
    benchmark_simulated([prepared], card, tmp_path / "out", 1, **limits)
    assert kept.stat().st_mtime_ns == before
    again = benchmark_simulated([prepared], card, tmp_path / "out", 2, **limits)
    assert kept.stat().st_mtime_ns > before and again["sets"]["aaaa_0"]["settings"]["cycles"] == 2
