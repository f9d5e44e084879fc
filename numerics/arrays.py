"""Arrays on the host or a GPU: which module they belong to, how they move, and the one precision of all of them."""

from __future__ import annotations

import sys

import numpy as np

DTYPE = np.float32  # of inputs, weights and products; norms and sums over tiles are float64


def array_module(array):
    """The module of an array (numpy, cupy, or another with NumPy's interface)."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def to_device(array, like):
    """Copy a NumPy array to where `like` lives."""
    return array_module(like).asarray(array)


def to_host(array) -> np.ndarray:
    """Copy an array to the host."""
    return array if isinstance(array, np.ndarray) else array.get()


def take_samples(array, batch):
    """The samples of XT [d, n] or y [n] that `batch` names, contiguous; everything without a copy."""
    return array if isinstance(batch, slice) else array.take(to_device(batch, array), axis=-1)


def cupy_on(gpu: int):
    """CuPy, set to a GPU, and the GPU's name; RuntimeError says what is missing."""
    try:
        import cupy
    except Exception as error:  # an installed CuPy that misfits its CUDA raises more than ImportError
        raise RuntimeError(f"CuPy cannot be imported ({type(error).__name__})") from None
    if not cupy.cuda.is_available():
        raise RuntimeError("CuPy finds no working NVIDIA GPU")
    if gpu >= cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError(f"CuPy finds GPUs 0 to {cupy.cuda.runtime.getDeviceCount() - 1} only")
    cupy.cuda.Device(gpu).use()
    return cupy, cupy.cuda.runtime.getDeviceProperties(gpu)["name"].decode()
