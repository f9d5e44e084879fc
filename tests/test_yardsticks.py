"""The yardsticks on real data: transforms, greedy selection, what a number is, and the lines beside the methods."""

import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import save_log
from sklearn.linear_model import LogisticRegression, OrthogonalMatchingPursuit

from instances.files import class_split, read_cifar10, read_mnist
from instances.image import grid_features, image_problem
from instances.task import Problem
from studies import dictionaries, linear, real_data, trees, yardsticks
from studies.greedy import least_squares, select
from tasks import TASKS, score

RNG = np.random.default_rng(0)
SHAPES = [(28, 28), (3, 32, 32)]


# ---- images ----


def forms(shape):
    return [*dictionaries.pixels(shape), *dictionaries.wavelets(shape), *dictionaries.cosines(shape)]


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_are_orthonormal_and_have_a_way_back(shape):
    one, two = RNG.standard_normal((2, *shape))
    for form in forms(shape):
        assert np.sum(form.forward(one) * form.forward(two)) == pytest.approx(np.sum(one * two))
        np.testing.assert_allclose(form.inverse(form.forward(one)), one, atol=1e-12)
        everything, numbers = form.best(one, 2000 if len(shape) == 2 else 4000)
        np.testing.assert_allclose(everything, one, atol=1e-12)
        assert numbers <= 1024 if len(shape) == 2 else numbers == 3072


@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_of_the_best_terms_is_the_energy_of_the_others(shape):
    image = RNG.random(shape)
    for form in forms(shape):
        coefficients = np.sort(np.abs(form.forward(image)).ravel())[::-1]
        if coefficients.size == image.size:  # not padded
            approximation, numbers = form.best(image, 100)
            assert numbers == 100
            assert np.sum((approximation - image) ** 2) == pytest.approx(np.sum(coefficients[100:] ** 2))


def test_haar_and_cosines_are_those_of_the_textbook():
    """A half-bright image is two wavelets; a wave along the rows is one cosine."""
    half = np.zeros((32, 32))
    half[:, :16] = 1
    wave = np.cos(np.pi * 5 * (np.arange(32)[:, None] + 0.5) / 32) * np.ones(32)
    assert {np.sum(np.abs(form.forward(half)) > 1e-9) for form in dictionaries.wavelets((32, 32))} == {2}
    assert [np.sum(np.abs(form.forward(wave)) > 1e-9) for form in dictionaries.cosines((32, 32))] == [1]


def test_the_best_form_counts_and_no_more_than_s_coefficients():
    task, image = TASKS["inr_cifar10"](), RNG.random((32, 32)) + np.zeros((3, 32, 32))  # grey: one channel of three
    problem = image_problem(image, np.zeros((3072, 1)))
    find = dictionaries.best_terms(dictionaries.cosines, task, problem, 0, [50])
    answer = find(50)
    colours, decorrelated = (form.best(problem.Y.reshape(3, 32, 32).astype(float), 50)[0].ravel()
                             for form in dictionaries.cosines((3, 32, 32)))
    assert answer.numbers == 50 and answer.chosen == "DCT, colours too"
    assert score(problem, answer.outputs) == score(problem, decorrelated) > score(problem, colours)


@pytest.mark.skipif("MLP_IHT_DATA" not in os.environ, reason="needs the data sets: name their folder by MLP_IHT_DATA")
def test_the_second_images_are_those_of_the_rules():
    folder = Path(os.environ["MLP_IHT_DATA"])
    [haar, _] = dictionaries.wavelets((3, 32, 32))
    _, (digits, _) = class_split(*read_mnist(folder), range(2))
    *_, objects, labels = read_cifar10(folder)
    counts = np.count_nonzero(digits, axis=(1, 2))
    errors = [np.sum((haar.best(image, 500)[0] - image) ** 2) for image in objects[labels < 2] / 255]
    assert (counts[1000], counts.max()) == (81, 334)
    assert real_data.IMAGES == {"inr_mnist": (1000, counts.argmax()), "inr_cifar10": (1000, np.argmax(errors))}
    assert np.sum(np.array(errors) > errors[1000]) == 835


# ---- greedy selection ----


@pytest.fixture
def columns():
    X = RNG.standard_normal((40, 12)) * RNG.uniform(0.3, 3, 12)
    return X, X[:, [2, 5, 7]] @ [1.0, -2.0, 0.5] + RNG.standard_normal(40)


def residual(X, y, chosen):
    return np.sum((y - X[:, chosen] @ np.linalg.lstsq(X[:, chosen], y, rcond=None)[0]) ** 2)


