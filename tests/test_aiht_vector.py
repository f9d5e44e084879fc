"""aiht_vector.py and fits with several outputs: against a slow dense implementation, and what a fit guarantees.

The reference is written from the description of the algorithm: float64, one neuron after another, M_j formed. Where a
fit is compared with it, the count sketch is replaced by exact sums, or the reference has a sketch with the same hash.
"""

import warnings

import numpy as np
import pytest
from helpers import assert_close, bits, sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sensing
from aiht import solve
from aiht_vector import (
    RandomFill,
    VectorSensing,
    first_step_size,
    fit_vector_layer,
    predict,
    residual,
    split,
    try_step_size,
    vector_step,
    weight_blocks,
)
from fits import LOSSES
from numerics.batches import Schedule
from numerics.countsketch import CountSketch
from numerics.streams import Stream
from numerics.workspace import Workspace
from sensing import RandomGates, WeightGates


class ExactSums:
    """In place of a count sketch: the sum of every coordinate by itself."""

    def __init__(self, size, *_):
        self.table = np.zeros((1, size))

    def add(self, indices, deltas):
        np.add.at(self.table[0], indices, deltas)

    def estimate(self, indices):
        return self.table[0][indices]


# ---- the slow reference ----


def dense_prediction(X, H, W, V):
    """[n, k] float64."""
    total = np.zeros((len(X), V.shape[1]))
    for h, w, v in zip(H, W, V, strict=True):
        total += np.outer((X @ h > 0) * (X @ w), v)
    return total


def softmax(P):
    P = np.exp(P - P.max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)


def dense_loss(P, Y, loss):
    """The mean loss whose gradient in P is the residual."""
    if loss == "squared":
        return np.sum((P - Y) ** 2) / (2 * len(Y))
    return -np.sum(Y * np.log(softmax(P))) / len(Y)


def dense_gradient(X, H, W, V, R):
    """[m, d + k]: M_j v_j and M_j' w_j."""
    rows = []
    for h, w, v in zip(H, W, V, strict=True):
        M = ((X @ h > 0)[:, None] * X).T @ R  # [d, k]
        rows.append(np.concatenate([M @ v, M.T @ w]))
    return np.array(rows)


def filled(block, start):
    """Each row that is entirely zero takes the start-up values."""
    return np.array([b if any(b != 0) else f for b, f in zip(block, start, strict=True)])


def dense_step(X, Y, H, W, V, sums, s, mu, start, loss):
    """The next W and V; the updates are added to `sums`."""
    d = X.shape[1]
    P = dense_prediction(X, H, W, V)
    R = ((softmax(P) if loss == "cross_entropy" else P) - Y) / len(Y)
    if start is not None:
        W, V = filled(W, start[:, :d]), filled(V, start[:, d:])
    delta = -mu * dense_gradient(X, H, W, V, R)
    sums.add(np.arange(delta.size), delta.ravel())
    u = np.hstack([W, V]) + delta
    chosen = sorted(np.flatnonzero(u), key=lambda i: -abs(sums.estimate(np.array([i]))[0]))[:s]
    theta = np.zeros_like(u)
    theta.flat[chosen] = u.flat[chosen]
    return theta[:, :d], theta[:, d:]


def dense_fit(X, Y, s, mu, gates, sums, *, num_epochs, batch_size=0, update_every=1, loss="squared"):
    """theta [m, d + k] of one layer; update_every 0 keeps the random gates."""
    (n, d), m, k = X.shape, gates.m, Y.shape[1]
    start = RandomFill(gates.seed, gates.layer, m, d, k, d).rows(np.arange(m))
    X, Y, H, start = (array.astype(np.float64) for array in (X, Y, gates.rows(np.arange(m)), start))
    W, V, step = np.zeros((m, d)), np.zeros((m, k)), 0
    rng = Stream.AIHT_BATCHES.generator(gates.seed, gates.layer)
    for epoch in range(num_epochs):
        order = rng.permutation(n) if batch_size else np.arange(n)
        for first in range(0, n, batch_size or n):
            rows = order[first : first + (batch_size or n)]
            start_up = first == 0 and (epoch == 0 or batch_size)
            W, V = dense_step(X[rows], Y[rows], H, W, V, sums, s, mu, start if start_up else None, loss)
            if epoch > 0 and update_every and step % update_every == 0:
                H = W
            step += 1
    return np.hstack([W, V])


# ---- help ----


