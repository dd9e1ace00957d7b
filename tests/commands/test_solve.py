"""The command ``solve``, and how it goes on where an earlier run was killed."""

import json
import shutil
from pathlib import Path

import gemmi
import numpy as np
import pytest

from crank2_unet.cli.main import main
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.jobs import solve
from crank2_unet.jobs.stages import Stages

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = ["solve", str(EXAMPLES / "example.mtz"), "--sites", str(EXAMPLES / "sites.pdb"), "--element",
           "Se", "--seq", str(EXAMPLES / "sequence.fasta"), "--cycles", "3", "--device", "cpu"]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solve") / "out"
    assert main([*COMMAND, "-o", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_from_mates_and_sites_to_a_map(solved):
    result = result_of(solved)
    assert {f.name for f in solved.iterdir()} == {
        "dm.mtz", "mask.ccp4", "sites.pdb", "result.json", "report.html",
        "phase", "hand", "dm", "phase_completed"}
    assert result["hand"]["chosen"] == "given" and result["hand"]["decided_by"] == "hand"
    assert result["hand"]["probability"] > 0.95 and result["hand"]["modified"] is None
    assert [(stage["name"], stage["kept"], stage["chosen"]) for stage in result["stages"]] == [
        ("phase", False, False), ("hand", False, False), ("dm", False, True),
        ("phase_completed", False, False)]  # there is nothing to add to the example's sites
    assert result["input"]["labels"] == {"fpm": "F(+),SIGF(+),F(-),SIGF(-)"}
    assert result["timings"]["total"] > result["timings"]["dm"]
    assert result["verdict"]["word"] in ("solved", "promising")
    assert "P(flat)</option>" in (solved / "report.html").read_text()
    for report in solved.rglob("report.html"):  # nothing is advised that is done
        text = report.read_text()
        assert [words for words in ("--hand both", "--ncs-sites", "other hand (", "crank2-unet dm")
                if words in text] == []
    data = read_phased(solved / "dm.mtz", colin_fc="FWT,PHWT", colin_hl="HLA,HLB,HLC,HLD").data
    true = model_structure_factors(gemmi.read_structure(str(EXAMPLES / "model.pdb")), data.reflections)
    assert map_correlation(data.coefficients, true, data.reflections.multiplicity) > 0.7
    for stage in result["stages"]:
        assert (solved / stage["report"]).is_file()
        assert result_of(solved / stage["name"])["command"] == stage["command"]


@pytest.mark.slow
def test_a_run_goes_on_after_what_is_finished(solved, tmp_path, capsys):
    folder = tmp_path / "out"
    shutil.copytree(solved, folder)
    shutil.rmtree(folder / "dm")  # killed while the density was modified
    for file in ("result.json", "report.html", "dm.mtz", "mask.ccp4", "sites.pdb"):
        (folder / file).unlink()

    def kept(folder):
        return [stage["kept"] for stage in result_of(folder)["stages"]]
    assert main([*COMMAND, "-o", str(folder)]) == 0
    assert kept(folder) == [True, True, False, True]
    assert "done by an earlier run" in capsys.readouterr().out
    before, after = (gemmi.read_mtz_file(str(f / "dm.mtz")).array for f in (solved, folder))
    np.testing.assert_array_equal(before, after)
    assert main([*COMMAND, "--solvent-content", "0.5", "-o", str(folder)]) == 0
    assert kept(folder) == [True, True, False, False]
    phased = folder / "phase" / "phased.mtz"
    phased.write_bytes(phased.read_bytes()[:-80] + b"x" * 80)
    assert main([*COMMAND, "-o", str(folder)]) == 0
    assert kept(folder) == [False, True, False, False]


def test_nothing_is_left_if_the_first_stage_fails(tmp_path, capsys):
    assert main([*COMMAND, "--element", "Xx", "-o", str(tmp_path / "out")]) == 1
    assert "Xx" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [
    ["--mask", "mask.ccp4"], ["--mask-one-is", "protein"], ["--ncs-sites", "sites.pdb"],
    ["--ncs-operator", "0,0,0,0,0,0,0,0,0"]])
def test_what_is_right_in_one_hand_only_is_no_option(option, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*COMMAND, *option, "-o", str(tmp_path / "out")])
    assert option[0] in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


def test_an_input_is_never_replaced(tmp_path, capsys):
    sites = tmp_path / "sites.pdb"
    shutil.copy(EXAMPLES / "sites.pdb", sites)
    assert main([*COMMAND, "--sites", str(sites), "-o", str(tmp_path)]) == 1
    assert "sites.pdb" in capsys.readouterr().err and list(tmp_path.iterdir()) == [sites]


class Job:
    """Stands in for jobs and counts how often they run."""

    def __init__(self, result):
        self.result, self.runs = result, 0
        self.__name__ = "job"

    def __call__(self, *inputs, folder, progress, part_of, **options):
        assert part_of == "solve"
        self.runs += 1
        Path(folder).mkdir(exist_ok=True)
        result = {"inputs": inputs, "warnings": [], "timings": {"total": 1}, **self.result}
        (Path(folder) / "result.json").write_text(json.dumps(result))
        return result


def test_a_stage_is_repeated_if_what_it_is_made_from_changes(tmp_path):
    data = tmp_path / "data"
    data.write_text("one")
    job, told = Job({"command": "dm"}), []

    def run(**options):
        stages = Stages(tmp_path, "solve", lambda title: pytest.MonkeyPatch.context(), told.append)
        return stages.run("dm", "modifying", job, str(data), **options).kept

    assert not run(cycles=1) and run(cycles=1) and not run(cycles=2) and run(cycles=2)
    data.write_text("two")
    assert not run(cycles=2) and run(cycles=2)
    (tmp_path / "dm" / "foreign").write_text("of the user")
    assert run(cycles=2)
    (tmp_path / "dm" / "result.json").write_text("{}")
    assert not run(cycles=2)
    (tmp_path / "dm" / "stage.json").write_text("[]")
    assert not run(cycles=2)
    assert job.runs == 5 and len(told) == 4


