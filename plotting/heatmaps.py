"""Draw a Heatmap of make_figures.py into given Axes: coloured cells with numbers, hatched where there are none."""

import math
import re

import numpy as np

from plotting.logs import FAILED, NOT_RECORDED, NOT_RUN, SKIPPED
from plotting.numbers import FEW, UNDEFINED

MAX_FONT, MIN_FONT = 9, 5  # points, of the numbers in the cells; smaller ones are left out
WIDTHS = {".": 0.32, "-": 0.36, "+": 0.84, "\u2212": 0.84}  # of characters of DejaVu Sans, in font sizes
DIGIT = 0.64  # and of all others in a number
HATCHES = {NOT_RUN: "////", SKIPPED: "....", FAILED: "xxxx", NOT_RECORDED: "----", FEW: "||||", UNDEFINED: "++++"}
MARK = np.array([(0, 0), (-1, 0), (0, 1), (0, 0)])  # a triangle for the lower right corner of a cell
MARK_LEG = 0.155  # length of its legs in cell sides: it stays clear of the numbers in the smallest cells

STYLE = {"pdf.fonttype": 42, "hatch.linewidth": 0.6}  # 42 embeds TrueType: text in the PDF stays text


# ---- cells ----


def draw_heatmap(ax, heatmap, score, palette=None, numbers=None):
    """Draw a Heatmap into ax, m down and s across, and return the coloured mesh.

    Several heatmaps may share a palette from `colours` and numbers, (precision, font size), from `fit_numbers`.
    """
    mesh = draw_cells(ax, heatmap, score, palette or colours(score, [heatmap]))
    draw_numbers(ax, mesh, heatmap, score, numbers or fit_numbers([heatmap], score, cell_points(ax, heatmap)))
    draw_marks(ax, mesh, heatmap, score)
    return mesh


def draw_cells(ax, heatmap, score, palette):
    """Colour the cells, and hatch those without a number; returns the mesh."""
    from matplotlib.patches import Rectangle

    values, (norm, cmap) = heatmap.values, palette
    mesh = ax.pcolormesh(np.clip(values, *score.range), norm=norm, cmap=cmap, edgecolors="white", linewidth=0.5)
    for row, column in np.argwhere(np.isnan(values)):
        ax.add_patch(Rectangle((column, row), 1, 1, **hatching(heatmap.reasons[row, column])))
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    return mesh


