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
from plotting.logs import Clash, Grid, gather, grid_of
from plotting.numbers import (
    SHARES,
    Block,
    Heatmap,
    Quantity,
    difference,
    fill_range,
    heatmap,
    heatmaps_of,
    measured,
    shown,
)
from sweep.logbook import Log
from sweep.table import NOT_RUN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec


@dataclass(frozen=True)
class Strip:
    """A row of panels.

    Args:
        rows: what the rows of its heatmaps are.
        blocks: the columns, then the differences if there are any.
        heading: words over the row.  notes: {heading of a panel: what else is said over it}.
    """

    rows: str
    blocks: tuple[Block, ...]
    heading: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Rows of cells."""
        return len(heatmaps_of(self.blocks)[0].mlist)


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
        fitting = row.fitting(logs)
        gathered = {head: gather(found, row.mlist, row.slist, entry.seeds) for head, found in fitting.items()}
        clashes += [clash for _, found in gathered.values() for clash in found]
        measure = measured([log for found in fitting.values() for log in found], row.task, quantity.metric)
        grids = {head: grid for head, (grid, _) in gathered.items()}
        blocks = blocks_of(entry.differences, grids, quantity.on(row.task), measure)
        strips.append(Strip(hm.row_name(row.task), blocks, words.row_heading(row), words.column_notes(row)))
    return strips, clashes


def blocks_of(differences: Sequence[tuple[str, str]], grids: dict[str, Grid], quantity: Quantity,
              measure: Measure) -> tuple[Block, ...]:
    """The blocks of a row: heatmaps of the grids {heading: Grid}, then their differences if there are any."""
    columns = {head: heatmap(grid, quantity, measure) for head, grid in grids.items()}
    subtracted = {f"{first} {MINUS} {second}": difference(grids[first], grids[second], quantity, measure)
                  for first, second in differences}
    blocks = Block(shown(measure, quantity), columns), Block(shown(measure, quantity, signed=True), subtracted)
    return tuple(block for block in blocks if block.heatmaps)


def is_empty(strips: Sequence[Strip]) -> bool:
    """Whether no cell of any column was run."""
    return all((shown.reasons == NOT_RUN).all() for strip in strips for shown in heatmaps_of(strip.blocks[:1]))


def share_colours(strips: Sequence[Strip], quantity: Quantity) -> list[list[Strip]]:
    """Bands of strips in sequence that show the same measures, each with one range of colours."""
    bands = []
    for _, group in groupby(strips, key=lambda strip: [block.measure for block in strip.blocks]):
        band, measures, widest = list(group), [], None
        for same in zip(*(strip.blocks for strip in band), strict=True):
            measures.append(fill_range(same[0].measure, quantity, heatmaps_of(same), widest))
            low, high = hm.range_of(measures[0])
            widest = high - low if measures[0].scale == "linear" else None
        bands.append([replace(strip, blocks=tuple(replace(block, measure=measure) for block, measure
                                                  in zip(strip.blocks, measures, strict=True))) for strip in band])
    return bands


def shared_measure(logs: Sequence[Log], quantity: Quantity) -> Measure:
    """The one measure, its range filled in, that colours all these logs of a task, so that methods compare."""
    measure = measured(logs, logs[0].settings["task"], quantity.metric)
    heatmaps = [heatmap(grid_of(log), quantity, measure) for log in logs]
    return fill_range(shown(measure, quantity), quantity, heatmaps)


def summaries(strips: Sequence[Strip], quantity: Quantity) -> Iterator[str]:
    """Lines that tell differences of the mean score, or numbers of successes, in numbers."""
    for strip in strips:
        for head, panel in ((head, panel) for block in strip.blocks for head, panel in block.heatmaps.items()):
            if not panel.count.any():
                continue
            if quantity.statistic in SHARES and not panel.signed:
                yield f"{strip.heading}: {head}: {words.successes([panel])} cells and seeds"
            elif quantity == Quantity() and panel.signed:
                yield f"{strip.heading}: {head}: {words.difference_line(panel)}"


# ---- the page ----


def draw_entry(entry: Entry, strips: Sequence[Strip], quantity: Quantity) -> Figure:
    """The figure of an entry, whose strips come from `assemble`."""
    title = words.figure_title(entry, quantity, [block for strip in strips for block in strip.blocks])
    return draw_page(title, share_colours(strips, quantity), Sizes())


def draw_log(log: Log, measure: Measure, quantity: Quantity) -> Figure:
    """The figure of one log, as large as its grid."""
    task = log.settings["task"]
    panel = heatmap(grid_of(log), quantity, measured([log], task, quantity.metric))
    longest, columns = max(panel.values.shape), panel.values.shape[1]
    cell = min(1.0, max(0.6, 3 / longest), 15 / longest)  # inches: small grids have larger cells, a side 15 at most
    sizes = Sizes(width=cell * columns + 0.8, cell=cell, bar=0.13, title=10, label=9, tick=8, number=9)
    letters = max(36, int(12 * (cell * columns + 1)))  # of the title: 12 to an inch at 10 points
    title = words.log_title(log, letters, quantity.statistic)
    return draw_page(title, [[Strip(hm.row_name(task), (Block(measure, {"": panel}),))]], sizes)


def draw_page(title: str, bands: Sequence[Sequence[Strip]], sizes: Sizes) -> Figure:
    """The figure of these strips. Those of a band share their colours, and have colour bars below the last.

    All strips have blocks of the same numbers of panels. To be called within `page.style()`.
    """
    strips = [strip for band in bands for strip in band]
    counts = [len(block.heatmaps) for block in strips[0].blocks]
    figure = page.new_figure(sizes.width, 1 + sum(1.2 + sizes.cell * strip.num_rows for strip in strips))
    figure.suptitle(title, x=0, ha="left", fontsize=sizes.title, parse_math=False)
    grid = figure.add_gridspec(len(strips), sum(counts))
    axes = grid.subplots(squeeze=False)
    groups = []
    for band, rows in zip(bands, np.split(axes, np.cumsum([len(band) for band in bands])[:-1]), strict=True):
        for number, places in enumerate(np.split(rows, np.cumsum(counts)[:-1], axis=1)):
            groups.append(draw_group(places, band, number, sizes.width * 72 / sum(counts), sizes))
    for strip, row in zip(strips, axes, strict=True):
        if strip.heading:
            write_heading(row, strip.heading, sizes)
    entries = hm.legend_entries([heatmap for strip in strips for heatmap in heatmaps_of(strip.blocks)])
    if entries:
        figure.legend(*zip(*entries, strict=True), loc="outside lower left", ncols=2 if sizes.width > 5 else 1,
                      fontsize=sizes.label, handleheight=1)
    figure.align_ylabels()
    first = [(row[0], heatmaps_of(strip.blocks)[0]) for row, strip in zip(axes, strips, strict=True)]
    set_heights(figure, grid, first, sizes.cell)
    finest = None
    for group in groups:
        finest = write_group(group, sizes, finest)
    figure.set_layout_engine("none")  # the numbers are fitted to the cells as they are now
    return figure


@dataclass(frozen=True)
class Group:
    """Panels of a band that share a look: (Axes, what they show)."""

    look: hm.Look
    panels: list[tuple[Axes, Heatmap]]


def draw_group(axes: np.ndarray, band: Sequence[Strip], number: int, width: float, sizes: Sizes) -> Group:
    """Draw the block of this number of the strips of a band into Axes [strip, column], and their colour bar.

    Args:
        width: of a panel, about, in points.
    """
    blocks = [strip.blocks[number] for strip in band]
    group = Group(hm.look_of(blocks[0].measure, heatmaps_of(blocks)), [])
    for row, strip, block in zip(axes, band, blocks, strict=True):
        for ax, (name, panel) in zip(row, block.heatmaps.items(), strict=True):
            hm.draw_cells(ax, panel, group.look)
            hm.label_axes(ax, panel, strip.rows if ax.get_subplotspec().is_first_col() else "", sizes.tick, sizes.label)
            title = f"{page.wrap(name, width, sizes.label)}\n{strip.notes.get(name, '')}".strip()
            ax.set_title("\n\n" * bool(strip.heading) + title, fontsize=sizes.label, pad=3, parse_math=False)
            group.panels.append((ax, panel))
    if not all(np.isnan(panel.values).all() for _, panel in group.panels):
        pad = sizes.bar / (sizes.cell * sum(strip.num_rows for strip in band))
        draw_colour_bar(axes, group.look, width * axes.shape[1], pad, sizes)
    return group


def write_heading(row: Sequence[Axes], heading: str, sizes: Sizes) -> None:
    """Bold words over the titles of the Axes of a strip, at its left: in the empty lines that these begin with."""
    lines = max(len(ax.get_title().lstrip("\n").split("\n")) for ax in row)
    row[0].annotate(heading, (0, 1), (0, 1.2 * lines * sizes.label + 8), xycoords="axes fraction", fontweight="bold",
                    textcoords="offset points", fontsize=sizes.heading, parse_math=False).set_in_layout(False)


def draw_colour_bar(axes: np.ndarray, look: hm.Look, width: float, pad: float, sizes: Sizes) -> None:
    """A colour bar below these Axes, as wide as they are, with arrows where values exceed the range.

    Args:
        width: in points.  pad: the gap above it, as a share of the height of the Axes.
    """
    from matplotlib.cm import ScalarMappable

    bar = axes[0, 0].figure.colorbar(ScalarMappable(look.norm, look.cmap), ax=axes, location="bottom",
                                     extend=look.extend, aspect=width / (72 * sizes.bar), pad=pad)
    bar.ax.tick_params(labelsize=sizes.tick)
    bar.set_label(page.wrap(hm.bar_label(look.measure), width, sizes.label), fontsize=sizes.label, parse_math=False)
    bar.outline.set_visible(False)


def set_heights(figure: Figure, grid: GridSpec, first: Sequence[tuple[Axes, Heatmap]], largest: float) -> None:
    """Make the page so high that the cells of each row are square, or so high at most, by the first panel of each."""
    figure.draw_without_rendering()  # lays it out
    heights = [len(panel.mlist) * min(largest, hm.cell_points(ax, panel)[0] / 72) for ax, panel in first]
    grid.set_height_ratios(heights)
    now = sum(ax.get_window_extent().height for ax, _ in first) / figure.dpi
    figure.set_figheight(figure.get_figheight() + sum(heights) - now)
    figure.draw_without_rendering()


def write_group(group: Group, sizes: Sizes, finest: int | None) -> int | None:
    """Write the numbers of a group into its cells, in one form, and thin its labels.

    A difference gets at most as many decimals as the numbers that it is the difference of, `finest`.
    """
    heatmaps, measure = [panel for _, panel in group.panels], group.look.measure
    cell = tuple(map(min, zip(*(hm.cell_points(*panel) for panel in group.panels), strict=True)))
    form = hm.number_format(heatmaps, measure, cell, sizes.number, finest if heatmaps[0].signed else None)
    for ax, panel in group.panels:
        hm.thin_labels(ax, panel, sizes.tick)
        if form:
            hm.write_numbers(ax, panel, group.look, *form)
    return form[0] if form and measure.scale == "linear" else None
