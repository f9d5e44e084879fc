"""The log of a sweep on disk: a table of scores (.npy) and a sidecar (.json) that says what every number is.

    logs/<task>/<method>/<name>.npy    float64 [len(mlist), len(slist), len(seedlist)], NaN where not run or skipped
    logs/<task>/<method>/<name>.json   settings, axes, environments (versions, commit, device), and per cell status,
                                       seconds and number of its environment

Both are replaced whole, the table first, after every cell. A cell counts as run only when the sidecar says so.
A setting that a sidecar lacks, because the log is older than the flag, has its default. Sweeps continue logs with what
is here, and figures read them with it (Log.read).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models import SparseNet
from sweep import history
from sweep.settings import SETTINGS, defaults
from tasks import Measure

FORMAT = 1
NAME_LENGTH = 195  # a name with its extension stays within 200 characters
LIST_LENGTHS = (32, 24, 0)  # longest list that a name spells out, first choice to last; longer ones are abridged
HEAD = ("task", "method", "expname")  # settings that have places of their own in the name
REMEDY = "move the log away, or run its command again with --overwrite"  # where a log cannot be read
AXES = {"m": "mlist", "s": "slist", "seed": "seedlist"}

STATUSES = DONE, NOT_RUN, SKIPPED, FAILED = "done", "not run", "skipped", "failed"  # a reason may follow after ":"


Cell = tuple[int, int, int]  # m, s, seed


class LogError(Exception):
    """A log that cannot be read, written or trusted; the message names the file and the remedy."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other runs of the same command away from the log at `path` (without extension). Raises LogError."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        remedy = "wait for it, or give this one an --expname"
        raise LogError(f"{path}.npy is being written by another run: {remedy}") from None
    except OSError as error:
        remedy = "move it away, or choose another --logs_dir"
        raise LogError(f"cannot lock {lock.lock_file} ({error.strerror}): {remedy}") from None
    try:
        yield
    finally:
        lock.release()


def log_name(settings: dict[str, Any], axes: dict[str, list[int]]) -> str:
    """The file name, without extension, that tells this run from every other: letters, digits and . _ - alone.

    A setting is named always where the table of settings gives it a spelling, else where it is not at its default. A
    double underscore precedes the expname, so that it cannot pass for a setting. Where even the shortest spelling is
    too long, a hash of all of it comes after the method and the end is cut off.

    Args:
        settings: all that changes the numbers, by flag.
        axes: {"m": [...], "s": [...], "seed": [...]}.
    """
    own = [setting for setting in SETTINGS.values() if setting.logged and setting.name not in HEAD]
    always = [setting.in_name.format(_plain(settings[setting.name])) for setting in own if setting.in_name]
    others = [setting.name + _plain(settings[setting.name]) for setting in own
              if not setting.in_name and settings[setting.name] != setting.default]
    head = f"{settings['task']}_{settings['method']}"
    for longest in LIST_LENGTHS:
        lists = [axis + abridge(axes[axis], longest) for axis in AXES]
        tail = "_".join([always[0], *lists, *always[1:], *others])
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


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(int(value) if value == int(value) else value)


