"""numerics/: arrays, sparse vectors and the hard threshold, tiles, threads; and the double of CuPy that tests use."""

import itertools

import numpy as np
import pytest
import strict_array
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from fits import fit_data
from numerics.arrays import to_host
from numerics.batches import with_samples
from numerics.products import Positive, each_product, sparse_matrix, times_transposed
from numerics.sparse import Largest, SparseVector, top_mask
from numerics.workspace import Workspace

# ---- arrays ----


@pytest.mark.parametrize("X, y, message", [
    (np.zeros((4, 8)), np.zeros(4), None),
    (np.full((1, 2), 3e38), np.full(1, -3e38), None),  # large, but finite
    (np.zeros((4, 0)), np.zeros(4), r"X .* with n, d >= 1, but its shape is \(4, 0\)"),
    ({(3, 7): np.nan}, np.zeros(4), "X is not finite: sample 3, input 7 is nan"),
    ({(1, 2): np.inf, (2, 0): np.nan}, np.zeros(4), "X is not finite: sample 1, input 2 is inf"),
    (np.zeros((4, 8)), np.float32([0, 1, -np.inf, 0]), "y is not finite: sample 2 is -inf"),
    (np.zeros((4, 8)), np.float32([[0, 1]] * 3 + [[0, np.nan]]), "y is not finite: sample 3, output 1 is nan"),
    (np.zeros(4), np.zeros(4), r"X .* its shape is \(4,\)"),
    (np.zeros((0, 8)), np.zeros(0), r"X .* with n, d >= 1, but its shape is \(0, 8\)"),
    (np.zeros((4, 8)), np.zeros(3), r"y .* with n = 4 as in X, but its shape is \(3,\)"),
    (np.zeros((4, 8)), np.zeros((4, 1, 1)), r"y .* its shape is \(4, 1, 1\)"),
])
def test_data_must_be_finite_and_of_the_right_shapes(device, X, y, message):
    if isinstance(X, dict):
        places, X = X, np.zeros((4, 8))
        for place, value in places.items():
            X[place] = value
    for xp in (np, device):
        arrays = xp.asarray(X.astype(np.float32)), xp.asarray(y.astype(np.float32))
        if message is None:
            fit_data(*arrays)
            continue
        with pytest.raises(ValueError, match=f"{message}$"):
            fit_data(*arrays)


# ---- sparse vectors and the hard threshold ----


def test_sparse_vector():
    w = SparseVector(np.array([1, 4, 6]), np.float32([2, 0, -3]), 8)
    assert len(w) == 3 and w.toarray().tolist() == [0, 2, 0, 0, 0, 0, -3, 0]
    assert w.at(np.array([0, 1, 5, 6])).tolist() == [0, 2, 0, -3]
    assert [part.tolist() for part in w.stored_at(np.array([0, 1, 5, 6]))] == [[1, 3], [2, -3]]
    assert w.rows(np.array([0, 3]), 2).tolist() == [[0, 2], [-3, 0]]
    kept = w.nonzero()
    assert (kept.indices.tolist(), kept.values.tolist(), kept.size) == ([1, 6], [2, -3], 8)
    others = [SparseVector(np.array(places), w.values, 8) for places in ([1, 4, 6], [1, 4, 7])]
    assert [w.is_on_support_of(other) for other in (*others, w.nonzero())] == [True, False, False]
    nothing = SparseVector.zeros(5)
    assert len(nothing) == 0 and nothing.toarray().tolist() == [0] * 5 == nothing.at(np.arange(5)).tolist()


def by_sorting(values, s):
    """Positions of the s largest magnitudes; of equal ones the first."""
    return sorted(sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:s])


@given(values=st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-30, 3e38]), max_size=25),
       s=st.integers(0, 30))
def test_largest_is_a_stable_sort(values, s):
    values = np.array(values, dtype=np.float32)
    indices = np.arange(len(values)) * 3 + 1
    expected = by_sorting(values.tolist(), s)
    mask = top_mask(np.abs(values), s)
    assert mask.dtype == bool and np.flatnonzero(mask).tolist() == expected and len(mask) == len(values)
    for some in ([], [0], [0, 1], range(len(values))):
        top = Largest(s)
        top.add(indices, values, np.array([*some], dtype=int)[: len(values)])
        assert top.indices.tolist() == indices[expected].tolist()
    for xp, cuts in itertools.product((np, strict_array), ([], [7], [3, 3, 11])):
        top = Largest(s)
        for part, entries in zip(np.split(indices, cuts), np.split(values, cuts), strict=True):
            top.add(part, xp.asarray(entries))
        assert top.indices.tolist() == indices[expected].tolist()
        assert top.values.tobytes() == values[expected].tobytes()


# ---- mini-batches ----


