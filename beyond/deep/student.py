"""The network that is fitted first: signed outputs, and a linear skip of the first hidden layer.

    y_hat = C relu(z) + M h,   z = A h,   h = relu(W x),      W [k1, d],  A [k2, k1],  C [k, k2],  M [k, k1]

M stands for the rows of A without negative weights: they pass h on, since relu(A_j h) = A_j h. With k = 1 output C
holds signs, which are not fitted: the size of c relu(z) is in A. Samples have targets y [k, n] here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from beyond.deep.network import Samples

LEAST_SAMPLES, PER_WEIGHT = 3000, 4  # of the curvature: at least so many, and so many per weight


class Signals(NamedTuple):
    """Activations of a batch of t samples: h [k1, t], relu(z) [k2, t], the outputs [k, t]."""

    H: np.ndarray
    R: np.ndarray
    Y: np.ndarray


@dataclass(frozen=True)
class Student:
    """Weights, where zero means fixed at zero."""

    W: np.ndarray
    A: np.ndarray
    C: np.ndarray
    M: np.ndarray
    signs: bool = False

    @property
    def parts(self) -> list[np.ndarray]:
        """The layers whose nonzero weights are fitted: W, A, M and, of several outputs, C."""
        return [self.W, self.A, self.M, *([self.C] if not self.signs else [])]

    @property
    def count(self) -> int:
        """Free weights P."""
        return sum(int(np.count_nonzero(part)) for part in self.parts)

    @property
    def theta(self) -> np.ndarray:
        """The free weights [P], part by part and row by row."""
        return np.concatenate([part[part != 0] for part in self.parts])

    def with_parts(self, W: np.ndarray, A: np.ndarray, M: np.ndarray, C: np.ndarray | None = None) -> Student:
        """Other weights."""
        return Student(W, A, self.C if C is None else C, M, self.signs)

    def astype(self, dtype: DTypeLike) -> Student:
        """The same in another precision."""
        return replace(self, **{name: getattr(self, name).astype(dtype) for name in "WACM"})

    def moved_to(self, theta: np.ndarray) -> Student:
        """Other free weights [P]."""
        return self.with_parts(*scattered(self.parts, theta))

    def signals(self, XT: np.ndarray) -> Signals:
        """What happens at inputs XT [d, t]."""
        H = np.maximum(self.W @ XT, 0)
        R = np.maximum(self.A @ H, 0)
        return Signals(H, R, self.C @ R + self.M @ H)

    def slopes(self, D: np.ndarray, now: Signals) -> tuple[np.ndarray, np.ndarray]:
        """Slopes of D . outputs, D [k, t], in z [k2, t] and in W x [k1, t]."""
        E = (self.C.T @ D) * (now.R > 0)
        return E, (self.A.T @ E + self.M.T @ D) * (now.H > 0)

    def gradient(self, D: np.ndarray, XT: np.ndarray, now: Signals) -> list[np.ndarray]:
        """Slopes of D . outputs, summed over the batch, in all weights of each part."""
        E, F = self.slopes(D, now)
        return [F @ XT.T, E @ now.H.T, D @ now.H.T, D @ now.R.T][: len(self.parts)]

    def balanced(self) -> Student:
        """The same function with the scales of its units equalised, and those of its rows into C or, if k = 1, A."""
        into = np.linalg.norm(self.C, axis=0) if self.signs else np.sqrt(ratio(self.C.T, self.A))
        net = replace(self, A=self.A * into[:, None], C=self.C / np.where(into > 0, into, 1))
        scale = np.sqrt(ratio(np.vstack([net.A, net.M]).T, net.W))
        return replace(net, W=net.W * scale[:, None], A=net.A / scale, M=net.M / scale)

    def tidied(self) -> Student:
        """Without the units and rows that are on no path from an input to an output."""
        while True:
            rows = np.logical_and(self.C.any(axis=0), (self.A > 0).any(axis=1))
            units = np.logical_and(self.W.any(axis=1), self.A[rows].any(axis=0) | self.M.any(axis=0))
            if rows.all() and units.all():
                return self
            self = self.part(units, rows)

    def part(self, units: np.ndarray, rows: np.ndarray) -> Student:
        """Some of its units and rows, by masks or numbers."""
        return Student(self.W[units], self.A[rows][:, units], self.C[:, rows], self.M[:, units], self.signs)

    def gauges(self) -> np.ndarray:
        """Unit vectors [units and rows, P] along which a rescaling moves the free weights without any effect."""
        W, A, M, *C = (part != 0 for part in self.parts)
        owners = [(np.nonzero(W)[0], np.nonzero(A)[1], np.nonzero(M)[1], *(np.full(c.sum(), -1) for c in C))]
        signs = [(1, -1, -1, *(0 for _ in C))]
        if C:
            owners.append((np.full(W.sum(), -1), np.nonzero(A)[0], np.full(M.sum(), -1), np.nonzero(C[0])[1]))
            signs.append((0, 1, 0, -1))
        sizes, theta = [int(part.sum()) for part in (W, A, M, *C)], self.theta
        V = np.vstack([(np.concatenate(owner) == np.arange(number)[:, None]) * np.repeat(sign, sizes) * theta
                       for owner, sign, number in zip(owners, signs, (len(W), len(A)), strict=False)])
        length = np.linalg.norm(V, axis=1, keepdims=True)
        return V / np.where(length > 0, length, 1)

    @property
    def width(self) -> int:
        """Neurons of the wider layer."""
        return max(self.A.shape)

    def loss(self, data: Samples) -> float:
        """Mean square of the residual, over samples and outputs."""
        return float(data.mean(lambda XT, Y: np.sum((self.signals(XT).Y - Y) ** 2))) / len(self.C)

    def curvature(self, data: Samples) -> np.ndarray:
        """J'J / n [P, P] of the outputs, from one row of J per sample: a random sign for each output."""
        k = len(self.C)

        def product(XT: np.ndarray, Y: np.ndarray) -> np.ndarray:  # the same signs for all tiles, whose order is free
            J = jacobian(self, XT, random_signs(Y.shape))
            return J @ J.T

        most = max(LEAST_SAMPLES, PER_WEIGHT * self.count)
        return data.take(np.arange(min(len(data), most))).mean(product) / k

    def energies(self, data: Samples) -> tuple[np.ndarray, np.ndarray]:
        """What units [k1] and rows [k2] move of the outputs: mean squares of slope times activation."""
        now, units = self.signals(data.XT), np.zeros(len(self.W))
        for D in np.eye(len(self.C)):
            F = self.slopes(np.repeat(D[:, None], len(data), axis=1), now)[1]
            units += np.mean((F * now.H) ** 2, axis=1)
        return units / len(self.C), np.mean(self.C**2, axis=0) * np.mean(now.R**2, axis=1)

    def without_neuron(self, data: Samples) -> Student:
        """Without the weakest neuron of the wider layer."""
        k2, k1 = self.A.shape
        units, rows = (np.argsort(each, kind="stable") for each in self.energies(data))
        return self.part(units[k1 >= k2 :], rows[k1 < k2 :]).tidied()


