"""Pruning by curvature: the curvature, the surgeon, growth and steps against slow references; whole fits."""

import numpy as np
import pytest
import torch

import aiht
from beyond import gnhtp, obs
from beyond.obs import curvature, grow, levenberg, prune, search, student
from numerics.workspace import Workspace

pytestmark = pytest.mark.usefixtures("one_thread")

LOSSES = [("squared", 1), ("squared", 2), ("cross_entropy", 3), ("logistic", 1)]


def samples(loss, k, n=60, d=6, seed=0):
    """X [n, d] and Y [n, k], classes one-hot for cross-entropy, 0 or 1 for the logistic loss."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal((n, k)).astype(np.float32)
    if loss == "logistic":
        return X, (Y > 0).astype(np.float32)
    return X, np.eye(k, dtype=np.float32)[Y.argmax(1)] if loss == "cross_entropy" else Y


def asked(loss):
    """The options of a fit with a loss."""
    return {"labels": True} if loss == "logistic" else {"loss": loss}


def case(loss, k, depth=1, l2=0.0, density=0.7, **kwargs):
    """Data, and a sparse network of 4 units in each layer, without dead units."""
    data = student.Data.of(*samples(loss, k, **kwargs), loss, l2, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    weights = search.initial_weights(data, 4, depth, rng)
    masks = [torch.from_numpy(rng.random(W.shape) < density) for W in data.free(weights)]
    for mask in masks:
        mask[:, 0] = mask[0] = True
    return data, student.alive(data.with_free(weights, [W * mask for W, mask in zip(weights, masks, strict=False)]))


def all_samples(data):
    """X [d, n] and Y [k, n] in the order of the tiles."""
    return (torch.cat(parts, 1).double() for parts in zip(*data.tiles, strict=True))


def forward(weights, X):
    """Outputs [k, n] by plain products."""
    for W in weights[:-1]:
        X = (W @ X).relu()
    return weights[-1] @ X


def as_double(weights):
    """Weights to differentiate with autograd."""
    return [W.double().requires_grad_() for W in weights]


def dense_jacobian(weights, data):
    """d outputs / d nonzero weights [n, k, P], by autograd."""
    X, _ = all_samples(data)
    weights = as_double(weights)
    free = data.free(weights)
    rows = [torch.cat([G[W != 0] for G, W in zip(torch.autograd.grad(output, free, retain_graph=True), free,
                                                 strict=True)]) for output in forward(weights, X).T.flatten()]
    return torch.stack(rows).view(X.shape[1], data.outputs, -1).numpy()


def loss_of(weights, data):
    """The objective by plain products and torch's losses."""
    X, Y = all_samples(data)
    P = forward(weights, X)
    if data.loss == "squared":
        loss = torch.nn.functional.mse_loss(P, Y)
    elif data.loss == "logistic":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(4 * P - 2, Y)
    else:
        loss = torch.nn.functional.cross_entropy(P.T, Y.T)
    return loss + data.l2 / 2 * sum(W.square().sum() for W in data.free(weights))


# ---- gradients and curvature ----


