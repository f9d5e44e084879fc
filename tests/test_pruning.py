"""IMP: exact counts, nested masks, rewinding, and agreement with an independent implementation in plain torch."""

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import torch
from helpers import bits
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune as torch_prune

from models import mlp_forward
from numerics import training
from numerics.masks import RANKINGS, kept_masks, lamp, magnitude
from numerics.streams import Stream
from numerics.workspace import Workspace
from pruning import Options, after_pruning, runs, solve_list, split_batches

pytestmark = pytest.mark.usefixtures("one_thread")


def problem(n=60, d=6, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(d, n)).astype(np.float32).T
    return X, rng.normal(size=n if k is None else (n, k)).astype(np.float32)


def fit(slist, X, y, seed=0, *, width=4, num_layers=1, **options):
    """{s: Found}, with predictions on X itself."""
    options = Options(**{"num_epochs": 3, "prune_iters": 0.3} | options)
    with Workspace() as work:
        return solve_list(X, y, slist, width=width, num_layers=num_layers, seed=seed, work=work, callback=None,
                          options=options, X_eval=X)


def matrices(found):
    """The weights [out, in] of the layers."""
    return [layer.dense() for layer in (*found.net.layers, found.net.output)]


def mse(found, y):
    return np.mean((found.outputs.astype(np.float64) - y) ** 2)


def same(a, b):
    return list(a) == list(b) and all(bits(a[s].net) == bits(b[s].net) and np.array_equal(a[s].outputs, b[s].outputs)
                                      for s in a)


# The schedule

@pytest.mark.parametrize("active, fraction, left", [
    (35, 0.1, 32),  # 3.5 goes down to 3
    (45, 0.1, 41),  # 4.5 goes down to 4: no rounding to even
    (36, 0.1, 32),
    (5, 0.1, 4),  # 0.5 goes down to 0, but at least one is pruned
    (1, 0.1, 0),
    (50, 0.07, 47),  # 3.5, although 0.07 * 50 > 3.5 in floating point
    (10, 0.99, 0),
])
def test_number_left_by_a_round(active, fraction, left):
    assert after_pruning(active, Fraction(str(fraction))) == left


def test_whole_prune_iters_schedule():
    assert runs(1000, [1, 10, 1000, 2000], 3) == [
        ([1000], {1000: 0, 2000: 0}), ([100, 10, 1], {1: 2}), ([215, 46, 10], {10: 2})]
    assert runs(1000, [7], 1.0) == runs(1000, [7], 0) == [([7], {7: 0})]
    assert runs(50, [47], 0.07) == [([47], {47: 0})]  # the fraction is exact


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

def test_magnitude_ranks_all_layers_together_and_keeps_the_first_of_equals():
    weights = [torch.tensor([[1.0, -2.0], [0.0, 2.0]]), torch.tensor([[-3.0, 2.0]])]
    masks = [torch.tensor([[True, True], [True, True]]), torch.tensor([[True, True]])]
    kept = kept_masks(weights, masks, 2, magnitude)
    assert kept[0].tolist() == [[False, True], [False, False]] and kept[1].tolist() == [[True, False]]
    ones = [torch.ones(50, 40), torch.ones(1, 50)]
    kept = kept_masks(ones, [W > 0 for W in ones], 1500, magnitude)
    assert torch.arange(2000).view(50, 40)[kept[0]].tolist() == list(range(1500)) and not kept[1].any()
    masks[0][0, 1] = False
    kept = kept_masks(weights, masks, 5, magnitude)  # an active zero stays before any pruned weight
    assert kept[0].tolist() == [[True, False], [True, True]] and kept[1].tolist() == [[True, True]]


def lamp_by_loop(W, mask):
    """The LAMP scores of a layer, one weight at a time, in exact arithmetic."""
    squares = [Fraction(w) ** 2 for w in W.flatten().tolist()]
    active = mask.flatten().tolist()
    scores = []
    for i, square in enumerate(squares):
        ahead = [j for j in range(len(squares)) if active[j] and (squares[j], -j) > (square, -i)]  # rank before i
        total = square + sum(squares[j] for j in ahead)
        scores.append(0.0 if not active[i] else 1.0 if not ahead else float(square / total) if total else 0.0)
    return torch.tensor(scores, dtype=torch.float64).view_as(W)


def layers_of(*values):
    """Strategy of (W, mask) of one layer, up to 5 x 6, with weights among the values."""
    return st.tuples(st.integers(1, 5), st.integers(1, 6), st.randoms(use_true_random=False)).map(lambda drawn: (
        torch.tensor([[drawn[2].choice(values) for _ in range(drawn[1])] for _ in range(drawn[0])]),
        torch.tensor([[drawn[2].random() < 0.7 for _ in range(drawn[1])] for _ in range(drawn[0])])))


