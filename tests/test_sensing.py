"""sensing.py: every operator against a slow dense matrix, on NumPy and on a device; gates; bits, threads and memory."""

import numpy as np
import pytest
from helpers import assert_close, dense_sensing, sparse

from numerics.arrays import to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import GaussianSensing, RandomGates, ReluSensing, WeightGates


def relu_case(kind, n=130, d=7, m=9, seed=0):
    """Inputs X [n, d], gates, and the dense A; WeightGates have neurons without weights and exactly orthogonal rows.

    Those are whole numbers: their products and sums are exact.
    """
    rng = np.random.default_rng(seed)
    if kind == "random":
        X, gates = rng.standard_normal((n, d), dtype=np.float32), RandomGates(5, 0, m, d)
        return X, gates, dense_sensing(X, gates.rows(np.arange(m)))
    X, W = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((n, d), (m, d)))
    W *= rng.random((m, d)) < 0.4
    W[::3] = W[-1] = 0
    return X, WeightGates(sparse(W), d), dense_sensing(X, W)


def relu_operator(X, gates, m, work, xp=np):
    return ReluSensing(xp.asarray(np.ascontiguousarray(X.T)), gates, m, work)


def gaussian_case(n, p, work):
    """The operator, and its dense matrix, column after column."""
    A = GaussianSensing(3, n, p, work)
    return A, np.stack([A.columns(np.array([j])).apply(np.ones(1)) for j in range(p)], axis=1).astype(np.float64)


def gathered(A, r):
    """A' r [p] in float64 from the blocks, which must ascend."""
    full, last = np.zeros(A.shape[1]), -1
    for indices, entries in A.adjoint_blocks(r):
        assert indices[0] > last and (np.diff(indices) > 0).all()
        last = indices[-1]
        full[indices] = to_host(entries)
    return full


def check_operator(A, dense, xp=np):
    """All products of an operator on the arrays of xp against the dense matrix [n, p], and <A_S x, r> = <x, A_S' r>."""
    n, p = dense.shape
    assert A.shape == (n, p)
    rng = np.random.default_rng(1)
    r = rng.standard_normal(n).astype(np.float32)
    r_device, close = xp.asarray(r), lambda actual, expected: assert_close(actual, expected, floor=1)
    close(gathered(A, r_device), dense.T @ r)
    for S in (np.flatnonzero(rng.random(p) < 0.3), np.arange(p), np.array([p - 1]), np.zeros(0, dtype=np.int64)):
        x, A_S = rng.standard_normal(len(S)), dense[:, S]
        columns = A.columns(S)
        assert columns.shape == A_S.shape
        close(columns.apply(x), A_S @ x)
        close(columns.adjoint(r_device), A_S.T @ r)
        rest, gradient = columns.residual(x, r_device)
        close(rest, A_S @ x - r)
        close(gradient, A_S.T @ (A_S @ x - r))
        close(columns.gram(x), A_S.T @ (A_S @ x))
        close(columns.gram_matrix(), A_S.T @ A_S)
        close(columns.norms(), np.linalg.norm(A_S, axis=0))
        products = columns.adjoint(r_device), columns.gram(x), columns.gram_matrix(), columns.norms()
        assert {product.dtype for product in products} == {np.dtype(np.float64)}
        again = rng.standard_normal(len(S))  # after a residual, whose products a GPU uses again
        close(columns.gradient(again, r_device), A_S.T @ (A_S @ again - r))
        close(A.columns(S).gradient(again, r_device), A_S.T @ (A_S @ again - r))
        forward = to_host(columns.apply(x)).astype(np.float64) @ r
        assert forward == pytest.approx(x @ columns.adjoint(r_device), rel=1e-5, abs=1e-3)
        assert forward == pytest.approx(x @ gathered(A, r_device)[S], rel=1e-5, abs=1e-3)


# ---- the operators ----


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def products_of_gates(request, monkeypatch):
    """Dense ones and sparse ones; at these sizes all would be dense."""
    monkeypatch.setattr("sensing.pays", lambda density, *_: request.param and density < 1)
    return request.param


