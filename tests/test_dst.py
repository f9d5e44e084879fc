"""Training under masks that change, SET, RigL, gradual pruning: counts, growth, one optimizer for every weight."""

import itertools
from functools import reduce

import numpy as np
import pytest
import torch
from helpers import bits
from hypothesis import given, settings
from hypothesis import strategies as st

from beyond import dst, gmp, masked
from models import SparseNet, mlp_forward, mlp_weights
from numerics.streams import Stream

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {"num_epochs": 12, "update_every": 2, "drop_fraction": 0.5}
ROOMY = {"width": 6, "num_layers": 2}  # with 6 inputs, layers of 36, 36 and 6 weights


def problem(n=40, d=6, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(d, n)).astype(np.float32).T
    return X, rng.normal(size=n if k is None else (n, k)).astype(np.float32)


def solve(s, X, y, *, width=5, **options):
    return dst.solve(X, y, s, width=width, **SETTINGS | options)


def trained(s, X, y, *, width=5, num_layers=1, seed=0, **options):
    """The layers at the start, and the periods of the training."""
    options, rng = dst.Options(**SETTINGS | options), Stream.DST.generator(seed)
    Y = torch.tensor(y).view(len(y), -1)
    sizes = (X.shape[1], *[width] * num_layers, Y.shape[1])
    start = dst.initial_layers(sizes, dst.layer_counts(sizes, s, options.mask_init), seed, rng, "cpu")
    return start, list(dst.periods(start, torch.tensor(X), Y, seed, rng, options))


def close(a, b):
    return all(np.allclose(V, W, rtol=0, atol=1e-5) for V, W in zip(a, b, strict=True))


# The counts


@pytest.mark.parametrize("sizes, s, mask_init, counts", [
    ((1500, 20, 1), 500, "erk", [493, 7]),  # 500 * 1520 / 1541 = 493.2
    ((1500, 20, 1), 500, "uniform", [499, 1]),  # 500 * 30000 / 30020 = 499.7: 0.3 is below 1
    ((100, 5, 1), 400, "erk", [395, 5]), ((100, 5, 1), 9999, "erk", [500, 5]),  # 22 for the second layer, which holds 5
    ((6, 5, 5, 1), 2, "erk", [1, 1, 0]), ((4, 4, 4, 4), 8, "uniform", [3, 3, 2]),  # of equal remainders the first
])
def test_layer_counts(sizes, s, mask_init, counts):
    assert dst.layer_counts(sizes, s, mask_init) == counts


@settings(max_examples=60)
@given(st.data())
def test_counts_are_exact_at_every_step(data):
    d, width, num_layers, s = (data.draw(st.integers(1, most)) for most in (5, 6, 3, 90))
    k, seed = data.draw(st.sampled_from([None, 3])), data.draw(st.integers(0, 99))
    options = {"grow": data.draw(st.sampled_from(dst.GROWTH)), "drop_fraction": data.draw(st.floats(0, 1)),
               "mask_init": data.draw(st.sampled_from(sorted(dst.PROPORTIONS))), "num_epochs": 6, "seed": seed,
               "update_every": data.draw(st.integers(1, 4)), "batch_size": data.draw(st.sampled_from([0, 7, 20]))}
    sizes, instance = (d, *[width] * num_layers, k or 1), problem(20, d, k)
    counts = dst.layer_counts(sizes, s, options["mask_init"])
    start, periods = trained(s, *instance, width=width, num_layers=num_layers, **options)
    for layers in (start, *(layers for period in periods for layers in (period.trained, period.updated))):
        assert [int(layer.mask.sum()) for layer in layers] == counts
        assert not any(field[~layer.mask].any() for layer in layers for field in (layer.W, layer.mean, layer.square))
    paths = reduce(lambda paths, layer: layer.mask.numpy().astype(int) @ paths, layers, np.ones(d, dtype=int))
    found = solve(s, *instance, width=width, num_layers=num_layers, **options)
    assert found.details == {"connected": bool(paths.any()), "steps": 6 * (3 if options["batch_size"] == 7 else 1),
                             "moved": sum(period.moved for period in periods)}
    assert bits(found.net) == bits(SparseNet.from_torch(layer.W for layer in layers))


