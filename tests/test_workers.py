"""Sweeps on several processes: the same bits as in one, whatever dies on the way."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import KilledWorker
from processes import RUNNER, assert_gone, assert_refused, cell_lines, finish, posix, scores, start, sweep
from processes import workers as workers_of

from sweep.workers import WorkersError, run_on_workers

pytestmark = posix

GRID = ("--task mlp_planted --mlist 2 5 --slist 5 10 --seedlist 0 1 2 --num_epochs 3 --nmeasurements 500 --device cpu "
        "--threads 1 --save_results")
ONE_JOB = f"{GRID} --method pruning --mlist 2 --seedlist 0"  # so that few processes import torch
LONG = f"{GRID} --seedlist {' '.join(map(str, range(30)))}"  # 120 cells, a second or two
PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}  # with dead workers; Dask's own is 30 s
DASK, WITH_CODE = [sys.executable, "-m", "dask"], os.environ | PATIENCE | {"PYTHONPATH": str(RUNNER.parent)}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Tables of sweeps in one process, by command line: what those of workers must equal."""
    tables = {}
    for line in (GRID, ONE_JOB):
        folder = tmp_path_factory.mktemp("alone")
        assert sweep(line, folder).code == 0
        tables[line] = scores(folder).tobytes()
    return tables


@pytest.fixture(scope="module")
def nobody(tmp_path_factory):
    """A sweep on a scheduler that is not there, begun early since it waits for an answer: (process, its folder)."""
    folder = tmp_path_factory.mktemp("nobody")
    process = start(f"{GRID} --scheduler tcp://127.0.0.1:9", folder)
    yield process, folder
    process.kill()


@pytest.fixture
def cluster(tmp_path):
    """A running Dask cluster of one worker: scheduler, worker and address."""
    file = tmp_path / "scheduler.json"
    call = [*DASK, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with subprocess.Popen(call, cwd=tmp_path, env=WITH_CODE, **QUIET) as scheduler:
        try:
            while not file.exists():
                time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            with dask_worker(address, tmp_path) as worker:
                yield scheduler, worker, address
        finally:
            scheduler.kill()


@contextlib.contextmanager
def dask_worker(address, folder, environment=WITH_CODE):
    call = [*DASK, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    with subprocess.Popen(call, cwd=folder, env=environment, **QUIET) as worker:
        try:
            yield worker
        finally:
            worker.kill()


# ---- the same as alone ----


@pytest.mark.parametrize("line, cells", [(GRID, 12), (ONE_JOB, 2)], ids=["aiht", "pruning"])
def test_workers_give_the_same_bits_as_one_process(nobody, alone, tmp_path, line, cells):
    result = sweep(f"{line} --workers 2", tmp_path)
    assert result.code == 0 and result.err == "" and "; 2 workers" in result.out
    assert len(cell_lines(result.out)) == cells
    assert scores(tmp_path).tobytes() == alone[line]
    assert f"{cells} of {cells} cells found" in sweep(line, tmp_path).out


def test_the_bar_counts_the_cells_of_workers(tmp_path):
    import fcntl
    import pty
    import termios

    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))  # rows and columns
    call, shown = [sys.executable, RUNNER, *GRID.split(), "--workers", "2"], b""
    with open(tmp_path / "out", "w+") as out:
        process = subprocess.Popen(call, cwd=tmp_path, stdout=out, stderr=terminal)
        os.close(terminal)
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := os.read(master, 4096):
                shown += part
        os.close(master)
        assert process.wait() == 0
        out.seek(0)
        assert len(cell_lines(out.read())) == 12
    assert b"12/12" in shown


def test_a_running_cluster_gives_the_same_bits_and_goes_on_running(alone, tmp_path, cluster):
    scheduler, worker, address = cluster
    result = sweep(f"{GRID} --scheduler {address}", tmp_path)
    assert result.code == 0 and result.err == "" and len(cell_lines(result.out)) == 12
    assert scores(tmp_path).tobytes() == alone[GRID]
    assert scheduler.poll() is None and worker.poll() is None


# ---- what dies ----


def kill(number):
    """Three jobs: the second kills every worker that it is given to."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def kill_once(job):
    """Kill the worker when this job is tried for the first time."""
    number, folder = job
    if number < 2 and not Path(folder, str(number)).exists():
        Path(folder, str(number)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_job_that_kills_its_workers_takes_no_other_with_it():
    outcomes = dict(run_on_workers([0, 1, 2, 3, 4], kill, workers=2, scheduler=None))
    assert isinstance(outcomes.pop(1), KilledWorker)
    assert outcomes == {0: 0, 2: 2, 3: 3, 4: 4}


def test_a_job_that_was_lost_with_its_worker_is_run_again(tmp_path):
    jobs = [(number, str(tmp_path)) for number in range(5)]
    outcomes = dict(run_on_workers(jobs, kill_once, workers=2, scheduler=None))
    assert outcomes == {job: job[0] for job in jobs} and len(list(tmp_path.iterdir())) == 2


def test_cells_whose_workers_always_die_are_recorded_as_failed(tmp_path):
    """In every process of this sweep the cells of m = 5, s = 10 send SIGKILL to themselves."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import os, signal, sys
