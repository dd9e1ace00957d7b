"""Many jobs: kept results, killed workers, killed clients, batch systems."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from dask.distributed import LocalCluster
from jobs import begun, square

from crank2_unet.errors import InputError
from crank2_unet.training.parallel import Kept, run_all

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(autouse=True)
def helpers_for_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), *sys.path]))


def squares(folder, count, **options):
    return {f"n{i}": (i, str(folder), *options.values()) for i in range(count)}


def test_results_are_kept_while_settings_stay(tmp_path):
    kept = Kept(tmp_path / "records", {"cycles": 10})
    first = run_all(square, squares(tmp_path, 3), 0, kept=kept)
    assert first == ({"n0": {"square": 0}, "n1": {"square": 1}, "n2": {"square": 4}}, {})
    assert run_all(square, squares(tmp_path, 4), 0, kept=kept)[0]["n3"] == {"square": 9}
    assert [len(begun(tmp_path, i)) for i in range(4)] == [1, 1, 1, 1]
    run_all(square, squares(tmp_path, 1), 0, kept=Kept(tmp_path / "records", {"cycles": 20}))
    assert len(begun(tmp_path, 0)) == 2
    assert json.loads((tmp_path / "records/n0.json").read_text())["settings"] == {"cycles": 20}
    # results of other data count no more, nor does what cannot be read; the others stay
    run_all(square, squares(tmp_path, 2), 0,
            kept=Kept(tmp_path / "records", {"cycles": 10}, {"n1": "checksum"}))
    (tmp_path / "records/n2.json").write_text("{")
    run_all(square, squares(tmp_path, 4), 0, kept=kept)
    assert [len(begun(tmp_path, i)) for i in range(4)] == [3, 3, 2, 1]


def test_failures_are_tried_again(tmp_path):
    kept = Kept(tmp_path / "records", {})
    jobs = {"good": (2, str(tmp_path)), "bad": ("two", str(tmp_path))}
    for _ in range(2):
        results, failures = run_all(square, jobs, 0, kept=kept)
        assert results == {"good": {"square": 4}} and list(failures) == ["bad"]
    assert len(begun(tmp_path, "two")) == 2 and len(begun(tmp_path, 2)) == 1


def test_no_scheduler_at_an_address(tmp_path):
    with pytest.raises(InputError, match="No Dask scheduler answers at nonsense://1"):
        run_all(square, squares(tmp_path, 1), scheduler="nonsense://1")
    # no client is left half open, whose end would come in the thread of the next
    assert "IO loop" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_of_a_scheduler_have_one_thread(tmp_path, threads):
    with LocalCluster(n_workers=1, threads_per_worker=threads, processes=False,
                      dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        if threads == 1:
            assert run_all(square, squares(tmp_path, 2), scheduler=address)[0]["n1"] == {"square": 1}
        else:
            with pytest.raises(InputError, match="has 2 threads.*--nthreads 1"):
                run_all(square, squares(tmp_path, 2), scheduler=address)
            assert not begun(tmp_path, 0)


def test_a_killed_worker_loses_nothing(tmp_path):
    jobs = squares(tmp_path, 6)
    jobs["n2"] = (2, str(tmp_path), 1)  # kills one worker, as a machine that goes down
    jobs["n4"] = (4, str(tmp_path), 99)  # and one that kills whatever runs it
    results, failures = run_all(square, jobs, 2, kept=Kept(tmp_path / "records", {}))
    assert results == {f"n{i}": {"square": i**2} for i in (0, 1, 2, 3, 5)}
    assert list(failures) == ["n4"] and "KilledWorker" in failures["n4"]
    assert [len(begun(tmp_path, i)) for i in range(6)] == [1, 1, 2, 1, 3, 1]


@pytest.mark.parametrize("done", [1, 3])
def test_a_killed_run_goes_on_where_it_was(tmp_path, done):
    records = tmp_path / "records"
    script = ("import sys; from pathlib import Path; from jobs import square\n"
              "from crank2_unet.training.parallel import Kept, run_all\n"
              "if __name__ == '__main__':\n"
              "    folder = Path(sys.argv[1])\n"
              "    jobs = {f'n{i}': (i, str(folder), 0, 0.3) for i in range(6)}\n"
              "    run_all(square, jobs, 2, kept=Kept(folder / 'records', {}))\n")
    (tmp_path / "run.py").write_text(script)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list(records.glob("*.json"))) < done and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    finished = {path.stem for path in records.glob("*.json")}
    assert done <= len(finished) < 6
    before = {name: len(begun(tmp_path, int(name[1:]))) for name in finished}
    assert subprocess.run(command, capture_output=True).returncode == 0
    found = {path.stem: json.loads(path.read_text())["result"] for path in records.glob("*.json")}
    assert found == {f"n{i}": {"square": i**2} for i in range(6)}
    assert {name: len(begun(tmp_path, int(name[1:]))) for name in finished} == before


@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="the extra cluster is not installed")
def test_a_batch_system_runs_the_jobs(tmp_path, monkeypatch):
    """sbatch starts the script that dask-jobqueue wrote, as a batch system does in its own time; Python
    lies in a folder with a blank."""
    import dask

    programs = tmp_path / "bin"
    programs.mkdir()
    lines = {"sbatch": f'cp "$1" {tmp_path}/script.sh\n'
                       f"nohup sh {tmp_path}/script.sh > {tmp_path}/log 2>&1 &\n"
                       'echo "Submitted batch job $!"',
             "scancel": 'for job in "$@"; do kill $job 2> /dev/null; done; true'}
    for name, text in lines.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    python = tmp_path / "my own" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} \"$@\"\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="jobqueue.yaml"):
        run_all(square, squares(tmp_path, 2), 1, "slurm")
    with dask.config.set({"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "2GB",
                          "jobqueue.slurm.interface": "lo"}):
        results, _ = run_all(square, squares(tmp_path, 3), 1, "slurm")
    assert results == {f"n{i}": {"square": i**2} for i in range(3)}
    assert "#SBATCH" in (tmp_path / "script.sh").read_text()
