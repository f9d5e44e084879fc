"""How often the gates are updated, and how far they move: an ablation of --update_every.

    make ablation       or        python benchmarks/gates.py

AIHT on planted networks (d = 100, s = 500, 100 full-batch steps) with the gates updated every k steps. After each step:
the PSNR, and the share of gate bits 1{x_i . h_j > 0} that the update has changed. The share is taken over the neurons
that had a gate before it; one that has lost its weights closes, so that its open bits count as changed.
Finished runs are kept in <logs_dir>/gates.json and not computed again.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiht  # noqa: E402  (after the path is set)
import runner  # noqa: E402
from make_figures import write_figure  # noqa: E402
from models import SparseLayer, SparseNet  # noqa: E402
from numerics.workspace import Workspace, sample_tiles
from sensing import RandomGates
from sweep.logbook import replace_files
from tasks import mlp_planted, score  # noqa: E402

D = 100


@functools.lru_cache(maxsize=1)
def planted(n: int, m: int, s: int, seed: int):
    flags = f"--task mlp_planted --mlist {m} --slist {s} --nmeasurements {n} --input_dim {D}"
    return mlp_planted(runner.parse_arguments(flags.split()), m, s, seed)


def trace(m: int, s: int, seed: int, n: int, steps: int, update_every: int, work: Workspace) -> dict:
    """One fit: {"psnr": after each step, dB, "changed": share of gate bits that change after it}."""
    problem = planted(n, m, s, seed)
    XT, gates = problem.X.T, RandomGates(seed, 0, m, D)
    schedule = aiht.with_updates(((step, slice(None)) for step in range(steps)), update_every)  # full batch
    psnr, changed = [], []
    for w, updated in aiht.iterates(XT, problem.Y, s, gates, schedule, work):
        psnr.append(score(problem, SparseNet((SparseLayer(w, m, D),)).predict(problem.X)))
        changed.append(changed_share(XT, gates, updated, work))
        gates = updated
    return {"psnr": np.round(psnr, 3).tolist(), "changed": np.round(changed, 9).tolist()}


def changed_share(XT, before, after, work: Workspace) -> float:
    """Share of the bits 1{x_i . h_j > 0} that differ, over the neurons of `before`; h_j = 0 where `after` has none."""
    neurons = np.asarray(before.neurons)
    if before is after or not len(neurons):
        return 0.0
    H, H_after = before.rows(neurons), after.rows(neurons)

    def differing(tile):
        return np.count_nonzero((H @ XT[:, tile] > 0) != (H_after @ XT[:, tile] > 0))

    n = XT.shape[1]
    return sum(work.map(differing, sample_tiles(len(neurons), n, np))) / (len(neurons) * n)


def draw(runs: list[dict], path: Path):
    """PSNR and share of changed bits against the step, a column for each width, mean over the seeds."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths, intervals = (sorted({run[key] for run in runs}) for key in ("m", "update_every"))
    figure = Figure(figsize=(4 * len(widths), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(widths), squeeze=False, sharex=True, sharey="row")
    for column, m in enumerate(widths):
        for number, k in enumerate(intervals):
            curves = [[run["psnr"], run["changed"]] for run in runs if (run["m"], run["update_every"]) == (m, k)]
            if curves:
                psnr, changed = np.mean(curves, axis=0)
                steps, colour = np.arange(1, len(psnr) + 1), colormaps["viridis"](number / len(intervals))
                axes[0, column].plot(steps, psnr, color=colour, label=f"{k}: {psnr[-1]:.1f} dB")
                moved = changed > 0
                axes[1, column].semilogy(steps[moved], changed[moved], ".-", color=colour, markersize=3, linewidth=0.7)
        axes[0, column].set_title(f"m = {m}", fontsize=10)
        axes[0, column].legend(frameon=False, fontsize=7, title="update_every: in the end", title_fontsize=7)
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("PSNR (dB)")
    axes[1, 0].set_ylabel("share of gate bits changed")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(figure, path, bbox_inches=None)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add, positive = parser.add_argument, runner.whole_number(1)
    add("--mlist", type=positive, nargs="+", default=[10, 100])
    add("--update_every", type=positive, nargs="+", default=[1, 2, 3, 4, 5, 10, 20, 50, 100])
    add("--seedlist", type=runner.whole_number(0), nargs="+", default=[0, 1, 2])
    add("--nonzeros", type=positive, default=500)
    add("--nmeasurements", type=positive, default=50000)
    add("--steps", type=positive, default=100)
    add("--threads", type=positive, default=2)
    add("--logs_dir", type=Path, default=ROOT / "logs" / "gates")
    add("--figures_dir", type=Path, default=ROOT / "figures")
    args = parser.parse_args(argv)
    points = [{"m": m, "s": args.nonzeros, "seed": seed, "n": args.nmeasurements, "steps": args.steps,
               "update_every": k} for seed in args.seedlist for m in args.mlist for k in args.update_every]
    log = args.logs_dir / "gates.json"
    log.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(log.read_text()) if log.exists() else []
    with Workspace(args.threads) as work:
        for point in points:
            run = next((run for run in found if point.items() <= run.items()), None)
            if run is None:
                run = point | trace(**point, work=work)
                found.append(run)
                replace_files({log: (json.dumps(found) + "\n").encode()})
            print(f"m {point['m']:<5} seed {point['seed']:<3} update_every {point['update_every']:<4} "
                  f"{run['psnr'][-1]:7.2f} dB", flush=True)
    draw([run for run in found if any(point.items() <= run.items() for point in points)], args.figures_dir / "gates")
    print(args.figures_dir / "gates.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
