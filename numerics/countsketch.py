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

from numerics.arrays import Array, array_module, slices, to_device

ROWS = 4  # the paper's value; `estimate` takes the median of four
CHUNK = 2**15  # coordinates at once: their temporaries stay in a 1 MiB cache; changes no bit of the result
FIXED_BITS = 62  # of a sum in fixed point, which then stays within a signed 64-bit number
SMALLEST_PEAK = 1e-200  # below it the unit of a sum in fixed point would not be a normal float64
KEPT_BYTES = 2 * ROWS * 8  # of a coordinate whose places are kept

Places = tuple[Array, Array]  # of c coordinates in r rows: buckets [r, c] of the whole table, and sign bits [r, c]


class CountSketch:
    """Sums of sparse or dense updates to a vector of length `size`, from which single entries can be estimated.

    The places of coordinates are kept for the next call, which as a rule has the same ones.

    Args:
        size: N.  s: the number of entries that one wants to tell apart; each row has int(s max(1, ln(N / s))) buckets.
        rng: host generator of the hash functions.
        xp: NumPy or CuPy, where the buckets live.
        map_parts: `map` or a parallel one, for the rows of an update and the chunks of an estimate.
        room: bytes for the places that are kept, KEPT_BYTES a coordinate.
    """

    def __init__(self, size: int, s: int, rng: np.random.Generator, xp: ModuleType = np, map_parts: Callable = map,
                 room: int = CHUNK * KEPT_BYTES):
        self.width = max(int(s * max(1.0, math.log(size / s))), 1)
        self.table = xp.zeros((ROWS, self.width))  # float64
        self._factors = xp.asarray(rng.integers(2**64, size=(ROWS, 2), dtype=np.uint64))
        self._first = xp.arange(ROWS, dtype=np.uint64)[:, None] * np.uint64(self.width)  # bucket of each row
        self._map, self._kept = map_parts, Kept(room // KEPT_BYTES)

    def add(self, indices: np.ndarray, deltas: Array) -> None:
        """Add deltas [c] float64 at indices [c], which are on the host. There many calls give the bits of one."""

        def add_to(row):
            for part in slices(len(indices), CHUNK):
                add_at(self.table, self._hash(slice(row, row + 1), indices[part]), deltas[part])

        if not len(indices):
            return
        if self._at_once(indices):
            add_at(self.table, self._places(indices), deltas)
        else:
            list(self._map(add_to, range(ROWS)))

    def estimate(self, indices: np.ndarray) -> Array:
        """Estimates [c] of the sums at indices [c]; that of each row is unbiased, since the signs are random."""

        def estimate_part(part):
            return median_of_four(contents(self.table, self._hash(slice(ROWS), indices[part])))

        if self._at_once(indices):
            return median_of_four(contents(self.table, self._places(indices)))
        return np.concatenate([*self._map(estimate_part, slices(len(indices), max(CHUNK // ROWS, 1)))])

    def _at_once(self, indices: np.ndarray) -> bool:
        """Whether to take all coordinates [c] at once: always on a GPU, where a launch costs most."""
        return len(indices) <= self._kept.most or array_module(self.table) is not np

    def _places(self, indices: np.ndarray) -> Places:
        """The places of coordinates [c], those that are kept or new ones, which are kept."""
        places = self._kept.find(indices)
        return self._kept.keep(indices, self._hash(slice(ROWS), indices)) if places is None else places

    def _hash(self, rows: slice, indices: np.ndarray) -> Places:
        """The places of coordinates [c] in some rows."""
        factors, shifts = self._factors[rows].T[:, :, None]
        h = to_device(indices, self.table).astype(np.uint64) * factors
        h += shifts
        buckets = h >> np.uint64(33)
        buckets *= np.uint64(self.width)
        buckets >>= np.uint64(31)
        buckets += self._first[rows]
        h <<= np.uint64(31)
        h &= np.uint64(2**63)  # bit 32 of the hash is now the sign bit of a float64
        return buckets.view(np.int64), h


class Kept:
    """Places by their coordinates, of `most` coordinates in all; the oldest go first."""

    def __init__(self, most: int):
        self.most = most
        self._known: dict[tuple[int, int], tuple[np.ndarray, Places]] = {}

    def find(self, indices: np.ndarray) -> Places | None:
        """The places of coordinates [c], if they are kept."""
        known = self._known.get(self._key(indices))
        return known[1] if known and np.array_equal(known[0], indices) else None

    def keep(self, indices: np.ndarray, places: Places) -> Places:
        """Keep the places of coordinates [c], if they are not too many."""
        if len(indices) > self.most:
            return places
        self._known.pop(self._key(indices), None)
        while self._known and sum(length for length, _ in self._known) + len(indices) > self.most:
            del self._known[next(iter(self._known))]
        self._known[self._key(indices)] = indices, places
        return places

    @staticmethod
    def _key(indices: np.ndarray) -> tuple[int, int]:
        """Number and first of coordinates [c], which tell most of them from others."""
        return len(indices), int(indices[0]) if len(indices) else 0


def contents(table: Array, places: Places) -> Array:
    """The signed contents [r, c] of places of coordinates in all rows of a table [r, width]."""
    buckets, signs = places
    found = table.reshape(-1).take(buckets).view(np.uint64)
    found ^= signs
    return found.view(np.float64)


def add_at(table: Array, places: Places, deltas: Array) -> None:
    """Add deltas [c] float64 to a table [r, width], in place, at the places of their coordinates in some rows."""
    xp, (buckets, signs), flat = array_module(table), places, table.reshape(-1)
    signed = (deltas.view(np.uint64) ^ signs).view(np.float64)
    if xp is np:
        np.add.at(flat, buckets.ravel(), signed.ravel())
    else:
        flat += fixed_point_sums(buckets, signed, fixed_point_unit(deltas), len(flat))


def fixed_point_unit(values: Array) -> Array:
    """A unit in which sums of values [c] have at most FIXED_BITS bits; inf or NaN where one of them is."""
    xp = array_module(values)
    return xp.maximum(xp.abs(values).max(), SMALLEST_PEAK) * 2.0 ** (len(values).bit_length() - FIXED_BITS)


def fixed_point_sums(buckets: Array, values: Array, unit: Array, width: int) -> Array:
    """Sums [width] float64 of values by their buckets, arrays of one shape; in whole units, so the same in any order.

    Negative values are complements to 2^64: CuPy cannot add at places of an int64. A unit that is not finite makes all
    sums NaN.
    """
    xp = array_module(values)
    sums = xp.zeros(width, dtype=np.uint64)
    xp.add.at(sums, buckets, xp.rint(values / unit).astype(np.int64).view(np.uint64))
    return sums.view(np.int64) * unit


def median_of_four(rows: Array) -> Array:
    """The mean [c] of the middle two of four rows [4, c]: the larger of two minima, the smaller of two maxima."""
    xp = array_module(rows)
    low, high = xp.minimum(rows[:2], rows[2:]), xp.maximum(rows[:2], rows[2:])
    return (xp.maximum(low[0], low[1]) + xp.minimum(high[0], high[1])) / 2
