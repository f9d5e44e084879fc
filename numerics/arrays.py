"""Arrays on the host or a GPU: which module they belong to, how they move, and the one precision of all of them."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

DTYPE = np.float32  # of inputs, weights and products; norms and sums over tiles are float64
Array = np.ndarray  # or cupy.ndarray, which has its interface; the arrays of one call belong to the same module


def array_module(array: Array) -> ModuleType:
    """The module of an array (numpy, cupy, or another with NumPy's interface)."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def to_device(array: np.ndarray, like: Array) -> Array:
    """Copy a NumPy array to where `like` lives."""
    return array_module(like).asarray(array)


def to_host(array: Array) -> np.ndarray:
    """Copy an array to the host."""
    return array if isinstance(array, np.ndarray) else array.get()


def take_samples(array: Array, batch: slice | np.ndarray) -> Array:
    """The samples of XT [d, n] or y [n] that `batch` names, contiguous; everything without a copy."""
    return array if isinstance(batch, slice) else array.take(to_device(batch, array), axis=-1)


def check_finite(X: Array, y: Array) -> None:
    """Refuse data that no method can fit. The ValueError says what is wrong and where, counted from 0.

    Args:
        X: inputs, must be [n, d] with n, d > 0.  y: targets, must be [n] or [n, k], k > 0.  All entries must be finite.
    """
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X must hold inputs [n, d], at least one of at least one sample, its shape is {X.shape}")
    if y.ndim not in (1, 2) or len(y) != len(X) or not y.size:
        raise ValueError(f"y must hold targets [n] or [n, k] of the {len(X)} samples of X, its shape is {y.shape}")
    for name, array, column in (("X", X, "input"), ("y", y, "output")):
        xp = array_module(array)
        # min and max are NaN where any entry is; unlike isfinite of all entries they take no memory
        if xp.isfinite(array.min()) & xp.isfinite(array.max()):
            continue
        place = to_host(xp.argwhere(~xp.isfinite(array))[0]).tolist()
        where = ", ".join(f"{axis} {number}" for axis, number in zip(("sample", column), place, strict=False))
        raise ValueError(f"{name} is not finite: {where} is {float(array[tuple(place)])}")
