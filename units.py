"""The unit of the data: relu(c w . x) = c relu(w . x), so that an answer should not depend on it; step sizes do.

Inputs or targets that are far from a usual size are divided by a power of two, which changes no digit of a number, and
the first layer of the network is multiplied. Data of a usual size stay as they are, and those of all tasks are: the
published step sizes of AIHT and the learning rate of IMP then take the published steps, to the bit. Where one asks for
the scale "largest", inputs of any size are divided, by the power of two that is nearest to their largest magnitude:
pixels up to 255 by 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module

# Between which the largest magnitude is usual: pixels reach 255, planted targets a hundredth to a hundred.
INPUTS, TARGETS = (2.0**-4, 2.0**12), (2.0**-10, 2.0**24)
SCALES = ("none", "largest")  # of inputs


@dataclass(frozen=True)
class Units:
    """Exponents of the powers of two that inputs and targets are divided by."""

    inputs: int
    targets: int

    @classmethod
    def of(cls, X: Array, y: Array, loss: str, input_scale: str = "none") -> Units:
        """Those of inputs X and targets y, arrays of DTYPE; one-hot targets of cross_entropy have no unit."""
        inputs = exponent(X, INPUTS) if input_scale == "none" else nearest_exponent(X)
        return cls(inputs, exponent(y, TARGETS) if loss == "squared" else 0)

    def divide(self, X: Array, y: Array) -> tuple[Array, Array]:
        """X and y in these units; the same objects where nothing is to be done."""
        return shifted(X, -self.inputs), shifted(y, -self.targets)

    def undo(self, net: SparseNet) -> SparseNet:
        """The network for the data as they were. Raises FloatingPointError where no single precision holds it."""
        shift = self.targets - self.inputs
        first, *others = net.layers
        with np.errstate(over="ignore"):
            values = np.ldexp(first.w.values, shift)
        if not (np.isfinite(values) & (values != 0)).all():
            raise FloatingPointError(f"weights times 2^{shift} leave the range of single precision: rescale X "
                                     "or y")
        layer = SparseLayer(replace(first.w, values=values.astype(DTYPE)), first.m, first.d)
        return replace(net, layers=(layer, *others))


def exponent(array: Array, usual: tuple[float, float]) -> int:
    """The power of two above the largest magnitude of an array; 0 where that is usual, or 0."""
    size = largest(array)
    return 0 if size == 0 or usual[0] <= size <= usual[1] else int(np.frexp(size)[1])


def nearest_exponent(array: Array) -> int:
    """The power of two nearest to the largest magnitude of an array, by their ratio; 0 for zeros."""
    size = largest(array)
    return round(math.log2(size)) if size else 0


def largest(array: Array) -> float:
    """The largest magnitude of an array; min and max take no memory, as its absolute values would."""
    return max(abs(float(array.min())), abs(float(array.max())))


def shifted(array: Array, shift: int) -> Array:
    """The array times 2^shift; itself where that is 1."""
    return array_module(array).ldexp(array, shift) if shift else array
