"""The fitting tasks: the table TASKS, what builds their instances, and THE score, one function for every method.

A task is one entry of the table: what it is, how its score is measured and drawn, and a function that builds one
instance. Data are generated or read once per process and seed, not once per cell.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from datasets import TRAIN_PER_CLASS, Split, class_split
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from sensing import GaussianSensing

FOURIER_FEATURES = 750  # frequencies of an INR; sine and cosine of each make 1500 inputs (the paper's value)
MNIST_FREQUENCY, CIFAR_FREQUENCY = 2.0, 5.0  # standard deviation of the frequencies, per pixel (the paper's values)
CHANNEL_FREQUENCY = 0.05  # and per channel
INR_IMAGE = 1000  # number of the fitted image in the test split (the paper's choice)
INPUT_DISTS = ("normal", "uniform", "rademacher", "mnist")  # of the planted task's inputs, see planted_inputs
MNIST_LIMITS = {"nmeasurements": TRAIN_PER_CLASS * 10, "input_dim": 716}  # training images; pixels that vary in them


@dataclass(frozen=True)
class Measure:
    """What a score, or another number of the cells, is called, and how it is drawn and compared."""

    name: str = "score"
    unit: str = ""
    range: tuple[float, float] | None = None  # of the colours of a heatmap; None takes it from the data
    scale: str = "linear"  # or "log"; ValueError for another, and for a range that does not suit it
    higher_is_better: bool = True

    def __post_init__(self):
        if self.scale not in ("linear", "log"):
            raise ValueError(f"score scale {self.scale!r} is neither linear nor log")
        object.__setattr__(self, "range", self.range and tuple(self.range))  # a log has it as a list
        low, high = self.range or (1, 2)
        if not -math.inf < low < high < math.inf or (self.scale == "log" and low <= 0):
            raise ValueError(f"score range {self.range} does not suit a {self.scale} scale")


def always(value: Any) -> Callable[[Any], Any]:
    """The function of the settings whose value is always the same."""
    return lambda settings: value


@dataclass(frozen=True)
class Task:
    """An entry of the table; the functions take the settings of a run, an object with the flags as attributes."""

    summary: str  # a line for --help
    measure: Measure  # what its score is called, and how it is drawn
    build: Callable[[Any, int, int, int], Problem | SignalProblem]  # (settings, m, s, seed) of a cell; raises Skipped
    samples: Callable[[Any], int]  # number of training samples n
    exact: float | None = None  # the score beyond which a fit counts as exact recovery, where there is such a thing
    settings: tuple[str, ...] = ()  # those declared for other tasks that have an effect on this one, too
    methods: tuple[str, ...] = ()  # that can solve it; () for all
    outputs: Callable[[Any], int] = always(1)  # number of outputs k
    dataset: Callable[[Any], str | None] = always(None)  # the files that it needs, a name in datasets.py
    depends_on_s: bool = False  # whether the data do
    is_network: bool = True  # whether a network is fitted; a vector otherwise
    image: tuple[int, ...] | None = None  # shape of the fitted image, (rows, columns) or (channels, rows, columns)


IMAGE = Measure("PSNR", "dB", (0, 50))
BINARY = Measure("test accuracy", range=(0.5, 1))
CLASSES = Measure("test accuracy", range=(0.1, 1))
ERROR = Measure("relative l2 error", range=(1e-8, 1), scale="log", higher_is_better=False)

TASKS = {  # what builds the instances stands below
    "mlp_planted": Task(
        "a random sparse network", Measure("PSNR", "dB", (-20, 50)),
        build=lambda settings, m, s, seed: mlp_planted(settings, m, s, seed),
        samples=lambda settings: settings.nmeasurements, outputs=lambda settings: settings.output_dim,
        dataset=lambda settings: "mnist" if settings.input_dist == "mnist" else None,
        exact=100.0,  # dB; single precision ends at 145
        depends_on_s=True),
    "gaussian_sparse": Task(
        "a sparse vector, Gaussian sensing matrix", ERROR,
        build=lambda settings, m, s, seed: gaussian_sparse(settings, m, s, seed),
        samples=lambda settings: settings.nmeasurements,
        exact=1e-4, methods=("aiht",), depends_on_s=True, is_network=False),
    "binary_mnist": Task(
        "digits 0 and 1", BINARY,
        build=lambda settings, m, s, seed: mnist_problem(settings.data_dir, 2, settings.bias),
        samples=always(2 * TRAIN_PER_CLASS), dataset=always("mnist")),
    "mnist": Task(
        "ten digits", CLASSES,
        build=lambda settings, m, s, seed: mnist_problem(settings.data_dir, 10, settings.bias),
        samples=always(10 * TRAIN_PER_CLASS), outputs=always(10), dataset=always("mnist")),
    "binary_cifar10": Task(
        "airplanes and automobiles", BINARY,
        build=lambda settings, m, s, seed: cifar_problem(settings.data_dir, settings.bias),
        samples=always(2 * TRAIN_PER_CLASS), dataset=always("cifar10")),
    "inr_mnist": Task(
        "one MNIST image from its pixel coordinates", IMAGE,
        build=lambda settings, m, s, seed: image_problem(
            mnist_image(settings.data_dir), grid_features((28, 28), seed)),
        samples=always(28 * 28), dataset=always("mnist"), image=(28, 28)),
    "inr_cifar10": Task(
        "one CIFAR-10 image from its pixel coordinates", IMAGE,
        build=lambda settings, m, s, seed: image_problem(
            cifar_image(settings.data_dir), grid_features((32, 32, 3), seed)),
        samples=always(3 * 32 * 32), dataset=always("cifar10"), image=(3, 32, 32)),
}


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


def score(problem: Problem | SignalProblem, outputs: np.ndarray | SparseVector) -> float:
    """THE score of a fit. FloatingPointError where predictions are not finite: as classes they would score as chance.

    Args:
        outputs: predictions on X_eval, [n_eval] or [n_eval, k]; for a SignalProblem the recovered SparseVector.
    Returns:
        PSNR = 20 log10 peak - 10 log10 MSE in dB, +inf for an exact fit; the accuracy, at threshold 0.5 or of the
        largest of k outputs; for a SignalProblem the relative l2 error |w_hat - w| / |w|, where lower is better.
    """
    predicted = outputs.values if isinstance(problem, SignalProblem) else outputs
    if bad := np.size(predicted) - np.count_nonzero(np.isfinite(predicted)):
        raise FloatingPointError(f"{bad} of {np.size(predicted)} predictions are not finite")
    if isinstance(problem, SignalProblem):
        error = outputs.toarray().astype(np.float64) - problem.w.toarray()
        return float(np.linalg.norm(error) / np.linalg.norm(problem.w.values))
    if problem.peak is None:
        return float(np.mean(decide(outputs) == decide(problem.Y_eval)))
    error = np.asarray(outputs, dtype=np.float64) - problem.Y_eval
    with np.errstate(divide="ignore"):  # an exact fit has infinite PSNR
        return float(20 * np.log10(problem.peak) - 10 * np.log10(np.mean(error**2)))


def decide(outputs: np.ndarray) -> np.ndarray:
    """The class [n] of each sample, from outputs [n] or [n, k]."""
    return outputs > 0.5 if outputs.ndim == 1 else outputs.argmax(axis=1)


def support_error(problem: SignalProblem, w: SparseVector) -> float:
    """|S_hat xor S| / (2 s): 0 for the right support, 1 for a disjoint one of the same size."""
    return len(np.setxor1d(w.indices, problem.w.indices)) / (2 * len(problem.w))


@functools.lru_cache(maxsize=1)
def planted_inputs(dist: str, n: int, d: int, seed: int, data_dir: Path | None = None) -> np.ndarray:
    """X [n, d], every input of mean 0 and variance 1: over the distribution, or for mnist over all training images.

    normal is the published draw. uniform and rademacher have independent entries too; mnist takes n different images.
    """
    rng = Stream.INPUTS.generator(seed)
    if dist == "normal":
        X = np.random.RandomState(seed + 2).normal(size=(n, d))
    elif dist == "uniform":
        X = rng.uniform(-(3**0.5), 3**0.5, size=(n, d))
    elif dist == "rademacher":
        X = rng.choice([-1.0, 1.0], size=(n, d))
    else:
        pixels = mnist_pixels(data_dir, d)
        X = pixels[rng.choice(len(pixels), n, replace=False)]
    return _feature_major(X.astype(DTYPE))


@functools.lru_cache(maxsize=1)
def mnist_pixels(data_dir: Path, d: int) -> np.ndarray:
    """The d pixels of largest variance, in the order of the image, of all training images: [50000, d], standardised.

    Raises ValueError where fewer than d pixels vary.
    """
    (images, _), _ = class_split(*datasets.read_mnist(data_dir), range(10))
    pixels = np.ascontiguousarray(images.reshape(len(images), -1).T)  # [784, 50000]
    deviation = np.array([pixel.std() for pixel in pixels])
    chosen = np.sort(np.argsort(-deviation, kind="stable")[:d])
    if not deviation[chosen].all():
        raise ValueError(f"{np.count_nonzero(deviation)} of {len(pixels)} pixels vary, fewer than input_dim {d}")
    pixels = pixels[chosen] - pixels[chosen].mean(axis=1, keepdims=True)
    return (pixels / deviation[chosen, None]).astype(DTYPE).T


def planted_net(d: int, m: int, k: int, num_layers: int, s: int, seed: int) -> SparseNet:
    """The planted network: L matrices when k = 1 (the last activations are summed), else L + 1, with equal budgets.

    The published draw: per matrix [inputs, outputs] the support, as flat indices into that shape, then the values.
    """
    rng = np.random.RandomState(seed + 1)
    shapes = [(d, m)] + [(m, m)] * (num_layers - 1) + [(m, k)] * (k > 1)
    layers = []
    for fan_in, fan_out in shapes:
        support = rng.choice(fan_in * fan_out, min(s // len(shapes), fan_in * fan_out), replace=False)
        values = rng.normal(size=len(support)).astype(DTYPE)
        feature, neuron = np.divmod(support, fan_out)
        flat = neuron * fan_in + feature
        order = np.argsort(flat)
        layers.append(SparseLayer(SparseVector(flat[order], values[order], fan_in * fan_out), fan_out, fan_in))
    return SparseNet(tuple(layers[:num_layers]), layers[-1] if k > 1 else None)


def mlp_planted(settings: Any, m: int, s: int, seed: int) -> Problem:
    """Random inputs, targets from a random sparse network of the fitted shape; no test set. Raises Skipped."""
    if settings.num_layers > 1 and m * m < s // settings.num_layers:
        raise Skipped(f"a layer of {m} x {m} weights cannot hold {s // settings.num_layers} nonzeros")
    net = planted_net(settings.input_dim, m, settings.output_dim, settings.num_layers, s, seed)
    X = planted_inputs(settings.input_dist, settings.nmeasurements, settings.input_dim, seed, settings.data_dir)
    if settings.planted_signs:
        net = replace(net, output=random_signs(m, seed))
    Y = net.predict(X).astype(DTYPE)
    peak = float(np.abs(Y).max())
    if peak == 0:
        raise Skipped("the labels are all zero")
    clean = None
    if settings.snr is not None:
        clean, Y = Y, add_noise(Y, settings.snr, seed)
    return Problem(X, Y, X, Y, peak=peak, planted=net, clean=clean)


def random_signs(m: int, seed: int) -> SparseLayer:
    """Output weights V' [1, m], +1 or -1 with equal chances. They are not counted as weights."""
    signs = Stream.SIGNS.generator(seed).choice([-1.0, 1.0], m).astype(DTYPE)
    return SparseLayer(SparseVector(np.arange(m), signs, m), 1, m)


