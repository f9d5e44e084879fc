"""The tables of the docs that follow from logs, written in place.

    python -m studies.tables

A block between `<!-- table: NAME -->` and `<!-- end -->` in README.md or docs/ is filled with the table of that name,
computed from logs/reference. Exact means beyond the score that tasks.py calls exact recovery. A mean or median is one
over cells, each first reduced over its seeds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from instances.task import Measure
from options import Options
from plotting.costs import cost, missing
from plotting.figures import AIHT, FIGURES, IMP, MINUS, Row
from plotting.heatmaps import bar_label
from plotting.logs import ANY, SCORE, Grid, find_logs, read_log
from plotting.numbers import MEAN, MEDIAN, SUCCESS, Quantity, difference, heatmap, seed_values
from plotting.words import depth_words, outputs_words
from shell.command import Program
from shell.files import fill_blocks, replace_files
from shell.program import UsageError
from studies import dense_networks, nothing_known, own_data, real_data
from studies.contents import BY_NUMBER, EASY, FITS, IMAGE, PARTS, SIGNS, WORDS, Axes, Settings
from studies.standing import standing
from sweep.estimate import duration
from sweep.flags import flag_table
from sweep.logbook import Log
from sweep.table import DONE, NOT_RUN, SKIPPED
from tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "logs" / "reference"


@functools.cache
def shipped() -> tuple[Log, ...]:
    """All logs of LOGS. Raises LogError."""
    return tuple(read_log(path) for path in find_logs(LOGS))


def grids(name: str) -> Iterator[tuple[Row, dict[str, Grid]]]:
    """The rows of an entry of FIGURES with the grid of each column."""
    for row in FIGURES[name].rows:
        yield row, row.grids(shipped(), FIGURES[name].seeds)


def cells(selection: dict[str, object], axes: Axes, seeds: Sequence[int] = (0, 1, 2)) -> Grid:
    """The grid of one selection of task, method and settings, as those of a figure's column."""
    return Row(*axes, {"": selection}).grids(shipped(), seeds)[""]


# ---- words and numbers of tables ----


def row_words(row: Row) -> str:
    """Task and depth of a row."""
    return f"{row.task}, {depth_words(row.depth)}"


def present(values: np.ndarray) -> np.ndarray:
    """Those that are not NaN."""
    return values[~np.isnan(values)]


def number(value: float, measure: Measure, sign: str = "") -> str:
    """A score, or a difference of two where the sign is "+"."""
    return f"{value:{sign}.{1 if measure.unit else 3}f}"


def signed(function: Callable[[np.ndarray], float], gaps: np.ndarray, measure: Measure) -> str:
    """The mean, or another function, of the differences that are there, with its unit; nothing where there are none."""
    if not present(gaps).size:
        return ""
    return f"{number(function(present(gaps)), measure, '+')} {measure.unit}".strip().replace("-", MINUS)


def coverage(grid: Grid) -> str:
    """How many of a grid's cells and seeds were run, and for how long."""
    run, skipped = np.count_nonzero(grid.kinds != NOT_RUN), np.count_nonzero(grid.kinds == SKIPPED)
    of = f" of {grid.kinds.size}" * bool(run < grid.kinds.size)
    without = f", {skipped} of them skipped" * bool(skipped)
    return f"{run}{of} cells{without}; {np.nansum(grid.values('seconds')):.0f} s"


def gap(row: Row, found: dict[str, Grid], statistic: str = MEAN) -> np.ndarray:
    """AIHT's number less IMP's [m, s], seed by seed where both were run, NaN where none was."""
    return difference(found[AIHT], found[IMP], Quantity(statistic=statistic), TASKS[row.task].measure).values


def ahead(gaps: np.ndarray) -> str:
    """In how many cells AIHT is ahead, of those that have a gap."""
    return f"{np.count_nonzero(gaps > 0)} of {present(gaps).size}"


def span(values: np.ndarray) -> str:
    """The least and the largest of whole numbers."""
    return " to ".join(f"{value:.0f}" for value in sorted({values.min(), values.max()}))


