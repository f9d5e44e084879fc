"""gnhtp.py: each part against a slow dense computation in float64, and what a fit promises."""

import itertools
import tracemalloc

import gnhtp
import numpy as np
import pytest
import strict_array
from hypothesis import given, settings
from hypothesis import strategies as st

import aiht
from models import SparseLayer, SparseNet
from numerics.arrays import to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import ReluSensing, WeightGates
from tasks import planted_net


def sparse(dense):
    """The nonzeros of a dense array as a SparseVector."""
    flat = np.ravel(dense)
    indices = np.flatnonzero(flat)
    return SparseVector(indices, flat[indices].astype(np.float32), flat.size)


def random_weights(rng, m, d, density=0.4):
    return sparse(rng.standard_normal((m, d)) * (rng.random((m, d)) < density))


def targets(w, X):
    """sum_j relu(X w_j) [n] float64, by models.py."""
    d = X.shape[1]
    return SparseNet((SparseLayer(w, w.size // d, d),)).predict(X)


def dense_matrix(X, H):
    """A [n, m d] float64 of the gates H [m, d]."""
    X = X.astype(np.float64)
    return np.hstack([X * (X @ h > 0)[:, None] for h in H.astype(np.float64)])


def layer(X, y, work=None, xp=np):
    return gnhtp.Layer(xp.asarray(np.ascontiguousarray(X.T)), xp.asarray(y.astype(np.float32)), work or Workspace())


def columns_of(A, work, xp=np):
    """A matrix [n, p] as the operator's Columns: inputs of a neuron that is on everywhere."""
    XT = np.ascontiguousarray(np.hstack([np.ones((len(A), 1)), A]).T.astype(np.float32))
    gates = WeightGates(SparseVector(np.array([0]), np.ones(1, dtype=np.float32), len(XT)), len(XT))
    return ReluSensing(xp.asarray(XT), gates, 1, work).columns(xp.asarray(np.arange(1, len(XT))))


def planted(n=2000, d=12, m=3, s=10, seed=0, noise=0.0, num_layers=1):
    """Inputs, and targets of a planted network of that shape, with noise."""
    rng = np.random.default_rng(seed)
    X = np.asfortranarray(rng.standard_normal((n, d), dtype=np.float32))
    y = planted_net(d, m, 1, num_layers, s, seed).predict(X)
    return X, (y + noise * rng.standard_normal(n)).astype(np.float32)


@pytest.fixture
def short(monkeypatch):
    """Short cycles: a fit of 7 steps ends its first and tries the second."""
    monkeypatch.setattr(gnhtp, "PERIOD", 5)
    monkeypatch.setattr(gnhtp, "AIHT_STEPS", 10)


def fit(X, y, s, width, **changes):
    with Workspace(changes.pop("threads", 1)) as work:
        work.bytes = changes.pop("bytes", work.bytes)
        return gnhtp.fit(X, y, s, width=width, **{"realizable": True, "work": work} | changes)


def left_over(net, X, y):
    """|r|^2 / |y|^2."""
    return float(np.sum((net.predict(X) - y) ** 2) / np.sum(y.astype(np.float64) ** 2))


def same_bits(net, other):
    return all((a.w.indices.tobytes(), a.w.values.tobytes()) == (b.w.indices.tobytes(), b.w.values.tobytes())
               for a, b in zip(net.layers, other.layers, strict=True))


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


def by_cholesky(A_S, y, x):
    return gnhtp.cholesky(A_S, y)


def by_conjugate_gradients(A_S, y, x):
    return gnhtp.conjugate_gradients(A_S, y, x, 100)


SOLVERS = [by_cholesky, by_conjugate_gradients]


@pytest.mark.parametrize("solve", SOLVERS)
@pytest.mark.parametrize("n, p, spread", [(400, 1, 1), (400, 12, 1), (300, 40, 1), (500, 10, 10), (12, 12, 1)])
def test_least_squares_are_those_of_numpy(work, device, solve, n, p, spread):
    """Spread: of the lengths of the columns."""
    rng = np.random.default_rng(p)
    A = (rng.standard_normal((n, p)) * spread ** rng.uniform(-0.5, 0.5, p)).astype(np.float32)
    A += 9 * (n == p) * np.eye(n, p, dtype=np.float32)
    y, x = rng.standard_normal(n).astype(np.float32), rng.standard_normal(p).astype(np.float32)
    expected = np.linalg.lstsq(A.astype(np.float64), y.astype(np.float64), rcond=None)[0]
    for xp in (np, device):
        found = solve(columns_of(A, work, xp), xp.asarray(y), xp.asarray(x))  # the others start at x
        assert type(found) is np.ndarray and found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


SINGULAR = {
    "duplicate columns": lambda A: np.hstack([A, A[:, :3]]),
    "three times the same": lambda A: np.repeat(A[:, :2], 3, axis=1),
    "sums of others": lambda A: np.hstack([A, A @ np.ones((8, 2))]),
    "columns of zeros": lambda A: np.hstack([A, 0 * A]),
    "zeros alone": lambda A: 0 * A,
    "more columns than samples": lambda A: A[:5],
    "one sample": lambda A: A[:1],
    "few different samples": lambda A: np.repeat(A[:3], 70, axis=0),
    "no columns": lambda A: A[:, :0],
    "all but parallel": lambda A: np.hstack([A, A + 1e-6]),
    "a column that is hardly on": lambda A: A * np.array([1] * 7 + [1e-9]),
}


@pytest.mark.parametrize("solve", SOLVERS)
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
    found = gnhtp.conjugate_gradients(columns_of(A, work), y, x, steps)
    np.testing.assert_allclose(found, [1, -2, 3] if steps else x, atol=1e-5)


def test_conjugate_gradients_stop_short_where_they_are_told(work):
    """Each step lowers the residual, from wherever they start: k steps are no solve yet."""
    rng = np.random.default_rng(2)
    A = rng.standard_normal((200, 30)).astype(np.float32) @ np.triu(np.ones((30, 30), dtype=np.float32))
    y, x = rng.standard_normal(200).astype(np.float32), rng.standard_normal(30).astype(np.float32)
    left = [np.linalg.norm(A @ gnhtp.conjugate_gradients(columns_of(A, work), y, x, k) - y) for k in range(10)]
    assert all(after < before for before, after in zip(left, left[1:], strict=False))
    best = np.linalg.norm(A @ np.linalg.lstsq(A, y, rcond=None)[0] - y)
    assert left[-1] > best * 1.001


@pytest.mark.parametrize("smallest, ridge", [(1.0, 1e-6), (0.0, 1e-6), (-1e-8, 1e-6), (-3e-6, 1e-5), (-2e-3, 1e-2)])
def test_the_ridge_is_the_smallest_that_makes_a_matrix_definite(smallest, ridge):
    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    values = np.array([1.0, 1, 1, 1, 1, smallest])
    K = (Q * values) @ Q.T * 50
    added = gnhtp.positive_definite(K) - K
    np.testing.assert_allclose(added, ridge * np.trace(K) / 6 * np.eye(6), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_matrix_that_is_not_finite_is_an_error_and_no_endless_loop(value):
    with pytest.raises(FloatingPointError, match="not finite"):
        gnhtp.positive_definite(np.array([[1, value], [value, 1]]))


# ---- supports ----


def select_case(seed=0, n=150, d=5, m=6):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    H = rng.standard_normal((m, d), dtype=np.float32)
    w = random_weights(rng, m, d)
    return X, H, w, rng.standard_normal(n).astype(np.float32)


@pytest.mark.parametrize("block", [1, 4, 256])
@pytest.mark.parametrize("with_weights", [False, True])
def test_select_takes_the_largest_promises(work, device, monkeypatch, block, with_weights):
    """Whatever the blocks of neurons, and for coordinates with weights and without."""
    monkeypatch.setattr("sensing.NEURON_BLOCK", block)
    X, H, w, r = select_case()
    w = w if with_weights else SparseVector.zeros(w.size)
    A = dense_matrix(X, H)
    G, N = A.T @ r, np.linalg.norm(A, axis=0) + 1e-3 * np.sqrt(len(r))
    for xp, s in itertools.product((np, device), (1, 7, 29, 30, 99)):
        operator = ReluSensing(xp.asarray(np.ascontiguousarray(X.T)), WeightGates(sparse(H), 5), 6, work)
        found = gnhtp.select(operator, w, xp.asarray(r), s)
        assert len(found) == len(gnhtp.DARING) == 4
        for mu, S in zip((1, 0.25, 0.06, 0), found, strict=True):
            promise = np.abs(N * w.toarray() + mu * G / N)
            expected = sorted(sorted(range(30), key=lambda i: -promise[i])[:s])  # noqa: B023
            assert type(S) is np.ndarray and S.tolist() == [i for i in expected if promise[i] > 0]


@pytest.mark.filterwarnings("error")
def test_select_passes_over_what_is_always_off(work):
    """A column of zeros promises nothing, unless it has a weight; one that is on once hardly more."""
    rng = np.random.default_rng(4)
    X = np.abs(rng.standard_normal((400, 2), dtype=np.float32))
    X[1:, 1] = 0
    X[0, 1] = 1e-2
    H = np.array([[-1, 0], [1, 0]], dtype=np.float32)
    A = ReluSensing(np.ascontiguousarray(X.T), WeightGates(sparse(H), 2), 2, work)
    [bold, *_, timid] = gnhtp.select(A, SparseVector.zeros(4), np.ones(400, dtype=np.float32), 2)
    assert bold.tolist() == [2, 3] and timid.tolist() == []
    [top] = {S.tolist()[0] for S in gnhtp.select(A, SparseVector.zeros(4), np.ones(400, dtype=np.float32), 1)[:-1]}
    assert top == 2
    lone = SparseVector(np.array([0]), np.ones(1, dtype=np.float32), 4)
    assert [S.tolist() for S in gnhtp.select(A, lone, np.zeros(400, dtype=np.float32), 3)] == [[0]] * 4


def rise_without(A, y, i):
    """By how much |r|^2 rises when column i is taken from a least squares fit."""
    def left(A):
        return np.sum((A @ np.linalg.lstsq(A, y, rcond=None)[0] - y) ** 2)

    return left(np.delete(A, i, axis=1)) - left(A)


def reference_elimination(A, y, s):
    kept = list(range(A.shape[1]))
    while len(kept) > s:
        rises = [rise_without(A[:, kept], y, i) for i in range(len(kept))]
        least = sorted(range(len(kept)), key=lambda i: rises[i])[: max(1, (len(kept) - s) // 4)]
        kept = [column for i, column in enumerate(kept) if i not in least]
    return kept


def pool(seed, n=200, p=12):
    """Columns that can partly stand in for each other, and targets of a third of them with noise."""
    rng = np.random.default_rng(seed)
    A = (rng.standard_normal((n, p)) + rng.standard_normal((n, 1))).astype(np.float32)
    A[:, -2:] = A[:, :2] + 0.1 * rng.standard_normal((n, 2))
    return A, (A[:, ::3] @ rng.uniform(0.5, 2, len(range(0, p, 3))) + 0.3 * rng.standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_cost_of_a_column_is_the_rise_of_the_residual(work, seed):
    """x_i^2 / (K^-1)_ii; and the first to go is the one of least rise."""
    A, y = pool(seed)
    D = A.astype(np.float64)
    inverse = np.linalg.inv(D.T @ D)
    cost = (inverse @ D.T @ y) ** 2 / np.diag(inverse)
    rises = [rise_without(D, y, i) for i in range(12)]
    np.testing.assert_allclose(cost, rises, rtol=1e-6, atol=1e-6)
    left = gnhtp.eliminate(columns_of(A, work), y, 11)
    assert left.tolist() == np.delete(np.arange(12), np.argmin(rises)).tolist()


@pytest.mark.parametrize("p", [12, 25])
def test_elimination_is_that_of_refits(work, device, p):
    A, y = pool(1, p=p)
    for xp, s in itertools.product((np, device), (1, 4, 10)):
        left = gnhtp.eliminate(columns_of(A, work, xp), xp.asarray(y), s)
        assert left.tolist() == reference_elimination(A.astype(np.float64), y.astype(np.float64), s)


@pytest.mark.parametrize("seed", range(3))
def test_elimination_keeps_the_planted_columns(work, seed):
    """Among decoys that are parallel to them but for 2 % noise, small weights of which least squares do not see."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((300, 6))
    A = np.hstack([true, true + 0.02 * rng.standard_normal((300, 6)), rng.standard_normal((300, 20))])
    order = rng.permutation(32)
    y = (true @ [1, -1, 2, 0.3, -3, 0.1]).astype(np.float32)
    left = gnhtp.eliminate(columns_of(A[:, order], work), y, 6)
    assert sorted(order[left]) == list(range(6))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("s", [0, 2, 3, 9])
def test_elimination_of_a_singular_pool(work, s):
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 50, 1))
    A = np.hstack([a, a, b, 0 * a])
    left = gnhtp.eliminate(columns_of(A, work), (a + b)[:, 0].astype(np.float32), s)
    assert len(left) == min(s, 4) and (s != 2 or (2 in left and left[0] in (0, 1)))


def test_splits_are_the_single_weights_of_neurons_that_have_several():
    W = np.array([[0, 2, 0, -1], [0, 0, 3, 0], [0, 5, 0, 0.5], [0, 0, 0, 0], [-1e-6, 0, 1, 0]])
    assert gnhtp.splits(sparse(W), 4).tolist() == [[0, -1], [1, 1], [2, 1], [3, -1], [3, 1]]
    for W in (np.zeros((3, 4)), np.eye(4)):
        assert gnhtp.splits(sparse(W), 4).shape == (0, 2)


# ---- candidates ----


def candidates(slots=200, key=(3, 7, 0, 5)):
    """Candidate gates after 3 neurons and 2 singles, inputs d = 10."""
    W = np.zeros((3, 10))
    W[0, 2], W[1, [3, 8]], W[2, 9] = 1, [-2, 1], 0.5
    return gnhtp.CandidateGates(sparse(W), 10, np.array([[3, -1], [8, 1]]), slots, list(key)), W


def test_candidates_are_the_weights_then_unit_vectors_then_normal_draws():
    gates, W = candidates()
    H = gates.rows(np.arange(200))
    assert H.dtype == np.float32 and gates.neurons.tolist() == list(range(200))
    np.testing.assert_array_equal(H[:3], W.astype(np.float32))
    assert [np.flatnonzero(row).tolist() for row in H[3:5]] == [[3], [8]] and (H[3, 3], H[4, 8]) == (-1, 1)
    draws = H[5:]
    assert (draws != 0).all() and abs(draws.mean()) < 0.1 and abs(draws.std() - 1) < 0.1
    assert len(np.unique(draws)) > 0.99 * draws.size  # no block repeats another


def test_candidates_are_the_same_whichever_are_asked_for_together():
    gates, _ = candidates()
    H = gates.rows(np.arange(200))
    rng = np.random.default_rng(0)
    asked = [np.sort(rng.choice(200, count, replace=False)) for count in (1, 2, 5, 20, 100)]
    for neurons in [*asked, *([j] for j in range(70)), [2, 3], [2, 5], [4, 199], [0, 4], []]:
        neurons = np.array(neurons, dtype=np.int64)
        np.testing.assert_array_equal(gates.rows(neurons), H[neurons])


@pytest.mark.parametrize("key", [(3, 7, 0, 6), (3, 7, 1, 5), (4, 7, 0, 5)])
def test_candidates_are_drawn_anew_for_each_step_layer_and_seed(key):
    old, new = (candidates(key=k)[0].rows(np.arange(5, 200)) for k in ((3, 7, 0, 5), key))
    assert not np.isclose(old, new).any()
    np.testing.assert_array_equal(new, candidates(key=key)[0].rows(np.arange(5, 200)))


def test_candidates_of_an_empty_iterate():
    nothing = SparseVector.zeros(0)
    gates = gnhtp.CandidateGates(nothing, 4, np.zeros((0, 2), dtype=np.int64), 9, [0, 7, 0, 0])
    assert gates.rows(np.arange(9)).all() and gates.active == 0


@given(seed=st.integers(0, 10**6), m=st.integers(0, 6), d=st.integers(1, 5), count=st.integers(0, 12))
def test_single_inputs_are_drawn_without_those_that_are_there(seed, m, d, count):
    rng = np.random.default_rng(seed)
    w = random_weights(rng, m, d)
    parts = gnhtp.splits(w, d)
    found = gnhtp.draw_singles(w, d, parts, count, rng)
    W = w.toarray().reshape(m, d)
    lone = {(int(np.flatnonzero(row)[0]), int(np.sign(row).sum())) for row in W if np.count_nonzero(row) == 1}
    possible = {(k, sign) for k in np.flatnonzero(W.any(axis=0)) for sign in (-1, 1)} - lone - set(map(tuple, parts))
    drawn = set(map(tuple, found.tolist()))
    assert found.shape == (min(count, len(possible)), 2) and found.dtype == np.int64
    assert len(drawn) == len(found) and drawn <= possible


def test_every_single_input_has_its_turn():
    w = sparse(np.array([[0, 1, 0, 1], [0, 0, 2, 0], [0, 0, 0, 0]]))  # of +-e_1, +-e_2, +-e_3 all but e_2 are left
    draws = [gnhtp.draw_singles(w, 4, np.array([[1, -1]]), 2, np.random.default_rng(seed)) for seed in range(40)]
    seen = {tuple(single) for drawn in draws for single in drawn.tolist()}
    assert seen == {(1, 1), (2, -1), (3, -1), (3, 1)}
    np.testing.assert_array_equal(draws[0], gnhtp.draw_singles(w, 4, np.array([[1, -1]]), 2, np.random.default_rng(0)))


# ---- the iterate ----


def test_renumbered_neurons_are_the_same_in_the_same_order():
    W = np.zeros((900, 3))
    W[7, 1], W[300, [0, 2]], W[899, 2] = 1, [2, 3], -4
    w = gnhtp.renumber(sparse(W), 3, 5)
    assert w.size == 15 and gnhtp.num_active(w, 3) == 3
    np.testing.assert_array_equal(w.toarray().reshape(5, 3), [[0, 1, 0], [2, 0, 3], [0, 0, -4], [0] * 3, [0] * 3])
    nothing = gnhtp.renumber(SparseVector.zeros(9), 3, 2)
    assert len(nothing) == 0 and nothing.size == 6 and nothing.indices.dtype == np.int64


def test_parallel_neurons_are_added_up_where_the_first_of_them_is():
    near = np.array([1, 0.03, 0])  # a cosine of 0.99955 to e_0
    W = np.array([[0, 0, 2], [1, 0, 0], 3 * near, [-1, 0, 0], [0, 0, 0.5], [0, 1, 1]])
    merged = gnhtp.merge(sparse(W), 3, 0.999, 6)
    expected = [[0, 0, 2.5], [4, 0.09, 0], [0] * 3, [-1, 0, 0], [0] * 3, [0, 1, 1]]
    np.testing.assert_allclose(merged.toarray().reshape(6, 3), expected, rtol=1e-6)
    strict = gnhtp.merge(sparse(W), 3, gnhtp.SAME, 6).toarray().reshape(6, 3)
    np.testing.assert_allclose(strict, [[0, 0, 2.5], *W[1:4], [0] * 3, W[5]], rtol=1e-6)
    assert (np.diff(merged.indices) > 0).all() and merged.values.dtype == np.float32 and merged.size == 18


def test_a_neuron_is_merged_once():
    """Of a fan, in which only neighbours are parallel enough, the second joins the first and the fourth the third."""
    angles = 0.04 * np.arange(4)
    W = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    merged = gnhtp.merge(sparse(W), 2, 0.999, 4).toarray().reshape(4, 2)
    np.testing.assert_allclose(merged, [W[0] + W[1], [0, 0], W[2] + W[3], [0, 0]], rtol=1e-5)


@pytest.mark.parametrize("width, kept", [(1, [2]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_the_largest_neurons_are_kept(width, kept):
    W = np.array([[2.0, 0, 0], [0, 1, 0], [0, -3, 3], [0, 0, -1]])  # of equal ones the first
    merged = gnhtp.merge(sparse(W), 3, 0.999, width).toarray().reshape(4, 3)
    np.testing.assert_array_equal(merged, W * np.isin(np.arange(4), kept)[:, None])


@given(seed=st.integers(0, 10**6), m=st.integers(1, 5), d=st.integers(1, 4))
def test_merging_positive_multiples_changes_no_output(seed, m, d):
    rng = np.random.default_rng(seed)
    W, copies = random_weights(rng, m, d).toarray().reshape(m, d), rng.integers(0, 4, m)
    owner = rng.permutation(np.repeat(np.arange(m), copies))
    w = sparse(W[owner] * 2.0 ** rng.integers(-3, 4, len(owner))[:, None])
    X = rng.standard_normal((40, d), dtype=np.float32)
    merged = gnhtp.merge(w, d, gnhtp.SAME, len(owner))
    directions = {tuple(np.sign(row) * row**2 / np.sum(row**2)) for row in W[owner].astype(np.float64) if row.any()}
    assert gnhtp.num_active(merged, d) <= len(directions) and len(merged) <= len(w)
    np.testing.assert_allclose(targets(merged, X), targets(w, X), rtol=0, atol=1e-5 * (1 + len(owner)) * 30)


@pytest.mark.filterwarnings("error")
def test_merging_nothing_gives_nothing():
    assert len(gnhtp.merge(SparseVector.zeros(12), 4, 0.999, 3)) == 0


# ---- the true residual ----


@pytest.mark.parametrize("n", [1, 300, 5000])
def test_residual_and_losses_are_those_of_the_network(work, device, n):
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((n, 7), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    w = random_weights(rng, 20, 7)
    v = SparseVector(w.indices, rng.standard_normal(len(w)).astype(np.float32), w.size)
    moves = [0, 1, 0.5, 0.03125]
    between = [SparseVector(w.indices, w.values + np.float32(t) * (v.values - w.values), w.size) for t in moves]
    expected = [np.sum((y - targets(u, X)) ** 2) for u in between]
    for xp in (np, device):
        data = layer(X, y, work, xp)
        np.testing.assert_allclose(to_host(data.residual(w)), y - targets(w, X), atol=2e-5)
        np.testing.assert_allclose(data.losses(w, v, moves), expected, rtol=1e-4)
        nothing = SparseVector.zeros(14)
        assert data.losses(nothing, nothing, [0, 1]).tolist() == [data.energy] * 2
        assert data.energy == pytest.approx(np.sum(y.astype(np.float64) ** 2))
        np.testing.assert_array_equal(to_host(data.residual(nothing)), y)
        np.testing.assert_allclose(to_host(data.scale), np.sqrt(np.mean(X.astype(np.float64) ** 2, axis=0)), rtol=1e-5)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), d=st.integers(1, 5), m=st.integers(1, 5),
       steps=st.integers(1, 4), least_squares=st.sampled_from(["cholesky", "cg"]), positive=st.booleans())
def test_gauss_newton_never_raises_the_true_residual(seed, n, d, m, steps, least_squares, positive):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    data = layer(np.abs(X) if positive else X, y)
    w = random_weights(rng, m, d)
    before, copy = data.losses(w, w, [0])[0], w.values.copy()
    found = gnhtp.gauss_newton(data, w, steps, gnhtp.solver(data, least_squares, True))
    assert type(found.loss) is float and found.loss <= (before if len(w) else data.energy) * (1 + 1e-5)
    assert found.loss == pytest.approx(data.losses(found.w, found.w, [0])[0], rel=1e-4, abs=1e-6 * data.energy)
    assert set(found.w.indices) <= set(w.indices) and (found.w.values != 0).all()
    np.testing.assert_array_equal(w.values, copy)  # the input is untouched


@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
def test_gauss_newton_solves_where_the_gates_are_right(work, least_squares):
    X, _ = planted(300, 5)
    W = np.array([[1, -2, 0, 0, 0], [0, 0, 3, 0, 0], [0, 0, 0, 1, 1.0]])
    data = layer(X, targets(sparse(W), X), work)
    start = sparse(W * [[2], [0.5], [3]])  # the same gates
    found = gnhtp.gauss_newton(data, start, 1, gnhtp.solver(data, least_squares, True))
    np.testing.assert_allclose(found.w.toarray().reshape(3, 5), W, atol=1e-5)


@pytest.mark.parametrize("aim, share", [(1.0, 1), (2.5, 1 / 2), (5.0, 1 / 4), (40.0, 1 / 32), (100.0, 0)])
def test_gauss_newton_goes_as_far_as_the_residual_falls(work, aim, share):
    """One weight at 0.1, the best is 1; a solver that overshoots is followed a half, a quarter, ... of the way."""
    X = np.abs(np.random.default_rng(7).standard_normal((50, 1), dtype=np.float32))
    data = layer(X, X[:, 0], work)
    start = sparse(np.array([[0.1]]))
    found = gnhtp.gauss_newton(data, start, 1, lambda A, S, w: np.array([0.1 + aim], dtype=np.float32))
    assert found.w.values == pytest.approx(0.1 + share * aim, rel=1e-5)


# ---- the search ----


@pytest.mark.parametrize("cycle, widest", [(0, 1.5), (1, 1.3), (2, 1.3)])
def test_the_budget_comes_down_from_above(cycle, widest):
    c = [gnhtp.relaxation(cycle, phase, 18) for phase in range(18)]
    assert c[0] == widest and c[-3:] == [1, 1, 1] and min(c[:-3]) > 1
    assert np.allclose(np.diff(np.log(c[:16])), -np.log(widest) / 15)


@pytest.mark.parametrize("steps", range(1, 40))
def test_every_number_of_steps_ends_its_first_cycle_at_s(steps):
    period = min(gnhtp.PERIOD, steps)
    c = [gnhtp.relaxation(0, phase, period) for phase in range(period)]
    assert c[-3:] == [1] * min(period, 3) and all(1 <= a <= 1.5 for a in c) and sorted(c, reverse=True) == c


@pytest.mark.parametrize("now, losses, kick, chosen", [
    (2, [5, 3, 2, 9], False, 2), (2, [1.9, 1, 0], False, 0), (2, [5, 4, 6], False, 1), (2, [5, 4, 6], True, 0),
    (2, [5.1, 4, 1], True, 1), (2, [7, 6], True, 1), (2, [2, 1], True, 0), (8, [9, 7, 4], True, 1),
])
def test_an_outer_step_takes_the_first_proposal_that_will_do(work, monkeypatch, now, losses, kick, chosen):
    """Of |y|^2 = 100 no more than now is left, with a kick no more than 5 where that is more; or else the least."""
    proposed = [sparse(np.eye(4)[i : i + 1]) for i in range(len(losses))]
    monkeypatch.setattr(gnhtp, "proposals", lambda *_: iter(proposed))
    monkeypatch.setattr(gnhtp, "gauss_newton", lambda data, w, *_: gnhtp.State(w, losses[w.indices[0]]))
    data = layer(np.ones((10, 4)), np.ones(10), work)
    data.energy = 100.0
    now = gnhtp.State(sparse(np.eye(4)), now)
    found = gnhtp.outer_step(data, now, 4, 4, 0.999, False, kick, [0, 7, 0, 0], None)
    assert found.loss == losses[chosen] and found.w.indices.tolist() == [chosen]


@pytest.mark.parametrize("mend", [False, True])
def test_proposals_have_at_most_s_weights_and_end_with_those_that_are_there(work, mend):
    X, y = planted(400, 6, 3, 8, noise=0.1)
    data = layer(X, y, work)
    w = random_weights(np.random.default_rng(9), 3, 6)
    parts = gnhtp.splits(w, 6)
    gates = gnhtp.CandidateGates(w, 6, parts, 12, [0, 7, 0, 0])
    w = gnhtp.renumber(w, 6, 12)
    extra = (gates.active + np.arange(len(parts))) * 6 + parts[:, 0]
    found = list(gnhtp.proposals(data, data.sensing(gates, 12), w, 5, extra if mend else None,
                                 gnhtp.solver(data, "cholesky", True)))
    assert len(found) == 4 + 2 * mend and len(w) > 5
    assert all(len(v) == 5 and v.size == 72 and (np.diff(v.indices) > 0).all() for v in found)
    assert set(found[-1].indices) < set(w.indices) and set(found[-1].values) < set(w.values)
    if mend:
        assert set(found[1].indices) <= set(w.indices) | set(extra)


def test_a_neuron_that_stands_for_two_is_split(work):
    """Planted x_0 + x_1 and x_0 / 2, found 1.5 x_0 + x_1: the gate e_0 is among the splits of its weights."""
    X, _ = planted(2000, 6)
    data = layer(X, targets(sparse(np.array([[1, 1.0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0]])), X), work)
    w, solve = sparse(np.array([[1.5, 1, 0, 0, 0, 0]])), gnhtp.solver(data, "cholesky", True)
    parts = gnhtp.splits(w, 6)
    w, gates = gnhtp.renumber(w, 6, 3), gnhtp.CandidateGates(w, 6, parts, 3, [0, 7, 0, 0])
    bold, timid, *others = gnhtp.proposals(data, data.sensing(gates, 3), w, 3, np.array([6, 13]), solve)
    assert bold.indices.tolist() == timid.indices.tolist() == [0, 1, 6]  # of neurons w, e_0 and e_1
    for number, v in enumerate((bold, others[-1])):
        left = gnhtp.gauss_newton(data, v, 4, solve).loss / data.energy
        assert (left < 1e-10) == (number == 0)
    now = gnhtp.State(gnhtp.renumber(w, 6, 1), data.losses(w, w, [0])[0])
    mended = gnhtp.outer_step(data, now, 3, 3, gnhtp.SAME, True, False, [0, 7, 0, 0], solve)
    assert mended.loss < 1e-10 * data.energy


def scripted(monkeypatch, losses):
    """The steps of fit_layer (s = 10, m = 4) when they leave those shares of |y|^2; AIHT finds nothing better."""
    X, y = planted(50, 4)
    script, calls = iter(losses), []

    def outer_step(data, now, s, m, cosine, mend, kick, key, solve):
        calls.append((s, m, cosine, mend, kick, key))
        return gnhtp.State(sparse(np.eye(4)[:1]), next(script) * data.energy)

    monkeypatch.setattr(gnhtp, "outer_step", outer_step)
    monkeypatch.setattr(gnhtp, "aiht_answer", lambda *_: gnhtp.State(sparse(np.eye(4)[:1]), np.inf))
    with Workspace() as work:
        gnhtp.fit_layer(np.ascontiguousarray(X.T), y, 10, 4, seed=3, layer=1, steps=len(losses), realizable=True,
                        least_squares="cholesky", work=work)
    return calls


def test_the_schedule_of_two_cycles(monkeypatch):
    calls = scripted(monkeypatch, [0.5] * 36)
    budgets, widths, cosines, mends, kicks, keys = zip(*calls, strict=True)
    assert budgets[:3] == (15, 15, 15) and budgets[14:19] == (11, 10, 10, 10, 13) and budgets[33:] == (10, 10, 10)
    assert widths[:2] == (6, 6) and widths[15:18] == (4, 4, 4) and max(widths[18:]) == 6
    assert cosines == (0.999,) * 15 + (gnhtp.SAME,) * 21  # parallel neurons are far apart only while there is room
    assert mends == (False,) * 18 + (True,) * 18
    assert [step for step in range(36) if kicks[step]] == list(range(3, 36, 3))  # after two steps that gained nothing
    assert keys == tuple([3, gnhtp.CANDIDATE_STREAM, 1, step] for step in range(36))


@pytest.mark.parametrize("losses, kicks", [
    ([0.5, 0.494, 0.488, 0.483, 0.478, 0.473], []), ([0.5, 0.497, 0.494, 0.49], [3]),
    ([0.5, 0.6, 0.4, 0.4, 0.4, 0.4], [5]),
])
def test_a_kick_needs_two_steps_that_gain_less_than_a_hundredth(monkeypatch, losses, kicks):
    assert [step for step, call in enumerate(scripted(monkeypatch, losses)) if call[4]] == kicks


def test_a_fit_stops_where_it_is_exact(monkeypatch):
    monkeypatch.setattr(gnhtp, "answer", lambda data, now, *_: now)
    assert len(scripted(monkeypatch, [0.5, 1e-4, 2e-11, 0.9e-11, 1e-12, 0])) == 4


def test_an_almost_exact_fit_with_too_many_weights_is_rounded(work):
    """The weights that matter stay: by their size times that of their inputs."""
    X, _ = planted(500, 4)
    X = X * np.array([1, 1, 1e3, 1e-3], dtype=np.float32)
    W = np.array([[1, -1, 0, 0], [0, 0, 2e-3, 0.0]])
    data = layer(X, targets(sparse(W), X), work)
    solve = gnhtp.solver(data, "cholesky", True)
    spare = sparse(np.array([[0.5, -0.5, 0, 0], [0, 0, 2e-3, 6e-3], [0.5, -0.5, 0, 1e-2]]))
    now = gnhtp.State(spare, data.losses(spare, spare, [0])[0])
    assert now.loss < 1e-9 * data.energy
    rounded = gnhtp.answer(data, now, 3, 2, True, solve)
    np.testing.assert_allclose(rounded.w.toarray().reshape(3, 4), [*W, [0] * 4], atol=1e-5)
    assert rounded.loss < 1e-12 * data.energy
    assert gnhtp.answer(data, now, 3, 2, False, solve) is now
    assert gnhtp.answer(data, gnhtp.State(spare, 2e-9 * data.energy), 3, 2, True, solve).loss == np.inf


@pytest.mark.parametrize("least_squares, realizable, steps", [("cg", True, 100), ("cg", False, 10)])
def test_conjugate_gradients_start_from_the_weights_that_are_there(work, monkeypatch, least_squares, realizable, steps):
    X, y = planted(50, 4)
    starts = []
    monkeypatch.setattr(gnhtp, "conjugate_gradients", lambda A_S, y, x, count: starts.append((x, count)) or x)
    data, w = layer(X, y, work), sparse(np.array([[0, 2, 0, -3], [0, 0, 4, 0]]))
    A = data.sensing(WeightGates(w, 4), 2)
    gnhtp.solver(data, least_squares, realizable)(A, np.array([0, 1, 5, 6]), w)
    [(x, count)] = starts
    assert (x.tolist(), count) == ([0, 2, 0, 4], steps)


# ---- the search on targets that no sparse network made ----


@pytest.mark.parametrize("n", [3, 300, 5000])
def test_the_promise_of_single_inputs(work, device, n):
    rng = np.random.default_rng(8)
    X, r = rng.standard_normal((n, 5), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    X[:, 3] = -np.abs(X[:, 3])
    relus = np.maximum(np.hstack([X, -X]).astype(np.float64), 0)
    expected = relus.T @ r / (np.linalg.norm(relus, axis=0) + 1e-3 * np.sqrt(n))
    for xp in (np, device):
        found = to_host(layer(X, r, work, xp).single_promise(xp.asarray(r)))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found[3] == 0


def test_new_neurons_begin_where_a_positive_weight_would_gain_most(work):
    """relu(x_k) for targets that rise with it, relu(-x_k) for those that rise against; not what is there already."""
    X, _ = planted(4000, 5)
    y = 3 * np.maximum(X[:, 2], 0) + 2 * np.maximum(-X[:, 4], 0) - np.maximum(X[:, 0], 0) + np.maximum(X[:, 1], 0) / 2
    data = layer(X, y, work)
    nothing = SparseVector.zeros(0)
    assert gnhtp.best_singles(data, nothing, data.y, 2).tolist() == [[2, 1], [4, -1]]
    assert all(promise > 0 for promise in
               data.single_promise(data.y).reshape(2, 5)[[0, 1], [2, 4]])
    there = sparse(np.array([[0, 0, 5, 0, 0], [0, 0, 0, 0, -1], [0, 1, 1, 0, 0]]))
    rest = gnhtp.best_singles(data, there, data.y, 10).tolist()
    assert [2, 1] not in rest and [4, -1] not in rest and [1, 1] in rest and len(rest) <= 8
    assert gnhtp.best_singles(data, nothing, -np.abs(data.y), 10).shape == (0, 2)  # no positive weight would help
    assert gnhtp.best_singles(data, nothing, data.y, 0).shape == (0, 2)


@pytest.mark.parametrize("block", [1, 4, 256])
def test_newcomers_are_the_largest_gains_without_weights(work, device, monkeypatch, block):
    monkeypatch.setattr("sensing.NEURON_BLOCK", block)
    X, H, w, r = select_case()
    A = dense_matrix(X, H)
    gain = np.abs(A.T @ r) / (np.linalg.norm(A, axis=0) + 1e-3 * np.sqrt(len(r))) * (w.toarray() == 0)
    for xp, count in itertools.product((np, device), (1, 7, 99)):
        operator = ReluSensing(xp.asarray(np.ascontiguousarray(X.T)), WeightGates(sparse(H), 5), 6, work)
        found = gnhtp.newcomers(operator, w, xp.asarray(r), count)
        expected = sorted(sorted(range(30), key=lambda i: -gain[i])[:count])
        assert type(found) is np.ndarray and found.tolist() == [i for i in expected if gain[i] > 0]


@pytest.mark.parametrize("aim, share", [(1.0, 1), (1.9, 1 / 2), (4.0, 1 / 4), (40.0, 1 / 32)])
def test_a_solution_is_approached_as_far_as_is_best(work, aim, share):
    """One weight at 0, the best is 1; a neuron that has none yet gets the solution's gate."""
    X = np.abs(np.random.default_rng(7).standard_normal((50, 1), dtype=np.float32))
    data = layer(X, X[:, 0], work)
    solve = lambda A, S, w: np.array([aim], dtype=np.float32)  # noqa: E731
    found = gnhtp.toward(data, None, np.array([0]), SparseVector.zeros(1), solve)
    assert found.values == pytest.approx(share * aim, rel=1e-6) and found.indices.tolist() == [0]


def test_an_exchange_swaps_a_wrong_weight_for_the_right_one(work):
    X, _ = planted(3000, 6)
    data = layer(X, targets(sparse(np.array([[1, 2, 0, 0, 0, 0], [0, 0, 0, -1, 3, 0.0]])), X), work)
    solve = gnhtp.solver(data, "cholesky", True)
    wrong = sparse(np.array([[1, 2, 0.3, 0, 0, 0], [0, 0, 0, 0, 3, 0.0]]))
    found = gnhtp.exchange(data, wrong, 4, 2, 2, solve)
    assert found.w.indices.tolist() == [0, 1, 9, 10]
    assert gnhtp.gauss_newton(data, found.w, 5, solve).loss < 1e-10 * data.energy


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), d=st.integers(1, 5), m=st.integers(1, 5), s=st.integers(1, 12),
       count=st.integers(1, 8), least_squares=st.sampled_from(["cholesky", "cg"]))
def test_an_exchange_adds_half_of_what_it_tries_and_keeps_to_the_budget(seed, n, d, m, s, count, least_squares):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    data = layer(X, y)
    full = random_weights(rng, m, d)
    w = SparseVector(full.indices[:s], full.values[:s], full.size)
    found = gnhtp.exchange(data, w, s, m, count, gnhtp.solver(data, least_squares, False))
    assert len(found.w) <= min(s, len(w) + max(1, count // 2)) and gnhtp.num_active(found.w, d) <= m
    assert found.loss == pytest.approx(data.losses(found.w, found.w, [0])[0], rel=1e-4, abs=1e-6 * data.energy)


def test_exhaling_keeps_the_weights_that_others_cannot_replace(work):
    X, _ = planted(2000, 5)
    W = np.array([[1, 2, 0.1, 0, 0], [0, 0, 0, 2, -0.05]])
    data = layer(X, targets(sparse(W), X), work)
    found = gnhtp.exhale(data, sparse(W), 3, gnhtp.solver(data, "cholesky", True))
    assert found.w.indices.tolist() == [0, 1, 8]
    assert 0 < found.loss < 0.02 * data.energy
    nothing = gnhtp.exhale(data, sparse(W), 0, gnhtp.solver(data, "cholesky", True))
    assert len(nothing.w) == 0 and nothing.loss == data.energy


def scripted_breath(monkeypatch, losses, s=20, share=0.5, steps=18):
    """The exchanges of a breath from a half of |y|^2 = 1, when they would leave these shares of it."""
    script, tried = iter(losses), []

    def exchange(data, w, s, m, count, solve):
        tried.append(count)
        return gnhtp.State(w, next(script))

    data = layer(np.ones((4, 1)), np.full(4, 0.5))
    monkeypatch.setattr(gnhtp, "exhale", lambda data, w, s, solve: gnhtp.State(w, 0.5))
    monkeypatch.setattr(gnhtp, "exchange", exchange)
    now, taken = gnhtp.breath(data, gnhtp.State(sparse(np.eye(1)), 0.1), s, 3, share, steps, None)
    assert taken == len(tried)
    return now.loss, tried


@pytest.mark.parametrize("losses, left, tried", [
    ([0.4, 0.3, 0.3], 0.3, [2, 2, 2, 1]), ([0.6, 0.7], 0.5, [2, 1]), ([0.4, 0.4, 0.3, 0.2], 0.2, [2, 2, 1, 2, 2, 1]),
    ([0.4, 1e-12], 1e-12, [2, 2]), ([0.49999], 0.5, [2, 1]),
])
def test_exchanges_that_are_refused_are_halved(monkeypatch, losses, left, tried):
    assert scripted_breath(monkeypatch, [*losses, *[1.0] * 9]) == (left, tried)


def test_a_breath_ends_after_four_refusals_or_with_its_steps(monkeypatch):
    assert scripted_breath(monkeypatch, [1.0] * 9, s=800) == (0.5, [80, 40, 20, 10])
    assert scripted_breath(monkeypatch, np.linspace(0.4, 0.2, 30).tolist(), s=800, share=0.7, steps=5)[1] == [48] * 5
    assert scripted_breath(monkeypatch, [0.4, 0.4, 0.4, 0.3, 0.2], steps=4, s=100)[1] == [10, 10, 5, 2]


def scripted_breathing(monkeypatch, losses, steps, stand_in=1.0):
    """The (share, steps at most) of the breaths that leave these shares of |y|^2 = 1 and take 10 exchanges each."""
    script, calls = iter(losses), []

    def breath(data, now, s, m, share, most, solve):
        calls.append((share, most, now.loss))
        return gnhtp.State(now.w, next(script)), min(10, most)

    monkeypatch.setattr(gnhtp, "breath", breath)
    data = layer(np.ones((4, 1)), np.full(4, 0.5))
    best = gnhtp.breathe(data, 20, 3, steps, lambda: gnhtp.State(SparseVector.zeros(0), stand_in), None)
    return best.loss, calls


def test_breaths_start_from_the_best_until_three_are_in_vain(monkeypatch):
    best, calls = scripted_breathing(monkeypatch, [0.5, 0.6, 0.4, 0.5, 0.4, 0.3, 0.7, 0.3, 0.3], 200)
    assert best == 0.3 and len(calls) == 9  # the sixth was the last that found something
    assert [share for share, *_ in calls] == [0, 0.5, 0.7, 0.85, 0.5, 0.7, 0.85, 0.5, 0.7]
    assert [start for *_, start in calls] == [1, 0.5, 0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3]


def test_breaths_end_with_their_steps_or_an_exact_fit(monkeypatch):
    assert [most for _, most, _ in scripted_breathing(monkeypatch, np.linspace(0.9, 0.1, 9), 25)[1]] == [18, 15, 5]
    assert [most for _, most, _ in scripted_breathing(monkeypatch, [0.9], 7)[1]] == [7]
    assert len(scripted_breathing(monkeypatch, [0.9, 0.5, 1e-12, 0], 200)[1]) == 3
    assert len(scripted_breathing(monkeypatch, [1e-12], 200, stand_in=0)[1]) == 1


def test_aiht_competes_with_the_first_breath(monkeypatch):
    assert scripted_breathing(monkeypatch, [0.5, 0.6], 20, stand_in=0.2)[0] == 0.2
    assert scripted_breathing(monkeypatch, [0.5, 0.6], 20, stand_in=0.8)[1][1][2] == 0.5


@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
def test_breathing_beats_aiht_on_a_smooth_function(least_squares):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (400, 2))
    X = np.cos(points @ rng.normal(size=(2, 60)) * 3 + rng.uniform(0, 2 * np.pi, 60)).astype(np.float32)
    y = np.exp(-4 * np.sum(points**2, axis=1)).astype(np.float32)
    net = fit(X, y, 30, 5, realizable=False, least_squares=least_squares, num_epochs=108)
    check_weights(net, 30, 5, 60)
    with Workspace() as work:
        other = aiht.fit(X, y, 30, width=5, num_epochs=100, seed=0, work=work)
    assert left_over(net, X, y) < left_over(other, X, y) / 2


def test_later_cycles_of_annealing_end_with_a_breath(monkeypatch):
    """Of four: AIHT after the first; after the others a breath from the best, from whose end the next one begins."""
    X, y = planted(50, 4)
    breaths, starts = [], []

    def outer_step(data, now, *_, **__):
        starts.append(now.loss / data.energy)
        return gnhtp.State(sparse(np.eye(4)[:1]), 0.5 * data.energy)

    def breath(data, now, s, m, share, steps, solve):
        breaths.append((share, steps, now.loss / data.energy))
        return gnhtp.State(now.w, [0.6, 0.4, 0.7][len(breaths) - 1] * data.energy), steps

    monkeypatch.setattr(gnhtp, "outer_step", outer_step)
    monkeypatch.setattr(gnhtp, "breath", breath)
    monkeypatch.setattr(gnhtp, "gauss_newton", lambda data, w, *_: gnhtp.State(w, 0.0))
    monkeypatch.setattr(gnhtp, "aiht_answer", lambda *_: gnhtp.State(sparse(np.eye(4)[:1]), np.inf))
    with Workspace() as work:
        gnhtp.fit_layer(np.ascontiguousarray(X.T), y, 10, 4, seed=3, layer=1, steps=72, realizable=True,
                        least_squares="cholesky", work=work)
    assert [share for share, *_ in breaths] == [0.5, 0.7, 0.85] and {steps for _, steps, _ in breaths} == {18}
    assert [loss for *_, loss in breaths] == pytest.approx([0.5, 0.5, 0.4])
    assert [starts[18], starts[36], starts[54]] == pytest.approx([0.5, 0.6, 0.4])


# ---- whole fits ----

PLANTED = [  # n, d, m, s
    (2000, 20, 3, 12), (2000, 20, 1, 5), (3000, 20, 5, 20), (2000, 10, 2, 1), (3000, 30, 8, 30), (1000, 1, 1, 1),
    (1000, 3, 2, 6),
]


@pytest.mark.parametrize("n, d, m, s", PLANTED)
@pytest.mark.parametrize("least_squares", ["auto", "cg"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("error")
def test_planted_networks_are_recovered(n, d, m, s, least_squares, seed):
    X, y = planted(n, d, m, s, seed)
    net = fit(X, y, s, m, seed=seed, least_squares=least_squares)
    check_weights(net, s, m, d)
    assert 10 * np.log10(left_over(net, X, y) / n * np.sum(y**2.0) / np.max(np.abs(y)) ** 2) < -100  # PSNR over 100 dB


def test_recovered_weights_are_the_planted_ones():
    X, y = planted(2000, 20, 3, 12)
    true = planted_net(20, 3, 1, 1, 12, 0).layers[0].w.toarray().reshape(3, 20)
    found = fit(X, y, 12, 3).layers[0].w.toarray().reshape(3, 20)
    gaps = np.abs(found[:, None] - true).max(axis=2)
    assert sorted(gaps.argmin(axis=1)) == [0, 1, 2] and gaps.min(axis=1).max() < 1e-5


def test_more_neurons_and_weights_than_were_planted_do_no_harm():
    X, y = planted(2000, 12, 2, 6)
    for s, m in ((6, 50), (30, 2), (30, 50)):
        net = fit(X, y, s, m)
        check_weights(net, s, m, 12)
        assert left_over(net, X, y) < 1e-11


ODD = {  # X, y, s, m
    "more weights than there are": lambda X, y: (X, y, 500, 3),
    "more weights than samples": lambda X, y: (X[:7], y[:7], 30, 9),
    "one sample": lambda X, y: (X[:1], np.ones(1), 3, 2),
    "one input": lambda X, y: (X[:, :1], np.abs(X[:, 0]), 5, 4),
    "one of each": lambda X, y: (X[:, :1], np.maximum(X[:, 0], 0), 1, 1),
    "targets that are zero": lambda X, y: (X, 0 * y, 5, 3),
    "targets that are negative": lambda X, y: (X, -1 - np.abs(y), 5, 3),
    "negative targets on positive inputs": lambda X, y: (np.abs(X), -1 - np.abs(y), 5, 3),
    "inputs that are zero": lambda X, y: (0 * X, y, 5, 3),
    "an input that is zero": lambda X, y: (X * [0, 1, 1, 1, 1, 1], y, 5, 3),
    "inputs that are there twice": lambda X, y: (np.hstack([X, X]), y, 5, 3),
    "samples that are there often": lambda X, y: (np.repeat(X[:3], 30, axis=0), np.repeat(y[:3], 30), 5, 3),
    "pixels": lambda X, y: (np.abs(X) * 100, X[:, 0] < 0, 5, 3),
    "no structure": lambda X, y: (X, X[::-1, 0] + y[::-1], 8, 4),
}


@pytest.mark.parametrize("least_squares, realizable", [("cholesky", True), ("cg", True), ("cg", False)])
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("error")
def test_odd_data_are_fitted_within_the_budget(short, make, least_squares, realizable):
    """In a first cycle and some steps of the second; no worse than no weights at all, and nothing overflows."""
    X, y, s, m = make(*planted(90, 6, 3, 6))
    X, y = np.asarray(X, dtype=np.float32), np.asarray(y, dtype=np.float32)
    net = fit(X, y, s, m, least_squares=least_squares, realizable=realizable, num_epochs=7)
    check_weights(net, s, m, X.shape[1])
    assert np.sum((net.predict(X) - y) ** 2) <= np.sum(y.astype(np.float64) ** 2) * (1 + 1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**5), n=st.integers(1, 50), d=st.integers(1, 6), m=st.integers(1, 6), s=st.integers(2, 30),
       num_layers=st.integers(1, 2), steps=st.integers(1, 8), least_squares=st.sampled_from(["auto", "cg"]))
def test_the_budget_is_never_exceeded(seed, n, d, m, s, num_layers, steps, least_squares):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gnhtp, "PERIOD", 5)
        patch.setattr(gnhtp, "AIHT_STEPS", 3)
        net = fit(X, y, s, m, seed=seed, num_layers=num_layers, num_epochs=steps, least_squares=least_squares)
    check_weights(net, s, m, d)
    assert net.predict(X).shape == (n,) and left_over(net, X, y) <= 1 + 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 17, 18, 19])
def test_any_number_of_steps_will_do_and_is_no_worse_than_aiht(steps):
    """AIHT of the same seed stands in where the first cycle does worse; the step after may not lose that."""
    X, y = planted(200, 8, 4, 10, noise=0.5)
    net = fit(X, y, 10, 4, num_epochs=steps, seed=2)
    check_weights(net, 10, 4, 8)
    with Workspace() as work:
        other = aiht.fit(X, y, 10, width=4, num_epochs=gnhtp.AIHT_STEPS, seed=2, work=work)
    assert left_over(net, X, y) <= left_over(other, X, y) * (1 + 1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_aiht_takes_over_after_a_cycle_that_failed(monkeypatch, seed):
    """With outer steps that find nothing the answer is AIHT's, polished: it was not at its end."""
    X, y = planted(200, 8, 4, 10, noise=0.5)
    monkeypatch.setattr(gnhtp, "AIHT_STEPS", 8)
    monkeypatch.setattr(gnhtp, "outer_step", lambda data, now, *_, **__: gnhtp.State(now.w, data.energy))
    net = fit(X, y, 10, 4, num_epochs=5, seed=seed)
    with Workspace() as work:
        other = aiht.fit(X, y, 10, width=4, num_epochs=gnhtp.AIHT_STEPS, seed=seed, work=work)
    check_weights(net, 10, 4, 8)
    np.testing.assert_array_equal(net.layers[0].w.indices % 8, other.layers[0].w.indices % 8)
    assert left_over(net, X, y) < left_over(other, X, y) * (1 - 1e-4)


def test_a_second_cycle_is_no_worse_than_the_first():
    X, y = planted(200, 8, 4, 10, noise=0.5)
    left = [left_over(fit(X, y, 10, 4, num_epochs=steps), X, y) for steps in (18, 36)]
    assert left[1] <= left[0] * (1 + 1e-6)


@pytest.mark.parametrize("c", [2.0**-40, 2.0**-10, 2.0**10, 2.0**40])
@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
def test_the_scale_of_the_targets_is_that_of_the_weights(c, least_squares):
    """Bit for bit, where the first cycle succeeds: no threshold is absolute."""
    X, y = planted(1000, 12, 3, 10)
    one, other = (fit(X, scale * y, 10, 3, least_squares=least_squares) for scale in (np.float32(1), np.float32(c)))
    assert left_over(one, X, y) < 1e-11
    assert one.layers[0].w.indices.tolist() == other.layers[0].w.indices.tolist()
    np.testing.assert_array_equal(other.layers[0].w.values, np.float32(c) * one.layers[0].w.values)


@pytest.mark.parametrize("changes", [{}, {"least_squares": "cg"}, {"realizable": False}, {"num_layers": 2}])
def test_the_same_seed_gives_the_same_bits_on_any_threads_and_memory(short, changes):
    """With few bytes neither columns nor gates are held."""
    X, y = planted(900, 10, 4, 12, noise=0.2)
    nets = []
    for threads, global_seed, limit in ((1, 0, {}), (2, 1, {}), (4, 2, {"bytes": 0}), (1, 3, {"bytes": 0})):
        np.random.seed(global_seed)  # the global stream has no part in it
        nets.append(fit(X, y, 12, 4, num_epochs=7, seed=3, threads=threads, **limit, **changes))
    assert all(same_bits(nets[0], net) for net in nets[1:])
    assert not same_bits(nets[0], fit(X, y, 12, 4, num_epochs=7, seed=4, **changes))


def test_the_method_of_least_squares_depends_on_where_the_targets_come_from(monkeypatch):
    X, y = planted(300, 6, 2, 4)
    steps, cg = [], gnhtp.conjugate_gradients
    monkeypatch.setattr(gnhtp, "conjugate_gradients", lambda *args: steps.append(args[-1]) or cg(*args))
    for least_squares, realizable, expected in (("auto", True, set()), ("auto", False, {10}), ("cg", True, {100}),
                                                ("cg", False, {10}), ("cholesky", False, set())):
        fit(X, y, 4, 2, num_epochs=2, realizable=realizable, least_squares=least_squares)
        assert set(steps) == expected
        steps.clear()


# ---- deeper networks ----


def test_layers_are_fitted_one_after_the_other():
    """Each to y with its share of the budget, on the activations of those before it."""
    X, y = planted(600, 10, 4, 12, noise=0.2)
    net = fit(X, y, 13, 4, num_layers=2, num_epochs=6, seed=1)
    check_weights(net, 13, 4, 10)
    first = fit(X, y, 6, 4, num_epochs=6, seed=1)
    assert same_bits(SparseNet(net.layers[:1]), first)
    used = first.layers[0].neurons
    Z = first.layers[0].activations(np.ascontiguousarray(X.T), np.arange(10))
    with Workspace() as work:
        second = gnhtp.fit_layer(Z, y, 6, 4, seed=1, layer=1, steps=6, realizable=True, least_squares="cholesky",
                                 work=work)
    np.testing.assert_array_equal(net.layers[1].w.toarray().reshape(4, 4)[:, used],
                                  second.toarray().reshape(4, len(used)))
    assert left_over(net, X, y) < 1


@pytest.mark.parametrize("least_squares", ["cholesky", "cg"])
@pytest.mark.filterwarnings("error")
def test_a_layer_that_finds_nothing_leaves_nothing_to_the_next(least_squares):
    X, y = planted(100, 5)
    net = fit(X, -1 - np.abs(y), 8, 3, num_layers=3, num_epochs=4, least_squares=least_squares)
    assert [len(layer) for layer in net.layers] == [0, 0, 0] and not net.predict(X).any()


def test_the_first_of_two_planted_layers_is_no_obstacle():
    X, y = planted(1500, 8, 3, 12, seed=1, num_layers=2)
    assert y.any()
    net = fit(X, y, 40, 6, num_layers=2, num_epochs=6)
    check_weights(net, 40, 6, 8)
    assert left_over(net, X, y) < 0.2


# ---- memory, and a device ----


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
    """Gram matrices and vectors of some s entries come to the host, gates of some s neurons go to the device.

    The samples stay there: X and y have 90000 and 10000 entries here.
    """
    left, came, get, asarray = [], [], strict_array.ndarray.get, strict_array.asarray
    X, y = planted(10_000, 9, 3, 8, noise=0.2)
    X, y = asarray(X), asarray(y)
    monkeypatch.setattr(strict_array.ndarray, "get", lambda array: left.append(array.shape) or get(array))
    monkeypatch.setattr(strict_array, "asarray", lambda data, *args: came.append(data.shape) or asarray(data, *args))
    fit(X, y, 8, 3, num_epochs=7, least_squares=least_squares, realizable=realizable)
    pool = 3 * 12  # at most, of s~ <= 12: the boldest support, the timid one, and the splits of its weights
    vectors, matrices = ({shape for shape in left if len(shape) == ndim} for ndim in (1, 2))
    assert len(vectors | matrices | {()}) == len({*left, ()}) and max(vectors) <= (pool,)
    assert all(a == b <= pool for a, b in matrices)
    assert bool(matrices) == (least_squares == "cholesky" or not realizable)  # elimination has one
    assert max(np.prod(shape) for shape in came) <= (2 * 12 + 8 + pool) * 9
