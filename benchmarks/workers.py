"""Time of a sweep on two workers against one process: 40 cells that one core computes in about a second each.

    python -m benchmarks.workers [--quick]

Every worker and the one process have one thread, that of BLAS included. Both tables must be the same, bit for bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

import options
from options import SWITCH, option, whole
from shell.command import Program

PROG = "python -m benchmarks.workers"
FULL = "--mlist 20 30 40 50 --slist 50 100 --seedlist 0 1 2 3 4 --nmeasurements 100000"
QUICK = "--mlist 2 3 --slist 5 --nmeasurements 500"


@dataclass(frozen=True)
class Options(options.Options):
    """What is timed."""

    workers: int = option(2, whole(1, 1024), "how many")
    quick: bool = option(False, SWITCH, "two small cells, to see that it runs")


class Sweep(NamedTuple):
    """A sweep that has ended: what it took in seconds, start and end included, and its scores."""

    wall: float
    processor: float  # of all its processes, which have ended
    table: np.ndarray  # [m, s, seed]


def sweep(cells: str, *flags: str) -> Sweep:
    """Run runner.py on these cells of planted networks."""
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "runner.py", "--task", "mlp_planted", *cells.split(), "--device", "cpu",
                "--threads", "1", "--save_results", "--logs_dir", folder, *flags]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)
        [table] = Path(folder).rglob("*.npy")
        _, _, user, system, wall = np.subtract(os.times(), before)
        return Sweep(wall, user + system, np.load(table))


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


main = Program(PROG, __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
