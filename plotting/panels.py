"""Pages of heatmaps: a title, strips of panels under their headings, colour bars and a legend.

`assemble` makes the strips of an entry of FIGURES from all logs that fit, `draw_entry` its figure, `draw_log` that of
one log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from instances.task import Measure
from plotting import heatmaps as hm
from plotting import page, words
from plotting.figures import MINUS, Entry
from plotting.logs import Clash, grid_of
from plotting.numbers import MEAN, SHARES, Heatmap, Quantity, common_range, difference, heatmap, measured
from sweep.logbook import Log
from sweep.table import NOT_RUN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    Panel = tuple[Axes, Heatmap]


@dataclass(frozen=True)
class Strip:
    """A row of panels."""

    rows: str  # what the rows of its heatmaps are
    heatmaps: dict[str, Heatmap]  # by heading: the columns, then their differences if there are any
    heading: str = ""  # words over the row
    notes: dict[str, str] = field(default_factory=dict)  # {heading of a panel: what else is said over it}

    @property
    def measures(self) -> list[Measure]:
        """What its heatmaps show: that of the columns, then that of their differences."""
        return list(dict.fromkeys(shown.measure for shown in self.heatmaps.values()))

    @property
    def num_rows(self) -> int:
        """Rows of cells."""
        return len(next(iter(self.heatmaps.values())).mlist)


@dataclass(frozen=True)
class Sizes:
    """Lengths in inches, and fonts in points, of a page of heatmaps."""

    width: float = page.WIDTH
    cell: float = 0.25  # height of a cell, at most
    bar: float = 0.08  # height of a colour bar
    title: float = 9
    heading: float = 7.5
    label: float = 7
    tick: float = 5.5
    number: float = 7  # at most


# ---- what is shown ----


def assemble(entry: Entry, logs: Sequence[Log], quantity: Quantity) -> tuple[list[Strip], list[Clash]]:
    """The strips of an entry, their measures without a range where none is stated, and the logs that clash."""
    strips, clashes = [], []
    for row in entry.rows:
        measure = measured([log for found in row.fitting(logs).values() for log in found], row.task, quantity.metric)
        grids, on_task = row.grids(logs, entry.seeds), quantity.on(row.task)
        shown = {heading: heatmap(grid, on_task, measure) for heading, grid in grids.items()}
        shown |= {f"{first} {MINUS} {second}": difference(grids[first], grids[second], on_task, measure)
                  for first, second in entry.differences}
        strips.append(Strip(hm.row_name(row.task), shown, words.row_heading(row),
                            words.panel_notes(row, shown, quantity)))
        clashes += [clash for grid in grids.values() for clash in grid.clashes]
    return strips, clashes


def is_empty(strips: Sequence[Strip]) -> bool:
    """Whether no cell of any column was run."""
    return all((shown.reasons == NOT_RUN).all() for strip in strips for shown in strip.heatmaps.values())


def share_colours(strips: Sequence[Strip], quantity: Quantity) -> list[Strip]:
    """The strips with ranges of colours, which those in sequence share that show the same measures.

    A difference has a range no wider than its score.
    """
    coloured = []
    for measures, group in groupby(strips, key=lambda strip: strip.measures):
        band, filled, widest = list(group), {}, np.inf
        for measure in measures:
            same = [shown for strip in band for shown in strip.heatmaps.values() if shown.measure == measure]
            filled[measure] = common_range(same, quantity, widest)
            low, high = filled[measure].range or (0, np.inf)
            widest = high - low if measure.scale == "linear" else np.inf
        for strip in band:
            heatmaps = {name: replace(shown, measure=filled[shown.measure]) for name, shown in strip.heatmaps.items()}
            coloured.append(replace(strip, heatmaps=heatmaps))
    return coloured


def shared_measure(logs: Sequence[Log], quantity: Quantity) -> Measure:
    """The one measure, its range filled in, that colours all these logs of a task, so that methods compare."""
    task = logs[0].settings["task"]
    measure, quantity = measured(logs, task, quantity.metric), quantity.on(task)
    return common_range([heatmap(grid_of(log), quantity, measure) for log in logs], quantity)


def summaries(strips: Sequence[Strip], quantity: Quantity) -> Iterator[str]:
    """Lines that tell differences of the mean score, or numbers of successes, in numbers."""
    for strip in strips:
        for head, shown in strip.heatmaps.items():
            if not shown.count.any():
                continue
            if quantity.statistic in SHARES and not shown.signed:
                yield f"{strip.heading}: {head}: {words.successes([shown])} cells and seeds"
            elif quantity.is_score and quantity.statistic == MEAN and shown.signed:
                yield f"{strip.heading}: {head}: {words.difference_line(shown)}"


# ---- the page ----


def draw_entry(entry: Entry, strips: Sequence[Strip], quantity: Quantity) -> Figure:
    """The figure of an entry, whose strips come from `assemble`."""
    title = words.figure_title(entry, quantity, [strip.heatmaps for strip in strips])
    return draw_page(title, share_colours(strips, quantity), Sizes())


def draw_log(log: Log, measure: Measure, quantity: Quantity) -> Figure:
    """The figure of one log, as large as its grid."""
    task = log.settings["task"]
    shown = heatmap(grid_of(log), quantity.on(task), measured([log], task, quantity.metric))
    longest, columns = max(shown.values.shape), shown.values.shape[1]
    cell = min(1.0, max(0.6, 3 / longest), 15 / longest)  # inches: small grids have larger cells, a side 15 at most
    sizes = Sizes(width=cell * columns + 0.8, cell=cell, bar=0.13, title=10, label=9, tick=8, number=9)
    letters = max(36, int(12 * (cell * columns + 1)))  # of the title: 12 to an inch at 10 points
    title = words.log_title(log, letters, quantity.statistic)
    return draw_page(title, [Strip(hm.row_name(task), {"": replace(shown, measure=measure)})], sizes)


def draw_page(title: str, strips: Sequence[Strip], sizes: Sizes) -> Figure:
    """The figure of these strips, whose measures have ranges. Those in sequence that share them share colour bars.

    All strips have as many heatmaps. To be called within `page.style()`.
    """
    columns = len(strips[0].heatmaps)
    figure = page.new_figure(sizes.width, 1 + sum(1.2 + sizes.cell * strip.num_rows for strip in strips))
    figure.suptitle(title, x=0, ha="left", fontsize=sizes.title, parse_math=False)
    grid, width = figure.add_gridspec(len(strips), columns), 72 * sizes.width / columns  # points, of a panel, about
    rows: list[list[Panel]] = [[*zip(row, strip.heatmaps.values(), strict=True)]
                               for row, strip in zip(grid.subplots(squeeze=False), strips, strict=True)]
    for row, strip in zip(rows, strips, strict=True):
        label_strip(row, strip, width, sizes)
    groups: list[list[Panel]] = []
    for measures, pairs in groupby(zip(rows, strips, strict=True), key=lambda pair: pair[1].measures):
        band = [row for row, _ in pairs]
        for measure in measures:
            groups.append([(ax, shown) for row in band for ax, shown in row if shown.measure == measure])
            draw_group(groups[-1], len(groups[-1]) // len(band), width, sizes)
    if entries := hm.legend_entries([shown for row in rows for _, shown in row]):
        figure.legend(*zip(*entries, strict=True), loc="outside lower left", ncols=2 if sizes.width > 5 else 1,
                      fontsize=sizes.label, handleheight=1)
    figure.align_ylabels()
    set_heights(figure, grid, [row[0] for row in rows], sizes.cell)
    finest = None
    for group in groups:
        finest = write_group(group, sizes, finest)
    figure.set_layout_engine("none")  # the numbers are fitted to the cells as they are now
    return figure


def label_strip(row: Sequence[Panel], strip: Strip, width: float, sizes: Sizes) -> None:
    """Label the panels of a strip, and put its heading over their titles: in empty lines that these begin with.

    Args:
        width: of a panel, about, in points.
    """
    titles = [f"{page.wrap(name, width, sizes.label)}\n{strip.notes.get(name, '')}".strip() for name in strip.heatmaps]
    for (ax, shown), title in zip(row, titles, strict=True):
        hm.label_axes(ax, shown, strip.rows if ax is row[0][0] else "", sizes.tick, sizes.label)
        ax.set_title("\n\n" * bool(strip.heading) + title, fontsize=sizes.label, pad=3, parse_math=False)
    if not strip.heading:
        return
    above = 1.2 * sizes.label * (1 + max(title.count("\n") for title in titles)) + 8
    row[0][0].annotate(strip.heading, (0, 1), (0, above), xycoords="axes fraction", fontweight="bold",
                       textcoords="offset points", fontsize=sizes.heading, parse_math=False).set_in_layout(False)


def draw_group(group: Sequence[Panel], columns: int, width: float, sizes: Sizes) -> None:
    """Colour the cells of panels of one measure, with a bar below all of them if there is anything to colour.

    Args:
        columns: of panels.  width: of a panel, about, in points.
    """
    from matplotlib.cm import ScalarMappable

    for ax, shown in group:
        hm.draw_cells(ax, shown)
    (axes, heatmaps), width = zip(*group, strict=True), width * columns
    if all(np.isnan(shown.values).all() for shown in heatmaps):
        return
    height = sizes.cell * sum(len(shown.mlist) for shown in heatmaps) / columns
    bar = axes[0].figure.colorbar(ScalarMappable(*hm.colouring(heatmaps[0])), ax=axes, location="bottom",
                                  extend=hm.extent(heatmaps), aspect=width / (72 * sizes.bar), pad=sizes.bar / height)
    bar.ax.tick_params(labelsize=sizes.tick)
    label = page.wrap(hm.bar_label(heatmaps[0].measure), width, sizes.label)
    bar.set_label(label, fontsize=sizes.label, parse_math=False)
    bar.outline.set_visible(False)


def set_heights(figure: Figure, grid: GridSpec, first: Sequence[Panel], largest: float) -> None:
    """Make the page so high that the cells of each row are square, or so high at most, by the first panel of each."""
    figure.draw_without_rendering()  # lays it out
    heights = [len(shown.mlist) * min(largest, hm.cell_points(ax, shown)[0] / 72) for ax, shown in first]
    grid.set_height_ratios(heights)
    now = sum(ax.get_window_extent().height for ax, _ in first) / figure.dpi
    figure.set_figheight(figure.get_figheight() + sum(heights) - now)
    figure.draw_without_rendering()


def write_group(group: Sequence[Panel], sizes: Sizes, finest: int | None) -> int | None:
    """Write the numbers into the cells of panels of one measure, in one form, and thin their labels.

    A difference gets at most as many decimals as the numbers that it is the difference of, `finest`.
    """
    heatmaps = [shown for _, shown in group]
    cell = tuple(map(min, zip(*(hm.cell_points(*panel) for panel in group), strict=True)))
    form = hm.number_format(heatmaps, cell, sizes.number, finest if heatmaps[0].signed else None)
    for ax, shown in group:
        hm.thin_labels(ax, shown, sizes.tick)
        if form:
            hm.write_numbers(ax, shown, *form)
    return form[0] if form and heatmaps[0].measure.scale == "linear" else None
