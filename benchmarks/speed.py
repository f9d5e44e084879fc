"""How close the code is to the floor, whole cells: one typical cell of each command of the paper's figures.

    python -m benchmarks.speed [--repeats 3] [--figure] [--scaling] [--page docs/performance.md]

Prints the tables of docs/performance.md: the seconds of a cell, from its data to its score, with the data set in
memory; its two floors (floors.py), timed in the same process; and the ratios. A last line compares a fit of AIHT with a
Python loop over single neurons. --figure draws seconds against floors; --scaling measures how time and memory grow.
"""

from __future__ import annotations

import argparse
import math
import platform
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiht
from benchmarks import floors, per_neuron, scaling
from numerics.workspace import Workspace
from plotting import page
from runner import read_data
from sweep import flags
from sweep.cells import run_job
from sweep.flags import Parser, UsageError, run_main
from sweep.logbook import DONE, replace_files
from sweep.machine import blas_kernels, processor_name, versions
from sweep.methods import METHODS
from sweep.settings import Settings, make_settings, num_cores
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROG = "python -m benchmarks.speed"
ALL_METHODS = ("aiht", "pruning")
NEAR = 0.2  # markers that are nearer than this factor on both axes, less 1, cover each other


@dataclass(frozen=True)
class Command:
    """A pair of commands of a figure, one for each method, and the cell of them that is timed.

    Args:
        figure: of the paper.  num_epochs: of the commands.  flags: their others.
        m, s: of the cell; the seed is 0.
        reduced: {method: epochs} where a cell would take more than 20 s.
    """

    figure: int
    task: str
    num_epochs: int
    flags: dict
    m: int
    s: int
    reduced: dict

    def settings(self, method: str, threads: int, num_epochs: int | None = None) -> Settings:
        """The settings of the cell, with the epochs of the command or its reduced ones unless some are given."""
        return make_settings(task=self.task, method=method, mlist=[self.m], slist=[self.s], device="cpu",
                             num_epochs=num_epochs or self.reduced.get(method, self.num_epochs), threads=threads,
                             **self.flags)


TEN = {"output_dim": 10, "batch_size": 5000}
COMMANDS = (
    Command(1, "mlp_planted", 15, {}, 20, 50, {}),
    Command(1, "mlp_planted", 15, {"num_layers": 2}, 20, 100, {}),
    Command(2, "mlp_planted", 100, TEN, 20, 100, {"pruning": 20}),
    Command(2, "mlp_planted", 100, TEN | {"num_layers": 2}, 20, 100, {"aiht": 50, "pruning": 20}),
    Command(3, "binary_mnist", 15, {"batch_size": 1000}, 20, 50, {}),
    Command(3, "mnist", 50, {"batch_size": 5000}, 20, 1000, {"aiht": 15, "pruning": 5}),
    Command(4, "inr_mnist", 100, {}, 20, 100, {}),
    Command(4, "inr_mnist", 100, {"num_layers": 2}, 20, 100, {}),
    Command(5, "inr_cifar10", 100, {}, 20, 500, {"pruning": 30}),
    Command(5, "inr_cifar10", 100, {"num_layers": 2}, 20, 500, {"pruning": 30}),
)
LOOP = {"n": 50000, "d": 100, "m": 1000, "s": 200, "num_epochs": 15}  # of the comparison with a loop over neurons
QUICK_LOOP = {"n": 500, "d": 20, "m": 20, "s": 20, "num_epochs": 3}
QUICK_EPOCHS = 2


@dataclass(frozen=True)
class Row:
    """A cell that was timed: its settings, the epochs of its command, and seconds."""

    figure: int
    settings: Settings
    full_epochs: int
    seconds: float
    floor: float
    whole_floor: float  # with all that AIHT must do besides

    def line(self, number: int) -> str:
        """Its line of the table."""
        of, epochs = self.settings, f"{self.settings.num_epochs}"
        if self.settings.num_epochs != self.full_epochs:
            epochs += f" of {self.full_epochs}"
        outputs = TASKS[of.task].outputs(of)
        return (f"| {number} | {self.figure} | {of.task}{f', {outputs} outputs' if outputs > 1 else ''} | "
                f"{METHODS[of.method].title} | {of.num_layers} | {of.mlist[0]} | {of.slist[0]} | {epochs} | "
                f"{self.seconds:.3f} | {self.floor:.3f} | {self.seconds / max(self.floor, 1e-9):.2f} | "
                f"{self.whole_floor:.3f} | {self.seconds / max(self.whole_floor, 1e-9):.2f} |")


