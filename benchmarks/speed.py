"""How close the code is to the floor, whole cells: one typical cell of each command of the paper's figures.

    python -m benchmarks.speed [--repeats 3] [--figure] [--scaling] [--page docs/performance.md] [--draw]

Prints the tables of docs/performance.md: the seconds of a cell, from its data to its score, with the data set in
memory; its two floors (floors.py), timed in the same process; and the ratios. A last line compares a fit of AIHT with a
Python loop over single neurons. --figure draws seconds beside floors, --draw those that the page has; --scaling
measures how time and memory grow.
"""

from __future__ import annotations

import itertools
import platform
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiht
from benchmarks import floors, per_neuron, scaling
from instances.planted import planted_problem
from instances.task import Problem
from numerics.workspace import Workspace
from options import FOLDER, SIZE, SWITCH, OptionError, option, optional
from plotting import looks, page
from plotting.figures import FIGURES, Row
from plotting.words import depth_words
from shell.command import Drawing, Program
from shell.files import fill_blocks, replace_files
from shell.program import UsageError
from sweep.cells import read_data, run_job
from sweep.machine import blas_kernels, processor_name, versions
from sweep.methods import METHODS
from sweep.settings import make_settings, num_cores
from sweep.table import DONE

PROG = "python -m benchmarks.speed"
ALL_METHODS = ("aiht", "pruning")


@dataclass(frozen=True)
class Options(Drawing):
    """What is measured."""

    repeats: int = option(3, SIZE, "runs to take the median of")
    threads: int = option(num_cores(), SIZE, "CPU threads")
    figure: bool = option(False, SWITCH, "plot times and their lower bounds")
    scaling: bool = option(False, SWITCH, "measure how time and memory grow with n, d, m and s, instead of cells")
    page: str | None = option(None, optional(FOLDER), "put the tables into this page, docs/performance.md",
                              metavar="FILE")
    draw: bool = option(False, SWITCH, "draw the cells of the page again, and time nothing")
    quick: bool = option(False, SWITCH, "fewest epochs and small shapes, to see that it runs")

    def check(self) -> None:
        if self.scaling and (self.figure or self.draw):
            raise OptionError("figure" if self.figure else "draw",
                              "it draws cells, which --scaling does not time; leave one out")
        if self.draw and not self.page:
            raise OptionError("draw", "it draws the cells of a page; add --page docs/performance.md")


class Command(NamedTuple):
    """The commands of a row of a figure, one for each method, and the cell of them that is timed, of seed 0."""

    figure: str  # of the paper
    row: Row
    m: int
    s: int
    reduced: dict[str, int]  # {method: epochs} where a cell would take more than 20 s

    def selection(self, method: str) -> dict[str, Any]:
        """What its command says: task, method and settings."""
        return self.row.columns[METHODS[method].title]


CELLS = {  # m, s and reduced epochs of the cell of each row of a figure
    "1": ((20, 50, {}), (20, 100, {})),
    "2": ((20, 100, {"pruning": 20}), (20, 100, {"aiht": 50, "pruning": 20})),
    "3": ((20, 50, {}), (20, 1000, {"aiht": 15, "pruning": 5})),
    "4": ((20, 100, {}), (20, 100, {})),
    "5": ((20, 500, {"pruning": 30}), (20, 500, {"pruning": 30})),
}
COMMANDS = tuple(Command(figure, row, *cell) for figure, cells in CELLS.items()
                 for row, cell in zip(FIGURES[figure].rows, cells, strict=True))
LOOP = {"n": 50000, "d": 100, "m": 1000, "s": 200, "num_epochs": 15}  # of the comparison with a loop over neurons
QUICK_LOOP = {"n": 500, "d": 20, "m": 20, "s": 20, "num_epochs": 3}
QUICK_EPOCHS = 2
MARKS: dict[str, tuple[str, dict[str, Any]]] = {  # of each field of a Timing in the figure, and what it is
    "floor": ("its products alone", {"marker": "|", "markersize": 7}),
    "whole_floor": ("floor, with gates and gathering", {"fillstyle": "none", "markersize": 6}),
    "seconds": ("whole cell", {}),
}
HEAD = ("| | figure | task | method | hidden layers | m | s | epochs | seconds | floor | ratio | whole floor | "
        "ratio |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")


