"""Density modification by Parrot: mostly with a stand-in for it, which keeps its conventions and
does little else; at the end with Parrot itself where there is one."""

import json
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from blob import blob, noisy, without
from standins.parrot import OPERATOR

from crank2_unet.cli.main import main
from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import like
from crank2_unet.crystal.phases import map_correlation, phi_fom_from_hl, to_complex
from crank2_unet.errors import InputError, ProgramError
from crank2_unet.files.maps import read_map, write_map
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.modification.engine import EmbeddedEngine
from crank2_unet.modification.region_weights import fixed_weights, variance_weights
from crank2_unet.parrot.engine import ParrotEngine
from crank2_unet.parrot.mask_server import ANISOTROPY_OPTION
from crank2_unet.parrot.options import checked_options
from crank2_unet.parrot.runs import pair, read_output, write_input
from crank2_unet.pipeline import sharpened_map

AHEAD = 5  # cycles of the embedded engine, which ask for masks, too
LEFT = {"parrot.log", "parrot.sh", "parrot_input.mtz"}


@pytest.fixture(scope="module")
def case():
    """Data with some low-order reflections unmeasured, true structure factors, true mask."""
    data, truth, mask = noisy(blob("P 21 21 21"))
    return without(data, data.reflections.d > 15), truth, mask


@pytest.fixture
def inputs(case, tmp_path):
    """The same as files, in a folder with a space in its name."""
    data, truth, mask = case
    folder = tmp_path / "a b"
    folder.mkdir()
    write_input(folder / "in.mtz", data, {})
    write_map(mask, folder / "mask.ccp4")
    return folder


def modify(engine, case, masks, cycles, folder):
    """With region weights, a fixed mask, or None: the engine's own by local variance."""
    data, truth, mask = case
    if masks is None:
        masks = variance_weights(data, float(mask.array.mean()))
    elif not callable(masks):
        masks = fixed_weights(masks)
    folder.mkdir(exist_ok=True)
    return engine.modify(data, masks, float(mask.array.mean()), cycles, folder)


def alike(one, two, case):
    return map_correlation(one.coefficients, two.coefficients, case[0].reflections.multiplicity)


def commands(folder):
    """The commands in the log, each as option -> value."""
    lines = [shlex.split(line[2:]) for line in (folder / "parrot.log").read_text().splitlines()
             if line.startswith("$ ")]
    assert all(words.count(ANISOTROPY_OPTION) == 1 for words in lines)
    lines = [[word for word in words if word != ANISOTROPY_OPTION] for words in lines]
    return [dict(zip(words[1::2], words[2::2])) for words in lines]


@pytest.mark.slow
def test_carriers_do_what_mask_files_do(case, stand_in, tmp_path):
    """Unpatched and patched programs flatten the same regions."""
    mask = case[2]
    carried = modify(ParrotEngine.find(str(stand_in())), case, mask, 3, tmp_path / "1")
    read = modify(ParrotEngine.find(str(stand_in(patched=True))), case, mask, 3, tmp_path / "2")
    own = modify(ParrotEngine.find(str(stand_in())), case, None, 3, tmp_path / "3")
    assert alike(carried, read, case) > 0.9 > alike(carried, own, case) + 0.1
    assert [result.how["parrot"]["masks"] for result in (carried, read, own)] == [
        "carrier", "mask file", "its own"]
    assert [result.how["parrot"]["patched"] for result in (carried, read, own)] == [
        False, True, False]
    for result, folder in ((carried, "1"), (read, "2"), (own, "3")):
        left = {file.name for file in (tmp_path / folder).iterdir()}
        assert left == LEFT | set(result.files.values()) == set(result.files.values())
        assert [entry["cycle"] for entry in result.cycles] == [1, 2, 3]
        assert [entry["gamma"] for entry in result.cycles] == (
            [1.1, 1.1, 1.1] if folder == "1" else [1.1, 1.2, 1.3])
    assert read.weights is mask and own.weights.array.mean() == pytest.approx(
        mask.array.mean(), abs=0.01)


