"""Draw the saved logs as heatmaps, as in Figures 1-5 of the paper: score against hidden width m and nonzeros s.

Edit the two constants below (None takes all; any case will do), then

    python make_figures.py

Each logs/<task>/<method>/*.npy becomes one picture in figures/, as PNG and as PDF. A log is a table with a .json
sidecar, or a table named by the paper's own code. No display is needed.

    python make_figures.py --figure 1 --commands
    python make_figures.py --figure 1
    python make_figures.py --figure 1 --against logs/reference

The first prints the commands that compute Figure 1. The second puts AIHT beside IMP as in Figure 1, with their
difference, from the cells of all logs that have its settings. With --statistic and --metric both ways of drawing show
other numbers than the mean score. The third draws nothing: it compares the cells of Figure 1 in ./logs with those in
logs/reference (plotting/against.py). Nor does --table, which prints the logs as tables (plotting/tables.py), nor
--html, which writes a page to explore (plotting/explore.py).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shell.extensions import load_named
from shell.files import check_writable
from shell.program import Parser, UsageError, complain, folder, number, require, run_main

if __name__ == "__main__":
    require("make_figures.py", "numpy", "matplotlib", "threadpoolctl")

from plotting import against, explore, figures, lines, page, panels, tables
from plotting.costs import cost
from plotting.figures import FIGURES, Entry
from plotting.logs import SCORE, agrees, find_logs, folders, grid_of, known_method, known_task, picture_names, read_log
from plotting.numbers import MEAN, SHARES, STATISTICS, Quantity
from plotting.refusals import refuse_combinations
from plotting.verdict import draw_differences, judge
from sweep.logbook import Log, LogError, mixtures
from sweep.settings import is_known
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROG, LOGS = "make_figures.py", Path("logs")
SHIPPED = Path(__file__).resolve().parent / LOGS / "reference"
TASK = None  # a name in the table of tasks.py, such as "mnist"
METHOD = None  # a name in the table of sweep/methods.py, such as "aiht"
EXAMPLES = (  # at the end of --help
    "python make_figures.py --figure 4 --logs_dir logs/reference",
    "python make_figures.py --figure 4 --commands",
    "python make_figures.py --task mlp_planted --statistic success",
    "python make_figures.py --table markdown --task inr_mnist --logs_dir logs/reference",
)


# ---- flags ----


def make_parser() -> Parser:
    """The parser; TASK and METHOD are the defaults of their flags."""
    parser = Parser(PROG, (__doc__ or "").split("\n")[0], EXAMPLES)
    add = parser.add_argument
    add("--task", default=TASK, help="only this task, in any case (default: TASK on top of this file)")
    add("--method", default=METHOD, help="only this method, in any case (default: METHOD on top of this file)")
    add("--figure", choices=FIGURES, help="assemble this figure, from the cells of all logs that have its settings")
    add("--commands", action="store_true", help="draw nothing, but print the commands that compute --figure; "
        "what they cost goes to standard error")
    add("--statistic", choices=STATISTICS, help="over the seeds: their mean (default, but for some figures), standard "
        "deviation or median; success: the share of them whose score is better than --threshold; exact: that share as "
        "the colour, the median as the number")
    exact = ", ".join(f"{task.exact:g} for {name}" for name, task in TASKS.items() if task.exact is not None)
    add("--threshold", type=number, help=f"what counts as success (default: {exact})")
    add("--top", type=number, help="the score that the colours reach, such as 170 where fits of 70 and of 160 dB shall "
        "differ (default: what the task says)")
    add("--metric", default=SCORE, help="a number of the cells' records in the sidecars, such as num_nonzero or "
        "seconds; logs without it are passed over (default: the score)")
    add("--against", type=folder, metavar="LOGS_DIR", help="draw nothing, but compare the scores of --logs_dir with "
        "those of this folder: whether what the figure shows is reproduced, then cell by cell; exit code 1 if it is "
        "not, or with --tolerance if any cell differs by more")
    add("--draw", action="store_true", help="draw the differences of --against, cell by cell")
    add("--tolerance", type=number, help="largest difference of scores that agree in --against (default: "
        f"{against.TOLERANCE_DECIBEL} dB, {against.TOLERANCE_LOG} of the decimal logarithm of an error, "
        f"{against.TOLERANCE_OTHER} of an accuracy)")
    add("--table", choices=(*tables.FORMATS, tables.CELLS), help="draw nothing, but print the logs as a table: for "
        "each m and s the mean, standard deviation and median over the seeds, and their number; cells: as CSV, a line "
        "per seed with its status, score and details")
    add("--history", nargs="?", const=SCORE, choices=lines.NUMBERS, help="draw how fits went, step by step, by what "
        "runner.py --save_history kept: the score, or another number; median and quartiles over the seeds")
    add("--html", type=folder, metavar="FILE", help="draw nothing, but write one page on which the logs, or with "
        "--against both sets of logs, are explored in a browser; takes the package plotly")
    add("--extend", nargs="+", metavar="FILE", help="Python files that add tasks, methods or figures to the tables")
    add("--logs_dir", type=folder, default=LOGS, help="holds <task>/<method>/*.npy (./%(default)s)")
    add("--figures_dir", type=folder, help="for the pictures (default: ./figures, for another --logs_dir the folder of "
        "its name in there)")
    return parser


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The checked flags, with the statistic that is drawn where none is given. Raises UsageError."""
    parser = make_parser()
    args = parser.parse_args(argv)
    given = {name for name, value in vars(args).items() if value != parser.get_default(name)}
    refuse_combinations(args, given - {"statistic"} if args.statistic == MEAN else given, FIGURES.get(args.figure))
    own = args.figure and args.metric == SCORE and not args.against  # the statistic of a figure is one of scores
    args.figures_dir = args.figures_dir or Path("figures", args.logs_dir.name if args.logs_dir != LOGS else "")
    args.statistic = args.statistic or (FIGURES[args.figure].statistic if own else MEAN)
    if args.threshold is not None and args.statistic not in SHARES:
        raise UsageError(f"argument --threshold: {args.threshold:g} has no effect without --statistic "
                         f"{' or '.join(SHARES)}; add that")
    return args


