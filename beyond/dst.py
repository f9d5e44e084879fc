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

beyond/masked.py has the gradient steps between the updates.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from beyond.masked import MaskedLayer, MaskOptions, Period, on_device, training
from fits import Callback, Found, network_of, solver
from models import SparseNet, mlp_weights
from numerics.arrays import Array
from numerics.masks import count_kept, kept_masks, live_units, magnitude, output_count
from numerics.streams import Stream
from numerics.training import gradient
from numerics.workspace import Workspace, one_thread
from options import between, one_of, option

if TYPE_CHECKING:
    from torch import Tensor

    from beyond.masked import Rows

MOVING_PART = 0.75  # of the training, after which no weight moves (RigL's paper: 25,000 of 32,000 steps)
GROWTH = ("random", "gradient")  # SET, RigL
PROPORTIONS = {  # the number of weights of a layer is proportional to this function of its inputs and outputs
    "erk": lambda fan_in, fan_out: fan_in + fan_out,  # so that the density is that of an Erdos-Renyi graph in SET
    "uniform": lambda fan_in, fan_out: fan_in * fan_out,  # one density over all layers
}


@dataclass(frozen=True)
class Options(MaskOptions):
    """How SET and RigL train, and how their weights move. RigL's paper updates the masks every 100 steps."""

    mask_init: str = option("erk", one_of(PROPORTIONS), "how to split the s weights over the layers; erk: in "
                            "proportion to inputs plus outputs; uniform: to inputs times outputs", words="{} masks")
    drop_fraction: float = option(0.3, between(0, 1), "share of a layer's weights that the first update drops and "
                                  "regrows, rounded down; decays to 0", words="drops {:g}")
    grow: str = option("gradient", one_of(GROWTH), "where weights grow: at random (SET) or by the gradient (RigL)",
                       flag=False)


@solver(Options)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Train a network of exactly s weights, or of all its weights where it has no more.

    The callback gets the network as it was before each update of the masks. Details: connected, whether any path from
    an input to an output is left; steps, the gradient steps; moved, the weights that were dropped and replaced by
    another, over all updates. FloatingPointError where a weight becomes non-finite.
    """
    inputs, targets = on_device(X, y, options)
    sizes, rng, moved = (X.shape[1], *[width] * num_layers, targets.shape[1]), Stream.DST.generator(seed), 0
    with one_thread():
        counts = layer_counts(sizes, s, options.mask_init, options.output_share)
        layers = initial_layers(sizes, counts, seed, rng, options.device)
        for period in periods(layers, inputs, targets, seed, rng, options, callback):
            layers, moved = period.updated, moved + period.moved
    connected = live_units([layer.mask for layer in layers]) is not None
    return Found(SparseNet.from_torch(layer.W for layer in layers),
                 {"connected": connected, "steps": options.num_steps(len(y)), "moved": moved})


fit = network_of(solve)


def periods(layers: list[MaskedLayer], X: Tensor, Y: Tensor, seed: int, rng: np.random.Generator, options: Options,
            callback: Callback | None = None) -> Iterator[Period]:
    """The training of the layers on X [n, d] and Y [n, k]."""
    steps = options.num_steps(len(X))

    def update(layers: list[MaskedLayer], step: int, rows: Rows) -> list[MaskedLayer]:
        share = moving_share(options.drop_fraction, step, steps)
        counts = [int(share * count_kept([layer.mask])) for layer in layers]  # to drop and to grow, rounded down
        if not any(counts):
            return layers
        G: Sequence[Tensor | None] = [None] * len(layers)
        if options.grow == "gradient":
            G = gradient([layer.W for layer in layers], X[rows], Y[rows], options.loss)
        return [move(*fields, rng) for fields in zip(layers, counts, G, strict=True)]

    return training(layers, X, Y, seed, options, update, callback)


# ---- the start ----


def layer_counts(sizes: Sequence[int], s: int, mask_init: str, output_share: float = 0) -> list[int]:
    """How many of s weights each layer of a network with layer sizes (d, m, ..., m, k) gets; they sum to s exactly.

    Where the output layer has a share of its own, the others divide what is left.
    """
    if not output_share:
        return proportional_counts(sizes, s, mask_init)
    weights = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    output = output_count(weights, min(s, sum(weights)), output_share)
    return [*proportional_counts(sizes[:-1], s - output, mask_init), output]


def proportional_counts(sizes: Sequence[int], s: int, mask_init: str) -> list[int]:
    """How many of s weights each layer gets by PROPORTIONS.

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
        layers.append(MaskedLayer.fresh(W.to(device), mask.view_as(W).to(device)))
    return layers


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
    return layer.under(mask)
