"""What a heatmap shows: one number per cell, reduced over the seeds of a Grid, and the range of its colours."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from instances.task import Measure
from plotting.logs import NOT_RECORDED, SCORE, Grid
from sweep.logbook import Log
from sweep.table import DONE, FAILED, NOT_RUN, SKIPPED
from tasks import TASKS

MEAN, STD, MEDIAN, SUCCESS, EXACT = STATISTICS = ("mean", "std", "median", "success", "exact")
SHARES = (SUCCESS, EXACT)  # shares of the seeds; EXACT is coloured by them, and its numbers are medians
FEW, UNDEFINED = "fewer than 2 seeds", "undefined"  # no standard deviation; inf - inf
REASONS = (FAILED, NOT_RUN, NOT_RECORDED, UNDEFINED, FEW, SKIPPED)  # of cells without a number: the first of any seed
LARGEST = 1e100  # larger numbers come from a fit that diverged, and do not stretch the colours

METRICS = {  # other numbers in the records of cells, where the plain name and the range of the data do not do
    "num_nonzero": Measure("number of nonzeros"),
    "seconds": Measure("time per cell", "s", scale="log", higher_is_better=False),
    "connected": Measure("connected", range=(0, 1)),
    "support_error": Measure("support error", range=(0, 1), higher_is_better=False),
    "support_precision": Measure("support precision", range=(0, 1)),
    "support_recall": Measure("support recall", range=(0, 1)),
    "weight_error": Measure("weight error", scale="log", higher_is_better=False),
    "neurons_lost": Measure("neurons lost", higher_is_better=False),
}


@dataclass(frozen=True)
class Quantity:
    """What is asked for: a number of the cells, and what becomes of it over the seeds."""

    metric: str = SCORE  # or the name of another number in the records of cells
    statistic: str = MEAN  # one of STATISTICS
    threshold: float | None = None  # of success, beyond which a seed counts; None where it is the task's
    top: float | None = None  # that the colours reach; None where it is what the logs state

    def on(self, task: str) -> Quantity:
        """The same on a task, whose threshold of exact recovery counts where none is given."""
        is_usual = self.statistic in SHARES and self.threshold is None and self.metric == SCORE
        return replace(self, threshold=TASKS[task].exact) if is_usual else self

    @property
    def is_score(self) -> bool:
        """Whether it is the score itself, whatever becomes of it over the seeds."""
        return self.metric == SCORE and self.threshold is None

    @property
    def suffix(self) -> str:
        """What the names of its pictures end with; nothing for the mean score."""
        words = [self.metric] if self.metric != SCORE else []
        if self.statistic in SHARES:
            words.append(f"{self.statistic}{self.threshold:g}")
        elif self.statistic != MEAN:
            words.append(self.statistic)
        words += [f"to{self.top:g}"] if self.top is not None else []
        return "".join(f"_{re.sub(r'[^A-Za-z0-9_.+-]', '-', word)}" for word in words)


@dataclass(frozen=True)
class Heatmap:
    """What one heatmap shows: a number for each cell [m, s]."""

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    measure: Measure  # of the values
    values: np.ndarray  # [m, s], NaN where there is none
    reasons: np.ndarray  # [m, s] of str, one of REASONS where there is no value, else ""
    count: np.ndarray  # [m, s], seeds that a value is of
    seeds: int  # number of seeds of the grid
    pathless: np.ndarray  # [m, s], share of the seeds whose network has no path from input to output
    signed: bool = False  # whether the values are differences
    medians: np.ndarray | None = None  # [m, s], written into the cells in place of the values, where there are some

    @property
    def numbers(self) -> np.ndarray:
        """What is written into the cells [m, s]."""
        return self.values if self.medians is None else self.medians

    @property
    def limits(self) -> tuple[float, float]:
        """The range of its measure, which is to have one."""
        assert self.measure.range is not None, self.measure
        return self.measure.range


# ---- one number per cell ----


def heatmap(grid: Grid, quantity: Quantity, measure: Measure) -> Heatmap:
    """The heatmap of a quantity; `measure` says whether its numbers are of a log scale, and better if high."""
    values = seed_values(grid, quantity, measure, logarithms=quantity.statistic == STD)
    pathless, _ = over_seeds(1 - grid.values("connected"), MEAN)
    drawn = reduce_seeds(grid, values, reasons_without(grid, quantity), quantity, shown(measure, quantity))
    drawn = replace(drawn, pathless=np.nan_to_num(pathless))
    if quantity.statistic != EXACT:
        return drawn
    medians, _ = over_seeds(seed_values(grid, Quantity(quantity.metric), measure, logarithms=False), MEDIAN)
    return replace(drawn, medians=medians)


def difference(first: Grid, second: Grid, quantity: Quantity, measure: Measure) -> Heatmap:
    """The heatmap of first minus second, grids of equal axes: taken seed by seed where both have one, then reduced.

    On a log scale it is that of the logarithms.
    """
    ours, theirs = (seed_values(grid, quantity, measure, logarithms=True) for grid in (first, second))
    reasons = np.concatenate([reasons_without(grid, quantity) for grid in (first, second)], axis=2)
    drawn = reduce_seeds(first, subtract(ours, theirs), reasons, quantity, shown(measure, quantity, signed=True))
    return replace(drawn, signed=quantity.statistic != STD)


def is_beyond(values: np.ndarray, threshold: float, measure: Measure) -> np.ndarray:
    """Whether values are better than a threshold."""
    return values > threshold if measure.higher_is_better else values < threshold


def subtract(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The differences; 0 where two fits are exact, at inf dB."""
    with np.errstate(invalid="ignore"):
        return np.where(ours == theirs, 0, ours - theirs)


