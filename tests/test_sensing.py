"""sensing.py: every operator against a slow dense matrix, on NumPy and on a device; draws, ranks, tiles and threads."""

import sys

import numpy as np
import pytest
import strict_array
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from numerics.arrays import array_module, to_device, to_host
from numerics.sparse import SparseVector, largest
from numerics.workspace import Workspace, sample_tiles
from sensing import GaussianSensing, RandomGates, ReluSensing, WeightGates


def sparse(dense):
    """The nonzeros of a dense float32 vector as a SparseVector."""
    indices = np.flatnonzero(dense)
    return SparseVector(indices, dense[indices].astype(np.float32), len(dense))


def integers(rng, *shape):
    """float32 whole numbers from -2 to 2: their products and sums are exact, and many inner products are exactly 0."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def dense_relu(X, H):
    """A [n, m d] float64 by its definition, one entry of the gates after another."""
    X, H = X.astype(np.float64), H.astype(np.float64)
    A = np.zeros((len(X), H.size))
    for i, x in enumerate(X):
        for j, h in enumerate(H):
            if sum(x * h) > 0:
                A[i, j * len(x) : (j + 1) * len(x)] = x
    return A


def relu_case(kind, n=130, d=7, m=9, seed=0):
    """Inputs X [n, d], gates, and the dense A; WeightGates have neurons without weights and exactly orthogonal rows."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        X, gates = rng.standard_normal((n, d), dtype=np.float32), RandomGates(5, 0, m, d)
        return X, gates, dense_relu(X, gates.rows(np.arange(m)))
    X, W = integers(rng, n, d), integers(rng, m, d) * (rng.random((m, d)) < 0.4)
    W[::3] = W[-1] = 0
    return X, WeightGates(sparse(W.ravel()), d), dense_relu(X, W)


def gathered(A, r):
    """A' r [p] in float64 from the blocks, which must ascend."""
    full, last = np.zeros(A.shape[1]), -1
    for indices, entries in A.adjoint_blocks(r):
        indices = to_host(indices)
        assert indices[0] > last and (np.diff(indices) > 0).all()
        last = indices[-1]
        full[indices] = to_host(entries)
    return full


def assert_close(actual, expected, tolerance=1e-5):
    """Equal to the rounding of float32 products."""
    size = 1 + np.abs(expected).max(initial=0)
    np.testing.assert_allclose(to_host(actual), expected, rtol=0, atol=tolerance * size)


def check_operator(A, dense, xp=np):
    """All products of an operator on the arrays of xp against the dense matrix [n, p]."""
    n, p = dense.shape
    assert A.shape == (n, p)
    rng = np.random.default_rng(1)
    r = rng.standard_normal(n).astype(np.float32)
    r_device = xp.asarray(r)
    assert_close(gathered(A, r_device), dense.T @ r)
    for S in (np.flatnonzero(rng.random(p) < 0.3), np.arange(p), np.array([p - 1]), np.zeros(0, dtype=np.int64)):
        x, A_S = rng.standard_normal(len(S)), dense[:, S]
        columns, x_device = A.columns(xp.asarray(S)), xp.asarray(x)
        assert columns.shape == A_S.shape
        assert_close(columns.apply(x_device), A_S @ x)
        assert_close(columns.adjoint(r_device), A_S.T @ r)
        assert_close(columns.gram(x_device), A_S.T @ (A_S @ x))
        assert_close(columns.gram_matrix(), A_S.T @ A_S)
        assert_close(columns.norms(), np.linalg.norm(A_S, axis=0))
        products = columns.adjoint(r_device), columns.gram(x_device), columns.gram_matrix(), columns.norms()
        assert {product.dtype for product in products} == {np.dtype(np.float64)}


def check_adjoint(A, dense_size, seed=2):
    """<A_S x, r> = <x, A' r> on S."""
    n, p = dense_size
    rng = np.random.default_rng(seed)
    w, r = sparse(rng.standard_normal(p) * (rng.random(p) < 0.5)), rng.standard_normal(n).astype(np.float32)
    forward = A.columns(w.indices).apply(w.values).astype(np.float64) @ r
    backward = w.values.astype(np.float64) @ gathered(A, r)[w.indices]
    assert forward == pytest.approx(backward, rel=1e-5, abs=1e-3) and forward != 0
    assert w.values @ A.columns(w.indices).adjoint(r) == pytest.approx(backward, rel=1e-5, abs=1e-3)


# ---- the ReLU operator ----