def test_matching_pursuit_chooses_as_scikit_learn_does(columns):
    X, y = columns
    X = X / np.linalg.norm(X, axis=0)  # scikit-learn does not divide by lengths
    order, _ = select(X.T @ X, X.T @ y, 6, anew=False)
    for s in range(1, 7):
        theirs = OrthogonalMatchingPursuit(n_nonzero_coefs=s, fit_intercept=False).fit(X, y).coef_
        assert {*order[:s]} == {*np.flatnonzero(theirs)}
        ours = least_squares(X, y[:, None], np.isin(np.arange(12), order[:s])[:, None])[:, 0]
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_no_other_column_leaves_a_smaller_residual(columns):
    X, y = columns
    order, energies = select(X.T @ X, X.T @ y, 12, anew=True)
    left = [np.sum(y**2), *(residual(X, y, order[: s + 1]) for s in range(12))]
    for s in range(12):
        tried = {j: residual(X, y, [*order[:s], j]) for j in {*range(12)} - {*order[:s]}}
        assert min(tried, key=tried.get) == order[s]
    np.testing.assert_allclose(energies, -np.diff(left))


def test_columns_that_depend_on_others_are_never_chosen():
    X = RNG.standard_normal((30, 4))
    X = np.column_stack([X, X @ [1.0, 2, 3, 4], np.zeros(30)])
    for anew in (False, True):
        order, _ = select(X.T @ X, X.T @ RNG.standard_normal(30), 6, anew=anew)
        assert len(order) == 4 and 5 not in order


# ---- classification ----


def classes(k, n=600, d=8):
    """A problem of k classes that two inputs and a constant tell apart, the other inputs being noise."""
    X = RNG.standard_normal((2 * n, d)).astype(np.float32)
    labels = (X[:, 1] > 0.4).astype(int) if k == 2 else np.digitize(X[:, 1] + 0.1 * X[:, 3], np.linspace(-1, 1, k - 1))
    Y = (labels if k == 2 else np.eye(k)[labels]).astype(np.float32)
    return Problem(X[:n], Y[:n], X[n:], Y[n:], "squared" if k == 2 else "cross_entropy")


@pytest.mark.parametrize("k", [2, 4])
def test_a_classifier_has_at_most_s_numbers_and_finds_the_inputs_that_count(k):
    problem, slist = classes(k), (1, 2, 5, 20)
    find = linear.classifier(None, problem, 0, slist)
    answers = {s: find(s) for s in slist}
    assert all(1 <= answers[s].numbers <= s for s in slist)
    assert all(answers[s].outputs.shape == problem.Y_eval.shape for s in slist)
    assert score(problem, answers[2 if k == 2 else 20].outputs) > (0.95 if k == 2 else 0.8)  # the constant: a number


@pytest.mark.parametrize("k", [2, 4])
def test_supports_have_exactly_s_weights_and_are_nested(k):
    problem = classes(k)
    X, Y = linear.with_constant(problem.X), problem.Y.reshape(600, -1)
    for rule in (linear.by_squares, linear.by_likelihood):
        found = rule(X, Y, (3, 4, 8))
        assert [found[s].sum() for s in (3, 4, 8)] == [3, 4, 8]
        assert not np.any(found[3] & ~found[4]) and not np.any(found[4] & ~found[8])


def test_the_first_weight_by_squares_is_that_of_all_outputs_that_leaves_least():
    problem = classes(4)
    X, Y = linear.with_constant(problem.X), problem.Y
    [place] = np.argwhere(linear.by_squares(X, Y, (1,))[1])
    left = {(j, c): residual(X, Y[:, c], [j]) - np.sum(Y[:, c] ** 2)
            for j, c in itertools.product(range(9), range(4))}
    assert min(left, key=left.get) == tuple(place)


@pytest.mark.parametrize("k", [2, 4])
def test_logistic_regression_is_that_of_scikit_learn(k):
    problem, ridge = classes(k), 0.01
    X, Y = linear.with_constant(problem.X), problem.Y.reshape(600, -1)
    W = linear.logistic(X, Y, np.ones((9, Y.shape[1]), dtype=bool), ridge, 500)
    theirs = LogisticRegression(C=1 / (ridge * len(X)), fit_intercept=False, tol=1e-8, max_iter=5000).fit(
        X, Y[:, 0] if k == 2 else Y.argmax(axis=1)).coef_
    np.testing.assert_allclose(W.T, theirs, atol=2e-3)


def test_a_tree_counts_its_thresholds_and_leaves():
    problem = classes(4)
    find = trees.tree(None, problem, 0, (5, 20))
    small, large = find(5), find(20)
    assert small.numbers == 5 and small.chosen.endswith("3 leaves") and 5 <= large.numbers <= 19
    assert large.outputs.shape == problem.Y_eval.shape and score(problem, large.outputs) > 0.8


