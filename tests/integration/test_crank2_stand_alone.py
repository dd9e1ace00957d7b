"""The keyword file for density modification without Crank2."""

import subprocess
import sys

import gemmi
from crank2_job import REPOSITORY, phased_example


def test_stand_alone(tmp_path):
    text = (REPOSITORY / "examples" / "crank2" / "stand_alone.inp").read_text()
    text = text.replace("out/phase/phased.mtz", str(phased_example(tmp_path)))
    text = text.replace("out/parrot.mtz", str(tmp_path / "parrot.mtz"))
    run = subprocess.run([sys.executable, "-m", "crank2_unet.unet_parrot", "-stdin"],
                         input=text.replace("cycles 10", "cycles 1"), cwd=REPOSITORY, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 0, run.stdout
    assert "network solvent" in run.stdout
    labels = gemmi.read_mtz_file(str(tmp_path / "parrot.mtz")).column_labels()
    assert {"parrot.F_phi.F", "parrot.ABCD.A"} <= set(labels)
