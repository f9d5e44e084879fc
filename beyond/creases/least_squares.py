"""Least squares on creases or neurons: the inverse of a Gram matrix, and Gauss-Newton steps."""

from __future__ import annotations

import numpy as np

from beyond.creases.samples import Neurons, NeuronSamples
from beyond.gram import with_ridge
from numerics.arrays import Array

RIDGE = 1e-7  # of the diagonal; ten times more, as often as needed, where the Gram matrix is not definite


def ridge_inverse(gram: np.ndarray) -> np.ndarray:
    """(gram + ridge diag(gram))^-1 for the smallest ridge of 1e-7, 1e-6, ... with which it is positive definite."""
    diagonal = np.diag(gram)
    scale = 1 / np.sqrt(np.maximum(diagonal, RIDGE * max(diagonal.max(initial=0), 1e-300)))
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
