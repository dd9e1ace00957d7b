"""The program ``unet-parrot``: takes the command line of CCP4's cparrot and does its work."""

from __future__ import annotations

import sys

from ..process import reporting
from .options import USAGE, parse


def main(arguments: list[str] | None = None) -> int:
    """Run a job.

    Returns
    -------
    0 if all is well, 1 after an error (one message on stderr, "Failed" in the log).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or set(arguments) & {"-h", "-help", "--help"}:
        print(USAGE)
        return 0 if arguments else 1
    status = reporting(lambda: _run(arguments))
    print(f" unet-parrot:  {'Failed' if status else 'Normal termination'}", flush=True)
    return status


def _run(arguments: list[str]) -> None:
    options, notes = parse(arguments, sys.stdin)
    from .job import run

    run(options, notes)


if __name__ == "__main__":
    raise SystemExit(main())