sys.path.insert(0, {str(RUNNER.parent)!r})
import cells
run_aiht = cells.METHODS["aiht"]
def deadly(problem, m, slist, seed, *rest):
    if (m, *slist, seed) == (5, 10, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return run_aiht(problem, m, slist, seed, *rest)
cells.METHODS["aiht"] = deadly
""")
    result = sweep(f"{GRID} --workers 2", tmp_path, PYTHONPATH=str(tmp_path))
    assert result.code == 1 and result.err == "runner.py: 1 cell(s) failed; their lines say why\n"
    [sidecar] = tmp_path.rglob("*.json")
    statuses = [cell["status"] for cell in json.loads(sidecar.read_text())["cells"]]
    assert statuses.count("done") == 11 and statuses[7].startswith("failed: KilledWorker: ")
    assert np.isnan(scores(tmp_path)).sum() == 1 and len(cell_lines(result.out)) == 12
    result = sweep(f"{GRID} --workers 2", tmp_path)
    assert result.code == 0 and "11 of 12 cells found" in result.out and np.isfinite(scores(tmp_path)).all()


def test_workers_that_are_killed_are_replaced(tmp_path):
    process = start(f"{LONG} --workers 2", tmp_path)
    for _ in range(2):
        for _ in range(12):
            process.stdout.readline()
        [pid, *_] = workers_of(process)
        os.kill(pid, signal.SIGKILL)
    result = finish(process)
    assert result.code == 0 and result.err == "" and np.isfinite(scores(tmp_path)).all()
    assert sweep(LONG, tmp_path).out.count("120 of 120 cells found") == 1


def test_a_worker_of_a_cluster_that_is_killed_is_waited_for(tmp_path, cluster):
    _, worker, address = cluster
    process = start(f"{LONG} --scheduler {address}", tmp_path, **PATIENCE)
    for _ in range(5):
        process.stdout.readline()
    worker.kill()
    with dask_worker(address, tmp_path):
        result = finish(process)
    assert result.code == 0 and result.err == "" and np.isfinite(scores(tmp_path)).all()


def test_a_scheduler_that_is_killed_is_named_and_the_table_kept(tmp_path, cluster):
    scheduler, _, address = cluster
    process = start(f"{LONG} --scheduler {address}", tmp_path)
    for _ in range(5):
        process.stdout.readline()
    scheduler.kill()
    result = finish(process)
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert f"argument --scheduler: {address} was lost; start it again" in result.err
    assert np.isfinite(scores(tmp_path)).sum() >= 4


def test_a_cluster_without_the_code_says_so(tmp_path, cluster):
    _, worker, address = cluster
    worker.kill()
    worker.wait()
    with dask_worker(address, tmp_path, os.environ):
        result = sweep(f"{GRID} --scheduler {address}", tmp_path)
    assert_refused(result, f"argument --scheduler: the cluster at {address} cannot import this code", "PYTHONPATH=")


# ---- addresses ----


def test_a_scheduler_that_is_not_there_is_refused(nobody):
    process, folder = nobody
    assert_refused(finish(process), "argument --scheduler", "tcp://127.0.0.1:9", "dask scheduler", "--workers")
    assert not list(folder.rglob("*.npy"))


@pytest.mark.parametrize("address", ["nonsense://", "a b", "tcp://", "tcp://127.0.0.1:999999", "tls://127.0.0.1:9",
                                     "ucx://127.0.0.1:9", "127.0.0.1:9", "\udcff", "é:1", "-", "http://[", "a\nb", "/"])
def test_what_is_no_address_is_refused(monkeypatch, address):
    monkeypatch.setattr("workers.TIMEOUT", 0.1)
    with pytest.raises(WorkersError, match="argument --scheduler: no Dask scheduler answers at"):
        next(run_on_workers([0], kill, workers=0, scheduler=address))


def test_the_table_is_written_by_the_parent_alone(tmp_path):
    process = start(f"{LONG} --workers 2", tmp_path)
    process.stdout.readline()
    opened = set()
    for _ in range(30):
        process.stdout.readline()
        for pid in workers_of(process):
            for link in Path(f"/proc/{pid}/fd").glob("*"):
                with contextlib.suppress(FileNotFoundError):  # closed just now
                    opened.add(os.readlink(link))
    process.kill()
    process.communicate()
    assert_gone(process)
    assert opened and not [path for path in opened if path.startswith(str(tmp_path))]
