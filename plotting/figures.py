"""The figures of make_figures.py: rows and columns of heatmaps, from the cells of all logs that fit.

FIGURES is the table: Figures 1-5 of the paper, AIHT beside IMP, and further ones. An entry has rows; a row has a grid
and its columns, which say with what task, method and settings their cells were computed. What a column does not say is
at its default. Two columns may be subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from plotting import words
from plotting.heatmaps import row_name
from plotting.logs import ANY, Clash, Grid, agrees, gather, grid_of
from plotting.numbers import EXACT, MEAN, SHARES, Quantity, difference, fill_range, heatmap, measured, shown
from plotting.page import PAPER, Block, Sizes, Strip, draw_page, heatmaps_of
from sweep.logbook import NOT_RUN, Log
from sweep.methods import METHODS
from tasks import INPUT_DISTS, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINUS = "\u2212"


@dataclass(frozen=True)
class Row:
    """Panels of one task and grid.

    Args:
        mlist, slist: the grid.
        columns: {heading: task, method and the settings that are not at their default}; ANY leaves a setting open.
    """

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    columns: dict[str, dict[str, Any]]

    @property
    def task(self) -> str:
        return next(iter(self.columns.values()))["task"]

    def fitting(self, logs: Sequence[Log]) -> dict[str, list[Log]]:
        """{heading: the logs with the settings of this column}."""
        return {heading: [log for log in logs if agrees(log, selection)] for heading, selection in self.columns.items()}

    def grids(self, logs: Sequence[Log], seeds: Sequence[int]) -> dict[str, Grid]:
        """{heading: the grid of this column}, from all logs that fit."""
        return {heading: gather(found, self.mlist, self.slist, seeds)[0]
                for heading, found in self.fitting(logs).items()}


@dataclass(frozen=True)
class Entry:
    """One figure. All rows have as many columns.

    Args:
        differences: (column, the column that is subtracted), drawn right of the others.
        statistic: over the seeds, where no other is asked for.
        as_lines: whether it is drawn by plotting/lines.py; its rows then have one width each.
    """

    title: str
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, str], ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    statistic: str = MEAN
    as_lines: bool = False

    @property
    def selections(self) -> list[dict[str, Any]]:
        """Of all rows and columns."""
        return [selection for row in self.rows for selection in row.columns.values()]


# ---- the table ----

AIHT, IMP, GNHTP, SET, RIGL = (METHODS[name].title for name in ("aiht", "pruning", "gnhtp", "set", "rigl"))


def both(mlist: tuple[int, ...], slist: tuple[int, ...], **settings: object) -> Row:
    """A row of AIHT beside IMP."""
    return Row(mlist, slist, {AIHT: settings | {"method": "aiht"}, IMP: settings | {"method": "pruning"}})


def baselines(mlist: tuple[int, ...], slist: tuple[int, ...], finetune_epochs: int, trained: dict[str, Any],
              **settings: object) -> Row:
    """A row of IMP in several forms, and AIHT; `trained` are the settings in which IMP does fit."""
    published, tuned = settings | {"method": "pruning"}, {"finetune_epochs": finetune_epochs}
    return Row(mlist, slist, {
        f"{IMP} as published": published,
        f"{IMP}, trained": published | trained,
        f"{IMP}, finetuned": published | trained | tuned,
        f"{IMP}, LAMP, finetuned": published | trained | tuned | {"prune_score": "lamp"},
        AIHT: settings | {"method": "aiht"},
    })


def beyond(mlist: tuple[int, ...], slist: tuple[int, ...], **settings: object) -> Row:
    """A row of AIHT beside gnhtp, whatever the number of its epochs."""
    gnhtp = settings | {"method": "gnhtp", "num_epochs": ANY}
    return Row(mlist, slist, {AIHT: settings | {"method": "aiht"}, GNHTP: gnhtp})


def recovery(method: str, mlist: tuple[int, ...], slist: tuple[int, ...], **settings: object) -> Row:
    """A row of the paper's methods, as it runs them, beside one of ours."""
    ours = {name: value for name, value in settings.items() if name in ("task", "output_dim", "num_layers")}
    paper = both(mlist, slist, **settings).columns
    ours |= {"method": method, "num_epochs": ANY}
    return Row(mlist, slist, {IMP: paper[IMP], AIHT: paper[AIHT], METHODS[method].title: ours})


def dynamic(mlist: tuple[int, ...], slist: tuple[int, ...], trained: dict[str, Any], finetuned: dict[str, Any],
            **settings: object) -> Row:
    """A row of SET and RigL, with the settings `trained`, beside IMP, with the settings `finetuned`, and AIHT."""
    return Row(mlist, slist, {SET: settings | trained | {"method": "set"},
                              RIGL: settings | trained | {"method": "rigl"},
                              f"{IMP}, finetuned": settings | finetuned | {"method": "pruning"},
                              AIHT: settings | {"method": "aiht"}})


