"""Draw a Heatmap into Axes: coloured cells with numbers, hatched where there are none.

`draw_cells` and `label_axes` come before the layout of a page, `write_numbers` and `thin_labels` after it, since it
decides how large the cells are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from instances.task import Measure
from plotting.logs import NOT_RECORDED
from plotting.numbers import FEW, UNDEFINED, Heatmap
from sweep.table import FAILED, NOT_RUN, SKIPPED
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

MIN_FONT = 5  # points, of the numbers in the cells; smaller ones are left out
IN_A_CELL = 3.4  # font sizes that a cell is wide, so that it holds a number of four digits or signs
IN_A_LABEL = 2.6  # font sizes from one label to the next, which may have four digits
WIDTHS = {".": 0.32, "-": 0.36, "+": 0.84, "\u2212": 0.84}  # of characters of DejaVu Sans, in font sizes
DIGIT = 0.64  # of all others in a number, likewise
HATCHES = {NOT_RUN: "////", SKIPPED: "....", FAILED: "xxxx", NOT_RECORDED: "----", FEW: "||||", UNDEFINED: "++++"}
TRIANGLE = np.array([(0, 0), (-3, 0), (0, 3), (0, 0)])  # the mark in the lower right corner of a cell
MARK_SIZE = 6.5  # points: legs of 2.4
MID_LUMINANCE = 0.18  # of a colour on which black and white text read as well


def colouring(heatmap: Heatmap) -> tuple[Normalize, Colormap]:
    """From a value to a colour: bright where good; for differences white at 0, and blue where the first is better."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    name, measure = "RdBu" if heatmap.signed else "viridis", heatmap.measure
    return ((LogNorm if measure.scale == "log" else Normalize)(*heatmap.limits),
            colormaps[name if measure.higher_is_better else f"{name}_r"])


def extent(heatmaps: Sequence[Heatmap]) -> str:
    """Whether values of heatmaps of one measure exceed its range, in the words of a colour bar of matplotlib."""
    low, high = heatmaps[0].limits
    below = any(np.any(heatmap.values < low) for heatmap in heatmaps)
    above = any(np.any(heatmap.values > high) for heatmap in heatmaps)
    return "both" if below and above else "min" if below else "max" if above else "neither"


# ---- before the layout ----


def draw_cells(ax: Axes, heatmap: Heatmap) -> None:
    """Colour the cells, m down and s across, hatch those without a number, and mark those without a path."""
    from matplotlib.patches import Rectangle

    values, (norm, cmap) = np.clip(heatmap.values, *heatmap.limits), colouring(heatmap)
    ax.pcolormesh(values, norm=norm, cmap=cmap, edgecolors="white", linewidth=0.5)
    for row, column in np.argwhere(np.isnan(values)):
        ax.add_patch(Rectangle((column, row), 1, 1, **hatching(heatmap.reasons[row, column])))
    ax.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    ax.spines[:].set_visible(False)
    mark_pathless(ax, heatmap)


def hatching(reason: str) -> dict[str, Any]:
    """The style of a cell without a number."""
    return {"hatch": HATCHES[reason], "facecolor": "0.96", "edgecolor": "0.65", "linewidth": 0}


def mark_pathless(ax: Axes, heatmap: Heatmap) -> None:
    """A triangle in the corner of cells where no path from input to output is left: hollow for some seeds, else full.

    It is small enough to stay clear of the numbers.
    """
    from matplotlib.path import Path

    marked = (heatmap.pathless > 0) & ~np.isnan(heatmap.values)
    if marked.any():
        (rows, columns), colours = np.nonzero(marked), text_colours(heatmap)[marked]
        ax.scatter(columns + 1, rows + 1, MARK_SIZE**2, edgecolors=colours, linewidths=0.4,
                   facecolors=np.where(heatmap.pathless[marked] == 1, colours, "none"), marker=Path(TRIANGLE + (-1, 1)))


def label_axes(ax: Axes, heatmap: Heatmap, rows: str, tick_size: float, label_size: float) -> None:
    """Label columns with s and rows with m; without a name for the rows these have no labels."""
    ax.set_xlabel("nonzeros s", fontsize=label_size)
    ax.set_ylabel(rows, fontsize=label_size)
    ax.set_xticks(np.arange(len(heatmap.slist)) + 0.5, map(str, heatmap.slist))
    ax.set_yticks(np.arange(len(heatmap.mlist)) + 0.5, map(str, heatmap.mlist))
    ax.tick_params(length=0, pad=0.4 * tick_size, labelsize=tick_size, labelleft=bool(rows))


# ---- after the layout ----


def cell_points(ax: Axes, heatmap: Heatmap) -> tuple[float, float]:
    """Width and height of a cell, in points (1/72 inch)."""
    width, height = ax.figure.dpi_scale_trans.inverted().transform(ax.get_window_extent().size) * 72
    return width / len(heatmap.slist), height / len(heatmap.mlist)


def thin_labels(ax: Axes, heatmap: Heatmap, tick_size: float) -> None:
    """Keep as many labels of columns and rows as there is room for, at equal distances."""
    for axis, values, length in zip((ax.xaxis, ax.yaxis), (heatmap.slist, heatmap.mlist), cell_points(ax, heatmap),
                                    strict=True):
        step = math.ceil(IN_A_LABEL * tick_size / length)
        axis.set_ticks(np.arange(0, len(values), step) + 0.5, map(str, values[::step]))


