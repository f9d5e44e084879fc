"""Sweeps that are stopped, starved, fed foreign files or given wrong flags: nothing is lost, nothing is trusted."""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import assert_gone, assert_refused, cell_lines, finish, posix, scores, start, sweep, workers

import runner
from models import SparseNet
from tasks import INPUT_DISTS, TASKS

pytestmark = posix

BASE = "--task mlp_planted --num_epochs 3 --nmeasurements 500 --device cpu --threads 1 --save_results"
SEEDS = " ".join(map(str, range(40)))
GRID = f"{BASE} --mlist 2 3 --slist 5 10 --seedlist {SEEDS}"  # 160 cells, about a second
SMALL = f"{BASE} --mlist 2 --slist 5 10 --seedlist 0 1"


def found(folder):
    """The cells that the only log says are done."""
    [path] = Path(folder).rglob("*.json")
    return {(cell["m"], cell["s"], cell["seed"]): cell["status"] for cell in json.loads(path.read_text())["cells"]}


def tree(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of an uninterrupted sweep."""
    folder = tmp_path_factory.mktemp("whole")
    assert sweep(GRID, folder).code == 0
    return scores(folder)


# ---- going on ----


def test_going_on_is_the_default_and_overwriting_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_here(SMALL).code == 0
    before, table = tree(tmp_path), scores(tmp_path)
    result = run_here(SMALL)
    assert result.code == 0 and "4 of 4 cells found in logs/mlp_planted/aiht\n" in result.out
    assert not cell_lines(result.out) and tree(tmp_path) == before
    result = run_here(f"{SMALL} --overwrite")
    assert result.code == 0 and "found" not in result.out and len(cell_lines(result.out)) == 4
    assert scores(tmp_path).tobytes() == table.tobytes()


def test_lists_that_grew_take_over_the_cells_of_every_log_that_agrees(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grown = f"{BASE} --mlist 3 2 --slist 10 5 7 --seedlist 1 0 2"
    for line in (SMALL, f"{BASE} --mlist 3 --slist 7 --seedlist 2"):
        assert run_here(line).code == 0
    for other in ("--num_epochs 4", "--nmeasurements 400", "--convex", "--batch_size 100", "--expname x"):
        assert run_here(f"{grown} {other}").code == 0  # other settings: nothing is taken from them
    assert "cells: 13 of 18 to run" in run_here(f"{grown} --dry_run").out
    result = run_here(grown)
    assert "5 of 18 cells found" in result.out and len(cell_lines(result.out)) == 13
    assert run_here(f"{grown} --logs_dir fresh").code == 0
    [fresh] = (tmp_path / "fresh").rglob("*.npy")
    [ours] = (tmp_path / "logs").rglob(fresh.name)
    np.testing.assert_array_equal(np.load(ours), np.load(fresh))


def test_settings_are_compared_in_the_sidecar_and_not_in_the_name(tmp_path, monkeypatch):
    """A log of other settings under the name that this command would give it, or a name that it would take over."""
    monkeypatch.chdir(tmp_path)
    assert run_here(f"{SMALL} --num_epochs 4").code == 0
    for path in list(tmp_path.rglob("*4epochs*")):
        path.rename(path.with_name(path.name.replace("4epochs", "3epochs")))
    before = tree(tmp_path)
    result = run_here(SMALL)
    assert_refused(result, "3epochs", "it has other settings", "--expname", "--overwrite")
    assert tree(tmp_path) == before
    result = run_here(f"{SMALL} --seedlist 0 1 2")
    assert result.code == 0 and "found" not in result.out and len(cell_lines(result.out)) == 6


# ---- stopped ----


@pytest.mark.parametrize("flags, kills, latest", [("", 8, 0.8), ("--workers 2", 3, 2.0)])
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
        process.kill()
        process.communicate()
        assert_gone(process)
        if process.returncode == 0:  # it was faster
            assert scores(tmp_path).tobytes() == whole.tobytes()
            shutil.rmtree(tmp_path / "logs")
            before = 0
            continue
        killed += 1
        if list(tmp_path.rglob("*.json")):
            now = sum(status == "done" for status in found(tmp_path).values())
            assert now >= before
            before = now
    result = sweep(GRID, tmp_path)
    assert result.code == 0 and result.err == "" and f"{before} of 160 cells found" in result.out
    assert scores(tmp_path).tobytes() == whole.tobytes()
    assert len(list(tmp_path.rglob("*.*"))) == 2  # no part of a file is left


@pytest.mark.parametrize("flags", ["", "--workers 2"])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the process", "to its group, as a terminal does"])
def test_ctrl_c_keeps_what_was_computed(tmp_path, whole, flags, send):
    process = start(f"{GRID} {flags}", tmp_path)
    for _ in range(6):
        process.stdout.readline()
    if flags and send == os.killpg:  # a worker that took the place of another does not hear it either
        old = workers(process)
        os.kill(old[0], signal.SIGKILL)
        while len(set(workers(process)) - set(old)) == 0:
            time.sleep(0.02)
    send(process.pid, signal.SIGINT)
    result = finish(process)
    assert result.code == 130 and "the same command goes on" in result.err
    assert len(result.err.strip().splitlines()) == 1
    done = sum(status == "done" for status in found(tmp_path).values())
    assert 4 <= done < 160 and np.isfinite(scores(tmp_path)).sum() >= done
    again = sweep(GRID, tmp_path)
    assert again.code == 0 and f"{done} of 160 cells found" in again.out
    assert scores(tmp_path).tobytes() == whole.tobytes()


@pytest.mark.parametrize("delay", [0.1, 0.7])
def test_ctrl_c_while_workers_start(tmp_path, delay):
    process = start(f"{GRID} --workers 2", tmp_path, PYTHONUNBUFFERED="1")
    process.stdout.readline()  # the device
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    result = finish(process)
    assert result.code == 130 and len(result.err.strip().splitlines()) == 1, result


# ---- two at once ----


@pytest.mark.parametrize("flags", ["", "--workers 2"])
def test_a_second_run_is_refused_while_the_first_lives(tmp_path, whole, flags):
    first = start(f"{GRID} {flags}", tmp_path)
    for _ in range(4):
        first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    before = tree(tmp_path)
    for line in (f"{GRID} {flags}", f"{GRID} --overwrite"):
        assert_refused(sweep(line, tmp_path), ".npy is being written by another run", "--expname")
    assert sweep(f"{GRID} --dry_run", tmp_path).code == 0
    assert tree(tmp_path) == before
    first.kill()
    first.communicate()
    assert_gone(first)
    result = sweep(GRID, tmp_path)
    assert result.code == 0 and "of 160 cells found" in result.out
    assert scores(tmp_path).tobytes() == whole.tobytes()


def test_a_folder_in_place_of_the_lock_is_refused(tmp_path):
    result = sweep(f"{SMALL} --dry_run", tmp_path)
    lock = tmp_path / result.out.split("log: ")[1].strip().replace(".npy", ".lock")
    lock.mkdir(parents=True)
    assert_refused(sweep(SMALL, tmp_path), "cannot lock", lock.name, "--logs_dir")


# ---- starved ----


def test_a_disk_that_fills_up_keeps_what_was_saved(tmp_path, whole):
    """Files may have 20 kB: the sidecar of some cells, but not that of all."""
    result = sweep(GRID, tmp_path, limit=("RLIMIT_FSIZE", 20000))
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert "cannot write logs/" in result.err and "free space or choose another --logs_dir" in result.err
    done = sum(status == "done" for status in found(tmp_path).values())
    assert 4 <= done < 160 and len(tree(tmp_path)) == 2
    result = sweep(GRID, tmp_path)
    assert result.code == 0 and f"{done} of 160 cells found" in result.out
    assert scores(tmp_path).tobytes() == whole.tobytes()


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


@pytest.mark.parametrize("flags", ["", "--workers 1"])
def test_a_cell_that_runs_out_of_memory_fails_alone(tmp_path, flags):
    """8 GB of address space hold the libraries, but not the 16 GB that choose a support among 2 * 10^9 weights."""
    line = f"{SMALL} --mlist 2 20000000 --slist 5 --seedlist 0 {flags}"
    result = sweep(line, tmp_path, limit=("RLIMIT_AS", 8 * 2**30))
    assert result.code == 1 and result.err == "runner.py: 1 cell(s) failed; their lines say why\n"
    statuses = found(tmp_path)
    assert statuses[2, 5, 0] == "done"
    assert "failed: MemoryError: Unable to allocate" in statuses[20000000, 5, 0] and len(cell_lines(result.out)) == 2
    assert np.isfinite(scores(tmp_path)).ravel().tolist() == [True, False]


# ---- nothing is trusted ----


class Trap:
    """Unpickled, it leaves a trace."""

    def __reduce__(self):
        return os.mkdir, ("trace",)


TRAP = pickle.dumps(Trap())


def object_array():
    file = io.BytesIO()
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    return file.getvalue()


FOREIGN = {"a pickle": TRAP, "an array of objects": object_array(), "cut off": None, "text": b"my notes", "empty": b""}


@pytest.mark.parametrize("extension", [".npy", ".json"])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_where_the_log_should_be_is_refused_and_kept(tmp_path, monkeypatch, extension, content):
    monkeypatch.chdir(tmp_path)
    run_here(SMALL)
    [path] = tmp_path.rglob(f"*{extension}")
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    before = tree(tmp_path)
    for line in (SMALL, f"{SMALL} --workers 2", f"{SMALL} --dry_run"):
        assert_refused(run_here(line), str(path.relative_to(tmp_path)), "move the log away")
    assert tree(tmp_path) == before and not (tmp_path / "trace").exists()
    result = run_here(f"{SMALL} --seedlist 0 1 2")  # which would take over its cells
    assert result.code == 0 and "found" not in result.out and not (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [TRAP, object_array()], ids=["a pickle", "an array of objects"])
def test_a_foreign_file_where_a_model_should_be_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    Path("model.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz is no saved network"):
        SparseNet.load("model.npz")
    np.savez("model.npz", step_sizes=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match=r"model\.npz is no saved network"):
        SparseNet.load("model.npz")
    assert not Path("trace").exists()
    with pytest.raises(FileExistsError):
        pickle.loads(TRAP), pickle.loads(TRAP)  # it would have been


# ---- fuzzing ----


def run_here(line):
    """A command line in this process; what it prints must be fit for a UTF-8 terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = runner.main(line.split() if isinstance(line, str) else line)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return SimpleNamespace(code=code, out=texts[0], err=texts[1])


@pytest.fixture(autouse=True)
def no_git(monkeypatch):
    monkeypatch.setattr(runner, "commit", lambda: None)  # two calls of git for every run


GOOD = {
    "task": st.sampled_from(sorted(TASKS)), "method": st.sampled_from([*runner.METHODS]), "gpu": st.just(0),
    "device": st.sampled_from(["cpu", "auto", "cuda"]), "prune_iters": st.sampled_from([0, 0.1, 0.5, 1, 3]),
    "least_squares": st.sampled_from(["auto", "cholesky", "cg"]), "input_dist": st.sampled_from(INPUT_DISTS),
    "prune_score": st.sampled_from(["magnitude", "lamp"]),
    "expname": st.text("ab._-", max_size=5), "scheduler": st.just("tcp://127.0.0.1:9"),
    "data_dir": st.sampled_from(["data", "/", "d d"]), "logs_dir": st.sampled_from(["logs", "l l", "é", "."]),
    **dict.fromkeys(("mlist", "slist", "seedlist"), st.lists(st.integers(1, 99), min_size=1, max_size=3)),
    **dict.fromkeys(("num_epochs", "num_layers", "batch_size", "input_dim", "output_dim", "nmeasurements", "threads",
                     "workers", "memory_budget", "update_every", "finetune_epochs"), st.integers(0, 100)),
}
BARE = ["convex", "bias", "save_results", "save_models", "overwrite"]
BAD = st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str),
                st.text("-0123456789.e", max_size=40),
                st.sampled_from(["", "-", "--", "\udcff", "a\nb", "\0", "../..", "/proc/none", "x" * 300, "9" * 5000]))


@st.composite
def command_lines(draw):
    """Words of a command line: most flags good, some with a bad value, with none, or with too many."""
    words = []
    for flag in draw(st.lists(st.sampled_from([*GOOD, *BARE]), unique=True)):
        values = draw(GOOD[flag]) if flag in GOOD else []
        values = [str(value) for value in (values if isinstance(values, list) else [values])]
        if draw(st.integers(0, 9)) == 0:
            values = draw(st.lists(BAD, max_size=2))
        words += [f"--{flag}", *values]
    return words


@settings(max_examples=300)
@given(command_lines(), st.booleans())
def test_no_flags_lead_to_a_traceback(words, needed):
    words = [word for word in words if word not in ("-h", "--help")]
    if needed:  # the required ones come first, so that the others are looked at
        words = ["--task", "mlp_planted", "--mlist", "2", "--slist", "5", *words]
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        result = run_here([*words, "--dry_run"])
        assert result.code in (0, 2) and not os.listdir()
    if result.code == 2:
        assert_refused(result)
    else:
        assert result.err == "" and "cells: " in result.out


@contextlib.contextmanager
def _inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A folder with a finished log: (folder, table, sidecar)."""
    folder = tmp_path_factory.mktemp("log")
    with _inside(folder):
        assert run_here(SMALL).code == 0
    [table], [sidecar] = folder.rglob("*.npy"), folder.rglob("*.json")
    return folder, table, sidecar, sidecar.read_bytes()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10), st.just(10**400), st.floats(), st.text(max_size=4),
    st.sampled_from(["done", "failed: x", "not run", "skipped", "\ud800", "../../x"]), st.just([]), st.just({}),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth)))


def places(value, path=()):
    """The paths of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path + (key,) for key, _ in inside] + [p for key, v in inside for p in places(v, path + (key,))]


@st.composite
def sidecars(draw, valid):
    """Bytes of a sidecar with a few things in it replaced, removed, added or flipped."""
    sidecar = json.loads(valid)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(places(sidecar) or [("format",)]))
        inner = sidecar
        for step in path:
            inner = inner[step]
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del inner[key]
        elif action == "replace":
            inner[key] = draw(VALUES)
        elif isinstance(inner, dict):
            inner[draw(st.text(max_size=4))] = draw(VALUES)
        else:
            inner.append(draw(VALUES))
        if not sidecar:
            break
    content = bytearray(json.dumps(sidecar).encode())
    if draw(st.integers(0, 3)) == 0:
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@settings(max_examples=120)
@given(st.data())
def test_no_sidecar_leads_to_a_traceback(log, data):
    """What a damaged sidecar says is refused, or is run again and saved; a longer list takes over what agrees."""
    folder, table, sidecar, valid = log
    content, scores_before = data.draw(sidecars(valid)), table.read_bytes()
    sidecar.write_bytes(content)
    with _inside(folder):
        try:
            result = run_here(f"{SMALL} --seedlist 0 1 2 --dry_run")
            assert result.code == 0 and result.err == ""
            result = run_here(SMALL)
            assert result.code in (0, 2)
            if result.code == 2:
                assert_refused(result, sidecar.name, "--overwrite")
                assert sidecar.read_bytes() == content and table.read_bytes() == scores_before
            else:
                assert table.read_bytes() == scores_before
                assert "4 of 4 cells found" in run_here(SMALL).out
        finally:
            table.write_bytes(scores_before)
            sidecar.write_bytes(valid)
