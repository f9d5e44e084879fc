"""A sparse network in training: its data in tiles, its gradients, and the signals that its curvature is made of.

Weights are tensors [out, in], one for each layer from input to output, in which zero means pruned. With one output the
last one holds signs +-1, which are not trained, since their size is in the other layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from numerics.adam import Adam
from numerics.masks import live_units, trim
from numerics.training import DenseLayer, Network, log_odds

if TYPE_CHECKING:
    from torch import Tensor

    Slope = Callable[[Tensor], Tensor]  # outputs [k, b] -> the rows [k, b] that go back through the network

TILES = 90  # batches of an epoch
SMALL = 600  # weights up to which a matrix of the curvature is made
NEWTON_SAMPLES, NEWTON_PRODUCTS = 5000, 5 * 10**9  # samples, and products for a matrix of Levenberg and Marquardt
LEAST_TILE = 32  # samples of a batch, about; fewer batches where there are few samples


@dataclass(frozen=True)
class Data:
    """Samples in tiles, which are the batches, too: inputs [d, b] and targets [k, b], in units of about 1.

    Args:
        l2: the objective is the mean loss + l2 / 2 |w|^2.
    """

    tiles: list[tuple[Tensor, Tensor]]
    loss: str
    l2: float

    @classmethod
    def of(cls, X: np.ndarray, Y: np.ndarray, loss: str, l2: float, rng: np.random.Generator) -> Data:
        """X [n, d] and Y [n, k] in a random order."""
        import torch

        parts = np.array_split(rng.permutation(len(X)), min(TILES, -(-len(X) // LEAST_TILE)))
        return cls([(torch.tensor(X.T[:, part]).contiguous(), torch.tensor(Y.T[:, part]).contiguous())
                    for part in parts], loss, l2)

    @property
    def size(self) -> int:
        """Samples n."""
        return sum(Y.shape[1] for _, Y in self.tiles)

    @property
    def outputs(self) -> int:
        """Outputs k."""
        return self.tiles[0][1].shape[0]

    def some(self, samples: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        """Random tiles that hold about so many samples; all of them where there are no more."""
        count = -(-samples * len(self.tiles) // self.size)
        return [self.tiles[number] for number in rng.permutation(len(self.tiles))[:count]]

    def free(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The layers that are trained: with one output all but the last."""
        return list(weights[:-1] if self.outputs == 1 else weights)

    def with_free(self, weights: Sequence[Tensor], free: Sequence[Tensor]) -> list[Tensor]:
        """The network with other layers where they are trained."""
        return [*free, *weights[len(free) :]]

    @property
    def is_fitted_by_newton(self) -> bool:
        """Whether Levenberg-Marquardt steps take the place of gradient steps: on few samples of one output."""
        return self.loss == "squared" and self.outputs == 1 and self.size <= NEWTON_SAMPLES

    def is_small(self, count: int) -> bool:
        """Whether matrices of so many weights may be made: they cost no more than the training between them."""
        products = count**2 * max(count, self.size)
        return count <= SMALL or self.is_fitted_by_newton and products <= NEWTON_PRODUCTS

    def count(self, weights: Sequence[Tensor]) -> int:
        """Nonzero weights; signs do not count."""
        return sum(int(W.count_nonzero()) for W in self.free(weights))


class SignLayer(DenseLayer):
    """The last layer with one output: V [1, m] with entries +-1, not trained."""

    def __init__(self, V: Tensor):
        super().__init__(V != 0, V.flatten(), V.new_zeros(V.numel()))

    def set_slopes(self, D: Tensor, Z: Tensor) -> None:
        """Nothing: V has none."""


class Student(Network):
    """The network of some weights."""

    def __init__(self, weights: Sequence[Tensor], data: Data):
        free = data.free(weights)
        super().__init__(free, [W != 0 for W in free])
        self.layers = [*self.layers, *(SignLayer(V) for V in weights[len(free) :])]

    def outputs(self, X: Tensor) -> Tensor:
        """Outputs [k, b] for inputs [d, b]; the next call may overwrite them."""
        for layer in self.layers[:-1]:
            X = layer.apply(X).relu_()
        return self.layers[-1].apply(X)

    def signals(self, X: Tensor, slope: Slope) -> list[tuple[Tensor, Tensor]]:
        """For each trained layer D [out, b] and Z [in, b]: the slope of E . outputs in weight (j, i) is D_j Z_i.

        E [k, b] = slope(outputs), for inputs X [d, b].
        """
        activations = [X]
        for layer in self.layers[:-1]:
            activations.append(layer.apply(activations[-1]).relu())
        D, found = slope(self.layers[-1].apply(activations[-1]).clone()), []
        for layer, Z in zip(reversed(self.layers), reversed(activations), strict=True):
            found.append((D, Z))
            D = layer.back(D) * Z.sign() if Z is not X else D
        return found[::-1][: len(self.layers) - isinstance(self.layers[-1], SignLayer)]


def alive(weights: Sequence[Tensor]) -> list[Tensor]:
    """The network without units that are on no path from an input to an output; all units where there is no path."""
    units = live_units([W != 0 for W in weights])
    if units is None:
        return [W[:0] if W is weights[0] else W[:, :0] if W is weights[-1] else W[:0, :0] for W in weights]
    units[0] |= True
    return [W.contiguous() for W in trim(weights, units)]


def widest(weights: Sequence[Tensor]) -> int:
    """The largest number of units of a hidden layer."""
    return max(len(W) for W in weights[:-1])


def losses(P: Tensor, Y: Tensor, loss: str) -> Tensor:
    """The losses [b] of predictions P [k, b]."""
    if loss == "squared":
        return (P - Y).square().mean(0)
    if loss == "logistic":
        odds = log_odds(P)
        return (odds.clamp(min=0) - Y * odds + (-odds.abs()).exp().log1p()).sum(0)
    return -(P.log_softmax(0) * Y).sum(0)


def objective(weights: Sequence[Tensor], data: Data) -> float:
    """Mean loss plus l2 / 2 |w|^2; infinite where it is not finite."""
    student = Student(weights, data)
    total = sum(float(losses(student.outputs(X), Y, data.loss).sum()) for X, Y in data.tiles)
    value = total / data.size + data.l2 / 2 * float(student.values.square().sum())
    return value if math.isfinite(value) else math.inf


def descend(weights: Sequence[Tensor], data: Data, rates: Sequence[float], rng: np.random.Generator) -> list[Tensor]:
    """The network after steps of Adam at some rates; the batches are the tiles, in a new random order every epoch."""
    student = Student(weights, data)
    adam, orders = Adam(student.values), tile_orders(len(data.tiles), rng)
    for rate, number in zip(rates, orders, strict=False):
        X, Y = data.tiles[number]
        slopes = student.differentiate(X, Y, Y.shape[1], data.loss).add_(student.values, alpha=data.l2)
        adam.step(slopes if student.kept is None else slopes.mul_(student.kept), rate)
    return student.weights()


def tile_orders(count: int, rng: np.random.Generator) -> Iterator[int]:
    """The numbers of the tiles, in a new random order whenever all have been there."""
    return chain.from_iterable(rng.permutation(count).tolist() for _ in repeat(None))