def number_format(heatmaps: Sequence[Heatmap], cell: tuple[float, float], largest: float,
                  finest: int | None = None) -> tuple[int, float] | None:
    """(decimals, font size) of the numbers of one measure in cells of this width and height; None where none fit.

    The size depends on the cells alone. The decimals are those of three significant digits of the range, or fewer.

    Args:
        cell, largest: size of a cell, and of a number at most, in points.  finest: bound on the decimals.
    """
    lines = 2 if any(few_seeds(heatmap).any() for heatmap in heatmaps) else 1
    font = min(largest, max(MIN_FONT, cell[0] / IN_A_CELL), cell[1] / (1.2 * lines))
    if font < MIN_FONT:
        return None
    measure, (low, high) = heatmaps[0].measure, heatmaps[0].limits
    decimals = 1 if measure.scale == "log" else max(0, 2 - math.floor(math.log10(high - low)))
    if heatmaps[0].medians is not None:
        decimals = 0  # the range is that of the colours
    for precision in range(decimals if finest is None else min(decimals, finest), -1, -1):
        texts = (format_number(value, precision, measure.scale, heatmap.signed)
                 for heatmap in heatmaps for value in heatmap.numbers[~np.isnan(heatmap.numbers)])
        if all(font * sum(WIDTHS.get(character, DIGIT) for character in text) <= 0.97 * cell[0] for text in texts):
            return precision, font
    return None


def write_numbers(ax: Axes, heatmap: Heatmap, decimals: int, font: float) -> None:
    """Write the numbers into their cells, over "2/3" where 2 of 3 seeds ran."""
    colours, partial = text_colours(heatmap), few_seeds(heatmap)
    for row, column in np.argwhere(~np.isnan(heatmap.values)):
        text = format_number(heatmap.numbers[row, column], decimals, heatmap.measure.scale, heatmap.signed)
        text += f"\n{heatmap.count[row, column]}/{heatmap.seeds}" if partial[row, column] else ""
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", linespacing=1, fontsize=font,
                color=colours[row, column]).set_in_layout(False)


def few_seeds(heatmap: Heatmap) -> np.ndarray:
    """Where a number is of fewer seeds than the grid has, [m, s]."""
    return ~np.isnan(heatmap.values) & (heatmap.count < heatmap.seeds)


def text_colours(heatmap: Heatmap) -> np.ndarray:
    """"black" or "white" [m, s], whichever reads better on the cell."""
    norm, cmap = colouring(heatmap)
    colours = cmap(norm(np.clip(heatmap.values, *heatmap.limits)))[..., :3]
    luminance = colours**2.2 @ (0.2126, 0.7152, 0.0722)
    return np.where(luminance > MID_LUMINANCE, "black", "white")


def format_number(value: float, decimals: int, scale: str, signed: bool = False) -> str:
    """Short text of a value: this many decimals, on a log scale as many after the first significant digit."""
    if value == 0:
        return "0"
    if 1e5 <= abs(value) < math.inf or (scale == "log" and 0 < abs(value) < 0.01):
        text = re.sub(r"e([+-])0*", r"e\1", f"{value:.{decimals}e}")
    elif scale == "log":
        text = f"{value:.{decimals + 1}g}"
    else:
        text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0 makes -0.0 a plain 0.0
    if signed and value > 0 and re.search("[1-9i]", text):  # no sign where it shows as zero
        text = f"+{text}"
    return text.replace("-", "\u2212") if signed else text  # the sign is longer and reads better


# ---- beside the cells ----


def row_name(task: str) -> str:
    """What the rows of a heatmap are."""
    return "hidden width m" if TASKS[task].is_network else "signal length p"


def bar_label(measure: Measure) -> str:
    """Name and unit."""
    return f"{measure.name} ({measure.unit})" if measure.unit else measure.name


def legend_entries(heatmaps: Sequence[Heatmap]) -> list[tuple[Artist, str]]:
    """(handle, words) of what occurs in these heatmaps and does not explain itself."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.path import Path

    reasons = {str(reason) for heatmap in heatmaps for reason in heatmap.reasons[np.isnan(heatmap.values)]}
    entries: list[tuple[Artist, str]] = [(Patch(**hatching(reason)), reason) for reason in HATCHES if reason in reasons]
    shares = np.concatenate([heatmap.pathless[~np.isnan(heatmap.values)] for heatmap in heatmaps])
    for face, seeds, present in (("none", "some seed", (0 < shares) & (shares < 1)),
                                 ("black", "all seeds", shares == 1)):
        if present.any():
            triangle = Line2D([], [], linestyle="none", marker=Path(TRIANGLE + (1.5, -1.5)), markersize=4,
                              markerfacecolor=face, markeredgecolor="black", markeredgewidth=0.4)
            entries.append((triangle, f"no path from input to output left ({seeds})"))
    counts = sorted({int(count) for heatmap in heatmaps for count in heatmap.count[few_seeds(heatmap)]})
    if counts:
        shown = ", ".join(f"{count}/{heatmaps[0].seeds}" for count in counts)
        words = f"{shown}: seeds with a number, where these are not all {heatmaps[0].seeds}"
        entries.append((Line2D([], [], linestyle="none"), words))
    return entries
