"""Every method on real data beside the yardsticks, from logs: score against the number of numbers, as lines and tables.

A method's line is its best hidden width (one hidden layer) at each s: the median over the seeds of the width whose
median is highest, in a band from the worst to the best seed. The widths are those that were run, and they are compared
by the score itself, since the logs hold no other. Likewise the best of several settings, where those of the paper's
commands are a line of their own. A method is there where its logs are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instances.image import INR_IMAGE
from options import flags
from plotting import looks, page
from plotting.against import by_settings
from plotting.figures import FIGURES, Selection
from plotting.heatmaps import bar_label
from plotting.lines import draw_curve
from plotting.logs import SCORE, agrees, gather
from studies.entries import Entry, read_log
from sweep.logbook import Log
from sweep.methods import METHODS
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS = (0, 1, 2)
IMAGES = {"inr_mnist": (INR_IMAGE, 869), "inr_cifar10": (INR_IMAGE, 256)}  # the paper's, and one with more detail
ROWS = {row.task: row for name in "345" for row in FIGURES[name].rows
        if row.depth == 1}
SLISTS = {task: tuple(row.slist) for task, row in ROWS.items()}
SLISTS["binary_cifar10"] = SLISTS["inr_cifar10"][1:]  # the paper has no figure of it
WORDS = {"mnist": "Ten digits", "binary_mnist": "The digits 0 and 1", "binary_cifar10": "Airplanes and automobiles",
         "inr_mnist": "A digit as a function", "inr_cifar10": "A photograph as a function"}

DASHES = {"Linear": ("--", "0.45"), "Decision tree": (":", "0.45"), "Pixels": (":", "0.45"), "Haar": ("--", "0.45"),
          "DCT": ("-.", "0.55"), "OMP": ("-", "0.65")}  # line and grey of the yardsticks, in order


def panels(task: str) -> tuple[int | None, ...]:
    """The images of a task; None alone where it has no such option."""
    return IMAGES.get(task, (None,))


def heading(task: str, image: int | None) -> str:
    """Task and image."""
    return task if image is None else f"{task}, image {image}"


@dataclass(frozen=True)
class Line:
    """Scores at the s of a task.

    Args:
        scores: [s, seed], NaN where there is none.  widths: [s] of the network, 0 of a yardstick.
    """

    title: str
    scores: np.ndarray
    widths: np.ndarray

    @property
    def medians(self) -> np.ndarray:
        """Over the seeds [s], NaN where there is none."""
        return over_seeds(np.nanmedian, self.scores)


def over_seeds(function: Callable[..., np.ndarray], scores: np.ndarray) -> np.ndarray:
    """A function that passes over NaN, along the last axis; NaN where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN
        return function(scores, axis=-1)


# ---- methods ----


def method_lines(logs: Sequence[Log], task: str, image: int | None) -> Iterator[Line]:
    """A line for each method that has logs of one hidden layer, and for its settings beside those of the paper."""
    usual = {name: declaration.default for name, declaration in flags(TASKS[task]).items()}
    problem = usual | {"task": task, "num_layers": 1} | ({} if image is None else {"image": image})
    published = [selection | problem for selection in (ROWS[task].columns.values() if task in ROWS else ())]
    for name, method in METHODS.items():
        own = [log for log in logs if problem.items() <= log.settings.items() and log.settings["method"] == name]
        titles = dict[str, list[list[Log]]]()
        for group in by_settings(own).values():
            titles.setdefault(method.title + form(group[0], published), []).append(group)
        for title in sorted(titles):
            yield best_line(title, titles[title], task)


def form(log: Log, published: Sequence[Selection]) -> str:
    """What follows the name of a method: whether its settings are those of the paper, or else its defaults."""
    method = log.settings["method"]
    if method in [selection["method"] for selection in published]:
        return " as published" if any(agrees(log, selection) for selection in published) else OTHER
    usual = {name: declaration.default for name, declaration in flags(METHODS[method].solve.Options).items()}
    return "" if method != "obs" or usual.items() <= log.settings.items() else OTHER


def best_line(title: str, groups: Sequence[Sequence[Log]], task: str) -> Line:
    """The best width and settings at each s, by the median over the seeds; each group of logs shares its settings."""
    scores, widths = [], []
    for group in groups:
        mlist = sorted({m for log in group for m in log.axes["m"]})
        scores.append(gather(group, mlist, SLISTS[task], SEEDS).values(SCORE))
        widths += mlist
    candidates = np.concatenate(scores)  # [width and settings, s, seed]
    best = np.nan_to_num(over_seeds(np.nanmedian, candidates), nan=-np.inf).argmax(axis=0)
    return Line(title, candidates[best, np.arange(len(best))], np.array(widths)[best])


# ---- yardsticks ----


def kept(logs_dir: Path) -> list[Entry]:
    """What studies/yardsticks.py has computed, of all tasks. Raises UsageError."""
    keys = ("yardstick", "image", "s", "seed", "score")
    return [{"task": task} | entry for task in WORDS
            for entry in read_log(logs_dir / "yardsticks" / f"{task}.json", keys)]


def yardstick_lines(entries: Sequence[Entry], task: str, image: int | None) -> Iterator[Line]:
    """A line for each yardstick."""
    own = [entry for entry in entries if (entry["task"], entry["image"]) == (task, image)]
    for title in [title for title in DASHES if title in {entry["yardstick"] for entry in own}]:
        scores = np.full((len(SLISTS[task]), len(SEEDS)), np.nan)
        for entry in own:
            if entry["yardstick"] == title and entry["s"] in SLISTS[task] and entry["seed"] in SEEDS:
                scores[SLISTS[task].index(entry["s"]), SEEDS.index(entry["seed"])] = float(entry["score"])
        yield Line(title, scores, np.zeros(len(scores), dtype=int))


