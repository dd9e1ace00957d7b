"""Running a program: errors and warnings on stderr, exit status, signals, memory."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .errors import Crank2UnetError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def reporting(run: Callable[[], int | None], extra: str = "cpu", debug: bool = False) -> int:
    """Run a program's work with its warnings and errors on stderr.

    Parameters
    ----------
    run : the work; returns an exit status, None for 0.
    extra : what to install, the extra of this package to install, if a library is missing.
    debug : show where an internal error happened.

    Returns
    -------
    Exit status: 1 after an error.
    """
    _prepare_process()
    with suppress(ValueError):  # in a thread there are no signals
        signal.signal(signal.SIGTERM, _end)  # from batch systems: leave nothing behind
    try:
        with _warnings_shown():
            return run() or 0
    except Crank2UnetError as error:
        print(f"ERROR: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"ERROR: the Python package {error.name} is not installed. Install it with pip install "
              f"'.[{extra}]' in the folder of crank2-unet.", file=sys.stderr)
    except KeyboardInterrupt:
        print("ERROR: interrupted; no result was written.", file=sys.stderr)
    except MemoryError:
        print("ERROR: not enough memory for this crystal; no result was written. Use a machine "
              "with more memory.", file=sys.stderr)
    except Exception as error:  # a bug: say so, and leave the details to --debug
        if debug:
            traceback.print_exc()
        print(f"ERROR: internal error ({type(error).__name__}: {error}). This is a bug; please "
              "report it with the output of the same command and --debug.", file=sys.stderr)
    return 1


def _prepare_process() -> None:
    """Make maps cheap: they are many large arrays that live for a moment.

    glibc would give each back to the system and get fresh pages for the next, which took a quarter of
    a cycle with a map of 6 million points.  Threads of OpenBLAS wait actively between products that
    are too small for them; the FFTs and the network do not use it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, later
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _end(*_) -> None:
    raise KeyboardInterrupt


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Print our own warnings on stderr and leave the logs of libraries alone."""
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("crank2_unet")
    log.addHandler(shown)
    try:
        yield
    finally:
        log.removeHandler(shown)


def usable_cores() -> int:
    """CPU cores that this process may use; batch systems often grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
