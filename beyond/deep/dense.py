"""The dense fit: a student a little wider than what is alive, brought to nearly zero loss by SOAP."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from beyond.deep.network import Samples
from beyond.deep.student import Student
from beyond.soap import Soap

OVER, SPARE = 2.0, 20  # units and rows: times those that are alive, and so many more
NARROWER = [(1.7, 12), (1.5, 8), (1.3, 5), (1.2, 3)]  # the same, where samples are few


def sizes(s: int, m: int, d: int, k: int, targets: float) -> tuple[int, int]:
    """Units k1 and rows k2 of a student, from what is alive in a random network of s weights, m neurons and k outputs.

    A unit with s / q weights per m has inputs with probability p, and so has its use. Rows count that have weights of
    both signs: the others are in M. A student with more weights than there are targets for is narrower, though still a
    little wider than the network: one that fits any targets tells nothing.
    """
    q = 2 + (k > 1)
    p = 1 - np.exp(-s / (q * m))
    mixed = (1 - np.exp(-s * p / (q * m) / 2)) ** 2
    live = m * p**q, m * mixed * (p if k > 1 else 1)
    for over, spare in [(OVER, SPARE), *NARROWER]:
        k1, k2 = (int(over * number) + spare for number in live)
        if k1 * (d + k2) + k * (k1 + k2) <= targets:
            break
    return k1, k2


def random_student(d: int, k: int, units: int, rows: int, rng: np.random.Generator) -> Student:
    """Random weights; with one output, C holds signs."""
    return Student(rng.normal(0, d**-0.5, (units, d)), rng.normal(0, (2 / units) ** 0.5, (rows, units)),
                   rng.normal(0, (0.5 / rows) ** 0.5, (k, rows)), rng.normal(0, (0.5 / units) ** 0.5, (k, units)))


def trained(net: Student, data: Samples, rates: Iterable[float], rng: np.random.Generator, batch: int) -> Student:
    """The student after steps of SOAP at some rates, on batches of about so many samples, in the data's precision."""
    dtype = data.XT.dtype
    net = net.astype(dtype)
    soap = Soap(net.parts)
    for rate, (XT, Y) in zip(rates, batches(data, rng, batch), strict=False):
        now = net.signals(XT)
        D = (now.Y - Y) * dtype.type(2 / Y.size)
        soap.step(net.gradient(D, XT, now), rate)
    return net.astype(np.float64)


def batches(data: Samples, rng: np.random.Generator, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All samples in batches, in a new random order whenever all have been there."""
    parts = np.array_split(np.arange(len(data)), max(len(data) // size, 1))
    cut = [(np.ascontiguousarray(data.XT[:, part]), np.ascontiguousarray(data.y[:, part])) for part in parts]
    return itertools.chain.from_iterable((cut[number] for number in rng.permutation(len(cut)))
                                         for _ in itertools.repeat(None))
