"""The floor of a cell: the products that its method cannot do without, timed bare, in this process, on the same shapes.

AIHT: one dense product A' r per step, over the neurons that have a gate; while the gates are random, all m of them, and
a product for the gates besides. What else a step does on the s weights is not counted.
IMP: in every step the products forward and backward, as matrices or as sparse ones, whichever the step takes, and the
update of Adam.

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
from sweep.settings import Settings
from tasks import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from numerics.training import Network

TRIES = 5  # of each product, of which the median is taken


class Product(NamedTuple):
    """The dense products of a step of AIHT: A' r for so many neurons, inputs and samples, and the gates if random."""

    neurons: int
    d: int
    n: int
    random: bool


def seconds(function: Callable, threads: int) -> float:
    """Time of one call: of one thread its processor time, which other processes disturb less, else wall time."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def median_seconds(function: Callable, threads: int) -> float:
    """Median of TRIES calls, after one that is not timed."""
    return statistics.median([seconds(function, threads) for _ in range(TRIES + 1)][1:])


def floor_seconds(problem: Problem, m: int, s: int, settings: Settings) -> float:
    """The floor of a cell of seed 0, which is computed for it once."""
    if settings.method == "aiht":
        steps = aiht_products(problem, m, s, settings)
        with threadpool_limits(settings.threads, user_api="blas"):
            return sum(count * product_seconds(product, settings.threads) for product, count in steps.items())
    return sum(steps * training_seconds(*training, settings.threads)
               for steps, *training in trainings(problem, m, s, settings))


# ---- AIHT ----


def aiht_products(problem: Problem, m: int, s: int, settings: Settings) -> Counter:
    """{Product: how many steps take it}; a fit that is started again with a smaller step size counts, too."""
    n, d = problem.X.shape
    size = settings.batch_size if 0 < settings.batch_size < n else n
    sizes = [min(size, n - start) for start in range(0, n, size)]
    products, before = Counter(), {"layer": -1, "number": 0, "step": 0, "neurons": 0}

    def record(number: int, state: FitState) -> None:
        layers = state.net().layers
        again = state.layer != before["layer"] or number <= before["number"]
        step = 0 if again else before["step"] + 1
        random = step <= len(sizes)  # the gates are updated from the end of the first step of the second epoch on
        inputs = len(layers[-2].neurons) if state.layer else d
        products[Product(m if random else before["neurons"], inputs, sizes[step % len(sizes)], random)] += 1
        before.update(layer=state.layer, number=number, step=step, neurons=len(layers[-1].neurons))

    aiht.fit(problem.X, problem.Y, s, width=m, num_layers=settings.num_layers, num_epochs=settings.num_epochs,
             batch_size=settings.batch_size, loss=problem.loss, callback=record)
    return products


def product_seconds(product: Product, threads: int) -> float:
    """Seconds of the products of one step."""
    rng, (neurons, d, n, random) = np.random.default_rng(0), product
    X, R, W = (rng.standard_normal(shape, dtype=DTYPE) for shape in ((n, d), (neurons, n), (neurons, d)))
    XT = np.ascontiguousarray(X.T)

    def run() -> None:
        if random:
            W @ XT
        R @ XT.T

    return median_seconds(run, threads)


# ---- IMP ----


def trainings(problem: Problem, m: int, s: int, settings: Settings) -> list[tuple]:
    """(steps, weights, masks, samples of a step) of the training of each round of a cell."""
    import torch

    found, train = [], pruning.train

    def record(weights: list[Tensor], masks: list[Tensor], batches: list, num_epochs: int, loss: str) -> list[Tensor]:
        samples = len(batches[0][0])  # the last batch may be smaller: it counts as part of a step
        found.append((num_epochs * sum(len(X) for X, _ in batches) / samples, weights, masks, samples))
        return train(weights, masks, batches, num_epochs, loss)

    torch.set_num_threads(settings.threads)
    with mock.patch.object(pruning, "train", record):
        pruning.prune(problem.X, problem.Y, problem.X_eval, lambda outputs: 0.0, [s], 0, width=m,
                      num_layers=settings.num_layers, num_epochs=settings.num_epochs, batch_size=settings.batch_size,
                      prune_iters=settings.prune_iters, loss=problem.loss, device="cpu")
    return found


def training_seconds(weights: list[Tensor], masks: list[Tensor], samples: int, threads: int) -> float:
    """Seconds of the products and the update of one step."""
    import torch

    from numerics.training import Adam, Network, chunk_rows

    network = Network(weights, masks)
    X = torch.randn(samples, weights[0].shape[1])
    tiles = [x.T.contiguous() for x in X.split(chunk_rows(weights, X))]
    adam = Adam(network.values)

    def step() -> None:
        for tile in tiles:
            products(network, tile)
        adam.step(network.slopes)

    return median_seconds(step, threads)


def products(network: Network, X: Tensor) -> None:
    """The products of all layers, forward and backward, on inputs [d, b]."""
    inputs = [X]
    for layer in network.layers[:-1]:
        inputs.append(layer.apply(inputs[-1]))
    D = network.layers[-1].apply(inputs[-1])
    for layer, Z in zip(reversed(network.layers), reversed(inputs), strict=True):
        layer.add_slopes(D, Z)
        if Z is not X:
            D = layer.back(D)
