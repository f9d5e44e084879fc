"""Sweeps as processes that are killed, stopped, starved or started twice: nothing that was computed is lost."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from processes import assert_refused, kill, posix, press_ctrl_c, scores, start, statuses, sweep, tree, workers

pytestmark = posix

BASE = "--task mlp_planted --num_epochs 3 --nmeasurements 500 --device cpu --threads 1 --save_results"
GRID = f"{BASE} --mlist 2 3 --slist 5 10 --seedlist {' '.join(map(str, range(24)))}"  # 96 cells, about a second
SMALL = f"{BASE} --mlist 2 --slist 5 10 --seedlist 0 1"


def done(folder):
    """How many cells the only log says are done."""
    [path] = Path(folder).rglob("*.json")
    return [*statuses(json.loads(path.read_text())).values()].count("done")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of an uninterrupted sweep."""
    folder = tmp_path_factory.mktemp("whole")
    assert sweep(GRID, folder).code == 0
    return scores(folder)


def assert_goes_on(folder, found, whole):
    """The same command finds these cells, and ends with the table of a sweep that was never interrupted."""
    result = sweep(GRID, folder)
    assert result.code == 0 and result.err == "" and f"{found} of 96 cells found" in result.out
    assert scores(folder).tobytes() == whole.tobytes()
    assert len(tree(folder)) == 2  # no part of a file is left


# ---- stopped ----


@pytest.mark.parametrize("flags, kills, latest", [("", 5, 0.8), ("--workers 2", 2, 2.0)])
def test_killed_again_and_again_is_the_same_as_uninterrupted(tmp_path, whole, flags, kills, latest):
    """The parent is killed at random moments: after so many cells, or so many seconds. Then the same command again."""
    rng, killed, before = random.Random(len(flags)), 0, 0
    while killed < kills:
        process = start(f"{GRID} {flags}", tmp_path)
        if rng.random() < 0.6:
            for _ in range(rng.randrange(1, 12)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.005))
        else:
            time.sleep(rng.uniform(0.2, latest))
        kill(process)
        if process.returncode == 0:  # it was faster
            assert scores(tmp_path).tobytes() == whole.tobytes()
            shutil.rmtree(tmp_path / "logs")
            before = 0
            continue
        killed += 1
        if list(tmp_path.rglob("*.json")):
            assert done(tmp_path) >= before
            before = done(tmp_path)
    assert_goes_on(tmp_path, before, whole)


@pytest.mark.parametrize("flags, send", [("", os.kill), ("--workers 2", os.killpg)], ids=["alone", "workers"])
def test_ctrl_c_keeps_what_was_computed(tmp_path, whole, flags, send):
    """Sent to the process, or as a terminal does, to its group, in which a worker has taken the place of another."""
    process = start(f"{GRID} {flags}", tmp_path)
    for _ in range(6):
        process.stdout.readline()
    if flags:
        killed, other = workers(process)
        os.kill(killed, signal.SIGKILL)
        os.kill(other, signal.SIGSTOP)  # lest it compute everything meanwhile
        while not set(workers(process)) - {killed, other}:
            time.sleep(0.02)
        os.kill(other, signal.SIGCONT)
    result = press_ctrl_c(process, send)
    assert result.code == 130 and "the same command goes on" in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert 4 <= done(tmp_path) < 96 and np.isfinite(scores(tmp_path)).sum() >= done(tmp_path)
    assert_goes_on(tmp_path, done(tmp_path), whole)


@pytest.mark.parametrize("delay", [0.1, 0.7])
def test_ctrl_c_while_workers_start(tmp_path, delay):
    process = start(f"{GRID} --workers 2", tmp_path, PYTHONUNBUFFERED="1")
    process.stdout.readline()  # the device
    time.sleep(delay)
    result = press_ctrl_c(process, os.killpg)
    assert result.code == 130 and len(result.err.strip().splitlines()) == 1, result


# ---- two at once ----


def test_a_second_run_is_refused_while_the_first_lives(tmp_path, whole):
    first = start(GRID, tmp_path)
    for _ in range(4):
        first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    before = tree(tmp_path)
    assert_refused(sweep(f"{GRID} --overwrite", tmp_path), ".npy is being written by another run", "--expname")
    assert sweep(f"{GRID} --dry_run", tmp_path).code == 0
    assert tree(tmp_path) == before
    kill(first)
    assert_goes_on(tmp_path, done(tmp_path), whole)


# ---- starved ----


def test_a_folder_that_is_read_only_is_refused(tmp_path):
    (tmp_path / "logs").mkdir()
    script = 'mount --bind logs logs && mount -o remount,bind,ro logs && exec "$@"'
    mount = ["unshare", "--mount", "sh", "-c", script, "-"]
    if os.geteuid():
        (tmp_path / "logs").chmod(0o555)
        mount = []
    elif not shutil.which("unshare") or subprocess.run([*mount, "true"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("root may write anywhere, and cannot mount a folder read-only here")
    assert_refused(sweep(SMALL, tmp_path, wrap=mount), "argument --logs_dir: cannot write to logs", "choose another")
    assert not tree(tmp_path)


def test_a_cell_that_runs_out_of_memory_fails_alone(tmp_path):
    """8 GB of address space hold the libraries, but not the 16 GB that choose a support among 2 * 10^9 weights."""
    result = sweep(f"{SMALL} --mlist 2 20000000 --slist 5 --seedlist 0", tmp_path, limit=("RLIMIT_AS", 8 * 2**30))
    assert result.code == 1 and result.err == "runner.py: 1 cell(s) failed; their lines say why\n"
    assert "failed: MemoryError: Unable to allocate" in result.out
    assert np.isfinite(scores(tmp_path)).ravel().tolist() == [True, False] and done(tmp_path) == 1
