"""The option dmmask in the real Crank2's parser: where it is understood and what is refused."""

import gc
import importlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from crank2_job import REPOSITORY, STANDINS, crank2_folder

from crank2_unet.crank2.option import MEANINGS, OptionError, from_command_line
from crank2_unet.solvent.content import CutoffDistribution, UnetSolvent, estimate_solvent

DATA = """target::SAD
fsigf average f=F sigf=SIGF file=examples/example.mtz
sequence file=examples/sequence.fasta
"""


def test_the_command_line_is_read_around_crank2s_own_options():
    rest = ["--keyin", "a b.inp", "HKLIN", "x.mtz", "--dirout=out", "-d"]
    assert from_command_line(rest) == (None, rest)
    assert from_command_line(["--dmmask=unet", *rest]) == ("unet", rest)
    assert from_command_line([*rest, "--dmmask", "none"]) == ("none", rest)
    with pytest.raises(OptionError, match="--dmmask needs a value: unet or classic or none"):
        from_command_line([*rest, "--dmmask"])


@pytest.fixture(scope="module")
def parse():
    """Crank2's module parse, connected as the import hook does it."""
    folder = crank2_folder()
    sys.path[:0] = [str(folder.parent), str(STANDINS / "modules")]
    try:
        module = importlib.import_module("crank2.parse")
        importlib.import_module("crank2_unet.crank2.activation").activate(module)
        yield module
    finally:
        del sys.path[:2]


@pytest.fixture
def read(parse, tmp_path, monkeypatch):
    """Read keywords; returns Crank2's tree of processes."""
    monkeypatch.delenv("CRANK2_DMMASK", raising=False)
    monkeypatch.chdir(REPOSITORY)

    def read(lines, *options, data=DATA):
        keyin = tmp_path / "job.inp"
        keyin.write_text(data + lines)
        parser = parse.parse()
        parser.ParseCommandLine(["--keyin", str(keyin), "--dirout", str(tmp_path), *options])
        return parser.ParseAll(dummy=True, skip_commline_parse=True)

    return read


def masks(crank):
    """nick -> dmmask of every process that knows the option, but for the top."""
    found, left = {}, list(crank.processes)
    for process in left:
        left.extend(process.processes)
        if "dmmask" in process.supported_params:
            found[process.nick] = process.GetParam("dmmask")
    return found


def test_the_parameter_is_listed_with_its_meaning(parse):
    from crank2.processes.dmfull import dmfull

    assert all(name in dmfull.supported_params["dmmask"].description for name in MEANINGS)


@pytest.mark.parametrize("value", MEANINGS)
@pytest.mark.parametrize("lines", ["dmmask::{}\ndmfull", "dmfull\ndmmask::{}", "dmfull dmmask::{}",
                                   "dmfull dmmask::{} dm parrot"])
def test_top_and_step(read, lines, value):
    assert masks(read(lines.format(value))) == {"dmfull": value}


@pytest.mark.parametrize("value", ["UNET", "Classic", "None"])
def test_capitals_do_not_matter(read, monkeypatch, value):
    expected = {"dmfull": value.lower()}
    assert masks(read(f"dmmask::{value}\ndmfull")) == expected
    assert masks(read(f"dmfull dmmask::{value}")) == expected
    assert masks(read("dmfull", f"--dmmask={value}")) == expected
    assert masks(read(f"comb_phdmmb dmmask::{value} dmfull dm parrot")) == {
        "comb_phdmmb": value.lower(), **expected}
    monkeypatch.setenv("CRANK2_DMMASK", value)
    assert masks(read("dmfull")) == expected


@pytest.mark.parametrize("step", ["comb_phdmmb", "mbref", "handdet"])
def test_steps_with_density_modification_inside(read, step):
    assert masks(read(f"{step} dmmask::unet dmfull dm parrot")) == {step: "unet", "dmfull": "unet"}
    assert masks(read(f"{step} dmfull dmmask::unet dm parrot")) == {step: None, "dmfull": "unet"}
    assert masks(read(f"dmmask::unet\n{step} dmfull dm parrot")) == {step: "unet", "dmfull": "unet"}


