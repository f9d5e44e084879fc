"""Where our methods are the best of all that were run, over the pairs (m, s) of the five figures.

A method's number is the median, over those of the seeds 0 1 2 that were run, of the best of its settings. On planted
networks all that has more than 140 dB is level; elsewhere the best is whoever is not behind. A pair has an instance
where AIHT was not skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from options import flags
from plotting.against import by_settings
from plotting.figures import FIGURES, Row
from plotting.logs import ANY, SCORE, agrees, gather
from plotting.words import depth_words, outputs_words
from studies.real_data import SEEDS, TOP, over_seeds
from sweep.logbook import Log
from sweep.methods import METHODS
from sweep.table import SKIPPED
from tasks import TASKS

OURS = ("gnhtp", "creases", "deep", "obs")


def best_of(method: str, row: Row, logs: Sequence[Log]) -> np.ndarray:
    """The median over the seeds of the best settings of a method [m, s], NaN where it was not run."""
    selection = row.problem | {"method": method} | dict.fromkeys(flags(METHODS[method].solve.Options), ANY)
    groups = by_settings(log for log in logs if agrees(log, selection))
    found = [over_seeds(np.nanmedian, gather(group, row.mlist, row.slist, SEEDS).values(SCORE))
             for group in groups.values()]
    return np.fmax.reduce([np.full((len(row.mlist), len(row.slist)), np.nan), *found])


def level(scores: np.ndarray, row: Row) -> np.ndarray:
    """Scores of which the larger is the better; on planted networks all beyond 140 dB are equal."""
    return np.minimum(scores, TOP) if TASKS[row.task].is_planted else scores


def standing(logs: Sequence[Log]) -> Iterator[tuple[str, int, int, int]]:
    """A row for each row of the five figures, and their sum: pairs, those that ours were run on, those they lead."""
    total = np.zeros(3, dtype=int)
    for name in "12345":
        for row in FIGURES[name].rows:
            grid = next(iter(row.grids(logs, SEEDS).values()))
            pairs = (grid.kinds != SKIPPED).any(axis=2)
            every = {method: level(best_of(method, row, logs), row) for method in METHODS}
            ours = np.fmax.reduce([every.pop(method) for method in OURS])
            run, leads = pairs & ~np.isnan(ours), ours >= np.nan_to_num(np.fmax.reduce([*every.values()]), nan=-np.inf)
            counts = np.array([pairs.sum(), run.sum(), (run & leads).sum()])
            total += counts
            yield f"{name}: {row.task}{outputs_words(row)}, {depth_words(row.depth)}", *counts.tolist()
    yield "all", *total.tolist()
