"""The commands a user types: what they write, and that they leave nothing behind when they fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

from crank2_unet.cli.main import main
from crank2_unet.crystal.grids import structure_factors
from crank2_unet.crystal.masks import model_mask
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation
from crank2_unet.files.maps import read_map
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.report.figures import data_uri

EXAMPLES = Path(__file__).parents[2] / "examples"
SEGMENT_FILES = {"mask.ccp4", "probability.ccp4", "flat.ccp4", "mask.mtz", "result.json", "report.html"}
DM_FILES = {"dm.mtz", "mask.ccp4", "flat.ccp4", "result.json", "report.html"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a space in its name."""
    return tmp_path_factory.mktemp("with space") / "a b"


@pytest.fixture(scope="module")
def phased(folder):
    assert main(["phase", str(EXAMPLES / "example.mtz"), "--sites", str(EXAMPLES / "sites.pdb"),
                 "--element", "se", "-o", str(folder / "phase"), "--cycles", "1"]) == 0
    return folder / "phase" / "phased.mtz"


@pytest.fixture(scope="module")
def truth(phased):
    """True structure factors and the true mask of the example."""
    data = read_phased(phased).data
    return model_structure_factors(gemmi.read_structure(str(EXAMPLES / "model.pdb")),
                                   data.reflections)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def correlation(mtz, truth, labels=None):
    data = read_phased(mtz, colin_fc=labels, colin_hl="HLA,HLB,HLC,HLD").data
    return map_correlation(data.coefficients, truth, data.reflections.multiplicity)


def test_segment(phased, folder, capsys):
    out = folder / "segment"
    assert main(["segment", str(phased), "--seq", str(EXAMPLES / "sequence.fasta"),
                 "-o", str(out)]) == 0
    assert {f.name for f in out.iterdir()} == SEGMENT_FILES
    result = result_of(out)
    assert result["schema"] == 1 and result["device"]["used"] == "cpu"
    solvent = result["solvent_content"]
    assert solvent["rule"] == "joint"
    assert abs(solvent["value"] - 0.57) < 0.1  # examples/README.md
    assert sum(option["probability"] for option in solvent["matthews"]) == pytest.approx(1, abs=1e-4)
    mask = read_map(out / "mask.ccp4")
    assert set(np.unique(mask.array)) == {0.0, 1.0}
    assert mask.array.mean() == pytest.approx(solvent["value"], abs=0.002)
    data = gemmi.read_mtz_file(str(EXAMPLES / "example.mtz"))
    assert mask.spacegroup.xhm() == data.spacegroup.xhm()
    assert mask.unit_cell.is_similar(data.cell, 1e-5, 1e-3)
    true = model_mask(gemmi.read_structure(str(EXAMPLES / "model.pdb")), mask)
    assert np.mean(mask.array == true.array) > 0.7  # a shifted or inverted mask agrees in half
    coefficients = read_phased(out / "mask.mtz", need_phases=False)
    assert coefficients.labels == {"fc": "FMSK,PHMSK"}
    assert len(coefficients.data.reflections) == result["input"]["n_reflections"]
    expected = structure_factors(mask, coefficients.data.reflections)
    assert np.allclose(coefficients.data.coefficients, expected, atol=1e-3 * np.abs(expected).max())
    printed = capsys.readouterr().out
    assert "(from the network and the sequence together; network alone: " in printed
    assert "1 in the asymmetric unit, probability 0." in printed


def test_pictures_are_those_of_the_report(phased, tmp_path):
    assert main(["segment", str(phased), "--pictures", "-o", str(tmp_path)]) == 0
    pictures = result_of(tmp_path)["outputs"]["pictures"]
    assert {f.name for f in tmp_path.iterdir()} == SEGMENT_FILES | {p["file"] for p in pictures}
    assert [p["title"] for p in pictures] == ["Density", "P(solvent)"] * 3
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for picture in pictures:
        content = (tmp_path / picture["file"]).read_bytes()
        assert content.startswith(b"\x89PNG") and data_uri(content, "png") in page
        assert picture["section"] in page