def on_scale(values: np.ndarray, measure: Measure) -> np.ndarray:
    """The values, or on a log scale their decimal logarithms."""
    if measure.scale != "log":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(values)


def seed_values(grid: Grid, quantity: Quantity, measure: Measure, logarithms: bool) -> np.ndarray:
    """The numbers [m, s, seed] that are to be reduced: as they are, their logarithms on a log scale, or 1 = success."""
    values = np.where(grid.kinds == DONE, grid.values(quantity.metric), np.nan)
    if quantity.statistic in SHARES:
        assert quantity.threshold is not None
        return np.where(np.isnan(values), np.nan, is_beyond(values, quantity.threshold, measure))
    return on_scale(values, measure) if logarithms else values


def reasons_without(grid: Grid, quantity: Quantity) -> np.ndarray:
    """Why a cell has no number of a quantity, [m, s, seed] of str, "" where it has one."""
    recorded = ~np.isnan(grid.values(quantity.metric))
    return np.where(grid.kinds != DONE, grid.kinds, np.where(recorded, "", NOT_RECORDED))


def reduce_seeds(grid: Grid, values: np.ndarray, reasons: np.ndarray, quantity: Quantity, measure: Measure) -> Heatmap:
    """The heatmap of numbers [m, s, seed]; the reasons [m, s, ...] are those of the seeds that have none."""
    reduced, count = over_seeds(values, quantity.statistic)
    why = np.where((quantity.statistic == STD) & (count == 1), FEW, UNDEFINED)
    for reason in reversed(REASONS):
        why[(count == 0) & np.any(reasons == reason, axis=2)] = reason
    why = np.where(np.isnan(reduced), why, "")
    return Heatmap(grid.mlist, grid.slist, measure, reduced, why, count, values.shape[2], np.zeros(reduced.shape))


def over_seeds(table: np.ndarray, statistic: str) -> tuple[np.ndarray, np.ndarray]:
    """A statistic [m, s] over the seeds that ran, and their number [m, s], of a table [m, s, seed].

    It is NaN where no seed ran. The standard deviation divides by the number of seeds less one, and takes two.
    """
    count = np.sum(~np.isnan(table), axis=2)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # an exact fit scores inf dB; inf - inf
        warnings.simplefilter("ignore", RuntimeWarning)  # of cells where no seed ran
        if statistic != STD:
            return (np.nanmedian if statistic == MEDIAN else np.nanmean)(table, axis=2), count
        low, high, deviation = np.nanmin(table, axis=2), np.nanmax(table, axis=2), np.nanstd(table, axis=2, ddof=1)
    deviation[np.isinf(low) | np.isinf(high)] = np.inf
    deviation[low == high] = 0  # even if both are infinite
    return np.where(count > 1, deviation, np.nan), count


# ---- how it is called and coloured ----


def measured(logs: Iterable[Log], task: str, metric: str) -> Measure:
    """What the numbers of a metric are called. The range of a score covers those that the logs state."""
    if metric != SCORE:
        return METRICS.get(metric, Measure(metric.replace("_", " ")))
    stated = [log.measure for log in logs] or [TASKS[task].measure]
    ranges = [measure.range for measure in stated if measure.range and measure.scale == stated[0].scale]
    lows, highs = zip(*(ranges or [(np.inf, -np.inf)]), strict=True)
    return replace(stated[0], range=(min(lows), max(highs)) if ranges else None)


def shown(measure: Measure, quantity: Quantity, signed: bool = False) -> Measure:
    """What a quantity of numbers `measure` is called, or with signed the difference of two."""
    name, unit, logarithm = measure.name, measure.unit, measure.scale == "log"
    if quantity.statistic in SHARES:
        written = f"; numbers: median {name}{unit and f' ({unit})'}" * (quantity.statistic == EXACT and not signed)
        name = f"{name} {'>' if measure.higher_is_better else '<'} {quantity.threshold:g}{unit and ' ' + unit}"
        name = f"{'difference in ' if signed else ''}share of seeds with {name}{written}"
        return Measure(name, range=(-1, 1) if signed else (0, 1))
    if signed:
        name, unit = (f"log10 ratio of {name}", "") if logarithm else (f"difference in {name}", unit)
    if quantity.statistic == STD:
        if logarithm and not signed:
            name, unit = f"log10 of {name}{unit and f' in {unit}'}", ""
        return Measure(f"standard deviation over seeds of {name}", unit, higher_is_better=False)
    if signed:
        return Measure(name, unit, higher_is_better=measure.higher_is_better)
    return replace(measure, range=(measure.range[0], quantity.top)) if measure.range and quantity.top else measure


def common_range(heatmaps: Sequence[Heatmap], quantity: Quantity, widest: float = np.inf) -> Measure:
    """The measure of these heatmaps with a range, taken from their values where it has none.

    The range of a difference is symmetric, and reaches at most `widest` to each side. Values that diverged, or that
    have no place on a log scale, are left out.
    """
    measure = heatmaps[0].measure
    if measure.range:
        return measure
    values = np.concatenate([heatmap.values.ravel() for heatmap in heatmaps])
    values = values[(np.abs(values) < LARGEST) & ((values > 1 / LARGEST) | (measure.scale == "linear"))]
    if heatmaps[0].signed:
        limit = float(min(np.abs(values).max(initial=0), widest)) or 1.0
        return replace(measure, range=(-limit, limit))
    if quantity.statistic == STD:
        return replace(measure, range=(0.0, float(values.max(initial=0)) or 1.0))
    low, high = (values.min(), values.max()) if values.size else (1.0, 1.0)
    pad = 0 if low < high else abs(low) / 2 or 0.5
    return replace(measure, range=(float(low - pad), float(high + pad)))
