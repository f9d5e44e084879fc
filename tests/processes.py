"""Command lines of runner.py: what they print, and real processes that can be signalled, limited, and looked for."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import runner

RUNNER = Path(runner.__file__)
MARK = "SWEEP_MARK"  # a variable that every process of a sweep inherits
PATIENCE = 20  # seconds from one Ctrl-C to the next; a sweep has 5 to end its workers

posix = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks for processes in /proc")


def start(line, folder, limit=None, wrap=(), **environment):
    """Run a command line in a folder, in a session of its own.

    Args:
        limit: (name of a resource limit, bytes), set before anything is imported.  wrap: a command to run it in.
    """
    call = [sys.executable, RUNNER, *shlex.split(line)]
    if limit:
        code = f"import os, resource, sys; resource.setrlimit(resource.{limit[0]}, ({limit[1]},) * 2)"
        call = [sys.executable, "-c", f"{code}; os.execv(sys.argv[1], sys.argv[1:])", *call]
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "", MARK: uuid.uuid4().hex, **environment}
    process = subprocess.Popen([*wrap, *call], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | environment, start_new_session=True)
    process.mark = environment[MARK]
    return process


def finish(process, timeout=60):
    """Exit code, stdout and stderr of a process that ends, with all that it started."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert_gone(process)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def sweep(line, folder, **options):
    return finish(start(line, folder, **options))


def press_ctrl_c(process, send=os.kill):
    """Ctrl-C, and again as long as the process lives, since Python may drop one; then the result."""
    for _ in range(3):
        send(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            break
    return finish(process)


def kill(process):
    """SIGKILL, and the end of everything that it started."""
    process.kill()
    process.communicate()
    assert_gone(process)


def relatives(process):
    """The living processes that this one started, itself included: {id: command line}."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={process.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended just now
            continue
    return found


def workers(process):
    return [pid for pid, call in relatives(process).items() if "spawn_main" in call]


def assert_gone(process, seconds=10):
    until = time.monotonic() + seconds
    while (left := relatives(process)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def scores(folder):
    """The only table below a folder."""
    [path] = Path(folder).rglob("*.npy")
    return np.load(path)


def tree(folder="."):
    """{path: content} of the files below a folder, but for locks, which stay empty."""
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*")
            if path.is_file() and path.suffix != ".lock"}


def statuses(sidecar):
    """{(m, s, seed): status} of what a sidecar holds."""
    return {(cell["m"], cell["s"], cell["seed"]): cell["status"] for cell in sidecar["cells"]}


def cell_lines(text):
    return [line for line in text.splitlines() if re.match(r"m \d+ +s \d+ +seed \d+ ", line)]


def assert_refused(result, *words):
    """Exit code 2 and one line on stderr that has these words."""
    assert result.code == 2 and len(result.err.splitlines()) == 1, result
    assert result.err.startswith("runner.py: error: ")
    for word in words:
        assert word in result.err
    assert not cell_lines(result.out)
