"""The settings in which IMP, gradual pruning, SET and RigL classify best, chosen on held-out training samples.

    python -m studies.tune_opponents --task mnist --steps 900

Every method takes the same number of gradient steps. The last tenth of the training samples of each class is held out
and says how good a setting is; the test set is not looked at. The settings are chosen one after the other, with the
best of those before and the first choice of those after: the width, the share of the output layer, the learning rate,
whether it decays, the scale of the inputs. The program ends with the command lines of runner.py in the settings that
were chosen, on all training samples, for so many and for three times as many steps.

Half of the steps of IMP are three rounds, the rest is retraining. SET and RigL move weights fifty times. Finished fits
are kept in <logs_dir>/tuning/<task>.json and are not computed again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import options
from instances.files import data_folder
from instances.task import Problem
from numerics.workspace import Workspace
from options import FOLDER, SEED, SIZE, ListOf, between, one_of, option
from plotting import figures
from shell.command import Program
from shell.files import check_writable
from studies.entries import Entry, computed
from sweep.cells import judged
from sweep.methods import METHODS, solve_cells
from sweep.settings import make_settings
from tasks import TASKS, decide

OPPONENTS = ("pruning", "gmp", "set", "rigl")
CLASSIFICATIONS = ("binary_mnist", "mnist", "binary_cifar10")
HELD_OUT = 0.1  # of each class
ROUNDS = 3  # of IMP
MOVES = 50  # updates of the masks of SET and RigL in a training
FACTORS = (1, 3)  # of the steps, in the command lines


@dataclass(frozen=True)
class Options(options.Options):
    """What is tuned; the first entry of a list is where the search begins."""

    task: str = option("mnist", one_of(CLASSIFICATIONS), "what is fitted")
    methods: tuple[str, ...] = option(OPPONENTS, ListOf(one_of(OPPONENTS)), "methods")
    slist: tuple[int, ...] = option((100, 200, 500, 1000, 2000), ListOf(SIZE), "nonzero weights")
    steps: int = option(900, SIZE, "gradient steps of a fit, rounded to whole epochs")
    batch_size: int = option(500, SIZE, "samples per step")
    mlist: tuple[int, ...] = option((20, 10, 40, 80, 160), ListOf(SIZE), "widths")
    sharelist: tuple[float, ...] = option((0.2, 0.0, 0.1, 0.4), ListOf(between(0, 0.99)), "shares of the output layer")
    ratelist: tuple[float, ...] = option((0.003, 0.001, 0.01), ListOf(between(1e-6, 1)), "learning rates")
    seedlist: tuple[int, ...] = option((0,), ListOf(SEED), "seeds, over whose scores the mean is taken")
    logs_dir: str = option("logs", FOLDER, "results go to this study's folder in here")

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The choices of every setting, in the order in which they are made."""
        return {"m": self.mlist, "output_share": self.sharelist, "learning_rate": self.ratelist,
                "rate_decay": (False, True), "input_scale": ("largest", "none")}


def held_out(problem: Problem) -> Problem:
    """The training samples alone: the score is taken on the last tenth of each class, the others are fitted."""
    classes, kept = decide(problem.Y), np.ones(len(problem.Y), dtype=bool)
    for each in np.unique(classes):
        members = np.flatnonzero(classes == each)
        kept[members[len(members) - round(HELD_OUT * len(members)):]] = False
    X, X_eval = (np.asfortranarray(problem.X[rows]) for rows in (kept, ~kept))
    return Problem(X, problem.Y[kept], X_eval, problem.Y[~kept], loss=problem.loss)


@lru_cache(maxsize=1)
def problem_of(task: str) -> Problem:
    """The instance, the same for all widths, s and seeds."""
    problem = TASKS[task]().build(1, 1, 0, num_layers=1, data_dir=data_folder(None, os.environ))
    assert isinstance(problem, Problem)
    return held_out(problem)


def flags(method: str, steps: int, batch_size: int, n: int) -> dict[str, Any]:
    """The flags with which a method takes about so many steps, in epochs of n samples."""
    epochs = max(1, round(steps * batch_size / n))
    given: dict[str, Any] = {"batch_size": batch_size, "num_epochs": epochs}
    if method == "pruning":
        each = max(1, epochs // (2 * ROUNDS))
        return given | {"num_epochs": each, "prune_iters": ROUNDS, "finetune_epochs": max(1, epochs - ROUNDS * each)}
    return given if method == "gmp" else given | {"update_every": max(1, steps // MOVES)}


def selection(point: Entry, n: int) -> dict[str, Any]:
    """Task, method and flags of a fit of n samples."""
    own = {name: point[name] for name in ("task", "method", "output_share", "learning_rate", "rate_decay",
                                          "input_scale")}
    return own | flags(point["method"], point["steps"], point["batch_size"], n)


def fit(point: Entry) -> Entry:
    """The accuracy of a fit on held-out samples, its gradient steps, and its seconds of processor time."""
    problem, started = problem_of(point["task"]), time.process_time()
    settings = make_settings(**selection(point, len(problem.X)), mlist=[point["m"]], slist=[point["s"]])
    with Workspace() as work:
        [found] = solve_cells(settings.method, problem, point["m"], [point["s"]], point["seed"], settings.options,
                              num_layers=1, work=work, device="cpu").values()
    seconds = time.process_time() - started
    return {"accuracy": judged(problem, found).score, "taken": found.details["steps"], "seconds": round(seconds, 2)}


def tuned(method: str, s: int, chosen: Options, log: Path) -> Entry:
    """The settings that were chosen for a method and s, with their mean accuracy, steps and seconds."""
    best = {name: values[0] for name, values in chosen.choices.items()}
    fixed = {"task": chosen.task, "method": method, "s": s, "steps": chosen.steps, "batch_size": chosen.batch_size}
    for name, values in chosen.choices.items():
        tried = [mean_entry([fixed | best | {name: value, "seed": seed} for seed in chosen.seedlist], log)
                 for value in values]
        winner = max(tried, key=lambda entry: entry["accuracy"])
        best = {name: winner[name] for name in best}
    return winner


def mean_entry(points: list[Entry], log: Path) -> Entry:
    """The entry of the first of some points, the accuracy the mean of all."""
    entries = list(computed(points, fit, log))
    return entries[0] | {"accuracy": float(np.mean([entry["accuracy"] for entry in entries]))}


def command_lines(entry: Entry, seeds: tuple[int, ...] = (0, 1, 2)) -> Iterator[str]:
    """The command lines of runner.py for the settings of an entry, on all training samples."""
    n = TASKS[entry["task"]]().samples
    for factor in FACTORS:
        chosen = selection(entry | {"steps": factor * entry["steps"]}, n)
        row = figures.Row((entry["m"],), (entry["s"],), {METHODS[entry["method"]].title: chosen})
        yield from figures.commands(figures.Entry("", (row,), seeds=seeds))


def run(chosen: Options) -> None:
    """Tune, and print what was chosen."""
    log = check_writable(Path(chosen.logs_dir, "tuning"), "--logs_dir") / f"{chosen.task}.json"
    found = []
    for s in chosen.slist:
        for method in chosen.methods:
            found.append(tuned(method, s, chosen, log))
            print("{method:8} s {s:<5} {accuracy:.4f} at m {m}, output_share {output_share:g}, learning_rate "
                  "{learning_rate:g}, rate_decay {rate_decay}, input_scale {input_scale}: {taken} steps, "
                  "{seconds:.1f} s".format(**found[-1]), flush=True)
    print(*(line for entry in found for line in command_lines(entry)), sep="\n")


main = Program("python -m studies.tune_opponents", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
