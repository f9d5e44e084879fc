"""tasks.py: the published instances, the splits, the scores; and that importing or asking for help does no work."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import datasets
import tasks
from numerics.sparse import SparseVector
from sensing import GaussianSensing
from tasks import (
    INPUT_DISTS,
    MNIST_LIMITS,
    TASKS,
    Problem,
    SignalProblem,
    Skipped,
    class_split,
    data_folder,
    fourier_features,
    gaussian_sparse,
    mlp_planted,
    mnist_pixels,
    planted_inputs,
    planted_net,
    score,
    support_error,
)

ROOT = Path(tasks.__file__).parent
DATA = os.environ.get("MLP_IHT_DATA", "")


def flags(**changed):
    defaults = {"nmeasurements": 300, "input_dim": 9, "input_dist": "normal", "num_layers": 1, "output_dim": 1,
                "bias": False, "data_dir": None}
    return SimpleNamespace(**defaults | changed)


def check_arrays(problem):
    """What the solvers rely on."""
    for X, Y in ((problem.X, problem.Y), (problem.X_eval, problem.Y_eval)):
        assert X.dtype == Y.dtype == np.float32 and len(X) == len(Y)
        assert X.T.flags.c_contiguous and not X.flags.writeable


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
    problem = mlp_planted(flags(nmeasurements=50_000, input_dim=100), m, s, 0)
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
    if not Y.any() or num_layers > 1 and m * m < s // num_layers:
        pytest.fail("choose an instance that is not skipped")
    problem = mlp_planted(flags(num_layers=num_layers, output_dim=k), m, s, seed)
    check_arrays(problem)
    np.testing.assert_array_equal(problem.X, X)
    np.testing.assert_allclose(problem.Y, Y, rtol=1e-6, atol=1e-6)
    assert problem.peak == np.abs(problem.Y).max() and problem.loss == "squared"
    assert problem.X_eval is problem.X and problem.Y_eval is problem.Y  # there is no test set
    assert score(problem, net.predict(X)) > 140


@pytest.fixture
def fresh_inputs():
    """Nothing is left of the inputs that another test has drawn from its own images."""
    for function in (planted_inputs, mnist_pixels):
        function.cache_clear()
    yield
    for function in (planted_inputs, mnist_pixels):
        function.cache_clear()


@pytest.mark.parametrize("dist", ["normal", "uniform", "rademacher"])
def test_planted_inputs_are_standardised_and_independent(dist):
    n, d = 40_000, 5
    X = planted_inputs(dist, n, d, 3).astype(np.float64)
    assert X.mean(axis=0) == pytest.approx(np.zeros(d), abs=5 / np.sqrt(n))
    assert X.T @ X / n == pytest.approx(np.eye(d), abs=0.02)  # 5 deviations of the largest kurtosis
    assert {"normal": 4, "uniform": 1.72, "rademacher": 1}[dist] <= np.abs(X).max() <= {
        "normal": 7, "uniform": np.float32(3**0.5), "rademacher": 1}[dist]
    kurtosis = {"normal": 3, "uniform": 1.8, "rademacher": 1}[dist]
    assert (X**4).mean() == pytest.approx(kurtosis, abs=0.1)
    assert len(np.unique(X)) == 2 or len(np.unique(X)) > 0.9 * X.size


@pytest.mark.parametrize("dist", ["normal", "uniform", "rademacher", "mnist"])
def test_planted_inputs_depend_on_the_seed_alone(monkeypatch, tmp_path, fresh_inputs, dist):
    images = labelled_images([5001] * 10, (2, 3))
    monkeypatch.setattr(datasets, "read_mnist", lambda data_dir: images)
    draws = []
    for seed, global_seed in ((0, 0), (0, 1), (1, 0)):
        np.random.seed(global_seed)
        planted_inputs.cache_clear()
        settings = flags(input_dist=dist, input_dim=5, data_dir=tmp_path)
        problem = mlp_planted(settings, 4, 12, seed)
        check_arrays(problem)
        assert problem.planted.predict(problem.X) == pytest.approx(problem.Y, rel=1e-6, abs=1e-6)
        draws.append(problem.X.tobytes())
    assert draws[0] == draws[1] != draws[2]


def test_mnist_inputs_are_rows_of_the_training_images(monkeypatch, tmp_path, fresh_inputs):
    images, labels = labelled_images([5100] * 10, (2, 4), seed=5)
    images //= np.array([[1, 9, 2, 255], [3, 256 - 1, 2, 5]], dtype=np.uint8)  # two pixels are nearly constant
    images[:, 1, 1] = 7
    monkeypatch.setattr(datasets, "read_mnist", lambda data_dir: (images, labels))
    train = np.concatenate([members(images, labels, c)[:5000] for c in range(10)]).reshape(-1, 8).astype(np.float64)
    best = sorted(np.argsort(-train.var(axis=0))[:4])
    assert best == [0, 2, 4, 6]
    expected = (train[:, best] - train[:, best].mean(axis=0)) / train[:, best].std(axis=0)
    every = planted_inputs("mnist", 50_000, 4, 0, tmp_path)
    order = np.lexsort(every.T), np.lexsort(expected.astype(np.float32).T)
    np.testing.assert_allclose(every[order[0]], expected[order[1]], atol=1e-5)  # each image once, in another order
    assert not np.allclose(every, expected, atol=1e-3)
    some = planted_inputs("mnist", 300, 4, 1, tmp_path)
    known = {tuple(row) for row in np.round(every, 4).tolist()}
    assert {tuple(row) for row in np.round(some, 4).tolist()} <= known
    assert planted_inputs("mnist", 300, 7, 1, tmp_path).shape == (300, 7)
    with pytest.raises(ValueError, match="7 of 8 pixels vary, fewer than input_dim 8"):
        planted_inputs("mnist", 300, 8, 1, tmp_path)


def test_only_mnist_inputs_need_a_data_set():
    needed = {dist: TASKS["mlp_planted"].dataset(flags(input_dist=dist)) for dist in INPUT_DISTS}
    assert needed == {"normal": None, "uniform": None, "rademacher": None, "mnist": "mnist"}
    assert {name: task.dataset(flags()) for name, task in TASKS.items()} == {
        "mlp_planted": None, "gaussian_sparse": None, "binary_mnist": "mnist", "mnist": "mnist",
        "binary_cifar10": "cifar10", "inr_mnist": "mnist", "inr_cifar10": "cifar10"}


@pytest.mark.parametrize("m, s, num_layers, reason", [
    (2, 10, 2, "2 x 2 weights cannot hold 5"),
    (1, 6, 3, "1 x 1 weights cannot hold 2"),
    (60, 4, 2, "labels are all zero"),
])
def test_skipped_cells(m, s, num_layers, reason):
    with pytest.raises(Skipped, match=reason):
        mlp_planted(flags(num_layers=num_layers), m, s, 0)


def test_cells_at_the_edge_are_not_skipped():
    mlp_planted(flags(num_layers=2), 2, 9, 0)  # 2 x 2 weights can hold 4
    assert planted_net(3, 2, 1, 1, 99, 0).num_nonzero == 6  # one layer is full instead


# ---- the Gaussian signal ----


@pytest.mark.parametrize("m, s, size", [(200, 12, 12), (5, 9, 5)])
def test_the_gaussian_signal(work, m, s, size):
    problem = gaussian_sparse(flags(nmeasurements=40), m, s, 3)
    support = problem.w.indices
    assert problem.w.values.tolist() == [1] * size and problem.w.size == m
    assert (np.diff(support) > 0).all() and 0 <= support[0] and support[-1] < m
    A = GaussianSensing(3, 40, m, work)
    assert problem.y == pytest.approx(sum(A.columns(np.array([j])).apply(np.ones(1)) for j in support), abs=1e-5)
    again, other = (gaussian_sparse(flags(nmeasurements=40), m, s, seed) for seed in (3, 4))
    assert again.y.tobytes() == problem.y.tobytes() and not np.isclose(other.y, problem.y).any()
    assert m == 5 or other.w.indices.tolist() != support.tolist()


# ---- scores ----


def problem_with(Y, peak):
    return Problem(None, None, None, np.array(Y, dtype=np.float32), peak=peak)


@pytest.mark.parametrize("Y, peak, outputs, expected", [
    ([1, 2, 3, 4], 2.0, [1.2, 1.8, 3.2, 3.8], 20 * math.log10(2) + 13.979400086720377),
    ([0, 0], 1.0, [1, 0], 3.0102999566398120),
    ([[0, 1], [2, 3]], 10.0, [[0, 1], [2, 1]], 20.0),  # the mean is over all entries
    ([1, 2], 5.0, [1, 2], math.inf),
    ([0, 1, 1, 1], None, [0.4, 0.6, 0.5, 0.51], 0.75),  # 0.5 itself is class 0
    ([0, 1], None, [7, -7], 0.0),
    ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], None, [[-3, -1, -2], [0.2, 0.1, 0.9], [5, 6, 7]], 2 / 3),
])
def test_scores(Y, peak, outputs, expected):
    assert score(problem_with(Y, peak), np.array(outputs)) == pytest.approx(expected, rel=1e-6)


def test_a_score_is_taken_in_float64():
    assert score(problem_with([1e4], 1.0), np.array([1e4 + 1e-6])) == pytest.approx(120, abs=0.1)


@pytest.mark.parametrize("indices, values, error, support", [
    ([1, 3], [3, 4], 0, 0),
    ([1], [3], 0.8, 0.25),
    ([1, 3, 4], [3, 4, 5], 1, 0.25),
    ([0, 2], [3, 4], math.sqrt(2), 1),
    ([], [], 1, 0.5),
])
def test_scores_of_a_signal(indices, values, error, support):
    problem = SignalProblem(0, None, SparseVector(np.array([1, 3]), np.array([3, 4], dtype=np.float32), 6))
    w = SparseVector(np.array(indices, dtype=np.int64), np.array(values, dtype=np.float32), 6)
    assert score(problem, w) == pytest.approx(error) and support_error(problem, w) == support


# ---- images ----


def labelled_images(counts, shape, seed=0):
    """Random uint8 images and labels with so many of each class, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    return rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8), labels