@pytest.mark.slow
def test_dm_improves_the_map(phased, folder, truth):
    out = folder / "dm"
    assert main(["dm", str(phased), "--seq", str(EXAMPLES / "sequence.fasta"), "--cycles", "3",
                 "-o", str(out)]) == 0
    assert {f.name for f in out.iterdir()} == DM_FILES
    result = result_of(out)
    assert len(result["cycles"]) == 3 and result["mask_source"] == "unet"
    mtz = gemmi.read_mtz_file(str(out / "dm.mtz"))
    assert {"FWT", "PHWT", "FOM", "HLA_2", "HLD_2"} <= set(mtz.column_labels())
    assert set(gemmi.read_mtz_file(str(phased)).column_labels()) <= set(mtz.column_labels())
    assert correlation(out / "dm.mtz", truth, "FWT,PHWT") > correlation(phased, truth) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    ["--mask", "variance"], ["--solvent-content", "0.5"], ["--residues", "100"],
    ["--cycles", "1"], ["--colin-phifom", "PHIB,FOM"]])
def test_each_option_of_dm_changes_the_result(phased, folder, options, tmp_path):
    base = folder / "base"
    if not base.exists():
        assert main(["dm", str(phased), "--cycles", "2", "-o", str(base)]) == 0
    assert main(["dm", str(phased), "--cycles", "2", "-o", str(tmp_path / "o"), *options]) == 0
    ignored = ("timings", "arguments", "device")
    one, two = ({k: v for k, v in result_of(f).items() if k not in ignored}
                for f in (base, tmp_path / "o"))
    assert one != two


@pytest.mark.parametrize("mask", [[], ["--mask", "variance"]])
def test_what_one_means_is_told_of_mask_files_only(mask, tmp_path, capsys):
    command = ["dm", str(EXAMPLES / "example.mtz"), *mask, "--mask-one-is", "protein"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 1
    assert "--mask-one-is protein" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_mask_file_is_used(phased, folder, truth, tmp_path, capsys):
    """The mask of the model, written as a file, gives the better map."""
    from crank2_unet.crystal.grids import empty_grid
    from crank2_unet.files.maps import write_map

    data = read_phased(phased).data
    grid = empty_grid(data.reflections.cell, data.reflections.spacegroup, 0.9)
    model = gemmi.read_structure(str(EXAMPLES / "model.pdb"))
    mask = model_mask(model, grid)
    write_map(mask, tmp_path / "true.ccp4")
    assert main(["dm", str(phased), "--mask", str(tmp_path / "true.ccp4"), "--cycles", "3",
                 "-o", str(tmp_path / "o")]) == 0
    assert result_of(tmp_path / "o")["solvent_content"]["rule"] == "file"
    assert result_of(tmp_path / "o")["model"] is None
    assert correlation(tmp_path / "o" / "dm.mtz", truth, "FWT,PHWT") > 0.6
    mask.array[...] = 1 - mask.array
    write_map(mask, tmp_path / "inverted.ccp4")
    inverted = ["dm", str(phased), "--mask", str(tmp_path / "inverted.ccp4"), "--cycles", "1", "-o"]
    assert main([*inverted, str(tmp_path / "refused")]) == 1
    assert "looks inverted" in capsys.readouterr().err and not (tmp_path / "refused").exists()
    assert main([*inverted, str(tmp_path / "turned"), "--mask-one-is", "protein"]) == 0
    assert result_of(tmp_path / "turned")["solvent_content"] == pytest.approx(
        result_of(tmp_path / "o")["solvent_content"], abs=1e-3)


@pytest.mark.slow
def test_both_hands(folder, tmp_path):
    assert main(["phase", str(EXAMPLES / "example.mtz"), "--sites", str(EXAMPLES / "sites.pdb"),
                 "--element", "Se", "--f-prime", "-8", "--f-double-prime", "4.5", "--hand", "both",
                 "--cycles", "0", "-o", str(tmp_path)]) == 0
    names = {f.name for f in tmp_path.iterdir()}
    assert {"phased.mtz", "sites.pdb", "phased_other_hand.mtz", "sites_other_hand.pdb"} <= names
    assert result_of(tmp_path)["scatterer"]["f_double_prime"] == 4.5


@pytest.mark.parametrize("arguments, said", [
    (["segment", "absent.mtz"], "absent.mtz"),
    (["segment", "text.mtz"], "text.mtz"),
    (["dm", "example.mtz"], "has no phases"),
    (["dm", "phased.mtz", "--colin-hl", "HLA,HLB,HLC,HLX"], "no column HLX"),
    (["dm", "phased.mtz", "--mask", "text.mtz"], "CCP4 map"),
    (["dm", "phased.mtz", "--mask", "other.ccp4"], "another crystal"),
    (["dm", "phased.mtz", "--cycles", "0"], "number of cycles is 0"),
    (["dm", "phased.mtz", "--solvent-content", "57"], "between 0"),
    (["segment", "phased.mtz", "--residues", "-3"], "number of residues is -3"),
    (["segment", "phased.mtz", "--seq", "text.mtz"], "text.mtz"),
    (["segment", "phased.mtz", "--model", "absent.json"], "absent.json"),
    (["phase", "example.mtz", "--sites", "text.mtz", "--element", "Se"], "text.mtz"),
    (["phase", "example.mtz", "--sites", "sites.pdb", "--element", "Xx"], "Xx"),
    (["phase", "example.mtz", "--sites", "sites.pdb", "--element", "Se", "--f-prime", "1"], "both"),
])
def test_bad_input_gives_one_message_and_no_files(phased, arguments, said, tmp_path, monkeypatch,
                                                  capsys):
    for source in (phased, EXAMPLES / "example.mtz", EXAMPLES / "sites.pdb"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "text.mtz").write_text("neither reflections nor a map nor a model {}" * 30)
    other = gemmi.Ccp4Map()
    other.grid = gemmi.FloatGrid(np.zeros((20, 20, 20), np.float32))
    other.grid.set_unit_cell(gemmi.UnitCell(20, 20, 20, 90, 90, 90))
    other.grid.spacegroup = gemmi.SpaceGroup("P 1")
    other.update_ccp4_header(2, True)
    other.write_ccp4_map(str(tmp_path / "other.ccp4"))
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "-o", "out"]) == 1
    said_so = capsys.readouterr().err
    assert said_so.count("ERROR:") == 1 and said in said_so
    assert "Traceback" not in said_so and "internal error" not in said_so
    assert not Path("out").exists() or not list(Path("out").iterdir())


