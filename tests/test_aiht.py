"""aiht.py with scalar output: each step against a slow dense implementation, and what a fit promises.

The reference below is written from the description of the algorithm: a stored matrix, a line search that evaluates the
objective at every trial, and extended precision, since the first step changes the objective by some 1e-14 of its value.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiht import (
    BATCH_STREAM,
    FIRST_STEP,
    GAUSSIAN_INNER_STEPS,
    INNER_STEPS,
    REFUSALS,
    aiht_step,
    batches,
    descend_on_support,
    fit,
    hard_threshold,
    iterates,
    recover,
    with_updates,
)
from models import SparseLayer, SparseNet
from numerics.arrays import to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import GaussianSensing, RandomGates, ReluSensing, WeightGates
from tasks import SignalProblem, gaussian_sparse, mlp_planted, score, support_error


class Flags:
    """The flags that the tasks of this file read."""

    def __init__(self, nmeasurements, input_dim=100, num_layers=1):
        self.nmeasurements, self.input_dim, self.num_layers, self.output_dim = nmeasurements, input_dim, num_layers, 1
        self.input_dist, self.data_dir = "normal", None


# ---- the slow reference ----

EXTENDED = np.longdouble


def dense_matrix(X, H):
    """A [n, m d]: block j is X with the rows of closed gates set to zero."""
    X = X.astype(np.float64)
    return np.hstack([X * (X @ h > 0)[:, None] for h in H.astype(np.float64)])


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


def reference_layer(X, y, s, gates, num_epochs, batch_size, convex, rng, update_every=1):
    """w of one layer: random gates for the first epoch and one more step, then those of w, every so many steps."""
    n, d = X.shape
    H = gates.rows(np.arange(gates.m))
    w = np.zeros(gates.m * d)
    step = 0
    for epoch in range(num_epochs):
        order = rng.permutation(n) if batch_size not in (0, n) else np.arange(n)
        for start in range(0, n, batch_size or n):
            rows = order[start : start + (batch_size or n)]
            w = reference_step(dense_matrix(X[rows], H), y[rows], w, s, 10)
            if epoch > 0 and not convex and step in range(0, 10**6, update_every):
                H = w.reshape(gates.m, d)
            step += 1
    return w


# ---- help ----


def instance(seed=0, n=80, d=6, m=5, noise=0.1):
    """Inputs X, gates, the dense matrix, and targets of a net with a third of the weights, with noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    gates = RandomGates(seed, 0, m, d)
    dense = dense_matrix(X, gates.rows(np.arange(m)))
    w = rng.standard_normal(m * d) * (rng.random(m * d) < 1 / 3)
    return X, gates, dense, (dense @ w + noise * rng.standard_normal(n)).astype(np.float32)


def weights(net, layer=0):
    """W of one layer, dense and flat."""
    return net.layers[layer].w.toarray()


def assert_close(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def same_bits(net, other):
    return len(net.layers) == len(other.layers) and all(
        (a.w.indices.tobytes(), a.w.values.tobytes()) == (b.w.indices.tobytes(), b.w.values.tobytes())
        for a, b in zip(net.layers, other.layers, strict=True))


def on(device, *arrays):
    return [device.asarray(array) for array in arrays]


# ---- one step ----


def test_the_constants_are_those_of_the_paper():
    assert (FIRST_STEP, INNER_STEPS, GAUSSIAN_INNER_STEPS, REFUSALS) == (1e-14, 10, 3, 11)


@pytest.mark.parametrize("inner_steps", [0, 1, 3, 10])
@pytest.mark.parametrize("seed, n, d, m, s", [(0, 80, 6, 5, 8), (1, 60, 3, 10, 4), (2, 40, 12, 3, 1), (3, 50, 4, 4, 40),
                                              (4, 400, 2, 30, 9)])
def test_steps_are_those_of_the_dense_reference(work, seed, n, d, m, s, inner_steps):
    X, gates, dense, y = instance(seed, n, d, m)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, m, work)
    w = SparseVector.zeros(m * d)
    for _ in range(5):
        before = w.toarray()
        new = aiht_step(A, y, w, s, inner_steps)
        assert_close(new.toarray(), reference_step(dense, y, before, s, inner_steps), 1e-2)
        np.testing.assert_array_equal(w.toarray(), before)  # the input is untouched
        assert 0 < len(new) <= s and (new.values != 0).all() and (np.diff(new.indices) > 0).all()
        w = new


