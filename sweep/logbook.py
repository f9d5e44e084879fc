"""The log of a sweep on disk: a table of scores (.npy) and a sidecar (.json) that says what every number is.

    logs/<task>/<method>/<name>.npy    float64 [len(mlist), len(slist), len(seedlist)], NaN where not run or skipped
    logs/<task>/<method>/<name>.json   settings, axes, environments (versions, commit, device), and per cell status,
                                       seconds and number of its environment

Both are replaced whole, the table first, after every cell. A cell counts as run only when the sidecar says so.
A setting that a sidecar lacks, because the log is older than the flag, has its default. Sweeps continue logs with what
is here, and figures read them with it (Log.read).
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instances.task import Measure
from models import SparseNet
from shell.files import replace_files
from sweep import history
from sweep.names import AXES
from sweep.settings import completed
from sweep.table import DONE, SKIPPED, Cell, Table, kind

REMEDY = "move the log away, or run its command again with --overwrite"  # where a log cannot be read


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


class Log(Table):
    """A table with its files.

    Args:
        path: of the table, without extension; None keeps the log in memory.
        with_histories, with_models: whether histories and networks of the cells are kept. A finished cell without
            them is then to be run again.
        settings, axes, measure, environment: see Table.
    Attributes:
        histories: of the cells, where they are kept (sweep/history.py).
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any], axes: Mapping[str, Sequence[int]],
                 measure: Measure, environment: Mapping[str, Any] | None = None, *, with_histories: bool = False,
                 with_models: bool = False):
        super().__init__(settings, axes, measure, environment)
        self.path, self.with_histories, self.with_models = path, with_histories, with_models
        self.histories: dict[Cell, history.History] = {}

    def _file(self, ending: str) -> Path:
        if self.path is None:
            raise ValueError("a log in memory has no files")
        return self.path.with_name(self.path.name + ending)

    @property
    def files(self) -> list[Path]:
        """The table and its sidecar."""
        return [self._file(".npy"), self._file(".json")]

    @property
    def history_path(self) -> Path:
        """The histories of all cells."""
        return self._file(".history.npz")

    def model_path(self, cell: Cell) -> Path:
        """Where the network of a cell is kept: a folder beside the table, one .npz per cell."""
        return self._file(".models") / "m{}_s{}_seed{}.npz".format(*cell)

    def save(self) -> None:
        """Replace all files, or raise LogError and leave what was there."""
        contents = dict(zip(self.files, (self.table_bytes(), self.sidecar_bytes()), strict=True))
        if self.with_histories:
            kept = {cell: self.histories[cell] for cell in self.cells() if cell in self.histories}
            contents = {self.history_path: history.pack(kept)} | contents
        self._write(contents)

    def save_model(self, cell: Cell, net: SparseNet) -> None:
        """Keep the network of a cell. Raises LogError."""
        content = io.BytesIO()
        net.save(content, self.settings | dict(zip(AXES, cell, strict=True)))
        self._write({self.model_path(cell): content.getvalue()})

    def _write(self, contents: dict[Path, bytes]) -> None:
        try:
            for path in contents:
                path.parent.mkdir(exist_ok=True)
            replace_files(contents)
        except OSError as error:
            raise LogError(f"cannot write {next(iter(contents))}: {error.strerror}; free space or choose another "
                           "--logs_dir") from None

    def load(self) -> None:
        """Take over the finished cells of the log at `path`, if there is one. Raises LogError where it is not ours."""
        self._load("cannot be continued", "move the log away, choose another --expname, or use --overwrite")
        done = {cell for cell in self.records if self.status(cell) == DONE}
        if self.with_models:
            self.again |= {cell for cell in done if not self.model_path(cell).exists()}
        if self.with_histories:
            self.again |= done - self.histories.keys()

    def _load(self, fault: str, remedy: str) -> None:
        """Take over the records and scores of the log at `path`, if there is one. Raises LogError."""
        if not any(map(os.path.exists, self.files)):
            return
        takes = dict(zip(self.files, (self.take_table, self.take_sidecar), strict=True))
        if self.with_histories and self.history_path.exists():
            takes[self.history_path] = self._take_histories
        for file, take in takes.items():
            try:
                take(file.read_bytes())
            except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
                reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                raise LogError(f"{file} {fault} ({reason}): {remedy}") from None

    def _take_histories(self, content: bytes) -> None:
        """Those of the cells that are done; after a kill there may be one more."""
        self.histories = {cell: rows for cell, rows in history.unpack(content).items() if self.status(cell) == DONE}

    @classmethod
    def read(cls, sidecar: Path, with_histories: bool = False) -> Log:
        """The log that a sidecar belongs to, whatever its settings, completed by the defaults. Raises LogError."""
        try:
            said = json.loads(sidecar.read_bytes())
            if len(said["cells"]) != math.prod(len(said["axes"][axis]) for axis in AXES):
                raise ValueError("a table of another size")  # before it takes up memory
            log = cls(sidecar.with_suffix(""), completed(said["settings"]), said["axes"], Measure(**said["score"]),
                      with_histories=with_histories)
        except Exception as error:  # as in _load
            raise LogError(f"{sidecar} is no sidecar of a log ({type(error).__name__}: {error}): {REMEDY}") from None
        log._load("cannot be read", REMEDY)
        return log

    # ---- cells of other logs ----

    def adopt(self, copy: bool = True) -> None:
        """Take over finished cells of other logs in the folder whose settings agree: a list of m, s or seeds grew.

        With networks or histories only cells that have theirs, which are copied. Then the log is saved; where `copy`
        is False, nothing is written. Raises LogError.
        """
        before = len(self.missing())
        for sidecar in sorted(self.files[1].parent.glob("*.json")):
            missing = set(self.missing())
            if sidecar == self.files[1] or not missing:
                continue
            try:
                other = Log.read(sidecar, with_histories=self.with_histories)
            except LogError:
                continue  # not ours to judge: it is refused when its own command is run
            if other.settings == self.settings:
                for cell in sorted(missing & set(other.records)):
                    self._adopt_cell(cell, other, copy)
        if copy and len(self.missing()) < before:
            self.save()

    def _adopt_cell(self, cell: Cell, other: Log, copy: bool) -> None:
        status, model = kind(other.status(cell)), other.model_path(cell)
        if status == DONE:
            if (self.with_histories and cell not in other.histories) or (self.with_models and not model.exists()):
                return
            if self.with_histories:
                self.histories[cell] = other.histories[cell]
            if self.with_models and copy:
                self._write({self.model_path(cell): model.read_bytes()})
        if status in (DONE, SKIPPED):
            self.take_over(cell, other)
