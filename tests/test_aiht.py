"""aiht.py with scalar output: each step against a slow dense implementation, and what a fit guarantees.

The reference below is written from the description of the algorithm: a stored matrix, a line search that evaluates the
objective at every trial, and extended precision, since the first step changes the objective by some 1e-14 of its value.
"""

import numpy as np
import pytest
from helpers import assert_close, bits, dense_sensing, psnr, sparse
from hypothesis import example, given
from hypothesis import strategies as st

from aiht import aiht_step, fit, hard_threshold, recover
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from sensing import GaussianSensing, RandomGates, ReluSensing, WeightGates

# ---- the slow reference ----

EXTENDED = np.longdouble


def squared_error(A, y, w):
    return np.sum((A @ w - y) ** 2)


def reference_threshold(A, y, w, s):
    """Step size and the s largest entries of w - mu g; of equal ones the first."""
    g = A.T @ (A @ w - y)
    g_S = np.where(w != 0, g, 0)
    mu = np.sum(g_S**2) / (np.sum((A @ g_S) ** 2) + 1e-8) if w.any() else 1e-14
    u = w - mu * g
    kept = sorted(range(len(u)), key=lambda i: (-abs(u[i]), i))[:s]
    new = np.zeros_like(u)
    new[kept] = u[kept]
    return mu, new


def reference_step(A, y, w, s, inner_steps):
    """The next iterate [p] float64."""
    A, y, w = A.astype(EXTENDED), y.astype(EXTENDED), w.astype(EXTENDED)
    mu, start = reference_threshold(A, y, w, s)
    S = np.flatnonzero(start)
    A_S, x = A[:, S], start[S]
    for _ in range(inner_steps):
        g = A_S.T @ (A_S @ x - y)
        for _ in range(11):
            trial = x - mu * g
            if squared_error(A_S, y, x) - squared_error(A_S, y, trial) >= 0.9 * mu * np.sum(g**2):
                x = trial
                break
            mu /= 2
        else:
            x = start[S]
    new = np.zeros(len(start))
    new[S] = x
    return new


def reference_layer(X, y, s, gates, num_epochs, batch_size=0, update_every=1):
    """w of one layer: random gates for the first epoch and one more step, then those of w, every so many steps."""
    n, d = X.shape
    rng = Stream.AIHT_BATCHES.generator(gates.seed, gates.layer)
    H, w, step = gates.rows(np.arange(gates.m)), np.zeros(gates.m * d), 0
    for epoch in range(num_epochs):
        order = rng.permutation(n) if batch_size not in (0, n) else np.arange(n)
        for start in range(0, n, batch_size or n):
            rows = order[start : start + (batch_size or n)]
            w = reference_step(dense_sensing(X[rows], H), y[rows], w, s, 10)
            if epoch > 0 and step in range(0, 10**6, update_every or 10**6):
                H = w.reshape(gates.m, d)
            step += 1
    return w


# ---- help ----


