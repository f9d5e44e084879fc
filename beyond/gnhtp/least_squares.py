"""Least squares on a support of the sensing matrix."""

from __future__ import annotations

import numpy as np

from numerics.arrays import to_device, to_host

RIDGE = 1e-6  # of the mean diagonal of the Gram matrix; ten times more, as often as needed, where that is indefinite
CG_STEPS = {True: 100, False: 10}  # conjugate gradients: for targets that a sparse network made, and for others
CONVERGED = 1e-13  # |r|^2, of the first one, where conjugate gradients are done, in single precision
FLAT = 1e-12  # |A_S p|^2 / |p|^2, for columns of unit norm, that may be nothing but rounding
TINY = 1e-300  # keeps conjugate gradients from 0 / 0: those that are done, and columns that are 0


def cholesky(A_S, y) -> np.ndarray:
    """Least squares by the normal equations in float64, then one refinement of the residual."""
    K = positive_definite(to_host(A_S.gram_matrix()))
    x = np.linalg.solve(K, to_host(A_S.adjoint(y)))
    r = y - A_S.apply(to_device(x, y))
    return x + np.linalg.solve(K, to_host(A_S.adjoint(r)))


def positive_definite(K: np.ndarray) -> np.ndarray:
    """K + ridge I for the smallest ridge of 1e-6, 1e-5, ... of the mean diagonal that has a Cholesky factor.

    Products in single precision leave a Gram matrix of nearly equal columns slightly indefinite.
    """
    if not np.isfinite(K).all():
        raise FloatingPointError("a Gram matrix is not finite; are all inputs?")
    ridge = RIDGE * np.trace(K) / max(len(K), 1) or 1.0
    while True:
        ridged = K + ridge * np.eye(len(K))
        try:
            np.linalg.cholesky(ridged)
            return ridged
        except np.linalg.LinAlgError:
            ridge *= 10


def conjugate_gradients(A_S, y, x, steps: int) -> np.ndarray:
    """Least squares by conjugate gradients from x, columns scaled to unit norm.

    They are done where what is left is the rounding of single precision, which would be blown up along directions in
    which A_S is FLAT.
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
    return to_host(scale * z)
