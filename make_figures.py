"""Draw the saved logs as heatmaps, as in Figures 1-5 of the paper: score against hidden width m and nonzeros s.

Edit the two constants below (None takes all; any case will do), then

    python make_figures.py

Each logs/<task>/<method>/*.npy becomes one picture in figures/, as PNG and as PDF. A log is a table with a .json
sidecar, or a table named by the paper's own code. No display is needed.

    python make_figures.py --figure 1

puts AIHT beside IMP as in Figure 1, with their difference, from the cells of all logs that have its settings. With
--statistic and --metric both draw other numbers than the mean score.

    python make_figures.py --figure 1 --against logs/reference

draws nothing: it compares the cells of Figure 1 in ./logs with those in logs/reference (plotting/against.py).
Nor does --table, which prints the logs as tables (plotting/tables.py).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.flags import Parser, UsageError, complain, require, run_main

if __name__ == "__main__":
    require("make_figures.py", "numpy", "matplotlib", "threadpoolctl")

from plotting import against, history, page, tables
from plotting.figures import (
    FIGURES,
    Entry,
    assemble,
    draw_entry,
    draw_log,
    is_empty,
    shared_measure,
    summaries,
)
from plotting.lines import draw_lines
from plotting.logs import (
    SCORE,
    agrees,
    find_logs,
    folders,
    grid_of,
    known_method,
    known_task,
    read_log,
)
from plotting.names import add_suffix, figure_stems
from plotting.numbers import MEAN, SHARES, STATISTICS, Quantity
from sweep.logbook import Log, LogError
from sweep.settings import SETTINGS
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROG = "make_figures.py"
TASK = None  # a name in the table of tasks.py, such as "mnist"
METHOD = None  # a name in the table of sweep/methods.py, such as "aiht"
EXAMPLES = (  # at the end of --help
    "python make_figures.py --figure 4 --logs_dir logs/reference",
    "python make_figures.py --task mlp_planted --statistic success",
    "python make_figures.py --table markdown --task inr_mnist --logs_dir logs/reference",
)


# ---- flags ----


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The checked flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0], EXAMPLES)
    add = parser.add_argument
    add("--task", help="only this task, in any case (default: TASK on top of this file)")
    add("--method", help="only this method, in any case (default: METHOD on top of this file)")
    add("--figure", choices=FIGURES, help="assemble this figure, from the cells of all logs that have its settings")
    add("--statistic", choices=STATISTICS, help="over the seeds: their mean (default, but for some figures), standard "
        "deviation or median; success: the share of them whose score is better than --threshold; exact: that share as "
        "the colour, the median as the number")
    exact = ", ".join(f"{task.exact:g} for {name}" for name, task in TASKS.items() if task.exact is not None)
    add("--threshold", type=number, help=f"what counts as success (default: {exact})")
    add("--metric", default=SCORE, help="a number of the cells' records in the sidecars, such as num_nonzero or "
        "seconds; logs without it are passed over (default: the score)")
    add("--against", type=Path, metavar="LOGS_DIR", help="draw nothing, but compare the scores of --logs_dir with "
        "those of this folder, cell by cell; exit code 1 if any differ by more than --tolerance")
    add("--tolerance", type=number, help="largest difference that --against lets pass (default: "
        f"{against.TOLERANCE_DECIBEL} dB, {against.TOLERANCE_LOG} of the decimal logarithm of an error, "
        f"{against.TOLERANCE_OTHER} of an accuracy)")
    add("--table", choices=tables.FORMATS, help="draw nothing, but print the logs as a table: for each m and s the "
        "mean, standard deviation and median over the seeds, and their number")
    add("--history", nargs="?", const=SCORE, choices=history.NUMBERS, help="draw how fits went, step by step, by what "
        "runner.py --save_history kept: the score, or another number; median and quartiles over the seeds")
    add("--logs_dir", type=Path, default=Path("logs"), help="holds <task>/<method>/*.npy (./%(default)s)")
    add("--figures_dir", type=Path, default=Path("figures"), help="for the pictures (./%(default)s)")
    args = parser.parse_args(argv)
    refuse_combinations(args)
    return args


def refuse_combinations(args: argparse.Namespace) -> None:
    """Flags that are wrong together. Raises UsageError."""
    if args.figure and (args.task or args.method):
        raise UsageError("argument --figure: has its own tasks and methods; leave --task and --method out")
    if args.statistic is None:
        own = args.figure and args.metric == SCORE and not args.against  # the statistic of a figure is one of scores
        args.statistic = FIGURES[args.figure].statistic if own else MEAN
    if args.figure and FIGURES[args.figure].as_lines and not args.against and (
            args.metric, args.statistic) != (SCORE, MEAN):
        raise UsageError(f"argument --figure: {args.figure} shows scores as lines; leave --metric and --statistic out")
    if args.threshold is not None and args.statistic not in SHARES:
        raise UsageError(f"argument --threshold: {args.threshold:g} has no effect without --statistic "
                         f"{' or '.join(SHARES)}; add that")
    if args.tolerance is not None and not args.against:
        raise UsageError(f"argument --tolerance: {args.tolerance:g} has no effect without --against; add that")
    if args.tolerance is not None and args.tolerance < 0:
        raise UsageError(f"argument --tolerance: {args.tolerance:g} is below 0; give a positive number")
    if args.history and (args.figure or args.against or args.table or args.metric != SCORE or args.statistic != MEAN):
        raise UsageError(f"argument --history: {args.history} is what is drawn; leave --figure, --against, --table, "
                         "--metric and --statistic out")
    if args.table and (args.figure or args.against or args.statistic != MEAN):
        raise UsageError(f"argument --table: {args.table} has all statistics of single logs; leave --figure, --against "
                         "and --statistic out")
    if args.against and (args.metric, args.statistic) != (SCORE, MEAN):
        raise UsageError("argument --against: compares the scores of single cells; leave --metric and --statistic out")


def number(text: str) -> float:
    """The type of --threshold and --tolerance."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


