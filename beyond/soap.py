"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321), for matrices.

For a matrix W [a, b] with gradient G the averages L of G G' and R of G' G have the eigenbases U and V. The step is
Adam's for U' G V, turned back. The bases follow L and R by one orthogonal iteration every EVERY steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DECAY = 0.95  # of all averages
EVERY = 10  # steps between two updates of a basis
EPS = 1e-10


class Soap:
    """The state of the optimiser for some matrices, which `step` changes in place."""

    def __init__(self, weights: Sequence[np.ndarray]):
        self.weights, self.steps = weights, 0
        self.momentum = [np.zeros_like(W) for W in weights]
        self.square = [np.zeros_like(W) for W in weights]
        self.sides = [[np.zeros((size, size), W.dtype) for size in W.shape] for W in weights]
        self.bases: list[list[np.ndarray]] = []

    def step(self, gradients: Sequence[np.ndarray], rate: float) -> None:
        """One step; the first only measures the bases."""
        for (L, R), G in zip(self.sides, gradients, strict=True):
            L += (1 - DECAY) * (G @ G.T - L)
            R += (1 - DECAY) * (G.T @ G - R)
        if not self.bases:
            self.bases = [[np.linalg.eigh(side)[1][:, ::-1] for side in sides] for sides in self.sides]
            return
        self.steps += 1
        bias = 1 - DECAY**self.steps
        for W, G, N, S, (U, V) in zip(self.weights, gradients, self.momentum, self.square, self.bases, strict=True):
            N += (1 - DECAY) * (G - N)
            turned = U.T @ G @ V
            S += (1 - DECAY) * (turned * turned - S)
            W -= U @ (U.T @ N @ V * (rate / bias) / (np.sqrt(S / bias) + EPS)) @ V.T
        if self.steps % EVERY == 0:
            self.bases = [self.followed(*each) for each in zip(self.sides, self.bases, self.square, strict=True)]

    @staticmethod
    def followed(sides: list[np.ndarray], bases: list[np.ndarray], square: np.ndarray) -> list[np.ndarray]:
        """Bases after one orthogonal iteration, in the order of their eigenvalues; the squares follow that order."""
        new = []
        for axis, (side, basis) in enumerate(zip(sides, bases, strict=True)):
            product = side @ basis
            order = np.argsort(-np.sum(basis * product, axis=0), kind="stable")
            square[:] = square.take(order, axis=axis)
            new.append(np.linalg.qr(product[:, order])[0])
        return new


def falling(rate: float, steps: int, warm: int = 100) -> np.ndarray:
    """Rates that rise for `warm` steps and fall linearly to 0."""
    return rate * np.minimum(np.arange(1, steps + 1) / warm, 1) * np.linspace(1, 0, steps, endpoint=False)