def successes(grid: Grid, task: str) -> np.ndarray:
    """1 for each fit that is exact, 0 for each other."""
    found = seed_values(grid, Quantity(statistic=SUCCESS).on(task), TASKS[task].measure, logarithms=False)
    return present(found)


def exact(grid: Grid, task: str) -> str:
    """How many fits are exact, of those that were run; nothing on a task that has no such thing, or without fits."""
    found = np.zeros(0) if TASKS[task].exact is None else successes(grid, task)
    return f"{found.sum():.0f} of {found.size}" if found.size else ""


# ---- the rows of the tables ----

Rows = Iterator[tuple[object, ...]]


def figures() -> Rows:
    """Figures 1 to 5: what was run, and AIHT against IMP."""
    for name in "12345":
        for row, found in grids(name):
            measure, means = TASKS[row.task].measure, gap(row, found)
            yield (f"{name}: {row_words(row)}", *(coverage(found[method]) for method in (AIHT, IMP)),
                   signed(np.mean, means, measure), signed(np.median, gap(row, found, MEDIAN), measure), ahead(means),
                   *(exact(found[method], row.task) for method in (AIHT, IMP)))


def verdicts() -> Rows:
    """Figures 1 to 5, a line for each task: how many seeds a cell has, run or skipped, and whether AIHT is ahead."""
    for (name, task), words in WORDS.items():
        rows = [(row, found) for row, found in grids(name) if row.task == task]
        gaps = np.concatenate([gap(row, found).ravel() for row, found in rows])
        share = np.mean(present(gaps) > 0)
        verdict = "yes" if share == 1 else "in part" if share > 1 / 2 else "**no**"
        seeds = (span(np.concatenate([np.count_nonzero(found[method].kinds != NOT_RUN, axis=2).ravel()
                                      for _, found in rows])) for method in (AIHT, IMP))
        yield f"{name}, {words}", *seeds, f"{ahead(gaps)} cells", verdict


def parts() -> Rows:
    """Where in a row of a figure AIHT is ahead of IMP, by PARTS of its grid."""
    for name, place, words, inside in PARTS:
        row, found = list(grids(name))[place]
        gaps = gap(row, found)[np.array([[inside(m, s) for s in row.slist] for m in row.mlist])]
        yield (f"{name}: {row_words(row)}", words, ahead(gaps),
               *(signed(f, gaps, TASKS[row.task].measure) for f in (np.min, np.median, np.max)))


def columns_of(name: str) -> Rows:
    """An entry of FIGURES: a row for each task and method, its mean and median over cells, and its exact fits."""
    for row, found in grids(name):
        measure, depth = TASKS[row.task].measure, row.depth
        of = f"{row.task}{outputs_words(row)}{f', {depth_words(depth)}' * (depth > 1)}, {bar_label(measure)}"
        for heading, grid in found.items():
            means, medians = (present(heatmap(grid, Quantity(statistic=statistic), measure).values)
                              for statistic in (MEAN, MEDIAN))
            if means.size:
                yield (of, heading, means.size, number(means.mean(), measure), number(np.median(medians), measure),
                       exact(grid, row.task))


def opponents() -> Rows:
    """Every method at one width: medians over the seeds, by s."""
    for row, found in grids("opponents"):
        measure = TASKS[row.task].measure
        for heading, grid in found.items():
            [medians] = heatmap(grid, Quantity(statistic=MEDIAN), measure).values
            said = [f"{s}: {number(median, measure)}" for s, median in zip(row.slist, medians, strict=True)
                    if not np.isnan(median)]
            if said:
                yield (f"{row.task}{outputs_words(row)}", heading, ", ".join(said),
                       np.count_nonzero(grid.kinds == DONE, axis=2).max())


def recovered() -> Rows:
    """Exact fits of each method on the grids of Figures 1 and 2, as in the figures `recovery` and `recovery2`."""
    for name in ("recovery", "recovery2"):
        for row, found in grids(name):
            *paper, (ours, grid) = found.items()
            run = (grid.kinds == DONE).any(axis=2)
            if run.any():
                yield (f"{depth_words(row.depth)}{outputs_words(row)}", *(exact(other, row.task) for _, other in paper),
                       f"**{exact(grid, row.task)}** ({ours}, {extent(row, run)})")


