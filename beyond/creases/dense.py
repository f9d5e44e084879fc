"""Creases from a dense student, for many weights: y = M |W x| + L x, twice as wide as what is sought, trained by SOAP.

The search looks for sparse creases one by one, in what the others leave. Where many planted creases of many weights
overlap, it finds none of them; a dense student finds all directions at once, (50, 1000) in 3000 steps.
"""

from __future__ import annotations

import numpy as np

from beyond.creases.samples import CreaseSamples, Neurons
from beyond.soap import Soap, falling
from numerics.arrays import DTYPE, to_host

BATCH, STEPS, RATE = 1000, 6000, 1e-2  # with a rate of 3e-3 (50, 1000) is nowhere after as many steps
OVER, SPARE = 2.0, 20  # creases: times those that are expected, and so many more


def expected_creases(s: int, m: int, d: int) -> float:
    """Creases of m neurons with s weights in random places of d inputs; those of one and the same input are one."""
    inputs = s / m
    single = m * inputs * np.exp(-inputs)
    return d * (1 - np.exp(-single / d)) + m * (1 - np.exp(-inputs)) - single


def dense_creases(data: CreaseSamples, s: int, m: int, rng: np.random.Generator) -> Neurons:
    """Creases with all weights, from samples whose inputs are of about the same size."""
    size, k, d = int(OVER * expected_creases(s, m, data.d)) + SPARE, len(data.target), data.d
    scale = DTYPE(np.sqrt(data.energy / data.n / k) or 1)
    W = rng.normal(0, d**-0.5, (size, d)).astype(DTYPE)
    M = rng.normal(0, (0.5 / size) ** 0.5, (k, size)).astype(DTYPE)
    L = np.zeros((k, d), DTYPE)
    soap, parts = Soap([W, M, L]), np.array_split(rng.permutation(data.n), max(data.n // BATCH, 1))
    order: list[int] = []
    for rate in falling(RATE, STEPS):
        order = order or list(rng.permutation(len(parts)))
        part = parts[order.pop()]
        X, Y = to_host(data.XT[:, part]), to_host(data.target[:, part]) / scale
        Z = W @ X
        H = np.abs(Z)
        D = (M @ H + L @ X - Y) * DTYPE(2 / Y.size)
        soap.step([(M.T @ D * np.sign(Z)) @ X.T, D @ H.T, D @ X.T], rate)
    length = np.linalg.norm(M, axis=0).astype(np.float64) + 1e-30
    return Neurons(W * length[:, None] * scale, M.T / length[:, None])
