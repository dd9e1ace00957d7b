"""unet-parrot as Crank2, CCP4i2 and a user run it, on a small crystal, mostly without the network."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import gemmi
import numpy as np
import pytest
from blob import blob, noisy

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.grids import structure_factors
from crank2_unet.crystal.phases import map_correlation, to_complex
from crank2_unet.errors import ModelError
from crank2_unet.files.maps import read_map, write_map
from crank2_unet.modification import ncs
from crank2_unet.modification.cycles import modify_density
from crank2_unet.modification.expectation import ALL_KNOWN, Knowledge
from crank2_unet.modification.region_weights import fixed_weights
from crank2_unet.modification.sharpening import Sharpening
from crank2_unet.network.session import SolventNet
from crank2_unet.unet_parrot.__main__ import main

# what Crank2 2.0.345 looks for in the log of Parrot
RADIUS = r"Suggested radius for solvent mask determination:\s*(\S+)"
OPERATOR = r"-ncs-operator\s+(\S+,\S+,\S+,\S+,\S+,\S+,\S+,\S+,\S+)"
CORRELATION = (r"NCS operator statistics:\s+Operator_number  Mask_volume\/ASU  Correlation"
               r"(?:\s+\d+\s+\S+\s+(\S+)\s)?")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Folder with in.mtz (every seventh row left out), mask.ccp4, model.pdb; data, truth, mask."""
    folder = tmp_path_factory.mktemp("unet parrot")
    structure = blob("P 21 21 21")
    data, truth, mask = noisy(structure)
    kept = np.arange(len(truth)) % 7 > 0
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, r = data.reflections.spacegroup, data.reflections
    mtz.set_cell_for_all(r.cell)
    dataset = mtz.add_dataset("peak")
    dataset.crystal_name = "native"
    for label, kind in zip(("F", "SIGF", "A", "B", "C", "D", "FW", "PW"), "FQAAAAFP"):
        mtz.add_column(label, kind)
    start = data.coefficients
    table = np.column_stack([r.hkl, data.f, data.sigf, data.hl, np.abs(start),
                             np.rad2deg(np.angle(start))])
    mtz.set_data(table[kept].astype(np.float32))
    mtz.write_to_file(str(folder / "in.mtz"))
    write_map(soften(mask, 0.7), folder / "mask.ccp4")
    structure.write_pdb(str(folder / "model.pdb"))
    return folder, data, truth, mask


@pytest.fixture
def parrot(case, capsys):
    """Runs unet-parrot in the folder; returns exit status, log and errors."""
    def run(*words, common=("-colin-fo", "F,SIGF", "-colin-hl", "A,B,C,D", "-solvent-content", "0.7")):
        before = os.getcwd()
        os.chdir(case[0])
        try:
            status = main(["-mtzin", "in.mtz", *common, *words])
        finally:
            os.chdir(before)
        return status, *capsys.readouterr()
    return run


def columns(path, *labels):
    mtz = gemmi.read_mtz_file(str(path))
    return [mtz.column_with_label(label).array for label in labels]


def in_file(case):
    """Place of the rows of in.mtz among all reflections, and the data without the others."""
    folder, data, *_ = case
    kept = data.reflections.find(gemmi.read_mtz_file(str(folder / "in.mtz")).make_miller_array())
    gone = np.ones(len(data.f), bool)
    gone[kept] = False
    return kept, replace(data, f=np.where(gone, np.nan, data.f), hl=np.where(gone[:, None], 0, data.hl),
                         coefficients=np.where(gone, 0, data.coefficients))


def quality(case, path, f, phi):
    _, data, truth, _ = case
    amplitude, phase = columns(path, f, phi)
    place = data.reflections.find(gemmi.read_mtz_file(str(path)).make_miller_array())
    return map_correlation(to_complex(amplitude, phase), truth[place],
                           data.reflections.multiplicity[place])


def test_columns_log_and_xml(case, parrot):
    folder = case[0]
    status, log, _ = parrot("-mask", "variance", "-cycles", "2", "-mtzout", "out.mtz", "-xmlout",
                            "out.xml", "-title", "a <title>", "-mtzin-ref", "reference.mtz")
    assert status == 0 and log.rstrip().endswith("unet-parrot:  Normal termination")
    before, after = (gemmi.read_mtz_file(str(folder / name)) for name in ("in.mtz", "out.mtz"))
    assert np.array_equal(after.array[:, :11], before.array)  # a copy, rows and all
    new = list(after.columns)[11:]
    assert [(c.label, c.type) for c in new] == [
        ("parrot.ABCD.A", "A"), ("parrot.ABCD.B", "A"), ("parrot.ABCD.C", "A"), ("parrot.ABCD.D", "A"),
        ("parrot.F_phi.F", "F"), ("parrot.F_phi.phi", "P")]
    assert {after.dataset(c.dataset_id).dataset_name for c in new} == {"peak"}
    assert np.isfinite(after.array).all()
    assert quality(case, folder / "out.mtz", "parrot.F_phi.F", "parrot.F_phi.phi") > quality(
        case, folder / "in.mtz", "FW", "PW") + 0.1
    assert len(re.findall(RADIUS, log)) == 2 and float(re.findall(RADIUS, log)[0]) == 4.0
    assert re.findall(OPERATOR, log) == [] and "NOTE: -mtzin-ref has no effect" in log
    assert "$TABLE :Reflection statistics:" in log
    xml = ElementTree.parse(folder / "out.xml").getroot()
    assert xml.tag == "ParrotResult" and xml.findtext("Title") == "a <title>"
    assert [c.findtext("Number") for c in xml.findall("Cycles/Cycle")] == ["0", "1", "2"]
    assert 0.3 < float(xml.findtext("Final/MeanFOM")) < 1
    assert xml.findtext("SolventContent/SolventContent") == "0.7000"