def members(images, labels, c):
    """The images of one class in stored order, one by one."""
    return [image for image, label in zip(images, labels, strict=True) if label == c]


@pytest.mark.parametrize("classes", [range(2), range(3), [2, 0]])
def test_class_split(classes):
    labels = labelled_images([6500, 6000, 7001], ())[1]
    (train, train_labels), (test, test_labels) = class_split(np.arange(len(labels)), labels, classes)
    assert train_labels.tolist() == [place for place in range(len(classes)) for _ in range(5000)]
    assert test_labels.tolist() == [place for place in range(len(classes)) for _ in range(1000)]
    for place, c in enumerate(classes):
        stored = members(np.arange(len(labels)), labels, c)
        assert train[train_labels == place].tolist() == stored[:5000]
        assert test[test_labels == place].tolist() == stored[5000:6000]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("task, num_classes", [("binary_mnist", 2), ("mnist", 10)])
def test_mnist_tasks(monkeypatch, tmp_path, task, num_classes, bias):
    images, labels = labelled_images([6100] * 10, (2, 3))
    monkeypatch.setattr(datasets, "read_mnist", lambda data_dir: (images, labels))
    settings = flags(data_dir=tmp_path, bias=bias)
    problem = TASKS[task].build(settings, 20, 5, 0)
    check_arrays(problem)
    assert problem.X.shape == (5000 * num_classes, 6 + bias) and problem.X_eval.shape == (1000 * num_classes, 6 + bias)
    assert TASKS[task].samples(settings) == len(problem.X) and problem.peak is None
    for c in range(num_classes):
        stored = np.array(members(images, labels, c)).reshape(-1, 6)  # raw 0..255 pixels
        np.testing.assert_array_equal(problem.X[5000 * c : 5000 * (c + 1), :6], stored[:5000])
        np.testing.assert_array_equal(problem.X_eval[1000 * c : 1000 * (c + 1), :6], stored[5000:6000])
    assert not bias or (problem.X[:, 6] == 1).all() and (problem.X_eval[:, 6] == 1).all()
    for Y, count in ((problem.Y, 5000), (problem.Y_eval, 1000)):
        classes = np.repeat(np.arange(num_classes), count)
        np.testing.assert_array_equal(Y, classes if num_classes == 2 else np.eye(10)[classes])
    assert problem.loss == ("squared" if num_classes == 2 else "cross_entropy")


