"""The figures of make_figures.py --figure: rows and columns of heatmaps, from the cells of all logs that fit.

FIGURES is the table: Figures 1-5 of the paper, AIHT beside IMP, and further ones. An entry has rows; a row has a grid
and its columns, which say with what task, method and settings their cells were computed. What a column does not say is
at its default. Two columns may be subtracted.
"""

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from plotting.logs import ANY, NOT_RUN, Score, agrees, complete, depth_words, gather, setting_words
from plotting.numbers import MEAN, STD, Heatmap, difference, fill_range, heatmap, measured, shown

SAMPLES = {"binary_mnist": 10000, "mnist": 50000, "binary_cifar10": 10000, "inr_mnist": 784, "inr_cifar10": 3072}


@dataclass(frozen=True)
class Row:
    """Panels of one task and grid."""

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    columns: dict[str, dict]  # heading -> task, method and settings not at their default; ANY leaves one open

    @property
    def task(self):
        return next(iter(self.columns.values()))["task"]


@dataclass(frozen=True)
class Entry:
    """One figure."""

    title: str
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, str], ...] = ()  # (column, the column that is subtracted), drawn right of the others
    seeds: tuple[int, ...] = (0, 1, 2)


# ---- the table ----


def both(mlist, slist, **settings):
    """A row of AIHT beside IMP."""
    return Row(mlist, slist, {"AIHT": settings | {"method": "aiht"}, "IMP": settings | {"method": "pruning"}})


def baselines(mlist, slist, finetune_epochs, trained, **settings):
    """A row of IMP in several forms, and AIHT; `trained` are the settings in which IMP does fit."""
    published, tuned = settings | {"method": "pruning"}, {"finetune_epochs": finetune_epochs}
    return Row(mlist, slist, {
        "IMP as published": published,
        "IMP, trained": published | trained,
        "IMP, finetuned": published | trained | tuned,
        "IMP, LAMP, finetuned": published | trained | tuned | {"prune_score": "lamp"},
        "AIHT": settings | {"method": "aiht"},
    })


def beyond(mlist, slist, **settings):
    """A row of AIHT beside gnhtp, whatever the number of its epochs."""
    gnhtp = settings | {"method": "gnhtp", "num_epochs": ANY}
    return Row(mlist, slist, {"AIHT": settings | {"method": "aiht"}, "GNHTP": gnhtp})


TO_1000 = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
AIHT_IMP = (("AIHT", "IMP"),)
PLANTED = {"task": "mlp_planted", "num_epochs": 15}
PLANTED_VECTOR = {"task": "mlp_planted", "num_epochs": 100, "batch_size": 5000, "output_dim": 10}
BINARY = {"task": "binary_mnist", "num_epochs": 15, "batch_size": 1000}
MNIST = {"task": "mnist", "num_epochs": 50, "batch_size": 5000}
INR_MNIST = {"task": "inr_mnist", "num_epochs": 100}
INR_CIFAR = {"task": "inr_cifar10", "num_epochs": 100}
INR_MNIST_GRID = TO_1000[1:8], TO_1000[1:]
INR_CIFAR_GRID = TO_1000[:8], (*TO_1000[2:], 2000)

FIGURES = {  # those of the paper have the grids and settings of its commands
    "1": Entry("Figure 1", (both(TO_1000, TO_1000, **PLANTED),
                            both(TO_1000[1:], TO_1000[3:], **PLANTED, num_layers=2)), AIHT_IMP),
    "2": Entry("Figure 2", (both(TO_1000, TO_1000, **PLANTED_VECTOR),
                            both(TO_1000[1:], TO_1000[3:], **PLANTED_VECTOR, num_layers=2)), AIHT_IMP),
    "3": Entry("Figure 3", (both(TO_1000, TO_1000[:8], **BINARY),
                            both(TO_1000[3:], (*TO_1000[6:], 2000), **MNIST)), AIHT_IMP),
    "4": Entry("Figure 4", (both(*INR_MNIST_GRID, **INR_MNIST),
                            both(*INR_MNIST_GRID, **INR_MNIST, num_layers=2)), AIHT_IMP),
    "5": Entry("Figure 5", (both(*INR_CIFAR_GRID, **INR_CIFAR),
                            both(*INR_CIFAR_GRID, **INR_CIFAR, num_layers=2)), AIHT_IMP),
    "baselines": Entry("Stronger baselines", (
        baselines((5, 20, 100), (20, 100, 500), 300, {"batch_size": 1000, "num_epochs": 100, "prune_iters": 5},
                  **PLANTED),
        baselines((5, 20, 100), (10, 50, 200), 30, {"num_epochs": 30, "prune_iters": 0.2}, **BINARY),
        baselines((5, 20, 100), (20, 100, 500), 300, {"num_epochs": 300, "prune_iters": 0.2}, **INR_MNIST),
    )),
    "gnhtp": Entry("Beyond the paper", (
        beyond((1, 2, 5, 10, 20), (5, 10, 20, 50, 100), **PLANTED),
        beyond((5, 20, 100), (20, 100, 500), **INR_MNIST),
        beyond((5, 20, 100), (20, 100, 500), **INR_CIFAR),
    ), (("GNHTP", "AIHT"),)),
}