def test_keywords_from_stdin_as_a_program(case):
    folder = case[0]
    keywords = """title of a job
mtzin-wrk in.mtz
colin-wrk-fo */*/[F,SIGF]
colin-hl /native/peak/[A,B,C,D]
colin-wrk-fc /native/peak/[FW,PW]
solvent-content 0.7
mask variance
anisotropy-correction
modify-map-and-terminate
cycles 1
colout-fc native/peak/[PARR_F,PARR_PHI]
mtzout stdin.mtz
"""
    command = [sys.executable, "-m", "crank2_unet.unet_parrot", "-stdin"]
    done = subprocess.run(command, input=keywords, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    labels = gemmi.read_mtz_file(str(folder / "stdin.mtz")).column_labels()
    assert labels[-2:] == ["PARR_F", "PARR_PHI"] and not any("ABCD" in label for label in labels)


def test_the_modified_map_is_written_instead_of_the_combined_one(case, parrot):
    folder, data, truth, mask = case
    status, _, _ = parrot("-mskin", "mask.ccp4", "-modify-map-and-terminate", "-cycles", "1",
                          "-mtzout", "modified.mtz", "-colout-fc", "FMOD,PHMOD")
    assert status == 0
    f, phi = columns(folder / "modified.mtz", "FMOD", "PHMOD")
    kept, thinned = in_file(case)
    expected = modify_density(thinned, fixed_weights(soften(mask, 0.7)), 1).modified[kept]
    assert map_correlation(to_complex(f, phi), expected,
                           data.reflections.multiplicity[kept]) > 0.9999
    assert np.mean(f**2) == pytest.approx(np.mean(data.f[kept] ** 2), rel=1e-3)


def test_mask_files_either_way_round_give_the_same(case, parrot):
    folder, _, _, mask = case
    write_map(mask, folder / "hard.ccp4")
    protein = mask.clone()
    protein.array[...] = 1 - mask.array
    write_map(protein, folder / "protein.ccp4")
    made = {}
    for name, words in {
            "solvent": ["-mskin", "hard.ccp4"],
            "protein": ["-mskin", "protein.ccp4", "-mskin-one-is", "protein"],
            "cut": ["-mskin", "hard.ccp4", "-mskin-value", "mask"],
            "prob": ["-mskin", "hard.ccp4", "-mskin-value", "prob", "-solvent-content",
                     str(float(mask.array.mean()))]}.items():
        status, log, _ = parrot(*words, "-cycles", "1", "-mtzout", f"{name}.mtz")
        assert status == 0 and "Mask: " in log
        made[name] = np.stack(columns(folder / f"{name}.mtz", "parrot.ABCD.A", "parrot.ABCD.B"))
    for values in made.values():
        assert np.allclose(values, made["solvent"], atol=1e-3)
    status, _, errors = parrot("-mskin", "protein.ccp4", "-cycles", "1", "-mtzout", "inverted.mtz")
    assert status == 1 and "protein.ccp4 looks inverted" in errors
    assert not (folder / "inverted.mtz").exists()


def test_the_mask_of_a_model_and_that_of_a_given_map(case, parrot):
    status, log, _ = parrot("-pdbin", "model.pdb", "-cycles", "1", "-mtzout", "model.mtz",
                            common=("-colin-hl", "A,B,C,D"))
    assert status == 0 and "from the model" in log and "Mask: model.pdb" in log
    status, log, _ = parrot("-pdbin", "model.pdb", "-force-solvent-mask-calculation", "-mask",
                            "variance", "-cycles", "1", "-mtzout", "forced.mtz")
    assert status == 0 and "Mask: local variance" in log
    status, log, _ = parrot("-colin-fmsk", "FW,PW", "-solvent-mask-filter-radius", "3", "-mask",
                            "variance", "-cycles", "2", "-mtzout", "fmsk.mtz")
    assert status == 0 and log.count("Mask: local variance of FW,PW, radius 3.00 A") == 1
    assert log.count("Mask: local variance, radius 3.00 A") == 1


@pytest.mark.parametrize("words", [[], ["-anisotropy-correction"]])
def test_the_map_for_the_command_has_the_fall_off_that_it_has_in_parrot(case, parrot, words):
    """So that one command serves both programs."""
    folder, data, _, _ = case
    kept = np.arange(len(data.f)) % 7 > 0
    data = replace(data, f=np.where(kept, data.f, np.nan),
                   coefficients=np.where(kept, data.coefficients, 0))
    status, _, errors = parrot("-mskin", "mask.ccp4", "-mask-command", "touch mask.ccp4; true",
                               "-cycles", "1", "-mtzout", "fall-off.mtz", "-colin-fc", "FW,PW", *words)
    assert status == 0, errors
    sharpening = Sharpening.of(data)
    uneven = Sharpening(data.reflections, sharpening.u - sharpening.isotropic.u)
    expected = uneven.apply(data) if words else data
    found = structure_factors(read_map(folder / "fall-off-current.map"), data.reflections)
    assert np.allclose(found, expected.coefficients, atol=1e-3 * np.abs(found).max())


def test_a_command_renews_the_mask_in_each_cycle(case, parrot):
    folder = case[0]
    script = folder / "make mask.py"
    script.write_text("import shutil, sys\nshutil.copy('mask.ccp4', sys.argv[2])\n"
                      "open('calls', 'a').write(' '.join(sys.argv[1:]) + chr(10))\n")
    command = f"'{sys.executable}' '{script}'"
    status, _, errors = parrot("-mskin", "made.ccp4", "-mask-command", command, "-cycles", "2",
                               "-mtzout", "command.mtz")
    assert status == 0, errors
    assert (folder / "calls").read_text().splitlines() == [
        f"command-current.map made.ccp4 {cycle}" for cycle in (1, 2)]
    for words, message in ((["false"], "failed with status 1"), (["true"], "did not write made.ccp4")):
        status, log, errors = parrot("-mskin", "made.ccp4", "-mask-command", *words,
                                     "-mtzout", "no.mtz")
        assert status == 1 and message in errors and "Failed" in log
    assert not (folder / "no.mtz").exists()


@pytest.mark.parametrize("words, message", [
    (["-mskin", "absent.ccp4"], "absent.ccp4 cannot be read"),
    (["-pdbin", "absent.pdb"], "absent.pdb cannot be read"),
    (["-pdbin-ha", "absent.pdb"], "absent.pdb cannot be read"),
    (["-colout-fc", "F,PHI"], "already has a column F"),
    (["-colout-fc", "[ONE]"], "must be 2"),
    (["-sharpen", "3"], "-sharpen is an option of cparrot"),
    (["-ncs-operator", "1,2,3"], "nine numbers"),
    (["-mtzout", "no/such/folder/out.mtz"], "Cannot write no/such"),
])
def test_errors_are_one_line_and_leave_no_file(case, parrot, words, message):
    status, log, errors = parrot("-mask", "variance", "-cycles", "1", "-mtzout", "none.mtz", *words)
    assert status == 1 and message in errors and errors.count("ERROR") == 1
    assert "Traceback" not in errors + log and log.rstrip().endswith("Failed")
    assert not list(case[0].glob("none*"))


def test_values_that_are_no_weights_are_refused(case, parrot):
    folder, _, _, mask = case
    wide = mask.clone()
    wide.array[...] = 3 * mask.array - 1
    write_map(wide, folder / "wide.ccp4")
    status, _, errors = parrot("-mskin", "wide.ccp4", "-cycles", "1", "-mtzout", "none.mtz")
    assert status == 1 and "-mskin-value prob or mask" in errors
    assert parrot("-mskin", "wide.ccp4", "-mskin-value", "mask", "-cycles", "1", "-mtzout",
                  "wide.mtz")[0] == 0


def test_without_the_network_local_variance_takes_over_aloud(parrot, monkeypatch):
    def refuse(*_):
        raise ModelError("No ONNX Runtime here.")
    monkeypatch.setattr(SolventNet, "load", refuse)
    status, log, errors = parrot("-cycles", "1", "-mtzout", "fallback.mtz")
    assert status == 0 and "Mask: local variance" in log
    assert errors.count("WARNING") == 1 and "No ONNX Runtime here." in errors
    status, _, errors = parrot("-cycles", "1", "-mask", "unet", "-mtzout", "none.mtz")
    assert status == 1 and "No ONNX Runtime here." in errors


def test_the_network_is_not_loaded_for_nothing(parrot, monkeypatch):
    def fail(*_):
        raise AssertionError("loaded")
    monkeypatch.setattr(SolventNet, "load", fail)
    for words in (["-colin-fmsk", "FW,PW"], ["-mskin", "mask.ccp4"], ["-pdbin", "model.pdb"]):
        assert parrot("-cycles", "1", "-mtzout", "light.mtz", *words)[0] == 0


def test_the_network_is_the_default_and_finds_the_solvent_content(case, parrot):
    status, log, errors = parrot("-cycles", "1", "-mtzout", "unet.mtz", "-device", "cpu",
                                 common=("-colin-hl", "A,B,C,D"))
    assert status == 0, errors
    assert "Mask: network" in log and "estimated from the network" in log


def test_ncs_operators_are_logged_for_crank2(case, parrot):
    status, log, _ = parrot("-mask", "variance", "-cycles", "1", "-mtzout", "ncs.mtz", "-xmlout",
                            "ncs.xml", "-ncs-operator", "10,20,30,5,5,5,9,9,9",
                            "-ncs-operator", "40,50,60,5,5,5,9,9,9")
    assert status == 0 and len(re.findall(OPERATOR, log)) == 2
    assert np.isfinite(float(re.search(CORRELATION, log).group(1)))
    xml = ElementTree.parse(case[0] / "ncs.xml").getroot()
    assert xml.findtext("Nncs") == "2" and len(xml.findall("Final/Operators/NCScorrel")) == 2
    status, log, _ = parrot("-mask", "variance", "-cycles", "1", "-mtzout", "off.mtz",
                            "-solvent-flatten", "-histogram-match", "-ncs-operator",
                            "10,20,30,5,5,5,9,9,9")
    assert status == 0 and re.findall(OPERATOR, log) == []


def test_operators_stay_in_the_log_where_they_are_not_averaged(parrot, monkeypatch):
    """Crank2 ends with an error where it finds operators and no correlations of them."""
    monkeypatch.setattr(ncs.NcsAverager, "level", 1e-3)  # it seems to hold
    monkeypatch.setattr(ncs, "copy_weight", lambda *_: 1.0)
    status, log, _ = parrot("-mask", "variance", "-cycles", "1", "-mtzout", "ncs.mtz",
                            "-ncs-operator", "10,20,30,5,5,5,9,9,9")
    assert status == 0 and "Not averaged" in log
    assert len(re.findall(OPERATOR, log)) == 1 and float(re.search(CORRELATION, log).group(1))


@pytest.mark.parametrize("step, knowledge", [("solvent-flatten", Knowledge(protein=False)),
                                             ("histogram-match", Knowledge(solvent=False))])
def test_a_step_named_is_done_alone(case, parrot, step, knowledge):
    folder, data, _, mask = case
    status, _, errors = parrot("-mskin", "mask.ccp4", f"-{step}", "-modify-map-and-terminate",
                               "-cycles", "1", "-mtzout", f"{step}.mtz", "-colout-fc", "FMOD,PHMOD")
    assert status == 0, errors
    found = to_complex(*columns(folder / f"{step}.mtz", "FMOD", "PHMOD"))
    kept, thinned = in_file(case)
    agreement = [map_correlation(found, modify_density(
        thinned, fixed_weights(soften(mask, 0.7)), 1, knowledge=known).modified[kept],
        data.reflections.multiplicity[kept]) for known in (knowledge, ALL_KNOWN)]
    assert agreement[0] > 0.9999 and agreement[1] < 0.98


def test_a_run_without_any_step_is_refused(case, parrot):
    status, _, errors = parrot("-mask", "variance", "-ncs-average", "-mtzout", "none.mtz")
    assert status == 1 and "nothing would be modified" in errors
    assert not (case[0] / "none.mtz").exists()


def test_help_and_an_empty_command_line(capsys):
    assert main(["-help"]) == 0 and "-mskin" in capsys.readouterr().out
    assert main([]) == 1


def test_the_program_is_installed():
    program = Path(sys.executable).parent / "unet-parrot"
    if not program.exists():
        pytest.skip("the package is not installed beside this Python")
    assert subprocess.run([program, "-help"], capture_output=True).returncode == 0
