"""What all fits share from Python: called with the least, told after each step, wrong input refused, a network back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strict_array
import torch
from helpers import assert_close, bits

import aiht
import pruning
from beyond import creases, deep, dst, gmp, gnhtp
from models import SparseNet
from numerics.workspace import Workspace

METHODS = [aiht, pruning, gnhtp, creases, deep, dst, gmp]
FITS = {  # what is fitted from the same data, and options that keep it short
    "aiht": (aiht, {}), "aiht, two layers": (aiht, {"num_layers": 2, "num_epochs": 3}),
    "aiht, random gates": (aiht, {"convex": True, "num_epochs": 3}),
    "aiht, mini-batches": (aiht, {"batch_size": 150, "num_epochs": 2}),
    "imp": (pruning, {"num_epochs": 2}), "imp, rounds": (pruning, {"num_epochs": 2, "prune_iters": 3}),
    "gnhtp": (gnhtp, {"num_epochs": 5}), "gnhtp, realizable": (gnhtp, {"realizable": True}),
    "creases": (creases, {}), "deep": (deep, {"num_epochs": 3}), "rigl": (dst, {"num_epochs": 7, "update_every": 2}),
    "gmp": (gmp, {"num_epochs": 25}),
}
STEPS = {"aiht": 15, "aiht, two layers": 6, "aiht, random gates": 3, "aiht, mini-batches": 4, "imp, rounds": 3,
         "rigl": 4, "gmp": 3}
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
    ({"y": np.ones(4)}, "y must be .* with n = 300 as in X"),  # and all that fit_data refuses
    ({"y": np.ones((300, 1))}, r"give one output as y\[:, 0\]"),
    ({"X": np.ones((300, D)) * 1j}, "X must hold real numbers, not complex128"),
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
    ((gnhtp,), {"least_squares": "qr"}, "least_squares: 'qr' is not one of auto, cholesky, cg"),
    ((gnhtp,), {"y": np.ones((300, 2))}, r"y: beyond.\w+.fit fits 1 output, not 2"),
    ((deep,), {"num_layers": 1}, "num_layers: beyond.deep.fit fits 2 hidden layers"),
    ((creases,), {"num_layers": 2}, "num_layers: beyond.creases.fit fits 1 hidden layer"),
])
def test_options_that_are_wrong_or_do_not_suit_the_data_are_refused(data, methods, wrong, words):
    for method in methods:
        with pytest.raises(ValueError, match=words):
            method.fit(data[0], **{"y": data[1], "s": S, "width": M} | wrong)


ODD = {  # X, y, s of ninety samples X [n, d] of a network, and its outputs y [n]
    "more weights than there are": lambda X, y: (X, y, 500),
    "one input": lambda X, y: (X[:, :1], np.abs(X[:, 0]), 5),
    "targets that are zero": lambda X, y: (X, 0 * y, 5),
    "targets that are negative": lambda X, y: (X, -1 - np.abs(y), 5),
    "inputs that are zero": lambda X, y: (0 * X, y, 5),
    "inputs that are all 1": lambda X, y: (0 * X + 1, y, 5),
    "inputs that are there twice": lambda X, y: (np.hstack([X, X]), y, 5),
    "samples that are there often": lambda X, y: (np.repeat(X[:3], 30, axis=0), np.repeat(y[:3], 30), 5),
    "fewer samples than inputs": lambda X, y: (X[:4], y[:4], 20),
    "one sample": lambda X, y: (X[:1], y[:1], 3),
    "pixels": lambda X, y: (np.abs(X) * 100, np.sign(X[:, 0]), 5),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", FITS)
@pytest.mark.filterwarnings("error")
def test_odd_data_are_fitted_within_the_budget(data, short, name, odd):
    """With three outputs and two layers, too, where a method fits them; nothing overflows."""
    (method, options), (X, y, s) = FITS[name], ODD[odd](*(array[:90] for array in data))
    if method is creases and len(X) <= X.shape[1]:
        with pytest.raises(ValueError, match="X: beyond.creases.fit needs more samples than inputs, not "):
            method.fit(X, y, s, width=M)
        return
    options = options | {"num_epochs": 7, "batch_size": 0} if "batch_size" in options else options | {"num_epochs": 7}
    for Y in (y, np.stack([y, -y, X[:, 0]], axis=1))[: 1 if method is gnhtp else 2]:
        for more in ({}, {"num_layers": 2})[: 1 if method in (creases, deep) else 2]:
            net = method.fit(X, Y, s, width=M, **options | more)
            assert net.num_nonzero <= s and net.predict(X.astype(np.float32)).shape == Y.shape
            assert np.isfinite(net.predict(X.astype(np.float32))).all()
            for part in [*net.layers, *([net.output] if net.output else [])]:
                assert (np.diff(part.w.indices) > 0).all() and part.w.values.all()
                assert (part.w.indices.dtype, part.w.values.dtype) == (np.int64, np.float32)
    if method is gnhtp:
        assert np.sum((net.predict(X.astype(np.float32)) - y) ** 2) <= np.sum(np.square(y, dtype=float)) * (1 + 1e-5)


@pytest.mark.parametrize("method", [pruning, dst, gmp])
def test_divergence_is_an_error(data, method, monkeypatch):
    monkeypatch.setattr("units.INPUTS", (0, np.inf))  # else such inputs are scaled
    X = data[0].copy()
    X[:2, 0] = 1e30, -1e30
    with pytest.raises(FloatingPointError, match="diverged in 1[05] "):
        method.fit(X, data[1], D * M, width=M)


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


@pytest.mark.parametrize("name", [name for name, (method, _) in FITS.items() if method in (aiht, gnhtp, creases)])
def test_a_fit_on_a_device_is_that_of_numpy(device, data, name):
    """With three outputs, too, where a method fits them; the network is on the host."""
    (method, options), (X, y) = FITS[name], (array.astype(np.float32) for array in data)
    for Y in (y, np.stack([y, -y, X[:, 0]], axis=1))[: 1 if method is gnhtp else 2]:
        expected, found = (method.solve(xp.asarray(X), xp.asarray(Y), 3 * S, width=M, **options | {"num_epochs": 4})
                           for xp in (np, device))
        if method is gnhtp:  # a search, which one ulp may lead another way: then it must fit as well
            assert left(found.net, X, y) <= 1.5 * left(expected.net, X, y) + 1e-6
        else:
            assert_close(found.net.predict(X), expected.net.predict(X), 1e-3)
        assert all(type(layer.w.values) is type(layer.w.indices) is np.ndarray for layer in found.net.layers)
        assert found.details.get("step_sizes") == expected.details.get("step_sizes")


@pytest.mark.parametrize("name", [name for name, (method, _) in FITS.items() if method is gnhtp])
def test_rounding_of_a_gpu_does_not_make_a_search_worse(data, name, monkeypatch):
    """Products that differ by one unit in the last place, as those of another BLAS do."""
    (method, options), (X, y) = FITS[name], (array.astype(np.float32) for array in data)
    expected, noise = method.solve(X, y, 3 * S, width=M, **options | {"num_epochs": 4}), np.random.default_rng(0)
    exact = strict_array.ndarray.__matmul__

    def rounded(a, b):
        product = exact(a, b)
        towards = np.where(noise.random(product.shape) < 0.5, np.inf, -np.inf).astype(product.dtype)
        return strict_array.asarray(np.nextafter(product._data, towards))

    monkeypatch.setattr(strict_array.ndarray, "__matmul__", rounded)
    for _ in range(3):
        found = method.solve(strict_array.asarray(X), strict_array.asarray(y), 3 * S, width=M,
                             **options | {"num_epochs": 4})
        assert left(found.net, X, y) <= 1.5 * left(expected.net, X, y) + 1e-6


@pytest.mark.parametrize("method", [aiht, pruning, dst, gmp])
def test_a_batch_of_everything_is_full_batch(data, method):
    assert bits(method.fit(*data, S, width=M, batch_size=300)) == bits(method.fit(*data, S, width=M))


@pytest.mark.parametrize("method", [gnhtp, creases, deep])
@pytest.mark.parametrize("exponent", [-100, 10])
def test_the_unit_of_the_targets_is_that_of_the_weights(data, method, exponent):
    """A power of two leaves every bit of one layer, though squares of the targets may be 0 in single precision."""
    X, y = (array.astype(np.float32) for array in data)
    few = {"num_epochs": 20} if method is deep else {}  # it would try on and on: one hidden layer made these targets
    usual, other = (method.fit(X, targets, S, width=M, **few).predict(X) for targets in (y, np.ldexp(y, exponent)))
    assert_close(np.ldexp(other, -exponent), usual, 1e-5 if method is deep else 0)


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
    done = subprocess.run([sys.executable, "small.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("support recall") == 4 and "crease pursuit support recall 1.00" in done.stdout
    assert (tmp_path / "figures/quickstart.png").stat().st_size
    assert SparseNet.load(tmp_path / "figures/quickstart.npz").num_nonzero == 8