@pytest.mark.parametrize("kind", ["random", "weights"])
@pytest.mark.parametrize("n, d, m", [(130, 7, 9), (900, 3, 70), (1, 4, 2), (50, 1, 5)])
def test_relu_operator_is_the_dense_matrix(work, kind, n, d, m):
    X, gates, dense = relu_case(kind, n, d, m)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, m, work)
    check_operator(A, dense)


@pytest.mark.parametrize("kind", ["random", "weights"])
def test_relu_adjoint(work, kind):
    X, gates, dense = relu_case(kind, n=700, d=6, m=8)
    check_adjoint(ReluSensing(np.ascontiguousarray(X.T), gates, 8, work), dense.shape)


@pytest.mark.parametrize("neurons", [[1], [1, 5], [2, 4], [1, 2, 4, 5, 7], [4, 5, 7], [0, 5], [8]])
def test_columns_of_some_neurons(work, neurons):
    """Of those with weights (1, 2, 4, 5, 7), in a row or not, and of those without."""
    X, gates, dense = relu_case("weights")
    assert list(gates.neurons) == [1, 2, 4, 5, 7]
    S = np.add.outer(np.array(neurons) * 7, np.array([0, 3])).ravel()
    columns, x = ReluSensing(np.ascontiguousarray(X.T), gates, 9, work).columns(S), np.arange(1.0, len(S) + 1)
    np.testing.assert_array_equal(columns.apply(x), dense[:, S] @ x)  # whole numbers are exact


def test_the_gate_is_closed_where_the_inner_product_is_zero(work):
    X = np.array([[0, 1], [1, 0], [-1, 5]], dtype=np.float32)
    gates = WeightGates(sparse(np.array([2.0, 0], dtype=np.float32)), 2)
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 1, work)
    assert A.columns(np.array([1])).apply(np.ones(1)).tolist() == [0, 0, 0]
    assert A.columns(np.array([0])).apply(np.ones(1)).tolist() == [0, 1, 0]


def test_relu_operator_on_a_device(device, work):
    for kind in ("random", "weights"):
        X, gates, dense = relu_case(kind, n=300)
        check_operator(ReluSensing(device.asarray(np.ascontiguousarray(X.T)), gates, 9, work), dense, device)


