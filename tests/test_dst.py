"""SET and RigL: exact counts, the right weights grown, and agreement with one optimizer for every weight."""

import itertools
import math
from contextlib import contextmanager
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pruning
import training
from beyond import dst
from models import SparseNet, mlp_forward, mlp_weights

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {"width": 5, "num_layers": 1, "num_epochs": 12, "batch_size": 0, "grow": "gradient", "mask_init": "erk",
            "update_every": 2, "drop_fraction": 0.5, "loss": "squared", "seed": 0, "device": "cpu"}
ROOMY = {"width": 6, "num_layers": 2}  # with 6 inputs, layers of 36, 36 and 6 weights


def problem(n=40, d=6, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(d, n)).astype(np.float32).T
    return X, rng.normal(size=n if k is None else (n, k)).astype(np.float32)


def train(s, X, Y, **changes):
    return dst.train(X, Y, s, **SETTINGS | changes)


def same(a, b):
    return all(np.array_equal(V, W) for V, W in zip(a.weights + a.masks, b.weights + b.masks, strict=True))


def close(a, b):
    return all(np.allclose(V, W, rtol=0, atol=1e-5) for V, W in zip(a, b, strict=True))


def random_layer(rng, shape=(8, 9), density=0.5):
    """A layer in the middle of a training."""
    mask = rng.random(shape) < density
    fields = (rng.normal(size=shape) * mask, rng.normal(size=shape) * mask, rng.random(shape) * mask,
              rng.integers(1, 50, shape) * mask)
    W, mean, square, age = (torch.tensor(field, dtype=torch.float32) for field in fields)
    return dst.Layer(W, torch.from_numpy(mask), mean, square, age)


@contextmanager
def recorded():
    """A list of (name, layers before, layers after, other arguments) of every call of dst.advance and dst.update."""
    calls = []

    def recording(name, function):
        def call(layers, *args):
            result = function(layers, *args)
            calls.append((name, layers, result[0] if name == "update" else result, args))
            return result
        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("advance", "update"):
            patch.setattr(dst, name, recording(name, getattr(dst, name)))
        yield calls


# The counts

def counts_by_trial(sizes, s, mask_init):
    """layer_counts, by trying which layers are at their lower end, which are full and which share what is left."""
    full = [i * o for i, o in itertools.pairwise(sizes)]
    wanted = [Fraction(i + o if mask_init == "erk" else i * o) for i, o in itertools.pairwise(sizes)]
    low, total = int(s >= len(full)), min(s, sum(full))

    def scales():
        for ends in itertools.product((low, None, math.inf), repeat=len(full)):
            fixed = sum(min(end, N) for end, N in zip(ends, full, strict=True) if end is not None)
            free = sum(share for share, end in zip(wanted, ends, strict=True) if end is None)
            yield from [(total - fixed) / free] if free else []

    exact = next(shares for shares in ([min(max(scale * share, low), N) for share, N in zip(wanted, full, strict=True)]
                                       for scale in scales()) if sum(shares) == total)
    counts = [math.floor(share) for share in exact]
    while sum(counts) < total:
        missing = [share - count for share, count in zip(exact, counts, strict=True)]
        counts[missing.index(max(missing))] += 1
    return counts


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 200), st.sampled_from(["erk", "uniform"]))
def test_layer_counts_are_those_of_a_slow_search(sizes, s, mask_init):
    counts = dst.layer_counts(sizes, s, mask_init)
    assert counts == counts_by_trial(sizes, s, mask_init)
    assert sum(counts) == min(s, sum(i * o for i, o in itertools.pairwise(sizes)))


