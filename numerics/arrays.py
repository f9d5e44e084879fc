"""Arrays on the host or a GPU: which module they belong to, how they move, and the one precision of all of them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

DTYPE = np.float32  # of inputs, weights and products; norms and sums over tiles are float64
Array = np.ndarray  # or cupy.ndarray, which has its interface; the arrays of one call belong to the same module


def real_array(name: str, values: Any) -> Array:
    """An array of real numbers, on the host or a GPU; what numpy.asarray takes is made one.

    Raises ValueError, which names the argument, for what holds something else, and for masked entries.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries: leave these samples out")
    if hasattr(values, "tocsr"):
        raise ValueError(f"{name} is a sparse matrix: give {name}.toarray()")
    try:
        array = values if hasattr(values, "strides") and not isinstance(values, np.ndarray) else np.asarray(values)
    except Exception as error:  # ragged lists, tensors that record gradients or are elsewhere, ...
        raise ValueError(f"{name} is no array of numbers: {' '.join(str(error).split())}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    return array


def array_module(array: Array) -> ModuleType:
    """The module of an array (numpy, cupy, or another with NumPy's interface)."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def to_device(array: np.ndarray, like: Array) -> Array:
    """Copy a NumPy array to where `like` lives."""
    return array_module(like).asarray(array)


def to_host(array: Array) -> np.ndarray:
    """Copy an array to the host."""
    return array if isinstance(array, np.ndarray) else array.get()


def slices(length: int, size: int) -> list[slice]:
    """Cut `length` entries into runs of `size`, the last of them smaller."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def take_samples(array: Array, batch: slice | np.ndarray) -> Array:
    """The samples of XT [d, n] or y [n] that `batch` names, contiguous; everything without a copy."""
    return array if isinstance(batch, slice) else array.take(to_device(batch, array), axis=-1)