@given(
    seed=st.integers(0, 10_000), n=st.integers(20, 60), d=st.integers(2, 6), m=st.integers(1, 6), s=st.integers(1, 20),
    inner_steps=st.sampled_from([0, 1, 2, 3]),
)
def test_random_steps_are_those_of_the_dense_reference(seed, n, d, m, s, inner_steps):
    X, gates, dense, y = instance(seed, n, d, m)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, m, Workspace())
    w = SparseVector.zeros(m * d)
    for _ in range(3):
        expected = reference_step(dense, y, w.toarray(), s, inner_steps)
        w = aiht_step(A, y, w, s, inner_steps)
        assert_close(w.toarray(), expected, 1e-3)
        assert len(w) <= s


def steep_instance(work, scale):
    """A step from a nearly flat column to one that is 1/scale times as steep: the step size is far too large there."""
    X = np.array([[scale, 0], [scale, 1], [0, 2]], dtype=np.float32)
    gates = WeightGates(SparseVector(np.array([0, 1]), np.array([1, 1], dtype=np.float32), 2), 2)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 1, work)
    w = SparseVector(np.array([0]), np.array([1], dtype=np.float32), 2)
    return A, dense_matrix(X, np.ones((1, 2))), np.array([0, 1, 3], dtype=np.float32), w


@pytest.mark.parametrize("inner_steps", range(6))
@pytest.mark.parametrize("scale", [1, 0.3, 0.05, 0.04, 1e-2, 1e-3])
def test_the_step_size_is_halved_until_it_is_accepted_or_given_up(work, scale, inner_steps):
    A, dense, y, w = steep_instance(work, scale)
    start = reference_step(dense, y, w.toarray(), 1, 0)
    expected = reference_step(dense, y, w.toarray(), 1, inner_steps)
    np.testing.assert_allclose(aiht_step(A, y, w, 1, inner_steps).toarray(), expected, atol=1e-6 * np.abs(start).max())


@pytest.mark.parametrize("scale, refused", [(0.05, 0), (0.04, 1), (1e-2, 1)])
def test_eleven_refusals_lead_back_to_the_start(work, scale, refused):
    """The step size would have to be halved 10, 11 and 14 times; halvings carry over to the next inner step."""
    A, _, y, w = steep_instance(work, scale)
    start, *path = [aiht_step(A, y, w, 1, inner_steps).toarray() for inner_steps in range(refused + 2)]
    assert start[0] == 0 != start[1]  # the support has moved to the steep column
    for x in path[:refused]:
        np.testing.assert_array_equal(x, start)
    assert abs(path[refused][1] - 1.4) < 0.5 * abs(start[1] - 1.4)  # 1.4 is the best fit


def test_a_late_refusal_leads_back_to_the_start_too(work):
    """The first inner step is accepted and blows up the steep third entry; the second is refused, the third is not."""
    X = np.diag([0.01, 0.005, 1]).astype(np.float32)
    gates = WeightGates(SparseVector(np.arange(3), np.ones(3, dtype=np.float32), 3), 3)
    A, y = ReluSensing(X, gates, 1, work), np.array([1000, 2000, 0], dtype=np.float32)
    w = SparseVector(np.array([0, 2]), np.array([1, 7.5e-7], dtype=np.float32), 3)
    start, first, second, third = (aiht_step(A, y, w, 3, inner_steps).toarray() for inner_steps in range(4))
    assert abs(first[2]) > 10 > 1 > abs(third[2])
    np.testing.assert_array_equal(second, start)
    for inner_steps, x in ((1, first), (3, third)):
        expected = reference_step(X.astype(np.float64), y, w.toarray(), 3, inner_steps)
        np.testing.assert_allclose(x, expected, rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_does_not_rise_in_the_inner_steps(work, seed):
    X, gates, dense, y = instance(seed, noise=0.5)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 5, work)
    w = SparseVector.zeros(30)
    falls = []
    for _ in range(4):
        path = [aiht_step(A, y, w, 8, t) for t in range(11)]
        errors = [squared_error(dense, y, v.toarray().astype(np.float64)) for v in path]
        assert all(later <= earlier * (1 + 1e-6) for earlier, later in zip(errors, errors[1:], strict=False))
        falls.append(errors[10] / errors[0])
        w = path[10]
    assert falls[0] == pytest.approx(1) and falls[1] < 0.9  # the first step hardly moves


