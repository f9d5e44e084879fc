"""How often the gates are updated, and how far they move: an ablation of --update_every.

    python -m studies.gate_updates

AIHT on planted networks (d = 100, s = 500, 100 full-batch steps) with the gates updated every k steps. After each step
it measures the PSNR, and the share of gate bits 1{x_i . h_j > 0} that the update has changed. The share is taken over
the neurons that had a gate before the update; the gate of a neuron that has lost its weights closes, so its open bits
count as changed. Finished runs are kept in <logs_dir>/gates/gates.json and are not computed again.
"""

from __future__ import annotations

import functools
import itertools
import sys
from dataclasses import dataclass

import numpy as np

import aiht
from instances.planted import planted_problem
from instances.task import Problem, Skipped
from models import SparseLayer, SparseNet
from numerics.arrays import Array
from numerics.workspace import Workspace, sample_tiles
from options import SIZE, ListOf, option
from plotting import page
from plotting.lines import draw_curve
from plotting.words import seeds_words
from sensing import Gates, RandomGates
from shell.command import Program
from shell.program import UsageError
from studies.entries import Computed, Entry, computed
from tasks import score

D = 100  # inputs of the planted networks


@dataclass(frozen=True)
class Options(Computed):
    """What is fitted: every width, interval and seed."""

    mlist: tuple[int, ...] = option((10, 100), ListOf(SIZE), "hidden widths m")
    update_every: tuple[int, ...] = option((1, 2, 3, 4, 5, 10, 20, 50, 100), ListOf(SIZE),
                                           "steps from one update of the gates to the next")
    nonzeros: int = option(500, SIZE, "nonzero weights s")
    nmeasurements: int = option(50000, SIZE, "samples n")
    steps: int = option(100, SIZE, "full-batch steps of a fit")

    def points(self) -> list[Entry]:
        """The points of gates.json."""
        return [{"m": m, "s": self.nonzeros, "seed": seed, "n": self.nmeasurements, "steps": self.steps,
                 "update_every": k} for seed, m, k in itertools.product(self.seedlist, self.mlist, self.update_every)]


@functools.lru_cache(maxsize=1)
def planted(n: int, m: int, s: int, seed: int) -> Problem:
    """The planted network and its data; raises Skipped where its labels are all zero."""
    return planted_problem(m, s, seed, nmeasurements=n, input_dim=D)


def trace(work: Workspace, *, m: int, s: int, seed: int, n: int, steps: int, update_every: int) -> Entry:
    """One fit: "psnr" after each of its steps, in dB, and the share of the gate bits that are "changed" after it."""
    problem, random, psnr, changed = planted(n, m, s, seed), RandomGates(seed, 0, m, D), [], []
    gates: Gates = random
    schedule = aiht.Schedule(n, steps, update_every=update_every)  # full batch
    for w, updated in aiht.iterates(problem.X.T, problem.Y, s, random, schedule, work):
        psnr.append(score(problem, SparseNet((SparseLayer(w, m, D),)).predict(problem.X)))
        changed.append(changed_share(problem.X.T, gates, updated, work))
        gates = updated
    return {"psnr": np.round(psnr, 3).tolist(), "changed": np.round(changed, 9).tolist()}


def changed_share(XT: Array, before: Gates, after: Gates, work: Workspace) -> float:
    """Share of the bits 1{x_i . h_j > 0} that differ, over the neurons of `before`; h_j = 0 where `after` has none.

    Args:
        XT: inputs, feature-major [d, n].
    """
    neurons = np.asarray(before.neurons)
    if before is after or not len(neurons):
        return 0.0
    H, H_after = before.rows(neurons), after.rows(neurons)

    def differing(tile: slice) -> int:
        return int(np.count_nonzero((H @ XT[:, tile] > 0) != (H_after @ XT[:, tile] > 0)))

    n = XT.shape[1]
    return sum(work.map(differing, sample_tiles(len(neurons), n, np))) / (len(neurons) * n)


def draw(entries: list[Entry]) -> page.Figure:
    """PSNR and share of changed bits against the step, a column for each width: medians, and a band over all seeds."""
    from matplotlib import colormaps

    widths, intervals = (sorted({entry[key] for entry in entries}) for key in ("m", "update_every"))
    figure = page.new_figure(4 * len(widths), 5.5)
    axes = figure.subplots(2, len(widths), squeeze=False, sharex=True, sharey="row")
    for m, (upper, lower) in zip(widths, axes.T, strict=True):
        for number, k in enumerate(intervals):
            own = [entry for entry in entries if (entry["m"], entry["update_every"]) == (m, k)]
            psnr, changed = (np.array([entry[key] for entry in own]) for key in ("psnr", "changed"))  # [seeds, steps]
            middle, share = np.median(psnr, axis=0), np.median(changed, axis=0)
            colour, moved = colormaps["viridis"](number / len(intervals)), np.flatnonzero(share)
            draw_curve(upper, range(1, len(middle) + 1), middle, psnr.min(axis=0), psnr.max(axis=0), color=colour,
                       label=f"{k}: {middle[-1]:.1f} dB")
            lower.semilogy(moved + 1, share[moved], ".-", color=colour, markersize=3, linewidth=0.7)
        upper.set_title(f"m = {m}")
        upper.legend(title="update_every: in the end")
        lower.set_xlabel("step")
    figure.suptitle("median, band from lowest to highest; "
                    f"{seeds_words(sorted({entry['seed'] for entry in entries}))}", fontsize=9)
    axes[0, 0].set_ylabel("PSNR (dB)")
    axes[1, 0].set_ylabel("share of gate bits changed")
    return figure


def run(options: Options) -> None:
    """Compute what is missing, and draw. Raises UsageError."""
    folder, figures = options.folders("gates")
    entries = []
    try:
        with Workspace(options.threads) as work:
            for entry in computed(options.points(), lambda point: trace(work, **point), folder / "gates.json"):
                entries.append(entry)
                print("m {m:<5} seed {seed:<3} update_every {update_every:<4} {0:7.2f} dB".format(
                    entry["psnr"][-1], **entry), flush=True)
    except Skipped as reason:
        raise UsageError(f"argument --nonzeros: {options.nonzeros} is too few, {reason}; use more") from None
    with page.style():
        print(*page.save(draw(entries), figures / "gates"), sep="\n")


main = Program("python -m studies.gate_updates", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
