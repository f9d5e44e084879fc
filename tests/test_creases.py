"""Crease pursuit: each part against dense float64 references, planted networks recovered, counts within the budgets."""

import itertools

import numpy as np
import pytest
from helpers import bits, psnr
from hypothesis import given, settings
from hypothesis import strategies as st

from beyond import creases
from beyond.creases import dense, least_squares
from beyond.creases.fit import EXACT
from beyond.creases.least_squares import fit_budgets, gauss_newton, num_weights, refined
from beyond.creases.orient import orient, relu_neurons
from beyond.creases.samples import CreaseSamples, Neurons, NeuronSamples
from beyond.creases.search import (
    candidates,
    fitted_weights,
    leading,
    merged,
    relatives,
    strongest,
    thinned,
    with_promising,
)
from instances.planted import planted_net
from models import SparseLayer, SparseNet
from numerics.workspace import Workspace

KINDS = {"creases": (CreaseSamples, np.sign, np.abs), "neurons": (NeuronSamples, lambda Z: Z > 0.0,
                                                                  lambda Z: np.maximum(Z, 0.0))}


def samples(kind, X, Y, work):
    return kind(*(np.ascontiguousarray(array.T, dtype=np.float32) for array in (X, Y)), work)


def random_neurons(seed, J=4, d=6, k=2):
    """With rows of V of norm 1 and half of the other weights zero, at least one of each neuron not."""
    rng = np.random.default_rng(seed)
    W, V = rng.normal(size=(J, d)) * (rng.random((J, d)) < 0.5), rng.normal(size=(J, k))
    W[:, 0] += 1
    return Neurons(W, V / np.linalg.norm(V, axis=1, keepdims=True))


def planted(m, s, seed=0, n=4000, d=30, k=1, signs=False, draw=np.random.Generator.standard_normal, noise=0.0):
    """X [n, d], Y [n] or [n, k], and the network."""
    net, rng = planted_net(d, m, k, 1, s, seed), np.random.default_rng([1, seed])
    if signs:
        net = SparseNet(net.layers, SparseLayer.from_dense(rng.choice([-1.0, 1.0], (1, m))))
    X = draw(rng, size=(n, d)).astype(np.float32)
    Y = net.predict(X)
    return X, (Y + noise * np.std(Y) * rng.standard_normal(Y.shape)).astype(np.float32), net


# ---- products ----


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_dense_matrices(work, kind):
    (kind, gate, bend), rng = KINDS[kind], np.random.default_rng(3)
    X, Y = rng.standard_normal((300, 6)), rng.standard_normal((300, 2))
    data, net, H = samples(kind, X, Y, work), random_neurons(5), rng.standard_normal((4, 6))
    B, P = np.zeros((6, 2)), np.eye(300)
    if kind is CreaseSamples:
        B, P = np.linalg.lstsq(X, Y, rcond=None)[0], P - X @ np.linalg.solve(X.T @ X, X.T)
    C = np.concatenate([(gate(X @ h)[:, None] * X).T for h in H])  # [h d, n]
    np.testing.assert_allclose(data.target, (P @ Y).T, atol=1e-5)
    np.testing.assert_allclose(data.linear, B.T, atol=1e-6)
    assert data.energy == pytest.approx(np.sum((P @ Y) ** 2), rel=1e-5)
    R, linear = data.residual(net)
    rest = Y - bend(X @ net.W.T) @ net.V
    np.testing.assert_allclose(R, (P @ rest).T, atol=1e-5)
    np.testing.assert_allclose(rest.T - linear @ X.T, R, atol=1e-4)
    owner, feature = np.array([0, 0, 1, 3]), np.array([0, 4, 2, 5])
    c = C[owner * 6 + feature]
    gram, correlation = data.products(H, owner, feature, data.target)
    np.testing.assert_allclose(gram, c @ P @ c.T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(correlation, c @ P @ Y, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(data.gradients(H, data.target).reshape(24, 2), C @ P @ Y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2])
def test_the_energy_of_a_weight_is_that_of_what_it_contributes(work, kind, k):
    """Rounding goes, then what contributes least; with one output the output weights are signs and stay."""
    (kind, gate, bend), net = KINDS[kind], random_neurons(6, k=k)
    X = np.random.default_rng(4).standard_normal((500, 6))
    P = np.eye(500) - (kind is CreaseSamples) * X @ np.linalg.solve(X.T @ X, X.T)
    inner = [[np.sum((P @ (w * gate(X @ row) * x)) ** 2) for w, x in zip(row, X.T, strict=True)] for row in net.W]
    outer = [np.sum((P @ bend(X @ row)) ** 2) * v**2 for row, v in zip(*net, strict=True)]
    expected = np.hstack([inner, outer])
    data = samples(kind, X, np.ones((500, k)), work)
    np.testing.assert_allclose(least_squares.energies(data, net), expected, rtol=1e-4)
    clean = least_squares.without_rounding(data, net._replace(W=net.W + 1e-9 * (net.W == 0)))
    assert ((clean.W != 0) == (net.W != 0)).all()
    fewer, counted = least_squares.without_weakest(data, net, 3), expected[:, : 6 if k == 1 else 8]
    bar = np.sort(counted[counted > 0])[3]
    assert ((fewer.W != 0) == (expected[:, :6] >= bar)).all() and num_weights(net) - num_weights(fewer) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3])