def test_the_first_step_chooses_the_largest_correlations(work):
    X, gates, dense, y = instance(1)
    w = aiht_step(ReluSensing(np.ascontiguousarray(X.T), gates, 5, work), y, SparseVector.zeros(30), 4, 0)
    assert set(w.indices) == set(np.argsort(-np.abs(dense.T @ y))[:4])
    assert_close(w.values, 1e-14 * (dense.T @ y)[w.indices])


def test_of_equal_candidates_the_first_stay(work):
    X = np.repeat(np.array([[1.0], [2], [-1]], dtype=np.float32), 6, axis=1)  # six equal columns
    gates = WeightGates(SparseVector(np.arange(6), np.ones(6, dtype=np.float32), 6), 6)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 1, work)
    for s in (1, 2, 5, 6, 9):
        w = aiht_step(A, np.array([1, 2, 0], dtype=np.float32), SparseVector.zeros(6), s, 10)
        assert w.indices.tolist() == list(range(min(s, 6)))


def test_thresholding_is_idempotent_and_sees_no_blocks():
    rng = np.random.default_rng(0)
    w = SparseVector(np.array([2, 5, 11]), np.array([3, -1, 2], dtype=np.float32), 40)
    g = rng.standard_normal(40)
    u = w.toarray() - 0.7 * g
    expected = np.sort(np.argsort(-np.abs(u))[:9])
    for length in (1, 3, 12, 40):
        blocks = [(np.arange(a, min(a + length, 40)), g[a : a + length]) for a in range(0, 40, length)]
        new = hard_threshold(w, 0.7, iter(blocks), 9)
        assert new.indices.tolist() == expected.tolist()
        assert_close(new.values, u[expected], 1e-6)
        again = hard_threshold(new, 0.7, ((place, np.zeros(len(place))) for place, _ in blocks), 9)
        assert (again.indices.tobytes(), again.values.tobytes()) == (new.indices.tobytes(), new.values.tobytes())


def test_an_exact_fit_stays(work):
    X, gates, dense, _ = instance(2)
    w = SparseVector(np.array([1, 8, 20]), np.array([1, -2, 0.5], dtype=np.float32), 30)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 5, work)
    new = aiht_step(A, A.columns(w.indices).apply(w.values), w, 3, 10)
    assert new.indices.tolist() == [1, 8, 20]
    np.testing.assert_allclose(new.values, w.values, atol=1e-6)


def test_nothing_to_fit_gives_no_weights(work):
    X, gates, _, y = instance(0)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 5, work)
    assert len(aiht_step(A, 0 * y, SparseVector.zeros(30), 4, 10)) == 0


def test_the_gradient_is_that_of_finite_differences(work):
    rng = np.random.default_rng(3)
    X, gates, dense, y = instance(3, n=40, d=4, m=3)
    w = rng.standard_normal(12).astype(np.float32)

    def half_squared_error(v):
        layer = SparseVector(np.arange(12), v, 12)
        net = SparseNet((SparseLayer(layer, 3, 4),), gates=gates)
        return 0.5 * np.sum((net.predict(X) - y) ** 2)

    A = ReluSensing(np.ascontiguousarray(X.T), gates, 3, work)
    r = A.columns(np.arange(12)).apply(w) - y
    gradient = np.concatenate([g for _, g in A.adjoint_blocks(r)])
    steps = 1e-2 * np.eye(12)
    differences = [(half_squared_error(w + e) - half_squared_error(w - e)) / 2e-2 for e in steps]
    assert_close(gradient, np.array(differences), 1e-5)
    assert_close(A.columns(np.arange(12)).adjoint(r), np.array(differences), 1e-5)


# ---- batches and gates ----


@pytest.mark.parametrize("n, batch_size, sizes", [(10, 3, [3, 3, 3, 1]), (10, 5, [5, 5]), (10, 9, [9, 1]), (1, 1, None),
                                                  (7, 0, None), (7, 7, None), (4, 1, [1, 1, 1, 1])])
def test_batches(n, batch_size, sizes):
    drawn = list(batches(n, batch_size, 3, np.random.default_rng(0)))
    if sizes is None:
        assert [epoch for epoch, _ in drawn] == [0, 1, 2]
        assert all(np.arange(n)[batch].tolist() == list(range(n)) for _, batch in drawn)
        return
    assert [epoch for epoch, _ in drawn] == [epoch for epoch in range(3) for _ in sizes]
    assert [len(batch) for _, batch in drawn] == sizes * 3
    orders = [np.concatenate([batch for epoch, batch in drawn if epoch == e]).tolist() for e in range(3)]
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    again = list(batches(n, batch_size, 3, np.random.default_rng(0)))
    assert all((a[1] == b[1]).all() for a, b in zip(drawn, again, strict=True))