@pytest.mark.parametrize("kind", ["random", "weights"])
@pytest.mark.parametrize("block", [2, 256])
def test_correlations_are_adjoint_and_norms(device, work, monkeypatch, kind, block):
    """In one pass over the neurons that have gates, of which there may be several blocks."""
    monkeypatch.setattr("sensing.NEURON_BLOCK", block)
    X, gates, dense = relu_case(kind, n=300)
    r = np.random.default_rng(3).standard_normal(300).astype(np.float32)
    for xp in (np, device):
        A = ReluSensing(xp.asarray(np.ascontiguousarray(X.T)), gates, 9, work)
        found = [[to_host(part) for part in block] for block in A.correlations(xp.asarray(r))]
        indices, adjoint, norms = (np.concatenate(parts) for parts in zip(*found, strict=True))
        assert indices.tolist() == [j * 7 + k for j in gates.neurons for k in range(7)]
        assert_close(adjoint, dense.T[indices] @ r)
        assert_close(norms, np.linalg.norm(dense[:, indices], axis=0))
        assert adjoint.dtype == norms.dtype == np.float64
        if xp is np:
            assert len(found) == -(-len(gates.neurons) // block)


def test_weight_gates_leave_out_neurons_without_weights(work):
    X, gates, dense = relu_case("weights")
    A = ReluSensing(np.ascontiguousarray(X.T), gates, 9, work)
    visited = np.concatenate([indices for indices, _ in A.adjoint_blocks(np.ones(len(X), dtype=np.float32))]) // 7
    assert set(visited) == set(gates.neurons) and not {0, 3, 6, 8} & set(visited)


# ---- the Gaussian operator ----


@pytest.mark.parametrize("n, p", [(40, 150), (500, 64), (30, 3)])
def test_gaussian_operator_is_one_dense_matrix(work, n, p):
    A = GaussianSensing(3, n, p, work)
    dense = np.stack([A.columns(np.array([j])).apply(np.ones(1)) for j in range(p)], axis=1).astype(np.float64)
    check_operator(A, dense)
    check_adjoint(A, dense.shape)
    spread = 1 / np.sqrt(n * p)
    assert abs(dense.mean()) < 5 * spread and abs(dense.std() - 1) < 5 * spread
    assert len(np.unique(dense)) > 0.99 * n * p  # no block repeats another


def test_gaussian_operator_on_a_device(device, work):
    A = GaussianSensing(3, 40, 150, work)
    dense = np.stack([A.columns(np.array([j])).apply(np.ones(1)) for j in range(150)], axis=1).astype(np.float64)
    check_operator(GaussianSensing(3, 40, 150, work, device), dense, device)


def test_gaussian_columns_do_not_depend_on_the_length_of_the_signal(work):
    few, many = (GaussianSensing(1, 20, p, work).columns(np.array([2, 66])).apply(np.ones(2)) for p in (70, 500))
    np.testing.assert_array_equal(few, many)
    other = GaussianSensing(2, 20, 70, work).columns(np.array([2, 66])).apply(np.ones(2))
    assert not np.isclose(few, other).any()


# ---- gates ----


def test_random_gates_are_the_same_whichever_rows_are_drawn_and_when():
    m, d = 200, 6
    H = RandomGates(4, 1, m, d).rows(np.arange(m))
    gates = RandomGates(4, 1, m, d)
    rng = np.random.default_rng(0)
    for count in (1, 3, 40, m):
        neurons = np.sort(rng.choice(m, count, replace=False))
        np.testing.assert_array_equal(gates.rows(neurons), H[neurons])
    np.testing.assert_array_equal(gates.rows(np.arange(190, m)), H[190:])
    np.testing.assert_array_equal(gates.rows(np.arange(3)), H[:3])
    assert gates.rows(np.zeros(0, dtype=np.int64)).shape == (0, d)
    assert H.dtype == np.float32 and list(gates.neurons) == list(range(m))


def test_random_gates_of_a_wider_layer_begin_with_those_of_a_narrower_one():
    wide = RandomGates(4, 0, 1000, 5).rows(np.arange(150))
    for m in (1, 63, 64, 65, 150):
        np.testing.assert_array_equal(RandomGates(4, 0, m, 5).rows(np.arange(m)), wide[:m])


def test_random_gates_are_standard_normal_and_differ_by_seed_and_layer_and_block():
    draws = [RandomGates(seed, layer, 128, 50).rows(np.arange(128)) for seed, layer in [(0, 0), (0, 1), (1, 0)]]
    for H in draws:
        assert abs(H.mean()) < 0.06 and abs(H.std() - 1) < 0.05
        assert abs(np.corrcoef(H[:64].ravel(), H[64:].ravel())[0, 1]) < 0.1
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert abs(np.corrcoef(draws[a].ravel(), draws[b].ravel())[0, 1]) < 0.06


def test_weight_gates_are_the_rows_of_the_weights():
    W = np.zeros((6, 4), dtype=np.float32)
    W[1, 2], W[4, 0], W[4, 3] = 5, -1, 2
    gates = WeightGates(sparse(W.ravel()), 4)
    assert list(gates.neurons) == [1, 4]
    for neurons in ([1, 4], [4], [0, 1, 2, 5], []):
        np.testing.assert_array_equal(gates.rows(np.array(neurons, dtype=np.int64)), W[neurons])


# ---- ranks, sparse vectors, tiles ----


def by_sorting(values, s):
    """Positions of the s largest magnitudes; of equal ones the first."""
    return sorted(sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:s])


@given(
    values=st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-30, 3e38]), max_size=25),
    s=st.integers(1, 30),
)
def test_largest_is_a_stable_sort(values, s):
    values = np.array(values, dtype=np.float32)
    indices = np.arange(len(values)) * 3 + 1
    expected = by_sorting(values.tolist(), s)
    for xp in (np, strict_array):
        kept, entries = largest(xp.asarray(indices), xp.asarray(values), s)
        assert to_host(kept).tolist() == indices[expected].tolist()
        assert to_host(entries).tobytes() == values[expected].tobytes()
        again = largest(kept, entries, s)
        assert to_host(again[0]).tolist() == to_host(kept).tolist()  # idempotent


@given(values=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=60), s=st.integers(1, 60))
def test_largest_in_pieces_is_largest_of_the_whole(values, s):
    values = np.array(values, dtype=np.float32)
    kept, entries = np.zeros(0, dtype=np.int64), values[:0]
    for start in range(0, len(values), 7):
        piece = values[start : start + 7]
        places = np.arange(start, start + len(piece))
        kept, entries = largest(np.concatenate([kept, places]), np.concatenate([entries, piece]), s)
    assert kept.tolist() == by_sorting(values.tolist(), s)
    np.testing.assert_array_equal(entries, values[kept])