def test_chained_runs_start_from_the_experiment_and_from_the_last_map(case, stand_in, tmp_path):
    data, truth, mask = case
    seen = []

    def masks(current, cycle):
        seen.append(current.density)
        return like(mask, np.roll(mask.array, cycle, axis=0))
    result = modify(ParrotEngine.find(str(stand_in())), case, masks, 3, tmp_path / "o")
    runs = commands(tmp_path / "o")
    assert [run["-cycles"] for run in runs] == ["1"] * 3
    assert [run["-colin-fc"] for run in runs] == [f"/*/*/[{pair('FC', n)}]" for n in (1, 2, 3)]
    assert [run["-colin-fmsk"] for run in runs] == [f"/*/*/[{pair('FMSK', n)}]" for n in (1, 2, 3)]
    assert {run["-colin-hl"] for run in runs} == {"/*/*/[HLA,HLB,HLC,HLD]"}
    mtz = gemmi.read_mtz_file(str(tmp_path / "o" / "parrot_input.mtz"))
    assert mtz.nreflections == len(data.reflections)  # a row for every unique reflection
    assert np.isnan(mtz.column_with_label("F").array).sum() == np.isnan(data.f).sum() > 0
    # the stand-in doubles what it is given; chained to itself it would do so three times
    assert np.allclose(result.hl, 2 * result.how["phases"]["trust"] * data.hl, rtol=1e-5)
    # a mask is found without the reflections that were filled in, which the next run does get
    known = [np.where(data.known, read_phased(tmp_path / "o" / "parrot_input.mtz",
                                              colin_fc=pair("FC", n)).data.coefficients, 0)
             for n in (1, 2, 3)]
    for density, coefficients in zip(seen[AHEAD:], known):
        expected = sharpened_map(replace(data, coefficients=coefficients)).density
        assert np.abs(density.array - expected.array).max() < 1e-3 * expected.array.std()
    filled = read_phased(tmp_path / "o" / "parrot_input.mtz", colin_fc=pair("FC", 3)).data
    assert np.abs(filled.coefficients[~data.known]).max() > 0
    assert result.weights.array.argmax() == like(mask, np.roll(mask.array, 3, 0)).array.argmax()
    assert result.cycles[1]["phase_change"] == 0  # doubled coefficients keep their phases


def test_patched_parrot_asks_for_a_mask_in_every_cycle(case, stand_in, tmp_path):
    data, truth, mask = case
    cycles = []

    def masks(density, cycle):
        cycles.append(cycle)
        return mask
    engine = ParrotEngine.find(str(stand_in(patched=True)))
    asked = modify(engine, case, masks, 3, tmp_path / "1")
    read = modify(engine, case, mask, 3, tmp_path / "2")
    assert cycles[AHEAD:] == [1, 2, 3] and len(commands(tmp_path / "1")) == 1
    assert alike(asked, read, case) > 0.999
    assert asked.how["parrot"]["masks"] == "mask command"
    assert {file.name for file in (tmp_path / "1").iterdir()} == LEFT


@pytest.mark.slow
def test_script_repeats_the_runs(case, stand_in, tmp_path):
    """In another folder, and to the last bit."""
    mask = case[2]
    for patched in (False, True):
        folder = tmp_path / f"it's {patched}"
        result = modify(ParrotEngine.find(str(stand_in(patched))), case, mask, 2, folder)
        moved = folder.rename(tmp_path / f"moved {patched}")
        subprocess.run([str(moved / "parrot.sh")], check=True, stdout=subprocess.DEVNULL, cwd="/")
        _, again = read_output(moved / "parrot_output.mtz", case[0])
        assert np.array_equal(again, result.coefficients)


def test_ncs_operators_are_handed_on(case, stand_in, tmp_path):
    (tmp_path / "ha.pdb").write_text("")
    text = f"-pdbin-ha '{tmp_path}/ha.pdb' -ncs-asu-fraction 0.2"
    result = modify(ParrotEngine.find(str(stand_in()), text), case, case[2], 3, tmp_path / "o")
    first, *later = commands(tmp_path / "o")
    assert first["-pdbin-ha"] == str(tmp_path / "ha.pdb") and "-ncs-operator" not in first
    assert len(later) == 2
    for run in later:
        assert run["-ncs-operator"] == OPERATOR and "-pdbin-ha" not in run
    assert {run["-ncs-asu-fraction"] for run in (first, *later)} == {"0.2"}
    assert result.how["parrot"]["ncs_operators"] == [OPERATOR]


