"""Was a planted network with two hidden layers recovered? Which weights of either layer were found.

    y_hat = sum_j relu(A_j relu(W x))

Many weights give the same function, so both networks are first brought to a normal form (`normal_form`): what has no
effect is left out; the rows of W have unit length, and their lengths stand in the columns of A; units of W that are
positive multiples of each other are one unit, and so are rows of A. All rows of A without negative weights are one row,
which passes h = relu(W x) on: for them relu(A_j h) = A_j h. Then units are matched, then rows. Three identities are
not undone, so that a network may be equivalent in spite of a low precision:

    relu(z) = z + relu(-z): a row of A and its negative, with the difference in the row that passes h on,
    relu(a) - relu(-a) = a for the units of W, where such pairs cancel,
    relu(a relu(p) - c relu(q)) = relu(a relu(p - (c / a) q) - c relu(-q)) for a, c > 0: a row and two units of its own.
"""

import numpy as np

from beyond.deep.network import TwoLayers, tidied
from beyond.recovery import best_matching, share
from models import SparseNet


def normal_form(net: SparseNet) -> TwoLayers | None:
    """W [a, d] with rows of unit length, and A [b, a], in which the row that passes h on comes first, if there is one.

    None unless it has two hidden layers of ReLU units, one output, their sum, and finite weights.
    """
    if (len(net.layers) != 2 or net.output is not None or net.gates is not None
            or not all(np.isfinite(layer.w.values).all() for layer in net.layers)):
        return None
    form = tidied(TwoLayers(*(layer.dense().astype(np.float64) for layer in net.layers)))
    length = np.linalg.norm(form.W, axis=1)
    order = np.argsort((form.A < 0).any(axis=1), kind="stable")
    return TwoLayers(form.W / length[:, None], (form.A * length)[order])


def compare(net: SparseNet, planted: SparseNet) -> dict[str, float | int | None]:
    """How much of a planted network a fitted one has found, both in normal form; see beyond.recovery for one layer.

    It is not defined, and {} is returned, where one of them has no normal form: dense training gives output weights of
    both signs (--method pruning, set, rigl), and several outputs have weights too.

    Returns:
        support_precision, support_recall: of the nonzero weights that both have, on matched units and rows, the share
        in those of the fitted network and of the planted one; None where a network has no path from input to output.
        layer0_precision, layer0_recall, layer1_precision, layer1_recall: the same for W and for A.
        weights_planted, weights_used: nonzero weights of the normal forms.
        neurons_planted, neurons_lost: units and rows, and those without a match.
    """
    fitted, true = normal_form(net), normal_form(planted)
    if fitted is None or true is None:
        return {}
    # Units match by u . u' |A_k| |A'_k|, rows by the product of their weights on matched units, but the row that passes
    # h on only with its like. Units and rows that lie at more than a right angle never match.
    strength, strength_true = (np.linalg.norm(form.A, axis=0) for form in (fitted, true))
    k, k_true = best_matching(np.maximum(fitted.W @ true.W.T, 0) * np.outer(strength, strength_true))
    passing, passing_true = (np.all(form.A >= 0, axis=1) for form in (fitted, true))
    A, B = fitted.A[:, k], true.A[:, k_true]
    j, j_true = best_matching(np.maximum(A @ B.T, 0) * (passing[:, None] == passing_true))
    both, measures = TwoLayers(fitted.W[k] * true.W[k_true], A[j] * B[j_true]), dict[str, float | int | None]()
    for name, form in (("precision", fitted), ("recall", true)):
        measures[f"support_{name}"] = share(both.count, form.count)
        for layer, pair in enumerate(((both.W, form.W), (both.A, form.A))):
            measures[f"layer{layer}_{name}"] = share(*(int(np.count_nonzero(weights)) for weights in pair))
    neurons = len(true.W) + len(true.A)
    return measures | {"weights_planted": true.count, "weights_used": fitted.count, "neurons_planted": neurons,
                       "neurons_lost": neurons - len(both.W) - len(both.A)}
