"""Crease pursuit: products against dense float64 references, counts within the budgets, planted networks recovered."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beyond import creases
from beyond.creases.least_squares import gauss_newton, ridge_inverse
from beyond.creases.orient import orient
from beyond.creases.projection import Neurons, Samples
from beyond.elimination import eliminate
from numerics.workspace import Workspace
from sweep.settings import make_settings
from tasks import TASKS, score


def problem(m, s, seed=0, n=4000, d=30, **given):
    planted = make_settings(task="mlp_planted", method="creases", mlist=[m], slist=[s], nmeasurements=n, input_dim=d,
                            **given)
    return TASKS["mlp_planted"].build(planted, m, s, seed)


def dense(X, H):
    """P and the columns sign(h . x) x_k of all gates and inputs, [h d, n], in float64."""
    X = X.astype(np.float64)
    P = np.eye(len(X)) - X @ np.linalg.solve(X.T @ X, X.T)
    return P, np.concatenate([(np.sign(X @ h)[:, None] * X).T for h in H])


@pytest.fixture
def small(work):
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((300, 6)).astype(np.float32), rng.standard_normal((300, 2)).astype(np.float32)
    return X, Y, Samples(np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T), work)


def test_products_are_those_of_dense_matrices(small):
    X, Y, data = small
    H = np.random.default_rng(1).standard_normal((4, 6))
    P, C = dense(X, H)
    np.testing.assert_allclose(data.target, (P @ Y).T, atol=1e-5)
    linear = np.linalg.lstsq(X.astype(float), Y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(data.linear, linear.T, atol=1e-6)
    owner, feature = np.array([0, 0, 1, 3]), np.array([0, 4, 2, 5])
    c = C[owner * 6 + feature]
    gram, correlation = data.products(H, owner, feature, data.target)
    np.testing.assert_allclose(gram, c @ P @ c.T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(correlation, c @ P @ Y, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(data.gradients(H, data.target).reshape(24, 2), C @ P @ Y, rtol=1e-4, atol=1e-3)


def test_elimination_keeps_the_weights_that_made_the_targets():
    rng = np.random.default_rng(5)
    A = rng.standard_normal((200, 12))
    x = np.zeros((12, 1))
    x[[1, 4, 9], 0] = 1, -2, 0.5
    left, solution = eliminate(ridge_inverse(A.T @ A), A.T @ (A @ x), 3)
    assert sorted(left) == [1, 4, 9]
    np.testing.assert_allclose(solution, x[left], atol=1e-5)


def test_gauss_newton_steps_converge_on_planted_creases(work):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((2000, 5)).astype(np.float32)
    W, V = np.array([[1.0, 0.5, 0, 0, 0], [0, 0, -1, 0, 2]]), np.array([[1.0], [-1]])
    Y = (np.abs(X @ W.T) @ V).astype(np.float32)
    data = Samples(np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T), work)
    net = Neurons(W * (1 + 0.05 * rng.standard_normal(W.shape)), V)
    for _ in range(4):
        net = gauss_newton(data, net, data.residual(net)[0])
    np.testing.assert_allclose(net.W, W, atol=1e-5)


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
    found = creases.recover(X, Y[:, 0] if V.shape[1] == 1 else Y, s, width=len(W))
    assert found.exact and found.net.num_nonzero <= s and len(found.net.layers[0].neurons) <= len(W)


def test_orientation_is_that_of_all_signs_tried():
    """B = sum_j o_j v_j w_j' has one solution o in +-1 here, though it has fewer equations than creases."""
    rng = np.random.default_rng(4)
    W, V, o = rng.standard_normal((9, 6)) * (rng.random((9, 6)) < 0.5), np.ones((9, 1)), rng.choice([-1.0, 1.0], 9)
    tolerance = np.full((1, 6), 1e-9)
    B = ((o[:, None] * W).T @ V).T
    choices = np.array(list(itertools.product((1.0, -1.0), repeat=9)))
    fitting = choices[(np.abs(choices @ W - B) <= tolerance).all(axis=1)]
    Q, rest = orient(Neurons(W, V), B, tolerance)
    free = np.count_nonzero(W, axis=1) == 1
    assert len(fitting) == 1 and not free.any()
    np.testing.assert_array_equal(Q[:, 0], fitting[0])
    assert not rest.any()


CASES = [{}, {"planted_signs": True}, {"output_dim": 3}, {"planted_signs": True, "input_dist": "uniform"}]


@pytest.mark.parametrize("given", CASES, ids=str)
@pytest.mark.parametrize("m, s", [(3, 10), (8, 30)])
def test_planted_networks_are_recovered(given, m, s):
    instance = problem(m, s, **given)
    found = creases.recover(instance.X, instance.Y, s, width=m)
    assert score(instance, found.net.predict(instance.X)) > 100 and found.exact
    assert found.net.num_nonzero <= s and len(found.net.layers[0].neurons) <= m


@pytest.mark.parametrize("kind", ["correlated", "skewed"])
def test_other_inputs_are_no_harder(kind):
    instance, rng = problem(8, 30, planted_signs=True), np.random.default_rng(0)
    X = rng.exponential(size=(4000, 30)) - 1
    if kind == "correlated":
        X = X @ np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(range(30), range(30)))).T
    X = X.astype(np.float32)
    assert creases.recover(X, instance.planted.predict(X).astype(np.float32), 30, width=8).exact


def test_a_cell_that_is_not_exact_says_so():
    instance = problem(4, 20, snr=20.0)
    found = creases.recover(instance.X, instance.Y, 20, width=4)
    assert not found.exact and 1e-3 < found.residual < 0.05


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 12), st.integers(1, 3))
def test_no_answer_exceeds_its_budgets(seed, m, s, k):
    """On targets that no network made."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((120, 5)).astype(np.float32), rng.standard_normal((120, k)).astype(np.float32)
    net = creases.fit(X, Y if k > 1 else Y[:, 0], s, width=m, num_epochs=4)
    assert net.num_nonzero <= s and len(net.layers[0].neurons) <= m and np.isfinite(net.predict(X)).all()


def test_the_bits_do_not_depend_on_the_threads():
    instance, nets = problem(5, 20, planted_signs=True), []
    for threads in (1, 2, 3):
        with Workspace(threads) as work:
            nets.append(creases.fit(instance.X, instance.Y, 20, width=5, work=work).layers[0].w.values.tobytes())
    assert nets[0] == nets[1] == nets[2]


def test_targets_of_zero_have_an_empty_network():
    X = np.random.default_rng(0).standard_normal((50, 4))
    found = creases.recover(X, np.zeros((50, 2)), 5, width=3)
    assert found.exact and found.net.num_nonzero == 0 and not found.net.predict(X).any()


def test_what_cannot_be_fitted_is_refused():
    X, y = np.ones((5, 9), dtype=np.float32), np.ones(5, dtype=np.float32)
    with pytest.raises(ValueError, match="more samples than inputs"):
        creases.fit(X, y, 3, width=2)
    X = np.ones((20, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"give one output as y\[:, 0\]"):
        creases.fit(X, np.ones((20, 1)), 3, width=2)
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        creases.fit(X, np.ones(20, dtype=np.float32), 3, width=2)
