"""datasets.py on small files written here, on the genuine files where MLP_IHT_DATA names their folder, and offline."""

import gzip
import hashlib
import os
import pickle
import struct
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import datasets
from datasets import DataError, fetch, locate, read_cifar10, read_mnist

MNIST_FILES, (BINARY_FILES, PYTHON_FILES) = datasets.LAYOUTS["mnist"][0], datasets.LAYOUTS["cifar10"]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = MNIST_FILES
READERS = {"mnist": read_mnist, "cifar10": read_cifar10}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The table of checksums, in which every batch that a test writes counts as published."""
    monkeypatch.setattr(datasets, "PYTHON_MD5", dict(datasets.PYTHON_MD5))
    return datasets.PYTHON_MD5


def write(folder, files):
    """Write {relative path: bytes}."""
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        if file in PYTHON_FILES:
            datasets.PYTHON_MD5[os.path.basename(file)] = hashlib.md5(content).hexdigest()
    return folder


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


def python2_pickle(images, labels):
    """A batch in the opcodes of Python 2's cPickle and an early NumPy, as in the published files."""

    def text(s):
        return b"U" + bytes([len(s)]) + s

    def integer(i):
        return b"J" + struct.pack("<i", i)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + b"NNN" + integer(-1) * 2 + b"K\0tb"
    shape = integer(images.shape[0]) + integer(images.shape[1]) + b"\x86"
    raw = b"T" + struct.pack("<i", images.size) + images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    array += b"(K\1" + shape + dtype + b"\x89" + raw + b"tb"
    items = text(b"batch_label") + text(b"training batch 1 of 5")
    items += text(b"labels") + b"](" + b"".join(integer(int(label)) for label in labels) + b"e" + text(b"data") + array
    return b"\x80\2}(" + items + b"u."


def python3_pickle(images, labels, protocol=2, key=lambda name: name.encode()):
    return pickle.dumps({key("data"): images, key("labels"): [int(label) for label in labels]}, protocol)


def cifar_python(dump=python2_pickle):
    return dict(zip(PYTHON_FILES, (dump(*batch) for batch in cifar_batches()), strict=True))


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


def test_a_plain_file_wins_over_its_gz(tmp_path):
    _, files = mnist()
    write(tmp_path, files | {file + ".gz": b"not read" for file in files})
    assert locate("mnist", tmp_path) == [tmp_path / file for file in MNIST_FILES]
    assert read_mnist(tmp_path)[0].shape == (17, 28, 28)