# ---- which logs ----


def wanted_paths(args: argparse.Namespace, logs_dir: Path) -> list[Path]:
    """The logs in a folder of the task and method that are asked for. Raises UsageError for none."""
    paths = find_logs(logs_dir)
    wanted = [path for path in paths if (args.task is None or known_task(args.task) == folders(path)[0])
              and (args.method is None or known_method(args.method) == folders(path)[1])]
    if not paths:
        raise UsageError(f"no logs <task>/<method>/*.npy in {logs_dir}; run runner.py with --save_results, or name "
                         "the folder that holds them by --logs_dir")
    if not wanted:
        there = ", ".join(sorted({"/".join(folders(path)) for path in paths}))
        raise UsageError(f"no logs of --task {args.task or '(any)'} --method {args.method or '(any)'} in {logs_dir}; "
                         f"choose among {there}, by these flags or by TASK and METHOD in make_figures.py")
    return wanted


def read_logs(paths: Sequence[Path], wanted: Sequence[Path] | None = None,
              with_histories: bool = False) -> tuple[list[Log], int]:
    """The logs that can be read, and an exit code; complains about the others, of those that are wanted if not all."""
    logs, code = [], 0
    for path in paths:
        try:
            logs.append(read_log(path, with_histories))
        except LogError as error:
            code = complain(PROG, error) if wanted is None or path in wanted else code
    return logs, code


def read_entry(entry: Entry, logs_dir: Path) -> tuple[list[Log], int]:
    """The logs with a selection of an entry, and an exit code; complains about those that cannot be read or judged."""
    kinds = {(selection["task"], selection["method"]) for selection in entry.selections}
    logs, code = read_logs([path for path in find_logs(logs_dir) if folders(path) in kinds])
    for log in logs:
        for name in sorted(name for name in log.settings if not is_known(name)):
            code = complain(PROG, f"{log.files[0]}: it is left out, since its setting {name} is no flag of a task or a "
                            "method")
    return [log for log in logs if any(agrees(log, selection) for selection in entry.selections)], code


