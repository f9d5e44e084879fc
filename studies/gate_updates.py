"""How often the gates are updated, and how far they move: an ablation of --update_every.

    python -m studies.gate_updates

AIHT on planted networks (d = 100, s = 500, 100 full-batch steps) with the gates updated every k steps. After each step
it measures the PSNR, and the share of gate bits 1{x_i . h_j > 0} that the update has changed. The share is taken over
the neurons that had a gate before the update; the gate of a neuron that has lost its weights closes, so its open bits
count as changed. Finished runs are kept in <logs_dir>/gates/gates.json and are not computed again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import aiht
from models import SparseLayer, SparseNet
from numerics.arrays import Array
from numerics.workspace import Workspace, sample_tiles
from plotting import page
from plotting.lines import draw_curve
from runner import check_writable
from sensing import Gates, RandomGates
from studies.entries import computed
from sweep import flags
from sweep.flags import Parser, UsageError, run_main
from sweep.settings import make_settings
from tasks import Problem, Skipped, mlp_planted, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROG = "python -m studies.gate_updates"
D = 100  # inputs of the planted networks


@dataclass(frozen=True)
class Fit:
    """One fit of the ablation; its fields are those of an entry of gates.json, beside the traces.

    Args:
        m: hidden width.  s: nonzeros.  n: samples.  steps: full-batch steps.
        update_every: steps from one update of the gates to the next.
    """

    m: int
    s: int
    seed: int
    n: int
    steps: int
    update_every: int


@functools.lru_cache(maxsize=1)
def planted(n: int, m: int, s: int, seed: int) -> Problem:
    """The planted network and its data; raises Skipped where its labels are all zero."""
    settings = make_settings(task="mlp_planted", mlist=[m], slist=[s], nmeasurements=n, input_dim=D)
    return mlp_planted(settings, m, s, seed)


def trace(fit: Fit, work: Workspace) -> dict[str, list[float]]:
    """One fit, step by step.

    Returns:
        {"psnr": after each step, dB, "changed": share of the gate bits that change after it}.
    """
    problem = planted(fit.n, fit.m, fit.s, fit.seed)
    XT, gates = problem.X.T, RandomGates(fit.seed, 0, fit.m, D)
    schedule = aiht.Schedule(fit.n, fit.steps, update_every=fit.update_every)  # full batch
    psnr, changed = [], []
    for w, updated in aiht.iterates(XT, problem.Y, fit.s, gates, schedule, work):
        net = SparseNet((SparseLayer(w, fit.m, D),))
        psnr.append(score(problem, net.predict(problem.X)))
        changed.append(changed_share(XT, gates, updated, work))
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
        return np.count_nonzero((H @ XT[:, tile] > 0) != (H_after @ XT[:, tile] > 0))

    n = XT.shape[1]
    return sum(work.map(differing, sample_tiles(len(neurons), n, np))) / (len(neurons) * n)


# ---- the log and the figure ----


def compute(fits: list[Fit], log: Path, work: Workspace) -> list[dict]:
    """The entries of the fits; a line is printed for each. Raises Skipped."""
    entries = []
    for entry in computed([asdict(fit) for fit in fits], lambda point: trace(Fit(**point), work), log):
        entries.append(entry)
        print("m {m:<5} seed {seed:<3} update_every {update_every:<4} {0:7.2f} dB".format(entry["psnr"][-1], **entry),
              flush=True)
    return entries


def draw(entries: list[dict]) -> Figure:
    """PSNR and share of changed bits against the step, a column for each width: medians, and a band over all seeds."""
    from matplotlib import colormaps

    widths, intervals = (sorted({entry[key] for entry in entries}) for key in ("m", "update_every"))
    figure = page.new_figure(4 * len(widths), 5.5)
    axes = figure.subplots(2, len(widths), squeeze=False, sharex=True, sharey="row")
    for m, (upper, lower) in zip(widths, axes.T, strict=True):
        for number, k in enumerate(intervals):
            curves = [[entry["psnr"], entry["changed"]] for entry in entries
                      if (entry["m"], entry["update_every"]) == (m, k)]
            psnr, changed = np.median(curves, axis=0)
            steps, colour = np.arange(1, len(psnr) + 1), colormaps["viridis"](number / len(intervals))
            draw_curve(upper, steps, psnr, np.min(curves, axis=0)[0], np.max(curves, axis=0)[0], color=colour,
                       label=f"{k}: {psnr[-1]:.1f} dB")
            moved = changed > 0
            lower.semilogy(steps[moved], changed[moved], ".-", color=colour, markersize=3, linewidth=0.7)
        upper.set_title(f"m = {m}")
        upper.legend(title="update_every: in the end")
        lower.set_xlabel("step")
    axes[0, 0].set_ylabel("PSNR (dB)")
    axes[1, 0].set_ylabel("share of gate bits changed")
    return figure


# ---- command line ----


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    add("--mlist", type=flags.positive, nargs="+", default=[10, 100], help="hidden widths (default: 10 100)")
    add("--update_every", type=flags.positive, nargs="+", default=[1, 2, 3, 4, 5, 10, 20, 50, 100],
        help="steps from one update of the gates to the next (default: 1 2 3 4 5 10 20 50 100)")
    add("--seedlist", type=flags.seed, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    add("--nonzeros", type=flags.positive, default=500, help="nonzero weights s (default: 500)")
    add("--nmeasurements", type=flags.positive, default=50000, help="samples n (default: 50000)")
    add("--steps", type=flags.positive, default=100, help="steps of a fit (default: 100)")
    add("--threads", type=flags.positive, default=2, help="CPU threads (default: 2)")
    add("--logs_dir", type=flags.folder, default="logs", help="the log is <logs_dir>/gates/gates.json")
    add("--figures_dir", type=flags.folder, default="figures", help="for the figure (default: ./figures)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Compute what is missing, and draw. Raises UsageError."""
    log = Path(args.logs_dir, "gates", "gates.json")
    check_writable(log.parent)
    page.make_folder(Path(args.figures_dir))
    fits = [Fit(m, args.nonzeros, seed, args.nmeasurements, args.steps, k)
            for seed, m, k in itertools.product(args.seedlist, args.mlist, args.update_every)]
    try:
        with Workspace(args.threads) as work:
            entries = compute(fits, log, work)
    except Skipped as reason:
        raise UsageError(f"argument --nonzeros: {args.nonzeros} is too few, {reason}; use more") from None
    with page.style():
        print(*page.save(draw(entries), Path(args.figures_dir, "gates")), sep="\n")


def main(argv: list[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
