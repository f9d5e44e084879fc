"""A count sketch (Charikar, Chen and Farach-Colton 2002): a long vector of sums in O(s log(N / s)) memory.

Coordinate i of a vector of length N goes into one bucket of each of 4 rows, with a sign:

    bucket_r[hash_r(i)] += sign_r(i) * delta_i,      estimate i = median over rows r of sign_r(i) bucket_r[hash_r(i)]

AIHT with vector outputs keeps its running sum of updates in one, to decide which weights survive. The hash is the
multiply-add-shift scheme on 64 bits (Dietzfelbinger 1996), pairwise independent for N < 2^32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sensing import array_module

ROWS = 4  # the paper's value; `estimate` takes the median of four
CHUNK = 2**14  # coordinates at once: their temporaries stay in a 1 MiB cache; does not change any bit of the result
SKETCH_STREAM = 5  # named random stream: default_rng([seed, stream, layer])


class CountSketch:
    """Sums of sparse or dense updates to a vector of length `size`, from which single entries can be estimated.

    Args:
        size: N.  s: the number of entries that one wants to tell apart; each row has int(s max(1, ln(N / s))) buckets.
        rng: host generator of the hash functions.
        xp: NumPy or CuPy, where the buckets live.
        map_rows: `map` or a parallel one, for the four rows.
    """

    def __init__(self, size: int, s: int, rng: np.random.Generator, xp=np, map_rows: Callable = map):
        self.width = max(int(s * max(1.0, math.log(size / s))), 1)
        self.table = xp.zeros((ROWS, self.width))  # float64
        self._factors = rng.integers(2**64, size=(ROWS, 2), dtype=np.uint64)
        self._map = map_rows

    def add(self, indices, deltas):
        """Add deltas [c] float64 at indices [c]; many calls give the same bits as one."""
        xp = array_module(self.table)

        def add_row(row):
            for part in chunks(len(indices)):
                buckets, signed = self._hash(row, indices[part], deltas[part])
                xp.add.at(self.table[row], buckets, signed)

        list(self._map(add_row, range(ROWS)))

    def estimate(self, indices):
        """Estimates [c] of the sums at indices [c]; that of each row is unbiased, since the signs are random."""

        def estimate_row(row):
            return [self._hash(row, indices[part]) for part in chunks(len(indices))]

        xp = array_module(self.table)
        nothing = self.table[0, :0]
        return median_of_four(*(xp.concatenate([nothing, *row]) for row in self._map(estimate_row, range(ROWS))))

    def _hash(self, row: int, indices, deltas=None):
        """Buckets and signed deltas; without deltas the signed contents of the buckets."""
        factor, shift = self._factors[row]
        h = indices.astype(np.uint64) * factor + shift
        buckets = (((h >> np.uint64(33)) * np.uint64(self.width)) >> np.uint64(31)).astype(np.int64)
        values = self.table[row].take(buckets) if deltas is None else deltas
        sign = (h << np.uint64(31)) & np.uint64(2**63)  # bit 32 of the hash, moved to the sign bit of a float64
        signed = (values.view(np.uint64) ^ sign).view(np.float64)
        return signed if deltas is None else (buckets, signed)


def chunks(length: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, length, CHUNK)]


def median_of_four(a, b, c, d):
    """The mean of the middle two, entry by entry."""
    xp = array_module(a)
    low = xp.maximum(xp.minimum(a, b), xp.minimum(c, d))
    high = xp.minimum(xp.maximum(a, b), xp.maximum(c, d))
    return (low + high) / 2