def check_quantity(quantity: Quantity, logs: Iterable[Log], tasks: set[str]) -> None:
    """Raise UsageError where no log has the metric, or success has no threshold on a task."""
    names = {name for log in logs for name in grid_of(log).numbers}
    if quantity.metric not in names:
        raise UsageError(f"argument --metric: {quantity.metric} is in none of the logs; they have "
                         f"{', '.join(sorted(names))}")
    for task in sorted(tasks):
        low = (TASKS[task].measure.range or (0, 0))[0]
        if quantity.top is not None and quantity.top <= low:
            raise UsageError(f"argument --top: {quantity.top:g} is not above {low:g}, where the colours of {task} "
                             "begin; give a larger score")
        if quantity.statistic in SHARES and quantity.on(task).threshold is None:
            what = f"{quantity.metric} of {task}" if quantity.metric != SCORE else task
            raise UsageError(f"argument --statistic: {quantity.statistic} has no default threshold for {what}; "
                             "give --threshold")


# ---- what is done with them ----


def draw_pictures(makers: Mapping[str, Callable[[], Figure]], figures_dir: Path) -> int:
    """Write each {stem: function that makes the figure}, print the paths, and return an exit code."""
    code = 0
    for stem, make in makers.items():
        try:
            with page.style():
                paths = page.save(make(), figures_dir / stem)
        except OSError as error:
            code = complain(PROG, f"cannot write {stem} ({error}); choose another --figures_dir")
        else:
            print(*paths, sep="\n", flush=True)
    return code


def draw_each_log(args: argparse.Namespace) -> int:
    """One picture per log; returns an exit code. Raises UsageError."""
    quantity = Quantity(args.metric, args.statistic, args.threshold, args.top)
    paths, wanted = find_logs(args.logs_dir), wanted_paths(args, args.logs_dir)
    tasks = {folders(path)[0] for path in wanted}
    logs, code = read_logs([path for path in paths if folders(path)[0] in tasks], wanted)  # all methods: one range
    drawn = {path: log for log in logs if (path := log.files[0]) in wanted}
    if not drawn:
        return code
    tasks = {log.settings["task"] for log in drawn.values()}
    check_quantity(quantity, drawn.values(), tasks)
    drawn = {path: log for path, log in drawn.items() if quantity.metric in grid_of(log).numbers}
    check_writable(args.figures_dir, "--figures_dir")
    names = picture_names(paths, {path: quantity.on(log.settings["task"]).suffix for path, log in drawn.items()})
    measures = {task: panels.shared_measure([log for log in logs if log.settings["task"] == task], quantity)
                for task in tasks}
    code = max(code, draw_pictures({names[path]: partial(panels.draw_log, log, measures[log.settings["task"]], quantity)
                                    for path, log in drawn.items()}, args.figures_dir))
    for line in itertools.chain.from_iterable(mixtures([log]) for log in drawn.values()):
        print(line)
    return code


def draw_figure(args: argparse.Namespace) -> int:
    """The picture of an entry of FIGURES; returns an exit code. Raises UsageError."""
    quantity, entry = Quantity(args.metric, args.statistic, args.threshold, args.top), FIGURES[args.figure]
    logs, code = read_entry(entry, args.logs_dir)
    entry = entry.with_seeds_run(logs)
    if logs:
        check_quantity(quantity, logs, {row.task for row in entry.rows})
    strips, clashes = panels.assemble(entry, logs, quantity) if logs else ([], [])
    if panels.is_empty(strips):
        raise UsageError(f"no cells of {entry.title} in --logs_dir {args.logs_dir}; run its commands, which "
                         "--commands prints, or name the folder that holds their logs")
    for taken, other in clashes:
        code = complain(PROG, f"{taken.files[0]} and {other.files[0].name} have the same cells with other "
                        "settings; those of the first are drawn, move one of the logs away")
    check_writable(args.figures_dir, "--figures_dir")
    if args.logs_dir.resolve() != SHIPPED:
        entry = replace(entry, title=f"{entry.title}, from the logs in {args.logs_dir}")
    own = quantity == Quantity(statistic=entry.statistic)
    suffixes = {} if own else dict.fromkeys(quantity.on(row.task).suffix for row in entry.rows)
    stem = f"figure{'' if args.figure.isdigit() else '_'}{args.figure}{''.join(suffixes)}"
    as_lines, as_heatmaps = partial(lines.draw_lines, entry, logs), partial(panels.draw_entry, entry, strips, quantity)
    code = max(code, draw_pictures({stem: as_lines if entry.as_lines else as_heatmaps}, args.figures_dir))
    for line in (*panels.summaries(strips, quantity), *mixtures(logs)):
        print(line)
    return code


