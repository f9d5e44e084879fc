"""The data of one layer, an iterate, and Gauss-Newton steps on it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from numerics.arrays import DTYPE, array_module, to_device, to_host
from numerics.sparse import SparseVector, top_mask
from numerics.workspace import Workspace, sample_tiles
from sensing import ReluSensing, WeightGates

PARALLEL, SAME = 0.999, 1 - 1e-5  # cosine of neurons that are merged: while s~ > s in the first cycle, and otherwise
GAUSS_NEWTON_STEPS, POLISHING_STEPS = 2, 3
MOVES = 0.5 ** np.arange(1, 6)  # of the way to the least squares solution, when all of it is too far
EXACT, NEARLY = 1e-11, 1e-9  # |r|^2 / |y|^2 of an exact fit (117 to 125 dB), and of one worth rounding to s nonzeros
COLUMN_FLOOR = 1e-3  # added to column norms, in units of sqrt(n): columns that are hardly ever on promise nothing


class State(NamedTuple):
    """An iterate and its |r|^2."""

    w: SparseVector
    loss: float


by_loss = attrgetter("loss")


class Layer:
    """The data of one layer, and the products that the method takes of them.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].
    """

    def __init__(self, XT, y, work: Workspace):
        self.XT, self.y, self.work, self.xp = XT, y, work, array_module(XT)
        self.d, self.n = XT.shape
        nothing = SparseVector.zeros(self.d)
        self.energy = self.losses(nothing, nothing, [0])[0]  # |y|^2

    @functools.cached_property
    def scale(self):
        """Root mean square of each input [d]."""
        squares = self.work.sum(lambda tile: self.xp.square(self.XT[:, tile]).sum(axis=1), self._tiles(self.XT))
        return self.xp.sqrt(squares / self.n)

    def sensing(self, gates, slots: int) -> ReluSensing:
        return ReluSensing(self.XT, gates, slots, self.work)

    def residual(self, w: SparseVector):
        """r = y - sum_j relu(X w_j) [n]."""
        inputs, W = self._dense(w)

        def part(tile):
            return self.y[tile] - self.xp.maximum(W @ self.XT[inputs, tile], 0).sum(axis=0)

        return self.xp.concatenate(self.work.map(part, self._tiles(W)))

    def single_promise(self, r):
        """Correlation with r over the norm [2 d], of relu(X_k) for each input k, then of relu(-X_k)."""

        def part(tile):
            up = self.xp.maximum(self.XT[:, tile], 0)
            both = self.xp.concatenate([up, up - self.XT[:, tile]])
            return self.xp.stack([both @ r[tile], self.xp.square(both).sum(axis=1)])

        G, squares = self.work.sum(part, self._tiles(self.XT))
        return G / (self.xp.sqrt(squares) + COLUMN_FLOOR * math.sqrt(self.n))

    def losses(self, w: SparseVector, v: SparseVector, moves) -> np.ndarray:
        """|r|^2 at w + t (v - w) for each t of `moves`; w and v have the same indices."""
        (inputs, W), (_, V) = self._dense(w), self._dense(v)
        D = V - W

        def part(tile):
            X, y = self.XT[inputs, tile], self.y[tile]
            Z, dZ = W @ X, D @ X
            residuals = (y - self.xp.maximum(Z + DTYPE(t) * dZ, 0).sum(axis=0) for t in moves)
            return self.xp.stack([self.xp.sum(self.xp.square(r, dtype=np.float64)) for r in residuals])

        return to_host(self.work.sum(part, self._tiles(W)))

    def _dense(self, w: SparseVector):
        """The inputs in use, and the weights of the active neurons on them [b, inputs]."""
        inputs, neurons = np.unique(w.indices % self.d), np.unique(w.indices // self.d)
        return to_device(inputs, self.XT), to_device(w.rows(neurons, self.d)[:, inputs], self.XT)

    def _tiles(self, W) -> list[slice]:
        return sample_tiles(max(len(W), 1), self.n, self.xp)


def num_active(w: SparseVector, d: int) -> int:
    """Neurons that have weights."""
    return len(np.unique(w.indices // d))


def renumber(w: SparseVector, d: int, slots: int) -> SparseVector:
    """The same neurons, numbered from 0 in the same order, among `slots` of them."""
    neuron, k = np.divmod(w.indices, d)
    return SparseVector(np.unique(neuron, return_inverse=True)[1] * d + k, w.values, slots * d)


def merge(w: SparseVector, d: int, cosine: float, width: int) -> SparseVector:
    """Add up neurons whose vectors enclose more than this cosine, and keep the `width` largest."""
    neurons, inputs = np.unique(w.indices // d), np.unique(w.indices % d)
    W = w.rows(neurons, d)[:, inputs].astype(np.float64)
    U = W / np.linalg.norm(W, axis=1, keepdims=True)
    near = U @ U.T > cosine
    owner = np.arange(len(W))
    for j in range(len(W)):
        if owner[j] == j:
            owner[near[j] & (owner == np.arange(len(W))) & (owner > j)] = j
    merged = np.zeros_like(W)
    np.add.at(merged, owner, W)
    merged[~top_mask(np.linalg.norm(merged, axis=1), width)] = 0
    row, column = np.nonzero(merged.astype(DTYPE))
    return SparseVector(neurons[row] * d + inputs[column], merged[row, column].astype(DTYPE), w.size)


def gauss_newton(data: Layer, w: SparseVector, steps: int, solve: Callable) -> State:
    """Least squares with the gates of w, taken as far as the true residual falls; then with the new gates."""
    loss = data.energy
    for _ in range(steps if len(w) else 0):
        A = data.sensing(WeightGates(w, data.d), w.size // data.d)
        v = SparseVector(w.indices, solve(A, w.indices, w), w.size)
        loss, whole = data.losses(w, v, (0, 1))
        if whole < loss:
            w, loss = v, whole
            continue
        shorter = data.losses(w, v, MOVES)
        falls = np.flatnonzero(shorter < loss)
        if not len(falls):
            break
        w = SparseVector(w.indices, w.values + DTYPE(MOVES[falls[0]]) * (v.values - w.values), w.size)
        loss = shorter[falls[0]]
    return State(w.nonzero(), float(loss))


def directions(w: SparseVector, d: int) -> np.ndarray:
    """Input and sign (k, sign) [len(w), 2] of each weight."""
    return np.stack([w.indices % d, np.sign(w.values).astype(np.int64)], axis=1)


def alone(w: SparseVector, d: int) -> np.ndarray:
    """Whether each weight [len(w)] is the only one of its neuron."""
    neuron = w.indices // d
    return np.bincount(neuron, minlength=1)[neuron] == 1
