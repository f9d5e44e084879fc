"""What all fits share from Python: called with the least, told after each step, wrong input refused, a network back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import bits

import aiht
import pruning
from beyond import creases, deep, gnhtp
from models import SparseNet
from tasks import planted_net

FITS = {  # what is fitted from the same data, and options that keep it short
    "aiht": (aiht.fit, {}), "aiht, two layers": (aiht.fit, {"num_layers": 2, "num_epochs": 3}),
    "aiht, random gates": (aiht.fit, {"convex": True, "num_epochs": 3}),
    "aiht, mini-batches": (aiht.fit, {"batch_size": 150, "num_epochs": 2}),
    "imp": (pruning.fit, {"num_epochs": 2}), "imp, rounds": (pruning.fit, {"num_epochs": 2, "prune_iters": 3}),
    "gnhtp": (gnhtp.fit, {"num_epochs": 5}), "gnhtp, realizable": (gnhtp.fit, {"realizable": True}),
    "creases": (creases.fit, {}), "deep": (deep.fit, {"num_epochs": 3}),
}
STEPS = {"aiht": 15, "aiht, two layers": 6, "aiht, random gates": 3, "aiht, mini-batches": 4, "imp, rounds": 3}
EXACT = {"gnhtp, realizable", "creases"}
SOLVERS = [aiht.fit, pruning.fit, gnhtp.fit, creases.fit, deep.fit]
D, M, S = 12, 3, 8


@pytest.fixture(scope="module")
def data():
    """Inputs [n, d] in double precision, C order, and the outputs [n] of a planted network."""
    X = np.random.default_rng(0).standard_normal((300, D))
    return X, planted_net(D, M, 1, 1, S, 0).predict(X)


def left(net, X, y):
    return np.mean((net.predict(X) - y) ** 2) / np.mean(y**2)


@pytest.mark.parametrize("name", FITS)
def test_a_callback_sees_every_step_and_changes_nothing(data, one_thread, name):
    (fit, options), seen = FITS[name], []
    net = fit(*data, S, width=M, **options, callback=lambda step, state: seen.append((step, state, state.net())))
    steps, states, nets = zip(*seen, strict=True)
    assert list(steps) == list(range(1, STEPS.get(name, len(steps)) + 1))
    assert all(isinstance(each, SparseNet) and each.predict(data[0]).shape == (300,) for each in nets)
    assert [len(each.layers) for each in nets] == [state.layer + 1 for state in states]
    assert bits(fit(*data, S, width=M, **options)) == bits(net) and net.num_nonzero <= S
    if "aiht" in name or "imp" in name:  # the others polish, or keep the best
        assert bits(nets[-1]) == bits(net) and nets[-1].gates == net.gates
        assert all(each.num_nonzero <= (S if "aiht" in name else D * M) for each in nets)
    if "gnhtp" in name:
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


def test_rounds_of_imp_name_the_numbers_of_nonzeros_that_are_to_come(data, one_thread):
    X, y = (array.astype(np.float32) for array in data)
    seen = []
    pruning.prune(X, y, X, lambda outputs: 0.0, [30, 8], 0, width=M, num_layers=1, num_epochs=1, batch_size=0,
                  prune_iters=0.2, loss="squared", device="cpu", callback=lambda *each: seen.append(each))
    assert [step for step, _ in seen] == list(range(1, seen[0][1].steps + 1))
    assert [state.slist for _, state in seen] == [(30, 8)] * 2 + [(8,)] * (len(seen) - 2)
    assert [state.net().num_nonzero for _, state in seen][1::len(seen) - 2] == [25, 8]


@pytest.mark.parametrize("fit", SOLVERS)
@pytest.mark.parametrize("wrong, words", [
    ({"s": 0}, "s must be a whole number, at least 1, and is 0"), ({"s": 2.5}, "s must be .* and is 2.5"),
    ({"s": 6.0}, "s must be .* and is 6.0 .float"), ({"s": None}, "s must be .* and is None"),
    ({"width": -1}, "width must be a whole number, at least 1, and is -1"),
    ({"X": np.ones(5)}, r"X must hold inputs \[n, d\]"), ({"y": np.ones(4)}, "y must hold targets .* the 300 samples"),
    ({"X": np.ones((300, 0))}, r"its shape is \(300, 0\)"), ({"y": np.ones((300, 0))}, r"its shape is \(300, 0\)"),
    ({"X": np.ones((300, D)) * 1j}, "X must hold real numbers, its type is complex128"),
    ({"y": np.r_[np.ones(299), np.nan]}, "y is not finite: sample 299 is nan"),
    ({"X": np.full((300, D), 1e300)}, "X is not finite: sample 0, input 0 is inf"),  # in single precision
], ids=str)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_cannot_be_fitted_is_refused(data, fit, wrong, words):
    given = {"X": data[0], "y": data[1], "s": S, "width": M} | wrong
    with pytest.raises(ValueError, match=words):
        fit(given.pop("X"), given.pop("y"), given.pop("s"), **given)


@pytest.mark.parametrize("fit", SOLVERS)
@pytest.mark.parametrize("of_X, of_y", [(1, 0), (0, 1), (0, 0), (np.nan, 1)], ids=str)
def test_data_without_anything_to_find_are_fitted(data, fit, of_X, of_y):
    """Zero times the data, or inputs that are all 1: nothing bends, and nothing correlates."""
    X, y = np.ones_like(data[0]) if np.isnan(of_X) else of_X * data[0], of_y * data[1]
    net = fit(X, y, S, width=M, num_epochs=2)
    assert net.num_nonzero <= S and np.isfinite(net.predict(X.astype(np.float32))).all()


@pytest.mark.parametrize("exponent", [-100, 100])
def test_crease_pursuit_does_not_depend_on_the_unit_of_the_targets(data, exponent):
    """Squares of these targets are 0 or infinite in single precision; a power of two leaves every bit as it is."""
    X, y = (array.astype(np.float32) for array in data)
    usual, other = (creases.recover(X, targets, S, width=M) for targets in (y, np.ldexp(y, exponent)))
    assert other.residual == usual.residual
    assert (other.net.layers[0].w.values == np.ldexp(usual.net.layers[0].w.values, exponent)).all()


def test_lists_and_reversed_data_are_data_too(data):
    X, y = data
    assert bits(aiht.fit(X.tolist(), y.tolist(), S, width=M)) == bits(aiht.fit(X, y, S, width=M))
    X, y = (array.astype(np.float32) for array in data)
    X, y = X[::-1], y[::-1]
    assert bits(pruning.fit(X, y, S, width=M)) == bits(pruning.fit(X.copy(), y.copy(), S, width=M))


def test_the_quickstart_runs(tmp_path):
    """Cell by cell, as a notebook would, with fewer samples and inputs."""
    text = (Path(aiht.__file__).parent / "examples/quickstart.py").read_text()
    assert text.count("# %%") > 8
    small = text.replace("n, d, m, s = 5000, 50, 5, 20", "n, d, m, s = 1000, 20, 3, 8")
    assert small != text
    (tmp_path / "small.py").write_text(small)
    environment = {**os.environ, "PYTHONPATH": str(Path(aiht.__file__).parent)}
    done = subprocess.run([sys.executable, "small.py"], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("support recall") == 4 and "Creases   support recall 1.00" in done.stdout
    assert (tmp_path / "figures/quickstart.png").stat().st_size
    assert SparseNet.load(tmp_path / "figures/quickstart.npz").num_nonzero == 8
