"""How few samples suffice, and how much noise is borne: planted networks, every method.

    python -m studies.samples

Networks with one output and d = 100, m = 20 are fitted from n samples. Each answer is judged on FRESH inputs, where a
fit of few samples shows what it is worth, against the planted network without noise. Two figures: the share of exact
recoveries over n and s, beside the bound of counting, n = s, below which there are fewer equations than weights; and,
at n = 10000, s = 50, the error and the recall of the support against the ratio of signal to noise.

IMP takes the same number of steps at every n: batches of min(n, 1000) samples, 2000 steps a round, five rounds, and
6000 more after pruning by LAMP, its strongest form here. AIHT takes 100 full-batch steps, the others their defaults.
Finished fits are kept in <logs_dir>/samples/samples.json and are not computed again. The figures show all that are
there.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beyond.recovery import compare
from plotting import page
from plotting.lines import draw_curve
from runner import check_writable
from studies.entries import computed, read_log
from sweep import flags
from sweep.flags import Parser, UsageError, run_main
from sweep.methods import METHODS
from sweep.settings import make_settings
from tasks import TASKS, Skipped, mlp_planted, planted_inputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROG = "python -m studies.samples"
D, M = 100, 20
NOISY = {"n": 10000, "s": 50}  # the point at which noise is varied
FRESH = 10000  # inputs that the answers are judged on
LEAST = 1e-30  # of a mean squared error: an exact fit has none
IMP_BATCH, IMP_STEPS, IMP_ROUNDS, IMP_FINETUNING = 1000, 2000, 5, 6000
METHOD_NAMES = ("aiht", "pruning", "gnhtp", "creases")
BOUND = "tab:red"  # the colour of the line n = s
COLOURS = {"aiht": "tab:blue", "pruning": "tab:orange", "gnhtp": "tab:green", "creases": "tab:red"}


def fit_settings(method: str, n: int) -> dict[str, Any]:
    """The settings of a method's fit of n samples, where they are not its defaults."""
    if method == "aiht":
        return {"num_epochs": 100}
    if method == "pruning":
        batch = min(n, IMP_BATCH)
        epochs = [max(1, round(steps * batch / n)) for steps in (IMP_STEPS, IMP_FINETUNING)]
        return {"batch_size": batch % n, "num_epochs": epochs[0], "prune_iters": IMP_ROUNDS,
                "finetune_epochs": epochs[1], "prune_score": "lamp"}
    return {}


def fit(point: dict[str, Any], threads: int) -> dict[str, Any]:
    """One fit, judged on fresh inputs.

    Args:
        point: method, n, s, seed, and snr in dB or None.
    Returns:
        {"psnr" in dB, "error": 10 log10 |f - f*|^2 / |f*|^2 in dB, "precision" and "recall" of the support, "seconds",
        "failed": the reason or None}; what was not found is None.
    """
    method, n, s, seed = (point[key] for key in ("method", "n", "s", "seed"))
    found = dict.fromkeys(("psnr", "error", "precision", "recall", "seconds", "failed"))
    started = time.perf_counter()
    try:
        settings = make_settings(task="mlp_planted", method=method, mlist=[M], slist=[s], nmeasurements=n, input_dim=D,
                                 snr=point["snr"], device="cpu", threads=threads, **fit_settings(method, n))
        problem = mlp_planted(settings, M, s, seed)
        net = METHODS[method].run(problem, M, [s], seed, settings, "cpu")[s].net
    except (Skipped, UsageError, ValueError, FloatingPointError) as reason:
        return found | {"failed": str(reason)}
    X = planted_inputs("normal", FRESH, D, seed + 1_000_000)
    true = problem.planted.predict(X).astype(np.float64)
    error = 10 * np.log10(max(np.mean((net.predict(X) - true) ** 2), LEAST))
    recovery = compare(net, problem.planted)
    return found | {"psnr": float(20 * np.log10(np.abs(true).max()) - error),
                    "error": float(error - 10 * np.log10(np.mean(true**2))),
                    "precision": recovery["support_precision"], "recall": recovery["support_recall"],
                    "seconds": round(time.perf_counter() - started, 3)}


def points_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The points of both figures."""
    few = [{"n": n, "s": s, "snr": None} for n, s in itertools.product(args.nlist, args.slist)]
    noisy = [NOISY | {"snr": snr} for snr in args.snrlist]
    return [{"method": method, "seed": seed} | point
            for point, method, seed in itertools.product(few + noisy, args.methods, args.seedlist)]


# ---- the figures ----


def shares(entries: list[dict], nlist: list[int], slist: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Exact recoveries and instances [s, n] among the noiseless entries. A fit that was refused is none."""
    exact, total = np.zeros((2, len(slist), len(nlist)), dtype=int)
    for entry in entries:
        if entry["snr"] is None:
            place = slist.index(entry["s"]), nlist.index(entry["n"])
            total[place] += 1
            exact[place] += entry["psnr"] is not None and entry["psnr"] >= TASKS["mlp_planted"].exact
    return exact, total


def axes_of(entries: list[dict]) -> list[list[int]]:
    """The n and the s of the noiseless entries."""
    return [sorted({entry[key] for entry in entries if entry["snr"] is None}) for key in ("n", "s")]


