"""Planted networks and planted signals: their inputs, weights, output signs and noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from instances import files
from instances.task import Measure, Problem, SignalProblem, Skipped, Task, feature_major
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from options import SIZE, SWITCH, OptionError, between, one_of, option, optional
from sensing import GaussianSensing

INPUT_DISTS = ("normal", "uniform", "rademacher", "mnist")  # see planted_inputs
MNIST_LIMITS = {"nmeasurements": 10 * files.TRAIN_PER_CLASS, "input_dim": 716}  # training images; pixels that vary


ALL_ZERO = "the labels are all zero"


def nmeasurements() -> int:
    """The option of that name."""
    return option(50000, SIZE, "samples n", words="n {}")


@dataclass(frozen=True)
class MlpPlanted(Task):
    """Random inputs, targets from a random sparse network of the fitted shape; no test set."""

    summary = "a random sparse network"
    measure = Measure("PSNR", "dB", (-20, 50))
    exact = 100.0  # dB; single precision ends at 145
    depends_on_s = True
    is_planted = True

    input_dim: int = option(100, SIZE, "inputs d", words="inputs {}")
    output_dim: int = option(1, SIZE, "outputs k", words="outputs {}")
    nmeasurements: int = nmeasurements()
    input_dist: str = option("normal", one_of(INPUT_DISTS), "distribution of the inputs; mnist: the input_dim pixels "
                             "of largest variance of random training images, standardised", words="{} inputs")
    planted_signs: bool = option(False, SWITCH, "give the planted neurons random output weights +-1; the paper "
                                 "has +1", words="signs +-1")
    snr: float | None = option(None, optional(between(-300, 300, "a number of dB")), "add noise to the targets at "
                               "this signal-to-noise ratio in dB (default: no noise)", metavar="DB",
                               words="SNR {:g} dB")

    def check(self) -> None:
        if self.planted_signs and self.output_dim > 1:
            raise OptionError("planted_signs", f"True has no effect with --output_dim {self.output_dim}; leave one out")
        for name, most in MNIST_LIMITS.items() if self.input_dist == "mnist" else ():
            if (value := getattr(self, name)) > most:
                raise OptionError(name, f"{value} is over the {most} of --input_dist mnist; use fewer")

    @property
    def samples(self) -> int:
        return self.nmeasurements

    @property
    def inputs(self) -> int:
        return self.input_dim

    @property
    def outputs(self) -> int:
        return self.output_dim

    @property
    def is_signed(self) -> bool:
        return self.planted_signs

    @property
    def dataset(self) -> str | None:
        return "mnist" if self.input_dist == "mnist" else None

    def skips(self, m: int, s: int, seed: int, *, num_layers: int) -> str | None:
        if num_layers > 1 and m * m < s // num_layers:
            return f"a layer of {m} x {m} weights cannot hold {s // num_layers} nonzeros"
        net = planted_net(self.input_dim, m, self.output_dim, num_layers, s, seed)
        return None if has_path(net) else ALL_ZERO

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> Problem:
        if reason := self.skips(m, s, seed, num_layers=num_layers):
            raise Skipped(reason)
        net = planted_net(self.input_dim, m, self.output_dim, num_layers, s, seed)
        X = planted_inputs(self.input_dist, self.nmeasurements, self.input_dim, seed, data_dir)
        if self.planted_signs:
            net = replace(net, output=random_signs(m, seed))
        Y = net.predict(X).astype(DTYPE)
        peak = float(np.abs(Y).max())
        if peak == 0:
            raise Skipped(ALL_ZERO)
        clean = None
        if self.snr is not None:
            clean, Y = Y, add_noise(Y, self.snr, seed)
        return Problem(X, Y, X, Y, peak=peak, planted=net, clean=clean)


def planted_problem(m: int, s: int, seed: int, *, num_layers: int = 1, data_dir: Path = Path("data"),
                    **options: Any) -> Problem:
    """An instance of mlp_planted with these options, without a sweep."""
    return MlpPlanted(**options).build(m, s, seed, num_layers=num_layers, data_dir=data_dir)


@dataclass(frozen=True)
class GaussianSparse(Task):
    """A signal of length m with s ones at random places, seen through a standard normal matrix."""

    summary = "a sparse vector, Gaussian sensing matrix"
    measure = Measure("relative l2 error", range=(1e-8, 1), scale="log", higher_is_better=False)
    exact = 1e-4
    depends_on_s = True
    is_network = False

    nmeasurements: int = nmeasurements()

    @property
    def samples(self) -> int:
        return self.nmeasurements

    @property
    def inputs(self) -> int:
        return 0

    def build(self, m: int, s: int, seed: int, *, num_layers: int, data_dir: Path) -> SignalProblem:
        support = np.sort(Stream.SIGNAL.generator(seed).choice(m, min(s, m), replace=False))
        w = SparseVector(support, np.ones(len(support), dtype=DTYPE), m)
        A = GaussianSensing(seed, self.nmeasurements, m, Workspace())
        return SignalProblem(seed, A.columns(support).apply(w.values), w)


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
    return feature_major(X.astype(DTYPE))


@functools.lru_cache(maxsize=1)
def mnist_pixels(data_dir: Path, d: int) -> np.ndarray:
    """The d pixels of largest variance, in the order of the image, of all training images: [50000, d], standardised.

    Raises ValueError where fewer than d pixels vary.
    """
    (images, _), _ = files.class_split(*files.read_mnist(data_dir), range(10))
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


def has_path(net: SparseNet) -> bool:
    """Whether outputs can be other than zero: activations are not negative, so deeper layers need a positive weight."""
    live = np.arange(net.layers[0].d)
    for number, layer in enumerate((*net.layers, *filter(None, [net.output]))):
        signed = number == 0 or layer is net.output
        used = np.isin(layer.w.indices % layer.d, live) & (signed | (layer.w.values > 0))
        live = np.unique(layer.w.indices[used] // layer.d)
    return len(live) > 0


def random_signs(m: int, seed: int) -> SparseLayer:
    """Output weights V' [1, m], +1 or -1 with equal chances. They are not counted as weights."""
    signs = Stream.SIGNS.generator(seed).choice([-1.0, 1.0], m).astype(DTYPE)
    return SparseLayer(SparseVector(np.arange(m), signs, m), 1, m)


def add_noise(Y: np.ndarray, snr: float, seed: int) -> np.ndarray:
    """Targets [n] or [n, k] with white Gaussian noise whose power is that of Y, over all entries, less `snr` dB."""
    noise = Stream.NOISE.generator(seed).standard_normal(Y.shape)
    power = np.mean(np.square(Y, dtype=np.float64)) * 10 ** (-snr / 10)
    return (Y + noise * np.sqrt(power)).astype(DTYPE)
