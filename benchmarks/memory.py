"""Peak memory of a fit against the width m, both methods: the paper's claim that AIHT's grows with s and not with m.

    python -m benchmarks.memory

Each point is the median of three processes of its own: the largest resident set during the fit, less what was there
before (the data, the libraries). AIHT runs 4 full-batch steps, which contain every kind of step; IMP one epoch.
"""

from __future__ import annotations

import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numerics.workspace import Workspace
from options import SIZE, ListOf, option
from plotting import looks, page
from shell.command import Drawing, Program
from sweep.methods import METHODS

COMPARED = ("aiht", "pruning")  # the methods
NONZEROS = (250, 500, 1000, 2000, 4000)
N, D, S = 1000, 784, 1000
REPEATS = 3
MEASURE = "import json, sys; from benchmarks.memory import measure; print(measure(**json.loads(sys.argv[1])))"


@dataclass(frozen=True)
class Options(Drawing):
    """What is measured."""

    widths: tuple[int, ...] = option((1000, 2000, 5000, 10000, 20000, 50000, 100000), ListOf(SIZE), "hidden widths m")


def peak_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    try:  # a process inherits the count of getrusage from its parent, but not this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


def measure(method: str, n: int, d: int, m: int, s: int) -> float:
    """MiB that a fit of random data needs above what the process held before; run it in a fresh process.

    Args:
        method: "aiht" or "pruning".
    """
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((n, d), dtype=np.float32))
    y = rng.standard_normal(n, dtype=np.float32)
    fit = importlib.import_module(method).fit
    with Workspace(2) as work:
        own = {"num_epochs": 4, "work": work} if method == "aiht" else {"num_epochs": 1, "prune_iters": 0}
        fit(X[:64], y[:64], 2, width=2, **own)  # load libraries and start threads
        before = peak_mib()
        fit(X, y, s, width=m, **own)
    return peak_mib() - before


def in_fresh_process(**point: str | int) -> float:
    """Median of REPEATS measurements, each in a process of its own; the arguments are those of `measure`."""
    call = [sys.executable, "-c", MEASURE, json.dumps(point)]
    runs = [subprocess.run(call, capture_output=True, text=True, check=True) for _ in range(REPEATS)]
    return statistics.median(float(run.stdout) for run in runs)


def draw(curves: dict[str, list[tuple[int, float]]]) -> page.Figure:
    """Peak memory against m, log-log; `curves` has the points (m, MiB) of each method."""
    figure = page.new_figure(4.5, 3.2)
    ax = figure.add_subplot()
    for method, points in curves.items():
        ax.loglog(*zip(*points, strict=True), label=METHODS[method].title, **looks.look(method))
    ax.set(title=f"n = {N}, d = {D}, s = {S}", xlabel="hidden width m", ylabel="peak memory above the data (MiB)")
    ax.grid(True, which="both", alpha=0.25, linewidth=0.5)
    ax.legend()
    return figure


def run(options: Options) -> None:
    """Measure both methods at the widths, and AIHT at several s; print and draw what was found. Raises UsageError."""
    figures, curves = options.figures(), {}
    for method in COMPARED:
        curves[method] = [(m, in_fresh_process(method=method, n=N, d=D, m=m, s=S)) for m in options.widths]
        print(f"{method:8} s {S}: " + "  ".join(f"m {m}: {mib:.0f} MiB" for m, mib in curves[method]), flush=True)
    by_s = [(s, in_fresh_process(method="aiht", n=N, d=D, m=10000, s=s)) for s in NONZEROS]
    print("aiht     m 10000: " + "  ".join(f"s {s}: {mib:.0f} MiB" for s, mib in by_s))
    with page.style():
        print(*page.save(draw(curves), figures / "memory"), sep="\n")


main = Program("python -m benchmarks.memory", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
