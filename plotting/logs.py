"""Read saved logs for make_figures.py: numbers on a grid of width m, nonzeros s and seed, and what they mean.

A log is a table logs/<task>/<method>/<name>.npy with a .json sidecar, or a table named by the paper's own code.
`gather` fills a grid with the cells of all logs whose settings are those asked for, whatever grids these were run on.
"""

import json
import math
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

SCORE = "score"
DONE, FAILED, NOT_RUN, SKIPPED = "done", "failed", "not run", "skipped"  # what a sidecar says of a cell
NOT_RECORDED = "not recorded"  # run, but this number was not kept
FULLEST = (DONE, SKIPPED, FAILED, NOT_RUN)  # which log a cell is taken from, where several have it
ANY = object()  # a setting that may be whatever it is

SETTINGS = {  # that change the numbers: the default, for logs which do not say, and words for a title, in this order
    "num_layers": (1, "hidden layers {}"),
    "num_epochs": (15, "epochs {}"),
    "finetune_epochs": (0, "finetuning {}"),
    "batch_size": (0, "batch {}"),
    "output_dim": (1, "outputs {}"),
    "input_dim": (100, "inputs {}"),
    "input_dist": ("normal", "{} inputs"),
    "nmeasurements": (50000, "n {}"),
    "prune_iters": (0.1, "prune_iters {}"),
    "prune_score": ("magnitude", "pruned by {}"),
    "update_every": (1, "gates updated every {} steps"),
    "least_squares": ("auto", "least squares {}"),
    "convex": (False, "convex"),
    "bias": (False, "bias"),
    "expname": ("", "{}"),
}


def setting_words(settings, always=()):
    """Words for the settings that are not at their default, and for those that always are named."""
    named = [(name, words) for name, (default, words) in SETTINGS.items()
             if settings.get(name) is not None and (name in always or settings[name] != default)]
    return ["full batch" if (name, settings[name]) == ("batch_size", 0) else words.format(settings[name])
            for name, words in named]


def depth_words(num_layers):
    """1 hidden layer, 2 hidden layers."""
    return f"{num_layers} hidden layer{'s' if num_layers != 1 else ''}"


