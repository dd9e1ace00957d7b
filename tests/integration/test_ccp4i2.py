"""Tasks of CCP4i2, run headless by the suite's own runner."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import gemmi
import numpy as np
import pytest
from crank2_job import STANDINS, phased_example, prepare
from i2run import i2run

from crank2_unet.ccp4i2 import registration
from crank2_unet.cli.main import main
from crank2_unet.crystal.grids import structure_factors
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation
from crank2_unet.files.maps import read_map
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.report.figures import data_uri

EXAMPLES = Path(__file__).parents[2] / "examples"
SEQUENCE = EXAMPLES / "sequence.fasta"

needs_ccp4i2 = pytest.mark.skipif(not importlib.util.find_spec("ccp4i2"),
                                  reason="CCP4i2 is not installed (pip install ccp4i2)")


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """The example with phases, in a folder with a space in its name."""
    return phased_example(tmp_path_factory.mktemp("phased") / "a b")


@pytest.fixture(scope="module")
def coefficients(phased):
    """Map coefficients m|F| exp(i phi) of the example, as CCP4i2 stores them."""
    data = read_phased(phased).data
    mtz = gemmi.Mtz(with_base=True)
    mtz.cell, mtz.spacegroup = data.reflections.cell, data.reflections.spacegroup
    mtz.add_dataset("example")
    mtz.add_column("F", "F")
    mtz.add_column("PHI", "P")
    used = data.coefficients != 0
    mtz.set_data(np.column_stack([data.reflections.hkl, np.abs(data.coefficients),
                                  np.rad2deg(np.angle(data.coefficients))])[used].astype("f4"))
    path = phased.with_name("map.mtz")
    mtz.write_to_file(str(path))
    return path


def pictures_of(job):
    return [image.get("src") for image in job.report.iter("img")]


def text_of(job):
    return " ".join(" ".join(job.report.itertext()).split())


@pytest.fixture(scope="module")
def mask_job(phased, tmp_path_factory):
    return i2run(tmp_path_factory.mktemp("i2") / "c d", "unetmask",
                 "--F_SIGF", f"fullPath={phased}", "columnLabels=/*/*/[F,SIGF]",
                 "--ABCD", f"fullPath={phased}", "columnLabels=/*/*/[HLA,HLB,HLC,HLD]",
                 "--ASUIN", f"seqFile={SEQUENCE}")


@pytest.fixture(scope="module")
def direct(mask_job, tmp_path_factory):
    """The same by the command line, from the file that CCP4i2 made of its input."""
    out = tmp_path_factory.mktemp("direct")
    assert main(["segment", str(mask_job.folder / "hklin.mtz"), "--seq", str(SEQUENCE),
                 "-o", str(out)]) == 0
    return out


@needs_ccp4i2
def test_mask_task_gives_what_the_command_line_gives(mask_job, direct):
    assert mask_job.status == "Finished" and mask_job.errors == []
    for item, file in (("MASK", "mask"), ("PROBABILITY", "probability")):
        ours, theirs = (read_map(path) for path in (direct / f"{file}.ccp4",
                                                    mask_job.folder / f"{item}.map"))
        assert np.array_equal(ours.array, theirs.array)
    content = json.loads((direct / "result.json").read_text())["solvent_content"]["value"]
    assert float(mask_job.parameter("SOLVENT_CONTENT_FOUND")) == pytest.approx(content, abs=1e-6)
    assert abs(content - 0.57) < 0.1  # examples/README.md
    assert mask_job.files == {
        "MASK": f"Solvent mask ({content:.0%} solvent) by U-net",
        "PROBABILITY": "Probability of solvent by U-net",
        "FPHIMASK": "Coefficients of the solvent mask by U-net"}
    assert mask_job.subtypes["MASK"] == 4 != mask_job.subtypes["PROBABILITY"]  # drawn as a mask


@needs_ccp4i2
def test_mask_coefficients_are_those_of_the_mask(mask_job):
    coefficients = read_phased(mask_job.folder / "FPHIMASK.mtz", need_phases=False)
    assert coefficients.labels == {"fc": "F,PHI"}
    expected = structure_factors(read_map(mask_job.folder / "MASK.map"), coefficients.data.reflections)
    assert np.allclose(coefficients.data.coefficients, expected, atol=1e-3 * np.abs(expected).max())
    result = json.loads((mask_job.folder / "unet" / "result.json").read_text())
    assert len(expected) == result["input"]["n_reflections"]


@needs_ccp4i2
def test_report_has_answers_pictures_graphs_and_references(mask_job):
    folder = mask_job.folder / "unet"
    result = json.loads((folder / "result.json").read_text())
    assert pictures_of(mask_job) == [data_uri((folder / picture["file"]).read_bytes(), "png")
                                     for picture in result["outputs"]["pictures"]]
    assert len(pictures_of(mask_job)) == 6
    assert f"{result['solvent_content']['value']:.1%}" in text_of(mask_job)
    quality = result["map_quality"]
    assert (f"expected to correlate with the true one by {quality['correlation']:.2f} ± "
            f"{quality['uncertainty']:.2f}.") in text_of(mask_job)
    assert result["doubts"] == [] and "There is no doubt about this map." in text_of(mask_job)
    folds = [fold.get("label") for fold in mask_job.report.iter("CCP4i2ReportFold")]
    assert folds == ["Sections of the map", "How the answer was found",
                     "Copies in the asymmetric unit", "What was run", "Bibliographic references"]
    graphs = [[line.split() for line in graph.findtext(".//data").strip().splitlines()]
              for graph in mask_job.report.iter("CCP4i2ReportFlotGraph")]
    assert [(len(rows), len(rows[0])) for rows in graphs] == [(101, 4), (50, 2)]
    titles = [reference.get("articleTitle") for reference in
              mask_job.report.iter("CCP4i2ReportReference")]
    assert len(titles) == 1 and titles[0].startswith("Deep-learning map segmentation")


@needs_ccp4i2
def test_mask_task_takes_a_map_and_obeys_its_options(coefficients, tmp_path):
    job = i2run(tmp_path / "job", "unetmask", "--FPHIIN", f"fullPath={coefficients}",
                "columnLabels=/*/*/[F,PHI]", "--SOLVENT_CONTENT", "0.5", "--DEVICE", "cpu",
                "--THREADS", "1")
    assert job.status == "Finished" and job.errors == []
    assert read_map(job.folder / "MASK.map").array.mean() == pytest.approx(0.5, abs=0.002)
    result = json.loads((job.folder / "unet" / "result.json").read_text())
    assert result["input"]["labels"] == {"fc": "F,PHI"}
    assert len(result["warnings"]) == 1 and "not sharpened" in result["warnings"][0]
    assert result["device"]["asked"] == "cpu" and result["device"]["threads"] == 1
    assert result["solvent_content"]["rule"] == "user"
    assert "as given" in text_of(job)


@needs_ccp4i2
def test_a_map_with_its_amplitudes_is_sharpened(phased, coefficients, mask_job, tmp_path):
    """The map of the phases then gives the mask that the phases give."""
    job = i2run(tmp_path / "job", "unetmask", "--FPHIIN", f"fullPath={coefficients}",
                "columnLabels=/*/*/[F,PHI]", "--F_SIGF", f"fullPath={phased}",
                "columnLabels=/*/*/[F,SIGF]", "--ASUIN", f"seqFile={SEQUENCE}")
    assert job.status == "Finished" and job.errors == []
    result = json.loads((job.folder / "unet" / "result.json").read_text())
    assert result["input"]["labels"].keys() == {"fc", "fo"} and not result["warnings"]
    masks = [read_map(one.folder / "MASK.map").array for one in (job, mask_job)]
    assert np.mean(masks[0] == masks[1]) > 0.999


@needs_ccp4i2
def test_failure_is_explained(coefficients, tmp_path):
    mtz = gemmi.read_mtz_file(str(coefficients))
    values = np.array(mtz, copy=True)
    values[:, 3] = 0
    mtz.set_data(values)
    mtz.write_to_file(str(tmp_path / "flat.mtz"))
    job = i2run(tmp_path / "job", "unetmask", "--FPHIIN", f"fullPath={tmp_path / 'flat.mtz'}",
                "columnLabels=/*/*/[F,PHI]")
    assert job.status == "Failed" and job.files == {}
    message = dict(job.errors)[203]
    assert message in text_of(job) and "Traceback" not in message
    assert "ERROR: " + message in (job.folder / "stderr.txt").read_text()


@needs_ccp4i2
@pytest.mark.parametrize("given, message", [
    ("", "Give map coefficients, or reflections and phases."),
    ("map phases", "Give either map coefficients or phases, not both")])
def test_missing_input_is_asked_for(given, message, phased, coefficients, tmp_path):
    arguments = []
    if "map" in given:
        arguments += ["--FPHIIN", f"fullPath={coefficients}", "columnLabels=/*/*/[F,PHI]"]
    if "phases" in given:
        arguments += ["--ABCD", f"fullPath={phased}", "columnLabels=/*/*/[HLA,HLB,HLC,HLD]"]
    job = i2run(tmp_path / "job", "unetmask", *arguments)
    assert job.status == "Failed"
    assert message in dict(job.errors)[201]
    assert not (job.folder / "unet").exists()


@needs_ccp4i2
def test_doubts_are_in_the_report(coefficients, tmp_path):
    mtz = gemmi.read_mtz_file(str(coefficients))
    mtz.set_data(np.array(mtz, copy=True)[mtz.make_d_array() > 5])  # beyond the training data
    mtz.write_to_file(str(tmp_path / "blurred.mtz"))
    job = i2run(tmp_path / "job", "unetmask", "--FPHIIN", f"fullPath={tmp_path / 'blurred.mtz'}",
                "columnLabels=/*/*/[F,PHI]")
    result = json.loads((job.folder / "unet" / "result.json").read_text())
    assert "resolution" in result["doubts"]
    assert "Doubts: " + "; ".join(result["doubts"]) in text_of(job)
    assert all(warning in text_of(job) for warning in result["warnings"])


@pytest.fixture(scope="module")
def dm_job(phased, tmp_path_factory):
    return i2run(tmp_path_factory.mktemp("i2") / "dm", "unetdm", "--CYCLES", "3",
                 "--F_SIGF", f"fullPath={phased}", "columnLabels=/*/*/[F,SIGF]",
                 "--ABCD", f"fullPath={phased}", "columnLabels=/*/*/[HLA,HLB,HLC,HLD]",
                 "--ASUIN", f"seqFile={SEQUENCE}",
                 "--FREERFLAG", f"fullPath={phased}", "columnLabels=/*/*/[FreeR_flag]",
                 "--XYZIN_HA", f"fullPath={EXAMPLES / 'sites.pdb'}")


@needs_ccp4i2
def test_dm_task_gives_what_the_command_line_gives(dm_job, tmp_path):
    assert dm_job.status == "Finished" and dm_job.errors == [], dm_job.output
    assert main(["dm", str(dm_job.folder / "hklin.mtz"), "--seq", str(SEQUENCE), "--cycles", "3",
                 "--ncs-sites", str(EXAMPLES / "sites.pdb"), "--free", "FREERFLAG_FREER",
                 "-o", str(tmp_path)]) == 0
    direct = gemmi.read_mtz_file(str(tmp_path / "dm.mtz"))
    for file, labels in (("FPHIOUT", {"F": "FWT", "PHI": "PHWT"}),
                         ("ABCDOUT", {f"HL{x}": f"HL{x}" for x in "ABCD"})):
        ours = gemmi.read_mtz_file(str(dm_job.folder / f"{file}.mtz"))
        assert ours.column_labels()[3:] == list(labels)
        for label, original in labels.items():
            candidates = [c.array for c in direct.columns if c.label in (original, f"{original}_2")]
            assert np.array_equal(ours.column_with_label(label).array, candidates[-1], equal_nan=True)
    assert np.array_equal(read_map(dm_job.folder / "MASK.map").array,
                          read_map(tmp_path / "mask.ccp4").array)


@needs_ccp4i2
def test_dm_task_improves_the_map_and_says_what_its_files_are(dm_job, phased):
    model = gemmi.read_structure(str(EXAMPLES / "model.pdb"))

    def correlation(path, **columns):
        data = read_phased(path, need_phases=False, **columns).data
        return map_correlation(data.coefficients, model_structure_factors(model, data.reflections),
                               data.reflections.multiplicity)

    assert correlation(dm_job.folder / "FPHIOUT.mtz") > 0.1 + correlation(
        phased, colin_hl="HLA,HLB,HLC,HLD")
    assert set(dm_job.files) == {"FPHIOUT", "ABCDOUT", "MASK"}
    assert dm_job.subtypes["MASK"] == 4 and dm_job.subtypes["FPHIOUT"] == 1
    fom = json.loads((dm_job.folder / "unet" / "result.json").read_text())["cycles"][-1]["fom"]
    assert float(dm_job.parameter("PERFORMANCE/FOM")) == pytest.approx(fom, abs=1e-6)
    assert f"The figure of merit is {fom:.2f} after 3 cycles." in text_of(dm_job)
    verdict = json.loads((dm_job.folder / "unet" / "result.json").read_text())["verdict"]
    for sentence in (verdict["word"].capitalize(), *verdict["reasons"], *verdict["advice"]):
        assert " ".join(sentence.split()) in text_of(dm_job)
    assert "start map" in text_of(dm_job)
    folds = [fold.get("label") for fold in dm_job.report.iter("CCP4i2ReportFold")]
    assert folds == ["Cycle by cycle", "Copies in the asymmetric unit", "What was run",
                     "Bibliographic references"]
    assert "NCS" not in text_of(dm_job)  # three cycles are too few to look for it


@needs_ccp4i2
def test_ncs_is_in_the_report(dm_job, tmp_path):
    """Drawn from a result with an operator, as CCP4i2 draws it."""
    folder = tmp_path / "unet"
    folder.mkdir()
    result = json.loads((dm_job.folder / "unet" / "result.json").read_text())
    result["ncs"] = [{"operator": "10,20,30,1,2,3,4,5,6", "volume": 0.412, "correlation": 0.873}]
    (folder / "result.json").write_text(json.dumps(result))
    code = """
