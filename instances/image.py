"""One image as a function of its pixel coordinates, seen through random Fourier features."""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from instances import files
from instances.files import TEST_PER_CLASS, class_split
from instances.task import Measure, Problem, Task, feature_major
from numerics.arrays import DTYPE
from options import option, whole

FOURIER_FEATURES = 750  # frequencies of an INR; sine and cosine of each make 1500 inputs (the paper's value)
MNIST_FREQUENCY, CIFAR_FREQUENCY = 2.0, 5.0  # standard deviation of the frequencies, per pixel (the paper's values)
CHANNEL_FREQUENCY = 0.05  # and per channel
INR_IMAGE = 1000  # number of the fitted image (the paper's choice)
NUM_IMAGES = 2 * TEST_PER_CLASS  # that it is chosen among


@dataclass(frozen=True)
class ImageTask(Task):
    """One image, a sample for each value of its pixels."""

    measure = Measure("PSNR", "dB", (0, 50))
    image_shape: ClassVar[tuple[int, ...]]

    image: int = option(INR_IMAGE, whole(0, NUM_IMAGES - 1), "number of the image, among the test images of the first "
                        "two classes", words="image {}")

    @property
    def samples(self) -> int:
        return math.prod(self.image_shape)

    @property
    def inputs(self) -> int:
        return 2 * FOURIER_FEATURES

    @abstractmethod
    def pixels(self, data_dir: Path) -> np.ndarray:
        """The fitted image, of the shape `image_shape`, values in 0..1. Raises files.DataError."""

    def read(self, data_dir: Path) -> None:
        self.pixels(data_dir)  # kept for the cells


@dataclass(frozen=True)
class InrMnist(ImageTask):
    """A digit."""

    summary = "one MNIST image from its pixel coordinates"
    image_shape = (28, 28)

    @property
    def dataset(self) -> str:
        return "mnist"

    def pixels(self, data_dir: Path) -> np.ndarray:
        return mnist_image(data_dir, self.image)

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem:
        return image_problem(self.pixels(data_dir), grid_features((28, 28), seed))


@dataclass(frozen=True)
class InrCifar10(ImageTask):
    """An airplane or an automobile."""

    summary = "one CIFAR-10 image from its pixel coordinates"
    image_shape = (3, 32, 32)

    @property
    def dataset(self) -> str:
        return "cifar10"

    def pixels(self, data_dir: Path) -> np.ndarray:
        return cifar_image(data_dir, self.image)

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem:
        return image_problem(self.pixels(data_dir), grid_features((32, 32, 3), seed))


@functools.lru_cache(maxsize=1)
def mnist_image(data_dir: Path, number: int = INR_IMAGE) -> np.ndarray:
    """A digit [28, 28], values in 0..1: the zeros of the test split come first, then its ones."""
    _, (images, _) = class_split(*files.read_mnist(data_dir), range(2))
    return images[number] / 255


@functools.lru_cache(maxsize=1)
def cifar_image(data_dir: Path, number: int = INR_IMAGE) -> np.ndarray:
    """An airplane or automobile [3, 32, 32], values in 0..1, of those of the test batch in stored order."""
    *_, images, labels = files.read_cifar10(data_dir)
    if (count := np.count_nonzero(labels < 2)) <= number:
        raise files.DataError(f"the test batch has {count} airplanes and automobiles where image {number} is "
                              "fitted; get the whole data set")
    return images[labels < 2][number] / 255


def image_problem(pixels: np.ndarray, X: np.ndarray) -> Problem:
    """Fit the pixels, values in 0..1, as a function of the features X of their coordinates."""
    y = pixels.ravel().astype(DTYPE)
    return Problem(X, y, X, y, peak=1.0)


@functools.lru_cache(maxsize=1)
def grid_features(shape: tuple[int, int] | tuple[int, int, int], seed: int) -> np.ndarray:
    """Fourier features [pixels, 1500] of (row, column) or, with a channel, (row, column, channel); published draw."""
    rng = np.random.RandomState(seed)
    B = rng.normal(size=(FOURIER_FEATURES, 2))
    if len(shape) == 2:
        coordinates = np.indices(shape).reshape(2, -1).T
        return fourier_features(coordinates, B * MNIST_FREQUENCY)
    rows, columns, channels = shape
    channel, row, column = np.indices((channels, rows, columns)).reshape(3, -1)
    B = np.column_stack([B * CIFAR_FREQUENCY, rng.normal(size=FOURIER_FEATURES) * CHANNEL_FREQUENCY])
    return fourier_features(np.column_stack([row, column, channel]), B)


def fourier_features(coordinates: np.ndarray, B: np.ndarray) -> np.ndarray:
    """[sin(2 pi c B'), cos(2 pi c B')] for coordinates c [n, 2 or 3] and frequencies B [750, 2 or 3]."""
    phase = 2 * np.pi * coordinates @ B.T
    return feature_major(np.hstack([np.sin(phase), np.cos(phase)]).astype(DTYPE))
