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
from sensing import DTYPE, GaussianSensing, SparseVector, Workspace

FOURIER_FEATURES = 750  # frequencies of an INR; sine and cosine of each make 1500 inputs (the paper's value)
MNIST_FREQUENCY = 2.0  # standard deviation of the frequencies, per pixel (the paper's value)
INR_IMAGE = 1000  # number of the fitted image in the test split (the paper's choice)
TRAIN_PER_CLASS, TEST_PER_CLASS = 5000, 1000  # of every class, in stored order (the paper's split)
NETWORK_FLAGS = ("num_layers", "batch_size", "convex")
SIGNAL_STREAM = 4  # named random stream of gaussian_sparse: default_rng([seed, stream])


class Skipped(Exception):
    """This cell of the grid has no meaningful instance; the message is the reason that is recorded."""


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
        Y: targets [n] float32.
        X_eval, Y_eval: what the score is taken on: a test set, or X and Y again.
        loss: "squared".
        peak: peak value of the PSNR, None where the score is an accuracy.
    """

    X: np.ndarray
    Y: np.ndarray
    X_eval: np.ndarray
    Y_eval: np.ndarray
    loss: str = "squared"
    peak: float | None = None


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
        methods: the methods that can solve it.
        dataset: the files it needs, a name in datasets.py.
        depends_on_s: whether the data depend on s.
    """

    summary: str
    measure: Measure
    build: Callable
    samples: Callable
    flags: tuple[str, ...] = NETWORK_FLAGS
    methods: tuple[str, ...] = ("aiht", "pruning")
    dataset: str | None = None
    depends_on_s: bool = False


def score(problem, outputs) -> float:
    """THE score of a fit.

    Args:
        outputs: predictions on X_eval, [n_eval]; for a SignalProblem the recovered SparseVector.
    Returns:
        PSNR = 20 log10 peak - 10 log10 MSE in dB, or the accuracy at threshold 0.5; for a SignalProblem the relative
        l2 error |w_hat - w| / |w|, where lower is better.
    """
    if isinstance(problem, SignalProblem):
        error = outputs.toarray().astype(np.float64) - problem.w.toarray()
        return float(np.linalg.norm(error) / np.linalg.norm(problem.w.values))
    if problem.peak is None:
        return float(np.mean((outputs > 0.5) == (problem.Y_eval > 0.5)))
    error = np.asarray(outputs, dtype=np.float64) - problem.Y_eval
    with np.errstate(divide="ignore"):  # an exact fit has infinite PSNR
        return float(20 * np.log10(problem.peak) - 10 * np.log10(np.mean(error**2)))


def support_error(problem: SignalProblem, w: SparseVector) -> float:
    """|S_hat xor S| / (2 s): 0 for the right support, 1 for a disjoint one of the same size."""
    return len(np.setxor1d(w.indices, problem.w.indices)) / (2 * len(problem.w))


@functools.lru_cache(maxsize=1)
def planted_inputs(n: int, d: int, seed: int) -> np.ndarray:
    """X [n, d] standard normal, the published draw."""
    return _feature_major(np.random.RandomState(seed + 2).normal(size=(n, d)).astype(DTYPE))


