"""Sparse vectors, and the hard threshold: the s entries that are largest in magnitude, by rank."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from numerics.arrays import DTYPE, Array, array_module, to_host


@dataclass(frozen=True)
class SparseVector:
    """A vector of length `size`, as ascending indices [c] int64 and values [c]."""

    indices: Array
    values: Array
    size: int

    @classmethod
    def zeros(cls, size: int, xp: ModuleType = np) -> SparseVector:
        """A vector without nonzeros, on the host or where the arrays of xp live."""
        return cls(xp.zeros(0, dtype=np.int64), xp.zeros(0, dtype=DTYPE), size)

    def __len__(self) -> int:
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        """Whether it stores the same entries."""
        return isinstance(other, SparseVector) and self.size == other.size and len(self) == len(other) and bool(
            (self.indices == other.indices).all() and (self.values == other.values).all())

    def to_host(self) -> SparseVector:
        """A copy on the host; itself if it is there."""
        return SparseVector(to_host(self.indices), to_host(self.values), self.size)

    def rows(self, neurons: Array, length: int) -> Array:
        """Some rows [b, length] of the vector seen as a matrix [size / length, length], for ascending numbers [b]."""
        xp = array_module(self.values)
        rows = xp.zeros((len(neurons), length), dtype=self.values.dtype)
        owner, column = xp.divmod(self.indices, length)
        if len(neurons):
            place, here = find(owner, neurons)
            rows[place[here], column[here]] = self.values[here]
        return rows

    def at(self, places: Array) -> Array:
        """The entries [b] at ascending indices [b], 0 where none is stored."""
        xp = array_module(self.values)
        entries = xp.zeros(len(places), dtype=self.values.dtype)
        if len(places):
            at, here = find(self.indices, places)
            xp.add.at(entries, at, xp.where(here, self.values, 0))
        return entries

    def is_on_support_of(self, other: SparseVector) -> bool:
        """Whether both store the same entries."""
        return len(self) == len(other) and bool((self.indices == other.indices).all())

    def toarray(self) -> Array:
        """The dense vector [size]."""
        dense = array_module(self.values).zeros(self.size, dtype=self.values.dtype)
        dense[self.indices] = self.values
        return dense

    def nonzero(self) -> SparseVector:
        """Without the entries that are stored but zero."""
        keep = self.values != 0
        return SparseVector(self.indices[keep], self.values[keep], self.size)


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Each of some ascending numbers once; many times as fast as numpy.unique where they are few."""
    return np.concatenate([numbers[:1], numbers[1:][numbers[1:] != numbers[:-1]]])


def find(numbers: Array, listed: Array) -> tuple[Array, Array]:
    """Where each of some numbers [b] stands among ascending ones, of which there are some, and whether it does at all.

    Many times as fast as numpy.isin where they are few.
    """
    xp = array_module(listed)
    places = xp.minimum(xp.searchsorted(listed, numbers), len(listed) - 1)
    return places, listed[places] == numbers


def largest(indices: Array, values: Array, s: int) -> tuple[Array, Array]:
    """The s entries largest in magnitude of indices [c], ascending, and values [c]; of equal ones the first stay."""
    keep = top_mask(array_module(values).abs(values), s)
    return indices[keep], values[keep]


def top_mask(magnitude: Array, s: int) -> Array:
    """Mask [c] of the s largest of magnitudes [c]; of equal ones those with the lower position."""
    xp = array_module(magnitude)
    if s == 0 or len(magnitude) <= s:
        return xp.full(len(magnitude), s > 0)
    bar = xp.partition(magnitude, len(magnitude) - s)[len(magnitude) - s]
    keep = magnitude > bar
    tied = magnitude == bar
    return keep | (tied & (xp.cumsum(tied) <= s - xp.count_nonzero(keep)))
