"""Files in Crank2's own folder: written, told, removed without a trace."""

import subprocess
import sys

import pytest
from crank2_job import STANDINS, copy_of_crank2, tree_hash

from crank2_unet.cli.main import main
from crank2_unet.crank2.shim import FILES


@pytest.fixture
def crank2(tmp_path):
    return copy_of_crank2(tmp_path)


def test_installed_and_removed_again(crank2, capsys):
    before = tree_hash(crank2)
    assert main(["install", "--crank2", str(crank2)]) == 0
    assert {str(name) for name in FILES} == set(tree_hash(crank2)) - set(before)
    assert main(["install", "--crank2", str(crank2.parent)]) == 0  # again, by the folder above
    capsys.readouterr()
    assert main(["status", "--crank2", str(crank2)]) == 0
    assert f"Crank2 in {crank2}: files of crank2-unet install are there" in capsys.readouterr().out
    assert main(["uninstall", "--crank2", str(crank2)]) == 0
    assert tree_hash(crank2) == before
    assert main(["uninstall", "--crank2", str(crank2)]) == 0
    assert "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["package", "flat"])
def test_crank2_finds_the_process_without_the_hook(crank2, layout):
    """In the package layout, and in the flat one of CCP4i2 2.x, whose imports have no dots."""
    if layout == "flat":
        flatten(crank2)
    prefix, path = ("crank2.", crank2.parent) if layout == "package" else ("", crank2)
    assert main(["install", "--crank2", str(crank2)]) == 0
    script = (f"import sys; sys.path[:0] = {[str(path), str(STANDINS / 'modules')]!r}\n"
              f"from {prefix}process import process\n"
              f"step = process.from_name('dmfull', None).AddProcess('segmentmap')\n"
              "import copy, pickle\n"
              "step.parent_process = None\n"
              "again = pickle.loads(pickle.dumps(copy.copy(step)))\n"
              "prog = again.AddProg('unetsegment')\n"
              "print(type(again).__module__, again.out.never_propagate, type(prog).__module__)\n"
              "print(again.GetProcessCopy().nick, again.GetLogitFromSolv(1.2))\n"
              f"from {prefix}parse import parse\n"
              "print(parse.ParseAll.__module__, hasattr(parse.ParseAll, '__wrapped__'))\n")
    run = subprocess.run([sys.executable, "-c", script], env={"CRANK2_UNET_HOOK": "off", "PATH": ""},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert run.stdout.splitlines()[-3:] == [
        f"{prefix}processes.segmentmap True {prefix}programs.unetsegment", "segmentmap None",
        f"{prefix}parse True"]


def flatten(crank2):
    """The flat layout from the package layout, whose imports differ only in their dots."""
    import re

    for path in crank2.rglob("*.py"):
        text = re.sub(r"^(\s*)from \.\.? import ", r"\1import ", path.read_text(), flags=re.M)
        path.write_text(re.sub(r"^(\s*)from \.\.?(\w)", r"\1from \2", text, flags=re.M))
    (crank2 / "__init__.py").unlink()


def test_a_segmentation_of_crank2s_own_is_left_alone(crank2, capsys):
    own = crank2 / "processes" / "segmentmap.py"
    own.write_text("class segmentmap: pass\n")
    before = tree_hash(crank2)
    assert main(["install", "--crank2", str(crank2)]) == 1
    assert "brings its own" in capsys.readouterr().err
    assert main(["uninstall", "--crank2", str(crank2)]) == 0
    assert tree_hash(crank2) == before
    assert main(["status", "--crank2", str(crank2)]) == 0
    assert "has its own processes/segmentmap.py, which is used" in capsys.readouterr().out


def test_not_crank2(tmp_path, capsys):
    assert main(["install", "--crank2", str(tmp_path)]) == 1
    assert "is not the folder of Crank2" in capsys.readouterr().err
