"""Digits and photographs as classification: the first images of each class, flat, with 0/1 or one-hot targets."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instances import files
from instances.files import TRAIN_PER_CLASS, Split, class_split
from instances.task import Measure, Problem, Task, feature_major
from numerics.arrays import DTYPE
from options import SWITCH, option


@dataclass(frozen=True)
class Classification(Task):
    """Images of a few classes: two with targets 0 and 1, more with one-hot targets and cross-entropy."""

    measure = Measure("test accuracy", range=(0.5, 1))

    bias: bool = option(False, SWITCH, "append a constant 1 to the inputs", words="bias")

    num_classes = 2
    pixels = 28 * 28

    @property
    def samples(self) -> int:
        return self.num_classes * TRAIN_PER_CLASS

    @property
    def inputs(self) -> int:
        return self.pixels + self.bias

    @property
    def dataset(self) -> str:
        return "mnist"

    def read(self, data_dir: Path) -> None:
        self.build(1, 1, 0, num_layers=1, data_dir=data_dir)  # kept for the cells

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem:
        return mnist_problem(data_dir, self.num_classes, self.bias)


@dataclass(frozen=True)
class BinaryMnist(Classification):
    """The digits 0 and 1."""

    summary = "digits 0 and 1"


@dataclass(frozen=True)
class Mnist(Classification):
    """All digits."""

    summary = "ten digits"
    measure = Measure("test accuracy", range=(0.1, 1))
    loss = "cross_entropy"
    num_classes = 10

    @property
    def outputs(self) -> int:
        return self.num_classes


@dataclass(frozen=True)
class BinaryCifar10(Classification):
    """The first two classes of CIFAR-10."""

    summary = "airplanes and automobiles"
    pixels = 3 * 32 * 32

    @property
    def dataset(self) -> str:
        return "cifar10"

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem:
        return cifar_problem(data_dir, self.bias)


@functools.lru_cache(maxsize=1)
def mnist_problem(data_dir: Path, num_classes: int, bias: bool) -> Problem:
    """The first digits, pixels 0..255: the paper's step sizes depend on that scale. `bias`: see classification."""
    train, test = class_split(*files.read_mnist(data_dir), range(num_classes))
    return classification(train, test, num_classes, bias)


@functools.lru_cache(maxsize=1)
def cifar_problem(data_dir: Path, bias: bool) -> Problem:
    """Airplanes and automobiles, each channel standardised with the mean and deviation of the training images."""
    images, labels, test_images, test_labels = files.read_cifar10(data_dir)
    train, test = class_split(np.concatenate([images, test_images]), np.concatenate([labels, test_labels]), range(2))
    pixels = train[0] / DTYPE(255)
    mean, deviation = (f(pixels, axis=(0, 2, 3), keepdims=True, dtype=np.float64) for f in (np.mean, np.std))
    train, test = (((part / 255 - mean) / deviation, labels) for part, labels in (train, test))
    return classification(train, test, 2, bias)


def classification(train: Split, test: Split, num_classes: int, bias: bool) -> Problem:
    """Flat images and 0/1 targets for two classes, else one-hot targets and cross-entropy.

    Args:
        train, test: images [n, ...] and labels [n].  bias: whether a constant 1 is appended to the inputs.
    """

    def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
        images, labels = split
        X = images.reshape(len(images), -1).astype(DTYPE)
        Y = labels if num_classes == 2 else labels[:, None] == np.arange(num_classes)
        return feature_major(np.pad(X, [(0, 0), (0, int(bias))], constant_values=1)), Y.astype(DTYPE)

    return Problem(*arrays(train), *arrays(test), loss="squared" if num_classes == 2 else "cross_entropy")