@pytest.mark.parametrize("bias", [False, True])
def test_binary_cifar10(monkeypatch, tmp_path, bias):
    (images, labels), (test_images, test_labels) = (
        labelled_images([count] * 3, (3, 2, 2), seed) for seed, count in ((0, 5000), (1, 1000)))
    images[:, 1] //= 3  # channels of different mean and deviation
    monkeypatch.setattr(datasets, "read_cifar10", lambda data_dir: (images, labels, test_images, test_labels))
    problem = TASKS["binary_cifar10"].build(flags(data_dir=tmp_path, bias=bias), 20, 5, 0)
    check_arrays(problem)
    train, test = (np.array(members(*part, 0) + members(*part, 1)) / 255
                   for part in ((images, labels), (test_images, test_labels)))
    for X, pixels in ((problem.X, train), (problem.X_eval, test)):
        expected = np.empty(pixels.shape)
        for channel in range(3):
            expected[:, channel] = (pixels[:, channel] - train[:, channel].mean()) / train[:, channel].std()
        np.testing.assert_allclose(X[:, :12], expected.reshape(-1, 12), atol=1e-5)
        assert X.shape[1] == 12 + bias and (not bias or (X[:, 12] == 1).all())
    np.testing.assert_array_equal(problem.Y, [0] * 5000 + [1] * 5000)
    np.testing.assert_array_equal(problem.Y_eval, [0] * 1000 + [1] * 1000)
    assert problem.peak is None and problem.loss == "squared"


