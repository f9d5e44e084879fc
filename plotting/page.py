"""The one page system of the project: figures in one style, laid out by matplotlib and saved as PNG and PDF.

A script draws so, whatever matplotlibrc says and without a display:

    with page.style():
        figure = page.new_figure(6.8, 4)
        figure.subplots().plot(x, y)
        page.save(figure, Path("figures/name"))

`draw_page` puts heatmaps on a page: a title, strips of panels under their headings, colour bars and a legend.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plotting import heatmaps as hm
from plotting.numbers import Heatmap
from sweep.flags import UsageError
from sweep.logbook import replace_files
from tasks import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec, SubplotSpec

WIDTH = 6.8  # inches: two columns of a paper
STYLE = {  # of every figure of the project
    "pdf.fonttype": 42,  # embeds TrueType: text in the PDF stays text
    "hatch.linewidth": 0.6,
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "legend.title_fontsize": 8, "legend.frameon": False, "figure.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.3, "lines.markersize": 4,
}
DPI = 200  # of a PNG


# ---- any figure ----


@contextmanager
def style() -> Iterator[None]:
    """The style of the project, in which figures are made and saved."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, whose layout engine makes room for labels and titles."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png and stem.pdf, each whole or not at all, and return their paths. Raises OSError.

    The page is cut, or grows, until what is on it fits. The files carry no date.
    """
    pictures = {}
    with style():
        for ending, metadata in (("png", None), ("pdf", {"CreationDate": None})):
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=DPI, bbox_inches="tight", metadata=metadata)
            pictures[stem.with_name(f"{stem.name}.{ending}")] = content.getvalue()
    stem.parent.mkdir(parents=True, exist_ok=True)
    replace_files(pictures)
    return list(pictures)


def make_folder(path: Path) -> None:
    """Make a folder to write in, before any work. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError("no permission to write there")
    except OSError as error:
        raise UsageError(f"argument --figures_dir: cannot use {path} ({error}); choose another folder") from None


def heading(figure: Figure, place: SubplotSpec, words: str, size: float, where: str = "left") -> None:
    """Bold words at the bottom of a place in the grid of a figure, at its left or in its center."""
    ax = figure.add_subplot(place)
    ax.set_axis_off()
    ax.text({"left": 0, "center": 0.5}[where], 0, words, ha=where, va="bottom", fontsize=size, fontweight="bold",
            parse_math=False, transform=ax.transAxes)


def wrap(text: str, width: float, size: float, between: str = " ") -> str:
    """The text in lines that are no wider than `width` points at this font size, broken only at `between`."""
    first, *others = text.replace(between, f"{between.rstrip()}\n").split("\n")
    lines = [first]
    for piece in others:
        longer = f"{lines[-1]} {piece}"
        if hm.text_width(longer) * size <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return "\n".join(lines)


def draw_legend(ax: Axes, entries: Sequence[tuple[object, str]], size: float) -> float:
    """A legend in place of these Axes, in as many columns as they hold; returns its height in inches."""
    for columns in range(len(entries), 0, -1):
        legend = ax.legend(*zip(*entries, strict=True), loc="upper left", ncols=columns, fontsize=size, frameon=False,
                           borderpad=0, borderaxespad=0, handleheight=1)
        box = legend.get_window_extent()
        if box.width <= ax.bbox.width:
            break
    legend.set_in_layout(False)
    return box.height / ax.figure.dpi


def lay_out(figure: Figure) -> None:
    """Put everything into its place, now and not when the figure is drawn."""
    figure.get_layout_engine().execute(figure)


def settle(figure: Figure, grid: GridSpec, heights: Sequence[float], widths: Sequence[float] | None = None) -> None:
    """Make the page so large that the rows of a grid, and its columns if given, have these sizes in inches.

    That is the size of the Axes in them, without labels and titles.
    """
    grid.set_height_ratios(heights)
    if widths is not None:
        grid.set_width_ratios(widths)
    lay_out(figure)
    boxes = [(ax.get_subplotspec(), ax.get_position(original=True)) for ax in figure.axes]
    rows = {spec.rowspan.start: box.height for spec, box in boxes if len(spec.rowspan) == 1}
    columns = {spec.colspan.start: box.width for spec, box in boxes if len(spec.colspan) == 1}
    width, height = figure.get_size_inches()
    if widths is not None:
        width += sum(widths) - inner_share(columns, widths) * width
    figure.set_size_inches(width, height + sum(heights) - inner_share(rows, heights) * height)
    lay_out(figure)


