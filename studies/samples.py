"""How few samples suffice, and how much noise the methods tolerate, on planted networks.

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

import itertools
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from beyond.recovery import compare
from instances.planted import planted_inputs, planted_net
from options import SIZE, ListOf, between, one_of, option
from plotting import looks, page
from plotting.lines import draw_curve
from plotting.words import seeds_words
from shell.command import Program
from shell.program import UsageError
from studies.entries import Computed, Entry, computed, read_log
from sweep.cells import run_job
from sweep.methods import METHODS
from sweep.settings import make_settings
from tasks import TASKS

D, M = 100, 20
NOISY = {"n": 10000, "s": 50}  # the point at which noise is varied
FRESH = 10000  # inputs that the answers are judged on
LEAST = 1e-30  # of a mean squared error: an exact fit has none
IMP_BATCH, IMP_STEPS, IMP_ROUNDS, IMP_FINETUNING = 1000, 2000, 5, 6000
COMPARED = ("aiht", "pruning", "gnhtp", "creases")  # the methods
BOUND = "tab:red"  # of the line n = s


@dataclass(frozen=True)
class Options(Computed):
    """What is fitted: every method and seed at every n and s without noise, and at every ratio of signal to noise."""

    threads: int = option(1, SIZE, "CPU threads")
    methods: tuple[str, ...] = option(COMPARED, ListOf(one_of(COMPARED)), "what the networks are fitted with")
    nlist: tuple[int, ...] = option((100, 150, 200, 300, 500, 1000, 2000, 5000, 10000, 50000), ListOf(SIZE),
                                    "numbers of samples")
    slist: tuple[int, ...] = option((5, 10, 20, 50, 100, 200), ListOf(SIZE), "nonzero weights")
    snrlist: tuple[float, ...] = option((0.0, 10.0, 20.0, 30.0, 40.0, 60.0),
                                        ListOf(between(-300, 300, "a number of dB"), allow_empty=True),
                                        f"SNRs in dB, at n = {NOISY['n']}, s = {NOISY['s']}; may be empty")

    def points(self) -> list[Entry]:
        """The points of both figures."""
        points: list[Entry] = [{"n": n, "s": s, "snr": None} for n, s in itertools.product(self.nlist, self.slist)]
        points += [NOISY | {"snr": snr} for snr in self.snrlist]
        return [{"method": method, "seed": seed} | point
                for point, method, seed in itertools.product(points, self.methods, self.seedlist)]


def fit_settings(method: str, n: int) -> dict[str, Any]:
    """The settings of a method's fit of n samples, where they are not its defaults."""
    if method != "pruning":
        return {"num_epochs": 100} if method == "aiht" else {}
    batch = min(n, IMP_BATCH)
    epochs, finetuning = (max(1, round(steps * batch / n)) for steps in (IMP_STEPS, IMP_FINETUNING))
    return {"batch_size": batch % n, "num_epochs": epochs, "prune_iters": IMP_ROUNDS, "finetune_epochs": finetuning,
            "prune_score": "lamp"}


def fit(threads: int, *, method: str, n: int, s: int, snr: float | None, seed: int) -> Entry:
    """One fit, judged on fresh inputs; what was not found is None.

    Returns:
        {"psnr" in dB, "error": 10 log10 |f - f*|^2 / |f*|^2 in dB, "precision" and "recall" of the support, "seconds",
        "failed": the reason or None}.
    """
    found: Entry = dict.fromkeys(("psnr", "error", "precision", "recall", "seconds", "failed"))
    started = time.perf_counter()
    try:
        settings = make_settings(task="mlp_planted", method=method, mlist=[M], slist=[s], nmeasurements=n, input_dim=D,
                                 snr=snr, device="cpu", threads=threads, **fit_settings(method, n))
    except (UsageError, ValueError) as reason:
        return found | {"failed": str(reason)}
    [result] = run_job([(M, s, seed)], settings, "cpu").values()
    if result.net is None:
        return found | {"failed": result.status}
    X, planted = planted_inputs("normal", FRESH, D, seed + 1_000_000), planted_net(D, M, 1, 1, s, seed)
    true = planted.predict(X)
    error = 10 * np.log10(max(np.mean((result.net.predict(X) - true) ** 2), LEAST))
    recovery = compare(result.net, planted)
    return found | {"psnr": float(20 * np.log10(np.abs(true).max()) - error),
                    "error": float(error - 10 * np.log10(np.mean(true**2))),
                    "precision": recovery["support_precision"], "recall": recovery["support_recall"],
                    "seconds": round(time.perf_counter() - started, 3)}


# ---- the figures ----


def by_method(entries: list[Entry]) -> dict[str, list[Entry]]:
    """The entries of each method that has some."""
    own = {method: [entry for entry in entries if entry["method"] == method] for method in COMPARED}
    return {method: entries for method, entries in own.items() if entries}


