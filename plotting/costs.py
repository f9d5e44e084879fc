"""What the cells of a figure have cost, by the seconds in logs: processor hours of each method, on one thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from plotting.figures import Entry
from plotting.logs import Grid
from sweep.estimate import duration
from sweep.logbook import Log
from sweep.methods import METHODS
from sweep.table import NOT_RUN


def grids_by_method(entry: Entry, logs: Sequence[Log]) -> dict[str, list[Grid]]:
    """{title of a method: the grids of its columns}; several forms of a method count together."""
    grids = defaultdict[str, list[Grid]](list)
    for row in entry.rows:
        for heading, grid in row.grids(logs, entry.seeds).items():
            grids[METHODS[row.columns[heading]["method"]].title].append(grid)
    return grids


def seconds(grids: Sequence[Grid]) -> float:
    """Of all cells that were run."""
    return float(sum(np.nansum(grid.values("seconds")) for grid in grids))


def coverage(grids: Sequence[Grid]) -> str:
    """For example " (409 of 489 fits, the others about 11 h)"; nothing where all were run."""
    grids = [grid for grid in grids if seconds([grid])]
    run, fits = (sum(map(np.count_nonzero, arrays)) for arrays in
                 ([grid.kinds != NOT_RUN for grid in grids], [grid.kinds != "" for grid in grids]))
    others = sum(map(lacking, grids))
    return f" ({run} of {fits} fits{f', the others about {duration(others)}' * bool(others)})" * bool(run < fits)


def cost(entry: Entry, logs: Sequence[Log]) -> tuple[str, str]:
    """(time in all, time of each method), in words; a method without cells is left out."""
    grids = {title: own for title, own in grids_by_method(entry, logs).items() if seconds(own)}
    parts = [f"{title} {duration(seconds(own))}{coverage(own)}" for title, own in grids.items()]
    return duration(sum(map(seconds, grids.values()))), ", ".join(parts)


def missing(entry: Entry, logs: Sequence[Log]) -> list[tuple[str, int, int, int, float]]:
    """For each method that lacks fits: its title, pairs (m, s), those with fewer fits than seeds, these fits, seconds.

    Grids without any fit are left out.
    """
    found = []
    for title, all_grids in grids_by_method(entry, logs).items():
        grids = [grid for grid in all_grids if seconds([grid])]
        absent = [grid.kinds == NOT_RUN for grid in grids]
        fits = sum(int(np.count_nonzero(each)) for each in absent)
        if fits:
            found.append((title, sum(each[:, :, 0].size for each in absent),
                          sum(int(each.any(axis=2).sum()) for each in absent), fits, sum(map(lacking, grids))))
    return found


def lacking(grid: Grid) -> float:
    """Seconds of the fits that were not run.

    A fit is taken to cost the mean of the same cell's other seeds, or, where there are none, of all cells.
    """
    values = np.ma.masked_invalid(grid.values("seconds"))
    each = values.mean(axis=2).filled(values.mean() if values.count() else 0.0)
    return float(((grid.kinds == NOT_RUN).sum(axis=2) * each).sum())
