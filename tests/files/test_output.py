"""Outputs: whole or not at all, whatever happens; nothing else is replaced or left."""

import errno
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import gemmi
import numpy as np
import pytest
from damage import mtz_file

import crank2_unet
from crank2_unet.crystal.reflections import Reflections
from crank2_unet.errors import InputError, ProgramError
from crank2_unet.files.maps import write_map
from crank2_unet.files.mtz import MtzFile
from crank2_unet.files.mtz_output import append_columns, write_mtz
from crank2_unet.files.output import staged, staged_file, write_json

NEW, OLD = {"a.txt", "b.txt", "result.json"}, {"a.txt", "c.txt", "report.html", "result.json"}


def write(stage, what, names=("a.txt", "b.txt"), command="test"):
    for name in names:
        (stage / name).write_text(what)
    write_json({"command": command, "outputs": {str(n): name for n, name in enumerate(names)},
                "what": what}, stage / "result.json")


def put(folder, what, command="test", inputs=()):
    with staged(folder, command, inputs) as stage:
        write(stage, what, command=command)


def earlier(folder):
    """An earlier result of the same command, with other files, and a file of the user's."""
    folder.mkdir()
    write(folder, "old", ("a.txt", "c.txt"))
    (folder / "report.html").write_text("old")
    (folder / "thesis.txt").write_text("mine")
    return folder


def files(folder):
    return {path.name for path in folder.iterdir()}


def check_whole(folder):
    """Either all old or all new files, and that of the user's."""
    found = files(folder) - {"thesis.txt"}
    what = json.loads((folder / "result.json").read_text())["what"]
    assert found == (NEW if what == "new" else OLD)
    assert {(folder / name).read_text() for name in found - {"result.json"}} == {what}
    assert (folder / "thesis.txt").read_text() == "mine"
    return what


def test_new_folder(tmp_path):
    put(tmp_path / "one" / "out", "new")
    assert files(tmp_path / "one") == {"out"} and files(tmp_path / "one" / "out") == NEW
    usual = tmp_path / "usual"
    usual.mkdir()
    assert (tmp_path / "one" / "out").stat().st_mode == usual.stat().st_mode


def test_results_of_the_same_command_are_replaced_all_of_them(tmp_path):
    put(earlier(tmp_path / "out"), "new")
    assert check_whole(tmp_path / "out") == "new"
    assert files(tmp_path) == {"out"}


@pytest.mark.parametrize("there, said", [
    ({"result.json": '{"command": "other", "outputs": {}}'}, "holds the results of other"),
    ({"result.json": "not ours"}, "holds the results of another program"),
    ({"b.txt": "mine"}, "b.txt is in the way"),
])
def test_other_files_are_not_replaced(there, said, tmp_path):
    (tmp_path / "out").mkdir()
    for name, text in there.items():
        (tmp_path / "out" / name).write_text(text)
    with pytest.raises(InputError, match=said):
        put(tmp_path / "out", "new")
    assert {name: (tmp_path / "out" / name).read_text() for name in there} == there
    if "b.txt" not in there:  # known before the work began
        assert files(tmp_path / "out") == set(there)
    else:  # known after it: nothing is lost
        assert files(tmp_path / "out") == {"b.txt", "failed"}
        assert files(tmp_path / "out" / "failed") == NEW


def test_names_that_are_known_are_refused_before_the_work(tmp_path):
    (tmp_path / "sites.pdb").write_text("mine")
    with pytest.raises(InputError, match="sites.pdb is in the way"):
        with staged(tmp_path, "phase", [], ["phased.mtz", "sites.pdb"]):
            pytest.fail("the work began")
    assert files(tmp_path) == {"sites.pdb"}