def axis_of(entries: list[Entry], key: str) -> list[int]:
    """Their n, s or seeds."""
    return sorted({entry[key] for entry in entries})


def shares(entries: list[Entry], nlist: list[int], slist: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Exact recoveries and instances [s, n] among noiseless entries. A fit that was refused is none."""
    exact, total = np.zeros((2, len(slist), len(nlist)), dtype=int)
    for entry in entries:
        place = slist.index(entry["s"]), nlist.index(entry["n"])
        total[place] += 1
        exact[place] += entry["psnr"] is not None and entry["psnr"] >= TASKS["mlp_planted"].exact
    return exact, total


def draw_shares(entries: list[Entry]) -> page.Figure:
    """Noiseless entries, a panel for each method: the number of exact recoveries, n along x, s along y, and n = s."""
    nlist, slist = axis_of(entries, "n"), axis_of(entries, "s")
    groups = by_method(entries)
    figure = page.new_figure(10.5, 2.9)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for ax, (method, own) in zip(panels, groups.items(), strict=True):
        exact, total = shares(own, nlist, slist)
        share = np.divide(exact, total, out=np.full(exact.shape, np.nan), where=total > 0)
        ax.imshow(share, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        ax.set_facecolor("0.9")  # not run
        for row, column in np.argwhere(total):
            ax.text(column, row, f"{exact[row, column]}", ha="center", va="center", fontsize=7,
                    color="black" if share[row, column] > 0.6 else "white")
        starts = [sum(n < s for n in nlist) - 0.5 for s in slist]  # of the cells with n >= s
        ends = [row + side for row in range(len(slist)) for side in (-0.5, 0.5)]
        [bound] = ax.plot(np.repeat(starts, 2), ends, color=BOUND, linewidth=2, label="n = s")
        ax.set_title(f"{METHODS[method].title}: {exact.sum()} of {total.sum()}")
        ax.set_xticks(range(len(nlist)), nlist, rotation=60)
        ax.set_yticks(range(len(slist)), slist)
        ax.set_xlabel("samples n")
    panels[0].set_ylabel("nonzeros s")
    figure.legend(handles=[bound], loc="outside right center")
    seeds = axis_of(entries, "seed")
    figure.suptitle(f"m = {M}, d = {D}: exact recoveries of {len(seeds)} in each cell ({seeds_words(seeds)})",
                    fontsize=9)
    return figure


def draw_noise(entries: list[Entry]) -> page.Figure:
    """Error of the clean function and recall of the support against SNR: a line per method, medians, all seeds."""
    snrlist = sorted({entry["snr"] for entry in entries})
    figure = page.new_figure(7.5, 3)
    panels = figure.subplots(1, 2)
    for ax, key, name in zip(panels, ("error", "recall"), ("error of the clean function (dB)",
                                                           "recall of the support"), strict=True):
        for method, own in by_method([entry for entry in entries if entry[key] is not None]).items():
            found = {snr: [entry[key] for entry in own if entry["snr"] == snr] for snr in snrlist}
            values = {snr: scores for snr, scores in found.items() if scores}
            middle, low, high = ([of(scores) for scores in values.values()] for of in (np.median, min, max))
            draw_curve(ax, [*values], middle, low, high, label=METHODS[method].title, **looks.look(method))
        ax.set_xlabel("signal to noise (dB)")
        ax.set_ylabel(name)
    panels[0].plot(snrlist, [-snr for snr in snrlist], ":", color="grey", label="the noise itself")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    seeds = seeds_words(axis_of(entries, "seed"))
    figure.suptitle(f"m = {M}, s = {NOISY['s']}, n = {NOISY['n']}: median, band from lowest to highest; {seeds}",
                    fontsize=9)
    return figure


def run(options: Options) -> None:
    """Compute what is missing, and draw all that is there. Raises UsageError."""
    folder, figures = options.folders("samples")
    log = folder / "samples.json"
    for entry in computed(options.points(), lambda point: fit(options.threads, **point), log):
        said = entry["failed"] or "{psnr:7.2f} dB  recall {recall:.2f}  {seconds:7.2f} s".format(**entry)
        print("{method:8} n {n:<6} s {s:<4} snr {snr}  seed {seed}  ".format(**entry) + said, flush=True)
    few, noisy = ([entry for entry in read_log(log) if (entry["snr"] is None) == clean] for clean in (True, False))
    for method, own in by_method(few).items():
        nlist = axis_of(own, "n")
        counts = zip(nlist, *(counts.sum(axis=0) for counts in shares(own, nlist, axis_of(own, "s"))), strict=True)
        print(f"{METHODS[method].title}: exact", ", ".join(f"n {n}: {exact} of {total}" for n, exact, total in counts))
    with page.style():
        print(*page.save(draw_shares(few), figures / "samples"), sep="\n")
        if noisy:
            print(*page.save(draw_noise(noisy), figures / "noise"), sep="\n")


main = Program("python -m studies.samples", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
