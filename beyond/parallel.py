"""Neurons that point the same way count as one: relu(a w . x) = a relu(w . x) for a > 0, so they can be added up.

Up to rounding that is no equivalence: of three such neurons the outer two may be too far apart. What becomes of a chain
is for the caller to say.
"""

from __future__ import annotations

import numpy as np

# Cosine above which two neurons count as positive multiples of each other. Adding them up changes the outputs by less
# than 1e-5 of their size (Gaussian inputs, weights of equal signs in any ratio: by -101 dB or less), where a fit counts
# as exact.
PARALLEL = 1 - 1e-6


def unit(W: np.ndarray) -> np.ndarray:
    """Rows of norm 1; zeros stay."""
    length = np.linalg.norm(W, axis=1, keepdims=True)
    return W / np.where(length > 0, length, 1)


def first_parallel(U: np.ndarray, cosine: float, lines: bool = False) -> np.ndarray:
    """For each unit row of U [a, d] the number of the first that encloses a larger cosine with it, which may be itself.

    Args:
        lines: whether opposite rows count as parallel, too.
    """
    cosines = U @ U.T
    near = (np.abs(cosines) if lines else cosines) > cosine
    return np.argmax(near, axis=1) if len(U) else np.zeros(0, dtype=np.int64)


def added_up(parts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Sums [a, ...] of the parts [a, ...] that each row owns; zeros for a row that owns none."""
    total = np.zeros_like(parts)
    np.add.at(total, owner, parts)
    return total
