"""Least squares on creases or neurons: Gauss-Newton steps, and which weights go so that the budgets are kept."""

import numpy as np

from beyond.creases.samples import Neurons, NeuronSamples
from beyond.gram import with_ridge
from numerics.arrays import Array

RIDGE = 1e-7  # of the diagonal; ten times more, as often as needed, where the Gram matrix is not definite
ROUNDING = 1e-13  # of |Y|^2: a weight without which no more than this is lost is rounding


def ridge_inverse(gram: np.ndarray) -> np.ndarray:
    """(gram + ridge diag(gram))^-1 for the smallest ridge of 1e-7, 1e-6, ... with which it is positive definite."""
    diagonal = np.diag(gram)
    scale = 1 / np.sqrt(np.maximum(diagonal, RIDGE * (diagonal.max(initial=0) or 1.0)))
    return with_ridge(gram * scale[:, None] * scale, RIDGE, definite_inverse) * scale[:, None] * scale


def definite_inverse(K: np.ndarray) -> np.ndarray:
    """K^-1; LinAlgError unless K is positive definite."""
    np.linalg.cholesky(K)
    return np.linalg.inv(K)


def gauss_newton(data: NeuronSamples, net: Neurons, R: Array) -> Neurons:
    """One full Gauss-Newton step on the nonzero weights of W and V jointly, for R = data.residual(net).

    Parameter a moves the outputs by e_a t_a, with e_a [k] and t_a a combination of the columns gate(w_j . x) x_k: a
    weight of w_j has e = v_j and one column; a direction e of v_j, orthogonal to v_j, has f(w_j . x).
    """
    owner, feature = np.nonzero(net.W)
    gram, correlation = data.products(net.W, owner, feature, R)
    bases = [complement(v) for v in net.V]
    turned = np.repeat(np.arange(len(bases)), [len(basis) for basis in bases])  # the neuron of each direction
    E = np.concatenate([net.V[owner], *bases])  # [a, k]
    T = np.concatenate([np.eye(len(owner)), (turned[:, None] == owner) * net.W[owner, feature]])  # [a, c]
    step = ridge_inverse((E @ E.T) * (T @ gram @ T.T)) @ np.sum(E * (T @ correlation), axis=1)
    W, V = net.W.copy(), net.V.copy()
    W[owner, feature] += step[: len(owner)]
    np.add.at(V, turned, step[len(owner) :, None] * E[len(owner) :])
    flip = np.where(np.sum(W * net.W, axis=1) < 0, -1.0, 1.0)  # a w that passes through zero
    length = np.linalg.norm(V, axis=1)
    return Neurons(W * (flip * length)[:, None], V * (flip / length)[:, None])


def refined(data: NeuronSamples, net: Neurons, steps: int = 1) -> Neurons:
    """The network after so many Gauss-Newton steps."""
    for _ in range(steps):
        net = gauss_newton(data, net, data.residual(net)[0])
    return net


def complement(v: np.ndarray) -> np.ndarray:
    """An orthonormal basis [support - 1, k] of what is orthogonal to a unit vector v within its support."""
    support = np.flatnonzero(v)
    basis = np.zeros((max(len(support) - 1, 0), len(v)))
    if len(support) > 1:
        basis[:, support] = np.linalg.svd(v[None, support])[2][1:]
    return basis


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
    energy, there = energies(data, net), np.concatenate([net.W, net.V], axis=1) != 0
    if net.V.shape[1] == 1:
        there[:, -1] = False
    keep = np.ones(energy.shape, dtype=bool)
    # those without energy go first: a neuron that is closed on all samples has weights, and must not stay for ever
    keep.flat[np.argsort(np.where(there, np.nan_to_num(energy), np.inf), axis=None, kind="stable")[:count]] = False
    return masked(net, keep)


def masked(net: Neurons, keep: np.ndarray) -> Neurons:
    """With the weights of a mask [J, d + k]."""
    d = net.W.shape[1]
    return normalised(net.W * keep[:, :d], net.V * keep[:, d:])


def energies(data: NeuronSamples, net: Neurons) -> np.ndarray:
    """|.|^2 of what each weight of W and V contributes to the outputs, [J, d + k]."""
    owner, feature = np.nonzero(net.W)
    [gram] = data.products(net.W, owner, feature)
    w = net.W[owner, feature]
    energy = np.zeros(net.W.shape)
    energy[owner, feature] = w**2 * np.diag(gram)
    neuron = np.bincount(owner, weights=w * (gram * (owner[:, None] == owner) @ w), minlength=len(net.W))
    return np.concatenate([energy, net.V**2 * np.maximum(neuron, 0)[:, None]], axis=1)
