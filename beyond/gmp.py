"""Gradual magnitude pruning: one training, during which the masks tighten from the dense network to s weights.

Zhu and Gupta (arXiv 1710.01878), with the network, the initial weights and the learning rate of pruning.py. One run:

    python runner.py --task mnist --method gmp --mlist 40 --slist 500 --num_epochs 20 --batch_size 500

After every `update_every` steps the smallest weights go, so that of N0 weights at step t

    s + (N0 - s) (1 - p)^3,    p = (t / T - prune_begin) / (prune_end - prune_begin), between 0 and 1,

are left, rounded; T are the steps of the training. From prune_end on the network is trained with s weights to the end.
The masks are nested: a weight that is gone does not come back. What is left keeps its moments of Adam.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beyond.masked import MaskedLayer, MaskOptions, Period, on_device, training
from fits import Callback, Found, network_of, solver
from models import SparseNet, mlp_weights
from numerics.arrays import Array
from numerics.masks import RANKINGS, count_kept, full_masks, kept_masks, live_units
from numerics.workspace import Workspace, one_thread
from options import OptionError, at_least, between, one_of, option

if TYPE_CHECKING:
    from torch import Tensor

    from beyond.masked import Rows


@dataclass(frozen=True)
class Options(MaskOptions):
    """How the network is trained, and when it is pruned."""

    update_every: int = option(10, at_least(1), "steps from one update of the masks to the next",
                               words="updates every {} steps")
    prune_begin: float = option(0.0, between(0, 1), "share of the training after which pruning begins",
                                words="pruned from {:g}")
    prune_end: float = option(0.75, between(0, 1), "share of the training after which s weights are left",
                              words="pruned to {:g}")
    prune_score: str = option("magnitude", one_of(RANKINGS), "score that ranks the weights; lamp: magnitude relative "
                              "to the layer", words="pruned by {}")

    def check(self) -> None:
        if self.prune_begin >= self.prune_end:
            raise OptionError("prune_begin", f"{self.prune_begin:g} must be below --prune_end {self.prune_end:g}")

    def count_left(self, dense: int, s: int, share: float) -> int:
        """Weights that are left of `dense` after a share of the training."""
        done = min(max((share - self.prune_begin) / (self.prune_end - self.prune_begin), 0), 1)
        return s + round((dense - s) * (1 - done) ** 3)


@solver(Options)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Train a network whose weights become fewer, down to exactly s, or all of them where it has no more.

    The callback gets the network as it was before each update of the masks. Details: connected, whether any path from
    an input to an output is left; steps, the gradient steps. FloatingPointError where a weight becomes non-finite.
    """
    inputs, targets = on_device(X, y, options)
    weights = [W.to(options.device) for W in mlp_weights((X.shape[1], *[width] * num_layers, targets.shape[1]), seed)]
    layers = [MaskedLayer.fresh(W, mask) for W, mask in zip(weights, full_masks(weights), strict=True)]
    with one_thread():
        for period in periods(layers, inputs, targets, s, seed, options, callback):
            layers = period.updated
    connected = live_units([layer.mask for layer in layers]) is not None
    return Found(SparseNet.from_torch(layer.W for layer in layers),
                 {"connected": connected, "steps": options.num_steps(len(y))})


fit = network_of(solve)


def periods(layers: list[MaskedLayer], X: Tensor, Y: Tensor, s: int, seed: int, options: Options,
            callback: Callback | None = None) -> Iterator[Period]:
    """The training of the layers on X [n, d] and Y [n, k], down to s weights."""
    steps, dense = options.num_steps(len(X)), count_kept(layer.mask for layer in layers)

    def update(layers: list[MaskedLayer], step: int, rows: Rows) -> list[MaskedLayer]:
        return pruned(layers, options.count_left(dense, min(s, dense), step / steps), options)

    return training(layers, X, Y, seed, options, update, callback)


def pruned(layers: list[MaskedLayer], count: int, options: Options) -> list[MaskedLayer]:
    """The layers with the `count` weights that rank highest; themselves where they have no more."""
    weights, masks = [layer.W for layer in layers], [layer.mask for layer in layers]
    if count >= count_kept(masks):
        return layers
    kept = kept_masks(weights, masks, count, RANKINGS[options.prune_score], options.output_share)
    return [layer.under(mask) for layer, mask in zip(layers, kept, strict=True)]
