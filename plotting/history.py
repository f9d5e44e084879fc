"""Curves over the steps of fits, from the histories of --save_history: median and band over the seeds.

    python make_figures.py --history score --task mlp_planted

A figure per task and width m; a line per method and s, drawn over the rows of its cells (sweep/history.py). Seeds that
have ended earlier keep their last value. The band reaches from the first to the third quartile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from instances.task import Measure
from plotting import lines, page
from plotting.heatmaps import bar_label
from sweep.history import COLUMNS
from sweep.logbook import Log
from sweep.methods import METHODS
from tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERS = tuple(name for name in COLUMNS if name != "step")  # that can be drawn
MEASURES = {
    "loss": Measure("loss: share of the energy left, or cross-entropy", scale="log"),
    "num_nonzero": Measure("nonzero weights"), "live_neurons": Measure("live neurons"),
    "support_changed": Measure("share of the support that changed"),
    "gates_changed": Measure("share of the gates that changed"), "seconds": Measure("seconds of the fit"),
}
FEW_STEPS = 30  # are marked by dots on their line


@dataclass(frozen=True)
class Curve:
    """The values [seeds, steps] of a number at ascending steps [steps], NaN before the first value of a seed."""

    label: str
    steps: np.ndarray
    values: np.ndarray


def has_histories(path: Path) -> bool:
    """Whether there are histories beside the table of a log."""
    return path.with_name(f"{path.stem}.history.npz").exists()


def read_histories(path: Path) -> Log:
    """The log whose table is at path, with its histories. Raises LogError."""
    return Log.read(path.with_suffix(".json"), with_histories=True)


def makers(logs: Sequence[Log], number: str) -> dict[str, Callable[[], Figure]]:
    """{name of a figure: function that draws it}, one for each task and width of these logs."""
    keys = sorted({(log.settings["task"], cell[0]) for log in logs for cell in log.histories or ()})
    of_task = {task: [log for log in logs if log.settings["task"] == task] for task, _ in keys}
    methods = {task: "_".join(dict.fromkeys(log.settings["method"] for log in own)) for task, own in of_task.items()}
    return {f"history_{number}_{task}_{methods[task]}_m{m}": partial(draw_history, of_task[task], m, number)
            for task, m in keys}


def curves(logs: Sequence[Log], m: int, number: str) -> list[Curve]:
    """A curve for each log and s that has histories at width m."""
    found = []
    for log in logs:
        others = [other for other in logs if other.settings["method"] == log.settings["method"]]
        label = METHODS[log.settings["method"]].title + (f" ({settings_words(log, others)})" if len(others) > 1 else "")
        for s in log.axes["s"]:
            histories = [history for cell, history in (log.histories or {}).items() if cell[:2] == (m, s)]
            if histories:
                steps = np.unique(np.concatenate([history["step"] for history in histories]))
                values = np.stack([held(history, number, steps) for history in histories])
                found.append(Curve(f"{label}, s {s}", steps, values))
    return found


def settings_words(log: Log, others: Sequence[Log]) -> str:
    """The settings of a log that are not those of all others."""
    own = {name: value for name, value in log.settings.items()
           if any(other.settings[name] != value for other in others)}
    return ", ".join(f"{name} {value}" for name, value in own.items()) or "all other settings the same"


def held(history: dict[str, np.ndarray], number: str, steps: np.ndarray) -> np.ndarray:
    """A number at each of the steps: that of the last row so far, NaN before the first."""
    place = np.searchsorted(history["step"], steps, side="right") - 1
    return np.where(place >= 0, history[number][place], np.nan)


def draw_history(logs: Sequence[Log], m: int, number: str) -> Figure:
    """The figure of one task and width. To be called within page.style()."""
    task = logs[0].settings["task"]
    measure = TASKS[task].measure if number == "score" else MEASURES[number]
    figure = page.new_figure(page.WIDTH * 0.75, 3.2)
    ax = figure.subplots()
    found = curves(logs, m, number)
    for place, curve in enumerate(found):
        dashes, colour = divmod(place, len(lines.COLOURS))
        draw_seeds(ax, curve, lines.COLOURS[colour], ("-", "--", ":")[dashes % 3])
    if measure.scale == "log":
        ax.set_yscale("log")
    steps = dict.fromkeys(METHODS[log.settings["method"]].step for log in logs)
    ax.set_xlabel(" / ".join(steps))
    ax.set_ylabel(bar_label(measure))
    seeds = max(len(curve.values) for curve in found)
    over = f"median and quartiles over {seeds} seeds" if seeds > 1 else "one seed"
    ax.set_title(f"{task}, m {m}: {over}", loc="left", parse_math=False)
    ax.legend(fontsize=6.5, ncols=1 + len(found) // 12, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def draw_seeds(ax: Axes, curve: Curve, colour: str, line: str) -> None:
    """The median over the seeds, in the band between the quartiles."""
    there = ~np.isnan(curve.values).all(axis=0)
    steps, values = curve.steps[there], curve.values[:, there]
    low, median, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    lines.draw_curve(ax, steps, median, low, high, line, color=colour, label=curve.label,
                     marker="." if len(steps) <= FEW_STEPS else "")
    ax.locator_params("x", integer=True)
