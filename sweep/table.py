"""The cells of a sweep in memory: a table of scores, and a record of each cell that was run."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from instances.task import Measure
from sweep.names import AXES
from sweep.settings import completed

FORMAT = 1
STATUSES = DONE, NOT_RUN, SKIPPED, FAILED = "done", "not run", "skipped", "failed"  # a reason may follow after ":"

Cell = tuple[int, int, int]  # m, s, seed
Record = dict[str, Any]  # what the sidecar says of a cell: status, number of its environment, seconds, ...


def kind(status: str) -> str:
    """DONE, NOT_RUN, SKIPPED or FAILED, of a status that may have a reason."""
    return status.partition(":")[0]


class Table:
    """Scores and records of a sweep over m, s and seed.

    Args:
        settings: all that changes the numbers, by flag, task and method among them.
        axes: {"m": [...], "s": [...], "seed": [...]}.
        measure: name, unit and range of the score.
        environment: versions, device, ... of this run; None for a table that is only read.
    Attributes:
        table: float64 [m, s, seed], NaN where there is no score.
        records: {(m, s, seed): Record} of the cells that were run.
        environments: of all runs that computed cells.
        again: finished cells that are to be run again.
    """

    def __init__(self, settings: Mapping[str, Any], axes: Mapping[str, Sequence[int]], measure: Measure,
                 environment: Mapping[str, Any] | None = None):
        self.settings, self.axes = dict(settings), {axis: list(values) for axis, values in axes.items()}
        self.measure, self.environment = measure, environment
        self.table = np.full([len(axes[axis]) for axis in AXES], np.nan)
        self.records: dict[Cell, Record] = {}
        self.environments: list[Mapping[str, Any]] = [environment] if environment is not None else []
        self.again: set[Cell] = set()

    def cells(self) -> list[Cell]:
        """All cells (m, s, seed), the seed varying slowest: data are made once per seed."""
        return [(m, s, seed) for seed in self.axes["seed"] for m in self.axes["m"] for s in self.axes["s"]]

    def missing(self) -> list[Cell]:
        """The cells that are neither done nor skipped, or are to be run again."""
        return [cell for cell in self.cells()
                if cell in self.again or kind(self.status(cell)) not in (DONE, SKIPPED)]

    def status(self, cell: Cell) -> str:
        """What became of a cell."""
        return self.records.get(cell, {"status": NOT_RUN})["status"]

    def score(self, cell: Cell) -> float:
        """Its score, NaN where there is none."""
        return float(self.table[self._place(cell)])

    def record(self, cell: Cell, status: str, score: float = np.nan, **details: Any) -> None:
        """Enter one cell; `details` go into the sidecar."""
        environment = next(place for place, each in enumerate(self.environments) if each == self.environment)
        self.enter(cell, {"status": status, "environment": environment, **details}, score)

    def enter(self, cell: Cell, record: Record, score: float) -> None:
        """Enter the record of one cell, and its score."""
        self.table[self._place(cell)] = score
        self.records[cell] = record
        self.again.discard(cell)

    def take_over(self, cell: Cell, other: Table) -> None:
        """Enter one cell of another table."""
        environment = other.environments[other.records[cell]["environment"]]
        if environment not in self.environments:
            self.environments.append(environment)
        place = self.environments.index(environment)
        self.enter(cell, other.records[cell] | {"environment": place}, other.score(cell))

    def _place(self, cell: Cell) -> tuple[int, int, int]:
        m, s, seed = cell
        return self.axes["m"].index(m), self.axes["s"].index(s), self.axes["seed"].index(seed)

    # ---- to and from the bytes of files ----

    def table_bytes(self) -> bytes:
        """The content of the .npy file."""
        content = io.BytesIO()
        np.save(content, self.table, allow_pickle=False)
        return content.getvalue()

    def sidecar(self) -> dict[str, Any]:
        """What the .json file says."""
        return {"format": FORMAT, "settings": self.settings, "axes": self.axes, "score": asdict(self.measure),
                "environments": self.environments, "cells": [self._entry(cell) for cell in self.cells()]}

    def _entry(self, cell: Cell) -> Record:
        """What the sidecar says of a cell; its score too, as text where JSON has no number for it."""
        named, score = dict(zip(AXES, cell, strict=True)), self.score(cell)
        if cell not in self.records:
            return {**named, "status": NOT_RUN}
        shown = {} if np.isnan(score) else {"score": score if np.isfinite(score) else str(score)}
        return named | shown | self.records[cell]

    def take_table(self, content: bytes) -> None:
        """Take over the scores of a .npy file. Raises ValueError, or what a damaged file raises."""
        table = read_table(content)
        if (table.shape, table.dtype) != (self.table.shape, self.table.dtype):
            raise ValueError(f"{table.dtype} {table.shape} where {self.table.dtype} {self.table.shape} belongs")
        self.table = table

    def take_sidecar(self, content: bytes) -> None:
        """Check everything that a .json file says, and take over the records of the cells that were run.

        The table comes first, which has the scores that an old file does not have. Raises ValueError, or what a
        damaged file raises.
        """
        sidecar = json.loads(content)
        json.dumps(sidecar, allow_nan=False)  # raises where a number is NaN or infinite
        said = sidecar | {"settings": completed(sidecar["settings"])}
        for key, own in {"format": FORMAT, "settings": self.settings, "axes": self.axes}.items():
            if said[key] != own:
                raise ValueError(f"it has other {key}")
        if [tuple(entry.pop(axis) for axis in AXES) for entry in sidecar["cells"]] != self.cells():
            raise ValueError("its cells are not those of its axes")
        self.environments = sidecar["environments"]
        for cell, entry in zip(self.cells(), sidecar["cells"], strict=True):
            self._take_record(cell, entry)
        if self.environment is not None and self.environment not in self.environments:
            self.environments.append(self.environment)

    def _take_record(self, cell: Cell, entry: Record) -> None:
        status, score = kind(entry["status"]), float(entry.pop("score", self.score(cell)))
        if status not in STATUSES or (status == DONE and np.isnan(score)) or entry.get("seconds", 0) < 0:
            raise ValueError(f"cell {cell} has status {entry['status']!r}, score {score}")
        self.table[self._place(cell)] = score if status == DONE else np.nan
        if status != NOT_RUN:
            dict(self.environments[entry["environment"]])  # raises where there is none
            self.records[cell] = entry


def read_table(content: bytes) -> np.ndarray:
    """The array in a .npy file, which must end with it. Raises ValueError, or what a damaged file raises."""
    file = io.BytesIO(content)
    table = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise ValueError("there are bytes after its last number")
    return table