# ---- which logs ----


def found_logs(logs_dir: Path) -> list[Path]:
    """The logs in a folder. Raises UsageError where there is no such folder."""
    if not logs_dir.is_dir():
        raise UsageError(f"no folder {logs_dir}; run runner.py with --save_results, or name the folder that holds the "
                         "logs by --logs_dir or --against")
    return find_logs(logs_dir)


def wanted_paths(args: argparse.Namespace, logs_dir: Path) -> tuple[list[Path], set[Path]]:
    """All logs in a folder, and those of the task and method that are asked for. Raises UsageError for none."""
    task, method = args.task or TASK, args.method or METHOD
    paths = found_logs(logs_dir)
    wanted = {path for path in paths if (task is None or known_task(task) == folders(path)[0])
              and (method is None or known_method(method) == folders(path)[1])}
    if wanted:
        return paths, wanted
    if not paths:
        raise UsageError(f"no logs <task>/<method>/*.npy in {logs_dir}; run runner.py with --save_results, or name "
                         "the folder that holds them by --logs_dir")
    there = ", ".join(sorted({"/".join(folders(path)) for path in paths}))
    raise UsageError(f"no logs of --task {task or '(any)'} --method {method or '(any)'} in {logs_dir}; choose among "
                     f"{there}, by these flags or by TASK and METHOD on top of make_figures.py")


def read_logs(paths: Sequence[Path], wanted: set[Path] | Sequence[Path],
              read: Callable[[Path], Log] = read_log) -> tuple[dict[Path, Log], int]:
    """{path: log} of those that can be read, and an exit code; complains about the others that are wanted."""
    logs, code = {}, 0
    for path in paths:
        try:
            logs[path] = read(path)
        except LogError as error:
            code = complain(PROG, error) if path in wanted else code
    return logs, code


