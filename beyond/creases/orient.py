"""On which side is each crease open? The linear part of the targets says it.

With the creases known, Y = V' |W X| + B X, and if neuron j is open where o_j w_j . x > 0, o_j = +-1, then

    B = sum_j o_j v_j w_j'                                                          [k, d]

Least squares gives o, and rounding makes it exact. Where creases outnumber the equations that is not unique, but +-1
is: input by input, those with few undecided creases first, all signs are tried, and taken where only one choice fits.
A crease of one input is free, since v |x_k| + q x_k has neurons for every q: it takes what is left of B there.
"""

from __future__ import annotations

import itertools

import numpy as np

from beyond.creases.projection import Neurons

DECIDED = 0.1  # distance from +-1 at which least squares has decided
SINGULAR = 1e-6  # singular values that it takes for zero, relative to the largest
MOST_UNDECIDED = 14  # creases of an input whose signs are tried: 2^14 choices


def orient(net: Neurons, B: np.ndarray, tolerance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The linear part of each crease, v_j |z| + q_j z with z = w_j . x, and of what no crease explains.

    Args:
        tolerance: of the entries of B [k, d]. What is within it is nothing.
    Returns:
        Q [J, k], rows +-v_j except for creases of one input; and the rest of B [k, d], mostly zeros.
    """
    signs, decided = rounded(net, B)
    peel(net, B, tolerance, signs, decided)
    Q = signs[:, None] * net.V
    rest = B - Q.T @ net.W
    rest[np.abs(rest) <= tolerance] = 0
    for j in np.flatnonzero(lonely(net.W)):
        [k] = np.flatnonzero(net.W[j])
        Q[j] += rest[:, k] / net.W[j, k]
        rest[:, k] = 0
    return Q, rest


def lonely(W: np.ndarray) -> np.ndarray:
    """Mask [J] of the creases of one input."""
    return np.count_nonzero(W, axis=1) == 1


def rounded(net: Neurons, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs o [J] from least squares, on the inputs that no crease has alone; and which are decided."""
    several = ~lonely(net.W)
    inputs = ~net.W[~several].any(axis=0)
    A = net.V[several][:, :, None] * net.W[several][:, None, inputs]  # [J, k, d]
    o = np.zeros(len(several))
    o[several] = np.linalg.lstsq(A.reshape(len(A), B[:, inputs].size).T, B[:, inputs].ravel(), rcond=SINGULAR)[0]
    return np.where(o < 0, -1.0, 1.0), np.abs(np.abs(o) - 1) < DECIDED


def peel(net: Neurons, B: np.ndarray, tolerance: np.ndarray, signs: np.ndarray,
         decided: np.ndarray) -> None:
    """Decide further signs, in place, input by input: where only one choice of the undecided ones fits B.

    Where none fits, a crease of this input alone is free, and the input says nothing of the others.
    """
    tried = {}  # undecided creases of an input when its choices were last tried: fewer may tell more
    while True:
        undecided = [np.flatnonzero((w != 0) & ~decided) for w in net.W.T]
        for k in sorted(range(len(undecided)), key=lambda k: len(undecided[k])):
            rows = undecided[k]
            if not 0 < len(rows) <= MOST_UNDECIDED or len(rows) >= tried.get(k, MOST_UNDECIDED + 1):
                continue
            choices = fitting(net, B, tolerance, signs, decided, k, rows)
            tried[k] = len(rows) if len(choices) else 0
            if len(choices) == 1:
                signs[rows], decided[rows] = choices[0], True
                break
        else:
            return


def fitting(net: Neurons, B: np.ndarray, tolerance: np.ndarray, signs: np.ndarray, decided: np.ndarray, k: int,
            rows: np.ndarray) -> np.ndarray:
    """All choices [c, rows] of the signs of some creases that fit B at input k, the others having theirs."""
    others = (net.W[:, k] != 0) & decided
    missing = B[:, k] - (signs * net.W[:, k])[others] @ net.V[others]
    choices = np.array(list(itertools.product((1.0, -1.0), repeat=len(rows))))
    misfit = choices @ (net.W[rows, k, None] * net.V[rows]) - missing
    return choices[(np.abs(misfit) <= tolerance[:, k]).all(axis=1)]