def test_fourier_features():
    rng = np.random.default_rng(0)
    for dimensions in (2, 3):
        coordinates, B = rng.integers(0, 30, (7, dimensions)), rng.normal(size=(5, dimensions))
        X = fourier_features(coordinates, B)
        assert X.shape == (7, 10) and X.dtype == np.float32
        for i, c in enumerate(coordinates):
            for q, b in enumerate(B):
                phase = 2 * math.pi * sum(c * b)
                assert X[i, q] == pytest.approx(math.sin(phase), abs=1e-6)
                assert X[i, 5 + q] == pytest.approx(math.cos(phase), abs=1e-6)


def check_pixel_features(X, pixels, B):
    """Rows of X at some pixels {row number: coordinates} for frequencies B [750, 2 or 3]."""
    for place, coordinates in pixels.items():
        phase = 2 * np.pi * sum(c * B[:, axis] for axis, c in enumerate(coordinates))
        np.testing.assert_allclose(X[place], [*np.sin(phase), *np.cos(phase)], atol=1e-6)


@pytest.mark.parametrize("seed", [0, 3])
def test_inr_mnist(monkeypatch, tmp_path, seed):
    images, labels = labelled_images([6001] * 10, (28, 28))
    monkeypatch.setattr(datasets, "read_mnist", lambda data_dir: (images, labels))
    problem = TASKS["inr_mnist"].build(flags(data_dir=tmp_path), 5, 5, seed)
    check_arrays(problem)
    assert problem.X.shape == (784, 1500) and problem.peak == 1 and problem.X_eval is problem.X
    np.testing.assert_allclose(problem.Y, np.ravel(members(images, labels, 1)[5000]) / 255, rtol=1e-6)
    B = np.random.RandomState(seed).normal(size=(750, 2)) * 2
    check_pixel_features(problem.X, {0: (0, 0), 1: (0, 1), 28: (1, 0), 300: (10, 20), 783: (27, 27)}, B)


@pytest.mark.parametrize("seed", [0, 3])
def test_inr_cifar10(monkeypatch, tmp_path, seed):
    images, labels = labelled_images([700] * 3, (3, 32, 32))
    monkeypatch.setattr(datasets, "read_cifar10", lambda data_dir: (None, None, images, labels))
    problem = TASKS["inr_cifar10"].build(flags(data_dir=tmp_path), 5, 5, seed)
    check_arrays(problem)
    assert problem.X.shape == (3072, 1500) and problem.peak == 1 and problem.X_eval is problem.X
    chosen = [image for image, label in zip(images, labels, strict=True) if label in (0, 1)][1000]
    np.testing.assert_allclose(problem.Y, np.ravel(chosen) / 255, rtol=1e-6)
    rng = np.random.RandomState(seed)
    B = np.column_stack([rng.normal(size=(750, 2)) * 5, rng.normal(size=750) * 0.05])
    pixels = {0: (0, 0, 0), 1: (0, 1, 0), 32: (1, 0, 0), 1024: (0, 0, 1), 3071: (31, 31, 2), 2148: (3, 4, 2)}
    check_pixel_features(problem.X, pixels, B)


