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

from instances.task import Measure
from plotting.logs import SCORE, gather
from plotting.numbers import MEAN, MEDIAN, METRICS, STD, over_seeds
from sweep.logbook import Log
from sweep.report import format_score
from sweep.table import DONE

NUMBERS = ("mean", "std", "median", "n")  # std with n - 1 degrees of freedom; n seeds that have a number


def differing(logs: Sequence[Log]) -> list[str]:
    """Names of the settings, but for task and method, that differ among the logs on which they have an effect."""
    names = dict.fromkeys(name for log in logs for name in log.settings if name not in ("task", "method"))
    return [name for name in names if len({effective(log, name) for log in logs if name in log.settings}) > 1]


def effective(log: Log, name: str) -> str:
    """The value of a setting, as text; nothing where it has no effect, or is not known."""
    return spelled(log.settings.get(name))


def table(logs: Sequence[Log], metric: str, form: str) -> str:
    """The table of a number of the cells of these logs, as text.

    Args:
        metric: SCORE, or the name of a number in the records of cells.  form: a key of FORMATS.
    """
    settings, groups = differing(logs), defaultdict[tuple[str, ...], list[Log]](list)
    for log in logs:
        said = (log.settings["task"], log.settings["method"], *(effective(log, name) for name in settings))
        groups[said].append(log)
    header = ["task", "method", *settings, "m", "s", *NUMBERS]
    return FORMATS[form](header, [[*said, *row] for said, group in groups.items()
                                  for row in rows(group, metric, form == "csv")])


def rows(logs: Sequence[Log], metric: str, precise: bool) -> Iterator[list[str]]:
    """A row for each (m, s) of logs of the same settings, together, for which any seed has the number.

    `precise` spells out all its digits.
    """
    axes = (sorted({value for log in logs for value in log.axes[axis]}) for axis in ("m", "s", "seed"))
    grid, _ = gather(logs, *axes)
    values = np.where(grid.kinds == DONE, grid.values(metric), np.nan)
    measure = logs[0].measure if metric == SCORE else METRICS.get(metric, Measure())
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
    def line(row: list[str]) -> str:
        return " & ".join(cell.replace("_", r"\_").replace("%", r"\%") for cell in row) + r" \\"

    return "\n".join([rf"\begin{{tabular}}{{{'l' * (len(header) - 6)}{'r' * 6}}}", line(header), r"\hline",
                      *map(line, body), r"\end{tabular}"])


FORMATS = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}