@pytest.mark.parametrize("kind", ["random", "weights"])
@pytest.mark.parametrize("n, d, m", [(130, 7, 9), (900, 3, 70), (1, 4, 2), (50, 1, 5)])
@pytest.mark.parametrize("held", [True, False])
def test_relu_operator_is_the_dense_matrix(work, monkeypatch, products_of_gates, kind, n, d, m, held):
    monkeypatch.setattr("sensing.Gates.most_held", None if held else -1)
    monkeypatch.setattr("sensing.RandomGates.most_held", 2**26 if held else -1)
    X, gates, dense = relu_case(kind, n, d, m)
    A = relu_operator(X, gates, m, work)
    check_operator(A, dense)
    assert (A._held_gates is not None) == held


@pytest.mark.parametrize("n, p", [(40, 150), (500, 64), (30, 3)])
def test_gaussian_operator_is_one_dense_matrix(work, n, p):
    A, dense = gaussian_case(n, p, work)
    check_operator(A, dense)
    spread = 1 / np.sqrt(n * p)
    assert abs(dense.mean()) < 5 * spread and abs(dense.std() - 1) < 5 * spread
    assert len(np.unique(dense)) > 0.99 * n * p  # no block repeats another


@pytest.mark.parametrize("most", [0, 512])
def test_operators_on_a_device(device, work, products_of_gates, monkeypatch, most):
    """By passes over the columns, and by their Gram matrix."""
    monkeypatch.setattr("numerics.columns.MOST_GRAM", most)
    for kind in ("random", "weights"):
        X, gates, dense = relu_case(kind, n=300)
        check_operator(relu_operator(X, gates, 9, work, device), dense, device)
    check_operator(GaussianSensing(3, 40, 150, work, device), gaussian_case(40, 150, work)[1], device)


def test_gaussian_columns_do_not_depend_on_the_length_of_the_signal(work):
    few, many, other = (GaussianSensing(seed, 20, p, work).columns(np.array([2, 66])).apply(np.ones(2))
                        for seed, p in ((1, 70), (1, 500), (2, 70)))
    np.testing.assert_array_equal(few, many)
    assert not np.isclose(few, other).any()


