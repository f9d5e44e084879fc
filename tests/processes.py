"""Command lines of runner.py: what they print, and real processes that can be signalled, limited, and looked for.

Nothing here depends on how fast a machine is: a process that is far ahead of who reads its lines waits (see `start`),
and what is waited for is an event; the limits on the time are those of a test that hangs.
"""

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
PATIENCE = 300  # seconds
PIPE = 4096  # bytes, some 50 lines of cells; the smallest that there is

posix = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks for processes in /proc")


def start(line, folder, limit=None, wrap=(), **environment):
    """Run a command line in a folder, in a session of its own; it stops at PIPE bytes that nobody has read.

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
    import fcntl  # not on Windows, where only the other functions here are used

    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE)
    process.mark = environment[MARK]
    return process


def read_lines(process, count):
    """The next lines, and not a byte more."""
    lines = [b""]
    while len(lines) <= count and (byte := os.read(process.stdout.fileno(), 1)):
        lines[-1] += byte
        lines += [b""] * (byte == b"\n")
    return [line.decode() for line in lines[:count]]


def wait_for(condition):
    """What a condition says as soon as it says anything."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def finish(process, timeout=PATIENCE):
    """Exit code, stdout and stderr of a process that ends, with all that it started. Raises TimeoutExpired."""
    out, err = process.communicate(timeout=timeout)
    assert_gone(process)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def sweep(line, folder, **options):
    return finish(start(line, folder, **options))


def press_ctrl_c(process, send=os.kill):
    """Ctrl-C, and again where the process lives on, since Python may drop one; then the result."""
    for _ in range(3):
        send(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return finish(process, timeout=60)
    kill(process)
    raise AssertionError("it does not hear Ctrl-C")


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


def assert_gone(process):
    try:
        wait_for(lambda: not relatives(process))
    finally:
        for pid in relatives(process):
            os.kill(pid, signal.SIGKILL)


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
