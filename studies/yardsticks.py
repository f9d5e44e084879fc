"""Yardsticks beside every method on real data: what linear models, trees and known transforms reach with s numbers.

    python -m studies.yardsticks --logs_dir logs/reference --figures_dir figures/reference
    python -m studies.yardsticks --draw --logs_dir logs/reference --figures_dir figures/reference

On classification (mnist, binary_mnist, binary_cifar10) a sparse linear classifier and a decision tree, on images
(inr_mnist, inr_cifar10) the largest terms of known transforms and OMP on the same Fourier features. Each gets the
problem of the task, is scored by tasks.score, and has s numbers at places of its choice, as a network has s weights:
weights and biases of a linear classifier, thresholds and leaves of a tree, coefficients of a transform. Choices are
made on held-out training samples. What was computed is kept in <logs_dir>/yardsticks/<task>.json and not computed
again; then a figure is drawn for each task, with all methods that have logs in <logs_dir> (studies/real_data.py).
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instances.task import Problem
from options import FOLDER, SIZE, SWITCH, ListOf, one_of, option, optional
from plotting import page
from plotting.logs import find_logs, read_log
from shell.command import Program
from shell.program import UsageError
from studies import linear, real_data, trees
from studies.answer import Find, Prepare
from studies.dictionaries import best_terms, cosines, pixels, pursuit, wavelets
from studies.entries import Computed, Entry, computed
from studies.real_data import SLISTS, WORDS, panels
from sweep.cells import read_data
from sweep.logbook import LogError
from sweep.machine import processor_name, versions
from sweep.settings import Settings, make_settings
from tasks import score

PACKAGES = {"sklearn": "scikit-learn", "pywt": "PyWavelets"}  # by the module that is imported
CLASSES, IMAGES = ("mnist", "binary_mnist", "binary_cifar10"), ("inr_mnist", "inr_cifar10")


@dataclass(frozen=True)
class Yardstick:
    """An entry of the table: its tasks, what finds it, the fewest numbers that it takes, and whether seeds matter."""

    tasks: tuple[str, ...]
    prepare: Prepare
    least: int = 1
    seeded: bool = False


YARDSTICKS = {
    "Linear": Yardstick(CLASSES, linear.classifier, seeded=True),
    "Decision tree": Yardstick(CLASSES, trees.tree, least=3, seeded=True),
    "Pixels": Yardstick(IMAGES, functools.partial(best_terms, pixels)),
    "Haar": Yardstick(IMAGES, functools.partial(best_terms, wavelets)),
    "DCT": Yardstick(IMAGES, functools.partial(best_terms, cosines)),
    "OMP": Yardstick(IMAGES, pursuit, seeded=True),
}


@dataclass(frozen=True)
class Options(Computed):
    """What is computed and drawn."""

    threads: int = option(1, SIZE, "CPU threads")
    tasks: tuple[str, ...] = option((*CLASSES, *IMAGES), ListOf(one_of(WORDS)), "tasks")
    draw: bool = option(False, SWITCH, "draw what is there, and compute nothing")
    data_dir: str | None = option(None, optional(FOLDER), "folder of the data sets (default: the variable "
                                  "MLP_IHT_DATA, then ./data)")

    def points(self, task: str) -> list[Entry]:
        """What is computed for a task, ordered so that what shares its preparation is together."""
        return [{"yardstick": title, "image": image, "s": s, "seed": seed}
                for title, yardstick in YARDSTICKS.items() if task in yardstick.tasks for image in panels(task)
                for seed in self.seedlist[: None if yardstick.seeded else 1]
                for s in SLISTS[task] if s >= yardstick.least]


def check_packages() -> None:
    """Raise UsageError where a package that only this study needs is not installed."""
    if lacking := [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]:
        raise UsageError(f"{sys.executable} has no {' and no '.join(lacking)}, which this study needs: "
                         f"run pip install {' '.join(lacking)}, or use --draw, which needs none")


def made_with() -> Entry:
    """The processor and the versions that decide on the numbers."""
    import importlib.metadata

    packages = versions(with_cupy=False) | {name: importlib.metadata.version(name) for name in PACKAGES.values()}
    return {"processor": processor_name(), "versions": {name: packages[name] for name in packages if name != "torch"}}


@functools.lru_cache(maxsize=1)
def prepared(title: str, settings: Settings, seed: int) -> tuple[Problem, Find]:
    """The instance of a seed, and what finds the answers of a yardstick."""
    problem = settings.build(1, 1, seed)
    assert isinstance(problem, Problem)
    return problem, YARDSTICKS[title].prepare(settings.task, problem, seed, SLISTS[settings.grid.task])


def answer(settings: Settings, point: Entry) -> Entry:
    """Score, numbers that it takes, what was chosen, and seconds of processor time; the first s has the preparation."""
    started = time.process_time()
    problem, find = prepared(point["yardstick"], settings, point["seed"])
    found = find(point["s"])
    assert found.numbers <= point["s"], (point, found.numbers)
    value = score(problem, found.outputs)
    return {"score": value if np.isfinite(value) else str(value), "numbers": found.numbers, "chosen": found.chosen,
            "seconds": round(time.process_time() - started, 2)} | made_with()


def compute(options: Options, task: str, folder: Path) -> None:
    """Compute what is missing of a task, and print all of it. Raises UsageError."""
    settings = {image: make_settings(task=task, mlist=[1], slist=[1], image=image, device="cpu",
                                     data_dir=options.data_dir) for image in panels(task)}
    for each in settings.values():
        read_data(each)
    for entry in computed(options.points(task), lambda point: answer(settings[point["image"]], point),
                          folder / f"{task}.json"):
        print("{yardstick:13} s {s:<5} seed {seed}  {score:.4f}  {numbers:>4} numbers, {chosen}; {seconds} s".format(
            **entry | {"score": float(entry["score"])}), f"  image {entry['image']}" * (entry["image"] is not None),
            flush=True)


def run(options: Options) -> None:
    """Compute what is missing, and draw all that is there. Raises UsageError."""
    from threadpoolctl import threadpool_limits

    folder, figures = options.folders("yardsticks")
    if not options.draw:
        check_packages()
        with threadpool_limits(options.threads):
            for task in options.tasks:
                compute(options, task, folder)
    try:
        logs = [read_log(path) for path in find_logs(Path(options.logs_dir))]
    except LogError as error:
        raise UsageError(f"argument --logs_dir: {error}") from None
    entries = real_data.kept(Path(options.logs_dir))
    with page.style():
        for task in options.tasks:
            print(*page.save(real_data.draw(logs, entries, task), figures / f"real_{task}"), sep="\n")


main = Program("python -m studies.yardsticks", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