# ---- the program, the lines and the tables ----


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A task of small images; returns the words of a command line that computes it."""
    image = RNG.random((28, 28))
    monkeypatch.setattr("instances.image.mnist_image", lambda folder, number: image * (number + 1) / 2000)
    monkeypatch.setattr(yardsticks, "read_data", lambda settings: None)
    monkeypatch.setitem(real_data.SLISTS, "inr_mnist", (2, 5))
    return ["--tasks", "inr_mnist", "--seedlist", "0", "1", "--logs_dir", str(tmp_path / "logs"), "--figures_dir",
            str(tmp_path)]


def test_what_was_computed_is_kept_and_drawn(small, tmp_path, monkeypatch, saved):
    assert yardsticks.main(small) == 0
    kept = json.loads((tmp_path / "logs/yardsticks/inr_mnist.json").read_text())
    assert len(kept) == 2 * (3 * 2 + 2 * 2)  # images; Pixels, Haar and DCT have no seeds
    assert all(entry["numbers"] <= entry["s"] and "scikit-learn" in entry["versions"] for entry in kept)
    X = grid_features((28, 28), 1).astype(float)
    [own] = [entry for entry in kept if (entry["yardstick"], entry["image"], entry["seed"], entry["s"]) ==
             ("OMP", 1000, 1, 2)]
    pixels = TASKS["inr_mnist"]().build(1, 1, 1, num_layers=1, data_dir=None).Y
    order, _ = select(X.T @ X, X.T @ pixels, 2, anew=own["chosen"] == "OLS")
    assert own["score"] == pytest.approx(-10 * np.log10(residual(X, pixels, order) / 784), abs=1e-6)
    monkeypatch.setattr(yardsticks, "answer", None)  # nothing is computed again
    assert yardsticks.main(small) == 0 and yardsticks.main([*small, "--draw"]) == 0
    assert [ax.get_title() for ax in saved[-1].axes] == ["inr_mnist, image 1000", "inr_mnist, image 869"]


@pytest.mark.parametrize("module, package", yardsticks.PACKAGES.items())
def test_a_package_that_is_missing_is_named_with_its_remedy(small, monkeypatch, capsys, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    assert yardsticks.main(small) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert f"has no {package}, " in message and f"pip install {package}" in message


@pytest.mark.parametrize("task", real_data.WORDS)
def test_without_logs_the_panels_are_empty(task):
    figure = real_data.draw([], [], task)
    assert len(figure.axes) == len(real_data.panels(task)) and not any(ax.lines for ax in figure.axes)
    assert [*real_data.rows([], [], task, real_data.panels(task)[-1])] == []


def test_every_yardstick_has_a_place_in_the_figures():
    assert [*yardsticks.YARDSTICKS] == [*real_data.DASHES]


def read(folder):
    from plotting.logs import find_logs, read_log

    return [read_log(path) for path in find_logs(folder)]


def test_a_line_is_the_width_with_the_best_median(tmp_path, monkeypatch):
    monkeypatch.setitem(real_data.SLISTS, "mnist", (100, 200))
    published = {"num_epochs": 50, "batch_size": 5000, "folder": tmp_path, "task": "mnist"}
    axes = [[10, 20], [100, 200], [0, 1, 2]]
    save_log("a", [[[0.1, 0.5, 0.9], [0.3] * 3], [[0.6, 0.1, 0.4], [0.7, np.nan, np.nan]]], axes=axes, **published)
    save_log("b", [[[0.2] * 3, [0.9] * 3], [[0.3] * 3, [0.1] * 3]], axes=axes, method="pruning", **published)
    save_log("c", [[[0.2] * 3, [0.4] * 3], [[0.4] * 3, [0.5] * 3]], axes=axes, method="pruning",
             **published | {"num_epochs": 7})
    save_log("d", [[[0.2] * 3, [0.4] * 3], [[0.45] * 3, [0.3] * 3]], axes=axes, method="pruning",
             **published | {"num_epochs": 8})
    save_log("e", [[[0.99] * 3]], axes=[[10], [100], [0, 1, 2]], bias=True, **published)  # another problem
    lines = {line.title: line for line in real_data.method_lines(read(tmp_path), "mnist", None)}
    assert {title: (line.medians.tolist(), line.widths.tolist()) for title, line in lines.items()} == {
        "AIHT as published": ([0.5, 0.7], [10, 20]), "IMP as published": ([0.3, 0.9], [20, 10]),
        "IMP, other settings": ([0.45, 0.5], [20, 20])}
    [aiht, *_] = real_data.rows(read(tmp_path), [], "mnist", None)
    assert aiht == ("AIHT as published", "**0.500** (10)", "0.700 (20)")


def test_images_have_lines_of_their_own(tmp_path):
    for name, image in (("a", 1000), ("b", 869)):
        save_log(name, [[[image / 100]]], axes=[[5], [20], [0]], task="inr_mnist", num_epochs=100, image=image,
                 folder=tmp_path)
    for image in (1000, 869):
        [line] = real_data.method_lines(read(tmp_path), "inr_mnist", image)
        assert np.nanmax(line.medians) == image / 100
    entries = [{"task": "inr_mnist", "yardstick": "Haar", "image": 869, "s": s, "seed": 0, "score": value}
               for s, value in ((20, 12.3), (50, "inf"))]
    [row] = real_data.rows([], entries, "inr_mnist", 869)
    assert row == ("Haar", "", "", "", "**12.3**", "**exact**", "", "", "", "")
    figure = real_data.draw(read(tmp_path), entries, "inr_mnist")
    [_, right] = figure.axes
    assert [line.get_label() for line in right.lines] == ["AIHT as published", "Haar"]