# ---- what a figure shows ----


@dataclass(frozen=True)
class Block:
    """Heatmaps of a row that share their colours: its columns, or its differences."""

    score: Score
    heatmaps: dict[str, Heatmap]  # by heading


@dataclass(frozen=True)
class Strip:
    """A Row with what its panels show."""

    row: Row
    blocks: tuple[Block, ...]  # the columns, then the differences if there are any


def selections(entry):
    """All selections of an entry."""
    return [selection for row in entry.rows for selection in row.columns.values()]


def heatmaps_of(blocks):
    """All heatmaps of these Blocks."""
    return [heatmap for block in blocks for heatmap in block.heatmaps.values()]


def assemble(entry, logs, quantity):
    """The Strips of an entry, and the pairs (log taken, other log) that clash."""
    strips, clashes = [], []
    for row in entry.rows:
        gathered = {heading: gather(logs, selection, row.mlist, row.slist, entry.seeds)
                    for heading, selection in row.columns.items()}
        clashes += [clash for _, found in gathered.values() for clash in found]
        fitting = [log for log in logs if any(agrees(log, selection) for selection in row.columns.values())]
        score = measured(fitting, row.task, quantity.metric)
        grids = {heading: grid for heading, (grid, _) in gathered.items()}
        strips.append(Strip(row, make_blocks(entry.differences, grids, quantity.on(row.task), score)))
    return strips, clashes


def make_blocks(differences, grids, quantity, score):
    """The Blocks of a row: heatmaps of the grids {heading: Grid}, then their differences if there are any."""
    columns = {heading: heatmap(grid, quantity, score) for heading, grid in grids.items()}
    subtracted = {f"{first} \u2212 {second}": difference(grids[first], grids[second], quantity, score)
                  for first, second in differences}
    blocks = Block(shown(score, quantity), columns), Block(shown(score, quantity, signed=True), subtracted)
    return tuple(block for block in blocks if block.heatmaps)


def is_empty(strips):
    """Whether no cell of any column was run."""
    return all((heatmap.reasons == NOT_RUN).all() for strip in strips for heatmap in heatmaps_of(strip.blocks[:1]))


def share_colours(strips, quantity):
    """Bands, lists of Strips in sequence that show the same scores, each with one range of colours."""
    bands = []
    for _, group in groupby(strips, key=lambda strip: [block.score for block in strip.blocks]):
        band, scores, widest = list(group), [], None
        for same in zip(*(strip.blocks for strip in band), strict=True):
            scores.append(fill_range(same[0].score, quantity, heatmaps_of(same), widest))
            widest = scores[0].range[1] - scores[0].range[0] if scores[0].scale == "linear" else None
        bands.append([replace(strip, blocks=tuple(map(replace_score, strip.blocks, scores))) for strip in band])
    return bands


def replace_score(block, score):
    return replace(block, score=score)


# ---- words ----


def summaries(strips):
    """Lines that tell the differences of means in numbers: their mean, and in how many cells they are positive."""
    for strip in strips:
        signed = {heading: panel for block in strip.blocks for heading, panel in block.heatmaps.items() if panel.signed}
        for heading, panel in signed.items():
            values = panel.values[np.isfinite(panel.values)]
            if len(values):
                yield (f"{row_heading(strip.row)}: {heading}: mean {values.mean():+.4g}, "
                       f"positive in {np.sum(values > 0)} of {len(values)} cells, negative in {np.sum(values < 0)}")


def figure_heading(entry, quantity):
    """What the figure is, and what became of its numbers over the seeds."""
    words = {MEAN: "mean", STD: "standard deviation"}.get(quantity.statistic, "share of successes") + " over"
    return f"{entry.title}: {words} seed{'s' if len(entry.seeds) > 1 else ''} {', '.join(map(str, entry.seeds))}"


def common_settings(row):
    """The settings that all columns of a row share."""
    first, *others = map(complete, row.columns.values())
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


def row_heading(row):
    """Task, depth, samples, epochs and batch of a row, and its other settings that are not at their default."""
    settings = {name: value for name, value in common_settings(row).items() if value is not ANY}
    layers, n = settings.pop("num_layers", None), settings.pop("nmeasurements", None)
    depth = [depth_words(layers)] if layers else []
    words = [f"n {SAMPLES.get(row.task, n)}", *setting_words(settings, always=("num_epochs", "batch_size"))]
    return f"{', '.join([row.task, *depth])}: {', '.join(words)}"


def column_notes(row):
    """{heading: how this column was trained}; {} where that is the same for all columns."""
    common = common_settings(row)
    if {"num_epochs", "finetune_epochs"} <= common.keys():
        return {}
    notes = {}
    for heading, selection in row.columns.items():
        settings = complete(selection)
        epochs = [settings[name] for name in ("num_epochs", "finetune_epochs")]
        words = [f"epochs {' + '.join(str(number) for number in epochs if number)}"]
        words += [f"batch {settings['batch_size'] or 'all'}"] * ("batch_size" not in common)
        if ANY not in epochs:
            notes[heading] = ", ".join(words)
    return notes