def add_noise(Y: np.ndarray, snr: float, seed: int) -> np.ndarray:
    """Targets [n] or [n, k] with white Gaussian noise whose power is that of Y, over all entries, less `snr` dB."""
    noise = Stream.NOISE.generator(seed).standard_normal(Y.shape)
    power = np.mean(np.square(Y, dtype=np.float64)) * 10 ** (-snr / 10)
    return (Y + noise * np.sqrt(power)).astype(DTYPE)


def gaussian_sparse(settings: Any, m: int, s: int, seed: int) -> SignalProblem:
    """A signal of length m with s ones at random places, seen through a standard normal matrix."""
    support = np.sort(Stream.SIGNAL.generator(seed).choice(m, min(s, m), replace=False))
    w = SparseVector(support, np.ones(len(support), dtype=DTYPE), m)
    A = GaussianSensing(seed, settings.nmeasurements, m, Workspace())
    return SignalProblem(seed, A.columns(support).apply(w.values), w)


@functools.lru_cache(maxsize=1)
def mnist_problem(data_dir: Path, num_classes: int, bias: bool) -> Problem:
    """The first digits, pixels 0..255: the paper's step sizes depend on that scale. `bias`: see classification."""
    train, test = class_split(*datasets.read_mnist(data_dir), range(num_classes))
    return classification(train, test, num_classes, bias)


