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
- A grown weight starts at 0, with both moments of Adam 0 and a step count of its own. Under the step count of the whole
  training, the bias correction would take its moments for those of a long average, and its first steps would be up to
  six times too long.
- Of equal gradients, random ones are taken. They are all 0 at a neuron without weights; if the first ones were taken,
  a layer without gradients would grow the same weights at every update.
- SET drops by magnitude, not the same share of the positive and of the negative weights: the two methods differ in
  growth alone.
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

from models import Callback, FitState, SparseNet, mlp_weights
from numerics.arrays import check_finite
from numerics.streams import Stream
from numerics.training import EPSILON, LEARNING_RATE, MEAN_DECAY, SQUARE_DECAY, gradient
from pruning import batches_per_epoch, kept_masks, live_units, trim

if TYPE_CHECKING:
    from torch import Tensor

MOVING_PART = 0.75  # of the training, after which no weight moves (RigL's paper: 25,000 of 32,000 steps)
GROWTH = ("random", "gradient")  # SET, RigL
PROPORTIONS = {  # the number of weights of a layer is proportional to this function of its inputs and outputs
    "erk": lambda fan_in, fan_out: fan_in + fan_out,  # so that the density is that of an Erdos-Renyi graph in SET
    "uniform": lambda fan_in, fan_out: fan_in * fan_out,  # one density over all layers
}


class Layer(NamedTuple):
    """A layer in training: tensors [out, in], those of Adam with one entry per weight."""

    W: Tensor  # 0 outside the mask
    mask: Tensor  # bool
    mean: Tensor  # of the gradient
    square: Tensor  # mean of its square
    age: Tensor  # steps since the weight was grown


@dataclass(frozen=True)
class Trained:
    """A network found by dynamic sparse training."""

    weights: list[np.ndarray]  # one float32 array [out, in] per layer, 0 outside its mask
    masks: list[np.ndarray]  # bool [out, in]
    steps: int  # gradient steps taken
    connected: bool  # whether any path from input to output is left
    moved: int  # weights that were dropped and replaced by another, over all updates

    @property
    def num_nonzero(self) -> int:
        """Weights in the masks, including any that was grown and has had no gradient yet, whose value is 0."""
        return sum(int(mask.sum()) for mask in self.masks)


