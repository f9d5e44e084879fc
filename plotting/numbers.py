"""What a heatmap of make_figures.py shows: one number per cell, reduced over the seeds of a Grid, and its colours."""

import re
from dataclasses import dataclass, replace

import numpy as np

from plotting.logs import DONE, FAILED, NOT_RECORDED, NOT_RUN, SCORE, SCORES, SKIPPED, Score

MEAN, STD, SUCCESS = STATISTICS = ("mean", "std", "success")
FEW, UNDEFINED = "fewer than 2 seeds", "undefined"  # no standard deviation; inf - inf
REASONS = (FAILED, NOT_RUN, NOT_RECORDED, UNDEFINED, FEW, SKIPPED)  # of cells without a number: the first of any seed
THRESHOLDS = {"mlp_planted": 100.0, "gaussian_sparse": 1e-4}  # exact recovery, where single precision ends at 145 dB

METRICS = {  # numbers of the sidecars' cells that are not called and coloured by their plain name and their data
    "num_nonzero": Score("number of nonzeros"),
    "seconds": Score("time per cell", "s", higher_is_better=False, scale="log"),
    "connected": Score("connected", range=(0, 1)),
    "support_error": Score("support error", higher_is_better=False, range=(0, 1)),
    "support_precision": Score("support precision", range=(0, 1)),
    "support_recall": Score("support recall", range=(0, 1)),
    "weight_error": Score("weight error", higher_is_better=False, scale="log"),
    "neurons_lost": Score("neurons lost", higher_is_better=False),
}


@dataclass(frozen=True)
class Quantity:
    """What is asked for: a number of the cells and what becomes of it over the seeds."""

    metric: str = SCORE
    statistic: str = MEAN
    threshold: float | None = None  # of success

    def on(self, task):
        """The same with the default threshold of a task, where it has one and none is given."""
        if self.statistic != SUCCESS or self.threshold is not None or self.metric != SCORE:
            return self
        return replace(self, threshold=THRESHOLDS.get(task))

    @property
    def suffix(self):
        """What the names of its pictures end with; nothing for the mean score."""
        words = [self.metric] if self.metric != SCORE else []
        if self.statistic == SUCCESS:
            words.append(f"success{self.threshold:g}")
        elif self.statistic != MEAN:
            words.append(self.statistic)
        return "".join(f"_{re.sub(r'[^A-Za-z0-9_.+-]', '-', word)}" for word in words)


@dataclass(frozen=True)
class Heatmap:
    """What one heatmap shows."""

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    values: np.ndarray  # [m, s], NaN where there is none
    reasons: np.ndarray  # [m, s] of str: why there is none
    count: np.ndarray  # [m, s], seeds that the value is of
    seeds: int  # of the grid
    pathless: np.ndarray  # [m, s], share of the seeds whose network has no path from input to output
    signed: bool = False  # a difference


# ---- one number per cell ----


def heatmap(grid, quantity, score):
    """The Heatmap of a quantity on a Grid; `score` says whether its numbers are of a log scale, and better if high."""
    values = seed_values(grid, quantity, score, logarithms=quantity.statistic == STD)
    pathless, _ = mean_over_seeds(1 - grid.values("connected"))
    return reduce_seeds(grid, values, missing(grid, quantity), quantity.statistic, np.nan_to_num(pathless))


def difference(first, second, quantity, score):
    """The Heatmap of first minus second, Grids of equal axes: taken seed by seed where both have one, then reduced.

    On a log scale it is that of the logarithms.
    """
    ours, theirs = (seed_values(grid, quantity, score, logarithms=True) for grid in (first, second))
    with np.errstate(invalid="ignore"):  # two exact fits at inf dB do not differ
        values = np.where(ours == theirs, 0, ours - theirs)
    reasons = np.concatenate([missing(grid, quantity) for grid in (first, second)], axis=2)
    return reduce_seeds(first, values, reasons, quantity.statistic, np.zeros(values.shape[:2]), signed=True)


def seed_values(grid, quantity, score, logarithms):
    """The numbers [m, s, seed] that are to be reduced: as they are, their logarithms on a log scale, or 1 = success."""
    values = np.where(grid.kinds == DONE, grid.values(quantity.metric), np.nan)
    if quantity.statistic == SUCCESS:
        success = values > quantity.threshold if score.higher_is_better else values < quantity.threshold
        return np.where(np.isnan(values), np.nan, success)
    if logarithms and score.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(values)
    return values


