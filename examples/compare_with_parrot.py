"""unet-parrot beside the real Parrot: the same data, mask and number of cycles.

    python compare_with_parrot.py FOLDER[@D_MIN] ... [--cparrot PROGRAM] [--cycles N]

Each FOLDER holds data.mtz with F, SIGF and HLA_SAD-HLD_SAD, and model.pdb.gz in the same cell and
origin; D_MIN cuts the resolution.  Prints, for each program and mask, the mean error of the best
phases, the correlation of the m|F| map with that of the model, seconds per cycle and peak memory.
Masks: each program's own ("own"), local variance in ours ("variance") and, as a file for both (-mskin),
the softened one of the model ("true") and the network's of the first map ("unet").  A Parrot that does
not know -mskin does "own" only; without --cparrot only unet-parrot runs.  Parrot needs CLIBD with its
reference structure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import gemmi
import numpy as np

from crank2_unet.crystal.filters import soften
from crank2_unet.crystal.masks import model_mask
from crank2_unet.crystal.model_factors import model_structure_factors
from crank2_unet.crystal.observations import PhasedData
from crank2_unet.crystal.phases import map_correlation, mean_phase_error, phi_fom_from_hl, to_complex
from crank2_unet.files.maps import write_map
from crank2_unet.files.mtz_input import read_phased
from crank2_unet.network.session import SolventNet
from crank2_unet.pipeline import network_weights, sharpened_map

OURS = [sys.executable, "-m", "crank2_unet.unet_parrot"]
COLUMNS = ["-colin-fo", "F,SIGF", "-colin-hl", "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER[@D_MIN]")
    parser.add_argument("--cparrot", help="the real program, patched or not")
    parser.add_argument("--cycles", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.cycles} cycles; per cycle without start-up: wall and CPU seconds; peak MB\n"
          f"{'data':20s} {'mask':9s} {'program':12s} {'error':>6s} {'CC':>6s} {'wall':>6s} {'CPU':>6s} "
          f"{'MB':>5s}")
    for text in options.folders:
        name, _, d_min = text.partition("@")
        with tempfile.TemporaryDirectory() as work:
            compare(Path(name), float(d_min or 1.0), options.cparrot, options.cycles, Path(work))


def compare(folder: Path, d_min: float, cparrot: str | None, cycles: int, work: Path) -> None:
    """Print the lines of one data set."""
    data = read_phased(folder / "data.mtz", COLUMNS[1], COLUMNS[3], d_min=d_min).data
    reflections, model = data.reflections, gemmi.read_structure(str(folder / "model.pdb.gz"))
    true_phi = np.rad2deg(np.angle(model_structure_factors(model, reflections)))
    true_mask = soften(model_mask(model, data.map.density), 1.0)
    solvent = float(true_mask.array.mean())
    common = ["-mtzin", str(folder / "data.mtz"), *COLUMNS, "-resolution", str(d_min),
              "-solvent-content", f"{solvent:.3f}"]
    print(f"{folder.name:20s} {'':9s} {'start':12s} {_quality(data, data.hl, true_phi)}")
    write_map(true_mask, work / "true.ccp4")
    by_network = network_weights(data, SolventNet.load(device="cpu"), solvent)
    write_map(by_network(sharpened_map(data), 1), work / "unet.ccp4")
    patched = cparrot and "-mskin" in subprocess.run([cparrot], capture_output=True, text=True).stdout
    seconds = {}
    for mask in ("own", "variance", "true", "unet"):
        file = ["-mskin", str(work / f"{mask}.ccp4")] if mask in ("true", "unet") else []
        ours = ["-mask", "variance"] if mask == "variance" else file
        programs = {"unet-parrot": [*OURS, *common, *ours]}
        if cparrot and (mask == "own" or patched and file):
            programs["Parrot"] = [cparrot, *common, *file]
        for program, command in programs.items():
            first = _timed([*command, "-cycles", "1", "-mtzout", str(work / "one.mtz")])
            last = _timed([*command, "-cycles", str(cycles), "-mtzout", str(work / "all.mtz")])
            wall, cpu = seconds[mask, program] = tuple((last[i] - first[i]) / (cycles - 1)
                                                       for i in (0, 1))
            out = read_phased(work / "all.mtz", "F,SIGF", "parrot", d_min=d_min).data
            print(f"{folder.name:20s} {mask:9s} {program:12s} {_quality(data, out.hl, true_phi)} "
                  f"{wall:6.2f} {cpu:6.2f} {last[2]:5.0f}", flush=True)
    whole, engine = (seconds[mask, "unet-parrot"][1] for mask in ("own", "variance"))
    text = f"the network is {1 - engine / whole:.0%} of a cycle's CPU time"
    if cparrot:
        parrot = seconds["own", "Parrot"][1]
        text += (f"; CPU time over Parrot's {whole / parrot:.2f}, "
                 f"without the network {engine / parrot:.2f}")
    print(f"{folder.name:20s} {text}", flush=True)


def _quality(data: PhasedData, hl: np.ndarray, true_phi: np.ndarray) -> str:
    """Mean phase error, degrees, and map correlation over the measured reflections."""
    phi, fom = phi_fom_from_hl(hl, data.reflections.allowed_phase)
    f = np.nan_to_num(data.f)
    correlation = map_correlation(to_complex(f * fom, phi), to_complex(f, true_phi),
                                  data.reflections.multiplicity)
    return f"{mean_phase_error(phi[f > 0], true_phi[f > 0]):6.1f} {correlation:6.3f}"


# A program of its own: the peak memory of a child counts from that of the process that forked it.
_LAUNCHER = """
import resource, subprocess, sys, time
started = time.monotonic()
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(status)
"""


def _timed(command: list[str]) -> list[float]:
    """Wall seconds, CPU seconds and peak memory in MB of a program, which must succeed."""
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return [float(word) for word in done.stdout.split()]


if __name__ == "__main__":
    main()