def test_output_folder_that_cannot_be_made(phased, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["segment", str(phased), "-o", str(tmp_path / "file" / "out")]) == 1
    assert "output folder" in capsys.readouterr().err


def test_full_disk_leaves_no_file(phased, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "mask.ccp4")

    monkeypatch.setattr("crank2_unet.jobs.segment.write_map", full)
    assert main(["segment", str(phased), "-o", str(tmp_path / "out")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_is_quick_and_light():
    """Help needs no heavy library, and every command has its own."""
    code = ("import sys; from crank2_unet.cli.main import main\n"
            "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
            "assert not {'numpy', 'tensorflow', 'onnxruntime', 'gemmi'} & set(sys.modules)")
    for command in ([], ["solve"], ["segment"], ["dm"], ["phase"], ["mask-server"], ["mask-client"],
                    ["check"], ["model"], ["model", "prepare"]):
        got = subprocess.run([sys.executable, "-c", code, *command, "--help"], text=True,
                             capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        assert got.returncode == 0, got.stderr
        assert "usage: crank2-unet" in got.stdout


@pytest.mark.slow
def test_example_script_compares_masks():
    """With three cycles already, the network's masks are worth more than the classical ones."""
    root = EXAMPLES.parent
    got = subprocess.run([sys.executable, str(EXAMPLES / "compare_masks.py"), "3"], text=True,
                         capture_output=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert got.returncode == 0, got.stderr
    correlation = {line[:15].strip(): float(line.split()[-1]) for line in got.stdout.splitlines()[1:]}
    assert list(correlation) == ["start", "network", "local variance", "true model"]
    assert correlation["start"] < correlation["network"] < correlation["true model"] + 0.02
    assert correlation["network"] > correlation["local variance"]


def test_missing_data_are_told_before_libraries_are_loaded(tmp_path):
    code = ("import sys; from crank2_unet.cli.main import main; "
            f"status = main(['dm', 'missing.mtz', '-o', {str(tmp_path / 'out')!r}]); "
            "sys.exit(bool(status != 1 or {'scipy', 'matplotlib', 'onnxruntime'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "missing.mtz cannot be read as a reflection file" in done.stderr


def test_libraries_that_few_jobs_need_are_loaded_by_them():
    code = ("import sys; import crank2_unet.jobs.dm, crank2_unet.jobs.segment; "
            "sys.exit(bool({'scipy.signal', 'scipy.stats', 'matplotlib', 'jinja2', "
            "'onnxruntime', 'openvino'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_dm_without_report(phased, folder):
    out = folder / "dm without report"
    assert main(["dm", str(phased), "--cycles", "1", "--no-report", "-o", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == {"dm.mtz", "mask.ccp4", "flat.ccp4", "result.json"}
