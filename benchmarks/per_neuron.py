"""The plain way to compute with the sensing matrix, for comparison only: a Python loop over single neurons.

Every product visits the columns diag(1{X h_j > 0}) X of one neuron after the other. `neurons` are all of them, as in
plain code, or only those that have weights.
"""

from __future__ import annotations

import numpy as np


def open_gates(X, H) -> list:
    """The gates 1{X h_j > 0}, one array [n] per neuron."""
    return [X @ h > 0 for h in H]


def apply(X, gates, W, neurons):
    """A w [n], over some neurons."""
    total = np.zeros(len(X), dtype=X.dtype)
    for j in neurons:
        total += gates[j] * (X @ W[j])
    return total


def adjoint(X, gates, r, neurons):
    """A' r [m, d] on some neurons, zero elsewhere."""
    G = np.zeros((len(gates), X.shape[1]), dtype=X.dtype)
    for j in neurons:
        G[j] = (gates[j] * r) @ X
    return G
