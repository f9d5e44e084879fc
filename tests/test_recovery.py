"""recovery.py: hand-made networks with known answers, and a dense brute force over all matchings."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beyond.recovery import FOUND, PARALLEL, compare
from models import SparseLayer, SparseNet
from numerics.sparse import SparseVector
from sensing import RandomGates

W = np.array([[3, 0, 4, 0], [0, 1, 0, 0], [0, 0, -2, 2]], dtype=np.float32)  # |W|^2 = 25 + 1 + 8, 5 weights
V = np.array([[1, 0], [2, -1], [0, 3]], dtype=np.float32)
PERFECT = {"support_precision": 1, "support_recall": 1, "weight_error": 0, "neurons_planted": 3, "neurons_lost": 0,
           "width_used": 3}


def layer(weights):
    flat = np.asarray(weights, dtype=np.float32).ravel()
    indices = np.flatnonzero(flat)
    return SparseLayer(SparseVector(indices, flat[indices], flat.size), *np.shape(weights))


def net(W, V=None):
    """Hidden weights W [m, d]; outputs summed, or output weights V [m, k]."""
    return SparseNet((layer(W),), None if V is None else layer(np.transpose(V)))


def assert_same(found, expected, tolerance):
    undefined = {name for name, value in expected.items() if value is None}
    assert found.keys() == expected.keys() and undefined == {name for name, value in found.items() if value is None}
    for name in found.keys() - undefined:
        assert found[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name


def check(found, **expected):
    assert_same(found, PERFECT | expected, 1e-7)
    assert found["weight_error"] == pytest.approx((PERFECT | expected)["weight_error"], rel=1e-6, abs=1e-12)
    json.dumps(found, allow_nan=False)


# ---- known answers ----


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_order_of_neurons_does_not_matter(order):
    check(compare(net(W[list(order)]), net(W)))
    check(compare(net(W[list(order)], V[list(order)]), net(W, V)))


def test_parallel_neurons_count_as_their_sum_in_both_networks():
    split = np.stack([0.25 * W[0], W[1], 0.75 * W[0], W[2], 0 * W[0]])
    check(compare(net(split), net(W)), width_used=4)
    check(compare(net(W), net(split)))
    check(compare(net(split, V[[0, 1, 0, 2, 0]]), net(W, V)), width_used=4)  # with the output row of each
    check(compare(net(W[[0, 0, 1, 2]], np.concatenate([[[3, -7]], V - [[3, -7], [0, 0], [0, 0]]])), net(W, V)),
          width_used=4)  # output rows add up


def test_a_missing_weight():
    fewer = W.copy()
    fewer[0, 2] = 0
    assert 3 / 5 < FOUND < 4 / 5  # the cosines of what is left of the first neuron
    check(compare(net(fewer), net(W)), support_recall=4 / 5, weight_error=np.sqrt(16 / 34), neurons_lost=1)
    fewer = W.copy()
    fewer[0, 0] = 0
    check(compare(net(fewer), net(W)), support_recall=4 / 5, weight_error=np.sqrt(9 / 34))


def test_a_weight_too_many():
    more = W.copy()
    more[1, 3] = 0.5
    check(compare(net(more), net(W)), support_precision=5 / 6, weight_error=np.sqrt(0.25 / 34))


@pytest.mark.parametrize("flipped", [net(W * [[1], [1], [-1]]), net(W, [[1], [1], [-1]]),
                                     net(W * [[1], [1], [-1]], [[1], [1], [-1]])])
def test_a_flipped_neuron_is_another_one(flipped):
    """relu(-w x), -relu(w x) and -relu(-w x), the last of which has the same product w v."""
    check(compare(flipped, net(W)), support_precision=3 / 5, support_recall=3 / 5, weight_error=np.sqrt(2 * 8 / 34),
          neurons_lost=1)


def test_output_weights_are_folded_into_the_hidden_ones():
    check(compare(net(W / [[2], [0.5], [4]], [[2], [0.5], [4]]), net(W)))
    check(compare(net(W / [[2], [0.5], [4]], V * [[2], [0.5], [4]]), net(W, V)))


def test_neurons_without_weights_on_one_side_are_none():
    dead = np.concatenate([W, [[1, 1, 1, 1]]]), np.concatenate([V, [[0, 0]]])
    check(compare(net(*dead), net(W, V)), width_used=4)
    check(compare(net(W, V), net(*dead)))


def test_a_dead_neuron_joins_no_others():
    """Each of the outer ones is parallel to the middle one, but they are not to each other."""
    angles = np.array([0, 1.2e-3, 2.4e-3])
    fan = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    planted = net(fan[[0, 2]], [[1, 0], [1, 1]])
    assert compare(net(fan, [[1, 0], [0, 0], [1, 1]]), planted)["weight_error"] == 0
    assert compare(planted, planted)["neurons_planted"] == 2
    assert compare(net(fan), net(fan))["neurons_planted"] == 1  # where the middle one lives, they all are


def test_a_neuron_is_lost_below_the_cosine():
    for cosine, lost in ((FOUND + 1e-3, 0), (FOUND - 1e-3, 1)):
        turned = W.copy()
        turned[1] = [-np.sqrt(1 - cosine**2), cosine, 0, 0]  # no better match for another neuron
        assert compare(net(turned), net(W))["neurons_lost"] == lost
        assert compare(net(turned * [[1], [20], [1]]), net(W))["neurons_lost"] == lost  # whatever its size


def test_neurons_without_a_match_count_in_the_error():
    check(compare(net(W[:2]), net(W)), support_recall=3 / 5, weight_error=np.sqrt(8 / 34), neurons_lost=1, width_used=2)
    more = np.concatenate([W, [[0, -1, 0, 0], [-2, 0, 0, -2]]])
    check(compare(net(more), net(W)), support_precision=5 / 8, weight_error=np.sqrt(9 / 34), width_used=5)


@pytest.mark.parametrize("cosine, neurons", [(0.9994, 2), (1 - 4e-6, 2), (1 - 1e-7, 1)])
def test_near_parallel_planted_neurons_are_told_apart_until_no_data_can(cosine, neurons):
    pair = net([[1, 0], [cosine, np.sqrt(1 - cosine**2)]])
    assert compare(pair, pair)["neurons_planted"] == neurons
    assert (cosine > PARALLEL) == (neurons == 1)


def test_the_error_does_not_cancel_where_the_nets_agree():
    near = W.astype(np.float64) * (1 + 2.0**-20 * np.array([[1], [-1], [0]]))
    check(compare(net(near), net(W)), weight_error=2.0**-20 * np.sqrt(26 / 34))
    check(compare(net(W, V * (1 + 2.0**-20)), net(W, V)), weight_error=2.0**-20)


def test_a_net_without_weights_has_no_precision():
    check(compare(net(0 * W), net(W)), support_precision=None, support_recall=0, weight_error=1, neurons_lost=3,
          width_used=0)
    check(compare(net(0 * W, V), net(W, V)), support_precision=None, support_recall=0, weight_error=1, neurons_lost=3,
          width_used=0)
    check(compare(net(W, [[1, 0], [-1, 0], [0, 0]]), net([[0, 1, 0, 0]], [[0, 2]])), support_precision=0,
          support_recall=0, weight_error=np.sqrt(26 + 4) / 2, neurons_planted=1, neurons_lost=1)


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


@given(st.integers(1, 2).flatmap(lambda k: st.tuples(matrices(4, 3), matrices(4, k), matrices(3, 3), matrices(3, k))))
def test_the_matching_is_the_best_of_all(weights):
    fitted, planted = weights[:2], weights[2:]
    count, error, energy, both, size = reference(fitted, planted)
    if not energy:
        return
    found = compare(net(*fitted), net(*planted))
    assert found["neurons_planted"] == count
    assert found["weight_error"] == pytest.approx(np.sqrt(error / energy), abs=1e-6)
    assert found["support_recall"] <= both / size[1] + 1e-12  # several matchings may have the least error
    assert (found["support_precision"] is None) == (size[0] == 0)
    if size[0]:
        assert found["support_precision"] * size[0] == pytest.approx(found["support_recall"] * size[1])


def shuffled_split_and_scaled(W, V, rng):
    """The same function: neurons split in two, moved, and scaled between their two sides."""
    share = rng.uniform(0.2, 0.8, (len(W), 1))
    twins = rng.permutation(2 * len(W))
    W, V = np.concatenate([W, W])[twins], np.concatenate([share * V, (1 - share) * V])[twins]
    scale = rng.uniform(0.2, 5, (len(W), 1))
    return W * scale, V / scale


@given(seed=st.integers(0, 10_000), k=st.integers(1, 3), m=st.integers(1, 8), d=st.integers(2, 6))
def test_what_computes_the_same_is_judged_the_same(seed, k, m, d):
    rng = np.random.default_rng(seed)
    nets = []
    for _ in range(2):
        density = rng.uniform(0.2, 1)
        nets.append((rng.standard_normal((m, d)) * (rng.random((m, d)) < density),
                     rng.standard_normal((m, k)) * (rng.random((m, k)) < density)))
    if not any(np.outer(w, v).any() for w, v in zip(*nets[1], strict=True)):
        return
    others = [shuffled_split_and_scaled(*weights, rng) for weights in nets]
    found, same = compare(net(*nets[0]), net(*nets[1])), compare(net(*others[0]), net(*others[1]))
    assert same["width_used"] == 2 * found.pop("width_used")
    assert_same(same, found | {"width_used": same["width_used"]}, 1e-5)
    itself = compare(net(*others[1]), net(*nets[1]))
    assert itself["support_precision"] == itself["support_recall"] == 1
    assert itself["neurons_lost"] == 0 and itself["weight_error"] < 1e-6