def test_sparse_vector(device):
    for xp in (np, device):
        w = SparseVector(xp.asarray(np.array([1, 4, 6])), xp.asarray(np.array([2, 0, -3], dtype=np.float32)), 8)
        assert len(w) == 3 and to_host(w.toarray()).tolist() == [0, 2, 0, 0, 0, 0, -3, 0]
        kept = w.nonzero().to_host()
        assert (kept.indices.tolist(), kept.values.tolist(), kept.size) == ([1, 6], [2, -3], 8)
        nothing = SparseVector.zeros(5, xp)
        assert len(nothing) == 0 and array_module(nothing.values) is xp
        assert to_host(nothing.toarray()).tolist() == [0] * 5


@pytest.mark.parametrize("xp", [np, strict_array])
@given(rows=st.integers(0, 100_000), n=st.integers(1, 300_000))
def test_tiles_cover_all_samples_once(xp, rows, n):
    tiles = sample_tiles(rows, n, xp)
    assert tiles[0].start == 0 and tiles[-1].stop == n
    assert all(a.stop == b.start for a, b in zip(tiles, tiles[1:], strict=False))
    assert all(tile.start < tile.stop for tile in tiles)


def test_array_modules(device):
    array = np.arange(3.0)
    moved = to_device(array, device.zeros(1))
    assert array_module(array) is np and array_module(moved) is device is sys.modules[device.__name__]
    assert to_host(array) is array and to_host(moved).tolist() == [0, 1, 2] and type(to_host(moved)) is np.ndarray


# ---- threads and memory ----


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"threads": -1}, {"memory_budget": Workspace.MIN_BUDGET - 1}])
def test_workspace_refuses(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        Workspace(**arguments)


@pytest.mark.parametrize("threads", [1, 3])
def test_workspace_maps_and_sums_in_order(threads):
    with Workspace(threads) as work:
        assert list(work.map(lambda i: i * i, range(40))) == [i * i for i in range(40)]
        assert list(work.map(str, [])) == []
        parts = [np.full(2, x, dtype=np.float32) for x in (1e8, 1.0, -1e8, 2.0**-20)]
        total = work.sum(lambda part: part, parts)
        assert total.dtype == np.float64 and total.tolist() == [1 + 2.0**-20] * 2
        assert parts[0].tolist() == [1e8, 1e8]  # the sum is not written into its first term
        with pytest.raises(ZeroDivisionError):
            list(work.map(lambda i: 1 / (3 - i), range(9)))
        assert list(work.map(abs, [-1])) == [1]  # and it goes on working


def test_a_sum_has_the_same_bits_on_any_number_of_threads():
    parts, totals = np.random.default_rng(0).standard_normal((45, 50)), []
    for threads in (1, 2, 3, 8, 20):
        with Workspace(threads) as work:
            totals.append(work.sum(lambda part: part, parts))
    assert len({total.tobytes() for total in totals}) == 1
    assert_close(totals[0], parts.sum(axis=0), 1e-14)


def test_workspace_keeps_blas_to_one_thread_and_gives_it_back():
    def blas():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    work = Workspace(2)
    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):  # it can be entered again
            assert set(blas()) == {2}
            with work:
                assert set(blas()) == {1}
                assert list(work.map(abs, [-1, 2])) == [1, 2]
        assert set(blas()) == {2}


def products(A, r, S, x):
    columns, relu = A.columns(S), isinstance(A, ReluSensing)
    return [gathered(A, r), columns.apply(x), columns.adjoint(r), columns.gram(x), columns.gram_matrix(),
            columns.norms(), *(np.concatenate(block) for block in (A.correlations(r) if relu else []))]


def operators(n, d, m, work):
    rng = np.random.default_rng(0)
    XT = rng.standard_normal((d, n), dtype=np.float32)
    w = SparseVector(np.arange(0, m * d, 5), rng.standard_normal(len(range(0, m * d, 5)), dtype=np.float32), m * d)
    yield from (ReluSensing(XT, gates, m, work) for gates in (RandomGates(0, 0, m, d), WeightGates(w, d)))
    yield GaussianSensing(0, n, m * d, work)


def products_with(threads, memory_budget, n, d, m, support):
    rng = np.random.default_rng(1)
    S = np.sort(rng.choice(m * d, support, replace=False))
    r, x = rng.standard_normal(n).astype(np.float32), rng.standard_normal(support)
    with Workspace(threads, memory_budget) as work:
        return [product for A in operators(n, d, m, work) for product in products(A, r, S, x)]


