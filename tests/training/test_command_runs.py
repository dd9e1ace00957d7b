"""Commands that improve phases, compared by model validate."""

import shlex
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

from crank2_unet.crystal.phases import phi_fom_from_hl
from crank2_unet.errors import InputError, ProgramError
from crank2_unet.training.commands import Command, from_anywhere
from crank2_unet.training.evaluation.cases import Case
from crank2_unet.training.evaluation.command_runs import (
    PLACEHOLDERS,
    r_free,
    read_phases,
    run_command,
)
from crank2_unet.training.evaluation.validate import Protocol, validate

STAND_IN = Path(__file__).parents[1] / "standins" / "improve.py"


@pytest.fixture(scope="module")
def command(measured_set, tmp_path_factory):
    """Makes the command line of the stand-in for a phase error, and what else it should do."""
    truth = tmp_path_factory.mktemp("truth") / "truth.mtz"
    r = Case.read(measured_set).data.reflections
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = r.spacegroup
    mtz.set_cell_for_all(r.cell)
    mtz.add_dataset("truth")
    mtz.add_column("PHI", "P")
    mtz.set_data(np.column_stack([r.hkl, Case.read(measured_set).truth.phi]).astype(np.float32))
    mtz.write_to_file(str(truth))
    program = shlex.join([sys.executable, str(STAND_IN)])
    return lambda error, how="": f"{program} {{data}} {{output}} {truth} {error} {how}".strip()


@pytest.mark.parametrize("how, hand, shift", [
    ("", "as given", None), ("shift", "as given", [-0.5, 0, 0]), ("invert", "other", None)])
def test_commands_are_judged_wherever_their_origin_is(measured_set, command, how, hand, shift):
    case = Case.read(measured_set)
    scores = case.truth.scores(run_command(Command(command(20, how), PLACEHOLDERS), case, 0.5, 3))
    assert scores["acentric"]["phase_error"] == pytest.approx(20, abs=0.1)
    assert scores["fom"] == pytest.approx(np.cos(np.deg2rad(20)), abs=1e-3)
    assert (scores["hand"], scores["shift"]) == (hand, shift)


def test_commands_that_fail_are_shown_with_what_they_say(measured_set, command):
    case = Case.read(measured_set)
    with pytest.raises(ProgramError, match="exit status 3.*\n.*not to my taste"):
        run_command(Command(command(-1), PLACEHOLDERS), case, 0.5, 3)
    with pytest.raises(ProgramError, match="no-such-program does not start"):
        run_command(Command("no-such-program {data}", PLACEHOLDERS), case, 0.5, 3)
    with pytest.raises(ProgramError, match="has left no MTZ file"):
        run_command(Command("true {data}", PLACEHOLDERS), case, 0.5, 3)
    with pytest.raises(InputError, match="no {sites} for this data set"):
        run_command(Command("true {sites}", PLACEHOLDERS), case, 0.5, 3)


def test_files_of_a_command_are_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    for name in ("build.sh", "sh", "a b/x.sh"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert from_anywhere("sh build.sh {data} x::1") == f"sh {tmp_path}/build.sh {{data}} x::1"
    assert from_anywhere("./sh 'a b/x.sh' 'c d'") == f"{tmp_path}/sh '{tmp_path}/a b/x.sh' 'c d'"
    assert from_anywhere("x 'y") == "x 'y"


def test_a_command_that_hands_its_input_on_has_its_phases(measured_set):
    case = Case.read(measured_set)
    found = run_command(Command("sh -c 'touch {folder}/y.mtz; cp {data} {folder}/x.mtz'", PLACEHOLDERS),
                        case, 0.5, 3)
    measured = np.isfinite(case.data.f)
    phi, _ = phi_fom_from_hl(case.data.hl, case.data.reflections.allowed_phase)
    assert abs((found.phi - phi + 180) % 360 - 180)[measured].max() < 0.1


def test_files_without_phases(tmp_path, measured_set):
    mtz = gemmi.read_mtz_file(str(measured_set / "data.mtz"))
    while len(mtz.columns) > 5:
        mtz.remove_column(5)
    mtz.write_to_file(str(tmp_path / "f.mtz"))
    with pytest.raises(ProgramError, match="f.mtz has no phases. Its columns are: F, SIGF"):
        read_phases(tmp_path / "f.mtz")


def test_r_free_is_the_last_one_printed():
    assert r_free("R-free = 0.412\nCycle 2 Rwork 0.25 Rfree 0.298 of 5\nDone 0.1") == 0.298
    assert r_free("  R free   0.3842   0.2756\n") == 0.2756
    with pytest.raises(ProgramError, match="printed no R-free"):
        r_free("R-work 0.25")


def test_commands_side_by_side_with_models_built(measured_set, toy_net, command, tmp_path):
    building = command(10).replace("{output}", "{folder}/model.mtz")
    protocol = Protocol(commands=(command(35), command(20)), building=building)
    report = validate([str(measured_set)], toy_net, tmp_path / "out", protocol, workers=0)
    runs = report["entries"]["toy"]["runs"]
    assert list(runs) == ["start", "a", "b"] and runs["b"]["r_free"] == 0.298
    assert runs["a"]["phase_error"] - runs["b"]["phase_error"] == pytest.approx(15, abs=0.5)
    page = (tmp_path / "out/validation.html").read_text()
    assert "Fig. 1(b): R-free" in page and "is not drawn" not in page
    assert (tmp_path / "out/fig1b_b_a.png").stat().st_size > 1000
