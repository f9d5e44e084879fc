"""MNIST and CIFAR-10, read from disk with NumPy alone; the data of the image experiments (Figures 3 to 5).

    python -c "from instances import files; files.fetch('mnist', 'data'); print(files.read_mnist('data')[0].shape)"

Files are looked for where torchvision puts them (<data_dir>/MNIST/raw, <data_dir>/cifar-10-batches-py) or, for CIFAR-10
and preferred, where the binary version unpacks (<data_dir>/cifar-10-batches-bin). Any of them may be gzipped (.gz), and
a file that is not what its name says is refused. Only fetch() needs torchvision (and filelock, which comes with torch).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import pickle
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

MNIST_PARTS = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
CIFAR_BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
LAYOUTS = {  # the sets of files that make up a data set, the preferred one first
    "mnist": [[f"MNIST/raw/{part}-ubyte" for part in MNIST_PARTS]],
    "cifar10": [
        [f"cifar-10-batches-bin/{batch}.bin" for batch in CIFAR_BATCHES],
        [f"cifar-10-batches-py/{batch}" for batch in CIFAR_BATCHES],
    ],
}
PYTHON_MD5 = {  # the published checksums: only a batch that has its own is opened, since a pickle can run any code
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
MNIST_MD5 = {  # of the published files, unzipped, and their lengths; a file of another length is somebody's own
    "train-images-idx3": ("6bbc9ace898e44ae57da46a324031adb", 47040016),
    "train-labels-idx1": ("a25bea736e30d166cdddb491f175f624", 60008),
    "t10k-images-idx3": ("2646ac647ad5339dbf082846283269ea", 7840016),
    "t10k-labels-idx1": ("27ae3e4e09519cfbb04c329615203637", 10008),
}
SOURCES = {"mnist": "ossci-datasets.s3.amazonaws.com/mnist", "cifar10": "www.cs.toronto.edu/~kriz/cifar.html"}
DIGEST = 16  # hexadecimal digits
TRAIN_PER_CLASS, TEST_PER_CLASS = 5000, 1000  # of every class, in stored order (the paper's split)
Split = tuple[np.ndarray, np.ndarray]  # images [n, ...] and labels [n]


class DataError(Exception):
    """Data files are missing or not what they should be: one line naming the file, the fault and the remedy."""


def read_mnist(data_dir: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [70000, 28, 28] and labels [70000], uint8, read-only: the train file, then the test file, in stored order.

    Read once per process. Raises DataError.
    """
    images, labels = _read_mnist(Path(data_dir).resolve())
    return images, labels


