"""studies/tune_opponents.py: what is held out, equal steps, the search, and the command lines that it ends with."""

import shlex

import numpy as np
import pytest

from instances.task import Problem
from studies import tune_opponents as tune
from sweep.flags import parse_arguments

QUIET = {"steps": 300, "mlist": (20, 10, 40), "slist": (100,)}


def digits(counts, k):
    """A problem whose inputs are the numbers of the samples, class after class; its test set may not be read."""
    labels, X = np.repeat(np.arange(k), counts), np.arange(sum(counts), dtype=np.float32)[:, None]
    Y = labels if k == 2 else labels[:, None] == np.arange(k)
    return Problem(X, Y.astype(np.float32), None, None)


@pytest.mark.parametrize("counts", [(30, 20), (10, 40, 21)])
def test_the_last_tenth_of_each_class_is_held_out_of_the_training_samples(counts):
    problem = digits(counts, len(counts))
    found, ends = tune.held_out(problem), np.cumsum(counts)
    expected = [row for count, end in zip(counts, ends, strict=True) for row in range(end - round(count / 10), end)]
    assert found.X_eval[:, 0].tolist() == expected
    assert sorted([*found.X[:, 0], *found.X_eval[:, 0]]) == list(range(sum(counts)))
    for X, Y in ((found.X, found.Y), (found.X_eval, found.Y_eval)):
        assert np.array_equal(Y, problem.Y[X[:, 0].astype(int)])


@pytest.mark.parametrize("method", tune.OPPONENTS)
def test_all_methods_take_about_the_same_steps(method):
    for steps, n in ((900, 45000), (900, 50000), (2700, 50000), (3000, 9000)):
        flags = tune.flags(method, steps, 500, n)
        epochs = flags["num_epochs"] * flags.get("prune_iters", 1) + flags.get("finetune_epochs", 0)
        assert abs(epochs * n / 500 - steps) <= n / 500


def test_settings_are_chosen_one_after_the_other_and_fits_are_kept(tmp_path, monkeypatch):
    best, fits = {"m": 10, "output_share": 0.4, "learning_rate": 0.01, "rate_decay": True, "input_scale": "none"}, []

    def fit(point):
        fits.append(point)
        return {"accuracy": sum(point[name] == value for name, value in best.items()), "taken": 300, "seconds": 1.0}

    monkeypatch.setattr(tune, "fit", fit)
    options = tune.Options(**QUIET, seedlist=(0, 1))
    for _ in range(2):
        entry = tune.tuned("gmp", 100, options, tmp_path / "log.json")
        assert entry.items() >= best.items() and entry["accuracy"] == 5
    assert len(fits) == 2 * (3 + 3 + 2 + 1 + 1)  # of every list but the first its other choices, with two seeds


def test_it_ends_with_command_lines_in_the_chosen_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "fit", lambda point: {"accuracy": point["m"] / 100, "taken": 300, "seconds": 1.0})
    assert tune.main(["--steps", "300", "--slist", "100", "200", "--logs_dir", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("python")]
    assert len(lines) == 2 * len(tune.OPPONENTS) * len(tune.FACTORS)
    for line in lines:
        settings = parse_arguments(shlex.split(line)[2:])
        assert settings.grid.mlist == (160,) and settings.grid.seedlist == (0, 1, 2)
        assert (settings.options.input_scale, settings.options.output_share) == ("largest", 0.2)
    steps = [parse_arguments(shlex.split(line)[2:]).options.num_steps(50000) for line in lines if "gmp" in line]
    assert steps == [300, 900] * 2
