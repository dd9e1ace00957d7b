"""Training batches prepared in another process while the network trains on the ones before.

A thread would not do: cutting windows holds Python's interpreter lock.  This module does not import
Keras, so that the other process need not.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import numpy as np

from ...errors import ProgramError

Batch = tuple[np.ndarray, np.ndarray]


@contextmanager
def prefetched(make_source: Callable, first: int, batch_size: int, ahead: int,
               ) -> Iterator[Callable]:
    """Batches of a source in the order of the steps.

    Parameters
    ----------
    make_source : makes, in the other process, the object whose ``batch(step, batch_size)`` is
        called; must be picklable, for example a ``functools.partial`` of a class.
    first : first step.
    batch_size : windows in a batch.
    ahead : batches kept ready; 0 to make them here, when asked for.

    Yields
    ------
    Function without arguments that returns the next batch.

    Raises
    ------
    ProgramError : the other process failed (its traceback is on stderr) or was killed.
    """
    if ahead == 0:
        batches = _batches(make_source, first, batch_size)
        yield lambda: next(batches)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a running TensorFlow can hang
    ready = context.Queue(ahead)
    worker = context.Process(target=_serve, daemon=True,
                             args=(ready, make_source, first, batch_size))
    worker.start()
    try:
        yield lambda: _receive(ready, worker)
    finally:
        worker.terminate()
        worker.join()


def _batches(make_source: Callable, first: int, batch_size: int) -> Iterator[Batch]:
    source = make_source()
    step = first
    while True:
        yield source.batch(step, batch_size)
        step += 1


def _serve(ready: multiprocessing.Queue, make_source: Callable, first: int, batch_size: int,
           ) -> None:
    for batch in _batches(make_source, first, batch_size):
        ready.put(batch)


def _receive(ready: multiprocessing.Queue, worker: BaseProcess) -> Batch:
    while True:
        try:
            return ready.get(timeout=2.0)  # s, after which a dead worker is noticed
        except queue.Empty:
            if not worker.is_alive():
                raise ProgramError("The process that prepares training windows ended with exit "
                                   f"code {worker.exitcode}. See its messages above; if it was "
                                   "killed, memory may be short.") from None
