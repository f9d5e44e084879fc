"""The floor of a cell: the products that its method cannot do without, timed bare, in this process, on the same shapes.

AIHT: one dense product A' r per step, over the neurons that have a gate; while the gates are random, all m of them, and
a product for the gates besides. IMP: in every step the products forward and backward, as matrices or as sparse ones,
whichever the step takes, and the update of Adam.

What AIHT must do besides on its s weights and on mini-batches is timed bare, too, as `extra_seconds`: the gates of the
weights; with one output the columns A_S, and the products with them; with more those with the output weights; and a
copy of the data in the order of each epoch.

Each different product is timed once and counted.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

import aiht
import pruning
from models import FitState
from numerics.arrays import DTYPE
from numerics.workspace import one_thread, sample_tiles
from sweep.settings import Settings
from tasks import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from numerics.training import Network

TRIES = 5  # of each product, of which the median is taken
PASSES = aiht.INNER_STEPS + 2  # over A_S in a step: one an inner step, one for the residual, one for the step size


class Step(NamedTuple):
    """The shapes of a step of AIHT: neurons that have a gate, inputs, samples, whether gates are random, weights."""

    neurons: int
    d: int
    n: int
    random: bool
    weights: int  # rounded down to a multiple of a tenth of s


def seconds(function: Callable, threads: int) -> float:
    """Time of one call: of one thread its processor time, which other processes disturb less, else wall time."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def median_seconds(function: Callable, threads: int) -> float:
    """Median of TRIES calls, after one that is not timed."""
    return statistics.median([seconds(function, threads) for _ in range(TRIES + 1)][1:])


def floor_seconds(problem: Problem, m: int, s: int, settings: Settings) -> tuple[float, float]:
    """The floor of a cell of seed 0, computed for it once; and the floor with all that AIHT must do besides."""
    if settings.method == "aiht":
        steps = aiht_steps(problem, m, s, settings)
        with threadpool_limits(settings.threads, user_api="blas"):
            floor = sum(count * product_seconds(*shape, settings.threads)
                        for shape, count in counted(steps, lambda step: step[:4]).items())
            return floor, floor + extra_seconds(problem, steps, settings.threads)
    with one_thread():
        floor = sum(steps * training_seconds(*training, settings.threads)
                    for steps, *training in trainings(problem, m, s, settings))
    return floor, floor


# ---- AIHT ----