@pytest.mark.parametrize("convex", [False, True])
@pytest.mark.parametrize("num_epochs, batch_size", [(1, 0), (2, 0), (3, 0), (6, 0), (1, 40), (2, 40), (3, 75)])
def test_a_fit_follows_the_gate_schedule(work, num_epochs, batch_size, convex):
    X, gates, _, y = instance(7, n=120, d=8, m=4)
    net = fit(X, y, 6, width=4, num_epochs=num_epochs, batch_size=batch_size, convex=convex, seed=7, work=work)
    rng = np.random.default_rng([7, BATCH_STREAM, 0])
    assert_close(weights(net), reference_layer(X, y, 6, gates, num_epochs, batch_size, convex, rng), 1e-3)
    assert (net.gates is not None) == convex


def test_the_gate_schedules_differ_on_that_instance(work):
    """Else the test above could not tell them apart."""
    X, gates, _, y = instance(7, n=120, d=8, m=4)
    random, own = (fit(X, y, 6, width=4, num_epochs=3, convex=c, seed=7, work=work) for c in (True, False))
    assert np.abs(weights(random) - weights(own)).max() > 0.01
    two = [fit(X, y, 6, width=4, num_epochs=2, convex=c, seed=7, work=work) for c in (True, False)]
    assert same_bits(*two)  # the second full-batch step still has random gates


