"""Draw a Heatmap into Axes: coloured cells with numbers, hatched where there are none.

Drawing takes two steps, since numbers are fitted into cells whose size the layout decides: `draw_cells` and
`label_axes` before it, `write_numbers`, `mark_pathless` and `thin_labels` after it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plotting.logs import NOT_RECORDED
from plotting.numbers import FEW, UNDEFINED, Heatmap
from sweep.logbook import FAILED, NOT_RUN, SKIPPED
from tasks import TASKS, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

MIN_FONT = 5  # points, of the numbers in the cells; smaller ones are left out
LINE = 1.2  # height of a line of text, in font sizes
HATCHES = {NOT_RUN: "////", SKIPPED: "....", FAILED: "xxxx", NOT_RECORDED: "----", FEW: "||||", UNDEFINED: "++++"}
MARK_LEG, MARK_LARGEST = 0.155, 4  # legs of the mark in a corner: share of the shorter side of a cell, points at most
MID_LUMINANCE = 0.18  # of a colour on which black and white text read as well


@dataclass(frozen=True)
class Look:
    """How heatmaps are drawn that share their colours and the form of their numbers.

    Args:
        measure: what they show, with its range.
        norm, cmap: from a value to a colour; the colour map says whether values exceed the range.
        decimals, font: of the numbers; the font, in points, is 0 where numbers would be illegible. See fit_numbers.
    """

    measure: Measure
    norm: Normalize
    cmap: Colormap
    decimals: int = 0
    font: float = 0

    def colours(self, values: np.ndarray) -> np.ndarray:
        """The colours [..., rgb] of values."""
        return self.cmap(self.norm(np.clip(values, *self.measure.range)))[..., :3]


def look_of(measure: Measure, heatmaps: Sequence[Heatmap]) -> Look:
    """Bright where good; for differences white at 0, and blue where the first is better."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    name = "RdBu" if heatmaps[0].signed else "viridis"
    cmap = colormaps[name if measure.higher_is_better else f"{name}_r"].copy()
    below = any(np.any(heatmap.values < measure.range[0]) for heatmap in heatmaps)
    above = any(np.any(heatmap.values > measure.range[1]) for heatmap in heatmaps)
    cmap.colorbar_extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    return Look(measure, (LogNorm if measure.scale == "log" else Normalize)(*measure.range), cmap)


# ---- before the layout ----


def draw_cells(ax: Axes, heatmap: Heatmap, look: Look) -> None:
    """Colour the cells, m down and s across, and hatch those without a number."""
    from matplotlib.patches import Rectangle

    values = np.clip(heatmap.values, *look.measure.range)
    ax.pcolormesh(values, norm=look.norm, cmap=look.cmap, edgecolors="white", linewidth=0.5)
    for row, column in np.argwhere(np.isnan(values)):
        ax.add_patch(Rectangle((column, row), 1, 1, **hatching(heatmap.reasons[row, column])))
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def hatching(reason: str) -> dict[str, Any]:
    """The style of a cell without a number."""
    return {"hatch": HATCHES[reason], "facecolor": "0.96", "edgecolor": "0.65", "linewidth": 0}


def label_axes(ax: Axes, heatmap: Heatmap, rows: str | None, tick_size: float, label_size: float) -> None:
    """Label columns with s and rows with m; without a name for the rows these have no labels."""
    ax.set_xticks(np.arange(len(heatmap.slist)) + 0.5, heatmap.slist, fontsize=tick_size)
    ax.set_xlabel("nonzeros s", fontsize=label_size)
    ax.set_yticks([])
    if rows is not None:
        ax.set_yticks(np.arange(len(heatmap.mlist)) + 0.5, heatmap.mlist, fontsize=tick_size)
        ax.set_ylabel(rows, fontsize=label_size)
    ax.tick_params(pad=0.4 * tick_size)


# ---- after the layout ----


def cell_points(ax: Axes, heatmap: Heatmap) -> tuple[float, float]:
    """Width and height of a cell, in points (1/72 inch)."""
    box = ax.get_window_extent()
    return box.width / len(heatmap.slist) * 72 / ax.figure.dpi, box.height / len(heatmap.mlist) * 72 / ax.figure.dpi


def thin_labels(ax: Axes) -> None:
    """Keep as many labels of columns and rows as there is room for, at equal distances."""
    box, points = ax.get_window_extent(), 72 / ax.figure.dpi
    for axis, room in ((ax.xaxis, box.width * points), (ax.yaxis, box.height * points)):
        ticks, labels = axis.get_ticklocs(), axis.get_ticklabels()
        if len(labels) < 2:
            continue
        size = labels[0].get_fontsize()
        widths = [text_width(label.get_text()) * size for label in labels]
        between = max((a + b) / 2 for a, b in zip(widths, widths[1:], strict=False)) + 0.3 * size
        needed = between if axis is ax.xaxis else 1.25 * size
        step = math.ceil(needed / (room / len(labels)))
        axis.set_ticks(ticks[::step], [label.get_text() for label in labels[::step]], fontsize=size)


