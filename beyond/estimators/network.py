"""A sparse network with a linear part, its Gauss-Newton steps, and what the loss of a weight would cost.

    f(x) = A x + sum_j v_j relu(w_j . x),      W [J, d],  V [J, k],  A [k, d],  all sparse

The last input is the constant 1 where there are intercepts. With one output the v_j are +-1 and do not count. Samples
of weight c are rows times sqrt(c): relu(a z) = a relu(z) for a > 0, so f(a x) = a f(x).

Every weight moves the outputs by e t, with e [k] and t [n] a combination of the columns C: 1{w_j . x > 0} x_i for the
weights of W, and x_i for those of A. So all products come from C C' and C R' (as in beyond/creases/least_squares.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from beyond.creases.samples import Neurons
from beyond.gram import adapted, costs
from numerics.arrays import slices
from numerics.streams import Stream

TILE = 2048  # samples of a block of columns
NO_SPREAD = 1e-26  # of the energy of targets: that is rounding of a constant
RIDGE = 1e-10  # of the diagonal of J J': what rounding leaves of it
SHARES = 1.0, 0.5, 0.0  # of the move that elimination makes
SMALL_RISE = 1.2  # times |r|^2: then no smaller share is tried
STIFF = 10  # of its mean diagonal: w_j against v_j, which moves no output


@dataclass(frozen=True)
class Samples:
    """Inputs XT [d, n] and targets Y [k, n], float64.

    Args:
        constant: whether the last input is the constant 1 (times the roots of the weights).
        copies: how many weighted targets stand for.
    """

    XT: np.ndarray
    Y: np.ndarray
    constant: bool = False
    copies: float | None = None

    @property
    def count(self) -> float:
        return self.Y.size if self.copies is None else self.copies

    @functools.cached_property
    def energy(self) -> float:
        """Of the targets, or of what no constant fits; 0 for rounding."""
        spread, whole = float(np.sum((self.Y - np.outer(self.means(self.Y), self.XT[-1])) ** 2)), np.sum(self.Y**2)
        return spread if spread > NO_SPREAD * whole else 0.0

    def means(self, Q: np.ndarray) -> np.ndarray:
        """The (weighted) means [q] of the rows of Q [q, n]; zeros if there is no constant."""
        root = self.XT[-1]
        return Q @ root / (root @ root) if self.constant else np.zeros(len(Q))

    def spread(self, count: int) -> Samples:
        """At most so many of the samples, at random: they are in order, and one in every few may be all alike."""
        part = np.sort(Stream.CREASES.generator(0, 2).permutation(self.XT.shape[1])[:count])
        XT, Y = (np.ascontiguousarray(array[:, part]) for array in (self.XT, self.Y))
        return replace(self, XT=XT, Y=Y, copies=None if self.copies is None else self.copies * Y.size / self.Y.size)


def price(count: float, net: Neurons | Network) -> float:
    """What a weight must lower the deviance of so many numbers by: log(count) + 2 log(places of a dense network).

    The extended Bayesian information criterion (Chen and Chen, 2008): of many weights that are nothing the best one
    fits noise best.
    """
    d, k = net.W.shape[1], net.V.shape[1]
    return float(np.log(max(count, 2)) + 2 * np.log(len(net.W) * (d + k * (k > 1)) + k * d))


def criterion(squares: float, count: float, s: int, net: Neurons | Network) -> float:
    """The extended Bayesian information criterion for so many numbers, with s weights."""
    return float(count * np.log(max(squares, 1e-300) / count) + s * price(count, net))


class Weights(NamedTuple):
    """Which weights are free, in the order W, V, A: masks [J, d], [J, k] (none with one output) and [k, d]."""

    W: np.ndarray
    V: np.ndarray
    A: np.ndarray


class Network(NamedTuple):
    """W [J, d], V [J, k] and A [k, d], float64; zero means absent."""

    W: np.ndarray
    V: np.ndarray
    A: np.ndarray

    @property
    def free(self) -> Weights:
        return Weights(self.W != 0, (self.V != 0) & (self.V.shape[1] > 1), self.A != 0)

    @property
    def theta(self) -> np.ndarray:
        """The free weights [P]."""
        return np.concatenate([part[mask] for part, mask in zip(self, self.free, strict=True)])

    def moved_to(self, theta: np.ndarray) -> Network:
        """With other free weights [P]."""
        parts, free = [part.copy() for part in self], self.free
        counts = np.cumsum([np.count_nonzero(mask) for mask in free])
        for part, mask, values in zip(parts, free, np.split(theta, counts[:-1]), strict=True):
            part[mask] = values
        return Network(*parts)

    def tidied(self) -> Network:
        """Without neurons that lack weights on one side, and with rows of V of norm 1."""
        live = self.W.any(axis=1) & self.V.any(axis=1)
        length = np.linalg.norm(self.V[live], axis=1, keepdims=True)
        return Network(self.W[live] * length, self.V[live] / length, self.A)

    def num_weights(self, counted: np.ndarray) -> int:
        """Weights on the inputs that are `counted` [d], and those of V, if there are several outputs."""
        W, V, A = self.free
        return int(np.count_nonzero(W[:, counted]) + np.count_nonzero(V) + np.count_nonzero(A[:, counted]))

    def outputs(self, XT: np.ndarray) -> np.ndarray:
        """f(x) [k, n] for XT [d, n]."""
        tiles = slices(XT.shape[1], TILE) or [slice(0, 0)]
        return np.concatenate([self.A @ XT[:, tile] + self.V.T @ np.maximum(self.W @ XT[:, tile], 0)
                               for tile in tiles], axis=1)


def squares(net: Network, data: Samples) -> float:
    """|Y - f(X)|^2."""
    return float(np.sum((data.Y - net.outputs(data.XT)) ** 2))


def normal_equations(net: Network, data: Samples) -> tuple[np.ndarray, np.ndarray, float]:
    """J J' [P, P], J r [P] and |r|^2, for the free weights and r = Y - f(X)."""
    owner, feature = np.nonzero(net.W)
    used = np.flatnonzero(net.A.any(axis=0))
    total = np.zeros((len(owner) + len(used), len(owner) + len(used) + len(data.Y)))
    loss = 0.0
    for tile in slices(data.XT.shape[1], TILE):
        XT = data.XT[:, tile]
        Z = net.W @ XT
        R = data.Y[:, tile] - net.A @ XT - net.V.T @ np.maximum(Z, 0)
        C = np.concatenate([(Z > 0)[owner] * XT[feature], XT[used]])  # [c, n_t]
        total += C @ np.concatenate([C, R]).T
        loss += float(np.sum(R**2))
    E, T = directions(net, owner, feature, used)
    gram, correlation = total[:, : len(T.T)], total[:, len(T.T) :]
    return (E @ E.T) * (T @ gram @ T.T), np.sum(E * (T @ correlation), axis=1), loss