@functools.lru_cache(maxsize=1)
def cifar_problem(data_dir: Path, bias: bool) -> Problem:
    """Airplanes and automobiles, each channel standardised with the mean and deviation of the training images."""
    images, labels, test_images, test_labels = datasets.read_cifar10(data_dir)
    train, test = class_split(np.concatenate([images, test_images]), np.concatenate([labels, test_labels]), range(2))
    pixels = train[0] / DTYPE(255)
    mean, deviation = (f(pixels, axis=(0, 2, 3), keepdims=True, dtype=np.float64) for f in (np.mean, np.std))
    standardised = [((part / 255 - mean) / deviation, labels) for part, labels in (train, test)]
    return classification(*standardised, 2, bias)


def classification(train: Split, test: Split, num_classes: int, bias: bool) -> Problem:
    """Flat images and 0/1 targets for two classes, else one-hot targets and cross-entropy.

    Args:
        train, test: images [n, ...] and labels [n].  bias: whether a constant 1 is appended to the inputs.
    """
    def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
        images, labels = split
        X = images.reshape(len(images), -1).astype(DTYPE)
        Y = labels if num_classes == 2 else labels[:, None] == np.arange(num_classes)
        return _feature_major(np.pad(X, [(0, 0), (0, int(bias))], constant_values=1)), Y.astype(DTYPE)

    return Problem(*arrays(train), *arrays(test), loss="squared" if num_classes == 2 else "cross_entropy")


