"""The page of make_figures.py --figure: the panels of paper_figures.py in rows, two columns of a paper wide.

All lengths are in inches from the upper left corner, all font sizes in points.
"""

import textwrap

import numpy as np

from plotting.figures import column_notes, figure_heading, heatmaps_of, row_heading, share_colours
from plotting.heatmaps import (
    bar_label,
    colours,
    draw_colour_bar,
    draw_heatmap,
    draw_labels,
    fit_numbers,
    legend_entries,
    row_name,
)

WIDTH = 6.8  # saving adds margins of 0.1
LEFT, RIGHT, GAP, BLOCK_GAP = 0.44, 0.04, 0.07, 0.14  # beside the panels, between two, between columns and differences
TALLEST = 0.25  # cell
TITLE, ROW_HEADING, BELOW, BAR = 0.28, 0.2, 0.4, 0.54  # heights; BELOW the cells are ticks and the name of the axis
LINE = 0.12  # of text of FONT
BAR_INSET = 0.1  # room for the labels at its ends
FONT, SMALL, TICK = 7, 6.5, 5.5
CHARACTER = 0.56 / 72  # width of the usual letter, in inches a point


def draw_page(entry, strips, quantity):
    """The matplotlib Figure of an entry of FIGURES whose Strips come from `assemble`."""
    from matplotlib.figure import Figure

    bands = share_colours(strips, quantity)
    figure = Figure(figsize=(WIDTH, TITLE + sum(map(band_height, bands))))
    write(figure, 0, 0, figure_heading(entry, quantity), 9)
    top = TITLE
    for band in bands:
        draw_band(figure, top, band)
        top += band_height(band)
    draw_legend(figure, top, legend_entries([heatmap for strip in strips for heatmap in heatmaps_of(strip.blocks)]))
    return figure


# ---- where things are ----


def panel_width(strip):
    counts = [len(block.heatmaps) for block in strip.blocks]
    return (WIDTH - LEFT - RIGHT - GAP * (sum(counts) - len(counts)) - BLOCK_GAP * (len(counts) - 1)) / sum(counts)


def panel_lefts(strip):
    """The left edges of the panels, [block][panel]."""
    lefts, left = [], LEFT
    for block in strip.blocks:
        lefts.append([left + i * (panel_width(strip) + GAP) for i in range(len(block.heatmaps))])
        left = lefts[-1][-1] + panel_width(strip) + BLOCK_GAP
    return lefts


def block_widths(strip):
    """Widths of the blocks."""
    return [lefts[-1] - lefts[0] + panel_width(strip) for lefts in panel_lefts(strip)]


def cell_size(strip):
    """Width and height of a cell."""
    width = panel_width(strip) / len(strip.row.slist)
    return width, min(width, TALLEST)


def headings(strip):
    """{heading of a panel: the same with its note, wrapped to the panel}."""
    notes, columns = column_notes(strip.row), int(panel_width(strip) / (CHARACTER * FONT))
    return {heading: "\n".join(textwrap.wrap(heading, columns) + textwrap.wrap(notes.get(heading, ""), columns))
            for block in strip.blocks for heading in block.heatmaps}


def bar_labels(strip):
    """The labels of the colour bars of the blocks, wrapped to their widths."""
    return [textwrap.fill(bar_label(block.score), int(width / (CHARACTER * FONT)))
            for block, width in zip(strip.blocks, block_widths(strip), strict=True)]


def headings_height(strip):
    return ROW_HEADING + LINE * (1 + max(text.count("\n") for text in headings(strip).values()))


def strip_height(strip):
    return headings_height(strip) + cell_size(strip)[1] * len(strip.row.mlist) + BELOW


def band_height(band):
    lines = max(label.count("\n") for label in bar_labels(band[-1]))
    bars = BAR + LINE * lines if any(has_numbers(strip.blocks) for strip in band) else LINE
    return sum(map(strip_height, band)) + bars


def has_numbers(blocks):
    """Whether there is anything to colour, and so to explain by a colour bar."""
    return not all(np.isnan(heatmap.values).all() for heatmap in heatmaps_of(blocks))


# ---- drawing ----


def draw_band(figure, top, band):
    """Draw Strips that share their colours, and the colour bars below them."""
    blocks = list(zip(*(strip.blocks for strip in band), strict=True))  # the columns of all, then their differences
    looks = share_looks(blocks, [72 * min(lengths) for lengths in zip(*map(cell_size, band), strict=True)])
    for strip in band:
        draw_strip(figure, top, strip, looks)
        top += strip_height(strip)
    bars = zip(blocks, looks, bar_labels(strip), panel_lefts(strip), block_widths(strip), strict=True)
    for same, (_, palette, _), label, lefts, width in bars:
        if has_numbers(same):
            cax = add_axes(figure, lefts[0] + BAR_INSET, top, width - 2 * BAR_INSET, 0.08)
            draw_colour_bar(palette, label, cax, TICK, FONT)


def share_looks(blocks, cell):
    """[(score, palette, numbers)] for `draw_heatmap`, one for the panels of each kind of block, in cells of this size.

    Differences are written no more precisely than what they are of.
    """
    looks, finest = [], None
    for same in blocks:
        score, heatmaps = same[0].score, heatmaps_of(same)
        numbers = fit_numbers(heatmaps, score, cell, FONT, finest)
        looks.append((score, colours(score, heatmaps), numbers))
        finest = numbers[0] if score.scale == "linear" else None
    return looks


def draw_strip(figure, top, strip, looks):
    """Draw a row of panels under its heading."""
    write(figure, 0, top, row_heading(strip.row), 7.5, weight="bold")
    top += headings_height(strip)
    height, words = cell_size(strip)[1] * len(strip.row.mlist), headings(strip)
    for block, lefts, look in zip(strip.blocks, panel_lefts(strip), looks, strict=True):
        for left, (heading, heatmap) in zip(lefts, block.heatmaps.items(), strict=True):
            ax = add_axes(figure, left, top, panel_width(strip), height)
            draw_heatmap(ax, heatmap, *look)
            rows = row_name(strip.row.task) if left == LEFT else None
            draw_labels(ax, heatmap, rows, tick_size=TICK, label_size=FONT)
            ax.set_title(words[heading], fontsize=FONT, pad=3, parse_math=False)


def draw_legend(figure, top, entries):
    """A legend below everything, in as many columns as the page holds."""
    if not entries:
        return
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1 - top / figure.get_figheight())}
    for columns in range(len(entries), 0, -1):
        legend = figure.legend(*zip(*entries, strict=True), **place, ncols=columns, fontsize=SMALL, frameon=False,
                               borderpad=0, borderaxespad=0, handleheight=1)
        if columns == 1 or legend.get_window_extent().width <= WIDTH * figure.dpi:
            return
        legend.remove()


def add_axes(figure, left, top, width, height):
    page = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / page, width / WIDTH, height / page))


def write(figure, left, top, text, size, **style):
    place = left / WIDTH, 1 - top / figure.get_figheight()
    figure.text(*place, text, fontsize=size, va="top", parse_math=False, **style)
