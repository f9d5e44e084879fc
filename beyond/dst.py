"""Dynamic sparse training, SET and RigL: one network with s weights from the first step to the last, which move.

SET (Mocanu et al., Nature Communications 2018, arXiv 1707.04780) and RigL (Evci et al., ICML 2020, arXiv 1911.11134),
with the network, the initial weights and the learning rate of pruning.py. One run:

    python runner.py --task inr_mnist --method rigl --mlist 20 --slist 100 --num_epochs 3000

The masks of the layers are drawn at random. At every update each layer drops a share of its weights, those smallest in
magnitude, and grows as many where it has none: at random (SET), or where the gradient of the loss with respect to all
weights of the layer is largest in magnitude (RigL). The share falls along a cosine to nothing at three quarters of the
training. What the papers leave open, or this file does otherwise:

- An update stands between two gradient steps. In RigL's paper it takes the place of one; here both methods take as many
  steps as plain training. The gradient is that of the batch of the step before, at the weights after that step.
- A weight that was just dropped may be grown again, as in both papers (RigL leaves out only the weights that were not
  dropped). It then keeps its value and its moments, and does not count as moved. So a full layer stays as it is.
- A grown weight starts at 0, with both moments of Adam 0 and a step count of its own: under the count of the whole
  training, the bias correction would make its first steps up to six times too long.
- Of equal gradients, random ones are taken. They are all 0 at a neuron without weights; if the first ones were taken,
  a layer without gradients would grow the same weights at every update.
- SET drops by magnitude, not the same share of the positive and of the negative weights.
- Mini-batches have a new order in every epoch. (pruning.py keeps one for a round, since the published code does.)
- A weight that is on no path from an input to an output has no gradient and rests: Adam's momentum does not move it.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fits import Callback, FitState, Found, TorchOptions, network_of, solver
from models import SparseNet, mlp_weights
from numerics.adam import EPSILON, LEARNING_RATE, MEAN_DECAY, SQUARE_DECAY
from numerics.arrays import Array
from numerics.batches import batches_per_epoch
from numerics.masks import count_kept, kept_masks, live_units, magnitude, trim, untrim
from numerics.streams import Stream
from numerics.training import gradient
from numerics.workspace import Workspace, one_thread
from options import at_least, between, one_of, option

if TYPE_CHECKING:
    from torch import Tensor

    Rows = slice | Tensor  # those of the data that a step takes

MOVING_PART = 0.75  # of the training, after which no weight moves (RigL's paper: 25,000 of 32,000 steps)
GROWTH = ("random", "gradient")  # SET, RigL
PROPORTIONS = {  # the number of weights of a layer is proportional to this function of its inputs and outputs
    "erk": lambda fan_in, fan_out: fan_in + fan_out,  # so that the density is that of an Erdos-Renyi graph in SET
    "uniform": lambda fan_in, fan_out: fan_in * fan_out,  # one density over all layers
}


@dataclass(frozen=True)
class Options(TorchOptions):
    """How SET and RigL train, and how their weights move. RigL's paper updates the masks every 100 steps."""

    update_every: int = option(100, at_least(1), "steps from one update of the masks to the next", unnamed=1,
                               words="updates every {} steps")
    mask_init: str = option("erk", one_of(PROPORTIONS), "shares of the layers in the s weights; erk: proportional to "
                            "inputs plus outputs of the layer; uniform: to their product", words="{} masks")
    drop_fraction: float = option(0.3, between(0, 1), "share of its weights that a layer drops and regrows in the "
                                  "first update, rounded down; it falls to 0", words="drops {:g}")
    grow: str = option("gradient", one_of(GROWTH), "where weights grow: at random (SET) or by the gradient (RigL)",
                       flag=False)


class MaskedLayer(NamedTuple):
    """A layer in training: tensors [out, in], those of Adam with one entry per weight."""

    W: Tensor  # 0 outside the mask
    mask: Tensor  # bool
    mean: Tensor  # of the gradient
    square: Tensor  # mean of its square
    age: Tensor  # steps since the weight was grown


