"""The skip M as rows of A that pass h on: M h = sum_b v_b relu(u_b . h) with u_b >= 0, where relu changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from beyond.deep.student import Student

EQUAL = 1e-4  # of the largest entry: a difference that counts as zero


def without_skip(net: Student) -> Student:
    """The same network with M as rows of A, as few weights as are found greedily."""
    M, A, C = net.M.copy(), [net.A], [net.C]
    while M.any():
        u, v = (signed if len(M) == 1 else best_block)(M)
        A.append(u[None])
        C.append(v[:, None])
        M -= np.where(M != 0, np.outer(v, u), 0)
        M[abs(M) < EQUAL * np.abs(net.M).max(axis=0)] = 0
    return replace(net, A=np.vstack(A), C=np.hstack(C), M=M).tidied()


def signed(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of one output: all positive entries, or all negative ones where there are no positive ones."""
    sign = 1.0 if (M > 0).any() else -1.0
    return np.maximum(sign * M[0], 0), np.array([sign])


def best_block(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(u, v), u [k1] >= 0 and v [k], that takes the most entries out of M [k, k1] for the weights that it has.

    v is a column of M, either way round, or one output, up to sign.
    """
    directions = np.vstack([M.T[M.any(axis=0)], np.eye(len(M))[M.any(axis=1)]])
    blocks = [(multiples(M, v), v) for v in (*directions, *-directions)]
    return max(blocks, key=lambda block: worth(M, *block))


def worth(M: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    """Entries that u v' takes out of M per weight of its own."""
    if not u.any():
        return 0.0
    return taken(M, u, v).sum() / (np.count_nonzero(u) + np.count_nonzero(v))


def taken(M: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """For each column of M [k1] how many entries it has less without v u'."""
    left = np.abs(M - np.outer(v, u)) > EQUAL * np.abs(M).max(axis=0)
    return np.count_nonzero(M, axis=0) - np.count_nonzero(left, axis=0)


def multiples(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u [k1] >= 0 with which each column of M loses the most entries, where those are more than one.

    For one output, which may be all that a column has, one entry is enough.
    """
    u, best = np.zeros(M.shape[1]), np.full(M.shape[1], 0 if np.count_nonzero(v) == 1 else 1)
    for output in np.flatnonzero(v):
        tried = np.maximum(M[output] / v[output], 0)
        gain = taken(M, tried, v)
        better = (gain > best) & (tried > 0)
        u[better], best[better] = tried[better], gain[better]
    return u