def test_parrot_gets_the_phases_as_far_as_they_are_trusted(case, stand_in, tmp_path, caplog):
    """Those that claim three times what they know are noticed, and those that do not are left."""
    data, truth, mask = case
    trust = {}
    for claimed in (1.0, 3.0):
        result = modify(ParrotEngine.find(str(stand_in(True))),
                        (replace(data, hl=claimed * data.hl), truth, mask), mask, 1, tmp_path / "o")
        trust[claimed] = result.how["phases"]["trust"]
        given = read_phased(tmp_path / "o" / "parrot_input.mtz", colin_hl="HLA,HLB,HLC,HLD").data.hl
        assert np.allclose(given, trust[claimed] * claimed * data.hl, rtol=1e-4)
        assert ("The phases claim" in caplog.text) == (claimed == 3.0)
    assert trust[1.0] > 0.75 and trust[3.0] < 0.5


def test_operators_that_hold_go_to_parrot(case, stand_in, tmp_path):
    operators = [{"operator": OPERATOR, "volume": volume, "correlation": 0.5} for volume in (0.3, 0.0)]
    found = EmbeddedEngine().modify(case[0], fixed_weights(case[2]), 0.5, 1, tmp_path)

    class Ahead:
        ncs_operators = ()

        def modify(self, *_):
            return replace(found, how={**found.how, "ncs": operators})
    engine = ParrotEngine.find(str(stand_in(True)), "-ncs-asu-fraction 0.2", ahead=Ahead())
    result = modify(engine, case, case[2], 1, tmp_path / "o")
    log = (tmp_path / "o" / "parrot.log").read_text()
    assert log.splitlines()[0].count("-ncs-operator " + OPERATOR) == 1
    run, = commands(tmp_path / "o")
    assert (run["-ncs-mask-filter-radius"], run["-ncs-asu-fraction"]) == ("9", "0.2")
    assert result.how["ncs"] == operators


def test_reference_that_ends_early(case, stand_in, tmp_path, monkeypatch, caplog):
    """Carriers keep to what Parrot uses, and the rest of the data keeps its phases."""
    data, truth, mask = case
    monkeypatch.setenv("STAND_IN_FAILS", "reference")  # at 2.9 A
    result = modify(ParrotEngine.find(str(stand_in())), case, mask, 2, tmp_path / "o")
    assert "ends at 2.90 A" in caplog.text
    assert len(commands(tmp_path / "o")) == 3  # the first cycle had to be repeated, once
    script = (tmp_path / "o" / "parrot.sh").read_text()
    assert script.count("-cycles 1") == 2  # without the vain one
    beyond = data.reflections.d < 2.899
    assert np.array_equal(result.hl[beyond], data.hl[beyond])
    assert np.array_equal(result.coefficients[beyond], data.coefficients[beyond])
    carrier = read_phased(tmp_path / "o" / "parrot_input.mtz", colin_fc=pair("FMSK", 1)).data
    assert not carrier.coefficients[beyond].any() and carrier.coefficients[~beyond].any()


@pytest.mark.parametrize("text, words", [
    ("-mtzin other.mtz", "-mtzin cannot be passed on"), ("-pdbin-ha", "needs a value"),
    ("-pdbin-ha gone.pdb", "gone.pdb"), ("-pdbin-ha 'a", "cannot be read")])
def test_options_that_parrot_cannot_have(text, words):
    with pytest.raises(InputError, match=words):
        checked_options(text)


def test_options_are_split_and_files_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a b.pdb").write_text("")
    assert checked_options("") == []
    assert checked_options("-pdbin-ha 'a b.pdb' -ncs-average -ncs-operator -1,2,3") == [
        "-pdbin-ha", str(tmp_path / "a b.pdb"), "-ncs-average", "-ncs-operator", "-1,2,3"]


def dm(inputs, *options):
    return main(["dm", str(inputs / "in.mtz"), "-o", str(inputs / "out"), "--cycles", "2", *options])


