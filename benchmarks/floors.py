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
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

import aiht
import pruning
from fits import FitState
from instances.task import Problem
from models import mlp_weights
from numerics.arrays import DTYPE
from numerics.masks import live_units, trim
from numerics.workspace import one_thread, sample_tiles

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


def seconds(function: Callable[[], object], threads: int) -> float:
    """Time of one call: of one thread its processor time, which other processes disturb less, else wall time."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def median_seconds(function: Callable[[], object], threads: int) -> float:
    """Median of TRIES calls, after one that is not timed."""
    return statistics.median([seconds(function, threads) for _ in range(TRIES + 1)][1:])


def floor_seconds(method: str, problem: Problem, m: int, s: int, threads: int, **options: int) -> tuple[float, float]:
    """The floor of a cell of seed 0, computed for it once; and the floor with all that AIHT must do besides.

    Args:
        options: num_layers, num_epochs and batch_size of the fit.
    """
    if method == "aiht":
        steps = aiht_steps(problem, m, s, **options)
        with threadpool_limits(threads, user_api="blas"):
            floor = counted_seconds(steps, lambda step: step[:4], dense_products, threads)
            return floor, floor + extra_seconds(problem, steps, threads)
    with one_thread():
        count, rounds = trainings(problem, m, s, **options)
        floor = count * sum(step_seconds(masks, options["batch_size"] or len(problem.X), threads) for masks in rounds)
    return floor, floor


# ---- AIHT ----


def aiht_steps(problem: Problem, m: int, s: int, batch_size: int, **options: int) -> Counter[Step]:
    """{Step: how many there are}; a fit that is started again with a smaller step size counts, too."""
    n, d = problem.X.shape
    size = batch_size if 0 < batch_size < n else n
    sizes = [min(size, n - start) for start in range(0, n, size)]
    steps: Counter[Step] = Counter()
    layer, last, step, neurons = -1, 0, 0, 0  # of the step before

    def record(number: int, state: FitState) -> None:
        nonlocal layer, last, step, neurons
        layers = state.net().layers
        step = step + 1 if state.layer == layer and number > last else 0
        random = step <= len(sizes)  # the gates are updated from the end of the first step of the second epoch on
        inputs, unit = len(layers[-2].neurons) if state.layer else d, max(s // 10, 1)
        weights = len(layers[-1].w) // unit * unit
        steps[Step(m if random else neurons, inputs, sizes[step % len(sizes)], random, weights)] += 1
        layer, last, neurons = state.layer, number, len(layers[-1].neurons)

    aiht.fit(problem.X, problem.Y, s, width=m, batch_size=batch_size, loss=problem.loss, callback=record, **options)
    return steps


def counted_seconds(steps: Counter[Step], shape: Callable[[Step], tuple], work: Callable[..., Callable[[], object]],
                    threads: int) -> float:
    """Seconds of some work in all steps: work(*shape) is a function to be timed, once for each different shape."""
    counts: Counter[tuple] = Counter()
    for step, count in steps.items():
        counts[shape(step)] += count
    return sum(count * median_seconds(work(*each), threads) for each, count in counts.items())


def extra_seconds(problem: Problem, steps: Counter[Step], threads: int) -> float:
    """Seconds of all that the steps must do besides."""
    k, n = problem.Y[0].size, len(problem.X)
    total = counted_seconds(steps, lambda step: (step.neurons, step.d, step.n, step.weights), gates, threads)
    if problem.Y.ndim == 1:
        total += counted_seconds(steps, lambda step: (step.n, step.weights), columns, threads)
    else:
        total += counted_seconds(steps, lambda step: (step.neurons, step.n, k), output_products, threads)
    if max(step.n for step in steps) < n:
        XT, order = np.ascontiguousarray(problem.X.T), np.random.default_rng(0).permutation(n)
        samples = sum(count * step.n for step, count in steps.items())
        total += samples / n * median_seconds(lambda: XT.take(order, axis=1), threads)
    return total


def normal(*shape: int) -> np.ndarray:
    """Random numbers in single precision."""
    return np.random.default_rng(0).standard_normal(shape, dtype=DTYPE)


def dense_products(neurons: int, d: int, n: int, random: bool) -> Callable[[], object]:
    """The dense products of one step."""
    XT, R, W = normal(d, n), normal(neurons, n), normal(neurons, d)
    return lambda: (W @ XT if random else None, R @ XT.T)


def gates(neurons: int, d: int, n: int, weights: int) -> Callable[[], object]:
    """The gates W X' > 0 of weights at random places of a sparse W [neurons, d]."""
    import scipy.sparse

    W = scipy.sparse.random(neurons, d, min(weights / (neurons * d), 1), "csr", DTYPE, random_state=0)
    XT = normal(d, n)
    return lambda: W @ XT > 0


def columns(n: int, s: int) -> Callable[[], None]:
    """The columns A_S [n, s], made once, and the passes over them in a step, on tiles in the cache."""
    tiles = [tile.stop - tile.start for tile in sample_tiles(s, n, np)]
    rows, gates = normal(s, tiles[0]), normal(s, tiles[0]) > 0
    A_S, x = [np.empty((s, length), dtype=DTYPE) for length in tiles], normal(s)

    def run() -> None:
        for A in A_S:
            np.multiply(rows[:, : A.shape[1]], gates[:, : A.shape[1]], out=A)
        for _ in range(PASSES):
            for A in A_S:
                A @ (x @ A)

    return run


def output_products(neurons: int, n: int, k: int) -> Callable[[], object]:
    """The three products of a step with k outputs: predictions, their gradients, residuals on neurons."""
    Z, V, R = normal(neurons, n), normal(neurons, k), normal(k, n)
    return lambda: (V.T @ Z, Z @ R.T, V @ R)


# ---- IMP ----


def trainings(problem: Problem, m: int, s: int, **options: int) -> tuple[float, list[list[Tensor]]]:
    """The steps of a round, and the masks [out, in] that it trains: of weights on a path from input to output."""
    import torch

    n, d = problem.X.shape
    sizes = d, *[m] * options["num_layers"], problem.Y[0].size
    rounds = [[torch.ones(after, before, dtype=torch.bool) for before, after in pairwise(sizes)]]

    def keep(step: int, state: FitState) -> None:
        net = state.net()
        assert net.output is not None
        rounds.append([torch.from_numpy(layer.dense() != 0) for layer in (*net.layers, net.output)])

    pruning.fit(problem.X, problem.Y, s, width=m, loss=problem.loss, callback=keep, **options)
    alive = [trim(masks, live) for masks in rounds[:-1] if (live := live_units(masks))]  # the last are not trained
    return options["num_epochs"] * n / (options["batch_size"] or n), alive  # a smaller batch is a part of a step


def step_seconds(masks: list[Tensor], samples: int, threads: int) -> float:
    """Seconds of the products and the update of one step: of its tiles as many as the busiest of the threads takes."""
    import torch

    from numerics.adam import Adam
    from numerics.training import Network, chunk_rows

    weights = mlp_weights([mask.shape[1] for mask in masks] + [len(masks[-1])], seed=0)
    network, X = Network(weights, masks), torch.randn(samples, masks[0].shape[1])
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
