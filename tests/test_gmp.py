"""Gradual pruning's schedule and masks, and what IMP, SET and RigL share with it: scales, and the output's share."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from helpers import bits
from hypothesis import given
from hypothesis import strategies as st

import pruning
from beyond import dst, gmp
from numerics.masks import output_count
from options import OptionError
from sweep.flags import parse_arguments
from sweep.methods import METHODS
from tasks import TASKS
from units import Units

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = {"pruning": (pruning, {"prune_iters": 2, "finetune_epochs": 3}), "gmp": (gmp, {"update_every": 2}),
           "set": (dst, {"grow": "random", "update_every": 8}), "rigl": (dst, {"update_every": 2})}


def pixels(n=60, d=8, k=3, seed=0):
    """Images of 0 to 255 and one-hot targets."""
    rng = np.random.default_rng(seed)
    return np.round(rng.uniform(0, 255, (n, d))).astype(np.float32), np.eye(k, dtype=np.float32)[rng.integers(0, k, n)]


def lengths(net):
    """The nonzero weights of each layer, output last."""
    return [len(layer) for layer in (*net.layers, net.output)]


# The schedule

@pytest.mark.parametrize("share, left", [
    (0, 840), (0.2, 840), (0.4, 470), (0.6, 280), (0.8, 210), (0.999, 200), (1, 200)])  # 640 times 27/64, 8/64, 1/64
def test_the_number_of_weights_falls_along_a_cubic(share, left):
    assert gmp.Options(prune_begin=0.2, prune_end=1).count_left(840, 200, share) == left
    assert gmp.Options(prune_begin=0.1, prune_end=0.5).count_left(840, 200, share / 2) == left


@given(st.data())
def test_masks_are_nested_and_exact_along_the_schedule(data):
    X, Y = pixels(n=12, d=5)
    s, width, num_layers = (data.draw(st.integers(1, most)) for most in (70, 5, 2))
    begin, end = sorted(data.draw(st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True)))
    options = {"num_epochs": 12, "update_every": data.draw(st.integers(1, 14)), "prune_begin": begin / 8,
               "prune_end": end / 8, "output_share": data.draw(st.sampled_from([0.0, 0.25, 0.8]))}
    seen = []
    found = gmp.solve(X, Y, s, width=width, num_layers=num_layers, loss="cross_entropy", **options,
                      callback=lambda step, state: seen.append(state.net()))
    dense = width * (5 + (num_layers - 1) * width + 3)
    steps = [min(number * options["update_every"], 12) for number in range(len(seen) + 1)]  # before each network
    counts = [gmp.Options(**options).count_left(dense, min(s, dense), step / 12) for step in steps]
    assert [net.num_nonzero for net in (*seen, found.net)] == [dense, *counts[1:]] and counts[-1] == min(s, dense)
    for old, new in pairwise([*seen, found.net]):
        for before, after in zip((*old.layers, old.output), (*new.layers, new.output), strict=True):
            assert set(after.w.indices) <= set(before.w.indices)


def test_pruning_that_ends_before_it_begins_is_refused():
    with pytest.raises(OptionError, match="prune_begin: 0.75 must be below prune_end 0.75"):
        gmp.Options(prune_begin=0.75)


# The share of the output layer

@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.decimals("0.01", "0.99", places=2).map(float))
def test_the_output_layer_gets_its_share_and_no_layer_grows_while_others_shrink(sizes, share):
    total, before = sum(sizes), (0, 0)
    for count in range(total + 1):
        output = output_count(sizes, count, share)
        feasible = [o for o in range(sizes[-1] + 1) if 0 <= count - o <= total - sizes[-1]]
        wanted = math.ceil(Fraction(str(share)) * count)
        assert output == min(feasible, key=lambda o: abs(o - wanted))
        assert before[0] <= output and before[1] <= count - output
        before = output, count - output


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("num_layers, s, share, output", [
    (1, 30, 0.3, 9), (1, 31, 0.3, 10), (1, 60, 0.9, 18), (1, 64, 0.05, 16), (2, 30, 0.3, 9), (1, 1000, 0.3, 18)])
def test_networks_have_their_share_of_output_weights(name, num_layers, s, share, output):
    """The layers hold 8 * 6, (6 * 6) and 6 * 3 weights."""
    (method, options), (X, Y) = TRAINED[name], pixels()
    net = method.fit(X, Y, s, width=6, num_layers=num_layers, output_share=share, num_epochs=8, **options)
    assert lengths(net)[-1] == output and net.num_nonzero == min(s, 48 + 18 + 36 * (num_layers - 1))


def test_the_layers_before_the_output_share_the_rest():
    assert dst.layer_counts((10, 6, 6, 2), 40, "uniform", 0.25) == [19, 11, 10]  # 30 as 60 to 36: 18.75, 11.25
    assert dst.layer_counts((10, 6, 2), 1, "erk", 0.25) == [0, 1]


# The scale of the inputs

@pytest.mark.parametrize("largest, exponent", [(255, 8), (1, 0), (0.75, 0), (0.7, -1), (5.6, 2), (5.7, 3), (0, 0)])
def test_inputs_are_divided_by_the_power_of_two_nearest_to_their_largest(largest, exponent):
    X = np.array([[0, -largest], [largest / 3, 0]], dtype=np.float32)
    assert Units.of(X, X[0], "squared", "largest").inputs == exponent


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_a_network_of_scaled_inputs_speaks_in_the_units_of_the_data(name, loss):
    """Bit for bit: that of the pixels over 256, its first weights over 256; the callback sees the same."""
    (method, options), (X, Y), seen = TRAINED[name], pixels(), []
    shared = {"width": 6, "num_epochs": 8, "loss": loss} | options
    net = method.fit(X, Y, 30, input_scale="largest", **shared, callback=lambda step, state: seen.append(state.net()))
    small, raw = method.fit(X / 256, Y, 30, **shared), method.fit(X, Y, 30, **shared)
    W, V = net.weights()
    assert np.array_equal(W, small.weights()[0] / 256) and np.array_equal(V, small.weights()[1])
    assert np.array_equal(net.predict(X), small.predict(X / 256)) and bits(net) != bits(raw)
    assert 0 < np.abs(seen[-1].weights()[0]).max() < 0.01  # initial weights are at most 1 / sqrt(8), over 256


def test_inputs_of_the_size_one_stay_as_they_are():
    X, Y = pixels()
    X = np.sin(X)
    for method, options in TRAINED.values():
        fits = [method.fit(X, Y, 30, width=6, num_epochs=4, input_scale=scale, **options)
                for scale in ("none", "largest")]
        assert bits(fits[0]) == bits(fits[1])


@pytest.mark.parametrize("task", [task for task, declared in TASKS.items() if declared.is_network])
def test_every_task_of_networks_takes_the_flags(task):
    for method in TRAINED:
        line = (f"--task {task} --method {method} --mlist 5 --slist 20 --input_scale largest --output_share 0.2 "
                "--learning_rate 0.003 --rate_decay")
        assert METHODS[method].solve.Options is type(parse_arguments(line.split()).options)
