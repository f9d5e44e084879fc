"""Draw the saved logs as heatmaps, as in Figures 1-5 of the paper: score against hidden width m and nonzeros s.

Edit the two constants below (None takes all), then

    python make_figures.py

Each logs/<task>/<method>/*.npy becomes one picture in figures/, as PNG and as PDF. A log is a table with a .json
sidecar, or a table named by the paper's own code. Needs NumPy and matplotlib alone, and no display.

    python make_figures.py --figure 1

puts AIHT beside IMP as in Figure 1, with their difference, from the cells of all logs that have its settings. With
--statistic and --metric both draw other numbers than the mean score.
"""

import argparse
import hashlib
import io
import math
import os
import re
import sys
import textwrap
import uuid
from collections import Counter
from functools import partial
from pathlib import Path

from plotting.figures import FIGURES, assemble, is_empty, selections, summaries
from plotting.heatmaps import (
    STYLE,
    bar_label,
    colours,
    draw_colour_bar,
    draw_heatmap,
    draw_labels,
    legend_entries,
    row_name,
)
from plotting.logs import (
    PUBLISHED,
    SCORE,
    SETTINGS,
    LogError,
    agrees,
    depth_words,
    find_logs,
    read_log,
    setting_words,
)
from plotting.numbers import MEAN, STATISTICS, STD, SUCCESS, Quantity, fill_range, heatmap, measured, shown
from plotting.page import draw_page

TASK = None  # mnist, binary_mnist, binary_cifar10, mlp_planted, inr_mnist, inr_cifar10 or gaussian_sparse
METHOD = None  # aiht, pruning or gnhtp


# ---- one figure per log ----


def describe(log, columns, statistic=MEAN):
    """Title of a log, wrapped to this many columns: task, method and depth, then the settings that matter."""
    settings = {name: value for name, value in log.settings.items() if name not in ("num_layers", "expname")}
    layers = log.settings.get("num_layers") if log.task != "gaussian_sparse" else None
    first = [log.task, log.method] + [depth_words(layers)] * (layers is not None)
    count = len(log.grid.seedlist)
    over = {MEAN: "mean over", STD: "standard deviation over", SUCCESS: "share of successes over"}[statistic]
    seeds = f"{over} {count} seeds" if count > 1 else f"seed {log.grid.seedlist[0]}"
    second = [*setting_words(settings, always=("num_epochs",)), seeds, log.settings.get("expname")]
    lines = (textwrap.wrap(", ".join(filter(None, part)), columns, max_lines=3) for part in (first, second))
    return "\n".join(line for part in lines for line in part)


def shared_score(logs, quantity):
    """The one Score, its range filled in, that colours all these logs of a task, so that methods compare."""
    score = measured(logs, logs[0].task, quantity.metric)
    return fill_range(shown(score, quantity), quantity, [heatmap(log.grid, quantity, score) for log in logs])


def heatmap_figure(log, score, quantity):
    """A Figure of one log, as large as its grid; write_figure grows the page until title, labels and bar are on it."""
    from matplotlib.figure import Figure

    picture = heatmap(log.grid, quantity, measured([log], log.task, quantity.metric))
    rows, columns = picture.values.shape
    cell = min(1.0, max(0.6, 3 / max(rows, columns)), 15 / max(rows, columns))  # inches
    width, height = columns * cell, rows * cell
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    palette = colours(score, [picture])
    draw_heatmap(ax, picture, score, palette)
    draw_labels(ax, picture, row_name(log.task))
    length = min(6, max(1.4, height))  # of the colour bar
    cax = ax.inset_axes((1 + 0.15 / width, 1 - length / height, 0.16 / width, length / height))
    draw_colour_bar(palette, textwrap.fill(bar_label(score), int(14 * length)), cax)
    title = describe(log, max(36, int(12 * (width + 1))), quantity.statistic)  # 12 characters an inch at 10 points
    ax.set_title(title, loc="left", fontsize=10, parse_math=False)
    entries = legend_entries([picture])
    if entries:
        ax.legend(*zip(*entries, strict=True), loc="upper left", bbox_to_anchor=(0, -0.5 / height), fontsize=7,
                  frameon=False, borderpad=0, borderaxespad=0)
    return figure


def figure_stems(paths):
    """{path of a log: stem of its pictures}: the log's own, made shell-friendly if published, no two the same."""
    stems = {path: friendly_stem(path) if PUBLISHED.fullmatch(path.stem) else path.stem for path in paths}
    uses = Counter(stem.lower() for stem in stems.values())  # some disks do not tell A from a
    return {path: stem if uses[stem.lower()] == 1 else f"{stem}_{digest(path)}" for path, stem in stems.items()}