def instance(seed=0, n=80, d=6, m=5, noise=0.1):
    """Inputs X, gates, the dense matrix, and targets of a net with a third of the weights, with noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    gates = RandomGates(seed, 0, m, d)
    dense = dense_sensing(X, gates.rows(np.arange(m)))
    w = rng.standard_normal(m * d) * (rng.random(m * d) < 1 / 3)
    return X, gates, dense, (dense @ w + noise * rng.standard_normal(n)).astype(np.float32)


def sensing_of(X, gates, m, work):
    return ReluSensing(np.ascontiguousarray(X.T), gates, m, work)


def weights(net, layer=0):
    """W of one layer, dense and flat."""
    return net.layers[layer].w.toarray()


def signal(n, p, s, seed, work, xp=np):
    """A Gaussian sensing matrix, y = A w for a w with s nonzeros, and w."""
    A, rng = GaussianSensing(seed, n, p, work, xp), np.random.default_rng(seed)
    w = np.zeros(p)
    w[rng.choice(p, s, replace=False)] = rng.standard_normal(s)
    return A, A.columns(np.arange(p)).apply(w), w


# ---- one step ----


@given(seed=st.integers(0, 10_000), n=st.integers(20, 60), d=st.integers(2, 6), m=st.integers(1, 6),
       s=st.integers(1, 20), inner_steps=st.sampled_from([0, 1, 2, 3]))
@example(seed=0, n=80, d=6, m=5, s=8, inner_steps=10)
@example(seed=3, n=50, d=4, m=4, s=40, inner_steps=10)
@example(seed=4, n=400, d=2, m=30, s=9, inner_steps=10)
def test_steps_are_those_of_the_dense_reference(seed, n, d, m, s, inner_steps):
    X, gates, dense, y = instance(seed, n, d, m)
    A, w = sensing_of(X, gates, m, Workspace()), SparseVector.zeros(m * d)
    for _ in range(5 if inner_steps == 10 else 3):
        before = w.toarray()
        new, expected = aiht_step(A, y, w, s, inner_steps), reference_step(dense, y, before, s, inner_steps)
        assert_close(new.toarray(), expected, 1e-2 if inner_steps == 10 else 1e-3)
        np.testing.assert_array_equal(w.toarray(), before)  # the input is untouched
        assert len(new) <= s and (new.values != 0).all() and (np.diff(new.indices) > 0).all()
        w = new


@pytest.mark.parametrize("scale", [1, 0.3, 0.05, 0.04, 1e-2, 1e-3])
def test_the_step_size_is_halved_until_it_is_accepted_or_given_up(work, scale):
    """From a nearly flat column to one that is 1/scale times as steep: the step size is far too large there."""
    X, y = np.array([[scale, 0], [scale, 1], [0, 2]], dtype=np.float32), np.float32([0, 1, 3])
    A, dense = sensing_of(X, WeightGates(sparse([1, 1]), 2), 1, work), dense_sensing(X, np.ones((1, 2)))
    start, *expected = (reference_step(dense, y, np.array([1.0, 0]), 1, inner_steps) for inner_steps in range(6))
    for inner_steps, x in enumerate([start, *expected]):
        found = aiht_step(A, y, sparse([1, 0]), 1, inner_steps).toarray()
        np.testing.assert_allclose(found, x, atol=1e-6 * np.abs(start).max())


def test_a_late_refusal_leads_back_to_the_start_too(work):
    """The first inner step is accepted and blows up the steep third entry; the second is refused, the third is not."""
    X, y = np.diag([0.01, 0.005, 1]).astype(np.float32), np.float32([1000, 2000, 0])
    A, w = ReluSensing(X, WeightGates(sparse([1, 1, 1]), 3), 1, work), sparse([1, 0, 7.5e-7])
    start, first, second, third = (aiht_step(A, y, w, 3, inner_steps).toarray() for inner_steps in range(4))
    assert abs(first[2]) > 10 > 1 > abs(third[2])
    np.testing.assert_array_equal(second, start)
    for inner_steps, x in ((1, first), (3, third)):
        expected = reference_step(X.astype(np.float64), y, w.toarray(), 3, inner_steps)
        np.testing.assert_allclose(x, expected, rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_does_not_rise_in_the_inner_steps(work, seed):
    X, gates, dense, y = instance(seed, noise=0.5)
    A, w, falls = sensing_of(X, gates, 5, work), SparseVector.zeros(30), []
    for _ in range(4):
        path = [aiht_step(A, y, w, 8, t) for t in range(11)]
        errors = [squared_error(dense, y, v.toarray().astype(np.float64)) for v in path]
        assert all(later <= earlier * (1 + 1e-6) for earlier, later in zip(errors, errors[1:], strict=False))
        falls.append(errors[10] / errors[0])
        w = path[10]
    assert falls[0] == pytest.approx(1) and falls[1] < 0.9  # the first step hardly moves


def test_thresholding_is_idempotent_and_sees_no_blocks():
    """Whole numbers, many of them equal: then the first stay."""
    g = 2.0 * np.random.default_rng(0).integers(-4, 5, 40)
    w = SparseVector(np.array([2, 5, 11]), np.float32([3, -1, 2]), 40)
    u = w.toarray() - 0.5 * g
    expected = np.sort(np.argsort(-np.abs(u), kind="stable")[:7])
    assert np.sort(np.abs(u))[-8] == np.abs(u[expected]).min()  # the eighth is as large as the seventh
    for length in (1, 3, 12, 40):
        blocks = [(np.arange(a, min(a + length, 40)), g[a : a + length]) for a in range(0, 40, length)]
        new = hard_threshold(w, 0.5, iter(blocks), 7)
        assert new.indices.tolist() == expected.tolist() and new.values.tolist() == u[expected].tolist()
        again = hard_threshold(new, 0.5, ((place, np.zeros(len(place))) for place, _ in blocks), 7)
        assert (again.indices.tobytes(), again.values.tobytes()) == (new.indices.tobytes(), new.values.tobytes())


# ---- batches and gates ----


@pytest.mark.parametrize("update_every", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("num_epochs, batch_size", [(1, 0), (2, 0), (3, 0), (7, 0), (1, 40), (2, 40), (4, 75)])
def test_a_fit_follows_the_gate_schedule(work, num_epochs, batch_size, update_every):
    """0 stands for --convex, which a number of steps that is never reached gives too."""
    X, gates, dense, y = instance(7, n=120, d=8, m=4)
    settings = {"width": 4, "num_epochs": num_epochs, "batch_size": batch_size, "seed": 7, "work": work}
    convex = fit(X, y, 6, convex=True, **settings)
    net = fit(X, y, 6, update_every=update_every, **settings) if update_every else convex
    assert_close(weights(net), reference_layer(X, y, 6, gates, num_epochs, batch_size, update_every), 1e-3)
    relu = np.maximum(X @ weights(net).reshape(4, 8).T, 0).sum(axis=1)
    assert_close(net.predict(X), relu if update_every else dense @ weights(net))  # the drawn gates stay in the net
    if num_epochs == 7 and update_every:  # the schedules differ on this instance
        assert bits(net) != bits(convex) == bits(fit(X, y, 6, update_every=7, **settings))
        assert (bits(net) == bits(fit(X, y, 6, **settings))) == (update_every == 1)


# ---- whole fits ----


@pytest.mark.parametrize("s, seed, settings", [(5, 0, {}), (10, 1, {}), (50, 2, {}),
                                               (10, 0, {"num_epochs": 15, "batch_size": 500})])
def test_planted_neurons_are_recovered(work, s, seed, settings):
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((2000, 100), dtype=np.float32), np.zeros(100, dtype=np.float32)
    w[rng.choice(100, s, replace=False)] = rng.standard_normal(s)
    y = np.maximum(X @ w, 0)
    net = fit(X, y, s, width=1, seed=seed, work=work, **{"num_epochs": 40} | settings)
    assert psnr(net.predict(X), y) > 145 and net.num_nonzero == s
    np.testing.assert_allclose(weights(net), w, atol=1e-5)


@pytest.mark.parametrize("s", [1, 20])
def test_a_signal_is_recovered_from_gaussian_measurements(work, s):
    A, y, w = signal(250, 600, s, 3, work)
    assert_close(recover(A, y, s, 60).toarray(), w, 1e-6)


def test_gaussian_recovery_is_the_dense_reference(device, work):
    A, y, expected = *signal(60, 150, 12, 1, work)[:2], np.zeros(150)
    dense = np.stack([A.columns(np.array([j])).apply(np.ones(1)) for j in range(150)], axis=1).astype(np.float64)
    for epochs in range(1, 5):
        expected = reference_step(dense, y, expected, 12, 3)
        for xp in (np, device):
            found = recover(*signal(60, 150, 12, 1, work, xp)[:2], 12, epochs)
            assert type(found.values) is np.ndarray
            assert_close(found.toarray(), expected, 1e-3)


def test_two_layers_are_fitted_one_after_the_other(work):
    X, _, _, y = instance(2, n=150, d=7, m=6)
    s, m = 15, 6
    net = fit(X, y, s, width=m, num_layers=2, num_epochs=4, seed=2, work=work)
    assert all(0 < len(layer) <= 7 for layer in net.layers) and net.num_nonzero <= 14
    first = reference_layer(X, y, 7, RandomGates(2, 0, m, 7), 4)
    assert_close(weights(net, 0), first, 1e-3)
    used = np.unique(np.flatnonzero(first) // 7)
    assert len(used) < m  # the embedding has fewer columns than the layer has neurons
    Z = np.maximum(X @ weights(net, 0).reshape(m, 7).T, 0)[:, used]
    W = weights(net, 1).reshape(m, m)
    assert_close(W[:, used].ravel(), reference_layer(Z, y, 7, RandomGates(2, 1, m, len(used)), 4), 1e-3)
    assert not np.delete(W, used, axis=1).any()


# ---- devices ----
