"""Titles and headings of figures, from the settings of what they show."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plotting.logs import ANY
from plotting.numbers import EXACT, MEAN, MEDIAN, SHARES, STD, SUCCESS, Heatmap, Quantity
from sweep.logbook import Log, completed
from sweep.methods import METHODS
from sweep.settings import make_settings, setting_words
from tasks import TASKS

if TYPE_CHECKING:
    from plotting.figures import Entry, Row
    from plotting.page import Strip

REDUCED = {MEAN: "mean", STD: "standard deviation", MEDIAN: "median", SUCCESS: "share of successes",
           EXACT: "share of exact recoveries and median"}


def depth_words(num_layers: int) -> str:
    """For example "1 hidden layer"."""
    return f"{num_layers} hidden layer{'s' if num_layers != 1 else ''}"


def settings_line(settings: dict[str, Any]) -> str:
    """Task, method and depth of a log, and the settings that matter."""
    depth = [depth_words(settings["num_layers"])] if TASKS[settings["task"]].is_network else []
    others = {name: value for name, value in settings.items() if name != "num_layers"}
    said = setting_words(others, always=("num_epochs",))
    return ", ".join([settings["task"], METHODS[settings["method"]].title, *depth, *said])


# ---- of one log ----


def log_title(log: Log, columns: int, statistic: str) -> str:
    """Task, method and depth of a log, then the settings that matter; lines of this many letters at most."""
    settings = {name: value for name, value in log.settings.items() if name not in ("num_layers", "expname")}
    task = log.settings["task"]
    depth = depth_words(log.settings["num_layers"]) if TASKS[task].is_network else None
    seeds = log.axes["seed"]
    over = f"{REDUCED[statistic]} over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    first = [task, METHODS[log.settings["method"]].title, depth]
    second = [*setting_words(settings, always=("num_epochs",)), over, log.settings["expname"]]
    lines = (textwrap.wrap(", ".join(filter(None, part)), columns, max_lines=3) for part in (first, second))
    return "\n".join(line for part in lines for line in part)


# ---- of a figure of several panels ----


def figure_title(entry: Entry, quantity: Quantity, strips: Sequence[Strip]) -> str:
    """What the figure is, what it finds, and what became of its numbers over the seeds."""
    seeds = f"seed{'s' if len(entry.seeds) > 1 else ''} {', '.join(map(str, entry.seeds))}"
    found = finding(entry, quantity, strips)
    return f"{entry.title}: {found}{REDUCED[quantity.statistic]} over {seeds}"


def finding(entry: Entry, quantity: Quantity, strips: Sequence[Strip]) -> str:
    """Who is ahead in how many cells, where scores are subtracted; how many fits of each column are a success."""
    panels = [(head, panel) for strip in strips for block in strip.blocks for head, panel in block.heatmaps.items()]
    if quantity.statistic in SHARES:
        columns = dict.fromkeys(head for head, panel in panels if not panel.signed and panel.count.any())
        counts = {head: [panel for other, panel in panels if other == head] for head in columns}
        said = [f"{head} {sum(np.nansum(panel.values * panel.count) for panel in own):.0f} of "
                f"{sum(panel.count.sum() for panel in own)}" for head, own in counts.items()]
        return f"{', '.join(said)}\n"
    gaps = [panel.values[~np.isnan(panel.values)] for _, panel in panels if panel.signed]
    if len(entry.differences) != 1 or quantity != Quantity(statistic=quantity.statistic) or not sum(map(len, gaps)):
        return ""
    first, second = entry.differences[0]
    ahead = sum(int(np.count_nonzero(gap > 0)) for gap in gaps)
    return f"{first} ahead of {second} in {ahead} of {sum(map(len, gaps))} cells\n"


def common_settings(row: Row) -> dict[str, Any]:
    """The settings that all columns of a row share, those that are left out at their defaults."""
    first, *others = map(completed, row.columns.values())
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


def row_heading(row: Row) -> str:
    """Task, depth, samples, epochs and batch of a row, and its other settings that are not at their default."""
    settings = {name: value for name, value in common_settings(row).items() if value is not ANY}
    layers, said = settings.pop("num_layers", None), []
    if settings.pop("nmeasurements", None):
        first = {name: value for name, value in next(iter(row.columns.values())).items() if value is not ANY}
        said.append(f"n {TASKS[row.task].samples(make_settings(**first, mlist=row.mlist, slist=row.slist))}")
    depth = [depth_words(layers)] if layers else []
    said += setting_words(settings, always=("num_epochs", "batch_size"))
    return f"{', '.join([row.task, *depth])}: {', '.join(said)}"


def outputs_words(row: Row) -> str:
    """The number of outputs of a row, where it is not the default."""
    outputs = completed(next(iter(row.columns.values())))["output_dim"]
    return f", {outputs} outputs" if outputs != 1 else ""


def column_notes(row: Row) -> dict[str, str]:
    """{heading: how this column was trained}; {} where that is the same for all columns."""
    common = common_settings(row)
    if {"num_epochs", "finetune_epochs"} <= common.keys():
        return {}
    notes = {}
    for heading, selection in row.columns.items():
        settings = completed(selection)
        epochs = [settings[name] for name in ("num_epochs", "finetune_epochs")]
        said = [f"epochs {' + '.join(str(number) for number in epochs if number)}"]
        said += [f"batch {settings['batch_size'] or 'all'}"] * ("batch_size" not in common)
        if ANY not in epochs:
            notes[heading] = ", ".join(said)
    return notes


# ---- numbers ----


def difference_line(panel: Heatmap) -> str:
    """The differences of a heatmap in numbers."""
    values = panel.values[np.isfinite(panel.values)]
    mean = f"{values.mean():+.4g}" if len(values) else "-"
    return f"mean {mean}, positive in {np.sum(values > 0)} of {len(values)} cells, negative in {np.sum(values < 0)}"


def success_line(panel: Heatmap) -> str:
    """How many of the cells and seeds of a heatmap of success are one."""
    return f"{np.nansum(panel.values * panel.count):.0f} of {panel.count.sum()} cells and seeds"
