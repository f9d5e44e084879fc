"""Which coordinates a support gains and loses: candidate neurons, selection by gain, backward elimination.

Notation: A [n, slots d] is the sensing matrix of the gates at hand, r the residual, G = A' r, and N are the norms of
the columns. A column alone, with its best weight, lowers |r|^2 by (G / N)^2: |G| / N is its gain (as in orthogonal
matching pursuit).
"""

import math
from collections.abc import Callable

import numpy as np

from beyond.gnhtp.layer import COLUMN_FLOOR, LayerProblem, num_active
from beyond.gnhtp.least_squares import factored
from beyond.gram import eliminate
from numerics.arrays import DTYPE, Array, to_device, to_host
from numerics.sparse import Largest, SparseVector
from numerics.streams import Stream
from sensing import Gates, ReluSensing

STEP_SCALES = (1.0, 0.25, 0.06, 0.0)  # mu of select, tried in this order; 0 adds no new coordinate


class CandidateGates(Gates):
    """Gate generators of an outer step: those given, see with_singles, then draws of N(0, I_d), `slots` in all.

    The draws are made when asked for, on the host: block by block, so that any rows can be drawn again.
    """

    def __init__(self, given: SparseVector, d: int, slots: int, key: tuple[int, ...]):
        self.given, self.d, self.key = given, d, key
        self.first_drawn, self.neurons = num_active(given, d), np.arange(slots)

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """Gate generators [b, d] for ascending neurons [b]."""
        rows, drawn = self.given.rows(neurons, self.d), neurons >= self.first_drawn
        rows[drawn] = Stream.CANDIDATES.rows(neurons[drawn], (len(self.neurons), self.d), *self.key)
        return rows


def with_singles(w: SparseVector, d: int, singles: np.ndarray) -> SparseVector:
    """Gate generators: the weights w of neurons 0, 1, ..., then single inputs sign e_k, for (k, sign) [c, 2]."""
    k, sign = singles.T
    places = (num_active(w, d) + np.arange(len(singles))) * d + k
    return SparseVector(np.concatenate([w.indices, places]), np.concatenate([w.values, sign.astype(DTYPE)]), w.size)


def select(A: ReluSensing, w: SparseVector, r: Array, s: int) -> list[np.ndarray]:
    """For each mu of STEP_SCALES the s coordinates where |N w + mu G / N| is largest, from one pass over A.

    That is a hard thresholded gradient step of size mu for columns scaled to unit norm. Were they orthogonal, dropping
    a weight would cost (N w)^2, and a new column would gain (G / N)^2.
    """
    return leading(A, w, r, s, [lambda weights, G, N, mu=mu: N * weights + mu * G / N for mu in STEP_SCALES])


def newcomers(A: ReluSensing, w: SparseVector, r: Array, count: int) -> np.ndarray:
    """The `count` coordinates without weight of largest gain |G| / N."""
    [S] = leading(A, w, r, count, [lambda weights, G, N: (weights == 0) * G / N])
    return S


def leading(A: ReluSensing, w: SparseVector, r: Array, s: int, criteria: list[Callable]) -> list[np.ndarray]:
    """For each criterion the s coordinates, ascending, where it is largest in magnitude and not 0; one pass over A.

    A criterion is a function (weights, G, N) -> numbers to compare, all of the same coordinates [b].
    """
    tops = [Largest(s) for _ in criteria]
    for place, G, N in A.adjoint_blocks(r, norms=True):
        N += COLUMN_FLOOR * math.sqrt(len(r))
        weights = to_device(w.at(place), r)
        for top, criterion in zip(tops, criteria, strict=True):
            top.add(place, criterion(weights, G, N).astype(DTYPE))
    return [top.indices[top.values != 0] for top in tops]


def keep_best(layer: LayerProblem, A: ReluSensing, pool: np.ndarray, s: int) -> np.ndarray:
    """The s coordinates of a pool (ascending) that survive backward elimination."""
    A_P = A.columns(pool)
    inverse = factored(A_P.gram_matrix())(np.eye(len(pool)))
    return pool[eliminate(inverse, A_P.adjoint(layer.y), s)[0]]


def signed_inputs(w: SparseVector, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Input and sign (k, sign) [len(w), 2] of each weight, and whether it is the only one of its neuron [len(w)]."""
    neuron, k = np.divmod(w.indices, d)
    return np.stack([k, np.sign(w.values).astype(np.int64)], axis=1), np.bincount(neuron, minlength=1)[neuron] == 1


def splits(w: SparseVector, d: int) -> np.ndarray:
    """Gates (k, sign) [c, 2] for the single weights of all neurons that have several.

    The usual last mistake is a neuron that stands for two planted ones of nearly the same direction, one of them with a
    single weight. No correlation shows it: their columns differ in the few samples between the two gates only.
    """
    singles, alone = signed_inputs(w, d)
    return np.unique(singles[~alone], axis=0)


def draw_singles(w: SparseVector, d: int, taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` gates (k, sign) [c, 2] at random, for inputs in use: neurons of one weight are common.

    Not those of `taken`, nor the gate of a neuron that is there with its one weight: its columns would be there twice.
    """
    singles, alone = signed_inputs(w, d)
    everything = [(k, sign) for k in np.unique(w.indices % d) for sign in (-1, 1)]
    known = set(map(tuple, np.concatenate([taken, singles[alone]])))
    free = np.array([single for single in everything if single not in known], dtype=np.int64).reshape(-1, 2)
    return rng.permutation(free)[:count]


def best_singles(layer: LayerProblem, w: SparseVector, r: Array, count: int) -> np.ndarray:
    """The `count` gates (k, sign) [c, 2] of which relu(sign X_k), with a positive weight, alone would gain most.

    Not those of neurons that are there with this one weight.
    """
    gains = to_host(layer.single_gains(r)).reshape(2, layer.d)
    singles, alone = signed_inputs(w, layer.d)
    k, sign = singles[alone].T
    gains[(sign < 0).astype(int), k] = 0
    order = np.argsort(-gains, axis=None, kind="stable")[:count]
    row, k = np.divmod(order[gains.ravel()[order] > 0], layer.d)
    return np.stack([k, 1 - 2 * row], axis=1)
