"""Samples, and the products that the search takes of them modulo the linear functions of x.

A crease is |w . x|, the part of relu(w . x) that bends. With P the projection that takes linear functions out of a
function on the samples,

    P(Q) = Q - (Q X') K X,      K = (X X')^-1,      inputs X [d, n], functions Q [k, n]

every product below is one of P(C), C the columns sign(h . x) x_k. C itself exists one tile of samples at a time:
memory is O(tile * columns + columns^2) beside the data. Sums over tiles are float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numerics.arrays import DTYPE, Array, array_module, to_device, to_host
from numerics.workspace import Workspace, sample_tiles

SINGULAR = 1e-6  # eigenvalues of X X', scaled to a unit diagonal, that count as zero: single precision sees no more
NOISE = 1e-7  # of |c|^2: what rounding leaves of a column that is a linear function
BLOCK_ENTRIES = 2**18  # entries of one block of `Samples.gradients`: float64, 2 MiB


class Neurons(NamedTuple):
    """The function sum_j v_j f(w_j . x), f(z) = |z| for creases and max(z, 0) for neurons.

    Args:
        W: [J, d] float64, mostly zeros.  V: [J, k], rows of norm 1.
    """

    W: np.ndarray
    V: np.ndarray

    def take(self, rows: np.ndarray) -> Neurons:
        return Neurons(self.W[rows], self.V[rows])


class Samples:
    """Inputs and targets, their products with columns gate(h . x) x_k, and residuals.

    Args:
        XT: inputs [d, n] float32.  Y: targets [k, n] float32, on the same device.
        relu: False for creases, where the gate is the sign and everything is modulo linear functions; True for neurons,
            where the gate is 1{h . x > 0} and nothing is projected.
    Attributes:
        target: P(Y) [k, n].  linear: B [k, d] with Y = P(Y) + B X.  energy: |P(Y)|^2.
        K: (X X')^-1 [d, d]; its pseudo-inverse, where inputs are zero or depend on others.
    """

    def __init__(self, XT: Array, Y: Array, work: Workspace, relu: bool = False):
        self.XT, self.work, self.relu, self.xp = XT, work, relu, array_module(XT)
        self.d, self.n = XT.shape
        self.K = np.zeros((self.d, self.d)) if relu else self._inverse_gram()
        self.target, self.linear = self.project(Y)
        self.energy = self.squares(self.target).sum()

    def _inverse_gram(self) -> np.ndarray:
        gram = self._sum(lambda tile: self.XT[:, tile] @ self.XT[:, tile].T, self.d)
        scale = 1 / np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1))
        return np.linalg.pinv(gram * scale[:, None] * scale, rcond=SINGULAR, hermitian=True) * scale[:, None] * scale

    def _sum(self, part, rows: int) -> np.ndarray:
        """Sum of part(tile) over tiles for blocks of `rows` rows, float64 on the host."""
        return to_host(self.work.sum(part, sample_tiles(max(rows, 1), self.n, self.xp)))

    def _concatenate(self, part, rows: int):
        """part(tile) of all tiles, side by side."""
        return self.xp.concatenate(self.work.map(part, sample_tiles(max(rows, 1), self.n, self.xp)), axis=1)

    def _device(self, array):
        """An array of the host where the samples are, in single precision."""
        return to_device(array.astype(DTYPE), self.XT)

    def _gate(self, H, tile):
        """The gates of H [h, d] on a tile [h, n_t]."""
        Z = H @ self.XT[:, tile]
        return (Z > 0).astype(DTYPE) if self.relu else self.xp.sign(Z)

    def squares(self, R: Array) -> np.ndarray:
        """|r|^2 of each row of R [k, n]."""
        return self._sum(lambda tile: self.xp.square(R[:, tile]).sum(axis=1), len(R))

    def project(self, Q: Array) -> tuple[Array, np.ndarray]:
        """P(Q) [k, n], and B [k, d] with Q = P(Q) + B X."""
        if self.relu:
            return Q, np.zeros((len(Q), self.d))
        B = self._sum(lambda tile: Q[:, tile] @ self.XT[:, tile].T, self.d) @ self.K
        b = self._device(B)
        return self._concatenate(lambda tile: Q[:, tile] - b @ self.XT[:, tile], self.d), B

    def residual(self, net: Neurons) -> tuple[Array, np.ndarray]:
        """R = P(Y - V' f(W X)) [k, n], and B [k, d] with Y = V' f(W X) + B X + R."""
        W, V = self._device(net.W), self._device(net.V)

        def part(tile):
            Z = W @ self.XT[:, tile]
            return self.target[:, tile] - V.T @ (self.xp.maximum(Z, 0) if self.relu else self.xp.abs(Z))

        R, B = self.project(self._concatenate(part, len(net.W)))
        return R, self.linear + B

    def gradients(self, H: np.ndarray, R: Array) -> np.ndarray:
        """G [h, d, k], G_hk = sum_i gate(h . x_i) x_ik r_i, for H [h, d] and a projected R [k, n]."""
        if not len(H):  # where nothing bends, nothing is tried
            return np.zeros((0, self.d, len(R)))
        block = max(BLOCK_ENTRIES // (self.d * len(R)), 32)
        return np.concatenate([self._gradients(H[start : start + block], R) for start in range(0, len(H), block)])

    def _gradients(self, H, R):
        h = self._device(H)

        def part(tile):
            gated = self._gate(h, tile)[:, None, :] * R[None, :, tile]  # [h, k, n_t]
            return gated.reshape(len(h) * len(R), -1) @ self.XT[:, tile].T

        return self._sum(part, len(H) * len(R)).reshape(len(H), len(R), self.d).transpose(0, 2, 1)

    def products(self, H: np.ndarray, owner: np.ndarray, feature: np.ndarray,
                 R: Array) -> tuple[np.ndarray, np.ndarray]:
        """P(C) P(C)' [c, c] and C R' [c, k], for the columns gate(h_owner . x) x_feature and a projected R [k, n]."""
        h, j, i = self._device(H), to_device(owner, self.XT), to_device(feature, self.XT)

        def part(tile):
            C = self._gate(h, tile)[j] * self.XT[:, tile][i]  # [c, n_t]
            both = [] if self.relu else [C @ self.XT[:, tile].T]
            return self.xp.concatenate([C @ C.T, C @ R[:, tile].T, *both], axis=1)

        gram, correlation, linear = np.split(self._sum(part, len(owner)), [len(owner), len(owner) + len(R)], axis=1)
        floor = np.diag(NOISE * np.diag(gram))
        return (gram if self.relu else gram - linear @ self.K @ linear.T + floor), correlation
