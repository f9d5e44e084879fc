"""Random streams: every random number of the project comes from one of the generators named here.

A stream is fixed by the seed, its number below and whatever else tells one draw from another (the layer, the block, the
round). All numbers are drawn on the host, by NumPy, and then moved, so that a CPU and a GPU solve the same instance.
The planted networks, their normal inputs and the frequencies of the image tasks are the published draws, made with
RandomState in tasks.py; the initial weights of IMP are torch's (models.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from enum import IntEnum, unique

import numpy as np

from numerics.arrays import DTYPE

DRAW_BLOCK = 64  # rows or columns per generator; part of the definition of an instance, never tuned


@unique
class Stream(IntEnum):
    """What is drawn from a stream. A number is never given twice: NumPy pads keys with zeros, so two streams with one
    number could coincide whatever else their keys hold."""

    GATES = 1  # random gates h_j; key: layer, block of neurons
    GAUSSIAN = 2  # the matrix of gaussian_sparse; key: block of columns
    AIHT_BATCHES = 3  # key: layer
    SIGNAL = 4  # the support of the signal of gaussian_sparse
    SKETCH = 5  # hash functions of the count sketch; key: layer
    FILL = 6  # start-up values of AIHT with k outputs; key: layer, block of neurons
    CANDIDATES = 7  # gates that gnhtp tries; key: layer, step, block of neurons
    INPUTS = 8  # inputs of mlp_planted that are not normal
    SUPPORTS = 9  # random supports of studies/conditions.py; key: number of the support
    IMP_BATCHES = 10  # key: round
    FINETUNE_BATCHES = 11  # key: round
    CREASES = 12  # crease pursuit; key: 0 for the samples of its search, 1 for its choices
    DST = 13  # masks at the start and growth of dynamic sparse training, in one sequence
    DST_BATCHES = 14  # key: epoch
    SIGNS = 15  # output weights +-1 of a planted network
    NOISE = 16  # of the targets
    TRIALS = 17  # random starts of beyond/deep, and its samples
    HISTORY = 18  # samples of the loss and the score of sweep/history.py
    PICTURE = 19  # samples of the picture of studies/creases.py
    CURVATURE = 20  # beyond/obs; key: 0 for the order of its samples, 1 for its search, 2 for what is held out

    def generator(self, seed: int, *key: int) -> np.random.Generator:
        """The generator of this stream under a seed."""
        return np.random.default_rng([seed, self, *key])

    def rows(self, numbers: np.ndarray, shape: tuple[int, int], seed: int, *key: int,
             draw: Callable[..., np.ndarray] = np.random.Generator.standard_normal) -> np.ndarray:
        """Rows [b, .] of a random matrix of a shape, float32, drawn in blocks of DRAW_BLOCK: any can be drawn again.

        Args:
            numbers: of the rows [b], ascending.  key: of the matrix; the number of a block follows it.
            draw: method of a generator that draws a block.
        """
        rows = np.empty((len(numbers), shape[1]), dtype=DTYPE)
        blocks, starts = np.unique(numbers // DRAW_BLOCK, return_index=True)
        for block, (start, stop) in zip(blocks.tolist(), itertools.pairwise([*starts, len(numbers)]), strict=True):
            first = block * DRAW_BLOCK
            drawn = draw(self.generator(seed, *key, block), (min(DRAW_BLOCK, shape[0] - first), shape[1]), dtype=DTYPE)
            rows[start:stop] = drawn[numbers[start:stop] - first]
        return rows