HEAD = ("| | figure | task | method | hidden layers | m | s | epochs | seconds | floor | ratio | whole floor | "
        "ratio |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")


def time_cell(settings: Settings, repeats: int) -> tuple[float, float, float]:
    """Median seconds of a cell, of its floor and of its whole floor, measured in turn."""
    read_data(settings)
    m, s = settings.mlist[0], settings.slist[0]
    problem = TASKS[settings.task].build(settings, m, s, 0)

    def run() -> None:
        [result] = run_job([(m, s, 0)], settings, "cpu").values()
        if result.status != DONE:
            raise RuntimeError(f"{settings.task}, {settings.method}: {result.status}")

    times = [(floors.seconds(run, settings.threads), *floors.floor_seconds(problem, m, s, settings))
             for _ in range(repeats)]
    cell, floor, whole = map(statistics.median, zip(*times, strict=True))
    return cell, floor, whole


def rows(commands: Sequence[Command], repeats: int, threads: int, num_epochs: int | None) -> Iterator[Row]:
    """The rows of all commands, one after the other."""
    for command in commands:
        for method in ALL_METHODS:
            settings = command.settings(method, threads, num_epochs)
            yield Row(command.figure, settings, command.num_epochs, *time_cell(settings, repeats))


def loop_line(n: int, d: int, m: int, s: int, num_epochs: int, threads: int) -> str:
    """What a fit with a Python loop over neurons would take, in units of a fit of AIHT on a planted network."""
    settings = make_settings(task="mlp_planted", mlist=[m], slist=[s], nmeasurements=n, input_dim=d)
    problem, nets = TASKS["mlp_planted"].build(settings, m, s, 0), []
    with Workspace(threads) as work:
        ours = floors.median_seconds(lambda: nets.append(aiht.fit(problem.X, problem.Y, s, width=m,
                                                                  num_epochs=num_epochs, work=work)), threads)
    plain, careful = (per_neuron.loop_seconds(problem, nets[-1], num_epochs, threads, skip) for skip in (False, True))
    return (f"AIHT, n {n}, d {d}, m {m}, s {s}, {num_epochs} steps: {ours:.2f} s. A Python loop over single neurons, "
            f"its products timed once each and counted: {plain:.3g} s, {plain / ours:.0f} times as long; passing over "
            f"neurons without weights: {careful:.3g} s, {careful / ours:.0f} times.")


def labels(rows: Sequence[tuple[int, Row]]) -> Iterator[tuple[tuple[float, float], str]]:
    """Where the numbers of rows are written, those of markers that cover each other together."""
    left = list(rows)
    while left:
        first = left[0][1]
        near = [(number, row) for number, row in left if abs(math.log(row.floor / first.floor)) < NEAR
                and abs(math.log(row.seconds / first.seconds)) < NEAR]
        left = [entry for entry in left if entry not in near]
        place = min(row.floor for _, row in near), max(row.seconds for _, row in near)
        yield place, ", ".join(str(number) for number, _ in near)


