"""Figures of lines: scores against s, of the entries of FIGURES that say so, and histories of fits, step by step.

    python make_figures.py --figure opponents
    python make_figures.py --history score --task mlp_planted

A line of an entry is the median over the seeds, in a band from the worst to the best of them. A history is drawn over
the rows of its cells (sweep/history.py), in a band from the first to the third quartile; seeds that have ended earlier
keep their last value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from instances.task import Measure
from plotting import looks, page, words
from plotting.figures import Entry, Row
from plotting.heatmaps import bar_label
from plotting.logs import SCORE, Grid
from plotting.numbers import MEDIAN, Quantity, over_seeds, seed_values
from sweep.history import COLUMNS, History
from sweep.logbook import Log
from sweep.methods import METHODS
from sweep.table import DONE
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW, PANEL = 3, (3.3, 2.7)  # panels side by side, and the size of one in inches

NUMBERS = tuple(name for name in COLUMNS if name != "step")  # of histories
MEASURES = {
    "loss": Measure("loss: share of the energy left, or cross-entropy", scale="log"),
    "num_nonzero": Measure("nonzero weights"), "live_neurons": Measure("live neurons"),
    "support_changed": Measure("share of the support that changed"),
    "gates_changed": Measure("share of the gates that changed"), "seconds": Measure("seconds of the fit"),
}
FEW_STEPS = 30  # are marked on their line
PALEST = 0.7  # share of white in a curve of few weights, at most


def draw_curve(ax: Axes, x: ArrayLike, middle: ArrayLike, low: ArrayLike, high: ArrayLike, **style: Any) -> None:
    """A curve in a band of its colour, from low to high."""
    [drawn] = ax.plot(x, middle, **style)
    ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)


# ---- scores against s ----


def draw_lines(entry: Entry, logs: Sequence[Log]) -> Figure:
    """The figure of an entry, a panel for each row, a line for each column; those that were not run are left out."""
    headings = dict.fromkeys(heading for row in entry.rows for heading in row.columns)
    styles = {heading: style | {"label": heading} for heading, style in looks.looks(headings).items()}
    found = [(row, grids) for row in entry.rows if (grids := {
        heading: grid for heading, grid in row.grids(logs, entry.seeds).items() if (grid.kinds == DONE).any()})]
    columns = min(PER_ROW, len(found))
    rows = math.ceil(len(found) / columns)
    figure = page.new_figure(PANEL[0] * columns, PANEL[1] * rows + 0.7)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(found):]:
        ax.set_axis_off()
    for ax, (row, grids) in zip(panels, found, strict=False):
        draw_panel(ax, row, grids, styles)
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    shown = [heading for heading in headings if heading in handles]
    figure.legend([handles[heading] for heading in shown], shown, loc="outside lower center", ncols=4)
    figure.suptitle(f"{entry.title}: median, band from the worst to the best; {words.seeds_words(entry.seeds)}")
    return figure


def draw_panel(ax: Axes, row: Row, grids: dict[str, Grid], styles: dict[str, dict[str, Any]]) -> None:
    """One task: its score against s, at the one width of the row."""
    measure = TASKS[row.task].measure
    for heading, grid in grids.items():
        scores = seed_values(grid, Quantity(SCORE), measure, logarithms=False)
        median, count = over_seeds(scores, MEDIAN)
        there = count[0] > 0
        s, seeds = np.array(row.slist)[there], scores[0][there]
        draw_curve(ax, s, median[0][there], np.nanmin(seeds, axis=1), np.nanmax(seeds, axis=1), **styles[heading])
    ax.set_xscale("log")
    ax.set_xticks(row.slist, map(str, row.slist))
    ax.minorticks_off()
    ax.set_title(f"{row.task}, m = {row.mlist[0]}{words.outputs_words(row)}")
    ax.set(xlabel="nonzeros s", ylabel=bar_label(measure))


# ---- histories ----


def history_makers(logs: Sequence[Log], number: str) -> dict[str, Callable[[], Figure]]:
    """{name of a figure: function that draws it}, one for each task and width of these logs."""
    makers: dict[str, Callable[[], Figure]] = {}
    for task, m in sorted({(log.settings["task"], cell[0]) for log in logs for cell in log.histories}):
        own = [log for log in logs if log.settings["task"] == task]
        methods = "_".join(dict.fromkeys(log.settings["method"] for log in own))
        makers[f"history_{number}_{task}_{methods}_m{m}"] = partial(draw_history, own, m, number)
    return makers


def curves(logs: Sequence[Log], m: int, number: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(words, steps [steps], a number [seeds, steps] at them) of each log and s that has histories at width m.

    The numbers are NaN before the first value of a seed.
    """
    found = []
    for log in logs:
        others = [other for other in logs if other.settings["method"] == log.settings["method"]]
        label = METHODS[log.settings["method"]].title + (f" ({settings_words(log, others)})" if len(others) > 1 else "")
        for s in log.axes["s"]:
            histories = [history for cell, history in log.histories.items() if cell[:2] == (m, s)]
            if histories:
                steps = np.unique(np.concatenate([history["step"] for history in histories]))
                values = np.stack([held(history, number, steps) for history in histories])
                found.append((f"{label}, s {s}", steps, values))
    return found