def test_layer_counts_on_the_grid_of_the_images():
    assert dst.layer_counts((1500, 20, 1), 500, "erk") == [493, 7]  # 500 * 1520 / 1541 = 493.2
    assert dst.layer_counts((1500, 20, 1), 500, "uniform") == [499, 1]  # 500 * 30000 / 30020 = 499.7: 0.3 is below 1
    assert dst.layer_counts((100, 5, 1), 400, "erk") == [395, 5]  # 22 for the second layer, which holds 5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_counts_are_exact_at_every_step(data):
    d, width, num_layers, s = (data.draw(st.integers(1, most)) for most in (5, 6, 3, 90))
    k, seed = data.draw(st.sampled_from([None, 1, 3])), data.draw(st.integers(0, 99))
    changes = {"grow": data.draw(st.sampled_from(dst.GROWTH)), "drop_fraction": data.draw(st.floats(0, 1)),
               "mask_init": data.draw(st.sampled_from(sorted(dst.PROPORTIONS))),
               "update_every": data.draw(st.integers(1, 4)), "batch_size": data.draw(st.sampled_from([0, 7, 40]))}
    sizes = (d, *[width] * num_layers, k or 1)
    counts = dst.layer_counts(sizes, s, changes["mask_init"])
    with recorded() as calls:
        found = train(s, *problem(20, d, k), width=width, num_layers=num_layers, seed=seed, num_epochs=6, **changes)
    states = [layers for call in calls for layers in call[1:3]]
    for layers in states:
        assert [int(layer.mask.sum()) for layer in layers] == counts
        assert not any(field[~layer.mask].any() for layer in layers for field in (layer.W, layer.mean, layer.square))
    pairs = [pair for name, *pair, _ in calls if name == "update"]
    assert found.moved == sum(int((new.mask & ~old.mask).sum()) for pair in pairs
                              for old, new in zip(*pair, strict=True))
    assert found.steps == 6 * (3 if changes["batch_size"] == 7 else 1)
    assert found.num_nonzero == sum(counts) == min(s, sum(i * o for i, o in itertools.pairwise(sizes)))
    paths = reduce(lambda paths, mask: mask.astype(int) @ paths, found.masks, np.ones(d, dtype=int))
    assert found.connected == bool(paths.any())
    assert not any(W[~mask].any() for W, mask in zip(found.weights, found.masks, strict=True))


def test_a_network_within_the_budget_keeps_all_its_weights():
    X, y = problem()
    found = [train(s, X, y, grow=grow) for s in (35, 1000) for grow in dst.GROWTH]  # 6 * 5 + 5 weights
    assert all(net.num_nonzero == 35 and net.moved == 0 and same(net, found[0]) for net in found)
    assert not same(found[0], train(35, X, y, num_epochs=0))


@pytest.mark.parametrize("grow", dst.GROWTH)
def test_fewer_weights_than_layers(grow):
    X, y = problem()
    for s in (1, 2, 3):
        found = train(s, X, y, grow=grow, num_layers=3, drop_fraction=1)
        assert found.num_nonzero == s and not found.connected  # a path takes 4 weights
    assert SparseNet.from_dense(found.weights).predict(X).shape == y.shape


# The start

def test_the_start_is_that_of_imp_under_random_masks_and_the_same_for_set_and_rigl():
    X, y = problem()
    starts = [train(30, X, y, **ROOMY, num_epochs=0, grow=grow, seed=seed) for seed in (0, 1) for grow in dst.GROWTH]
    for start in starts[:2]:
        for W, mask, V in zip(start.weights, start.masks, mlp_weights((6, 6, 6, 1), 0), strict=True):
            assert np.array_equal(W, V.numpy() * mask)
    assert same(*starts[:2]) and same(*starts[2:]) and not same(starts[0], starts[2])
    places = sum(train(10, X, y, num_epochs=0, seed=seed).masks[0].astype(int) for seed in range(300))
    assert places.min() > 0.5 * places.mean()  # every weight has its chance: 80 times of 300, give or take 8


# Updates

def dense_gradient(weights, X, Y, loss):
    """By autograd of torch's modules on all weights at once, in double precision."""
    layers = [torch.nn.Linear(W.shape[1], len(W), bias=False, dtype=torch.float64) for W in weights]
    for layer, W in zip(layers, weights, strict=True):
        layer.weight.data = W.double()
    net = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.ReLU())][:-1])
    loss(net(X.double()), Y.double()).backward()
    return [layer.weight.grad.abs() for layer in layers]


@pytest.mark.parametrize("batch_size", [0, 9])
@pytest.mark.parametrize("loss, k", [("squared", 1), ("squared", 3), ("cross_entropy", 3)])
def test_rigl_grows_where_the_gradient_of_the_current_batch_is_largest(loss, k, batch_size):
    X, Y = problem(k=k)
    Y = Y if loss == "squared" else np.eye(3, dtype=np.float32)[Y.argmax(1)]
    with recorded() as calls:
        found = train(40, X, Y, **ROOMY, loss=loss, batch_size=batch_size)
    assert found.moved > 10
    function = torch.nn.MSELoss() if loss == "squared" else torch.nn.CrossEntropyLoss()
    updates = [call for call in calls if call[0] == "update"]
    for (_, before, after, args), (_, _, _, steps) in zip(updates, calls[::2], strict=True):
        rows = steps[2][-1]
        gradients = dense_gradient([layer.W for layer in before], *(torch.tensor(T)[rows] for T in (X, Y)), function)
        for old, new, G in zip(before, after, gradients, strict=True):
            count = int(args[0] * int(old.mask.sum()))
            smallest = old.W.abs()[old.mask].sort().values[:count]
            dropped = old.mask & (old.W.abs() <= (smallest[-1] if count else -1))
            assert int(dropped.sum()) == count
            candidates, grown = ~old.mask | dropped, new.mask & (~old.mask | dropped)
            assert torch.equal(new.mask & ~candidates, old.mask & ~dropped) and int(grown.sum()) == count
            rejected = candidates & ~grown
            if count and rejected.any():
                assert G[grown].min() >= G[rejected].max() * (1 - 1e-4) - 1e-7