def kind(status: str) -> str:
    """DONE, NOT_RUN, SKIPPED or FAILED, of a status that may have a reason."""
    return status.partition(":")[0]


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a log, those that it lacks at their defaults."""
    usual = defaults(settings["method"])
    return {name: usual[name] for name, setting in SETTINGS.items() if setting.logged} | settings


class Log:
    """Scores and records of a sweep over m, s and seed.

    Args:
        path: of the table, without extension; None keeps the log in memory.
        settings, axes: see log_name.
        measure: how the score is called and drawn.
        environment: versions, device, ... of this run; None for a log that is only read.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any], axes: dict[str, list[int]], measure: Measure,
                 environment: dict | None = None):
        self.path, self.settings, self.axes = path, settings, axes
        self.measure, self.environment = measure, environment
        self.table = np.full([len(axes[axis]) for axis in AXES], np.nan)
        self.records = {}  # {(m, s, seed): {"status": ..., "environment": ..., "seconds": ..., ...}}
        self.environments = [environment] if environment is not None else []  # of all runs that computed cells
        self.again = set()  # finished cells that are to be run again
        self.histories: dict[Cell, history.History] | None = None  # by cell, where they are kept (sweep/history.py)

    @property
    def files(self) -> list[Path]:
        """The table and its sidecar."""
        return [self.path.with_name(self.path.name + extension) for extension in (".npy", ".json")]

    @property
    def history_path(self) -> Path:
        """The histories of all cells."""
        return self.path.with_name(self.path.name + ".history.npz")

    def cells(self) -> list[Cell]:
        """All cells (m, s, seed), the seed varying slowest: data are made once per seed."""
        return [(m, s, seed) for seed in self.axes["seed"] for m in self.axes["m"] for s in self.axes["s"]]

    def missing(self) -> list[Cell]:
        """The cells that are neither done nor skipped, or are to be run again."""
        return [cell for cell in self.cells()
                if cell in self.again or kind(self.status(cell)) not in (DONE, SKIPPED)]

    def status(self, cell: Cell) -> str:
        return self.records.get(cell, {"status": NOT_RUN})["status"]

    def record(self, cell: Cell, status: str, score: float = np.nan, **details: Any) -> None:
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
        return {"format": FORMAT, "settings": self.settings, "axes": self.axes, "score": asdict(self.measure),
                "environments": self.environments, "cells": cells}

    def model_path(self, cell: Cell) -> Path:
        """Where the network of a cell is kept: a folder beside the table, one .npz per cell."""
        return self.path.with_name(self.path.name + ".models") / "m{}_s{}_seed{}.npz".format(*cell)

    def save_model(self, cell: Cell, net: SparseNet) -> None:
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

    def save(self) -> None:
        """Replace all files, or raise LogError and leave what was there."""
        table = io.BytesIO()
        np.save(table, self.table, allow_pickle=False)
        sidecar = json.dumps(self.sidecar(), indent=1, allow_nan=False) + "\n"
        contents = dict(zip(self.files, (table.getvalue(), sidecar.encode()), strict=True))
        if self.histories is not None:
            kept = {cell: self.histories[cell] for cell in self.cells() if cell in self.histories}
            contents = {self.history_path: history.pack(kept)} | contents
        try:
            replace_files(contents)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def load(self, with_models: bool = False) -> None:
        """Take over the finished cells of the log at `path`, if there is one. Raises LogError where it is not ours.

        With models, or histories, a finished cell whose network or history was not kept is to be run again.
        """
        self._load("cannot be continued", "move the log away, choose another --expname, or use --overwrite")
        done = {cell for cell in self.records if self.status(cell) == DONE}
        if with_models:
            self.again |= {cell for cell in done if not self.model_path(cell).exists()}
        if self.histories is not None:
            self.again |= done - self.histories.keys()

    def _load(self, fault: str, remedy: str) -> None:
        """Take over the records and scores of the log at `path`, if there is one. Raises LogError."""
        if not any(map(os.path.exists, self.files)):
            return
        takes = dict(zip(self.files, (self._take_table, self._take_sidecar), strict=True))
        if self.histories is not None and self.history_path.exists():
            takes[self.history_path] = self._take_histories
        for file, take in takes.items():
            try:
                take(file.read_bytes())
            except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
                reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                raise LogError(f"{file} {fault} ({reason}): {remedy}") from None

    def adopt(self, with_models: bool = False, copy: bool = True) -> None:
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
                other = Log.read(sidecar, with_histories=self.histories is not None)
            except LogError:
                continue  # not ours to judge: it is refused when its own command is run
            if other.settings == self.settings:
                for cell in sorted(missing & set(other.records)):
                    if kind(other.status(cell)) in (DONE, SKIPPED):
                        self._adopt_cell(cell, other, with_models, copy)
        if copy and len(self.missing()) < before:
            self.save()

    def _adopt_cell(self, cell, other: Log, with_models: bool, copy: bool):
        if self.histories is not None and other.status(cell) == DONE:
            if cell not in other.histories:
                return
            self.histories[cell] = other.histories[cell]
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
    def read(cls, sidecar: Path, with_histories: bool = False) -> Log:
        """The log that a sidecar belongs to, whatever its settings, completed by the defaults. Raises LogError."""
        try:
            said = json.loads(sidecar.read_bytes())
            if len(said["cells"]) != math.prod(len(said["axes"][axis]) for axis in AXES):
                raise ValueError("a table of another size")  # before it takes up memory
            log = cls(sidecar.with_suffix(""), completed(said["settings"]), said["axes"], Measure(**said["score"]))
        except Exception as error:  # as in load
            raise LogError(f"{sidecar} is no sidecar of a log ({type(error).__name__}: {error}): {REMEDY}") from None
        log.histories = {} if with_histories else None
        log._load("cannot be read", REMEDY)
        return log

    def _take_table(self, content: bytes):
        table = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        if (table.shape, table.dtype) != (self.table.shape, self.table.dtype):
            raise ValueError(f"{table.dtype} {table.shape} where {self.table.dtype} {self.table.shape} belongs")
        self.table = table

    def _take_histories(self, content: bytes):
        """Those of the cells that are done; after a kill there may be one more."""
        self.histories = {cell: found for cell, found in history.unpack(content).items() if self.status(cell) == DONE}

    def _take_sidecar(self, content: bytes):
        """Check everything that a sidecar says, and take over the records of the cells that were run."""
        sidecar = json.loads(content)
        json.dumps(sidecar, indent=1, allow_nan=False)  # as in save; raises where a number is NaN or infinite
        said = sidecar | {"settings": completed(sidecar["settings"])}
        for key, own in {"format": FORMAT, "settings": self.settings, "axes": self.axes}.items():
            if said[key] != own:
                raise ValueError(f"it has other {key}")
        if [tuple(entry.pop(axis) for axis in AXES) for entry in sidecar["cells"]] != self.cells():
            raise ValueError("its cells are not those of its axes")
        self.environments = sidecar["environments"]
        for cell, entry in zip(self.cells(), sidecar["cells"], strict=True):
            self._take_cell(cell, entry)
        if self.environment is not None and self.environment not in self.environments:
            self.environments.append(self.environment)

    def _take_cell(self, cell, entry: dict):
        found, score = kind(entry["status"]), self.table[self._place(cell)]
        if found not in STATUSES or (found == DONE and np.isnan(score)) or entry.get("seconds", 0) < 0:
            raise ValueError(f"cell {cell} has status {entry['status']!r}, score {score}")
        if found != DONE:
            self.table[self._place(cell)] = np.nan  # saved just before its record, or of an earlier run
        if found != NOT_RUN:
            dict(self.environments[entry["environment"]])  # raises where there is none
            self.records[cell] = entry


def _unwritable(path: Path, error: OSError) -> LogError:
    return LogError(f"cannot write {path}: {error.strerror}; free space or choose another --logs_dir")


def replace_files(contents: dict[Path, bytes]) -> None:
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
