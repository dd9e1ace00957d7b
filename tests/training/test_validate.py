"""model validate: what is compared, records, kept results, workers, commands, tables and page."""

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import numpy as np
import pytest
from measured import ERROR, write_measured
from peptide import row_of
from prepared import write_prepared

from crank2_unet.cli.main import main
from crank2_unet.crystal.phases import phase_difference
from crank2_unet.errors import InputError
from crank2_unet.modification import engine
from crank2_unet.network.session import SolventNet
from crank2_unet.pipeline import segment
from crank2_unet.training.evaluation import page
from crank2_unet.training.evaluation.cases import Case, cut_resolution
from crank2_unet.training.evaluation.mask_runs import MASKS, run_masks
from crank2_unet.training.evaluation.page import draw, render
from crank2_unet.training.evaluation.validate import (
    Protocol,
    find_entries,
    read,
    validate,
    validate_entry,
    write,
)
from crank2_unet.training.preparation.prepare import prepare_structure
from crank2_unet.training.preparation.prepared import write_prepared as save_prepared

ROOT = Path(__file__).parents[2]


def without_times(records):
    return {name: {key: value for key, value in record.items() if key != "seconds"}
            for name, record in records.items()}


def test_case_knows_the_errors_of_its_phases(measured_set):
    case = Case.read(measured_set)
    scores = case.truth.scores(case.start)
    assert scores["acentric"]["phase_error"] == pytest.approx(ERROR, abs=0.1)
    assert scores["fom"] == pytest.approx(np.cos(np.deg2rad(ERROR)), abs=0.01)
    assert 0.7 < scores["cc"] < 0.9 and scores["cc_filled"] is None
    measured = np.isfinite(case.data.f)
    assert measured.mean() == pytest.approx(0.9, abs=0.01) and case.truth.amplitudes[~measured].all()
    perfect = case.start.__class__(case.data.reflections, case.truth.phi, np.ones(len(measured)), None)
    assert case.truth.scores(perfect)["cc"] == pytest.approx(1.0)


def test_a_prepared_case_has_the_errors_of_its_file(collection, tmp_path):
    arrays = prepare_structure(row_of(collection, "aaaa"), collection / "aaaa.cif.gz", 0, 1, 0)
    save_prepared(tmp_path / "aaaa_0.npz", arrays)
    case = Case.read(tmp_path / "aaaa_0.npz")
    scores = case.truth.scores(case.start)
    assert scores["phase_error"] == pytest.approx(arrays["phase_error"][0], abs=0.2)
    assert scores["cc"] == pytest.approx(arrays["map_cc"][0], abs=0.1)
    assert case.kind == "prepared" and case.truth.amplitudes.min() > 0 and case.sites() is None


def test_cut_keeps_the_reflections_inside(measured_set):
    data = Case.read(measured_set).data
    cut = cut_resolution(data, 3.0)
    inside = data.reflections.d >= 3.0
    assert len(cut.reflections) == inside.sum()
    assert np.nansum(cut.f) == pytest.approx(np.nansum(data.f[inside]))
    place = data.reflections.find(cut.reflections.hkl)
    np.testing.assert_array_equal(cut.hl, data.hl[place])
    with pytest.raises(InputError, match="cannot be cut at 1.5 A"):
        cut_resolution(data, 1.5)


