"""One page to explore logs in a browser: the heatmaps of all methods, and what is known of each cell.

    python make_figures.py --html explore.html --logs_dir logs/reference

The page holds plotly.js (of the package plotly, which is optional), explore.js and the data, and loads nothing else.
It has a section for each of FIGURES, and for each task with the cells that belong to none of them. The numbers of
single seeds are in the data; the browser reduces and subtracts them as plotting/numbers.py does.

The data are a literal of JavaScript: JSON, but for Infinity, the PSNR of an exact fit.
"""

from __future__ import annotations

import html
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from options import flags
from plotting.against import KERNEL, by_settings, facts_of
from plotting.figures import Entry
from plotting.heatmaps import row_name
from plotting.logs import NOT_RECORDED, pick
from plotting.numbers import Quantity
from plotting.panels import shared_measure
from plotting.words import depth_words, row_heading, settings_line
from shell.files import check_writable, replace_files
from shell.program import UsageError
from sweep.history import History
from sweep.logbook import Log
from sweep.methods import METHODS
from sweep.settings import logged_flags, setting_words
from sweep.table import NOT_RUN, Cell
from tasks import TASKS

FOLDER = Path(__file__).parent
CURVE = ("step", "score")  # what the page holds of a history
DIGITS = 4  # of seconds and of the numbers of a history; scores have all of theirs


@dataclass(frozen=True)
class Block:
    """Heatmaps side by side: cells of one problem, on one grid."""

    heading: str
    task: str
    axes: tuple[Sequence[int], Sequence[int], Sequence[int]]  # m, s and seed
    columns: Mapping[str, Sequence[Log]]  # by heading

    @property
    def cells(self) -> list[Cell]:
        """In the order of arrays [m, s, seed]."""
        return list(product(*self.axes))

    def is_run(self, heading: str) -> bool:
        """Whether a column has any cell."""
        return any(not log.records.keys().isdisjoint(self.cells) for log in self.columns[heading])