def colours(score, heatmaps):
    """Norm and colour map: bright where good; of differences white at 0 and blue where the first is better.

    The colour map says whether any of the heatmaps exceeds the range.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    name = "RdBu" if heatmaps[0].signed else "viridis"
    cmap = colormaps[name if score.higher_is_better else f"{name}_r"].copy()
    below = any(np.any(heatmap.values < score.range[0]) for heatmap in heatmaps)
    above = any(np.any(heatmap.values > score.range[1]) for heatmap in heatmaps)
    cmap.colorbar_extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    return (LogNorm if score.scale == "log" else Normalize)(*score.range), cmap


def hatching(reason):
    return {"hatch": HATCHES[reason], "facecolor": "0.96", "edgecolor": "0.65", "linewidth": 0}


def text_colours(mesh, values, score):
    """"black" or "white" [m, s], whichever is read better on the cells."""
    rgb = mesh.to_rgba(np.clip(values, *score.range))[..., :3]  # [m, s, rgb]
    luminance = rgb**2.2 @ (0.2126, 0.7152, 0.0722)
    return np.where(luminance > 0.18, "black", "white")  # at 0.18 both read as well


def draw_numbers(ax, mesh, heatmap, score, numbers):
    """Write the values into their cells, over "n=2" where fewer seeds ran; nothing where it were illegible."""
    precision, size = numbers
    if not size:
        return
    colour, partial = text_colours(mesh, heatmap.values, score), few_seeds(heatmap)
    for row, column in np.argwhere(~np.isnan(heatmap.values)):
        place = (column + 0.5, row + 0.5)
        style = {"ha": "center", "color": colour[row, column]}
        text = format_number(heatmap.values[row, column], precision, score.scale, heatmap.signed)
        ax.text(*place, text, va="bottom" if partial[row, column] else "center", fontsize=size, **style)
        if partial[row, column]:
            n = f"n={heatmap.count[row, column]}"
            ax.text(*place, n, va="top", fontsize=max(MIN_FONT, 0.8 * size), **style)


def few_seeds(heatmap):
    """Where a number is of fewer seeds than the grid has, [m, s]."""
    return ~np.isnan(heatmap.values) & (heatmap.count < heatmap.seeds)


def cell_points(ax, heatmap):
    """Width and height of a cell, in points (1/72 inch), when the grid of a heatmap fills ax."""
    box = ax.get_window_extent()
    return box.width / len(heatmap.slist) * 72 / ax.figure.dpi, box.height / len(heatmap.mlist) * 72 / ax.figure.dpi


def fit_numbers(heatmaps, score, cell, largest=MAX_FONT, finest=None):
    """(precision, font size) of the values of heatmaps, as precise as cells of this width and height can hold.

    `finest` bounds the precision. The size is 0 where no font that can be read is small enough.
    """
    low, high = score.range
    values = [(value, heatmap.signed) for heatmap in heatmaps for value in heatmap.values[~np.isnan(heatmap.values)]]
    lines = 1 + any(few_seeds(heatmap).any() for heatmap in heatmaps)
    decimals = 1 if score.scale == "log" else max(0, 2 - math.floor(math.log10(high - low)))  # 3 figures of the range
    decimals = decimals if finest is None else min(decimals, finest)
    for precision in (decimals, max(0, decimals - 1), 0):
        widest = max((text_width(format_number(value, precision, score.scale, signed)) for value, signed in values),
                     default=DIGIT)
        airy, tight = 0.85 * cell[0] / widest, 0.95 * cell[0] / widest
        size = min(largest, max(airy, min(tight, MIN_FONT)), 0.9 * cell[1] / (1.2 * lines))
        if size >= MIN_FONT:
            return precision, size
    return 0, 0


def text_width(text):
    """Width of a number, in font sizes."""
    return sum(WIDTHS.get(character, DIGIT) for character in text)


def format_number(value, precision, scale, signed=False):
    """Short text of a value: this many decimals, on a log scale as many after the first significant digit."""
    if value == 0:
        return "0"
    if 1e5 <= abs(value) < math.inf or (scale == "log" and 0 < abs(value) < 0.01):
        text = re.sub(r"e([+-])0*", r"e\1", f"{value:.{precision}e}")
    elif scale == "log":
        text = f"{value:.{precision + 1}g}"
    else:
        text = f"{round(value, precision) + 0.0:.{precision}f}"  # + 0.0 makes -0.0 a plain 0.0
    if signed and value > 0 and re.search("[1-9i]", text):  # not a sign where it shows as zero
        text = f"+{text}"
    return text.replace("-", "\u2212") if signed else text  # the sign is read better


def draw_marks(ax, mesh, heatmap, score):
    """A corner of the cells where no path from input to output was left: hollow for some seeds, filled for all."""
    colour, leg = text_colours(mesh, heatmap.values, score), min(4, MARK_LEG * min(cell_points(ax, heatmap)))
    for row, column in np.argwhere((heatmap.pathless > 0) & ~np.isnan(heatmap.values)):
        full = heatmap.pathless[row, column] == 1
        ax.plot(column + 1, row + 1, linestyle="none", **mark_style(colour[row, column], full, leg, (-0.35, 0.35)))


def mark_style(colour, full, leg, place):
    """Of a triangle with legs of so many points, whose right angle is this many legs away from where it is put."""
    marker = MARK + place
    size = 2 * np.abs(marker).max() * leg  # matplotlib scales a marker so that its greatest coordinate is half of this
    return {"marker": marker, "markersize": size, "markeredgewidth": 0.4, "markeredgecolor": str(colour),
            "markerfacecolor": str(colour) if full else "none"}


# ---- around the cells ----


def draw_labels(ax, heatmap, rows="hidden width m", columns="nonzeros s", tick_size=8, label_size=10):
    """Name the axes and label rows and columns, as many as there is room for; an axis without a name has no labels."""
    cell = cell_points(ax, heatmap)
    height, widths = 1.25 * tick_size, [tick_size * DIGIT * len(str(s)) for s in heatmap.slist]
    across = max(((a + b) / 2 for a, b in zip(widths, widths[1:], strict=False)), default=0) + 0.3 * tick_size
    for axis, values, room, name in (
        (ax.xaxis, heatmap.slist, across / cell[0], columns),
        (ax.yaxis, heatmap.mlist, height / cell[1], rows),
    ):
        ticks = range(0, len(values), math.ceil(room)) if name is not None else ()
        axis.set_ticks([tick + 0.5 for tick in ticks], [str(values[tick]) for tick in ticks], fontsize=tick_size)
        axis.set_label_text(name or "", fontsize=label_size)
    ax.tick_params(length=0, pad=0.4 * tick_size)


def row_name(task):
    return "signal length p" if task == "gaussian_sparse" else "hidden width m"


def bar_label(score):
    return f"{score.name} ({score.unit})" if score.unit else score.name


def draw_colour_bar(palette, label, cax, tick_size=8, label_size=10):
    """A colour bar in the Axes cax, along its longer side, with arrows where values exceed the range."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    box = cax.get_window_extent()
    orientation = "horizontal" if box.width > box.height else "vertical"
    bar = cax.figure.colorbar(ScalarMappable(*palette), cax=cax, orientation=orientation)
    bar.set_label(label, parse_math=False, fontsize=label_size)
    bar.ax.tick_params(labelsize=tick_size)
    bar.outline.set_visible(False)
    if orientation == "horizontal" and not isinstance(palette[0], LogNorm):
        room = 5 * tick_size * cax.figure.dpi / 72  # for a label: vertical bars have enough
        bar.ax.locator_params(axis="x", nbins=max(2, min(8, int(box.width / room))))


def legend_entries(heatmaps):
    """[(handle, words)] of what occurs in these heatmaps and does not explain itself."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    reasons = {str(reason) for heatmap in heatmaps for reason in heatmap.reasons[np.isnan(heatmap.values)]}
    entries = [(Patch(**hatching(reason)), reason) for reason in HATCHES if reason in reasons]
    shares = np.concatenate([heatmap.pathless[~np.isnan(heatmap.values)] for heatmap in heatmaps])
    for full, present in ((False, (0 < shares) & (shares < 1)), (True, shares == 1)):
        if present.any():
            words = f"no path from input to output left ({'all seeds' if full else 'some seed'})"
            entries.append((Line2D([], [], linestyle="none", **mark_style("black", full, 4, (0.5, -0.5))), words))
    counts = sorted({int(count) for heatmap in heatmaps for count in heatmap.count[few_seeds(heatmap)]})
    if counts:
        words = f"{', '.join(f'n={count}' for count in counts)}: number of seeds, where not {heatmaps[0].seeds}"
        entries.append((Line2D([], [], linestyle="none"), words))
    return entries