def settings_words(log: Log, others: Sequence[Log]) -> str:
    """The settings of a log that are not those of all others."""
    own = [f"{name} {value}" for name, value in log.settings.items()
           if any(other.settings[name] != value for other in others)]
    return ", ".join(own) or "all other settings the same"


def held(history: History, number: str, steps: np.ndarray) -> np.ndarray:
    """A number at each of the steps: that of the last row so far, NaN before the first."""
    place = np.searchsorted(history["step"], steps, side="right") - 1
    return np.where(place >= 0, history[number][place], np.nan)


def draw_history(logs: Sequence[Log], m: int, number: str) -> Figure:
    """The figure of one task and width. To be called within page.style()."""
    task, found = logs[0].settings["task"], curves(logs, m, number)
    measure = TASKS[task].measure if number == SCORE else MEASURES[number]
    figure = page.new_figure(page.WIDTH * 0.75, 3.2)
    ax = figure.subplots()
    styles = history_styles([label for label, *_ in found])
    for label, steps, values in found:
        draw_seeds(ax, steps, values, label=label, **styles[label])
    ax.set_yscale(measure.scale)
    ax.locator_params("x", integer=True)
    ax.set_xlabel(" / ".join(dict.fromkeys(METHODS[log.settings["method"]].step for log in logs)))
    ax.set_ylabel(bar_label(measure))
    seeds = sorted({seed for log in logs for width, _, seed in log.histories if width == m})
    over = "median and quartiles over " * (len(seeds) > 1) + words.seeds_words(seeds)
    ax.set_title(f"{task}, m {m}: {over}", loc="left", parse_math=False)
    ax.legend(fontsize=6.5, ncols=1 + len(found) // 12, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def history_styles(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{label of a curve: its style}: that of its method and log, paler the fewer weights it has."""
    split = {label: label.rpartition(", s ") for label in labels}
    of_log = looks.looks(dict.fromkeys(name for name, *_ in split.values()))
    slist = sorted({int(s) for *_, s in split.values()})
    pale = {s: PALEST * (1 - place / len(slist)) for place, s in enumerate(slist, 1)}
    return {label: of_log[name] | {"color": looks.shade(of_log[name]["color"], pale[int(s)])}
            for label, (name, _, s) in split.items()}


def draw_seeds(ax: Axes, steps: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """The median over the seeds, in the band between the quartiles."""
    there = ~np.isnan(values).all(axis=0)
    steps, values = steps[there], values[:, there]
    low, median, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    draw_curve(ax, steps, median, low, high, **style | ({} if len(steps) <= FEW_STEPS else {"marker": ""}))