def data(n=60, d=5, k=3, loss="squared", seed=0):
    """Inputs X [n, d] and targets Y [n, k], float32."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    scores = np.maximum(X @ rng.standard_normal((d, 4)), 0) @ rng.standard_normal((4, k))
    Y = np.eye(k)[scores.argmax(axis=1)] if loss == "cross_entropy" else scores
    return X, Y.astype(np.float32)


def weights(m=7, d=5, k=3, density=0.5, seed=1):
    """W [m, d] and V [m, k] float32; neuron 0 has no weights, neuron 1 only w, neuron 2 only v."""
    rng = np.random.default_rng(seed)
    W, V = ((rng.standard_normal((m, c)) * (rng.random((m, c)) < density)).astype(np.float32) for c in (d, k))
    W[[0, 2]], V[[0, 1]] = 0, 0
    W[1, 0], W[3:, 0] = -1, 1  # w_1 has a negative entry at least
    V[2:, 0] = 1
    return W, V


KINDS = ("random", "own", "earlier")  # gates: drawn, those of the weights, those of weights before some steps


def gates_of_kind(kind, W, seed=0, theta=None):
    """(gates, H), those of theta if they are its own.

    Of the earlier weights a neuron had none that has some now, and the other way round.
    """
    m, d = W.shape
    if kind == "random":
        drawn = RandomGates(seed, 0, m, d)
        return drawn, drawn.rows(np.arange(m))
    H = W if kind == "own" else np.roll(W, 1, axis=0) + W * (np.arange(m) % 2)[:, None]
    return WeightGates(sparse(H), d, of=theta if kind == "own" else None), H


def sensing_of(X, gates, m, work, xp=np):
    return VectorSensing(xp.asarray(np.ascontiguousarray(X.T)), gates, m, work)


def theta_of(W, V):
    return sparse(np.hstack([W, V]))


def layer(X, Y, s, work, *, m=6, mu, gates=None, num_epochs=4, batch_size=0, update_every=1, loss="squared"):
    """theta [m, d + k] of one layer at a given step size, dense; None where that diverges."""
    (n, d), k = X.shape, Y.shape[1]
    gates = gates or RandomGates(0, 0, m, d)
    schedule = Schedule(n, num_epochs, batch_size, update_every, gates.seed, gates.layer)
    theta = try_step_size(np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T), s, mu, gates, schedule, work, fan_in=d,
                          loss=loss)
    return theta if theta is None else theta.toarray().reshape(gates.m, d + k)


# ---- products, losses, gradients ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_finite_differences(work, kind, loss):
    """With the gates held fixed, W and V vary; the loss is an independent dense one."""
    X, Y = data(loss=loss)
    W, V = weights()
    theta = theta_of(W, V)
    gates, H = gates_of_kind(kind, W, theta=theta)
    A = sensing_of(X, gates, 7, work)
    blocks = weight_blocks(A, theta, 3)
    R = residual(predict(A, theta, blocks, 3), Y.T, loss)
    found = A.output_gradient(A.block(np.arange(7), np.hstack([W, V])), R, A.gates.are(theta))
    theta, step = np.hstack([W, V]).astype(np.float64), 1e-5
    expected = np.zeros_like(theta)
    for i in np.ndindex(*theta.shape):
        sides = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[i] += sign * step
            sides.append(dense_loss(dense_prediction(X.astype(np.float64), H, moved[:, :5], moved[:, 5:]), Y, loss))
        expected[i] = (sides[0] - sides[1]) / (2 * step)
    assert_close(found, expected)
    assert np.abs(expected).max() > 0.01


# ---- steps and fits against the reference ----


@pytest.mark.parametrize("loss, mu, s, seed, number", [("squared", 0.05, 9, 0, 0), ("cross_entropy", 0.3, 20, 4, 1)])
@pytest.mark.parametrize("update_every", [0, 1, 2, 7])
@pytest.mark.parametrize("batch_size", [0, 25])
def test_fits_are_those_of_the_dense_reference(work, loss, mu, update_every, batch_size, s, seed, number):
    """With one sketch for all steps of a layer, whose streams are its own."""
    X, Y = data(loss=loss, seed=3)
    gates, differ = RandomGates(seed, number, 6, 5), []
    for num_epochs in (1, 2, 3, 11):

        def reference(update_every, num_epochs=num_epochs):
            sketch = CountSketch(48, s, Stream.SKETCH.generator(seed, number))
            return dense_fit(X, Y, s, mu, gates, sketch, num_epochs=num_epochs, batch_size=batch_size,
                             update_every=update_every, loss=loss)

        expected = reference(update_every)
        found = layer(X, Y, s, work, mu=mu, gates=gates, num_epochs=num_epochs, batch_size=batch_size,
                      update_every=update_every, loss=loss)
        assert_close(found, expected, 1e-4)
        np.testing.assert_array_equal(found != 0, expected != 0)
        differ.append(reference(0 if update_every else 1) - expected)
    assert not differ[0].any() and differ[3].any()  # the gates matter here, and only after the first epoch


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), d=st.integers(1, 6), k=st.integers(1, 4),
       m=st.integers(1, 6), s=st.integers(1, 30), loss=st.sampled_from(LOSSES),
       kind=st.sampled_from(KINDS), start_up=st.booleans())
@example(seed=0, n=2500, d=5, k=3, m=7, s=9, loss="squared", kind="earlier", start_up=False)  # several tiles
@settings(max_examples=100)
def test_random_steps_are_those_of_the_dense_reference(seed, n, d, k, m, s, loss, kind, start_up):
    X, Y = data(n, d, k, loss, seed)
    rng = np.random.default_rng(seed)
    W, V = ((rng.standard_normal((m, c)) * (rng.random((m, c)) < 0.4)).astype(np.float32) for c in (d, k))
    before_step = theta_of(W, V)
    gates, H = gates_of_kind(kind, W, seed, before_step)
    fill = RandomFill(seed, 0, m, d, k, d) if start_up else None
    before = rng.standard_normal(m * (d + k))  # no ties among the sums
    found, expected = ExactSums(before.size), ExactSums(before.size)
    found.table[0] = expected.table[0] = before
    with Workspace() as work:
        A = sensing_of(X, gates, m, work)
        theta = vector_step(A, np.ascontiguousarray(Y.T), before_step, s, 0.1, found, fill, loss)
    start = fill.rows(np.arange(m)) if start_up else None
    args = (array.astype(np.float64) for array in (X, Y, H, W, V))
    assert_close(theta.toarray(), np.hstack(dense_step(*args, expected, s, 0.1, start, loss)).ravel(), 1e-4)
    assert_close(found.table, expected.table)
    assert (np.diff(theta.indices) > 0).all() and len(theta) <= s and theta.values.all()


# ---- the start-up rule ----


def test_start_up_values_are_uniform_the_same_every_time_and_bounded():
    m, d, k = 200, 30, 10
    rows = RandomFill(3, 0, m, d, k, fan_in=d).rows(np.arange(m))
    assert rows.dtype == np.float32 and rows.shape == (m, d + k)
    for part, count in ((rows[:, :d], m * d), (rows[:, d:], m * k)):
        shares = np.histogram(part * np.sqrt(count), bins=4, range=(-1 - 1e-6, 1 + 1e-6))[0] / part.size
        assert shares == pytest.approx(0.25, rel=0.15) and shares.sum() == 1
    some = np.array([0, 63, 64, 150, 199])
    np.testing.assert_array_equal(RandomFill(3, 0, m, d, k, fan_in=d).rows(some), rows[some])
    deeper = RandomFill(3, 0, m, d, k, fan_in=4 * d).rows(some)  # most inputs are always zero: they count
    np.testing.assert_allclose(deeper[:, :d], rows[some, :d] / 2, rtol=1e-6)
    np.testing.assert_array_equal(deeper[:, d:], rows[some, d:])
    others = [RandomFill(seed, number, m, d, k, fan_in=d).rows(np.arange(m)) for seed, number in ((4, 0), (3, 1))]
    assert len(np.unique([rows, *others])) > 0.99 * 3 * rows.size  # no block, layer or seed repeats another


# ---- step sizes ----


@pytest.mark.parametrize("s, m, loss, mu", [(29, 20, "squared", 2), (30, 20, "squared", 0.005),
                                            (243, 1000, "squared", 2), (244, 1000, "squared", 0.005),
                                            (1, 1000, "cross_entropy", 0.001), (2000, 10, "cross_entropy", 0.001)])
def test_step_sizes_of_the_paper(s, m, loss, mu):
    assert first_step_size(s, m, loss) == mu


def test_a_fit_that_diverges_starts_afresh_with_half_the_step(work):
    X, Y = data(seed=2)
    Y, steps = Y * 30, []  # too large for the step of 2
    found = solve(X, Y, 12, width=6, num_epochs=20, batch_size=25, callback=lambda step, _: steps.append(step))
    [mu] = found.details["step_sizes"]
    assert mu == 2 / 2 ** (steps.count(1) - 1) < 2 and steps[-60:] == list(range(1, 61))
    assert 0 < steps.index(1, 1) < 30  # noticed before the end
    assert layer(X, Y, 12, work, num_epochs=20, batch_size=25, mu=2 * mu) is None
    w, v = split(sparse(layer(X, Y, 12, work, num_epochs=20, batch_size=25, mu=mu)), 5, 3)
    assert [w.values.tobytes(), v.values.tobytes()] == [values for _, values in bits(found.net)] and len(w) and len(v)


def test_divergence_warns_on_no_thread_and_each_layer_has_its_step():
    X, Y = data(n=2000, d=20, k=10)
    with Workspace(2) as work, warnings.catch_warnings():
        warnings.simplefilter("error")
        found = solve(X, 20 * Y, 20, width=5, num_layers=2, num_epochs=40, batch_size=200, work=work)
    first, second = found.details["step_sizes"]
    assert min(first, second) < 2 and first != second and np.isfinite(found.net.predict(X)).all()


def test_weights_that_overflow_in_the_last_step_are_a_divergence(work, monkeypatch):
    """Their updates, of up to 2 * 3e38, still fit into the float64 of the sketch."""
    monkeypatch.setattr("units.TARGETS", (0, np.inf))  # else such targets are scaled
    X, Y = np.ones((1, 1), dtype=np.float32), np.full((1, 2), 3e38, dtype=np.float32)
    fits = [solve(X, Y, 3, width=1, num_epochs=1, seed=seed, work=work) for seed in range(12)]
    for net in (found.net for found in fits):
        assert np.isfinite([*net.layers[0].w.values, *net.output.w.values]).all()
    assert {mu for found in fits for mu in found.details["step_sizes"]} == {2, 1}


def test_a_fit_that_always_diverges_is_given_up(work):
    X, Y = data()
    Y[3, 1] = np.nan  # which fit itself refuses
    with pytest.raises(FloatingPointError, match="diverged"):
        fit_vector_layer(X.T, Y, 12, RandomGates(0, 0, 6, 5), Schedule(60, 2), work, fan_in=5, loss="squared")


# ---- whole fits ----


def test_output_weights_of_all_layers_but_the_last_are_thrown_away(work):
    X, Y = data(n=200)
    found = solve(X, Y, 60, width=8, num_layers=3, num_epochs=4, batch_size=50, seed=2, work=work)
    Z, inputs = X, np.arange(5)
    for number, layer in enumerate(found.net.layers):
        w, output, mu = fit_vector_layer(np.ascontiguousarray(Z.T), Y, 20, RandomGates(2, number, 8, len(inputs)),
                                         Schedule(200, 4, 50, 1, 2, number), work, fan_in=layer.d, loss="squared")
        W, V = w.toarray().reshape(8, -1), output.dense()
        assert W.any() and V.any() and len(w) + len(output) <= 20 and found.details["step_sizes"][number] == mu
        whole = np.zeros((8, layer.d), dtype=np.float32)
        whole[:, inputs] = W
        np.testing.assert_array_equal(layer.dense(), whole)
        inputs = np.flatnonzero(W.any(axis=1))
        Z = np.maximum(Z.astype(np.float64) @ W[inputs].T.astype(np.float64), 0).astype(np.float32)
    np.testing.assert_array_equal(found.net.output.dense(), V)
    assert_close(found.net.predict(X), Z.astype(np.float64) @ V[:, inputs].T.astype(np.float64))


# ---- memory ----


@pytest.mark.parametrize("block", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [0, 25])
def test_smaller_blocks_of_neurons_change_only_the_rounding(monkeypatch, work, block, batch_size):
    """All updates of a step are in the sketch before any estimate."""
    settings = {"m": 12, "mu": 0.05, "num_epochs": 6, "batch_size": batch_size}
    whole = layer(*data(), 20, work, **settings)
    monkeypatch.setattr(sensing, "NEURON_BLOCK", block)
    parts = layer(*data(), 20, work, **settings)
    np.testing.assert_array_equal(parts != 0, whole != 0)
    assert_close(parts, whole)


def test_the_bits_do_not_depend_on_whether_activations_fit_the_memory():
    X, Y = data(n=200_000, d=3, k=2)
    found = []
    for memory_budget in (16, 512):
        with Workspace(1, memory_budget) as work:
            found.append(layer(X, Y, 60, work, m=16, mu=0.005, num_epochs=4))
    live = np.count_nonzero(found[0][:, :3].any(axis=1))
    assert 2**23 < 4 * live * len(X) < 2**28  # of half of each budget
    assert found[0].tobytes() == found[1].tobytes()