def extent(row: Row, run: np.ndarray) -> str:
    """How far the cells [m, s] that were run reach: the largest s of the widest, and where larger s end."""
    widths, numbers = run.any(axis=1).nonzero()[0], run.any(axis=0).nonzero()[0]
    beside, most = run[widths[-1]].nonzero()[0][-1], numbers[-1]
    further = f", s = {row.slist[most]} up to m = {row.mlist[run[:, most].nonzero()[0][-1]]}" * bool(most > beside)
    return f"m up to {row.mlist[widths[-1]]} with s up to {row.slist[beside]}{further}"


def costs() -> Rows:
    """What each figure has cost, by method."""
    for name, entry in FIGURES.items():
        yield (f"`make figure{'' if name.isdigit() else '-'}{name}`", *cost(entry, shipped()))


def lacking() -> Rows:
    """The cells of the five figures that have fewer fits than seeds, and what these would take."""
    rows = [(name, *found) for name in "12345" for found in missing(FIGURES[name], shipped())]
    for name, title, count, few, fits_missing, expected in rows:
        yield f"Figure {name}", title, f"{few} of {count}", fits_missing, duration(expected)
    yield "all", "", sum(row[3] for row in rows), sum(row[4] for row in rows), duration(sum(row[5] for row in rows))


def fits(name: str) -> Rows:
    """A row for each of FITS[name]: how many fits are exact, the lowest score, and the seconds of all."""
    for words, chosen, places, seeds in FITS[name]:
        selection = {"task": "mlp_planted", "method": name, "num_epochs": ANY} | chosen
        found = [cells(selection, axes, seeds) for axes in places]
        scores = np.concatenate([grid.values(SCORE)[grid.kinds == DONE] for grid in found])
        if not scores.size:
            continue
        count = sum(successes(grid, "mlp_planted").sum() for grid in found)
        skipped = sum(np.count_nonzero(grid.kinds == SKIPPED) for grid in found)
        if skipped:
            words += f" ({skipped} of the {sum(grid.kinds.size for grid in found)} have no instance)"
        yield (words, selection.get("nmeasurements", 50000), f"{count:.0f} of {scores.size}", f"{scores.min():.1f} dB",
               f"{sum(np.nansum(grid.values('seconds')) for grid in found):.0f}")


def by_number() -> Rows:
    """Means by s of the digit's baselines, over m and the seeds, and the gradient steps of their cells."""
    for words, selection in BY_NUMBER:
        grid = cells({"task": "inr_mnist"} | selection, IMAGE)
        steps = present(grid.values("steps"))
        yield (words, *(f"{mean:.1f} dB" for mean in np.nanmean(grid.values(SCORE), axis=(0, 2))),
               span(steps) if steps.size else "")


def other_inputs() -> Rows:
    """Exact fits on inputs that are not normal: of networks with output signs, and of the paper's."""
    columns: list[tuple[Axes, Settings]] = [(SIGNS, {"method": "creases", "planted_signs": True}),
                                            (EASY, {"method": "creases"}), (EASY, {"method": "gnhtp"})]
    for words, dist in (("uniform", "uniform"), ("pixels of MNIST, standardised", "mnist"), ("+-1", "rademacher")):
        drawn = {"task": "mlp_planted", "nmeasurements": 10000, "input_dist": dist, "num_epochs": ANY}
        yield words, *(exact(cells(drawn | given, axes), "mlp_planted") for axes, given in columns)


def repeated(task: str, m: int, slist: tuple[int, ...]) -> Rows:
    """Pruning by curvature on two sets of seeds: means, the lowest and highest, and the seconds of a fit."""
    both = [cells({"task": task, "method": "obs"}, ((m,), slist), seeds) for seeds in ((0, 1, 2), (3, 4, 5))]
    for place, s in enumerate(slist):
        scores = [grid.values(SCORE)[0, place] for grid in both]
        every, seconds = present(np.concatenate(scores)), np.concatenate([g.values("seconds")[0, place] for g in both])
        if every.size:
            yield (s, *(f"{present(own).mean():.4f}" if present(own).size else "" for own in scores),
                   f"{every.min():.4f} to {every.max():.4f}", every.size, f"{np.nanmedian(seconds):.0f}")