def read_cifar10(data_dir: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images [*, 3, 32, 32] and labels [*], then test images and labels, uint8 and read-only, in stored order.

    Read once per process. Raises DataError.
    """
    images, labels, test_images, test_labels = _read_cifar10(Path(data_dir).resolve())
    return images, labels, test_images, test_labels


READERS = {"mnist": read_mnist, "cifar10": read_cifar10}


def data_folder(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Where the data sets are: --data_dir, else the variable MLP_IHT_DATA, else ./data."""
    return Path(flag or environment.get("MLP_IHT_DATA") or "data").expanduser()


def class_split(images: np.ndarray, labels: np.ndarray, classes: Sequence[int]) -> list[Split]:
    """The paper's split, class after class in stored order: (images, labels) for training and for test.

    Returns:
        train: the first 5000 of each class; test: the next 1000; labels are 0, 1, ... in the order of `classes`.
    Raises:
        DataError: a class has fewer images.
    """
    needed = TRAIN_PER_CLASS + TEST_PER_CLASS
    members = [np.flatnonzero(labels == c)[:needed] for c in classes]
    for c, own in zip(classes, members, strict=True):
        if len(own) < needed:
            raise DataError(f"class {c} has {len(own)} images where the split takes {needed}; get the whole data set")
    split = []
    for part in (slice(0, TRAIN_PER_CLASS), slice(TRAIN_PER_CLASS, None)):
        order = np.concatenate([member[part] for member in members])
        counts = [len(member[part]) for member in members]
        split.append((images[order], np.repeat(np.arange(len(members)), counts)))
    return split


@cache
def data_digest(name: str, data_dir: Path) -> str:
    """A digest of the images and labels of "mnist" or "cifar10", in whatever files they are. Raises DataError."""
    digest = hashlib.sha256()
    for array in READERS[name](data_dir):
        digest.update(array.tobytes())
    return digest.hexdigest()[:DIGEST]


def file_digest(path: str | Path) -> str:
    """A digest of a file, for a task that reads one of its own."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:DIGEST]


def locate(name: str, data_dir: str | Path) -> list[Path] | None:
    """Paths of the files of "mnist" or "cifar10" in the order of LAYOUTS, or None when any is missing."""
    for layout in LAYOUTS[name]:
        paths = [path for file in layout if (path := _find(Path(data_dir, file)))]
        if len(paths) == len(layout):
            return paths
    return None


def fetch(name: str, data_dir: str | Path) -> None:
    """Make the files of "mnist" or "cifar10" present, downloading what is missing; raises DataError where it cannot.

    One process downloads; others wait at a lock file in the folder (.mnist.lock or .cifar10.lock), which is removed at
    the end. A file comes into place whole, and none that is there is replaced.
    """
    folder = Path(data_dir).resolve()
    if locate(name, folder):
        return
    try:
        with _made(folder), _locked(folder / f".{name}.lock"):
            if not locate(name, folder):
                _download(name, folder)
    except Exception as error:  # no network, no permission, or anything from a torchvision that does not fit its torch
        raise _missing(name, folder, f"; the download failed: {_reason(error)}") from error


# ---- MNIST ----


@cache
def _read_mnist(data_dir: Path) -> tuple[np.ndarray, ...]:
    paths = locate("mnist", data_dir)
    if paths is None:
        raise _missing("mnist", data_dir)
    (images, labels), (test_images, test_labels) = _read_pair(*paths[:2]), _read_pair(*paths[2:])
    if len(images) < len(test_images):
        raise _fault(paths[0], f"has fewer images than {paths[2].name}: train and test are swapped")
    if np.array_equal(images, test_images):
        raise _fault(paths[0], f"has the same images as {paths[2].name}")
    return _frozen(np.concatenate([images, test_images]), np.concatenate([labels, test_labels]))


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _read_idx(images_path, 3), _checked_labels(labels_path, _read_idx(labels_path, 1))
    if len(images) != len(labels):
        raise _fault(images_path, f"has {len(images)} images, but {labels_path.name} {len(labels)} labels")
    return images, labels


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """The unsigned bytes [n, 28, 28] (ndim 3) or [n] (ndim 1) of an idx file.

    Layout: 0, 0, the type (8: unsigned byte), ndim, then ndim big-endian 4-byte sizes, then the values in C order.
    """
    raw = _contents(path)
    _check_published(path, raw)
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise _fault(path, f"is not an idx file (it starts with {raw[:4].hex() or 'nothing'})")
    if raw[2] != 8:
        raise _fault(path, f"has values of idx type {raw[2]}, not unsigned bytes (8)")
    if raw[3] != ndim:
        raise _fault(path, f"has {raw[3]} dimensions, not {ndim}: images and labels may be swapped")
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, 4 + 4 * ndim, 4))
    expected = 4 + 4 * ndim + math.prod(shape)
    if len(raw) != expected:
        raise _fault(path, f"has {len(raw)} bytes where its header announces {expected}")
    if shape[0] == 0 or shape[1:] != (28, 28)[: ndim - 1]:
        raise _fault(path, f"has shape {shape}, not {'(n, 28, 28)' if ndim == 3 else '(n,)'} with n > 0")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _check_published(path: Path, raw: bytes) -> None:
    """Refuse a file as long as the published one that is another: Fashion-MNIST has files of these names, too."""
    checksum, length = MNIST_MD5[path.name.removesuffix(".gz").removesuffix("-ubyte")]
    if len(raw) == length and (own := hashlib.md5(raw, usedforsecurity=False).hexdigest()) != checksum:
        raise _fault(path, f"is not the published file (its MD5 checksum is {own})")


# ---- CIFAR-10 ----


@cache
def _read_cifar10(data_dir: Path) -> tuple[np.ndarray, ...]:
    paths = locate("cifar10", data_dir)
    if paths is None:
        raise _missing("cifar10", data_dir)
    read = _read_binary if paths[0].parent.name == "cifar-10-batches-bin" else _read_python
    batches = [read(path) for path in paths]
    for (path, (images, labels)), (path2, (images2, labels2)) in combinations(zip(paths, batches, strict=True), 2):
        if np.array_equal(labels, labels2) and np.array_equal(images, images2):
            raise _fault(path, f"has the same content as {path2.name}")
    halves = zip(*batches[:-1], strict=True), zip(*batches[-1:], strict=True)
    return _frozen(*(np.concatenate(parts) for half in halves for parts in half))


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 3, 32, 32] and labels [n] of a binary batch: n records of one label byte and 3 * 32 * 32 pixels."""
    raw = _contents(path)
    if not raw or len(raw) % 3073:
        raise _fault(path, f"has {len(raw)} bytes, not a whole number of 3073-byte records")
    records = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), _checked_labels(path, records[:, 0])


