"""Do two sets of logs agree? Their scores, compared cell by cell, in words and numbers.

    python make_figures.py --figure 4 --against logs/reference

The first set is that of --logs_dir, the second that of --against. Cells of equal task, method and settings are
compared, whatever the grids of their logs.

- The difference of two scores is that of their values, on a log scale that of their decimal logarithms.
- Two scores agree when they differ by at most the tolerance, or when both are beyond the threshold of exact recovery
  of their task: what is beyond it is rounding.
- The spread over the seeds is the standard deviation of the second set's scores of the same m and s. Where
  a cell has one seed alone there is none.
- A cell that is done in one set and failed or skipped in the other is a difference. One that only one set has is none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from instances.task import Measure
from plotting.figures import Entry
from plotting.logs import NOT_RECORDED, pick
from plotting.numbers import STD, is_beyond, on_scale, over_seeds, subtract
from plotting.words import row_heading, settings_line
from sweep.logbook import Log
from sweep.table import DONE, Cell, kind
from tasks import TASKS

TOLERANCE_DECIBEL = 0.01  # a tenth of the last digit of a figure
TOLERANCE_LOG = 0.01  # of a decimal logarithm: errors that differ by 2.3 %
TOLERANCE_OTHER = 0.0005  # of an accuracy: one of 2000 test images
ROUNDING = 1e-9  # of differences that equal the tolerance
NAMED = 3  # cells that a line spells out
KERNEL = "BLAS kernel"


def default_tolerance(measure: Measure) -> float:
    """The largest difference of two scores that agree."""
    usual = TOLERANCE_DECIBEL if measure.unit == "dB" else TOLERANCE_OTHER
    return TOLERANCE_LOG if measure.scale == "log" else usual


@dataclass(frozen=True)
class Comparison:
    """Two sets of cells of one task, method and settings."""

    row: str  # heading of the row of a figure, or the settings
    column: str  # heading of a column of it, or nothing
    task: str
    measure: Measure  # of the scores
    tolerance: float  # largest difference of scores that agree
    alone: tuple[int, int]  # numbers of cells that only the first, or only the second set has
    num_both: int  # cells that both have
    cells: list[Cell]  # that are done in both
    scores: np.ndarray  # [2, cell], of the first and the second set
    exact: np.ndarray  # [cell], whether both are beyond the threshold of exact recovery
    spreads: np.ndarray  # [cell], standard deviation over the seeds, NaN where there is none
    statuses: dict[Cell, tuple[str, str]]  # of those that are done in one set and not in the other
    facts: dict[tuple[str, str, str], int]  # {(name, first, second): cells} of settings and environments that differ
    kernels: dict[Cell, dict[str, float]]  # {cell: {BLAS kernel: score}} of the cells that have scores of several

    @property
    def title(self) -> str:
        return f"{self.row}: {self.column}" if self.column else self.row

    @property
    def differences(self) -> np.ndarray:
        """[cell], first minus second."""
        return subtract(*on_scale(self.scores, self.measure))

    @property
    def beyond(self) -> np.ndarray:
        """[cell], whether the scores differ by more than the tolerance."""
        return (np.abs(self.differences) > self.tolerance + ROUNDING) & ~self.exact

    @property
    def num_differing(self) -> int:
        return int(self.beyond.sum()) + len(self.statuses)


# ---- comparing ----


def compare_figure(entry: Entry, first: Sequence[Log], second: Sequence[Log],
                   tolerance: float | None = None) -> list[Comparison]:
    """The cells of a figure, a comparison for every column of its rows."""
    comparisons = []
    for row in entry.rows:
        cells, theirs = set(product(row.mlist, row.slist, entry.seeds)), row.fitting(second)
        for heading, ours in row.fitting(first).items():
            name = row_heading(row), heading
            comparisons.append(compare(name, row.task, ours, theirs[heading], tolerance, cells))
    return comparisons


def compare_all(first: Sequence[Log], second: Sequence[Log], tolerance: float | None = None) -> list[Comparison]:
    """All logs whose settings both sets have."""
    ours, theirs = by_settings(first), by_settings(second)
    return [compare((settings_line(dict(settings)), ""), dict(settings)["task"], logs, theirs[settings], tolerance)
            for settings, logs in ours.items() if settings in theirs]


def by_settings(logs: Iterable[Log]) -> dict[frozenset, list[Log]]:
    """The logs by their settings."""
    groups: dict[frozenset, list[Log]] = {}
    for log in logs:
        groups.setdefault(frozenset(log.settings.items()), []).append(log)
    return groups


def compare(name: tuple[str, str], task: str, first: Sequence[Log], second: Sequence[Log],
            tolerance: float | None = None, wanted: set[Cell] | None = None) -> Comparison:
    """Two sets of logs of one task, method and settings.

    Args:
        name: headings of row and column.
        tolerance: None for that of the measure.  wanted: the cells that are compared, None for all.
    """
    (ours, _), (theirs, _) = pick(first, wanted), pick(second, wanted)
    measure = (*first, *second)[0].measure if first or second else TASKS[task].measure
    both = sorted(ours.keys() & theirs.keys())
    statuses = {cell: (ours[cell].status(cell), theirs[cell].status(cell)) for cell in both}
    times_done = {cell: [kind(status) for status in pair].count(DONE) for cell, pair in statuses.items()}
    done = [cell for cell in both if times_done[cell] == 2]
    scores = np.array([[side[cell].score(cell) for cell in done] for side in (ours, theirs)])
    threshold = TASKS[task].exact
    return Comparison(
        *name, task, measure, default_tolerance(measure) if tolerance is None else tolerance,
        alone=(len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())),
        num_both=len(both), cells=done, scores=scores,
        exact=np.all(is_beyond(scores, np.nan if threshold is None else threshold, measure), axis=0),
        spreads=np.array([spread(theirs, cell, measure) for cell in done]),
        statuses={cell: pair for cell, pair in statuses.items() if times_done[cell] == 1},
        facts=Counter(fact for cell in both for fact in differing_facts(ours[cell], theirs[cell], cell)),
        kernels=kernel_scores((*first, *second), set(ours) | set(theirs)),
    )


def spread(logs: dict[Cell, Log], cell: Cell, measure: Measure) -> float:
    """The standard deviation over the seeds of this m and s, NaN below two seeds."""
    same = [log.score(other) for other, log in logs.items() if other[:2] == cell[:2]]
    return over_seeds(on_scale(np.array(same), measure)[None, None], STD)[0].item()


def facts_of(log: Log, cell: Cell) -> dict[str, Any]:
    """What a cell was computed with: settings, commit, machine and versions, in words."""
    number = log.records[cell].get("environment")
    environment = {} if number is None else log.environments[number]
    facts = {f"--{name}": value for name, value in log.settings.items()}
    facts |= {name: environment.get(name) for name in ("commit", "device", "processor", "threads")}
    facts |= {KERNEL: " and ".join(environment["blas"]) if environment.get("blas") else None}
    return facts | environment.get("versions", {})


def differing_facts(ours: Log, theirs: Log, cell: Cell) -> Iterator[tuple[str, str, str]]:
    """(name, first, second) of the facts of a cell that differ; a kernel that neither says is one of them."""
    sides = facts_of(ours, cell), facts_of(theirs, cell)
    for name in sides[0] | sides[1]:
        first, second = (NOT_RECORDED if facts.get(name) is None else str(facts[name]) for facts in sides)
        if first != second or (name == KERNEL and first == NOT_RECORDED):
            yield name, first, second


def kernel_scores(logs: Sequence[Log], cells: set[Cell]) -> dict[Cell, dict[str, float]]:
    """{cell: {BLAS kernel: score}} of the cells that were computed with several kernels."""
    found = defaultdict[Cell, dict[str, float]](dict)
    for log in logs:
        for cell in cells & log.records.keys():
            kernel = facts_of(log, cell)[KERNEL]
            if kernel and kind(log.status(cell)) == DONE:
                found[cell].setdefault(kernel, log.score(cell))
    return {cell: scores for cell, scores in sorted(found.items()) if len(scores) > 1}


# ---- words ----


def report(comparison: Comparison, names: tuple[str, str]) -> Iterator[str]:
    """Lines that say how two sets of cells differ; `names` are those of the sets."""
    counts = [f"{comparison.num_both} in both"]
    neither = comparison.num_both - len(comparison.cells) - len(comparison.statuses)
    counts += [f"{neither} of them skipped or failed in both"] * (neither > 0)
    counts += [f"{number} in {name} only" for number, name in zip(comparison.alone, names, strict=True) if number]
    yield comparison.title
    yield f"  cells: {', '.join(counts)}"
    if comparison.cells:
        yield from difference_lines(comparison)
    if comparison.statuses:
        named = [f"{spelled(cell)} ({' / '.join(pair)})" for cell, pair in comparison.statuses.items()]
        yield f"  done in one set alone: {len(named)}: {first_few(named)}"
    if comparison.kernels:
        yield kernel_line(comparison)
    for (name, ours, theirs), count in comparison.facts.items():
        yield f"  {name}: {ours} / {theirs} ({count} cells)"
    if comparison.num_both and not {name for name, *_ in comparison.facts} - {KERNEL}:
        yield "  settings, commit, device, processor, threads and versions are the same"


def difference_lines(comparison: Comparison) -> Iterator[str]:
    """How far the scores are apart: in all, beyond the tolerance, and beyond the spread over the seeds."""
    sizes, beyond, cells = np.abs(comparison.differences), comparison.beyond, comparison.cells
    measure, (ours, theirs), unit = comparison.measure, comparison.scores, unit_of(comparison.measure)
    worst = int(sizes.argmax())
    yield (f"  difference in {measure.name}: largest {sizes[worst]:.4g}{unit} ({spelled(cells[worst])}: "
           f"{ours[worst]:.6g} / {theirs[worst]:.6g}), mean {sizes.mean():.4g}{unit}")
    exact = f"; {comparison.exact.sum()} exact in both" if comparison.exact.any() else ""
    yield f"  beyond the tolerance of {comparison.tolerance:g}{unit}: {beyond.sum()} of {len(cells)}{exact}"
    if beyond.any():
        alone = beyond & np.isnan(comparison.spreads)
        if alone.any():
            yield f"  {alone.sum()} of them have one seed alone in the second set, and so no spread"
        wide = np.flatnonzero(beyond & (sizes > comparison.spreads))
        wide = wide[np.argsort(-sizes[wide], kind="stable")]
        named = [f"{spelled(cells[i])} ({sizes[i]:.4g} > {comparison.spreads[i]:.4g})" for i in wide]
        yield f"  beyond the spread over the seeds, too: {len(wide)}{': ' if named else ''}{first_few(named)}"


def kernel_line(comparison: Comparison) -> str:
    """How far the scores of a cell spread over the BLAS kernels."""
    names = sorted({kernel for scores in comparison.kernels.values() for kernel in scores})
    values = {cell: on_scale(np.array(list(scores.values())), comparison.measure)
              for cell, scores in comparison.kernels.items()}
    ranges = {cell: abs(subtract(array.max(), array.min()).item()) for cell, array in values.items()}
    worst, unit = max(ranges, key=ranges.__getitem__), unit_of(comparison.measure)
    return (f"  over the BLAS kernels {' / '.join(names)}: {len(ranges)} cells, scores spread by up to "
            f"{ranges[worst]:.4g}{unit} ({spelled(worst)}), mean {np.mean(list(ranges.values())):.4g}{unit}")


def kernel_advice(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A line that says how to compute with the kernels of the second set, where those of the first are others."""
    pairs = Counter[tuple[str, str]]()
    for comparison in comparisons:
        for (name, ours, theirs), count in comparison.facts.items():
            pairs[ours, theirs] += count * (name == KERNEL and NOT_RECORDED not in (ours, theirs))
    (ours, theirs), count = max(pairs.items(), key=lambda pair: pair[1], default=(("", ""), 0))
    if count:
        kernel = theirs.split()[-1]
        yield (f"{count} cells were computed with other BLAS kernels ({ours} / {theirs}): they move the last digits of "
               "products, and scores where a fit is nearly exact. To compute with that of the second set: export "
               f"OPENBLAS_CORETYPE={kernel}")


