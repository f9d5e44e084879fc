"""The tables of the docs that follow from logs, written in place.

    python -m studies.tables

A block between `<!-- table: NAME -->` and `<!-- end -->` in README.md or docs/ is filled with the table of that name,
computed from logs/reference. Exact means beyond the score that tasks.py calls exact recovery. A mean or median is one
over cells, each first reduced over its seeds.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from plotting.figures import AIHT, FIGURES, IMP, MINUS, Row
from plotting.heatmaps import bar_label
from plotting.logs import ANY, Grid, find_logs, read_log
from plotting.numbers import MEAN, MEDIAN, Quantity, difference, heatmap
from plotting.words import depth_words, outputs_words
from studies.contents import BY_NUMBER, EASY, FITS, PARTS, SIGNS, WORDS
from sweep.flags import Parser, UsageError, run_main
from sweep.logbook import DONE, NOT_RUN, SKIPPED, Log, LogError, replace_files
from tasks import TASKS, Measure

PROG = "python -m studies.tables"
ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "logs" / "reference"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@functools.cache
def shipped() -> tuple[Log, ...]:
    """All logs of LOGS. Raises UsageError."""
    try:
        return tuple(read_log(path) for path in find_logs(LOGS))
    except LogError as error:
        raise UsageError(str(error)) from None


def grids(name: str) -> Iterator[tuple[Row, dict[str, Grid]]]:
    """The rows of an entry of FIGURES with the grid of each column."""
    entry = FIGURES[name]
    for row in entry.rows:
        yield row, row.grids(shipped(), entry.seeds)


def cells(selection: dict[str, object], mlist: Sequence[int], slist: Sequence[int],
          seeds: Sequence[int] = (0, 1, 2)) -> Grid:
    """The grid of one selection of task, method and settings, as those of a figure's column."""
    return Row(mlist, slist, {"": selection}).grids(shipped(), seeds)[""]


def depth_of(row: Row) -> int:
    """The number of hidden layers of a row."""
    return next(iter(row.columns.values())).get("num_layers", 1)


# ---- cells of tables ----


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def header(*cells: str) -> list[str]:
    return [line(*cells), "|" + "---|" * len(cells)]


def coverage(grid: Grid) -> str:
    """How many of a grid's cells and seeds were run, and for how long."""
    run, skipped = np.count_nonzero(grid.kinds != NOT_RUN), np.count_nonzero(grid.kinds == SKIPPED)
    of = "" if run == grid.kinds.size else f" of {grid.kinds.size}"
    without = f", {skipped} of them skipped" * bool(skipped)
    return f"{run}{of} cells{without}; {np.nansum(grid.values('seconds')):.0f} s"


def signed(value: float, measure: Measure) -> str:
    """A difference with its unit."""
    text = f"{value:+.1f} {measure.unit}" if measure.unit else f"{value:+.3f}"
    return text.replace("-", MINUS)


def gap(found: dict[str, Grid], measure: Measure, statistic: str = MEAN) -> np.ndarray:
    """AIHT's number less IMP's [m, s], seed by seed where both were run, NaN where none was."""
    return difference(found[AIHT], found[IMP], Quantity(statistic=statistic), measure).values


def ahead(gaps: np.ndarray) -> str:
    """In how many cells AIHT is ahead, of those that have a gap."""
    return f"{np.count_nonzero(gaps > 0)} of {np.count_nonzero(~np.isnan(gaps))}"


def seeds_run(grids: Sequence[Grid]) -> str:
    """The least and the largest number of seeds that were run, or skipped, in any cell of the grids."""
    counts = np.concatenate([np.count_nonzero(grid.kinds != NOT_RUN, axis=2).ravel() for grid in grids])
    return " to ".join(map(str, sorted({counts.min(), counts.max()})))


def reduced(grid: Grid, measure: Measure, statistic: str = MEAN) -> np.ndarray:
    """A number [m, s] for each cell, NaN where it was not run."""
    return heatmap(grid, Quantity(statistic=statistic), measure).values


def exact(grid: Grid, task: str, among: np.ndarray | bool = True) -> str:
    """How many fits are exact, of those that were run `among` [m, s, seed], on a task that has such a thing."""
    if TASKS[task].exact is None:
        return ""
    scores = grid.values("score")[(grid.kinds == DONE) & among]
    return f"{np.count_nonzero(scores >= TASKS[task].exact)} of {scores.size}" if scores.size else ""


# ---- the tables ----