def inner_share(shares: dict[int, float], sizes: Sequence[float]) -> float:
    """The share of a page that all rows (or columns) have together, from the shares of some and the ratios of all."""
    largest = max(shares, key=lambda number: sizes[number])  # the most exact
    return shares[largest] / sizes[largest] * sum(sizes)


# ---- pages of heatmaps ----


@dataclass(frozen=True)
class Block:
    """Heatmaps of a strip that share their colours: its columns, or its differences."""

    measure: Measure
    heatmaps: dict[str, Heatmap]  # by heading


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
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells of a panel."""
        return heatmaps_of(self.blocks)[0].values.shape


@dataclass(frozen=True)
class Sizes:
    """Lengths in inches, and fonts in points, of a page of heatmaps."""

    width: float | None = WIDTH  # None: as wide as `cell` makes it
    cell: float = 0.25  # height of a cell, at most; where width is None, side of a cell
    bar: float = 0.08  # height of a colour bar
    block_gap: float = 0.02  # before the differences, beside the usual gap
    heading_room: float = 0.18  # height of a heading and the gap above it
    title: float = 9
    heading: float = 7.5
    label: float = 7
    tick: float = 5.5
    number: float = 7  # at most


PAPER = Sizes()  # a page of several panels


def heatmaps_of(blocks: Sequence[Block]) -> list[Heatmap]:
    """All heatmaps of these blocks."""
    return [heatmap for block in blocks for heatmap in block.heatmaps.values()]


@dataclass
class Group:
    """Panels of a band that share a look, and their colour bar.

    Args:
        panels: (Axes, what they show, heading, note).
        bar: the Axes of the colour bar; None where there is nothing to colour.
    """

    look: hm.Look
    panels: list[tuple[Axes, Heatmap, str, str]]
    bar: Axes | None


def draw_page(title: str, bands: Sequence[Sequence[Strip]], sizes: Sizes) -> Figure:
    """The figure of these strips. Those of a band share their colours, and have colour bars below the last.

    All strips have blocks of the same numbers of panels. To be called within `style()`.
    """
    strips = [strip for band in bands for strip in band]
    columns, widths = columns_of(strips[0], sizes)
    figure = new_figure(sizes.width or sum(widths) + 1, 3 * (1 + len(strips)))  # large enough for a first layout
    figure.suptitle(title, x=0, ha="left", fontsize=sizes.title, parse_math=False)
    figure.get_layout_engine().set(w_pad=0.025, wspace=0, h_pad=0.05, hspace=0)
    grid = figure.add_gridspec(sum(2 * len(band) + 1 for band in bands) + 1, len(widths), width_ratios=widths)
    groups, row = [], 0
    for band in bands:
        groups += draw_band(figure, grid, row, columns, band, sizes)
        row += 2 * len(band) + 1
    entries = hm.legend_entries([heatmap for strip in strips for heatmap in heatmaps_of(strip.blocks)])
    bottom = figure.add_subplot(grid[row, :])
    bottom.set_axis_off()
    lay_out(figure)  # now the panels have their width
    legend = draw_legend(bottom, entries, sizes.label) if entries else 0.001
    write_headings(groups, sizes)
    heights = [height for band in bands for height in row_heights(band, groups[0].panels[0][0], sizes)]
    figure.align_ylabels()
    settle(figure, grid, [*heights, legend], widths if sizes.width is None else None)
    write_cells(groups, sizes)
    figure.set_layout_engine("none")  # the numbers are fitted to the cells as they are now
    if entries:
        bottom.get_legend().set_in_layout(True)  # a page that is cut to what is on it holds the legend
    return figure


def columns_of(strip: Strip, sizes: Sizes) -> tuple[list[list[int]], list[float]]:
    """The columns of the grid that the panels of each block stand in, and the widths of all columns.

    Widths are in inches where the page has no width, else ratios. A narrow column stands between two blocks.
    """
    width = 1.0 if sizes.width else sizes.cell * strip.shape[1]
    columns, widths = [], []
    for block in strip.blocks:
        widths += [sizes.block_gap] if widths else []
        columns.append(list(range(len(widths), len(widths) + len(block.heatmaps))))
        widths += [width] * len(block.heatmaps)
    return columns, widths


def row_heights(band: Sequence[Strip], panel: Axes, sizes: Sizes) -> Iterator[float]:
    """Heights in inches of the rows of the grid that a band takes: for each strip heading and panels, then the bars."""
    for strip in band:
        rows, columns = strip.shape
        cell = min(sizes.cell, panel.get_window_extent().width / panel.figure.dpi / columns)
        yield from (sizes.heading_room if strip.heading else 0.001, rows * (cell if sizes.width else sizes.cell))
    yield sizes.bar


def draw_band(figure: Figure, grid: GridSpec, row: int, columns: Sequence[Sequence[int]], band: Sequence[Strip],
              sizes: Sizes) -> list[Group]:
    """Draw strips that share their colours, and their colour bars, into the grid from this row on."""
    groups = []
    for number, places in enumerate(columns):
        heatmaps = heatmaps_of([strip.blocks[number] for strip in band])
        look = hm.look_of(band[0].blocks[number].measure, heatmaps)
        bar = None
        if not all(np.isnan(heatmap.values).all() for heatmap in heatmaps):
            bar = figure.add_subplot(grid[row + 2 * len(band), places[0] : places[-1] + 1])
            hm.draw_colour_bar(bar, look, sizes.tick)
        groups.append(Group(look, [], bar))
    for strip in band:
        heading(figure, grid[row, :], strip.heading, sizes.heading)
        for group, places, block in zip(groups, columns, strip.blocks, strict=True):
            for place, (words, heatmap) in zip(places, block.heatmaps.items(), strict=True):
                ax = figure.add_subplot(grid[row + 1, place])
                hm.draw_cells(ax, heatmap, group.look)
                hm.label_axes(ax, heatmap, None if place else strip.rows, sizes.tick, sizes.label)
                group.panels.append((ax, heatmap, words, strip.notes.get(words, "")))
        row += 2
    return groups


def write_headings(groups: Sequence[Group], sizes: Sizes) -> None:
    """Headings of panels, their labels and those of colour bars, wrapped to their widths and heights."""
    for group in groups:
        for ax, heatmap, words, note in group.panels:
            width = ax.get_window_extent().width * 72 / ax.figure.dpi
            lines = [wrap(words, width, sizes.label)] + [wrap(note, width, sizes.label, between=", ")] * bool(note)
            ax.set_title("\n".join(lines), fontsize=sizes.label, pad=3, parse_math=False)
            height = heatmap.values.shape[0] * sizes.cell * 72 + 2 * sizes.label  # it may stand beside other labels
            ax.set_ylabel(wrap(ax.get_ylabel(), height, sizes.label))
        if group.bar:
            width = group.bar.get_window_extent().width * 72 / group.bar.figure.dpi
            label = wrap(hm.bar_label(group.look.measure), max(width, 72), sizes.label)
            group.bar.set_xlabel(label, fontsize=sizes.label, parse_math=False)


def write_cells(groups: Sequence[Group], sizes: Sizes) -> None:
    """What is fitted to the sizes of the cells: numbers, marks and labels.

    A difference gets at most as many decimals as the numbers that it is the difference of.
    """
    finest = None
    for group in groups:
        measure, heatmaps = group.look.measure, [heatmap for _, heatmap, *_ in group.panels]
        signed = any(heatmap.signed for heatmap in heatmaps)
        cell = tuple(map(min, zip(*(hm.cell_points(ax, heatmap) for ax, heatmap, *_ in group.panels), strict=True)))
        decimals, font = hm.fit_numbers(heatmaps, measure, cell, sizes.number, finest if signed else None)
        finest = decimals if measure.scale == "linear" else None
        look = replace(group.look, decimals=decimals, font=font)
        for ax, heatmap, *_ in group.panels:
            hm.write_numbers(ax, heatmap, look)
            hm.mark_pathless(ax, heatmap, look)
            hm.thin_labels(ax)