class LogError(Exception):
    """A log that cannot be drawn: one line that names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Score:
    """What numbers are: the "score" entry of a sidecar, or any other number that is drawn."""

    name: str = SCORE
    unit: str = ""
    higher_is_better: bool = True
    range: tuple[float, float] | None = None  # of the colours; None takes it from the data
    scale: str = "linear"  # or "log"

    def __post_init__(self):
        low, high = self.range or (1, 2)
        if self.scale not in ("linear", "log"):
            raise ValueError(f"score scale {self.scale!r} is neither linear nor log")
        if not -math.inf < low < high < math.inf or (self.scale == "log" and low <= 0):
            raise ValueError(f"score range {self.range} does not suit a {self.scale} scale")


SCORES = {  # for logs without a sidecar
    "mlp_planted": Score("PSNR", "dB", range=(-20, 50)),
    "inr_mnist": Score("PSNR", "dB", range=(0, 50)),
    "inr_cifar10": Score("PSNR", "dB", range=(0, 50)),
    "binary_mnist": Score("test accuracy", range=(0.5, 1)),
    "binary_cifar10": Score("test accuracy", range=(0.5, 1)),
    "mnist": Score("test accuracy", range=(0.1, 1)),
    "gaussian_sparse": Score("relative l2 error", higher_is_better=False, range=(1e-8, 1), scale="log"),
}


@dataclass(frozen=True)
class Grid:
    """Numbers of the cells of a grid."""

    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    seedlist: tuple[int, ...]
    kinds: np.ndarray  # [m, s, seed] of str: DONE, or why there is no score
    numbers: dict[str, np.ndarray]  # the score and what else is recorded of DONE and other cells: [m, s, seed], or NaN

    def values(self, name):
        """The number of this name, [m, s, seed], NaN where there is none."""
        return self.numbers.get(name, np.full(self.kinds.shape, np.nan))


@dataclass(frozen=True)
class Log:
    """One saved table and what it was computed with."""

    path: Path
    task: str
    method: str
    settings: dict  # as in the sidecar
    grid: Grid
    score: Score | None  # None where the log does not say
    published: bool  # without a sidecar: nothing but the name tells the settings


# ---- reading ----

# The paper's code names a log after its flags: hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_EXPNAME
PUBLISHED = re.compile(
    r"hidden(?P<num_layers>\d+)_m\[(?P<m>[\d, ]+)\]_s\[(?P<s>[\d, ]+)\]_seed\[(?P<seed>[\d, ]+)\]"
    r"_convex(?P<convex>True|False)_bs(?P<batch_size>\d+)_bias(?P<bias>True|False)_(?P<num_epochs>\d+)epochs_"
    r"(?P<expname>.*)",
    re.ASCII | re.DOTALL,
)


def find_logs(logs_dir):
    """Sorted paths of the tables logs_dir/<task>/<method>/*.npy; hidden files are unfinished and left out."""
    return sorted(path for path in Path(logs_dir).glob("*/*/*.npy") if not path.name.startswith("."))


def read_log(path):
    """The Log at path, which ends in <task>/<method>/<name>.npy; raises LogError."""
    sidecar, match = path.with_suffix(".json"), PUBLISHED.fullmatch(path.stem)
    if sidecar.exists():
        return read_own_log(path, sidecar)
    if match:
        return read_published_log(path, match)
    raise LogError(f"{path}: has no sidecar {sidecar.name} and no published name; put the sidecar back beside it")


def read_own_log(path, sidecar):
    """A Log with a sidecar; raises LogError."""
    task, method = path.parts[-3:-1]
    table = read_table(path)
    settings, axes, score, cells = read_sidecar(sidecar)
    check_shape(path, table, axes, {tuple(map(len, axes))})
    kinds = np.where(np.isnan(table), NOT_RUN, DONE)
    try:
        numbers = {} if cells is None else read_cells(cells, axes, kinds)
    except Exception as error:  # as in read_sidecar
        raise broken_sidecar(sidecar, error) from error
    return Log(path, task, method, settings, Grid(*axes, kinds, numbers | {SCORE: table}), score, published=False)


def read_published_log(path, match):
    """The Log of the paper's own code at path, whose name is `match`; raises LogError."""
    task, method = path.parts[-3:-1]
    table, (settings, axes) = read_table(path), parse_name(match)
    table = table[:, :, None] if table.ndim == 2 else table
    shape = tuple(map(len, axes))
    check_shape(path, table, axes, {shape, (*shape[:2], 1)})  # [m, s] has one number for all seeds in its name
    if task != "gaussian_sparse":  # there 0 is a true error and no cell is skipped; elsewhere 0 means skipped
        table = np.where(table == 0, np.nan, table)
    grid = Grid(*axes, np.where(np.isnan(table), SKIPPED, DONE), {SCORE: table})
    return Log(path, task, method, settings, grid, None, published=True)


def check_shape(path, table, axes, fitting):
    shape = tuple(map(len, axes))
    if 0 in shape or table.shape not in fitting:
        raise LogError(f"{path}: table {table.shape} does not fit its axes m, s, seed {shape}; run the sweep again")


def read_table(path):
    """The array at path as float64; raises LogError."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)  # np.load takes any other file for a pickle, and says so
        table = np.load(path, allow_pickle=False)
        if table.dtype.kind not in "fiu":
            raise ValueError(f"it holds {table.dtype}, not numbers")
        return table.astype(np.float64)
    except Exception as error:  # damaged bytes make np.load fail in many ways, which all mean the same here
        raise LogError(f"{path}: not a readable table ({error}); delete it and run the sweep again") from error


def parse_name(match):
    """Settings and (mlist, slist, seedlist) in a match of PUBLISHED."""
    settings = {key: int(match[key]) for key in ("num_layers", "batch_size", "num_epochs")}
    settings |= {key: match[key] == "True" for key in ("convex", "bias")}
    axes = tuple(tuple(map(int, re.findall(r"\d+", match[axis]))) for axis in ("m", "s", "seed"))
    return settings | {"expname": match["expname"]}, axes


def read_sidecar(path):
    """Settings, (mlist, slist, seedlist), Score (None if not stated) and cells (None likewise); raises LogError."""
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        axes = tuple(tuple(sidecar["axes"][axis]) for axis in ("m", "s", "seed"))
        if not all(isinstance(value, int) for axis in axes for value in axis):
            raise ValueError("an axis is not a list of whole numbers")
        score = parse_score(sidecar.get("score"), path.parts[-3])
        return dict(sidecar["settings"]), axes, score, sidecar.get("cells")
    except Exception as error:  # whatever is wrong in it, the sidecar is what the user has to mend
        raise broken_sidecar(path, error) from error


def broken_sidecar(path, error):
    reason = f"it lacks {error}" if isinstance(error, KeyError) else error
    return LogError(f"{path}: broken sidecar ({reason}); mend it, or delete the log and run again")


def parse_score(entry, task):
    """The Score that a sidecar's entry states, SCORES filling the gaps; None if it states none."""
    known = {key.name for key in fields(Score)}
    stated = {key: value for key, value in (entry or {}).items() if key in known and value is not None}
    return replace(SCORES.get(task, Score()), **stated) if stated else None


def read_cells(cells, axes, kinds):
    """Enter what the records of cells say into kinds [m, s, seed], and return their numbers, {name: [m, s, seed]}."""
    numbers = {}
    if len(cells) != kinds.size:
        raise ValueError(f"{len(cells)} cells where its axes have {kinds.size}")
    for record in cells:
        place = tuple(axis.index(record[name]) for axis, name in zip(axes, ("m", "s", "seed"), strict=True))
        kind = record["status"].partition(":")[0]  # a reason may follow
        if kind not in FULLEST:
            raise ValueError(f"status {kind!r} is none of {', '.join(FULLEST)}")
        kinds[place] = kind
        for name in record.keys() - {"m", "s", "seed", "status", "environment"}:
            if isinstance(record[name], (bool, int, float)):
                numbers.setdefault(name, np.full(kinds.shape, np.nan))[place] = record[name]
    return numbers


# ---- gathering the cells of several logs ----


def complete(settings):
    """Settings with those that are left out at their defaults."""
    return {name: default for name, (default, _) in SETTINGS.items()} | settings


def agrees(log, selection):
    """Whether a log has the task, method and settings of a selection; those that either leaves out are at default."""
    wanted = complete(selection)
    has = complete(log.settings) | {"task": log.task, "method": log.method}
    return not log.published and all(wanted.get(name) in (ANY, value) for name, value in has.items())


def gather(logs, selection, mlist, slist, seedlist):
    """A Grid with the cells of all logs that agree with a selection, and the logs of other settings that clash.

    A cell that several logs have is taken from the first by name that was run furthest. Two logs clash where both have
    a score for a cell and their settings differ, which a selection with ANY allows: (the one taken, the other).
    """
    axes = tuple(mlist), tuple(slist), tuple(seedlist)
    shape = tuple(map(len, axes))
    kinds, numbers, sources, clashes = np.full(shape, NOT_RUN), {}, {}, {}
    for log in sorted((log for log in logs if agrees(log, selection)), key=lambda log: log.path):
        for target, source in common_cells(axes, log.grid):
            kind = log.grid.kinds[source]
            if FULLEST.index(kind) < FULLEST.index(kinds[target]):
                kinds[target], sources[target] = kind, log
                for name, values in log.grid.numbers.items():
                    numbers.setdefault(name, np.full(shape, np.nan))[target] = values[source]
            elif kind == DONE and complete(sources[target].settings) != complete(log.settings):
                clashes[sources[target].path, log.path] = None
    return Grid(*axes, kinds, numbers), list(clashes)


def common_cells(axes, grid):
    """Pairs (place in a grid with these axes, place in `grid`) of the cells that both have."""
    pairs = []
    for ours, theirs in zip(axes, (grid.mlist, grid.slist, grid.seedlist), strict=True):
        pairs.append([(i, theirs.index(value)) for i, value in enumerate(ours) if value in theirs])
    return [((i, j, k), (a, b, c)) for i, a in pairs[0] for j, b in pairs[1] for k, c in pairs[2]]
