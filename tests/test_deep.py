"""Two hidden layers: the working form, the descent, what makes it sparse, the search, and the recovery measures."""

import numpy as np
import pytest
from helpers import assert_close, psnr, sparse

from beyond.deep import solve
from beyond.deep.descent import Budget, Penalty, descend
from beyond.deep.eliminate import costless_directions, eliminated
from beyond.deep.network import Samples, TwoLayers, jacobian, loss, normal_equations, tidied
from beyond.deep.orient import oriented
from beyond.deep.recovery import compare, normal_form
from beyond.deep.regrow import correlated_inputs, with_split, with_weights
from instances.planted import planted_inputs, planted_net
from models import SparseLayer, SparseNet


def random_net(rng, k2=3, k1=4, d=6, density=0.7):
    W, A = rng.normal(size=(k1, d)), rng.normal(size=(k2, k1))
    return TwoLayers(W * (rng.random(W.shape) < density), A * (rng.random(A.shape) < density))


def outputs(net, X):
    """By the definition, in float64."""
    return np.maximum(np.maximum(X.astype(np.float64) @ net.W.T, 0) @ net.A.T, 0).sum(axis=1)


def samples(net, work, n=1500, dtype=np.float64, seed=0):
    """Normal inputs, and the outputs of a network; more than one tile."""
    X = np.random.default_rng(seed).normal(size=(n, net.W.shape[1])).astype(np.float32)
    return Samples(np.ascontiguousarray(X.T, dtype=dtype), outputs(net, X).astype(dtype), work)


def as_sparse_net(W, A):
    return SparseNet(tuple(SparseLayer(sparse(M), *M.shape) for M in (np.array(W, float), np.array(A, float))))


def planted(m, s, seed, n=3000, d=20):
    net = planted_net(d, m, 1, 2, s, seed)
    X = planted_inputs("normal", n, d, seed)
    return X, net.predict(X).astype(np.float32), net


# ---- the working form


def test_the_jacobian_equals_finite_differences(work):
    rng = np.random.default_rng(0)
    net = random_net(rng)
    XT = rng.normal(size=(6, 50))
    J = jacobian(net, XT, np.zeros(50))
    moved = [net.moved_to(net.theta + 1e-6 * e) for e in np.eye(net.count)]
    expected = np.array([(outputs(other, XT.T) - outputs(net, XT.T)) / 1e-6 for other in moved])
    smooth = (abs(J[:-1] - expected) < 1e-4).mean(axis=0) == 1  # a sample may lie on a crease
    assert smooth.mean() > 0.95
    assert_close(J[-1], outputs(net, XT.T))


def test_normal_equations_are_those_of_the_whole_jacobian_in_either_precision(work):
    rng = np.random.default_rng(1)
    net, other = random_net(rng), random_net(rng)
    data = samples(other, work)
    J = jacobian(net, data.XT, data.y)
    r = outputs(net, data.XT.T) - data.y
    for same, tolerance in ((data, 1e-12), (data.astype(np.float32), 1e-5)):
        G, g, value = normal_equations(net, same)
        assert_close(G, J[:-1] @ J[:-1].T / len(data), tolerance)
        assert_close(g, J[:-1] @ r / len(data), tolerance)
        assert value == pytest.approx(np.mean(r**2), rel=tolerance) == loss(net, same)


def test_the_penalty_lies_below_its_majorant_and_touches_it():
    penalty, theta = Penalty(0.3, 0.2), np.linspace(-2, 2, 41)
    for at in (0.0, 0.1, 1.5):
        q = penalty.curvature(np.array([at]))[0]
        excess = q * (theta**2 - at**2) - [penalty.of(t) - penalty.of(np.array([at])) for t in theta[:, None]]
        assert excess.min() > -1e-12


def test_descent_never_rises_and_reaches_the_planted_weights_from_nearby(work):
    true = random_net(np.random.default_rng(3))
    data = samples(true, work)
    start = true.moved_to(true.theta * 1.05)
    values = [descend(start, data, Budget(99), steps)[1] for steps in range(6)]
    assert values == sorted(values, reverse=True)
    assert descend(start, data, Budget(99), 30)[1] < 1e-20


# ---- networks that are equal


W = np.array([[1.0, 2, 0, 0], [0, -1, 1, 0], [0, 0, 1, 3]])
A = np.array([[1.0, 0, 2], [1, -2, 0]])  # the first row passes h on

