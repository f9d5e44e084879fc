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

from beyond.creases.dense import expected_creases
from beyond.creases.least_squares import gauss_newton, ridge_inverse
from beyond.creases.samples import CreaseSamples, Neurons
from beyond.gram import added_up, eliminate, first_parallel, unit
from numerics.arrays import Array
from numerics.sparse import top_mask

ROUNDS = (1, 2, 0)  # power rounds of a step, in turn: each number alone has fixed points
ALIKE, SAME, NEARLY_SAME = 0.95, 1 - 1e-7, 1 - 1e-6  # cosine of candidates not tried, creases made one, and at the end
EXACT = 1e-12  # of |P(Y)|^2: what single precision leaves of an exact fit
GAIN = 0.9  # a loss below this share of the one before is progress
GAUSS_NEWTON_STEPS = 2, 12  # at least, and at most while they make progress: nearly parallel creases part slowly
PATIENCE = 9  # steps in vain before a restart
MANY, SOON = 300, 3  # weights from which a dense student is worth its time; steps before it
WIDEST, COPIES = 300, 0.99  # expected creases up to which it finds them; cosine at which its creases are one


class State(NamedTuple):
    """Creases, their residual R [k, n], the linear part B [k, d] of the targets beside them, and |R|^2."""

    net: Neurons
    R: Array
    B: np.ndarray
    loss: float

    @classmethod
    def of(cls, data: CreaseSamples, net: Neurons) -> State:
        R, B = data.residual(net)
        return cls(net, R, B, data.squares(R).sum())


def search(data: CreaseSamples, s: int, m: int, steps: int, rng: np.random.Generator,
           report: Callable[[State], None], dense: Callable[[], Neurons]) -> tuple[Neurons, int]:
    """At most m creases with s weights that leave little of the targets; and the number of steps taken.

    If s is large and m not too large, it goes on from the creases of a dense student after SOON steps. After PATIENCE
    steps in vain it goes on from the best creases without about half of them. At the end nearly equal creases become
    one, where that loses nothing.
    """
    nothing = Neurons(np.zeros((0, data.d)), np.zeros((0, len(data.target))))
    now = best = State(nothing, data.target, data.linear, data.energy)
    record, vain = math.inf, 0
    for number in range(steps):
        if number == SOON and s >= MANY and expected_creases(s, m, data.d) <= WIDEST:
            now, record, vain = State.of(data, thinned(dense(), s, m)), math.inf, 0
        now = step(data, now, s, m, ROUNDS[number % len(ROUNDS)], vain > 0, rng)
        best = min(best, now, key=lambda state: state.loss)
        report(now)
        if best.loss <= EXACT * data.energy:
            break
        record, vain = (now.loss, 0) if now.loss < GAIN * record else (record, vain + 1)
        if vain == PATIENCE:
            now = State.of(data, best.net.take(rng.random(len(best.net.W)) < 0.5))
            record, vain = math.inf, 0
    once = descended(data, State.of(data, merged(best.net, NEARLY_SAME)), GAUSS_NEWTON_STEPS[0])
    return (once if once.loss <= max(best.loss, EXACT * data.energy) else best).net, number + 1


def step(data: CreaseSamples, now: State, s: int, m: int, rounds: int, in_vain: bool,
         rng: np.random.Generator) -> State:
    """One step, with so many power rounds of the candidates; after none, creases may split, too.

    If the last step was in vain, more ways to split are tried, some of them at random.
    """
    creases = unit(now.net.W)
    new = candidates(data, now.R, creases, rounds, s, m)
    axes = np.eye(data.d)[(creases != 0).any(axis=0)]  # |x_k| for every input in use
    splits = [] if rounds else [axes, *([relatives(creases, s, rng)] if in_vain else [])]
    gates = np.concatenate([creases, new, *splits])
    pool = gates != 0
    pool[len(creases) : len(creases) + len(new)] = False  # the weights of candidates have to promise something
    once = first_parallel(gates, SAME, lines=True) == np.arange(len(gates))
    gates, pool = gates[once], with_promising(data, now.R, gates[once], pool[once], s)
    net = strongest(merged(fitted_weights(data, gates, pool, s), SAME), m)
    return descended(data, State.of(data, net))


