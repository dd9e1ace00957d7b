"""docs/recipes.md: each command, on files with the columns of other programs, and in ModelCraft."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import gemmi
import numpy as np
import pytest
from crank2_job import REPOSITORY, phased_example

from crank2_unet.cli.main import main
from crank2_unet.files.mtz_input import read_phased

PAGE = REPOSITORY / "docs" / "recipes.md"
EXAMPLES = REPOSITORY / "examples"


def recipe(name):
    """Lines of a recipe of the page."""
    return re.search(rf"<!-- {name} -->\n```\n(.*?)```\n<!-- end -->", PAGE.read_text(), re.S)[1]


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    return phased_example(tmp_path_factory.mktemp("phased"))


@pytest.fixture
def here(phased, tmp_path, monkeypatch):
    """A folder with the files that recipes start from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sequence.fasta").symlink_to(EXAMPLES / "sequence.fasta")
    (tmp_path / "phased.mtz").symlink_to(phased)
    return tmp_path


def relabelled(phased, path, columns):
    """A file with other labels: new label -> label in the phased file; "0" for noise that is wrong."""
    mtz = gemmi.read_mtz_file(str(phased))
    new = gemmi.Mtz(with_base=True)
    new.spacegroup = mtz.spacegroup
    new.set_cell_for_all(mtz.cell)
    new.add_dataset("other")
    table = [mtz.make_miller_array()]
    for label, original in columns.items():
        column = mtz.column_with_label(original.lstrip("0"))
        new.add_column(label, column.type)
        table.append(column.array if original[0] != "0" else -column.array)
    new.set_data(np.column_stack(table).astype(np.float32))
    new.write_to_file(str(path))


HL = "HLA HLB HLC HLD".split()
DATA = {"F": "F", "SIGF": "SIGF"}
FILES = {
    "phaser": ("PHASER.1.mtz", {**DATA, "FWT": "0F", "PHWT": "0PHIB", "PHIB": "PHIB", "FOM": "FOM",
                                **{label: label for label in HL}}),
    "autosol": ("overall_best_refine_data.mtz", {
        "FP": "F", "SIGFP": "SIGF", "PHIM": "0PHIB", "FOMM": "FOM",
        **{f"{label}M": f"0{label}" for label in HL}, **{f"HLanom{label[-1]}": label for label in HL}}),
    "sharp": ("eden.mtz", {"FP": "F", "SIGFP": "SIGF", "FBsha": "F", "PHIBsha": "PHIB", "FOMsha": "FOM",
                           **{f"{label}sha": label for label in HL}}),
}


@pytest.mark.parametrize("name", FILES)
def test_phases_of_other_programs(name, here, phased):
    file, columns = FILES[name]
    relabelled(phased, here / file, columns)
    (here / "PHASER.1.pdb").symlink_to(EXAMPLES / "sites.pdb")
    (command,) = recipe(name).splitlines()
    program, *words = shlex.split(command)
    assert program == "crank2-unet" and file in words
    assert main([*words, "--cycles", "1", "--threads", "1"]) == 0
    out = words[words.index("-o") + 1]
    start = read_phased(here / file, *(words[words.index(option) + 1] if option in words else ""
                                       for option in ("--colin-fo", "--colin-hl")))
    assert np.allclose(start.data.hl, read_phased(phased).data.hl, atol=1e-3)  # not the others
    assert (here / out / "dm.mtz").exists()


def test_phases_of_shelxe(here, phased):
    data = read_phased(phased).data
    measured = np.isfinite(data.f)
    phi = np.rad2deg(np.angle(data.coefficients)) % 360
    fom = np.abs(data.coefficients) / data.f
    with open("sad.phs", "w") as file:
        for hkl, *values in zip(data.reflections.hkl[measured], data.f[measured], fom[measured],
                                phi[measured], data.sigf[measured]):
            file.write("{:4d}{:4d}{:4d}{:9.2f}{:8.4f}{:8.1f}{:8.2f}\n".format(*hkl, *values))
    (here / "sad.pdb").symlink_to(EXAMPLES / "sites.pdb")
    (command,) = recipe("shelxe").splitlines()
    assert main([*shlex.split(command)[1:], "--cycles", "1", "--threads", "1"]) == 0
    assert (here / "out" / "shelxe" / "dm.mtz").exists()


