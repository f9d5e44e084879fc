"""The search on targets that no sparse network made: supports that grow from below."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from beyond.gnhtp.layer import (
    EXACT,
    GAUSS_NEWTON_STEPS,
    MOVES,
    SAME,
    Layer,
    State,
    by_loss,
    gauss_newton,
    merge,
    num_active,
    renumber,
)
from beyond.gnhtp.supports import best_singles, eliminate, newcomers
from numerics.arrays import DTYPE, to_device
from numerics.sparse import SparseVector
from sensing import ReluSensing, WeightGates

BREATHS = (0.5, 0.7, 0.85)  # shares of s that the second, third, fourth cycle starts from, and so on in turn
GROWTH = 10  # steps of a cycle in which the support grows to s, where all of them succeed
REFUSALS = 4  # exchanges in a row that end a cycle, each half as large as the one before; or one of 1
PERIOD = 18  # exchanges per cycle
WORTH = 1e-4  # an exchange must lower |r|^2 by that share


def exchange(data: Layer, w: SparseVector, s: int, m: int, count: int, solve: Callable) -> State:
    """Add `count` coordinates, of the neurons there are and of new ones, and eliminate; up to half of them stay extra.

    A new neuron begins with a single input's gate, which a weight on that input alone gives it again.
    """
    d, r = data.d, data.residual(w)
    active = num_active(w, d)
    singles = best_singles(data, w, r, min(count, m - active))
    slots = active + len(singles)
    w = renumber(w, d, slots)
    k, sign = singles.T
    gates = SparseVector(np.concatenate([w.indices, (active + np.arange(len(singles))) * d + k]),
                         np.concatenate([w.values, sign.astype(DTYPE)]), w.size)
    A = data.sensing(WeightGates(gates, d), slots)
    P = np.union1d(w.indices, newcomers(A, w, r, count))
    S = P[eliminate(A.columns(to_device(P, data.XT)), data.y, min(s, len(w) + max(1, count // 2)))]
    v = toward(data, A, S, w, solve)
    return gauss_newton(data, merge(v.nonzero(), d, SAME, m), GAUSS_NEWTON_STEPS, solve)


def toward(data: Layer, A: ReluSensing, S: np.ndarray, w: SparseVector, solve: Callable) -> SparseVector:
    """w on a support S, all of the way to least squares there, or the half, quarter, ... where the residual is least.

    The gates of A are not yet those of the solution, of which all of the way may be too much.
    """
    here, there = w.at(S), solve(A, S, w)
    moves = np.array([1.0, *MOVES])
    losses = data.losses(SparseVector(S, here, w.size), SparseVector(S, there, w.size), moves)
    return SparseVector(S, here + DTYPE(moves[np.argmin(losses)]) * (there - here), w.size)


def exhale(data: Layer, w: SparseVector, s: int, solve: Callable) -> State:
    """The s weights that eliminating the others leaves."""
    A = data.sensing(WeightGates(w, data.d), w.size // data.d)
    S = w.indices[eliminate(A.columns(to_device(w.indices, data.XT)), data.y, s)]
    return gauss_newton(data, toward(data, A, S, w, solve).nonzero(), GAUSS_NEWTON_STEPS, solve)


def breath(data: Layer, now: State, s: int, m: int, share: float, steps: int, solve: Callable) -> tuple[State, int]:
    """Cut the support back to share s weights, and let it grow again by exchanges that lower the true residual.

    Returns the state, which may be worse, and the exchanges it took, at most `steps`.
    """
    now = exhale(data, now.w, int(share * s), solve)
    count = most = max(2, int(2 * (1 - share) * s / GROWTH))
    refusals, taken = 0, 0
    while taken < steps and count and refusals < REFUSALS and now.loss > EXACT * data.energy:
        trial = exchange(data, now.w, s, m, count, solve)
        taken += 1
        if trial.loss < now.loss * (1 - WORTH):
            now, count, refusals = trial, min(2 * count, most), 0
        else:
            count, refusals = count // 2, refusals + 1
    return now, taken


def breathe(data: Layer, s: int, m: int, steps: int, stand_in: Callable, solve: Callable) -> State:
    """Breaths, each from the best state so far, until all of BREATHS were in vain; the first begins with nothing.

    Budgets from below, the opposite of the schedule above: where no sparse network fits, columns that a larger support
    found worth its while are not those of a good smaller one.

    Args:
        steps: exchanges at most.  stand_in: function () -> State that competes with the end of the first breath.
    """
    best, taken = breath(data, State(SparseVector.zeros(0), data.energy), s, m, 0.0, min(steps, PERIOD), solve)
    if best.loss > EXACT * data.energy:
        best = min(best, stand_in(), key=by_loss)
    in_vain = 0
    for share in itertools.cycle(BREATHS):
        if taken == steps or in_vain == len(BREATHS) or best.loss <= EXACT * data.energy:
            return best
        now, more = breath(data, best, s, m, share, min(steps - taken, PERIOD), solve)
        best, taken, in_vain = min(best, now, key=by_loss), taken + more, 0 if now.loss < best.loss else in_vain + 1
