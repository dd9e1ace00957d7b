"""examples/crank2/compare.sh: jobs with and without the network's masks, and their table."""

import shlex
import sys

import pytest
from crank2_job import COMMAND, prepare

SETTING = {"CRANK2_COMMAND": shlex.join(COMMAND), "PYTHON": sys.executable}


@pytest.fixture(scope="module")
def crank2(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("crank2"))


@pytest.fixture(scope="module")
def table(crank2):
    """Words of each line of the table for the example, by its masks; building has no stand-in."""
    examples, folder = crank2.work / "examples", crank2.work / "data" / "bundle"
    folder.mkdir(parents=True)
    keywords = (examples / "crank2" / "sad_to_building.inp").read_text().split("phas\n")[0]
    (folder / "crystal.inp").write_text(keywords.replace("dmmask::unet\n", ""))
    (folder / "examples").symlink_to(examples)
    (folder / "model.pdb").symlink_to(examples / "model.pdb")
    steps = crank2.work / "steps.inp"
    steps.write_text("phas\ndmfull no_bias_est::True dmcyc::3\n")
    output = crank2.command([str(examples / "crank2" / "compare.sh"), "data", "out", str(steps)],
                            **SETTING)
    return {words[1]: words[2:] for words in map(str.split, output.splitlines())}


def test_the_table_has_what_became_of_each_job(table):
    assert list(table) == ["masks", "unet", "without"]
    status, fom, error, correlation, *built, done, of, asked = table["unet"]
    assert (status, built, done, of, asked) == ("0", ["-", "-"], "2", "of", "2")
    assert 0.3 < float(fom) < 0.9 and float(error) < 60 and float(correlation) > 0.5
    assert table["without"][0] == "0" and table["without"][-1] == "-"
    assert float(table["without"][2]) != float(error)


def test_without_means_without_any_trace_of_us(crank2, table):
    log = (crank2.work / "out" / "bundle" / "without.log").read_text()
    assert "network" not in log and "Mask by" not in log
    assert "dmmask::" not in (crank2.work / "out" / "bundle" / "without.inp").read_text()


def test_jobs_that_are_done_are_not_run_again(crank2, table):
    out = crank2.work / "out" / "bundle"
    before = (out / "unet.log").stat().st_mtime_ns
    (out / "without.status").unlink()
    crank2.command([str(crank2.work / "examples" / "crank2" / "compare.sh"), "data", "out"],
                   CRANK2_COMMAND="false", PYTHON=sys.executable)
    assert (out / "unet.log").stat().st_mtime_ns == before
    assert (out / "without.status").read_text() == "1\n"


def test_it_says_how_to_call_it(crank2):
    script = str(crank2.work / "examples" / "crank2" / "compare.sh")
    assert "compare.sh FOLDER OUT [STEPS]" in crank2.command([script], status=2, **SETTING)
    assert "No crystal.inp in the folders of" in crank2.command(
        [script, "examples", "none"], status=1, **SETTING)
