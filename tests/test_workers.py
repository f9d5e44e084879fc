"""Sweeps on several processes: the same bits as in one, whatever dies on the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, KilledWorker
from processes import (
    PATIENCE,
    RUNNER,
    assert_refused,
    cell_lines,
    finish,
    posix,
    read_lines,
    scores,
    start,
    sweep,
    wait_for,
)

import runner
from sweep.workers import WorkersError, blocked_interrupts, run_on_workers

pytestmark = posix

GRID = ("--task mlp_planted --mlist 2 5 --slist 5 10 --seedlist 0 1 2 --num_epochs 3 --nmeasurements 500 --device cpu "
        "--threads 1 --save_results")  # 12 cells
LONG = ("--task gaussian_sparse --mlist 20 30 --slist 5 10 --nmeasurements 50 --num_epochs 2 --device cpu --threads 1 "
        f"--save_results --seedlist {' '.join(map(str, range(25)))}")  # 100 cells
DASK, ENVIRONMENT = [sys.executable, "-m", "dask"], {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}  # with dead workers; Dask's own is 30 s
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@contextlib.contextmanager
def dask(folder, *words, path=str(RUNNER.parent)):
    """A running command of Dask's on this machine, which finds the code below `path`."""
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": path}
    with subprocess.Popen([*DASK, *words, "--host", "127.0.0.1"], cwd=folder, env=environment, **QUIET) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def dask_scheduler(folder):
    """A scheduler of Dask's, and its address."""
    file = folder / "scheduler.json"
    with dask(folder, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)) as process:
        wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"))  # it is there before it is written
        yield process, json.loads(file.read_text())["address"]


@contextlib.contextmanager
def dask_worker(address, folder, **options):
    """A worker of one thread, as soon as the scheduler knows it."""
    line = ("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    with Client(address, timeout=PATIENCE) as client, dask(folder, *line, **options) as worker:
        client.wait_for_workers(1, timeout=PATIENCE)
        yield worker


# ---- on this machine ----


def test_a_worker_gives_the_same_bits_as_one_process(tmp_path):
    """Though Dask starts its process with another number of threads than torch, which prunes, has here."""
    line = f"{GRID} --method pruning --seedlist 0 --prune_iters 3"
    assert runner.main([*line.split(), "--logs_dir", str(tmp_path / "alone")]) == 0
    result = sweep(f"{line} --workers 1", tmp_path)
    assert result.code == 0 and result.err == "" and "; 1 worker" in result.out and len(cell_lines(result.out)) == 4
    assert scores(tmp_path / "logs").tobytes() == scores(tmp_path / "alone").tobytes()


def test_a_job_that_kills_its_workers_takes_no_other_with_it(tmp_path):
    def kill_worker(job):
        """The second job kills every worker that it is given to, the fourth only the first one."""
        number, trace = job[0], Path(job[1], "killed")
        if number == 1 or (number == 3 and not trace.exists()):
            if number == 3:
                trace.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

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


def test_a_cluster_outlives_a_sweep_and_a_sweep_a_worker_but_no_scheduler(tmp_path):
    """Bits as in one process; other workers do the jobs of a lost one; a lost scheduler is named, the table kept."""
    assert runner.main([*GRID.split(), "--logs_dir", str(tmp_path / "alone")]) == 0
    with dask_scheduler(tmp_path) as (scheduler, address):
        with dask_worker(address, tmp_path) as worker:
            result = sweep(f"{GRID} --scheduler {address}", tmp_path)
            assert result.code == 0 and result.err == "" and len(cell_lines(result.out)) == 12
            assert scores(tmp_path / "logs").tobytes() == scores(tmp_path / "alone").tobytes()
            assert scheduler.poll() is None and worker.poll() is None
            process = start(f"{LONG} --logs_dir long --scheduler {address}", tmp_path, **ENVIRONMENT)
            read_lines(process, 5)
        with dask_worker(address, tmp_path):
            result = finish(process)
            assert result.code == 0 and result.err == "" and np.isfinite(scores(tmp_path / "long")).all()
            process = start(f"{LONG} --logs_dir lost --scheduler {address}", tmp_path)
            read_lines(process, 5)
            scheduler.kill()
            result = finish(process)
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert f"argument --scheduler: {address} was lost; start it again" in result.err
    assert 4 <= np.isfinite(scores(tmp_path / "lost")).sum() < 100


def test_a_cluster_without_the_code_says_so(tmp_path):
    with dask_scheduler(tmp_path) as (_, address), dask_worker(address, tmp_path, path=""):
        result = sweep(f"{LONG} --scheduler {address}", tmp_path)
    assert_refused(result, f"argument --scheduler: the cluster at {address} cannot import this code", "PYTHONPATH=")


@pytest.mark.parametrize("address", ["nonsense://", "a b", "tcp://", "tcp://127.0.0.1:999999", "tls://127.0.0.1:9",
                                     "127.0.0.1:9", "\udcff", "é:1", "http://[", "a\nb"])
def test_an_address_at_which_no_scheduler_answers_is_refused(monkeypatch, address):
    monkeypatch.setattr("sweep.workers.TIMEOUT", 0.1)
    with pytest.raises(WorkersError, match="argument --scheduler: no Dask scheduler answers at .*, or use --workers"):
        next(run_on_workers([0], str, workers=0, scheduler=address))