def test_gauss_newton_steps_converge_on_planted_weights(work, kind, k):
    (kind, _, bend), net, rng = KINDS[kind], random_neurons(1, k=k), np.random.default_rng(2)
    X = rng.standard_normal((2000, 6))
    data = samples(kind, X, bend(X @ net.W.T) @ net.V, work)
    V = net.V + 0.05 * rng.standard_normal(net.V.shape) * (k > 1)
    near = Neurons(net.W * (1 + 0.05 * rng.standard_normal(net.W.shape)), V / np.linalg.norm(V, axis=1, keepdims=True))
    far = gauss_newton(data, near, data.residual(near)[0])
    assert data.squares(data.residual(far)[0]).sum() < 0.1 * data.squares(data.residual(near)[0]).sum()
    end = refined(data, near, 6)
    np.testing.assert_allclose(end.W, net.W, atol=1e-5)
    np.testing.assert_allclose(end.V, net.V, atol=1e-5)


def test_directions_in_which_a_unit_vector_can_turn():
    v = np.array([0, 0.6, 0, -0.8, 0])
    basis = least_squares.complement(v)
    np.testing.assert_allclose(basis @ v, [0], atol=1e-12)
    assert basis.shape == (1, 5) and not basis[:, v == 0].any()
    assert least_squares.complement(np.array([0, -1.0])).shape == (0, 2)
    K = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1e8]])  # singular, of columns of very different lengths
    np.testing.assert_allclose(least_squares.ridge_inverse(K) @ K @ [1, 1, 1], [1, 1, 1], rtol=1e-5)


# ---- the search ----


def test_rank_one_approximations_are_those_of_the_svd():
    rng = np.random.default_rng(7)
    G, H = rng.standard_normal((5, 6, 3)), rng.standard_normal((5, 6))
    net = leading(G, H)
    for g, h, w, v in zip(G, H, *net, strict=True):
        U, S, Vt = np.linalg.svd(g)
        np.testing.assert_allclose(np.outer(w, v), S[0] * np.outer(U[:, 0], Vt[0]), atol=1e-10)
        assert w @ h >= 0 and np.linalg.norm(v) == pytest.approx(1)


def test_creases_of_one_line_are_one():
    """From either side, and whatever their outputs: the best crease there is."""
    W, V = np.array([[1.0, 2, 0], [0, 1, -1], [-2, -4, 0], [3, 6, 0]]), np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]])
    net = merged(Neurons(W, V), 0.999)
    np.testing.assert_allclose(net.V[:, :, None] * net.W[:, None],
                               [np.outer([1 + 2 * 0.6 + 3, 2 * 0.8], W[0]), np.outer(V[1], W[1])], atol=1e-12)
    assert strongest(net, 1).W.tolist() == [net.W[0].tolist()]


def test_candidates_lie_on_the_creases_of_the_residual(work):
    """Power rounds turn the axes, at cosines of 0.8 at most, towards them; not towards those there are already."""
    W = np.zeros((3, 12))
    W[[0, 0, 1, 1, 2], [0, 1, 3, 4, 7]] = 3, 4, 4, -3, 5
    X = np.random.default_rng(8).standard_normal((3000, 12))
    data = samples(CreaseSamples, X, np.abs(X @ W.T) @ np.ones((3, 1)), work)
    lines, nothing = W / np.linalg.norm(W, axis=1, keepdims=True), np.zeros((0, 12))
    H = candidates(data, data.target, nothing, 2, 10, 5)
    assert len(H) <= 5 and (np.abs(H @ lines.T).max(axis=0) > 0.9).all()
    assert (np.abs(H @ H.T) <= 0.95).sum() == len(H) * (len(H) - 1)
    one = candidates(data, data.target, lines[:2], 2, 5, 3)
    assert len(one) == 1 and np.abs(one @ lines[:2].T).max() <= 0.95
    assert np.count_nonzero(candidates(data, data.target, nothing, 1, 5, 5), axis=1).max() <= 3  # 2 ceil(s / m) + 1