def test_set_grows_anywhere():
    layer = random_layer(np.random.default_rng(0), (4, 10), 0.5)
    free = ~layer.mask
    grown = sum((dst.move(layer, 2, None, np.random.default_rng(seed)).mask & free).int() for seed in range(1000))
    expected = 1000 * 2 / (int(free.sum()) + 2)
    assert (abs(grown[free] - expected) < 5 * expected**0.5).all()


@given(st.integers(0, 10**6), st.floats(0.1, 1), st.booleans())
def test_grown_weights_start_afresh_and_all_others_go_on(seed, density, by_gradient):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, density=density)
    count = int(rng.integers(0, int(layer.mask.sum()) + 1))
    G = torch.tensor(rng.normal(size=layer.W.shape), dtype=torch.float32) if by_gradient else None
    new = dst.move(layer, count, G, rng)
    grown, stays = new.mask & ~layer.mask, new.mask & layer.mask
    assert int(new.mask.sum()) == int(layer.mask.sum()) and int(grown.sum()) <= count
    for before, after in zip((layer.W, *layer[2:]), (new.W, *new[2:]), strict=True):
        assert not after[grown].any() and torch.equal(after[stays], before[stays]) and not after[~new.mask].any()
    gradient = torch.full_like(layer.W, -2.0)
    stepped = dst.adam_step(new, gradient)
    assert torch.allclose(stepped.W[grown], torch.tensor(training.LEARNING_RATE))  # Adam's first step, at any time
    assert (stepped.age[new.mask] == new.age[new.mask] + 1).all()


def test_without_gradients_rigl_grows_at_random():
    rng = np.random.default_rng(0)
    layer = random_layer(rng)
    by_random, by_zeros = (dst.move(layer, 9, G, np.random.default_rng(1)) for G in (None, torch.zeros(8, 9)))
    assert torch.equal(by_random.mask, by_zeros.mask)


@pytest.mark.parametrize("drop_fraction", [0.3, 1.0])
def test_the_share_falls_along_a_cosine_until_three_quarters(drop_fraction):
    shares = [dst.moving_share(drop_fraction, step, 400) for step in range(401)]
    assert shares[0] == drop_fraction and shares[150] == pytest.approx(drop_fraction / 2)
    assert shares[100] == pytest.approx(0.75 * drop_fraction)
    assert all(a > b > 0 for a, b in itertools.pairwise(shares[:300])) and not any(shares[300:])


# Whole trainings

@pytest.mark.parametrize("batch_size", [0, 16])
def test_without_drops_both_are_plain_sparse_training(batch_size):
    X, y = problem()
    still = [train(30, X, y, **ROOMY, drop_fraction=0, num_epochs=60, grow=grow, batch_size=batch_size)
             for grow in dst.GROWTH]
    never = train(30, X, y, **ROOMY, num_epochs=60, update_every=10**6, batch_size=batch_size)
    start = train(30, X, y, **ROOMY, num_epochs=0)
    assert same(*still) and same(still[0], never) and still[0].moved == 0
    assert all(np.array_equal(a, b) for a, b in zip(start.masks, never.masks, strict=True))
    if not batch_size:  # IMP's training under these masks
        weights, masks = ([torch.from_numpy(T) for T in tensors] for tensors in (start.weights, start.masks))
        data = [(torch.tensor(X), torch.tensor(y)[:, None])]
        trained = pruning.train_round(weights, masks, data, 60, "squared")
        assert close(never.weights, [W.numpy() for W in trained]) and not close(never.weights, start.weights)


def on_paths(masks):
    """Masks of the weights on a path from an input to an output."""
    arrays = [mask.numpy().astype(int) for mask in masks]
    found = []
    for layer, mask in enumerate(arrays):
        below = reduce(lambda reached, M: M @ reached, arrays[:layer], np.ones(arrays[0].shape[1], dtype=int)) > 0
        above = reduce(lambda leads, M: M.T @ leads, arrays[:layer:-1], np.ones(len(arrays[-1]), dtype=int)) > 0
        found.append(mask * np.outer(above, below) > 0)
    return found


