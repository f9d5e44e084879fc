"""How long cells will take, by the seconds of cells like them in the logs at hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sweep.logbook import Log, LogError
from sweep.machine import ROOT
from sweep.settings import Settings
from sweep.table import DONE

Known = dict[tuple[int, int], float]  # {(m, s): median seconds of a cell, over seeds and logs}


def known_seconds(log: Log, settings: Settings) -> Known:
    """What is known of cells of this log's task, method and settings, from --logs_dir and from logs/reference.

    The expname may be another one. The machines and numbers of threads may be, too, so that it is a rough guide.
    """
    found: dict[tuple[int, int], list[float]] = {}
    for folder in dict.fromkeys([Path(settings.run.logs_dir).resolve(), ROOT / "logs" / "reference"]):
        for sidecar in sorted((folder / settings.grid.task / settings.grid.method).glob("*.json")):
            try:
                other = Log.read(sidecar)
            except LogError:
                continue  # --dry_run judges no other logs
            if other.settings | {"expname": ""} != log.settings | {"expname": ""}:
                continue
            for (m, s, _), record in other.records.items():
                if record["status"] == DONE and "seconds" in record:
                    found.setdefault((m, s), []).append(record["seconds"])
    return {cell: float(np.median(seconds)) for cell, seconds in found.items()}


def nearest(m: int, s: int, known: Known) -> tuple[tuple[int, int], float]:
    """The known cell whose m and s are nearest, as ratios, and its seconds."""
    cell = min(known, key=lambda cell: abs(math.log(cell[0] / m)) + abs(math.log(cell[1] / s)))
    return cell, known[cell]


def duration(seconds: float) -> str:
    """For example "0.3 s", "4 min" or "2.5 h"."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
