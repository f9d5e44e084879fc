"""On which side is each crease open? The linear part of the targets says it.

With the creases known, Y = V' |W X| + B X, and if neuron j is open where o_j w_j . x > 0, o_j = +-1, then

    B = sum_j o_j v_j w_j'                                                          [k, d]

Least squares gives o, and rounding makes it exact. Where creases outnumber the equations that is not unique, but +-1
is: input by input, those with few undecided creases first, all signs are tried, and taken where only one choice fits.
Where several fit, neurons can be flipped together without changing the function, and the first choice that explains
every input will do.

Two kinds of creases are open on both sides, v |z| + q z, and q is free: those of one input, which take what is left of
B there, and those that no signs explain, where neurons w and -a w stand on one crease.

Signs are arrays [J] of -1, 1, and 0 for a crease that is not decided.
"""

import itertools

import numpy as np

from beyond.creases.least_squares import normalised
from beyond.creases.samples import Neurons

DECIDED = 0.1  # distance from +-1 at which least squares has decided
SINGULAR = 1e-6  # singular values that it takes for zero, relative to the largest
MOST_UNDECIDED = 14  # creases of an input whose signs are tried: 2^14 choices
MOST_TRIALS = 64  # choices followed where no input has only one


def orient(net: Neurons, B: np.ndarray, tolerance: np.ndarray,
           thorough: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The linear part of each crease, v_j |z| + q_j z with z = w_j . x, and of what no crease explains.

    What is within the tolerance of the entries of B [k, d] is nothing. Signs that least squares does not decide are
    tried, if it is to be `thorough`, or else rounded. Returns Q [J, k], rows +-v_j except for creases that are open on
    both sides, and the rest of B [k, d], mostly zeros.
    """
    alone = np.count_nonzero(net.W, axis=1) == 1  # creases of one input
    inputs = ~net.W[alone].any(axis=0)  # that no crease has alone
    rounded, signs = least_squares_signs(net, B, tolerance, alone, inputs)
    if thorough:
        signs = decide(net, B, tolerance, signs)
    Q = np.where(signs == 0, rounded, signs)[:, None] * net.V
    free = np.flatnonzero((signs == 0) & ~alone)
    if len(free) and (np.abs(B - Q.T @ net.W) > tolerance)[:, inputs].any():
        missing = B - np.delete(Q, free, axis=0).T @ np.delete(net.W, free, axis=0)
        q, _, rank, _ = np.linalg.lstsq(net.W[free][:, inputs].T, missing[:, inputs].T, rcond=SINGULAR)
        if rank == len(free):
            Q[free] = q
    rest = B - Q.T @ net.W
    rest[np.abs(rest) <= tolerance] = 0
    for j in np.flatnonzero(alone):
        [k] = np.flatnonzero(net.W[j])
        Q[j] += rest[:, k] / net.W[j, k]
        rest[:, k] = 0
    return Q, rest


def least_squares_signs(net: Neurons, B: np.ndarray, tolerance: np.ndarray, alone: np.ndarray,
                        inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares on some inputs, rounded to +-1; and that, 0 where it has not decided."""
    A = net.V[:, :, None] * net.W[:, None, :]  # [J, k, d]
    matters = np.any(np.abs(A) > tolerance, axis=(1, 2))
    several, o = matters & ~alone, np.zeros(len(A))
    A, b = A[several][:, :, inputs], B[:, inputs].ravel()
    o[several] = np.linalg.lstsq(A.reshape(len(A), len(b)).T, b, rcond=SINGULAR)[0]
    rounded = np.where(o < 0, -1.0, 1.0)
    return rounded, np.where((np.abs(np.abs(o) - 1) < DECIDED) | ~matters, rounded, 0)


def decide(net: Neurons, B: np.ndarray, tolerance: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Decide further signs, input by input; then where several choices are left, try one after the other."""
    signs, unexplained = signs.copy(), set[int]()
    trials = [(signs, peel(net, B, tolerance, signs, unexplained))]  # a stack: the last is followed first
    for _ in range(MOST_TRIALS):
        if not trials:
            break
        so_far, open_inputs = trials.pop()
        if not open_inputs:
            return so_far
        rows, choices = min(open_inputs, key=lambda entry: len(entry[0]))
        for choice in choices[::-1]:
            tried, lost = so_far.copy(), set(unexplained)
            tried[rows] = choice
            left = peel(net, B, tolerance, tried, lost)
            if lost == unexplained:
                trials.append((tried, left))
    return signs


def peel(net: Neurons, B: np.ndarray, tolerance: np.ndarray, signs: np.ndarray,
         unexplained: set[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Decide signs in place where only one choice fits B, those inputs first that have few undecided creases.

    Inputs that no choice fits, since a crease there is open on both sides, say nothing of the others; they are added to
    those `unexplained`. Returns the undecided creases, and their choices, of each input where several fit.
    """
    several: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    while True:
        undecided = [np.flatnonzero((w != 0) & (signs == 0)) for w in net.W.T]
        for k in sorted(set(range(len(undecided))) - unexplained, key=lambda k: len(undecided[k])):
            rows = undecided[k]
            if len(rows) > MOST_UNDECIDED or k in several and len(several[k][0]) == len(rows):
                continue
            others = (net.W[:, k] != 0) & (signs != 0)
            missing = B[:, k] - (signs * net.W[:, k])[others] @ net.V[others]
            choices = np.array(list(itertools.product((1.0, -1.0), repeat=len(rows))))
            misfit = choices @ (net.W[rows, k, None] * net.V[rows]) - missing
            choices = choices[(np.abs(misfit) <= tolerance[:, k]).all(axis=1)]
            several[k] = rows, choices
            if not len(choices):
                unexplained.add(k)
            elif len(choices) == 1 and len(rows):
                signs[rows] = choices[0]
                break
        else:
            return [entry for k, entry in several.items() if k not in unexplained and len(entry[0])]


def relu_neurons(net: Neurons, Q: np.ndarray, rest: np.ndarray) -> Neurons:
    """The neurons of sum_j v_j |w_j . x| + q_j (w_j . x), Q [J, k], and of the linear functions `rest` [k, d].

        v |z| + q z = (v + q) relu(z) + (v - q) relu(-z)

    A linear function takes two neurons for each output, or for each input, whichever are fewer.
    """
    inputs, outputs = np.flatnonzero(rest.any(axis=0)), np.flatnonzero(rest.any(axis=1))
    if len(outputs) < len(inputs):
        lines, ends = rest[outputs], np.eye(len(rest))[outputs]
    else:
        lines, ends = np.eye(rest.shape[1])[inputs], rest.T[inputs]
    W = np.concatenate([net.W, -net.W, lines, -lines])
    V = np.concatenate([net.V + Q, net.V - Q, ends, -ends])
    return normalised(W, V)
