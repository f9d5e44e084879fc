"""From creases and their linear parts to ReLU neurons, within the budgets."""

from __future__ import annotations

import numpy as np

from beyond.creases.least_squares import refined
from beyond.creases.samples import Neurons, NeuronSamples

ROUNDING = 1e-13  # of |Y|^2: a weight without which no more than this is lost is rounding


def relu_neurons(net: Neurons, Q: np.ndarray, rest: np.ndarray) -> Neurons:
    """The neurons of sum_j v_j |w_j . x| + q_j (w_j . x) and of the linear functions `rest`.

        v |z| + q z = (v + q) relu(z) + (v - q) relu(-z)

    A linear function takes two neurons for each output, or for each input, whichever are fewer.

    Args:
        Q: [J, k].  rest: [k, d].
    """
    inputs, outputs = np.flatnonzero(rest.any(axis=0)), np.flatnonzero(rest.any(axis=1))
    if len(outputs) < len(inputs):
        lines, ends = rest[outputs], np.eye(len(rest))[outputs]
    else:
        lines, ends = np.eye(rest.shape[1])[inputs], rest.T[inputs]
    W = np.concatenate([net.W, -net.W, lines, -lines])
    V = np.concatenate([net.V + Q, net.V - Q, ends, -ends])
    return normalised(W, V)


def normalised(W: np.ndarray, V: np.ndarray) -> Neurons:
    """The neurons that have weights on both sides, with rows of V of norm 1."""
    length = np.linalg.norm(V, axis=1, keepdims=True)
    live = W.any(axis=1) & V.any(axis=1)
    return Neurons((W * length)[live], V[live] / length[live])


def fit_budgets(data: NeuronSamples, net: Neurons, s: int, m: int) -> Neurons:
    """The network without rounding; then the weakest neurons and weights go, until there are m and s of them.

    A quarter of the excess goes at a time, and a Gauss-Newton step follows.
    """
    net = without_rounding(data, net)
    while len(net.W) > m:
        energy = energies(data, net).sum(axis=1)
        net = refined(data, net.take(np.sort(np.argsort(energy, kind="stable")[-(-(len(net.W) - m) // 4) :])))
    while (excess := num_weights(net) - s) > 0:
        net = refined(data, without_weakest(data, net, -(-excess // 4)))
    return net


def num_weights(net: Neurons) -> int:
    """Weights that count: with one output V is a sign, and does not."""
    return np.count_nonzero(net.W) + (np.count_nonzero(net.V) if net.V.shape[1] > 1 else 0)


def without_rounding(data: NeuronSamples, net: Neurons) -> Neurons:
    """The creases or neurons without the weights that are nothing but rounding."""
    return masked(net, energies(data, net) > ROUNDING * data.energy)


def without_weakest(data: NeuronSamples, net: Neurons, count: int) -> Neurons:
    """The neurons without the `count` weights that contribute least."""
    energy = energies(data, net)
    if net.V.shape[1] == 1:
        energy[:, -1:] = np.inf
    keep = np.ones(energy.shape, dtype=bool)
    keep.flat[np.argsort(np.where(energy > 0, energy, np.inf), axis=None, kind="stable")[:count]] = False
    return masked(net, keep)


def masked(net: Neurons, keep: np.ndarray) -> Neurons:
    """With the weights of a mask [J, d + k]."""
    d = net.W.shape[1]
    return normalised(net.W * keep[:, :d], net.V * keep[:, d:])


def energies(data: NeuronSamples, net: Neurons) -> np.ndarray:
    """|.|^2 of what each weight of W and V contributes to the outputs, [J, d + k]."""
    owner, feature = np.nonzero(net.W)
    gram, _ = data.products(net.W, owner, feature, data.target)
    w = net.W[owner, feature]
    energy = np.zeros(net.W.shape)
    energy[owner, feature] = w**2 * np.diag(gram)
    neuron = np.bincount(owner, weights=w * (gram * (owner[:, None] == owner) @ w), minlength=len(net.W))
    return np.concatenate([energy, net.V**2 * np.maximum(neuron, 0)[:, None]], axis=1)