def draw(found: Sequence[Row]) -> Figure:
    """The seconds of cells against their floors, by their numbers in the table, and the line where both are equal.

    Hollow markers stand at the whole floors, where they are others.
    """
    figure = page.new_figure(4.8, 4.2)
    ax = figure.add_subplot()
    for method, marker in zip(ALL_METHODS, "os", strict=True):
        own = [(number, row) for number, row in enumerate(found, 1) if row.settings.method == method]
        [drawn] = ax.loglog([row.floor for _, row in own], [row.seconds for _, row in own], marker,
                            label=METHODS[method].title)
        for _, row in own:
            if row.whole_floor > row.floor:
                ax.loglog([row.floor, row.whole_floor], [row.seconds] * 2, "-", color=drawn.get_color(), linewidth=0.5)
                ax.loglog(row.whole_floor, row.seconds, marker, color=drawn.get_color(), fillstyle="none")
        for place, numbers in labels(own):
            ax.annotate(numbers, place, xytext=(-5, 3), textcoords="offset points", fontsize=7, ha="right")
    ends = [min(row.floor for row in found), max(row.seconds for row in found)]
    ax.loglog(ends, ends, "k-", linewidth=0.8, label="a cell at its floor")
    ax.set_xlabel("its products alone; hollow: with gates and gathering (s)")
    ax.set_ylabel("whole cell (s)")
    ax.margins(0.1)  # for the numbers left of the markers
    ax.grid(True, which="both", alpha=0.25, linewidth=0.5)
    ax.legend(frameon=False)
    return figure


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    add("--repeats", type=flags.positive, default=3, help="of which the median is taken (default: 3)")
    add("--threads", type=flags.positive, default=num_cores(), help="CPU threads (default: all cores)")
    add("--figure", action="store_true", help="draw the seconds against the floors")
    add("--figures_dir", type=flags.folder, default="figures", help="for the figure (default: ./figures)")
    add("--scaling", action="store_true", help="measure how time and memory grow with n, d, m and s, instead of cells")
    add("--page", type=flags.folder, metavar="FILE", help="put the tables into this page, docs/performance.md")
    add("--quick", action="store_true", help="fewest epochs and small shapes, to see that it runs")
    args = parser.parse_args(argv)
    if args.scaling and args.figure:
        raise UsageError("argument --figure: it draws cells, which --scaling does not time; leave one out")
    return args


def head(threads: int) -> str:
    """The machine and the versions, in a line."""
    found = versions(with_cupy=False)
    return (f"{processor_name()}, {threads} thread(s); Python {platform.python_version()}, NumPy {found['numpy']} "
            f"({', '.join(blas_kernels())}), torch {found['torch']}.")


def cells(args: argparse.Namespace) -> Iterator[str]:
    """Time the cells, and draw them if asked to; yields the lines of the page as they are ready."""
    clock = "Processor" if args.threads == 1 else "Wall"
    yield f"{clock} seconds, medians of {args.repeats}, the floor and the cell in turn. {head(args.threads)}\n\n{HEAD}"
    timed = []
    for row in rows(COMMANDS, args.repeats, args.threads, QUICK_EPOCHS if args.quick else None):
        timed.append(row)
        yield row.line(len(timed))
    yield "\n" + loop_line(**QUICK_LOOP if args.quick else LOOP, threads=args.threads)
    if args.figure:
        with page.style():
            page.save(draw(timed), Path(args.figures_dir, "speed"))


def growth(args: argparse.Namespace) -> Iterator[str]:
    """Measure how time and memory grow; yields the lines of the page as they are ready."""
    shapes = (scaling.SMALL, scaling.SMALL_FACTORS) if args.quick else (scaling.BASE, scaling.FACTORS)
    yield f"Around {', '.join(f'{axis} {value}' for axis, value in shapes[0].items())}. {head(args.threads)}\n"
    yield from scaling.table(*shapes, args.threads)


def put(text: str, block: str, content: str) -> str:
    """A page with new content in a block, which begins with <!-- block: ... --> and ends with <!-- end -->."""
    pattern = re.compile(rf"(<!-- {block}: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise UsageError(f"argument --page: it has no block {block!r}; name docs/performance.md, or leave it out")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def run(args: argparse.Namespace) -> None:
    """Measure what is asked for, print it and put it into the page. Raises UsageError."""
    block, measure = ("growth", growth) if args.scaling else ("cells", cells)
    if args.figure:
        page.make_folder(Path(args.figures_dir))
    if args.page:
        put(read_page(args.page), block, "")  # a mistake is refused before the work
    lines = []
    for line in measure(args):
        lines.append(line)
        print(line, flush=True)
    if args.page:
        replace_files({Path(args.page): put(read_page(args.page), block, "\n".join(lines)).encode()})


def read_page(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise UsageError(f"argument --page: cannot read {path} ({error.strerror})") from None


def main(argv: list[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
