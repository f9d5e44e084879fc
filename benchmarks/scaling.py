"""How time and memory grow with n, d, m and s: slopes in logarithms, each varied alone around a base point.

Called by `python -m benchmarks.speed --scaling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import floors, memory
from instances.planted import planted_problem
from numerics.workspace import Workspace
from sweep.methods import METHODS

BASE = {"n": 10000, "d": 100, "m": 100, "s": 100}
FACTORS = (1, 2, 4, 8)
SMALL, SMALL_FACTORS = {"n": 300, "d": 10, "m": 5, "s": 5}, (1, 2)
RUNS: dict[str, dict[str, Any]] = {"aiht": {"num_epochs": 15},
                                   "pruning": {"num_epochs": 5, "prune_iters": 0}}  # one round, pruned once


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent a of the power law value = c size^a that fits best in logarithms."""
    return round(float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0]), 2) + 0.0  # never -0.0


def cell_time(method: str, n: int, d: int, m: int, s: int, threads: int) -> float:
    """Median seconds of a fit of a planted network of s weights, without making the data."""
    problem, solve = planted_problem(m, s, 0, nmeasurements=n, input_dim=d), METHODS[method].solve
    with Workspace(threads) as work:
        fit = partial(solve, problem.X, problem.Y, s, width=m, work=work, **RUNS[method])
        return floors.median_seconds(fit, threads)


def table(base: dict[str, int], factors: Sequence[int], threads: int) -> Iterator[str]:
    """The lines of a table: for each method and quantity its values and their slopes; peak memory as in memory.py."""
    yield "| method | varied | values | seconds | slope | MiB | slope |\n|---|---|---|---|---|---|---|"
    for method in RUNS:
        for axis in base:
            points = [base | {axis: base[axis] * factor} for factor in factors]
            sizes = [point[axis] for point in points]
            times = [cell_time(method, **point, threads=threads) for point in points]
            peaks = [memory.in_fresh_process(method=method, **point) for point in points]
            yield (f"| {METHODS[method].title} | {axis} | {', '.join(map(str, sizes))} | "
                   f"{', '.join(f'{value:.3f}' for value in times)} | {slope(sizes, times):.2f} | "
                   f"{', '.join(f'{value:.1f}' for value in peaks)} | {slope(sizes, peaks):.2f} |")