@pytest.mark.parametrize("key", [str.encode, str], ids=["bytes keys", "str keys"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_pickled_anew_are_read_too(tmp_path, protocol, key):
    files = cifar_python(lambda images, labels: python3_pickle(images, labels, protocol, key))
    genuine = read_cifar10(write(tmp_path / "genuine", cifar_python()))
    for ours, theirs in zip(read_cifar10(write(tmp_path / "anew", files)), genuine, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_both_cifar_versions_agree(tmp_path):
    binary = read_cifar10(write(tmp_path / "binary", cifar_binary()))
    python = read_cifar10(write(tmp_path / "python", cifar_python()))
    batches = cifar_batches()
    expected = [np.concatenate(part) for half in (batches[:5], batches[5:]) for part in zip(*half, strict=True)]
    for ours, theirs, array in zip(binary, python, expected, strict=True):
        assert ours.dtype == theirs.dtype == np.uint8
        np.testing.assert_array_equal(ours.reshape(array.shape), array)
        np.testing.assert_array_equal(theirs, ours)
    assert binary[0].shape == (15, 3, 32, 32) and binary[2].shape == (3, 3, 32, 32)


def test_the_hand_written_python2_pickle_is_one():
    images, labels = cifar_batches()[0]
    batch = pickle.loads(python2_pickle(images, labels), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], images)
    assert batch[b"labels"] == labels.tolist()


def test_column_major_arrays_are_read_as_such(tmp_path):
    files = cifar_python(lambda images, labels: python3_pickle(np.asfortranarray(images), labels))
    np.testing.assert_array_equal(read_cifar10(write(tmp_path, files))[2].reshape(-1, 3072), cifar_batches()[5][0])


def test_the_complete_binary_version_wins(tmp_path):
    write(tmp_path, cifar_python() | cifar_binary())
    assert locate("cifar10", tmp_path) == [tmp_path / file for file in BINARY_FILES]
    (tmp_path / BINARY_FILES[2]).unlink()
    assert locate("cifar10", tmp_path) == [tmp_path / file for file in PYTHON_FILES]


@pytest.mark.parametrize("name, files", [("mnist", mnist()[1]), ("cifar10", cifar_binary())])
def test_data_are_read_once_and_are_read_only(tmp_path, name, files):
    first = READERS[name](write(tmp_path, files))
    (tmp_path / "sub").mkdir()
    again = READERS[name](str(tmp_path / "sub" / ".."))
    assert all(a is b for a, b in zip(first, again, strict=True))
    for array in first:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


# ---- refusals ----


SETS = {
    "mnist": (read_mnist, mnist()[1]),
    "binary": (read_cifar10, cifar_binary()),
    "python": (read_cifar10, cifar_python()),
}
EVERY_FILE = pytest.mark.parametrize(
    "kind, file", [(kind, file) for kind, (_, files) in SETS.items() for file in files]
)
FAULTS = {
    "truncated": lambda content: content[:-1],
    "cut to its first bytes": lambda content: content[:3],
    "one byte extra": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "foreign": lambda content: b"<!DOCTYPE html><title>404 Not Found</title>",
}


@pytest.mark.parametrize("fault", FAULTS)
@EVERY_FILE
def test_damaged_files_are_refused_by_name(tmp_path, kind, file, fault):
    read, files = SETS[kind]
    message = refusal(read, write(tmp_path, files | {file: FAULTS[fault](files[file])}))
    assert str(tmp_path / file) in message and "original" in message


@EVERY_FILE
def test_a_removed_file_is_named(tmp_path, kind, file):
    read, files = SETS[kind]
    write(tmp_path, files)
    (tmp_path / file).unlink()
    message = refusal(read, tmp_path)
    folder, base = os.path.split(tmp_path / file)
    assert f"lacks {base}:" in message and folder in message and "get them from" in message


@pytest.mark.parametrize("read", [read_mnist, read_cifar10])
def test_a_folder_that_does_not_exist_is_refused(tmp_path, read):
    assert str(tmp_path / "none") in refusal(read, tmp_path / "none")


def flipped(where):
    def damage(content):
        packed = bytearray(gzip.compress(content))
        packed[where] ^= 0xFF
        return bytes(packed)

    return damage


GZ_FAULTS = {
    "wrong checksum": flipped(-8),
    "wrong deflate block": flipped(10),
    "truncated": lambda content: gzip.compress(content)[:-9],
    "cut in its header": lambda content: gzip.compress(content)[:5],
    "not gzip": bytes,
}


@pytest.mark.parametrize("damage", GZ_FAULTS.values(), ids=GZ_FAULTS)
@pytest.mark.parametrize("file", MNIST_FILES)
def test_a_damaged_gz_is_refused_by_name(tmp_path, file, damage):
    content = mnist()[1]
    write(tmp_path, content | {f"{file}.gz": damage(content[file])})
    (tmp_path / file).unlink()
    message = refusal(read_mnist, tmp_path)
    assert f"{tmp_path / file}.gz" in message and "gzip" in message


def patched(file, where, value):
    content = bytearray(mnist()[1][file])
    content[where] = value
    return bytes(content)


@pytest.mark.parametrize(
    "file, content, fault",
    [
        (TRAIN_IMAGES, patched(TRAIN_IMAGES, 0, 1), "not an idx file"),
        (TRAIN_IMAGES, patched(TRAIN_IMAGES, 2, 13), "unsigned bytes"),
        (TEST_LABELS, patched(TEST_LABELS, 3, 2), "dimensions"),
        (TEST_LABELS, patched(TEST_LABELS, 9, 10), "labels from"),
        (TRAIN_LABELS, patched(TRAIN_LABELS, 4, 255), "header announces"),
        (TEST_IMAGES, idx(np.zeros((5, 14, 56), np.uint8)), "28, 28"),
        (TEST_LABELS, idx(np.zeros(0, np.uint8)), "n > 0"),
        (TRAIN_LABELS, mnist()[1][TEST_LABELS], "12 images, but"),
        (TRAIN_IMAGES, gzip.compress(mnist()[1][TRAIN_IMAGES]), "1f8b"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path, file, content, fault):
    message = refusal(read_mnist, write(tmp_path, mnist()[1] | {file: content}))
    assert os.path.basename(file) in message and fault in message


@pytest.mark.parametrize(
    "swaps, named",
    [
        ([(TRAIN_IMAGES, TRAIN_LABELS)], [TRAIN_IMAGES]),
        ([(TEST_IMAGES, TEST_LABELS)], [TEST_IMAGES]),
        ([(TRAIN_IMAGES, TEST_IMAGES)], [TRAIN_IMAGES, TRAIN_LABELS]),
        ([(TRAIN_LABELS, TEST_LABELS)], [TRAIN_IMAGES, TRAIN_LABELS]),
        ([(TRAIN_IMAGES, TEST_IMAGES), (TRAIN_LABELS, TEST_LABELS)], [TRAIN_IMAGES, TEST_IMAGES]),
    ],
)
def test_swapped_mnist_files_are_refused(tmp_path, swaps, named):
    files = mnist()[1]
    for a, b in swaps:
        files |= {a: files[b], b: files[a]}
    message = refusal(read_mnist, write(tmp_path, files))
    assert all(os.path.basename(file) in message for file in named)


def test_mnist_test_images_copied_over_the_train_images_are_refused(tmp_path):
    files = mnist((5, 5))[1]
    message = refusal(read_mnist, write(tmp_path, files | {TRAIN_IMAGES: files[TEST_IMAGES]}))
    assert "train-images" in message and "t10k-images" in message


@pytest.mark.parametrize("files", [cifar_binary(), cifar_python()], ids=["binary", "python"])
@pytest.mark.parametrize("original, copy", [(0, 1), (5, 3), (4, 5)])
def test_a_cifar_batch_copied_over_another_is_refused(tmp_path, files, original, copy):
    names = list(files)
    message = refusal(read_cifar10, write(tmp_path, files | {names[copy]: files[names[original]]}))
    assert all(os.path.basename(names[i]) in message for i in (original, copy))


IMAGES, LABELS = cifar_batches()[0]


@pytest.mark.parametrize(
    "batch, fault",
    [
        ({b"data": IMAGES, b"labels": [0, 1, 10]}, "labels from 0 to 10"),
        ({b"data": IMAGES, b"labels": [0, 1, -1]}, "labels from -1 to 1"),
        ({b"data": IMAGES, b"labels": [0, 1]}, "(2,)"),
        ({b"data": IMAGES, b"labels": [0, 1, 2.5]}, "float64"),
        ({b"data": IMAGES, b"labels": ["a", "b", "c"]}, "labels"),
        ({b"data": IMAGES[:, :3071], b"labels": [0, 1, 2]}, "3071"),
        ({b"data": IMAGES[:0], b"labels": []}, "not (n, 3072)"),
        ({b"data": IMAGES.astype("f4"), b"labels": [0, 1, 2]}, "f4"),
        ({b"data": IMAGES.tobytes(), b"labels": [0, 1, 2]}, "not a CIFAR-10 batch"),
        ({b"data": IMAGES, b"fine_labels": [0, 1, 2]}, "KeyError: 'labels'"),
        ([1, 2, 3], "not a CIFAR-10 batch"),
    ],
)
def test_foreign_pickles_are_refused(tmp_path, batch, fault):
    file = PYTHON_FILES[3]
    message = refusal(read_cifar10, write(tmp_path, cifar_python() | {file: pickle.dumps(batch, 4)}))
    assert str(tmp_path / file) in message and fault in message


def test_binary_labels_above_nine_are_refused(tmp_path):
    file = BINARY_FILES[5]
    message = refusal(read_cifar10, write(tmp_path, cifar_binary() | {file: b"\x0a" + bytes(3072)}))
    assert str(tmp_path / file) in message and "labels from 10 to 10" in message


@pytest.mark.parametrize(
    "program",
    [
        "cos\nmkdir\n(V{}\ntR.",
        "(V{}\nios\nmkdir\n.",
        "\x80\4\x8c\2os\x8c\5mkdir\x93V{}\n\x85R.",
        "cbuiltins\neval\n(V__import__('os').mkdir('{}')\ntR.",
        "\x80\4cshutil\nos.mkdir\n(V{}\ntR.",
    ],
)
def test_a_malicious_pickle_executes_nothing(tmp_path, program):
    trace = tmp_path / "trace"
    content = program.format(trace).encode("latin1")
    message = refusal(read_cifar10, write(tmp_path, cifar_python() | {PYTHON_FILES[0]: content}))
    assert "data_batch_1" in message and "it asks for" in message and not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # it would have been


@pytest.mark.parametrize("file", PYTHON_FILES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_batch_that_was_not_published_is_refused_before_it_is_opened(tmp_path, published, monkeypatch, file, suffix):
    genuine = published[os.path.basename(file)]
    path = write(tmp_path, cifar_python()) / (file + suffix)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    path.write_bytes(gzip.compress(content) if suffix else content)
    datasets._read_python(path)
    published[os.path.basename(file)] = genuine
    monkeypatch.setattr(datasets, "_BatchUnpickler", None)  # calling it would raise something else
    message = refusal(datasets._read_python, path)
    assert f"{path} is not the published batch (its MD5 checksum is " in message and "original" in message


# ---- downloading ----


def fake_torchvision(monkeypatch, mnist=None, cifar10=None):
    """Put a torchvision in place whose data sets are the given functions (root, download)."""
    fake = SimpleNamespace(datasets=SimpleNamespace(MNIST=mnist, CIFAR10=cifar10))
    monkeypatch.setitem(sys.modules, "torchvision", fake)


def tree(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def no_download(root, download):
    raise AssertionError("nothing is missing, yet it downloads")


def writer(files):
    def download(root, download):
        assert download
        write(Path(root), files)

    return download


def slow(*outcomes):
    """A fake download that takes a while and has these outcomes, one a call: an exception, or files to write."""
    outcomes = iter(outcomes)

    def download(root, download):
        time.sleep(0.1)
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        write(Path(root), outcome)

    return download


def test_files_that_are_there_are_not_downloaded(tmp_path, monkeypatch):
    fake_torchvision(monkeypatch, no_download, no_download)
    monkeypatch.setattr(datasets, "_lock", None)  # nothing is written either: the folder may be read-only
    write(tmp_path, mnist()[1] | cifar_binary())
    before = tree(tmp_path)
    fetch("mnist", tmp_path)
    fetch("cifar10", tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name, files", [("mnist", mnist()[1]), ("cifar10", cifar_python())])
@pytest.mark.parametrize("folder", [".", "new/deep"])
def test_downloaded_files_come_into_place(tmp_path, monkeypatch, name, files, folder):
    fake_torchvision(monkeypatch, **{name: writer(files | {"archive.tar.gz": b"not needed"})})
    fetch(name, tmp_path / folder)
    found = {path: content for path, content in tree(tmp_path).items() if content is not None}
    assert found == {tmp_path / folder / file: content for file, content in files.items()}
    READERS[name](tmp_path / folder)


def test_only_missing_files_come_into_place(tmp_path, monkeypatch):
    files = mnist()[1]
    mine = gzip.compress(files[TRAIN_IMAGES])
    write(tmp_path, {TRAIN_IMAGES + ".gz": mine, TEST_LABELS: files[TEST_LABELS]})
    fake_torchvision(monkeypatch, mnist=writer(dict.fromkeys(files, b"") | {TRAIN_LABELS: files[TRAIN_LABELS]}))
    fetch("mnist", tmp_path)
    assert (tmp_path / (TRAIN_IMAGES + ".gz")).read_bytes() == mine and not (tmp_path / TRAIN_IMAGES).exists()
    assert (tmp_path / TEST_LABELS).read_bytes() == files[TEST_LABELS]
    assert (tmp_path / TRAIN_LABELS).read_bytes() == files[TRAIN_LABELS]


def raising(error):
    def download(root, download):
        write(Path(root), {TRAIN_IMAGES: b"half", PYTHON_FILES[0]: b"half"})  # it died half-way
        raise error

    return download


FAILURES = {
    "no network": raising(OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")),
    "no mirror": raising(RuntimeError("Error downloading:\nTried a, got:\n  403\nTried b, got:\n  404\n")),
    "nothing left": lambda root, download: None,
    "an incomplete set": writer({TRAIN_IMAGES: b"", PYTHON_FILES[0]: b""}),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name, present, wanted", [
    ("mnist", {}, MNIST_FILES),
    ("mnist", {TRAIN_IMAGES + ".gz": b"x", "mine.txt": b"y"}, MNIST_FILES[1:]),
    ("cifar10", {}, BINARY_FILES),
    ("cifar10", dict.fromkeys(PYTHON_FILES[1:], b"x"), PYTHON_FILES[:1]),
])  # fmt: skip
def test_a_failed_download_leaves_the_folder_as_it_was(tmp_path, monkeypatch, failure, name, present, wanted):
    fake_torchvision(monkeypatch, FAILURES[failure], FAILURES[failure])
    for folder in (write(tmp_path, present), tmp_path / "new" / "deep"):
        before = tree(tmp_path)
        message = refusal(fetch, name, folder)
        assert tree(tmp_path) == before
        assert "download failed" in message and datasets.SOURCES[name] in message and str(folder) in message
        if folder == tmp_path:
            assert f"lacks {', '.join(map(os.path.basename, wanted))}:" in message
            assert str((folder / wanted[0]).parent) in message


@pytest.mark.parametrize("failure", ["nothing left", "an incomplete set"])
def test_a_download_without_all_files_is_refused(tmp_path, monkeypatch, failure):
    fake_torchvision(monkeypatch, FAILURES[failure])
    assert "no complete set of files" in refusal(fetch, "mnist", tmp_path)


@pytest.mark.parametrize("line", ["raise RuntimeError('operator torchvision::nms does not exist')", "import not_there"])
def test_a_torchvision_that_cannot_be_imported_is_a_one_line_refusal(tmp_path, monkeypatch, line):
    package = write(tmp_path / "packages", {"torchvision/__init__.py": line.encode()})
    monkeypatch.syspath_prepend(package)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    message = refusal(fetch, "mnist", tmp_path / "data")
    assert "nms" in message or "not_there" in message
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_is_a_file_is_refused(tmp_path, monkeypatch):
    fake_torchvision(monkeypatch, no_download)
    (tmp_path / "data").write_bytes(b"")
    assert "FileExistsError" in refusal(fetch, "mnist", tmp_path / "data")
    assert str(tmp_path / "data") in refusal(read_mnist, tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_data_dir_is_refused(tmp_path, monkeypatch):
    fake_torchvision(monkeypatch, no_download)
    (tmp_path / "data").mkdir(mode=0o555)
    assert "PermissionError" in refusal(fetch, "mnist", tmp_path / "data")


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    fake_torchvision(monkeypatch, raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_a_killed_download_left_is_cleared_away(tmp_path, monkeypatch):
    files = mnist()[1]
    write(tmp_path, {f".mnist.partial/{TRAIN_IMAGES}": b"half", ".mnist.lock": b""})
    fake_torchvision(monkeypatch, writer({file: files[file] for file in MNIST_FILES[1:]}))
    refusal(fetch, "mnist", tmp_path)
    fake_torchvision(monkeypatch, writer(files))
    fetch("mnist", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_one_of_several_downloads_and_when_it_fails_the_next_tries(tmp_path, monkeypatch, failures):
    fake_torchvision(monkeypatch, slow(*[OSError("no network")] * failures, mnist()[1]))  # and no further call
    (tmp_path / "data").mkdir()
    refusals = []

    def run():
        try:
            fetch("mnist", tmp_path / "data")
        except DataError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)  # so that some wait from the start, and some come while the second one downloads
    for thread in threads:
        thread.join()
    assert len(refusals) == failures and all("no network" in message for message in refusals)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["MNIST"]


# ---- the genuine files ----

DATA = os.environ.get("MLP_IHT_DATA")


@pytest.mark.skipif(not (DATA and locate("mnist", DATA)), reason="MLP_IHT_DATA names no folder with MNIST")
def test_genuine_mnist():
    images, labels = read_mnist(DATA)
    assert images.shape == (70000, 28, 28) and labels.shape == (70000,)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9] and labels[60000:60005].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels[:60000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.skipif(not (DATA and locate("cifar10", DATA)), reason="MLP_IHT_DATA names no folder with CIFAR-10")
def test_genuine_cifar10():
    images, labels, test_images, test_labels = read_cifar10(DATA)
    assert images.shape == (len(labels), 3, 32, 32) and test_images.shape == (len(test_labels), 3, 32, 32)
    assert np.bincount(labels)[:2].tolist() == [5000, 5000] and np.bincount(test_labels)[:2].tolist() == [1000, 1000]
