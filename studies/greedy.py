"""Greedy selection of columns for least squares: orthogonal matching pursuit, and orthogonal least squares."""

from __future__ import annotations

import numpy as np

DEPENDENT = 1e-10  # a column whose share of energy outside the span of those chosen is less is a sum of them


def select(G: np.ndarray, b: np.ndarray, most: int, *, anew: bool) -> tuple[np.ndarray, np.ndarray]:
    """Columns of X in the order in which they are chosen, each with the energy of y that it takes away.

    The residual r of y is orthogonal to the columns that are chosen. The next one is that with the largest
    (x_j . r)^2 / |x_j|^2. Where the columns are taken `anew`, x_j stands for its part outside their span: then no other
    column leaves a smaller residual (orthogonal least squares). Otherwise this is orthogonal matching pursuit. Both
    come from the Gram matrix by a Cholesky factorisation whose pivots are the choices.

    Args:
        G: X' X [d, d], double precision.  b: X' y [d].  most: number of columns; fewer where the others depend on them.
    Returns:
        (columns, energies), at most `most` of each.
    """
    lengths, G_rows = np.diag(G).copy(), np.zeros((most, len(G)))  # the rows of the factor
    c, left, free = b.copy(), lengths.copy(), np.ones(len(G), dtype=bool)  # X' r; squared lengths outside the span
    columns, energies = list[int](), list[float]()
    for row in range(most):
        free &= left > DEPENDENT * lengths
        if not free.any():
            break
        gains = np.divide(c**2, left if anew else lengths, out=np.full(len(G), -1.0), where=free)
        j = int(gains.argmax())
        factor = (G[j] - G_rows[:row, j] @ G_rows[:row]) / np.sqrt(left[j])
        step = c[j] / np.sqrt(left[j])
        c, left, free[j], G_rows[row] = c - step * factor, left - factor**2, False, factor
        columns.append(j)
        energies.append(step**2)
    return np.array(columns, dtype=int), np.array(energies)


def least_squares(X: np.ndarray, Y: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The weights [d, k] that are zero but where `chosen` [d, k], and leave the smallest residual of Y [n, k]."""
    from scipy.linalg import lstsq

    W = np.zeros(chosen.shape)
    for output, own in enumerate(chosen.T):
        if own.any():
            W[own, output] = lstsq(X[:, own].astype(float), Y[:, output], lapack_driver="gelsy")[0]
    return W
