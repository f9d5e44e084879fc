"""What several test files share."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np

from numerics.arrays import to_host
from numerics.sparse import SparseVector
from sweep.logbook import Log
from sweep.names import AXES
from sweep.settings import completed
from sweep.table import DONE, NOT_RUN
from tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]


def sparse(dense) -> SparseVector:
    """The nonzeros of a dense array, row-major, as a SparseVector of float32."""
    flat = np.ravel(dense)
    indices = np.flatnonzero(flat)
    return SparseVector(indices, flat[indices].astype(np.float32), flat.size)


def dense_sensing(X, H):
    """The sensing matrix [n, m d] float64 by its definition: block j is X with the rows of closed gates set to zero."""
    X = X.astype(np.float64)
    return np.hstack([X * (X @ h > 0)[:, None] for h in H.astype(np.float64)])


def assert_close(actual, expected, tolerance=1e-5, floor=0.0):
    """Equal up to `tolerance`, in units of the largest entry that is expected, or of `floor` if that is more."""
    unit = max(np.abs(expected).max(initial=0), floor)
    np.testing.assert_allclose(to_host(actual), expected, rtol=0, atol=tolerance * unit)


def bits(net):
    """The weights of a SparseNet as bytes, layer by layer."""
    parts = [*net.layers, *([] if net.output is None else [net.output])]
    return [(part.w.indices.tobytes(), part.w.values.tobytes()) for part in parts]


def psnr(predictions, y) -> float:
    """dB, with the largest |y| as the peak."""
    return 20 * np.log10(np.abs(y).max()) - 10 * np.log10(np.mean((predictions - y) ** 2))


def idx(array) -> bytes:
    """The file of an array of unsigned bytes in the format of MNIST."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_files(folder: Path, files: dict) -> Path:
    """Write {relative path: bytes}; returns the folder."""
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def copy_project(folder: Path) -> None:
    """Copy the code: the files of the root, and its packages but for the tests."""
    for path in [*ROOT.glob("*.py"), *(path.parent for path in ROOT.glob("*/__init__.py"))]:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)


def recipe(verb) -> str:
    """The shell script of a verb of the Makefile and of what it needs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", "--no-print-directory", "-nB", verb], cwd=ROOT, env=environment, text=True,
                          capture_output=True, check=True).stdout


def save_log(name, table, task="mlp_planted", method="aiht", *, axes=None, cells=None, measure=None, environment=None,
             folder="logs", **settings) -> Path:
    """Save a log of scores [m, s, seed], NaN where not run; returns the path of its table.

    Args:
        axes: m, s and seed; None counts from 1.  cells: {place in the table: what the record of that cell says}.
    """
    table = np.asarray(table, float)
    axes = axes or [range(1, size + 1) for size in table.shape]
    log = Log(Path(folder, task, method, name), completed({"task": task, "method": method} | settings),
              dict(zip(AXES, map(list, axes), strict=True)), measure or TASKS[task].measure, environment or {})
    for place in np.ndindex(table.shape):
        said = {"status": NOT_RUN if np.isnan(table[place]) else DONE} | (cells or {}).get(place, {})
        if said["status"] != NOT_RUN:
            cell = tuple(axis[number] for axis, number in zip(log.axes.values(), place, strict=True))
            log.record(cell, score=table[place], **said)
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.save()
    return log.files[0]