@pytest.mark.parametrize("link", [os.link, os.symlink, None])
def test_inputs_are_not_replaced_under_any_name(link, tmp_path):
    folder = earlier(tmp_path / "out")
    given = folder / "a.txt"
    if link:
        link(given, tmp_path / "in.mtz")
        given = tmp_path / "in.mtz"
    with pytest.raises(InputError, match="which is an input"):
        put(folder, "new", inputs=[None, given])
    assert check_whole(folder) == "old"


def test_links_are_replaced_not_followed(tmp_path):
    folder = earlier(tmp_path / "out")
    (tmp_path / "elsewhere").write_text("mine")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "elsewhere")
    put(folder, "new")
    assert check_whole(folder) == "new" and (tmp_path / "elsewhere").read_text() == "mine"


def test_folder_in_the_way(tmp_path):
    folder = earlier(tmp_path / "out")
    (folder / "b.txt").mkdir()
    (folder / "b.txt" / "precious").write_text("mine")
    for command in ("test", ""):
        with pytest.raises(InputError, match="b.txt is in the way"):
            put(folder, "new", command)
    assert (folder / "b.txt" / "precious").read_text() == "mine"
    assert (folder / "a.txt").read_text() == "old"


@pytest.mark.parametrize("error", [InputError("wrong"), ValueError(), KeyboardInterrupt()])
def test_job_that_fails_leaves_nothing(error, tmp_path):
    for folder in (tmp_path / "new" / "out", earlier(tmp_path / "old")):
        with pytest.raises(type(error)):
            with staged(folder, "test") as stage:
                write(stage, "new")
                raise error
    assert files(tmp_path) == {"old"} and check_whole(tmp_path / "old") == "old"


def test_files_of_a_program_that_failed_are_kept(tmp_path):
    with pytest.raises(ProgramError, match="out/failed"):
        with staged(tmp_path / "out", "test") as stage:
            (stage / "log").write_text("why")
            raise ProgramError("failed")
    assert (tmp_path / "out" / "failed" / "log").read_text() == "why"


def test_two_jobs_in_one_folder(tmp_path):
    with staged(tmp_path / "out", "test") as stage:
        write(stage, "new")
        with pytest.raises(InputError, match="Another job is writing"):
            put(tmp_path / "out", "other")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["what"] == "new"
    put(tmp_path / "out", "other")


def test_temporary_names_are_unpredictable_and_closed(tmp_path):
    names = []
    for _ in range(2):
        with staged(tmp_path / "out", "test") as stage:
            names.append(stage.name)
            assert stat.S_IMODE(stage.stat().st_mode) == 0o700
            write(stage, "new")
    assert names[0] != names[1]


