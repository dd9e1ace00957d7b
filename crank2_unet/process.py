"""Running a program: errors and warnings on stderr, exit status, signals, memory."""

from __future__ import annotations

import ctypes
import errno
import io
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

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
    _prepare_streams()
    _written.clear()
    with suppress(ValueError):  # in a thread there are no signals
        for number in _ENDING[1:]:  # from batch systems and closed terminals: leave nothing behind
            signal.signal(number, _end)
    try:
        with _warnings_shown():
            status = run() or 0
        sys.stdout.flush()
        return status
    except Crank2UnetError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        message = (f"the Python package {error.name} is not installed. Install it with pip install "
                   f"'.[{extra}]' in the folder of crank2-unet.")
    except KeyboardInterrupt:
        message = f"interrupted; {_outcome()}."
    except MemoryError:
        message = f"not enough memory for this crystal; {_outcome()}. Use a machine with more memory."
    except OSError as error:
        if error.filename is None and error.errno in _BROKEN:  # files would be named
            _silence_stdout()
            message = f"standard output cannot be written ({error.strerror}); {_outcome()}."
        else:
            message = _internal(error, debug)
    except Exception as error:
        message = _internal(error, debug)
    _say(f"ERROR: {message}")
    return 1


def _internal(error: Exception, debug: bool) -> str:
    """What to say of a bug; the details are left to --debug."""
    if debug:
        _say(traceback.format_exc().rstrip())
    return (f"internal error ({type(error).__name__}: {error}). This is a bug; please report it with "
            "the output of the same command and --debug.")


_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
                if hasattr(signal, name))
_BROKEN = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)  # of a stream
_written: list[str] = []  # what has got its final name since the program began


def note_written(path: object) -> None:
    """Remember that an output is complete, for messages about how the program ended."""
    _written.append(str(path))


def _outcome() -> str:
    if not _written:
        return "no result was written"
    return f"{_written[-1]} had been written and is complete"


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that would end the program take effect at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals end the main thread only
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number))
              for number in _ENDING if signal.getsignal(number) not in (None, signal.SIG_IGN)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _say(message: str) -> None:
    with suppress(OSError, ValueError):  # stderr is gone: the exit status tells
        print(message, file=sys.stderr, flush=True)


def _prepare_streams() -> None:
    """Let text of any kind be printed, and no file be opened in the place of a closed stream."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        with suppress(OSError):
            os.fstat(number)
            if getattr(sys, name) is not None:
                continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        setattr(sys, name, open(os.devnull, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_stdout() -> None:
    """Have what a broken stream holds back thrown away, so that it is no second error at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


class ProgressLine:
    """Progress on stderr: on a terminal a bar, in a log file a line each 5 seconds; its end stays.

    Parameters
    ----------
    what : is being done.
    """

    def __init__(self, what: str):
        self._what = what
        self._bar: Any = None
        self._start = self._said = time.monotonic()
        self._ended = False

    def __enter__(self) -> ProgressLine:
        return self

    def __call__(self, done: int, total: int) -> None:
        """What is done, of all; if that is all, nothing more is shown."""
        if self._ended:
            return
        self._ended = done >= total
        with suppress(OSError, ValueError):  # no job fails for want of a place to show progress
            if sys.stderr.isatty():
                self._draw(done, total)
            elif time.monotonic() > self._said + 5 or (self._ended and self._said > self._start):
                self._said = time.monotonic()
                print(f"{self._what}: {done} of {total}", file=sys.stderr, flush=True)
            if self._ended:
                self._close()

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc=self._what, mininterval=0.2)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        """Leave the bar as it is, on a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, *_) -> None:
        with suppress(OSError, ValueError):
            self._close()


class _Shown(logging.StreamHandler):
    """Shows messages on lines of their own, above a progress line."""

    def emit(self, record: logging.LogRecord) -> None:
        if not sys.stderr.isatty():
            return super().emit(record)
        from tqdm import tqdm

        with tqdm.external_write_mode(sys.stderr):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A stderr that is gone; there is nobody to tell."""


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Print our own warnings, and what is being done, on stderr; leave the logs of libraries alone."""
    shown = _Shown()
    shown.setFormatter(_Format())
    log = logging.getLogger("crank2_unet")
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(shown)
    try:
        yield
    finally:
        log.removeHandler(shown)
        log.setLevel(before)


class _Format(logging.Formatter):
    """Warnings say so; what is being done needs no more than its words."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record)
        return f"{record.levelname}: {said}" if record.levelno > logging.INFO else said


def usable_cores() -> int:
    """CPU cores that this process may use; batch systems often grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
