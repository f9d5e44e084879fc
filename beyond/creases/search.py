"""The search for creases: one step, and the loop around it.

A step looks for where the residual bends: it adds candidate creases, pools the weights that promise most, chooses s of
them by backward elimination, makes every crease rank one, and takes Gauss-Newton steps. It is always accepted; the best
state is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from beyond.creases.least_squares import gauss_newton, ridge_inverse
from beyond.creases.projection import Neurons, Samples
from beyond.elimination import eliminate
from numerics.arrays import Array

ROUNDS = (1, 2, 0)  # power rounds of a step, in turn: each number alone has fixed points
ALIKE, SAME, NEARLY_SAME = 0.95, 1 - 1e-7, 1 - 1e-6  # cosine of candidates not tried, creases made one, and at the end
EXACT = 1e-12  # of |P(Y)|^2: what single precision leaves of an exact fit
GAIN = 0.9  # a loss below this share of the one before is progress
GAUSS_NEWTON_STEPS = 2, 12  # at least, and at most while they make progress: nearly parallel creases part slowly
PATIENCE = 9  # steps in vain before a restart


class State(NamedTuple):
    """Creases, their residual R [k, n], the linear part B [k, d] of the targets beside them, and |R|^2."""

    net: Neurons
    R: Array
    B: np.ndarray
    loss: float

    @classmethod
    def of(cls, data: Samples, net: Neurons) -> State:
        R, B = data.residual(net)
        return cls(net, R, B, data.squares(R).sum())


def search(data: Samples, s: int, m: int, steps: int, rng: np.random.Generator,
           report: Callable[[Samples, State], None] | None = None) -> tuple[Neurons, int]:
    """At most m creases with s weights that leave little of the targets; and the number of steps taken.

    After PATIENCE steps in vain it goes on from the best creases without about half of them.

    Args:
        report: called with `data` and the state after each step.
    """
    nothing = Neurons(np.zeros((0, data.d)), np.zeros((0, len(data.target))))
    now = best = State(nothing, data.target, data.linear, data.energy)
    record, vain = math.inf, 0
    for number in range(steps):
        now = step(data, now, s, m, ROUNDS[number % len(ROUNDS)], vain > 0, rng)
        best = min(best, now, key=lambda state: state.loss)
        if report:
            report(data, now)
        if best.loss <= EXACT * data.energy:
            break
        record, vain = (now.loss, 0) if now.loss < GAIN * record else (record, vain + 1)
        if vain == PATIENCE:
            now = State.of(data, best.net.take(rng.random(len(best.net.W)) < 0.5))
            record, vain = math.inf, 0
    return simplest(data, best).net, number + 1


def simplest(data: Samples, found: State) -> State:
    """With nearly equal creases as one, where that loses nothing."""
    once = State.of(data, merged(found.net, NEARLY_SAME))
    for _ in range(GAUSS_NEWTON_STEPS[0]):
        once = State.of(data, gauss_newton(data, once.net, once.R))
    return once if once.loss <= max(found.loss, EXACT * data.energy) else found


def step(data: Samples, now: State, s: int, m: int, rounds: int, in_vain: bool, rng: np.random.Generator) -> State:
    """One step: the creases after it.

    Args:
        rounds: power rounds of the candidates; after none, creases may split, too.
        in_vain: whether the last step made no progress. Then more ways to split are tried, some of them at random.
    """
    creases = unit(now.net.W)
    H = power_rounds(data, now.R, rounds, 2 * math.ceil(s / m) + 1)
    gain = np.linalg.norm(np.einsum("hd,hdk->hk", H, data.gradients(H, now.R)), axis=1)
    new = distinct(H, gain, creases, max(1, m - len(creases)))
    splits = [] if rounds else [axes(creases)]
    if in_vain and not rounds:
        splits.append(relatives(creases, s, rng))
    gates = np.concatenate([creases, H[new], *splits])
    pool = gates != 0
    pool[len(creases) : len(creases) + len(new)] = False
    alone = first_alike(gates, SAME) == np.arange(len(gates))
    gates, pool = gates[alone], pool[alone]
    promise = np.linalg.norm(data.gradients(gates, now.R), axis=2)  # [gates, d]
    order = np.argsort(-np.where(pool, 0, promise), axis=None, kind="stable")[:s]
    pool.flat[order[promise.flat[order] > 0]] = True
    owner, feature = np.nonzero(pool)
    gram, correlation = data.products(gates, owner, feature, data.target)
    left, x = eliminate(ridge_inverse(gram), correlation, s)
    U = np.zeros((*gates.shape, x.shape[1]))
    U[owner[left], feature[left]] = x
    now = State.of(data, strongest(merged(rank_one(U, gates), SAME), m))
    for number in range(GAUSS_NEWTON_STEPS[1]):
        before, now = now.loss, State.of(data, gauss_newton(data, now.net, now.R))
        if number + 1 >= GAUSS_NEWTON_STEPS[0] and not now.loss < GAIN * before:
            break
    return now


def power_rounds(data: Samples, R: Array, rounds: int, num_weights: int) -> np.ndarray:
    """Candidate creases, unit rows [d, d] of at most so many weights.

    From the axes, a round turns each h towards the weights w that best explain R as |w . x| with its signs.
    """
    H = np.eye(data.d)
    for _ in range(rounds):
        W = leading(data.gradients(H, R), H)[0]
        smallest = np.argsort(-np.abs(W), axis=1, kind="stable")[:, num_weights:]
        np.put_along_axis(W, smallest, 0, axis=1)
        H = unit(W)
    return H


def distinct(H: np.ndarray, gain: np.ndarray, creases: np.ndarray, count: int) -> list[int]:
    """The `count` rows of H of largest gain, none ALIKE another or one of the creases there are."""
    chosen = []
    for row in np.argsort(-gain, kind="stable"):
        others = np.concatenate([creases, H[chosen]])
        if len(chosen) < count and gain[row] > 0 and not (np.abs(others @ H[row]) > ALIKE).any():
            chosen.append(int(row))
    return chosen


def axes(creases: np.ndarray) -> np.ndarray:
    """|x_k| for every input in use."""
    return np.eye(creases.shape[1])[(creases != 0).any(axis=0)]


def relatives(creases: np.ndarray, num_weights: int, rng: np.random.Generator) -> np.ndarray:
    """Each crease with one of its weights taken out, or reversed: a random choice of them, so many weights in all.

    A crease that stands for two planted ones can so become these two.
    """
    owner, feature = np.nonzero(creases * ((creases != 0).sum(axis=1, keepdims=True) > 1))
    without, reversed_ = creases[owner], creases[owner]
    without[np.arange(len(owner)), feature] = 0
    reversed_[np.arange(len(owner)), feature] *= -1
    rows = rng.permutation(np.concatenate([unit(without), reversed_]))
    return rows[np.cumsum((rows != 0).sum(axis=1)) <= num_weights]


def rank_one(U: np.ndarray, H: np.ndarray) -> Neurons:
    """The neurons nearest to coefficients U [h, d, k] of the columns of gates H [h, d]; without those that are zero."""
    W, V = leading(U, H)
    return Neurons(W, V).take(W.any(axis=1))


def leading(G: np.ndarray, H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best rank-one approximations w v' of G [h, d, k]: W [h, d], and V [h, k] of unit rows, with w . h >= 0."""
    _, vectors = np.linalg.eigh(np.einsum("hdk,hdl->hkl", G, G))
    V = vectors[:, :, -1]
    W = np.einsum("hdk,hk->hd", G, V)
    sign = np.where(np.sum(W * H, axis=1) < 0, -1.0, 1.0)[:, None]
    return W * sign, V * sign


def merged(net: Neurons, cosine: float) -> Neurons:
    """Creases of the same direction as one."""
    first = first_alike(unit(net.W), cosine)
    side = np.where(np.sum(net.W * net.W[first], axis=1) < 0, -1.0, 1.0)  # |w . x| = |-w . x|
    total = np.zeros((*net.W.shape, net.V.shape[1]))
    np.add.at(total, first, (side[:, None] * net.W)[:, :, None] * net.V[:, None, :])
    return rank_one(total, net.W)


def first_alike(H: np.ndarray, cosine: float) -> np.ndarray:
    """For each unit row of H the number of the first that is so close, up to the sign."""
    return np.argmax(np.abs(H @ H.T) > cosine, axis=1) if len(H) else np.zeros(0, dtype=np.int64)


def strongest(net: Neurons, m: int) -> Neurons:
    """The m creases of largest weight."""
    return net.take(np.sort(np.argsort(-np.linalg.norm(net.W, axis=1), kind="stable")[:m]))


def unit(W: np.ndarray) -> np.ndarray:
    """Rows of norm 1; zeros stay."""
    length = np.linalg.norm(W, axis=1, keepdims=True)
    return W / np.where(length > 0, length, 1)
