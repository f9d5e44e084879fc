"""Backward elimination of columns of a least squares problem, by which gnhtp and crease pursuit choose supports."""

from __future__ import annotations

import numpy as np


def eliminate(inverse: np.ndarray, correlation: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns that survive until s are left.

    Without column c the residual of least squares rises by |x_c|^2 / (K^-1)_cc, K = A' A and x the solution (the
    saliency of the optimal brain surgeon, Hassibi and Stork 1993): unlike the size of a weight, that sees which columns
    can stand in for each other. A quarter of the excess, and at least one, goes at a time.

    Args:
        inverse: K^-1 [c, c], positive definite.  correlation: A' Y, [c] or [c, k].
    Returns:
        places [<= s] of the columns that are left, ascending, and their coefficients.
    """
    left = np.arange(len(inverse))
    while len(left) > s:
        x = inverse @ correlation[left]
        cost = np.sum(x.reshape(len(left), -1) ** 2, axis=1) / np.diag(inverse)
        worst = np.argsort(cost, kind="stable")[: max(1, (len(left) - s) // 4)]
        kept = np.delete(np.arange(len(left)), worst)
        shared = inverse[np.ix_(kept, worst)]  # the inverse of what stays is a Schur complement
        inverse = inverse[np.ix_(kept, kept)] - shared @ np.linalg.solve(inverse[np.ix_(worst, worst)], shared.T)
        left = left[kept]
    return left, inverse @ correlation[left]