@pytest.mark.parametrize("memory_budget", [16, 512])
def test_the_bits_do_not_depend_on_the_threads(memory_budget):
    shape = {"n": 800, "d": 100, "m": 90, "support": 60}
    one, *others = [products_with(threads, memory_budget, **shape) for threads in (1, 2, 3, 64)]
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_the_bits_do_not_depend_on_the_memory_where_a_block_of_neurons_fits():
    shape = {"n": 110_000, "d": 2, "m": 40, "support": 40}  # at 16 MiB neither columns nor gates are held
    assert 4 * shape["n"] * shape["support"] > 2**23 and shape["n"] * shape["m"] > 2**22
    for a, b in zip(products_with(1, 16, **shape), products_with(1, 512, **shape), strict=True):
        assert a.tobytes() == b.tobytes()


def test_columns_keep_their_memory_as_long_as_they_live(work):
    X, gates, dense = relu_case("random")
    A, x = ReluSensing(np.ascontiguousarray(X.T), gates, 9, work), np.ones(10)
    first, second = A.columns(np.arange(10)), A.columns(np.arange(20, 30))
    before = first.apply(x)
    del second
    third, fourth = A.columns(np.arange(30, 40)), A.columns(np.arange(40, 50))  # one of them in the second's memory
    for columns, start in ((third, 30), (fourth, 40), (first, 0)):
        assert_close(columns.apply(x), dense[:, start : start + 10] @ x)
    del first, third
    A.columns(np.arange(50, 60)).apply(x)
    assert_close(before, dense[:, :10] @ x)  # nor does a product point into that memory


def test_smaller_blocks_of_neurons_change_only_the_rounding_and_the_budget_not_even_that(monkeypatch):
    rng = np.random.default_rng(0)
    n, d, m = 500, 2000, 70
    XT, r = rng.standard_normal((d, n), dtype=np.float32), rng.standard_normal(n).astype(np.float32)
    results = []
    for memory_budget, block in ((16, 256), (512, 256), (512, 16)):
        monkeypatch.setattr("sensing.NEURON_BLOCK", block)
        with Workspace(1, memory_budget) as work:
            results.append(gathered(ReluSensing(XT, RandomGates(0, 0, m, d), m, work), r))
    assert results[0].tobytes() == results[1].tobytes()
    assert_close(results[1], results[2])


# ---- the double of CuPy ----


def test_the_double_refuses_what_a_device_would():
    array, host = strict_array.arange(6), np.arange(6)
    slips = [lambda: np.asarray(array), lambda: np.abs(array), lambda: np.concatenate([array, array]),
             lambda: array + host, lambda: host + array, lambda: array[host], lambda: host[array],
             lambda: strict_array.minimum(array, host), lambda: strict_array.concatenate([array, host]),
             lambda: float(array), lambda: np.add.at(host, array, 1), lambda: array.dot(host),
             lambda: array.__setitem__(slice(2), host[:2]), lambda: host.__iadd__(array),
             lambda: strict_array.where(True, array, array), lambda: np.float32(1) + array + host]
    for number, slip in enumerate(slips):
        with pytest.raises(TypeError):
            pytest.fail(f"slip {number} gave {slip()!r}")


def test_the_double_counts_where_it_waits():
    array = strict_array.asarray(np.arange(6.0))
    before = strict_array.synchronisations
    total = np.float64(2) * (array * 2 + 1).sum() - array[2]
    assert total.ndim == 0 and type(total) is strict_array.ndarray and strict_array.synchronisations == before
    assert float(total) == 70 and strict_array.synchronisations == before + 1
    assert array[array > 3].tolist() == [4, 5] and strict_array.synchronisations == before + 3


@pytest.mark.parametrize("magnitude, s, kept", [
    ([3, 1, 2], 0, []), ([3, 1, 2], 1, [0]), ([3, 1, 2], 2, [0, 2]), ([3, 1, 2], 5, [0, 1, 2]), ([], 0, []),
    ([], 2, []), ([1, 2, 2, 2], 2, [1, 2]), ([0, 0], 1, [0]),
])
def test_rank_marks_the_largest_of_which_equal_ones_by_position(device, magnitude, s, kept):
    for xp in (np, device):
        mask = to_host(top_mask(xp.asarray(np.array(magnitude, dtype=np.float32)), s))
        assert mask.dtype == bool and np.flatnonzero(mask).tolist() == kept and len(mask) == len(magnitude)
