"""From a merged student to one with few weights: cutting by saliency. grow.py adds back what was lost."""

from __future__ import annotations

import numpy as np

from beyond.deep.network import Samples
from beyond.deep.student import Student


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
