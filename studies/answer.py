"""What a yardstick gives for a budget of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from instances.task import Problem, Task


@dataclass(frozen=True)
class Answer:
    """Predictions on X_eval, how many numbers they take, and what was chosen."""

    outputs: np.ndarray  # [n_eval] or [n_eval, k]
    numbers: int
    chosen: str


Find = Callable[[int], Answer]  # at most so many numbers -> what is found with them
Prepare = Callable[[Task, Problem, int, Sequence[int]], Find]  # task, problem, seed, the s that are asked for


def held_out(n: int, seed: int) -> np.ndarray:
    """Which of n training samples choices are made on: every sixth, which takes as many of every class."""
    return np.arange(n) % 6 == seed % 6