def aiht_steps(problem: Problem, m: int, s: int, settings: Settings) -> Counter:
    """{Step: how many there are}; a fit that is started again with a smaller step size counts, too."""
    n, d = problem.X.shape
    size = settings.batch_size if 0 < settings.batch_size < n else n
    sizes = [min(size, n - start) for start in range(0, n, size)]
    steps, before = Counter(), {"layer": -1, "number": 0, "step": 0, "neurons": 0}

    def record(number: int, state: FitState) -> None:
        layers = state.net().layers
        again = state.layer != before["layer"] or number <= before["number"]
        step = 0 if again else before["step"] + 1
        random = step <= len(sizes)  # the gates are updated from the end of the first step of the second epoch on
        inputs, unit = len(layers[-2].neurons) if state.layer else d, max(s // 10, 1)
        weights = len(layers[-1].w) // unit * unit
        steps[Step(m if random else before["neurons"], inputs, sizes[step % len(sizes)], random, weights)] += 1
        before.update(layer=state.layer, number=number, step=step, neurons=len(layers[-1].neurons))

    aiht.fit(problem.X, problem.Y, s, width=m, num_layers=settings.num_layers, num_epochs=settings.num_epochs,
             batch_size=settings.batch_size, loss=problem.loss, callback=record)
    return steps


def counted(steps: Counter, key: Callable) -> Counter:
    """The counts of steps summed by a key."""
    sums = Counter()
    for step, count in steps.items():
        sums[key(step)] += count
    return sums


def normal(*shape: int) -> np.ndarray:
    """Random numbers in single precision."""
    return np.random.default_rng(0).standard_normal(shape, dtype=DTYPE)


def product_seconds(neurons: int, d: int, n: int, random: bool, threads: int) -> float:
    """Seconds of the dense products of one step."""
    XT, R, W = normal(d, n), normal(neurons, n), normal(neurons, d)

    def run() -> None:
        if random:
            W @ XT
        R @ XT.T

    return median_seconds(run, threads)


def extra_seconds(problem: Problem, steps: Counter, threads: int) -> float:
    """Seconds of all that the steps must do besides."""
    scalar, k = problem.Y.ndim == 1, problem.Y[0].size
    total = sum(count * gate_seconds(*shape, threads)
                for shape, count in counted(steps, lambda step: (step.neurons, step.d, step.n, step.weights)).items())
    for (neurons, n, weights), count in counted(steps, lambda step: (step.neurons, step.n, step.weights)).items():
        total += count * (column_seconds(n, weights, threads) if scalar else output_seconds(neurons, n, k, threads))
    samples, n = sum(count * step.n for step, count in steps.items()), len(problem.X)
    if max(step.n for step in steps) < n:
        XT, order = np.ascontiguousarray(problem.X.T), np.random.default_rng(0).permutation(n)
        total += samples / n * median_seconds(lambda: XT.take(order, axis=1), threads)
    return total


def gate_seconds(neurons: int, d: int, n: int, weights: int, threads: int) -> float:
    """Seconds of the gates W X' > 0 of weights at random places of a sparse W [neurons, d]."""
    import scipy.sparse

    places = np.random.default_rng(0).choice(neurons * d, min(weights, neurons * d), replace=False)
    W = scipy.sparse.csr_matrix((normal(len(places)), np.divmod(places, d)), shape=(neurons, d))
    XT = normal(d, n)
    return median_seconds(lambda: W @ XT > 0, threads)


def column_seconds(n: int, s: int, threads: int) -> float:
    """Seconds of the columns A_S [n, s], made once, and of the passes over them in a step, on tiles in the cache."""
    tiles = [tile.stop - tile.start for tile in sample_tiles(s, n, np)]
    rows, gates = normal(s, tiles[0]), normal(s, tiles[0]) > 0
    columns, x = [np.empty((s, length), dtype=DTYPE) for length in tiles], normal(s)

    def run() -> None:
        for A in columns:
            np.multiply(rows[:, : A.shape[1]], gates[:, : A.shape[1]], out=A)
        for _ in range(PASSES):
            for A in columns:
                A @ (x @ A)

    return median_seconds(run, threads)


def output_seconds(neurons: int, n: int, k: int, threads: int) -> float:
    """Seconds of the three products of a step with k outputs: predictions, their gradients, residuals on neurons."""
    Z, V, R = normal(neurons, n), normal(neurons, k), normal(k, n)

    def run() -> None:
        V.T @ Z
        Z @ R.T
        V @ R

    return median_seconds(run, threads)


# ---- IMP ----


def trainings(problem: Problem, m: int, s: int, settings: Settings) -> list[tuple]:
    """(steps, weights, masks, samples of a step) of the training of each round of a cell."""
    found, train = [], pruning.train

    def record(weights: list[Tensor], masks: list[Tensor], batches: list, num_epochs: int, loss: str,
               threads: int) -> list[Tensor]:
        samples = len(batches[0][0])  # the last batch may be smaller: it counts as part of a step
        found.append((num_epochs * sum(len(X) for X, _ in batches) / samples, weights, masks, samples))
        return train(weights, masks, batches, num_epochs, loss, threads)

    with mock.patch.object(pruning, "train", record):
        pruning.prune(problem.X, problem.Y, problem.X_eval, lambda outputs: 0.0, [s], 0, width=m,
                      num_layers=settings.num_layers, num_epochs=settings.num_epochs, batch_size=settings.batch_size,
                      prune_iters=settings.prune_iters, loss=problem.loss, threads=settings.threads)
    return found


def training_seconds(weights: list[Tensor], masks: list[Tensor], samples: int, threads: int) -> float:
    """Seconds of the products and the update of one step: of its tiles as many as the busiest of the threads takes."""
    import torch

    from numerics.training import Adam, Network, chunk_rows

    network = Network(weights, masks)
    X = torch.randn(samples, weights[0].shape[1])
    tiles = [x.T.contiguous() for x in X.split(chunk_rows(weights, X))]
    adam, slopes = Adam(network.values), torch.zeros_like(network.values)

    def step() -> None:
        for tile in tiles[: -(-len(tiles) // threads)]:
            products(network, tile)
        adam.step(slopes)

    return median_seconds(step, threads)


def products(network: Network, X: Tensor) -> None:
    """The products of all layers, forward and backward, on inputs [d, b]."""
    inputs = [X]
    for layer in network.layers[:-1]:
        inputs.append(layer.apply(inputs[-1]))
    D = network.layers[-1].apply(inputs[-1])
    for layer, Z in zip(reversed(network.layers), reversed(inputs), strict=True):
        layer.set_slopes(D, Z)
        if Z is not X:
            D = layer.back(D)
