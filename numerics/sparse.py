"""Sparse vectors, and the hard threshold: the s entries that are largest in magnitude, by rank.

What has the length of a support lives on the host, whatever computes the products: a GPU takes longer to begin an
operation than a CPU to carry it out on a few hundred numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numerics.arrays import DTYPE, Array, array_module, to_host


@dataclass(frozen=True)
class SparseVector:
    """A vector of length `size` on the host, as ascending indices [c] int64 and values [c]."""

    indices: np.ndarray
    values: np.ndarray
    size: int

    @classmethod
    def zeros(cls, size: int) -> SparseVector:
        """A vector without nonzeros."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=DTYPE), size)

    def __len__(self) -> int:
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        """Whether it stores the same entries."""
        return isinstance(other, SparseVector) and self.size == other.size and len(self) == len(other) and bool(
            (self.indices == other.indices).all() and (self.values == other.values).all())

    def rows(self, neurons: np.ndarray, length: int) -> np.ndarray:
        """Some rows [b, length] of the vector seen as a matrix [size / length, length], for ascending numbers [b]."""
        rows = np.zeros((len(neurons), length), dtype=self.values.dtype)
        owner, column = np.divmod(self.indices, length)
        if len(neurons):
            place, here = find(owner, neurons)
            rows[place[here], column[here]] = self.values[here]
        return rows

    def stored_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where its entries stand among ascending indices [b], and their values, of those that are there."""
        if not len(places):
            return self.indices[:0], self.values[:0]
        at, here = find(self.indices, places)
        return at[here], self.values[here]

    def at(self, places: np.ndarray) -> np.ndarray:
        """The entries [b] at ascending indices [b], 0 where none is stored."""
        entries = np.zeros(len(places), dtype=self.values.dtype)
        at, values = self.stored_at(places)
        entries[at] = values
        return entries

    def is_on_support_of(self, other: SparseVector) -> bool:
        """Whether both store the same entries."""
        return len(self) == len(other) and bool((self.indices == other.indices).all())

    def toarray(self) -> np.ndarray:
        """The dense vector [size]."""
        dense = np.zeros(self.size, dtype=self.values.dtype)
        dense[self.indices] = self.values
        return dense

    def nonzero(self) -> SparseVector:
        """Without the entries that are stored but zero."""
        keep = self.values != 0
        return self if keep.all() else SparseVector(self.indices[keep], self.values[keep], self.size)


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Each of some ascending numbers once; many times as fast as numpy.unique where they are few."""
    return np.concatenate([numbers[:1], numbers[1:][numbers[1:] != numbers[:-1]]])


def find(numbers: np.ndarray, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of some numbers [b] stands among ascending ones, of which there are some, and whether it does at all.

    Many times as fast as numpy.isin where they are few.
    """
    places = np.minimum(np.searchsorted(listed, numbers), len(listed) - 1)
    return places, listed[places] == numbers


# ---- the largest entries ----


class Largest:
    """The s entries largest in magnitude of all that were added, ascending; of equal ones the first.

    Attributes:
        indices, values: of these entries [c], on the host.
    """

    def __init__(self, s: int):
        self.s = s
        self.indices, self.values = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=DTYPE)

    def add(self, indices: np.ndarray, values: Array, some: np.ndarray | None = None) -> None:
        """Add values [b], on any device, at indices [b] that ascend beyond those before.

        Args:
            some: places of values that may well be large: s of them tell which others need no look.
        """
        places, values = to_choose_from(values, self.s, some)
        self.indices, self.values = largest(np.concatenate([self.indices, indices[places]]),
                                            np.concatenate([self.values, values]), self.s)


class LargestByEstimate:
    """The s candidates of largest |estimate| of all that were added; of equal ones the first.

    Attributes:
        indices, values, estimates: of these candidates [c], on the host.
    """

    def __init__(self, s: int):
        self.s = s
        self.indices, self.values, self.estimates = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=DTYPE), np.zeros(0)

    def add(self, place: np.ndarray, u: Array, estimates: Array) -> None:
        """Add entries u [c], but not zeros, with their estimates [c], on any device, at indices [c] on the host."""
        if not isinstance(u, np.ndarray):
            place, u, estimates = candidates(place, u, estimates, self.s)
        there = u != 0
        if not there.all():
            place, u, estimates = place[there], u[there], estimates[there]
        estimates = np.concatenate([self.estimates, estimates])
        keep = top_mask(np.abs(estimates), self.s)
        self.indices, self.values = np.concatenate([self.indices, place])[keep], np.concatenate([self.values, u])[keep]
        self.estimates = estimates[keep]


def candidates(place: np.ndarray, u: Array, estimates: Array, s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of a GPU that may be among the s of largest |estimate|, on the host; all where they are not 0."""
    xp = array_module(u)
    order = xp.argsort(xp.where(u != 0, -xp.abs(estimates), 1.0), kind="stable")[:s]
    chosen = to_host(xp.stack([xp.arange(len(u), dtype=np.float64), u, estimates])[:, order])
    chosen = chosen[:, np.argsort(chosen[0])]
    return place[chosen[0].astype(np.int64)], chosen[1].astype(DTYPE), chosen[2]


def to_choose_from(values: Array, s: int, some: np.ndarray | None = None) -> tuple[slice | np.ndarray, np.ndarray]:
    """Places and values, on the host, of those of values [c] that may be among the s largest: on a GPU s of them.

    None of the s largest is below the least of any s: the places of these are `some`. At 40,000 values that takes
    26 us, where a partition took 880 (one core, EPYC Zen 5, s 100, others at work).
    """
    if isinstance(values, np.ndarray):
        if some is None or not 0 < s <= len(some):
            return slice(None), values
        magnitude = np.abs(values)
        places = np.flatnonzero(~(magnitude < magnitude[some].min()))
        return places, values[places]
    xp = array_module(values)
    order = xp.argsort(-xp.abs(values), kind="stable")[:s]  # of equal ones the first stay
    both = to_host(xp.stack([xp.arange(len(values), dtype=np.float64), values])[:, order])  # one transfer, not two
    places = both[0].astype(np.int64)
    ascending = np.argsort(places)
    return places[ascending], both[1, ascending].astype(values.dtype)


def largest(indices: np.ndarray, values: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """The s entries largest in magnitude of indices [c], ascending, and values [c]; of equal ones the first stay."""
    keep = top_mask(np.abs(values), s)
    return indices[keep], values[keep]


def top_mask(magnitude: np.ndarray, s: int) -> np.ndarray:
    """Mask [c] of the s largest of magnitudes [c]; of equal ones those with the lower position."""
    if s == 0 or len(magnitude) <= s:
        return np.full(len(magnitude), s > 0)
    bar = np.partition(magnitude, len(magnitude) - s)[len(magnitude) - s]
    keep = magnitude > bar
    tied = magnitude == bar
    return keep | (tied & (np.cumsum(tied) <= s - np.count_nonzero(keep)))
