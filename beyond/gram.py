"""Gram matrices of least squares: the ridge that makes one definite, and the columns that a solution can do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")

TINY = 1e-300  # keeps a cost finite


def with_ridge(K: np.ndarray, ridge: float, factor: Callable[[np.ndarray], T]) -> T:
    """`factor` of K + ridge I, for the first ridge of 1, 10, 100, ... times the given one at which it does not fail.

    Products in single precision leave a Gram matrix K [c, c] of nearly equal columns slightly indefinite.

    Args:
        factor: raises LinAlgError for a matrix that is not positive definite; may overwrite it.
    Raises:
        FloatingPointError: K is not finite.
    """
    if not np.isfinite(K).all():
        raise FloatingPointError("a Gram matrix is not finite: the inputs are too large for single precision")
    while True:
        ridged = K.copy()
        ridged.flat[:: len(K) + 1] += ridge
        try:
            return factor(ridged)
        except np.linalg.LinAlgError:
            ridge *= 10


def cheapest(x: np.ndarray, inverse: np.ndarray, count: int) -> np.ndarray:
    """The `count` columns without which the residual of least squares rises least, the cheapest first.

    Without column c, and with the others at their new best, it rises by |x_c|^2 / (K^-1)_cc (the saliency of the
    optimal brain surgeon, Hassibi and Stork 1993): unlike the size of a weight, that sees which columns can stand in
    for each other.

    Args:
        x: the solution, [c] or [c, k].  inverse: K^-1 [c, c], positive definite.
    """
    cost = np.sum(x.reshape(len(x), -1) ** 2, axis=1) / np.maximum(np.diag(inverse), TINY)
    return np.argsort(cost, kind="stable")[:count]


def eliminate(inverse: np.ndarray, correlation: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Backward elimination: the columns that are left when a quarter of the excess over s, or one, goes at a time.

    Args:
        inverse: K^-1 [c, c], positive definite.  correlation: A' Y, [c] or [c, k].
    Returns:
        places [<= s] of these columns, ascending, and their coefficients.
    """
    left = np.arange(len(inverse))
    while len(left) > s:
        worst = cheapest(inverse @ correlation[left], inverse, max(1, (len(left) - s) // 4))
        kept = np.delete(np.arange(len(left)), worst)
        shared = inverse[np.ix_(kept, worst)]  # the inverse of what stays is a Schur complement
        inverse = inverse[np.ix_(kept, kept)] - shared @ np.linalg.solve(inverse[np.ix_(worst, worst)], shared.T)
        left = left[kept]
    return left, inverse @ correlation[left]