@solver(Options)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Train a network of exactly s weights, or of all its weights where it has no more.

    The callback gets the network as it was before each update of the masks. Details: connected, whether any path from
    an input to an output is left; steps, the gradient steps; moved, the weights that were dropped and replaced by
    another, over all updates. FloatingPointError where a weight becomes non-finite.
    """
    import torch

    inputs = torch.tensor(np.asfortranarray(X), device=options.device)  # torch takes no negative strides
    targets = torch.tensor(np.ascontiguousarray(y), device=options.device).view(len(y), -1)
    sizes, rng = (X.shape[1], *[width] * num_layers, targets.shape[1]), Stream.DST.generator(seed)
    steps, moved = options.num_epochs * batches_per_epoch(len(y), options.batch_size), 0
    with one_thread():
        layers = initial_layers(sizes, layer_counts(sizes, s, options.mask_init), seed, rng, options.device)
        for number, period in enumerate(periods(layers, inputs, targets, seed, rng, options), 1):
            if callback:
                net = partial(SparseNet.from_torch, [layer.W for layer in period.trained])
                callback(number, FitState(net, steps=math.ceil(steps / options.update_every)))
            layers, moved = period.updated, moved + period.moved
    connected = live_units([layer.mask for layer in layers]) is not None
    return Found(SparseNet.from_torch(layer.W for layer in layers),
                 {"connected": connected, "steps": steps, "moved": moved})


fit = network_of(solve)


class Period(NamedTuple):
    """The steps from one update of the masks to the next."""

    batches: list[Rows]
    trained: list[MaskedLayer]  # after these steps
    updated: list[MaskedLayer]  # after the update that follows

    @property
    def moved(self) -> int:
        """Weights that the update has dropped and replaced by another."""
        return count_kept(new.mask & ~old.mask for old, new in zip(self.trained, self.updated, strict=True))


def periods(layers: list[MaskedLayer], X: Tensor, Y: Tensor, seed: int, rng: np.random.Generator,
            options: Options) -> Iterator[Period]:
    """The training of the layers on X [n, d] and Y [n, k]."""
    batches = list_batches(len(X), options.batch_size, options.num_epochs, seed, options.device)
    steps, step = options.num_epochs * batches_per_epoch(len(X), options.batch_size), 0
    while chunk := list(islice(batches, options.update_every)):
        layers, step = advance(layers, X, Y, chunk, options.loss), step + len(chunk)
        if not all(layer.W.isfinite().all() for layer in layers):
            raise FloatingPointError(f"training diverged: a weight is not finite after {step} steps")
        share, updated = moving_share(options.drop_fraction, step, steps), layers
        counts = [int(share * count_kept([layer.mask])) for layer in layers]  # to drop and to grow, rounded down
        if any(counts):
            G: Sequence[Tensor | None] = [None] * len(layers)
            if options.grow == "gradient":
                G = gradient([layer.W for layer in layers], X[chunk[-1]], Y[chunk[-1]], options.loss)
            updated = [move(*fields, rng) for fields in zip(layers, counts, G, strict=True)]
        yield Period(chunk, layers, updated)
        layers = updated


# ---- the start ----


def layer_counts(sizes: Sequence[int], s: int, mask_init: str) -> list[int]:
    """How many of s weights each layer of a network with layer sizes (d, m, ..., m, k) gets; they sum to s exactly.

    The counts are proportional to PROPORTIONS[mask_init], but between 1 (0 where s is less than the number of layers)
    and the size of the layer; what a full layer cannot take goes to the others. Numbers with a fraction are rounded
    down, and the largest fractions, of equal ones those of the first layers, get the weights that are left.
    """
    layers = [(fan_in * fan_out, PROPORTIONS[mask_init](fan_in, fan_out)) for fan_in, fan_out in pairwise(sizes)]
    total = min(s, sum(size for size, _ in layers))
    low = int(total >= len(layers))

    def shares(scale: Fraction) -> list[Fraction]:
        return [min(max(scale * proportion, Fraction(low)), Fraction(size)) for size, proportion in layers]

    bends = sorted({Fraction(end, proportion) for size, proportion in layers for end in (low, size)})
    scale = bends[-1]
    for a, b in pairwise(bends):  # between which the sum of the shares is linear
        below, above = sum(shares(a)), sum(shares(b))
        if below <= total < above:
            scale = a + (b - a) * (total - below) / (above - below)
    exact = shares(scale)
    counts = [int(share) for share in exact]
    for layer in sorted(range(len(layers)), key=lambda layer: counts[layer] - exact[layer])[: total - sum(counts)]:
        counts[layer] += 1
    return counts


def initial_layers(sizes: Sequence[int], counts: list[int], seed: int, rng: np.random.Generator,
                   device: str) -> list[MaskedLayer]:
    """The initial weights of IMP under random masks with so many weights in each layer, and an Adam that is fresh."""
    import torch

    layers = []
    for W, count in zip(mlp_weights(sizes, seed), counts, strict=True):
        mask = torch.zeros(W.numel(), dtype=torch.bool)
        mask[torch.from_numpy(rng.choice(W.numel(), count, replace=False, shuffle=False))] = True
        W, mask = W.to(device), mask.view_as(W).to(device)
        layers.append(MaskedLayer(W * mask, mask, *(torch.zeros_like(W) for _ in range(3))))
    return layers


# ---- gradient steps ----


def list_batches(n: int, batch_size: int, num_epochs: int, seed: int, device: str) -> Iterator[Rows]:
    """The rows of the data that each step takes: all of them, or a piece of the random order of the epoch."""
    import torch

    for epoch in range(num_epochs):
        if batches_per_epoch(n, batch_size) == 1:
            yield slice(None)
        else:
            order = Stream.DST_BATCHES.generator(seed, epoch).permutation(n)
            yield from torch.from_numpy(order).to(device).split(batch_size)


def advance(layers: list[MaskedLayer], X: Tensor, Y: Tensor, batches: list[Rows], loss: str) -> list[MaskedLayer]:
    """The layers after a gradient step on each of the batches, which are rows of X [n, d] and Y [n, k].

    As in pruning.py, only the units on a path from input to output take part.
    """
    units = live_units([layer.mask for layer in layers])
    if units is None:
        return layers
    X = X.index_select(1, units[0].nonzero()[:, 0])
    wholes = list(zip(*layers, strict=True))  # the weights of all layers, then their masks, and so on
    inner = [MaskedLayer(*fields) for fields in zip(*(trim(tensors, units) for tensors in wholes), strict=True)]
    for rows in batches:
        gradients = gradient([layer.W for layer in inner], X[rows], Y[rows], loss)
        inner = [adam_step(layer, G) for layer, G in zip(inner, gradients, strict=True)]
    tensors = [untrim(whole, part, units) for whole, part in zip(wholes, zip(*inner, strict=True), strict=True)]
    return [MaskedLayer(*fields) for fields in zip(*tensors, strict=True)]


def adam_step(layer: MaskedLayer, G: Tensor) -> MaskedLayer:
    """The layer after a step of Adam with the gradient G [out, in], in which every weight counts its own steps."""
    G, age = G * layer.mask, layer.age + 1
    mean = layer.mean.lerp(G, 1 - MEAN_DECAY)
    square = layer.square.lerp(G * G, 1 - SQUARE_DECAY)
    unbiased_mean, unbiased_square = (moment / -(age * math.log(decay)).expm1()  # 1 - decay^age without cancellation
                                      for moment, decay in ((mean, MEAN_DECAY), (square, SQUARE_DECAY)))
    W = layer.W - LEARNING_RATE * unbiased_mean / (unbiased_square.sqrt() + EPSILON)
    return MaskedLayer(W, layer.mask, mean, square, age)


# ---- updates of the masks ----


def moving_share(drop_fraction: float, step: int, steps: int) -> float:
    """The share of its weights that a layer drops after so many steps: a cosine from drop_fraction down to 0."""
    end = MOVING_PART * steps
    return drop_fraction / 2 * (1 + math.cos(math.pi * step / end)) if step < end else 0.0


def move(layer: MaskedLayer, count: int, G: Tensor | None, rng: np.random.Generator) -> MaskedLayer:
    """The layer with its `count` smallest weights dropped and as many grown, where G [out, in] is largest or at random.

    The candidates are all places without a weight and those of the dropped weights, in a random order.
    """
    kept = kept_masks([layer.W], [layer.mask], count_kept([layer.mask]) - count, magnitude)[0]
    places = rng.permutation(np.flatnonzero(~kept.cpu().numpy()))
    if G is not None:
        places = places[np.argsort(-G.abs().flatten().cpu().numpy()[places], kind="stable")]
    mask = kept.clone()
    mask.view(-1)[places[:count]] = True
    stays = mask & layer.mask
    return MaskedLayer(layer.W * stays, mask, layer.mean * stays, layer.square * stays, layer.age * stays)
