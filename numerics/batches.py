"""The steps of a fit in mini-batches, and their samples as contiguous arrays, gathered many batches at a time.

Samples are held feature-major. To gather 5000 of 50000 for each batch by itself reads every cache line of the inputs
each time: 29 ms at 784 inputs, where all ten batches of an epoch together take 48 ms (one core, EPYC Zen 5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from numerics.arrays import Array, array_module, slices, to_device
from numerics.streams import Stream
from numerics.workspace import Workspace

CALL = 2**12  # entries to take at once from rows in the cache into their place; of several rows where batches are small

# epoch, samples (their numbers [b], or slice(None) for all), whether the gates are those of the weights from then on
Step = tuple[int, slice | np.ndarray, bool]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Gradient steps of a pass through n samples; a batch_size of 0 is full batch."""
    return math.ceil(n / batch_size) if batch_size else 1


@dataclass(frozen=True)
class Schedule:
    """The steps of AIHT on one layer, (epoch, batch, update); the same ones each time it is gone through.

    Mini-batches are those of a new random order each epoch; the last one of an epoch, which is smaller, is kept. The
    gates are updated after every `update_every`-th step, counted from step 0, but not in the first epoch, which keeps
    the random gates.

    Args:
        n: samples.  num_epochs: passes over them.  batch_size: 0 or n for full batch.
        update_every: 0 for gates that are never updated.  seed, layer: of the random stream of the mini-batches.
    """

    n: int
    num_epochs: int
    batch_size: int = 0
    update_every: int = 1
    seed: int = 0
    layer: int = 0

    def __iter__(self) -> Iterator[Step]:
        rng, n, size = Stream.AIHT_BATCHES.generator(self.seed, self.layer), self.n, self.batch_size
        for epoch in range(self.num_epochs):
            batches: list = [slice(None)] if size in (0, n) else np.split(rng.permutation(n), range(size, n, size))
            for step, batch in enumerate(batches, epoch * len(batches)):
                yield epoch, batch, self.update_every > 0 and epoch >= 1 and step % self.update_every == 0


def with_samples(schedule: Iterable[Step], XT: Array, y: Array,
                 work: Workspace) -> Iterator[tuple[int, Array, Array, bool]]:
    """The steps of a schedule with the samples themselves: yields (epoch, XT [d, n], y [n] or [k, n], update).

    Full-batch steps yield the arrays XT and y that were given, others copies. Those of one epoch are made together, as
    many as a quarter of the memory budget holds, and the next ones overwrite them.
    """
    room: list[Array] = []

    def kind(step: Step) -> tuple[int, int]:  # epoch, and samples of the batch; 0 for all of them
        return step[0], 0 if isinstance(step[1], slice) else len(step[1])

    for (_, size), group in itertools.groupby(schedule, kind):
        steps = list(group)
        if not size:
            yield from ((epoch, XT, y, update) for epoch, _, update in steps)
            continue
        at_once = max(work.bytes // 4 // (size * (XT.nbytes + y.nbytes) // XT.shape[-1] + 1), 1)
        for part in slices(len(steps), at_once):
            run = steps[part]
            order = np.array([batch for _, batch, _ in run])
            room = room or [array_module(array).empty(order.size * (array.size // XT.shape[-1]), dtype=array.dtype)
                            for array in (XT, y)]
            samples = (gather(array, order, out, work.map) for array, out in zip((XT, y), room, strict=True))
            yield from ((epoch, *parts, update) for (epoch, _, update), *parts in zip(run, *samples, strict=True))


def gather(array: Array, order: np.ndarray, out: Array, map_parts: Callable = map,
           chosen: np.ndarray | None = None) -> Array:
    """Batches [c, ..., b] of an array [..., n] for sample numbers [c, b], each contiguous, in the room of out [...].

    Args:
        map_parts: `map` or a parallel one.  chosen: the rows of an array [d, n] to take; None for all.
    """
    xp, places = array_module(array), to_device(order, array)
    rows, kind = array.reshape(-1, array.shape[-1]), array.shape[:-1] if chosen is None else (len(chosen),)
    number, length = math.prod(kind), order.shape[1]
    gathered = out[: number * order.size].reshape(len(order), number, length)
    at_once = -(-CALL // length) if xp is np else number

    def fill(part: slice) -> None:
        source = rows[part] if chosen is None else rows[chosen[part]]
        if xp is not np:
            gathered[:, part] = source.take(places, axis=1).swapaxes(0, 1)
            return
        source.max(axis=1)  # reads them in order, into the cache: 74 ms of random access become 48
        for batch, place in zip(gathered, places, strict=True):
            source.take(place, axis=1, out=batch[part], mode="clip")  # any other mode would copy `out`

    list(map_parts(fill, slices(number, at_once)))
    return gathered.reshape(len(order), *kind, length)
