"""Planted networks from X and y alone: how often the estimators find them, and in what time; docs/own-data.md.

    python -m studies.nothing_known --fit    # 200 fits and as many with s and m given; it goes on where it stopped
    python -m studies.nothing_known          # its table: make tables

Seeds on which nothing was tuned; d = 100 standard normal inputs. A network counts as recovered if it has no more
weights than the planted one and errs on fresh inputs by less than -44 dB with noise of 40 dB, and, without noise, by
less than -95 dB and is called determined.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beyond import creases, deep
from instances.planted import planted_problem
from instances.task import Problem, Skipped
from options import SWITCH, Options, option
from shell.command import Program
from studies.entries import Entry, computed, read_log

RESULTS = Path(__file__).parents[1] / "logs/reference/own_data/planted.json"
FRESH = 2000  # inputs
LIMITS = {None: -95.0, 40.0: -44.0}  # dB, by the SNR of the targets


@dataclass(frozen=True)
class Cells:
    """Planted networks of one size, one for each seed, without noise and, if so, at 40 dB."""

    words: str
    m: int
    s: int
    n: int
    num_layers: int = 1
    planted_signs: bool = False
    output_dim: int = 1
    seeds: range = range(1000, 1014)
    noise: bool = True

    def problem(self, seed: int, snr: float | None) -> Problem:
        return planted_problem(self.m, self.s, seed, num_layers=self.num_layers, nmeasurements=self.n,
                               planted_signs=self.planted_signs, output_dim=self.output_dim, snr=snr)


CELLS = {cells.words: cells for cells in (
    Cells("m = 5, s = 20, one output", 5, 20, 300),
    Cells("the same, signs", 5, 20, 300, planted_signs=True),
    Cells("the same, ten outputs", 5, 20, 300, output_dim=10),
    Cells("m = 10, s = 50, one output", 10, 50, 1000),
    Cells("m = 10, s = 50, signs", 10, 50, 1000, planted_signs=True),
    Cells("m = 10, s = 50, ten outputs", 10, 50, 1000, output_dim=10),
    Cells("two hidden layers, m = 3, s = 10", 3, 10, 500, num_layers=2, seeds=range(1000, 1020), noise=False),
    Cells("two hidden layers, m = 5, s = 20", 5, 20, 1000, num_layers=2, seeds=range(1000, 1020), noise=False))}


def timed(fit: Callable[[], Any]) -> tuple[Any, float]:
    """What a fit gives, and its seconds of processor time."""
    start = time.process_time()
    return fit(), round(time.process_time() - start, 3)


def measured(cells: Cells, seed: int, snr: float | None) -> Entry:
    """One planted network: what was found, the error on fresh inputs in dB, and the times."""
    from beyond.estimators import SparseNetRegressor

    problem = cells.problem(seed, snr)
    planted = problem.planted
    assert planted is not None
    model, seconds = timed(lambda: SparseNetRegressor().fit(problem.X, problem.Y))
    solver = creases if cells.num_layers == 1 else deep
    _, given = timed(lambda: solver.fit(problem.X, problem.Y, cells.s, width=cells.m, num_layers=cells.num_layers,
                                        seed=seed))
    fresh = np.random.default_rng([1, seed]).normal(size=(FRESH, problem.X.shape[1]))
    truth = planted.predict(fresh)
    error = float(np.sum((model.predict(fresh) - truth) ** 2) / np.sum(truth**2))
    return {"weights": model.num_weights_, "planted": planted.num_nonzero,
            "error": round(10 * np.log10(error + 1e-30), 1), "determined": model.determined_, "seconds": seconds,
            "seconds_given": given}


def points() -> list[Entry]:
    """All that is measured."""
    return [{"cells": words, "snr": snr, "seed": seed} for words, cells in CELLS.items()
            for snr in (LIMITS if cells.noise else [None]) for seed in cells.seeds]


def fit(point: Entry) -> Entry:
    """What is measured at a point, or why nothing is: a seed whose network is zero on all samples."""
    try:
        return measured(CELLS[point["cells"]], point["seed"], point["snr"])
    except Skipped as reason:
        return {"skipped": str(reason)}


def recovered(entry: Entry) -> bool:
    return entry["error"] < LIMITS[entry["snr"]] and entry["weights"] <= entry["planted"] and (
        entry["determined"] or entry["snr"] is not None)


HEADINGS = ("cells", "n", "40 dB", "seconds, those with s and m given", "no noise",
            "seconds, those with s and m given", "called determined, and wrong")


def rows(path: Path) -> Iterator[tuple[str, ...]]:
    """A row for each size, from what was saved."""
    measurements = [entry for entry in read_log(path) if "skipped" not in entry]
    for words, cells in CELLS.items():
        entries = [entry for entry in measurements if entry["cells"] == words]
        parts = ([entry for entry in entries if entry["snr"] == snr] for snr in (40.0, None))
        columns = [text for part in parts for text in summary(part)]
        false = sum(entry["determined"] and entry["error"] > LIMITS[None] for entry in entries)
        yield words, str(cells.n), *columns, str(false)


def summary(entries: list[Entry]) -> tuple[str, str]:
    """How many were recovered, and the median times of both fits."""
    if not entries:
        return "", ""
    times = (np.median([entry[name] for entry in entries]) for name in ("seconds", "seconds_given"))
    return f"{sum(map(recovered, entries))} of {len(entries)}", ", ".join(f"{t:.2f}" for t in times)


@dataclass(frozen=True)
class Fits(Options):
    """What to do."""

    fit: bool = option(False, SWITCH, "fit what is missing")


def run(options: Fits) -> None:
    """Fit, if asked for, and tell of what there is."""
    if options.fit:
        list(computed(points(), fit, RESULTS))
    for row in rows(RESULTS):
        print(" | ".join(row))


main = Program("python -m studies.nothing_known", __doc__, Fits, run)

if __name__ == "__main__":
    sys.exit(main())
