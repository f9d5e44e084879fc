"""The log of a sweep on disk: a table of scores (.npy) and a sidecar (.json) that says what every number is.

    logs/<task>/<method>/<name>.npy    float64 [len(mlist), len(slist), len(seedlist)], NaN where not run or skipped
    logs/<task>/<method>/<name>.json   settings, axes, environments (versions, commit, device), and per cell status,
                                       seconds and number of its environment

Both are replaced whole, the sidecar first, after every cell. The sidecar holds the scores, too, and digests of
the other files as they are and as they were before: a log is whole wherever a run was killed, and changed bytes are
refused. A setting that a sidecar lacks, because the log is older than the flag, has its default.

An environment says which code and which data its cells were computed with (sweep/code.py). Finished cells of other code
or data are neither continued nor adopted.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instances.task import Measure
from models import SparseNet
from shell.files import replace_files
from sweep import history
from sweep.code import changed
from sweep.names import AXES
from sweep.settings import completed
from sweep.table import DONE, SKIPPED, Cell, Table, kind

REMEDY = "move the log away, or run its command again with --overwrite"  # where a log cannot be read


class LogError(Exception):
    """A log that cannot be read, written or trusted; the message names the file and the remedy."""


class OtherCode(LogError):
    """Finished cells that other code, or other data, have given."""


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
        any_code: whether finished cells of other code are taken as they are.
        settings, axes, measure, environment: see Table.
    Attributes:
        histories: of the cells, where they are kept (sweep/history.py).
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any], axes: Mapping[str, Sequence[int]],
                 measure: Measure, environment: Mapping[str, Any] | None = None, *, with_histories: bool = False,
                 with_models: bool = False, any_code: bool = False):
        super().__init__(settings, axes, measure, environment)
        self.path, self.with_histories, self.with_models = path, with_histories, with_models
        self.any_code, self.histories = any_code, dict[Cell, history.History]()

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
        contents = {self.files[0]: self.table_bytes()}
        if self.with_histories:
            kept = {cell: self.histories[cell] for cell in self.cells() if cell in self.histories}
            contents[self.history_path] = history.pack(kept)
        files = {file.name: {"now": digest_of(content), "before": digest_of(read_or_none(file))}
                 for file, content in contents.items()}
        said = json.dumps(self.sidecar() | {"files": files}, indent=1, allow_nan=False) + "\n"
        self._write({self.files[1]: said.encode()} | contents)

    def save_model(self, cell: Cell, net: SparseNet) -> str:
        """Keep the network of a cell, and return the digest of its file for the record. Raises LogError."""
        content = io.BytesIO()
        net.save(content, self.settings | dict(zip(AXES, cell, strict=True)))
        self._write({self.model_path(cell): content.getvalue()})
        return str(digest_of(content.getvalue()))

    def _write(self, contents: dict[Path, bytes]) -> None:
        try:
            for path in contents:
                path.parent.mkdir(exist_ok=True)
            replace_files(contents)
        except OSError as error:
            raise LogError(f"cannot write {next(iter(contents))}: {error.strerror}; free space or choose another "
                           "--logs_dir") from None

    # ---- what is there ----

    def load(self) -> None:
        """Take over the finished cells of the log at `path`, if there is one. Raises LogError where it is not ours."""
        self._load("cannot be continued", "move the log away, choose another --expname, or use --overwrite")
        self._refuse([(cell, self) for cell in set(self.cells()) - set(self.missing())])
        done = {cell for cell in self.records if self.status(cell) == DONE}
        if self.with_models:
            self.again |= {cell for cell in done if self._model(cell) is None}
        if self.with_histories:
            self.again |= done - self.histories.keys()

    def _load(self, fault: str, remedy: str) -> None:
        """Take over the records and scores of the log at `path`, if there is one. Raises LogError."""
        if not any(map(os.path.exists, self.files)):
            return
        takes = dict(zip(self.files, (self.take_table, self.take_sidecar), strict=True))
        if self.with_histories and self.history_path.exists():
            takes[self.history_path] = self._take_histories
        file = self.files[1]
        try:
            known = json.loads(file.read_bytes()).get("files", {})
            for file, take in takes.items():
                content = read_or_none(file)
                check_digest(content, known.get(file.name))
                if content is not None:
                    take(content)
        except Exception as error:  # damaged bytes fail in many ways, which all mean the same here
            reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise LogError(f"{file} {fault} ({reason}): {remedy}") from None

    def _take_histories(self, content: bytes) -> None:
        """Those of the cells that are done; after a kill there may be one more."""
        self.histories = {cell: rows for cell, rows in history.unpack(content).items() if self.status(cell) == DONE}

    def _model(self, cell: Cell) -> bytes | None:
        """The file of the network of a finished cell; None where it was not kept. Raises LogError for changed bytes."""
        content, known = read_or_none(self.model_path(cell)), self.records[cell].get("model")
        if content is not None and known not in (None, digest_of(content)):
            raise LogError(f"{self.model_path(cell)} has changed since it was written: delete it and run again")
        return content

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

    # ---- cells of other logs, other code and other data ----

    def adopt(self, copy: bool = True) -> None:
        """Take over finished cells of other logs in the folder whose settings agree: a list of m, s or seeds grew.

        With networks or histories only cells that have theirs, which are copied. Then the log is saved; where `copy`
        is False, nothing is written. Raises LogError.
        """
        offers = [(cell, other) for other in self._others() for cell in other.records if self._offers(other, cell)]
        before = len(self.missing())
        for cell, other in offers:
            if cell in self.missing() and not self.differences(other, cell):
                self._adopt_cell(cell, other, copy)
        left = [(cell, other) for cell, other in offers if cell in self.missing()]
        self._refuse(left)
        for cell, other in left:
            if cell in self.missing():
                self._adopt_cell(cell, other, copy)
        if copy and len(self.missing()) < before:
            self.save()

    def _others(self) -> Iterator[Log]:
        """The other logs in the folder whose settings agree; those that cannot be read are not ours to judge."""
        for sidecar in sorted(self.files[1].parent.glob("*.json")):
            if sidecar != self.files[1] and self.missing():
                try:
                    other = Log.read(sidecar, with_histories=self.with_histories)
                except LogError:
                    continue
                if other.settings == self.settings:
                    yield other

    def _offers(self, other: Log, cell: Cell) -> bool:
        """Whether another log has a cell as this one wants it."""
        status = kind(other.status(cell))
        if cell not in self.missing() or status not in (DONE, SKIPPED):
            return False
        return status == SKIPPED or (not self.with_histories or cell in other.histories) and (
            not self.with_models or other.model_path(cell).exists())

    def _adopt_cell(self, cell: Cell, other: Log, copy: bool) -> None:
        if self.with_histories and kind(other.status(cell)) == DONE:
            self.histories[cell] = other.histories[cell]
        if self.with_models and copy and (model := other._model(cell)):
            self._write({self.model_path(cell): model})
        self.take_over(cell, other)

    def differences(self, other: Table, cell: Cell) -> list[str]:
        """What was another for a cell and decides on its numbers: files of the code, "data"; [] where nothing was."""
        own, theirs = self.environment or {}, other.environments[other.records[cell]["environment"]]
        if "code" not in own:
            return []
        data = ["data"] * (None not in (own["data"], theirs.get("data")) and own["data"] != theirs["data"])
        return data + ([] if self.any_code else changed(theirs.get("code"), own["code"]))

    def _refuse(self, cells: Sequence[tuple[Cell, Table]]) -> None:
        """Raise OtherCode where finished cells are not of this run's code and data."""
        differing = [names for cell, table in cells if (names := self.differences(table, cell))]
        if not differing:
            return
        names = sorted({name for each in differing for name in each})
        count = f"{len(differing)} finished cell{'s' if len(differing) > 1 else ''}"
        own = "give this run an --expname to have a log of its own, or start afresh with --overwrite"
        if "data" in names:
            raise OtherCode(f"{self.files[0].parent}: {count} of these settings were computed from data other than "
                            f"--data_dir; name that data's folder, {own}")
        raise OtherCode(f"{self.files[0].parent}: {count} of these settings were computed by other code "
                        f"({', '.join(names)}); {own}, or take them as they are with --any_code")


