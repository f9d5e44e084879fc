"""The log of a sweep on disk: a table of scores (.npy) and a sidecar (.json) that says what every number is.

    logs/<task>/<method>/<name>.npy    float64 [len(mlist), len(slist), len(seedlist)], NaN where not run or skipped
    logs/<task>/<method>/<name>.json   settings, axes, versions, commit, device, and per cell status and seconds

Both are replaced whole, the table first, after every cell. A cell counts as run only when the sidecar says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np

FORMAT = 1
NAME_LENGTH = 195  # a name with its extension stays within 200 characters
LIST_LENGTHS = (32, 24, 0)  # longest list that a name spells out, first choice to last; longer ones are abridged

# Settings that always stand in the name, and those that do where they differ from their default.
NAMED = {"num_layers": "hidden{}", "convex": "convex{}", "batch_size": "bs{}", "bias": "bias{}",
         "num_epochs": "{}epochs"}
AXES = {"m": "mlist", "s": "slist", "seed": "seedlist"}

DONE, NOT_RUN, SKIPPED, FAILED = "done", "not run", "skipped", "failed"


class LogError(Exception):
    """A log that cannot be read, written or trusted; the message names the file and the remedy."""


def log_name(settings: dict, axes: dict, defaults: dict) -> str:
    """The file name, without extension, that tells this run from every other: letters, digits and . _ - alone.

    Args:
        settings: all that changes the numbers, by flag; task and method among them.
        axes: {"m": [...], "s": [...], "seed": [...]}.
        defaults: the settings that are named only where they differ from these.
    """
    for longest in LIST_LENGTHS:
        lists = [axis + abridge(axes[axis], longest) for axis in AXES]
        fixed = [pattern.format(_plain(settings[flag])) for flag, pattern in NAMED.items()]
        others = [flag + _plain(settings[flag]) for flag in defaults if settings[flag] != defaults[flag]]
        parts = [settings["task"], settings["method"], fixed[0], *lists, *fixed[1:], *others, settings["expname"]]
        name = "_".join(filter(None, parts))
        if len(name) <= NAME_LENGTH:
            return name
    raise LogError(f"the log's name would have {len(name)} characters, over {NAME_LENGTH}: shorten --expname")


def abridge(values: list[int], longest: int) -> str:
    """The values joined by "-"; where that is longer than `longest`, first..last, their number and a hash."""
    spelled = "-".join(map(str, values))
    if len(spelled) <= longest or len(values) == 1:
        return spelled
    return f"{values[0]}..{values[-1]}-{len(values)}x{hashlib.sha256(spelled.encode()).hexdigest()[:8]}"


def _plain(value) -> str:
    return str(int(value)) if isinstance(value, bool) or value == int(value) else str(value)


class Log:
    """Scores and records of a sweep over m, s and seed.

    Args:
        path: of the table, without extension; None keeps the log in memory.
        settings, axes: see log_name.  score: how the score is called and drawn.  environment: versions, device, ...
    """

    def __init__(self, path: Path | None, settings: dict, axes: dict, score: dict, environment: dict):
        self.path, self.settings, self.axes, self.score, self.environment = path, settings, axes, score, environment
        self.table = np.full([len(axes[axis]) for axis in AXES], np.nan)
        self.records = {}  # {(m, s, seed): {"status": ..., "seconds": ..., ...}}

    def cells(self) -> list[tuple[int, int, int]]:
        """All cells (m, s, seed), the seed varying slowest: data are made once per seed."""
        return [(m, s, seed) for seed in self.axes["seed"] for m in self.axes["m"] for s in self.axes["s"]]

    def missing(self) -> list[tuple[int, int, int]]:
        """The cells that are neither done nor skipped."""
        return [cell for cell in self.cells() if self.status(cell).split(":")[0] not in (DONE, SKIPPED)]

    def status(self, cell) -> str:
        return self.records.get(cell, {"status": NOT_RUN})["status"]

    def record(self, cell, status: str, score: float = np.nan, **details):
        """Enter one cell; `details` go into the sidecar."""
        place = tuple(self.axes[axis].index(value) for axis, value in zip(AXES, cell, strict=True))
        self.table[place] = score
        self.records[cell] = {"status": status, **details}

    def sidecar(self) -> dict:
        cells = [dict(zip(AXES, cell, strict=True)) | self.records.get(cell, {"status": NOT_RUN})
                 for cell in self.cells()]
        return {"format": FORMAT, "settings": self.settings, "axes": self.axes, "score": self.score,
                "environment": self.environment, "cells": cells}

    def save(self):
        """Replace both files, or raise LogError and leave what was there."""
        try:
            with replacing(self.path.with_name(self.path.name + ".npy")) as file:
                np.save(file, self.table, allow_pickle=False)
            with replacing(self.path.with_name(self.path.name + ".json")) as file:
                file.write((json.dumps(self.sidecar(), indent=1, allow_nan=False) + "\n").encode())
        except OSError as error:
            remedy = "free space or choose another --logs_dir"
            raise LogError(f"cannot write {self.path}: {error.strerror}; {remedy}") from None

    def load(self):
        """Take over the finished cells of the log at `path`, if there is one. Raises LogError where it is not ours."""
        files = [self.path.with_name(self.path.name + extension) for extension in (".npy", ".json")]
        if not any(file.exists() for file in files):
            return
        for file in files:
            if not file.exists():
                raise LogError(f"{file} is missing beside its twin: move the rest away, or use --overwrite")
        table, sidecar = _read_table(files[0]), _read_sidecar(files[1])
        if sidecar["settings"] != self.settings or sidecar["axes"] != self.axes or table.shape != self.table.shape:
            raise LogError(f"{files[1]} belongs to another run: choose another --expname or --logs_dir")
        for entry in sidecar["cells"]:
            cell = tuple(entry.pop(axis) for axis in AXES)
            if entry["status"] != NOT_RUN:
                self.records[cell] = entry
        self.table = table


def _read_table(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LogError(f"{file} is no table of scores ({error}): move it away, or use --overwrite") from None


def _read_sidecar(file: Path) -> dict:
    try:
        sidecar = json.loads(file.read_text())
        if sidecar["format"] != FORMAT:
            raise ValueError(f"format {sidecar['format']}")
        if not all("status" in entry and all(axis in entry for axis in AXES) for entry in sidecar["cells"]):
            raise ValueError("incomplete cells")
        return {key: sidecar[key] for key in ("settings", "axes", "cells")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LogError(f"{file} is no sidecar of a log ({error}): move it away, or use --overwrite") from None


@contextlib.contextmanager
def replacing(path: Path):
    """A binary file that takes the place of `path` when the block ends well; otherwise `path` stays as it was."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