CHILD = """
import errno, os, signal, sys
from pathlib import Path
from crank2_unet.errors import InputError
from crank2_unet.files.output import staged, staged_file
from crank2_unet.process import reporting
sys.path[:0] = {paths!r}
from test_output import write, put

folder, number, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
EVENTS = ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.chmod", "os.scandir",
          "os.listdir", "fcntl.flock")
seen = 0

def hook(event, arguments):
    global seen
    if event not in EVENTS or not armed:
        return
    if event == "open" and not str(arguments[0]).startswith(str(folder.parent)):
        return
    seen += 1
    if seen != number:
        return
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "end":
        os.kill(os.getpid(), signal.SIGTERM)
    elif event in ("os.mkdir", "os.rename") or event == "open" and "w" in str(arguments[1]):
        raise OSError(errno.ENOSPC, "No space left on device")

armed = False
sys.addaudithook(hook)

def run():
    global armed
    armed = True
    try:
        if folder.suffix:
            with staged_file(folder) as file:
                file.write_text("new")
        else:
            put(folder, "new")
    finally:
        armed = False

status = reporting(run)
print("events", seen)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """Runs a job in a process of its own; a fault strikes at its n-th event in the file system."""
    script = tmp_path_factory.mktemp("child") / "child.py"
    here = Path(__file__).parent
    script.write_text(CHILD.format(paths=[str(here), str(here.parent / "helpers")]))
    environment = {**os.environ, "PYTHONPATH": str(Path(crank2_unet.__file__).parents[1])}

    def run(folder, number, fault):
        return subprocess.run([sys.executable, str(script), str(folder), str(number), fault],
                              env=environment, text=True, capture_output=True, timeout=60)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "end", "full"])
@pytest.mark.parametrize("state", ["fresh", "earlier", "file"])
def test_fault_at_each_event_in_the_file_system(child, fault, state, tmp_path):
    """Whole or not at all; what is left is put right by the next job; messages say the truth."""
    number, ends = 0, set()
    while True:
        number += 1
        top = tmp_path / str(number)
        top.mkdir()
        folder = top / ("out.mtz" if state == "file" else "out")
        if state == "earlier":
            earlier(folder)
        elif state == "file":
            folder.write_text("old")
        done = child(folder, number, fault)
        if done.stdout == f"events {number - 1}\n":
            assert done.returncode == 0
            break
        assert done.returncode in ((-signal.SIGKILL,) if fault == "kill" else (0, 1)), done.stderr
        assert "Traceback" not in done.stderr and "bug" not in done.stderr
        if fault == "kill":
            if state == "fresh":  # before anything is put right
                left = files(folder) if folder.exists() else set()
                assert left in (set(), NEW)
            with pytest.raises(ZeroDivisionError):  # the next job, which fails
                if state == "file":
                    with staged_file(folder):
                        raise ZeroDivisionError
                else:
                    with staged(folder, "test"):
                        raise ZeroDivisionError
        if state == "earlier":
            what = check_whole(folder)
        elif state == "file":
            what = folder.read_text()
        else:
            what = "new" if folder.exists() and files(folder) else "none"
            assert what == "none" or files(folder) == NEW
        ends.add(what)
        assert files(top) <= {folder.name}, files(top)
        if fault == "end" and done.returncode:
            assert ("is complete" if what == "new" else "no result was written") in done.stderr
        if fault == "full":
            assert (done.returncode == 0) == (what == "new")
            assert done.returncode == 0 or "No space left" in done.stderr
    assert number > 10
    assert "new" in ends and len(ends) == 2  # both have been seen


def test_read_only_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match="Read-only file system"):
        put(tmp_path / "out", "new")
    with pytest.raises(InputError, match="Read-only file system"):
        with staged_file(tmp_path / "file"):
            pass
    assert not files(tmp_path)


@pytest.fixture
def size_limit():
    """Sets the largest size of a file, as ulimit -f does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("missing", [1, 100, 4000, 5000, 20000])
def test_files_cut_short_are_not_results(size_limit, missing, tmp_path):
    """The last bytes are written when a file is closed, where libraries do not look."""
    (tmp_path / "in.mtz").write_bytes(mtz_file())
    file = MtzFile(tmp_path / "in.mtz")
    reflections = Reflections(file.mtz.cell, file.mtz.spacegroup, 3.0)
    grid = gemmi.FloatGrid(np.ones((24, 32, 40), np.float32))
    grid.set_unit_cell(file.mtz.cell)
    grid.spacegroup = file.mtz.spacegroup

    def mtz(path):
        write_mtz(path, file, reflections, {"X": ("R", np.ones(len(reflections)))}, "test")

    def appended(path):
        append_columns(path, file, reflections, [("a", "b", {"X": ("R", np.ones(len(reflections)))})],
                       "test")

    def in_folder(make, name):
        def run(folder):
            with staged(folder, "test") as stage:
                make(stage / name)
        return run

    for make in (in_folder(lambda path: write_map(grid, path), "map.ccp4"), in_folder(mtz, "out.mtz"),
                 in_folder(lambda path: write_json({"x": list(range(9000))}, path), "result.json"),
                 appended):
        make(tmp_path / "whole")
        whole = tmp_path / "whole"
        size = (next(whole.iterdir()) if whole.is_dir() else whole).stat().st_size
        if size > missing:
            size_limit(size - missing)
            with pytest.raises(InputError, match="Cannot write"):
                make(tmp_path / "cut")
            size_limit(resource.RLIM_INFINITY)
        assert not (tmp_path / "cut").exists()
        subprocess.run(["rm", "-r", str(whole)], check=True)