@pytest.mark.parametrize("sizes", [[5, 5, 5, 2], [17], [1] * 17])
@pytest.mark.parametrize("most_bytes", [0, 4 * 8 * 5 * 2, 2**20])
def test_batches_are_the_samples_that_the_schedule_names(device, work, sizes, most_bytes):
    """Whatever is gathered at once: one batch, two of five samples, or an epoch."""
    rng, schedule = np.random.default_rng(0), [(0, slice(None), False)]
    X, Y = rng.standard_normal((5, 17), dtype=np.float32), rng.standard_normal((3, 17), dtype=np.float32)
    for epoch in (1, 2):
        schedule += [(epoch, part, epoch > 1) for part in np.split(rng.permutation(17), np.cumsum(sizes)[:-1])]
    work.bytes = 4 * most_bytes
    for xp, targets in ((np, Y), (np, Y[0]), (device, Y)):
        XT, YT = xp.asarray(X), xp.asarray(targets)
        found = 0
        for (epoch, batch, update), step in zip(schedule, with_samples(schedule, XT, YT, work), strict=True):
            assert (step[0], step[3]) == (epoch, update)
            assert epoch or (step[1] is XT and step[2] is YT)
            for array, part in zip((X, targets), step[1:3], strict=True):
                np.testing.assert_array_equal(to_host(part), array[..., batch])
                assert part.flags.c_contiguous
            found += 1
        assert found == len(schedule)


# ---- products with few weights, and bits ----


@given(b=st.integers(0, 9), d=st.integers(1, 40), n=st.integers(1, 700), density=st.sampled_from([0, 0.05, 0.5, 1]),
       seed=st.integers(0, 99))
def test_sparse_products_are_dense_ones_and_their_bits_see_no_tile(b, d, n, density, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((d, n), dtype=np.float32)
    W = (rng.standard_normal((b, d)) * (rng.random((b, d)) < density)).astype(np.float32)
    exact, tile = W.astype(np.float64) @ X, slice(n // 3, n // 3 + max(n // 2, 1))
    for xp in (np, strict_array):
        XT, found = xp.asarray(X), []
        for factor in (sparse_matrix(W, XT), xp.asarray(W)):
            out, held = np.full((b, n), np.nan), Positive(b, n, xp)
            with Workspace(2) as work:
                each_product(factor, XT, lambda rows, t, part, out=out: out.__setitem__((rows, t), to_host(part)), work)
                held.fill(0, factor, XT, work)
            np.testing.assert_allclose(out, exact, atol=1e-4)
            for rows in (slice(0, b), xp.asarray(np.arange(b)[::2].repeat(2))):
                kept = out[to_host(rows) if type(rows) is not slice else rows, tile] > 0
                assert to_host(held.tile(rows, tile)).tolist() == kept.tolist()
            found.append(out)
        some = sparse_matrix(W, XT)[b // 2 : b] @ xp.asarray(np.ascontiguousarray(X[:, tile]))
        assert to_host(some).tobytes() == found[0][b // 2 : b, tile].astype(np.float32).tobytes()
    np.testing.assert_allclose(times_transposed(W @ X, X), exact @ X.T.astype(np.float64), atol=1e-2)


# ---- tiles and threads ----


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"threads": -1}, {"memory_budget": Workspace.MIN_BUDGET - 1}])
def test_workspace_refuses(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        Workspace(**arguments)


@pytest.mark.parametrize("threads", [1, 3])
def test_workspace_maps_and_sums_in_order(threads):
    with Workspace(threads) as work:
        assert work.map(lambda i: i * i, range(40)) == [i * i for i in range(40)]
        assert work.map(str, []) == []
        parts = [np.full(2, x, dtype=np.float32) for x in (1e8, 1.0, -1e8, 2.0**-20)]
        total = work.sum(lambda part: part, parts)
        assert total.dtype == np.float64 and total.tolist() == [1 + 2.0**-20] * 2
        assert parts[0].tolist() == [1e8, 1e8]  # the sum is not written into its first term
        with pytest.raises(ZeroDivisionError):
            work.map(lambda i: 1 / (3 - i), range(9))
        assert work.map(abs, [-1]) == [1]  # and it goes on working


def test_memory_that_is_given_back_is_lent_again(work):
    first, second = work.borrow(10), work.borrow(10)
    assert not np.shares_memory(first, second)
    work.give_back(first)
    assert work.borrow(8) is first and work.borrow(8) is not second
    work.give_back(second)
    assert len(work.borrow(11)) == 11 and work.borrow(10) is not second  # too small, it made room for the longer one


def test_workspace_keeps_blas_to_one_thread_and_gives_it_back():
    def blas():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    work = Workspace(2)
    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):  # it can be entered again
            assert blas() == {2}
            with work:
                assert blas() == {1} and work.map(abs, [-1, 2]) == [1, 2]
        assert blas() == {2}


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