def directions(net: Network, owner: np.ndarray, feature: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E [P, k] and T [P, c]: weight p moves the outputs by e_p (t_p C)."""
    k, (_, V, A) = len(net.A), net.free
    neuron, output = np.nonzero(V)
    row, column = np.nonzero(A)
    E = np.concatenate([net.V[owner], np.eye(k)[output], np.eye(k)[row]])
    T = np.zeros((len(E), len(owner) + len(used)))
    T[: len(owner), : len(owner)] = np.eye(len(owner))
    T[len(owner) : len(owner) + len(neuron), : len(owner)] = (
        (neuron[:, None] == owner) * net.W[owner, feature])
    T[len(owner) + len(neuron) + np.arange(len(row)), len(owner) + np.searchsorted(used, column)] = 1
    return E, T


def curvature(net: Network, gram: np.ndarray, damping: float = RIDGE) -> np.ndarray:
    """J J' with a ridge, and stiff where w_j grows and v_j shrinks: that moves no output."""
    scale = np.diag(gram).mean() or 1.0
    K = gram + np.diag(damping * np.diag(gram) + RIDGE * scale)
    if len(net.A) > 1:
        (W, V, _), count = net.free, len(gram)
        place = np.full((len(net.W), W.shape[1] + V.shape[1]), -1)
        mask = np.concatenate([W, V], axis=1)
        place[:, : W.shape[1]][W] = np.arange(np.count_nonzero(W))
        place[:, W.shape[1] :][V] = np.count_nonzero(W) + np.arange(np.count_nonzero(V))
        U = np.zeros((len(net.W), count))
        for j, values in enumerate(np.concatenate([net.W, -net.V], axis=1)):
            U[j, place[j][mask[j]]] = values[mask[j]]
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        K += STIFF * scale * U.T @ U
    return K


class Equations(NamedTuple):
    """A network with its normal equations: J J' [P, P], J r [P] and |r|^2."""

    net: Network
    gram: np.ndarray
    gradient: np.ndarray
    loss: float


def refitted(net: Network, data: Samples, steps: int, gain: float = 1e-3) -> Equations:
    """After at most so many damped Gauss-Newton steps that lower |r|^2; none that would win less than `gain` of it."""
    now, damping = Equations(net, *normal_equations(net, data)), RIDGE
    for _ in range(steps if len(now.gram) else 0):
        before = now
        while damping <= 1:
            K = curvature(now.net, now.gram, damping)
            step = np.linalg.solve(K, now.gradient)
            if not step @ now.gradient > gain * now.loss:
                return now
            other = now.net.moved_to(now.net.theta + step)
            if squares(other, data) < now.loss:
                now = Equations(other, *normal_equations(other, data))
                break
            damping = max(damping, 1e-4) * 10
        damping = max(damping / 30, RIDGE)
        if now is before:
            break
    return now


def without(now: Equations, data: Samples, choose: Callable[[np.ndarray], np.ndarray]) -> Network:
    """Without the weights that `choose` takes by their costs [P]; the others move as they want then.

    The costs are those of beyond/gram.py once a Gauss-Newton step is made. Gates change: of some shares of that move
    the best is taken.
    """
    inverse = np.linalg.inv(curvature(now.net, now.gram))
    start = now.net.theta
    theta = start + inverse @ now.gradient
    gone = choose(costs(theta, inverse))
    moved = adapted(theta, inverse, gone)
    best, lowest = now.net, np.inf
    for share in SHARES:
        theta = start + share * (moved - start)
        theta[gone] = 0
        trial = now.net.moved_to(theta)
        if (value := squares(trial, data)) < lowest:
            best, lowest = trial, value
        if lowest < SMALL_RISE * now.loss:
            break
    return living(best.tidied(), data)


def living(net: Network, data: Samples) -> Network:
    """Without neurons that no sample opens."""
    opened = (net.W @ data.XT > 0).any(axis=1)
    return Network(net.W[opened], net.V[opened], net.A)