def unit_of(measure: Measure) -> str:
    """What follows a difference."""
    return " of log10" if measure.scale == "log" else measure.unit and f" {measure.unit}"


def spelled(cell: Cell) -> str:
    return "m {}, s {}, seed {}".format(*cell)


def first_few(words: Sequence[str]) -> str:
    """The first of these, and how many more there are."""
    more = [f"and {len(words) - NAMED} more"] * (len(words) > NAMED)
    return "; ".join([*words[:NAMED], *more])


def unmatched(first: Sequence[Log], second: Sequence[Log], names: tuple[str, str]) -> Iterator[str]:
    """Lines that name the settings which only one of the sets has, and how the nearest of the other differ."""
    sides = by_settings(first), by_settings(second)
    for name, other, own, theirs in ((names[0], names[1], *sides), (names[1], names[0], *sides[::-1])):
        for settings in (dict(settings) for settings in own if settings not in theirs):
            near = [[f"--{key} {group.get(key)!r} instead of {settings.get(key)!r}"
                     for key in sorted(settings | group) if settings.get(key) != group.get(key)]
                    for group in map(dict, theirs) if all(group[key] == settings[key] for key in ("task", "method"))]
            changes = min(near, key=len, default=[])
            yield f"only in {name}: {settings_line(settings)}{f'; {other} has ' * bool(near)}{', '.join(changes)}"
