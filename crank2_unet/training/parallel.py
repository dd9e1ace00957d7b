"""The same work on many crystals, through Dask: the cores of one machine or a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dask.distributed import Client, LocalCluster, as_completed
from tqdm import tqdm

from ..errors import InputError

_log = logging.getLogger(__name__)


def run_all(function: Callable, jobs: dict[str, tuple], workers: int = 1,
            scheduler: str | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Call a function for each job; a job that fails does not stop the others.

    Parameters
    ----------
    function : must be picklable, as its arguments and results.
    jobs : arguments by name.
    workers : processes on this machine; 0: this process, without Dask.
    scheduler : address of a Dask scheduler; then ``workers`` is not used.

    Returns
    -------
    Results and error messages by name, both in the order of the jobs.

    Raises
    ------
    InputError : no job, or all of them failed.
    """
    results, failures = {}, {}
    attempts = _attempts(function, jobs, workers, scheduler)
    for name, attempt in tqdm(attempts, total=len(jobs), unit="crystal", mininterval=1.0):
        try:
            results[name] = attempt()
        except Exception as error:  # whatever it is, the other crystals go on
            failures[name] = f"{type(error).__name__}: {error}"
            _log.warning("%s failed: %s", name, failures[name])
    if not results:
        raise InputError(f"None of the {len(jobs)} crystals could be used. The messages were: "
                         f"{'; '.join(sorted(set(failures.values()))) or 'none'}.")
    return ({name: results[name] for name in jobs if name in results},
            {name: failures[name] for name in jobs if name in failures})


def _attempts(function: Callable, jobs: dict[str, tuple], workers: int, scheduler: str | None,
              ) -> Iterator[tuple[str, Callable]]:
    """Name and a function that gives the result, or raises, of each job as it ends."""
    if not (workers or scheduler):
        for name, arguments in jobs.items():
            yield name, partial(function, *arguments)
        return
    with _client(workers, scheduler) as client:
        futures = {client.submit(function, *arguments, pure=False): name
                   for name, arguments in jobs.items()}
        for future in as_completed(futures):
            yield futures[future], future.result
            future.release()


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """A Dask client of a running scheduler or of processes started here."""
    if scheduler:
        with Client(scheduler) as client:
            yield client
    else:
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local:
            with Client(local) as client:
                yield client
