"""datasets.py on small files that are written here, and offline; tests/test_tasks.py reads the genuine ones."""

import gzip
import hashlib
import os
import pickle
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import idx, write_files

import instances.files
from instances.files import READERS, DataError, fetch, locate, read_cifar10, read_mnist

MNIST_FILES, (BINARY_FILES, PYTHON_FILES) = instances.files.LAYOUTS["mnist"][0], instances.files.LAYOUTS["cifar10"]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = MNIST_FILES


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The table of checksums, in which every batch that a test writes counts as published."""
    monkeypatch.setattr(instances.files, "PYTHON_MD5", dict(instances.files.PYTHON_MD5))
    return instances.files.PYTHON_MD5


def write(folder, files):
    """Write {relative path: bytes}."""
    for file in files.keys() & set(PYTHON_FILES):
        instances.files.PYTHON_MD5[os.path.basename(file)] = hashlib.md5(files[file]).hexdigest()
    return write_files(folder, files)


def mnist(sizes=(12, 5)):
    """The arrays and the files of a small MNIST."""
    rng = np.random.default_rng(0)
    arrays = [a for n in sizes for a in (rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8))]
    return arrays, dict(zip(MNIST_FILES, map(idx, arrays), strict=True))


def cifar_batches():
    """Six batches (images [n, 3072], labels [n]) of unequal sizes."""
    rng = np.random.default_rng(1)
    return [(rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n, np.uint8)) for n in (3, 1, 4, 2, 5, 3)]


def cifar_binary():
    records = [np.column_stack([labels, images]).tobytes() for images, labels in cifar_batches()]
    return dict(zip(BINARY_FILES, records, strict=True))


def cifar_python():
    """The batches as dicts with the strings of Python 2 as keys, as in the published files."""
    files = {}
    for file, (images, labels) in zip(PYTHON_FILES, cifar_batches(), strict=True):
        items = {b"labels": labels.tolist(), b"data": images}.items()
        pairs = [b"U" + bytes([len(key)]) + key + pickle.dumps(value, 2)[2:-1] for key, value in items]
        files[file] = b"\x80\2}(" + b"".join(pairs) + b"u."
    return files


def refusal(read, *args):
    """The message of the DataError that the call raises: one line."""
    with pytest.raises(DataError) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- reading ----


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_train_then_test_in_stored_order(tmp_path, suffix):
    (images, labels, test_images, test_labels), files = mnist()
    pack = gzip.compress if suffix else bytes
    write(tmp_path, {file + suffix: pack(content) for file, content in files.items()})
    X, y = read_mnist(tmp_path)
    assert X.dtype == y.dtype == np.uint8
    np.testing.assert_array_equal(X, np.concatenate([images, test_images]))
    np.testing.assert_array_equal(y, np.concatenate([labels, test_labels]))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_both_cifar_versions_agree(tmp_path, suffix):
    binary = read_cifar10(write(tmp_path / "binary", cifar_binary()))
    folder = write(tmp_path / "python", cifar_python())
    for path in (folder / file for file in PYTHON_FILES if suffix):
        path.with_name(path.name + suffix).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    batches = cifar_batches()
    expected = [np.concatenate(part) for half in (batches[:5], batches[5:]) for part in zip(*half, strict=True)]
    for ours, theirs, array in zip(binary, read_cifar10(folder), expected, strict=True):
        assert ours.dtype == theirs.dtype == np.uint8
        np.testing.assert_array_equal(ours.reshape(array.shape), array)
        np.testing.assert_array_equal(theirs, ours)
    assert binary[0].shape == (15, 3, 32, 32) and binary[2].shape == (3, 3, 32, 32)


@pytest.mark.parametrize("name, files", [("mnist", mnist()[1]), ("cifar10", cifar_binary())])
def test_data_are_read_once_and_are_read_only(tmp_path, name, files):
    first = READERS[name](write(tmp_path, files))
    (tmp_path / "sub").mkdir()
    again = READERS[name](str(tmp_path / "sub" / ".."))
    assert all(a is b for a, b in zip(first, again, strict=True))
    for array in first:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_plain_files_win_over_gz_and_a_complete_binary_version_over_that_of_python(tmp_path):
    write(tmp_path, cifar_python() | cifar_binary() | {file + ".gz": b"not read" for file in BINARY_FILES})
    assert locate("cifar10", tmp_path) == [tmp_path / file for file in BINARY_FILES]
    for path in (tmp_path / (BINARY_FILES[2] + ending) for ending in ("", ".gz")):
        path.unlink()
    assert locate("cifar10", tmp_path) == [tmp_path / file for file in PYTHON_FILES]


# ---- refusals ----


SETS = {"mnist": (read_mnist, mnist()[1]), "binary": (read_cifar10, cifar_binary()),
        "python": (read_cifar10, cifar_python())}
EVERY_FILE = pytest.mark.parametrize("kind, file", [(kind, file) for kind in SETS for file in SETS[kind][1]])


def flipped(content, where):
    packed = bytearray(gzip.compress(content))
    packed[where] ^= 0xFF
    return bytes(packed)


FAULTS = {
    "truncated": lambda content: content[:-1],
    "cut to its first bytes": lambda content: content[:3],
    "one byte extra": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "foreign": lambda content: b"<!DOCTYPE html><title>404 Not Found</title>",
    "wrong checksum.gz": lambda content: flipped(content, -8),
    "wrong deflate block.gz": lambda content: flipped(content, 10),
    "truncated.gz": lambda content: gzip.compress(content)[:-9],
    "cut in its header.gz": lambda content: gzip.compress(content)[:5],
    "not zipped.gz": bytes,
}


@pytest.mark.parametrize("fault", FAULTS)
@EVERY_FILE
def test_damaged_files_are_refused_by_name(tmp_path, kind, file, fault):
    read, files = SETS[kind]
    path = tmp_path / (file + os.path.splitext(fault)[1])
    write(tmp_path, {name: content for name, content in files.items() if name != file})
    path.write_bytes(FAULTS[fault](files[file]))
    message = refusal(read, tmp_path)
    assert f"{path} " in message and "original" in message
    assert path.suffix != ".gz" or "is not a whole gzip file" in message


@EVERY_FILE
def test_a_removed_file_is_named(tmp_path, kind, file):
    read, files = SETS[kind]
    write(tmp_path, {name: content for name, content in files.items() if name != file})
    message = refusal(read, tmp_path)
    folder, base = os.path.split(tmp_path / file)
    assert f"lacks {base}:" in message and folder in message and "get them from" in message


def patched(file, where, value):
    content = bytearray(mnist()[1][file])
    content[where] = value
    return bytes(content)


@pytest.mark.parametrize("file, content, fault", [
    (TRAIN_IMAGES, patched(TRAIN_IMAGES, 0, 1), "not an idx file"),
    (TRAIN_IMAGES, patched(TRAIN_IMAGES, 2, 13), "unsigned bytes"),
    (TEST_LABELS, patched(TEST_LABELS, 3, 2), "dimensions"),
    (TEST_LABELS, patched(TEST_LABELS, 9, 10), "labels from"),
    (TRAIN_LABELS, patched(TRAIN_LABELS, 4, 255), "header announces"),
    (TEST_IMAGES, idx(np.zeros((5, 14, 56), np.uint8)), "28, 28"),
    (TEST_LABELS, idx(np.zeros(0, np.uint8)), "n > 0"),
    (TRAIN_LABELS, mnist()[1][TEST_LABELS], "12 images, but"),
    (TRAIN_IMAGES, gzip.compress(mnist()[1][TRAIN_IMAGES]), "1f8b"),
])
def test_wrong_idx_files_are_refused(tmp_path, file, content, fault):
    message = refusal(read_mnist, write(tmp_path, mnist()[1] | {file: content}))
    assert os.path.basename(file) in message and fault in message


def swapped(*pairs):
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


@pytest.mark.parametrize("read, files, taken, named", [
    (read_mnist, mnist()[1], swapped((TRAIN_IMAGES, TRAIN_LABELS)), [TRAIN_IMAGES]),
    (read_mnist, mnist()[1], swapped((TEST_IMAGES, TEST_LABELS)), [TEST_IMAGES]),
    (read_mnist, mnist()[1], swapped((TRAIN_IMAGES, TEST_IMAGES)), [TRAIN_IMAGES, TRAIN_LABELS]),
    (read_mnist, mnist()[1], swapped((TRAIN_LABELS, TEST_LABELS)), [TRAIN_IMAGES, TRAIN_LABELS]),
    (read_mnist, mnist()[1], swapped((TRAIN_IMAGES, TEST_IMAGES), (TRAIN_LABELS, TEST_LABELS)),
     [TRAIN_IMAGES, TEST_IMAGES]),
    (read_mnist, mnist((5, 5))[1], {TRAIN_IMAGES: TEST_IMAGES}, [TRAIN_IMAGES, TEST_IMAGES]),
    *((read_cifar10, cifar_binary(), {BINARY_FILES[copy]: BINARY_FILES[original]},
       [BINARY_FILES[copy], BINARY_FILES[original]]) for original, copy in ((0, 1), (5, 3), (4, 5))),
])
def test_files_in_the_places_of_others_are_refused(tmp_path, read, files, taken, named):
    message = refusal(read, write(tmp_path, files | {file: files[other] for file, other in taken.items()}))
    assert all(os.path.basename(file) in message for file in named)


def test_binary_labels_above_nine_are_refused(tmp_path):
    file = BINARY_FILES[5]
    message = refusal(read_cifar10, write(tmp_path, cifar_binary() | {file: b"\x0a" + bytes(3072)}))
    assert str(tmp_path / file) in message and "labels from 10 to 10" in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_batch_that_was_not_published_is_refused_before_it_is_opened(tmp_path, suffix):
    trace, path = tmp_path / "trace", write(tmp_path, cifar_python()) / (PYTHON_FILES[0] + suffix)
    content = f"cos\nmkdir\n(V{trace}\ntR.".encode()
    (tmp_path / PYTHON_FILES[0]).unlink()
    path.write_bytes(gzip.compress(content) if suffix else content)
    message = refusal(read_cifar10, tmp_path)
    assert f"{path} is not the published batch (its MD5 checksum is " in message and "original" in message
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # it would have been


# ---- downloading ----


def fake_torchvision(monkeypatch, mnist=None, cifar10=None):
    """Put a torchvision in place whose data sets are the given functions (root, download)."""
    fake = SimpleNamespace(datasets=SimpleNamespace(MNIST=mnist, CIFAR10=cifar10))
    monkeypatch.setitem(sys.modules, "torchvision", fake)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def downloads(*outcomes):
    """A fake download with these outcomes, one a call: files to write, or an exception, which comes half-way."""
    outcomes = iter(outcomes)

    def download(root, download):
        assert download
        outcome = next(outcomes)
        failed = isinstance(outcome, BaseException)
        write_files(Path(root), {TRAIN_IMAGES: b"half", PYTHON_FILES[0]: b"half"} if failed else outcome)
        if failed:
            raise outcome

    return download


@pytest.mark.parametrize("name, files", [("mnist", mnist()[1]), ("cifar10", cifar_binary())])
@pytest.mark.parametrize("folder", [".", "new/deep"])
def test_downloaded_files_come_into_place(tmp_path, monkeypatch, name, files, folder):
    fake_torchvision(monkeypatch, **{name: downloads(files | {"archive.tar.gz": b"not needed"})})
    fetch(name, tmp_path / folder)
    assert files_of(tmp_path) == {tmp_path / folder / file: content for file, content in files.items()}
    READERS[name](tmp_path / folder)


def test_only_missing_files_come_into_place(tmp_path, monkeypatch):
    """And where none is missing nothing is written: the folder may be read-only."""
    files = mnist()[1]
    mine = {TRAIN_IMAGES + ".gz": gzip.compress(files[TRAIN_IMAGES]), TEST_LABELS: files[TEST_LABELS]}
    theirs = dict.fromkeys(files, b"") | {TRAIN_LABELS: files[TRAIN_LABELS]}
    write(tmp_path, mine)
    fake_torchvision(monkeypatch, mnist=downloads(theirs))
    fetch("mnist", tmp_path)
    expected = mine | {file: theirs[file] for file in (TRAIN_LABELS, TEST_IMAGES)}
    assert files_of(tmp_path) == {tmp_path / file: content for file, content in expected.items()}
    monkeypatch.setattr(instances.files, "_locked", None)
    fetch("mnist", tmp_path)


FAILURES = {
    "no network": OSError("<urlopen error [Errno -3] Temporary failure in name resolution>"),
    "no mirror": RuntimeError("Error downloading:\nTried a, got:\n  403\nTried b, got:\n  404\n"),
    "no torchvision": ImportError("operator torchvision::nms does not exist"),
    "an interrupt": KeyboardInterrupt(),
    "nothing left": {},
    "an incomplete set": {TRAIN_IMAGES: b"", PYTHON_FILES[0]: b""},
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name, present, wanted", [
    ("mnist", {}, MNIST_FILES),
    ("mnist", {TRAIN_IMAGES + ".gz": b"x", "mine.txt": b"y"}, MNIST_FILES[1:]),
    ("cifar10", dict.fromkeys(PYTHON_FILES[1:], b"x"), PYTHON_FILES[:1]),
])
def test_a_failed_download_leaves_the_folder_as_it_was(tmp_path, monkeypatch, failure, name, present, wanted):
    for folder in (write_files(tmp_path, present), tmp_path / "new" / "deep"):
        fake_torchvision(monkeypatch, **{name: downloads(FAILURES[failure])})
        before = set(tmp_path.rglob("*")), files_of(tmp_path)
        with pytest.raises((DataError, KeyboardInterrupt)) as caught:
            fetch(name, folder)
        assert (set(tmp_path.rglob("*")), files_of(tmp_path)) == before  # no empty folder either
        if failure == "an interrupt":
            continue
        message = str(caught.value)
        assert "\n" not in message
        assert "download failed" in message and instances.files.SOURCES[name] in message and str(folder) in message
        assert isinstance(FAILURES[failure], Exception) or "no complete set of files" in message
        if folder == tmp_path:
            assert f"lacks {', '.join(map(os.path.basename, wanted))}:" in message
            assert str((folder / wanted[0]).parent) in message


def test_a_data_dir_that_is_a_file_is_refused(tmp_path, monkeypatch):
    fake_torchvision(monkeypatch, downloads())
    (tmp_path / "data").write_bytes(b"")
    assert "FileExistsError" in refusal(fetch, "mnist", tmp_path / "data")
    assert str(tmp_path / "data") in refusal(read_mnist, tmp_path / "data")


def test_what_a_killed_download_left_is_cleared_away(tmp_path, monkeypatch):
    files = mnist()[1]
    write_files(tmp_path, {f".mnist.partial/{TRAIN_IMAGES}": b"half", ".mnist.lock": b""})
    fake_torchvision(monkeypatch, downloads({file: files[file] for file in MNIST_FILES[1:]}, files))
    refusal(fetch, "mnist", tmp_path)
    fetch("mnist", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_one_of_several_downloads_and_when_it_fails_the_next_tries(tmp_path, monkeypatch, failures):
    outcomes = [*[OSError("no network")] * failures, mnist()[1]]  # and no further call
    fake_torchvision(monkeypatch, downloads(*outcomes))
    (tmp_path / "data").mkdir()
    refusals, together = [], threading.Barrier(4)

    def run():
        together.wait()
        try:
            fetch("mnist", tmp_path / "data")
        except DataError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals) == failures and all("no network" in message for message in refusals)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["MNIST"]