def test_the_nearest_counts(read, monkeypatch):
    monkeypatch.setenv("CRANK2_DMMASK", "none")
    assert masks(read("dmfull")) == {"dmfull": "none"}
    assert masks(read("dmfull", "--dmmask=classic")) == {"dmfull": "classic"}
    assert masks(read("dmmask::unet\ndmfull")) == {"dmfull": "unet"}
    assert masks(read("dmmask::unet\ndmfull", "--dmmask=classic")) == {"dmfull": "classic"}
    assert masks(read("dmmask::unet\ndmfull dmmask::none", "--dmmask=classic")) == {"dmfull": "none"}
    # what a job says by itself comes before a default for the whole session
    assert masks(read("dmfull map_segmentation::True")) == {"dmfull": None}


def test_handdet_gets_parrot_only_where_it_is_asked(read):
    programs = [p.nick for p in read("handdet dmmask::unet").GetProcess("handdet")
                .GetProcess("dmfull").GetProcess("dm").programs]
    assert programs == ["parrot"]
    assert read("dmmask::unet\nhanddet").GetProcess("handdet").GetProcess("dmfull") is None
    assert read("handdet dmmask::classic").GetProcess("handdet").GetProcess("dmfull") is None


@pytest.mark.parametrize("lines, message", [
    ("dmmask::Net\ndmfull", "dmmask::Net is not a solvent mask. Use dmmask::unet or dmmask::classic "
                            "or dmmask::none."),
    ("dmfull dmmask::3", "Wrong type int of value 3 for parameter dmmask"),
    ("dmfull dmmask::classic map_segmentation::True", "contradict each other"),
    ("dmmask::unet\ndmfull map_segmentation::False", "contradict each other"),
    ("dmfull dmmask::unet dm solomon", "the program solomon; only Parrot takes masks"),
    ("dmfull dmmask::none shelxe", "the program shelxe; only Parrot takes masks"),
    ("dmfull dmmask::unet parrot", "Write 'dmfull dmmask::unet dm parrot'"),
])
def test_what_is_refused(read, lines, message):
    with pytest.raises(Exception, match=message.replace("(", r"\(")):
        read(lines)


def test_wrong_values_from_outside_name_their_source(read, monkeypatch):
    with pytest.raises(Exception, match="--dmmask=on is not a solvent mask. Use --dmmask=unet or"):
        read("dmfull", "--dmmask=on")
    monkeypatch.setenv("CRANK2_DMMASK", "yes")
    with pytest.raises(Exception, match="CRANK2_DMMASK=yes is not a solvent mask"):
        read("dmfull")


def test_a_sequence_is_needed(read):
    data = "".join(DATA.splitlines(keepends=True)[:-1])
    with pytest.raises(Exception, match="needs the content of the crystal. Give a sequence"):
        read("dmfull dmmask::unet", data=data)
    assert masks(read("dmfull dmmask::classic", data=data)) == {"dmfull": "classic"}


FORMS = [  # columns of the map in Crank2, what crank2-unet segment is told
    ("weighted f=FWT ph=PHWT", ["--colin-fo", "F,SIGF", "--colin-fc", "FWT,PHWT"]),
    ("best f=FB ph=PHIB fom=FOM hla=HLA hlb=HLB hlc=HLC hld=HLD",
     ["--colin-fo", "F,SIGF", "--colin-fc", "FB,PHIB"]),
    ("best hla=HLA hlb=HLB hlc=HLC hld=HLD", ["--colin-fo", "F,SIGF", "--colin-hl", "HLA,HLB,HLC,HLD"]),
    ("combined ph=PHCOMB fom=FOM hla=HLA hlb=HLB hlc=HLC hld=HLD",
     ["--colin-fo", "F,SIGF", "--colin-hl", "HLA,HLB,HLC,HLD"]),
    ("combined ph=PHCOMB fom=FOM", ["--colin-fo", "F,SIGF", "--colin-phifom", "PHCOMB,FOM"]),
]