@pytest.mark.parametrize("update_every", [2, 3, 5])
@pytest.mark.parametrize("num_epochs, batch_size", [(3, 0), (7, 0), (2, 40), (4, 75)])
def test_gates_are_updated_every_so_many_steps(work, num_epochs, batch_size, update_every):
    X, gates, _, y = instance(7, n=120, d=8, m=4)
    settings = {"width": 4, "num_epochs": num_epochs, "batch_size": batch_size, "seed": 7, "work": work}
    net = fit(X, y, 6, update_every=update_every, **settings)
    rng = np.random.default_rng([7, BATCH_STREAM, 0])
    expected = reference_layer(X, y, 6, gates, num_epochs, batch_size, False, rng, update_every)
    assert_close(weights(net), expected, 1e-3)
    assert net.gates is None  # the score is that of the ReLU net
    if num_epochs == 7:
        assert not same_bits(net, fit(X, y, 6, **settings))


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("batch_size, num_steps", [(0, 6), (40, 18)])
def test_gates_that_are_never_updated_are_the_convex_ones(work, outputs, batch_size, num_steps):
    X, _, _, y = instance(7, n=120, d=8, m=4)
    y = y if outputs == 1 else np.stack([y, -y], axis=1)
    settings = {"width": 4, "num_epochs": 6, "batch_size": batch_size, "seed": 7, "work": work}
    convex = fit(X, y, 6, convex=True, **settings)
    assert same_bits(fit(X, y, 6, update_every=num_steps, **settings), convex)
    assert not same_bits(fit(X, y, 6, update_every=num_steps // 2, **settings), convex)
    one = fit(X, y, 6, update_every=1, **settings)
    assert same_bits(one, fit(X, y, 6, **settings)) and not same_bits(one, convex)


def test_the_iterates_are_the_fits_of_fewer_steps(work):
    X, gates, _, y = instance(3, n=120, d=8, m=4)
    schedule = with_updates(batches(120, 0, 8, np.random.default_rng(0)), 2)
    found = list(iterates(np.ascontiguousarray(X.T), y, 6, gates, schedule, work))
    assert len(found) == 8
    for step, (w, H) in enumerate(found):
        net = fit(X, y, 6, width=4, num_epochs=step + 1, update_every=2, seed=3, work=work)
        assert w.values.tobytes() == net.layers[0].w.values.tobytes()
        own = found[step - step % 2][0] if step > 1 else None
        rows = gates.rows(np.arange(4)) if own is None else own.toarray().reshape(4, 8)
        np.testing.assert_array_equal(H.rows(np.arange(4)), rows)


def test_a_convex_net_predicts_with_its_random_gates(work):
    X, gates, dense, y = instance(5)
    net = fit(X, y, 8, width=5, convex=True, seed=5, work=work)
    assert_close(net.predict(X), dense @ weights(net), 1e-6)
    relu = np.maximum(X @ weights(net).reshape(5, 6).T, 0).sum(axis=1)
    assert np.abs(net.predict(X) - relu).max() > 0.1
    with_relu = fit(X, y, 8, width=5, seed=5, work=work)
    assert_close(with_relu.predict(X), np.maximum(X @ weights(with_relu).reshape(5, 6).T, 0).sum(axis=1), 1e-5)


# ---- whole fits ----


@pytest.mark.parametrize("s, seed", [(5, 0), (10, 0), (10, 1), (50, 2)])
def test_planted_neurons_are_recovered(work, s, seed):
    problem = mlp_planted(Flags(2000), 1, s, seed)
    net = fit(problem.X, problem.Y, s, width=1, seed=seed, num_epochs=40, work=work)
    assert score(problem, net.predict(problem.X)) > 150
    assert net.num_nonzero == s


def test_a_planted_neuron_is_recovered_from_mini_batches(work):
    problem = mlp_planted(Flags(2000), 1, 10, 0)
    net = fit(problem.X, problem.Y, 10, width=1, batch_size=500, work=work)
    assert score(problem, net.predict(problem.X)) > 150


@pytest.mark.parametrize("s", [1, 10, 20])
def test_a_signal_is_recovered_from_gaussian_measurements(work, s):
    problem = gaussian_sparse(Flags(250), 600, s, 3)
    assert isinstance(problem, SignalProblem) and len(problem.w) == s
    w = recover(GaussianSensing(3, 250, 600, work), problem.y, s, 60)
    assert score(problem, w) < 1e-6 and support_error(problem, w) == 0


def test_gaussian_recovery_is_the_dense_reference(work):
    problem = gaussian_sparse(Flags(60), 150, 12, 1)
    A = GaussianSensing(1, 60, 150, work)
    dense = np.stack([A.columns(np.array([j])).apply(np.ones(1)) for j in range(150)], axis=1).astype(np.float64)
    expected = np.zeros(150)
    for epochs in range(1, 5):
        expected = reference_step(dense, problem.y, expected, 12, 3)
        assert_close(recover(A, problem.y, 12, epochs).toarray(), expected, 1e-3)


def test_two_layers_are_fitted_one_after_the_other(work):
    X, _, _, y = instance(2, n=150, d=7, m=6)
    s, m = 15, 6
    net = fit(X, y, s, width=m, num_layers=2, num_epochs=4, seed=2, work=work)
    assert all(0 < len(layer) <= 7 for layer in net.layers) and net.num_nonzero <= 14
    first = reference_layer(X, y, 7, RandomGates(2, 0, m, 7), 4, 0, False, None)
    assert_close(weights(net, 0), first, 1e-3)
    used = np.unique(np.flatnonzero(first) // 7)
    assert len(used) < m  # the embedding has fewer columns than the layer has neurons
    Z = np.maximum(X @ weights(net, 0).reshape(m, 7).T, 0)[:, used]
    second = reference_layer(Z, y, 7, RandomGates(2, 1, m, len(used)), 4, 0, False, None)
    W = weights(net, 1).reshape(m, m)
    assert_close(W[:, used].ravel(), second, 1e-3)
    assert not np.delete(W, used, axis=1).any()


def test_a_layer_may_find_nothing(work):
    X, _, _, y = instance(0)
    for convex in (False, True):
        net = fit(X, 0 * y, 8, width=5, num_layers=2, convex=convex, work=work)
        assert net.num_nonzero == 0 and net.predict(X).tolist() == [0] * len(y)


@given(
    seed=st.integers(0, 1000), n=st.integers(1, 40), d=st.integers(1, 6), m=st.integers(1, 6), s=st.integers(2, 30),
    num_layers=st.integers(1, 2), num_epochs=st.integers(1, 4), batch=st.integers(0, 40), convex=st.booleans(),
)
def test_the_budget_is_never_exceeded(seed, n, d, m, s, num_layers, num_epochs, batch, convex):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    net = fit(X, y, s, width=m, num_layers=num_layers, num_epochs=num_epochs, batch_size=min(batch, n), convex=convex,
              seed=seed, work=Workspace())
    assert net.num_nonzero <= s and len(net.layers) == num_layers
    assert all(np.count_nonzero(layer.w.values) <= s // num_layers for layer in net.layers)
    assert np.isfinite(net.predict(X)).all() and net.predict(X).shape == (n,)


@pytest.mark.parametrize("settings", [{}, {"batch_size": 300}, {"convex": True}, {"num_layers": 2},
                                      {"update_every": 2}])
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(settings):
    X, _, _, y = instance(4, n=1000, d=10, m=8)
    nets = []
    for threads, global_seed in ((1, 0), (1, 1), (2, 2), (3, 3)):
        np.random.seed(global_seed)  # the global stream has no part in it
        with Workspace(threads) as work:
            nets.append(fit(X, y, 12, width=8, num_epochs=5, seed=4, work=work, **settings))
    assert all(same_bits(nets[0], net) for net in nets[1:])
    with Workspace() as work:
        assert not same_bits(nets[0], fit(X, y, 12, width=8, num_epochs=5, seed=5, work=work, **settings))


def test_recovery_has_the_same_bits_on_any_number_of_threads():
    problem = gaussian_sparse(Flags(300), 400, 30, 0)
    found = []
    for threads in (1, 2, 3):
        with Workspace(threads) as work:
            found.append(recover(GaussianSensing(0, 300, 400, work), problem.y, 30, 10))
    assert found[0].values.tobytes() == found[1].values.tobytes() == found[2].values.tobytes()
    assert found[0].indices.tobytes() == found[1].indices.tobytes() == found[2].indices.tobytes()


@pytest.mark.parametrize("n, d, m, s", [(25_000, 10, 180, 180), (3000, 1500, 70, 800)])
def test_a_small_memory_budget_finds_the_same_support(n, d, m, s):
    assert 4 * n * s > 2**23  # at 16 MiB the columns are not held
    rng = np.random.default_rng(0)
    XT = rng.standard_normal((d, n), dtype=np.float32)
    W = rng.standard_normal((m, d)) * (rng.random((m, d)) < s / (2 * m * d))
    y = np.maximum(W.astype(np.float32) @ XT, 0).sum(axis=0)
    small, large = [], []
    for memory_budget, found in ((16, small), (512, large)):
        with Workspace(2, memory_budget) as work:
            gates = RandomGates(0, 0, m, d)
            A, w = ReluSensing(XT, gates, m, work), SparseVector.zeros(m * d)
            for _ in range(2):
                w = aiht_step(A, y, w, s, 2)
                found.append(w)
            found.append(aiht_step(ReluSensing(XT, WeightGates(w, d), m, work), y, w, s, 2))
    for a, b in zip(small, large, strict=True):
        assert a.indices.tolist() == b.indices.tolist()
        assert_close(a.values, b.values)


# ---- on a device ----


@pytest.mark.parametrize("settings", [{}, {"batch_size": 70}, {"convex": True}, {"num_layers": 2}])
def test_a_fit_on_a_device_is_that_of_numpy(device, work, settings):
    X, _, _, y = instance(6, n=200, d=9, m=5)
    expected = fit(X, y, 14, width=5, num_epochs=4, seed=6, work=work, **settings)
    net = fit(*on(device, X, y), 14, width=5, num_epochs=4, seed=6, work=work, **settings)
    for layer in range(len(net.layers)):
        assert type(net.layers[layer].w.values) is np.ndarray
        assert net.layers[layer].w.indices.tolist() == expected.layers[layer].w.indices.tolist()
        assert_close(weights(net, layer), weights(expected, layer), 1e-3)
    assert_close(net.predict(X), expected.predict(X), 1e-3)


def test_a_recovery_on_a_device_is_that_of_numpy(device, work):
    problem = gaussian_sparse(Flags(100), 200, 8, 2)
    expected = recover(GaussianSensing(2, 100, 200, work), problem.y, 8, 20)
    w = recover(GaussianSensing(2, 100, 200, work, device), device.asarray(problem.y), 8, 20)
    assert type(w.values) is np.ndarray and w.indices.tolist() == expected.indices.tolist()
    assert_close(w.values, expected.values)


def test_inner_steps_do_not_wait_for_the_device(work):
    import strict_array

    X, gates, _, y = instance(8)
    A = ReluSensing(strict_array.asarray(np.ascontiguousarray(X.T)), gates, 5, work)
    w = SparseVector(*on(strict_array, np.array([0, 7, 13]), np.array([1, 2, -1], dtype=np.float32)), 30)
    waits = []
    for inner_steps in (1, 10):
        before = strict_array.synchronisations
        found = descend_on_support(A.columns(w.indices), strict_array.asarray(y), w, 0.5, inner_steps)
        waits.append(strict_array.synchronisations - before)
    assert waits[0] == waits[1] and np.isfinite(to_host(found.values)).all()
