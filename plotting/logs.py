"""The logs that are drawn: finding them, reading those of the paper's own code, and putting cells on a grid.

A log is a table logs/<task>/<method>/<name>.npy with a sidecar, which sweep/logbook.py reads, or a table without one
that is named as the paper's own code names it. `gather` fills a grid of width m, nonzeros s and seed with the cells of
several logs, whatever grids these were run on.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweep.logbook import Log, LogError
from sweep.methods import METHODS
from sweep.names import AXES, digest
from sweep.settings import completed
from sweep.table import DONE, FAILED, NOT_RUN, SKIPPED, Cell, kind, read_table
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
    return next((own for own, method in METHODS.items() if name.lower() in (own, method.title.lower())), "")


def folders(path: Path) -> tuple[str, str]:
    """Task and method of a table, by its folders; "" for what is none."""
    return known_task(path.parts[-3]), known_method(path.parts[-2])


def find_logs(logs_dir: Path) -> list[Path]:
    """Sorted paths of the tables logs_dir/<task>/<method>/*.npy.

    Other folders are passed over, and so are hidden files, which are unfinished.
    """
    return sorted(path for path in Path(logs_dir).glob("*/*/[!.]*.npy") if all(folders(path)))


# ---- reading ----

# The paper's code names a log after its flags: hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_EXPNAME
PUBLISHED = re.compile(
    r"hidden(?P<num_layers>\d+)_m\[(?P<m>[\d, ]+)\]_s\[(?P<s>[\d, ]+)\]_seed\[(?P<seed>[\d, ]+)\]"
    r"_convex(?P<convex>True|False)_bs(?P<batch_size>\d+)_bias(?P<bias>True|False)_(?P<num_epochs>\d+)epochs_"
    r"(?P<expname>.*)",
    re.ASCII | re.DOTALL,
)


def read_log(path: Path, with_histories: bool = False) -> Log:
    """The log whose table is at path, in a folder <task>/<method>. Raises LogError.

    The settings of a log without a sidecar are those in its name, task and method alone: it does not say the others.
    """
    sidecar, match = path.with_suffix(".json"), PUBLISHED.fullmatch(path.stem)
    if sidecar.exists():
        log = Log.read(sidecar, with_histories)
        if log.settings.get("task") not in TASKS:
            raise LogError(f"{sidecar}: unknown task {log.settings.get('task')!r}: add --extend FILE or move the log")
        return log
    if match:
        return read_published(path, match)
    raise LogError(f"{path} lacks its sidecar {sidecar.name}: put the sidecar back beside it")


def read_published(path: Path, match: re.Match) -> Log:
    """The log of the paper's own code at path, whose name is `match`. Raises LogError.

    A network's score of 0 stands for a skipped cell there. A signal's cells are never skipped, and 0 is an exact fit.
    """
    settings, axes = parse_name(match)
    task, method = folders(path)
    log = Log(path.with_suffix(""), {"task": task, "method": method} | settings, axes, TASKS[task].measure)
    try:
        scores = read_table(path.read_bytes()).astype(np.float64)
    except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
        raise LogError(f"{path} is no readable table ({error}): delete it and run the sweep again") from error
    if scores.ndim == 2:  # one number for all seeds of its name: entered for the first
        scores = scores[:, :, None]
    if scores.shape not in (log.table.shape, (*log.table.shape[:2], 1)):
        raise LogError(f"{path}: shape {scores.shape} is not that of m, s, seed {log.table.shape}: run its sweep again")
    for (m, s, seed), score in np.ndenumerate(scores):
        skipped = np.isnan(score) or (score == 0 and TASKS[task].is_network)
        log.enter((axes["m"][m], axes["s"][s], axes["seed"][seed]), {"status": SKIPPED if skipped else DONE},
                  np.nan if skipped else score)
    return log


