"""Samples as neurons see them, and as creases do: the products that the fit takes of them, and residuals.

A neuron is relu(w . x), a crease |w . x|: the part of it that bends. Creases are looked for modulo the linear functions
of x. With P the projection that takes these out of a function on the samples,

    P(Q) = Q - (Q X') K X,      K = (X X')^-1,      inputs X [d, n], functions Q [k, n]

every product below is one of P(C), C the columns sign(h . x) x_k. For neurons the columns are 1{h . x > 0} x_k, and
nothing is projected. C itself exists one tile of samples at a time: memory is O(tile * columns + columns^2) beside the
data. Sums over tiles are float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numerics.arrays import DTYPE, Array, array_module, to_device, to_host
from numerics.workspace import Workspace

SINGULAR = 1e-6  # eigenvalues of X X', scaled to a unit diagonal, that count as zero: single precision sees no more
NOISE = 1e-7  # of |c|^2: what rounding leaves of a column that is a linear function
BLOCK_ENTRIES = 2**18  # entries of one block of `gradients`: float64, 2 MiB


class Neurons(NamedTuple):
    """The function sum_j v_j f(w_j . x), f(z) = |z| for creases and max(z, 0) for neurons."""

    W: np.ndarray  # [J, d] float64, mostly zeros
    V: np.ndarray  # [J, k], rows of norm 1

    def take(self, rows: np.ndarray) -> Neurons:
        return Neurons(self.W[rows], self.V[rows])


class NeuronSamples:
    """Inputs and targets of neurons.

    Args:
        XT: inputs [d, n] float32.  Y: targets [k, n] float32, on the same device.
    Attributes:
        target: P(Y) [k, n], here Y itself.  linear: B [k, d] with Y = P(Y) + B X, here 0.  energy: |P(Y)|^2.
    """

    def __init__(self, XT: Array, Y: Array, work: Workspace):
        self.XT, self.work, self.xp = XT, work, array_module(XT)
        self.d, self.n = XT.shape
        self.target, self.linear = self.project(Y)
        self.energy = self.squares(self.target).sum()

    def gate(self, Z: Array) -> Array:
        """Factors of the columns, for Z = h . x."""
        return (Z > 0).astype(DTYPE)

    def bend(self, Z: Array) -> Array:
        """f(Z) = gate(Z) Z."""
        return self.xp.maximum(Z, 0)

    def project(self, Q: Array) -> tuple[Array, np.ndarray]:
        """P(Q) [k, n], and B [k, d] with Q = P(Q) + B X."""
        return Q, np.zeros((len(Q), self.d))

    def squares(self, R: Array) -> np.ndarray:
        """|r|^2 of each row of R [k, n]."""
        return self._sum(lambda tile: self.xp.square(R[:, tile]).sum(axis=1), len(R))

    def residual(self, net: Neurons) -> tuple[Array, np.ndarray]:
        """R = P(Y - V' f(W X)) [k, n], and B [k, d] with Y = V' f(W X) + B X + R."""
        W, V = self._device(net.W), self._device(net.V)
        left = self._concatenate(lambda tile: self.target[:, tile] - V.T @ self.bend(W @ self.XT[:, tile]), len(W))
        R, B = self.project(left)
        return R, self.linear + B

    def gradients(self, H: np.ndarray, R: Array) -> np.ndarray:
        """G [h, d, k], G_hk = sum_i gate(h . x_i) x_ik r_i, for H [h, d] and a projected R [k, n]."""
        if not len(H):  # where nothing bends, nothing is tried
            return np.zeros((0, self.d, len(R)))
        block = max(BLOCK_ENTRIES // (self.d * len(R)), 32)
        return np.concatenate([self._gradients(H[start : start + block], R) for start in range(0, len(H), block)])

    def _gradients(self, H: np.ndarray, R: Array) -> np.ndarray:
        h = self._device(H)

        def part(tile: slice) -> Array:
            gated = self.gate(h @ self.XT[:, tile])[:, None, :] * R[None, :, tile]  # [h, k, n_t]
            return gated.reshape(len(h) * len(R), -1) @ self.XT[:, tile].T

        return self._sum(part, len(H) * len(R)).reshape(len(H), len(R), self.d).transpose(0, 2, 1)

    def products(self, H: np.ndarray, owner: np.ndarray, feature: np.ndarray, *functions: Array) -> list[np.ndarray]:
        """P(C) P(C)' [c, c], then C F' [c, k] of projected functions F [k, n]; C: gate(h_owner . x) x_feature."""
        h, j, i = self._device(H), to_device(owner, self.XT), to_device(feature, self.XT)

        def part(tile: slice) -> Array:
            C = self.gate(h @ self.XT[:, tile])[j] * self.XT[:, tile][i]  # [c, n_t]
            return self.xp.concatenate([C @ C.T, *(C @ F[:, tile].T for F in functions)], axis=1)

        widths = np.cumsum([len(owner), *map(len, functions)])
        return np.split(self._sum(part, len(owner)), widths[:-1], axis=1)

    def _sum(self, part: Callable[[slice], Array], rows: int) -> np.ndarray:
        """Sum of part(tile) over tiles for blocks of `rows` rows, float64 on the host."""
        return to_host(self.work.sum(part, self.work.tiles(max(rows, 1), self.n, self.xp)))

    def _concatenate(self, part: Callable[[slice], Array], rows: int) -> Array:
        """part(tile) of all tiles, side by side."""
        return self.xp.concatenate(self.work.map(part, self.work.tiles(max(rows, 1), self.n, self.xp)), axis=1)

    def _device(self, array: np.ndarray) -> Array:
        """An array of the host where the samples are, in single precision."""
        return to_device(array.astype(DTYPE), self.XT)


class CreaseSamples(NeuronSamples):
    """Inputs and targets of creases, modulo linear functions."""

    def gate(self, Z: Array) -> Array:
        return self.xp.sign(Z)

    def bend(self, Z: Array) -> Array:
        return self.xp.abs(Z)

    @functools.cached_property
    def K(self) -> np.ndarray:
        """(X X')^-1 [d, d]; its pseudo-inverse, where inputs are zero or depend on others."""
        gram = self._sum(lambda tile: self.XT[:, tile] @ self.XT[:, tile].T, self.d)
        scale = 1 / np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1))
        return np.linalg.pinv(gram * scale[:, None] * scale, rcond=SINGULAR, hermitian=True) * scale[:, None] * scale

    def project(self, Q: Array) -> tuple[Array, np.ndarray]:
        B = self._sum(lambda tile: Q[:, tile] @ self.XT[:, tile].T, self.d) @ self.K
        b = self._device(B)
        return self._concatenate(lambda tile: Q[:, tile] - b @ self.XT[:, tile], self.d), B

    def products(self, H: np.ndarray, owner: np.ndarray, feature: np.ndarray, *functions: Array) -> list[np.ndarray]:
        gram, *correlations, linear = super().products(H, owner, feature, *functions, self.XT)
        return [gram - linear @ self.K @ linear.T + np.diag(NOISE * np.diag(gram)), *correlations]
