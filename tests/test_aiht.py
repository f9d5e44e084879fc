"""aiht.py with scalar output: each step against a slow dense implementation, and what a fit guarantees.

The reference below is written from the description of the algorithm: a stored matrix, a line search that evaluates the
objective at every trial, and extended precision, since the first step changes the objective by some 1e-14 of its value.
"""

import numpy as np
import pytest
import strict_array
from helpers import assert_close, bits, dense_sensing, psnr, sparse
from hypothesis import example, given
from hypothesis import strategies as st

from aiht import aiht_step, descend_on_support, fit, hard_threshold, iterates, recover, solve
from numerics.arrays import to_host
from numerics.batches import Schedule, batches
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
    S = np.flatnonzero(w)
    g = A.T @ (A @ w - y)
    mu = 1e-14
    if len(S):
        g_S = np.zeros_like(g)
        g_S[S] = g[S]
        mu = np.sum(g_S**2) / (np.sum((A @ g_S) ** 2) + 1e-8)
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
    return A, A.columns(xp.arange(p)).apply(xp.asarray(w)), w


# ---- one step ----


@given(seed=st.integers(0, 10_000), n=st.integers(20, 60), d=st.integers(2, 6), m=st.integers(1, 6),
       s=st.integers(1, 20), inner_steps=st.sampled_from([0, 1, 2, 3]))
@example(seed=0, n=80, d=6, m=5, s=8, inner_steps=10)
@example(seed=1, n=60, d=3, m=10, s=4, inner_steps=10)
@example(seed=2, n=40, d=12, m=3, s=1, inner_steps=10)
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


def steep_instance(work, scale):
    """A step from a nearly flat column to one that is 1/scale times as steep: the step size is far too large there."""
    X = np.array([[scale, 0], [scale, 1], [0, 2]], dtype=np.float32)
    A = sensing_of(X, WeightGates(sparse([1, 1]), 2), 1, work)
    return A, dense_sensing(X, np.ones((1, 2))), np.float32([0, 1, 3])


@pytest.mark.parametrize("scale", [1, 0.3, 0.05, 0.04, 1e-2, 1e-3])
def test_the_step_size_is_halved_until_it_is_accepted_or_given_up(work, scale):
    A, dense, y = steep_instance(work, scale)
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


def test_an_exact_fit_stays_and_nothing_to_fit_gives_no_weights(work):
    X, gates, _, _ = instance(2)
    A, w = sensing_of(X, gates, 5, work), SparseVector(np.array([1, 8, 20]), np.float32([1, -2, 0.5]), 30)
    y = A.columns(w.indices).apply(w.values)
    new = aiht_step(A, y, w, 3, 10)
    assert new.indices.tolist() == [1, 8, 20]
    np.testing.assert_allclose(new.values, w.values, atol=1e-6)
    assert len(aiht_step(A, 0 * y, SparseVector.zeros(30), 4, 10)) == 0


# ---- batches and gates ----


@pytest.mark.parametrize("n, batch_size, sizes", [(10, 3, [3, 3, 3, 1]), (10, 5, [5, 5]), (10, 9, [9, 1]), (1, 1, None),
                                                  (7, 0, None), (7, 7, None), (4, 1, [1, 1, 1, 1])])