def parse_name(match: re.Match) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Settings and axes {"m": [...], "s": [...], "seed": [...]} in a match of PUBLISHED."""
    settings = {key: int(match[key]) for key in ("num_layers", "batch_size", "num_epochs")}
    settings |= {key: match[key] == "True" for key in ("convex", "bias")}
    axes = {axis: [int(number) for number in re.findall(r"\d+", match[axis])] for axis in AXES}
    return settings | {"expname": match["expname"]}, axes


def picture_names(paths: Sequence[Path], suffixes: dict[Path, str]) -> dict[Path, str]:
    """{path of a log: name of its pictures} of those with a suffix, which may be ""; no two logs share one.

    A log's own stem is kept, a published one made shell-friendly: [1, 2] becomes 1-2.
    """
    stems = {path: friendly_stem(path) if PUBLISHED.fullmatch(path.stem) else path.stem for path in paths}
    uses, names = Counter(stem.lower() for stem in stems.values()), {}  # some disks do not tell A from a
    for path, suffix in suffixes.items():
        shared = uses[stems[path].lower()] > 1 or (suffix and (stems[path] + suffix).lower() in uses)
        names[path] = stems[path] + (f"_{digest('/'.join(path.parts[-3:]), 8)}" if shared else "") + suffix
    return names


def friendly_stem(path: Path) -> str:
    """Task, method and name of a published log without blanks and brackets."""
    name = "_".join((*path.parts[-3:-1], re.sub(r"[\[\]]", "", path.stem)))
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("_-")


def scores_of(log: Log) -> dict[Cell, float]:
    """The scores of a log by cell, NaN where there is none."""
    return {cell: log.score(cell) for cell in log.cells()}


# ---- a grid of cells ----


@dataclass(frozen=True)
class Grid:
    """Numbers of the cells of a grid."""

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    seedlist: tuple[int, ...]
    kinds: np.ndarray  # [m, s, seed] of str, the status without its reason
    numbers: dict[str, np.ndarray]  # by name [m, s, seed], the score and what else is recorded, NaN where there is none
    clashes: Sequence[Clash] = ()  # of the logs that it was gathered from

    def values(self, name: str) -> np.ndarray:
        """The number of this name, [m, s, seed], NaN where there is none."""
        return self.numbers.get(name, np.full(self.kinds.shape, np.nan))


def grid_of(log: Log) -> Grid:
    """The grid of one log."""
    return gather([log], *log.axes.values())


def seeds_run(grids: Iterable[Grid]) -> list[int]:
    """The seeds with which any cell of these grids was run."""
    return sorted({seed for grid in grids for place, seed in enumerate(grid.seedlist)
                   if (grid.kinds[:, :, place] != NOT_RUN).any()})


def gather(logs: Iterable[Log], mlist: Iterable[int], slist: Iterable[int], seedlist: Iterable[int]) -> Grid:
    """A grid with the cells of all these logs."""
    axes = tuple(mlist), tuple(slist), tuple(seedlist)
    shape = tuple(map(len, axes))
    places = dict(zip(itertools.product(*axes), np.ndindex(shape), strict=True))
    kinds, numbers = np.full(shape, NOT_RUN), {SCORE: np.full(shape, np.nan)}
    taken, clashes = pick(logs, places)
    for cell, log in taken.items():
        kinds[places[cell]] = kind(log.status(cell))
        recorded = {name: value for name, value in log.records[cell].items()
                    if isinstance(value, (bool, int, float)) and name != "environment"}  # which is but a number of one
        for name, value in (recorded | {SCORE: log.score(cell)}).items():
            numbers.setdefault(name, np.full(shape, np.nan))[places[cell]] = value
    return Grid(*axes, kinds, numbers, clashes)


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


def agrees(log: Log, selection: dict[str, Any]) -> bool:
    """Whether a log has the task, method and settings of a selection; what the selection leaves out is at its default.

    A log that does not say all of its settings, since the paper's own code made it, agrees with none; neither does one
    with a setting that is not in the table of settings.
    """
    wanted = completed(selection)
    return log.settings.keys() == wanted.keys() and all(wanted[name] in (ANY, value)
                                                        for name, value in log.settings.items())