def test_weights_are_pooled_by_gradient_and_fitted_by_least_squares(work):
    X, Y, _ = planted(3, 10, n=400, d=8, noise=0.3)
    data = samples(CreaseSamples, X, Y[:, None], work)
    gates, pool = np.eye(8)[:3] + 0.1, np.zeros((3, 8), dtype=bool)
    pool[0, :3] = True
    X = X.astype(np.float64)
    P = np.eye(400) - X @ np.linalg.solve(X.T @ X, X.T)
    C = np.concatenate([(np.sign(X @ h)[:, None] * X).T for h in gates])
    added = with_promising(data, data.target, gates, pool, 4)
    steepest = [place for place in np.argsort(-np.abs(C @ P @ Y)) if not pool.flat[place]][:4]
    assert set(np.flatnonzero(added & ~pool)) == set(steepest) and (added >= pool).all()
    net = fitted_weights(data, gates, pool, 3)
    expected = np.linalg.lstsq((C[:3] @ P).T, P @ Y, rcond=None)[0]
    np.testing.assert_allclose(net.W[0, :3] * net.V[0, 0], expected, rtol=1e-3)
    assert np.count_nonzero(fitted_weights(data, gates, added, 5).W) == 5


def test_relatives_lack_a_weight_or_have_one_reversed():
    h = np.array([[0.6, 0.8, 0], [0, 0, 1.0]])
    rows = relatives(h, 99, np.random.default_rng(0))
    expected = [[0, 1, 0], [1, 0, 0], [-0.6, 0.8, 0], [0.6, -0.8, 0]]
    np.testing.assert_allclose(rows[np.lexsort(rows.T)], np.array(expected)[np.lexsort(np.transpose(expected))])
    assert np.count_nonzero(relatives(h, 3, np.random.default_rng(0))) <= 3


@pytest.mark.parametrize("k", [1, 3])
def test_a_dense_student_has_all_creases(work, k, monkeypatch):
    monkeypatch.setattr(dense, "STEPS", 1500)
    X, Y, net = planted(8, 24 if k == 1 else 48, n=4000, d=10, k=k)
    data = samples(CreaseSamples, X, Y.reshape(len(X), k), work)
    W = net.layers[0].dense()
    W = W[W.any(axis=1)] if k == 1 else W[(net.output.dense().T.any(axis=1)) & W.any(axis=1)]
    student = dense.dense_creases(data, 24, 8, np.random.default_rng(0))
    left = data.squares(data.residual(student)[0]).sum() / data.energy
    assert left < 1e-2 and np.allclose(np.linalg.norm(student.V, axis=1), 1)
    cosines = np.abs(W @ student.W.T) / np.linalg.norm(W, axis=1)[:, None] / np.linalg.norm(student.W, axis=1)
    assert cosines.max(axis=1).min() > 0.95
    few = thinned(student, 24, 8)
    assert len(few.W) <= 8 and np.count_nonzero(few.W) <= 48


def test_so_many_creases_are_expected():
    """Against the mean number of distinct lines of random neurons."""
    rng, found = np.random.default_rng(1), []
    for _ in range(200):
        owner, inputs = rng.integers(40, size=60), rng.integers(20, size=60)
        neurons = [frozenset(inputs[owner == j]) for j in range(40)]
        single = {next(iter(each)) for each in neurons if len(each) == 1}
        found.append(len(single) + sum(len(each) > 1 for each in neurons))
    assert dense.expected_creases(60, 40, 20) == pytest.approx(np.mean(found), rel=0.08)


# ---- sides ----


