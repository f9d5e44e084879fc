"""The log of a sweep on disk: a table of scores (.npy) and a sidecar (.json) that says what every number is.

    logs/<task>/<method>/<name>.npy    float64 [len(mlist), len(slist), len(seedlist)], NaN where not run or skipped
    logs/<task>/<method>/<name>.json   settings, axes, environments (versions, commit, device), and per cell status,
                                       seconds and number of its environment

Both are replaced whole, the table first, after every cell. A cell counts as run only when the sidecar says so.
A setting that a sidecar lacks, because the log is older than the flag, has its default.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from pathlib import Path

import numpy as np

FORMAT = 1
NAME_LENGTH = 195  # a name with its extension stays within 200 characters
LIST_LENGTHS = (32, 24, 0)  # longest list that a name spells out, first choice to last; longer ones are abridged

# Settings that always stand in the name, and those that do where they differ from their default.
NAMED = {"num_layers": "hidden{}", "convex": "convex{}", "batch_size": "bs{}", "bias": "bias{}",
         "num_epochs": "{}epochs"}
AXES = {"m": "mlist", "s": "slist", "seed": "seedlist"}

STATUSES = DONE, NOT_RUN, SKIPPED, FAILED = "done", "not run", "skipped", "failed"  # a reason may follow after ":"


class LogError(Exception):
    """A log that cannot be read, written or trusted; the message names the file and the remedy."""


def log_name(settings: dict, axes: dict, defaults: dict) -> str:
    """The file name, without extension, that tells this run from every other: letters, digits and . _ - alone.

    A double underscore precedes the expname, so that it cannot pass for a setting. Where even the shortest spelling
    is too long, a hash of all of it comes after the method and the end is cut off.

    Args:
        settings: all that changes the numbers, by flag; task and method among them.
        axes: {"m": [...], "s": [...], "seed": [...]}.
        defaults: the settings that are named only where they differ from these.
    """
    for longest in LIST_LENGTHS:
        lists = [axis + abridge(axes[axis], longest) for axis in AXES]
        fixed = [pattern.format(_plain(settings[flag])) for flag, pattern in NAMED.items()]
        others = [flag + _plain(settings[flag]) for flag in defaults if settings[flag] != defaults[flag]]
        head, tail = f"{settings['task']}_{settings['method']}", "_".join([fixed[0], *lists, *fixed[1:], *others])
        tail += f"__{settings['expname']}" if settings["expname"] else ""
        if len(f"{head}_{tail}") <= NAME_LENGTH:
            return f"{head}_{tail}"
    everything = f"{[axes[axis] for axis in AXES]} {tail}"
    return f"{head}_{_digest(everything, 16)}_{tail}"[:NAME_LENGTH]


def abridge(values: list[int], longest: int) -> str:
    """The values joined by "-"; where that is longer than `longest`, first..last, their number and a hash."""
    spelled = "-".join(map(str, values))
    if len(spelled) <= longest or len(values) == 1:
        return spelled
    return f"{values[0]}..{values[-1]}-{len(values)}x{_digest(spelled, 8)}"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _plain(value) -> str:
    return value if isinstance(value, str) else str(int(value) if value == int(value) else value)


class Log:
    """Scores and records of a sweep over m, s and seed.

    Args:
        path: of the table, without extension; None keeps the log in memory.
        settings, axes, defaults: see log_name. A sidecar that lacks a setting is taken to have its default.
        score: how the score is called and drawn.  environment: versions, device, ...
    """

    def __init__(self, path: Path | None, settings: dict, axes: dict, defaults: dict, score: dict, environment: dict):
        self.path, self.settings, self.axes, self.defaults = path, settings, axes, defaults
        self.score, self.environment = score, environment
        self.table = np.full([len(axes[axis]) for axis in AXES], np.nan)
        self.records = {}  # {(m, s, seed): {"status": ..., "environment": ..., "seconds": ..., ...}}
        self.environments = [environment]  # of all runs that computed cells
        self.again = set()  # finished cells that are to be run again

    @property
    def files(self) -> list[Path]:
        """The table and its sidecar."""
        return [self.path.with_name(self.path.name + extension) for extension in (".npy", ".json")]

    def cells(self) -> list[tuple[int, int, int]]:
        """All cells (m, s, seed), the seed varying slowest: data are made once per seed."""
        return [(m, s, seed) for seed in self.axes["seed"] for m in self.axes["m"] for s in self.axes["s"]]

    def missing(self) -> list[tuple[int, int, int]]:
        """The cells that are neither done nor skipped, or are to be run again."""
        return [cell for cell in self.cells()
                if cell in self.again or _kind(self.status(cell)) not in (DONE, SKIPPED)]

    def status(self, cell) -> str:
        return self.records.get(cell, {"status": NOT_RUN})["status"]

    def record(self, cell, status: str, score: float = np.nan, **details):
        """Enter one cell; `details` go into the sidecar."""
        self.table[self._place(cell)] = score
        environment = self.environments.index(self.environment)
        self.records[cell] = {"status": status, "environment": environment, **details}
        self.again.discard(cell)

    def _place(self, cell) -> tuple[int, int, int]:
        return tuple(self.axes[axis].index(value) for axis, value in zip(AXES, cell, strict=True))

    def sidecar(self) -> dict:
        cells = [dict(zip(AXES, cell, strict=True)) | self.records.get(cell, {"status": NOT_RUN})
                 for cell in self.cells()]
        return {"format": FORMAT, "settings": self.settings, "axes": self.axes, "score": self.score,
                "environments": self.environments, "cells": cells}

    def model_path(self, cell) -> Path:
        """Where the network of a cell is kept: a folder beside the table, one .npz per cell."""
        return self.path.with_name(self.path.name + ".models") / "m{}_s{}_seed{}.npz".format(*cell)

    def save_model(self, cell, net):
        """Keep the network of a cell (SparseNet). Raises LogError."""
        content = io.BytesIO()
        net.save(content, self.settings | dict(zip(AXES, cell, strict=True)))
        self._keep_model(cell, content.getvalue())

    def _keep_model(self, cell, content: bytes):
        path = self.model_path(cell)
        try:
            path.parent.mkdir(exist_ok=True)
            replace_files({path: content})
        except OSError as error:
            raise _unwritable(path, error) from None

    def save(self):
        """Replace both files, or raise LogError and leave what was there."""
        table = io.BytesIO()
        np.save(table, self.table, allow_pickle=False)
        sidecar = json.dumps(self.sidecar(), indent=1, allow_nan=False) + "\n"
        try:
            replace_files(dict(zip(self.files, (table.getvalue(), sidecar.encode()), strict=True)))
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def load(self, with_models: bool = False):
        """Take over the finished cells of the log at `path`, if there is one. Raises LogError where it is not ours.

        With models, a finished cell whose network was not kept is to be run again.
        """
        if not any(map(os.path.exists, self.files)):
            return
        for file, take in zip(self.files, (self._take_table, self._take_sidecar), strict=True):
            try:
                take(file.read_bytes())
            except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
                reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                raise LogError(f"{file} cannot be continued ({reason}): move the log away, choose another --expname, "
                               "or use --overwrite") from None
        if with_models:
            done = {cell for cell in self.records if self.status(cell) == DONE}
            self.again = {cell for cell in done if not self.model_path(cell).exists()}

    def adopt(self, with_models: bool = False, copy: bool = True):
        """Take over finished cells of other logs in the folder whose settings agree: a list of m, s or seeds grew.

        With models, only cells whose network was kept, which is copied. Then the log is saved; where `copy` is False,
        nothing is written. Raises LogError.
        """
        before = len(self.missing())
        for sidecar in sorted(self.path.parent.glob("*.json")):
            missing = set(self.missing())
            if sidecar == self.files[1] or not missing:
                continue
            try:
                other = Log.read(sidecar, self.defaults)
            except LogError:
                continue  # not ours to judge: it is refused when its own command is run
            if other.settings == self.settings:
                for cell in sorted(missing & set(other.records)):
                    if _kind(other.status(cell)) in (DONE, SKIPPED):
                        self._adopt_cell(cell, other, with_models, copy)
        if copy and len(self.missing()) < before:
            self.save()

    def _adopt_cell(self, cell, other: Log, with_models: bool, copy: bool):
        if with_models and other.status(cell) == DONE:
            if not other.model_path(cell).exists():
                return
            if copy:
                self._keep_model(cell, other.model_path(cell).read_bytes())
        environment = other.environments[other.records[cell]["environment"]]
        if environment not in self.environments:
            self.environments.append(environment)
        self.table[self._place(cell)] = other.table[other._place(cell)]
        self.records[cell] = other.records[cell] | {"environment": self.environments.index(environment)}
        self.again.discard(cell)

    @classmethod
    def read(cls, sidecar: Path, defaults: dict) -> Log:
        """The log that a sidecar belongs to, whatever its settings, completed by the defaults. Raises LogError."""
        try:
            said = json.loads(sidecar.read_bytes())
            if len(said["cells"]) != math.prod(len(said["axes"][axis]) for axis in AXES):
                raise ValueError("a table of another size")  # before it takes up memory
            settings = defaults | said["settings"]
            log = cls(sidecar.with_suffix(""), settings, said["axes"], defaults, said["score"], {})
        except Exception as error:  # as in load
            raise LogError(f"{sidecar} is no sidecar of a log ({type(error).__name__})") from None
        log.load()
        return log

    def _take_table(self, content: bytes):
        table = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        if (table.shape, table.dtype) != (self.table.shape, self.table.dtype):
            raise ValueError(f"{table.dtype} {table.shape} where {self.table.dtype} {self.table.shape} belongs")
        self.table = table

    def _take_sidecar(self, content: bytes):
        """Check everything that a sidecar says, and take over the records of the cells that were run."""
        sidecar = json.loads(content)
        json.dumps(sidecar, indent=1, allow_nan=False)  # as in save; raises where a number is NaN or infinite
        said = sidecar | {"settings": self.defaults | sidecar["settings"]}
        for key, own in {"format": FORMAT, "settings": self.settings, "axes": self.axes}.items():
            if said[key] != own:
                raise ValueError(f"it has other {key}")
        if [tuple(entry.pop(axis) for axis in AXES) for entry in sidecar["cells"]] != self.cells():
            raise ValueError("its cells are not those of its axes")
        self.environments = sidecar["environments"]
        for cell, entry in zip(self.cells(), sidecar["cells"], strict=True):
            self._take_cell(cell, entry)
        if self.environment not in self.environments:
            self.environments.append(self.environment)

    def _take_cell(self, cell, entry: dict):
        kind, score = _kind(entry["status"]), self.table[self._place(cell)]
        if kind not in STATUSES or (kind == DONE and np.isnan(score)) or entry.get("seconds", 0) < 0:
            raise ValueError(f"cell {cell} has status {entry['status']!r}, score {score}")
        if kind != DONE:
            self.table[self._place(cell)] = np.nan  # saved just before its record, or of an earlier run
        if kind != NOT_RUN:
            dict(self.environments[entry["environment"]])  # raises where there is none
            self.records[cell] = entry


def _unwritable(path: Path, error: OSError) -> LogError:
    return LogError(f"cannot write {path}: {error.strerror}; free space or choose another --logs_dir")


def _kind(status: str) -> str:
    return status.partition(":")[0]


def replace_files(contents: dict[Path, bytes]):
    """Write files whole: all are on the disk before the first takes its place. Raises OSError."""
    parts = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, content in contents.items():
            parts[path].unlink(missing_ok=True)  # of a run that was killed
            with parts[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