def figures() -> list[str]:
    """Figures 1 to 5: what was run, and AIHT against IMP."""
    lines = header("figure", "AIHT", "IMP", f"AIHT {MINUS} IMP, mean", "median", "AIHT ahead in", "exact: AIHT", "IMP")
    for name in "12345":
        for row, found in grids(name):
            measure = TASKS[row.task].measure
            gaps = [gap(found, measure, statistic) for statistic in (MEAN, MEDIAN)]
            there, medians = (values[~np.isnan(values)] for values in gaps)
            lines.append(line(
                f"{name}: {row.task}, {depth_words(depth_of(row))}",
                *(coverage(found[method]) for method in (AIHT, IMP)),
                *(signed(f(values), measure) if values.size else ""
                  for f, values in ((np.mean, there), (np.median, medians))),
                ahead(there),
                *(exact(found[method], row.task) for method in (AIHT, IMP))))
    return lines


def verdicts() -> list[str]:
    """Figures 1 to 5, a line for each task: how many seeds a cell has, and whether AIHT is ahead of IMP."""
    lines = header("figure", "seeds of a cell: AIHT", "IMP", "AIHT ahead in", "as in the paper")
    for (name, task), words in WORDS.items():
        rows = [found for row, found in grids(name) if row.task == task]
        gaps = np.concatenate([gap(found, TASKS[task].measure).ravel() for found in rows])
        share = np.mean(gaps[~np.isnan(gaps)] > 0)
        verdict = "yes" if share == 1 else "in part" if share > 1 / 2 else "**no**"
        seeds = (seeds_run([found[method] for found in rows]) for method in (AIHT, IMP))
        lines.append(line(f"{name}, {words}", *seeds, f"{ahead(gaps)} cells", verdict))
    return lines


def parts() -> list[str]:
    """Where in a row of a figure AIHT is ahead of IMP, by PARTS of its grid."""
    lines = header("figure", "cells", "AIHT ahead in", f"AIHT {MINUS} IMP: least", "median", "largest")
    for name, place, words, inside in PARTS:
        row, found = list(grids(name))[place]
        measure, depth = TASKS[row.task].measure, depth_words(depth_of(row))
        gaps = gap(found, measure)[np.array([[inside(m, s) for s in row.slist] for m in row.mlist])]
        there = gaps[~np.isnan(gaps)]
        lines.append(line(f"{name}: {row.task}, {depth}", words, ahead(gaps),
                          *(signed(f(there), measure) if there.size else "" for f in (np.min, np.median, np.max))))
    return lines


def columns_of(name: str) -> list[str]:
    """An entry of FIGURES: a row for each task and method, its mean and median over cells, and its exact fits."""
    lines = header("", "method", "cells", "mean", "median", "exact")
    for row, found in grids(name):
        measure, depth = TASKS[row.task].measure, depth_of(row)
        of = f"{row.task}{outputs_words(row)}{f', {depth_words(depth)}' * (depth > 1)}, {bar_label(measure)}"
        for heading, grid in found.items():
            values = [reduced(grid, measure, statistic) for statistic in (MEAN, MEDIAN)]
            if np.isnan(values[0]).all():
                continue
            mean, median = (np.nanmean(values[0]), np.nanmedian(values[1]))
            form = ".1f" if measure.unit else ".3f"
            lines.append(line(of, heading, np.count_nonzero(~np.isnan(values[0])),
                              f"{mean:{form}}", f"{median:{form}}", exact(grid, row.task)))
    return lines


def opponents() -> list[str]:
    """Every method at one width: medians over the seeds, by s."""
    lines = header("task", "method", "median over the seeds, by s", "seeds")
    for row, found in grids("opponents"):
        measure = TASKS[row.task].measure
        form = ".1f" if measure.unit else ".3f"
        for heading, grid in found.items():
            [medians], [count] = reduced(grid, measure, MEDIAN), (grid.kinds == DONE).sum(axis=2)
            said = [f"{s}: {median:{form}}" for s, median in zip(row.slist, medians, strict=True)
                    if not np.isnan(median)]
            if said:
                lines.append(line(f"{row.task}{outputs_words(row)}", heading, ", ".join(said), count.max()))
    return lines


def recovered() -> list[str]:
    """Exact fits on the grids of Figures 1 and 2, of those that were run with ours: the paper's methods, then ours."""
    lines = header("networks recovered exactly", IMP, AIHT, "ours")
    for name in ("recovery", "recovery2"):
        for row, found in grids(name):
            *paper, (ours, grid) = found.items()
            there = grid.kinds == DONE
            width, number = (np.array(axis)[there.any(axis=others)].max()
                             for axis, others in ((row.mlist, (1, 2)), (row.slist, (0, 2))))
            if not there.any():
                continue
            depth = depth_words(depth_of(row))
            lines.append(line(f"{depth}{outputs_words(row)}, m up to {width}, s up to {number}",
                              *(exact(theirs, row.task, there) for _, theirs in paper),
                              f"**{exact(grid, row.task)}** ({ours})"))
    return lines