def add_suffix(stems, suffixes):
    """{path: its stem and suffix}, of the paths that have one, so that no other log's own stem is taken."""
    taken = {stem.lower() for stem in stems.values()}
    names = {path: stems[path] + suffix for path, suffix in suffixes.items()}
    return {path: f"{name}_{digest(path)}" if suffixes[path] and name.lower() in taken else name
            for path, name in names.items()}


def digest(path):
    return hashlib.sha256(os.fsencode("/".join(path.parts[-3:]))).hexdigest()[:8]


def friendly_stem(path):
    """Task, method and name of a published log without blanks and brackets: [1, 2] becomes 1-2."""
    name = "_".join((*path.parts[-3:-1], re.sub(r"[\[\]]", "", path.stem)))
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("_-")


def write_figure(figure, target, bbox_inches="tight"):
    """Write target.png and target.pdf, each whole or not at all, and return their paths; raises OSError.

    The page grows until everything is on it, or is as large as the figure says where bbox_inches is None.
    """
    pictures = {}
    for suffix, metadata in (("png", None), ("pdf", {"CreationDate": None})):  # undated: same log, same bytes
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=200, bbox_inches=bbox_inches, metadata=metadata)
        pictures[target.with_name(f"{target.name}.{suffix}")] = buffer.getvalue()
    for path, content in pictures.items():
        replace_file(path, content)
    return list(pictures)


