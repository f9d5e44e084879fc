"""What a sparse student lacks: weights, a unit on one input, or a row that is a difference of units.

Merging and cutting lose units and rows that move the outputs by a share of 1e-9 to 1e-6 only, and no weights of the
others make up for them. Each candidate moves the outputs like the product of a slope and a signal: a weight w_ki like
dy/d(w_k x) x_i, a new unit in row j like dy/dz_j relu(x_i), a new row like relu(h_i - t h_k). Its gain is what it takes
from the loss, to second order, while all weights adapt (orthogonal least squares, Chen, Billings and Luo 1989): a row
that is nearly always open counts by its closed side alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beyond.deep.descent import Budget
from beyond.deep.network import Samples
from beyond.deep.newton import refined
from beyond.deep.student import Student, jacobian, random_signs

FIRST_STEPS, STEPS, ROUNDS = 4, 12, 16
WORTHWHILE = 0.95  # share of the loss that a round must leave at most: small gains lead to large ones
WEIGHTS, PER_WEIGHT = 8, 25  # that come in at a time: so many, or the number that there are divided by this
SHORTLIST, FREE = 100, 0.02  # candidates that gain most alone; share of one that counts as free, at least
OPEN = 1 - 2.0 ** -np.arange(1, 10)  # quantiles of h_i / h_k that are tried as t: a row may be open once in 500 samples
FEWEST = 10  # samples at which a row must be open
STARTS, TERMS, BETTER = 4, 6, 1.05  # pairs from which a row is extended; its units at most; gain of one more at least
SAMPLES, SAMPLES_PER_WEIGHT = 6000, 6
TINY = 1e-300


class Place(NamedTuple):
    """A candidate, by the numbers of its slope and its signal: its gain and weight."""

    gain: float
    slope: int
    signal: int
    weight: float


class Row(NamedTuple):
    """A row a [k1] of A for one output: its gain and weight."""

    gain: float
    output: int
    weight: float
    a: NDArray


class Growth:
    """A student with what it lacks, in one of three ways, from some of the samples.

    Energies are those of one random combination of the outputs per sample, D [k, n] of +-1.

    Args:
        sums: whether new rows must have positive output weights.
    """

    def __init__(self, net: Student, data: Samples, sums: bool = False):
        from scipy.linalg import cho_factor

        data = data.take(np.arange(min(len(data), max(SAMPLES, SAMPLES_PER_WEIGHT * net.count))))
        self.net, self.data, self.now, self.sums = net, data, net.signals(data.XT), sums
        self.r, self.D = self.now.Y - data.y, random_signs(data.y.shape)
        (self.rows, self.units), (self.D_rows, self.D_units) = (net.slopes(each, self.now) for each in (self.r, self.D))
        self.J = jacobian(net, data.XT, self.D)
        G = self.J @ self.J.T
        G[np.diag_indices_from(G)] += 1e-10 * np.diag(G) + 1e-12 * np.mean(np.diag(G)) + TINY
        self.factor = cho_factor(G, check_finite=False)

    def free(self, moves: NDArray) -> NDArray:
        """The share of the energy of moves [N, n] of D . outputs that no present weight can make, at least FREE."""
        from scipy.linalg import cho_solve

        b, energy = self.J @ moves.T, np.sum(moves**2, axis=1) + TINY
        return np.maximum(1 - np.sum(b * cho_solve(self.factor, b, check_finite=False), axis=0) / energy, FREE)

    def best(self, slopes: NDArray, D_slopes: NDArray, signals: NDArray, number: int,
             missing: NDArray | bool = True) -> list[Place]:
        """The places of largest gain, the largest first.

        Args:
            slopes, D_slopes: of the residual and of D, [a, n].  signals: [b, n].  missing: which may come in, [a, b].
        """
        g, q = slopes @ signals.T, D_slopes**2 @ (signals**2).T
        allowed = missing & (q > 1e-12 * len(self.data))
        found = largest(np.where(allowed, g**2 / (q + TINY), 0), max(SHORTLIST, 4 * number))
        if not len(found):
            return []
        free = self.free(np.stack([D_slopes[i] * signals[j] for i, j in found]))
        places = [Place(g[i, j] ** 2 / q[i, j] / share, i, j, -g[i, j] / q[i, j])
                  for (i, j), share in zip(found, free, strict=True)]
        return sorted(places, key=lambda each: (-each.gain, each[1:3]))[:number]

    def with_weights(self) -> Student:
        """With the missing weights of largest gain."""
        number = max(WEIGHTS, self.net.count // PER_WEIGHT)
        pairs = [(self.units, self.D_units, self.data.XT), (self.rows, self.D_rows, self.now.H),
                 (self.r, self.D, self.now.H), (self.r, self.D, self.now.R)]
        parts = [part.copy() for part in self.net.parts]
        found = [(each, part) for part, pair in zip(parts, pairs, strict=False)
                 for each in self.best(*pair, number, part == 0)]
        for each, part in sorted(found, key=lambda pair: -pair[0].gain)[:number]:
            part[each.slope, each.signal] = each.weight
        return self.net.with_parts(*parts)

    def with_unit(self) -> Student:
        """With a unit relu(x_i) or relu(-x_i), in the row or the output in which it gains most."""
        net, d, k2 = self.net, len(self.data.XT), len(self.net.A)
        signals = np.maximum(np.vstack([self.data.XT, -self.data.XT]), 0)
        w, uses = np.zeros((1, d)), np.zeros((k2 + len(net.C), 1))
        for each in self.best(np.vstack([self.rows, self.r]), np.vstack([self.D_rows, self.D]), signals, 1):
            w[0, each.signal % d], uses[each.slope] = 1 if each.signal < d else -1, each.weight
        return replace(net, W=np.vstack([net.W, w]), A=np.hstack([net.A, uses[:k2]]), M=np.hstack([net.M, uses[k2:]]))

    def with_row(self) -> Student:
        """With a row relu(h_i - t h_k - ...) for one output, of the units and t of largest gain."""
        net, H = self.net, self.now.H
        a, use = np.zeros((1, len(H))), np.zeros((len(net.C), 1))
        pairs = sorted((row for unit in np.eye(len(H)) for row in self.extended(unit)), key=lambda row: -row.gain)
        if pairs := pairs[:SHORTLIST]:
            free = self.free(np.stack([self.D[row.output] * np.maximum(row.a @ H, 0) for row in pairs]))
            order = np.argsort([-row.gain / share for row, share in zip(pairs, free, strict=True)], kind="stable")
            row = max((self.longest(pairs[place]) for place in order[:STARTS]), key=lambda row: row.gain)
            a[0], use[row.output] = row.a * abs(row.weight), np.sign(row.weight)
        return replace(net, A=np.vstack([net.A, a]), C=np.hstack([net.C, use])).balanced()

    def longest(self, row: Row) -> Row:
        """The row with one unit more as long as that gains."""
        while np.count_nonzero(row.a) < TERMS:
            longer = max(self.extended(row.a), key=lambda other: other.gain, default=row)
            if longer.gain < BETTER * row.gain:
                break
            row = longer
        return row

    def extended(self, a: NDArray) -> list[Row]:
        """The row a [k1] less t times one more unit, for each unit: the t, output and weight of largest gain alone."""
        z = a @ self.now.H
        opened = z > 0
        z, H, r, rows = z[opened], self.now.H[:, opened], self.r[:, opened], []
        for k, h in enumerate(H):
            both = h > 0
            if a[k] or np.count_nonzero(both) < FEWEST:
                continue
            t = np.quantile(z[both] / h[both], OPEN)
            R = np.maximum(z - t[:, None] * h, 0)
            g, q = R @ r.T, np.sum(R**2, axis=1)[:, None] + TINY
            for i, output in largest(np.where(self.sums & (g > 0), 0, g**2 / q), 1):
                rows.append(Row(g[i, output] ** 2 / q[i, 0], output, -g[i, output] / q[i, 0],
                                a - t[i] * (np.arange(len(a)) == k)))
        return rows


def largest(gain: NDArray, number: int) -> list[tuple[int, int]]:
    """The places of the largest positive entries of a matrix, in any order."""
    flat = np.argpartition(-gain, min(number, gain.size) - 1, axis=None)[:number]
    return [(int(i), int(j)) for i, j in zip(*np.unravel_index(flat, gain.shape), strict=True) if gain[i, j] > 0]


GROWTHS = (Growth.with_weights, Growth.with_unit, Growth.with_row)


def regrown(net: Student, data: Samples, value: float, budget: Budget, target: float,
            sums: bool = False) -> tuple[Student, float]:
    """With what serves best added, or all of it where nothing alone does, as long as the loss falls; and its loss."""
    for _ in range(ROUNDS):
        if value <= target or not net.count or budget.left <= 0:
            break
        growth = Growth(net, data, sums)
        tried = [refined(grow(growth), data, budget, FIRST_STEPS, target) for grow in GROWTHS]
        other, after = refined(min(tried, key=lambda pair: pair[1])[0], data, budget, STEPS, target)
        if after > WORTHWHILE * value:
            for grow in GROWTHS:
                other, after = refined(grow(Growth(other, data, sums)), data, budget, STEPS, target)
        if after > WORTHWHILE * value:
            break
        net, value = other, after
    return net, value
