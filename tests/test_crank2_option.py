"""The option dmmask in the real Crank2's parser: where it is understood and what is refused."""

import importlib
import subprocess
import sys

import pytest
from crank2_job import STANDINS, crank2_folder

from crank2_unet.crank2.option import MEANINGS, OptionError, from_command_line

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
    monkeypatch.chdir(STANDINS.parent.parent)

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
    ("dmmask::Unet\ndmfull", "dmmask::Unet is not a solvent mask. Use dmmask::unet or dmmask::classic "
                             "or dmmask::none."),
    ("dmfull dmmask::3", "Wrong type int of value 3 for parameter dmmask"),
    ("dmfull dmmask::None", "dmmask::None is not"),
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


def test_the_command_line_ends_with_one_line(tmp_path):
    """No traceback, exit status 1."""
    keyin = tmp_path / "job.inp"
    keyin.write_text(DATA + "dmfull dmmask::of\n")
    paths = [str(crank2_folder().parent), str(STANDINS / "modules")]
    run = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths}; sys.argv[1:] = "
                          f"['--keyin', {str(keyin)!r}, '-x']\nimport crank2.parse as p\n"
                          "p.parse().ParseAndRun()"], cwd=STANDINS.parent.parent, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert run.stdout.splitlines()[-1].startswith("Error: dmmask::of is not a solvent mask.")
