"""How close the code is to the floor, whole cells: one typical cell of each command of the paper's figures.

    python -m benchmarks.speed [--repeats 3] [--figure] [--scaling] [--page docs/performance.md]

Prints the tables of docs/performance.md: the seconds of a cell, from its data to its score, with the data set in
memory; its two floors (floors.py), timed in the same process; and the ratios. A last line compares a fit of AIHT with a
Python loop over single neurons. --figure draws seconds against floors; --scaling measures how time and memory grow.
"""

from __future__ import annotations

import itertools
import math
import platform
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
from plotting import page
from plotting.figures import FIGURES, Row
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
NEAR = 0.2  # markers that are nearer than this factor on both axes, less 1, cover each other


@dataclass(frozen=True)
class Options(Drawing):
    """What is measured."""

    repeats: int = option(3, SIZE, "of which the median is taken")
    threads: int = option(num_cores(), SIZE, "CPU threads")
    figure: bool = option(False, SWITCH, "draw the seconds against the floors")
    scaling: bool = option(False, SWITCH, "measure how time and memory grow with n, d, m and s, instead of cells")
    page: str | None = option(None, optional(FOLDER), "put the tables into this page, docs/performance.md",
                              metavar="FILE")
    quick: bool = option(False, SWITCH, "fewest epochs and small shapes, to see that it runs")

    def check(self) -> None:
        if self.scaling and self.figure:
            raise OptionError("figure", "it draws cells, which --scaling does not time; leave one out")


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


def labels(rows: Sequence[tuple[int, Timing]]) -> Iterator[tuple[tuple[float, float], str]]:
    """Where the numbers of rows are written, those of markers that cover each other together."""
    left = list(rows)
    while left:
        first = left[0][1]
        near = [(number, row) for number, row in left if abs(math.log(row.floor / first.floor)) < NEAR
                and abs(math.log(row.seconds / first.seconds)) < NEAR]
        left = [entry for entry in left if entry not in near]
        place = min(row.floor for _, row in near), max(row.seconds for _, row in near)
        yield place, ", ".join(str(number) for number, _ in near)


def draw_timings(found: Sequence[Timing]) -> page.Figure:
    """The seconds of cells against their floors, the whole ones hollow, and the line where both are equal."""
    figure = page.new_figure(4.8, 4.2)
    ax = figure.add_subplot()
    for method, marker in zip(ALL_METHODS, "os", strict=True):
        own = [(number, row) for number, row in enumerate(found, 1) if row.method == method]
        [drawn] = ax.loglog([row.floor for _, row in own], [row.seconds for _, row in own], marker,
                            label=METHODS[method].title)
        for _, row in own:
            ax.loglog([row.floor, row.whole_floor], [row.seconds] * 2, f"{marker}-", markevery=[1], fillstyle="none",
                      color=drawn.get_color(), linewidth=0.5)
        for place, numbers in labels(own):
            ax.annotate(numbers, place, xytext=(-5, 3), textcoords="offset points", fontsize=7, ha="right")
    ends = [min(row.floor for row in found), max(row.seconds for row in found)]
    ax.loglog(ends, ends, "k-", linewidth=0.8, label="a cell at its floor")
    ax.set(xlabel="its products alone; hollow: with gates and gathering (s)", ylabel="whole cell (s)")
    ax.margins(0.1)  # for the numbers left of the markers
    ax.grid(True, which="both", alpha=0.25, linewidth=0.5)
    ax.legend(frameon=False)
    return figure


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
        with page.style():
            page.save(draw_timings(rows), Path(options.figures_dir, "speed"))


def growth(options: Options) -> Iterator[str]:
    """Measure how time and memory grow; yields the lines of the page as they are ready."""
    base, factors = (scaling.SMALL, scaling.SMALL_FACTORS) if options.quick else (scaling.BASE, scaling.FACTORS)
    yield f"Around {', '.join(f'{axis} {value}' for axis, value in base.items())}. {head(options.threads)}\n"
    yield from scaling.table(base, factors, options.threads)


def run(options: Options) -> None:
    """Measure what is asked for, print it and put it into the page. Raises UsageError."""
    block, measure = ("growth", growth) if options.scaling else ("cells", cells)
    if options.figure:
        options.figures()
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
        raise UsageError(f"argument --page: it has no block {block!r}; name docs/performance.md, or leave it out")
    return text


main = Program(PROG, __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