import sys, xml.etree.ElementTree as ET, django
django.setup()
from crank2_unet.ccp4i2.unetdm_report import unetdm_report
report = unetdm_report(jobInfo={"fileroot": sys.argv[1] + "/"}, jobStatus="Finished")
print(" ".join(ET.tostring(report.as_data_etree(), encoding="unicode").split()))
"""
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], text=True, check=True,
                          capture_output=True, env={
                              **os.environ, "DJANGO_SETTINGS_MODULE": "ccp4i2.config.settings",
                              "CCP4I2_DB_FILE": str(tmp_path / "db")}).stdout
    assert "The map was averaged over NCS." in said and "0.873" in said


@pytest.fixture(scope="module")
def crank2_job(phased, tmp_path_factory):
    """Density modification of the example by CCP4i2's own Crank2 task; CCP4 programs are stand-ins."""
    crank2 = prepare(tmp_path_factory.mktemp("crank2"))
    return i2run(
        tmp_path_factory.mktemp("i2") / "crank2", "crank2",
        "--START_PIPELINE", "dmfull", "--END_PIPELINE", "dmfull", "--PRESENT_STYLE", "bigpage",
        "--USER_DMFULL_DMCYC", "True", "--DMFULL_DMCYC", "2",
        "--F_SIGFanom", f"fullPath={EXAMPLES / 'example.mtz'}",
        "columnLabels=/*/*/[F(+),SIGF(+),F(-),SIGF(-)]",
        "--INPUT_PHASES", "True", "--FPHIN_HL", f"fullPath={phased}",
        "columnLabels=/*/*/[HLA,HLB,HLC,HLD]",
        "--ATOM_TYPE", "Se", "--XYZIN_SUB", f"fullPath={EXAMPLES / 'sites.pdb'}",
        "--FPRIME", "-7.69", "--USER_FPRIME", "True", "--FDPRIME", "3.84", "--USER_FDPRIME", "True",
        "--SEQIN", f"seqFile={SEQUENCE}", CRANK2_DMMASK="unet",
        PATH=f"{crank2.bin}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=STANDINS / "modules",
        CRANK2=crank2.work / "env", CCP4=crank2.work)