class Timing(NamedTuple):
    """A cell that was timed, in the first words of its line, and seconds."""

    cell: str
    method: str
    seconds: float
    floor: float
    whole_floor: float  # with all that AIHT must do besides

    def line(self, number: int) -> str:
        """Its line of the table."""
        ratios = (f"{floor:.3f} | {self.seconds / max(floor, 1e-9):.2f}" for floor in (self.floor, self.whole_floor))
        return f"| {number} | {self.cell} | {self.seconds:.3f} | {' | '.join(ratios)} |"


def timed(command: Command, method: str, options: Options) -> Timing:
    """The median seconds of a cell and of its two floors, measured in turn."""
    given, m, s, threads = command.selection(method), command.m, command.s, options.threads
    usual, layers = given["num_epochs"], given.get("num_layers", 1)
    epochs = QUICK_EPOCHS if options.quick else command.reduced.get(method, usual)
    settings = make_settings(**given | {"mlist": [m], "slist": [s], "device": "cpu", "threads": threads,
                                        "num_epochs": epochs})
    read_data(settings)
    problem = settings.build(m, s, 0)
    assert isinstance(problem, Problem)

    def run() -> None:
        [result] = run_job([(m, s, 0)], settings, "cpu").values()
        if result.status != DONE:
            raise RuntimeError(f"{given['task']}, {method}: {result.status}")

    fit = {"num_layers": layers, "num_epochs": epochs, "batch_size": given.get("batch_size", 0)}
    times = [(floors.seconds(run, threads), *floors.floor_seconds(method, problem, m, s, threads, **fit))
             for _ in range(options.repeats)]
    outputs = problem.Y[0].size
    cell = (command.figure, f"{given['task']}{f', {outputs} outputs' * (outputs > 1)}", METHODS[method].title, layers,
            m, s, f"{epochs}{f' of {usual}' * (epochs != usual)}")
    return Timing(" | ".join(map(str, cell)), method, *map(statistics.median, zip(*times, strict=True)))


def loop_line(n: int, d: int, m: int, s: int, num_epochs: int, threads: int) -> str:
    """What a fit with a Python loop over neurons would take, in units of a fit of AIHT on a planted network."""
    problem, nets = planted_problem(m, s, 0, nmeasurements=n, input_dim=d), []
    with Workspace(threads) as work:
        ours = floors.median_seconds(lambda: nets.append(aiht.fit(problem.X, problem.Y, s, width=m,
                                                                  num_epochs=num_epochs, work=work)), threads)
    plain, careful = (per_neuron.loop_seconds(problem, nets[-1], num_epochs, threads, skip) for skip in (False, True))
    return (f"AIHT, n {n}, d {d}, m {m}, s {s}, {num_epochs} steps: {ours:.2f} s. A Python loop over single neurons, "
            f"its products timed once each and counted: {plain:.3g} s, {plain / ours:.0f} times as long; passing over "
            f"neurons without weights: {careful:.3g} s, {careful / ours:.0f} times.")


def timings(page_text: str) -> list[Timing]:
    """The timings in the table of a page. Raises UsageError where it has none."""
    titles = {METHODS[method].title: method for method in ALL_METHODS}
    rows = [[part.strip() for part in line.split("|")[2:-1]] for line in page_text.splitlines()
            if re.match(r"\| \d+ \| \d \|", line)]
    if not rows:
        raise UsageError("argument --draw: the page has no timed cells; name docs/performance.md by --page")
    return [Timing(" | ".join(row[:7]), titles[row[2]], float(row[7]), float(row[8]), float(row[10])) for row in rows]


