"""IMP: exact counts, nested masks, rewinding, and agreement with an independent implementation in plain torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune as torch_prune

import pruning
from models import mlp_forward, mlp_weights
from pruning import after_pruning, check_prune_iters, live_units, magnitude_masks, prune, runs

SETTINGS = {"width": 4, "num_layers": 1, "num_epochs": 3, "batch_size": 0, "prune_iters": 0.3, "loss": "squared",
            "device": "cpu"}


def problem(n=60, d=6, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(d, n)).astype(np.float32).T
    return X, rng.normal(size=n if k is None else (n, k)).astype(np.float32)


def negative_mse(target):
    return lambda outputs: -float(np.mean((outputs.astype(np.float64) - target) ** 2))


def fit(slist, X, Y, seed=0, **changes):
    return prune(X, Y, X, negative_mse(Y), slist, seed, **SETTINGS | changes)


def same_networks(a, b):
    return list(a) == list(b) and all(
        a[s].score == b[s].score and all(np.array_equal(V, W) for V, W in zip(a[s].weights, b[s].weights, strict=True))
        for s in a)


@pytest.fixture
def rounds(monkeypatch):
    """Records (weights at the start, masks, batches) of every training round."""
    seen, train_round = [], pruning.train_round
    monkeypatch.setattr(pruning, "train_round", lambda *args: seen.append(args[:3]) or train_round(*args))
    return seen


# Initial weights

@pytest.mark.parametrize("sizes", [(5, 3, 1), (100, 7, 7, 10)])
def test_initial_weights_are_those_of_linear_layers(sizes):
    torch.manual_seed(3)
    expected = [torch.nn.Linear(i, o, bias=False).weight for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
    state = torch.get_rng_state()
    weights = mlp_weights(sizes, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert [tuple(W.shape) for W in weights] == [tuple(W.shape) for W in expected]
    assert all(torch.equal(W, E) for W, E in zip(weights, expected, strict=True))


def test_prune_leaves_the_global_random_state_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit([5], *problem(), batch_size=16)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


# The schedule

@pytest.mark.parametrize("active, fraction, left", [
    (35, 0.1, 32),  # 3.5 goes down to 3
    (45, 0.1, 41),  # 4.5 goes down to 4: no rounding to even
    (36, 0.1, 32),
    (5, 0.1, 4),  # 0.5 goes down to 0, but at least one is pruned
    (1, 0.1, 0),
    (50, 0.07, 47),  # 3.5 exactly, although 0.07 * 50 > 3.5 in floating point
    (10, 0.99, 0),
])
def test_number_left_by_a_round(active, fraction, left):
    assert after_pruning(active, check_prune_iters(fraction)) == left


@pytest.mark.parametrize("value", [-0.1, -1, 1.5, 2.0001, float("nan"), float("inf")])
def test_other_prune_iters_are_refused(value):
    with pytest.raises(ValueError, match="prune_iters is"):
        check_prune_iters(value)


def test_whole_prune_iters_schedule():
    assert runs(1000, [1, 10, 1000, 2000], 3) == [
        ([1000], {1000: 0, 2000: 0}), ([100, 10, 1], {1: 2}), ([215, 46, 10], {10: 2})]
    assert runs(1000, [7], 1.0) == runs(1000, [7], 0) == [([7], {7: 0})]


@given(st.integers(1, 3000), st.lists(st.integers(1, 4000), min_size=1, max_size=6, unique=True),
       st.one_of(st.just(0), st.integers(1, 20), st.decimals("0.01", "0.99", places=2).map(float)))
def test_every_column_has_its_round(num_weights, slist, prune_iters):
    plan = runs(num_weights, slist, prune_iters)
    assert sorted(s for _, columns in plan for s in columns) == sorted(slist)
    for counts, columns in plan:
        assert all(a >= b >= 0 for a, b in zip([num_weights, *counts], counts, strict=False))
        for s, t in columns.items():
            assert counts[t] == num_weights if s >= num_weights else counts[t] <= s
            if 0 < prune_iters < 1:
                assert s >= num_weights or t == 0 or counts[t - 1] > s
            else:
                assert counts[t] == min(s, num_weights) and len(counts) == (
                    1 if s >= num_weights else max(1, prune_iters))


# Masks

def test_magnitude_masks_rank_all_layers_together_and_keep_the_first_of_equals():
    weights = [torch.tensor([[1.0, -2.0], [0.0, 2.0]]), torch.tensor([[-3.0, 2.0]])]
    masks = [torch.tensor([[True, True], [True, True]]), torch.tensor([[True, True]])]
    kept = magnitude_masks(weights, masks, 2)
    assert kept[0].tolist() == [[False, True], [False, False]] and kept[1].tolist() == [[True, False]]
    ones = [torch.ones(50, 40), torch.ones(1, 50)]
    kept = magnitude_masks(ones, [W > 0 for W in ones], 1500)
    assert torch.arange(2000).view(50, 40)[kept[0]].tolist() == list(range(1500)) and not kept[1].any()
    masks[0][0, 1] = False
    kept = magnitude_masks(weights, masks, 5)  # an active zero stays before any pruned weight
    assert kept[0].tolist() == [[True, False], [True, True]] and kept[1].tolist() == [[True, True]]


@pytest.mark.parametrize("first, second, connected", [
    ([[1, 0], [0, 0]], [[1, 0]], True),
    ([[1, 0], [0, 0]], [[0, 1]], False),  # weights in both layers, but at different neurons
    ([[1, 1], [1, 1]], [[0, 0]], False),  # the output layer is gone
    ([[0, 0], [0, 0]], [[1, 1]], False),
])
def test_layer_collapse_is_seen(first, second, connected):
    masks = [torch.tensor(first, dtype=torch.bool), torch.tensor(second, dtype=torch.bool)]
    live = live_units(masks)
    assert bool(live[-1].any()) == connected and bool(live[0].any()) == connected and bool(live[1].any()) == connected


def test_collapse_is_reported_and_the_outputs_are_zero():
    X, y = problem(d=2)
    collapsed = fit([3], X, y, width=400, num_epochs=1, prune_iters=0.5)[3]  # output weights start below 1/20
    assert not collapsed.connected and collapsed.num_nonzero == 3
    assert collapsed.score == negative_mse(y)(np.zeros_like(y))
    assert fit([12], X, y, width=4)[12].connected


# Whole runs

@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.sampled_from([None, 1, 3]),
       st.lists(st.integers(1, 90), min_size=1, max_size=4, unique=True),
       st.sampled_from([0, 1, 2, 5, 0.1, 0.25, 0.5, 0.9]), st.sampled_from([0, 7]))
def test_counts_are_exact(d, width, num_layers, k, slist, prune_iters, batch_size):
    X, Y = problem(n=20, d=d, k=k)
    num_weights = d * width + (num_layers - 1) * width**2 + width * (k or 1)
    columns = {s: counts[t] for counts, columns in runs(num_weights, slist, prune_iters) for s, t in columns.items()}
    pruned = fit(slist, X, Y, width=width, num_layers=num_layers, num_epochs=1, prune_iters=prune_iters,
                 batch_size=batch_size)
    assert list(pruned) == slist
    for s, result in pruned.items():
        assert result.num_nonzero == columns[s] <= s
        assert sum(np.count_nonzero(W) for W in result.weights) == result.num_nonzero
        outputs = mlp_forward([torch.from_numpy(W) for W in result.weights], torch.from_numpy(X.copy())).numpy()
        assert result.score == pytest.approx(negative_mse(Y)(outputs.reshape(Y.shape)), rel=1e-5)


@pytest.mark.parametrize("prune_iters", [0.2, 4])
def test_masks_are_nested_and_weights_rewound(rounds, prune_iters):
    X, y = problem()
    fit([3], X, y, prune_iters=prune_iters)
    initial = mlp_weights((6, 4, 1), 0)
    assert len(rounds) == len(runs(28, [3], prune_iters)[0][0])
    assert all(mask.all() for mask in rounds[0][1])
    for _, masks, _ in rounds[1:]:
        assert not all(mask.all() for mask in masks)
    for (_, before, _), (start, after, _) in zip(rounds, rounds[1:], strict=False):
        for W, W0, old, new in zip(start, initial, before, after, strict=True):
            assert not (new & ~old).any()
            assert torch.equal(W, W0 * new)


def test_the_order_of_slist_does_not_matter():
    X, y = problem()
    for prune_iters in (0, 0.3, 3):
        together = fit([5, 40, 2, 11], X, y, prune_iters=prune_iters)
        alone = {s: fit([s], X, y, prune_iters=prune_iters)[s] for s in (5, 40, 2, 11)}
        assert same_networks(together, alone)


def test_a_network_within_the_budget_is_trained_and_not_pruned():
    X, y = problem()
    dense = fit([28, 100], X, y)
    assert dense[28].num_nonzero == dense[100].num_nonzero == 28
    assert dense[28].score > fit([28], X, y, num_epochs=0)[28].score


@pytest.mark.parametrize("k, batch_size, loss", [(None, 0, "squared"), (3, 7, "squared"), (3, 0, "cross_entropy"),
                                                 (3, 16, "cross_entropy")])
def test_same_seed_same_bits(k, batch_size, loss):
    X, Y = problem(k=k)
    Y = Y if loss == "squared" else np.eye(3, dtype=np.float32)[Y.argmax(1)]
    first, second, other = (fit([4, 9], X, Y, seed, batch_size=batch_size, loss=loss) for seed in (1, 1, 2))
    assert same_networks(first, second) and not same_networks(first, other)


def test_inputs_are_left_alone():
    X, y = problem()
    copies = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    fit([5], X, y, batch_size=16)
    assert np.array_equal(X, copies[0]) and np.array_equal(y, copies[1])


def test_one_batch_order_per_round_and_seed(rounds):
    X, y = problem(n=60)
    for seed in (0, 1):
        fit([5], X, y, seed, batch_size=16, num_epochs=2)
    orders = []
    for _, _, data in rounds:
        assert [len(x) for x, _ in data] == [16, 16, 16, 12]
        rows = np.concatenate([x.numpy() for x, _ in data])
        order = [int(np.flatnonzero((X == row).all(1))[0]) for row in rows]
        assert sorted(order) == list(range(60))
        assert np.array_equal(np.concatenate([t.numpy() for _, t in data])[:, 0], y[order])
        orders.append(tuple(order))
    assert len(set(orders)) == len(rounds) > 1


def test_a_batch_of_everything_is_full_batch():
    X, y = problem()
    assert same_networks(fit([5], X, y, batch_size=0), fit([5], X, y, batch_size=60))


def test_divergence_is_an_error():
    X, y = problem()
    X[0, 0] = np.inf
    with pytest.raises(FloatingPointError, match="not finite after 3 epochs"):
        fit([5], X, y)


# An independent implementation: modules, the mask inside the graph, one gradient over the whole batch

def reference(batches_of_rounds, sizes, counts, seed, num_epochs, loss):
    """Weights right after the pruning of each round, from torch's own modules and pruning utilities."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(i, o, bias=False) for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
    initial = [layer.weight.detach().clone() for layer in layers]
    net = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.ReLU())][:-1])
    active = sum(W.numel() for W in initial)
    for data, count in zip(batches_of_rounds, counts, strict=True):
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(num_epochs):
            for X, Y in data:
                optimizer.zero_grad()
                loss(net(X), Y).backward()
                optimizer.step()
        torch_prune.global_unstructured(  # left alone, it would rank the weights of the last forward pass, a step old
            [(layer, "weight") for layer in layers], torch_prune.L1Unstructured, amount=active - count,
            importance_scores={(layer, "weight"): W for layer, W in zip(layers, net.parameters(), strict=True)})
        active = count
        yield [layer.weight_orig.detach() * layer.weight_mask for layer in layers]
        with torch.no_grad():
            for layer, W in zip(layers, initial, strict=True):
                layer.weight_orig.copy_(W)


