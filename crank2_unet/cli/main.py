"""``crank2-unet`` and ``python -m crank2_unet``."""

from __future__ import annotations

from argparse import Namespace

from ..process import reporting
from .arguments import make_parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    0 if all is well, 1 after an error (one message on stderr), 2 for a wrong command line.
    """
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not hasattr(options, "module"):  # commands of modules parse the rest themselves
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    extra = "train" if ".training." in options.run.__module__ else "cpu"
    return reporting(lambda: _run(options), extra, options.debug)


def _run(options: Namespace) -> int | None:
    """Run a command, if its data can be opened: that is known before libraries are loaded for it."""
    from ..files.headers import check_text_file

    for name in ("mtzin", "first", "other"):
        if hasattr(options, name):
            check_text_file(getattr(options, name), "a reflection file")
    return options.run(options)
