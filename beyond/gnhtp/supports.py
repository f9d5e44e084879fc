"""Which coordinates a support gains and loses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from beyond.gnhtp.layer import COLUMN_FLOOR, Layer, alone, directions, num_active
from beyond.gnhtp.least_squares import positive_definite
from numerics.arrays import DTYPE, array_module, to_device, to_host
from numerics.sparse import SparseVector, largest
from numerics.streams import Stream, draw_rows
from sensing import ReluSensing

DARING = (1.0, 0.25, 0.06, 0.0)  # mu, from bold to timid; 0 only refines the weights that are there


class CandidateGates:
    """Gate generators of an outer step: the active neurons' weights, then single inputs +-e_k, then draws of N(0, I_d).

    The draws are made when asked for, on the host.

    Args:
        w: the iterate, neurons 0 ... active - 1.  singles: (k, sign) [c, 2], the gates sign e_k of c further neurons.
        slots: number of gates in all.  key: of the random stream.
    """

    def __init__(self, w: SparseVector, d: int, singles: np.ndarray, slots: int, key: list[int]):
        self.w, self.d, self.singles, self.key = w, d, singles, key
        self.active = num_active(w, d)
        self.neurons = np.arange(slots)

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """Gate generators [b, d] for ascending neurons [b]."""
        first, last = np.searchsorted(neurons, [self.active, self.active + len(self.singles)])
        rows = self.w.rows(neurons, self.d)
        k, sign = self.singles[neurons[first:last] - self.active].T
        rows[np.arange(first, last), k] = sign
        rows[last:] = draw_rows(neurons[last:], len(self.neurons), self.d, self._draw)
        return rows

    def _draw(self, block: int, count: int) -> np.ndarray:
        return Stream.CANDIDATES.generator(*self.key, block).standard_normal((count, self.d), dtype=DTYPE)


def select(A: ReluSensing, w: SparseVector, r, s: int) -> list[np.ndarray]:
    """For each mu of DARING the s coordinates where |N w + mu G / N| is largest, from one pass over A.

    G = A' r and N are the column norms: (G / N)^2 is what column and residual alone would gain, (N w)^2 what dropping a
    weight would cost if columns were orthogonal.
    """

    def promises(weights, G, N):
        weighted = N * weights
        return [weighted + mu * G / N for mu in DARING]

    return leading(A, w, r, s, len(DARING), promises)


def newcomers(A: ReluSensing, w: SparseVector, r, count: int) -> np.ndarray:
    """The `count` coordinates without weight that alone would gain most, |G| / N; see select."""
    [S] = leading(A, w, r, count, 1, lambda weights, G, N: [(weights == 0) * G / N])
    return S


def leading(A: ReluSensing, w: SparseVector, r, s: int, count: int, promises: Callable) -> list[np.ndarray]:
    """For each of `count` promises the s coordinates where it is largest in magnitude and not 0, from one pass over A.

    Args:
        promises: function (weights, G = A' r, column norms N) -> the promises, of the same coordinates.
    """
    xp = array_module(r)
    w = SparseVector(to_device(w.indices, r), to_device(w.values, r), w.size)
    tops = [(w.indices[:0], w.values[:0])] * count
    for place, G, N in A.correlations(r):
        N += COLUMN_FLOOR * math.sqrt(len(r))
        tops = [largest(xp.concatenate([indices, place]), xp.concatenate([values, promise.astype(DTYPE)]), s)
                for (indices, values), promise in zip(tops, promises(w.at(place), G, N), strict=True)]
    return [to_host(indices[values != 0]) for indices, values in tops]


def eliminate(A_P, y, s: int) -> np.ndarray:
    """Places [s] of the columns of a pool that survive backward elimination.

    Without column i, least squares leaves x_i^2 / (K^-1)_ii more, K = A_P' A_P: unlike the size of a weight, that sees
    which columns can stand in for each other. A quarter of the excess goes at a time.
    """
    b = to_host(A_P.adjoint(y))
    inverse = np.linalg.inv(positive_definite(to_host(A_P.gram_matrix())))
    left = np.arange(len(b))
    while len(left) > s:
        cost = (inverse @ b[left]) ** 2 / np.diag(inverse)  # the diagonal is positive, since the matrix is definite
        worst = np.argsort(cost, kind="stable")[: max(1, (len(left) - s) // 4)]
        kept = np.delete(np.arange(len(left)), worst)
        shared = inverse[np.ix_(kept, worst)]  # the inverse of what stays is a Schur complement
        inverse = inverse[np.ix_(kept, kept)] - shared @ np.linalg.solve(inverse[np.ix_(worst, worst)], shared.T)
        left = left[kept]
    return left


def splits(w: SparseVector, d: int) -> np.ndarray:
    """Gates (k, sign) [c, 2] for the single weights of all neurons that have several.

    The usual last mistake is a neuron that stands for two planted ones of nearly the same direction, one of them with a
    single weight. No correlation shows it: their columns differ in the few samples between the two gates only.
    """
    return np.unique(directions(w, d)[~alone(w, d)], axis=0)


def draw_singles(w: SparseVector, d: int, taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` gates (k, sign) at random, for inputs k in use: where most neurons of a sparse network point.

    Not those of `taken`, nor the gate of a neuron that is there with its one weight: its columns would be there twice.
    """
    everything = [(k, sign) for k in np.unique(w.indices % d) for sign in (-1, 1)]
    known = set(map(tuple, np.concatenate([taken, directions(w, d)[alone(w, d)]])))
    free = np.array([single for single in everything if single not in known], dtype=np.int64).reshape(-1, 2)
    return rng.permutation(free)[:count]


def best_singles(data: Layer, w: SparseVector, r, count: int) -> np.ndarray:
    """The `count` gates (k, sign) [c, 2] of which relu(sign X_k), with a positive weight, alone would gain most.

    Not those of neurons that are there with this one weight.
    """
    promise = to_host(data.single_promise(r)).reshape(2, data.d)
    for k, sign in directions(w, data.d)[alone(w, data.d)]:
        promise[0 if sign > 0 else 1, k] = 0
    order = np.argsort(-promise, axis=None, kind="stable")[:count]
    row, k = np.divmod(order[promise.ravel()[order] > 0], data.d)
    return np.stack([k, 1 - 2 * row], axis=1)
