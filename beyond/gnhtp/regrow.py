"""The search on targets that no sparse network made: supports that grow from below by exchanges.

Where no sparse network fits, the columns that a support with room to spare selects are not those of a good smaller one,
so the schedule of anneal.py helps less (21.4 dB over AIHT on inr_mnist, 1.7 on inr_cifar10, in the mean of 9 cells;
this search 34.8 and 3.2). An exchange is a step forward and backward (as in Zhang's FoBa, 2008): it adds the
coordinates of largest gain and eliminates others.
"""

import itertools

import numpy as np

from beyond.gnhtp.layer import SAME, Iterate, LayerProblem, merge, num_active, renumber
from beyond.gnhtp.supports import best_singles, keep_best, newcomers, with_singles
from numerics.sparse import SparseVector

SHARES = (0.5, 0.7, 0.85)  # of s, to which the second, third, fourth cycle cuts the support back; and so on in turn
EXCHANGES = 18  # per cycle, at most
GROWTH = 10  # exchanges in which the support grows to s, where all of them succeed
MOST_REFUSED = 4  # exchanges in a row, each half as large as the one before; they end a cycle, or one of 1 does
WORTH = 1e-4  # an exchange must lower |r|^2 by that share


def exchange(layer: LayerProblem, w: SparseVector, count: int) -> Iterate:
    """Add `count` coordinates, of the neurons there are and of new ones, and eliminate; up to half of them stay extra.

    A new neuron begins with a single input's gate, which a weight on that input alone gives it again.
    """
    d, r = layer.d, layer.residual(w)
    active = num_active(w, d)
    singles = best_singles(layer, w, r, min(count, layer.m - active))
    w = renumber(w, d, active + len(singles))
    A = layer.sensing_at(with_singles(w, d, singles))
    pool = np.union1d(w.indices, newcomers(A, w, r, count))
    S = keep_best(layer, A, pool, min(layer.s, len(w) + max(1, count // 2)))
    return layer.gauss_newton(merge(layer.damped_solution(A, S, w).nonzero(), d, SAME, layer.m))


def regrow(layer: LayerProblem, now: Iterate, share: float, most: int) -> tuple[Iterate, int]:
    """One cycle: cut the support back to share s weights, and let it grow again by exchanges that lower |r|^2.

    An exchange that is refused is tried again with half as many coordinates, `most` times in all. Returns the state at
    the end, which may be worse than `now`, and how many exchanges were tried.
    """
    A = layer.sensing_at(now.w)
    S = keep_best(layer, A, now.w.indices, int(share * layer.s))  # what survives backward elimination
    now = layer.gauss_newton(layer.damped_solution(A, S, now.w).nonzero())
    count = largest = max(2, int(2 * (1 - share) * layer.s / GROWTH))
    refused, tried = 0, 0
    while tried < most and count and refused < MOST_REFUSED and not layer.is_exact(now):
        trial = exchange(layer, now.w, count)
        tried += 1
        if trial.loss < now.loss * (1 - WORTH):
            now, count, refused = trial, min(2 * count, largest), 0
        else:
            count, refused = count // 2, refused + 1
        layer.report(now)
    return now, tried


def grow_from_below(layer: LayerProblem, steps: int) -> Iterate:
    """Grow a support from nothing, then regrow the best so far, until no share of SHARES improves it any more.

    AIHT's answer competes with the first cycle's. `steps` bounds the number of exchanges.
    """
    best, tried = regrow(layer, Iterate(SparseVector.zeros(0), layer.energy), 0.0, min(steps, EXCHANGES))
    if not layer.is_exact(best):
        best = min(best, layer.aiht_answer())
    in_vain = 0
    for share in itertools.cycle(SHARES):
        if tried == steps or in_vain == len(SHARES) or layer.is_exact(best):
            break
        now, more = regrow(layer, best, share, min(steps - tried, EXCHANGES))
        best, tried, in_vain = min(best, now), tried + more, 0 if now < best else in_vain + 1
    return best
