"""The image tasks from files on disk to scores in a log, on synthetic files in the formats of MNIST and CIFAR-10.

tests/test_tasks.py checks splits, targets and features on arrays, tests/test_datasets.py what is read from files.
"""

import gzip
import os

import numpy as np
import pytest
from helpers import idx, write_files
from processes import assert_refused, tree

from instances import files
from models import SparseNet
from sweep.flags import parse_arguments

MNIST_FILES, CIFAR_FILES = files.LAYOUTS["mnist"][0], files.LAYOUTS["cifar10"][0]


def labelled(rng, counts, shape):
    """Dim noisy images in random order, of so many per class; one pixel in six is lit, others for every class."""
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    lit = np.random.default_rng(9).random((len(counts), *shape)) < 1 / 6
    return rng.integers(0, 96, (len(labels), *shape), dtype=np.uint8) + np.uint8(160) * lit[labels], labels


def files_of(rng, train, test, objects):
    """The files of an MNIST with so many digits per class, and of a CIFAR-10 with so many test objects."""
    parts = [array for counts in (train, test) for array in labelled(rng, counts, (28, 28))]
    batches = [labelled(rng, counts, (3072,)) for counts in (*[[1] * 10] * 5, objects)]
    records = [np.column_stack([labels, images]).tobytes() for images, labels in batches]
    return dict(zip(MNIST_FILES, map(idx, parts), strict=True)) | dict(zip(CIFAR_FILES, records, strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with both data sets. The training images of digit 1 fill up from the test file."""
    train, test, objects = [5200, 4700, *[5200] * 8], [900, 1500, *[900] * 8], [600, 600, *[40] * 8]
    return write_files(tmp_path_factory.mktemp("data"), files_of(np.random.default_rng(3), train, test, objects))


KEEP = "--device cpu --threads 1 --save_results --save_models --data_dir"


def score_of(problem, outputs):
    """The accuracy, or the PSNR with peak 1, by its definition."""
    if problem.peak:
        return -10 * np.log10(np.mean((outputs - problem.Y_eval) ** 2))
    if outputs.ndim == 1:
        return np.mean([int(output > 0.5) == y for output, y in zip(outputs, problem.Y_eval, strict=True)])
    return np.mean([y[np.argmax(output)] == 1 for output, y in zip(outputs, problem.Y_eval, strict=True)])


@pytest.mark.parametrize("line, least", [
    ("--task binary_mnist --mlist 4 --slist 40 --num_epochs 3 --batch_size 1000", 0.9),
    ("--task binary_mnist --mlist 4 --slist 40 --num_epochs 3 --batch_size 1000 --bias --convex", 0.9),
    ("--task binary_mnist --method pruning --mlist 10 --slist 9000 --num_epochs 2 --batch_size 500 --seedlist 1", 0.9),
    ("--task binary_mnist --method pruning --mlist 10 --slist 500 --num_epochs 5 --batch_size 100 "
     "--input_scale largest --output_share 0.02 --learning_rate 0.01", 0.9),
    ("--task mnist --method gmp --mlist 10 --slist 500 --num_epochs 5 --batch_size 100 --input_scale largest "
     "--output_share 0.2 --learning_rate 0.01 --rate_decay", 0.9),
    ("--task binary_mnist --method set --mlist 10 --slist 2000 --num_epochs 3 --batch_size 100 --update_every 50", 0.7),
    ("--task mnist --method rigl --mlist 20 --slist 3000 --num_epochs 2 --batch_size 100 --num_layers 2", 0.9),
    ("--task mnist --mlist 10 --slist 500 --num_epochs 3 --batch_size 500", 0.9),
    ("--task inr_mnist --mlist 4 --slist 60 --num_epochs 4 --num_layers 2", 8.0),
    ("--task inr_cifar10 --mlist 3 --slist 50 --num_epochs 3", 8.0),
])
def test_the_score_in_the_log_is_that_of_the_saved_network_on_the_test_images(cli, tmp_path, data, line, least):
    assert cli(f"{line} {KEEP} {data}").code == 0
    [model], [table] = (tmp_path.rglob(f"*.{kind}") for kind in ("npz", "npy"))
    problem = parse_arguments([*line.split(), "--data_dir", str(data)]).build(5, 5, 0)
    net, [value] = SparseNet.load(model), np.load(table).ravel()
    assert net.layers[0].d == problem.X.shape[1]
    assert value == pytest.approx(score_of(problem, net.predict(problem.X_eval)), abs=1e-3) and least < value


def test_damaged_data_are_refused_before_an_earlier_log_is_touched(cli, tmp_path, data):
    line = "--task inr_mnist --mlist 2 --slist 9 --num_epochs 1"
    assert cli(f"{line} {KEEP} {data}").code == 0
    before, files = tree(tmp_path / "logs"), {file: (data / file).read_bytes() for file in MNIST_FILES}
    damaged = files.pop(MNIST_FILES[2])
    folder = write_files(tmp_path / "data", files | {f"{MNIST_FILES[2]}.gz": gzip.compress(damaged)[:-7]})
    assert_refused(cli(f"{line} --overwrite {KEEP} {folder}"), os.path.basename(MNIST_FILES[2]), "--data_dir")
    assert tree(tmp_path / "logs") == before and {path[-4:] for path in before} == {".npy", "json", ".npz"}


def image_of(files, task, number):
    """The test image of the first two classes with this number: digits by class, objects as they are stored."""
    if task == "inr_cifar10":
        records = np.frombuffer(files[CIFAR_FILES[5]], np.uint8).reshape(-1, 3073)
        return records[records[:, 0] < 2][number, 1:] / 255
    images, labels = (np.concatenate([np.frombuffer(files[file], np.uint8, offset=offset)
                                      for file in MNIST_FILES[first::2]]) for first, offset in ((0, 16), (1, 8)))
    own = np.flatnonzero(labels == number // 1000)[5000:]
    return images.reshape(-1, 784)[own[number % 1000]] / 255


@pytest.mark.parametrize("task", ["inr_mnist", "inr_cifar10"])
def test_the_image_is_that_of_its_number(data, task):
    """One after the other in one process, whatever was kept of the last."""
    files = {file: (data / file).read_bytes() for file in (*MNIST_FILES, *CIFAR_FILES)}
    for number in (1000, 7, 1007, 7):
        given = [] if number == 1000 else ["--image", str(number)]
        settings = parse_arguments(["--task", task, "--mlist", "2", "--slist", "5", "--data_dir", str(data), *given])
        np.testing.assert_array_equal(settings.build(2, 5, 0).Y, image_of(files, task, number).astype(np.float32))


@pytest.mark.parametrize("flags, words", [
    ("--task inr_mnist --image 2000", "argument --image: '2000' is not a whole number from 0 to 1999"),
    ("--task inr_cifar10 --image -1", "argument --image: '-1' is not a whole number"),
    ("--task mnist --image 3", "argument --image: 3 has no effect on mnist"),
    ("--task inr_cifar10 --image 1200", "the test batch has 1200 airplanes and automobiles where image 1200 is fitted"),
])
def test_an_image_that_is_not_there_is_refused_before_any_work(cli, tmp_path, data, flags, words):
    assert_refused(cli(f"{flags} --mlist 2 --slist 9 {KEEP} {data}"), words)
    assert not list(tmp_path.rglob("*.npy"))


def test_logs_of_other_images_have_other_names(cli, tmp_path, data):
    for flags in ("", "--image 1000", "--image 9"):
        assert cli(f"--task inr_mnist --mlist 2 --slist 9 --num_epochs 1 {flags} {KEEP} {data}").code == 0
    default, other = sorted(path.stem for path in tmp_path.rglob("*.npy"))
    assert other == f"{default}_image9" and default.endswith("_bias0_1epochs")
