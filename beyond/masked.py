"""One training under masks that change on the way: the gradient steps that SET, RigL and gradual pruning share.

The training goes in periods of so many steps, after each of which the masks are updated:

    for period in training(layers, X, Y, seed, options, update):
        layers = period.updated

Every weight has its own state of Adam, so that one may leave or come without a restart of the others. Mini-batches have
a new order in every epoch. (pruning.py keeps one for a round, since the published code does.) A weight that is on no
path from an input to an output has no gradient and rests: Adam's momentum does not move it.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fits import Callback, FitState
from models import SparseNet
from numerics.adam import EPSILON, MEAN_DECAY, SQUARE_DECAY
from numerics.batches import batches_per_epoch
from numerics.masks import count_kept, live_units, trim, untrim
from numerics.streams import Stream
from numerics.training import gradient
from options import at_least, option
from torch_options import TorchOptions

if TYPE_CHECKING:
    from torch import Tensor

    Rows = slice | Tensor  # those of the data that a step takes


@dataclass(frozen=True)
class MaskOptions(TorchOptions):
    """How a network is trained under masks that change."""

    update_every: int = option(100, at_least(1), "steps from one update of the masks to the next", unnamed=1,
                               words="updates every {} steps")


class MaskedLayer(NamedTuple):
    """A layer in training: tensors [out, in], those of Adam with one entry per weight."""

    W: Tensor  # 0 outside the mask
    mask: Tensor  # bool
    mean: Tensor  # of the gradient
    square: Tensor  # mean of its square
    age: Tensor  # steps since the weight was grown

    @classmethod
    def fresh(cls, W: Tensor, mask: Tensor) -> MaskedLayer:
        """A layer before its first step."""
        import torch

        return cls(W * mask, mask, *(torch.zeros_like(W) for _ in range(3)))

    def under(self, mask: Tensor) -> MaskedLayer:
        """The layer under another mask: a weight that stays keeps its state, a new one is 0 and has none."""
        stays = mask & self.mask
        return MaskedLayer(self.W * stays, mask, self.mean * stays, self.square * stays, self.age * stays)


class Period(NamedTuple):
    """The steps from one update of the masks to the next."""

    batches: list[Rows]
    trained: list[MaskedLayer]  # after these steps
    updated: list[MaskedLayer]  # after the update that follows

    @property
    def moved(self) -> int:
        """Weights that the update has dropped and replaced by another."""
        return count_kept(new.mask & ~old.mask for old, new in zip(self.trained, self.updated, strict=True))


Update = Callable[[list[MaskedLayer], int, "Rows"], list[MaskedLayer]]  # (layers, steps done, rows of the last step)


def on_device(X: np.ndarray, y: np.ndarray, options: TorchOptions) -> tuple[Tensor, Tensor]:
    """Inputs [n, d], feature-major where a batch is all of them, and targets [n, k]."""
    import torch

    in_order = np.asfortranarray if batches_per_epoch(len(X), options.batch_size) == 1 else np.ascontiguousarray
    X, y = in_order(X), np.ascontiguousarray(y)  # torch takes no negative strides
    return torch.tensor(X, device=options.device), torch.tensor(y, device=options.device).view(len(y), -1)


def training(layers: list[MaskedLayer], X: Tensor, Y: Tensor, seed: int, options: MaskOptions, update: Update,
             callback: Callback | None = None) -> Iterator[Period]:
    """The periods of the training of layers on X [n, d] and Y [n, k].

    Args:
        update: gives the layers their masks after a period.
        callback: gets the network as it was before each update.
    Raises FloatingPointError where a weight becomes non-finite.
    """
    batches, steps, step = list_batches(len(X), options, seed), options.num_steps(len(X)), 0
    for number in range(1, math.ceil(steps / options.update_every) + 1):
        chunk = list(islice(batches, options.update_every))
        rates = [options.rate.at(step + later, steps) for later in range(len(chunk))]
        layers, step = advance(layers, X, Y, chunk, rates, options.loss), step + len(chunk)
        if not all(layer.W.isfinite().all() for layer in layers):
            raise FloatingPointError(f"training diverged in {step} steps; lower learning_rate")
        if callback:
            net = partial(SparseNet.from_torch, [layer.W for layer in layers])
            callback(number, FitState(net, steps=math.ceil(steps / options.update_every)))
        updated = update(layers, step, chunk[-1])
        yield Period(chunk, layers, updated)
        layers = updated


def list_batches(n: int, options: TorchOptions, seed: int) -> Iterator[Rows]:
    """The rows of the data that each step takes: all of them, or a piece of the random order of the epoch."""
    import torch

    for epoch in range(options.num_epochs):
        if batches_per_epoch(n, options.batch_size) == 1:
            yield slice(None)
        else:
            order = Stream.DST_BATCHES.generator(seed, epoch).permutation(n)
            yield from torch.from_numpy(order).to(options.device).split(options.batch_size)


def advance(layers: list[MaskedLayer], X: Tensor, Y: Tensor, batches: list[Rows], rates: Sequence[float],
            loss: str) -> list[MaskedLayer]:
    """The layers after a gradient step on each of the batches, which are rows of X [n, d] and Y [n, k].

    As in pruning.py, only the units on a path from input to output take part.
    """
    units = live_units([layer.mask for layer in layers])
    if units is None:
        return layers
    columns: Tensor | slice = units[0].nonzero()[:, 0]
    if isinstance(batches[0], slice):  # all samples in every step
        X, columns = X[:, columns], slice(None)
    wholes = list(zip(*layers, strict=True))  # the weights of all layers, then their masks, and so on
    inner = [MaskedLayer(*fields) for fields in zip(*(trim(tensors, units) for tensors in wholes), strict=True)]
    for rows, rate in zip(batches, rates, strict=True):
        gradients = gradient([layer.W for layer in inner], X[rows][:, columns], Y[rows], loss)
        inner = [adam_step(layer, G, rate) for layer, G in zip(inner, gradients, strict=True)]
    tensors = [untrim(whole, part, units) for whole, part in zip(wholes, zip(*inner, strict=True), strict=True)]
    return [MaskedLayer(*fields) for fields in zip(*tensors, strict=True)]


def adam_step(layer: MaskedLayer, G: Tensor, rate: float) -> MaskedLayer:
    """The layer after a step of Adam with the gradient G [out, in], in which every weight counts its own steps."""
    G, age = G * layer.mask, layer.age + 1
    mean = layer.mean.lerp(G, 1 - MEAN_DECAY)
    square = layer.square.lerp(G * G, 1 - SQUARE_DECAY)
    unbiased_mean, unbiased_square = (moment / -(age * math.log(decay)).expm1()  # 1 - decay^age without cancellation
                                      for moment, decay in ((mean, MEAN_DECAY), (square, SQUARE_DECAY)))
    W = layer.W - rate * unbiased_mean / (unbiased_square.sqrt() + EPSILON)
    return MaskedLayer(W, layer.mask, mean, square, age)
