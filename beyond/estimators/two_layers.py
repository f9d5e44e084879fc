"""Two hidden layers, where targets [n] have no noise and are not negative: the joint fit of beyond/deep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from beyond import deep
from beyond.estimators.report import DataNetwork
from fits import Found

SIZES = ((20, 5), (50, 10))  # most weights and neurons of a layer
STEPS, FEWER_STEPS = 60, 15  # of the joint fit, for each of these; and then with fewer weights, as long as it is exact
DISTINCT = 0.9  # of the targets above zero are, where a network may have made them; counts and prices repeat


class TwoLayers(NamedTuple):
    """An exact network in the units of the data, what it leaves of the energy, and what the joint fit says of it."""

    network: DataNetwork
    energy_left: float
    determined: bool


def may_have_two_layers(Y: np.ndarray) -> bool:
    """Whether targets [n, k] look like a sum of neurons without noise: zeros, and above them hardly two alike."""
    above = Y[Y > 0]
    return Y.shape[1] == 1 and Y.min() == 0 and len(above) > 0 and len(np.unique(above)) > DISTINCT * len(above)


def exact_two_layers(X: np.ndarray, y: np.ndarray, seed: int) -> TwoLayers | None:
    """The smallest exact network that is found for X [n, d] and y [n], of the first of SIZES that has one, or None."""
    scale = np.sqrt(np.mean(X**2, axis=0))
    scale[scale == 0] = np.inf
    best: Found | None = None
    for s, width in SIZES:
        while s and (found := deep.solve(X / scale, y, s, width=width, seed=seed,
                                         num_epochs=FEWER_STEPS if best else STEPS)).details["exact"]:
            best, s = found, found.net.num_nonzero - 1
        if best:
            return in_units(best, scale, len(y))
    return None


def in_units(found: Found, scale: np.ndarray, n: int) -> TwoLayers:
    """What a joint fit to n samples found, for inputs that are larger by `scale` [d]."""
    W, A = (layer.dense().astype(np.float64) for layer in found.net.layers)
    units, rows = W.any(axis=1) & A.any(axis=0), A.any(axis=1)
    W, A = W[units] / scale, A[rows][:, units]
    layers = ((W, np.zeros(len(W))), (A, np.zeros(len(A))))
    net = DataNetwork(layers, np.ones((len(A), 1)), np.zeros((1, len(scale))), np.zeros(1))
    determined = bool(found.details["determined"]) and 2 * net.num_weights(True) <= n
    return TwoLayers(net, float(found.details["energy_left"]), determined)