def finetuned(finetune_epochs: int, **trained: Any) -> tuple[dict[str, Any], ...]:
    """The settings of IMP trained and finetuned, and of that with LAMP."""
    tuned = trained | {"finetune_epochs": finetune_epochs}
    return tuned, tuned | {"prune_score": "lamp"}


def opponents(slist: tuple[int, ...], imp: tuple[dict[str, Any], ...], dynamic: dict[str, Any],
              ours: Sequence[str], **settings: object) -> Row:
    """A row, at m = 20, of all methods: IMP as published and with other settings, SET, RigL, AIHT and ours.

    Args:
        imp: settings in which IMP is trained and finetuned, then those with LAMP.  dynamic: of SET and RigL.
    """
    task = {name: value for name, value in settings.items() if name in ("task", "output_dim")}
    columns = {f"{IMP} as published": settings | {"method": "pruning"}}
    columns |= {f"{IMP}, {name}": settings | given | {"method": "pruning"}
                for name, given in zip(("finetuned", "LAMP, finetuned"), imp, strict=False)}
    columns |= {METHODS[name].title: task | dynamic | {"method": name} for name in ("set", "rigl")}
    columns |= {AIHT: settings | {"method": "aiht"}}
    columns |= {METHODS[name].title: task | {"method": name, "num_epochs": ANY} for name in ours}
    return Row((20,), slist, columns)


def inputs(method: str, **settings: object) -> Row:
    """A row of one method on planted networks, a column for every distribution of their inputs."""
    settings |= {"task": "mlp_planted", "method": method, "nmeasurements": 10000}
    return Row((1, 2, 5, 10, 20), (5, 10, 20, 50, 100), {f"{METHODS[method].title}, {dist}":
                                                         settings | {"input_dist": dist} for dist in INPUT_DISTS})


TO_1000 = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
AIHT_IMP = ((AIHT, IMP),)
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
    "dst": Entry("Dynamic sparse training", (
        dynamic((5, 20, 100), (20, 100, 500), {"num_epochs": 3000},
                {"num_epochs": 300, "prune_iters": 0.2, "finetune_epochs": 300}, **INR_MNIST),
    )),
    "opponents": Entry("Methods at m = 20, as far as run: median of three seeds, band from worst to best", (
        opponents((20, 100, 500), finetuned(300, batch_size=1000, num_epochs=100, prune_iters=5),
                  {"batch_size": 1000, "num_epochs": 800}, ("creases", "gnhtp"), **PLANTED),
        opponents((10, 20, 50, 100), (), {}, ("creases",), **PLANTED_VECTOR),
        opponents((10, 50, 200), finetuned(30, num_epochs=30, prune_iters=0.2),
                  {"batch_size": 1000, "num_epochs": 800}, ("gnhtp",), **BINARY),
        opponents((20, 100, 500), finetuned(300, num_epochs=300, prune_iters=0.2), {"num_epochs": 3000}, ("gnhtp",),
                  **INR_MNIST),
        opponents((20, 100, 500), (), {"num_epochs": 3000}, ("gnhtp",), **INR_CIFAR),
    ), as_lines=True),
    "gnhtp": Entry("Beyond the paper", (
        beyond((1, 2, 5, 10, 20), (5, 10, 20, 50, 100), **PLANTED),
        beyond((5, 20, 100), (20, 100, 500), **INR_MNIST),
        beyond((5, 20, 100), (20, 100, 500), **INR_CIFAR),
        beyond((5, 20, 100), (20, 100, 500), **INR_MNIST, num_layers=2),
    ), ((GNHTP, AIHT),)),
    "inputs": Entry("Distributions of the inputs", (inputs("aiht", num_epochs=15), inputs("gnhtp"),
                                                        inputs("creases"))),
    "recovery": Entry("Recovered exactly", (
        recovery("creases", TO_1000, TO_1000, **PLANTED),
        recovery("creases", TO_1000, TO_1000, **PLANTED_VECTOR),
    ), statistic=EXACT),
    "recovery2": Entry("Recovered exactly, two hidden layers", (
        recovery("deep", TO_1000[1:], TO_1000[3:], **PLANTED, num_layers=2),), statistic=EXACT),
}


# ---- figures of several panels ----