@pytest.mark.slow
def test_command_line_says_what_was_used(inputs, stand_in, capsys):
    mask = ["--mask", str(inputs / "mask.ccp4")]
    for options, engine, words in (
            ([], "embedded", "Engine:           embedded; auto"),
            (["--engine", "embedded"], "embedded", "Engine:           embedded\n"),
            (["--parrot", str(stand_in())], "parrot", "unpatched; masks by carrier"),
            (["--engine", "parrot", "--parrot", str(stand_in(True))], "parrot",
             "patched; masks by mask file")):
        assert dm(inputs, *mask, *options) == 0
        said = capsys.readouterr()
        assert words in said.out
        result = json.loads((inputs / "out" / "result.json").read_text())
        assert result["engine"] == engine
        assert len(result["cycles"]) == 2
        # an unpatched Parrot where a patched one would do better is announced
        assert ("WARNING" in said.err) == ("carrier" in words) == bool(result["warnings"])
    assert result["parrot"]["version"] == "9.9.9"
    files = {file.name for file in (inputs / "out").iterdir()}
    assert files == LEFT | {"dm.mtz", "mask.ccp4", "result.json", "report.html", "parrot_mask.ccp4"}
    assert {value for value in result["outputs"].values() if isinstance(value, str)} == (
        files - {"result.json", "report.html"})
    data = read_phased(inputs / "out" / "dm.mtz", colin_fo="F,SIGF", colin_hl="HLA_2,HLB_2,HLC_2,HLD_2",
                       colin_fc="FWT,PHWT").data
    _, fom = phi_fom_from_hl(data.hl, data.reflections.allowed_phase)
    mtz = gemmi.read_mtz_file(str(inputs / "out" / "dm.mtz"))
    assert np.allclose(np.sort(mtz.column_with_label("FOM").array), np.sort(fom), atol=1e-5)
    assert np.array_equal(read_map(inputs / "out" / "mask.ccp4").array,
                          read_map(inputs / "mask.ccp4").array)


@pytest.mark.slow
def test_network_masks_for_a_patched_parrot(inputs, case, stand_in):
    """The whole way, and the script that repeats it with a mask server of its own."""
    assert dm(inputs, "--parrot", str(stand_in(True)), "--solvent-content", "0.5",
              "--device", "cpu") == 0
    out = inputs / "out"
    result = json.loads((out / "result.json").read_text())
    assert result["parrot"]["masks"] == "mask command" and result["mask_source"] == "unet"
    assert result["cycles"][1]["solvent_fraction"] == pytest.approx(0.5, abs=0.01)
    subprocess.run([str(out / "parrot.sh")], check=True, stdout=subprocess.DEVNULL)
    _, again = read_output(out / "parrot_output.mtz", case[0])
    found = read_phased(out / "dm.mtz", colin_fo="F,SIGF", colin_hl="HLA,HLB,HLC,HLD",
                        colin_fc="FWT,PHWT").data
    assert map_correlation(again, found.coefficients,
                           found.reflections.multiplicity) > 0.9999


