"""What studies that keep what they compute share: their options, and the log, which is written after every point.

The log is a JSON list with an entry for each point: a study that is called again computes what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options import FOLDER, SEED, SIZE, ListOf, option
from shell.command import Drawing
from shell.files import check_writable, replace_files
from shell.program import UsageError

Entry = dict[str, Any]  # what JSON holds


@dataclass(frozen=True)
class Computed(Drawing):
    """The options of a study that keeps what it computes."""

    seedlist: tuple[int, ...] = option((0, 1, 2), ListOf(SEED), "seeds")
    threads: int = option(2, SIZE, "CPU threads")
    logs_dir: str = option("logs", FOLDER, "results go to this study's folder in here")

    def folders(self, study: str) -> tuple[Path, Path]:
        """The folders of the log and of the figures, made before any work. Raises UsageError."""
        return check_writable(Path(self.logs_dir, study), "--logs_dir"), self.figures()


def read_log(log: Path, keys: Iterable[str] = ()) -> list[Entry]:
    """The entries, none where there is no such file. Raises UsageError, also where an entry lacks one of the keys."""
    try:
        entries = json.loads(log.read_bytes()) if log.exists() else []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("it is no list of entries")
        if lacking := sorted({key for entry in entries for key in set(keys) - set(entry)}):
            raise ValueError(f"an entry has no {', '.join(lacking)}")
        return entries
    except ValueError as error:
        raise UsageError(f"argument --logs_dir: {log} cannot be continued ({error}); move it away") from None


def computed(points: list[Entry], run: Callable[[Entry], Entry], log: Path) -> Iterator[Entry]:
    """The entry of each point: its items and those of run(point). What the log lacks is run, and kept there at once."""
    kept = read_log(log, points[0])
    for point in points:
        entry = next((entry for entry in kept if point.items() <= entry.items()), None)
        if entry is None:
            entry = point | run(point)
            kept.append(entry)
            replace_files({log: (json.dumps(kept) + "\n").encode()})
        yield entry