def planted_net(d: int, m: int, num_layers: int, s: int, seed: int) -> SparseNet:
    """The planted network: int(s / num_layers) nonzeros in each matrix, the published draw.

    The published matrices are [inputs, outputs] and their supports flat indices into that shape.
    """
    rng = np.random.RandomState(seed + 1)
    layers = []
    for fan_in in [d] + [m] * (num_layers - 1):
        support = rng.choice(fan_in * m, min(s // num_layers, fan_in * m), replace=False)
        values = rng.normal(size=len(support)).astype(DTYPE)
        feature, neuron = np.divmod(support, m)
        order = np.argsort(neuron * fan_in + feature)
        w = SparseVector((neuron * fan_in + feature)[order], values[order], m * fan_in)
        layers.append(SparseLayer(w, m, fan_in))
    return SparseNet(tuple(layers))


def mlp_planted(settings, m: int, s: int, seed: int) -> Problem:
    """Gaussian inputs, targets from a random sparse network of the fitted shape; no test set."""
    if settings.num_layers > 1 and m * m < s // settings.num_layers:
        raise Skipped(f"a layer of {m} x {m} weights cannot hold {s // settings.num_layers} nonzeros")
    net = planted_net(settings.input_dim, m, settings.num_layers, s, seed)
    X = planted_inputs(settings.nmeasurements, settings.input_dim, seed)
    y = net.predict(X).astype(DTYPE)
    peak = float(np.abs(y).max())
    if peak == 0:
        raise Skipped("the labels are all zero")
    return Problem(X, y, X, y, peak=peak)


def gaussian_sparse(settings, m: int, s: int, seed: int) -> SignalProblem:
    """A signal of length m with s ones at random places, seen through a standard normal matrix."""
    support = np.sort(np.random.default_rng([seed, SIGNAL_STREAM]).choice(m, min(s, m), replace=False))
    w = SparseVector(support, np.ones(len(support), dtype=DTYPE), m)
    A = GaussianSensing(seed, settings.nmeasurements, m, Workspace())
    return SignalProblem(seed, A.columns(support).apply(w.values), w)


def inr_mnist(settings, m: int, s: int, seed: int) -> Problem:
    """One MNIST image as a function of the pixel."""
    return image_problem(mnist_image(settings.data_dir), pixel_features(seed))


@functools.lru_cache(maxsize=1)
def mnist_image(data_dir: Path) -> np.ndarray:
    """The fitted image [28, 28], values in 0..1."""
    _, (images, _) = class_split(*datasets.read_mnist(data_dir), range(10))
    return images[INR_IMAGE] / 255


def image_problem(pixels: np.ndarray, X: np.ndarray) -> Problem:
    """Fit the pixels, values in 0..1, as a function of the features X of their coordinates."""
    y = pixels.ravel().astype(DTYPE)
    return Problem(X, y, X, y, peak=1.0)


@functools.lru_cache(maxsize=1)
def pixel_features(seed: int) -> np.ndarray:
    """Fourier features [784, 1500] of the (row, column) of a 28 x 28 image, the published draw."""
    coordinates = np.stack(np.meshgrid(np.arange(28), np.arange(28), indexing="ij"), axis=-1).reshape(-1, 2)
    B = np.random.RandomState(seed).normal(size=(FOURIER_FEATURES, 2)) * MNIST_FREQUENCY
    return fourier_features(coordinates, B)


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


TASKS = {
    "mlp_planted": Task(
        "a random sparse network, Gaussian inputs",
        Measure("PSNR", "dB", (-20, 50)),
        mlp_planted,
        samples=lambda settings: settings.nmeasurements,
        flags=(*NETWORK_FLAGS, "input_dim", "output_dim", "nmeasurements"),
        depends_on_s=True,
    ),
    "gaussian_sparse": Task(
        "a sparse vector, Gaussian sensing matrix",
        Measure("relative l2 error", "", (1e-8, 1), scale="log", higher_is_better=False),
        gaussian_sparse,
        samples=lambda settings: settings.nmeasurements,
        flags=("nmeasurements",),
        methods=("aiht",),
        depends_on_s=True,
    ),
    "inr_mnist": Task(
        "one MNIST image from its pixel coordinates",
        Measure("PSNR", "dB", (0, 50)),
        inr_mnist,
        samples=lambda settings: 28 * 28,
        dataset="mnist",
    ),
}


def data_folder(flag: str | None, environment: dict) -> Path:
    """Where the data sets are: --data_dir, else the variable MLP_IHT_DATA, else ./data."""
    return Path(flag or environment.get("MLP_IHT_DATA") or "data")
