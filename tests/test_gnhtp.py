"""beyond/gnhtp: each part against a slow dense computation in float64, and what a whole fit guarantees."""

import itertools
import tracemalloc

import numpy as np
import pytest
import strict_array
from helpers import bits, dense_sensing, psnr, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import aiht
from beyond import gnhtp
from beyond.gnhtp import anneal, least_squares, regrow, supports
from beyond.gnhtp.fit import fit_layer
from beyond.gnhtp.layer import AIHT_STEPS, SAME, Layer, State, by_loss, gauss_newton, merge, num_active
from beyond.recovery import compare
from models import SparseLayer, SparseNet
from numerics.arrays import to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import ReluSensing, WeightGates
from tasks import planted_net

NOTHING = SparseVector.zeros(0)


def random_weights(rng, m, d, density=0.4):
    return sparse(rng.standard_normal((m, d)) * (rng.random((m, d)) < density))


def normal(seed, n, d):
    """Inputs X [n, d], and targets [n] that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal(n).astype(np.float32), rng


def targets(w, X):
    """sum_j relu(X w_j) [n] float64, by models.py."""
    d = X.shape[1]
    return SparseNet((SparseLayer(w, w.size // d, d),)).predict(X)


def problem(X, y, s=4, m=4, cg_steps=None, work=None, xp=np):
    return Layer(xp.asarray(np.ascontiguousarray(X.T)), xp.asarray(np.asarray(y, dtype=np.float32)), s, m, key=(0, 0),
                 cg_steps=cg_steps, work=work or Workspace())


def columns_of(A, work, xp=np):
    """A matrix [n, p] as the operator's Columns: inputs of a neuron that is on everywhere."""
    XT = np.ascontiguousarray(np.hstack([np.ones((len(A), 1)), A]).T.astype(np.float32))
    gates = WeightGates(SparseVector(np.array([0]), np.ones(1, dtype=np.float32), len(XT)), len(XT))
    return ReluSensing(xp.asarray(XT), gates, 1, work).columns(xp.asarray(np.arange(1, len(XT))))


def planted(n=2000, d=12, m=3, s=10, seed=0, noise=0.0):
    """Inputs, and targets of a planted network of that shape, with noise."""
    X, errors, _ = normal(seed, n, d)
    y = planted_net(d, m, 1, 1, s, seed).predict(X)
    return np.asfortranarray(X), (y + noise * errors).astype(np.float32)


@pytest.fixture
def short(monkeypatch):
    """Short cycles: a fit of 7 steps ends its first and tries the second."""
    monkeypatch.setattr(anneal, "PERIOD", 5)
    monkeypatch.setattr(regrow, "EXCHANGES", 5)
    monkeypatch.setattr(anneal, "EXCHANGES", 5)
    monkeypatch.setattr("beyond.gnhtp.layer.AIHT_STEPS", 10)


def fit(X, y, s, width, **changes):
    with Workspace(changes.pop("threads", 1)) as work:
        work.bytes = changes.pop("bytes", work.bytes)
        return gnhtp.fit(X, y, s, width=width, **{"realizable": True, "work": work} | changes)


def left_over(net, X, y):
    """|r|^2 / |y|^2."""
    return float(np.sum((net.predict(X) - y) ** 2) / np.sum(y.astype(np.float64) ** 2))


def check_weights(net, s, m, d):
    """At most s nonzeros, each in its place; nothing stored that is zero."""
    for number, found in enumerate(net.layers):
        w, fan_in = found.w, m if number else d
        assert (found.m, found.d, w.size) == (m, fan_in, m * fan_in)
        assert len(w) <= s // len(net.layers) and (w.values != 0).all() and np.isfinite(w.values).all()
        assert (np.diff(w.indices) > 0).all() and (len(w) == 0 or 0 <= w.indices[0] <= w.indices[-1] < w.size)
        assert type(w.values) is type(w.indices) is np.ndarray
        assert (w.values.dtype, w.indices.dtype) == (np.float32, np.int64)


# ---- least squares on a support ----


SOLVERS = {"cholesky": lambda A_S, y, x: least_squares.cholesky(A_S, y),
           "cg": lambda A_S, y, x: least_squares.conjugate_gradients(A_S, y, x, 100)}


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("n, p, spread", [(400, 1, 1), (400, 12, 1), (300, 40, 1), (500, 10, 10), (12, 12, 1)])
def test_least_squares_are_those_of_numpy(work, device, solve, n, p, spread):
    """Spread: of the lengths of the columns."""
    rng = np.random.default_rng(p)
    A = (rng.standard_normal((n, p)) * spread ** rng.uniform(-0.5, 0.5, p)).astype(np.float32)
    A += 9 * (n == p) * np.eye(n, p, dtype=np.float32)
    y, x = rng.standard_normal(n).astype(np.float32), rng.standard_normal(p).astype(np.float32)
    expected = np.linalg.lstsq(A.astype(np.float64), y.astype(np.float64), rcond=None)[0]
    for xp in (np, device):
        found = solve(columns_of(A, work, xp), xp.asarray(y), xp.asarray(x))  # conjugate gradients start at x
        assert type(found) is np.ndarray and found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


