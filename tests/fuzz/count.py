"""Try many damaged files: ``python tests/fuzz/count.py --cases 4000 [--seed N] [KIND ...]``.

Each kind runs in a process of its own with 1 GB of memory beyond what it starts with and 10 seconds for
a case.  A case that ends it by a signal or an error is left in the folder ``fuzz_failures``.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]

from damaged import KINDS, try_one  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--cases", type=int, default=4000, help="of each kind; default: 4000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    for kind in options.kinds or KINDS:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            queue = multiprocessing.get_context("spawn").SimpleQueue()
            job = multiprocessing.get_context("spawn").Process(
                target=_run, args=(kind, options.cases, options.seed, Path(folder), queue))
            job.start()
            job.join()
            found = {} if queue.empty() else queue.get()
            if job.exitcode != 0:
                failed += 1
                kept = Path("fuzz_failures")
                kept.mkdir(exist_ok=True)
                shutil.copy(Path(folder) / KINDS[kind][0], kept)
        counts = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
        print(f"{kind}: {sum(found.values())} cases ({counts}), exit status {job.exitcode}, "
              f"{time.monotonic() - start:.0f} s", flush=True)
    return int(failed > 0)


def _run(kind: str, cases: int, number: int, folder: Path, queue) -> None:
    logging.disable()
    outcomes: Counter = Counter()
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)

    @seed(number)
    @settings(max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(st.data())
    def case(data):
        content = data.draw(KINDS[kind][1])
        signal.alarm(10)  # ends the process
        outcomes[try_one(kind, content, folder)] += 1
        signal.alarm(0)

    try:
        case()
    finally:
        queue.put(dict(outcomes))


if __name__ == "__main__":
    sys.exit(main())