@pytest.mark.parametrize("outputs", [1, 4])
def test_creases_and_linear_functions_are_neurons(outputs):
    rng = np.random.default_rng(9)
    net, Q = random_neurons(3, k=outputs), rng.standard_normal((4, outputs))
    Q[:2] = net.V[:2] * [[1], [-1]]  # open on one side
    for inputs in ([2], [0, 1, 3]):
        rest = np.zeros((outputs, 6))
        rest[:, inputs] = rng.standard_normal((outputs, len(inputs)))
        X, neurons = rng.standard_normal((50, 6)), relu_neurons(net, Q, rest)
        Z = X @ net.W.T
        np.testing.assert_allclose(np.maximum(X @ neurons.W.T, 0) @ neurons.V, np.abs(Z) @ net.V + Z @ Q + X @ rest.T)
        assert len(neurons.W) == 6 + 2 * min(len(inputs), outputs)
        np.testing.assert_allclose(np.linalg.norm(neurons.V, axis=1), 1)


@pytest.mark.parametrize("k", [1, 2])
def test_what_is_superfluous_goes_until_the_budgets_are_kept(work, k):
    true, rng = random_neurons(2, J=3, k=k), np.random.default_rng(1)
    X = rng.standard_normal((1000, 6))
    data = samples(NeuronSamples, X, np.maximum(X @ true.W.T, 0) @ true.V, work)
    end = fit_budgets(data, Neurons(np.vstack([true.W + 1e-3, 0.01 * rng.normal(size=(2, 6))]),
                                    np.vstack([true.V, true.V[:2]])), num_weights(true), 3)
    np.testing.assert_allclose(refined(data, end, 3).W, true.W, atol=1e-4)
    assert num_weights(end) == num_weights(true)


def test_orientation_is_that_of_all_signs_tried():
    """B = sum_j o_j v_j w_j' has one solution o in +-1 here, though it has fewer equations than creases."""
    rng = np.random.default_rng(4)
    W, V, o = rng.standard_normal((9, 6)) * (rng.random((9, 6)) < 0.5), np.ones((9, 1)), rng.choice([-1.0, 1.0], 9)
    tolerance = np.full((1, 6), 1e-9)
    B = ((o[:, None] * W).T @ V).T
    choices = np.array(list(itertools.product((1.0, -1.0), repeat=9)))
    fitting = choices[(np.abs(choices @ W - B) <= tolerance).all(axis=1)]
    Q, rest = orient(Neurons(W, V), B, tolerance)
    assert len(fitting) == 1 and not (np.count_nonzero(W, axis=1) == 1).any()
    np.testing.assert_array_equal(Q[:, 0], fitting[0])
    assert not rest.any()


@pytest.mark.parametrize("B, signs", [
    ([0, 0, 0, 0], [1, -1, 1, -1]), ([2, 2, 0, 0], [1, 1, -1, 1]), ([0, 0, 0], [0, 0, 0])])
def test_where_no_input_decides_choices_are_followed(B, signs):
    """Creases on pairs of inputs in a ring. In a ring of three none explains 0: they are open on both sides."""
    ring = np.eye(len(B)) + np.roll(np.eye(len(B)), 1, axis=1)
    Q, rest = orient(Neurons(ring, np.ones((len(B), 1))), np.array([B], dtype=float), np.full((1, len(B)), 1e-6))
    np.testing.assert_allclose(Q[:, 0], signs, atol=1e-9)
    assert not rest.any()


# ---- whole fits ----


def rows(*neurons, d=8):
    """Weights [m, d] of neurons {input: weight}."""
    return np.array([[neuron.get(k, 0.0) for k in range(d)] for neuron in neurons])


Z, MINUS_Z, OTHER = {0: 1, 1: 2}, {0: -1, 1: -2}, {2: 1, 3: 1}
HAND_MADE = {  # W, V
    "both sides": (rows(Z, MINUS_Z), [1, 1]),
    "both sides, unequal": (rows(Z, {0: -2, 1: -4}, OTHER), [1, 1, 1]),
    "both sides, opposite signs": (rows(Z, {0: -2, 1: -4}, OTHER), [1, -1, 1]),
    "an opposite pair, linear": (rows(Z, MINUS_Z, OTHER), [1, -1, 1]),
    "flips that cancel": (rows(Z, {0: -1, 2: 1}, {1: -2, 2: -1}), [1, 1, 1]),
    "single inputs": (rows({0: 1}, {0: -1}, {1: 2}, {1: 1, 2: 1}), [1, 1, -1, 1]),
    "a single input, linear": (rows({0: 1}, {0: -1}, {1: 2}, {1: 1, 2: 1}), [1, -1, -1, 1]),
    "both sides, two outputs": (rows(Z, MINUS_Z, OTHER), [[1, 0], [0, 1], [1, 1]]),
    "more creases than inputs": (np.random.default_rng(0).normal(size=(14, 8)) * (np.indices((14, 8)).sum(0) % 3 < 1),
                                 [1, -1] * 7),
}