@needs_ccp4i2
def test_crank2s_own_task_makes_masks_by_the_network(crank2_job):
    """By CRANK2_DMMASK in the environment of the server alone."""
    assert crank2_job.status == "Finished" and crank2_job.errors == [], crank2_job.output
    assert {"FPHOUT", "FPHOUT_HL", "FREEROUT"} <= set(crank2_job.files)
    assert "dmmask" not in (crank2_job.folder / "crank.inp").read_text()
    log = (crank2_job.folder / "log.txt").read_text()
    used, asked = map(int, re.search(r"mask was used in (\d+) of (\d+) cycles", log).groups())
    assert used == asked >= 5
    (last,) = crank2_job.folder.rglob("Parrot_cyc2_input")
    assert {"mskin", "colin-wrk-fmsk"} & {line.split()[0] for line in last.read_text().splitlines()}


@needs_ccp4i2
@pytest.mark.parametrize("switch, found", [("on", True), ("off", False)])
def test_tasks_are_known_without_an_import(switch, found):
    code = "from ccp4i2.core.tasks import TASKS; import json; print(json.dumps(list(TASKS)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={"CRANK2_UNET_HOOK": switch, "PATH": ""})
    names = {entry.name for entry in registration.TASKS}
    assert names & set(json.loads(run.stdout)) == (names if found else set())