def draw_timings(found: Sequence[Timing]) -> page.Figure:
    """A line for each cell: the seconds of its products, of its whole floor, and of all; the number is their ratio."""
    figure = page.new_figure(page.WIDTH, 0.9 + 0.22 * len(found))
    ax = figure.add_subplot()
    for method in ALL_METHODS:
        rows, places = zip(*((row, -place) for place, row in enumerate(found) if row.method == method), strict=True)
        ax.hlines(places, [row.floor for row in rows], [row.seconds for row in rows], color="0.7", linewidth=0.6)
        for name, (words, mark) in MARKS.items():
            ax.plot([getattr(row, name) for row in rows], places, linestyle="none",
                    label=f"{METHODS[method].title}: {words}", **looks.look(method) | mark)
        for row, place in zip(rows, places, strict=True):
            ax.annotate(f"{row.seconds / max(row.whole_floor, 1e-9):.2f}", (row.seconds, place), xytext=(7, 0),
                        textcoords="offset points", fontsize=7, va="center")
    ax.set_yticks([-place for place in range(len(found))],
                  [f"{number}  {cell_words(row)}" for number, row in enumerate(found, 1)])
    ax.set(xscale="log", xlabel="seconds; number: whole cell over its floor")
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.grid(axis="x", alpha=0.25, linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def cell_words(row: Timing) -> str:
    """Figure, task, method and depth of a cell."""
    number, task, method, layers, *_ = row.cell.split(" | ")
    return f"Figure {number}, {task}, {depth_words(int(layers))}: {method}"


def save_timings(found: Sequence[Timing], options: Options) -> None:
    """Draw cells into the folder of the figures."""
    with page.style():
        page.save(draw_timings(found), Path(options.figures_dir, "speed"))


def head(threads: int) -> str:
    """The machine and the versions, in a line."""
    found = versions(with_cupy=False)
    return (f"{processor_name()}, {threads} thread(s); Python {platform.python_version()}, NumPy {found['numpy']} "
            f"({', '.join(blas_kernels())}), torch {found['torch']}.")


def cells(options: Options) -> Iterator[str]:
    """Time the cells, and draw them if asked to; yields the lines of the page as they are ready."""
    clock, rows = "Processor" if options.threads == 1 else "Wall", []
    yield (f"{clock} seconds, medians of {options.repeats}, the floor and the cell in turn. {head(options.threads)}"
           f"\n\n{HEAD}")
    for command, method in itertools.product(COMMANDS, ALL_METHODS):
        rows.append(timed(command, method, options))
        yield rows[-1].line(len(rows))
    yield "\n" + loop_line(**QUICK_LOOP if options.quick else LOOP, threads=options.threads)
    if options.figure:
        save_timings(rows, options)


def growth(options: Options) -> Iterator[str]:
    """Measure how time and memory grow; yields the lines of the page as they are ready."""
    base, factors = (scaling.SMALL, scaling.SMALL_FACTORS) if options.quick else (scaling.BASE, scaling.FACTORS)
    yield f"Around {', '.join(f'{axis} {value}' for axis, value in base.items())}. {head(options.threads)}\n"
    yield from scaling.table(base, factors, options.threads)


def run(options: Options) -> None:
    """Measure what is asked for, print it and put it into the page. Raises UsageError."""
    block, measure = ("growth", growth) if options.scaling else ("cells", cells)
    if options.figure or options.draw:
        options.figures()
    if options.draw:
        save_timings(timings(read_page(str(options.page), block)), options)
        return
    if options.page:
        read_page(options.page, block)  # a mistake is refused before the work
    lines = []
    for line in measure(options):
        lines.append(line)
        print(line, flush=True)
    if options.page:
        written = fill_blocks(read_page(options.page, block), block, lambda _: lines)
        replace_files({Path(options.page): written.encode()})


def read_page(path: str, block: str) -> str:
    """A page that has this block. Raises UsageError."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise UsageError(f"argument --page: cannot read {path} ({error.strerror})") from None
    if fill_blocks(text, block, lambda _: [PROG]) == text:
        raise UsageError(f"argument --page: {path} has no block {block!r}; use docs/performance.md")
    return text


main = Program(PROG, __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
