"""The plain way to compute with the sensing matrix, for comparison only: a Python loop over single neurons.

Every product visits the columns diag(1{X h_j > 0}) X of one neuron after the other. `neurons` are all of them, as in
plain code, or only those that have weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from threadpoolctl import threadpool_limits

import aiht
from benchmarks.floors import seconds
from instances.task import Problem
from models import SparseNet


def open_gates(X: np.ndarray, H: np.ndarray) -> list[np.ndarray]:
    """The gates 1{X h_j > 0}, one array [n] per neuron, for X [n, d] and H [m, d]."""
    return [X @ h > 0 for h in H]


def apply(X: np.ndarray, gates: list[np.ndarray], W: np.ndarray, neurons: Iterable[int]) -> np.ndarray:
    """A w [n], over some neurons, for weights W [m, d]."""
    total = np.zeros(len(X), dtype=X.dtype)
    for j in neurons:
        total += gates[j] * (X @ W[j])
    return total


def adjoint(X: np.ndarray, gates: list[np.ndarray], r: np.ndarray, neurons: Iterable[int]) -> np.ndarray:
    """A' r [m, d] on some neurons, zero elsewhere, for r [n]."""
    G = np.zeros((len(gates), X.shape[1]), dtype=X.dtype)
    for j in neurons:
        G[j] = (gates[j] * r) @ X
    return G


def loop_seconds(problem: Problem, net: SparseNet, steps: int, threads: int, skip_empty: bool) -> float:
    """Seconds of a fit with the per-neuron loop: each of its products is timed once, and counted.

    A step takes the gates, A w, A' r, A g_S and 10 inner steps, each with A w, A' r on the support and one trial.
    """
    [layer] = net.layers
    X, W = np.ascontiguousarray(problem.X), layer.w.toarray().reshape(layer.m, layer.d)
    neurons = np.flatnonzero(W.any(axis=1)) if skip_empty else np.arange(layer.m)
    gates = []
    with threadpool_limits(threads, user_api="blas"):
        gating = seconds(lambda: gates.extend(open_gates(X, W)), threads)
        forward = seconds(lambda: apply(X, gates, W, neurons), threads)
        backward = seconds(lambda: adjoint(X, gates, problem.Y, neurons), threads)
        gradient = seconds(lambda: adjoint(X, gates, problem.Y, np.arange(layer.m)), threads)
    return steps * (gating + 2 * forward + gradient + aiht.INNER_STEPS * (2 * forward + backward))