# ---- the table ----

OTHER = ", other settings"  # than those of the paper, or than the defaults
TOP = 140.0  # dB: beyond it single precision has no digits left


def table_name(task: str, image: int | None) -> str:
    """Of its block in the pages."""
    return "_".join(("real", task, *([] if image is None else [str(image)])))


def headings(task: str, image: int | None) -> list[str]:
    """Of the columns of a table."""
    return [f"{heading(task, image)}: {bar_label(TASKS[task].measure)}", *(f"s = {s}" for s in SLISTS[task])]


def rows(logs: Sequence[Log], entries: Sequence[Entry], task: str, image: int | None,
         other_settings: bool = True) -> Iterator[tuple[str, ...]]:
    """The medians of all lines, or those without OTHER, with the width that they are of; bold the highest at each s."""
    lines = [line for line in (*yardstick_lines(entries, task, image), *method_lines(logs, task, image))
             if other_settings or not line.title.endswith(OTHER)]
    digits = 1 if TASKS[task].measure.unit else 3
    medians = np.array([line.medians for line in lines]).reshape(len(lines), len(SLISTS[task])).round(digits)
    best = over_seeds(np.nanmax, np.minimum(medians.T, 2 * TOP)) if lines else np.zeros(0)
    for line, own in zip(lines, medians, strict=True):
        cells = (cell(value, digits, width, min(value, 2 * TOP) == top)
                 for value, width, top in zip(own, line.widths, best, strict=True))
        if not np.isnan(own).all():
            yield line.title, *cells


def cell(value: float, digits: int, width: int, is_best: bool) -> str:
    """A median, and the width in brackets."""
    if np.isnan(value):
        return ""
    said = "exact" if value > TOP else f"{value:.{digits}f}"
    return (f"**{said}**" if is_best else said) + f" ({width})" * bool(width)


# ---- the figure ----

PANEL = (5.2, 3.8)  # inches
SMALL = 8.5  # points
LEAST = 1e-5  # of an error that is drawn
CAPTION = ("Lines with markers are methods: at each s the median of the best width m and settings, chosen by this very "
           "score; bands from the worst to the best of those of the seeds 0, 1, 2 that were run. Grey lines are "
           "yardsticks: s counts their weights, thresholds and leaves, or coefficients.")
ACCURACIES = (0.1, 0.3, 0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)  # that are marked


def draw(logs: Sequence[Log], entries: Sequence[Entry], task: str) -> page.Figure:
    """The figure of a task, a panel for each image: methods as lines in bands over the seeds, yardsticks dashed."""
    found = {image: [*method_lines(logs, task, image), *yardstick_lines(entries, task, image)]
             for image in panels(task)}
    drawn = styles(logs)
    figure = page.new_figure(PANEL[0] * len(found), PANEL[1] + 0.5)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for ax, (image, lines) in zip(axes, found.items(), strict=True):
        for line in lines:
            draw_line(ax, line, SLISTS[task], drawn[line.title])
        finish(ax, task, image)
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    shown = [title for title in drawn if title in handles]
    figure.legend([handles[title] for title in shown], shown, loc="outside lower center", ncols=4)
    figure.suptitle(page.wrap(f"{WORDS[task]}. {CAPTION}", 72 * PANEL[0] * len(found), SMALL), fontsize=SMALL)
    return figure


def styles(logs: Sequence[Log]) -> dict[str, dict[str, Any]]:
    """How the line of each title is drawn, in all figures alike."""
    places = [(task, image) for task in WORDS for image in panels(task)]
    methods = dict.fromkeys(line.title for place in places for line in method_lines(logs, *place))
    dashes = {title: {"linestyle": line, "color": grey, "linewidth": 1} for title, (line, grey) in DASHES.items()}
    return looks.looks(methods) | dashes


def draw_line(ax: Axes, line: Line, slist: Sequence[int], style: dict[str, Any]) -> None:
    """One line, where it has scores."""
    there = ~np.isnan(line.medians)
    if there.any():
        middle, low, high = (np.minimum(over_seeds(function, line.scores)[there], 2 * TOP)  # inf is drawn, too
                             for function in (np.nanmedian, np.nanmin, np.nanmax))
        draw_curve(ax, np.array(slist)[there], middle, low, high, label=line.title, **style)


def finish(ax: Axes, task: str, image: int | None) -> None:
    """Axes and labels: accuracies on the scale of the logarithm of the error."""
    ax.set_xscale("log")
    ax.set_xticks(SLISTS[task], map(str, SLISTS[task]))
    ax.minorticks_off()
    ax.set(xlabel="nonzeros s", ylabel=bar_label(TASKS[task].measure), title=heading(task, image))
    if TASKS[task].measure.unit:
        ax.set_ylim(0, min(TOP, ax.get_ylim()[1]))
        return
    low, high = ax.dataLim.intervaly if ax.lines else (0, 1)
    ax.set_yscale("function", functions=(lambda y: -np.log10(np.maximum(1 - y, LEAST)), lambda z: 1 - 10.0**-z))
    ax.set_ylim(low - 0.1 * (1 - low), high + 0.1 * max(1 - high, 10 * LEAST))
    ticks = [tick for tick in ACCURACIES if low <= tick <= high]
    ax.set_yticks(ticks, map(str, ticks))
    ax.grid(axis="y", alpha=0.25)
