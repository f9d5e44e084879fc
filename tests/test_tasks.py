"""tasks.py: the published instances, the splits, the scores; and that importing or asking for help does no work."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import tasks
from instances import files as datasets
from instances.planted import INPUT_DISTS, MNIST_LIMITS, mnist_pixels, planted_inputs, planted_net
from instances.task import Measure, Problem, SignalProblem, Skipped
from numerics.sparse import SparseVector
from options import flags
from sensing import GaussianSensing
from tasks import TASKS, score, signal_score, support_error

ROOT = Path(tasks.__file__).parent
DATA = os.environ.get("MLP_IHT_DATA", "")


def make(task, **changed):
    """A small task with these options."""
    small = {"nmeasurements": 300, "input_dim": 9} | changed
    return TASKS[task](**{name: value for name, value in small.items() if name in flags(TASKS[task])})


def build(task, m=5, s=5, seed=0, **changed):
    """An instance, after a check of what the solvers rely on."""
    num_layers, data_dir = changed.pop("num_layers", 1), changed.pop("data_dir", None)
    made = make(task, **changed)
    problem = made.build(m, s, seed, num_layers=num_layers, data_dir=data_dir)
    if made.is_network:
        for X, Y in ((problem.X, problem.Y), (problem.X_eval, problem.Y_eval)):
            assert X.dtype == Y.dtype == np.float32 and len(X) == len(Y)
            assert X.T.flags.c_contiguous and not X.flags.writeable
        assert (made.samples, made.outputs) == (len(problem.X), problem.Y[0].size)
    return problem


# ---- the planted network ----


def planted_reference(n, d, m, k, num_layers, s, seed):
    """The dense matrices [inputs, outputs], the inputs and the targets, float64, as the definition says."""
    rng = np.random.RandomState(seed + 1)
    shapes = [(d, m)] + [(m, m)] * (num_layers - 1) + ([(m, k)] if k > 1 else [])
    matrices = []
    for fan_in, fan_out in shapes:
        W = np.zeros(fan_in * fan_out)
        places = rng.choice(fan_in * fan_out, min(s // len(shapes), fan_in * fan_out), replace=False)
        W[places] = rng.normal(size=len(places)).astype(np.float32)
        matrices.append(W.reshape(fan_in, fan_out))
    X = np.random.RandomState(seed + 2).normal(size=(n, d)).astype(np.float32)
    Z = X.astype(np.float64)
    for W in matrices[:num_layers]:
        Z = np.maximum(Z @ W, 0)
    return matrices, X, Z @ matrices[-1] if k > 1 else Z.sum(axis=1)


@pytest.mark.parametrize("m, s, peak", [(1, 10, 19.143667), (50, 50, 37.32189)])
def test_the_planted_instance_is_the_published_one(m, s, peak):
    problem = build("mlp_planted", m, s, nmeasurements=50_000, input_dim=100)
    assert np.abs(problem.Y).max() == pytest.approx(peak, abs=5e-6) == problem.peak


@pytest.mark.parametrize("k, num_layers", [(1, 1), (1, 2), (1, 3), (4, 1), (4, 2)])
@pytest.mark.parametrize("m, s, seed", [(7, 98, 0), (4, 13, 5), (5, 31, 1)])
def test_the_planted_task_is_the_dense_definition(k, num_layers, m, s, seed):
    matrices, X, Y = planted_reference(300, 9, m, k, num_layers, s, seed)
    net = planted_net(9, m, k, num_layers, s, seed)
    layers = [*net.layers, *([net.output] if k > 1 else [])]
    for layer, W in zip(layers, matrices, strict=True):
        np.testing.assert_array_equal(layer.w.toarray().reshape(layer.m, layer.d), W.T)
        assert (np.diff(layer.w.indices) > 0).all()
    problem = build("mlp_planted", m, s, seed, num_layers=num_layers, output_dim=k)
    np.testing.assert_array_equal(problem.X, X)
    np.testing.assert_allclose(problem.Y, Y, rtol=1e-6, atol=1e-6)
    assert problem.peak == np.abs(problem.Y).max() and problem.loss == "squared"
    assert problem.X_eval is problem.X and problem.Y_eval is problem.Y  # there is no test set
    assert score(problem, net.predict(X)) > 140


@pytest.fixture
def stored(monkeypatch):
    """Puts images and labels in the place of the data sets; nothing is left of what was made of others."""
    caches = [function for function in vars(tasks).values() if hasattr(function, "cache_clear")]

    def stored(images, labels, cut=0):  # CIFAR-10 comes in two parts
        parts = images[:cut], labels[:cut], images[cut:], labels[cut:]
        monkeypatch.setattr(datasets, "read_mnist", lambda data_dir: (images, labels))
        monkeypatch.setattr(datasets, "read_cifar10", lambda data_dir: parts)
        for function in caches:
            function.cache_clear()

    yield stored
    for function in caches:
        function.cache_clear()


@pytest.mark.parametrize("dist, kurtosis, largest", [("normal", 3, 7), ("uniform", 1.8, 3**0.5), ("rademacher", 1, 1)])
def test_planted_inputs_are_standardised_and_independent(dist, kurtosis, largest):
    n, d = 40_000, 5
    X = planted_inputs(dist, n, d, 3).astype(np.float64)
    assert X.mean(axis=0) == pytest.approx(np.zeros(d), abs=5 / np.sqrt(n))
    assert X.T @ X / n == pytest.approx(np.eye(d), abs=0.02)  # 5 deviations of the largest kurtosis
    assert 0.57 * largest < np.abs(X).max() <= np.float32(largest)
    assert (X**4).mean() == pytest.approx(kurtosis, abs=0.1)


@pytest.mark.parametrize("dist", INPUT_DISTS)
def test_planted_inputs_depend_on_the_seed_alone(stored, dist):
    stored(*labelled_images([6000] * 10, (2, 3)))
    draws = []
    for seed, global_seed in ((0, 0), (0, 1), (1, 0)):
        np.random.seed(global_seed)
        planted_inputs.cache_clear()
        problem = build("mlp_planted", 4, 12, seed, input_dist=dist, input_dim=5)
        assert problem.planted.predict(problem.X) == pytest.approx(problem.Y, rel=1e-6, abs=1e-6)
        draws.append(problem.X.tobytes())
    assert draws[0] == draws[1] != draws[2]


def test_mnist_inputs_are_rows_of_the_training_images(stored):
    images, labels = labelled_images([6100] * 10, (2, 4), seed=5)
    images //= np.array([[1, 9, 2, 255], [3, 255, 2, 5]], dtype=np.uint8)  # two pixels are nearly constant
    images[:, 1, 1] = 7
    stored(images, labels)
    train = np.concatenate([members(images, labels, c)[:5000] for c in range(10)]).reshape(-1, 8).astype(np.float64)
    best = sorted(np.argsort(-train.var(axis=0))[:4])
    assert best == [0, 2, 4, 6]
    expected = (train[:, best] - train[:, best].mean(axis=0)) / train[:, best].std(axis=0)
    every = planted_inputs("mnist", 50_000, 4, 0)
    order = np.lexsort(every.T), np.lexsort(expected.astype(np.float32).T)
    np.testing.assert_allclose(every[order[0]], expected[order[1]], atol=1e-5)  # each image once, in another order
    assert not np.allclose(every, expected, atol=1e-3)
    some, known = planted_inputs("mnist", 300, 4, 1), {tuple(row) for row in np.round(every, 4).tolist()}
    assert {tuple(row) for row in np.round(some, 4).tolist()} <= known
    assert planted_inputs("mnist", 300, 7, 1).shape == (300, 7)
    with pytest.raises(ValueError, match="7 of 8 pixels vary, fewer than input_dim 8"):
        planted_inputs("mnist", 300, 8, 1)


@pytest.mark.parametrize("m, s, num_layers, reason", [
    (2, 10, 2, "2 x 2 weights cannot hold 5"),
    (1, 6, 3, "1 x 1 weights cannot hold 2"),
    (60, 4, 2, "labels are all zero"),
])
def test_skipped_cells(m, s, num_layers, reason):
    with pytest.raises(Skipped, match=reason):
        build("mlp_planted", m, s, num_layers=num_layers)
    build("mlp_planted", 2, 9, num_layers=2)  # 2 x 2 weights can hold 4
    assert planted_net(3, 2, 1, 1, 99, 0).num_nonzero == 6  # one layer is full instead


# ---- the Gaussian signal ----


@pytest.mark.parametrize("m, s, size", [(200, 12, 12), (5, 9, 5)])
def test_the_gaussian_signal(work, m, s, size):
    problem, again, other = (build("gaussian_sparse", m, s, seed, nmeasurements=40) for seed in (3, 3, 4))
    support = problem.w.indices
    assert problem.w.values.tolist() == [1] * size and problem.w.size == m
    assert (np.diff(support) > 0).all() and 0 <= support[0] and support[-1] < m
    A = GaussianSensing(3, 40, m, work)
    assert problem.y == pytest.approx(sum(A.columns(np.array([j])).apply(np.ones(1)) for j in support), abs=1e-5)
    assert again.y.tobytes() == problem.y.tobytes() and not np.isclose(other.y, problem.y).any()
    assert m == 5 or other.w.indices.tolist() != support.tolist()


# ---- scores ----


def problem_with(Y, peak):
    return Problem(None, None, None, np.array(Y, dtype=np.float32), peak=peak)


SIGNAL = SignalProblem(0, None, SparseVector(np.array([1, 3]), np.array([3, 4], dtype=np.float32), 6))


@pytest.mark.parametrize("Y, peak, outputs, expected", [
    ([1, 2, 3, 4], 2.0, [1.2, 1.8, 3.2, 3.8], 20 * math.log10(2) + 13.979400086720377),
    ([0, 0], 1.0, [1, 0], 3.0102999566398120),
    ([[0, 1], [2, 3]], 10.0, [[0, 1], [2, 1]], 20.0),  # the mean is over all entries
    ([1, 2], 5.0, [1, 2], math.inf),
    ([1e4], 1.0, [1e4 + 1e-6], 120.0),  # in float64
    ([0, 1, 1, 1], None, [0.4, 0.6, 0.5, 0.51], 0.75),  # 0.5 itself is class 0
    ([0, 1], None, [7, -7], 0.0),
    ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], None, [[-3, -1, -2], [0.2, 0.1, 0.9], [5, 6, 7]], 2 / 3),
])
def test_scores(Y, peak, outputs, expected):
    assert score(problem_with(Y, peak), np.array(outputs)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("indices, values, error, support", [
    ([1, 3], [3, 4], 0, 0),
    ([1], [3], 0.8, 0.25),
    ([1, 3, 4], [3, 4, 5], 1, 0.25),
    ([0, 2], [3, 4], math.sqrt(2), 1),
    ([], [], 1, 0.5),
])
def test_scores_of_a_signal(indices, values, error, support):
    w = SparseVector(np.array(indices, dtype=np.int64), np.array(values, dtype=np.float32), 6)
    assert signal_score(SIGNAL, w) == pytest.approx(error) and support_error(SIGNAL, w) == support


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("Y, peak", [([0, 1, 1], None), ([0, 1, 1], 1.0), (np.eye(3), None), (np.eye(3), 2.0)])
def test_predictions_that_are_not_finite_have_no_score(Y, peak, bad):
    problem, outputs = problem_with(Y, peak), np.array(Y, dtype=np.float32)
    score(problem, outputs)
    outputs.ravel()[[0, 2]] = bad
    with pytest.raises(FloatingPointError, match=f"2 of {outputs.size} predictions are not finite"):
        score(problem, outputs)


def test_a_signal_that_is_not_finite_has_no_score():
    with pytest.raises(FloatingPointError, match="1 of 2 predictions are not finite"):
        signal_score(SIGNAL, SparseVector(np.array([1, 3]), np.array([3, np.nan], dtype=np.float32), 6))


@pytest.mark.parametrize("wrong, fault", [
    ({"scale": "cubic"}, "neither linear nor log"), ({"range": (1, 1)}, "does not suit"),
    ({"range": (2, 1)}, "does not suit"), ({"range": (0, math.inf)}, "does not suit"),
    ({"range": (math.nan, 1)}, "does not suit"), ({"range": (0, 1), "scale": "log"}, "does not suit a log scale"),
])
def test_measures_that_cannot_be_drawn_are_refused(wrong, fault):
    with pytest.raises(ValueError, match=fault):
        Measure(**wrong)


def test_a_measure_is_the_same_after_a_log():
    for measure in [Measure(), *(task.measure for task in TASKS.values())]:
        assert Measure(**json.loads(json.dumps(vars(measure)))) == measure


# ---- images ----


def labelled_images(counts, shape, seed=0):
    """Random uint8 images and labels with so many of each class, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    return rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8), labels


