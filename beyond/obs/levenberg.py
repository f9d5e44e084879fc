"""Levenberg-Marquardt steps for the squared error of one output: on few weights far faster than gradient steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from beyond.obs.curvature import jacobian
from beyond.obs.student import Data, objective

if TYPE_CHECKING:
    from torch import Tensor

DAMPING, FACTOR, LEAST, TRIES = 1e-3, 5.0, 1e-10, 8  # of the diagonal; how it changes; tries per step


def levenberg(weights: Sequence[Tensor], data: Data, steps: int) -> list[Tensor]:
    """The network after so many steps that lower the objective, or fewer where none of TRIES dampings does.

    A step solves (2 J J' / n + l2 + damping) step = -gradient for all nonzero weights at once, with the damping a
    share of the diagonal that falls where a step succeeds and rises where it fails.
    """
    import torch

    weights, value, damping = list(weights), objective(weights, data), DAMPING
    for _ in range(steps):
        masks = [W != 0 for W in data.free(weights)]
        theta = torch.cat([W[mask] for W, mask in zip(weights, masks, strict=False)]).double().numpy()
        A, slope = normal_equations(weights, data)
        slope += data.l2 * theta
        for _ in range(TRIES):
            ridge = damping * np.diag(A) + data.l2 + LEAST * np.diag(A).max(initial=0) + np.finfo(float).tiny
            other = moved(weights, masks, theta - np.linalg.solve(A + np.diag(ridge), slope), data)
            if (fallen := objective(other, data)) < value:
                break
            damping *= FACTOR
        else:
            return weights
        weights, value, damping = other, fallen, max(damping / FACTOR, LEAST)
    return weights


def normal_equations(weights: Sequence[Tensor], data: Data) -> tuple[np.ndarray, np.ndarray]:
    """2 J J' / n [P, P] and the gradient 2 J r / n [P] of the mean square of r = outputs - targets."""
    import torch

    outputs: list[Tensor] = []

    def slope(P: Tensor) -> Tensor:
        outputs.append(P)
        return torch.ones_like(P)

    J = jacobian(weights, data, data.tiles, slope)
    r = torch.cat([P - Y for P, (_, Y) in zip(outputs, data.tiles, strict=True)], 1)[0].numpy()
    return (J @ J.T).astype(np.float64) * 2 / len(r), (J @ r).astype(np.float64) * 2 / len(r)


def moved(weights: Sequence[Tensor], masks: Sequence[Tensor], theta: np.ndarray, data: Data) -> list[Tensor]:
    """The network with other nonzero weights [P]."""
    import torch

    parts = torch.from_numpy(theta).float().split([int(mask.sum()) for mask in masks])
    return data.with_free(weights, [torch.zeros_like(W).masked_scatter(mask, part)
                                    for W, mask, part in zip(weights, masks, parts, strict=False)])