SINGULAR = {
    "duplicate columns": lambda A: np.hstack([A, A[:, :3]]),
    "columns of zeros": lambda A: np.hstack([A, 0 * A]),
    "zeros alone": lambda A: 0 * A,
    "more columns than samples": lambda A: A[:5],
    "no columns": lambda A: A[:, :0],
    "all but parallel": lambda A: np.hstack([A, A + 1e-6]),
    "a column that is hardly on": lambda A: A * np.array([1] * 7 + [1e-9]),
}


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("scale", [1, 2.0**-30, 2.0**30])
@pytest.mark.filterwarnings("error")
def test_a_singular_system_is_solved_all_the_same(work, solve, name, scale):
    rng = np.random.default_rng(0)
    A = SINGULAR[name](rng.standard_normal((210, 8))).astype(np.float32)
    y = scale * rng.standard_normal(len(A)).astype(np.float32)
    x = solve(columns_of(A, work), y, np.zeros(A.shape[1], dtype=np.float32))
    best = A @ np.linalg.lstsq(A.astype(np.float64), y.astype(np.float64), rcond=1e-4)[0]
    if "parallel" in name:  # the tiny differences of columns are a direction, too
        assert np.linalg.norm(A @ x - y) <= np.linalg.norm(best - y) + 0.01 * scale
        return
    assert np.abs(x).max(initial=0) < 10 * scale
    np.testing.assert_allclose(A @ x, best, rtol=0, atol=1e-5 * scale)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 30, 1000])
def test_conjugate_gradients_may_go_on_when_they_are_done(work, steps):
    """Directions become too short for single precision after a few steps here."""
    rng = np.random.default_rng(1)
    A = np.linalg.qr(rng.standard_normal((60, 3)))[0].astype(np.float32)
    y, x = (A @ [1, -2, 3]).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    found = least_squares.conjugate_gradients(columns_of(A, work), y, x, steps)
    np.testing.assert_allclose(found, [1, -2, 3] if steps else x, atol=1e-5)


@pytest.mark.parametrize("smallest, ridge", [(1.0, 1e-6), (0.0, 1e-6), (-1e-8, 1e-6), (-3e-6, 1e-5), (-2e-3, 1e-2)])
def test_the_ridge_is_the_smallest_that_makes_a_matrix_definite(smallest, ridge):
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    K = (Q * np.array([1.0, 1, 1, 1, 1, smallest])) @ Q.T * 50
    factor, b = least_squares.Factor(K), np.random.default_rng(4).standard_normal(6)
    expected = K + ridge * np.trace(K) / 6 * np.eye(6)
    assert factor.ridge == pytest.approx(ridge * np.trace(K) / 6)
    np.testing.assert_allclose(expected @ factor.solve(b), b, atol=1e-7)
    np.testing.assert_allclose(factor.inverse(), np.linalg.inv(expected), rtol=1e-6)
    with pytest.raises(FloatingPointError, match="not finite"):  # and no endless loop
        least_squares.Factor(K * np.inf)


# ---- supports and candidates ----


@pytest.mark.parametrize("block", [1, 4, 256])
@pytest.mark.parametrize("with_weights", [False, True])
def test_coordinates_are_selected_by_gain(work, device, monkeypatch, block, with_weights):
    """Whatever the blocks of neurons, by select for each step scale, and by newcomers among those without weights."""
    monkeypatch.setattr("sensing.NEURON_BLOCK", block)
    X, r, rng = normal(0, 150, 5)
    H = rng.standard_normal((6, 5), dtype=np.float32)
    w = random_weights(rng, 6, 5) if with_weights else SparseVector.zeros(30)
    A = dense_sensing(X, H)
    G, N = A.T @ r, np.linalg.norm(A, axis=0) + 1e-3 * np.sqrt(len(r))
    criteria = [N * w.toarray() + mu * G / N for mu in supports.STEP_SCALES] + [(w.toarray() == 0) * G / N]
    for xp, s in itertools.product((np, device), (1, 7, 29, 30, 99)):
        operator = ReluSensing(xp.asarray(np.ascontiguousarray(X.T)), WeightGates(sparse(H), 5), 6, work)
        found = [*supports.select(operator, w, xp.asarray(r), s), supports.newcomers(operator, w, xp.asarray(r), s)]
        for criterion, S in zip(criteria, found, strict=True):
            expected = np.sort(np.argsort(-np.abs(criterion), kind="stable")[:s])
            assert type(S) is np.ndarray and S.tolist() == expected[criterion[expected] != 0].tolist()