REDUNDANT = {
    "a row that is never active": (W, [*A, [-1, 0, -2]]),
    "a unit without use": ([*W, [1, 1, 1, 1]], np.hstack([A, np.zeros((2, 1))])),
    "a unit without inputs": ([*W, [0, 0, 0, 0]], np.hstack([A, np.ones((2, 1))])),
    "a unit that stands twice": ([*W, 2 * W[0]], [[0, 0, 2, 0.5], [0.5, -2, 0, 0.25]]),
    "a row that stands in three parts": (W, [A[0], *np.outer([0.2, 0.3, 0.5], A[1])]),
    "two rows that pass h on": (W, [[1, 0, 0], [0, 0, 2], A[1]]),
    "a use that only a dead row has": ([*W, [1, 1, 1, 1]], [[1, 0, 2, 0], [1, -2, 0, 0], [0, 0, 0, -1]]),
}


@pytest.mark.parametrize("case", REDUNDANT)
def test_what_is_superfluous_is_taken_out(case, work):
    net = TwoLayers(*(np.array(part, dtype=float) for part in REDUNDANT[case]))
    tidy = tidied(net)
    assert loss(tidy, samples(net, work)) < 1e-25
    assert (tidy.W.shape, tidy.A.shape, tidy.count) == (W.shape, A.shape, 10)


@pytest.mark.parametrize("number", [4, 20])
def test_rows_turned_round_are_turned_back(number, work):
    rng = np.random.default_rng(number)
    W, rows = rng.normal(size=(6, 10)), rng.normal(size=(number, 6)) * (rng.random((number, 6)) < 0.6)
    rows = rows[(rows > 0).any(axis=1) & (rows < 0).any(axis=1)]
    p = np.maximum(-rows[:2].sum(axis=0), 0) + np.array([3.0, 0, 0, 0, 0, 0])
    turned = p + rows[:2].sum(axis=0)
    net = TwoLayers(W, np.vstack([rows, p]))
    if (turned >= 0).all():
        net = TwoLayers(W, np.vstack([-rows[:2], rows[2:], turned]))
    back = oriented(net)
    assert loss(back, samples(net, work)) < 1e-25
    assert back.count <= TwoLayers(W, np.vstack([rows, p])).count


def test_opposite_rows_become_one(work):
    net = TwoLayers(W, np.array([[1.0, 1, 0], [1, -2, 0], [-0.5, 1, 0]]))
    one = oriented(net)
    assert loss(one, samples(net, work)) < 1e-25 and len(one.A) == 2


# ---- what is missing, what is superfluous


def test_screening_finds_inputs_by_value_and_by_magnitude(work):
    X = np.random.default_rng(0).normal(size=(4000, 12))
    y = np.maximum(X[:, 3], 0) + abs(X[:, 7])
    assert correlated_inputs(Samples(np.ascontiguousarray(X.T), y, work)).tolist() == [3, 7]


def test_a_missing_weight_is_put_where_it_was(work):
    true = TwoLayers(W, A)
    for lacking in (TwoLayers(W * (W != 3), A), TwoLayers(W, A * (A != -2))):
        grown = with_weights(lacking, samples(true, work), 1)
        assert ((grown.W != 0) == (W != 0)).all() and ((grown.A != 0) == (A != 0)).all()
        assert descend(grown, samples(true, work), Budget(9), 20)[1] < 1e-20


def test_a_row_that_should_be_two_is_split(work):
    true = TwoLayers(W, A)
    data = samples(true, work)
    merged, _ = descend(TwoLayers(W, np.array([[2.0, 0, 2]])), data, Budget(9), 20)
    grown = with_split(merged, data)
    assert grown.A.shape == (2, 3) and grown.A[1, 0] > 0 > grown.A[1, 1] and grown.A[1, 2] == 0
    assert descend(grown, data, Budget(9), 40)[1] < 1e-20


def test_elimination_ends_with_the_planted_weights(work):
    rng = np.random.default_rng(6)
    true = TwoLayers(W, A)
    data = samples(true, work)
    noise = TwoLayers(W + 0.02 * rng.normal(size=W.shape), A + 0.02 * rng.normal(size=A.shape))
    full, value = descend(noise, data, Budget(9), 40)
    assert value < 1e-12 and full.count == 18

    def refit(net):
        return descend(net, data, Budget(9), 25, target=1e-14)

    net = eliminated(full, data, refit, width=3)
    assert net.count == 10 and ((net.W != 0) == (W != 0)).all()
    assert eliminated(net, data, refit, width=1).A.shape == (2, 3)  # none can go


def test_free_directions_are_counted_beyond_the_scales(work):
    assert costless_directions(TwoLayers(W, A), samples(TwoLayers(W, A), work)) == 0
    twice = TwoLayers(np.vstack([W, W[:1]]), np.hstack([A, A[:, :1]]))  # shares of two equal units
    assert costless_directions(twice, samples(twice, work)) >= 2


# ---- the search