def thinned(net: Neurons, s: int, m: int) -> Neurons:
    """The strongest creases of a dense network, copies made one, with twice as many weights as wanted."""
    net = strongest(merged(net, COPIES), m)
    return net._replace(W=np.where(top_mask(np.abs(net.W).ravel(), 2 * s).reshape(net.W.shape), net.W, 0))


def candidates(data: CreaseSamples, R: Array, creases: np.ndarray, rounds: int, s: int, m: int) -> np.ndarray:
    """Unit rows along which R bends most, not ALIKE each other or the creases there are; at least one, up to m in all.

    From the axes, each of some power rounds turns every row h towards the few weights w that best explain R as |w . x|
    with the signs of h . x.
    """
    H, few, chosen = np.eye(data.d), 2 * math.ceil(s / m) + 1, list[int]()
    for _ in range(rounds):
        W = leading(data.gradients(H, R), H).W
        np.put_along_axis(W, np.argsort(-np.abs(W), axis=1, kind="stable")[:, few:], 0, axis=1)
        H = unit(W)
    gain = np.linalg.norm(np.einsum("hd,hdk->hk", H, data.gradients(H, R)), axis=1)
    for row in np.argsort(-gain, kind="stable"):
        others = np.concatenate([creases, H[chosen]])
        if len(chosen) < max(1, m - len(creases)) and gain[row] > 0 and not (np.abs(others @ H[row]) > ALIKE).any():
            chosen.append(int(row))
    return H[chosen]


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


def with_promising(data: CreaseSamples, R: Array, gates: np.ndarray, pool: np.ndarray, count: int) -> np.ndarray:
    """A mask [h, d] of weights of gates, and beside them the `count` others of steepest gradient."""
    promise = np.where(pool, 0, np.linalg.norm(data.gradients(gates, R), axis=2))
    order, pool = np.argsort(-promise, axis=None, kind="stable")[:count], pool.copy()
    pool.flat[order] |= promise.flat[order] > 0
    return pool


def fitted_weights(data: CreaseSamples, gates: np.ndarray, pool: np.ndarray, s: int) -> Neurons:
    """Creases of the s weights of a pool [h, d] that survive backward elimination; least squares with these gates."""
    owner, feature = np.nonzero(pool)
    gram, correlation = data.products(gates, owner, feature, data.target)
    left, x = eliminate(ridge_inverse(gram), correlation, s)
    U = np.zeros((*gates.shape, x.shape[1]))
    U[owner[left], feature[left]] = x
    return rank_one(U, gates)


def descended(data: CreaseSamples, now: State, steps: int = GAUSS_NEWTON_STEPS[1]) -> State:
    """After at most so many Gauss-Newton steps."""
    for number in range(steps):
        before, now = now.loss, State.of(data, gauss_newton(data, now.net, now.R))
        if number + 1 >= GAUSS_NEWTON_STEPS[0] and not now.loss < GAIN * before:
            break
    return now


def rank_one(U: np.ndarray, H: np.ndarray) -> Neurons:
    """The neurons nearest to coefficients U [h, d, k] of the columns of gates H [h, d]; without those that are zero."""
    net = leading(U, H)
    return net.take(np.any(net.W, axis=1))


def leading(G: np.ndarray, H: np.ndarray) -> Neurons:
    """The best rank-one approximations w v' of G [h, d, k], with w . h >= 0."""
    _, vectors = np.linalg.eigh(np.einsum("hdk,hdl->hkl", G, G))
    V = vectors[:, :, -1]
    W = np.einsum("hdk,hk->hd", G, V)
    sign = np.where(np.sum(W * H, axis=1) < 0, -1.0, 1.0)[:, None]
    return Neurons(W * sign, V * sign)


def merged(net: Neurons, cosine: float) -> Neurons:
    """Creases of the same direction as one."""
    first = first_parallel(unit(net.W), cosine, lines=True)
    side = np.where(np.sum(net.W * net.W[first], axis=1) < 0, -1.0, 1.0)  # |w . x| = |-w . x|
    products = (side[:, None] * net.W)[:, :, None] * net.V[:, None, :]  # w_j v_j' [J, d, k]
    return rank_one(added_up(products, first), net.W)


def strongest(net: Neurons, m: int) -> Neurons:
    """The m creases of largest weight."""
    return net.take(top_mask(np.linalg.norm(net.W, axis=1), m))