def test_batches(n, batch_size, sizes):
    drawn = list(batches(n, batch_size, 3, np.random.default_rng(0)))
    if sizes is None:  # everything at once
        assert [epoch for epoch, _ in drawn] == [0, 1, 2]
        assert all(np.arange(n)[batch].tolist() == list(range(n)) for _, batch in drawn)
        return
    assert [epoch for epoch, _ in drawn] == [epoch for epoch in range(3) for _ in sizes]
    assert [len(batch) for _, batch in drawn] == sizes * 3
    orders = [np.concatenate([batch for epoch, batch in drawn if epoch == e]).tolist() for e in range(3)]
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("update_every", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("num_epochs, batch_size", [(1, 0), (2, 0), (3, 0), (7, 0), (1, 40), (2, 40), (4, 75)])
def test_a_fit_follows_the_gate_schedule(work, num_epochs, batch_size, update_every):
    """0 stands for --convex, which a number of steps that is never reached gives too."""
    X, gates, _, y = instance(7, n=120, d=8, m=4)
    settings = {"width": 4, "num_epochs": num_epochs, "batch_size": batch_size, "seed": 7, "work": work}
    convex = fit(X, y, 6, convex=True, **settings)
    net = fit(X, y, 6, update_every=update_every, **settings) if update_every else convex
    assert_close(weights(net), reference_layer(X, y, 6, gates, num_epochs, batch_size, update_every), 1e-3)
    assert (net.gates is not None) == (not update_every)  # else the score is that of the ReLU net
    if num_epochs == 7 and update_every:  # the schedules differ on this instance
        assert bits(net) != bits(convex) == bits(fit(X, y, 6, update_every=7, **settings))
        assert (bits(net) == bits(fit(X, y, 6, **settings))) == (update_every == 1)


def test_the_iterates_are_the_fits_of_fewer_steps(work):
    X, gates, _, y = instance(3, n=120, d=8, m=4)
    found = list(iterates(np.ascontiguousarray(X.T), y, 6, gates, Schedule(120, 8, update_every=2), work))
    assert len(found) == 8
    for step, (w, H) in enumerate(found):
        net = fit(X, y, 6, width=4, num_epochs=step + 1, update_every=2, seed=3, work=work)
        assert w.values.tobytes() == net.layers[0].w.values.tobytes()
        own = found[step - step % 2][0] if step > 1 else None
        rows = gates.rows(np.arange(4)) if own is None else own.toarray().reshape(4, 8)
        np.testing.assert_array_equal(H.rows(np.arange(4)), rows)


def test_a_convex_net_predicts_with_its_random_gates(work):
    X, _, dense, y = instance(5)
    for convex in (True, False):
        net = fit(X, y, 8, width=5, convex=convex, seed=5, work=work)
        relu = np.maximum(X @ weights(net).reshape(5, 6).T, 0).sum(axis=1)
        assert_close(net.predict(X), dense @ weights(net) if convex else relu)
        assert (np.abs(net.predict(X) - relu).max() > 0.1) == convex


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


# ---- threads and devices, with one and several outputs ----

SETTINGS = [{}, {"batch_size": 300}, {"convex": True}, {"num_layers": 2}, {"batch_size": 300, "update_every": 2}]


def several(y, outputs):
    return y if outputs == 1 else np.stack([y, -y, np.maximum(y, 0)], axis=1)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(settings, outputs):
    X, _, _, y = instance(4, n=1000, d=10, m=8)
    nets = []
    for threads, seed in ((1, 4), (2, 4), (3, 4), (1, 5)):
        np.random.seed(threads)  # the global stream has no part in it
        with Workspace(threads) as work:
            nets.append(bits(fit(X, several(y, outputs), 24, width=8, num_epochs=5, seed=seed, work=work, **settings)))
    assert nets[0] == nets[1] == nets[2] != nets[3]


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_fit_on_a_device_is_that_of_numpy(device, work, settings, outputs):
    X, _, _, y = instance(6, n=400, d=9, m=5)
    expected, found = (solve(xp.asarray(X), xp.asarray(several(y, outputs)), 24, width=5, num_epochs=4, seed=6,
                             work=work, **settings) for xp in (np, device))
    net = found.net
    for (places, _), (others, _), part in zip(bits(net), bits(expected.net), [*net.layers, net.output], strict=False):
        assert places == others and type(part.w.values) is np.ndarray
    assert_close(net.predict(X), expected.net.predict(X), 1e-3)
    assert found.details == expected.details and bool(found.details) == (outputs > 1)


def test_inner_steps_do_not_wait_for_the_device(work):
    X, gates, _, y = instance(8)
    A = ReluSensing(strict_array.asarray(np.ascontiguousarray(X.T)), gates, 5, work)
    place, values = map(strict_array.asarray, (np.array([0, 7, 13]), np.float32([1, 2, -1])))
    waits = []
    for inner_steps in (1, 10):
        before = strict_array.synchronisations
        found = descend_on_support(A.columns(place), strict_array.asarray(y), SparseVector(place, values, 30), 0.5,
                                   inner_steps)
        waits.append(strict_array.synchronisations - before)
    assert waits[0] == waits[1] and np.isfinite(to_host(found.values)).all()