ANY_LAYER = st.one_of(layers_of(0.0, 1.0, -1.0, 2.0), layers_of(*np.linspace(-1, 1, 40).tolist()), layers_of(0.0),
                      layers_of(1e-40, -1e-30, 1e-8, 3.0, 3e38))


@given(ANY_LAYER)
def test_lamp_scores_are_those_of_a_direct_loop(layer):
    W, mask = layer
    scores = lamp(W, mask)
    assert scores.dtype == torch.float64 and scores.shape == W.shape
    np.testing.assert_allclose(scores.numpy(), lamp_by_loop(W, mask).numpy(), rtol=1e-14, atol=0)


@given(st.lists(ANY_LAYER, min_size=1, max_size=4), st.sampled_from([lamp, magnitude]), st.data())
def test_kept_masks_are_nested_and_exact_and_lamp_empties_no_layer_first(layers, ranking, data):
    weights, masks = map(list, zip(*layers, strict=True))
    total = sum(int(mask.sum()) for mask in masks)
    count, fewer = sorted((data.draw(st.integers(0, total)), data.draw(st.integers(0, total))), reverse=True)
    kept, again = (kept_masks(weights, masks, number, ranking) for number in (count, fewer))
    assert sum(int(mask.sum()) for mask in kept) == count and sum(int(mask.sum()) for mask in again) == fewer
    for old, new, newer in zip(masks, kept, again, strict=True):
        assert not (new & ~old).any() and not (newer & ~new).any()
    if ranking is lamp and count >= sum(bool(mask.any()) for mask in masks):
        assert all(new.any() for old, new in zip(masks, kept, strict=True) if old.any())


def test_collapse_is_reported_and_the_outputs_are_zero_and_not_finetuned():
    X, y = problem(d=2)
    plain, tuned = (fit([3], X, y, width=400, num_epochs=1, prune_iters=0.5, finetune_epochs=epochs)
                    for epochs in (0, 5))  # output weights start below 1/20
    assert not plain[3].details["connected"] and plain[3].details["num_nonzero"] == 3 and same(plain, tuned)
    assert not plain[3].outputs.any() and fit([12], X, y)[12].details["connected"]


# Whole runs

@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.sampled_from([None, 3]),
       st.lists(st.integers(1, 90), min_size=1, max_size=4, unique=True),
       st.sampled_from([0, 1, 2, 5, 0.1, 0.25, 0.5, 0.9]), st.sampled_from([0, 7]), st.sampled_from(sorted(RANKINGS)),
       st.sampled_from([0, 2]))
@example(6, 4, 3, None, [1, 2, 3], 0.3, 0, "magnitude", 2)  # fewer weights than layers: no path is left
def test_counts_are_exact(d, width, num_layers, k, slist, prune_iters, batch_size, prune_score, finetune_epochs):
    X, y = problem(n=20, d=d, k=k)
    num_weights = d * width + (num_layers - 1) * width**2 + width * (k or 1)
    ends = {s: (t, run.counts[t]) for run in runs(num_weights, slist, prune_iters) for s, t in run.last.items()}
    pruned = fit(slist, X, y, width=width, num_layers=num_layers, num_epochs=1, prune_iters=prune_iters,
                 batch_size=batch_size, prune_score=prune_score, finetune_epochs=finetune_epochs)
    assert list(pruned) == slist
    for s, found in pruned.items():
        rounds, count = ends[s]
        epochs, weights = 1 + rounds + (finetune_epochs if count < num_weights else 0), matrices(found)
        paths = reduce(lambda paths, W: (W != 0).astype(int) @ paths, weights, np.ones(d, dtype=int))
        assert found.details == {"num_nonzero": count, "connected": bool(paths.any()),
                                 "steps": epochs * (3 if batch_size else 1)}
        assert found.net.num_nonzero == count <= s
        outputs = mlp_forward([torch.from_numpy(W) for W in weights], torch.from_numpy(X.copy())).numpy()
        assert found.outputs.dtype == np.float32
        np.testing.assert_allclose(found.outputs, outputs.reshape(y.shape), rtol=1e-5, atol=1e-6)


def test_the_order_of_slist_does_not_matter():
    X, y = problem()
    for prune_iters, finetune_epochs in ((0, 0), (0.3, 0), (3, 0), (0, 2), (0.3, 2), (3, 2)):
        choices = {"prune_iters": prune_iters, "finetune_epochs": finetune_epochs, "batch_size": 16}
        together = fit([5, 40, 2, 11], X, y, **choices)
        assert same(together, {s: fit([s], X, y, **choices)[s] for s in (5, 40, 2, 11)})


