"""The table of compare.sh: what became of each job, and how good its map is after the step dmfull.

    python compare_table.py FOLDER OUT

"error" is the mean error of the best phases, degrees, and "CC" the correlation of the m|F| map with
that of FOLDER/NAME/model.pdb, over the measured reflections; the last column counts the cycles with a
mask by the network among those that asked for one; "R" and "residues" are of the last building cycle.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gemmi
import numpy as np

from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.phases import map_correlation, mean_phase_error, phi_fom_from_hl, to_complex
from crank2_unet.files.mtz_input import read_phased

COLUMNS = {"FOM": r"Overall MEAN FOM is ([\d.]+)", "R": r"Overall Rcomb-factor is ([\d.]+)",
           "residues": r"(\d+) residues in \d+ fragments built",
           "masks": r"mask was used.* in (\d+ of \d+) cycles"}


FORM = "{:20s} {:8s} {:>6s} {:>7s} {:>6s} {:>6s} {:>7s} {:>8s} {}"


def main(folder: Path, out: Path) -> None:
    print(FORM.format("data", "masks", "status", "FOM", "error", "CC", "R", "residues",
                      "by the network"))
    for status in sorted(out.glob("*/*.status")):
        job = status.with_suffix("")
        log = status.with_suffix(".log").read_text(errors="replace")
        found = {name: (re.findall(pattern, log) or ["-"])[-1] for name, pattern in COLUMNS.items()}
        print(FORM.format(job.parent.name, job.name, status.read_text().strip(), found["FOM"],
                          *quality(job, folder / job.parent.name / "model.pdb"), found["R"],
                          found["residues"], found["masks"]))


def quality(job: Path, model: Path) -> tuple[str, str]:
    """Phase error and map correlation; "-" without a model or a map."""
    maps = sorted(job.glob("*-dmfull/phcomb/end*.mtz"))
    if not maps or not model.exists():
        return "-", "-"
    data = read_phased(maps[-1]).data
    measured = np.isfinite(data.f)
    f, (phi, fom) = data.f[measured], (value[measured] for value in phi_fom_from_hl(
        data.hl, data.reflections.allowed_phase))
    truth = model_structure_factors(gemmi.read_structure(str(model)), data.reflections)[measured]
    true_phi = np.rad2deg(np.angle(truth))
    correlation = map_correlation(to_complex(f * fom, phi), to_complex(f, true_phi),
                                  data.reflections.multiplicity[measured])
    return f"{mean_phase_error(phi, true_phi):.1f}", f"{correlation:.3f}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
