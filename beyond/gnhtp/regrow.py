"""The search on targets that no sparse network made: supports that grow from below by exchanges.

Where no sparse network fits, the columns that a support with room to spare selects are not those of a good smaller one,
so the schedule of anneal.py helps less (21.4 dB over AIHT on inr_mnist, 1.7 on inr_cifar10, in the mean of 9 cells;
this search 34.8 and 3.2). An exchange is a step forward and backward (as in Zhang's FoBa, 2008): it adds the
coordinates of largest gain and eliminates others.
"""

from __future__ import annotations

import itertools

import numpy as np

from beyond.gnhtp.layer import (
    EXACT,
    GAUSS_NEWTON_STEPS,
    MOVES,
    SAME,
    Layer,
    State,
    aiht_answer,
    between,
    by_loss,
    gauss_newton,
    merge,
    num_active,
    renumber,
)
from beyond.gnhtp.supports import best_singles, keep_best, newcomers
from numerics.arrays import DTYPE
from numerics.sparse import SparseVector
from sensing import ReluSensing, WeightGates

SHARES = (0.5, 0.7, 0.85)  # of s, to which the second, third, fourth cycle cuts the support back; and so on in turn
EXCHANGES = 18  # per cycle, at most
GROWTH = 10  # exchanges in which the support grows to s, where all of them succeed
REFUSALS = 4  # exchanges in a row that end a cycle, each half as large as the one before; or one of 1
WORTH = 1e-4  # an exchange must lower |r|^2 by that share


def exchange(layer: Layer, w: SparseVector, count: int) -> State:
    """Add `count` coordinates, of the neurons there are and of new ones, and eliminate; up to half of them stay extra.

    A new neuron begins with a single input's gate, which a weight on that input alone gives it again.
    """
    d, r = layer.d, layer.residual(w)
    active = num_active(w, d)
    singles = best_singles(layer, w, r, min(count, layer.m - active))
    slots = active + len(singles)
    w = renumber(w, d, slots)
    k, sign = singles.T
    gates = SparseVector(np.concatenate([w.indices, (active + np.arange(len(singles))) * d + k]),
                         np.concatenate([w.values, sign.astype(DTYPE)]), w.size)
    A = layer.sensing(WeightGates(gates, d), slots)
    pool = np.union1d(w.indices, newcomers(A, w, r, count))
    S = keep_best(layer, A, pool, min(layer.s, len(w) + max(1, count // 2)))
    v = damped_solution(layer, A, S, w)
    return gauss_newton(layer, merge(v.nonzero(), d, SAME, layer.m), GAUSS_NEWTON_STEPS)


def damped_solution(layer: Layer, A: ReluSensing, S: np.ndarray, w: SparseVector) -> SparseVector:
    """w on a support S, moved to least squares there or a half, a quarter, ... of the way: where |r|^2 is least.

    The gates of A are not yet those of the solution, so that all of the way may be too much.
    """
    here, there = SparseVector(S, w.at(S), w.size), SparseVector(S, layer.solve(A, S, w), w.size)
    moves = np.array([1.0, *MOVES])
    return between(here, there, moves[np.argmin(layer.losses(here, there, moves))])


def cut_back(layer: Layer, w: SparseVector, s: int) -> State:
    """Keep the s weights that survive backward elimination."""
    A = layer.sensing_at(w)
    v = damped_solution(layer, A, keep_best(layer, A, w.indices, s), w)
    return gauss_newton(layer, v.nonzero(), GAUSS_NEWTON_STEPS)


def regrow(layer: Layer, now: State, share: float, most: int) -> tuple[State, int]:
    """One cycle: cut the support back to share s weights, and let it grow again by exchanges that lower |r|^2.

    An exchange that is refused is tried again with half as many coordinates.

    Args:
        most: number of exchanges, at most.
    Returns:
        the state at the end, which may be worse than `now`, and how many exchanges were tried.
    """
    now = cut_back(layer, now.w, int(share * layer.s))
    count = largest = max(2, int(2 * (1 - share) * layer.s / GROWTH))
    refusals, tried = 0, 0
    while tried < most and count and refusals < REFUSALS and now.loss > EXACT * layer.energy:
        trial = exchange(layer, now.w, count)
        tried += 1
        if trial.loss < now.loss * (1 - WORTH):
            now, count, refusals = trial, min(2 * count, largest), 0
        else:
            count, refusals = count // 2, refusals + 1
        layer.report(now)
    return now, tried


def grow_from_below(layer: Layer, steps: int) -> State:
    """Grow a support from nothing, then regrow the best so far, until no share of SHARES improves it any more.

    AIHT's answer competes with the first cycle's.

    Args:
        steps: number of exchanges, at most.
    """
    best, tried = regrow(layer, State(SparseVector.zeros(0), layer.energy), 0.0, min(steps, EXCHANGES))
    if best.loss > EXACT * layer.energy:
        best = min(best, aiht_answer(layer), key=by_loss)
    in_vain = 0
    for share in itertools.cycle(SHARES):
        if tried == steps or in_vain == len(SHARES) or best.loss <= EXACT * layer.energy:
            return best
        now, more = regrow(layer, best, share, min(steps - tried, EXCHANGES))
        best, tried, in_vain = min(best, now, key=by_loss), tried + more, 0 if now.loss < best.loss else in_vain + 1