def test_single_files(tmp_path):
    (tmp_path / "in.mtz").write_text("in")
    os.link(tmp_path / "in.mtz", tmp_path / "same.mtz")
    for name in ("in.mtz", "same.mtz"):
        with pytest.raises(InputError, match="is an input"):
            with staged_file(tmp_path / name, [tmp_path / "in.mtz"]):
                pytest.fail("the work began")
    for path in (tmp_path, "/dev/full"):
        with pytest.raises(InputError, match="is not a file"):
            with staged_file(path):
                pytest.fail("the work began")
    with staged_file(tmp_path / "out.mtz", [tmp_path / "in.mtz"]) as file:
        file.write_text("out")
        assert not (tmp_path / "out.mtz").exists()
    assert (tmp_path / "out.mtz").read_text() == "out"
    assert files(tmp_path) == {"in.mtz", "same.mtz", "out.mtz"}


def test_what_others_do_meanwhile_is_left_alone(tmp_path):
    """Stages of jobs that live, links with such names, folders of the user's."""
    living = tmp_path / ".out.crank2-unet-living"
    living.mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / ".out.crank2-unet-link").symlink_to(tmp_path / "precious")
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead").rename(tmp_path / ".out.crank2-unet-dead")
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    put(tmp_path / "out", "new")
    os.close(lock)
    assert files(tmp_path) == {living.name, "precious", ".out.crank2-unet-link", "out"}


def program(code, redirection="", folder=None, **environment):
    """Run work under ``reporting`` in a shell."""
    code = ("import sys\nfrom crank2_unet.process import reporting\n"
            f"def run():\n{textwrap.indent(textwrap.dedent(code), '    ')}\nsys.exit(reporting(run))")
    return subprocess.run(["bash", "-c", f'"$0" -c "$1" {redirection}', sys.executable, code],
                          cwd=folder, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(crank2_unet.__file__).parents[1]),
                               **environment})


WORK = """
from pathlib import Path
import logging
from crank2_unet.files.output import staged
from crank2_unet.process import ProgressLine
with ProgressLine("working") as progress, staged("out") as stage:
    progress(1, 2)
    logging.getLogger("crank2_unet.x").warning("a warning")
    (stage / "a").write_text("new")
print("r\\u00e9sum\\u00e9 \\udcff")
"""


@pytest.mark.parametrize("redirection, status", [
    ("", 0), (">&-", 0), ("2>&-", 0), ("<&-", 0), (">&- 2>&- <&-", 0), ("2>/dev/full", 0),
    (">/dev/full", 1), (">/dev/full 2>/dev/full", 1)])
def test_streams(redirection, status, tmp_path):
    done = program(WORK, redirection, tmp_path)
    assert done.returncode == status, done.stderr
    assert files(tmp_path) == {"out"} and (tmp_path / "out" / "a").read_text() == "new"
    assert b"Traceback" not in done.stderr and b"bug" not in done.stderr
    if status and "2>" not in redirection:
        assert b"standard output cannot be written" in done.stderr and b"is complete" in done.stderr
    if not redirection:
        assert done.stderr == b"WARNING: a warning\n"


def test_broken_pipe(tmp_path):
    done = program("for _ in range(100000): print('line')", "| head -1; exit ${PIPESTATUS[0]}",
                   tmp_path)
    assert done.returncode == 1 and b"no result was written" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("language", ["C", "POSIX", "C.UTF-8"])
def test_locales(language, tmp_path):
    done = program(WORK, "", tmp_path, LC_ALL=language, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_utf8(tmp_path):
    with pytest.raises(InputError, match="not UTF-8"):
        put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), "new")
    assert not files(tmp_path)
