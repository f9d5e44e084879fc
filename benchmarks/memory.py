"""Peak memory of a fit against the width m, both methods: the paper's claim that AIHT's grows with s and not with m.

    make memory       or        python benchmarks/memory.py

Each point is the median of three processes of its own: the largest resident set during the fit, less what was there
before (the data, the libraries). AIHT runs 4 full-batch steps, which contain every kind of step; IMP one epoch.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WIDTHS = (1000, 2000, 5000, 10000, 20000, 50000, 100000)
NONZEROS = (250, 500, 1000, 2000, 4000)
N, D, S = 1000, 784, 1000


def peak_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    try:  # the count of getrusage is handed down by the parent, this one is not
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


def measure(method: str, n: int, d: int, m: int, s: int, budget: int) -> float:
    """MiB that a fit of random data needs above what the process held before; run it in a fresh process."""
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((n, d), dtype=np.float32))
    y = rng.standard_normal(n, dtype=np.float32)
    if method == "aiht":
        import aiht
        from numerics.workspace import Workspace

        with Workspace(2, budget) as work:
            aiht.fit(X[:64], y[:64], 2, width=2, num_epochs=3, work=work)  # libraries and threads come up
            before = peak_mib()
            aiht.fit(X, y, s, width=m, num_epochs=4, work=work)
    else:
        import pruning

        run = {"num_layers": 1, "num_epochs": 1, "batch_size": 0, "prune_iters": 0, "loss": "squared", "device": "cpu"}
        pruning.prune(X[:64], y[:64], X[:64], lambda outputs: 0.0, [2], 0, width=2, **run)
        before = peak_mib()
        pruning.prune(X, y, X, lambda outputs: 0.0, [s], 0, width=m, **run)
    return peak_mib() - before


def in_fresh_process(**point) -> float:
    """Median of three measurements of a point, each in a process of its own."""
    call = [sys.executable, __file__, "--point", json.dumps(point)]
    runs = [subprocess.run(call, capture_output=True, text=True, check=True) for _ in range(3)]
    return statistics.median(float(run.stdout) for run in runs)


def draw(curves: dict, path: Path):
    """Peak memory against m for both methods, log-log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    labels = {"aiht": ("AIHT", "o-"), "pruning": ("IMP", "s--")}
    for method, points in curves.items():
        name, style = labels[method]
        ax.loglog([m for m, _ in points], [mib for _, mib in points], style, label=name)
    ax.set_xlabel("hidden width m")
    ax.set_ylabel("peak memory above the data (MiB)")
    ax.set_title(f"n = {N}, d = {D}, s = {S}", fontsize=10)
    ax.grid(True, which="both", alpha=0.25, linewidth=0.5)
    ax.legend(frameon=False)
    figure.savefig(path.with_suffix(".png"), dpi=200)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figures_dir", type=Path, default=ROOT / "figures")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--point", help=argparse.SUPPRESS)  # measure one point in this process
    args = parser.parse_args(argv)
    if args.point:
        print(measure(**json.loads(args.point)))
        return 0
    curves = {}
    for method in ("aiht", "pruning"):
        curves[method] = [(m, in_fresh_process(method=method, n=N, d=D, m=m, s=S, budget=512)) for m in args.widths]
        print(f"{method:8} s {S}: " + "  ".join(f"m {m}: {mib:.0f} MiB" for m, mib in curves[method]), flush=True)
    by_s = [(s, in_fresh_process(method="aiht", n=N, d=D, m=10000, s=s, budget=512)) for s in NONZEROS]
    print("aiht     m 10000: " + "  ".join(f"s {s}: {mib:.0f} MiB" for s, mib in by_s))
    args.figures_dir.mkdir(parents=True, exist_ok=True)
    draw(curves, args.figures_dir / "memory")
    print(args.figures_dir / "memory.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