def read_entry(entry: Entry, logs_dir: Path) -> tuple[list[Log], int]:
    """The logs with a selection of an entry, and an exit code; complains about those that cannot be read or judged."""
    kinds = {(selection["task"], selection["method"]) for selection in entry.selections}
    paths = [path for path in found_logs(logs_dir) if folders(path) in kinds]
    logs, code = read_logs(paths, paths)
    for path, log in logs.items():
        for name in sorted(log.settings.keys() - SETTINGS.keys()):
            code = complain(PROG, f"{path}: left out for its setting {name}, which is not in sweep/settings.py")
    return [log for log in logs.values() if any(agrees(log, selection) for selection in entry.selections)], code


def check_quantity(quantity: Quantity, logs: Sequence[Log], tasks: set[str]) -> None:
    """Raise UsageError where no log has the metric, or success has no threshold on a task."""
    names = {name for log in logs for name in grid_of(log).numbers}
    if quantity.metric not in names:
        raise UsageError(f"argument --metric: {quantity.metric} is in none of the logs; they have "
                         f"{', '.join(sorted(names))}")
    for task in sorted(tasks):
        if quantity.statistic in SHARES and quantity.on(task).threshold is None:
            what = f"{quantity.metric} of {task}" if quantity.metric != SCORE else task
            raise UsageError(f"argument --statistic: {quantity.statistic} has no default threshold for {what}; "
                             "give --threshold")


# ---- what is done with them ----


def draw_pictures(makers: dict[str, Callable[[], Figure]], figures_dir: Path) -> int:
    """Write each {stem: function that makes the figure}, print the paths, and return an exit code."""
    code = 0
    for stem, make in makers.items():
        try:
            with page.style():
                print(*page.save(make(), figures_dir / stem), sep="\n", flush=True)
        except BrokenPipeError:  # of what is printed, not of the picture
            raise
        except OSError as error:
            code = complain(PROG, f"cannot write {stem} ({error}); choose another --figures_dir")
    return code


def draw_each_log(args: argparse.Namespace) -> int:
    """One picture per log; returns an exit code. Raises UsageError."""
    quantity = Quantity(args.metric, args.statistic, args.threshold)
    paths, wanted = wanted_paths(args, args.logs_dir)
    tasks = {folders(path)[0] for path in wanted}
    logs, code = read_logs([path for path in paths if folders(path)[0] in tasks], wanted)  # all methods: one range
    chosen = {path: log for path, log in logs.items() if path in wanted}
    if not chosen:
        return code
    check_quantity(quantity, list(chosen.values()), {log.settings["task"] for log in chosen.values()})
    chosen = {path: log for path, log in chosen.items() if quantity.metric in grid_of(log).numbers}
    page.make_folder(args.figures_dir)
    quantities = {log.settings["task"]: quantity.on(log.settings["task"]) for log in chosen.values()}
    measures = {task: shared_measure([log for log in logs.values() if log.settings["task"] == task], asked)
                for task, asked in quantities.items()}
    suffixes = {path: quantities[log.settings["task"]].suffix for path, log in chosen.items()}
    names = add_suffix(figure_stems(paths), suffixes)
    makers = {}
    for path, log in chosen.items():
        task = log.settings["task"]
        makers[names[path]] = partial(draw_log, log, measures[task], quantities[task])
    return max(code, draw_pictures(makers, args.figures_dir))


