"""The first day on a GPU: facts, right numbers, speed and sharing, section by section, in about eight minutes.

    python -m benchmarks.gpu [--seconds 480] [--out FOLDER]

It installs nothing and is safe on a shared machine: every section (sections.py) is a child process with a limit of its
own, which is ended by its id, and CuPy takes at most half of the memory; clocks, compute mode and other processes are
left alone. A section that fails is a row, not an end. The rows come at once, and the table of docs/performance.md last.
The exit code is 1 if anything is wrong; without a GPU it ends after the facts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import options
from benchmarks import sections
from options import FOLDER, at_least, one_of, option, optional
from shell.command import Program
from shell.files import check_writable, replace_files

PROG = "python -m benchmarks.gpu"
ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"facts": 20, "primitives": 40, "commands": 120, "floors": 40, "speed": 120, "tests": 100, "sharing": 40}
SECONDS = sum(LIMITS.values())
MEMORY = {"CUPY_GPU_MEMORY_LIMIT": "50%"}  # a GPU may have other users
MOST_CHARACTERS = 12_000  # of the table
HEAD = "| section | what | found | right |\n|---|---|---|---|"
VERDICTS = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True)
class Options(options.Options):
    """How long, and where the rows go."""

    seconds: int = option(SECONDS, at_least(1), "time limit; each section has its share of it")
    out: str | None = option(None, optional(FOLDER), "keep the rows and the table in this folder")
    section: str | None = option(None, optional(one_of(LIMITS)), "run this one alone, here, and print rows as JSON")


class Row(NamedTuple):
    """What a section found: what it is, in words, and whether it is right; None where that is no question."""

    section: str
    what: str
    found: str
    right: bool | None = None

    def line(self) -> str:
        """Its line of the table."""
        cells = (text.replace("|", "/")[:120] for text in (self.what, self.found))
        return f"| {self.section} | {' | '.join(cells)} | {VERDICTS[self.right]} |"


def run_section(name: str) -> None:
    """Run a section in this process; its rows are lines of JSON."""
    for what, found, right in sections.SECTIONS[name]():
        print(json.dumps([what, found, right]), flush=True)


def rows_of(name: str, limit: float) -> Iterator[Row]:
    """The rows of a section, as a child process finds them; one more if it fails or is not ready within its limit."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", name]
    child = subprocess.Popen(command, cwd=ROOT, env=MEMORY | os.environ, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.PIPE, start_new_session=True)
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(child.stderr or ()))
    timer = threading.Timer(limit, end)
    timer.start()
    reader.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            with contextlib.suppress(ValueError):  # what a library prints
                yield Row(name, *json.loads(line))
        code = child.wait()
    finally:
        timer.cancel()
        if child.poll() is None:  # whoever reads these rows has stopped
            end()
        reader.join()
    if code:
        said = f"not ready after {limit:.0f} s" if late.is_set() else (errors or ["nothing"])[-1].strip()
        yield Row(name, f"ended with code {code}", said, False)


def report(chosen: Options) -> Iterator[Row]:
    """The rows of all sections; without a GPU those of the facts, and one that says why there are no more."""
    for name, share in LIMITS.items():
        found = []
        for row in rows_of(name, share * chosen.seconds / SECONDS):
            found.append(row)
            yield row
        if name == "facts" and any(row.right is False for row in found):
            yield Row("", "no further section", f"a working GPU is needed: {faults(found)}")
            return


def faults(rows: list[Row]) -> str:
    """What is wrong, in words."""
    return "; ".join(row.found for row in rows if row.right is False)


def table(rows: list[Row]) -> str:
    """The block of docs/performance.md."""
    lines: list[str] = []
    length = 0
    for row in rows:
        length += len(row.line()) + 1
        if length > MOST_CHARACTERS - 500:
            lines.append(f"| | {len(rows) - len(lines)} more rows | in the folder of --out | |")
            break
        lines.append(row.line())
    return "\n".join(["<!-- gpu: written by benchmarks/gpu.py -->", HEAD, *lines, "<!-- end -->"])


def run(chosen: Options) -> int:
    """Run all sections; returns the exit code. Raises UsageError."""
    if chosen.section:
        run_section(chosen.section)
        return 0
    folder = check_writable(Path(chosen.out), "--out") if chosen.out else None
    rows: list[Row] = []
    for row in report(chosen):
        rows.append(row)
        print(row.line(), flush=True)
        if folder:
            replace_files({folder / "gpu.jsonl": "".join(f"{json.dumps(each)}\n" for each in rows).encode()})
    print(f"\n{table(rows)}")
    if folder:
        replace_files({folder / "gpu.md": f"{table(rows)}\n".encode()})
    checks = [row.right for row in rows if row.right is not None]
    if any(checks):
        verdict = f"{checks.count(False)} of {len(checks)} checks are wrong"
    else:
        verdict = f"no working GPU was found: {faults(rows)}"
    print(f"\n{PROG}: {verdict}", file=sys.stderr)
    return 0 if all(checks) else 1


main = Program(PROG, __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
