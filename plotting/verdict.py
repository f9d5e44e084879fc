"""Was a figure reproduced? In its own terms: the colours of its cells, and which method is ahead in which of them.

Two cells look alike where their means, over the seeds that both sets have, differ by at most EYE of the range of the
colours; what lies beyond the range has the colour of its end, so that fits of 60 and of 110 dB are alike. A cell of two
methods is turned where another one is ahead, and by more than that. A figure is reproduced where at most TURNED of its
cells are not alike, and at most TURNED of those of two methods are turned. Digits are the business of against.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from plotting import heatmaps as hm
from plotting.against import Comparison
from plotting.numbers import Heatmap, Quantity, on_scale, shown
from plotting.panels import Sizes, Strip, draw_page, share_colours
from sweep.table import NOT_RUN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EYE = 0.1  # share of the range of the colours: 5 dB of an image, 7 of a planted network, 0.05 of an accuracy
TURNED = 0.1  # share of the cells


class Verdict(NamedTuple):
    """Whether the statement of a figure stands, and why."""

    stands: bool
    words: str


def judge(comparisons: Sequence[Comparison], differences: Sequence[tuple[str, str]], other: str) -> Verdict:
    """The verdict on the comparisons of a figure, or of logs.

    Args:
        differences: pairs of columns, of which one is subtracted from the other.  other: name of the second set.
    """
    alike = [each for comparison in comparisons for each in likeness(comparison)]
    stands = sum(alike) >= (1 - TURNED) * len(alike)
    words = [f"{sum(alike)} of {len(alike)} cells have the colour of those in {other}"]
    for first, second in differences:
        columns = {(comparison.row, comparison.column): comparison for comparison in comparisons}
        pairs = [(ours, columns[ours.row, second]) for ours in comparisons if ours.column == first]
        leads = np.concatenate([np.zeros((0, 2)), *(lead(ours, theirs) for ours, theirs in pairs)])
        turned = ((leads[:, 0] > 0) != (leads[:, 1] > 0)) & (np.abs(leads).max(axis=1, initial=0) > EYE)
        stands &= turned.sum() <= TURNED * len(leads)
        here, there = (leads > 0).sum(axis=0)
        if len(leads):
            words.append(f"{first} ahead of {second} in {here} of {len(leads)} cells, there in {there}")
    return Verdict(bool(stands), f"{'reproduced' if stands else 'not reproduced'}: {'; '.join(words)}")


def likeness(comparison: Comparison) -> list[bool]:
    """For each m and s whether the means of both sets look alike."""
    return [bool(np.ptp(pair) <= EYE) for pair in colours(comparison).values()]


def lead(first: Comparison, second: Comparison) -> np.ndarray:
    """By how much of the range a method is ahead of another, [cell, 2] for both sets, in the cells that all have."""
    ours, theirs = colours(first), colours(second)
    sign = 1 if first.measure.higher_is_better else -1
    return np.array([sign * (ours[cell] - theirs[cell]) for cell in ours if cell in theirs]).reshape(-1, 2)


def colours(comparison: Comparison) -> dict[tuple[int, int], np.ndarray]:
    """{(m, s): [2] means over the seeds of both sets, 0 and 1 at the ends of the colours}."""
    values = on_scale(comparison.scores, comparison.measure)
    finite = values[np.isfinite(values)]
    usual = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    low, high = on_scale(np.array(comparison.measure.range or usual), comparison.measure)
    shares = (np.clip(values, low, high) - low) / max(high - low, 1e-300)
    return {cell: shares[:, own].mean(axis=1) for cell, own in places(comparison).items()}


def places(comparison: Comparison) -> dict[tuple[int, int], list[int]]:
    """{(m, s): numbers of its cells}."""
    found: dict[tuple[int, int], list[int]] = {}
    for place, (m, s, _) in enumerate(comparison.cells):
        found.setdefault((m, s), []).append(place)
    return found


# ---- as a picture ----


def draw_differences(comparisons: Sequence[Comparison], verdict: Verdict, names: tuple[str, str]) -> Figure:
    """The mean differences of two sets of logs, a row of panels for each row of a figure; within `page.style()`."""
    rows: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.cells:
            rows.setdefault(comparison.row, []).append(comparison)
    strips = [Strip(hm.row_name(own[0].task), panels(own), heading) for heading, own in rows.items()]
    title = f"{names[0]} minus {names[1]}, {verdict.words.replace('; ', chr(10))}"
    return draw_page(title, share_colours(strips, Quantity()), Sizes())


def panels(row: Sequence[Comparison]) -> dict[str, Heatmap]:
    """The differences of the columns of a row, on one grid."""
    axes = [sorted({cell[axis] for comparison in row for cell in comparison.cells}) for axis in (0, 1)]
    found = {}
    for comparison in row:
        values, count = np.full([*map(len, axes)], np.nan), np.zeros([*map(len, axes)], dtype=int)
        for (m, s), own in places(comparison).items():
            place = axes[0].index(m), axes[1].index(s)
            values[place], count[place] = comparison.differences[own].mean(), len(own)
        measure = shown(replace(comparison.measure, range=None), Quantity(), signed=True)
        reasons = np.where(np.isnan(values), NOT_RUN, "")
        found[comparison.column or "difference"] = Heatmap(
            tuple(axes[0]), tuple(axes[1]), measure, values, reasons, count, int(count.max()), np.zeros(values.shape),
            signed=True)
    return found
