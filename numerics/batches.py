"""The steps of a fit in mini-batches, and their samples as contiguous arrays, gathered many batches at a time.

Samples are held feature-major. To gather 5000 of 50000 for each batch by itself reads every cache line of the inputs
each time: 29 ms at 784 inputs, where all ten batches of an epoch together take 48 ms (one core, EPYC Zen 5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from numerics.arrays import Array, array_module, to_device
from numerics.streams import Stream
from numerics.workspace import TILE_ENTRIES, Workspace

Batch = slice | np.ndarray  # slice(None) for all samples, or their numbers [b]
Step = tuple[int, Batch, bool]  # epoch, batch, whether the gates become those of the weights after this step


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Gradient steps of a pass through n samples; a batch_size of 0 is full batch."""
    return math.ceil(n / batch_size) if batch_size else 1


def batches(n: int, batch_size: int, num_epochs: int, rng: np.random.Generator) -> Iterator[tuple[int, Batch]]:
    """Yield (epoch, batch): everything at once for batch_size 0 or n, else a new random order each epoch.

    The last, smaller batch of an epoch is kept.
    """
    for epoch in range(num_epochs):
        if batch_size in (0, n):
            yield epoch, slice(None)
            continue
        order = rng.permutation(n)
        for start in range(0, n, batch_size):
            yield epoch, order[start : start + batch_size]


@dataclass(frozen=True)
class Schedule:
    """The steps of AIHT on one layer, (epoch, batch, update); the same ones each time it is gone through.

    The gates are updated after every `update_every`-th step, counted from step 0, but not in the first epoch, which
    keeps the random gates.

    Args:
        n: samples.  num_epochs: passes over them.  batch_size: 0 for full batch.
        update_every: 0 for gates that are never updated.  seed, layer: of the random stream of the mini-batches.
    """

    n: int
    num_epochs: int
    batch_size: int = 0
    update_every: int = 1
    seed: int = 0
    layer: int = 0

    def __iter__(self) -> Iterator[Step]:
        rng = Stream.AIHT_BATCHES.generator(self.seed, self.layer)
        for step, (epoch, batch) in enumerate(batches(self.n, self.batch_size, self.num_epochs, rng)):
            yield epoch, batch, self.update_every > 0 and epoch >= 1 and step % self.update_every == 0


def with_samples(schedule: Iterable[Step], XT: Array, y: Array,
                 work: Workspace) -> Iterator[tuple[int, Array, Array, bool]]:
    """The steps of a schedule with the samples themselves: yields (epoch, XT, y, update).

    Full-batch steps yield the arrays XT and y that were given, others copies. Those of one epoch are made together, as
    many as a quarter of the memory budget holds, and the next ones overwrite them.

    Args:
        XT: inputs [d, n].  y: targets [n] or [k, n].
    """
    room: list[Array] = []
    for (_, size), group in itertools.groupby(schedule, lambda step: (step[0], batch_length(step[1]))):
        steps = list(group)
        if not size:
            yield from ((epoch, XT, y, update) for epoch, _, update in steps)
            continue
        at_once = max(work.bytes // 4 // (size * (XT.nbytes + y.nbytes) // XT.shape[-1] + 1), 1)
        for start in range(0, len(steps), at_once):
            run = steps[start : start + at_once]
            order = np.array([batch for _, batch, _ in run])
            room = room or [array_module(array).empty(order.size * (array.size // XT.shape[-1]), dtype=array.dtype)
                            for array in (XT, y)]
            samples = (gather(array, order, out, work) for array, out in zip((XT, y), room, strict=True))
            yield from ((epoch, *parts, update) for (epoch, _, update), *parts in zip(run, *samples, strict=True))


def batch_length(batch: Batch) -> int:
    """Samples of a batch; 0 for a full batch."""
    return 0 if isinstance(batch, slice) else len(batch)


def gather(array: Array, order: np.ndarray, out: Array, work: Workspace) -> Array:
    """Batches [c, ..., b] of an array [..., n] for sample numbers [c, b], each of them contiguous.

    Args:
        out: room for them, of at least as many entries [...].
    """
    xp, places = array_module(array), to_device(order, array)
    rows = array.reshape(-1, array.shape[-1])
    gathered = out[: len(rows) * order.size].reshape(len(order), len(rows), order.shape[1])
    at_once = max(TILE_ENTRIES // rows.shape[1], 1) if xp is np else len(rows)

    def fill(first: int) -> None:
        part = slice(first, first + at_once)
        if xp is np:
            rows[part].max(axis=1)  # reads them in order, into the cache: 74 ms of random access become 48
        gathered[:, part] = rows[part].take(places, axis=1).swapaxes(0, 1)

    work.map(fill, range(0, len(rows), at_once))
    return gathered.reshape(len(order), *array.shape[:-1], order.shape[1])