@pytest.mark.skipif(not (DATA and datasets.locate("mnist", DATA)), reason="MLP_IHT_DATA has no MNIST")
def test_genuine_mnist():
    images, labels = datasets.read_mnist(DATA)
    chosen = members(images, labels, 1)[5000]
    problem = TASKS["inr_mnist"].build(flags(data_dir=DATA), 5, 5, 0)
    np.testing.assert_allclose(problem.Y.reshape(28, 28), chosen / 255, rtol=1e-6)
    assert problem.Y.max() == 1 and 0.03 < problem.Y.mean() < 0.15  # a thin stroke
    pixels = mnist_pixels(Path(DATA), MNIST_LIMITS["input_dim"])
    assert pixels.shape == (MNIST_LIMITS["nmeasurements"], MNIST_LIMITS["input_dim"])
    assert pixels.mean(axis=0, dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert pixels.std(axis=0, dtype=np.float64) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="716 of 784 pixels vary"):
        mnist_pixels(Path(DATA), MNIST_LIMITS["input_dim"] + 1)
    binary = TASKS["binary_mnist"].build(flags(data_dir=DATA), 5, 5, 0)
    assert binary.X.shape == (10_000, 784) and binary.X_eval.shape == (2000, 784) and binary.X.max() == 255


@pytest.mark.skipif(not (DATA and datasets.locate("cifar10", DATA)), reason="MLP_IHT_DATA has no CIFAR-10")
def test_genuine_cifar10():
    problem = TASKS["binary_cifar10"].build(flags(data_dir=DATA), 5, 5, 0)
    assert problem.X.shape == (10_000, 3072) and problem.X_eval.shape == (2000, 3072)
    channels = problem.X.reshape(-1, 3, 1024)
    assert channels.mean(axis=(0, 2), dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert channels.std(axis=(0, 2), dtype=np.float64) == pytest.approx(1, abs=1e-5)


# ---- the table, and what an import does ----


def test_the_table():
    assert list(TASKS) == ["mlp_planted", "gaussian_sparse", "binary_mnist", "mnist", "binary_cifar10", "inr_mnist",
                           "inr_cifar10"]
    settings = flags(nmeasurements=77)
    assert {name: task.samples(settings) for name, task in TASKS.items()} == {
        "mlp_planted": 77, "gaussian_sparse": 77, "binary_mnist": 10_000, "mnist": 50_000, "binary_cifar10": 10_000,
        "inr_mnist": 784, "inr_cifar10": 3072}
    assert [name for name, task in TASKS.items() if task.depends_on_s] == ["mlp_planted", "gaussian_sparse"]
    assert [name for name, task in TASKS.items() if not task.measure.higher_is_better] == ["gaussian_sparse"]
    assert [name for name, task in TASKS.items() if task.methods] == ["gaussian_sparse"]
    assert [name for name, task in TASKS.items() if "bias" in task.flags] == ["binary_mnist", "mnist", "binary_cifar10"]


def test_data_folder():
    assert data_folder("here", {"MLP_IHT_DATA": "there"}) == Path("here")
    assert data_folder(None, {"MLP_IHT_DATA": "there"}) == Path("there")
    assert data_folder(None, {}) == data_folder(None, {"MLP_IHT_DATA": ""}) == Path("data")


IMPORT = """
import json, os, random, sys
import numpy as np

states = repr(np.random.get_state(legacy=False)), random.getstate()
acts = []
WATCHED = ("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.system", "os.exec", "os.posix_spawn",
           "shutil.", "tempfile.")

def watch(event, args):
    writing = event == "open" and (isinstance(args[1], str) and set(args[1]) & set("wax+")
                                   or isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if writing or event.startswith(WATCHED):
        acts.append(f"{event} {args}")

sys.addaudithook(watch)
for module in sys.argv[1:]:
    __import__(module)
print(json.dumps({
    "acts": acts,
    "random": states == (repr(np.random.get_state(legacy=False)), random.getstate()),
    "heavy": sorted({"torch", "torchvision", "cupy", "scipy", "matplotlib"} & set(sys.modules)),
}))
"""


def clean_environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def test_importing_the_modules_does_nothing(tmp_path):
    modules = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "make_figures")
    assert {"runner", "tasks", "aiht", "sensing", "models", "pruning", "datasets"} <= set(modules)
    run = subprocess.run([sys.executable, "-c", IMPORT, *modules], cwd=tmp_path, env=clean_environment(),
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"acts": [], "random": True, "heavy": []}
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_load_the_heavy_packages(tmp_path):
    run = subprocess.run([sys.executable, "-X", "importtime", str(ROOT / "runner.py"), "--help"], cwd=tmp_path,
                         env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and "--mlist" in run.stdout
    loaded = {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in run.stderr.splitlines() if "|" in line}
    assert "numpy" in loaded and not {"torch", "torchvision", "scipy", "cupy", "matplotlib"} & loaded
    assert list(tmp_path.iterdir()) == []