def test_a_network_within_the_budget_keeps_all_its_weights():
    X, y = problem()
    fits = [solve(s, X, y, grow=grow) for s in (35, 1000) for grow in dst.GROWTH]  # 6 * 5 + 5 weights
    assert all(found.net.num_nonzero == 35 and found.details["moved"] == 0 for found in fits)
    start = SparseNet.from_torch(layer.W for layer in trained(35, X, y)[0])
    assert len({str(bits(found.net)) for found in fits}) == 1 and bits(fits[0].net) != bits(start)


@pytest.mark.parametrize("grow", dst.GROWTH)
def test_fewer_weights_than_layers(grow):
    X, y = problem()
    for s in (1, 2, 3):
        found = solve(s, X, y, grow=grow, num_layers=3, drop_fraction=1)
        assert found.net.num_nonzero <= s and not found.details["connected"]  # a path takes 4 weights
    assert found.net.predict(X).shape == y.shape


# The start

def test_the_start_is_that_of_imp_under_random_masks():
    X, y = problem()
    for layer, V in zip(trained(30, X, y, **ROOMY)[0], mlp_weights((6, 6, 6, 1), 0), strict=True):
        assert torch.equal(layer.W, V * layer.mask)
    rng = np.random.default_rng(0)
    masks = [dst.initial_layers((6, 5, 1), [8, 2], 0, rng, "cpu")[0].mask for _ in range(300)]
    places = torch.stack(masks).sum(0).float()
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
@pytest.mark.parametrize("loss, k", [("squared", None), ("squared", 3), ("cross_entropy", 3)])
def test_rigl_grows_where_the_gradient_of_the_current_batch_is_largest(loss, k, batch_size):
    X, y = problem(k=k)
    y = y if loss == "squared" else np.eye(3, dtype=np.float32)[y.argmax(1)]
    _, periods = trained(40, X, y, **ROOMY, loss=loss, batch_size=batch_size)
    assert sum(period.moved for period in periods) > 10
    function = torch.nn.MSELoss() if loss == "squared" else torch.nn.CrossEntropyLoss()
    data, steps, step = (torch.tensor(X), torch.tensor(y).view(len(y), -1)), 12 * (5 if batch_size else 1), 0
    for rows, before, after in periods:
        step += len(rows)
        gradients = dense_gradient([layer.W for layer in before], *(part[rows[-1]] for part in data), function)
        for old, new, G in zip(before, after, gradients, strict=True):
            count = int(dst.moving_share(0.5, step, steps) * int(old.mask.sum()))
            smallest = old.W.abs()[old.mask].sort().values[:count]
            dropped = old.mask & (old.W.abs() <= (smallest[-1] if count else -1))
            assert int(dropped.sum()) == count
            candidates, grown = ~old.mask | dropped, new.mask & (~old.mask | dropped)
            assert torch.equal(new.mask & ~candidates, old.mask & ~dropped) and int(grown.sum()) == count
            rejected = candidates & ~grown
            if count and rejected.any():
                assert G[grown].min() >= G[rejected].max() * (1 - 1e-4) - 1e-7


def test_set_grows_anywhere():
    mask = torch.rand((4, 10), generator=torch.Generator().manual_seed(0)) < 0.5
    layer, free = masked.MaskedLayer(mask * 1.0, mask, *[mask * 1.0] * 3), ~mask
    grown = sum((dst.move(layer, 2, None, np.random.default_rng(seed)).mask & free).int() for seed in range(1000))
    expected = 1000 * 2 / (int(free.sum()) + 2)
    assert (abs(grown[free] - expected) < 5 * expected**0.5).all()


@pytest.mark.parametrize("drop_fraction", [0.3, 1.0])
def test_the_share_falls_along_a_cosine_until_three_quarters(drop_fraction):
    shares = [dst.moving_share(drop_fraction, step, 400) for step in range(401)]
    assert shares[0] == drop_fraction and shares[150] == pytest.approx(drop_fraction / 2)
    assert shares[100] == pytest.approx(0.75 * drop_fraction)
    assert all(a > b > 0 for a, b in itertools.pairwise(shares[:300])) and not any(shares[300:])