def draw_figure(args: argparse.Namespace) -> int:
    """The picture of an entry of FIGURES; returns an exit code. Raises UsageError."""
    quantity, entry = Quantity(args.metric, args.statistic, args.threshold), FIGURES[args.figure]
    logs, code = read_entry(entry, args.logs_dir)
    if entry.as_lines and logs:
        page.make_folder(args.figures_dir)
        return max(code, draw_pictures({f"figure_{args.figure}": partial(draw_lines, entry, logs)}, args.figures_dir))
    if logs:
        check_quantity(quantity, logs, {row.task for row in entry.rows})
        strips, clashes = assemble(entry, logs, quantity)
    if not logs or is_empty(strips):
        raise UsageError(f"no cells of {entry.title} in --logs_dir {args.logs_dir}; run its commands with "
                         "runner.py --save_results, or name the folder that holds their logs")
    for taken, other in clashes:
        code = complain(PROG, f"{taken.files[0]} and {other.files[0].name} have the same cells with other "
                        "settings; those of the first are drawn, move one of the logs away")
    page.make_folder(args.figures_dir)
    own = quantity == Quantity(statistic=entry.statistic)
    suffixes = {} if own else dict.fromkeys(quantity.on(row.task).suffix for row in entry.rows)
    stem = f"figure{'' if args.figure.isdigit() else '_'}{args.figure}{''.join(suffixes)}"
    code = max(code, draw_pictures({stem: partial(draw_entry, entry, strips, quantity)}, args.figures_dir))
    for line in summaries(strips, quantity):
        print(line)
    return code


def compare(args: argparse.Namespace) -> int:
    """Compare the scores of two folders of logs; returns an exit code. Raises UsageError."""
    names, sets, code = (str(args.logs_dir), str(args.against)), [], 0
    for logs_dir in (args.logs_dir, args.against):
        if args.figure:
            logs, failed = read_entry(FIGURES[args.figure], logs_dir)
        else:
            _, wanted = wanted_paths(args, logs_dir)
            found, failed = read_logs(sorted(wanted), wanted)
            logs = list(found.values())
        sets.append(logs)
        code = max(code, failed)
    if args.figure:
        comparisons, others = against.compare_figure(FIGURES[args.figure], *sets, args.tolerance), []
    else:
        comparisons, others = against.compare_all(*sets, args.tolerance), against.unmatched(*sets, names)
    lines = [line for comparison in comparisons for line in against.report(comparison, names)]
    print(f"{names[0]} / {names[1]}", *lines, *others, sep="\n")
    compared = sum(comparison.num_both for comparison in comparisons)
    differing = sum(comparison.num_differing for comparison in comparisons)
    if not compared:
        raise UsageError(f"argument --against: {names[1]} and --logs_dir {names[0]} have no cell in common; "
                         "run the same command, with the same --expname, for both")
    print(f"{differing} of {compared} cells differ" if differing else f"all {compared} cells agree")
    return max(code, 1 if differing else 0)


def tabulate(args: argparse.Namespace) -> int:
    """Print the logs as a table; returns an exit code. Raises UsageError."""
    _, wanted = wanted_paths(args, args.logs_dir)
    logs, code = read_logs(sorted(wanted), wanted)
    if logs:
        check_quantity(Quantity(args.metric), list(logs.values()), set())
        print(tables.table(list(logs.values()), args.metric, args.table))
    return code


def draw_histories(args: argparse.Namespace) -> int:
    """A picture of the steps of fits for each task and width; returns an exit code. Raises UsageError."""
    paths = [path for path in sorted(wanted_paths(args, args.logs_dir)[1]) if history.has_histories(path)]
    if not paths:
        raise UsageError(f"argument --history: no log in {args.logs_dir} has any; run runner.py with --save_history")
    logs, code = read_logs(paths, paths, history.read_histories)
    page.make_folder(args.figures_dir)
    return max(code, draw_pictures(history.makers(list(logs.values()), args.history), args.figures_dir))


def main(argv: Sequence[str] | None = None) -> int:
    def run() -> int:
        args = parse_arguments(argv)
        uses = {compare: args.against, tabulate: args.table, draw_histories: args.history, draw_figure: args.figure}
        return next((use for use, asked in uses.items() if asked), draw_each_log)(args)

    return run_main(PROG, run)


if __name__ == "__main__":
    sys.exit(main())
