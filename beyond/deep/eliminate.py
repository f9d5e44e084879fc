"""Backward elimination: the weights that cost least go, as long as the fit stays exact."""

import numpy as np

from beyond.deep.descent import EXACT, Budget, descend, polish
from beyond.deep.network import Samples, TwoLayers, loss, normal_equations, tidied
from beyond.gram import cheapest

RIDGE = 1e-12  # of the mean diagonal: 1e-7 hid what a weight costs that another can nearly stand for
STEPS = 25  # of the refit after each batch
FLAT = 1e-10  # eigenvalue of J'J, columns of unit length, that counts as zero
SURE = 1e-12  # loss up to which an elimination keeps it: some weights matter at 110 dB only


def inverse_curvature(net: TwoLayers, data: Samples) -> np.ndarray:
    """G^-1 [P, P] of G = J'J / n, with the scales of the hidden units held and a small ridge.

    The function stays the same along v_k = (w_k, -a_k), w_k row k of W and a_k column k of A, but only as long as all
    weights of the unit remain: a direction in which none can be removed. So G is made stiff there.
    """
    G = normal_equations(net, data)[0]
    stiffness = np.trace(G) / len(G)
    units = np.concatenate([np.nonzero(net.W)[0], np.nonzero(net.A)[1]])
    signs = np.repeat([1.0, -1.0], [np.count_nonzero(net.W), np.count_nonzero(net.A)])
    V = (units == np.arange(len(net.W))[:, None]) * signs * net.theta  # [k1, P], rows orthogonal
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    return np.linalg.inv(G + stiffness * (V.T @ V + RIDGE * np.eye(len(G))))


def without_cheapest(net: TwoLayers, data: Samples, batch: int) -> TwoLayers:
    """The network without the weights that cost least, and without what that makes useless.

    The others adapt as far as the linear model says, if the loss is lower then.
    """
    inverse, theta = inverse_curvature(net, data), net.theta
    gone = cheapest(theta, inverse, batch)
    adapted = theta - inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], theta[gone])
    theta[gone] = adapted[gone] = 0
    return min((tidied(net.moved_to(weights)) for weights in (theta, adapted)), key=lambda other: loss(other, data))


def costless_directions(net: TwoLayers, data: Samples) -> int:
    """Directions of the free weights in which the outputs do not change, beyond the scale of each hidden unit."""
    if not net.count:
        return 0
    G = normal_equations(net, data)[0]
    norms = np.sqrt(np.diag(G))
    dead = np.count_nonzero(norms == 0)
    norms[norms == 0] = 1
    flat = np.count_nonzero(np.linalg.eigvalsh(G / np.outer(norms, norms)) < FLAT)
    return max(int(flat) - len(net.W), int(dead))


def without_neuron(net: TwoLayers, data: Samples) -> TwoLayers:
    """The network without the weakest neuron of the wider layer, by the mean square of its activations."""
    power = data.mean(lambda XT, _: np.concatenate([np.sum(np.maximum(Z, 0) ** 2, axis=1) for Z in net.hidden(XT)]))
    k2, k1 = net.A.shape
    if k1 >= k2:
        k = np.argmin(power[:k1] * np.sum(net.A**2, axis=0))
        return tidied(TwoLayers(np.delete(net.W, k, axis=0), np.delete(net.A, k, axis=1)))
    return tidied(TwoLayers(net.W, np.delete(net.A, np.argmin(power[k1:]), axis=0)))


def eliminated(net: TwoLayers, data: Samples, budget: Budget, width: int) -> TwoLayers:
    """The sparsest network found that is still exact, from one that is.

    A quarter of the weights at a time, then, where the refit fails, half as many, down to one. Last, neurons go while a
    layer has more than `width` of them.
    """
    net, value = polish(tidied(net), data, budget, STEPS, SURE / 100)
    exact = SURE if value < SURE else EXACT
    batch = max(net.count // 4, 1)
    while batch and budget.left > 0 and net.count:
        fewer, value = polish(without_cheapest(net, data, batch), data, budget, STEPS, SURE / 100)
        net, batch = (fewer, min(batch, max(fewer.count // 4, 1))) if value < exact else (net, batch // 2)
    while net.count and max(net.A.shape) > width:
        fewer, value = polish(without_neuron(net, data), data, budget, STEPS, SURE / 100)
        if value > exact:
            break
        net = fewer
    return net


def reduced(net: TwoLayers, data: Samples, s: int, width: int) -> TwoLayers:
    """The network cut down to s weights and `width` neurons per layer, whatever that costs; steps are not counted."""
    net = tidied(net)
    while net.count and max(net.A.shape) > width:
        net, _ = descend(without_neuron(net, data), data, Budget(STEPS), STEPS)
    while net.count > s:
        batch = -(-(net.count - s) // 4)
        net, _ = descend(without_cheapest(net, data, batch), data, Budget(STEPS), STEPS)
    return net
