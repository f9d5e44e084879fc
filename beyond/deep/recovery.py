"""Was a planted network with two hidden layers recovered? Which weights were found.

    y_hat = C relu(A relu(W x))

Many weights give the same function, so both networks are first brought to a normal form (`normal_form`): what has no
effect is left out; the rows of W have unit length, and their lengths stand in the columns of A; units of W that are
positive multiples of each other are one unit, and so are rows of A. All rows of A without negative weights pass
h = relu(W x) on, since for them relu(A_j h) = A_j h: together they are the skip M h. With one output C is a sign and
does not count; with several the rows of A have unit length. Then units are matched, then rows. Three identities are
not undone, so that a network may be equivalent in spite of a low precision:

    relu(z) = z + relu(-z): a row of A and its negative, with the difference in M,
    relu(a) - relu(-a) = a for the units of W, where such pairs cancel,
    relu(a relu(p) - c relu(q)) = relu(a relu(p - (c / a) q) - c relu(-q)) for a, c > 0: a row and two units of its own.
"""

from dataclasses import replace

import numpy as np

from beyond.deep.network import first_in_line
from beyond.deep.student import Student
from beyond.gram import PARALLEL, added_up
from beyond.recovery import best_matching, share
from models import SparseNet


def normal_form(net: SparseNet) -> Student | None:
    """The network as a student with the skip M, its units, rows and outputs scaled as above.

    None unless it has two hidden layers of ReLU units and finite weights.
    """
    layers = [*net.layers, *([net.output] if net.output is not None else [])]
    if len(net.layers) != 2 or net.gates is not None or not all(np.isfinite(layer.w.values).all() for layer in layers):
        return None
    W, A, *output = (layer.dense().astype(np.float64) for layer in layers)
    C = output[0] if output else np.ones((1, len(A)))
    form, count = Student(W, A, C, np.zeros((len(C), len(W))), signs=len(C) == 1).tidied(), (0, 0)
    passing = np.flatnonzero((form.A >= 0).all(axis=1))
    mixed = np.flatnonzero((form.A < 0).any(axis=1))
    form = replace(form, M=form.C[:, passing] @ form.A[passing]).part(np.arange(len(form.W)), mixed)
    while count != (count := (len(form.W), len(form.A))):
        form = merged_rows(merged_units(form.tidied())).tidied()
    length = np.linalg.norm(form.W, axis=1)
    form = replace(form, W=form.W / length[:, None], A=form.A * length, M=form.M * length)
    size = np.abs(form.C[0]) if form.signs else 1 / np.linalg.norm(form.A, axis=1)
    return replace(form, A=form.A * size[:, None], C=form.C / size)


def merged_units(net: Student) -> Student:
    """Units with parallel rows of W as one: relu(a w x) = a relu(w x) for a > 0."""
    length, first = np.linalg.norm(net.W, axis=1), first_in_line(net.W, PARALLEL)
    A, M = (added_up((part * (length / length[first])).T, first).T for part in (net.A, net.M))
    return replace(net, A=A, M=M).part(first == np.arange(len(first)), np.arange(len(A)))


def merged_rows(net: Student) -> Student:
    """Rows of A that are positive multiples of each other as one."""
    length, first = np.linalg.norm(net.A, axis=1), first_in_line(net.A, PARALLEL)
    C = added_up((net.C * (length / length[first])).T, first).T
    return replace(net, C=C).part(np.arange(len(net.W)), first == np.arange(len(first)))


def compare(net: SparseNet, planted: SparseNet) -> dict[str, float | int | None]:
    """How much of a planted network a fitted one has found, both in normal form; see beyond.recovery for one layer.

    It is not defined, and {} is returned, where one of them has no normal form.

    Returns:
        support_precision, support_recall: of the nonzero weights that both have, on matched units and rows, the share
        in those of the fitted network and of the planted one; None where a network has no path from input to output.
        layer0_precision, layer0_recall, layer1_precision, layer1_recall: the same for W and for A and M.
        output_precision, output_recall: with several outputs, the same for C.
        signs_found: with output weights in the planted network of one output, the share of its rows with a match of
            the same sign.
        weights_planted, weights_used: nonzero weights of the normal forms.
        neurons_planted, neurons_lost: units, rows and, where it has weights, M; and those without a match.
    """
    fitted, true = normal_form(net), normal_form(planted)
    if fitted is None or true is None:
        return {}
    # Units match by u . u' |A_k| |A'_k|, M with it, rows by the product of their weights on matched units and of their
    # outputs. Units and rows that lie at more than a right angle never match.
    strength, strength_true = (np.linalg.norm(np.vstack([form.A, form.M]), axis=0) for form in (fitted, true))
    k, k_true = best_matching(np.maximum(fitted.W @ true.W.T, 0) * np.outer(strength, strength_true))
    A, B = fitted.A[:, k], true.A[:, k_true]
    j, j_true = best_matching(np.maximum(A @ B.T, 0) * np.maximum(fitted.C.T @ true.C, 0))
    both = Student(fitted.W[k] * true.W[k_true], A[j] * B[j_true], fitted.C[:, j] * true.C[:, j_true],
                   fitted.M[:, k] * true.M[:, k_true], fitted.signs)
    measures = dict[str, float | int | None]()
    for name, form in (("precision", fitted), ("recall", true)):
        measures[f"support_{name}"] = share(both.count, form.count)
        for layer, (part, whole) in enumerate(zip(counts(both), counts(form), strict=True)):
            measures[f"{'output' if layer == 2 else f'layer{layer}'}_{name}"] = share(part, whole)
    if planted.output is not None and true.signs:
        measures["signs_found"] = share(len(both.A), len(true.A))
    neurons = len(true.W) + len(true.A) + true.M.any()
    return measures | {"weights_planted": true.count, "weights_used": fitted.count, "neurons_planted": int(neurons),
                       "neurons_lost": int(neurons - len(both.W) - len(both.A) - both.M.any())}


def counts(net: Student) -> list[int]:
    """Nonzero weights of W, of A and M, and of C where it is fitted."""
    W, A, M, *C = (int(np.count_nonzero(part)) for part in net.parts)
    return [W, A + M, *C]
