"""Was the planted network recovered? What a score cannot say: which weights and neurons were found, and how well.

Many weights give the same function, so both networks are first brought to a normal form, in which a network with one
hidden layer is a set of neurons (u, p), u [d] of unit length and p [k]:

    y_hat = sum_j relu(w_j x) v_j = sum_j relu(u_j x) p_j,      u_j = w_j / |w_j|,      p_j = |w_j| v_j

(v_j = 1 where the outputs are summed). Neurons that are positive multiples of each other count as their sum, and one
without input or output weights is none: no data can tell. Then fitted neurons are matched with planted ones. That
relu(z) = relu(-z) + z is not undone: a network with neurons flipped whose vectors cancel may be equivalent, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from beyond.gram import PARALLEL, unit
from models import SparseNet

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FOUND = 0.5**0.5  # cosine below which the best multiple of a neuron leaves more than half of the other's |w|^2


@dataclass(frozen=True)
class NormalForm:
    """Neurons with directions U [a, d], rows of unit length, and output weights P [a, k]."""

    U: csr_matrix
    P: np.ndarray

    @classmethod
    def of(cls, net: SparseNet) -> NormalForm:
        """The normal form of a network with one hidden layer of ReLU neurons."""
        [layer] = net.layers
        W = layer.matrix(np.arange(layer.d))
        V = np.ones((layer.m, 1)) if net.output is None else net.output.dense().T.astype(np.float64)
        return cls.scaled(W, V[layer.neurons]).merged()

    @classmethod
    def scaled(cls, W: csr_matrix, V: np.ndarray) -> NormalForm:
        """The neurons that have weights on both sides, in W [a, d] and V [a, k], as directions and outputs."""
        length = row_norms(W)
        live = (length > 0) & V.any(axis=1)
        return cls(scale_rows(W[live], 1 / length[live]), V[live] * length[live, None])

    def merged(self) -> NormalForm:
        """With neurons that are positive multiples of each other, or joined by a chain of such, as their sum.

        The sum of the p_j gives the new direction of p, and those of the u_j are weighted by the share of p_j in it, so
        that with one output the weight vectors are added.
        """
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import connected_components

        count, label = connected_components(self.U @ self.U.T > PARALLEL, directed=False)
        members = csr_matrix((np.ones(len(label)), (label, np.arange(len(label)))), shape=(count, len(label)))
        V = unit(members @ self.P)  # where they cancel, scaled() drops the neuron
        return self.scaled(members @ scale_rows(self.U, np.sum(self.P * V[label], axis=1)), V)

    @property
    def num_nonzero(self) -> int:
        """Nonzero weights; with one output, its weight is part of those of the hidden neuron."""
        return self.U.nnz + (int(np.count_nonzero(self.P)) if self.P.shape[1] > 1 else 0)

    @property
    def energy(self) -> np.ndarray:
        """|u p'|^2 = |p|^2 per neuron [a]."""
        return np.sum(self.P**2, axis=1)


def row_norms(W: csr_matrix) -> np.ndarray:
    """Lengths [a] of the rows of a sparse matrix [a, d]."""
    return np.sqrt(np.asarray(W.multiply(W).sum(axis=1), dtype=np.float64).ravel())


def scale_rows(W: csr_matrix, factors: np.ndarray) -> csr_matrix:
    """diag(factors) W."""
    return W.multiply(factors[:, None]).tocsr()


