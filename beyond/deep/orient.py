"""Which way the rows of A point: relu(z) = z + relu(-z), so a row can be turned round if h passes on what it loses.

    relu(a h) + p h  =  relu(-a h) + (p + a) h,      p >= 0 and p + a >= 0

All orientations fit equally well, and a dense fit ends in any of them; the planted one is sparse. So the orientation
with the sparsest p is looked for: over all of them while there are few rows, by turning one or two at a time otherwise.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from beyond.deep.network import TwoLayers, first_in_line, tidied
from beyond.gram import unit

NEGLIGIBLE = 0.01  # entry of p that counts as zero, in units of what its terms add up to in magnitude
FORBIDDEN = 10.0  # a negative entry of p counts as so many weights
OPPOSITE = 1 - 1e-5  # cosine with the negative of a row, above which two are one
ALMOST = 0.05  # share of negative weights at which a row is tried as one that passes h on
FEW = 12  # rows: 4096 orientations


def oriented(net: TwoLayers, almost: float = 0.0) -> TwoLayers:
    """The network with its rows of A turned so that the row which passes h on has the fewest weights.

    The same function up to entries of p that are NEGLIGIBLE, which are dropped, and FORBIDDEN ones, which stay only
    where there is nothing better; and up to the negative weights of rows that `almost` pass h on, being at most this
    share of the positive ones, which are dropped.
    """
    strength = net.A * np.linalg.norm(net.W, axis=1)
    few = np.maximum(-strength, 0).sum(axis=1) <= almost * np.maximum(strength, 0).sum(axis=1)
    rows, passed = without_opposites(np.where(few[:, None], np.maximum(net.A, 0), net.A))
    bar = NEGLIGIBLE * abs(net.A).sum(axis=0)
    turned = best_turns(rows, passed, bar)
    p = passed + rows[turned].sum(axis=0)
    p[abs(p) < bar] = 0
    return tidied(TwoLayers(net.W, np.vstack([np.where(turned[:, None], -rows, rows), p])))


def without_opposites(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of A [k2, k1] with negative weights, of each opposite pair only one, and the sum p [k1] of all else.

    relu(z) + relu(-c z) = (1 + c) relu(-z) + z.
    """
    mixed = (A < 0).any(axis=1)
    rows, passed = A[mixed], A[~mixed].sum(axis=0)
    opposite = first_in_line(np.vstack([rows, -rows]), OPPOSITE)[len(rows) :]
    gone = np.zeros(len(rows), dtype=bool)
    for j, first in enumerate(opposite):
        if first < j and not gone[first]:
            passed = passed + rows[first]
            rows[first] = rows[j] - rows[first]
            gone[j] = True
    return rows[~gone], passed


def cost(p: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """Weights in rows p [.., k1], negative ones counted FORBIDDEN times."""
    return np.sum((p >= bar) + FORBIDDEN * (p <= -bar), axis=-1)


def with_merged_units(net: TwoLayers) -> TwoLayers:
    """The network with its two most similar hidden units as one, whose weights are their sums."""
    W, A = (net := net.balanced()).W.copy(), net.A.copy()
    length = np.linalg.norm(W, axis=1)
    k, other = most_similar(W)
    W[k] = W[k] * length[k] + W[other] * length[other]
    W[k] /= np.linalg.norm(W[k])
    A[:, k] = A[:, k] * length[k] + A[:, other] * length[other]
    return tidied(TwoLayers(np.delete(W, other, axis=0), np.delete(A, other, axis=1)))


def most_similar(rows: np.ndarray) -> tuple[int, int]:
    """The pair of rows with the largest cosine; rows [a], a > 1."""
    U = unit(rows)
    j, other = divmod(int(np.argmax(U @ U.T - 2 * np.eye(len(U)))), len(U))
    return j, other


def moves(net: TwoLayers) -> Iterator[TwoLayers]:
    """Networks that may be equal to this one, up to a descent, and simpler."""
    yield oriented(net)
    yield oriented(net, ALMOST)
    if len(net.W) > 1:
        yield with_merged_units(net)
    if len(net.A) > 1:
        A = net.A.copy()
        j, other = most_similar(A * np.linalg.norm(net.W, axis=1))
        A[j] += A[other]
        yield tidied(TwoLayers(net.W, np.delete(A, other, axis=0)))


def best_turns(rows: np.ndarray, passed: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """Mask of the rows to turn, the one of least cost; of equal ones the first."""
    if len(rows) <= FEW:
        patterns = (np.arange(2 ** len(rows))[:, None] >> np.arange(len(rows)) & 1).astype(bool)
        return patterns[np.argmin(cost(passed + patterns @ rows, bar))]
    turned, lowest = np.zeros(len(rows), dtype=bool), np.inf
    pairs = np.array([np.isin(np.arange(len(rows)), pair)
                      for pair in itertools.combinations_with_replacement(range(len(rows)), 2)])
    while True:
        tried = np.vstack([turned, turned ^ pairs])
        costs = cost(passed + tried @ rows, bar)
        if not costs.min() < lowest:
            return turned
        turned, lowest = tried[np.argmin(costs)], costs.min()