@pytest.mark.parametrize("kind", ["random", "weights"])
@pytest.mark.parametrize("block", [2, 256])
def test_correlations_are_adjoint_and_norms(device, work, monkeypatch, kind, block):
    """In one pass over the neurons that have gates, of which there may be several blocks; the others are left out."""
    monkeypatch.setattr("sensing.NEURON_BLOCK", block)
    X, gates, dense = relu_case(kind, n=300)
    r = np.random.default_rng(3).standard_normal(300).astype(np.float32)
    for xp in (np, device):
        A = relu_operator(X, gates, 9, work, xp)
        found = [[to_host(part) for part in block] for block in A.adjoint_blocks(xp.asarray(r), norms=True)]
        indices, adjoint, norms = (np.concatenate(parts) for parts in zip(*found, strict=True))
        assert indices.tolist() == [j * 7 + k for j in gates.neurons for k in range(7)]
        assert_close(adjoint, gathered(A, xp.asarray(r))[indices])  # summed in other tiles
        assert_close(norms, np.linalg.norm(dense[:, indices], axis=0))
        assert adjoint.dtype == norms.dtype == np.float64
        if xp is np:
            assert len(found) == -(-len(gates.neurons) // block)


# ---- gates ----


def test_random_gates_are_the_same_whichever_rows_are_drawn_and_when():
    m, d = 200, 6
    gates, rng = RandomGates(4, 1, m, d), np.random.default_rng(0)
    H = RandomGates(4, 1, m, d).rows(np.arange(m))
    some = [np.sort(rng.choice(m, count, replace=False)) for count in (1, 3, 40, m)]
    for neurons in (*some, np.arange(190, m), np.arange(3), np.zeros(0, dtype=np.int64)):
        np.testing.assert_array_equal(gates.rows(neurons), H[neurons])
    assert H.dtype == np.float32 and list(gates.neurons) == list(range(m))
    for narrower in (1, 63, 64, 65, 150):  # a wider layer begins with them
        np.testing.assert_array_equal(RandomGates(4, 1, narrower, d).rows(np.arange(narrower)), H[:narrower])


def test_random_gates_are_standard_normal_and_differ_by_seed_and_layer_and_block():
    draws = [RandomGates(seed, layer, 128, 50).rows(np.arange(128)) for seed, layer in [(0, 0), (0, 1), (1, 0)]]
    for H in draws:
        assert abs(H.mean()) < 0.06 and abs(H.std() - 1) < 0.05
        assert abs(np.corrcoef(H[:64].ravel(), H[64:].ravel())[0, 1]) < 0.1
    assert np.abs(np.corrcoef([H.ravel() for H in draws]) - np.eye(3)).max() < 0.06


def test_gates_that_are_held_are_those_that_are_drawn_again(work, monkeypatch):
    """Between the first steps, too: an operator stays while its samples and gates are the same."""
    X, gates, _ = relu_case("random", n=3000, m=300)
    A = relu_operator(X, gates, 300, work)
    assert A.on(A.XT, gates) is A and A.on(A.XT.copy(), gates) is not A is not A.on(A.XT, RandomGates(5, 0, 300, 7))
    assert A._held_gates is not None
    monkeypatch.setattr(RandomGates, "most_held", 0)
    again = relu_operator(X, gates, 300, work)
    assert again._held_gates is None
    for neurons in (np.arange(300), np.arange(5, 260), np.array([0, 3, 3, 299])):
        for tile in (slice(0, 3000), slice(3, 5), slice(2049, 3000)):
            np.testing.assert_array_equal(A.gates_of(neurons)(tile), again.gates_of(neurons)(tile))


def test_weight_gates_are_the_rows_of_the_weights():
    W = np.zeros((6, 4), dtype=np.float32)
    W[1, 2], W[4, 0], W[4, 3] = 5, -1, 2
    w = sparse(W)
    gates = WeightGates(w, 4, of=w)
    assert list(gates.neurons) == [1, 4]
    for neurons in map(np.array, ([1, 4], [4], [0, 1, 2, 5])):
        np.testing.assert_array_equal(gates.rows(neurons), W[neurons])
    assert gates.are(w) and not gates.are(sparse(W)) and not RandomGates(0, 0, 6, 4).are(w)


# ---- bits and memory ----


def products(memory_budget, n, d, m, support):
    """All products of the three kinds of operators."""
    rng, found = np.random.default_rng(1), []
    XT = rng.standard_normal((d, n), dtype=np.float32)
    w = SparseVector(np.arange(0, m * d, 5), rng.standard_normal(len(range(0, m * d, 5)), dtype=np.float32), m * d)
    S = np.sort(rng.choice(m * d, support, replace=False))
    r, x = rng.standard_normal(n).astype(np.float32), rng.standard_normal(support)
    with Workspace(1, memory_budget) as work:
        relu = [ReluSensing(XT, gates, m, work) for gates in (RandomGates(0, 0, m, d), WeightGates(w, d))]
        for A in (*relu, GaussianSensing(0, n, m * d, work)):
            A_S = A.columns(S)
            found += [gathered(A, r), A_S.apply(x), A_S.adjoint(r), A_S.gram(x), A_S.gram_matrix(), A_S.norms()]
        found += [part for A in relu for block in A.adjoint_blocks(r, norms=True) for part in block]
    return [product.tobytes() for product in found]


def test_the_bits_do_not_depend_on_the_memory_where_a_block_of_neurons_fits():
    shape = {"n": 110_000, "d": 2, "m": 40, "support": 40}  # at 16 MiB neither columns nor gates are held
    assert 4 * shape["n"] * shape["support"] > 2**23 and shape["n"] * shape["m"] > 2**22
    assert products(16, **shape) == products(512, **shape)


def test_columns_keep_their_memory_until_the_end_of_their_block(work):
    X, gates, dense = relu_case("random")
    A, x = relu_operator(X, gates, 9, work), np.ones(10)
    with A.columns(np.arange(10)) as first:
        with A.columns(np.arange(20, 30)) as second:
            before = second.apply(x)
        third, fourth = A.columns(np.arange(30, 40)), A.columns(np.arange(40, 50))  # one of them in its memory
        for columns, start in ((first, 0), (third, 30), (fourth, 40)):
            assert_close(columns.apply(x), dense[:, start : start + 10] @ x)
    assert_close(before, dense[:, 20:30] @ x)  # no product points into that memory
    with pytest.raises(AttributeError):
        second.apply(x)