@functools.lru_cache(maxsize=1)
def mnist_image(data_dir: Path) -> np.ndarray:
    """The fitted image [28, 28], values in 0..1."""
    _, (images, _) = class_split(*datasets.read_mnist(data_dir), range(10))
    return images[INR_IMAGE] / 255


@functools.lru_cache(maxsize=1)
def cifar_image(data_dir: Path) -> np.ndarray:
    """The fitted image [3, 32, 32], values in 0..1."""
    *_, images, labels = datasets.read_cifar10(data_dir)
    return images[labels < 2][INR_IMAGE] / 255


def image_problem(pixels: np.ndarray, X: np.ndarray) -> Problem:
    """Fit the pixels, values in 0..1, as a function of the features X of their coordinates."""
    y = pixels.ravel().astype(DTYPE)
    return Problem(X, y, X, y, peak=1.0)


@functools.lru_cache(maxsize=1)
def grid_features(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Fourier features [pixels, 1500] of (row, column) or, with a channel, (row, column, channel); published draw."""
    rng = np.random.RandomState(seed)
    B = rng.normal(size=(FOURIER_FEATURES, 2))
    if len(shape) == 2:
        coordinates = np.stack(np.indices(shape), axis=-1).reshape(-1, 2)
        return fourier_features(coordinates, B * MNIST_FREQUENCY)
    rows, columns, channels = shape
    channel, row, column = np.indices((channels, rows, columns)).reshape(3, -1)
    B = np.column_stack([B * CIFAR_FREQUENCY, rng.normal(size=FOURIER_FEATURES) * CHANNEL_FREQUENCY])
    return fourier_features(np.stack([row, column, channel], axis=1), B)


def fourier_features(coordinates: np.ndarray, B: np.ndarray) -> np.ndarray:
    """[sin(2 pi c B'), cos(2 pi c B')] for coordinates c [n, 2 or 3] and frequencies B [750, 2 or 3]."""
    phase = 2 * np.pi * coordinates @ B.T
    return _feature_major(np.hstack([np.sin(phase), np.cos(phase)]).astype(DTYPE))


def _feature_major(X: np.ndarray) -> np.ndarray:
    """X [n, d] with X.T contiguous, read-only."""
    X = np.asfortranarray(X)
    X.flags.writeable = False  # shared by all cells of a seed
    return X