def beside_yardsticks(task: str, image: int | None, other_settings: bool = True) -> Rows:
    """Every method on real data beside the yardsticks."""
    yield from real_data.rows(shipped(), real_data.kept(LOGS), task, image, other_settings)


# ---- the tables ----

COLUMNS = ("", "method", "cells", "mean", "median", "exact")
REPEATED = ("s", "mean of seeds 0 1 2", "of seeds 3 4 5", "lowest to highest", "fits", "seconds of a fit, median")
EXACT_FITS = ("cells of `mlp_planted`, d = 100", "n", "exact", "lowest PSNR", "seconds in all")
TABLES: dict[str, tuple[Sequence[str], Callable[[], Rows]]] = {  # headings and rows
    "verdicts": (("figure", "seeds of a cell: AIHT", "IMP", "AIHT ahead in", "as in the paper"), verdicts),
    "figures": (("figure", "AIHT", "IMP", f"AIHT {MINUS} IMP, mean", "median", "AIHT ahead in", "exact: AIHT", "IMP"),
                figures),
    "parts": (("figure", "cells", "AIHT ahead in", f"AIHT {MINUS} IMP: least", "median", "largest"), parts),
    "costs": (("figure", "in all", "by method"), costs),
    "lacking": (("figure", "method", "pairs (m, s) with fewer fits than seeds", "fits missing", "time they would take"),
                lacking),
    "recovered": (("networks recovered exactly", IMP, AIHT, "ours"), recovered),
    "standing": (("pairs (m, s) of the five figures", "with an instance", "one of ours was run", "and is best of all"),
                 lambda: standing(shipped())),
    "obs_mnist": (REPEATED, partial(repeated, "mnist", 200, (100, 200, 500, 1000, 2000))),
    "opponents": (("task", "method", "median over the seeds, by s", "seeds"), opponents),
    **{name: (COLUMNS, partial(columns_of, name))
       for name in ("recovery", "recovery2", "baselines", "dst", "gnhtp", "inputs")},
    "by_number": (("`inr_mnist`, m 5 20 100, mean over three seeds", *(f"s = {s}" for s in IMAGE[1]), "gradient steps"),
                  by_number),
    "creases": (EXACT_FITS, partial(fits, "creases")),
    "joint": (EXACT_FITS, partial(fits, "deep")),
    "dense_networks": (dense_networks.HEADINGS, partial(dense_networks.rows, dense_networks.RESULTS)),
    "planted_gnhtp": (EXACT_FITS, partial(fits, "gnhtp")),
    "other_inputs": (("inputs", "signs, crease pursuit", "the paper's task, crease pursuit", "the paper's task, GNHTP"),
                     other_inputs),
    "front_mnist": (real_data.headings("mnist", None), partial(beside_yardsticks, "mnist", None, False)),
    "own_data": (own_data.HEADINGS, partial(own_data.rows, own_data.RESULTS)),
    "nothing_known": (nothing_known.HEADINGS, partial(nothing_known.rows, nothing_known.RESULTS)),
    **{real_data.table_name(task, image): (real_data.headings(task, image), partial(beside_yardsticks, task, image))
       for task in real_data.WORDS for image in real_data.panels(task)},
}


def table(name: str) -> list[str]:
    """The lines of a table. Raises UsageError for an unknown name."""
    if name not in TABLES:
        raise UsageError(f"a page asks for the table {name!r}; choose among {', '.join(TABLES)}")
    headings, rows = TABLES[name]
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in (headings, *rows()))
    return [head, "|" + "---|" * len(headings), *body]


def filled(text: str) -> str:
    """A page with its tables, and that of the flags, written anew. Raises UsageError."""
    return fill_blocks(fill_blocks(text, "table", table), "flags", lambda _: flag_table())


def run(_: Options) -> None:
    """Write the tables. Raises UsageError."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        if (new := filled(text)) != text:
            replace_files({page: new.encode()})
            print(f"{page.relative_to(ROOT)}: tables written")


main = Program("python -m studies.tables", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
