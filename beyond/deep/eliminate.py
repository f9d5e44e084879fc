"""Backward elimination: the weights that cost least go, as long as the fit stays exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from beyond.deep.descent import EXACT
from beyond.deep.network import Samples
from beyond.gram import adapted, cheapest, cost_together

if TYPE_CHECKING:
    from typing_extensions import Self

RIDGE = 1e-12  # of the mean diagonal: 1e-7 hid what a weight costs that another can nearly stand for
FEW, AGAIN = 1 / 16, 0.9  # share of the weights below which units are tried; and again after so many are left
FLAT = 1e-10  # eigenvalue of J'J, columns of unit length, that counts as zero
SURE = 1e-12  # loss up to which an elimination keeps it: some weights matter at 110 dB only


class Network(Protocol):
    """What elimination asks of a network: TwoLayers and Student have it."""

    @property
    def count(self) -> int: ...
    @property
    def theta(self) -> np.ndarray: ...
    @property
    def width(self) -> int: ...
    def moved_to(self, theta: np.ndarray) -> Self: ...
    def tidied(self) -> Self: ...
    def gauges(self) -> np.ndarray: ...
    def loss(self, data: Samples) -> float: ...
    def curvature(self, data: Samples) -> np.ndarray: ...
    def without_neuron(self, data: Samples) -> Self: ...


Net = TypeVar("Net", bound=Network)
Refit = Callable[[Net], tuple[Net, float]]  # a network -> the same after a descent, and its loss


def inverse_curvature(net: Network, data: Samples, ridge: float = RIDGE) -> np.ndarray:
    """G^-1 [P, P] of G = J'J / n, with the scales of the hidden units held and a small ridge.

    The function stays the same along the gauges of a network, but only as long as all weights of a unit remain: a
    direction in which none can be removed. So G is made stiff there.
    """
    G, V = net.curvature(data), net.gauges()
    stiffness = np.trace(G) / len(G) or 1.0  # no sample may move with any weight
    return np.linalg.inv(G + stiffness * (V.T @ V + ridge * np.eye(len(G))))


def without_cheapest(net: Net, data: Samples, batch: int) -> Net:
    """The network without the weights that cost least, and without what that makes useless."""
    inverse = inverse_curvature(net, data)
    return without(net, data, inverse, cheapest(net.theta, inverse, batch))


def without_a_unit(net: Net, data: Samples) -> Iterator[Net]:
    """The network without all weights of a unit or row, for each of them, the cheapest first.

    Their weights are those that a gauge moves. Several may have to go at once where none can go alone.
    """
    inverse, theta, groups = inverse_curvature(net, data), net.theta, [np.flatnonzero(V) for V in net.gauges()]
    costs = [cost_together(theta, inverse, S) for S in groups]
    for place in np.argsort(costs, kind="stable"):
        yield without(net, data, inverse, groups[place])


def without(net: Net, data: Samples, inverse: np.ndarray, gone: np.ndarray) -> Net:
    """The network without some weights, by number.

    The others adapt as far as the linear model says, if the loss is lower then.
    """
    theta = net.theta
    moved = adapted(theta, inverse, gone)
    theta[gone] = 0
    return min((net.moved_to(weights).tidied() for weights in (theta, moved)), key=lambda other: other.loss(data))


def costless_directions(net: Network, data: Samples) -> int:
    """Directions of the free weights in which the outputs do not change, beyond the scales of the hidden units."""
    if not net.count:
        return 0
    G = net.curvature(data)
    norms = np.sqrt(np.diag(G))
    dead = np.count_nonzero(norms == 0)
    norms[norms == 0] = 1
    flat = np.count_nonzero(np.linalg.eigvalsh(G / np.outer(norms, norms)) < FLAT)
    return max(int(flat) - len(net.gauges()), int(dead))


def eliminated(net: Net, data: Samples, refit: Refit, width: int, tries: int = 0) -> Net:
    """The sparsest network found that is still exact, from one that is.

    A quarter of the weights at a time, then, where the refit fails, half as many, down to one. Where only few can go,
    whole units are tried, so many that fail. Last, neurons go while a layer has more than `width` of them.
    """
    net, value = refit(net.tidied())
    exact, batch, tried = SURE if value < SURE else EXACT, max(net.count // 4, 1), net.count + 1
    while batch and net.count:
        fewer, value = refit(without_cheapest(net, data, batch))
        net, batch = (fewer, min(batch, max(fewer.count // 4, 1))) if value < exact else (net, batch // 2)
        if tries and batch < FEW * net.count and net.count < AGAIN * tried:
            tried = net.count
            net = with_fewer_units(net, data, refit, exact, tries)
            batch = batch if net.count == tried else max(net.count // 4, 1)
    while net.count and net.width > width:
        fewer, value = refit(net.without_neuron(data))
        if value > exact:
            break
        net = fewer
    return net


def with_fewer_units(net: Net, data: Samples, refit: Refit, exact: float, tries: int) -> Net:
    """The network without units that can go as a whole, the cheapest first, until so many could not."""
    failed, others = 0, without_a_unit(net, data)
    while failed < tries and (other := next(others, None)):
        other, value = refit(other)
        if value < exact:
            net, others = other, itertools.islice(without_a_unit(other, data), failed, None)
        else:
            failed += 1
    return net


def reduced(net: Net, data: Samples, refit: Refit, s: int, width: int) -> Net:
    """The network cut down to s weights and `width` neurons per layer, whatever that costs."""
    net = net.tidied()
    while net.count and net.width > width:
        net, _ = refit(net.without_neuron(data))
    while net.count > s:
        net, _ = refit(without_cheapest(net, data, -(-(net.count - s) // 4)))
    return net
