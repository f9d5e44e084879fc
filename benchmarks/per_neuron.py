"""The plain way to compute with the sensing matrix, for comparison only: a Python loop over single neurons.

One AIHT step as in aiht.py with full batches: every product visits the columns diag(1{X h_j > 0}) X of one neuron after
the other, w is dense, candidates are ranked in one array [m d]. Gates are computed once per step and kept. With
`skip_empty` the loops pass over neurons without weights, which is more than plain code does.
"""

from __future__ import annotations

import numpy as np


def step(X, y, W, H, s: int, mu: float, inner_steps: int = 10, skip_empty: bool = False):
    """One AIHT step. X [n, d], y [n], W [m, d] dense, H [m, d]; returns the new W [m, d]."""
    gates = [X @ h > 0 for h in H]
    everyone = np.arange(len(W))
    busy = np.flatnonzero(W.any(axis=1)) if skip_empty else everyone
    r = apply(X, gates, W, busy) - y
    G = adjoint(X, gates, r, everyone)
    if W.any():
        g = np.where(W != 0, G, 0)
        mu = np.sum(g**2) / (np.sum(apply(X, gates, g, busy) ** 2) + 1e-8)
    U = W - mu * G
    keep = np.argsort(-np.abs(U), axis=None)[:s]
    x = np.zeros_like(W)
    x.flat[keep] = U.flat[keep]
    busy = np.flatnonzero(x.any(axis=1)) if skip_empty else everyone
    for _ in range(inner_steps):
        r = apply(X, gates, x, busy) - y
        g = np.where(x != 0, adjoint(X, gates, r, busy), 0)
        objective = r @ r
        for _ in range(11):
            trial = x - mu * g
            if np.sum((apply(X, gates, trial, busy) - y) ** 2) <= objective - 0.9 * mu * np.sum(g**2):
                x = trial
                break
            mu /= 2
    return x


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