def missing(grid, quantity):
    """Why a cell has no number of a quantity, [m, s, seed] of str, "" where it has one."""
    recorded = ~np.isnan(grid.values(quantity.metric))
    return np.where(grid.kinds != DONE, grid.kinds, np.where(recorded, "", NOT_RECORDED))


def reduce_seeds(grid, values, reasons, statistic, pathless, signed=False):
    """A Heatmap of numbers [m, s, seed]; the reasons [m, s, ...] are those of the seeds that have none."""
    reduced, count = (std_over_seeds if statistic == STD else mean_over_seeds)(values)
    why = np.where((statistic == STD) & (count == 1), FEW, UNDEFINED)
    for reason in reversed(REASONS):
        why[(count == 0) & np.any(reasons == reason, axis=2)] = reason
    why = np.where(np.isnan(reduced), why, "")
    return Heatmap(grid.mlist, grid.slist, reduced, why, count, values.shape[2], pathless, signed and statistic != STD)


def mean_over_seeds(table):
    """Mean [m, s] over the seeds that ran (NaN where none did) and their number [m, s], of a table [m, s, seed]."""
    count = np.sum(~np.isnan(table), axis=2)
    with np.errstate(invalid="ignore"):  # an exact fit scores inf dB, and inf - inf is NaN
        total = np.nansum(table, axis=2)
    return np.where(count, total / np.maximum(count, 1), np.nan), count


def std_over_seeds(table):
    """Sample standard deviation [m, s] (n - 1 degrees of freedom; NaN below 2 seeds), else as mean_over_seeds."""
    mean, count = mean_over_seeds(table)
    low, high = np.fmin.reduce(table, axis=2), np.fmax.reduce(table, axis=2)  # these pass over NaN
    with np.errstate(invalid="ignore"):  # inf - inf
        squares = np.nansum(np.square(table - mean[..., None]), axis=2)
    squares[np.isinf(low) | np.isinf(high)] = np.inf
    squares[low == high] = 0  # even if both are infinite
    return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan), count


# ---- how it is called and coloured ----


def measured(logs, task, metric):
    """The Score of a metric on a task, its range the one that the logs state, so that methods compare, or None."""
    if metric != SCORE:
        return METRICS.get(metric, Score(metric.replace("_", " ")))
    stated = [log.score for log in logs if log.score] or [SCORES.get(task, Score())]
    ranges = [score.range for score in stated if score.range and score.scale == stated[0].scale]
    lows, highs = zip(*(ranges or [(np.inf, -np.inf)]), strict=True)
    return replace(stated[0], range=(min(lows), max(highs)) if ranges else None)


def shown(score, quantity, signed=False):
    """The Score of a quantity of numbers that are called `score`, or with signed of the difference of two."""
    name, unit, logarithm = score.name, score.unit, score.scale == "log"
    if quantity.statistic == SUCCESS:
        name = f"{name} {'>' if score.higher_is_better else '<'} {quantity.threshold:g}{unit and ' ' + unit}"
        name = f"{'difference in ' if signed else ''}share of seeds with {name}"
        return Score(name, range=(-1, 1) if signed else (0, 1))
    if signed:
        name, unit = (f"log10 ratio of {name}", "") if logarithm else (f"difference in {name}", unit)
    if quantity.statistic == STD:
        if logarithm and not signed:
            name, unit = f"log10 of {name}{unit and f' in {unit}'}", ""
        return Score(f"standard deviation (n \u2212 1) of {name}", unit, higher_is_better=False)
    return Score(name, unit, score.higher_is_better) if signed else score


def fill_range(score, quantity, heatmaps, widest=None):
    """A Score with a range, taken from the heatmaps where it has none: of a difference at most this wide to each side.

    Left out is what diverged (1e100) or has no place on a log scale.
    """
    if score.range:
        return score
    values = np.concatenate([heatmap.values.ravel() for heatmap in heatmaps])
    values = values[(np.abs(values) < 1e100) & ((values > 1e-100) | (score.scale == "linear"))]
    if any(heatmap.signed for heatmap in heatmaps):
        limit = min(np.abs(values).max(initial=0), widest or np.inf) or 1.0
        return replace(score, range=(-float(limit), float(limit)))
    if quantity.statistic == STD:
        return replace(score, range=(0.0, float(values.max(initial=0)) or 1.0))
    low, high = (values.min(), values.max()) if values.size else (1.0, 1.0)
    pad = 0 if low < high else abs(low) / 2 or 0.5
    return replace(score, range=(float(low - pad), float(high + pad)))