# Whole trainings


def on_paths(masks):
    """Masks of the weights on a path from an input to an output."""
    arrays = [mask.numpy().astype(int) for mask in masks]
    found = []
    for layer, mask in enumerate(arrays):
        below = reduce(lambda reached, M: M @ reached, arrays[:layer], np.ones(arrays[0].shape[1], dtype=int)) > 0
        above = reduce(lambda leads, M: M.T @ leads, arrays[:layer:-1], np.ones(len(arrays[-1]), dtype=int)) > 0
        found.append(mask * np.outer(above, below) > 0)
    return found


def one_optimizer_per_weight(start, periods, X, Y, rate=1e-3, decays=False):
    """The weights at the end, if each is a parameter with an Adam of its own, made when it is grown.

    The masks and the batches are those of the periods.
    """
    weights, total, steps = {}, sum(len(batches) for batches, *_ in periods), 0

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
            weights[new] = parameter, torch.optim.Adam([parameter])

    refill(start, [layer.W for layer in start])
    for batches, before, after in periods:
        live = on_paths([layer.mask for layer in before])
        for rows in batches if any(mask.any() for mask in live) else ():
            x, y = torch.tensor(X)[rows].double(), torch.tensor(Y)[rows].double()
            (mlp_forward(dense(), x) - y).square().mean().backward()
            for (layer, place), (parameter, optimizer) in weights.items():
                optimizer.param_groups[0]["lr"] = rate * (1 - steps / total if decays else 1)
                if live[layer].flat[place]:
                    optimizer.step()
                parameter.grad = None
            steps += 1
        refill(after, [torch.zeros_like(layer.W) for layer in after])
    return [W.detach().numpy() for W in dense()]


@pytest.mark.parametrize("grow, batch_size, seed", [("random", 0, 0), ("random", 5, 1), ("gradient", 0, 2),
                                                    ("gradient", 5, 3)])
def test_a_training_is_that_of_one_optimizer_per_weight(grow, batch_size, seed):
    X, Y = problem(n=12, d=5, k=2, seed=seed)
    start, periods = trained(20, X, Y, width=4, num_layers=2, num_epochs=40, update_every=4, grow=grow, seed=seed,
                             batch_size=batch_size)
    assert sum(period.moved for period in periods) > 5
    assert close([layer.W for layer in periods[-1].updated], one_optimizer_per_weight(start, periods, X, Y))


@pytest.mark.parametrize("choices", [{}, {"learning_rate": 0.02}, {"learning_rate": 0.02, "rate_decay": True},
                                     {"output_share": 0.5, "batch_size": 5}], ids=str)
def test_gradual_pruning_is_that_of_one_optimizer_per_weight(choices):
    (X, Y), options = problem(n=12, d=5, k=2), gmp.Options(num_epochs=40, update_every=3, **choices)
    weights = mlp_weights((5, 4, 4, 2), 0)
    start = [masked.MaskedLayer.fresh(W, torch.ones_like(W).bool()) for W in weights]
    periods = list(gmp.periods(start, torch.tensor(X), torch.tensor(Y), 14, 0, options))
    rate = choices.get("learning_rate", 1e-3), "rate_decay" in choices
    expected = one_optimizer_per_weight(start, periods, X, Y, *rate)
    assert close([layer.W for layer in periods[-1].updated], expected)
    assert bits(gmp.fit(X, Y, 14, width=4, num_layers=2, **vars(options))) == bits(
        SparseNet.from_torch(layer.W for layer in periods[-1].updated))


def test_every_epoch_has_its_own_order():
    epochs = list(masked.list_batches(20, dst.Options(num_epochs=3, batch_size=8), 0))
    assert [len(rows) for rows in epochs] == [8, 8, 4] * 3
    orders = {tuple(torch.cat(epochs[i : i + 3]).tolist()) for i in (0, 3, 6)}
    assert len(orders) == 3 and all(sorted(order) == list(range(20)) for order in orders)