def _read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 3, 32, 32] and labels [n] of a python batch: a pickled dict of data [n, 3072] and a list of labels."""
    content = _contents(path)
    checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if checksum != PYTHON_MD5[path.name.removesuffix(".gz")]:
        raise _fault(path, f"is not the published batch (its MD5 checksum is {checksum})")
    batch = pickle.loads(content, encoding="bytes")  # written by Python 2
    return batch[b"data"].reshape(-1, 3, 32, 32), _checked_labels(path, np.array(batch[b"labels"]))


# ---- files ----


def _find(path: Path) -> Path | None:
    """The file, or else its .gz, or else None."""
    return next((p for p in (path, path.with_name(path.name + ".gz")) if os.path.isfile(p)), None)


def _contents(path: Path) -> bytes:
    """The bytes of a file, unzipped if it is a .gz."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _fault(path, f"is not a whole gzip file ({_reason(error)})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_reason(error)}); make it readable") from error


def _checked_labels(path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() > 9:
        raise _fault(path, f"has labels from {labels.min()} to {labels.max()}, not within 0 to 9")
    return labels.astype(np.uint8)


def _frozen(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    for array in arrays:
        array.setflags(write=False)  # one copy serves the whole process
    return arrays


def _fault(path: Path, fault: str) -> DataError:
    return DataError(f"{path} {fault}; put the original file there, or delete it to have it downloaded again")


def _missing(name: str, data_dir: Path, why: str = "") -> DataError:
    """The DataError that names the missing files of the layout that lacks the fewest, and where to get and put them."""
    lacks = {layout[0]: [file for file in layout if not _find(data_dir / file)] for layout in LAYOUTS[name]}
    first, files = min(lacks.items(), key=lambda item: len(item[1]))
    wanted = ", ".join(os.path.basename(file) for file in files)
    place = (data_dir / first).parent
    return DataError(f"{name} lacks {wanted}: get them from {SOURCES[name]} and put them into {place}, "
                     f"or name their folder by --data_dir or MLP_IHT_DATA{why}")


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())  # on one line


# ---- download ----


def _download(name: str, folder: Path) -> None:
    """Download into a folder of its own, then move the missing files into place. The caller holds the lock."""
    from torchvision import datasets  # here, since nothing else needs it and it takes seconds

    partial = folder / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
    try:
        {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}[name](root=str(partial), download=True)
        paths = locate(name, partial)
        if paths is None:
            raise FileNotFoundError("torchvision left no complete set of files")
        with _made(folder / paths[0].relative_to(partial).parent):
            for path in paths:
                place = folder / path.relative_to(partial)
                if not _find(place):
                    os.replace(path, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is removed at the end, before the lock is let go of."""
    from filelock import FileLock

    with FileLock(path):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is held; there filelock does so itself
                path.unlink()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder and its parents; at the end remove those made here that are still empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in new:
            with suppress(OSError):  # not empty: in use
                path.rmdir()