@pytest.mark.parametrize("loss, k", LOSSES)
@pytest.mark.parametrize("depth", [1, 2])
def test_the_objective_and_the_gradient_are_those_of_autograd(loss, k, depth):
    data, weights = case(loss, k, depth, l2=0.3)
    reference = as_double(weights)
    value = loss_of(reference, data)
    assert student.objective(weights, data) == pytest.approx(value.item(), rel=1e-5)
    slopes = torch.autograd.grad(value, data.free(reference))
    found = grow.gradients(weights, data, np.random.default_rng(0))
    for G, W, expected in zip(found, data.free(weights), slopes, strict=True):
        torch.testing.assert_close((G + data.l2 * W).double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("loss, k", LOSSES)
@pytest.mark.parametrize("depth", [1, 2])
def test_the_curvature_is_that_of_the_dense_jacobian(loss, k, depth):
    """Its rows are random with several outputs, so the mean over many draws is compared."""
    data, weights = case(loss, k, depth)
    J = dense_jacobian(weights, data)
    P = forward([W.double() for W in weights], next(all_samples(data)))
    if loss == "squared":
        C = np.broadcast_to(np.eye(k) * 2 / k, (len(J), k, k))
    elif loss == "logistic":
        p = (4 * P - 2).sigmoid().numpy().reshape(-1, 1, 1)
        C = 16 * p * (1 - p)
    else:
        C = np.stack([np.diag(p) - np.outer(p, p) for p in P.softmax(0).T.numpy()])
    expected = np.einsum("nip,nij,njq->pq", J, C, J) / len(J)
    rng, draws = np.random.default_rng(3), 1 if k == 1 else 400
    rows = [curvature.jacobian(weights, data, data.tiles, curvature.row_of(loss, rng)) for _ in range(draws)]
    found = np.mean([row @ row.T / len(J) for row in rows], axis=0)
    assert np.abs(found - expected).max() < (1e-5 if k == 1 else 0.1) * np.abs(expected).max()
    h = np.mean([np.concatenate([each[W != 0] for each, W in zip(curvature.diagonal(weights, data, rng),
                                                                 data.free(weights), strict=True)])
                 for _ in range(draws)], axis=0)
    assert np.abs(h - np.diag(expected)).max() < (1e-5 if k == 1 else 0.1) * np.abs(expected).max()


@pytest.mark.parametrize("loss, k", LOSSES)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_rescaling_changes_no_output_and_is_stiff(loss, k, depth):
    data, weights = case(loss, k, depth)
    U = curvature.rescalings(weights, data)
    hidden_and_free = depth - (k == 1)
    assert U.shape == (4 * hidden_and_free, data.count(weights))
    np.testing.assert_allclose(np.linalg.norm(U, axis=1), 1)
    assert np.abs(dense_jacobian(weights, data) @ U.T).max(initial=0) < 1e-5
    A = curvature.curvature(weights, data, np.random.default_rng(0))
    assert np.linalg.eigvalsh(A).min() > 0
    for u in U:
        assert u @ A @ u > curvature.GAUGE / 4 * np.diag(A).mean() / (1 + curvature.GAUGE)


# ---- the surgeon ----


def least_rise(A, theta, S):
    """The least of (x - theta)' A (x - theta) / 2 over x with x_S = 0, and that x, by its linear equations."""
    rest = np.setdiff1d(np.arange(len(theta)), S)
    x = np.zeros_like(theta)
    x[rest] = np.linalg.solve(A[np.ix_(rest, rest)], A[rest] @ theta)
    return (x - theta) @ A @ (x - theta) / 2, x


def nonzero(weights, data):
    """The nonzero weights [P]."""
    return np.concatenate([W[W != 0].numpy() for W in data.free(weights)]).astype(float)


@pytest.mark.parametrize("loss, k", LOSSES)
def test_the_surgeon_takes_the_cheapest_weight_and_repairs_the_others(loss, k):
    data, weights = case(loss, k)
    A = curvature.curvature(weights, data, np.random.default_rng(0))  # the same draw as in pruned
    theta = nonzero(weights, data)
    tried = [least_rise(A, theta, [place]) for place in range(len(theta))]
    cheapest = int(np.argmin([rise for rise, _ in tried]))
    left = prune.pruned(weights, len(theta) - 1, data, np.random.default_rng(0))
    if [W.shape for W in left] == [W.shape for W in weights]:  # no unit died with it
        np.testing.assert_allclose(nonzero(left, data), np.delete(tried[cheapest][1], cheapest), rtol=1e-3, atol=1e-5)
    assert data.count(left) <= len(theta) - 1


@pytest.mark.parametrize("loss, k", LOSSES)
@pytest.mark.parametrize("depth", [1, 2])
def test_the_cost_of_a_unit_is_the_least_rise_without_its_weights(loss, k, depth):
    data, weights = case(loss, k, depth)
    A = curvature.curvature(weights, data, np.random.default_rng(0))
    theta, free = nonzero(weights, data), data.free(weights)
    for layer, costs in enumerate(prune.unit_costs(weights, data, np.random.default_rng(0))):
        for unit, cost in enumerate(costs):
            marks = [torch.zeros_like(W, dtype=torch.bool) for W in free]
            marks[layer][unit] = True
            if layer + 1 < len(free):
                marks[layer + 1][:, unit] = True
            S = np.flatnonzero(np.concatenate([mark[W != 0] for mark, W in zip(marks, free, strict=True)]))
            assert cost == pytest.approx(least_rise(A, theta, S)[0], rel=1e-3)


def test_many_weights_are_pruned_by_their_square_times_the_diagonal(monkeypatch):
    monkeypatch.setattr(student, "SMALL", 0)
    monkeypatch.setattr(student, "NEWTON_SAMPLES", 0)
    data, weights = case("squared", 1)
    h = curvature.diagonal(weights, data, np.random.default_rng(0))
    values = [W[W != 0] ** 2 * each[W != 0] for W, each in zip(data.free(weights), h, strict=True)]
    left = prune.pruned(weights, 7, data, np.random.default_rng(0))
    kept = sorted(torch.cat(values).tolist())[-7:]
    assert data.count(left) == 7
    assert set(np.abs(nonzero(left, data))) <= set(np.abs(nonzero(weights, data)))
    assert min(kept) > sorted(torch.cat(values).tolist())[-8]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_narrow_network_has_no_more_units(depth):
    data, weights = case("cross_entropy", 3, depth)
    assert student.widest(prune.narrowed(weights, 2, data, np.random.default_rng(0))) == 2


# ---- growth ----


@pytest.mark.parametrize("loss, k", LOSSES)
def test_growth_adds_the_weights_of_the_largest_gain(loss, k):
    data, weights = case(loss, k, density=0.3)
    rng = np.random.default_rng(0)
    slopes, h = grow.gradients(weights, data, rng), curvature.diagonal(weights, data, rng)
    gains = torch.cat([(G**2 / (each + grow.FLOOR * each.max() + grow.TINY))[W == 0]
                       for G, each, W in zip(slopes, h, data.free(weights), strict=True)])
    new = grow.grown(weights, 3, data, np.random.default_rng(0))
    assert data.count(new) == data.count(weights) + 3
    added = [(W == 0) & (V != 0) for W, V in zip(data.free(weights), data.free(new), strict=True)]
    found = torch.cat([(G**2 / (each + grow.FLOOR * each.max() + grow.TINY))[mask]
                       for G, each, mask in zip(slopes, h, added, strict=True)])
    torch.testing.assert_close(found.sort().values, gains.sort().values[-3:])
    assert student.objective(new, data) <= student.objective(weights, data) + 1e-6


@pytest.mark.parametrize("loss, k", LOSSES)
def test_a_new_unit_lowers_the_loss(loss, k):
    data, weights = case(loss, k)
    new = grow.born(weights, 1, 4, data, np.random.default_rng(0))
    assert len(new[0]) == len(weights[0]) + 1 and int((new[0][-1] != 0).sum()) == 4
    smaller = [new[0], torch.cat([weights[1], new[1][:, -1:]], 1)]
    if k > 1:  # along the direction of the unit the loss falls; its full step may be too long for cross-entropy
        smaller[1][:, -1] *= 0.1
    else:
        smaller[0][-1] *= 0.1
    assert student.objective(smaller, data) < student.objective(weights, data)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_new_unit_has_the_sign_that_the_residual_asks_for(sign):
    """relu(w . x) may correlate with the residual the other way than w . x does."""
    X = np.random.default_rng(0).standard_normal((500, 1)).astype(np.float32)
    Y = sign * (0.1 * X - np.abs(X))
    data = student.Data.of(X, Y, "squared", 0.0, np.random.default_rng(1))
    empty = [torch.zeros(0, 1), torch.zeros(1, 0)]
    for seed in range(4):
        new = grow.born(empty, 1, 1, data, np.random.default_rng(seed))
        assert student.objective(new, data) < 0.9 * student.objective(empty, data)


# ---- steps, cycles, fits ----


def test_normal_equations_are_those_of_autograd():
    data, weights = case("squared", 1, depth=2)
    A, slope = levenberg.normal_equations(weights, data)
    J = dense_jacobian(weights, data)[:, 0]
    reference = as_double(weights)
    free = data.free(reference)
    expected = torch.autograd.grad(loss_of(reference, data), free)
    np.testing.assert_allclose(A, 2 * J.T @ J / len(J), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(slope, torch.cat([G[W != 0] for G, W in zip(expected, free, strict=True)]), atol=1e-5)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_levenberg_steps_lower_the_objective(l2):
    data, weights = case("squared", 1, l2=l2)
    values = [student.objective(weights, data)]
    for _ in range(5):
        weights = levenberg.levenberg(weights, data, 1)
        values.append(student.objective(weights, data))
    assert all(after <= before for before, after in zip(values, values[1:], strict=False)) and values[-1] < values[0]


def test_a_unit_that_a_step_empties_is_no_nan():
    """A unit that is closed on all samples has no slope, and weight decay takes its weights to 0 in one step."""
    rng = np.random.default_rng(0)
    X = np.abs(rng.standard_normal((100, 40))).astype(np.float32)
    net = obs.fit(X, X[:, 0] * X[:, 1], 301, width=12, num_layers=2, num_epochs=8)
    assert np.isfinite(net.predict(X)).all() and 0 < net.num_nonzero <= 301


def test_one_unit_in_each_of_two_layers_may_be_negative():
    X = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    y = -np.maximum(X[:, 0], 0)
    net = obs.fit(X, y, 2, width=1, num_layers=2, num_epochs=60)
    assert np.mean((net.predict(X) - y) ** 2) < 1e-2 * np.mean(y**2)


@pytest.mark.parametrize("options, n, words", [({"loss": "cross_entropy"}, 5, "one-hot"),
                                               ({"labels": True}, 5, "labels: y must hold only 0 and 1"),
                                               ({"held_out": 0.1}, 1, "split")])
def test_data_that_do_not_suit_the_options_are_refused(options, n, words):
    with pytest.raises(ValueError, match=words):
        obs.fit(np.ones((n, 2)), np.full(n, 2.0), 2, width=1, **options)


def test_labels_get_the_logistic_loss():
    """It separates classes which the squared error, drawn by samples far from the border, does not."""
    rng = np.random.default_rng(0)
    X = np.abs(rng.standard_normal((400, 4))).astype(np.float32) ** 3
    X[:, 3] = 1
    y = (X[:, 0] > X[:, 1]).astype(np.float32)
    hits = {labels: np.mean((obs.fit(X, y, 3, width=2, labels=labels, num_epochs=40).predict(X) > 0.5) == y)
            for labels in (True, False)}
    assert hits[True] > max(hits[False], 0.9)


def test_a_cycle_counts_only_if_the_objective_falls():
    data = student.Data.of(*samples("cross_entropy", 3, n=300), "cross_entropy", 0.0, np.random.default_rng(1))
    seen: list[search.Candidate] = []
    hunt = search.Search(data, 12, 3, 1, 60, np.random.default_rng(0), seen.append)
    first = hunt.start()
    best = hunt.cycles(first, hunt.epochs)
    values = [first.objective, *(each.objective for each in seen)]
    assert values == sorted(values, reverse=True) and best.objective == values[-1] < values[0]
    assert best.objective == student.objective(best.weights, data)


@pytest.mark.parametrize("loss, k", LOSSES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("s, m", [(1, 1), (2, 3), (20, 2), (500, 5)])
def test_budgets_are_kept(loss, k, depth, s, m):
    X, Y = samples(loss, k, n=100)
    found = obs.solve(X, Y if k > 1 else Y[:, 0], s, width=m, num_layers=depth, num_epochs=25, **asked(loss))
    assert found.net.num_nonzero <= s
    assert all(len(layer.neurons) <= m and layer.m == m for layer in found.net.layers)
    assert np.isfinite(found.net.predict(X)).all() and found.details["cycles"] > 0


@pytest.mark.parametrize("loss, k", LOSSES)
def test_bits_repeat_at_any_number_of_threads(loss, k):
    X, Y = samples(loss, k, n=200)

    def weights(threads):
        with Workspace(threads) as work:
            net = obs.fit(X, Y if k > 1 else Y[:, 0], 15, width=4, num_epochs=10, work=work, **asked(loss))
        return np.concatenate([W.ravel() for W in net.weights() if W is not None])

    np.testing.assert_array_equal(weights(1), weights(2))


def test_the_unit_of_the_data_does_not_matter():
    X, Y = samples("cross_entropy", 3, n=200)
    a, b = (obs.fit(X * unit, Y, 15, width=4, loss="cross_entropy", num_epochs=10) for unit in (1, 256))
    np.testing.assert_array_equal(a.predict(X), b.predict(X * 256))


def test_signs_let_one_output_be_a_difference():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 6)).astype(np.float32)
    y = np.maximum(X[:, 0], 0) - np.maximum(X[:, 1] + X[:, 2], 0)
    net = obs.fit(X, y, 4, width=4, num_epochs=60)
    assert net.has_signs and net.num_nonzero <= 4
    assert np.mean((net.predict(X) - y) ** 2) < 1e-3 * np.mean(y**2)


@pytest.mark.parametrize("interpolate", [True, False])
def test_it_is_not_behind_the_networks_that_it_begins_from(interpolate):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 20)).astype(np.float32)
    y = np.abs(np.sin(X @ rng.standard_normal(20))).astype(np.float32)
    shared = {"width": 5, "num_layers": 1}

    def error(net):
        return float(np.mean((net.predict(X) - y) ** 2))

    found = error(obs.fit(X, y, 20, interpolate=interpolate, l2=0, num_epochs=10, **shared))
    others = [gnhtp.fit(X, y, 20, **shared)]
    if interpolate:
        others.append(aiht.fit(X, y, 20, num_epochs=100, **shared))
    assert found <= min(map(error, others)) * (1 + 1e-5)


def test_the_strength_of_weight_decay_is_chosen_on_samples_that_are_held_out():
    X, y = samples("squared", 1, n=120)
    details = obs.solve(X, y[:, 0], 60, width=10, held_out=0.2, num_epochs=10).details  # nothing but noise
    assert details["l2"] == 1.0  # the strongest of those to choose from
    assert obs.solve(X, y[:, 0], 60, width=10, l2=0.07, num_epochs=4).details["l2"] == 0.07
    assert obs.solve(X, y[:, 0], 60, width=10, l2=0.07, num_epochs=4, interpolate=True).details["l2"] == 0


def test_the_callback_is_told_of_every_cycle():
    X, Y = samples("cross_entropy", 3, n=100)
    told = []
    found = obs.solve(X, Y, 10, width=3, loss="cross_entropy", num_epochs=10,
                      callback=lambda number, state: told.append((number, state.net().num_nonzero)))
    assert [number for number, _ in told] == list(range(1, found.details["cycles"] + 1))
    assert max(count for _, count in told) <= 10
