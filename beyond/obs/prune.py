"""Fewer weights and fewer units: those go that the loss misses least, by its curvature.

Up to some hundred weights by the optimal brain surgeon (Hassibi and Stork 1993), which knows what the others can make
up for and moves them so that they do; it takes a quarter of what is too much at a time. Above by w^2 h, with the
diagonal h (optimal brain damage, LeCun et al. 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from beyond.gram import cost_together, eliminate
from beyond.obs.curvature import curvature, diagonal
from beyond.obs.student import Data, alive, widest

if TYPE_CHECKING:
    from torch import Tensor


def pruned(weights: Sequence[Tensor], s: int, data: Data, rng: np.random.Generator) -> list[Tensor]:
    """The network with at most s weights, and without the units that are dead then."""
    import torch

    free, count = data.free(weights), data.count(weights)
    if count <= s:
        return list(weights)
    masks = [W != 0 for W in free]
    theta, left = torch.cat([W[mask] for W, mask in zip(free, masks, strict=True)]), torch.zeros(count)
    if data.is_small(count):
        A = curvature(weights, data, rng)
        kept, values = eliminate(np.linalg.inv(A), A @ theta.numpy(), s)
        left[kept] = torch.from_numpy(values).float()
    else:
        h = torch.cat([h[mask] for h, mask in zip(diagonal(weights, data, rng), masks, strict=True)])
        best = (theta.square() * h).argsort(descending=True, stable=True)[:s]
        left[best] = theta[best]
    parts = left.split([int(mask.sum()) for mask in masks])
    return alive(data.with_free(weights, [torch.zeros_like(W).masked_scatter(mask, part)
                                          for W, mask, part in zip(free, masks, parts, strict=True)]))


def narrowed(weights: Sequence[Tensor], m: int, data: Data, rng: np.random.Generator) -> list[Tensor]:
    """The network with at most m units in each hidden layer."""
    if widest(weights) <= m:
        return list(weights)
    left = list(weights)
    for layer, costs in enumerate(unit_costs(weights, data, rng)):
        kept = np.sort(np.argsort(-costs, kind="stable")[:m])
        left[layer], left[layer + 1] = left[layer][kept], left[layer + 1][:, kept]
    return alive(left)


def unit_costs(weights: Sequence[Tensor], data: Data, rng: np.random.Generator) -> list[np.ndarray]:
    """What the loss rises by without a unit, for the units of each hidden layer; by the surgeon where it is called.

    Without a set S of weights, and with the others at their new best, that is w_S' (A^-1_SS)^-1 w_S / 2. Where the
    surgeon is not called, it is w^2 h / 2 summed over the weights that come in.
    """
    free = [W.numpy() for W in data.free(weights)]
    if not data.is_small(data.count(weights)):
        shares = [W**2 * h.numpy() / 2 for W, h in zip(free, diagonal(weights, data, rng), strict=True)]
        return [share.sum(axis=1) for share in shares[: len(weights) - 1]]
    inverse, theta = np.linalg.inv(curvature(weights, data, rng)), np.concatenate([W[W != 0] for W in free])
    rows, columns = ([np.nonzero(W)[axis] for W in free] for axis in (0, 1))
    starts = np.cumsum([0, *map(len, rows)])

    def cost(layer: int, unit: int) -> float:
        S = starts[layer] + np.flatnonzero(rows[layer] == unit)
        if layer + 1 < len(free):
            S = np.concatenate([S, starts[layer + 1] + np.flatnonzero(columns[layer + 1] == unit)])
        return cost_together(theta, inverse, S) / 2

    return [np.array([cost(layer, unit) for unit in range(len(W))]) for layer, W in enumerate(weights[:-1])]
