"""The fitting tasks: their data and THE score, one function for every method.

TASKS is the table that runner.py offers. A task is one entry: what it is, how its score is measured and drawn, and a
function that builds one instance. Data are generated or read once per process and seed, not once per cell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import datasets
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
TRAIN_PER_CLASS, TEST_PER_CLASS = 5000, 1000  # of every class, in stored order (the paper's split)
NETWORK_FLAGS = ("num_layers", "batch_size", "convex", "update_every")
INPUT_DISTS = ("normal", "uniform", "rademacher", "mnist")  # of the planted task's inputs, see planted_inputs
MNIST_LIMITS = {"nmeasurements": TRAIN_PER_CLASS * 10, "input_dim": 716}  # training images; pixels that vary in them


class Skipped(Exception):
    """This cell of the grid has no meaningful instance; the message is the reason that is recorded."""


def always(value) -> Callable:
    return lambda settings: value


@dataclass(frozen=True)
class Measure:
    """How a score is called, drawn and compared. `scale` is linear or log, `range` that of the heatmaps."""

    name: str
    unit: str
    range: tuple[float, float]
    scale: str = "linear"
    higher_is_better: bool = True


@dataclass(frozen=True)
class Problem:
    """One instance of a network task.

    Args:
        X: inputs [n, d] float32, feature-major (X.T is contiguous).
        Y: targets [n] or [n, k] float32.
        X_eval, Y_eval: what the score is taken on: a test set, or X and Y again.
        loss: "squared" or "cross_entropy" (Y one-hot).
        peak: peak value of the PSNR, None where the score is an accuracy.
        planted: the network that gave the targets, None where there is none.
    """

    X: np.ndarray
    Y: np.ndarray
    X_eval: np.ndarray
    Y_eval: np.ndarray
    loss: str = "squared"
    peak: float | None = None
    planted: SparseNet | None = None


@dataclass(frozen=True)
class SignalProblem:
    """One instance of gaussian_sparse: y [n] = A w for the sensing matrix of `seed` and a sparse w [p]."""

    seed: int
    y: np.ndarray
    w: SparseVector


@dataclass(frozen=True)
class Task:
    """An entry of the table.

    Args:
        summary: a line for --help.
        measure: how its score is called and drawn.
        build: function (settings, m, s, seed) -> the instance of a cell; raises Skipped. `settings` are the flags.
        samples: function (settings) -> the number of training samples.
        flags: the flags that have an effect on it, of those that do not on every task.
        methods: the methods that can solve it; () for all.
        outputs: function (settings) -> the number of outputs k.
        dataset: function (settings) -> the files it needs, a name in datasets.py, or None.
        depends_on_s: whether the data depend on s.
        is_network: whether a network is fitted (a vector otherwise).
        image: the shape of the image whose pixels are fitted, (rows, columns) or (channels, rows, columns); else None.
    """

    summary: str
    measure: Measure
    build: Callable
    samples: Callable
    flags: tuple[str, ...] = NETWORK_FLAGS
    methods: tuple[str, ...] = ()
    outputs: Callable = always(1)
    dataset: Callable = always(None)
    depends_on_s: bool = False
    is_network: bool = True
    image: tuple[int, ...] | None = None


def score(problem, outputs) -> float:
    """THE score of a fit.

    Args:
        outputs: predictions on X_eval, [n_eval] or [n_eval, k]; for a SignalProblem the recovered SparseVector.
    Returns:
        PSNR = 20 log10 peak - 10 log10 MSE in dB; the accuracy, at threshold 0.5 or of the largest of k outputs; for a
        SignalProblem the relative l2 error |w_hat - w| / |w|, where lower is better.
    """
    if isinstance(problem, SignalProblem):
        error = outputs.toarray().astype(np.float64) - problem.w.toarray()
        return float(np.linalg.norm(error) / np.linalg.norm(problem.w.values))
    if problem.peak is None:
        return float(np.mean(decide(outputs) == decide(problem.Y_eval)))
    error = np.asarray(outputs, dtype=np.float64) - problem.Y_eval
    with np.errstate(divide="ignore"):  # an exact fit has infinite PSNR
        return float(20 * np.log10(problem.peak) - 10 * np.log10(np.mean(error**2)))


def decide(outputs) -> np.ndarray:
    """The class of each sample, from outputs [n] or [n, k]."""
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
    """The d pixels of largest variance, in the order of the image, of all training images: [50000, d], standardised."""
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


def mlp_planted(settings, m: int, s: int, seed: int) -> Problem:
    """Random inputs, targets from a random sparse network of the fitted shape; no test set."""
    if settings.num_layers > 1 and m * m < s // settings.num_layers:
        raise Skipped(f"a layer of {m} x {m} weights cannot hold {s // settings.num_layers} nonzeros")
    net = planted_net(settings.input_dim, m, settings.output_dim, settings.num_layers, s, seed)
    X = planted_inputs(settings.input_dist, settings.nmeasurements, settings.input_dim, seed, settings.data_dir)
    Y = net.predict(X).astype(DTYPE)
    peak = float(np.abs(Y).max())
    if peak == 0:
        raise Skipped("the labels are all zero")
    return Problem(X, Y, X, Y, peak=peak, planted=net)


def gaussian_sparse(settings, m: int, s: int, seed: int) -> SignalProblem:
    """A signal of length m with s ones at random places, seen through a standard normal matrix."""
    support = np.sort(Stream.SIGNAL.generator(seed).choice(m, min(s, m), replace=False))
    w = SparseVector(support, np.ones(len(support), dtype=DTYPE), m)
    A = GaussianSensing(seed, settings.nmeasurements, m, Workspace())
    return SignalProblem(seed, A.columns(support).apply(w.values), w)


def binary_mnist(settings, m: int, s: int, seed: int) -> Problem:
    """Digits 0 and 1, pixels 0..255 (the paper's step sizes depend on that scale), squared error."""
    return mnist_problem(settings.data_dir, 2, settings.bias)


def mnist(settings, m: int, s: int, seed: int) -> Problem:
    """All ten digits, pixels 0..255, cross-entropy."""
    return mnist_problem(settings.data_dir, 10, settings.bias)


def binary_cifar10(settings, m: int, s: int, seed: int) -> Problem:
    """Airplanes and automobiles, each channel standardised with the mean and deviation of the training images."""
    return cifar_problem(settings.data_dir, settings.bias)


@functools.lru_cache(maxsize=1)
def mnist_problem(data_dir: Path, num_classes: int, bias: bool) -> Problem:
    train, test = class_split(*datasets.read_mnist(data_dir), range(num_classes))
    return classification(train, test, num_classes, bias)


@functools.lru_cache(maxsize=1)
def cifar_problem(data_dir: Path, bias: bool) -> Problem:
    images, labels, test_images, test_labels = datasets.read_cifar10(data_dir)
    train, test = class_split(np.concatenate([images, test_images]), np.concatenate([labels, test_labels]), range(2))
    pixels = train[0] / DTYPE(255)
    mean, deviation = (f(pixels, axis=(0, 2, 3), keepdims=True, dtype=np.float64) for f in (np.mean, np.std))
    standardised = [((part / 255 - mean) / deviation, labels) for part, labels in (train, test)]
    return classification(*standardised, 2, bias)


def classification(train, test, num_classes: int, bias: bool) -> Problem:
    """The problem of two splits (images, labels): 0/1 targets for two classes, else one-hot with cross-entropy.

    `bias` appends a constant 1 to the inputs.
    """
    def arrays(split):
        images, labels = split
        X = images.reshape(len(images), -1).astype(DTYPE)
        Y = labels if num_classes == 2 else labels[:, None] == np.arange(num_classes)
        return _feature_major(np.pad(X, [(0, 0), (0, int(bias))], constant_values=1)), Y.astype(DTYPE)

    return Problem(*arrays(train), *arrays(test), loss="squared" if num_classes == 2 else "cross_entropy")


def inr_mnist(settings, m: int, s: int, seed: int) -> Problem:
    """One MNIST image as a function of the pixel's (row, column)."""
    return image_problem(mnist_image(settings.data_dir), grid_features((28, 28), seed))


def inr_cifar10(settings, m: int, s: int, seed: int) -> Problem:
    """One CIFAR-10 image as a function of the pixel's (row, column, channel), channel slowest."""
    return image_problem(cifar_image(settings.data_dir), grid_features((32, 32, 3), seed))


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


def class_split(images: np.ndarray, labels: np.ndarray, classes):
    """The paper's split, class after class in stored order: (images, labels) for training and for test.

    Returns:
        train: the first 5000 of each class; test: the next 1000; labels are 0, 1, ... in the order of `classes`.
    """
    members = [np.flatnonzero(labels == c)[: TRAIN_PER_CLASS + TEST_PER_CLASS] for c in classes]
    parts = [slice(0, TRAIN_PER_CLASS), slice(TRAIN_PER_CLASS, None)]
    split = []
    for part in parts:
        order = np.concatenate([member[part] for member in members])
        counts = [len(member[part]) for member in members]
        split.append((images[order], np.repeat(np.arange(len(members)), counts)))
    return split


def _feature_major(X: np.ndarray) -> np.ndarray:
    X = np.asfortranarray(X)
    X.flags.writeable = False  # shared by all cells of a seed
    return X


PLANTED = Measure("PSNR", "dB", (-20, 50))
IMAGE = Measure("PSNR", "dB", (0, 50))
BINARY = Measure("test accuracy", "", (0.5, 1))
CLASSES = Measure("test accuracy", "", (0.1, 1))
ERROR = Measure("relative l2 error", "", (1e-8, 1), scale="log", higher_is_better=False)

PLANTED_FLAGS = (*NETWORK_FLAGS, "input_dim", "input_dist", "output_dim", "nmeasurements")
IMAGE_FLAGS = (*NETWORK_FLAGS, "bias")


def nmeasurements(settings) -> int:
    return settings.nmeasurements


def output_dim(settings) -> int:
    return settings.output_dim


def planted_dataset(settings) -> str | None:
    return "mnist" if settings.input_dist == "mnist" else None


TASKS = {
    "mlp_planted": Task("a random sparse network", PLANTED, mlp_planted, nmeasurements,
                        flags=PLANTED_FLAGS, dataset=planted_dataset, outputs=output_dim,
                        depends_on_s=True),
    "gaussian_sparse": Task("a sparse vector, Gaussian sensing matrix", ERROR, gaussian_sparse, nmeasurements,
                            flags=("nmeasurements",), methods=("aiht",), depends_on_s=True, is_network=False),
    "binary_mnist": Task("digits 0 and 1", BINARY, binary_mnist, always(10000), flags=IMAGE_FLAGS,
                         dataset=always("mnist")),
    "mnist": Task("ten digits", CLASSES, mnist, always(50000), flags=IMAGE_FLAGS, dataset=always("mnist"),
                  outputs=always(10)),
    "binary_cifar10": Task("airplanes and automobiles", BINARY, binary_cifar10, always(10000), flags=IMAGE_FLAGS,
                           dataset=always("cifar10")),
    "inr_mnist": Task("one MNIST image from its pixel coordinates", IMAGE, inr_mnist, always(28 * 28),
                      dataset=always("mnist"), image=(28, 28)),
    "inr_cifar10": Task("one CIFAR-10 image from its pixel coordinates", IMAGE, inr_cifar10, always(3 * 32 * 32),
                        dataset=always("cifar10"), image=(3, 32, 32)),
}


def data_folder(flag: str | None, environment: dict) -> Path:
    """Where the data sets are: --data_dir, else the variable MLP_IHT_DATA, else ./data."""
    return Path(flag or environment.get("MLP_IHT_DATA") or "data")
