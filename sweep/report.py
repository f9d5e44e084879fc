"""What runner.py prints: a line per cell, the table of means, and the plan of --dry_run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sweep.cells import Result
from sweep.logbook import DONE, Cell, Log
from sweep.settings import Settings
from tasks import Measure

NOT_EXACT = 1e-9  # share of the energy of the targets beyond which a fit is not exact, where a method says what it left


def cell_line(cell: Cell, result: Result, measure: Measure) -> str:
    """For example "m 5     s 20    seed 0   164.42 dB       0.26 s"."""
    text = "m {:<5} s {:<5} seed {:<3} ".format(*cell)
    if result.status != DONE:
        return text + result.status
    value = f"{format_score(result.score, measure)} {measure.unit}".rstrip()
    text += f"{value:<12}{result.details['seconds']:8.2f} s"
    if "support_error" in result.details:
        text += f"  support error {result.details['support_error']:.3f}"
    if result.details.get("energy_left", 0) > NOT_EXACT:
        text += f"  {result.details['energy_left']:.0e} of the energy is left"
    if not result.details.get("connected", True):
        text += "  no path from input to output is left"
    if result.details.get("moved") == 0:
        text += "  no weight has moved"
    return text


def format_score(value: float, measure: Measure) -> str:
    return f"{value:.2e}" if measure.scale == "log" else f"{value:.{2 if measure.unit else 4}f}"


def table_of_means(log: Log) -> Iterator[str]:
    """Lines: means over the seeds that ran, m down and s across."""
    measure, seeds = log.measure, log.axes["seed"]
    yield (f"{measure.name}{', ' + measure.unit if measure.unit else ''}, mean over {len(seeds)} seed(s); "
           "rows: m, columns: s")
    yield " " * 8 + "".join(f"{s:>10}" for s in log.axes["s"])
    for m, row in zip(log.axes["m"], log.table, strict=True):
        means = [np.mean(cell[~np.isnan(cell)]) if not np.isnan(cell).all() else None for cell in row]
        yield f"{m:<8}" + "".join(f"{'-' if mean is None else format_score(mean, measure):>10}" for mean in means)


def plan(log: Log, settings: Settings) -> Iterator[str]:
    """Lines of --dry_run: the settings, the cells that are missing, and the path of the log."""
    for name, value in {**log.settings, "data_dir": settings.data_dir, "threads": settings.threads}.items():
        yield f"{name}: {value}"
    missing = log.missing()
    yield f"cells: {len(missing)} of {len(log.cells())} to run"
    for seed in log.axes["seed"]:
        for m in log.axes["m"]:
            slist = [s for m_, s, seed_ in missing if (m_, seed_) == (m, seed)]
            if slist:
                yield f"  seed {seed}, m {m}, s {' '.join(map(str, slist))}"
    yield f"log: {log.path}.npy" if log.path else "log: none without --save_results"
