"""What runner.py prints: a line per cell, tables of means, a closing line, and the plan of --dry_run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fits import Callback, FitState
from instances.task import Measure
from sweep.cells import Result, skips
from sweep.estimate import Known, duration, nearest
from sweep.logbook import Log
from sweep.settings import Run, Settings
from sweep.table import DONE, FAILED, SKIPPED, Cell, kind

if TYPE_CHECKING:
    from tqdm import tqdm

REFRESH = 0.1  # seconds between two steps that are shown
RECALL = Measure("support recall", range=(0, 1))  # of the planted weights, see beyond/recovery.py

NOT_EXACT = 1e-9  # share of the energy of the targets that an exact fit may leave, where the method has no word on it


class Steps:
    """Shows on a progress bar which step a fit is at, such as "m 5, seed 0: round 3 of 58"."""

    def __init__(self, bar: tqdm, settings: Settings):
        self.bar, self.word, self.shown = bar, settings.method.step, 0.0

    def of(self, cell: Cell) -> Callback:
        """The callback of the fits of this cell and those that are computed with it."""

        def show(step: int, state: FitState) -> None:
            if time.monotonic() - self.shown > REFRESH:
                of_all = f" of {state.steps}" if state.steps else ""
                self.bar.set_postfix_str(f"m {cell[0]}, seed {cell[2]}: {self.word} {step}{of_all}")
                self.shown = time.monotonic()

        return show


def cell_line(cell: Cell, result: Result, measure: Measure) -> str:
    """For example "m 5     s 20    seed 0   164.42 dB       0.26 s"."""
    text = "m {:<5} s {:<5} seed {:<3} ".format(*cell)
    if result.status != DONE:
        return text + result.status
    value = f"{format_score(result.score, measure)} {measure.unit}".rstrip()
    text += f"{value:<12}{result.details['seconds']:8.2f} s"
    if result.details.get("support_recall") is not None:
        text += f"  recall {result.details['support_recall']:.3f}"
    if "support_error" in result.details:
        text += f"  support error {result.details['support_error']:.3f}"
    energy_left = result.details.get("energy_left", 0)
    if not result.details.get("exact", energy_left <= NOT_EXACT):
        text += f"  {energy_left:.2g} of the energy is left"
    if "out_of_reach" in result.details:
        text += f"  {result.details['out_of_reach']:.0%} of the energy, below zero, is out of reach of this class"
    if not result.details.get("connected", True):
        text += "  no path from input to output is left"
    if result.details.get("moved") == 0:
        text += "  no weight has moved"
    return text


def format_score(value: float, measure: Measure) -> str:
    return f"{value:.2e}" if measure.scale == "log" else f"{value:.{2 if measure.unit else 4}f}"


def ending(log: Log, found: set[Cell], settings: Settings) -> Iterator[str]:
    """Lines at the end of a sweep: means, where the log is, how many cells came to what, and how to draw them.

    Args:
        found: cells that were finished before this run.
    """
    yield from table_of_means(log, log.table, log.measure)
    recall = np.array([log.records.get(cell, {}).get("support_recall") for cell in log.cells()], dtype=float)
    if not np.isnan(recall).all():
        shape = [len(log.axes[axis]) for axis in ("seed", "m", "s")]
        yield from table_of_means(log, recall.reshape(shape).transpose(1, 2, 0), RECALL)
    if log.path:
        yield f"saved {log.path}.npy"
    kinds = [kind(log.status(cell)) for cell in log.cells() if cell not in found]
    counts = [f"{kinds.count(DONE)} done", f"{len(found)} taken over", f"{kinds.count(FAILED)} failed"]
    counts += [f"{kinds.count(SKIPPED)} skipped"] if SKIPPED in kinds else []
    yield f"{', '.join(counts)}; {f'draw: {draw_command(settings)}' if log.path else 'to keep them: --save_results'}"


def draw_command(settings: Settings) -> str:
    """The command that draws the heatmap of this sweep, and of others of its task and method."""
    words = ["python", "make_figures.py", "--task", settings.grid.task, "--method", settings.grid.method]
    words += ["--logs_dir", settings.run.logs_dir] if settings.run.logs_dir != Run().logs_dir else []
    words += ["--extend", *settings.run.extend] if settings.run.extend else []
    return shlex.join(words)


def table_of_means(log: Log, table: np.ndarray, measure: Measure) -> Iterator[str]:
    """Lines: means of a table [m, s, seed] over the seeds that ran, m down and s across."""
    seeds = log.axes["seed"]
    yield (f"{measure.name}{', ' + measure.unit if measure.unit else ''}, mean over {len(seeds)} seed(s); "
           "rows: m, columns: s")
    yield " " * 8 + "".join(f"{s:>10}" for s in log.axes["s"])
    for m, row in zip(log.axes["m"], table, strict=True):
        means = [np.mean(cell[~np.isnan(cell)]) if not np.isnan(cell).all() else None for cell in row]
        yield f"{m:<8}" + "".join(f"{'-' if mean is None else format_score(mean, measure):>10}" for mean in means)


def plan(log: Log, settings: Settings, known: Known) -> Iterator[str]:
    """Lines of --dry_run: the settings, the cells that are missing with their times, and the path of the log.

    Args:
        known: seconds of cells of other logs, from which the times are estimated.
    """
    for name, value in (log.settings | {"data_dir": settings.data_dir, "threads": settings.run.threads}).items():
        yield f"{name}: {value}"
    missing = [cell for cell in log.missing() if not is_skipped(cell, settings)]
    skipped = len(log.missing()) - len(missing)
    yield f"cells: {len(missing)} of {len(log.cells())} to run" + f"; {skipped} will be skipped" * bool(skipped)
    for seed in log.axes["seed"]:
        for m in log.axes["m"]:
            slist = [s for m_, s, seed_ in missing if (m_, seed_) == (m, seed)]
            if slist:
                yield f"  seed {seed}, m {m}, s {' '.join(map(str, slist))}: {estimate_words(m, slist, known)}"
    if missing and known:
        total = sum(nearest(m, s, known)[1] for m, s, _ in missing) / max(settings.run.workers, 1)
        yield f"time: about {duration(total)}, by {len(known)} cells of logs of this task, method and settings"
    yield f"log: {log.path}.npy" if log.path else "log: none without --save_results"


def is_skipped(cell: Cell, settings: Settings) -> bool:
    """Whether a cell will be skipped; one that cannot even be looked at will fail."""
    try:
        return skips(cell, settings) is not None
    except Exception:
        return False


def estimate_words(m: int, slist: list[int], known: Known) -> str:
    """For example "about 3.1 s (as m 20, s 100)", which names the cells that were taken for others; "no estimate"."""
    if not known:
        return "no estimate"
    cells = {s: nearest(m, s, known) for s in slist}
    others = [f"m {near[0]}, s {near[1]}" for s, (near, _) in cells.items() if near != (m, s)]
    taken = f" (as {'; '.join(dict.fromkeys(others))})" if others else ""
    return f"about {duration(sum(seconds for _, seconds in cells.values()))}{taken}"
