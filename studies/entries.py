"""The log of a study: a JSON list with an entry for each point, written after every one, so that a study resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sweep.flags import UsageError
from sweep.logbook import replace_files


def read_log(log: Path, keys: Iterable[str] = ()) -> list[dict]:
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


def computed(points: list[dict], run: Callable[[dict], dict], log: Path) -> Iterator[dict]:
    """The entry of each point: its items and those of run(point). What the log lacks is run, and kept there at once."""
    kept = read_log(log, points[0] if points else ())
    for point in points:
        entry = next((entry for entry in kept if point.items() <= entry.items()), None)
        if entry is None:
            entry = point | run(point)
            kept.append(entry)
            replace_files({log: (json.dumps(kept) + "\n").encode()})
        yield entry
