"""Crank2 for the R-free of a validation: its keywords, as far as they can be run without CCP4."""

import shlex

from crank2_job import COMMAND, REPOSITORY, prepare
from measured import write_measured

from crank2_unet.training.evaluation.cases import Case


def test_crank2_takes_the_keywords_up_to_buccaneer(tmp_path):
    crank2 = prepare(tmp_path / "crank2")
    folder = write_measured(tmp_path / "a set")
    case = Case.read(folder)
    case.write_mtz(tmp_path / "data.mtz", case.data.hl)
    log = crank2.command(
        ["sh", str(REPOSITORY / "examples/crank2/build.sh"), str(tmp_path / "data.mtz"),
         str(folder / "sequence.fasta"), str(tmp_path / "job")], status=1,
        CRANK2_COMMAND=shlex.join(COMMAND))
    assert "Matthews" in log and "Binary cbuccaneer for program Buccaneer does not exist" in log