class Manager:
    """A task manager as that of CCP4i2 2.6, as far as our tasks see it."""

    class CTaskManager:
        def __init__(self):
            self.path = []
            self.scriptLookup, self.taskLookup, self.reportLookup = {}, {}, {}
            self.moduleLookup = {"density_modification": ["parrot"]}
            self.errors = self.buildLookup()

        def appendSearchPath(self, path):
            self.path.append(path)

        def buildLookup(self):
            return "errors"


def test_older_ccp4i2_is_told_of_classes_that_exist():
    registration.add_to_task_manager(Manager)
    manager = Manager.CTaskManager()
    assert manager.errors == "errors" and manager.path == [str(registration.FOLDER)]
    assert manager.moduleLookup == {"density_modification": ["parrot", "unetmask", "unetdm"]}
    for table in (manager.scriptLookup, manager.taskLookup, manager.reportLookup):
        for versions in table.values():
            (entry,) = versions.values()
            module = registration.FOLDER / f"{entry['clsModule'].rpartition('.')[2]}.py"
            assert f"class {entry['clsName']}(" in module.read_text()
    for entry in registration.TASKS:
        assert manager.reportLookup[entry.name]["0.0.0"]["modes"] == ["Failed"]


@pytest.mark.parametrize("entry", registration.TASKS, ids=lambda entry: entry.name)
def test_forms_are_short_and_each_parameter_has_a_label_and_a_help_text(entry):
    body = ET.parse(registration.FOLDER / f"{entry.name}.def.xml").getroot().find("ccp4i2_body")
    contents = [content for group in body.findall("container") if group.get("id") != "outputData"
                for content in group.iter("content")]
    assert 6 <= len(contents) <= 9
    for content in contents:
        assert content.findtext("qualifiers/guiLabel") and content.findtext("qualifiers/toolTip")
    assert (registration.FOLDER / f"{entry.name}.medline.txt").exists()


def test_registration_is_light():
    """It runs while CCP4i2 starts."""
    code = ("import sys, crank2_unet.ccp4i2.registration;"
            "sys.exit(bool({'gemmi', 'numpy', 'matplotlib', 'ccp4i2'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
