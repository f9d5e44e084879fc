"""What a task is: its options, how its score is measured and drawn, and one instance of it.

A task of one's own is a class derived from Task and an entry in the table TASKS of tasks.py; see docs/extending.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from instances import files
from models import SparseNet
from numerics.sparse import SparseVector
from options import Options


class Skipped(Exception):
    """This cell of the grid has no meaningful instance; the message is the reason that is recorded."""


@dataclass(frozen=True)
class Problem:
    """One instance of a network task."""

    X: np.ndarray  # inputs [n, d] float32, feature-major (X.T is contiguous)
    Y: np.ndarray  # targets [n] or [n, k] float32
    X_eval: np.ndarray  # what the score is taken on: a test set, or X and Y again
    Y_eval: np.ndarray
    loss: str = "squared"  # or "cross_entropy" (Y one-hot)
    peak: float | None = None  # of the PSNR; None where the score is an accuracy
    planted: SparseNet | None = None  # the network that gave the targets, where there is one
    clean: np.ndarray | None = None  # the targets without their noise, where they have some


@dataclass(frozen=True)
class SignalProblem:
    """One instance of gaussian_sparse: y [n] = A w for the sensing matrix of `seed` and a sparse w [p]."""

    seed: int
    y: np.ndarray
    w: SparseVector


def feature_major(X: np.ndarray) -> np.ndarray:
    """X [n, d] with X.T contiguous, read-only: all cells of a seed share it."""
    X = np.asfortranarray(X)
    X.flags.writeable = False
    return X


@dataclass(frozen=True)
class Measure:
    """What a score, or another number of the cells, is called, and how it is drawn and compared."""

    name: str = "score"
    unit: str = ""
    range: tuple[float, float] | None = None  # of the colours of a heatmap; None takes it from the data
    scale: str = "linear"  # or "log"; ValueError for another, and for a range that does not suit it
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log"):
            raise ValueError(f"score scale {self.scale!r} is neither linear nor log")
        object.__setattr__(self, "range", self.range and tuple(self.range))  # a log has it as a list
        low, high = self.range or (1, 2)
        if not -math.inf < low < high < math.inf or (self.scale == "log" and low <= 0):
            raise ValueError(f"score range {self.range} does not suit a {self.scale} scale")


@dataclass(frozen=True)
class Task(Options, ABC):
    """A task with the values of its options, which the class of a task declares as fields.

    Class attributes:
        summary: a line for --help.
        measure: name, unit and range of its score.
        exact: the score beyond which a fit counts as exact recovery, where there is such a thing.
        loss: "squared" or "cross_entropy", of which a fit makes the mean least.
        depends_on_s: whether the data depend on the number of nonzeros.
        is_network: whether a network is fitted; a sparse vector otherwise.
        is_planted: whether a sparse network made the targets.
        image_shape: shape of the fitted image, (rows, columns) or (channels, rows, columns), where there is one.
    """

    summary: ClassVar[str]
    measure: ClassVar[Measure]
    exact: ClassVar[float | None] = None
    loss: ClassVar[str] = "squared"
    depends_on_s: ClassVar[bool] = False
    is_network: ClassVar[bool] = True
    is_planted: ClassVar[bool] = False
    image_shape: ClassVar[tuple[int, ...] | None] = None

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of training samples n."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Number of inputs d; of a signal task 0, since the width m is the length of the signal."""

    @property
    def outputs(self) -> int:
        """Number of outputs k."""
        return 1

    @property
    def is_signed(self) -> bool:
        """Whether one output is a difference of neurons, which sums of neurons cannot fit."""
        return False

    @property
    def dataset(self) -> str | None:
        """The files that it needs, a name in instances/files.py."""
        return None

    def read(self, data_dir: Path) -> None:
        """Read the data set, and check that it holds what the task needs. Raises files.DataError."""
        if self.dataset:
            files.READERS[self.dataset](data_dir)

    def data_digest(self, data_dir: Path) -> str | None:
        """A digest of the data that it reads; None where it reads none. Other data never continue a log."""
        return files.data_digest(self.dataset, data_dir) if self.dataset else None

    def skips(self, m: int, s: int, seed: int, *, num_layers: int) -> str | None:
        """Why a cell has no meaningful instance, as far as that is known without building it; None if it has."""
        return None

    @abstractmethod
    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem | SignalProblem:
        """The instance of a cell; raises Skipped.

        Args:
            m, s, seed: of the cell.  num_layers: of the network that is fitted.  data_dir: folder of the data sets.
        """
