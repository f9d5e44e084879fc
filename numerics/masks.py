"""The masks of a network in training: which weights stay, and which units are on a path from an input to an output.

A mask is a bool tensor [out, in], one for each layer from input to output, as its weights are. torch is imported where
it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def full_masks(weights: Sequence[Tensor]) -> list[Tensor]:
    """Those that keep all weights."""
    import torch

    return [torch.ones_like(W, dtype=torch.bool) for W in weights]


def masked(weights: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """The weights with the pruned ones set to zero."""
    return [W * mask for W, mask in zip(weights, masks, strict=True)]


def count_kept(masks: Iterable[Tensor]) -> int:
    """The number of weights that masks keep."""
    return sum(int(mask.sum()) for mask in masks)


# ---- which weights stay ----


def magnitude(W: Tensor, mask: Tensor) -> Tensor:
    """The published ranking of the weights W [out, in] of a layer."""
    return W.abs()


def lamp(W: Tensor, mask: Tensor) -> Tensor:
    """The LAMP scores [out, in] of the active weights of a layer (Lee et al., ICLR 2021, arXiv 2010.07611), else 0.

    W[u]^2 over the sum of W[v]^2 of all v that rank at or before u in magnitude, of equal ones the first. A layer is
    thus pruned in the order of magnitude, and its first weight scores 1, also where all are zero: while count is at
    least the number of layers, none loses all of its weights (though it may keep them at different neurons).
    """
    import torch

    squares, order = W[mask].cpu().double().square().sort(descending=True, stable=True)  # one order of summing anywhere
    ranked = squares / squares.cumsum(0)
    ranked[squares == 0] = 0  # after a first weight that is 0 itself it was 0 / 0
    ranked[:1] = 1
    return torch.zeros(W.shape, dtype=torch.float64).masked_scatter(mask.cpu(), ranked[order.argsort()]).to(W.device)


Ranking = Callable[["Tensor", "Tensor"], "Tensor"]  # (W, mask) -> what active weights are ranked by, at least 0
RANKINGS: dict[str, Ranking] = {"magnitude": magnitude, "lamp": lamp}


def output_count(sizes: Sequence[int], count: int, share: float) -> int:
    """How many of `count` weights the output layer gets, of layers with so many weights in all, for its share > 0.

    It is the share, rounded up, where the layer has as many and the others can take the rest. Neither this number nor
    what it leaves for the others grows while `count` falls.
    """
    *hidden, output = sizes
    return min(max(math.ceil(Fraction(str(share)) * count), count - sum(hidden)), output)


def kept_masks(weights: Sequence[Tensor], masks: Sequence[Tensor], count: int, ranking: Ranking,
               output_share: float = 0) -> list[Tensor]:
    """Masks of the `count` active weights that rank highest over all layers; of equal ones the first stays.

    Args:
        output_share: where it is not 0, the output layer keeps output_count of them, and the others the rest.
    """
    import torch

    if output_share:
        last = output_count([mask.numel() for mask in masks], count, output_share)
        return [*kept_masks(weights[:-1], masks[:-1], count - last, ranking),
                *kept_masks(weights[-1:], masks[-1:], last, ranking)]
    ranks = [ranking(W, mask).where(mask, -1).flatten() for W, mask in zip(weights, masks, strict=True)]
    order = torch.cat(ranks).sort(descending=True, stable=True).indices
    kept = torch.zeros_like(order, dtype=torch.bool)
    kept[order[:count]] = True
    return [part.view_as(mask) & mask for part, mask in zip(kept.split([m.numel() for m in masks]), masks, strict=True)]


# ---- paths from the inputs to the outputs ----


def live_units(masks: Sequence[Tensor]) -> list[Tensor] | None:
    """For each layer, inputs to outputs, the bool vector of units on a path from an input to an output; or None.

    The gradients of all weights between other units are exactly zero. Where there is a path, every output is live: one
    that nothing reaches is 0, and still counts in the loss.
    """
    units = [masks[0].any(0) | True]
    for mask in masks:
        units.append(mask[:, units[-1]].any(1))  # reached from the inputs
    if not units[-1].any():
        return None
    for layer in reversed(range(len(masks))):
        units[layer] &= masks[layer][units[layer + 1]].any(0)  # and leading to an output
    return [*units[:-1], units[-1] | True]


def trim(matrices: Sequence[Tensor], units: Sequence[Tensor]) -> list[Tensor]:
    """The parts of the layers' matrices between some units."""
    return [M[after][:, before] for M, (before, after) in zip(matrices, pairwise(units), strict=True)]


def untrim(matrices: Sequence[Tensor], parts: Sequence[Tensor], units: Sequence[Tensor]) -> list[Tensor]:
    """Copies of the matrices with other parts between some units."""
    return [M.masked_scatter(after[:, None] & before, part)
            for M, part, (before, after) in zip(matrices, parts, pairwise(units), strict=True)]
