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
from processes import (
    assert_refused,
    kill,
    posix,
    press_ctrl_c,
    read_lines,
    scores,
    start,
    statuses,
    sweep,
    tree,
    wait_for,
    workers,
)

import runner

pytestmark = posix

GRID = ("--task gaussian_sparse --nmeasurements 50 --num_epochs 2 --device cpu --threads 1 --save_results "
        f"--mlist 20 30 --slist 5 10 --seedlist {' '.join(map(str, range(30)))}")  # 120 cells, some ms each
NETWORK = "--task mlp_planted --num_epochs 3 --nmeasurements 500 --device cpu --threads 1 --save_results --slist 5"


def done(folder):
    """How many cells the only log says are done."""
    [path] = Path(folder).rglob("*.json")
    return [*statuses(json.loads(path.read_text())).values()].count("done")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of an uninterrupted sweep."""
    folder = tmp_path_factory.mktemp("whole")
    assert runner.main([*GRID.split(), "--logs_dir", str(folder)]) == 0
    return scores(folder)


@pytest.fixture
def assert_goes_on(tmp_path, whole, cli):
    """Checks that the same command finds some cells, and ends with the table of an uninterrupted sweep."""

    def check(found):
        result = cli(GRID)
        assert result.code == 0 and result.err == "" and f"{found} of 120 cells found" in result.out
        assert scores(tmp_path).tobytes() == whole.tobytes()
        assert len(tree(tmp_path)) == 2  # no part of a file is left

    return check


# ---- stopped ----


@pytest.mark.parametrize("flags, lines", [("", (1, 4, 30)), ("--workers 2", (1, 20))])
def test_killed_again_and_again_is_the_same_as_uninterrupted(tmp_path, assert_goes_on, flags, lines):
    """The parent is killed after so many lines, the first of which names the device, and a moment."""
    rng, before = random.Random(len(flags)), 0
    for count in lines:
        process = start(f"{GRID} {flags}", tmp_path)
        read_lines(process, count)
        time.sleep(rng.uniform(0, 0.005))  # anywhere within a cell
        kill(process)
        if list(tmp_path.rglob("*.json")):
            assert before <= done(tmp_path) < 120
            before = done(tmp_path)
    assert before >= lines[-1] - 2
    assert_goes_on(before)


@pytest.mark.parametrize("flags, send", [("", os.kill), ("--workers 2", os.killpg)], ids=["alone", "workers"])
def test_ctrl_c_keeps_what_was_computed(tmp_path, assert_goes_on, flags, send):
    """Sent to the process, or as a terminal does, to its group, in which a worker has taken the place of another."""
    process = start(f"{GRID} {flags}", tmp_path)
    read_lines(process, 6)
    if flags:
        before = workers(process)
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: set(workers(process)) - {*before})
    result = press_ctrl_c(process, send)
    assert result.code == 130 and "the same command goes on" in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert 4 <= done(tmp_path) < 120 and np.isfinite(scores(tmp_path)).sum() >= done(tmp_path)
    assert_goes_on(done(tmp_path))


@pytest.mark.parametrize("until", [lambda process: read_lines(process, 1), lambda process: wait_for(
    lambda: workers(process))], ids=["before the first", "after the first"])
def test_ctrl_c_while_workers_start(tmp_path, until):
    process = start(f"{GRID} --workers 2", tmp_path, PYTHONUNBUFFERED="1")
    until(process)
    result = press_ctrl_c(process, os.killpg)
    assert result.code == 130 and len(result.err.strip().splitlines()) == 1, result


# ---- two at once ----


def test_a_second_run_is_refused_while_the_first_lives(tmp_path, cli, assert_goes_on):
    first = start(GRID, tmp_path)
    read_lines(first, 4)
    first.send_signal(signal.SIGSTOP)
    before = tree(tmp_path)
    assert_refused(cli(f"{GRID} --overwrite"), ".npy is being written by another run", "--expname")
    assert cli(f"{GRID} --dry_run").code == 0
    assert tree(tmp_path) == before
    kill(first)
    assert_goes_on(done(tmp_path))


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
    assert_refused(sweep(GRID, tmp_path, wrap=mount), "argument --logs_dir: cannot write to logs", "choose another")
    assert not tree(tmp_path)


def test_a_cell_that_runs_out_of_memory_fails_alone(tmp_path):
    """8 GB of address space hold the libraries, but not the 16 GB that choose a support among 2 * 10^9 weights."""
    result = sweep(f"{NETWORK} --mlist 2 20000000", tmp_path, limit=("RLIMIT_AS", 8 * 2**30))
    assert result.code == 1 and result.err == "runner.py: 1 cell(s) failed; their lines say why\n"
    assert "failed: MemoryError: Unable to allocate" in result.out
    assert np.isfinite(scores(tmp_path)).ravel().tolist() == [True, False] and done(tmp_path) == 1
