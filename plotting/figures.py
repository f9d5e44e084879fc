"""FIGURES, the figures that make_figures.py assembles: those of the paper, AIHT beside IMP, and further ones.

    python make_figures.py --figure 2 --commands

An entry has rows; a row has a grid and its columns, which say with what task, method and settings their cells are
computed. What a column does not say is at its default. Two columns may be subtracted. `commands` spells an entry as
command lines of runner.py; plotting/panels.py and plotting/lines.py draw it from the cells of all logs that fit.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from instances.planted import INPUT_DISTS
from plotting.logs import ANY, Grid, agrees, gather, seeds_run
from plotting.numbers import EXACT, MEAN
from sweep.logbook import Log
from sweep.methods import METHODS

MINUS = "\u2212"
PUBLISHED_ORDER = ("num_epochs", "batch_size", "num_layers", "output_dim")  # of flags in the paper's commands

Selection = dict[str, Any]  # task, method and settings
Columns = dict[str, Selection]  # by heading


@dataclass(frozen=True)
class Row:
    """Panels of one task and grid."""

    mlist: Sequence[int]
    slist: Sequence[int]
    columns: Columns  # what they leave out is at its default; ANY leaves a setting open

    @property
    def task(self) -> str:
        return self.problem["task"]

    @property
    def problem(self) -> Selection:
        """What its columns fit: task, outputs and depth, where these are not at their defaults."""
        return problem(next(iter(self.columns.values())))

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return self.problem.get("num_layers", 1)

    def fitting(self, logs: Sequence[Log]) -> dict[str, list[Log]]:
        """{heading: the logs with the settings of this column}."""
        return {heading: [log for log in logs if agrees(log, selection)] for heading, selection in self.columns.items()}

    def grids(self, logs: Sequence[Log], seeds: Sequence[int]) -> dict[str, Grid]:
        """{heading: the grid of this column}, from all logs that fit."""
        return {heading: gather(found, self.mlist, self.slist, seeds)
                for heading, found in self.fitting(logs).items()}


@dataclass(frozen=True)
class Entry:
    """One figure. All rows have as many columns."""

    title: str
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, str], ...] = ()  # (column, the column that is subtracted), right of the others
    seeds: tuple[int, ...] = (0, 1, 2)
    statistic: str = MEAN  # over the seeds, where no other is asked for
    as_lines: bool = False  # whether it is drawn by plotting/lines.py; its rows then have one width each

    def with_seeds_run(self, logs: Sequence[Log]) -> Entry:
        """The same of those of its seeds with which any cell was run; of all where none was."""
        run = seeds_run([grid for row in self.rows for grid in row.grids(logs, self.seeds).values()])
        return replace(self, seeds=tuple(run) or self.seeds)

    @property
    def selections(self) -> list[Selection]:
        """Of all rows and columns."""
        return [selection for row in self.rows for selection in row.columns.values()]


def commands(entry: Entry) -> Iterator[str]:
    """A command line of runner.py for every column of every row of an entry; it says no setting that is left open."""
    for row in entry.rows:
        for selection in row.columns.values():
            flags = {name: selection[name] for name in ("task", "method")}
            flags |= {"mlist": row.mlist, "slist": row.slist, "seedlist": entry.seeds}
            flags |= {name: selection[name] for name in (*PUBLISHED_ORDER, *selection) if name in selection}
            flags |= {"save_results": True}
            yield shlex.join(["python", "runner.py", *(word for flag in flags.items() for word in spelled(*flag))])


def spelled(name: str, value: Any) -> list[str]:
    """A flag of runner.py as words of a command line: none where it is left open, or a switch that is off."""
    if value is ANY or value is None or value is False:
        return []
    values = value if isinstance(value, (tuple, list)) else [] if value is True else [value]
    return [f"--{name}", *map(str, values)]


# ---- columns ----

AIHT, IMP, GNHTP = (METHODS[name].title for name in ("aiht", "pruning", "gnhtp"))


def columns(settings: Selection, *methods: str) -> Columns:
    """A column for each of these methods, with the same settings."""
    return {METHODS[method].title: settings | {"method": method} for method in methods}


def ours(settings: Selection, *methods: str) -> Columns:
    """A column for each of our methods, on the problem of these settings, whatever the number of epochs."""
    return columns(problem(settings) | {"num_epochs": ANY}, *methods)


def problem(settings: Selection) -> Selection:
    """What is fitted, and not how."""
    return {name: value for name, value in settings.items() if name in ("task", "output_dim", "num_layers")}


def imp(settings: Selection, forms: dict[str, Selection]) -> Columns:
    """A column of IMP for each of these forms: what follows its name, and the settings that are its own."""
    return {f"{IMP}{form}": settings | own | {"method": "pruning"} for form, own in forms.items()}


def finetuned(epochs: int, trained: Selection) -> dict[str, Selection]:
    """The forms of IMP with the settings `trained`, and so many epochs at the end."""
    tuned = trained | {"finetune_epochs": epochs}
    return {", finetuned": tuned, ", LAMP, finetuned": tuned | {"prune_score": "lamp"}}


# ---- rows ----


def both(mlist: Sequence[int], slist: Sequence[int], settings: Selection) -> Row:
    """AIHT beside IMP, as in the paper."""
    return Row(mlist, slist, columns(settings, "aiht", "pruning"))


def beside(mlist: Sequence[int], slist: Sequence[int], settings: Selection, paper: Sequence[str], method: str) -> Row:
    """Methods of the paper, as it runs them, beside one of ours."""
    return Row(mlist, slist, columns(settings, *paper) | ours(settings, method))


def with_obs(row: Row, num_epochs: int) -> Row:
    """The same beside pruning by curvature, with so many epochs."""
    return Row(row.mlist, row.slist, row.columns | columns(row.problem | {"num_epochs": num_epochs}, "obs"))


def baselines(slist: Sequence[int], settings: Selection, trained: Selection, epochs: int) -> Row:
    """IMP in several forms, and AIHT; `trained` are settings in which IMP does fit, `epochs` those of finetuning."""
    forms = {" as published": {}, ", trained": trained} | finetuned(epochs, trained)
    return Row(SMALL_M, slist, imp(settings, forms) | columns(settings, "aiht"))


def opponents(slist: Sequence[int], settings: Selection, forms: dict[str, Selection], dynamic: Selection,
              *methods: str) -> Row:
    """All methods at m = 20: IMP as published and in these forms, SET and RigL with the settings `dynamic`, ours."""
    return Row((20,), slist, imp(settings, {" as published": {}} | forms)
               | columns(problem(settings) | dynamic, "set", "rigl") | columns(settings, "aiht")
               | ours(settings, *methods))


def inputs(method: str, **settings: Any) -> Row:
    """One method on planted networks, a column for every distribution of their inputs."""
    settings |= {"task": "mlp_planted", "method": method, "nmeasurements": 10000}
    title = METHODS[method].title
    return Row(*SMALL_GRID, {f"{title}, {dist}": settings | {"input_dist": dist} for dist in INPUT_DISTS})


# ---- the table ----

TO_1000 = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SMALL_M, SMALL_S = (5, 20, 100), (20, 100, 500)
SMALL_GRID = (1, 2, 5, 10, 20), (5, 10, 20, 50, 100)
INR_MNIST_GRID = TO_1000[1:8], TO_1000[1:]
INR_CIFAR_GRID = TO_1000[:8], (*TO_1000[2:], 2000)

PLANTED = {"task": "mlp_planted", "num_epochs": 15}
PLANTED_VECTOR = {"task": "mlp_planted", "num_epochs": 100, "batch_size": 5000, "output_dim": 10}
BINARY = {"task": "binary_mnist", "num_epochs": 15, "batch_size": 1000}
MNIST = {"task": "mnist", "num_epochs": 50, "batch_size": 5000}
INR_MNIST = {"task": "inr_mnist", "num_epochs": 100}
INR_CIFAR = {"task": "inr_cifar10", "num_epochs": 100}
TWO = {"num_layers": 2}

# In which the baselines do fit.
IMP_PLANTED = {"batch_size": 1000, "num_epochs": 100, "prune_iters": 5}
IMP_BINARY = {"num_epochs": 30, "prune_iters": 0.2}
IMP_INR = {"num_epochs": 300, "prune_iters": 0.2}
DYNAMIC = {"batch_size": 1000, "num_epochs": 800}
DYNAMIC_INR = {"num_epochs": 3000}

AIHT_IMP = ((AIHT, IMP),)

FIGURE_3 = (both(TO_1000, TO_1000[:8], BINARY), both(TO_1000[3:], (*TO_1000[6:], 2000), MNIST))
FIGURE_4 = (both(*INR_MNIST_GRID, INR_MNIST), both(*INR_MNIST_GRID, INR_MNIST | TWO))
FIGURE_5 = (both(*INR_CIFAR_GRID, INR_CIFAR), both(*INR_CIFAR_GRID, INR_CIFAR | TWO))
OBS_EPOCHS = {"binary_mnist": 30, "mnist": 100, "inr_mnist": 100, "inr_cifar10": 100}  # a tenth and less of its default

FIGURES = {  # those of the paper have the grids and settings of its commands
    "1": Entry("Figure 1", (both(TO_1000, TO_1000, PLANTED), both(TO_1000[1:], TO_1000[3:], PLANTED | TWO)), AIHT_IMP),
    "2": Entry("Figure 2", (both(TO_1000, TO_1000, PLANTED_VECTOR),
                            both(TO_1000[1:], TO_1000[3:], PLANTED_VECTOR | TWO)), AIHT_IMP),
    "3": Entry("Figure 3", FIGURE_3, AIHT_IMP),
    "4": Entry("Figure 4", FIGURE_4, AIHT_IMP),
    "5": Entry("Figure 5", FIGURE_5, AIHT_IMP),
    **{f"obs{number}": Entry(f"Figure {number}, and pruning by curvature",
                             tuple(with_obs(row, OBS_EPOCHS[row.task]) for row in rows))
       for number, rows in (("3", FIGURE_3), ("4", FIGURE_4), ("5", FIGURE_5))},
    "baselines": Entry("Stronger baselines", (baselines(SMALL_S, PLANTED, IMP_PLANTED, 300),
                                              baselines((10, 50, 200), BINARY, IMP_BINARY, 30),
                                              baselines(SMALL_S, INR_MNIST, IMP_INR, 300))),
    "dst": Entry("Dynamic sparse training", (Row(SMALL_M, SMALL_S, (
        columns(INR_MNIST | DYNAMIC_INR, "set", "rigl")
        | imp(INR_MNIST, {", finetuned": IMP_INR | {"finetune_epochs": 300}}) | columns(INR_MNIST, "aiht"))),)),
    "opponents": Entry("Methods at m = 20", (
        opponents(SMALL_S, PLANTED, finetuned(300, IMP_PLANTED), DYNAMIC, "creases", "gnhtp"),
        opponents((10, 20, 50, 100), PLANTED_VECTOR, {}, {}, "creases"),
        opponents((10, 50, 200), BINARY, finetuned(30, IMP_BINARY), DYNAMIC, "gnhtp"),
        opponents(SMALL_S, INR_MNIST, finetuned(300, IMP_INR), DYNAMIC_INR, "gnhtp"),
        opponents(SMALL_S, INR_CIFAR, {}, DYNAMIC_INR, "gnhtp"),
    ), as_lines=True),
    "gnhtp": Entry("Beyond the paper", (
        beside(*SMALL_GRID, PLANTED, ["aiht"], "gnhtp"),
        *(beside(SMALL_M, SMALL_S, image, ["aiht"], "gnhtp") for image in (INR_MNIST, INR_CIFAR, INR_MNIST | TWO)),
    ), ((GNHTP, AIHT),)),
    "inputs": Entry("Distributions of the inputs", (inputs("aiht", num_epochs=15), inputs("gnhtp"),
                                                    inputs("creases"))),
    "recovery": Entry("Recovered exactly", tuple(
        beside(TO_1000, TO_1000, planted, ["pruning", "aiht"], "creases") for planted in (PLANTED, PLANTED_VECTOR)
    ), statistic=EXACT),
    "recovery2": Entry("Recovered exactly, two hidden layers", tuple(
        beside(TO_1000[1:], TO_1000[3:], planted | TWO, ["pruning", "aiht"], "deep")
        for planted in (PLANTED, PLANTED_VECTOR)), statistic=EXACT),
}