def read_or_none(file: Path) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def digest_of(content: bytes | None) -> str | None:
    """The SHA-256 of the content of a file."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def check_digest(content: bytes | None, known: Mapping[str, str | None] | None) -> None:
    """Raise ValueError for a file that is neither what its sidecar says nor what was there before.

    Args:
        known: its digests, now and before; None where an older log does not say.
    """
    if digest_of(content) not in (known.values() if known else [digest_of(content)]):
        raise ValueError("it is missing" if content is None else "it has changed since it was written")
    if content is None and not known:
        raise ValueError("it is missing")


def mixtures(logs: Iterable[Log]) -> Iterator[str]:
    """What to say where the finished cells of a task and a method are known to be of more than one code."""
    digests: dict[tuple[str, str], dict[str, set[str]]] = {}
    for log in logs:
        files = digests.setdefault((log.settings["task"], log.settings["method"]), {})
        for number in {record.get("environment") for record in log.records.values() if record["status"] == DONE}:
            for file, code in (log.environments[number].get("code") or {} if number is not None else {}).items():
                files.setdefault(file, set()).add(code)
    for (task, method), files in digests.items():
        if several := sorted(file for file, codes in files.items() if len(codes) > 1):
            yield f"note: the cells of {task}, {method} are of more than one code ({', '.join(several)})"