def one_optimizer_per_weight(calls, X, Y):
    """The weights at the end, if each is a parameter with an Adam of its own, made when it is grown.

    The masks and the batches are those of recorded calls.
    """
    start = calls[0][1]
    weights = {}

    def dense():
        return [torch.stack([weights.get((layer, place), (torch.zeros((), dtype=torch.float64),))[0]
                             for place in range(part.W.numel())]).view_as(part.W) for layer, part in enumerate(start)]

    def refill(layers, values):
        active = {(layer, place): values[layer].flatten()[place].double() for layer, part in enumerate(layers)
                  for place in part.mask.flatten().nonzero()[:, 0].tolist()}
        for gone in weights.keys() - active.keys():
            del weights[gone]
        for new in active.keys() - weights.keys():
            parameter = active[new].clone().requires_grad_()
            weights[new] = parameter, torch.optim.Adam([parameter], lr=1e-3)

    refill(start, [layer.W for layer in start])
    for name, before, after, args in calls:
        if name == "update":
            refill(after, [torch.zeros_like(layer.W) for layer in after])
            continue
        live = on_paths([layer.mask for layer in before])
        for rows in args[2]:
            x, y = torch.tensor(X)[rows].double(), torch.tensor(Y)[rows].double()
            loss = (mlp_forward(dense(), x) - y).square().mean()
            if not any(mask.any() for mask in live):
                continue
            loss.backward()
            for (layer, place), (parameter, optimizer) in weights.items():
                if live[layer].flat[place]:
                    optimizer.step()
                parameter.grad = None
    return [W.detach().numpy() for W in dense()]


@pytest.mark.parametrize("grow, batch_size, seed", [("random", 0, 0), ("random", 5, 1), ("gradient", 0, 2),
                                                    ("gradient", 5, 3)])
def test_a_training_is_that_of_one_optimizer_per_weight(grow, batch_size, seed):
    X, Y = problem(n=12, d=5, k=2, seed=seed)
    with recorded() as calls:
        found = train(20, X, Y, width=4, num_layers=2, num_epochs=40, update_every=4, grow=grow, seed=seed,
                      batch_size=batch_size)
    assert found.moved > 5
    assert close(found.weights, one_optimizer_per_weight(calls, X, Y))


@pytest.mark.parametrize("grow", dst.GROWTH)
def test_same_seed_same_bits_and_the_global_random_state_is_left_alone(grow):
    X, y = problem()
    X.flags.writeable = y.flags.writeable = False
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second, other = (train(20, X, y, grow=grow, batch_size=16, seed=seed) for seed in (3, 3, 4))
    assert same(first, second) and first.moved == second.moved > 0 and not same(first, other)
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])


def test_every_epoch_has_its_own_order_and_a_batch_of_everything_is_full_batch():
    X, y = problem(n=20)
    assert same(train(20, X, y), train(20, X, y, batch_size=20))
    epochs = list(dst.list_batches(20, 8, 3, 0, "cpu"))
    assert [len(rows) for rows in epochs] == [8, 8, 4] * 3
    orders = {tuple(torch.cat(epochs[i : i + 3]).tolist()) for i in (0, 3, 6)}
    assert len(orders) == 3 and all(sorted(order) == list(range(20)) for order in orders)


def test_rigl_finds_the_inputs_that_matter():
    X, _ = problem(n=100, d=40)
    y = np.maximum(0.2 * X[:, 3] - 0.3 * X[:, 7], 0)

    def mse(**changes):
        found = train(20, X, y, num_epochs=400, update_every=10, seed=3, **changes)
        return np.mean((SparseNet.from_dense(found.weights).predict(X) - y) ** 2)

    assert mse() < 0.1 * min(mse(grow="random"), mse(drop_fraction=0))


# Refusals

@pytest.mark.parametrize("where", [(0, 2), (7,)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_are_not_finite_are_refused(where, value):
    X, y = problem()
    (X if len(where) == 2 else y)[where] = value
    with pytest.raises(ValueError, match=f"not finite: sample {where[0]}"):
        train(5, X, y)


@pytest.mark.parametrize("wrong", [{"grow": "set"}, {"mask_init": "dense"}, {"update_every": 0},
                                   {"drop_fraction": -0.1}, {"drop_fraction": 1.01}, {"drop_fraction": math.nan}])
def test_unknown_settings_are_refused_before_any_step(wrong):
    with recorded() as calls, pytest.raises(ValueError, match=f"{list(wrong)[0]} is"):
        train(5, *problem(), **wrong)
    assert not calls


def test_divergence_is_an_error():
    X, y = problem()
    X[:2, 0] = 1e30, -1e30
    with pytest.raises(FloatingPointError, match="not finite after 2 steps"):
        train(35, X, y)
