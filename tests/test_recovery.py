"""beyond/recovery.py: hand-made networks with known answers, and a dense brute force over all matchings."""

import itertools
import json

import numpy as np
import pytest
from helpers import sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from beyond.recovery import FOUND, compare
from models import SparseLayer, SparseNet
from numerics.sparse import SparseVector
from sensing import RandomGates

W = np.array([[3, 0, 4, 0], [0, 1, 0, 0], [0, 0, -2, 2]], dtype=np.float32)  # |W|^2 = 25 + 1 + 8, 5 weights
V = np.array([[1, 0], [2, -1], [0, 3]], dtype=np.float32)
OUTPUTS = ("output_precision", "output_recall", "signs_found")
PERFECT = {"support_precision": 1, "support_recall": 1, "weight_error": 0, "neurons_planted": 3, "neurons_lost": 0,
           "width_used": 3}


def layer(weights):
    return SparseLayer(sparse(weights), *np.shape(weights))


def net(W, V=None):
    """Hidden weights W [m, d]; outputs summed, or output weights V [m, k]."""
    return SparseNet((layer(W),), None if V is None else layer(np.transpose(V)))


def assert_same(found, expected, tolerance):
    undefined = {name for name, value in expected.items() if value is None}
    assert found.keys() == expected.keys() and undefined == {name for name, value in found.items() if value is None}
    for name in found.keys() - undefined:
        assert found[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name


def check(found, **expected):
    found = {name: value for name, value in found.items() if name not in OUTPUTS}
    assert_same(found, PERFECT | expected, 1e-7)
    if found["weight_error"] is not None:
        assert found["weight_error"] == pytest.approx((PERFECT | expected)["weight_error"], rel=1e-6, abs=1e-12)
    json.dumps(found, allow_nan=False)


# ---- known answers ----


def changed(j, k, value):
    """W with one weight changed."""
    return np.where(np.arange(12).reshape(3, 4) == 4 * j + k, value, W)


C, FLIP, SPLIT = np.array([[2], [0.5], [4]]), np.array([[1], [1], [-1]]), np.array([[0.25], [1], [0.75], [1]])
FLIPPED = {"support_precision": 3 / 5, "support_recall": 3 / 5, "weight_error": np.sqrt(2 * 8 / 34), "neurons_lost": 1}
MISSED = {"support_precision": None, "support_recall": 0, "weight_error": 1, "neurons_lost": 3, "width_used": 0}
EMPTY = {"support_precision": 0, "support_recall": None, "weight_error": None, "neurons_planted": 0}
KNOWN = {  # fitted, planted, and what differs from PERFECT
    "output weights are folded into the hidden ones": (net(W / C, C), net(W), {}),
    "parallel neurons are added up": (net(SPLIT * W[[0, 1, 0, 2]]), net(W), {"width_used": 4}),
    "a missing weight, 0.6 is left": (  # the cosine of what is left of the first neuron, below FOUND
        net(changed(0, 2, 0)), net(W), {"support_recall": 4 / 5, "weight_error": np.sqrt(16 / 34), "neurons_lost": 1}),
    "a missing weight, 0.8 is left": (
        net(changed(0, 0, 0)), net(W), {"support_recall": 4 / 5, "weight_error": np.sqrt(9 / 34)}),
    "a weight too many": (
        net(changed(1, 3, 0.5)), net(W), {"support_precision": 5 / 6, "weight_error": np.sqrt(0.25 / 34)}),
    "a neuron too few": (net(W[:2]), net(W), {"support_recall": 3 / 5, "weight_error": np.sqrt(8 / 34),
                                              "neurons_lost": 1, "width_used": 2}),
    "two neurons too many": (net([*W, [0, -1, 0, 0], [-2, 0, 0, -2]]), net(W),
                             {"support_precision": 5 / 8, "weight_error": np.sqrt(9 / 34), "width_used": 5}),
    "relu(-w x) is another neuron": (net(W * FLIP), net(W), FLIPPED),
    "-relu(w x) is another neuron": (net(W, FLIP), net(W), FLIPPED),
    "-relu(-w x) is another neuron, whose product w v is the same": (net(W * FLIP, FLIP), net(W), FLIPPED),
    "no weights": (net(0 * W), net(W), MISSED),
    "nothing to recover": (net(W), net(0 * W), EMPTY),
    "nothing to recover: no output weights": (net(W, V), net(W, 0 * V), EMPTY),
    "nothing to recover, and nothing found": (
        net(0 * W, V), net(W, 0 * V), EMPTY | {"support_precision": None, "width_used": 0}),
}


def test_output_weights_and_signs_have_numbers_of_their_own():
    both = np.array([[1.0, 0], [0, 2], [3, 1]])
    missing = both * [[1, 1], [1, 1], [1, 0]]
    found = compare(net(W, missing), net(W, both))
    assert found["output_precision"] == 1 and found["output_recall"] == 3 / 4
    signs = np.array([[1.0], [-1], [-1]])
    assert compare(net(W, signs), net(W, signs))["signs_found"] == 1
    assert compare(net(W, -signs), net(W, signs))["signs_found"] == 0
    assert compare(net(-W, signs), net(W, signs))["signs_found"] == 1  # from either side
    assert compare(net(W), net(W, signs))["signs_found"] == 1 / 3
    assert "signs_found" not in compare(net(W), net(W))


@pytest.mark.parametrize("fitted, planted, expected", KNOWN.values(), ids=KNOWN)
def test_known_answers(fitted, planted, expected):
    check(compare(fitted, planted), **expected)


def test_a_dead_neuron_joins_no_others():
    """Each of the outer ones is parallel to the middle one, but they are not to each other."""
    angles = np.array([0, 1.2e-3, 2.4e-3])
    fan = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    planted = net(fan[[0, 2]], [[1, 0], [1, 1]])
    assert compare(net(fan, [[1, 0], [0, 0], [1, 1]]), planted)["weight_error"] == 0
    assert compare(planted, planted)["neurons_planted"] == 2  # at a cosine of 1 - 2.9e-6
    assert compare(net(fan), net(fan))["neurons_planted"] == 1  # where the middle one lives, they all are


def test_a_neuron_is_lost_below_the_cosine():
    for cosine, lost in ((FOUND + 1e-3, 0), (FOUND - 1e-3, 1)):
        turned = W.copy()
        turned[1] = [-np.sqrt(1 - cosine**2), cosine, 0, 0]  # no better match for another neuron
        assert compare(net(turned), net(W))["neurons_lost"] == lost
        assert compare(net(turned * [[1], [20], [1]]), net(W))["neurons_lost"] == lost  # whatever its size


def test_the_error_does_not_cancel_where_the_nets_agree():
    near = W.astype(np.float64) * (1 + 2.0**-20 * np.array([[1], [-1], [0]]))
    check(compare(net(near), net(W)), weight_error=2.0**-20 * np.sqrt(26 / 34))
    check(compare(net(W, V * (1 + 2.0**-20)), net(W, V)), weight_error=2.0**-20)


def test_what_cannot_be_compared_is_left_out():
    deep = SparseNet((layer(W), layer(np.eye(3))))
    convex = SparseNet((layer(W),), gates=RandomGates(0, 0, 3, 4))
    infinite = net(np.where(W > 3, np.inf, W))
    assert compare(deep, deep) == compare(convex, net(W)) == compare(infinite, net(W)) == {}


def test_cost_does_not_grow_with_the_width():
    m, d = 10**6, 10**5
    places = np.array([7, 3 * d, 3 * d + 1, m * d - 1])
    wide = SparseNet((SparseLayer(SparseVector(places, np.float32([1, 2, 3, 4]), m * d), m, d),))
    check(compare(wide, wide))


# ---- against brute force ----


def reference(fitted, planted):
    """Precision, recall and error by trying every matching of dense neurons (w, v): least error, then most overlap."""

    def neurons(W, V):
        merged = {}
        for w, v in zip(W, V, strict=True):
            length = np.linalg.norm(w)
            if length and v.any():
                key = tuple(np.round(w / length, 6) + 0.0)
                merged[key] = merged.get(key, (w / length, 0))[0], merged.get(key, (0, 0))[1] + length * v
        return [(u, p) for u, p in merged.values() if p.any()]

    a, b = neurons(*fitted), neurons(*planted)
    outputs = len(fitted[1][0]) > 1
    size = [sum(np.count_nonzero(u) + outputs * np.count_nonzero(p) for u, p in part) for part in (a, b)]
    best = (np.inf, 0)
    for count in range(min(len(a), len(b)) + 1):
        for rows in itertools.combinations(range(len(a)), count):
            for columns in itertools.permutations(range(len(b)), count):
                pairs = [(a[i], b[j]) for i, j in zip(rows, columns, strict=True)]
                if any(u @ q <= 0 or p @ r <= 0 for (u, p), (q, r) in pairs):
                    continue
                error = sum(np.sum((np.outer(u, p) - np.outer(q, r)) ** 2) for (u, p), (q, r) in pairs)
                error += sum(p @ p for i, (_, p) in enumerate(a) if i not in rows)
                error += sum(r @ r for j, (_, r) in enumerate(b) if j not in columns)
                both = sum(np.count_nonzero(u * q) + outputs * np.count_nonzero(p * r) for (u, p), (q, r) in pairs)
                best = min(best, (error, -both))
    return len(b), best[0], sum(r @ r for _, r in b), -best[1], size


def matrices(rows, columns):
    """Lists of rows with entries that meet each other's directions often."""
    entry = st.sampled_from([0, 0, 0, 1, -1, 2, 0.5, 3.25])
    row = st.lists(entry, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda rows: np.array(rows, dtype=np.float64))


@settings(max_examples=50)
@given(st.integers(1, 2).flatmap(lambda k: st.tuples(matrices(4, 3), matrices(4, k), matrices(3, 3), matrices(3, k))))
def test_the_matching_is_the_best_of_all(weights):
    fitted, planted = weights[:2], weights[2:]
    count, error, energy, both, size = reference(fitted, planted)
    found = compare(net(*fitted), net(*planted))
    assert found["neurons_planted"] == count and (found["support_precision"] is None) == (size[0] == 0)
    if not energy:
        assert found["weight_error"] is found["support_recall"] is None
        return
    assert found["weight_error"] == pytest.approx(np.sqrt(error / energy), abs=1e-6)
    assert found["support_recall"] <= both / size[1] + 1e-12  # several matchings may have the least error
    if size[0]:
        assert found["support_precision"] * size[0] == pytest.approx(found["support_recall"] * size[1])
