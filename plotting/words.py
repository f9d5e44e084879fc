"""Titles and headings of figures, from the settings of what they show."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from options import Declaration
from plotting.figures import Entry, Row
from plotting.logs import ANY, grid_of, seeds_run
from plotting.numbers import EXACT, MEAN, MEDIAN, SHARES, STD, SUCCESS, Heatmap, Quantity
from sweep.logbook import Log
from sweep.methods import METHODS
from sweep.settings import completed, logged_flags, make_settings, setting_words

REDUCED = {MEAN: "mean", STD: "standard deviation", MEDIAN: "median", SUCCESS: "share of successes",
           EXACT: "share of exact recoveries and median"}


def depth_words(num_layers: int) -> str:
    """For example "1 hidden layer"."""
    return f"{num_layers} hidden layer{'s' if num_layers != 1 else ''}"


def seeds_words(seeds: Sequence[int]) -> str:
    """For example "seed 0", "seeds 0, 1, 2" or "seeds 0 to 49"."""
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


# ---- of one log ----


def method_words(settings: dict[str, Any]) -> list[str]:
    """Task, method and depth of a log."""
    depth = [depth_words(settings["num_layers"])] if "num_layers" in settings else []
    return [settings["task"], METHODS[settings["method"]].title, *depth]


def other_words(settings: dict[str, Any]) -> list[str]:
    """The other settings that matter, without the expname."""
    own = logged_flags(settings["task"], settings["method"])
    return setting_words(settings | {"num_layers": None, "expname": None}, own, always=("num_epochs",))


def settings_line(settings: dict[str, Any]) -> str:
    """Task, method and depth of a log, the settings that matter, and the expname."""
    return ", ".join(filter(None, [*method_words(settings), *other_words(settings), settings["expname"]]))


def log_title(log: Log, columns: int, statistic: str) -> str:
    """Task, method and depth of a log, then the settings that matter; lines of this many letters at most."""
    seeds = seeds_run([grid_of(log)]) or log.axes["seed"]
    over = f"{REDUCED[statistic]} over " * (len(seeds) > 1) + seeds_words(seeds)
    parts = method_words(log.settings), filter(None, [*other_words(log.settings), over, log.settings["expname"]])
    return "\n".join(line for part in parts for line in textwrap.wrap(", ".join(part), columns, max_lines=3))


# ---- of a figure of several panels ----


def figure_title(entry: Entry, quantity: Quantity, rows: Sequence[dict[str, Heatmap]]) -> str:
    """What the figure is, what it finds, and what became of its numbers over the seeds."""
    over = f"{REDUCED[quantity.statistic]} over {seeds_words(entry.seeds)}"
    return f"{entry.title}: {finding(entry, quantity, rows)}{over}"


def finding(entry: Entry, quantity: Quantity, rows: Sequence[dict[str, Heatmap]]) -> str:
    """Who is ahead in how many cells, where scores are subtracted; how many fits of each column are a success."""
    panels = [(head, panel) for row in rows for head, panel in row.items()]
    if quantity.statistic in SHARES:
        columns = defaultdict[str, list[Heatmap]](list)
        for head, panel in panels:
            if not panel.signed and panel.count.any():
                columns[head].append(panel)
        return ", ".join(f"{head} {successes(found)}" for head, found in columns.items()) + "\n"
    gaps = [gap for _, panel in panels if panel.signed for gap in panel.values[~np.isnan(panel.values)]
            * (1 if panel.measure.higher_is_better else -1)]
    if len(entry.differences) != 1 or not quantity.is_score or not gaps:
        return ""
    first, second = entry.differences[0]
    return f"{first} ahead of {second} in {sum(gap > 0 for gap in gaps)} of {len(gaps)} cells\n"


def flags_of_row(row: Row) -> dict[str, Declaration]:
    """The flags that the columns of a row have."""
    return {name: declaration for selection in row.columns.values()
            for name, declaration in logged_flags(selection["task"], selection["method"]).items()}


def common_settings(row: Row) -> dict[str, Any]:
    """The settings that all columns of a row share, those that are left out at their defaults."""
    own, columns = flags_of_row(row), [completed(selection) for selection in row.columns.values()]
    values = {name: [column.get(name, own[name].unnamed) for column in columns] for name in own}
    return {name: first for name, (first, *others) in values.items() if all(other == first for other in others)}


def row_heading(row: Row) -> str:
    """Task, depth, samples, epochs and batch of a row, and its other settings that are not at their default."""
    settings = {name: value for name, value in common_settings(row).items() if value is not ANY}
    layers, said = settings.pop("num_layers", None), []
    if settings.pop("nmeasurements", None) or "nmeasurements" not in flags_of_row(row):
        first = {name: value for name, value in next(iter(row.columns.values())).items() if value is not ANY}
        said.append(f"n {make_settings(**first, mlist=row.mlist, slist=row.slist).task.samples}")
    depth = [depth_words(layers)] if layers else []
    said += setting_words(settings, flags_of_row(row), always=("num_epochs", "batch_size"))
    return f"{', '.join([row.task, *depth])}: {', '.join(said)}"


def outputs_words(row: Row) -> str:
    """The number of outputs of a row, where it is not the default."""
    outputs = completed(next(iter(row.columns.values()))).get("output_dim", 1)
    return f", {outputs} outputs" if outputs != 1 else ""


def column_notes(row: Row) -> dict[str, str]:
    """{heading: how this column was trained}; {} where that is the same for all columns."""
    flags, common, notes = flags_of_row(row), common_settings(row), {}
    for heading, selection in row.columns.items():
        settings = completed(selection)
        epochs = [settings.get(name, 0) for name in ("num_epochs", "finetune_epochs")]
        if ANY not in epochs:
            batch = f"\nbatch {settings.get('batch_size') or 'all'}" if "batch_size" in flags.keys() - common else ""
            notes[heading] = f"epochs {' + '.join(str(number) for number in epochs if number)}{batch}"
    return notes if len({notes.get(heading) for heading in row.columns}) > 1 else {}


def panel_notes(row: Row, shown: dict[str, Heatmap], quantity: Quantity) -> dict[str, str]:
    """{heading: what is said over its panel}: how it was trained, and how many of its fits are a success."""
    notes = column_notes(row)
    if quantity.statistic in SHARES:
        kind = "exact" if quantity.is_score else "beyond the threshold"
        counts = {head: f"{successes([panel])} {kind}" for head, panel in shown.items() if not panel.signed}
        notes |= {head: f"{notes.get(head, '')}\n{count}".strip() for head, count in counts.items()}
    return notes


# ---- numbers ----


def difference_line(panel: Heatmap) -> str:
    """The differences of a heatmap in numbers."""
    values = panel.values[np.isfinite(panel.values)]
    mean = f"{values.mean():+.4g}" if len(values) else "-"
    return f"mean {mean}, positive in {np.sum(values > 0)} of {len(values)} cells, negative in {np.sum(values < 0)}"


def successes(panels: Sequence[Heatmap]) -> str:
    """How many of the cells and seeds of heatmaps of success are one."""
    return (f"{sum(np.nansum(panel.values * panel.count) for panel in panels):.0f} of "
            f"{sum(panel.count.sum() for panel in panels)}")
