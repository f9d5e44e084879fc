"""The logs that are drawn: finding them, reading those of the paper's own code, and putting cells on a grid.

A log is a table logs/<task>/<method>/<name>.npy with a sidecar, which sweep/logbook.py reads, or a table without one
that is named as the paper's own code names it. `gather` fills a grid of width m, nonzeros s and seed with the cells of
several logs, whatever grids these were run on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweep.logbook import Log, LogError
from sweep.methods import METHODS
from sweep.settings import completed
from sweep.table import DONE, FAILED, NOT_RUN, SKIPPED, Cell, kind
from tasks import TASKS

SCORE = "score"
NOT_RECORDED = "not recorded"  # of a cell that was run, but whose record lacks the number that is asked for
FULLEST = (DONE, SKIPPED, FAILED, NOT_RUN)  # which log a cell is taken from, where several have it
ANY = object()  # in a selection: this setting may have any value
MISPRINTS = {"binry_mnist": "binary_mnist"}  # in the instructions of the paper's own code

Clash = tuple[Log, Log]  # the log that a cell is taken from, and another one that has it with other settings


# ---- names ----


def known_task(name: str) -> str:
    """The task that a folder or a flag names, in any case; "" if there is none."""
    name = MISPRINTS.get(name.lower(), name.lower())
    return name if name in TASKS else ""


def known_method(name: str) -> str:
    """The method that a folder or a flag names, by its name or title in any case; "" if there is none."""
    names = {method.title.lower(): own for own, method in METHODS.items()} | {own: own for own in METHODS}
    return names.get(name.lower(), "")


def folders(path: Path) -> tuple[str, str]:
    """Task and method of a table, by its folders; "" for what is none."""
    return known_task(path.parts[-3]), known_method(path.parts[-2])


def find_logs(logs_dir: Path) -> list[Path]:
    """Sorted paths of the tables logs_dir/<task>/<method>/*.npy.

    Other folders are passed over, and so are hidden files, which are unfinished.
    """
    found = (path for path in Path(logs_dir).glob("*/*/*.npy") if not path.name.startswith("."))
    return sorted(path for path in found if all(folders(path)))


# ---- reading ----

# The paper's code names a log after its flags: hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_EXPNAME
PUBLISHED = re.compile(
    r"hidden(?P<num_layers>\d+)_m\[(?P<m>[\d, ]+)\]_s\[(?P<s>[\d, ]+)\]_seed\[(?P<seed>[\d, ]+)\]"
    r"_convex(?P<convex>True|False)_bs(?P<batch_size>\d+)_bias(?P<bias>True|False)_(?P<num_epochs>\d+)epochs_"
    r"(?P<expname>.*)",
    re.ASCII | re.DOTALL,
)


def read_log(path: Path) -> Log:
    """The log whose table is at path, in a folder <task>/<method>. Raises LogError.

    The settings of a log without a sidecar are those in its name, task and method alone: it does not say the others.
    """
    sidecar, match = path.with_suffix(".json"), PUBLISHED.fullmatch(path.stem)
    if sidecar.exists():
        log = Log.read(sidecar)
        if log.settings.get("task") not in TASKS:
            raise LogError(f"{sidecar}: its task {log.settings.get('task')!r} is none of tasks.py: move the log away")
        return log
    if match:
        return read_published(path, match)
    raise LogError(f"{path} has no sidecar {sidecar.name} and no published name: put the sidecar back beside it")


def read_published(path: Path, match: re.Match) -> Log:
    """The log of the paper's own code at path, whose name is `match`. Raises LogError.

    A network's score of 0 stands for a skipped cell there. A signal's cells are never skipped, and 0 is an exact fit.
    """
    settings, axes = parse_name(match)
    task, method = folders(path)
    log = Log(path.with_suffix(""), {"task": task, "method": method} | settings, axes, TASKS[task].measure)
    scores = read_table(path)
    if scores.ndim == 2:  # one number for all seeds of its name: entered for the first
        scores = scores[:, :, None]
    if scores.shape not in (log.table.shape, (*log.table.shape[:2], 1)):
        raise LogError(f"{path}: table {scores.shape} does not fit its axes m, s, seed {log.table.shape}: run it again")
    skipped = np.isnan(scores) | ((scores == 0) & TASKS[task].is_network)
    log.table[:, :, : scores.shape[2]] = np.where(skipped, np.nan, scores)
    for (m, s, seed), is_skipped in np.ndenumerate(skipped):
        cell = axes["m"][m], axes["s"][s], axes["seed"][seed]
        log.records[cell] = {"status": SKIPPED if is_skipped else DONE}
    return log


def read_table(path: Path) -> np.ndarray:
    """The array at path as float64. Raises LogError."""
    try:
        with path.open("rb") as file:
            table = np.lib.format.read_array(file, allow_pickle=False)
        if table.dtype.kind not in "fiu":
            raise ValueError(f"it holds {table.dtype}, not numbers")
        return table.astype(np.float64)
    except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
        raise LogError(f"{path} is no readable table ({error}): delete it and run the sweep again") from error


def parse_name(match: re.Match) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Settings and axes {"m": [...], "s": [...], "seed": [...]} in a match of PUBLISHED."""
    settings = {key: int(match[key]) for key in ("num_layers", "batch_size", "num_epochs")}
    settings |= {key: match[key] == "True" for key in ("convex", "bias")}
    axes = {axis: [int(number) for number in re.findall(r"\d+", match[axis])] for axis in ("m", "s", "seed")}
    return settings | {"expname": match["expname"]}, axes


def scores_of(log: Log) -> dict[Cell, float]:
    """The scores of a log by cell, NaN where there is none."""
    cells = itertools.product(log.axes["m"], log.axes["s"], log.axes["seed"])
    return dict(zip(cells, log.table.ravel().tolist(), strict=True))


# ---- a grid of cells ----


@dataclass(frozen=True)
class Grid:
    """Numbers of the cells of a grid.

    Args:
        mlist, slist, seedlist: its axes.
        kinds: [m, s, seed] of str, the status without its reason.
        numbers: {name: [m, s, seed]}, the score and what else is recorded, NaN where a cell has none.
    """

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    seedlist: tuple[int, ...]
    kinds: np.ndarray
    numbers: dict[str, np.ndarray]

    def values(self, name: str) -> np.ndarray:
        """The number of this name, [m, s, seed], NaN where there is none."""
        return self.numbers.get(name, np.full(self.kinds.shape, np.nan))


def grid_of(log: Log) -> Grid:
    """The grid of one log."""
    return gather([log], *log.axes.values())[0]


def gather(logs: Iterable[Log], mlist: Iterable[int], slist: Iterable[int],
           seedlist: Iterable[int]) -> tuple[Grid, list[Clash]]:
    """A grid with the cells of all these logs, and the pairs of logs that clash over one of its cells."""
    axes = tuple(mlist), tuple(slist), tuple(seedlist)
    shape = tuple(map(len, axes))
    places = dict(zip(itertools.product(*axes), np.ndindex(shape), strict=True))
    kinds, numbers = np.full(shape, NOT_RUN), {SCORE: np.full(shape, np.nan)}
    taken, clashes = pick(logs, places)
    scores = {path: scores_of(log) for path, log in {log.path: log for log in taken.values()}.items()}
    for cell, log in taken.items():
        kinds[places[cell]] = kind(log.status(cell))
        for name, value in (recorded_numbers(log.records[cell]) | {SCORE: scores[log.path][cell]}).items():
            numbers.setdefault(name, np.full(shape, np.nan))[places[cell]] = value
    return Grid(*axes, kinds, numbers), clashes


def pick(logs: Iterable[Log], cells: Iterable[Cell] | None = None) -> tuple[dict[Cell, Log], list[Clash]]:
    """The log that each cell is taken from, and the clashes.

    A cell that several logs have is taken from the first by name of those where it was run furthest. Two logs clash
    where both have a score for a cell and their settings differ.

    Args:
        cells: those that are wanted; None for all.
    """
    wanted, taken, clashes = None if cells is None else set(cells), dict[Cell, Log](), {}
    for log in sorted(logs, key=lambda log: log.path or Path()):
        for cell in log.records if wanted is None else wanted & log.records.keys():
            other = taken.setdefault(cell, log)
            ours, best = kind(log.status(cell)), kind(other.status(cell))
            if FULLEST.index(ours) < FULLEST.index(best):
                taken[cell] = log
            elif ours == best == DONE and log.settings != other.settings:
                clashes[other.path, log.path] = other, log
    return taken, list(clashes.values())


def recorded_numbers(record: dict[str, Any]) -> dict[str, float]:
    """The numbers in the record of a cell, but for that of its environment."""
    return {name: value for name, value in record.items()
            if isinstance(value, (bool, int, float)) and name != "environment"}


def agrees(log: Log, selection: dict[str, Any]) -> bool:
    """Whether a log has the task, method and settings of a selection; what the selection leaves out is at its default.

    A log that does not say all of its settings, since the paper's own code made it, agrees with none; neither does one
    with a setting that is not in the table of settings.
    """
    wanted = completed(selection)
    return log.settings.keys() == wanted.keys() and all(wanted[name] in (ANY, value)
                                                        for name, value in log.settings.items())