def run(lines, here, *programs):
    """Lines of shell, with these folders of programs before all others."""
    path = os.pathsep.join([*map(str, programs), sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(["sh", "-ec", lines], cwd=here, text=True, env={**os.environ, "PATH": path},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def modelcraft(here):
    """Folder of a program modelcraft that writes down its command line and the cparrot it finds."""
    folder = here / "stand in"
    folder.mkdir()
    program = folder / "modelcraft"
    program.write_text('#!/bin/sh\ncommand -v cparrot > cparrot.txt\necho "$@" > command.txt\n')
    program.chmod(0o755)
    return folder


def known_options():
    """Of the installed ModelCraft; None where there is none."""
    spec = importlib.util.find_spec("modelcraft")
    folder = spec and Path(spec.submodule_search_locations[0])
    return folder and set(re.findall(r'"(--[a-z-]+)"', (folder / "arguments.py").read_text()))


@pytest.mark.parametrize("name", ["before", "instead", "patched"])
def test_modelcraft_gets_what_it_knows(name, here, modelcraft):
    lines = recipe(name).replace("-o out/dm", "-o out/dm --cycles 1 --threads 1")
    run(lines, here, modelcraft)
    words = (here / "command.txt").read_text().split()
    data = Path(words[words.index("--data") + 1])
    labels = gemmi.read_mtz_file(str(here / data)).column_labels()
    assert set(words[words.index("--phases") + 1].split(",")) <= set(labels)
    if name != "before":
        assert (here / "cparrot.txt").read_text().strip() == str(here / "masks" / "cparrot")
    if known_options():
        assert {word for word in words if word.startswith("--")} <= known_options()


# ModelCraft's own call of cparrot, with phases of the experiment and, in a later cycle, with a map and
# a model; Coot's module and the monomer library come with CCP4
CALL = """
import sys, types
sys.modules.setdefault("coot_headless_api", types.ModuleType("coot_headless_api"))
import gemmi
from modelcraft.contents import AsuContents
from modelcraft.jobs import parrot
from modelcraft.reflections import DataItem
parrot.solvent_fraction = lambda **_: 0.57
mtz = gemmi.read_mtz_file("phased.mtz")
model = gemmi.read_structure(sys.argv[1])
first = parrot.Parrot(AsuContents.from_file("sequence.fasta"), DataItem(mtz, "F,SIGF"),
                      DataItem(mtz, "FreeR_flag"), DataItem(mtz, "HLA,HLB,HLC,HLD"),
                      fphi=DataItem(mtz, sys.argv[2])).run()
later = parrot.Parrot(AsuContents.from_file("sequence.fasta"), DataItem(mtz, "F,SIGF"),
                      DataItem(mtz, "FreeR_flag"), first.abcd, first.fphi, model).run()
print(*(item.types for item in (first.abcd, first.fphi, later.abcd, later.fphi)))
"""


@pytest.mark.skipif(not importlib.util.find_spec("modelcraft"),
                    reason="ModelCraft is not installed (pip install modelcraft)")
@pytest.mark.parametrize("name", ["instead", "patched"])
def test_modelcrafts_own_call_of_parrot(name, here, stand_in, modelcraft):
    run(recipe(name).replace("PATCHED", shlex.quote(str(stand_in(patched=True)))), here, modelcraft)
    (here / "call.py").write_text(CALL)
    words = [sys.executable, "call.py", str(EXAMPLES / "model.pdb"), "F,PHIB"]
    said = run(shlex.join(words), here, here / "masks")
    assert said.splitlines()[-1] == "AAAA FP AAAA FP"
