"""Results on record: a change of the code that is to change nothing must leave them as they are.

``python tests/commands/test_results.py [FOLDER OF REAL SETS]`` prints them anew.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from crank2_unet.jobs.choices import Columns, Content, NetworkChoice
from crank2_unet.jobs.dm import run_dm
from crank2_unet.jobs.phase import run_phase

RECORD = Path(__file__).with_name("results.json")
EXAMPLES = Path(__file__).parents[2] / "examples"
# ONNX Runtime and FFTs round in other ways on other processors
TOLERANCE = 2e-3


def of_dm(mtz, folder, columns, sequence):
    """The numbers that depend on every step of three cycles."""
    result = run_dm(str(mtz), folder, columns, Content(str(sequence)), NetworkChoice(None, "cpu", 1),
                    cycles=3)
    last = result["cycles"][-1]
    return {"solvent_content": result["solvent_content"]["value"],
            "map_quality": result["map_quality"]["correlation"],
            **{name: last[name] for name in ("fom", "f_correlation", "gamma", "solvent_fraction")}}


def of_example(folder):
    phased = run_phase(str(EXAMPLES / "example.mtz"), folder / "phase",
                       str(EXAMPLES / "sites.pdb"), "Se")
    return {"phasing_fom": phased["phasing"]["fom"],
            **of_dm(folder / "phase/phased.mtz", folder / "dm", Columns(),
                    EXAMPLES / "sequence.fasta")}


def of_real(folder, sets):
    data = sets / "hewl_s_sad"
    return of_dm(data / "data.mtz", folder / "dm",
                 Columns("F,SIGF", "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD"), data / "sequence.fasta")


@pytest.mark.slow
def test_the_example_gives_what_is_on_record(tmp_path):
    assert of_example(tmp_path) == pytest.approx(json.loads(RECORD.read_text())["example"],
                                                 abs=TOLERANCE)


@pytest.mark.realdata
def test_real_data_give_what_is_on_record(shared_data, tmp_path):
    assert of_real(tmp_path, shared_data / "sad") == pytest.approx(
        json.loads(RECORD.read_text())["hewl_s_sad"], abs=TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        found = {"example": of_example(Path(work, "example"))}
        if sys.argv[1:]:
            found["hewl_s_sad"] = of_real(Path(work, "real"), Path(sys.argv[1]))
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