class Pool:
    """What many cells share, each kept once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, item: Any) -> int:
        """The number of an item."""
        place = self._places.setdefault(json.dumps(item), len(self.items))
        if place == len(self.items):
            self.items.append(item)
        return place


# ---- which cells are shown where ----


def figure_blocks(entry: Entry, logs: Sequence[Log]) -> list[Block]:
    """The rows of a figure of which any cell was run."""
    rows = [Block(row_heading(row), row.task, (row.mlist, row.slist, entry.seeds), row.fitting(logs))
            for row in entry.rows]
    return [block for block in rows if any(map(block.is_run, block.columns))]


def figure_sections(figures: Mapping[str, Entry], logs: Sequence[Log]) -> dict[str, list[Block]]:
    """{title: blocks} of the figures that show anything which no earlier one does."""
    sections, shown = {}, set[tuple]()
    for entry in figures.values():
        blocks = figure_blocks(entry, logs)
        panels = {(*map(tuple, block.axes), frozenset(found)) for block in blocks
                  for heading, found in block.columns.items() if block.is_run(heading)}
        if panels - shown:
            sections[entry.title] = blocks
        shown |= panels
    return sections


def left_over(logs: Iterable[Log], blocks: Iterable[Block]) -> list[Log]:
    """The logs with cells that none of the blocks shows."""
    shown: dict[Log, set[Cell]] = {}
    for block in blocks:
        for log in {log for found in block.columns.values() for log in found}:
            shown.setdefault(log, set()).update(block.cells)
    return [log for log in logs if log.records.keys() - shown.get(log, set())]


def task_blocks(task: str, logs: Sequence[Log]) -> list[Block]:
    """The logs of a task, a block for each problem, a column for each method and its settings."""
    problems: dict[str, dict[str, list[Log]]] = {}
    for found in by_settings(logs).values():
        problem, column = headings(found[0].settings)
        columns = problems.setdefault(problem, {})
        same = sum(other.partition(" #")[0] == column for other in columns)
        columns[f"{column} #{same + 1}" if same else column] = found
    return [Block(problem, task, axes_of(columns), columns) for problem, columns in problems.items()]


def headings(settings: Mapping[str, Any]) -> tuple[str, str]:
    """What was fitted, and how, in words."""
    task, method = settings["task"], settings["method"]
    own, of_task = logged_flags(task, method), flags(TASKS[task])
    problem = {name: value for name, value in settings.items() if name in of_task}
    rest = {name: value for name, value in settings.items() if name not in (*of_task, "num_layers", "expname")}
    depth = [depth_words(settings["num_layers"])] if "num_layers" in settings else []
    return (", ".join([task, *depth, *setting_words(problem, own)]),
            ", ".join(filter(None, [METHODS[method].title, *setting_words(rest, own), settings.get("expname")])))


def axes_of(columns: Mapping[str, Sequence[Log]]) -> tuple[list[int], list[int], list[int]]:
    """All m, s and seeds of these logs."""
    logs = [log for found in columns.values() for log in found]
    m, s, seeds = (sorted({value for log in logs for value in log.axes[axis]}) for axis in ("m", "s", "seed"))
    return m, s, seeds


# ---- as data ----


def page_data(figures: Mapping[str, Entry], sets: Mapping[str, Sequence[Log]]) -> dict[str, Any]:
    """What the page holds.

    Args:
        sets: {name: logs}, one set of logs, or two that are compared.
    """
    logs = [log for own in sets.values() for log in own]
    sections = figure_sections(figures, logs)
    rest = left_over(logs, [block for blocks in sections.values() for block in blocks])
    for task in dict.fromkeys(log.settings["task"] for log in rest):
        sections[f"{task}, further logs"] = task_blocks(task, [log for log in rest if log.settings["task"] == task])
    measures = {task: asdict(shared_measure(own, Quantity())) | {"exact": TASKS[task].exact, "rows": row_name(task)}
                for task in TASKS if (own := [log for log in logs if log.settings["task"] == task])}
    pools = {"statuses": Pool(), "origins": Pool(), "curves": Pool()}
    pools["statuses"].place(NOT_RUN)
    shown = [{"title": title, "blocks": [block_data(block, list(map(set, sets.values())), pools) for block in blocks]}
             for title, blocks in sections.items()]
    return {"names": list(sets), "num_logs": len(logs), "num_cells": sum(len(log.records) for log in logs),
            "measures": measures, "sections": shown} | {name: pool.items for name, pool in pools.items()}


def block_data(block: Block, sides: Sequence[set[Log]], pools: Mapping[str, Pool]) -> dict[str, Any]:
    """A block: its axes, and the cells of each column in each set of logs."""
    columns = [{"heading": heading, "sides": [cell_data(block, [log for log in logs if log in side], pools)
                                              for side in sides]}
               for heading, logs in block.columns.items() if block.is_run(heading)]
    lacking = [heading for heading in block.columns if not block.is_run(heading)]
    return {"heading": block.heading, "task": block.task, "columns": columns, "lacking": lacking,
            **dict(zip(("m", "s", "seeds"), map(list, block.axes), strict=True))}


def cell_data(block: Block, logs: Sequence[Log], pools: Mapping[str, Pool]) -> dict[str, list[Any]]:
    """Arrays [m, s, seed], flat: score, nonzeros and seconds, None where there is none, and numbers in the pools."""
    taken, _ = pick(logs, block.cells)
    rows = [one_cell(taken.get(cell), cell, pools) for cell in block.cells]
    return {name: [row[name] for row in rows] for name in rows[0]}


def one_cell(log: Log | None, cell: Cell, pools: Mapping[str, Pool]) -> dict[str, Any]:
    """What the page holds of one cell."""
    if log is None:
        return {"score": None, "status": 0, "weights": None, "seconds": None, "origin": None, "curve": None}
    record, score, history = log.records[cell], log.score(cell), log.histories.get(cell)
    return {"score": None if np.isnan(score) else score, "status": pools["statuses"].place(log.status(cell)),
            "weights": record.get("num_nonzero"), "seconds": rounded(record.get("seconds")),
            "origin": pools["origins"].place(origin(log, cell)),
            "curve": None if history is None else pools["curves"].place(curve(history))}


def origin(log: Log, cell: Cell) -> dict[str, str]:
    """How a cell was computed: the settings, the BLAS kernel, the machine, the versions, and its log."""
    facts = {name: str(value) for name, value in facts_of(log, cell).items()
             if value is not None and not name.startswith("--")}
    first = {"settings": settings_line(log.settings), KERNEL: facts.pop(KERNEL, NOT_RECORDED)}
    return first | facts | {"log": "" if log.path is None else "/".join(log.path.parts[-3:])}


def curve(history: History) -> dict[str, list[float | None]]:
    """The steps of a fit, and the score at them."""
    return {name: [rounded(value) for value in history[name].tolist()] for name in CURVE}


def rounded(value: float | None) -> float | None:
    """A number with few digits; None where there is none."""
    return None if value is None or np.isnan(value) else float(f"{value:.{DIGITS}g}")


# ---- as a page ----


def check_page(path: Path) -> None:
    """Raise UsageError where plotly is not installed, or no page can be written to this path."""
    if importlib.util.find_spec("plotly") is None:
        raise UsageError(f"argument --html: {sys.executable} has no plotly; install it: pip install plotly")
    if path.is_dir():
        raise UsageError(f"argument --html: {path} is a folder; name a file in it, such as {path / 'explore.html'}")
    check_writable(path.parent, "--html")


def write_page(path: Path, data: Mapping[str, Any]) -> None:
    """Write the page of these data, whole or not at all. Raises UsageError."""
    try:
        replace_files({path: page_text(data).encode()})
    except OSError as error:
        raise UsageError(f"argument --html: cannot write {path} ({error.strerror}); choose another") from None


def page_text(data: Mapping[str, Any]) -> str:
    """The page, which loads nothing."""
    from plotly.offline import get_plotlyjs

    literal = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")  # within strings, which it may not end
    title = " and ".join(f"Logs in {name}" if place == 0 else name for place, name in enumerate(data["names"]))
    return Template((FOLDER / "explore.html").read_text()).substitute(
        title=html.escape(title), plotly=get_plotlyjs(), data=literal, script=(FOLDER / "explore.js").read_text())