def reference_elimination(A, y, s):
    """By the rise of |r|^2 when least squares is solved again without a column; a quarter of the excess at a time."""

    def left_without(columns):
        return np.sum((A[:, columns] @ np.linalg.lstsq(A[:, columns], y, rcond=None)[0] - y) ** 2)

    kept = list(range(A.shape[1]))
    while len(kept) > s:
        rises = [left_without(np.delete(kept, i)) for i in range(len(kept))]
        kept = np.delete(kept, np.argsort(rises, kind="stable")[: max(1, (len(kept) - s) // 4)])
    return list(kept)


@pytest.mark.parametrize("p", [12, 25])
def test_elimination_is_that_of_refits(work, device, p):
    """Of columns that can partly stand in for each other, a third of which made the targets, with noise."""
    rng = np.random.default_rng(1)
    A = (rng.standard_normal((200, p)) + rng.standard_normal((200, 1))).astype(np.float32)
    A[:, -2:] = A[:, :2] + 0.1 * rng.standard_normal((200, 2))
    y = A[:, ::3] @ rng.uniform(0.5, 2, A[:, ::3].shape[1]) + 0.3 * rng.standard_normal(200)
    for xp, s in itertools.product((np, device), (1, 4, 10, p - 1)):
        left = supports.eliminate(columns_of(A, work, xp), xp.asarray(y.astype(np.float32)), s)
        assert left.tolist() == reference_elimination(A.astype(np.float64), y, s)


def candidates(key=(3, 0, 5)):
    """200 candidate gates, after 3 neurons and 2 single inputs, of inputs d = 10."""
    w = SparseVector(np.array([2, 13, 18, 29]), np.float32([1, -2, 1, 0.5]), 30)
    return supports.CandidateGates(w, 10, np.array([[3, -1], [8, 1]]), 200, key)


def test_candidates_are_the_weights_then_unit_vectors_then_normal_draws():
    H = candidates().rows(np.arange(200))
    expected = np.zeros((5, 10), dtype=np.float32)
    expected[[0, 1, 1, 2, 3, 4], [2, 3, 8, 9, 3, 8]] = [1, -2, 1, 0.5, -1, 1]
    np.testing.assert_array_equal(H[:5], expected)
    draws = [H[5:], *(candidates(key).rows(np.arange(5, 200)) for key in ((3, 0, 6), (3, 1, 5), (4, 0, 5)))]
    assert (draws[0] != 0).all() and abs(draws[0].mean()) < 0.1 and abs(draws[0].std() - 1) < 0.1
    assert len(np.unique(draws)) > 0.99 * 4 * draws[0].size  # no block, step, layer or seed repeats another
    for neurons in np.split(np.arange(200), [2, 3, 4, 6, 65, 190]):  # the same whichever are asked for together
        np.testing.assert_array_equal(candidates().rows(neurons), H[neurons])


@given(seed=st.integers(0, 10**6), m=st.integers(0, 6), d=st.integers(1, 5), count=st.integers(0, 12))
def test_single_inputs_are_splits_or_drawn_without_those_that_are_there(seed, m, d, count):
    w = random_weights(np.random.default_rng(seed), m, d)
    parts = supports.splits(w, d)
    found, again = (supports.draw_singles(w, d, parts, count, np.random.default_rng(seed)) for _ in range(2))
    rows = [[(int(k), int(np.sign(row[k]))) for k in np.flatnonzero(row)] for row in w.toarray().reshape(m, d)]
    lone, several = ({single for row in rows if (len(row) > 1) == many for single in row} for many in (False, True))
    assert parts.tolist() == sorted(map(list, several))
    possible = {(k, sign) for k, _ in lone | several for sign in (-1, 1)} - lone - several
    drawn = set(map(tuple, found.tolist()))
    assert found.shape == (min(count, len(possible)), 2) and found.dtype == np.int64
    assert len(drawn) == len(found) and drawn <= possible and found.tolist() == again.tolist()


@pytest.mark.parametrize("n", [3, 300, 5000])
def test_new_neurons_begin_where_a_positive_weight_would_gain_most(work, device, n):
    """relu(x_k) or relu(-x_k); not where a neuron has this one weight, nor where only a negative one would gain."""
    X, r, _ = normal(8, n, 5)
    X[:, 3] = -np.abs(X[:, 3])
    relus = np.maximum(np.hstack([X, -X]).astype(np.float64), 0)
    gains = relus.T @ r / (np.linalg.norm(relus, axis=0) + 1e-3 * np.sqrt(n))
    there = sparse([[0, 0, 5, 0, 0], [0, 0, 0, 0, -1], [0, 1, 1, 0, 0]])  # +e_2 and -e_4 alone
    others = np.where(np.isin(np.arange(10), [2, 9]), 0, gains)
    for xp, w, expected in itertools.product((np, device), (NOTHING, there), (gains, others)):
        layer = problem(X, r, work=work, xp=xp)
        np.testing.assert_allclose(to_host(layer.single_gains(layer.y)), gains, rtol=1e-4, atol=1e-4)
        if (w is there) == (expected is others):
            best = [[i % 5, 1 - 2 * (i // 5)] for i in np.argsort(-expected) if expected[i] > 0]
            for count in (0, 2, 10):
                assert supports.best_singles(layer, w, layer.y, count).tolist() == best[:count]


# ---- the iterate and its residual ----


NONE, FAN = np.zeros(3), np.stack([np.cos(0.04 * np.arange(4)), np.sin(0.04 * np.arange(4)), np.zeros(4)], axis=1)
PAIRS = np.array([[0, 0, 2], [1, 0, 0], [3, 0.09, 0], [-1, 0, 0], [0, 0, 0.5], [0, 1, 1]])  # a cosine of 0.99955


@pytest.mark.parametrize("W, cosine, width, expected", [
    (PAIRS, 0.999, 6, [[0, 0, 2.5], [4, 0.09, 0], NONE, [-1, 0, 0], NONE, [0, 1, 1]]),
    (PAIRS, SAME, 6, [[0, 0, 2.5], *PAIRS[1:4], NONE, [0, 1, 1]]),
    (PAIRS, 0.999, 2, [[0, 0, 2.5], [4, 0.09, 0], *[NONE] * 4]),
    (PAIRS[[3, 1]], 0.999, 1, [[-1, 0, 0], NONE]),  # of equally long ones the first
    (FAN, 0.999, 4, [FAN[0] + FAN[1], NONE, FAN[2] + FAN[3], NONE]),  # a neuron is merged once, though FAN[2] is near
])
def test_parallel_neurons_are_added_up_and_the_longest_are_kept(W, cosine, width, expected):
    merged = merge(sparse(W), 3, cosine, width)
    np.testing.assert_allclose(merged.toarray().reshape(-1, 3), expected, rtol=1e-5)
    assert (np.diff(merged.indices) > 0).all() and merged.values.dtype == np.float32 and merged.size == W.size


@pytest.mark.parametrize("n", [1, 300, 5000])
def test_residual_and_losses_are_those_of_the_network(work, device, n):
    X, y, rng = normal(6, n, 7)
    w = random_weights(rng, 20, 7)
    v = SparseVector(w.indices, rng.standard_normal(len(w)).astype(np.float32), w.size)
    moves = [0, 1, 0.5, 0.03125]
    between = [SparseVector(w.indices, w.values + np.float32(t) * (v.values - w.values), w.size) for t in moves]
    expected = [np.sum((y - targets(u, X)) ** 2) for u in between]
    for xp in (np, device):
        layer = problem(X, y, work=work, xp=xp)
        np.testing.assert_allclose(to_host(layer.residual(w)), y - targets(w, X), atol=2e-5)
        np.testing.assert_allclose(layer.losses(w, v, moves), expected, rtol=1e-4)
        nothing = SparseVector.zeros(14)
        assert layer.losses(nothing, nothing, [0, 1]).tolist() == [layer.energy] * 2
        assert layer.energy == pytest.approx(np.sum(y.astype(np.float64) ** 2))
        np.testing.assert_array_equal(to_host(layer.residual(nothing)), y)
        np.testing.assert_allclose(to_host(layer.scale), np.sqrt(np.mean(X.astype(np.float64) ** 2, axis=0)), rtol=1e-5)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), d=st.integers(1, 5), m=st.integers(1, 5),
       steps=st.integers(1, 4), cg_steps=st.sampled_from([None, 100]), positive=st.booleans())
def test_gauss_newton_never_raises_the_true_residual(seed, n, d, m, steps, cg_steps, positive):
    X, y, rng = normal(seed, n, d)
    layer = problem(np.abs(X) if positive else X, y, cg_steps=cg_steps)
    w = random_weights(rng, m, d)
    before, copy = layer.loss(w), w.values.copy()
    found = gauss_newton(layer, w, steps)
    assert type(found.loss) is float and found.loss <= (before if len(w) else layer.energy) * (1 + 1e-5)
    assert found.loss == pytest.approx(layer.loss(found.w), rel=1e-4, abs=1e-6 * layer.energy)
    assert set(found.w.indices) <= set(w.indices) and (found.w.values != 0).all()
    np.testing.assert_array_equal(w.values, copy)  # the input is untouched


@pytest.mark.parametrize("aim, newton, damped", [
    (0.9, 1, 1), (1.9, 1, 1 / 2), (2.5, 1 / 2, 1 / 2), (5.0, 1 / 4, 1 / 4), (40.0, 1 / 32, 1 / 32), (100.0, 0, 1 / 32)])
def test_the_way_to_a_solution_is_taken_as_far_as_the_residual_falls(work, aim, newton, damped):
    """One weight at 0.1, the best is 1.1, a solver that overshoots: Gauss-Newton takes the first share that helps, the
    other, for a neuron that may have no weights yet, the best one."""
    X = np.abs(normal(7, 50, 1)[0])
    layer, start = problem(X, 1.1 * X[:, 0], cg_steps=0, work=work), sparse([0.1])
    assert layer.solve(layer.sensing_at(start), start.indices, start) == pytest.approx(0.1)  # no steps from there
    layer.solve = lambda A, S, w: np.array([0.1 + aim], dtype=np.float32)
    assert gauss_newton(layer, start, 1).w.values == pytest.approx(0.1 + newton * aim, rel=1e-5)
    found = regrow.damped_solution(layer, None, np.array([0]), start)
    assert found.values == pytest.approx(0.1 + damped * aim, rel=1e-5) and found.indices.tolist() == [0]


# ---- annealing: targets that a sparse network made ----


def test_the_schedule_of_two_cycles():
    layer = problem(np.ones((9, 4)), np.ones(9), 10, 4)
    s, m, cosines, split, _, keys = zip(*(anneal.schedule(layer, step, 18, False) for step in range(36)), strict=True)
    assert s[:3] == (15, 15, 15) and s[14:19] == (11, 10, 10, 10, 13) and s[33:] == (10, 10, 10)
    assert m[:2] == (6, 6) and m[15:18] == (4, 4, 4) and max(m[18:]) == 6
    assert cosines == (0.999,) * 15 + (SAME,) * 21  # parallel neurons are far apart only while there is room
    assert split == (False,) * 18 + (True,) * 18 and len(set(keys)) == 36
    for steps in range(1, 20):  # of a short first cycle, too, the last are at s
        c = [anneal.relaxation(0, phase, steps) for phase in range(steps)]
        assert c[-3:] == [1] * min(steps, 3) and all(1 <= a <= 1.5 for a in c) and sorted(c, reverse=True) == c


@pytest.mark.parametrize("split", [False, True])
def test_an_outer_step_takes_the_first_trial_that_will_do(work, split):
    """One that leaves no more than now, with a kick no more than 0.05 |y|^2 if that is more; or else the best."""
    X, y = planted(400, 6, 3, 8, noise=0.02)
    layer = problem(X, y, 8, 3, work=work)
    start = gauss_newton(layer, random_weights(np.random.default_rng(9), 3, 6), 2).w
    for key, kick in itertools.product(range(6), (False, True)):
        step = anneal.Step(8, 3, SAME, split, kick, (0, 0, key))
        trials = [trial.loss for trial in anneal.trials(layer, State(start, np.inf), step)]
        assert len(trials) == 4 + 2 * split  # the last one without new coordinates
        assert trials[-1] == pytest.approx(gauss_newton(layer, start, 2).loss)
        for now in (0.0, *trials, np.inf):
            most = max(now, 0.05 * layer.energy) if kick else now
            expected = next((loss for loss in trials if loss <= most), min(trials))
            assert anneal.outer_step(layer, State(start, now), step).loss == expected


def test_a_neuron_that_stands_for_two_is_split(work):
    """Planted x_0 + x_1 and x_0 / 2, found 1.5 x_0 + x_1: the gate e_0 is among the splits of its weights."""
    X, _ = planted(2000, 6)
    layer = problem(X, targets(sparse([[1, 1.0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0]]), X), work=work)
    w = sparse([[1.5, 1, 0, 0, 0, 0]])
    now, step = State(w, layer.loss(w)), anneal.Step(3, 3, SAME, True, False, (0, 0, 0))
    assert anneal.outer_step(layer, now, step).loss < 1e-10 * layer.energy
    assert anneal.outer_step(layer, now, step._replace(split=False)).loss > 1e-10 * layer.energy


def test_an_almost_exact_fit_with_too_many_weights_is_rounded(work):
    """The weights that matter stay: by their size times that of their inputs."""
    X, _ = planted(500, 4)
    X = X * np.array([1, 1, 1e3, 1e-3], dtype=np.float32)
    W = np.array([[1, -1, 0, 0], [0, 0, 2e-3, 0.0]])
    layer = problem(X, targets(sparse(W), X), 3, 2, work=work)
    spare = sparse(np.array([[0.5, -0.5, 0, 0], [0, 0, 2e-3, 6e-3], [0.5, -0.5, 0, 1e-2]]))
    now, wide = State(spare, layer.loss(spare)), anneal.Step(4, 3, SAME, False, False, ())
    assert now.loss < 1e-9 * layer.energy
    rounded = anneal.answer(layer, now, wide)
    np.testing.assert_allclose(rounded.w.toarray().reshape(3, 4), [*W, [0] * 4], atol=1e-5)
    assert rounded.loss < 1e-12 * layer.energy
    assert anneal.answer(layer, now, wide._replace(s=3)) is now
    assert anneal.answer(layer, State(spare, 2e-9 * layer.energy), wide).loss == np.inf


def spy(monkeypatch, module, name):
    """A list to which every call of a function adds (arguments, result)."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append((args, function(*args))) or calls[-1][1])
    return calls


def test_cycles_of_annealing(monkeypatch, short, work):
    """AIHT competes after the first cycle; others end with a regrowth of the best, from which the next begins.

    A kick follows on two steps in a row that lower |r|^2 by less than a hundredth.
    """
    layer = problem(*planted(300, 8, 4, 10, noise=0.5), 10, 4, work=work)
    steps, regrown, others = (spy(monkeypatch, anneal, name) for name in ("outer_step", "regrow", "aiht_answer"))
    best = anneal.anneal(layer, 25)
    [(_, other)], ends = others, [end for _, end in steps]
    answers = [end for (_, _, step), end in steps if step.s == 10] + [other] + [state for _, (state, _) in regrown]
    ends[4], ends[9::5] = min([*ends[2:5], other], key=by_loss), [state for _, (state, _) in regrown]
    assert len(ends) == 25 and all(args[1] is end for (args, _), end in zip(steps[1:], ends, strict=False))
    assert best is min(answers, key=by_loss) and [args[2] for args, _ in regrown] == [0.5, 0.7, 0.85, 0.5]
    for number, (args, _) in enumerate(regrown):
        tried = [end for (_, _, step), end in steps[: 5 * number + 10] if step.s == 10]
        assert args[1] is min([*tried, other, *(state for _, (state, _) in regrown[:number])], key=by_loss)
    stuck = 0
    for (_, now, step), end in steps:
        assert step.kick == (stuck >= 2)
        stuck = 0 if step.kick or end.loss <= 0.99 * now.loss else stuck + 1
    assert any(step.kick for (_, _, step), _ in steps)


# ---- regrowing: targets that no sparse network made ----


def test_an_exchange_swaps_a_wrong_weight_for_the_right_one(work):
    X, _ = planted(3000, 6)
    layer = problem(X, targets(sparse([[1, 2, 0, 0, 0, 0], [0, 0, 0, -1, 3, 0.0]]), X), 4, 2, work=work)
    found = regrow.exchange(layer, sparse([[1, 2, 0.3, 0, 0, 0], [0, 0, 0, 0, 3, 0.0]]), 2)
    assert found.w.indices.tolist() == [0, 1, 9, 10]
    assert gauss_newton(layer, found.w, 5).loss < 1e-10 * layer.energy


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), d=st.integers(1, 5), m=st.integers(1, 5), s=st.integers(1, 12),
       count=st.integers(1, 8), cg_steps=st.sampled_from([None, 10]))
def test_an_exchange_adds_half_of_what_it_tries_and_keeps_to_the_budget(seed, n, d, m, s, count, cg_steps):
    X, y, rng = normal(seed, n, d)
    layer, full = problem(X, y, s, m, cg_steps), random_weights(rng, m, d)
    w = SparseVector(full.indices[:s], full.values[:s], full.size)
    found = regrow.exchange(layer, w, count)
    assert len(found.w) <= min(s, len(w) + max(1, count // 2)) and num_active(found.w, d) <= m
    assert found.loss == pytest.approx(layer.loss(found.w), rel=1e-4, abs=1e-6 * layer.energy)


def smooth(n=400, d=60):
    """Cosine features of points in a square, and a bump there: what no sparse network made."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (n, 2))
    X = np.cos(points @ rng.normal(size=(2, d)) * 3 + rng.uniform(0, 2 * np.pi, d)).astype(np.float32)
    return X, np.exp(-4 * np.sum(points**2, axis=1)).astype(np.float32)


@pytest.mark.parametrize("share, most", [(0.0, 18), (0.5, 18), (0.85, 4)])
def test_exchanges_that_are_refused_are_tried_again_with_half_as_many(monkeypatch, work, share, most):
    layer, full = problem(*smooth(), 60, 5, 10, work), random_weights(np.random.default_rng(0), 5, 60)
    calls = spy(monkeypatch, regrow, "exchange")
    end, tried = regrow.regrow(layer, State(full, layer.loss(full)), share, most)
    [(_, w, count), _] = calls[0]
    assert 0 < tried == len(calls) <= most and len(w) <= share * 60 and count == max(2, int(12 * (1 - share)))
    largest, refused, now = count, 0, State(w, layer.loss(w))
    for (_, w, asked), found in calls:
        assert asked == count and w is now.w and refused < 4
        taken = found.loss < now.loss * (1 - 1e-4)
        now, count, refused = (found, min(2 * count, largest), 0) if taken else (now, count // 2, refused + 1)
    assert end.w is now.w and (tried == most or refused == 4 or count == 0)


@pytest.mark.parametrize("steps", [7, 25, 200])
def test_supports_are_regrown_from_the_best_until_three_cycles_are_in_vain(monkeypatch, short, work, steps):
    calls, others = (spy(monkeypatch, regrow, name) for name in ("regrow", "aiht_answer"))
    layer = problem(*smooth(100, 12), 8, 3, 10, work)
    found = regrow.grow_from_below(layer, steps)
    [(_, other)], left, ends = others, steps, []
    for number, ((_, start, share, most), (end, tried)) in enumerate(calls):
        assert most == min(left, 5) and share == ([0.5, 0.7, 0.85][number % 3 - 1] if number else 0)
        assert not ends or start is min(ends, key=by_loss)
        ends, left = ends + [end] + [other] * (not number), left - tried
    assert found is min(ends, key=by_loss) and (left == 0 or all(end is not found for end in ends[-3:]))
    assert layer.loss(fit_layer(layer, 0, False)) < other.loss  # without exchanges it is AIHT's answer, polished


@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
def test_regrowing_beats_aiht_on_a_smooth_function(least_squares):
    X, y = smooth()
    net = fit(X, y, 30, 5, realizable=False, least_squares=least_squares, num_epochs=108)
    check_weights(net, 30, 5, 60)
    other = aiht.fit(X, y, 30, width=5, num_epochs=100, seed=0)
    assert left_over(net, X, y) < left_over(other, X, y) / 2


# ---- whole fits ----


@pytest.mark.parametrize("n, d, m, s", [(2000, 20, 3, 12), (2000, 20, 1, 5), (3000, 20, 5, 20), (2000, 10, 2, 1),
                                        (3000, 30, 8, 30), (1000, 1, 1, 1), (1000, 3, 2, 6)])
@pytest.mark.parametrize("least_squares", ["auto", "cg"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("error")
def test_planted_networks_are_recovered(n, d, m, s, least_squares, seed):
    X, y = planted(n, d, m, s, seed)
    net = fit(X, y, s, m, seed=seed, least_squares=least_squares)
    check_weights(net, s, m, d)
    assert psnr(net.predict(X), y) > 100


@pytest.mark.parametrize("s, m", [(12, 3), (12, 50), (30, 3), (30, 50)])
def test_recovered_weights_are_the_planted_ones(s, m):
    """Room for more neurons and weights than were planted does no harm."""
    X, y = planted(2000, 20, 3, 12)
    net = fit(X, y, s, m)
    check_weights(net, s, m, 20)
    found = compare(net, planted_net(20, 3, 1, 1, 12, 0))
    assert found["support_recall"] == 1 and found["weight_error"] < 1e-6


ODD = {  # X, y, s, m
    "more weights than there are": lambda X, y: (X, y, 500, 3),
    "one input": lambda X, y: (X[:, :1], np.abs(X[:, 0]), 5, 4),
    "targets that are zero": lambda X, y: (X, 0 * y, 5, 3),
    "targets that are negative": lambda X, y: (X, -1 - np.abs(y), 5, 3),
    "inputs that are zero": lambda X, y: (0 * X, y, 5, 3),
    "inputs that are there twice": lambda X, y: (np.hstack([X, X]), y, 5, 3),
    "samples that are there often": lambda X, y: (np.repeat(X[:3], 30, axis=0), np.repeat(y[:3], 30), 5, 3),
    "pixels": lambda X, y: (np.abs(X) * 100, X[:, 0] < 0, 5, 3),
}


@pytest.mark.parametrize("least_squares, realizable", [("cholesky", True), ("cg", True), ("cg", False)])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("error")
def test_odd_data_are_fitted_within_the_budget(short, make, num_layers, least_squares, realizable):
    """In a first cycle and some steps of the second; no worse than no weights at all, and nothing overflows."""
    X, y, s, m = make(*planted(90, 6, 3, 6))
    X, y = np.asarray(X, dtype=np.float32), np.asarray(y, dtype=np.float32)
    net = fit(X, y, s, m, num_layers=num_layers, least_squares=least_squares, realizable=realizable, num_epochs=7)
    check_weights(net, s, m, X.shape[1])
    assert np.sum((net.predict(X) - y) ** 2) <= np.sum(y.astype(np.float64) ** 2) * (1 + 1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**5), n=st.integers(1, 50), d=st.integers(1, 6), m=st.integers(1, 6), s=st.integers(2, 30),
       num_layers=st.integers(1, 2), steps=st.integers(1, 8), least_squares=st.sampled_from(["auto", "cg"]))
def test_the_budget_is_never_exceeded(seed, n, d, m, s, num_layers, steps, least_squares):
    X, y, _ = normal(seed, n, d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anneal, "PERIOD", 5)
        patch.setattr("beyond.gnhtp.layer.AIHT_STEPS", 3)
        net = fit(X, y, s, m, seed=seed, num_layers=num_layers, num_epochs=steps, least_squares=least_squares)
    check_weights(net, s, m, d)
    assert net.predict(X).shape == (n,) and left_over(net, X, y) <= 1 + 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 17, 18, 19])
def test_any_number_of_steps_will_do_and_is_no_worse_than_aiht(steps):
    """AIHT of the same seed takes over where the first cycle does worse; the step after may not lose that."""
    X, y = planted(200, 8, 4, 10, noise=0.5)
    net = fit(X, y, 10, 4, num_epochs=steps, seed=2)
    check_weights(net, 10, 4, 8)
    other = aiht.fit(X, y, 10, width=4, num_epochs=AIHT_STEPS, seed=2)
    assert left_over(net, X, y) <= left_over(other, X, y) * (1 + 1e-5)


@pytest.mark.parametrize("c", [2.0**-40, 2.0**-10, 2.0**10, 2.0**40])
@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
def test_the_scale_of_the_targets_is_that_of_the_weights(c, least_squares):
    """Bit for bit, where the first cycle succeeds: no threshold is absolute."""
    X, y = planted(1000, 12, 3, 10)
    one, other = (fit(X, scale * y, 10, 3, least_squares=least_squares) for scale in (np.float32(1), np.float32(c)))
    assert left_over(one, X, y) < 1e-11
    assert one.layers[0].w.indices.tolist() == other.layers[0].w.indices.tolist()
    np.testing.assert_array_equal(other.layers[0].w.values, np.float32(c) * one.layers[0].w.values)


@pytest.mark.parametrize("changes, auto", [({}, "cholesky"), ({"num_layers": 2}, "cholesky"),
                                           ({"realizable": False}, "cg"), ({"least_squares": "cg"}, "cg")])
def test_the_same_seed_gives_the_same_bits_on_any_threads_and_memory(short, changes, auto):
    """With few bytes neither columns nor gates are held; without a workspace the fit has one of its own."""
    X, y = planted(900, 10, 4, 12, noise=0.2)
    one = bits(gnhtp.fit(X, y, 12, width=4, num_epochs=7, seed=3, **{"realizable": True} | changes))
    for threads, global_seed, limit in ((1, 0, {}), (2, 1, {}), (4, 2, {"bytes": 0}), (1, 3, {"bytes": 0})):
        np.random.seed(global_seed)  # the global stream has no part in it
        other = {"threads": threads, "least_squares": auto} | limit | changes
        assert bits(fit(X, y, 12, 4, num_epochs=7, seed=3, **other)) == one
    assert bits(fit(X, y, 12, 4, num_epochs=7, seed=4, **changes)) != one


@pytest.mark.parametrize("X, y, changes, message", [
    (np.diag([1, 1, np.nan]), np.ones(3), {}, "X is not finite: sample 2, input 2 is nan"),
    (np.eye(3), np.array([1, np.inf, 1]), {}, "y is not finite: sample 1 is inf"),
    (np.eye(3), np.ones((3, 2)), {}, r"gnhtp fits one output: .* \(3, 2\)"),
    (np.eye(3), np.ones(3), {"least_squares": "qr"}, "'qr'; it can be auto, cholesky, cg"),
])
def test_what_cannot_be_fitted_is_refused(X, y, changes, message):
    with pytest.raises(ValueError, match=message):
        gnhtp.fit(X.astype(np.float32), y.astype(np.float32), 5, width=2, **changes)


def test_layers_are_fitted_one_after_the_other(work):
    """Each to y with its share of the budget, on the activations of those before it."""
    X, y = planted(600, 10, 4, 12, noise=0.2)
    net, first = fit(X, y, 13, 4, num_layers=2, num_epochs=6, seed=1), fit(X, y, 6, 4, num_epochs=6, seed=1)
    check_weights(net, 13, 4, 10)
    assert bits(net)[:1] == bits(first) and left_over(net, X, y) < 1
    Z = first.layers[0].activations(np.ascontiguousarray(X.T), np.arange(10))
    second = fit_layer(Layer(Z, y, 6, 4, key=(1, 1), cg_steps=None, work=work), 6, True).toarray().reshape(4, -1)
    np.testing.assert_array_equal(net.layers[1].w.toarray().reshape(4, 4)[:, first.layers[0].neurons], second)


def test_memory_does_not_grow_with_the_width():
    """The last step is AIHT's, whose random gates are drawn block by block."""
    X, y = planted(50, 50, 2, 5, noise=0.1)
    fit(X, y, 5, 10, num_epochs=4)  # what is allocated once
    peaks = []
    for m in (1000, 50_000):  # the wider W would take 10 MB
        tracemalloc.start()
        net = fit(X, y, 5, m, num_epochs=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        check_weights(net, 5, m, 50)
    assert peaks[1] < peaks[0] + 2**20 < 6 * 2**20


@pytest.mark.parametrize("changes", [{}, {"least_squares": "cg"}, {"realizable": False}, {"num_layers": 2}])
def test_a_fit_on_a_device_is_that_of_numpy(device, short, changes):
    X, y = planted(500, 9, 3, 10, noise=0.2)
    expected = fit(X, y, 10, 3, num_epochs=7, seed=5, **changes)
    net = fit(device.asarray(X), device.asarray(y), 10, 3, num_epochs=7, seed=5, **changes)
    check_weights(net, 10, 3, 9)
    assert left_over(net, X, y) == pytest.approx(left_over(expected, X, y), rel=1e-2)


@pytest.mark.parametrize("least_squares, realizable", [("cholesky", True), ("cg", True), ("cg", False)])
def test_only_small_arrays_leave_a_device(monkeypatch, short, least_squares, realizable):
    """Vectors and Gram matrices of some s entries come to the host, gates of some s neurons go to the device.

    The samples stay there: X and y have 90000 and 10000 entries here.
    """
    left, came, get, asarray = [], [], strict_array.ndarray.get, strict_array.asarray
    X, y = map(asarray, planted(10_000, 9, 3, 8, noise=0.2))
    monkeypatch.setattr(strict_array.ndarray, "get", lambda array: left.append(array.shape) or get(array))
    monkeypatch.setattr(strict_array, "asarray", lambda data, *args: came.append(data.shape) or asarray(data, *args))
    fit(X, y, 8, 3, num_epochs=7, least_squares=least_squares, realizable=realizable)
    pool = 3 * 12  # at most, of s~ <= 12: the largest and the smallest support, and the splits of its weights
    assert max(max(shape, default=1) for shape in left) <= pool
    assert max(map(len, left)) == 1 + (least_squares == "cholesky" or not realizable)  # elimination has a Gram matrix
    assert max(np.prod(shape) for shape in came) <= (2 * 12 + 8 + pool) * 9
