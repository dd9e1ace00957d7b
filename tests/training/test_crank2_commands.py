"""Crank2 for the R-free of a validation and for substructures and phases of deposited data: the real
one takes its keywords as far as there are stand-ins for CCP4's programs."""

import re
import shlex

import gemmi
import pytest
from crank2_job import REPOSITORY, prepare
from entries import deposit
from measured import write_measured

from crank2_unet.cli.main import main
from crank2_unet.training.evaluation.cases import Case

EXAMPLES = REPOSITORY / "examples/crank2"


@pytest.fixture(scope="module")
def crank2(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("with blanks") / "crank2")


def test_crank2_takes_the_keywords_up_to_buccaneer(crank2, tmp_path):
    folder = write_measured(tmp_path / "a set")
    case = Case.read(folder)
    case.write_mtz(tmp_path / "data.mtz", case.data.hl)
    log = crank2.command(["sh", str(EXAMPLES / "build.sh"), str(tmp_path / "data.mtz"),
                          str(folder / "sequence.fasta"), str(tmp_path / "job")], status=1)
    assert "Matthews" in log and "Binary cbuccaneer for program Buccaneer does not exist" in log


@pytest.mark.slow
def test_crank2_finds_and_phases(crank2, tmp_path, monkeypatch, capsys):
    """As on docs/pdb.md, a default run and a longer one, of which the stand-in for PRASA finds the
    sites in the other hand."""
    sites = deposit(tmp_path / "files", "1abc")
    turned = sites.clone()
    for cra in turned[0].all():
        x = turned.cell.fractionalize(cra.atom.pos).tolist()
        cra.atom.pos = turned.cell.orthogonalize(gemmi.Fractional(*(0.5 - c for c in x)))
    turned.write_pdb(str(tmp_path / "found.pdb"))
    for name, value in {**crank2.environment, "STANDIN_SITES": str(tmp_path / "found.pdb"),
                        "STANDIN_TRIALS": "2000"}.items():
        monkeypatch.setenv(name, value)
    page = (REPOSITORY / "docs/pdb.md").read_text()
    text, = re.findall(r"^crank2-unet (model prepare .*\\\n(?:.*\\\n)*.*--phasing .*)$", page, re.M)
    words = shlex.split(text.replace("\\\n", ""))
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--workers", "0"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"found by command 2 +1$", told, re.M) and "phase.sh" in told