def assemble(entry: Entry, logs: Sequence[Log], quantity: Quantity) -> tuple[list[Strip], list[Clash]]:
    """The strips of an entry, their measures without a range where none is stated, and the logs that clash."""
    strips, clashes = [], []
    for row in entry.rows:
        fitting = row.fitting(logs)
        gathered = {head: gather(found, row.mlist, row.slist, entry.seeds) for head, found in fitting.items()}
        clashes += [clash for _, found in gathered.values() for clash in found]
        measure = measured([log for found in fitting.values() for log in found], row.task, quantity.metric)
        grids = {head: grid for head, (grid, _) in gathered.items()}
        blocks = blocks_of(entry.differences, grids, quantity.on(row.task), measure)
        strips.append(Strip(row_name(row.task), blocks, words.row_heading(row), words.column_notes(row)))
    return strips, clashes


def blocks_of(differences: Sequence[tuple[str, str]], grids: dict[str, Grid], quantity: Quantity,
              measure: Measure) -> tuple[Block, ...]:
    """The blocks of a row: heatmaps of the grids {heading: Grid}, then their differences if there are any."""
    columns = {head: heatmap(grid, quantity, measure) for head, grid in grids.items()}
    subtracted = {f"{first} {MINUS} {second}": difference(grids[first], grids[second], quantity, measure)
                  for first, second in differences}
    blocks = Block(shown(measure, quantity), columns), Block(shown(measure, quantity, signed=True), subtracted)
    return tuple(block for block in blocks if block.heatmaps)


def is_empty(strips: Sequence[Strip]) -> bool:
    """Whether no cell of any column was run."""
    return all((shown.reasons == NOT_RUN).all() for strip in strips for shown in heatmaps_of(strip.blocks[:1]))


def share_colours(strips: Sequence[Strip], quantity: Quantity) -> list[list[Strip]]:
    """Bands of strips in sequence that show the same measures, each with one range of colours."""
    bands = []
    for _, group in groupby(strips, key=lambda strip: [block.measure for block in strip.blocks]):
        band, measures, widest = list(group), [], None
        for same in zip(*(strip.blocks for strip in band), strict=True):
            measures.append(fill_range(same[0].measure, quantity, heatmaps_of(same), widest))
            low, high = measures[0].range
            widest = high - low if measures[0].scale == "linear" else None
        bands.append([with_measures(strip, measures) for strip in band])
    return bands


def with_measures(strip: Strip, measures: Sequence[Measure]) -> Strip:
    """The strip with other measures of its blocks."""
    blocks = zip(strip.blocks, measures, strict=True)
    return replace(strip, blocks=tuple(replace(block, measure=measure) for block, measure in blocks))


def draw_entry(entry: Entry, strips: Sequence[Strip], quantity: Quantity) -> Figure:
    """The figure of an entry, whose strips come from `assemble`."""
    return draw_page(words.figure_title(entry, quantity, strips), share_colours(strips, quantity), PAPER)


# ---- figures of one log ----


def shared_measure(logs: Sequence[Log], quantity: Quantity) -> Measure:
    """The one measure, its range filled in, that colours all these logs of a task, so that methods compare."""
    measure = measured(logs, logs[0].settings["task"], quantity.metric)
    heatmaps = [heatmap(grid_of(log), quantity, measure) for log in logs]
    return fill_range(shown(measure, quantity), quantity, heatmaps)


def draw_log(log: Log, measure: Measure, quantity: Quantity) -> Figure:
    """The figure of one log, as large as its grid."""
    task = log.settings["task"]
    panel = heatmap(grid_of(log), quantity, measured([log], task, quantity.metric))
    longest = max(panel.values.shape)
    cell = min(1.0, max(0.6, 3 / longest), 15 / longest)  # inches: small grids have larger cells, a side 15 at most
    sizes = Sizes(width=None, cell=cell, bar=0.13, title=10, label=9, tick=8, number=9)
    columns = max(36, int(12 * (cell * panel.values.shape[1] + 1)))  # letters of the title: 12 to an inch at 10 points
    title = words.log_title(log, columns, quantity.statistic)
    return draw_page(title, [[Strip(row_name(task), (Block(measure, {"": panel}),))]], sizes)


# ---- numbers in words ----


def summaries(strips: Sequence[Strip], quantity: Quantity) -> Iterator[str]:
    """Lines that tell differences of the mean score, or numbers of successes, in numbers."""
    for strip in strips:
        panels = {head: panel for block in strip.blocks for head, panel in block.heatmaps.items()}
        for head, panel in panels.items():
            if not panel.count.any():
                continue
            if quantity.statistic in SHARES and not panel.signed:
                yield f"{strip.heading}: {head}: {words.success_line(panel)}"
            elif quantity == Quantity() and panel.signed:
                yield f"{strip.heading}: {head}: {words.difference_line(panel)}"
