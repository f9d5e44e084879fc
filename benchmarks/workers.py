"""Time of a sweep on two workers against one process: 40 cells that one core computes in about a second each.

    python -m benchmarks.workers [--quick]

Every worker and the one process have one thread, that of BLAS included. Both tables must be the same, bit for bit.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import options
from options import SWITCH, option, whole
from shell.command import run_command

PROG = "python -m benchmarks.workers"
FULL = "--mlist 20 30 40 50 --slist 50 100 --seedlist 0 1 2 3 4 --nmeasurements 100000"
QUICK = "--mlist 2 3 --slist 5 --nmeasurements 500"


@dataclass(frozen=True)
class Options(options.Options):
    """What is timed."""

    workers: int = option(2, whole(1, 1024), "how many")
    quick: bool = option(False, SWITCH, "two small cells, to see that it runs")


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended.

    Args:
        wall, processor: seconds that it took, and processor seconds of all its processes, start and end included.
        table: the scores [m, s, seed].
    """

    wall: float
    processor: float
    table: np.ndarray


def sweep(cells: str, *flags: str) -> Sweep:
    """Run runner.py on these cells of planted networks."""
    started, used = time.perf_counter(), processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "runner.py", "--task", "mlp_planted", *cells.split(), "--device", "cpu",
                "--threads", "1", "--save_results", "--logs_dir", folder, *flags]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)
        [table] = Path(folder).rglob("*.npy")
        return Sweep(time.perf_counter() - started, processor_seconds() - used, np.load(table))


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(options: Options) -> int:
    """Time both sweeps; returns the exit code, 1 where their tables differ."""
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    cells = QUICK if options.quick else FULL
    alone, shared = sweep(cells), sweep(cells, "--workers", str(options.workers))
    if alone.table.tobytes() != shared.table.tobytes():
        print(f"{PROG}: the tables differ", file=sys.stderr)
        return 1
    print(f"{alone.table.size} cells: one process {alone.wall:.1f} s ({alone.processor:.1f} s of processor time), "
          f"{options.workers} workers {shared.wall:.1f} s ({shared.processor:.1f} s), "
          f"ratio {alone.wall / shared.wall:.2f}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROG, __doc__, Options, run, argv)


if __name__ == "__main__":
    sys.exit(main())
