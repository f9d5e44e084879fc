"""Which way the rows of A point: relu(z) = z + relu(-z), so a row can be turned round if h passes on what it loses.

    relu(a h) + p h  =  relu(-a h) + (p + a) h,      p >= 0 and p + a >= 0

All orientations fit equally well, and a dense fit ends in any of them; the planted one is sparse. So the orientation
with the sparsest p is looked for: over all of them while there are few rows, by turning one or two at a time otherwise.
"""

from __future__ import annotations

import itertools

import numpy as np

from beyond.deep.network import TwoLayers, first_parallel, tidied

NEGLIGIBLE = 0.01  # entry of p that counts as zero, in units of what its terms add up to in magnitude
FORBIDDEN = 10.0  # a negative entry of p counts as so many weights
OPPOSITE = 1 - 1e-5  # cosine with the negative of a row, above which two are one
FEW = 12  # rows: 4096 orientations


def oriented(net: TwoLayers) -> TwoLayers:
    """The network with its rows of A turned so that the row which passes h on has the fewest weights.

    The same function up to entries of p that are NEGLIGIBLE, which are dropped, and FORBIDDEN ones, which stay only
    where there is nothing better.
    """
    rows, passed = without_opposites(net.A)
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
    opposite = first_parallel(np.vstack([rows, -rows]), OPPOSITE)[len(rows):]
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


def best_turns(rows: np.ndarray, passed: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """Mask of the rows to turn, the one of least cost; of equal ones the first."""
    if len(rows) <= FEW:
        patterns = (np.arange(2 ** len(rows))[:, None] >> np.arange(len(rows)) & 1).astype(bool)
        return patterns[np.argmin(cost(passed + patterns @ rows, bar))]
    turned, lowest = np.zeros(len(rows), dtype=bool), np.inf
    moves = np.array([np.isin(np.arange(len(rows)), pair)
                      for pair in itertools.combinations_with_replacement(range(len(rows)), 2)])
    while True:
        tried = np.vstack([turned, turned ^ moves])
        costs = cost(passed + tried @ rows, bar)
        if not costs.min() < lowest:
            return turned
        turned, lowest = tried[np.argmin(costs)], costs.min()