@pytest.mark.parametrize("chunk", [2**20, 50])
@pytest.mark.parametrize("num_layers, k, batch_size, loss", [
    (1, None, 0, "squared"), (2, 3, 0, "squared"), (1, 3, 64, "cross_entropy"), (2, None, 64, "squared")])
def test_agreement_with_modules_and_autograd(rounds, monkeypatch, chunk, num_layers, k, batch_size, loss):
    monkeypatch.setitem(pruning.CHUNK_VALUES, "cpu", chunk)
    X, Y = problem(n=200, d=12, k=k)
    Y = Y if loss == "squared" else np.eye(3, dtype=np.float32)[Y.argmax(1)]
    sizes = (12, *[8] * num_layers, k or 1)
    (counts, _), = runs(sum(i * o for i, o in zip(sizes[:-1], sizes[1:], strict=True)), [1], 0.4)
    ours = fit(counts, X, Y, 5, width=8, num_layers=num_layers, batch_size=batch_size, prune_iters=0.4, loss=loss,
               num_epochs=10)
    module_loss = torch.nn.MSELoss() if loss == "squared" else torch.nn.CrossEntropyLoss()
    theirs = reference([data for _, _, data in rounds], sizes, counts, 5, 10, module_loss)
    for count, weights in zip(counts, theirs, strict=True):
        for W, E in zip(ours[count].weights, weights, strict=True):
            np.testing.assert_allclose(W, E, rtol=1e-4, atol=1e-5)
        outputs = mlp_forward(weights, torch.from_numpy(X.copy())).numpy().reshape(Y.shape)
        assert ours[count].score == pytest.approx(negative_mse(Y)(outputs), rel=1e-5)


def test_importing_does_not_import_torch():
    code = "import pruning, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(pruning.__file__).parent, check=True)
