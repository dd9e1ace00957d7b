"""Runs the real Crank2 of the package ccp4i2 by its command line, with stand-ins for CCP4 programs."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from crank2_unet.parrot.program import find_parrot

REPOSITORY = Path(__file__).parents[2]
STANDINS = REPOSITORY / "tests" / "standins" / "crank2"
COMMAND = [sys.executable, "-m", "crank2.crank2"]
PROGRAMS = ("afro", "bp3", "cad", "cfft", "crossec", "gcx", "mapro", "mtzMADmod", "multicomb",
            "pdbcur", "prasa", "refmac5", "sftools")


def crank2_folder() -> Path:
    """Folder of Crank2; the test is skipped where the package ccp4i2 is not installed."""
    spec = importlib.util.find_spec("ccp4i2")
    if spec is None:
        pytest.skip("the real Crank2 is needed: pip install ccp4i2==3.0.1 setuptools")
    return Path(spec.submodule_search_locations[0]) / "pipelines" / "crank2" / "crank2"


@dataclass
class Job:
    """A finished Crank2 job."""

    log: str
    folder: Path

    @property
    def foms(self) -> list[float]:
        return [float(x) for x in re.findall(r"Overall MEAN FOM is ([\d.]+)", self.log)]

    def parrot_keywords(self, cycle: int, step: str = "0-dmfull") -> dict:
        """Keywords that Parrot was given in a cycle of the last pass."""
        script = self.folder / step / "dm" / f"Parrot_cyc{cycle}_input"
        lines = script.read_text().splitlines()[1:-1]
        return {words[0]: words[-1] for words in map(str.split, lines)}


@dataclass
class Crank2:
    """Crank2 with its surroundings: programs in ``bin``, jobs in ``work``."""

    bin: Path
    work: Path

    def run(self, name: str, keywords: str, *options: str, status: int = 0, **environment: str) -> Job:
        """Run a job from the folder in which the examples' files are; it must end with ``status``."""
        keyin, folder = self.work / f"{name}.inp", self.work / name
        keyin.write_text(keywords)
        output = self.command([*COMMAND, "--keyin", str(keyin), "--dirout", str(folder), "--xmlout",
                               str(self.work / "crank.xml"), "--disable-rvapi", *options],
                              status=status, **environment)
        return Job(output, folder)

    @property
    def environment(self) -> dict[str, str]:
        """By which programs find Crank2 and the stand-ins."""
        modules = os.pathsep.join([str(crank2_folder().parent), str(STANDINS / "modules")])
        return {"PATH": os.pathsep.join([str(self.bin), "/usr/bin", "/bin"]), "PYTHONPATH": modules,
                "CRANK2": str(self.work / "env"), "CRANK2_COMMAND": shlex.join(COMMAND)}

    def command(self, command: list[str], status: int = 0, **environment: str) -> str:
        """Output of a program that finds Crank2 and the stand-ins, and must end with ``status``."""
        run = subprocess.run(
            command, env={**os.environ, **self.environment, **environment},
            cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert run.returncode == status, run.stdout
        return run.stdout


def prepare(folder: Path) -> Crank2:
    """Stand-ins as programs, the real Parrot if there is one, else ours; and the examples, since
    Crank2 does not quote paths and the repository's may have blanks."""
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    bin_ = folder / "bin"
    bin_.mkdir()
    (folder / "env" / "bin" / "dummy").mkdir(parents=True)
    for name in PROGRAMS:
        _script(bin_ / name, f"exec '{sys.executable}' '{STANDINS / name}.py' \"$@\"")
    parrot = find_parrot()
    ours = Path(sysconfig.get_path("scripts")) / "unet-parrot"
    # ours would use the network by itself in the cycles in which Crank2 gives it no mask
    _script(bin_ / "cparrot", f"exec '{parrot}' \"$@\"" if parrot else
            f"[ $# = 0 ] && exec '{ours}' -help; exec '{ours}' -mask variance \"$@\"")
    return Crank2(bin_, folder)


def _script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def crystal(shared: Path | None, work: Path) -> str:
    """Keywords for the data: gamma-adaptin with xenon where there are real data, else the example,
    phased by ``crank2-unet phase``."""
    if shared:
        name, element, data = "d1 d1", "XE", shared / "sad" / "gamma_xe" / "data.mtz"
        suffix, sites, sequence = "_SAD", data.with_name("sites.pdb"), data.with_name("sequence.fasta")
    else:
        name, element, examples = "example peak", "SE", REPOSITORY / "examples"
        data = phased_example(work)
        suffix, sites, sequence = "", examples / "sites.pdb", examples / "sequence.fasta"
    crystal_name, dataset = name.split()
    names = f"xname={crystal_name} dname={dataset}"
    hl = " ".join(f"hl{x.lower()}=HL{x}{suffix}" for x in "ABCD")
    return "\n".join([
        "target::SAD", f'fsigf average f=F sigf=SIGF {names} "file={data}"',
        f"fsigf plus f=F(+) sigf=SIGF(+) {names}", f"fsigf minus f=F(-) sigf=SIGF(-) {names}",
        f"mapcoef best {hl} {names}",
        f'model substr atomtype={element} d_name={dataset} xname={crystal_name} "file={sites}"',
        f'sequence "file={sequence}"', ""])


def phased_example(folder: Path) -> Path:
    """The example crystal with phases."""
    from crank2_unet.cli.main import main

    out, examples = folder / "phase", REPOSITORY / "examples"
    if not out.exists():
        assert main(["phase", str(examples / "example.mtz"), "--sites", str(examples / "sites.pdb"),
                     "--element", "Se", "--cycles", "1", "-o", str(out)]) == 0
    return out / "phased.mtz"


def tree_hash(folder: Path) -> dict:
    """Contents of all files but those that Python compiles."""
    import hashlib

    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts}


def copy_of_crank2(folder: Path) -> Path:
    """A copy of Crank2's folder, to write into."""
    copy = folder / "crank2"
    shutil.copytree(crank2_folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy
