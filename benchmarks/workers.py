"""Time of a sweep on two workers against one process: 40 cells that one core computes in about a second each.

    python benchmarks/workers.py

Every worker and the one process have one thread, that of BLAS included. Both tables must be the same, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CELLS = ("--task mlp_planted --mlist 20 30 40 50 --slist 50 100 --seedlist 0 1 2 3 4 --nmeasurements 100000 "
         "--device cpu --threads 1 --save_results")


def sweep(folder: str, flags: list[str]) -> tuple[float, float, np.ndarray]:
    """Seconds and processor seconds of a whole sweep, start and end included, and its table."""
    started, used = time.perf_counter(), processor_seconds()
    call = [sys.executable, ROOT / "runner.py", *CELLS.split(), "--logs_dir", folder, *flags]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)
    [table] = Path(folder).rglob("*.npy")
    return time.perf_counter() - started, processor_seconds() - used, np.load(table)


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
        alone, work, table = sweep(one, [])
        shared, more_work, same = sweep(many, ["--workers", str(args.workers)])
    if table.tobytes() != same.tobytes():
        raise SystemExit("the tables differ")
    print(f"{table.size} cells: one process {alone:.1f} s ({work:.1f} s of processor time), {args.workers} workers "
          f"{shared:.1f} s ({more_work:.1f} s), ratio {alone / shared:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