def train(X: np.ndarray, Y: np.ndarray, s: int, *, width: int, num_layers: int, num_epochs: int, batch_size: int,
          grow: str, mask_init: str, update_every: int, drop_fraction: float, loss: str, seed: int,
          device: str, callback: Callback | None = None) -> Trained:
    """Fit Y from X with a network of exactly s weights, or of all its weights where it has no more.

    Args:
        X: inputs [n, d] float32.  Y: targets [n] or [n, k] float32.
        num_epochs: passes through the data.  batch_size: 0 is full batch.
        grow: "random" (SET) or "gradient" (RigL).  mask_init: "erk" or "uniform", see layer_counts.
        update_every: steps from one update of the masks to the next (RigL's paper: 100).
        drop_fraction: share of the weights of each layer that the first updates drop (both papers: 0.3).
        loss: "squared" (mean over all entries) or "cross_entropy" (Y one-hot).  device: "cpu" or "cuda:0".
        callback: called before each update of the masks, with its number from 1.
    Raises:
        ValueError: X or Y is not finite, or a setting is not one of those that are offered.
        FloatingPointError: a weight becomes non-finite.
    """
    import torch

    check_finite(X, Y)
    check_settings(grow, mask_init, update_every, drop_fraction)
    X, Y = torch.tensor(X, device=device), torch.tensor(Y.reshape(len(Y), -1), device=device)
    sizes = (X.shape[1], *[width] * num_layers, Y.shape[1])
    rng = Stream.DST.generator(seed)
    layers = initial_layers(sizes, layer_counts(sizes, s, mask_init), seed, rng, device)
    batches = list_batches(len(X), batch_size, num_epochs, seed, device)
    steps, step, moved = num_epochs * batches_per_epoch(len(X), batch_size), 0, 0
    while chunk := list(islice(batches, update_every)):
        layers = advance(layers, X, Y, chunk, loss)
        step += len(chunk)
        if not all(layer.W.isfinite().all() for layer in layers):
            raise FloatingPointError(f"training diverged: a weight is not finite after {step} steps")
        if callback:
            net = partial(sparse_net, layers)
            callback(-(-step // update_every), FitState(net, steps=-(-steps // update_every)))
        share = moving_share(drop_fraction, step, steps)
        layers, replaced = update(layers, share, grow, (X[chunk[-1]], Y[chunk[-1]]), loss, rng)
        moved += replaced
    return Trained([layer.W.cpu().numpy() for layer in layers], [layer.mask.cpu().numpy() for layer in layers], steps,
                   bool(live_units([layer.mask for layer in layers])[-1].any()), moved)


def sparse_net(layers: list[Layer]) -> SparseNet:
    """The weights as a network on the host."""
    return SparseNet.from_dense([layer.W.cpu().numpy() for layer in layers])


def check_settings(grow: str, mask_init: str, update_every: int, drop_fraction: float) -> None:
    """Raises a ValueError that says what is offered."""
    if grow not in GROWTH:
        raise ValueError(f"grow is {grow!r}: use {' or '.join(GROWTH)}")
    if mask_init not in PROPORTIONS:
        raise ValueError(f"mask_init is {mask_init!r}: use {' or '.join(PROPORTIONS)}")
    if update_every < 1:
        raise ValueError(f"update_every is {update_every}: use at least 1")
    if not 0 <= drop_fraction <= 1:
        raise ValueError(f"drop_fraction is {drop_fraction}: use a number from 0 to 1")


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
    counts = [int(share) for share in shares(scale)]
    left_over = [share - count for share, count in zip(shares(scale), counts, strict=True)]
    for layer in sorted(range(len(layers)), key=lambda layer: -left_over[layer])[: total - sum(counts)]:
        counts[layer] += 1
    return counts


def initial_layers(sizes: Sequence[int], counts: list[int], seed: int, rng: np.random.Generator,
                   device: str) -> list[Layer]:
    """The initial weights of IMP under random masks with so many weights in each layer, and an Adam that is fresh."""
    import torch

    layers = []
    for W, count in zip(mlp_weights(sizes, seed), counts, strict=True):
        mask = torch.zeros(W.numel(), dtype=torch.bool)
        mask[torch.from_numpy(rng.choice(W.numel(), count, replace=False, shuffle=False))] = True
        W, mask = W.to(device), mask.view_as(W).to(device)
        layers.append(Layer(W * mask, mask, *(torch.zeros_like(W) for _ in range(3))))
    return layers


# ---- gradient steps ----


def list_batches(n: int, batch_size: int, num_epochs: int, seed: int, device: str) -> Iterator[slice | Tensor]:
    """The rows of the data that each step takes: all of them, or a piece of the random order of the epoch."""
    import torch

    for epoch in range(num_epochs):
        if batches_per_epoch(n, batch_size) == 1:
            yield slice(None)
        else:
            order = Stream.DST_BATCHES.generator(seed, epoch).permutation(n)
            yield from torch.from_numpy(order).to(device).split(batch_size)


def advance(layers: list[Layer], X: Tensor, Y: Tensor, batches: list[slice | Tensor], loss: str) -> list[Layer]:
    """The layers after a gradient step on each of the batches, which are rows of X [n, d] and Y [n, k].

    As in pruning.py, only the units on a path from input to output take part.
    """
    live = live_units([layer.mask for layer in layers])
    if not live[-1].any():
        return layers
    live[-1] = live[-1] | True  # an output that nothing reaches is 0 and still counts in the loss
    X = X.index_select(1, live[0].nonzero()[:, 0])
    inner = [Layer(*parts) for parts in zip(*(trim(field, live) for field in zip(*layers, strict=True)), strict=True)]
    for rows in batches:
        gradients = gradient([layer.W for layer in inner], X[rows], Y[rows], loss)
        inner = [adam_step(layer, G) for layer, G in zip(inner, gradients, strict=True)]
    return [Layer(*(T.masked_scatter(after[:, None] & before, block) for T, block in zip(layer, part, strict=True)))
            for layer, part, (before, after) in zip(layers, inner, pairwise(live), strict=True)]


def adam_step(layer: Layer, G: Tensor) -> Layer:
    """The layer after a step of Adam with the gradient G [out, in], in which every weight counts its own steps."""
    import torch

    G, age = G * layer.mask, layer.age + 1
    mean = layer.mean.lerp(G, 1 - MEAN_DECAY)
    square = layer.square.lerp(G * G, 1 - SQUARE_DECAY)
    unbiased_mean, unbiased_square = (moment / -torch.expm1(age * math.log(decay))  # 1 - decay^age without cancellation
                                      for moment, decay in ((mean, MEAN_DECAY), (square, SQUARE_DECAY)))
    W = layer.W - LEARNING_RATE * unbiased_mean / (unbiased_square.sqrt() + EPSILON)
    return Layer(W, layer.mask, mean, square, age)


# ---- updates of the masks ----


def moving_share(drop_fraction: float, step: int, steps: int) -> float:
    """The share of its weights that a layer drops after so many steps: a cosine from drop_fraction down to 0."""
    end = MOVING_PART * steps
    return drop_fraction / 2 * (1 + math.cos(math.pi * step / end)) if step < end else 0.0


def update(layers: list[Layer], share: float, grow: str, batch: tuple[Tensor, Tensor], loss: str,
           rng: np.random.Generator) -> tuple[list[Layer], int]:
    """Drop the share of the weights of each layer, rounded down, and grow as many; also how many have moved."""
    counts = [int(share * int(layer.mask.sum())) for layer in layers]
    if not any(counts):
        return layers, 0
    gradients = gradient([layer.W for layer in layers], *batch, loss) if grow == "gradient" else [None] * len(layers)
    updated = [move(layer, count, G, rng) for layer, count, G in zip(layers, counts, gradients, strict=True)]
    return updated, sum(int((new.mask & ~old.mask).sum()) for old, new in zip(layers, updated, strict=True))


def move(layer: Layer, count: int, G: Tensor | None, rng: np.random.Generator) -> Layer:
    """The layer with its `count` smallest weights dropped and as many grown, where G [out, in] is largest or at random.

    The candidates are all places without a weight and those of the dropped weights, in a random order.
    """
    import torch

    kept = kept_masks([layer.W], [layer.mask], int(layer.mask.sum()) - count, "magnitude")[0]
    places = rng.permutation(np.flatnonzero(~kept.cpu().numpy()))
    if G is not None:
        places = places[np.argsort(-G.abs().flatten().cpu().numpy()[places], kind="stable")]
    mask = kept.clone()
    mask.view(-1)[torch.from_numpy(places[:count]).to(mask.device)] = True
    stays = mask & layer.mask
    return Layer(layer.W * stays, mask, layer.mean * stays, layer.square * stays, layer.age * stays)