def test_batches_are_a_random_order_of_the_samples():
    X, Y = torch.arange(120.0).view(60, 2), torch.arange(60.0)[:, None]
    orders = []
    for seed in (0, 1):
        batches = split_batches(X, Y, 16, np.random.default_rng(seed))
        assert [len(x) for x, _ in batches] == [16, 16, 16, 12]
        inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
        orders.append(targets[:, 0].int().tolist())
        assert sorted(orders[-1]) == list(range(60)) and torch.equal(inputs, X[orders[-1]])
    assert orders[0] != orders[1]


# An independent implementation: modules, the mask inside the graph, one gradient over the whole batch

def reference(batches_of_rounds, sizes, counts, seed, num_epochs, loss, score, finetune_epochs):
    """Weights after the pruning of each round, or its retraining, from torch's own modules and pruning utilities.

    With finetune_epochs, the batches of a round are followed by those of its retraining.
    """
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(i, o, bias=False) for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
    initial = [layer.weight.detach().clone() for layer in layers]
    net = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.ReLU())][:-1])
    active, batches_of_rounds = sum(W.numel() for W in initial), iter(batches_of_rounds)

    def train(epochs):
        optimizer, data = torch.optim.Adam(net.parameters(), lr=1e-3), next(batches_of_rounds)
        for _ in range(epochs):
            for X, Y in data:
                optimizer.zero_grad()
                loss(net(X), Y).backward()
                optimizer.step()

    for count in counts:
        train(num_epochs)
        masks = [getattr(layer, "weight_mask", torch.ones_like(layer.weight)).bool() for layer in layers]
        torch_prune.global_unstructured(  # left alone, it would rank the weights of the last forward pass, a step old
            [(layer, "weight") for layer in layers], torch_prune.L1Unstructured, amount=active - count,
            importance_scores={(layer, "weight"): score(W.detach(), mask)
                               for layer, W, mask in zip(layers, net.parameters(), masks, strict=True)})
        active = count
        if finetune_epochs:
            train(finetune_epochs)
        yield [layer.weight_orig.detach() * layer.weight_mask for layer in layers]
        with torch.no_grad():
            for layer, W in zip(layers, initial, strict=True):
                layer.weight_orig.copy_(W)


@pytest.mark.parametrize("choices, chunk", [({}, 50), ({"prune_score": "lamp", "finetune_epochs": 7}, 2**20)], ids=str)
@pytest.mark.parametrize("num_layers, k, batch_size, loss", [
    (1, None, 0, "squared"), (2, 3, 0, "squared"), (1, 3, 64, "cross_entropy"), (2, None, 64, "squared")])
def test_agreement_with_modules_and_autograd(monkeypatch, chunk, num_layers, k, batch_size, loss, choices):
    """Round t has the order of mini-batches that its streams give."""
    monkeypatch.setitem(training.CHUNK_VALUES, "cpu", chunk)
    X, Y = problem(n=200, d=12, k=k)
    Y = Y if loss == "squared" else np.eye(3, dtype=np.float32)[Y.argmax(1)]
    sizes = (12, *[8] * num_layers, k or 1)
    (counts, _), = runs(sum(i * o for i, o in zip(sizes[:-1], sizes[1:], strict=True)), [num_layers + 1], 0.4)
    ours = fit(counts, X, Y, 5, width=8, num_layers=num_layers, batch_size=batch_size, prune_iters=0.4, loss=loss,
               num_epochs=10, **choices)
    data, finetune_epochs = (torch.tensor(X), torch.tensor(Y).view(len(Y), -1)), choices.get("finetune_epochs", 0)
    streams = [Stream.IMP_BATCHES, Stream.FINETUNE_BATCHES][: 2 if finetune_epochs else 1]
    batches = [split_batches(*data, batch_size, stream.generator(5, t))
               for t in range(len(counts)) for stream in streams]
    module_loss = torch.nn.MSELoss() if loss == "squared" else torch.nn.CrossEntropyLoss()
    theirs = reference(batches, sizes, counts, 5, 10, module_loss, finetune_epochs=finetune_epochs,
                       score=lamp_by_loop if "prune_score" in choices else magnitude)
    for count, weights in zip(counts, theirs, strict=True):
        for W, E in zip(matrices(ours[count]), weights, strict=True):
            np.testing.assert_allclose(W, E, rtol=1e-4, atol=1e-5)
