"""The same work on many crystals, through Dask: the cores of one machine or a cluster.

A job is a function call with a name.  Workers keep each result in a file as soon as it is there
(:class:`Kept`), so that whatever dies, worker, scheduler or this process, only what was under way is
lost: Dask gives the jobs of a dead worker to another one, and the same command goes on where it was
stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask
from dask.distributed import Client, LocalCluster, as_completed
from distributed.comm import connect
from tqdm import tqdm

from ..errors import InputError
from ..files.output import staged_file, write_json

_log = logging.getLogger(__name__)
# batch systems by the class of dask-jobqueue that submits to them
BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}
_ONE_THREAD = "--nworkers N --nthreads 1"  # of ``dask worker``
# Of schedulers started here.  A job that kills its worker is tried on two more.  A worker has one job
# at a time and none in waiting, so that none is blamed for the death of a worker that it never saw.
_SETTINGS = {"distributed.scheduler.allowed-failures": 2,
             "distributed.scheduler.worker-saturation": 1.0}


@dataclass(frozen=True)
class Kept:
    """Results in a folder, a JSON file for each job.

    Parameters
    ----------
    folder : made if need be; on a file system that all workers see.
    settings : what a result depends on beside the job's name, as JSON holds it; a result that was made
        with others does not count.
    made_from : the same of single jobs, by name, such as checksums of their files (:func:`sha256`).
    """

    folder: Path
    settings: dict
    made_from: Mapping[str, Any] = field(default_factory=dict)

    def only(self, name: str) -> Kept:
        """What concerns one job, to be sent to a worker."""
        mine = {name: self.made_from[name]} if name in self.made_from else {}
        return replace(self, made_from=mine)

    def _settings(self, name: str) -> dict:
        more = {"made_from": self.made_from[name]} if name in self.made_from else {}
        return {**self.settings, **more}

    def read(self, name: str) -> dict | None:
        """The result of a job; None without, or if it cannot be read."""
        try:
            found = json.loads((self.folder / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found["result"] if found["settings"] == self._settings(name) else None

    def forget(self, name: str) -> None:
        """Let a job be done again."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def write(self, name: str, result: dict) -> dict:
        """Keep a result, whole or not at all; returns it as it will be read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        with staged_file(path) as stage:
            write_json({"settings": self._settings(name), "result": result}, stage)
        return json.loads(path.read_text())["result"]


def sha256(*paths: str | Path) -> str:
    """Checksum of the contents of files, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        total.update(Path(path).read_bytes())
    return total.hexdigest()


def run_all(function: Callable, jobs: dict[str, tuple], workers: int = 1, scheduler: str | None = None,
            kept: Kept | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Call a function for each job; a job that fails does not stop the others.

    Parameters
    ----------
    function : must be picklable, as its arguments and results.
    jobs : arguments by name.
    workers : processes on this machine, or jobs of a batch system; 0: this process, without Dask.
    scheduler : address of a Dask scheduler, whose workers are used, or one of ``BATCH_SYSTEMS``, which
        is asked for ``workers`` jobs as dask-jobqueue is configured (``~/.config/dask/jobqueue.yaml``).
    kept : where results, which must be dictionaries, are kept; those that are there are not made
        again.  Failures are not kept: they are tried again by the next call.

    Returns
    -------
    Results and error messages by name, both in the order of the jobs.

    Raises
    ------
    InputError : no job, or all of them failed; no scheduler, or workers of several threads.
    """
    results = {name: found for name in jobs if kept and (found := kept.read(name)) is not None}
    missing = {name: arguments for name, arguments in jobs.items() if name not in results}
    if kept:
        missing = {name: (kept.only(name), name, function, *arguments)
                   for name, arguments in missing.items()}
        function = _keeping
    if results:
        _log.info("%d of %d crystals were done before", len(results), len(jobs))
    failures = {}
    attempts = _attempts(function, missing, workers, scheduler) if missing else ()
    for name, attempt in tqdm(attempts, total=len(jobs), initial=len(results), unit="crystal",
                              smoothing=0, mininterval=1 if sys.stderr.isatty() else 60):
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


def _keeping(kept: Kept, name: str, function: Callable, *arguments) -> dict:
    """A job in a worker, whose result may be there: of a worker that died before it could send it."""
    found = kept.read(name)
    return kept.write(name, function(*arguments)) if found is None else found


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
    """A Dask client of a running scheduler, of batch jobs or of processes started here."""
    if scheduler and scheduler not in BATCH_SYSTEMS:
        try:
            asyncio.run(_call(scheduler))
        except (OSError, ValueError) as error:
            raise InputError(f"No Dask scheduler answers at {scheduler} ({error}). Start one with "
                             f"'dask scheduler', or give one of {', '.join(BATCH_SYSTEMS)}.") from error
        with Client(scheduler) as client:
            _await_workers(client, f"Start some with 'dask worker {_ONE_THREAD} {scheduler}'")
            yield client
        return
    with dask.config.set(_SETTINGS):
        with _batch_jobs(scheduler, workers) if scheduler else _processes(workers) as cluster:
            with Client(cluster) as client:
                if scheduler:
                    _await_workers(client, "The queue may be long; if jobs of dask-worker are not in "
                                   f"the queue of {scheduler}, their own log files say why")
                yield client


async def _call(scheduler: str) -> None:
    """Call once, before there is a client: one that cannot connect cannot be closed either, and holds
    up the next one of the same process when it is collected in that one's thread."""
    comm = await connect(scheduler)
    await comm.close()


def _await_workers(client: Client, hint: str) -> None:
    """Wait for the first worker, however long that takes, and say so: a job that a batch system cannot
    run is not told from one that waits.

    Raises
    ------
    InputError : a worker has several threads.
    """
    minutes = 1
    while True:
        try:
            client.wait_for_workers(1, timeout=60 * minutes)
            break
        except asyncio.TimeoutError:
            _log.warning("No worker has begun within %d min. %s", minutes, hint)
            minutes *= 2
    for address, threads in client.nthreads().items():
        if threads > 1:
            raise InputError(f"The Dask worker {address} has {threads} threads: crystals would share a "
                             f"process, its memory and its CPU time. Start it with '{_ONE_THREAD}', or "
                             "give jobs of a batch system as many processes as cores.")


def _processes(workers: int) -> LocalCluster:
    """Workers on this machine; one that dies even as it is started again is asked for once more."""
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    cluster.adapt(minimum=workers, maximum=workers)
    return cluster


def _batch_jobs(system: str, jobs: int):
    """Workers that a batch system starts; one that it ends is asked for again."""
    import dask_jobqueue

    try:
        # dask-jobqueue does not quote it in the script of a job
        python = dask.config.get(f"jobqueue.{system}.python", None) or shlex.quote(sys.executable)
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[system])(python=python)
    except ValueError as error:
        raise InputError(f"dask-jobqueue is not configured for {system} ({error}). Write cores, "
                         "memory, queue and walltime of a job into ~/.config/dask/jobqueue.yaml."
                         ) from error
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster
