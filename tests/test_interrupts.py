"""Ctrl-C at the moments at which Python drops it."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sweep.interrupts import deferred_interrupts, remembered_interrupts

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


class Dropped:
    """Its finaliser hears Ctrl-C and waits until it was raised there, where Python cannot pass it on."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)


def swallowed():
    """Ctrl-C, caught without a trace, as some imports do."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)
    except KeyboardInterrupt:
        pass


@pytest.fixture(autouse=True)
def as_before():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook, signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook, signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before


def test_one_that_is_swallowed_is_remembered():
    with remembered_interrupts() as check:
        check()
        swallowed()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_one_that_python_drops_is_repeated_and_not_reported(capsys):
    with pytest.raises(KeyboardInterrupt), remembered_interrupts():
        Dropped()
        time.sleep(9)
        raise AssertionError("it was lost")
    assert capsys.readouterr().err == ""


def test_other_errors_in_finalisers_are_still_reported(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("of a finaliser")

    reports = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reports.append(str(unraisable.exc_value)))
    with remembered_interrupts() as check:
        Broken()
        check()
    assert reports == ["of a finaliser"]


def test_a_deferred_one_waits_for_the_end_of_the_block():
    steps = []
    with pytest.raises(KeyboardInterrupt), remembered_interrupts(), deferred_interrupts():
        for step in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            steps.append(step)
    assert steps == [0, 1, 2]


def test_threads_that_begin_in_a_deferred_block_never_hear_it():
    with deferred_interrupts():
        masks = []
        thread = threading.Thread(target=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        thread.start()
        thread.join()
    assert signal.SIGINT in masks[0]


@pytest.mark.parametrize("block", [remembered_interrupts, deferred_interrupts])
def test_one_that_the_process_ignores_stays_ignored(block):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    try:
        with block() as check:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            if check:
                check()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("block", [remembered_interrupts, deferred_interrupts])
def test_other_threads_may_use_the_blocks(block):
    errors = []

    def use():
        try:
            with block():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert errors == []


# ---- in a sweep ----

LINE = "--task mlp_planted --mlist 2 --slist 5 --seedlist 0 1 2 --nmeasurements 100 --num_epochs 2 --device cpu"
IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(10**6))
            except KeyboardInterrupt:
                {instead}

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("name, flags, instead", [
    ("distributed", "--workers 1", "pass"),
    ("tqdm", "", "pass"),
    ("cupy", "--device auto --dry_run", "pass"),
    ("torch", "--method pruning", "pass"),
    ("torch", "--method pruning", "raise ImportError('no torch') from None"),
])
def test_one_that_an_import_swallows_stops_the_sweep_and_no_cell_is_recorded(tmp_path, name, flags, instead):
    code = f"{IMPORT.format(name=name, instead=instead)}\nimport runner\nsys.exit(runner.main(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", code, *shlex.split(f"{LINE} {flags} --save_results")], cwd=tmp_path,
                            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert result.returncode == 130 and len(result.stderr.strip().splitlines()) == 1, result
    assert "the same command goes on" in result.stderr
    assert "seed" not in result.stdout and not list(tmp_path.rglob("*.npy"))
