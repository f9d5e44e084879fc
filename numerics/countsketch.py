"""A count sketch (Charikar, Chen and Farach-Colton 2002): a long vector of sums in O(s log(N / s)) memory.

Coordinate i of a vector of length N goes into one bucket of each of 4 rows, with a sign:

    bucket_r[hash_r(i)] += sign_r(i) * delta_i,      estimate i = median over rows r of sign_r(i) bucket_r[hash_r(i)]

AIHT with vector outputs keeps its running sum of updates in one, to decide which weights survive. The hash is the
multiply-add-shift scheme on 64 bits (Dietzfelbinger 1996), pairwise independent for N < 2^32.

A GPU adds up what falls into one bucket in an order that varies from run to run. Its sums are therefore formed in
whole numbers (`fixed_point`), which any order gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np

from numerics.arrays import Array, array_module, slices

ROWS = 4  # the paper's value; `estimate` takes the median of four
CHUNK = 2**15  # coordinates at once: their temporaries stay in a 1 MiB cache; changes no bit of the result
FIXED_BITS = 62  # of a sum in fixed point, which then stays within a signed 64-bit number
SMALLEST_PEAK = 1e-200  # below it the unit of a sum in fixed point would not be a float64


class CountSketch:
    """Sums of sparse or dense updates to a vector of length `size`, from which single entries can be estimated.

    Args:
        size: N.  s: the number of entries that one wants to tell apart; each row has int(s max(1, ln(N / s))) buckets.
        rng: host generator of the hash functions.
        xp: NumPy or CuPy, where the buckets live.
        map_parts: `map` or a parallel one, for the rows of an update and the chunks of an estimate.
    """

    def __init__(self, size: int, s: int, rng: np.random.Generator, xp: ModuleType = np, map_parts: Callable = map):
        self.width = max(int(s * max(1.0, math.log(size / s))), 1)
        self.table = xp.zeros((ROWS, self.width))  # float64
        self._factors = rng.integers(2**64, size=(ROWS, 2), dtype=np.uint64)
        self._map = map_parts

    def add(self, indices: Array, deltas: Array) -> None:
        """Add deltas [c] float64 at indices [c]. On the host, many calls give the same bits as one."""
        xp = array_module(self.table)

        def add_row(row):
            for part in chunks(len(indices), xp):
                buckets, signed = self._hash(row, indices[part], deltas[part])
                if xp is np:
                    xp.add.at(self.table[row], buckets, signed)
                else:
                    self.table[row] += fixed_point_sums(buckets, signed, unit, self.width)

        unit = None if xp is np or not len(indices) else fixed_point_unit(deltas)
        list(self._map(add_row, range(ROWS)))

    def estimate(self, indices: Array) -> Array:
        """Estimates [c] of the sums at indices [c]; that of each row is unbiased, since the signs are random."""

        def estimate_part(part):
            return median_of_four(*(self._hash(row, indices[part]) for row in range(ROWS)))

        xp = array_module(self.table)
        return xp.concatenate([self.table[0, :0], *self._map(estimate_part, chunks(len(indices), xp))])

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


def chunks(length: int, xp: ModuleType) -> list[slice]:
    """Cut `length` coordinates into runs of at most CHUNK; on a GPU all at once, since a launch costs most there."""
    return slices(length, CHUNK if xp is np else max(length, 1))


def fixed_point_unit(values: Array) -> Array:
    """The power of two in which sums of values [c] have at most FIXED_BITS bits; NaN where one is inf or NaN."""
    xp = array_module(values)
    peak = xp.maximum(xp.abs(values).max(), SMALLEST_PEAK)
    return xp.exp2(xp.ceil(xp.log2(peak)) + (len(values).bit_length() - FIXED_BITS)) + 0 * peak


def fixed_point_sums(buckets: Array, values: Array, unit: Array, width: int) -> Array:
    """Sums [width] float64 of values [c] by their buckets [c]; exact in whole units, and so the same in any order.

    Negative values are complements to 2^64: CuPy cannot add at places of an int64.
    """
    xp = array_module(values)
    sums = xp.zeros(width, dtype=np.uint64)
    xp.add.at(sums, buckets, xp.rint(values / unit).astype(np.int64).view(np.uint64))
    return sums.view(np.int64).astype(np.float64) * unit


def median_of_four(a: Array, b: Array, c: Array, d: Array) -> Array:
    """The mean of the middle two, entry by entry."""
    xp = array_module(a)
    low = xp.maximum(xp.minimum(a, b), xp.minimum(c, d))
    high = xp.minimum(xp.maximum(a, b), xp.maximum(c, d))
    return (low + high) / 2
