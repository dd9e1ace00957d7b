"""CPU seconds and memory of ``segment`` and of a cycle of ``dm``, stage by stage.

    python benchmarks/speed.py FOLDER [SET ...] [--columns F,SIGF HLA,HLB,HLC,HLD] [--parrot PROGRAM]

FOLDER holds a folder for each data set with data.mtz and sequence.fasta.  One thread, a process for
each set.  "window" is what the network's windows hold for each point of the asymmetric unit, "paper"
how many times the work would be in windows of 48^3 points over the whole cell, which overlap by half;
"peak" is the speed of the network over that of a product of large float32 matrices.  A cycle of the
Parrot that is named, which needs CLIBD with its reference structure, and its memory are measured in the
same run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is loaded

SETS = ("gamma_xe", "hewl_s_sad", "5jd2_strep_se_sad", "4fsx_se_sad")
STAGES = ("import", "read", "start", "grids", "network", "report", "cycle")
# multiplications and additions of the shipped network for a window point, twice: 15.3 GFLOP in 48^3
FLOP_PER_POINT = 15.3e9 / 3 / 48**3


class Stages:
    """CPU seconds and the largest memory so far, of each stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.megabytes: dict[str, float] = {}
        self._start = 0.0  # that of the process

    def end(self, name: str) -> None:
        now = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._start
        self.megabytes[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._start = now


def matrix_peak() -> float:
    """Floating-point operations a second of a product of large float32 matrices."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    a @ a
    start = time.process_time()
    for _ in range(5):
        a @ a
    return 5 * 2 * 1024**3 / (time.process_time() - start)


def measure(folder: Path, columns: list[str]) -> str:
    """A row of the table, of one set."""
    stages = Stages()
    import numpy as np

    from crank2_unet.files.mtz_input import read_phased
    from crank2_unet.jobs import dm, segment  # noqa: F401  what the commands import
    from crank2_unet.modification.cycles import modify_density
    from crank2_unet.network.segmentation import placement_for
    from crank2_unet.network.session import SolventNet
    from crank2_unet.pipeline import network_weights, sharpened_map
    from crank2_unet.pipeline import segment as segment_map
    from crank2_unet.solvent.matthews import Composition
    stages.end("import")
    data = read_phased(folder / "data.mtz", *columns).data
    composition = Composition.from_file(folder / "sequence.fasta")
    stages.end("read")
    net = SolventNet.load(device="cpu", threads=1)
    stages.end("start")
    predict, spent = net.logits, []

    def timed(windows):
        start = time.process_time()
        found = predict(windows)
        spent.append(time.process_time() - start)
        return found

    net.logits = timed
    found = segment_map(data, net, composition)
    stages.end("grids")
    network = sum(spent)
    stages.seconds["network"] = network
    stages.megabytes["network"] = stages.megabytes["grids"]
    stages.seconds["grids"] -= network
    with tempfile.TemporaryDirectory() as out:
        _draw(found, Path(out))
    stages.end("report")
    cycles = 3
    modify_density(data, network_weights(data, net, found.solvent.value), cycles)
    stages.end("cycle")
    stages.seconds["cycle"] /= cycles
    plan = placement_for(sharpened_map(data), net).plan
    spacing, cell = net.card.input.spacing, found.density.unit_cell
    unit = cell.volume / len(found.density.spacegroup.operations()) / spacing**3
    whole = np.prod([np.ceil(edge / spacing / 24) for edge in (cell.a, cell.b, cell.c)]) * 48.0**3
    share = plan.size * FLOP_PER_POINT / network / matrix_peak()
    columns_of = [f"{stages.seconds[name]:6.2f} {stages.megabytes[name]:4.0f}" for name in STAGES]
    return (f"{folder.name:20s} {' '.join(columns_of)} {plan.size / unit:7.1f} "
            f"{whole / plan.size:6.1f} {share:6.2f}  {net.device.provider}")


def measure_parrot(program: str, folder: Path, columns: list[str]) -> tuple[float, float]:
    """CPU seconds of a cycle of Parrot, without its start, and its largest memory in MB."""
    seconds = {}
    with tempfile.TemporaryDirectory() as out:
        for cycles in (1, 4):
            process = subprocess.Popen(
                [program, "-mtzin", folder / "data.mtz", "-mtzout", Path(out) / "out.mtz", "-colin-fo",
                 columns[0], "-colin-hl", columns[1], "-seqin", folder / "sequence.fasta",
                 "-cycles", str(cycles)], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{program} failed with {folder.name}.")
            seconds[cycles] = used.ru_utime + used.ru_stime
    return (seconds[4] - seconds[1]) / 3, used.ru_maxrss / 1024


def _draw(found, out: Path) -> None:
    """The pictures of a report, which take nearly all of its time."""
    from crank2_unet.report.figures import Layer
    from crank2_unet.report.page import draw_sections

    draw_sections([Layer("Density", found.density, found.mask),
                   Layer("P(solvent)", found.probability, found.mask, "probability")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--columns", nargs=2, metavar=("F,SIGF", "A,B,C,D"),
                        default=["F,SIGF", "HLA_SAD,HLB_SAD,HLC_SAD,HLD_SAD"])
    parser.add_argument("--parrot", metavar="PROGRAM", help="compare a cycle with one of this cparrot")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(options.folder / options.sets[0], options.columns))
        return
    print(f"{'CPU s, peak MB':20s} {' '.join(f'{name:>11s}' for name in STAGES)}  window  paper   peak")
    for name in options.sets:
        command = [sys.executable, __file__, str(options.folder), name, "--one", "--columns",
                   *options.columns]
        done = subprocess.run(command, capture_output=True, text=True)
        row = done.stdout.strip() or f"{name}: {done.stderr.strip().splitlines()[-1]}"
        if options.parrot and done.returncode == 0:
            cycle, memory = map(float, row.split()[1 + 2 * STAGES.index("cycle"):][:2])
            by_parrot, its_memory = measure_parrot(options.parrot, options.folder / name,
                                                   options.columns)
            row += (f"  {cycle / by_parrot:.2f} of Parrot's {by_parrot:.2f} s, "
                    f"{memory / its_memory:.1f} of its {its_memory:.0f} MB")
        print(row, flush=True)


if __name__ == "__main__":
    main()