def fit_numbers(heatmaps: Sequence[Heatmap], measure: Measure, cell: tuple[float, float], largest: float,
                finest: int | None = None) -> tuple[int, float]:
    """(decimals, font size) of the values of heatmaps, as precise as cells of this width and height can hold.

    Numbers get three significant digits of the range of the measure where these fit, else fewer. Where they fit only
    in a tight row they are written at the smallest size.

    Args:
        cell: in points.  largest: size that a number may have at most, in points.
        finest: bound on the decimals.
    Returns:
        A size of 0 where no font that can be read is small enough.
    """
    low, high = measure.range
    values = [(value, heatmap.signed) for heatmap in heatmaps for value in heatmap.numbers[~np.isnan(heatmap.numbers)]]
    if any(heatmap.medians is not None for heatmap in heatmaps):
        finest = 0  # the range is that of the colours
    lines = 1 + any(few_seeds(heatmap).any() for heatmap in heatmaps)
    decimals = 1 if measure.scale == "log" else max(0, 2 - math.floor(math.log10(high - low)))
    decimals = decimals if finest is None else min(decimals, finest)
    for precision in (decimals, max(0, decimals - 1), 0):
        texts = {format_number(value, precision, measure.scale, signed) for value, signed in values} or {"0"}
        widest = max(map(text_width, texts))
        airy, tight = 0.85 * cell[0] / widest, 0.95 * cell[0] / widest
        size = min(largest, max(airy, min(tight, MIN_FONT)), 0.9 * cell[1] / (LINE * lines))
        if size >= MIN_FONT:
            return precision, size
    return 0, 0


@functools.cache
def text_width(text: str, weight: str = "normal") -> float:
    """Width of a line of text, in font sizes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=1, weight=weight), ismath=False)[0]


def write_numbers(ax: Axes, heatmap: Heatmap, look: Look) -> None:
    """Write the numbers into their cells, over "n=2" where fewer seeds ran; nothing where it were illegible."""
    if not look.font:
        return
    colour, partial = text_colours(heatmap, look), few_seeds(heatmap)
    for row, column in np.argwhere(~np.isnan(heatmap.values)):
        place = (column + 0.5, row + 0.5)
        style = {"ha": "center", "color": colour[row, column]}
        text = format_number(heatmap.numbers[row, column], look.decimals, look.measure.scale, heatmap.signed)
        ax.text(*place, text, va="bottom" if partial[row, column] else "center", fontsize=look.font, **style)
        if partial[row, column]:
            n = f"n={heatmap.count[row, column]}"
            ax.text(*place, n, va="top", fontsize=max(MIN_FONT, 0.8 * look.font), **style)


def few_seeds(heatmap: Heatmap) -> np.ndarray:
    """Where a number is of fewer seeds than the grid has, [m, s]."""
    return ~np.isnan(heatmap.values) & (heatmap.count < heatmap.seeds)


def text_colours(heatmap: Heatmap, look: Look) -> np.ndarray:
    """"black" or "white" [m, s], whichever reads better on the cell."""
    luminance = look.colours(heatmap.values) ** 2.2 @ (0.2126, 0.7152, 0.0722)
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


def mark_pathless(ax: Axes, heatmap: Heatmap, look: Look) -> None:
    """A triangle in the corner of cells where no path from input to output is left: hollow for some seeds, else full.

    It is small enough to stay clear of the numbers.
    """
    from matplotlib.patches import Polygon

    width, height = cell_points(ax, heatmap)
    leg = min(MARK_LARGEST, MARK_LEG * min(width, height))
    dx, dy = leg / width, leg / height
    colour = text_colours(heatmap, look)
    for row, column in np.argwhere((heatmap.pathless > 0) & ~np.isnan(heatmap.values)):
        right, bottom = column + 1 - dx / 3, row + 1 - dy / 3
        corners = [(right, bottom), (right - dx, bottom), (right, bottom - dy)]
        face = colour[row, column] if heatmap.pathless[row, column] == 1 else "none"
        ax.add_patch(Polygon(corners, facecolor=face, edgecolor=colour[row, column], linewidth=0.4))


# ---- beside the cells ----


def row_name(task: str) -> str:
    """What the rows of a heatmap are."""
    return "hidden width m" if TASKS[task].is_network else "signal length p"


def bar_label(measure: Measure) -> str:
    """Name and unit."""
    return f"{measure.name} ({measure.unit})" if measure.unit else measure.name


def draw_colour_bar(cax: Axes, look: Look, tick_size: float) -> None:
    """A horizontal colour bar, with arrows where values exceed the range."""
    from matplotlib.cm import ScalarMappable

    bar = cax.figure.colorbar(ScalarMappable(look.norm, look.cmap), cax=cax, orientation="horizontal")
    cax.tick_params(labelsize=tick_size)
    bar.outline.set_visible(False)


def legend_entries(heatmaps: Sequence[Heatmap]) -> list[tuple[Any, str]]:
    """(handle, words) of what occurs in these heatmaps and does not explain itself."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    reasons = {str(reason) for heatmap in heatmaps for reason in heatmap.reasons[np.isnan(heatmap.values)]}
    entries = [(Patch(**hatching(reason)), reason) for reason in HATCHES if reason in reasons]
    shares = np.concatenate([heatmap.pathless[~np.isnan(heatmap.values)] for heatmap in heatmaps])
    for face, seeds, present in (("none", "some seed", (0 < shares) & (shares < 1)),
                                 ("black", "all seeds", shares == 1)):
        if present.any():
            triangle = Line2D([], [], linestyle="none", marker=[(1, -1), (-1, -1), (1, 1), (1, -1)], markersize=4,
                              markerfacecolor=face, markeredgecolor="black", markeredgewidth=0.4)
            entries.append((triangle, f"no path from input to output left ({seeds})"))
    counts = sorted({int(count) for heatmap in heatmaps for count in heatmap.count[few_seeds(heatmap)]})
    if counts:
        words = f"{', '.join(f'n={count}' for count in counts)}: number of seeds, where not {heatmaps[0].seeds}"
        entries.append((Line2D([], [], linestyle="none"), words))
    return entries