def test_stages_of_earlier_runs_go_and_nothing_else(tmp_path):
    data = tmp_path / "data"
    data.write_text("one")

    def run(*names):
        stages = Stages(tmp_path, "solve", lambda title: pytest.MonkeyPatch.context(), print)
        for name in names:
            stages.run(name, "", Job({"command": "dm"}), str(data))
        stages.forget_others([str(data), None, str(tmp_path / "phase_completed" / "result.json")])

    run("phase", "phase_completed", "dm", "dm_completed", "dm_other_hand")
    (tmp_path / "dm_other_hand" / "notes").write_text("of the user")
    (tmp_path / "dm_other_hand" / "more").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stage.json").write_text("{}")
    (tmp_path / "mine" / "result.json").write_text("{}")
    (tmp_path / "linked").symlink_to(tmp_path / "dm")
    run("phase", "dm")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert left - {"linked"} == {
        "data", "phase/result.json", "phase/stage.json", "dm/result.json", "dm/stage.json",
        "mine/stage.json", "mine/result.json", "dm_other_hand/notes",
        "phase_completed/result.json", "phase_completed/stage.json"}  # it holds an input
    assert (tmp_path / "dm_other_hand" / "more").is_dir() and not (tmp_path / "dm_completed").exists()


@pytest.mark.parametrize("p_given, better, chosen, modified", [
    (0.99, "other", "given", ["given"]), (0.02, "given", "other", ["other"]),
    (0.6, "given", "given", ["given", "other"]), (0.6, "other", "other", ["given", "other"])])
def test_hands_that_cannot_be_told_apart_are_both_modified(p_given, better, chosen, modified):
    ran = []

    def modify(hand):
        ran.append(hand)
        expected = {"correlation": 0.8 if hand == better else 0.2, "uncertainty": 0.1, "probability": 1}
        return solve.Stage(Path(), "", False, {"verdict": {"word": "", "expected": expected}})
    compared = {"same_map": False, "hands": [{"probability": p, "spacegroup": group} for p, group in
                                             ((p_given, "P 41"), (1 - p_given, "P 43"))]}
    hand, done = solve._choose(compared, modify)
    assert hand.chosen == chosen and ran == modified
    assert hand.probability > 0.9 and hand.spacegroup == {"given": "P 41", "other": "P 43"}[chosen]
    assert (hand.modified is not None) == (len(modified) == 2)


def test_sites_without_a_hand(tmp_path):
    compared = {"same_map": True, "hands": [{"probability": 0.5, "spacegroup": "P 21"}] * 2}
    hand, _ = solve._choose(compared, lambda name: name)
    assert hand.chosen == "given" and hand.probability is None and hand.decided_by == "same map"


@pytest.mark.slow
def test_with_parrot(solved, stand_in, tmp_path, capsys):
    """Phasing and hand are taken over; Parrot says less of its map, so that less is made of it."""
    shutil.copytree(solved, tmp_path / "out")
    assert main([*COMMAND, "--parrot", str(stand_in(patched=True)), "-o", str(tmp_path / "out")]) == 0
    result = result_of(tmp_path / "out")
    assert [stage["kept"] for stage in result["stages"]][:3] == [True, True, False]
    assert result["engine"] == "parrot" and (tmp_path / "out/dm/parrot.log").is_file()
    assert result["verdict"]["features"].keys() == {"skewness", "start"}
    assert "Engine:           Parrot" in capsys.readouterr().out


@pytest.mark.parametrize("added, expected, names, better", [
    ([], None, ["phase_completed"], False),
    ([{}], 0.9, ["phase_completed", "dm_completed"], True),
    ([{}], 0.5, ["phase_completed", "dm_completed"], False)])
def test_completed_sites_are_taken_if_their_map_is_better(added, expected, names, better):
    ran, mates = [], {"colin_fpm": "F(+),SIGF(+),F(-),SIGF(-)", "colin_fdano": None}

    class Recorded:
        """Stands in for stages."""

        def run(self, name, title, job, *inputs, **options):
            ran.append((name, inputs, options))
            hand = {"outputs": {"mtz": "phased.mtz", "columns": {}}, "statistics": {"completion": {
                "added": added, "dropped": [], "split": []}}}
            return solve.Stage(Path(name), title, False, {
                "phasing": {**hand["statistics"], "hands": [hand]},
                "verdict": {"expected": {"correlation": expected}}})
    done = solve.Stage(Path("dm"), "", False, {
        "verdict": {"expected": {"correlation": 0.7}}})
    first = solve._Solution("phased_other_hand.mtz", "sites_other_hand.pdb", {}, mates, done)
    phasing = {"sites": "mine.pdb", "scatterer": "Se", "colin_fdano": "F,SIGF,DANO,SIGDANO"}
    best = solve._completed(first, Recorded(), phasing, {"cycles": 3})
    assert [name for name, *_ in ran] == names
    assert ran[0][1:] == (("phased_other_hand.mtz",), {
        "sites": "sites_other_hand.pdb", "scatterer": "Se", "phases": "dm/dm.mtz", **mates})
    assert (best.phased == "phase_completed/phased.mtz") == better == (best is not first)