def print_commands(args: argparse.Namespace) -> int:
    """Print the commands that compute an entry of FIGURES, and first what they cost; returns an exit code."""
    entry = FIGURES[args.figure]
    total, parts = cost(entry, read_entry(entry, SHIPPED)[0])
    if parts:
        print(f"{entry.title} takes about {total} on one core, by the seconds in logs/reference: {parts}",
              file=sys.stderr, flush=True)
    print(*figures.commands(entry), sep="\n")
    return 0


def compare(args: argparse.Namespace) -> int:
    """Compare the scores of two folders of logs; returns an exit code. Raises UsageError."""
    names = str(args.logs_dir), str(args.against)
    if args.figure:
        entry = FIGURES[args.figure]
        (ours, code), (theirs, failed) = (read_entry(entry, Path(name)) for name in names)
        comparisons, others = against.compare_figure(entry, ours, theirs, args.tolerance), []
    else:
        (ours, code), (theirs, failed) = (read_logs(wanted_paths(args, Path(name))) for name in names)
        comparisons = against.compare_all(ours, theirs, args.tolerance)
        others = list(against.unmatched(ours, theirs, names))
    compared = sum(comparison.num_both for comparison in comparisons)
    differing = sum(comparison.num_differing for comparison in comparisons)
    if not compared:
        raise UsageError(f"argument --against: {names[1]} and --logs_dir {names[0]} have no cell in common; "
                         "run the same command, with the same --expname, for both")
    pairs = FIGURES[args.figure].differences if args.figure else ()
    verdict = judge(comparisons, pairs, names[1])
    reports = [line for comparison in comparisons for line in against.report(comparison, names)]
    print(verdict.words, *against.kernel_advice(comparisons), " / ".join(names), *reports, *others, sep="\n")
    print(f"{differing} of {compared} cells differ" if differing else f"all {compared} cells agree")
    if args.draw:
        check_writable(args.figures_dir, "--figures_dir")
        stem = f"figure{args.figure}_against" if args.figure else "against"
        make = partial(draw_differences, comparisons, verdict, names)
        code = max(code, draw_pictures({stem: make}, args.figures_dir))
    stands = verdict.stands if args.tolerance is None else not differing
    return max(code, failed, 0 if stands else 1)


def tabulate(args: argparse.Namespace) -> int:
    """Print the logs as a table; returns an exit code. Raises UsageError."""
    logs, code = read_logs(wanted_paths(args, args.logs_dir))
    if logs:
        check_quantity(Quantity(args.metric), logs, set())
        print(tables.table(logs, args.metric, args.table) if args.table in tables.FORMATS else tables.cells(logs))
    return code


def draw_histories(args: argparse.Namespace) -> int:
    """A picture of the steps of fits for each task and width; returns an exit code. Raises UsageError."""
    logs, code = read_logs(wanted_paths(args, args.logs_dir), with_histories=True)
    if not (kept := [log for log in logs if log.histories]):
        raise UsageError(f"argument --history: none in {args.logs_dir}; run runner.py --save_results --save_history")
    check_writable(args.figures_dir, "--figures_dir")
    return max(code, draw_pictures(lines.history_makers(kept, args.history), args.figures_dir))


def write_page(args: argparse.Namespace) -> int:
    """Write the page of --html; returns an exit code. Raises UsageError."""
    explore.check_page(args.html)
    names = [str(name) for name in (args.logs_dir, args.against) if name]
    found = {name: read_logs(wanted_paths(args, Path(name)), with_histories=True) for name in names}
    if any(logs for logs, _ in found.values()):
        explore.write_page(args.html, explore.page_data(FIGURES, {name: logs for name, (logs, _) in found.items()}))
        print(args.html)
    return max(code for _, code in found.values())


def main(argv: Sequence[str] | None = None) -> int:
    def run() -> int:
        load_named(PROG, argv)
        args = parse_arguments(argv)
        for given in (args.logs_dir, args.against):
            if given and not args.commands and not given.is_dir():
                raise UsageError(f"no folder {given}; run runner.py with --save_results, or name the folder that "
                                 "holds the logs by --logs_dir or --against")
        uses = {print_commands: args.commands, write_page: args.html, compare: args.against, tabulate: args.table,
                draw_histories: args.history, draw_figure: args.figure}
        return next((use for use, asked in uses.items() if asked), draw_each_log)(args)

    return run_main(PROG, run)


if __name__ == "__main__":
    sys.exit(main())