@pytest.fixture
def segmentmap(read, parse, monkeypatch):
    """Crank2's process segmentmap in a dmfull with data; takes the line of a map."""
    from crank2_unet import hook

    def segmentmap(line="weighted f=FWT ph=PHWT"):
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        hook.stop()
        hook.start()
        crank = read(f"dmfull\nmapcoef {line} file=examples/example.mtz")
        dmfull = crank.GetProcess("dmfull")
        for container in crank.inp.GetAll(stored_order=True, try_convert=False):
            dmfull.inp.Add(container)
        return dmfull.AddProcess("segmentmap")

    return segmentmap


@pytest.mark.parametrize("line, told", FORMS)
def test_each_form_of_map_that_crank2_hands_over(segmentmap, line, told):
    program = segmentmap(line).AddProg("unetsegment")
    program.TreatInput()
    arguments = program.GetArg("-m")
    assert arguments[:2] == ["crank2_unet", "segment"] and arguments[3:3 + len(told)] == told


def test_the_measured_reflections_are_kept_without_the_file_they_are_from(segmentmap):
    column = segmentmap()._measured()
    gc.collect()
    assert column.label == "MEASURED" and np.isfinite(column.array).sum() == 6714


def test_answers_of_the_network_to_crank2(segmentmap):
    """Those of crank2_unet.solvent.content, and harmless ones after a failure."""
    step = segmentmap()
    assert step.out.never_propagate and step.GetLogitFromSolv(0.5) is None
    assert step.GetProbFromLogitDiff(0.0) == 0.0
    logits = np.random.default_rng(0).normal(0.3, 2.0, 4000)
    cutoffs = CutoffDistribution.from_samples(np.random.default_rng(1).normal(0, 0.5, 200))
    estimate = estimate_solvent(logits, cutoffs)
    step._cutoffs, step.est_solvcont = cutoffs, estimate.value
    step._unet = UnetSolvent.from_json(json.loads(json.dumps(estimate.to_json())), cutoffs)
    step.parent_process = None
    again = pickle.loads(pickle.dumps(step))
    for solvent in (0.1, 0.5, 0.9):
        assert again.GetLogitFromSolv(solvent) == pytest.approx(
            estimate.unet.logit_from_solvent(solvent), abs=1e-5)
    assert again.GetLogitFromSolv(0.0) is again.GetLogitFromSolv(47.0) is None
    assert again.GetProbFromLogitDiff(None) == 0.0
    assert again.GetProbFromLogitDiff(0.0) == pytest.approx(1.0)
    assert 0 < again.GetProbFromLogitDiff(1.0) < again.GetProbFromLogitDiff(0.5) < 1
    # one probable option, as Crank2 passes it on, with its ends at 1 and 0
    drawn = again.GetExpSolvFromCombDist([1.0, 0.7, 0.4, 0.1, 0.0], [0, 0.0, 1.0, 0.0, 0])
    assert 0.4 < drawn < estimate.unet.expected


def test_the_command_line_ends_with_one_line(tmp_path):
    """No traceback, exit status 1."""
    keyin = tmp_path / "job.inp"
    keyin.write_text(DATA + "dmfull dmmask::of\n")
    paths = [str(crank2_folder().parent), str(STANDINS / "modules")]
    run = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths}; sys.argv[1:] = "
                          f"['--keyin', {str(keyin)!r}, '-x']\nimport crank2.parse as p\n"
                          "p.parse().ParseAndRun()"], cwd=REPOSITORY, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert run.stdout.splitlines()[-1].startswith("Error: dmmask::of is not a solvent mask.")