def compare(net: SparseNet, planted: SparseNet) -> dict[str, float | int | None]:
    """How much of the planted network a fitted one has found.

    The matching makes the weight error least. {} is returned for deeper networks (two hidden layers:
    beyond.deep.recovery), for fixed random gates (--convex: no ReLU neurons), and for weights that are not finite.

    Returns:
        support_precision, support_recall: of the nonzero weights of matched neurons that both have, the share in
        those of the fitted network and of the planted one; with k > 1 outputs, both layers. None where a network has
        no such weights: a planted one without a path from input to output leaves nothing to recover.
        weight_error: |W_hat - W| / |W| over all neurons, matched or not; with k > 1 of the products w_j v_j'. None
        where there is nothing to recover.
        neurons_planted, neurons_lost: planted neurons, and those without a match or with one at a cosine below FOUND.
        width_used: fitted neurons that have weights.
        output_precision, output_recall: with k > 1 the first two for V alone.
        signs_found: where a planted network with one output has output weights, the share of its neurons whose
            direction was found, from either side, with the right sign of the output.
    """
    weights = [layer.w.values for layer in (*net.layers, *filter(None, [net.output]))]
    if len(net.layers) > 1 or net.gates is not None or not all(np.isfinite(values).all() for values in weights):
        return {}
    fitted, true = NormalForm.of(net), NormalForm.of(planted)
    rows, columns = match(fitted, true)
    a, b = NormalForm(fitted.U[rows], fitted.P[rows]), NormalForm(true.U[columns], true.P[columns])
    both = NormalForm(a.U.multiply(b.U).tocsr(), a.P * b.P)  # of each pair, weight by weight
    inner = both.P.sum(axis=1)  # p . r
    cosine = np.asarray(both.U.sum(axis=1)).ravel() * inner / np.sqrt(a.energy * b.energy)
    # |u p' - q r'|^2 is |p - r|^2 + |u - q|^2 (p . r): this does not cancel where they agree
    distances = np.sum((a.P - b.P) ** 2, axis=1) + row_norms(a.U - b.U) ** 2 * inner
    unmatched = [np.delete(form.energy, used).sum() for form, used in ((fitted, rows), (true, columns))]
    error, planted_neurons = distances.sum() + sum(unmatched), len(true.P)
    found: dict[str, float | int | None] = {
        "support_precision": share(both.num_nonzero, fitted.num_nonzero),
        "support_recall": share(both.num_nonzero, true.num_nonzero),
        "weight_error": float(np.sqrt(error / true.energy.sum())) if planted_neurons else None,
        "neurons_planted": planted_neurons,
        "neurons_lost": planted_neurons - int(np.count_nonzero(cosine >= FOUND)),
        "width_used": len(net.layers[0].neurons),
    }
    if true.P.shape[1] > 1:
        outputs, ours, theirs = (int(np.count_nonzero(form.P)) for form in (both, fitted, true))
        return found | {"output_precision": share(outputs, ours), "output_recall": share(outputs, theirs)}
    if planted.output is not None and planted_neurons:
        return found | {"signs_found": signs_found(fitted, true)}
    return found


def share(part: int, whole: int) -> float | None:
    """part / whole; None where there is nothing to find."""
    return part / whole if whole else None


def signs_found(fitted: NormalForm, true: NormalForm) -> float:
    """The share of planted neurons with a fitted one of nearly the same crease u . x = 0 and the same sign of p [1]."""
    cosine = np.abs((fitted.U @ true.U.T).toarray())
    rows, columns = best_matching(cosine)
    right = (cosine[rows, columns] >= FOUND) & (fitted.P[rows, 0] * true.P[columns, 0] > 0)
    return int(np.count_nonzero(right)) / len(true.P)


def match(fitted: NormalForm, true: NormalForm) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (rows, columns) of matched neurons: the matching of least |W_hat - W|, where an unmatched one costs |w|^2.

    A match of (u, p) and (q, r) saves 2 (u . q) (p . r). Both factors must be positive: (-u, -p) has the same product
    of weights u p', but is another neuron.
    """
    return best_matching(np.maximum((fitted.U @ true.U.T).toarray(), 0) * np.maximum(fitted.P @ true.P.T, 0))


def best_matching(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (rows, columns) of the matching with the largest sum of gains [a, b]; none with a gain of 0."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gain, maximize=True)
    positive = gain[rows, columns] > 0
    return rows[positive], columns[positive]