def test_a_folder_without_the_solvent_content_is_told_of(measured_set, tmp_path):
    shutil.copytree(measured_set, tmp_path / "set")
    (tmp_path / "set/meta.json").write_text("{}")
    with pytest.raises(InputError, match="meta.json does not tell the solvent content"):
        Case.read(tmp_path / "set")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example as a measured data set, with and without selenium in its model, and with sites of the
    other hand."""
    structure = gemmi.read_structure(str(ROOT / "examples/model.pdb"))
    lacking = structure.clone()
    for chain in lacking[0]:
        for residue in chain:
            for name in [atom.name for atom in residue if atom.element.name == "Se"]:
                residue.remove_atom(name, "\0")
    turned = gemmi.read_structure(str(ROOT / "examples/sites.pdb"))
    for cra in turned[0].all():
        cra.atom.pos = gemmi.Position(*(-x for x in cra.atom.pos.tolist()))
    found = {}
    for name, model, sites in (("whole", structure, None), ("lacking", lacking, None),
                               ("turned", lacking, turned)):
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(ROOT / "examples/example.mtz", folder / "data.mtz")
        for file in ("sites.pdb", "sequence.fasta"):
            shutil.copy(ROOT / "examples" / file, folder)
        if sites:
            (folder / "sites.pdb").write_text(sites.make_pdb_string())
        with gzip.open(folder / "model.pdb.gz", "wt") as file:
            file.write(model.make_pdb_string())
        (folder / "meta.json").write_text('{"validation": {"solvent_content_matthews": 0.5}}')
        found[name] = Case.read(folder, from_sites=True)
    return found


def test_scatterers_that_the_model_lacks_are_part_of_the_truth(example):
    strong = example["whole"].truth.amplitudes > np.median(example["whole"].truth.amplitudes)

    def off(name):
        phi = [example[which].truth.phi[strong] for which in (name, "whole")]
        return phase_difference(*phi).mean()
    # sites of the other hand are nowhere that the model's phases show anything
    assert off("turned") > 10 and off("lacking") < 0.5 * off("turned")


def test_masks_of_the_model_are_better_than_others(measured_set, toy_net):
    case, net = Case.read(measured_set, 2.5), SolventNet.load(toy_net, "cpu", threads=1)
    found = segment(case.data, net, case.composition)
    runs = dict(run_masks(case, found, net, list(MASKS), 2, False, None))
    assert list(runs) == list(MASKS)
    assert runs["best variance"].scores["cc"] >= runs["variance"].scores["cc"]
    assert runs["model"].scores["mcc"] > max(runs[name].scores["mcc"] for name in (
        "network", "variance", "classical"))
    assert runs["flat"].scores["blur"] in (1.0, 2.0)
    assert runs["network"].scores["cc_filled"] is not None and runs["network"].scores["cycles"] == 2


def test_cycles_until_convergence(measured_set, toy_net):
    protocol = Protocol(("network",), cycles=None)
    entry = validate_entry(str(measured_set), 2.8, str(toy_net), protocol)
    assert entry["runs"]["network"]["cycles"] != 2


def test_parrot_with_its_own_masks_and_with_ours(measured_set, toy_net, stand_in, tmp_path):
    protocol = Protocol(("network", "variance"), cycles=2, parrot=str(stand_in(patched=True)))
    report = validate([f"{measured_set}@2.5"], toy_net, tmp_path / "out", protocol, workers=0)
    runs = report["entries"]["toy@2.5"]["runs"]
    assert runs["network"]["cc_filled"] != runs["variance"]["cc_filled"]  # it only changes the map
    assert "by Parrot" in (tmp_path / "out/tables.txt").read_text()


def test_ncs_is_looked_for_where_sites_are_known(measured_set, toy_net, tmp_path, monkeypatch):
    folder = tmp_path / "sites"
    shutil.copytree(measured_set, folder)
    model = gemmi.read_structure(str(folder / "model.pdb.gz"))
    model.remove_ligands_and_waters()
    for residue in model[0][0]:
        for name in [atom.name for atom in residue if atom.name != "SD" or residue.seqid.num > 20]:
            residue.remove_atom(name, "\0")
    model.write_pdb(str(folder / "sites.pdb"))
    assert Case.read(folder).sites()[0].count_atom_sites() == 5
    asked, averager = [], engine.MapAverager
    monkeypatch.setattr(engine, "MapAverager",
                        lambda start, *how: asked.append(how) or averager(start, *how))
    with_ncs, without = (validate_entry(str(folder), 3.0, str(toy_net), Protocol(
        ("network",), cycles=1, ncs=ncs))["runs"]["network"] for ncs in (True, False))
    assert len(asked) == 1 and asked[0][0][0].count_atom_sites() == 5
    assert with_ncs["ncs_operators"] == 0 and "ncs_operators" not in without


def test_choice_of_data_sets(measured_set, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    write_prepared(one, "aaaa", noises=(1.0, 0.2))  # phase errors 60 and 48
    write_prepared(two, "bbbb", noises=(2.0, 0.2))  # 75 and 48
    both = [str(one), str(two)]
    assert list(find_entries([str(measured_set.parent), f"{measured_set}@2.8", *both])) == [
        "toy", "toy@2.8", "aaaa_0", "bbbb_0"]
    assert find_entries([f"{measured_set}@2.8"])["toy@2.8"] == (measured_set, 2.8)
    assert list(find_entries([str(two)], errors=(70, 85))) == ["bbbb_0"]
    write_prepared(two, "cccc")
    assert len(find_entries([str(two)], limit=1)) == 1
    with pytest.raises(InputError, match="No prepared structure in .* within the limits"):
        find_entries(both, largest_volume=1000)
    write_prepared(two, "aaaa")
    with pytest.raises(InputError, match="aaaa_0 is in two folders"):
        find_entries(both)
    with pytest.raises(InputError, match="x is no resolution"):
        find_entries([f"{measured_set}@x"])
    with pytest.raises(InputError, match="has no data sets"):
        find_entries([str(tmp_path)])


@pytest.mark.parametrize("how, message", [
    ({"masks": ("network", "magic")}, 'no mask "magic"'),
    ({"commands": ("x {output}",)}, "--a and --b"),
    ({"commands": ("x {outputs}", "y")}, "placeholder {outputs}"),
    ({"cycles": 0}, "cycles is 0"),
    ({"building": "x 'y"}, "cannot be read")])
def test_protocols_that_cannot_be(how, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Protocol(**how)


@pytest.mark.parametrize("how, message", [
    (["--from-json", "x.json", "--cycles", "3"], "--cycles goes with data sets"),
    *((["--from-json", "x.json", *option], f"{option[0]} goes with data sets") for option in (
        ["--ncs"], ["--from-sites"], ["--model", "m.json"], ["--split", "test"],
        ["--largest-volume", "1e5"], ["--scheduler", "slurm"])),
    (["data", "--a", "x", "--b", "y", "--masks", "network"], "--masks goes with masks"),
    (["data", "--a", "x", "--b", "y", "--ncs"], "--ncs goes with masks"),
    ([], "Give either data sets or --from-json")])
def test_options_that_would_do_nothing_are_refused(how, message, tmp_path, capsys):
    assert main(["model", "validate", *how, "-o", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_reports_pages_and_kept_records(measured_set, toy_net, tmp_path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    old = write_prepared(prepared, "bbbb")
    with np.load(old) as file:
        np.savez(old, **{name: file[name] for name in file.files if name != "phi_true"})
    sources, out = [f"{measured_set}@2.5", str(prepared)], tmp_path / "out"
    report = validate(sources, toy_net, out, Protocol(cycles=1), workers=0)
    entry = report["entries"]["toy@2.5"]
    assert list(entry["runs"]) == ["start", "network", "variance", "classical"]
    assert (entry["kind"], entry["d_min"], entry["solvent"]["true"]) == ("measured", 2.5, 0.7)
    assert set(entry["seconds"]) == {"reading", "segmentation", "network", "variance", "classical"}
    assert "phi_true" in report["failures"]["bbbb_0"]
    files = {path.name for path in out.iterdir()}
    assert files == {"entries", "validation.html", "validation.json", "tables.txt", "honesty.png",
                     "shells.png", "solvent.png", "fig1a_network_variance.png",
                     "fig1a_network_classical.png"}
    start = entry["runs"]["start"]
    honesty = (out / "tables.txt").read_text().partition("Honesty of the starting phases")[2]
    row = next(line for line in honesty.splitlines() if line.startswith("toy@2.5"))
    assert float(row.split()[3]) == pytest.approx(start["fom"] - start["cos"], abs=2e-3)
    text = (out / "validation.html").read_text()
    assert "bbbb_0 failed: " in text and "Fig. 1(b), R-free after model building, is not drawn" in text
    assert "http:" not in text and "https:" not in text

    kept = out / "entries/toy@2.5.json"
    before = kept.stat().st_mtime_ns
    assert validate(sources, toy_net, out, Protocol(cycles=1), workers=0) == report
    assert kept.stat().st_mtime_ns == before
    validate(sources, toy_net, out, Protocol(cycles=2), workers=0)
    assert kept.stat().st_mtime_ns > before

    write(read([out / "validation.json"]), tmp_path / "again")
    for name in ("validation.json", "tables.txt", "fig1a_network_variance.png"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    with pytest.raises(InputError, match="no report of"):
        read([measured_set / "meta.json"])
    other = {**report, "settings": {**report["settings"], "cycles": 9, "ncs": True}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="cycles 2 there, 9 here; ncs False there, True here"):
        read([out / "validation.json", tmp_path / "other.json"])


@pytest.mark.parametrize("name", ["measured", "measured_from_sites", "measured_last",
                                  "measured_without_ncs", "simulated"])
def test_tables_on_record_are_those_of_their_reports(name):
    report = read([ROOT / f"models/tables/{name}.json.gz"])
    assert render(report) + "\n" == (ROOT / f"models/tables/{name}.txt").read_text(), (
        f"crank2-unet model validate --from-json models/tables/{name}.json.gz -o out")


def test_the_figure_on_the_page_is_that_of_its_report(tmp_path):
    """Other versions of matplotlib place letters a little differently."""
    from matplotlib.image import imread

    write(read([ROOT / "models/tables/simulated.json.gz"]), tmp_path / "out")
    shown, drawn = imread(ROOT / "docs/images/fig1a.png"), imread(
        tmp_path / "out/fig1a_network_variance.png")
    assert shown.shape == drawn.shape and np.abs(shown - drawn).mean() < 0.03


def test_structures_are_simulated_first(collection, toy_net, tmp_path):
    protocol = Protocol(masks=("network", "variance"), cycles=1)
    report = validate([str(collection)], toy_net, tmp_path / "out", protocol, split="train", limit=1,
                      workers=0)
    (name, entry), = report["entries"].items()
    assert (tmp_path / f"out/simulated/{name}.npz").exists() and entry["kind"] == "prepared"
    assert entry["runs"]["network"]["cc_filled"] is not None


def test_the_commands_of_the_page(toy_net, collection, tmp_path, monkeypatch, stand_in):
    """As they stand on the page, with the folders of this test instead of those that it speaks of."""
    for name in ("5xfd_se_sad", "gamma_xe"):
        write_measured(tmp_path / "SAD" / name, 2.7)
    shutil.copytree(collection, tmp_path / "STRUCTURES", ignore=lambda *_: ["STRUCTURES", "SAD"])
    index = tmp_path / "STRUCTURES/index.csv"
    index.write_text(index.read_text().replace("aaaa,train", "aaaa,test"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{stand_in(patched=True).parent}:{os.environ['PATH']}")
    monkeypatch.setattr(page, "draw", lambda _: {})
    text = (ROOT / "docs/results.md").read_text()
    lines = re.findall(r"^\|[^|]+\| `crank2-unet (model validate [^`]+)`", text, re.M)
    assert len(lines) == 12
    # the measured data here have no Friedel mates; simulated ones are made before they are read
    lines = sorted((line for line in lines if "--from-sites" not in line),
                   key=lambda line: ("--from-json" in line, "PREPARED" in line))
    meant = {"PREPARED": "structures/simulated", "$OLD": "cp {data} {output}",
             "$NEW": "cp {data} {folder}/new.mtz", "45": "0", "85": "90"}
    (tmp_path / "models").symlink_to(ROOT / "models")
    quick = ["--model", str(toy_net), "--workers", "0", "--cycles", "1", "--limit", "1"]
    for line in lines:
        words = [meant.get(word, word) for word in shlex.split(line)]
        if "--from-json" in words:  # figures take half of the time, and are drawn by these
            monkeypatch.setattr(page, "draw", draw)
        assert main([*words, *([] if "--from-json" in words else quick)]) == 0, line
        assert (tmp_path / words[words.index("-o") + 1] / "validation.html").exists()
    assert (tmp_path / "all/tables.txt").read_text().startswith("Data sets: 2 measured, 1 prepared;")


def test_two_workers_give_what_one_gives(measured_set, toy_net, tmp_path):
    sources = [f"{measured_set}@{d_min}" for d_min in (2.6, 2.7, 2.8)]
    protocol = Protocol(("network", "variance"), cycles=1)
    reports = [validate(sources, toy_net, tmp_path / f"by_{workers}", protocol, workers=workers)
               for workers in (1, 2)]
    assert without_times(reports[0]["entries"]) == without_times(reports[1]["entries"])
    tables = [re.sub(r"CPU seconds.*", "", render(report), flags=re.S) for report in reports]
    assert tables[0] == tables[1]


def test_a_command_killed_twice_goes_on(measured_set, toy_net, tmp_path):
    sources = [f"{measured_set}@{d_min}" for d_min in (2.6, 2.7, 2.8, 2.9)]
    records = tmp_path / "out/entries"
    command = [sys.executable, "-m", "crank2_unet", "model", "validate", *sources, "--model",
               str(toy_net), "-o", str(tmp_path / "out"), "--cycles", "1", "--masks",
               "network,variance", "--workers", "1"]
    times: dict = {}
    for done in (1, 2):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(records.glob("*.json"))) < done and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait()
        kept = {path.name: path.stat().st_mtime_ns for path in records.glob("*.json")}
        assert done <= len(kept) < 4 and not (tmp_path / "out/validation.json").exists()
        assert times.items() <= kept.items()
        times = kept
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert all((records / name).stat().st_mtime_ns == then for name, then in times.items())
    report = json.loads((tmp_path / "out/validation.json").read_text())
    alone = validate_entry(str(measured_set), 2.6, str(toy_net), Protocol(("network",), cycles=1))
    assert report["entries"]["toy@2.6"]["runs"]["network"]["phase_error"] == pytest.approx(
        alone["runs"]["network"]["phase_error"], abs=1e-6)
