"""Entries of FIGURES that are drawn as lines: a panel for each row, the score against s, a line for each column.

A line is the median over the seeds, its band reaches from the worst to the best of them. All panels have one width m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from plotting import page, words
from plotting.figures import Entry, Row
from plotting.heatmaps import bar_label
from plotting.logs import SCORE, Grid
from plotting.numbers import MEDIAN, over_seeds
from sweep.logbook import Log
from sweep.table import DONE
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour and a marker per line: colours of Okabe and Ito, which read without colour vision, and brown; in grey the
# markers tell the lines apart.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#8C510A")
MARKERS = "osv^DPX*"
PER_ROW, PANEL = 3, (3.3, 2.7)  # panels side by side, and the size of one in inches


def draw_lines(entry: Entry, logs: Sequence[Log]) -> Figure:
    """The figure of an entry whose rows have one width each; rows and columns that were not run are left out."""
    headings = dict.fromkeys(heading for row in entry.rows for heading in row.columns)
    styles = {heading: {"label": heading, "color": colour, "marker": marker}
              for heading, colour, marker in zip(headings, cycle(COLOURS), cycle(MARKERS), strict=False)}
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
    figure.suptitle(entry.title)
    return figure


def draw_curve(ax: Axes, x: Sequence[float], middle: Sequence[float], low: Sequence[float], high: Sequence[float],
               line: str = "-", **style: Any) -> None:
    """A curve in a band of its colour, from low to high."""
    [drawn] = ax.plot(x, middle, line, **style)
    ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)


def draw_panel(ax: Axes, row: Row, grids: dict[str, Grid], styles: dict[str, dict[str, str]]) -> None:
    """One task: its score against s."""
    for heading, grid in grids.items():
        scores = np.where(grid.kinds == DONE, grid.values(SCORE), np.nan)
        median, count = over_seeds(scores, MEDIAN)
        there = count[0] > 0
        s, seeds = np.array(row.slist)[there], scores[0][there]
        draw_curve(ax, s, median[0][there], np.nanmin(seeds, axis=1), np.nanmax(seeds, axis=1), **styles[heading])
    ax.set_xscale("log")
    ax.set_xticks(row.slist, map(str, row.slist))
    ax.minorticks_off()
    ax.set_title(f"{row.task}, m = {row.mlist[0]}{words.outputs_words(row)}")
    ax.set_xlabel("nonzeros s")
    ax.set_ylabel(bar_label(TASKS[row.task].measure))