@pytest.mark.parametrize("W, V", HAND_MADE.values(), ids=HAND_MADE)
def test_every_side_of_hand_made_networks_is_found(W, V):
    V = np.array(V, dtype=float).reshape(len(W), -1)
    X = np.random.default_rng(1).standard_normal((3000, 8)).astype(np.float32)
    Y = (np.maximum(X @ W.T, 0) @ V).astype(np.float32)
    s = np.count_nonzero(W) + (np.count_nonzero(V) if V.shape[1] > 1 else 0)
    found = creases.solve(X, Y[:, 0] if V.shape[1] == 1 else Y, s, width=len(W))
    assert found.details["energy_left"] < EXACT
    assert found.net.num_nonzero <= s and len(found.net.layers[0].neurons) <= len(W)


def uniform(rng, size):
    return rng.uniform(-1, 1, size)


def skewed(rng, size):
    return rng.exponential(size=size) - 1


def correlated(rng, size):
    return rng.standard_normal(size) @ np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(*[range(size[1])] * 2))).T


CASES = [{}, {"signs": True}, {"k": 3}, {"signs": True, "draw": uniform}, {"signs": True, "draw": skewed},
         {"signs": True, "draw": correlated}, {"signs": True, "n": 9000}]  # more samples than the search looks at


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("m, s", [(3, 10), (8, 30)])
def test_planted_networks_are_recovered(case, m, s):
    X, Y, _ = planted(m, s, **case)
    seen = []
    found = creases.solve(X, Y, s, width=m, callback=lambda step, state: seen.append((step, state.loss, state.net())))
    assert psnr(found.net.predict(X), Y) > 100 and found.details["energy_left"] < EXACT
    assert found.net.num_nonzero <= s and len(found.net.layers[0].neurons) <= m
    steps, losses, nets = zip(*seen, strict=True)
    assert steps == tuple(range(1, found.details["steps"] + 1))
    assert losses[-1] < 1e-12 and psnr(nets[-1].predict(X), Y) > 100


def test_a_cell_that_is_not_exact_says_so():
    X, Y, _ = planted(4, 20, noise=0.1)
    assert 1e-3 < creases.solve(X, Y, 20, width=4).details["energy_left"] < 0.05


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 12), st.integers(1, 3))
def test_no_answer_exceeds_its_budgets(seed, m, s, k):
    """On targets that no network made."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((120, 5)).astype(np.float32), rng.standard_normal((120, k)).astype(np.float32)
    net = creases.fit(X, Y if k > 1 else Y[:, 0], s, width=m, num_epochs=4)
    assert net.num_nonzero <= s and len(net.layers[0].neurons) <= m and np.isfinite(net.predict(X)).all()


def test_the_bits_do_not_depend_on_the_threads():
    X, Y, _ = planted(5, 20, signs=True)
    nets = []
    for threads in (1, 2, 3):
        with Workspace(threads) as work:
            nets.append(bits(creases.fit(X, Y, 20, width=5, work=work)))
    assert nets[0] == nets[1] == nets[2]


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="X: beyond.creases.fit needs more samples than inputs, not 5 of 9"):
        creases.fit(np.ones((5, 9)), np.ones(5), 3, width=2)


def test_weights_of_a_closed_neuron_go_first():
    """They add nothing, on any sample: the budget must not wait for others to go."""
    rng = np.random.default_rng(0)
    X = np.abs(rng.standard_normal((50, 4))).astype(np.float32)
    W, V = np.array([[1.0, 1, 0, 0], [-1, -1, -1, 0]]), np.ones((2, 1))  # the second is closed on positive inputs
    with Workspace() as work:
        data = NeuronSamples(np.ascontiguousarray(X.T), (X[:, 0] + X[:, 1])[None], work)
        left = least_squares.fit_budgets(data, least_squares.Neurons(W, V), 2, 2)
        assert least_squares.without_weakest(data, least_squares.Neurons(W, V), 3).W.tolist() == [[1, 1, 0, 0]]
    np.testing.assert_allclose(left.W, [[1, 1, 0, 0]], atol=1e-5)