def draw_shares(entries: list[dict]) -> Figure:
    """A panel for each method: the number of exact recoveries, n along x, s along y, and the bound n = s."""
    from matplotlib.lines import Line2D

    nlist, slist = axes_of(entries)
    methods = [method for method in METHOD_NAMES if any(entry["method"] == method for entry in entries)]
    figure = page.new_figure(10.5, 2.9)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for ax, method in zip(panels, methods, strict=True):
        exact, total = shares([entry for entry in entries if entry["method"] == method], nlist, slist)
        share = np.divide(exact, total, out=np.full(exact.shape, np.nan), where=total > 0)
        ax.imshow(share, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        ax.set_facecolor("0.9")  # not run
        for (row, column), value in np.ndenumerate(share):
            if not np.isnan(value):
                ax.text(column, row, f"{exact[row, column]}", ha="center", va="center", fontsize=7,
                        color="black" if value > 0.6 else "white")
        draw_bound(ax, nlist, slist)
        ax.set_title(f"{METHODS[method].title}: {exact.sum()} of {total.sum()}")
        ax.set_xticks(range(len(nlist)), nlist, rotation=60)
        ax.set_yticks(range(len(slist)), slist)
        ax.set_xlabel("samples n")
    panels[0].set_ylabel("nonzeros s")
    figure.legend(handles=[Line2D([], [], color=BOUND, linewidth=2, label="n = s")], loc="outside right center")
    return figure


def draw_bound(ax: Axes, nlist: list[int], slist: list[int]) -> None:
    """A line left of the cells with n >= s."""
    starts = [sum(n < s for n in nlist) - 0.5 for s in slist]
    ends = [row + side for row in range(len(slist)) for side in (-0.5, 0.5)]
    ax.plot(np.repeat(starts, 2), ends, color=BOUND, linewidth=2)


def draw_noise(entries: list[dict]) -> Figure:
    """Error of the clean function and recall of the support against SNR: a line per method, medians, all seeds."""
    snrlist = sorted({entry["snr"] for entry in entries} - {None})
    figure = page.new_figure(7.5, 3)
    for ax, key, name in zip(figure.subplots(1, 2), ("error", "recall"),
                             ("error of the clean function (dB)", "recall of the support"), strict=True):
        for method in METHOD_NAMES:
            values = {snr: [entry[key] for entry in entries if (entry["method"], entry["snr"]) == (method, snr)
                            and entry[key] is not None] for snr in snrlist}
            values = {snr: found for snr, found in values.items() if found}
            if not values:
                continue
            middle, low, high = ([of(found) for found in values.values()] for of in (np.median, min, max))
            draw_curve(ax, list(values), middle, low, high, "o-", color=COLOURS[method], markersize=3,
                       label=METHODS[method].title)
        if key == "error":
            ax.plot(snrlist, [-snr for snr in snrlist], ":", color="grey", label="the noise itself")
        ax.set_xlabel("signal to noise (dB)")
        ax.set_ylabel(name)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle("medians; bands from the lowest to the highest seed", fontsize=8)
    return figure


def print_table(entries: list[dict]) -> None:
    """Exact recoveries of each method, by n."""
    for method, group in itertools.groupby(sorted(entries, key=lambda entry: METHOD_NAMES.index(entry["method"])),
                                           key=lambda entry: entry["method"]):
        few = [entry for entry in group if entry["snr"] is None]
        nlist, slist = axes_of(few)
        exact, total = shares(few, nlist, slist)
        print(f"{METHODS[method].title}: exact " + ", ".join(
            f"n {n}: {found} of {there}" for n, found, there in zip(nlist, exact.sum(0), total.sum(0), strict=True)))


# ---- command line ----


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHOD_NAMES, default=list(METHOD_NAMES), help="default: all four")
    add("--nlist", type=flags.positive, nargs="+", default=[100, 150, 200, 300, 500, 1000, 2000, 5000, 10000, 50000],
        help="numbers of samples (default: 100 to 50000)")
    add("--slist", type=flags.positive, nargs="+", default=[5, 10, 20, 50, 100, 200],
        help="nonzero weights (default: 5 10 20 50 100 200)")
    add("--snrlist", type=flags.decibels, nargs="*", default=[0.0, 10.0, 20.0, 30.0, 40.0, 60.0],
        help=f"signal to noise in dB, at {NOISY} (default: 0 10 20 30 40 60)")
    add("--seedlist", type=flags.seed, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    add("--threads", type=flags.positive, default=1, help="CPU threads (default: 1)")
    add("--logs_dir", type=flags.folder, default="logs", help="the log is <logs_dir>/samples/samples.json")
    add("--figures_dir", type=flags.folder, default="figures", help="for the figures (default: ./figures)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Compute what is missing, and draw. Raises UsageError."""
    log, folder = Path(args.logs_dir, "samples", "samples.json"), Path(args.figures_dir)
    check_writable(log.parent)
    page.make_folder(folder)
    for entry in computed(points_of(args), lambda point: fit(point, args.threads), log):
        told = entry["failed"] or "{psnr:7.2f} dB  recall {recall:.2f}  {seconds:7.2f} s".format(**entry)
        print("{method:8} n {n:<6} s {s:<4} snr {snr}  seed {seed}  ".format(**entry) + told, flush=True)
    entries = read_log(log)
    print_table(entries)
    with page.style():
        print(*page.save(draw_shares(entries), folder / "samples"), sep="\n")
        if any(entry["snr"] is not None for entry in entries):
            print(*page.save(draw_noise(entries), folder / "noise"), sep="\n")


def main(argv: list[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