def replace_file(path, content):
    """Put content at path in one step: a reader sees the old file or the new one, never a part."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# ---- command line ----


class UsageError(Exception):
    """Flags that cannot be followed: one line that names the flag, the value and the remedy."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parse_arguments(argv):
    parser = Parser(prog="make_figures.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("--task", help="draw only this task (default: TASK on top of this file)")
    add("--method", help="draw only this method (default: METHOD on top of this file)")
    add("--figure", choices=FIGURES, help="assemble this figure, from the cells of all logs that have its settings")
    add("--statistic", default=MEAN, choices=STATISTICS, help="over the seeds: their mean (default), their standard "
        "deviation, or the share of them whose score is better than --threshold")
    add("--threshold", type=number, help="what counts as success (default: 100 dB for mlp_planted, 1e-4 for "
        "gaussian_sparse)")
    add("--metric", default=SCORE, help="a number of the cells' records in the sidecars, such as num_nonzero or "
        "seconds; logs without it are passed over (default: the score)")
    add("--logs_dir", type=Path, default="./logs", help="holds <task>/<method>/*.npy (%(default)s)")
    add("--figures_dir", type=Path, default="./figures", help="for the pictures (%(default)s)")
    args = parser.parse_args(argv)
    if args.figure and (args.task or args.method):
        parser.error("argument --figure: has its own tasks and methods; leave --task and --method out")
    if args.threshold is not None and args.statistic != SUCCESS:
        parser.error(f"argument --threshold: {args.threshold:g} has no effect without --statistic {SUCCESS}; add that")
    return args


def number(text):
    """The type of --threshold."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def complain(message):
    """One line on stderr; returns the exit code that goes with it."""
    print("make_figures.py:", " ".join(str(message).splitlines()), file=sys.stderr)
    return 2


def check_quantity(quantity, logs, tasks):
    """Raise UsageError where no log has the metric, or success has no threshold on a task."""
    names = {name for log in logs for name in log.grid.numbers}
    if quantity.metric not in names:
        there = f"they have {', '.join(sorted(names))}" if names else "they cannot be read"
        raise UsageError(f"argument --metric: {quantity.metric} is in none of the logs; {there}")
    for task in sorted(tasks):
        if quantity.statistic == SUCCESS and quantity.on(task).threshold is None:
            what = f"{quantity.metric} of {task}" if quantity.metric != SCORE else task
            raise UsageError(f"argument --statistic: {SUCCESS} has no default threshold for {what}; give --threshold")


def read_logs(paths, wanted):
    """The logs at paths that can be read, and an exit code; complains about the others that are wanted."""
    logs, code = [], 0
    for path in paths:
        try:
            logs.append(read_log(path))
        except LogError as error:
            code = complain(error) if path in wanted else code
    return logs, code


def explain_nothing(args, task, method, paths):
    """Why there is nothing to draw, though --logs_dir holds these logs."""
    if not paths:
        return (f"no logs <task>/<method>/*.npy in --logs_dir {args.logs_dir}; run runner.py with --save_results, "
                "or name the folder that holds them")
    there = ", ".join(sorted({"/".join(path.parts[-3:-1]) for path in paths}))
    return (f"no logs of --task {task or '(any)'} --method {method or '(any)'} in {args.logs_dir}; choose "
            f"among {there}, by these flags or by TASK and METHOD on top of make_figures.py")


def draw_pictures(makers, figures_dir):
    """Write each {stem: function that makes the Figure}, print the paths, and return an exit code."""
    from matplotlib import style

    code = 0
    for stem, make in makers.items():
        try:
            with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
                print(*write_figure(make(), figures_dir / stem), sep="\n", flush=True)
        except OSError as error:
            code = complain(f"cannot write {stem} ({error}); choose another --figures_dir")
    return code


def make_folder(path):
    """Make a folder to write in; raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError("no permission to write there")
    except OSError as error:
        raise UsageError(f"cannot use --figures_dir {path} ({error}); choose another folder") from None


def draw_each_log(args, quantity):
    """One picture per log; returns an exit code. Raises UsageError."""
    task, method = args.task or TASK, args.method or METHOD
    paths = find_logs(args.logs_dir)
    wanted = {path for path in paths if task in (None, path.parts[-3]) and method in (None, path.parts[-2])}
    if not wanted:
        raise UsageError(explain_nothing(args, task, method, paths))
    tasks = {path.parts[-3] for path in wanted}
    logs, code = read_logs([path for path in paths if path.parts[-3] in tasks], wanted)  # all methods: one range
    chosen = [log for log in logs if log.path in wanted]
    if not chosen:
        return code
    check_quantity(quantity, chosen, {log.task for log in chosen})
    chosen = [log for log in chosen if quantity.metric in log.grid.numbers]
    make_folder(args.figures_dir)
    quantities = {log.task: quantity.on(log.task) for log in chosen}
    scores = {task: shared_score([log for log in logs if log.task == task], quantities[task]) for task in quantities}
    names = add_suffix(figure_stems(paths), {log.path: quantities[log.task].suffix for log in chosen})
    makers = {names[log.path]: partial(heatmap_figure, log, scores[log.task], quantities[log.task]) for log in chosen}
    return max(code, draw_pictures(makers, args.figures_dir))


def draw_entry(args, quantity):
    """The picture of an entry of FIGURES; returns an exit code. Raises UsageError."""
    entry = FIGURES[args.figure]
    logs, code = read_entry(entry, args.logs_dir)
    if logs:
        check_quantity(quantity, logs, {row.task for row in entry.rows})
        strips, clashes = assemble(entry, logs, quantity)
    if not logs or is_empty(strips):
        raise UsageError(f"no cells of {entry.title} in --logs_dir {args.logs_dir}; run its commands with "
                         "runner.py --save_results, or name the folder that holds their logs")
    for taken, other in clashes:
        code = complain(f"{taken} and {other.name} have the same cells with other settings; those of the first are "
                        "drawn, move one of the logs away")
    make_folder(args.figures_dir)
    suffixes = dict.fromkeys(quantity.on(row.task).suffix for row in entry.rows)
    stem = f"figure{'' if args.figure.isdigit() else '_'}{args.figure}{''.join(suffixes)}"
    code = max(code, draw_pictures({stem: partial(draw_page, entry, strips, quantity)}, args.figures_dir))
    if quantity == Quantity():  # the mean score
        for line in summaries(strips):
            print(line)
    return code


def read_entry(entry, logs_dir):
    """The logs with a selection of an entry, and an exit code; complains about those that cannot be read or judged."""
    folders = {(selection["task"], selection["method"]) for selection in selections(entry)}
    paths = [path for path in find_logs(logs_dir) if path.parts[-3:-1] in folders]
    logs, code = read_logs(paths, paths)
    for log in logs:
        for name in sorted(log.settings.keys() - SETTINGS.keys() - {"task", "method"}):
            code = complain(f"{log.path}: left out for its setting {name}; add that to SETTINGS in figure_logs.py")
    return [log for log in logs if any(agrees(log, selection) for selection in selections(entry))], code


def main(argv=None):
    args = parse_arguments(argv)
    quantity = Quantity(args.metric, args.statistic, args.threshold)
    try:
        return (draw_entry if args.figure else draw_each_log)(args, quantity)
    except UsageError as error:
        return complain(error)


if __name__ == "__main__":
    sys.exit(main())
