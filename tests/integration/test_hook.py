"""The import hook: installed and removed with the package, asleep unless Crank2 is there."""

import importlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from crank2_job import STANDINS, copy_of_crank2, tree_hash

from crank2_unet import hook

REPOSITORY = Path(__file__).parents[2]
PTH = "crank2_unet_hook.pth"


@pytest.fixture
def started(monkeypatch):
    """The hook at work in this process, and the state of the import system restored after it."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    monkeypatch.delenv("CRANK2_UNET_HOOK", raising=False)
    hook.stop()
    hook.start()
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def crank2_like(tmp_path, monkeypatch):
    """A folder in the flat layout of Crank2, on sys.path."""
    for name in ("parse", "process", "common", "processes/__init__", "processes/dmfull",
                 "programs/__init__"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_it_starts_once_and_can_be_switched_off(started, monkeypatch):
    hook.start()
    assert sum(isinstance(finder, hook._Finder) for finder in sys.meta_path) == 1
    hook.stop()
    monkeypatch.setenv("CRANK2_UNET_HOOK", "OFF")
    hook.start()
    assert not any(isinstance(finder, hook._Finder) for finder in sys.meta_path)


def test_our_function_is_called_after_the_import(started, crank2_like, monkeypatch):
    seen = []
    monkeypatch.setitem(hook.AFTER_IMPORT, "parse", "a_module_of_ours:function")
    monkeypatch.setitem(sys.modules, "a_module_of_ours",
                        type("module", (), {"function": lambda module: seen.append(module.value)}))
    module = importlib.import_module("parse")
    assert seen == [1] and "exec_module" not in vars(module.__loader__)
    importlib.reload(module)
    assert seen == [1, 1]


def test_a_failure_of_ours_is_one_line(started, crank2_like, monkeypatch, capsys):
    monkeypatch.setitem(hook.AFTER_IMPORT, "parse", "there_is_no_such_module:function")
    assert importlib.import_module("parse").value == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "could not connect to parse" in message


def test_a_module_of_the_name_that_is_not_crank2s_is_left_alone(started, crank2_like):
    (crank2_like / "processes" / "dmfull.py").unlink()
    assert importlib.import_module("parse").value == 1  # activate() sees no Crank2 around it
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("processes.segmentmap")


def test_what_crank2_lacks_is_provided_and_what_it_has_is_its_own(started, crank2_like):
    import processes

    spec = importlib.util.find_spec("processes.segmentmap")
    assert Path(spec.origin) == Path(hook.__file__).parent / "crank2" / "segmentmap.py"
    assert importlib.util.find_spec("programs.unetsegment") is not None
    (crank2_like / "processes" / "segmentmap.py").write_text("theirs = True\n")
    importlib.invalidate_caches()
    assert importlib.import_module("processes.segmentmap").theirs
    assert Path(processes.__file__).parent == crank2_like / "processes"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh virtual environment: its Python, packages folder, and a function that installs us."""
    pytest.importorskip("setuptools", "70.1")  # older ones cannot build a wheel by themselves
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python3*/site-packages"))

    def run(*arguments, **variables):
        clean = {k: v for k, v in os.environ.items() if k != "CRANK2_UNET_HOOK"}
        return subprocess.run([str(a) for a in arguments], env={**clean, **variables}, text=True,
                              cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def pip(*arguments):
        done = run(sys.executable, "-m", "pip", "--python", python, *arguments)
        assert done.returncode == 0, done.stdout

    def install(kind):
        source = copied_repository(tmp_path_factory.mktemp("source"))
        build = (f"import os; os.chdir({str(source)!r}); from setuptools import build_meta; "
                 f"build_meta.build_{kind}({str(source)!r})")
        done = run(sys.executable, "-c", build)
        assert done.returncode == 0, done.stdout
        pip("install", "--no-deps", "--no-index", next(source.glob("*.whl")))

    return python, site, run, install, lambda: pip("uninstall", "-y", "crank2-unet")


def copied_repository(folder: Path) -> Path:
    """What a build needs, so that it leaves nothing in the repository."""
    import shutil

    for name in ("crank2_unet", "models"):
        shutil.copytree(REPOSITORY / name, folder / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_pip_installs_the_hook_and_removes_it(environment, kind):
    python, site, run, install, uninstall = environment
    install(kind)
    assert (site / PTH).exists()
    loaded = ("import sys; print(sorted(m for m in sys.modules if m.startswith('crank2_unet')), "
              "[type(f).__module__ for f in sys.meta_path].count('crank2_unet.hook'))")
    # two small modules at the start of every interpreter, and nothing that they import
    assert run(python, "-c", loaded).stdout.strip() == "['crank2_unet', 'crank2_unet.hook'] 1"
    assert run(python, "-c", loaded, CRANK2_UNET_HOOK="off").stdout.strip().endswith(" 0")
    uninstall()
    assert not (site / PTH).exists() and not (site / "crank2_unet").exists()
    assert run(python, "-c", loaded).stdout.strip() == "[] 0"


def test_a_broken_package_does_not_break_python(environment):
    python, site, run, install, uninstall = environment
    install("wheel")
    (site / "crank2_unet" / "hook.py").write_text("raise RuntimeError('damaged')\n")
    done = run(python, "-c", "print(1)")
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "crank2-unet: the import hook did not start: RuntimeError('damaged')", "1"]
    uninstall()


def test_crank2s_files_are_the_same_before_and_after(environment, tmp_path):
    """Install, run, uninstall: Crank2's folder keeps its contents, and it knows no dmmask again."""
    python, site, run, install, uninstall = environment
    crank2 = copy_of_crank2(tmp_path)
    before = tree_hash(tmp_path)
    keyin = tmp_path.parent / "job.inp"
    keyin.write_text("fsigf average f=F sigf=SIGF file=examples/example.mtz\n"
                     "sequence file=examples/sequence.fasta\ndmfull dmmask::classic\n")
    paths = [str(crank2.parent), str(STANDINS / "modules"), *map(str, site_packages())]
    script = (f"import os, sys; os.chdir({str(REPOSITORY)!r}); sys.path[:0] = {paths!r}\n"
              f"sys.argv[1:] = ['--keyin', {str(keyin)!r}, '-x', '--xmlout', os.devnull]\n"
              "import setuptools  # it brings distutils back where Python has it no more\n"
              "import crank2.parse as p\np.parse().ParseAndRun()\n")
    install("wheel")
    assert run(python, "-c", script).returncode == 0
    uninstall()
    done = run(python, "-c", script)
    assert done.returncode == 1 and "No such parameter dmmask supported" in done.stdout
    assert tree_hash(tmp_path) == before


def site_packages() -> list:
    """Where the packages that Crank2 needs are."""
    import future
    import gemmi

    return [Path(module.__file__).parent.parent for module in (future, gemmi)]
