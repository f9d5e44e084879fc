"""What all fits share from Python: called with the least, told after each step, wrong input refused, a network back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import bits

import aiht
import pruning
from beyond import creases, deep, dst, gnhtp
from models import SparseNet
from numerics.workspace import Workspace

METHODS = [aiht, pruning, gnhtp, creases, deep, dst]
FITS = {  # what is fitted from the same data, and options that keep it short
    "aiht": (aiht, {}), "aiht, two layers": (aiht, {"num_layers": 2, "num_epochs": 3}),
    "aiht, random gates": (aiht, {"convex": True, "num_epochs": 3}),
    "aiht, mini-batches": (aiht, {"batch_size": 150, "num_epochs": 2}),
    "imp": (pruning, {"num_epochs": 2}), "imp, rounds": (pruning, {"num_epochs": 2, "prune_iters": 3}),
    "gnhtp": (gnhtp, {"num_epochs": 5}), "gnhtp, realizable": (gnhtp, {"realizable": True}),
    "creases": (creases, {}), "deep": (deep, {"num_epochs": 3}), "rigl": (dst, {"num_epochs": 7, "update_every": 2}),
}
STEPS = {"aiht": 15, "aiht, two layers": 6, "aiht, random gates": 3, "aiht, mini-batches": 4, "imp, rounds": 3,
         "rigl": 4}
EXACT = {"gnhtp, realizable", "creases"}
D, M, S = 12, 3, 8

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data():
    """Inputs [n, d] in double precision, C order, and the outputs [n] of a network with s weights."""
    rng, W = np.random.default_rng(0), np.zeros(M * D)
    W[rng.choice(M * D, S, replace=False)] = rng.standard_normal(S)
    X = rng.standard_normal((300, D))
    return X, np.maximum(X @ W.reshape(M, D).T, 0).sum(axis=1)


def left(net, X, y):
    return np.mean((net.predict(X) - y) ** 2) / np.mean(y**2)


@pytest.mark.parametrize("name", FITS)
def test_a_callback_sees_every_step_and_changes_nothing(data, name):
    (method, options), seen = FITS[name], []
    net = method.fit(*data, S, width=M, **options, callback=lambda step, state: seen.append((step, state, state.net())))
    steps, states, nets = zip(*seen, strict=True)
    assert list(steps) == list(range(1, STEPS.get(name, len(steps)) + 1))
    assert all(isinstance(each, SparseNet) and each.predict(data[0]).shape == (300,) for each in nets)
    assert [len(each.layers) for each in nets] == [state.layer + 1 for state in states]
    assert bits(method.solve(*data, S, width=M, **options).net) == bits(net) and net.num_nonzero <= S
    if method in (aiht, pruning):  # the others polish, move weights, or keep the best
        assert bits(nets[-1]) == bits(net) and nets[-1].gates == net.gates
        assert all(each.num_nonzero <= (S if method is aiht else D * M) for each in nets)
    if method is gnhtp:
        np.testing.assert_allclose([state.loss for state in states], [left(each, *data) for each in nets], atol=1e-6)
    if name in EXACT:
        assert left(net, *data) < 1e-10 and states[-1].loss < 1e-10 < states[0].loss


def test_a_callback_sees_the_steps_of_a_fit_with_several_outputs_begin_again(data):
    """From twice the inputs the first step sizes diverge: the numbers begin again, and end with the last epoch."""
    X, y = data
    seen = []
    net = aiht.fit(300 * X, np.stack([y, -y], axis=1), 20, width=M, callback=lambda *each: seen.append(each))
    steps = [step for step, _ in seen]
    assert steps.count(1) > 1 and steps[-15:] == list(range(1, 16)) and bits(seen[-1][1].net()) == bits(net)


def test_rounds_of_imp_name_the_numbers_of_nonzeros_that_are_to_come(data):
    X, y = (array.astype(np.float32) for array in data)
    seen, options = [], pruning.Options(num_epochs=1, prune_iters=0.2)
    with Workspace() as work:
        pruning.solve_list(X, y, [30, 8], width=M, num_layers=1, seed=0, work=work, options=options,
                           callback=lambda *each: seen.append(each))
    assert [step for step, _ in seen] == list(range(1, seen[0][1].steps + 1))
    assert [state.slist for _, state in seen] == [(30, 8)] * 2 + [(8,)] * (len(seen) - 2)
    assert [state.net().num_nonzero for _, state in seen][1::len(seen) - 2] == [25, 8]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong, words", [
    ({"s": 0}, "s: 0 is not a whole number from 1"), ({"s": 2.5}, "s: 2.5 is not"), ({"s": 6.0}, "s: 6.0 is not"),
    ({"s": None}, "s: None is not"), ({"width": -1}, "width: -1 is not a whole number from 1"),
    ({"num_layers": 0}, "num_layers: 0 is not"), ({"num_epochs": 0}, "num_epochs: 0 is not a whole number from 1"),
    ({"y": np.ones(4)}, "y must hold targets .* the 300 samples"),  # and all that check_finite refuses
    ({"y": np.ones((300, 1))}, r"give one output as y\[:, 0\]"),
    ({"X": np.ones((300, D)) * 1j}, "X must hold real numbers, its type is complex128"),
    ({"X": np.full((300, D), 1e300)}, "X is not finite: sample 0, input 0 is inf"),  # in single precision
], ids=str)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_cannot_be_fitted_is_refused(data, method, wrong, words):
    given = {"X": data[0], "y": data[1], "s": S, "width": M} | wrong
    with pytest.raises((ValueError, TypeError), match=words):
        method.fit(given.pop("X"), given.pop("y"), given.pop("s"), **given)


@pytest.mark.parametrize("methods, wrong, words", [
    ((aiht, pruning, dst), {"batch_size": 301}, "batch_size: 301 is over the 300 samples; use 0 for full batch"),
    ((aiht, pruning, dst), {"loss": "cross_entropy"}, "loss: cross_entropy takes one-hot targets"),
    ((aiht, pruning, dst), {"loss": "mse"}, "loss: 'mse' is not one of squared, cross_entropy"),
    ((pruning, dst), {"device": "gpu"}, 'device: \'gpu\' is not "cpu" or "cuda:N"'),
    ((aiht,), {"convex": True, "update_every": 2}, "update_every: 2 has no effect with convex; leave one out"),
])
def test_options_that_are_wrong_or_do_not_suit_the_data_are_refused(data, methods, wrong, words):
    for method in methods:
        with pytest.raises(ValueError, match=words):
            method.fit(*data, S, width=M, **wrong)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("of_X, of_y", [(1, 0), (0, 1), (0, 0), (np.nan, 1)], ids=str)
def test_data_without_anything_to_find_are_fitted(data, name, of_X, of_y):
    """Zero times the data, or inputs that are all 1: nothing bends, and nothing correlates."""
    X, y = np.ones_like(data[0]) if np.isnan(of_X) else of_X * data[0], of_y * data[1]
    method, options = FITS[name]
    net = method.fit(X, y, S, width=M, **options | {"num_epochs": 2})
    assert net.num_nonzero <= S and np.isfinite(net.predict(X.astype(np.float32))).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides(data, method):
    """Not the threads; data, random numbers of others and the workspace are left as they were."""
    X, y = (array.astype(np.float32) for array in data)
    X.flags.writeable = y.flags.writeable = False
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    with Workspace(2) as work:
        first, again, other = (method.fit(X, y, S, width=M, num_epochs=2, seed=seed, work=work) for seed in (3, 3, 4))
        assert work.map(abs, [-1, -2]) == [1, 2]
    assert bits(first) == bits(again) == bits(method.fit(X, y, S, width=M, num_epochs=2, seed=3))
    assert bits(first) != bits(other) or method in (gnhtp, creases, deep)  # which may find the same network
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize("method", [aiht, pruning, dst])
def test_a_batch_of_everything_is_full_batch(data, method):
    assert bits(method.fit(*data, S, width=M, batch_size=300)) == bits(method.fit(*data, S, width=M))


@pytest.mark.parametrize("exponent", [-100, 100])
def test_crease_pursuit_does_not_depend_on_the_unit_of_the_targets(data, exponent):
    """Squares of these targets are 0 or infinite in single precision; a power of two leaves every bit as it is."""
    X, y = (array.astype(np.float32) for array in data)
    usual, other = (creases.solve(X, targets, S, width=M) for targets in (y, np.ldexp(y, exponent)))
    assert other.details == usual.details
    assert (other.net.layers[0].w.values == np.ldexp(usual.net.layers[0].w.values, exponent)).all()


@pytest.mark.parametrize("method", METHODS)
def test_lists_and_reversed_data_are_data_too(data, method):
    X, y = (array.astype(np.float32)[::-1] for array in data)
    nets = [method.fit(*given, S, width=M, num_epochs=2) for given in ((X, y), (X.copy(), y.copy()),
                                                                       (X.tolist(), y.tolist()))]
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2])


def test_the_quickstart_runs(tmp_path):
    """Cell by cell, as a notebook would, with fewer samples and inputs."""
    text = (Path(aiht.__file__).parent / "examples/quickstart.py").read_text()
    assert text.count("# %%") > 8
    small = text.replace("n, d, m, s = 5000, 50, 5, 20", "n, d, m, s = 1000, 20, 3, 8")
    assert small != text
    (tmp_path / "small.py").write_text(small)
    environment = {**os.environ, "PYTHONPATH": str(Path(aiht.__file__).parent)}
    done = subprocess.run([sys.executable, "small.py"], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("support recall") == 4 and "Creases   support recall 1.00" in done.stdout
    assert (tmp_path / "figures/quickstart.png").stat().st_size
    assert SparseNet.load(tmp_path / "figures/quickstart.npz").num_nonzero == 8
