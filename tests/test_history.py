"""Histories of fits: what a row says, how neurons are matched, what is drawn of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import save_log

import make_figures as mf
from fits import FitState
from instances.task import Problem
from models import SparseLayer, SparseNet
from plotting import lines
from plotting.logs import find_logs, read_log
from sweep import history
from sweep.logbook import Log

FIRST = np.array([[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0]])  # [m, d]


def net(*weights, output=None):
    return SparseNet(tuple(SparseLayer.from_dense(np.array(W)) for W in weights),
                     None if output is None else SparseLayer.from_dense(np.array(output)))


@pytest.fixture
def problem():
    """Forty samples and their targets from FIRST; scored on other samples, as classes."""
    rng = np.random.default_rng(0)
    X, X_eval = (np.asfortranarray(rng.standard_normal((n, 4)).astype(np.float32)) for n in (40, 30))
    return Problem(X, net(FIRST).predict(X), X_eval, (net(FIRST).predict(X_eval) > 0.5).astype(float))


def rows(problem, nets, steps=None, renumbers=False):
    """The history of a fit that went through these networks."""
    recorder = history.Recorder(problem, 0, renumbers)
    callback = recorder.begin([5])
    for step, each in zip(steps or range(1, len(nets) + 1), nets, strict=True):
        callback(step, FitState(lambda each=each: each))
    return recorder.finished(5, nets[-1])


def test_a_row_says_what_the_network_is_and_what_has_changed(problem):
    grown = FIRST.copy()
    grown[2, 3] = 1
    found = rows(problem, [net(FIRST), net(grown), net(-FIRST)])
    assert found["step"].tolist() == [1, 2, 3]
    predictions = [each.predict(problem.X) for each in (net(FIRST), net(grown), net(-FIRST))]
    energy = np.sum(problem.Y**2)
    np.testing.assert_allclose(found["loss"], [np.sum((p - problem.Y) ** 2) / energy for p in predictions])
    assert found["score"][0] == 1 > found["score"][1] and found["num_nonzero"].tolist() == [3, 4, 3]
    assert found["live_neurons"].tolist() == [2, 3, 2] and (np.diff(found["seconds"]) >= 0).all()
    np.testing.assert_equal(found["support_changed"], [np.nan, 1 / 4, 1 / 4])  # one of four weights comes, and goes
    opened = np.count_nonzero(problem.X[:, 3] > 0)
    np.testing.assert_allclose(found["gates_changed"], [np.nan, opened / 120, 1])  # of a new neuron; then all flip


def test_neurons_are_matched_where_their_numbers_change(problem):
    """In both layers: with the neurons in another order, and doubled, nothing has changed."""
    order, outer = [2, 0, 1], np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    first, second = net(FIRST, outer), net(2 * FIRST[order], outer[[1, 2, 0]][:, order])
    np.testing.assert_allclose(second.predict(problem.X), 2 * first.predict(problem.X))
    for renumbers in (True, False):
        found = rows(problem, [first, second], renumbers=renumbers)
        assert (found["support_changed"][1] == found["gates_changed"][1] == 0) == renumbers
    outputs = [[1, 0, 0], [0, 3, 0]]
    two = replace(problem, Y=np.ones((40, 2)), Y_eval=np.ones((30, 2)))
    found = rows(two, [net(FIRST, output=outputs), net(FIRST[order], output=np.array(outputs)[:, order])],
                 renumbers=True)
    assert found["support_changed"][1] == 0 and found["num_nonzero"][1] == 5
    assert rows(problem, [net(FIRST), net(np.zeros((3, 4)))], renumbers=True)["support_changed"][1] == 1


def test_rows_of_a_start_that_was_given_up_are_dropped(problem):
    nets = [net(FIRST)] * 3 + [net(-FIRST)] * 2
    assert rows(problem, nets, steps=[1, 2, 3, 1, 2])["step"].tolist() == [1, 2]
    np.testing.assert_equal(rows(problem, nets, steps=[1, 2, 3, 1, 2])["support_changed"], [np.nan, 0])


def test_rows_are_taken_of_ever_fewer_steps_and_at_the_end(problem):
    steps = rows(problem, [net(FIRST)] * 200)["step"]
    assert steps[:10].tolist() == [*range(1, 11)] and steps[-1] == 200 and len(steps) < 50
    assert (np.diff(steps)[:-1] <= np.maximum(1, np.ceil((history.RATIO - 1) * steps[:-2]))).all()
    assert rows(problem, [net(FIRST)], steps=[5])["step"].tolist() == [5]  # a fit that told of nothing else


def test_the_loss_of_classes_is_their_cross_entropy(problem):
    Y = np.eye(2, dtype=np.float32)[[0, 1] * 20]
    classes = Problem(problem.X, Y, problem.X, Y, loss="cross_entropy")
    fitted = net(FIRST, output=[[1, 0, 0], [0, 3, 0]])
    P = np.exp(fitted.predict(problem.X))
    [loss] = rows(classes, [fitted])["loss"]
    np.testing.assert_allclose(loss, -np.mean(np.log(np.sum(P * Y, axis=1) / P.sum(axis=1))))


# ---- figures ----


def save_histories(name, method, steps, scores, **settings):
    """A log of m = 2, s = 5 and as many seeds as there are lists of scores."""
    path = save_log(name, np.ones((1, 1, len(scores))), method=method, axes=[[2], [5], list(range(len(scores)))],
                    **settings)
    log = Log.read(path.with_suffix(".json"), with_histories=True)
    for seed, (at, values) in enumerate(zip(steps, scores, strict=True)):
        log.histories[2, 5, seed] = dict.fromkeys(history.COLUMNS, np.ones(len(at))) | {
            "step": np.array(at, float), "score": np.array(values, float)}
    log.environments = [{}]
    log.save()


def test_curves_are_medians_and_quartiles_over_the_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_histories("a", "aiht", [[1, 2, 3]] * 3, [[1, 2, 3], [2, 4, 6], [9, 9, 9]])
    save_histories("b", "gnhtp", [[2], [1, 4]], [[10], [20, 30]], num_epochs=5)
    save_histories("c", "gnhtp", [[1]], [[7]], num_epochs=6)
    save_log("no_history", [[[1]]], axes=[[2], [5], [9]])
    logs = [log for path in find_logs(Path("logs")) if (log := read_log(path, with_histories=True)).histories]
    found = {label: (steps, values) for label, steps, values in lines.curves(logs, 2, "score")}
    assert [*found] == ["AIHT, s 5", "GNHTP (num_epochs 5), s 5", "GNHTP (num_epochs 6), s 5"]
    steps, values = found["GNHTP (num_epochs 5), s 5"]  # a seed keeps its last value, and has none before its first
    assert steps.tolist() == [1, 2, 4]
    np.testing.assert_equal(values, [[np.nan, 10, 10], [20, 20, 30]])
    ax = lines.draw_history(logs, 2, "score").axes[0]
    assert ax.get_ylabel() == "PSNR (dB)" and ax.get_xlabel() == "step"
    assert ax.lines[0].get_ydata().tolist() == [2, 4, 6] and ax.lines[1].get_ydata().tolist() == [20, 15, 20]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1.5, 7.5)
    for flags, stem in (("--history", "score_mlp_planted_aiht_gnhtp"),
                        ("--history loss --method aiht", "loss_mlp_planted_aiht")):
        assert mf.main(flags.split()) == 0
        path = f"figures/history_{stem}_m2"
        assert capsys.readouterr().out.split() == [f"{path}.png", f"{path}.pdf"]


def test_histories_that_cannot_be_drawn_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_log("a", [[[1]]])
    for flags, words in (("--history", "--history: none in logs"), ("--history --figure 1", "leave --figure"),
                         ("--history speed", "invalid choice: 'speed'")):
        assert mf.main(flags.split()) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