@pytest.mark.parametrize("m, s, seed", [(3, 10, 0), (5, 10, 1), (4, 16, 3)])
def test_planted_networks_are_recovered(m, s, seed):
    X, y, net = planted(m, s, seed)
    found = solve(X, y, s, width=m, num_epochs=60)
    assert found.details["exact"] and found.details["determined"] and 0 < found.details["steps"] < 60
    assert found.details["energy_left"] < 1e-12 and found.details["held_out"] < 1e-12
    assert found.net.num_nonzero <= s and found.net.layers[0].m == found.net.layers[1].m == m
    X = np.random.default_rng(5).normal(size=(2000, 20)).astype(np.float32)
    assert psnr(found.net.predict(X), net.predict(X)) > 110
    measures = compare(found.net, net)
    assert measures["support_precision"] == measures["support_recall"] == 1 and measures["neurons_lost"] == 0


def test_the_scale_of_the_targets_does_not_matter():
    X, y, _ = planted(3, 10, 0)
    for scale in (1e-4, 1e4):
        assert solve(X, y * np.float32(scale), 10, width=3, num_epochs=60).details["energy_left"] < 1e-12


@pytest.mark.parametrize("m, s, seed, d, width, steps", [
    (8, 40, 2, 20, 7, 20), (5, 25, 1, 10, 5, 9), (3, 20, 0, 6, 3, 9), (3, 12, 1, 8, 2, 9), (2, 8, 2, 6, 1, 9),
    (5, 20, 3, 30, 5, 1), (10, 40, 2, 20, 10, 1)])  # the last one takes AIHT's answer
def test_an_answer_keeps_the_limits_and_says_how_exact_it_is(m, s, seed, d, width, steps):
    """Easy cells or not, with room for all neurons or not."""
    (X, y, _), seen = planted(m, s, seed, n=1500, d=d), []
    found = solve(X, y, s, width=width, seed=seed, num_epochs=steps, callback=lambda *each: seen.append(each))

    def left(net):
        return np.mean((net.predict(X) - y) ** 2) / np.mean(y**2)

    details = found.details
    assert found.net.num_nonzero <= s and max(len(layer.neurons) for layer in found.net.layers) <= width
    assert details["energy_left"] == pytest.approx(left(found.net), rel=1e-3, abs=1e-10)
    assert 0 < details["steps"] < steps + 1
    assert details["exact"] == (details["energy_left"] < 1e-10) and (details["exact"] or not details["determined"])
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    assert all(state.loss == pytest.approx(left(state.net()), rel=0.2, abs=2e-8) for _, state in seen)


# ---- recovery measures


@pytest.mark.parametrize("case", REDUNDANT)
def test_equal_networks_are_recovered_whatever_their_form(case):
    measures = compare(as_sparse_net(*REDUNDANT[case]), as_sparse_net(W, A))
    assert measures["support_precision"] == measures["support_recall"] == 1
    assert measures["neurons_lost"] == 0 and measures["weights_used"] == measures["weights_planted"] == 10


def test_scales_and_order_do_not_count():
    scale, units, rows = np.array([3.0, 0.5, 7]), [2, 0, 1], [1, 0]
    other = as_sparse_net((W * scale[:, None])[units], (A / scale)[rows][:, units])
    form, true = normal_form(other), normal_form(as_sparse_net(W, A))
    assert_close(np.linalg.norm(form.W, axis=1), np.ones(3))
    assert_close(np.sort(form.A, axis=None), np.sort(true.A, axis=None))
    assert compare(other, as_sparse_net(W, A))["support_precision"] == 1


def test_precision_and_recall_of_a_network_that_differs():
    other = as_sparse_net([[1, 2, 0.1, 0], [0, -1, 1, 0], [0, 0, 1, 0]], A)  # one weight more, one less
    measures = compare(other, as_sparse_net(W, A))
    assert (measures["layer0_precision"], measures["layer0_recall"]) == (5 / 6, 5 / 6)
    assert (measures["layer1_precision"], measures["layer1_recall"]) == (1, 1)
    assert measures["support_precision"] == 9 / 10
    lost = compare(as_sparse_net(W, A[:1]), as_sparse_net(W, A))  # without the second row one unit has no use
    assert lost["neurons_lost"] == 2 and lost["support_precision"] == 1 and lost["support_recall"] == 6 / 10


def test_nothing_to_recover_and_no_two_layers():
    empty = as_sparse_net(W, -A**2)
    assert compare(as_sparse_net(W, A), empty)["support_recall"] is None
    assert compare(empty, as_sparse_net(W, A))["support_precision"] is None
    one_layer = SparseNet(as_sparse_net(W, A).layers[:1])
    assert compare(as_sparse_net(W, A), one_layer) == compare(one_layer, empty) == {}
    assert normal_form(one_layer) is None
