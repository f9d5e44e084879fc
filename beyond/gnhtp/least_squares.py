"""Least squares on a support S: min over x of |A_S x - y|^2, by the normal equations or by conjugate gradients.

Columns that coincide, vanish or outnumber the samples are no error: a ridge, or stopping early, picks a solution of
moderate size. A_S is a numerics.columns.Columns; y lives where its samples are, what has the length of S on the host.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from beyond.gram import with_ridge
from numerics.arrays import Array
from numerics.columns import Columns

RIDGE = 1e-6  # of the mean diagonal of the Gram matrix; ten times more, as often as needed, where that is indefinite
CONVERGED = 1e-13  # |r|^2, as a share of the first, at which conjugate gradients are done in single precision
FLAT = 1e-12  # |A_S p|^2 / |p|^2, for columns of unit norm, that may be nothing but rounding
TINY = 1e-300  # keeps conjugate gradients from 0 / 0: when they are done, and for columns that are 0


def cholesky(A_S: Columns, y: Array) -> np.ndarray:
    """Least squares x [s] float64 by the normal equations in float64, then one step of iterative refinement.

    The Gram matrix [s, s] is summed in float64 from products in single precision.
    """
    solution = factored(A_S.gram_matrix())
    x = solution(A_S.adjoint(y))
    return x + solution(A_S.adjoint(y - A_S.apply(x)))


def factored(K: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function b -> (K + ridge I)^-1 b, for b [s] or [s, c] in float64, by the Cholesky factor of K [s, s]."""
    from scipy.linalg import cho_factor, cho_solve

    ridge = RIDGE * np.trace(K) / max(len(K), 1) or 1.0
    factor = with_ridge(K, ridge, partial(cho_factor, overwrite_a=True, check_finite=False))
    return lambda b: cho_solve(factor, b, check_finite=False)


def conjugate_gradients(A_S: Columns, y: Array, x: np.ndarray, steps: int) -> np.ndarray:
    """Least squares x [s] float64 by at most `steps` conjugate gradients from x [s], on columns scaled to unit norm.

    The iteration is CGLS (Hestenes and Stiefel 1952), one pass over A_S per step. It stops where the gradient is down
    to the rounding of single precision, or where the next direction is one in which A_S is FLAT: there it would only
    amplify rounding errors.
    """
    norms = A_S.norms()
    scale = 1 / (norms + RIDGE**0.5 * (norms @ norms / max(len(norms), 1)) ** 0.5 + TINY)
    z = x / scale
    r = scale * A_S.adjoint(y - A_S.apply(x))  # minus half the gradient
    p, done = r, CONVERGED * (r @ r)
    for _ in range(steps):
        q = scale * A_S.gram(scale * p)
        going_on = (r @ r > done) & (p @ q > FLAT * (p @ p))
        mu = going_on * (r @ r) / (p @ q + TINY)
        z, before, r = z + mu * p, r @ r, going_on * (r - mu * q)
        p = r + (r @ r) / (before + TINY) * p
    return scale * z