def test_without_a_parrot(inputs, stand_in, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nothing")
    stand_in()  # not on PATH
    assert dm(inputs, "--engine", "parrot") == 1
    said = capsys.readouterr().err
    assert "cparrot on PATH" in said and "$CCP4/bin" in said and "--engine embedded" in said
    assert dm(inputs, "--parrot", "/nothing/cparrot") == 1
    assert "/nothing/cparrot" in capsys.readouterr().err
    assert dm(inputs, "--engine", "embedded", "--parrot", "cparrot") == 1
    assert "--engine embedded" in capsys.readouterr().err
    assert not (inputs / "out").exists()


@pytest.mark.parametrize("fault", ["status", "silent"])
def test_failing_parrot_leaves_what_a_person_needs(inputs, stand_in, fault, monkeypatch, capsys):
    """Its log, the script and the input, in a folder of their own; nothing under final names."""
    monkeypatch.setenv("STAND_IN_FAILS", fault)
    for name in ("failed", "failed_2"):
        assert dm(inputs, "--mask", str(inputs / "mask.ccp4"), "--parrot", str(stand_in())) == 1
        said = capsys.readouterr().err
        kept = inputs / "out" / name
        assert said.rstrip().endswith(str(kept)) and "Traceback" not in said
        if fault == "status":
            assert "status 3" in said and "$CLIBD" in said and "No reference data at all\n" in said
        assert {file.name for file in kept.iterdir()} == LEFT
        assert "$ " in (kept / "parrot.log").read_text()
    assert {file.name for file in (inputs / "out").iterdir()} == {"failed", "failed_2"}
    got = subprocess.run([str(kept / "parrot.sh")], text=True, capture_output=True)
    assert (got.returncode == 3) == (fault == "status")  # it can be looked into


def test_mask_that_cannot_be_made_stops_parrot(case, stand_in, tmp_path):
    asked = []

    def masks(density, cycle):
        asked.append(cycle)
        if len(asked) > AHEAD:
            raise InputError("no mask today")
        return case[2]
    with pytest.raises(ProgramError, match="no mask today"):
        modify(ParrotEngine.find(str(stand_in(True))), case, masks, 2, tmp_path / "o")


@pytest.mark.slow
def test_job_that_is_ended_ends_parrot(inputs, stand_in, monkeypatch):
    """Batch systems end jobs by SIGTERM."""
    monkeypatch.setenv("STAND_IN_FAILS", "sleep")
    job = subprocess.Popen(
        [sys.executable, "-m", "crank2_unet", "dm", str(inputs / "in.mtz"), "-o", str(inputs / "out"),
         "--mask", str(inputs / "mask.ccp4"), "--parrot", str(stand_in())],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    logs = []
    for _ in range(600):
        logs = [log for log in inputs.glob(".out.crank2-unet-*/parrot.sh")]
        if logs or job.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(1)
    assert logs and job.poll() is None
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)  # would wait for a Parrot that holds the pipe
    assert job.returncode == 1 and "interrupted" in said
    assert not list(inputs.glob("*out*"))


@pytest.mark.slow
def test_mask_server_command(inputs, case, stand_in, capfd, monkeypatch):
    """A patched Parrot run by hand gets the network's masks; its status is handed on."""
    data, truth, mask = case
    write_input(inputs / "p.mtz", data, {pair("FC", 1): data.coefficients})
    client = f"{shlex.quote(sys.executable)} -m crank2_unet mask-client"
    command = [str(stand_in(True)), "-mtzin", "p.mtz", "-mtzout", "o.mtz", "-colin-hl",
               "HLA,HLB,HLC,HLD", "-colin-fc", pair("FC", 1), "-solvent-content", "0.5", "-cycles", "2",
               "-mskin", "m.ccp4", "-mask-map", "map.ccp4", "-mask-command", client]
    monkeypatch.chdir(inputs)
    server = ["mask-server", "p.mtz", "--solvent-content", "0.5", "--"]
    assert main([*server, *command]) == 0
    assert read_map(inputs / "m.ccp4").array.mean() == pytest.approx(0.5, abs=0.01)
    assert "-- Cycle: 2" in capfd.readouterr().out
    assert main([*server, "sh", "-c", "exit 7"]) == 7
    assert main([*server, "/nothing/cparrot"]) == 1
    assert "/nothing/cparrot does not start" in capfd.readouterr().err


def improvement(case, result):
    data, truth, mask = case
    quality = [map_correlation(to_complex(np.abs(truth) * fom, phi), truth,
                               data.reflections.multiplicity)
               for phi, fom in (phi_fom_from_hl(hl, data.reflections.allowed_phase)
                                for hl in (data.hl, result.hl))]
    return quality[1] - quality[0]


def test_parrot_itself(case, real_parrot, tmp_path):
    """The true mask, however it gets there, is worth much more than a random one."""
    data, truth, mask = case
    noise = like(mask, np.random.default_rng(0).permutation(mask.array.ravel()).reshape(mask.shape))
    noise.symmetrize_max()
    noise = soften(noise, 3.0)
    noise = like(noise, (noise.array > np.quantile(noise.array, 1 - mask.array.mean())))
    engine = ParrotEngine.find(str(real_parrot))
    gains = {}
    for name, masks in (("fixed", mask), ("renewed", lambda density, cycle: mask), ("noise", noise)):
        gains[name] = improvement(case, modify(engine, case, masks, 3, tmp_path / name))
    assert gains["fixed"] > 0.1 and gains["renewed"] == pytest.approx(gains["fixed"], abs=0.02)
    assert gains["noise"] < gains["fixed"] - 0.1
    assert commands(tmp_path / "fixed")[0]["-cycles"] == ("3" if engine.patched else "1")

