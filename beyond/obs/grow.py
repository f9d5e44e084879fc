"""More weights and more units: those from which the loss gains most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from beyond.obs.curvature import diagonal
from beyond.obs.student import Data, Student
from numerics.masks import live_units
from numerics.training import ODDS, slope_of_loss

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 20_000  # of a gradient
BIRTH_SAMPLES = 5_000
FLOOR = 1e-3  # of the largest curvature of a layer, added to all: a weight that is hardly ever used gains nothing
SEED = 1e-6  # size of a grown weight, with the sign in which the loss falls: as good as 0, but not pruned
TINY = 1e-12


def gradients(weights: Sequence[Tensor], data: Data, rng: np.random.Generator) -> list[Tensor]:
    """The gradient of the mean loss in all weights of each trained layer, pruned ones too, on SAMPLES."""
    import torch

    student, tiles = Student(weights, data), data.some(SAMPLES, rng)
    total = [torch.zeros(W.shape) for W in data.free(weights)]
    for X, Y in tiles:
        signals = student.signals(X, partial(slope_of_loss, Y=Y, total=1, loss=data.loss))
        for G, (D, Z) in zip(total, signals, strict=True):
            G.addmm_(D, Z.T)
    return [G / sum(X.shape[1] for X, _ in tiles) for G in total]


def grown(weights: Sequence[Tensor], count: int, data: Data, rng: np.random.Generator) -> list[Tensor]:
    """The network with `count` more weights between live units, where g^2 / h is largest: gradient^2 / curvature."""
    import torch

    free, slopes = data.free(weights), gradients(weights, data, rng)
    units = live_units([W != 0 for W in weights])
    if units is None:
        return list(weights)
    gains = []
    for layer, (W, G, h) in enumerate(zip(free, slopes, diagonal(weights, data, rng), strict=True)):
        gain = G.square() / (h + FLOOR * h.max() + TINY)
        gains.append(gain.where((W == 0) & units[layer + 1][:, None] & units[layer], 0).flatten())
    gain, slope = torch.cat(gains), torch.cat([G.flatten() for G in slopes])
    best = gain.argsort(descending=True, stable=True)[:count]
    best = best[gain[best] > 0]
    new = torch.zeros_like(gain)
    new[best] = -SEED * slope[best].sign()
    parts = new.split([W.numel() for W in free])
    return data.with_free(weights, [W + part.view_as(W) for W, part in zip(free, parts, strict=True)])


def born(weights: Sequence[Tensor], units: int, each: int, data: Data, rng: np.random.Generator) -> list[Tensor]:
    """The network with more units in its one hidden layer, each made for a random direction of the residual.

    A unit gets the `each` inputs that correlate most with r = v . residual for a random unit vector v of outputs, and
    the output weights v times the factor that least squares gives.
    """
    import torch

    W, V = weights
    student, tiles = Student(weights, data), data.some(BIRTH_SAMPLES, rng)
    X = torch.cat([X for X, _ in tiles], 1)
    R = torch.cat([-slope_of_loss(student.outputs(X).clone(), Y, 1, data.loss) for X, Y in tiles], 1)
    R *= {"squared": len(V) / 2, "logistic": 1 / ODDS}.get(data.loss, 1)  # Y - outputs, or Y - probabilities
    power = X.square().mean(1)
    for _ in range(units):
        v = torch.from_numpy(rng.standard_normal(len(V), dtype=np.float32))
        v /= v.norm()
        r = v @ R
        w = (X @ r) / X.shape[1] / (power + TINY)
        w[(w.square() * power).argsort(descending=True, stable=True)[each:]] = 0
        z = (w @ X).relu_()
        energy, gain = float(z.square().mean()), float((z * r).mean())
        if energy > TINY**2 and gain:
            factor = gain / energy  # negative where the unit is open on other samples than w . x correlates on
            one_output = len(V) == 1
            W = torch.cat([W, w[None] * (abs(factor) if one_output else energy**-0.5)])
            V = torch.cat([V, ((v * factor).sign() if one_output else v * factor * energy**0.5)[:, None]], 1)
    return [W, V]
