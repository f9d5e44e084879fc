"""Gram matrices: the ridge that makes one definite, columns that least squares can do without, rows that are parallel.

Neurons that point the same way count as one: relu(a w . x) = a relu(w . x) for a > 0, so they can be added up. Up to
rounding that is no equivalence: of three such neurons the outer two may be too far apart. What becomes of a chain is
for the caller to say.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")

TINY = 1e-300  # keeps a cost finite

# Cosine above which two neurons count as positive multiples of each other. Adding them up changes the outputs by less
# than 1e-5 of their size (Gaussian inputs, weights of equal signs in any ratio: by -101 dB or less), where a fit counts
# as exact.
PARALLEL = 1 - 1e-6


def with_ridge(K: np.ndarray, ridge: float, factor: Callable[[np.ndarray], T]) -> T:
    """`factor` of K + ridge I, for the first ridge of 1, 10, 100, ... times the given one at which it does not fail.

    Products in single precision leave a Gram matrix K [c, c] of nearly equal columns slightly indefinite. `factor`
    raises LinAlgError for such a matrix, and may overwrite it. FloatingPointError where K is not finite.
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


def costs(x: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """What the residual of least squares rises by without each of the columns [c].

    Without column c, and with the others at their new best, it rises by |x_c|^2 / (K^-1)_cc (the saliency of the
    optimal brain surgeon, Hassibi and Stork 1993): unlike the size of a weight, that sees which columns can stand in
    for each other. x [c] or [c, k] is the solution, the inverse K^-1 [c, c] positive definite.
    """
    return np.sum(x.reshape(len(x), -1) ** 2, axis=1) / np.maximum(np.diag(inverse), TINY)


def cheapest(x: np.ndarray, inverse: np.ndarray, count: int) -> np.ndarray:
    """The `count` columns of least cost, the cheapest first."""
    return np.argsort(costs(x, inverse), kind="stable")[:count]


def cost_together(x: np.ndarray, inverse: np.ndarray, gone: np.ndarray) -> float:
    """The same without several columns at once, by their places; x [c]."""
    return float(x[gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], x[gone]))


def adapted(x: np.ndarray, inverse: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The solution x [c] without the columns `gone`, zero there, and with the others at their new best."""
    left = x - inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], x[gone])
    left[gone] = 0
    return left


def eliminate(inverse: np.ndarray, correlation: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Backward elimination, for the inverse K^-1 [c, c] and the correlation A' Y, [c] or [c, k].

    A quarter of the excess over s, or one, goes at a time. Returns the places [<= s] of the columns that are left,
    ascending, and their coefficients.
    """
    left = np.arange(len(inverse))
    while len(left) > s:
        worst = cheapest(inverse @ correlation[left], inverse, max(1, (len(left) - s) // 4))
        kept = np.delete(np.arange(len(left)), worst)
        shared = inverse[np.ix_(kept, worst)]  # the inverse of what stays is a Schur complement
        inverse = inverse[np.ix_(kept, kept)] - shared @ np.linalg.solve(inverse[np.ix_(worst, worst)], shared.T)
        left = left[kept]
    return left, inverse @ correlation[left]


def unit(W: np.ndarray) -> np.ndarray:
    """Rows of norm 1; zeros stay."""
    length = np.linalg.norm(W, axis=1, keepdims=True)
    return W / np.where(length > 0, length, 1)


def first_parallel(U: np.ndarray, cosine: float, lines: bool = False) -> np.ndarray:
    """For each unit row of U [a, d] the number of the first that encloses a larger cosine with it, which may be itself.

    With `lines` opposite rows count as parallel, too.
    """
    cosines = U @ U.T
    near = (np.abs(cosines) if lines else cosines) > cosine
    return np.argmax(near, axis=1) if len(U) else np.zeros(0, dtype=np.int64)


def added_up(parts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Sums [a, ...] of the parts [a, ...] that each row owns; zeros for a row that owns none."""
    total = np.zeros_like(parts)
    np.add.at(total, owner, parts)
    return total