def members(images, labels, c):
    """The images of one class in stored order, one by one."""
    return [image for image, label in zip(images, labels, strict=True) if label == c]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("task, shape, k", [("binary_mnist", (2, 3), 2), ("mnist", (2, 3), 10),
                                            ("binary_cifar10", (3, 2, 2), 2)])
def test_images_to_be_classified(stored, task, shape, k, bias):
    images, labels = labelled_images([6100] * 10, shape)
    images[:, 1] //= 3  # channels of different mean and deviation
    stored(images, labels, cut=30_000)
    problem = build(task, bias=bias)
    own = [np.array(members(images, labels, c), dtype=np.float64) for c in range(k)]
    train, test = (np.concatenate([images[part] for images in own]) for part in (slice(5000), slice(5000, 6000)))
    if task == "binary_cifar10":
        mean, deviation = (np.array([f(train[:, channel]) for channel in range(3)])[:, None, None]
                           for f in (np.mean, np.std))
        train, test = (train - mean) / deviation, (test - mean) / deviation
    for X, Y, pixels in ((problem.X, problem.Y, train), (problem.X_eval, problem.Y_eval, test)):
        flat = pixels.reshape(len(pixels), -1)
        assert X.shape == (len(flat), flat.shape[1] + bias) and (X[:, flat.shape[1]:] == 1).all()
        np.testing.assert_allclose(X[:, :flat.shape[1]], flat, rtol=1e-6, atol=1e-5)  # MNIST: raw, 0..255
        classes = np.repeat(np.arange(k), len(pixels) // k)
        np.testing.assert_array_equal(Y, classes if k == 2 else np.eye(10)[classes])
    assert problem.loss == ("squared" if k == 2 else "cross_entropy") and problem.peak is None


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("task, shape", [("inr_mnist", (28, 28)), ("inr_cifar10", (3, 32, 32))])
def test_images_as_functions_of_their_coordinates(stored, task, shape, seed):
    images, labels = labelled_images([6001, 6001, 5], shape)
    stored(images, labels, cut=200)
    problem, rng = build(task, seed=seed), np.random.RandomState(seed)
    if task == "inr_mnist":
        image, B = members(images, labels, 1)[5000], rng.normal(size=(750, 2)) * 2
    else:
        image = [image for image, label in zip(images[200:], labels[200:], strict=True) if label in (0, 1)][1000]
        B = np.column_stack([rng.normal(size=(750, 2)) * 5, rng.normal(size=750) * 0.05])
    assert problem.X.shape == (image.size, 1500) and problem.peak == 1 and problem.X_eval is problem.X
    np.testing.assert_allclose(problem.Y, image.ravel() / 255, rtol=1e-6)
    for place, (*channel, row, column) in enumerate(np.ndindex(shape)):
        if place % 97 == 0 or place == image.size - 1:
            phase = 2 * np.pi * sum(c * b for c, b in zip([row, column, *channel], B.T, strict=True))
            np.testing.assert_allclose(problem.X[place], [*np.sin(phase), *np.cos(phase)], atol=1e-6)


@pytest.mark.skipif(not (DATA and datasets.locate("mnist", DATA)), reason="MLP_IHT_DATA has no MNIST")
def test_genuine_mnist():
    images, labels = datasets.read_mnist(DATA)
    assert images.shape == (70000, 28, 28) and labels.shape == (70000,)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9] and labels[60000:60005].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels[:60000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    problem = build("inr_mnist", data_dir=DATA)
    np.testing.assert_allclose(problem.Y.reshape(28, 28), members(images, labels, 1)[5000] / 255, rtol=1e-6)
    assert problem.Y.max() == 1 and 0.03 < problem.Y.mean() < 0.15  # a thin stroke
    pixels = mnist_pixels(Path(DATA), MNIST_LIMITS["input_dim"])
    assert pixels.shape == (MNIST_LIMITS["nmeasurements"], MNIST_LIMITS["input_dim"])
    assert pixels.mean(axis=0, dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert pixels.std(axis=0, dtype=np.float64) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="716 of 784 pixels vary"):
        mnist_pixels(Path(DATA), MNIST_LIMITS["input_dim"] + 1)
    binary = build("binary_mnist", data_dir=DATA)
    assert binary.X.shape == (10_000, 784) and binary.X_eval.shape == (2000, 784) and binary.X.max() == 255


@pytest.mark.skipif(not (DATA and datasets.locate("cifar10", DATA)), reason="MLP_IHT_DATA has no CIFAR-10")
def test_genuine_cifar10():
    images, labels, test_images, test_labels = datasets.read_cifar10(DATA)
    assert images.shape == (len(labels), 3, 32, 32) and test_images.shape == (len(test_labels), 3, 32, 32)
    assert np.bincount(labels)[:2].tolist() == [5000, 5000] and np.bincount(test_labels)[:2].tolist() == [1000, 1000]
    problem = build("binary_cifar10", data_dir=DATA)
    assert problem.X.shape == (10_000, 3072) and problem.X_eval.shape == (2000, 3072)
    channels = problem.X.reshape(-1, 3, 1024)
    assert channels.mean(axis=(0, 2), dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert channels.std(axis=(0, 2), dtype=np.float64) == pytest.approx(1, abs=1e-5)


# ---- the table, and what an import does ----


def test_data_folder():
    assert datasets.data_folder("here", {"MLP_IHT_DATA": "there"}) == Path("here")
    assert datasets.data_folder(None, {"MLP_IHT_DATA": "there"}) == Path("there")
    assert datasets.data_folder(None, {}) == datasets.data_folder(None, {"MLP_IHT_DATA": ""}) == Path("data")
