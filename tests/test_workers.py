"""Sweeps on several processes: the same bits as in one, whatever dies on the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import KilledWorker
from processes import RUNNER, assert_refused, cell_lines, finish, posix, scores, start, sweep

import runner
from sweep.workers import WorkersError, blocked_interrupts, run_on_workers

pytestmark = posix

GRID = ("--task mlp_planted --mlist 2 5 --slist 5 10 --seedlist 0 1 2 --num_epochs 3 --nmeasurements 500 --device cpu "
        "--threads 1 --save_results")
ONE_JOB = f"{GRID} --method pruning --mlist 2 --seedlist 0"  # of two cells
LONG = f"{GRID} --seedlist {' '.join(map(str, range(60)))}"  # 240 cells, some seconds
PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}  # with dead workers; Dask's own is 30 s
DASK, WITH_CODE = [sys.executable, "-m", "dask"], os.environ | PATIENCE | {"PYTHONPATH": str(RUNNER.parent)}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The table of a sweep in one process: what those of workers must equal."""
    folder = tmp_path_factory.mktemp("alone")
    assert sweep(GRID, folder).code == 0
    return scores(folder).tobytes()


@pytest.fixture
def cluster(tmp_path):
    """A running Dask cluster of one worker: scheduler, worker and address."""
    file = tmp_path / "scheduler.json"
    call = [*DASK, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with subprocess.Popen(call, cwd=tmp_path, env=WITH_CODE, **QUIET) as scheduler:
        try:
            while not (file.exists() and file.read_text().rstrip().endswith("}")):  # it is there before it is written
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


# ---- on this machine ----


def test_workers_give_the_same_bits_as_one_process(alone, tmp_path):
    result = sweep(f"{GRID} --workers 2", tmp_path)
    assert result.code == 0 and result.err == "" and "; 2 workers" in result.out
    assert len(cell_lines(result.out)) == 12 and scores(tmp_path).tobytes() == alone


def test_pruning_has_the_same_bits_on_a_worker(tmp_path):
    """Though Dask starts its processes with other numbers of threads than torch has here."""
    assert runner.main([*ONE_JOB.split(), "--logs_dir", str(tmp_path / "alone")]) == 0
    assert sweep(f"{ONE_JOB} --workers 1", tmp_path).code == 0
    assert scores(tmp_path / "logs").tobytes() == scores(tmp_path / "alone").tobytes()


def kill_worker(job):
    """The second job kills every worker that it is given to, the fourth only the first one."""
    number, trace = job[0], Path(job[1], "killed")
    if number == 1 or (number == 3 and not trace.exists()):
        if number == 3:
            trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_job_that_kills_its_workers_takes_no_other_with_it(tmp_path):
    jobs = [(number, str(tmp_path)) for number in range(5)]
    outcomes = dict(run_on_workers(jobs, kill_worker, workers=2, scheduler=None))
    assert isinstance(outcomes.pop(jobs[1]), KilledWorker)
    assert outcomes == {jobs[number]: number for number in (0, 2, 3, 4)} and (tmp_path / "killed").exists()


def test_ctrl_c_waits_for_the_end_of_a_block_and_its_threads_never_hear_it():
    before, masks = signal.pthread_sigmask(signal.SIG_BLOCK, ()), []
    thread = threading.Thread(target=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    with pytest.raises(KeyboardInterrupt):
        with blocked_interrupts():
            thread.start()
            thread.join()
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            masks.append("the block went on")
    assert signal.SIGINT in masks[0] and masks[1:] == ["the block went on"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


# ---- on a cluster ----


def test_a_cluster_outlives_a_sweep_and_a_sweep_outlives_a_worker(alone, tmp_path, cluster):
    scheduler, worker, address = cluster
    result = sweep(f"{GRID} --scheduler {address}", tmp_path)
    assert result.code == 0 and result.err == "" and len(cell_lines(result.out)) == 12
    assert scores(tmp_path).tobytes() == alone
    assert scheduler.poll() is None and worker.poll() is None
    process = start(f"{LONG} --logs_dir long --scheduler {address}", tmp_path, **PATIENCE)
    for _ in range(5):
        process.stdout.readline()
    worker.kill()
    with dask_worker(address, tmp_path):
        result = finish(process)
    assert result.code == 0 and result.err == "" and np.isfinite(scores(tmp_path / "long")).all()


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


@pytest.mark.parametrize("address", ["nonsense://", "a b", "tcp://", "tcp://127.0.0.1:999999", "tls://127.0.0.1:9",
                                     "127.0.0.1:9", "\udcff", "é:1", "http://[", "a\nb"])
def test_an_address_at_which_no_scheduler_answers_is_refused(monkeypatch, address):
    monkeypatch.setattr("sweep.workers.TIMEOUT", 0.1)
    with pytest.raises(WorkersError, match="argument --scheduler: no Dask scheduler answers at .*, or use --workers"):
        next(run_on_workers([0], str, workers=0, scheduler=address))
