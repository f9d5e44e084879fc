"""Recovery of planted networks for four distributions of the inputs: normal, uniform, rademacher, and MNIST pixels.

    make inputs       or        python benchmarks/inputs.py [--methods aiht] [flags of runner.py]

The sweeps are runner.py's, kept in its logs and continued from there. Colours: mean PSNR over the seeds; numbers: seeds
recovered exactly, with at least 100 dB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402  (after the path is set)
from make_figures import write_figure  # noqa: E402
from tasks import INPUT_DISTS  # noqa: E402

EXACT = 100  # dB: in the 300 cells at n = 10000 that, and no less, meant a weight error (recovery.py) below 1e-4
GRID = "--task mlp_planted --mlist 1 2 5 10 20 --slist 5 10 20 50 100 --seedlist 0 1 2 --save_results"


def sweep(method: str, dist: str, more: list[str]) -> np.ndarray:
    """The table [m, s, seed] of one sweep, run or found; SystemExit with the runner's code where cells fail."""
    flags = [*GRID.split(), "--method", method, "--input_dist", dist, *more]
    code = runner.main(flags)
    if code:
        raise SystemExit(code)
    path = runner.log_path(runner.parse_arguments(flags))
    return np.load(path.with_name(path.name + ".npy"))


def draw(tables: dict[tuple[str, str], np.ndarray], args: argparse.Namespace, path: Path):
    """A row of heatmaps per method, a column per distribution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(INPUT_DISTS) + 0.8, 2.3 * len(args.methods) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(args.methods), len(INPUT_DISTS), squeeze=False, sharex=True, sharey=True)
    for (method, dist), table in tables.items():
        ax = axes[args.methods.index(method), INPUT_DISTS.index(dist)]
        seeds, ran = table.shape[2], np.sum(~np.isnan(table), axis=2)
        mean = np.where(ran, np.nansum(table, axis=2) / np.maximum(ran, 1), np.nan)
        mesh = ax.pcolormesh(mean, vmin=0, vmax=160, edgecolors="white", linewidth=0.5)
        for (row, column), count in np.ndenumerate(np.sum(table >= EXACT, axis=2)):
            if ran[row, column]:
                colour = "black" if mean[row, column] > 80 else "white"
                text = f"{count}" if ran[row, column] == seeds else f"{count}/{ran[row, column]}"
                ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=colour)
        ax.set_title(f"{method}, {dist}", fontsize=10)
        ax.set_xticks(np.arange(len(args.slist)) + 0.5, args.slist)
        ax.set_yticks(np.arange(len(args.mlist)) + 0.5, args.mlist)
    axes[0, 0].invert_yaxis()
    for ax in axes[-1]:
        ax.set_xlabel("nonzeros s")
    for ax in axes[:, 0]:
        ax.set_ylabel("hidden width m")
    figure.suptitle(f"numbers: seeds of {seeds} with at least {EXACT} dB", fontsize=9)
    figure.colorbar(mesh, ax=axes, label="mean PSNR (dB)")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(figure, path, bbox_inches=None)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--methods", nargs="+", default=["aiht"], choices=runner.METHODS)
    parser.add_argument("--figures_dir", type=Path, default=Path("figures"))
    args, more = parser.parse_known_args(argv)
    tables = {(method, dist): sweep(method, dist, more) for method in args.methods for dist in INPUT_DISTS}
    args = argparse.Namespace(**vars(runner.parse_arguments([*GRID.split(), *more])) | vars(args))
    draw(tables, args, args.figures_dir / "inputs")
    for (method, dist), table in tables.items():
        print(f"{method:8} {dist:11} exact: {np.sum(table >= EXACT)} of {np.sum(~np.isnan(table))}")
    print(args.figures_dir / "inputs.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