def fits(name: str) -> list[str]:
    """A row for each of FITS[name]: how many fits are exact, the lowest score, and the seconds of all."""
    lines = header("cells of `mlp_planted`, d = 100", "n", "exact", "lowest PSNR", "seconds in all")
    for words, selection, places, seeds in FITS[name]:
        selection = {"task": "mlp_planted", "method": name, "num_epochs": ANY} | selection
        found = [cells(selection, mlist, slist, seeds) for mlist, slist in places]
        kinds, scores, seconds = (np.concatenate([take(grid).ravel() for grid in found]) for take in (
            lambda grid: grid.kinds, lambda grid: grid.values("score"), lambda grid: grid.values("seconds")))
        scores, skipped = scores[kinds == DONE], np.count_nonzero(kinds == SKIPPED)
        words += f" ({skipped} of the {kinds.size} have no instance)" * bool(skipped)
        lines.append(line(words, selection.get("nmeasurements", 50000),
                          f"{np.count_nonzero(scores >= TASKS['mlp_planted'].exact)} of {scores.size}",
                          f"{scores.min():.1f} dB", f"{np.nansum(seconds):.0f}"))
    return lines


def by_number() -> list[str]:
    """Means by s of the digit's baselines, over m and the seeds, and the gradient steps of their cells."""
    mlist, slist = (5, 20, 100), (20, 100, 500)
    lines = header("`inr_mnist`, m 5 20 100, mean over three seeds", *(f"s = {s}" for s in slist), "gradient steps")
    for words, selection in BY_NUMBER:
        grid = cells({"task": "inr_mnist"} | selection, mlist, slist)
        steps = grid.values("steps")
        numbers = "" if np.isnan(steps).all() else " to ".join(f"{count:.0f}" for count in
                                                               sorted({np.nanmin(steps), np.nanmax(steps)}))
        means = np.nanmean(grid.values("score"), axis=(0, 2))
        lines.append(line(words, *(f"{mean:.1f} dB" for mean in means), numbers))
    return lines


def other_inputs() -> list[str]:
    """Exact fits on inputs that are not normal: of networks with output signs, and of the paper's."""
    lines = header("inputs", "signs, crease pursuit", "the paper's task, crease pursuit", "the paper's task, gnhtp")
    for words, dist in (("uniform", "uniform"), ("pixels of MNIST, standardised", "mnist"), ("+-1", "rademacher")):
        drawn = {"task": "mlp_planted", "nmeasurements": 10000, "input_dist": dist, "num_epochs": ANY}
        columns = ((*SIGNS, {"method": "creases", "planted_signs": True}),
                   (*EASY, {"method": "creases"}), (*EASY, {"method": "gnhtp"}))
        lines.append(line(words, *(exact(cells(drawn | given, mlist, slist), "mlp_planted")
                                   for mlist, slist, given in columns)))
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "verdicts": verdicts,
    "figures": figures,
    "parts": parts,
    "recovered": recovered,
    "opponents": opponents,
    "recovery": lambda: columns_of("recovery"),
    "recovery2": lambda: columns_of("recovery2"),
    "baselines": lambda: columns_of("baselines"),
    "dst": lambda: columns_of("dst"),
    "gnhtp": lambda: columns_of("gnhtp"),
    "inputs": lambda: columns_of("inputs"),
    "by_number": by_number,
    "creases": lambda: fits("creases"),
    "joint": lambda: fits("deep"),
    "planted_gnhtp": lambda: fits("gnhtp"),
    "other_inputs": other_inputs,
}


def filled(text: str) -> str:
    """A page with its tables written anew. Raises UsageError for an unknown name."""
    def fill(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise UsageError(f"a page asks for the table {match[2]!r}; choose among {', '.join(TABLES)}")
        return match[1] + "".join(f"{row}\n" for row in TABLES[match[2]]()) + match[3]

    return BLOCK.sub(fill, text)


def run(_: argparse.Namespace) -> None:
    """Write the tables. Raises UsageError."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        if (new := filled(text)) != text:
            replace_files({page: new.encode()})
            print(f"{page.relative_to(ROOT)}: tables written")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(PROG, __doc__.split("\n")[0])
    return run_main(PROG, lambda: run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