def ratio(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """|row| / |other row| [a] of two matrices; 1 where either is 0."""
    above, below = np.linalg.norm(rows, axis=1), np.linalg.norm(others, axis=1)
    live = (above > 0) & (below > 0)
    return np.where(live, above, 1) / np.where(live, below, 1)


def random_signs(shape: tuple[int, ...]) -> np.ndarray:
    """One combination of the outputs per sample, [k, t] of +-1; of one output, itself."""
    return np.random.default_rng(0).choice([-1.0, 1.0], shape) if shape[0] > 1 else np.ones(shape)


def scattered(parts: list[np.ndarray], theta: np.ndarray) -> list[np.ndarray]:
    """Parts like these, with the values theta [P] where these are not zero."""
    new, start = [], 0
    for part in parts:
        mask = part != 0
        other = np.zeros_like(part)
        other[mask] = theta[start : start + mask.sum()]
        new.append(other)
        start += mask.sum()
    return new


def gathered(parts: list[np.ndarray], values: list[np.ndarray]) -> np.ndarray:
    """The values [P] at the places where the parts are not zero."""
    return np.concatenate([value[part != 0] for part, value in zip(parts, values, strict=True)])


def jacobian(net: Student, XT: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The slopes of D . outputs, D [k, t], in the free weights, sample by sample: [P, t]."""
    now = net.signals(XT)
    E, F = net.slopes(D, now)
    pairs = [(net.W, F, XT), (net.A, E, now.H), (net.M, D, now.H), (net.C, D, now.R)][: len(net.parts)]
    return np.concatenate([left[i] * right[j] for part, left, right in pairs for i, j in [np.nonzero(part)]])

