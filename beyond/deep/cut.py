"""From a merged student to one with few weights: cutting by saliency, and weights added back by gain."""

from __future__ import annotations

import numpy as np

from beyond.deep.descent import Budget
from beyond.deep.network import Samples
from beyond.deep.newton import refined
from beyond.deep.student import Student

TINY = 1e-300


def squares(net: Student, data: Samples) -> list[np.ndarray]:
    """E (d y / d w)^2 of all weights of each part, zero or not: mean squares over samples and outputs."""
    now, total = net.signals(data.XT), [np.zeros_like(part) for part in net.parts]
    X2, H2, R2 = data.XT**2, now.H**2, now.R**2
    for D in np.eye(len(net.C)):
        E, F = net.slopes(np.repeat(D[:, None], len(data), axis=1), now)
        for sums, product in zip(total, (F**2 @ X2.T, E**2 @ H2.T), strict=False):
            sums += product
    total[2] += H2.sum(axis=1)
    for sums in total[3:]:
        sums += R2.sum(axis=1)
    return [sums / len(data) / len(net.C) for sums in total]


def saliencies(net: Student, data: Samples) -> list[np.ndarray]:
    """The effect of each weight alone, w^2 E (d y / d w)^2."""
    return [part**2 * q for part, q in zip(net.parts, squares(net, data), strict=True)]


def cut(net: Student, data: Samples, bar: float) -> Student:
    """Without the weights whose saliency is below the bar."""
    return net.with_parts(*(part * (saliency >= bar) for part, saliency in
                            zip(net.parts, saliencies(net, data), strict=True))).tidied()


def cut_to(net: Student, data: Samples, number: int) -> Student:
    """With about so many weights at most, those of largest saliency."""
    flat = np.sort(np.concatenate([saliency.ravel() for saliency in saliencies(net, data)]))[::-1]
    return cut(net, data, flat[number - 1]) if net.count > number else net


def grown(net: Student, data: Samples, number: int) -> Student:
    """With the missing weights of largest gain, each at the value that is best for it alone."""
    now = net.signals(data.XT)
    slopes = net.gradient((now.Y - data.y) / len(data) / len(net.C), data.XT, now)
    q = np.concatenate([each.ravel() for each in squares(net, data)])
    g = np.concatenate([each.ravel() for each in slopes])
    flat = np.concatenate([part.ravel() for part in net.parts])
    gain = np.where((flat != 0) | (q < 1e-12), 0, g**2 / (q + TINY))
    chosen = np.argsort(-gain, kind="stable")[:number]
    flat[chosen] = -g[chosen] / (q[chosen] + TINY)
    split = np.split(flat, np.cumsum([part.size for part in net.parts])[:-1])
    return net.with_parts(*(values.reshape(part.shape) for values, part in zip(split, net.parts, strict=True)))


def regrown(net: Student, data: Samples, value: float, budget: Budget, target: float,
            rounds: int = 12) -> tuple[Student, float]:
    """With weights added back while that lowers the loss enough; and its loss."""
    for _ in range(rounds):
        if value <= target:
            break
        other, after = refined(grown(net, data, max(8, net.count // 25)), data, budget, 12, target)
        if after > 0.8 * value:
            break
        net, value = other, after
    return net, value
