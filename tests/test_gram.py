"""What the methods beyond the paper share: the growing ridge, backward elimination, and which neurons are parallel."""

import numpy as np
import pytest

from beyond.gram import added_up, cheapest, eliminate, first_parallel, unit, with_ridge


def definite(K):
    """A copy of K; LinAlgError unless it is positive definite."""
    np.linalg.cholesky(K)
    return K


@pytest.mark.parametrize("smallest, ridge", [(1.0, 1e-6), (0.0, 1e-6), (-1e-8, 1e-6), (-3e-6, 1e-5), (-2e-3, 1e-2)])
def test_the_ridge_is_the_smallest_that_makes_a_matrix_definite(smallest, ridge):
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    K = (Q * np.array([1.0, 1, 1, 1, 1, smallest])) @ Q.T
    before = K.copy()
    np.testing.assert_allclose(with_ridge(K, 1e-6, definite), K + ridge * np.eye(6), rtol=1e-12)
    np.testing.assert_array_equal(K, before)
    with pytest.raises(FloatingPointError, match="not finite"):  # and no endless loop
        with_ridge(K * np.inf, 1e-6, definite)


def left_without(A, Y, column):
    """|R|^2 when least squares is solved again without a column."""
    B = np.delete(A, column, axis=1)
    return np.sum((B @ np.linalg.lstsq(B, Y, rcond=None)[0] - Y) ** 2)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("p", [12, 25])
def test_elimination_is_that_of_refits(p, outputs):
    """Of columns that can partly stand in for each other, a third of which made the targets, with noise."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((200, p)) + rng.standard_normal((200, 1))
    A[:, -2:] = A[:, :2] + 0.1 * rng.standard_normal((200, 2))
    Y = A[:, ::3] @ rng.uniform(0.5, 2, (A[:, ::3].shape[1], outputs)) + 0.3 * rng.standard_normal((200, outputs))
    Y = Y[:, 0] if outputs == 1 else Y
    inverse = np.linalg.inv(A.T @ A)
    rises = [left_without(A, Y, column) for column in range(p)]
    assert cheapest(inverse @ A.T @ Y, inverse, 5).tolist() == np.argsort(rises)[:5].tolist()
    for s in (1, 4, 10, p - 1):
        kept = np.arange(p)
        while len(kept) > s:  # a quarter of the excess at a time
            rises = [left_without(A[:, kept], Y, column) for column in range(len(kept))]
            kept = np.delete(kept, np.argsort(rises)[: max(1, (len(kept) - s) // 4)])
        left, x = eliminate(inverse, A.T @ Y, s)
        assert left.tolist() == kept.tolist()
        np.testing.assert_allclose(x, np.linalg.lstsq(A[:, kept], Y, rcond=None)[0], atol=1e-9)


def test_parallel_rows_are_found_and_added_up():
    turn = np.radians([0, 40, 0.1, 180, 220.1, 80])
    W = np.array([3, 2, 1, 5, 1, 2])[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    W = np.vstack([W, [0, 0]])
    np.testing.assert_allclose(np.linalg.norm(unit(W), axis=1), [1] * 6 + [0])
    assert first_parallel(unit(W)[:6], 0.999).tolist() == [0, 1, 0, 3, 4, 5]
    assert first_parallel(unit(W)[:6], 0.999, lines=True).tolist() == [0, 1, 0, 0, 1, 5]
    assert first_parallel(W[:0], 0.9).tolist() == []
    owner = np.array([0, 1, 0, 1, 4, 1, 6])
    expected = [W[0] + W[2], W[1] + W[3] + W[5], [0, 0], [0, 0], W[4], [0, 0], W[6]]
    np.testing.assert_allclose(added_up(W, owner), expected)
