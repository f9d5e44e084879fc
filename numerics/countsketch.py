"""A count sketch (Charikar, Chen and Farach-Colton 2002): a long vector of sums in O(s log(N / s)) memory.

Coordinate i of a vector of length N goes into one bucket of each of 4 rows, with a sign:

    bucket_r[hash_r(i)] += sign_r(i) * delta_i,      estimate i = median over rows r of sign_r(i) bucket_r[hash_r(i)]

AIHT with vector outputs keeps its running sum of updates in one, to decide which weights survive. The hash is the
multiply-add-shift scheme on 64 bits (Dietzfelbinger 1996), pairwise independent for N < 2^32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np

from numerics.arrays import Array, array_module

ROWS = 4  # the paper's value; `estimate` takes the median of four
CHUNK = 2**15  # coordinates at once: their temporaries stay in a 1 MiB cache; changes no bit of the result


class CountSketch:
    """Sums of sparse or dense updates to a vector of length `size`, from which single entries can be estimated.

    Args:
        size: N.  s: the number of entries that one wants to tell apart; each row has int(s max(1, ln(N / s))) buckets.
        rng: host generator of the hash functions.
        xp: NumPy or CuPy, where the buckets live.
        map_parts: `map` or a parallel one, for the rows of an update and the chunks of an estimate.
    """

    def __init__(self, size: int, s: int, rng: np.random.Generator, xp: ModuleType = np,
                 map_parts: Callable = map):
        self.width = max(int(s * max(1.0, math.log(size / s))), 1)
        self.table = xp.zeros((ROWS, self.width))  # float64
        self._factors = rng.integers(2**64, size=(ROWS, 2), dtype=np.uint64)
        self._map = map_parts

    def add(self, indices: Array, deltas: Array) -> None:
        """Add deltas [c] float64 at indices [c]; many calls give the same bits as one."""
        xp = array_module(self.table)

        def add_row(row):
            for part in chunks(len(indices)):
                buckets, signed = self._hash(row, indices[part], deltas[part])
                xp.add.at(self.table[row], buckets, signed)

        list(self._map(add_row, range(ROWS)))

    def estimate(self, indices: Array) -> Array:
        """Estimates [c] of the sums at indices [c]; that of each row is unbiased, since the signs are random."""

        def estimate_part(part):
            return median_of_four(*(self._hash(row, indices[part]) for row in range(ROWS)))

        xp = array_module(self.table)
        return xp.concatenate([self.table[0, :0], *self._map(estimate_part, chunks(len(indices)))])

    def _hash(self, row: int, indices, deltas=None):
        """Buckets and signed deltas; without deltas the signed contents of the buckets."""
        factor, shift = self._factors[row]
        h = indices.astype(np.uint64)  # in place from here on: what a chunk takes stays in the cache
        h *= factor
        h += shift
        buckets = h >> np.uint64(33)
        buckets *= np.uint64(self.width)
        buckets >>= np.uint64(31)
        buckets = buckets.view(np.int64)
        h <<= np.uint64(31)
        h &= np.uint64(2**63)  # bit 32 of the hash is now the sign bit of a float64
        h ^= (self.table[row].take(buckets) if deltas is None else deltas).view(np.uint64)
        signed = h.view(np.float64)
        return signed if deltas is None else (buckets, signed)


def chunks(length: int) -> list[slice]:
    """Cut `length` coordinates into runs of at most CHUNK."""
    return [slice(start, start + CHUNK) for start in range(0, length, CHUNK)]


def median_of_four(a: Array, b: Array, c: Array, d: Array) -> Array:
    """The mean of the middle two, entry by entry."""
    xp = array_module(a)
    low = xp.maximum(xp.minimum(a, b), xp.minimum(c, d))
    high = xp.minimum(xp.maximum(a, b), xp.maximum(c, d))
    return (low + high) / 2
