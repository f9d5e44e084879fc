"""Logs as tables, in the forms of FORMATS: for each cell (m, s) the mean, deviation and median over the seeds.

    python make_figures.py --table markdown
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from plotting.logs import gather
from plotting.numbers import MEAN, MEDIAN, STD, Quantity, measured, over_seeds, seed_values
from sweep.logbook import Log
from sweep.names import AXES
from sweep.report import format_score
from sweep.table import NOT_RUN

CELLS = "cells"  # a further form, of single cells
NUMBERS = ("mean", "std", "median", "seeds")  # seeds: how many have the number; std divides by one less


def table(logs: Sequence[Log], metric: str, form: str) -> str:
    """The table of a number of the cells of these logs, as text; it names the settings that differ among them.

    Args:
        metric: SCORE, or the name of a number in the records of cells.  form: a key of FORMATS.
    """
    names = dict.fromkeys(name for log in logs for name in log.settings if name not in ("task", "method"))
    differing = [name for name in names  # where they have an effect
                 if len({spelled(log.settings[name]) for log in logs if name in log.settings}) > 1]
    groups = defaultdict[tuple[str, ...], list[Log]](list)
    for log in logs:
        groups[tuple(spelled(log.settings.get(name)) for name in ("task", "method", *differing))].append(log)
    header = ["task", "method", *differing, "m", "s", *NUMBERS]
    return FORMATS[form](header, [[*said, *row] for said, group in groups.items()
                                  for row in rows(group, metric, form == "csv")])


def cells(logs: Sequence[Log]) -> str:
    """A line per cell, as CSV: settings, m, s, seed, status, score, and what else its record says."""
    lines = [log.settings | dict(zip(AXES, cell, strict=True)) | {"status": NOT_RUN, "score": log.score(cell)}
             | log.records.get(cell, {}) for log in logs for cell in log.cells()]
    header = list(dict.fromkeys(name for line in lines for name in line))
    return as_csv(header, [[spelled(line.get(name)) for name in header] for line in lines])


def rows(logs: Sequence[Log], metric: str, precise: bool) -> Iterator[list[str]]:
    """A row for each (m, s) of logs of the same settings, together, for which any seed has the number.

    `precise` spells out all its digits.
    """
    grid = gather(logs, *(sorted({value for log in logs for value in log.axes[axis]}) for axis in AXES))
    measure = measured(logs, logs[0].settings["task"], metric)
    values = seed_values(grid, Quantity(metric), measure, logarithms=False)
    (means, count), (deviations, _), (medians, _) = (over_seeds(values, name) for name in (MEAN, STD, MEDIAN))
    for place in zip(*np.nonzero(count), strict=True):
        numbers = [float(reduced[place]) for reduced in (means, deviations, medians)]
        yield [str(grid.mlist[place[0]]), str(grid.slist[place[1]]),
               *(spelled(value) if precise else "" if np.isnan(value) else format_score(value, measure)
                 for value in numbers), str(count[place])]


def spelled(value: Any) -> str:
    """A setting or a number as text; nothing for one that is not there."""
    return "" if value is None or value != value else str(value)


# ---- forms ----


def as_csv(header: list[str], body: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *body])
    return text.getvalue().rstrip("\n")


def as_markdown(header: list[str], body: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
                     for row in [header, ["---"] * len(header), *body])


def as_latex(header: list[str], body: list[list[str]]) -> str:
    head, *lines = (" & ".join(row).replace("_", r"\_").replace("%", r"\%") + r" \\" for row in (header, *body))
    return "\n".join([rf"\begin{{tabular}}{{{'l' * (len(header) - 6)}{'r' * 6}}}", head, r"\hline", *lines,
                      r"\end{tabular}"])


FORMATS = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}
