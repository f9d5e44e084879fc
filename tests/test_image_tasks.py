"""The image tasks from files on disk to scores in a log, on synthetic files in the formats of MNIST and CIFAR-10.

tests/test_tasks.py checks the same splits, targets and features on arrays, without files.
"""

import gzip
import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest

import datasets
import runner
import tasks
from models import SparseNet
from tasks import TASKS

DATA = os.environ.get("MLP_IHT_DATA", "")  # of the person who runs the tests; the tests themselves use --data_dir
MNIST_FILES, CIFAR_FILES = datasets.LAYOUTS["mnist"][0], datasets.LAYOUTS["cifar10"][0]
TRAIN_COUNTS, TEST_COUNTS = [5200, 4700, *[20] * 8], [900, 1500, *[10] * 8]  # ones fill up from the test file


# ---- files ----


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, files):
    """Write {relative path: bytes}."""
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def labelled(rng, counts, shape):
    """Dim noisy images in random order, of so many per class; one pixel in six is lit, others for every class."""
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    lit = np.random.default_rng(9).random((len(counts), *shape)) < 1 / 6
    return rng.integers(0, 96, (len(labels), *shape), dtype=np.uint8) + np.uint8(160) * lit[labels], labels


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with the four files of MNIST, and their images and labels, train then test."""
    rng = np.random.default_rng(0)
    parts = [labelled(rng, counts, (28, 28)) for counts in (TRAIN_COUNTS, TEST_COUNTS)]
    folder = tmp_path_factory.mktemp("mnist")
    write(folder, dict(zip(MNIST_FILES, (idx(array) for part in parts for array in part), strict=True)))
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return SimpleNamespace(folder=folder, images=images, labels=labels)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """A folder with the six binary files of CIFAR-10, and what is in them; 25 of each class in the training batches."""
    rng = np.random.default_rng(1)
    images, labels = labelled(rng, [25] * 10, (3, 32, 32))
    images[:, 2] //= 5  # channels of different mean and deviation
    test_images, test_labels = labelled(rng, [600, 600, *[40] * 8], (3, 32, 32))
    records = np.column_stack([labels, images.reshape(-1, 3072)]).reshape(5, 50, 3073)
    test_records = np.column_stack([test_labels, test_images.reshape(-1, 3072)])
    contents = [batch.tobytes() for batch in (*records, test_records)]
    folder = write(tmp_path_factory.mktemp("cifar10"), dict(zip(CIFAR_FILES, contents, strict=True)))
    return SimpleNamespace(folder=folder, images=images, labels=labels, test_images=test_images,
                           test_labels=test_labels)


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Runs a command line that keeps its results in tmp_path/logs, without network: exit code and stderr."""

    def no_network(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr(datasets, "_download", no_network)

    def cli(line, data_dir):
        flags = ["--data_dir", str(data_dir), "--logs_dir", str(tmp_path / "logs"), "--device", "cpu",
                 "--threads", "1", "--save_results", "--save_models"]
        return runner.main([*line.split(), *flags]), capfd.readouterr().err

    return cli


def build(task, folder, seed=0, bias=False):
    return TASKS[task].build(SimpleNamespace(data_dir=folder, bias=bias), 5, 5, seed)


def numbers_of(labels, c):
    """The places of a class in stored order, one after another."""
    return [place for place, label in enumerate(labels.tolist()) if label == c]


def score_of(problem, outputs):
    """The accuracy, or the PSNR with peak 1, by its definition."""
    if problem.peak:
        return -10 * np.log10(np.mean((outputs - problem.Y_eval) ** 2))
    if outputs.ndim == 1:
        return np.mean([int(output > 0.5) == y for output, y in zip(outputs, problem.Y_eval, strict=True)])
    return np.mean([y[np.argmax(output)] == 1 for output, y in zip(outputs, problem.Y_eval, strict=True)])


def saved_score(logs):
    """The only score of the only log in a folder."""
    [table] = logs.rglob("*.npy")
    [value] = np.load(table).ravel()
    return value


# ---- from the files to arrays ----


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("task, num_classes", [("binary_mnist", 2), ("mnist", 10)])
def test_digits_are_split_across_the_files(digits, task, num_classes, bias):
    places = [numbers_of(digits.labels, c) for c in range(num_classes)]
    train, test = sum((p[:5000] for p in places), []), sum((p[5000:6000] for p in places), [])
    assert places[1][4999] >= sum(TRAIN_COUNTS) > places[0][5000]  # the split is not that of the files
    problem = build(task, digits.folder, bias=bias)
    for X, Y, chosen in ((problem.X, problem.Y, train), (problem.X_eval, problem.Y_eval, test)):
        assert X.shape == (len(chosen), 784 + bias)
        np.testing.assert_array_equal(X[:, :784], digits.images[chosen].reshape(-1, 784))
        assert X[:, :784].max() == 255 and (X[:, 784:] == 1).all()
        classes = digits.labels[chosen]
        np.testing.assert_array_equal(Y, classes if num_classes == 2 else classes[:, None] == np.arange(10))


def test_the_mnist_image(digits):
    problem = build("inr_mnist", digits.folder)
    place = (numbers_of(digits.labels, 0)[5000:6000] + numbers_of(digits.labels, 1)[5000:6000])[1000]
    np.testing.assert_allclose(problem.Y, digits.images[place].ravel() / 255, rtol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_objects_are_standardised_with_the_training_images(monkeypatch, objects, bias):
    monkeypatch.setattr(tasks, "TRAIN_PER_CLASS", 25)
    monkeypatch.setattr(tasks, "TEST_PER_CLASS", 300)
    tasks.cifar_problem.cache_clear()
    problem = build("binary_cifar10", objects.folder, bias=bias)
    tasks.cifar_problem.cache_clear()
    train = [objects.images[place] for c in (0, 1) for place in numbers_of(objects.labels, c)]
    test = [objects.test_images[place] for c in (0, 1) for place in numbers_of(objects.test_labels, c)[:300]]
    for X, Y, images in ((problem.X, problem.Y, train), (problem.X_eval, problem.Y_eval, test)):
        assert X.shape == (len(images), 3072 + bias) and (X[:, 3072:] == 1).all()
        np.testing.assert_array_equal(Y, np.repeat([0, 1], len(images) // 2))
        for channel in range(3):
            own = np.array([image[channel] for image in train], dtype=np.float64) / 255
            plane = np.array([image[channel] for image in images]).reshape(len(images), 1024) / 255
            expected = (plane - own.mean()) / own.std()
            np.testing.assert_allclose(X[:, 1024 * channel : 1024 * (channel + 1)], expected, atol=1e-5)


def test_the_cifar_image(objects):
    """By loops: the image, the coordinate of each row, and the features of some."""
    problem = build("inr_cifar10", objects.folder, seed=2)
    chosen = [image for image, label in zip(objects.test_images, objects.test_labels, strict=True) if label < 2][1000]
    rng = np.random.RandomState(2)
    B, B_channel = rng.normal(size=(750, 2)) * 5, rng.normal(size=750) * 0.05
    place = 0
    for channel in range(3):
        for row in range(32):
            for column in range(32):
                assert problem.Y[place] == pytest.approx(chosen[channel, row, column] / 255, rel=1e-6)
                if place % 97 == 0:
                    phase = 2 * np.pi * (row * B[:, 0] + column * B[:, 1] + channel * B_channel)
                    np.testing.assert_allclose(problem.X[place], [*np.sin(phase), *np.cos(phase)], atol=1e-6)
                place += 1
    assert len(problem.X) == len(problem.Y) == place


# ---- from the files to a log ----


@pytest.mark.parametrize("line, least", [
    ("--task binary_mnist --mlist 4 --slist 40 --num_epochs 3 --batch_size 1000", 0.9),
    ("--task binary_mnist --mlist 4 --slist 40 --num_epochs 3 --batch_size 1000 --bias --convex", 0.9),
    ("--task binary_mnist --method pruning --mlist 10 --slist 9000 --num_epochs 2 --batch_size 500 --seedlist 1", 0.9),
    ("--task mnist --mlist 10 --slist 500 --num_epochs 3 --batch_size 500", 0.9),
    ("--task inr_mnist --mlist 4 --slist 60 --num_epochs 4 --num_layers 2", 8.0),
])
def test_a_run_on_digits(cli, tmp_path, digits, line, least):
    """The score in the log is that of the saved network on the test images."""
    assert cli(line, digits.folder)[0] == 0
    [model] = tmp_path.rglob("*.npz")
    problem = build(line.split()[1], digits.folder, bias="--bias" in line)
    net = SparseNet.load(model)
    assert net.layers[0].d == problem.X.shape[1]
    value = saved_score(tmp_path / "logs")
    assert value == pytest.approx(score_of(problem, net.predict(problem.X_eval)), abs=1e-3) and least < value


def test_a_run_on_the_cifar_image(cli, tmp_path, objects):
    assert cli("--task inr_cifar10 --mlist 3 --slist 50 --num_epochs 3", objects.folder)[0] == 0
    Y = build("inr_cifar10", objects.folder).Y.astype(np.float64)
    assert saved_score(tmp_path / "logs") > -10 * np.log10(np.mean(Y**2))  # better than nothing


def removed(path):
    path.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[:-7])


def truncated_archive(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-7])
    path.unlink()


@pytest.mark.parametrize("damage", [removed, truncated, truncated_archive])
@pytest.mark.parametrize("task, method, file", [
    ("binary_mnist", "aiht", MNIST_FILES[0]), ("mnist", "pruning", MNIST_FILES[1]),
    ("inr_mnist", "aiht", MNIST_FILES[2]), ("mnist", "aiht", MNIST_FILES[3]),
    ("binary_cifar10", "pruning", CIFAR_FILES[0]),
    ("binary_cifar10", "aiht", CIFAR_FILES[4]), ("inr_cifar10", "aiht", CIFAR_FILES[5]),
])
def test_damaged_data_are_refused_before_anything_is_written(cli, tmp_path, task, method, file, damage):
    rng = np.random.default_rng(0)
    parts = [labelled(rng, [count] * 10, (28, 28)) for count in (3, 1)]
    batches = [labelled(rng, [1] * 10, (3072,)) for _ in CIFAR_FILES]
    folder = write(tmp_path / "data", dict(zip(MNIST_FILES, (idx(a) for part in parts for a in part), strict=True)) | {
        name: np.column_stack([labels, images]).tobytes()
        for name, (images, labels) in zip(CIFAR_FILES, batches, strict=True)})
    damage(folder / file)
    code, err = cli(f"--task {task} --method {method} --mlist 2 --slist 9 --num_epochs 1", folder)
    assert code == 2 and file.rpartition("/")[2] in err and "--data_dir" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "logs").exists()


def test_an_earlier_log_outlives_data_that_were_damaged_since(cli, tmp_path, digits):
    line = "--task inr_mnist --mlist 2 --slist 9 --num_epochs 1"
    assert cli(line, digits.folder)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "logs").rglob("*") if path.is_file()}
    damaged = write(tmp_path / "data", {file: (digits.folder / file).read_bytes() for file in MNIST_FILES})
    truncated(damaged / MNIST_FILES[2])
    assert cli(f"{line} --overwrite", damaged)[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "logs").rglob("*") if path.is_file()} == before
    assert {path.suffix for path in before} >= {".npy", ".json", ".npz"}


# ---- the genuine files ----


@pytest.mark.skipif(not (DATA and datasets.locate("mnist", DATA)), reason="MLP_IHT_DATA has no MNIST")
@pytest.mark.parametrize("line", [
    "--method aiht --mlist 10 --slist 2000 --num_epochs 6 --batch_size 5000",
    "--method pruning --prune_iters 0 --mlist 20 --slist 15000 --num_epochs 3 --batch_size 500",
])
def test_genuine_digits_are_recognised_better_than_by_chance(cli, tmp_path, line):
    assert cli(f"--task mnist {line}", DATA)[0] == 0
    assert 0.4 < saved_score(tmp_path / "logs") < 1
