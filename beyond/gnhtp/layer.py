"""The problem of one layer, an iterate, and what both searches (anneal.py, regrow.py) do with it.

An iterate w [slots d] is a SparseVector on the host, weight (j, k) of neuron j and input k at the index j d + k. Only
neurons that have weights count; `slots` is how many there is room for, and changes from step to step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import aiht
from beyond.gnhtp.least_squares import cholesky, conjugate_gradients
from beyond.gram import added_up, unit
from fits import Progress
from numerics.arrays import DTYPE, Array, array_module, to_device, to_host
from numerics.batches import Schedule
from numerics.sparse import SparseVector, top_mask
from numerics.workspace import Workspace
from sensing import Gates, RandomGates, ReluSensing, WeightGates

GAUSS_NEWTON_STEPS, POLISHING_STEPS = 2, 3  # after each change of the support, and of an answer
MOVES = 0.5 ** np.arange(1, 6)  # shares of the way to the least squares solution, when all of it is too far
SAME = 1 - 1e-5  # cosine above which two neurons are one and are added up
EXACT = 1e-11  # |r|^2 / |y|^2 of an exact fit (117 to 125 dB)
COLUMN_FLOOR = 1e-3  # added to column norms, in units of sqrt(n): columns that are hardly ever on gain nothing
AIHT_STEPS = 100  # of the fit that competes with the first cycle of a search (the paper's number for images)


@dataclass(frozen=True)
class Iterate:
    """Weights, and the |r|^2 that they leave; the less, the better."""

    w: SparseVector
    loss: float

    def __lt__(self, other: Iterate) -> bool:
        return self.loss < other.loss


class LayerProblem:
    """y ~ sum_j relu(X w_j) with at most s weights and m neurons, and products with its data.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n], on the same device.
        key: seed and number of the layer, for the random streams.
        cg_steps: of conjugate gradients per least squares problem; None: Cholesky factors instead.
    """

    def __init__(self, XT: Array, y: Array, s: int, m: int, *, key: tuple[int, int], cg_steps: int | None,
                 work: Workspace, progress: Progress | None = None):
        self.XT, self.y, self.s, self.m, self.key, self.cg_steps = XT, y, s, m, key, cg_steps
        self.work, self.xp, self.progress = work, array_module(XT), progress
        self.d, self.n = XT.shape
        self.energy = self.loss(SparseVector.zeros(self.d))  # |y|^2

    def report(self, now: Iterate) -> None:
        """Tell the callback of the fit, if there is one, of an iterate, which may have room to spare."""
        if self.progress:
            w = renumber(now.w, self.d, max(self.m, num_active(now.w, self.d)))
            self.progress.step(w, loss=now.loss / self.energy if self.energy else 0.0)

    def is_exact(self, now: Iterate) -> bool:
        """Whether nothing is left to fit."""
        return now.loss <= EXACT * self.energy

    @functools.cached_property
    def scale(self) -> Array:
        """Root mean square of each input [d]."""
        squares = self.work.sum(lambda tile: self.xp.square(self.XT[:, tile]).sum(axis=1), self._tiles(self.XT))
        return self.xp.sqrt(squares / self.n)

    def sensing(self, gates: Gates, slots: int) -> ReluSensing:
        """The sensing matrix A [n, slots d] of some gates."""
        return ReluSensing(self.XT, gates, slots, self.work)

    def sensing_at(self, w: SparseVector) -> ReluSensing:
        """The sensing matrix whose gates are the weight vectors of w: A w = sum_j relu(X w_j)."""
        return self.sensing(WeightGates(w, self.d), w.size // self.d)

    def solve(self, A: ReluSensing, S: np.ndarray, w: SparseVector) -> SparseVector:
        """Least squares on the coordinates S; conjugate gradients start from the weights of w there."""
        A_S = A.columns(S)
        x = cholesky(A_S, self.y) if self.cg_steps is None else \
            conjugate_gradients(A_S, self.y, w.at(S), self.cg_steps)
        return SparseVector(S, x.astype(DTYPE), w.size)

    def residual(self, w: SparseVector) -> Array:
        """r = y - sum_j relu(X w_j) [n]."""
        inputs, W = self._dense(w)

        def part(tile: slice) -> Array:
            return self.y[tile] - self.xp.maximum(W @ self.XT[inputs, tile], 0).sum(axis=0)

        return self.xp.concatenate(self.work.map(part, self._tiles(W)))

    def loss(self, w: SparseVector) -> float:
        """|r|^2."""
        return float(self.losses(w, w, [0])[0])

    def losses(self, w: SparseVector, v: SparseVector, moves: Sequence[float] | np.ndarray) -> np.ndarray:
        """|r|^2 at w + t (v - w) for each t of `moves`; w and v have the same indices."""
        (inputs, W), (_, V) = self._dense(w), self._dense(v)
        D = V - W

        def part(tile: slice) -> Array:
            X, y = self.XT[inputs, tile], self.y[tile]
            Z, dZ = W @ X, D @ X
            residuals = (y - self.xp.maximum(Z + DTYPE(t) * dZ, 0).sum(axis=0) for t in moves)
            return self.xp.stack([self.xp.sum(self.xp.square(r, dtype=np.float64)) for r in residuals])

        return to_host(self.work.sum(part, self._tiles(W)))

    def single_gains(self, r: Array) -> Array:
        """Correlation of r with relu(X_k) for each input k, then with relu(-X_k), over the column's norm [2 d].

        Where it is g > 0, that neuron alone, with its best weight, lowers |r|^2 by g^2.
        """

        def part(tile: slice) -> Array:
            up = self.xp.maximum(self.XT[:, tile], 0)
            both = self.xp.concatenate([up, up - self.XT[:, tile]])
            return self.xp.stack([both @ r[tile], self.xp.square(both).sum(axis=1)])

        G, squares = self.work.sum(part, self._tiles(self.XT))
        return G / (self.xp.sqrt(squares) + COLUMN_FLOOR * math.sqrt(self.n))

    def damped_solution(self, A: ReluSensing, S: np.ndarray, w: SparseVector) -> SparseVector:
        """w on a support S, moved to least squares there or a half, a quarter, ... of the way: where |r|^2 is least.

        The gates of A are not yet those of the solution, so that all of the way may be too much.
        """
        old, new, moves = SparseVector(S, w.at(S), w.size), self.solve(A, S, w), np.array([1.0, *MOVES])
        return between(old, new, moves[np.argmin(self.losses(old, new, moves))])

    def gauss_newton(self, w: SparseVector, steps: int = GAUSS_NEWTON_STEPS) -> Iterate:
        """Damped Gauss-Newton steps for min |r|^2 on the support of w; |r|^2 never rises.

        A step fixes the gates of w and goes towards the least squares solution v: all of the way if that lowers |r|^2,
        with gates that follow the weights, or else the largest share of MOVES that does. Where none does, it ends.
        """
        loss = self.energy
        for _ in range(steps if len(w) else 0):
            v = self.solve(self.sensing_at(w), w.indices, w)
            loss, whole = self.losses(w, v, (0, 1))
            if whole < loss:
                w, loss = v, whole
                continue
            shorter = self.losses(w, v, MOVES)
            falls = np.flatnonzero(shorter < loss)
            if not len(falls):
                break
            w, loss = between(w, v, MOVES[falls[0]]), shorter[falls[0]]
        return Iterate(w.nonzero(), float(loss))

    def aiht_answer(self) -> Iterate:
        """What AIHT finds, full batch: it takes over where a first cycle fails (on images, with large s and m)."""
        gates, schedule = RandomGates(*self.key, self.m, self.d), Schedule(self.n, AIHT_STEPS)
        *_, (w, _) = aiht.iterates(self.XT, self.y, self.s, gates, schedule, self.work)
        return Iterate(w, self.loss(w))

    def _dense(self, w: SparseVector) -> tuple[Array, Array]:
        """The inputs in use, and the weights of the active neurons on them [b, inputs]."""
        inputs, W = dense_rows(w, self.d)[1:]
        return to_device(inputs, self.XT), to_device(W, self.XT)

    def _tiles(self, W: Array) -> list[slice]:
        return self.work.tiles(max(len(W), 1), self.n, self.xp)


def dense_rows(w: SparseVector, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The active neurons [b], the inputs in use [c], and their weights [b, c]."""
    neurons, inputs = np.unique(w.indices // d), np.unique(w.indices % d)
    return neurons, inputs, w.rows(neurons, d)[:, inputs]


def num_active(w: SparseVector, d: int) -> int:
    """Neurons that have weights."""
    return len(np.unique(w.indices // d))


def renumber(w: SparseVector, d: int, slots: int) -> SparseVector:
    """The same neurons, numbered from 0 in the same order, among `slots` of them."""
    neuron, k = np.divmod(w.indices, d)
    return SparseVector(np.unique(neuron, return_inverse=True)[1] * d + k, w.values, slots * d)


def merge(w: SparseVector, d: int, cosine: float, width: int) -> SparseVector:
    """Add up neurons whose vectors enclose more than this cosine, and keep the `width` longest."""
    neurons, inputs, W = dense_rows(w, d)
    U = unit(W.astype(np.float64))
    near, owner = U @ U.T > cosine, np.arange(len(W))
    for j in range(len(W)):  # each joins the first that it is near to, of those that joined no other
        if owner[j] == j:
            owner[near[j] & (owner > j)] = j
    merged = added_up(W.astype(np.float64), owner)
    merged[~top_mask(np.linalg.norm(merged, axis=1), width)] = 0
    row, column = np.nonzero(merged.astype(DTYPE))
    return SparseVector(neurons[row] * d + inputs[column], merged[row, column].astype(DTYPE), w.size)


def between(w: SparseVector, v: SparseVector, t: float) -> SparseVector:
    """w + t (v - w); w and v have the same indices."""
    return SparseVector(w.indices, w.values + DTYPE(t) * (v.values - w.values), w.size)
