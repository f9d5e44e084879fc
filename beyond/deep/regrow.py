"""What a network lacks: inputs, weights, and units that stand for two. All by the gain that the residual promises.

The gain of a column a [n] against the residual r = y_hat - y is (a . r)^2 / |a|^2, by how much |r|^2 falls if a alone
is added.
"""

import numpy as np

from beyond.deep.descent import Budget, polish
from beyond.deep.network import Samples, TwoLayers, residual

SCREEN = 4.0  # standard errors of a correlation with y, beyond which an input is in use from the start
NEW_INPUTS = 8  # at once, of those that are not certain
OUTSTANDING = 2.0  # gain of a new input, in units of the median gain
NOISE, SIGNIFICANT, CERTAIN = 10.0, 25.0, 40.0  # that it must exceed, that suffices, that is beyond doubt (chi-square)
TINY = 1e-12
ROUNDS, NEW_WEIGHTS, STEPS = 4, 4, 10  # of regrowth; weights at once; steps after each
WORTHWHILE = 0.8  # a round that leaves more than this share of the loss is the last


def correlated_inputs(data: Samples) -> np.ndarray:
    """Inputs whose value or magnitude correlates with y, ascending; at least the two that do it most."""
    y = data.y - data.y.mean()
    score = np.zeros(len(data.XT))
    for Z in (data.XT, np.abs(data.XT)):
        Z = Z - Z.mean(axis=1, keepdims=True)
        score = np.maximum(score, np.abs(Z @ y) / (np.linalg.norm(Z, axis=1) * np.linalg.norm(y) + TINY))
    bar = min(SCREEN / len(data) ** 0.5, np.sort(score)[-2:][0])
    return np.flatnonzero(score >= bar)


def gradients(net: TwoLayers, data: Samples) -> tuple[np.ndarray, np.ndarray]:
    """a . r / n and |a|^2 / n for the columns a of all weights, present or not, those of W, then those of A, flat."""

    def products(XT: np.ndarray, y: np.ndarray) -> np.ndarray:
        H, Z = net.hidden(XT)
        r = residual(Z, y).astype(XT.dtype)
        gates, slopes = net.path_gains(Z, H)
        along = [((slopes * r) @ XT.T).ravel(), ((gates * r) @ H.T).ravel()]
        squares = [(slopes**2 @ (XT**2).T).ravel(), (gates @ (H**2).T).ravel()]
        return np.stack([np.concatenate(along), np.concatenate(squares)])

    return tuple(data.mean(products))


def missing_inputs(net: TwoLayers, data: Samples, value: float) -> np.ndarray:
    """Inputs that no unit uses although the residual, of mean square `value`, depends on them, the surest first.

    All that are CERTAIN, and of the others at most so many that they are NEW_INPUTS in all.
    """
    g, q = (part[: net.W.size].reshape(net.W.shape) for part in gradients(net, data))
    gain = (g**2 / (q + TINY)).max(axis=0, initial=0) * len(data) / value  # chi-square of one degree under noise
    unused = np.flatnonzero(~net.W.any(axis=0))
    if not len(unused):
        return unused
    bar = min(max(NOISE, OUTSTANDING * np.median(gain[unused])), SIGNIFICANT)
    order = unused[np.argsort(-gain[unused], kind="stable")]
    return order[gain[order] > bar][: max(NEW_INPUTS, np.count_nonzero(gain[unused] > CERTAIN))]


def with_weights(net: TwoLayers, data: Samples, number: int) -> TwoLayers:
    """With the missing weights of largest gain, each at the value that is best for it alone."""
    g, q = gradients(net, data)
    flat = np.concatenate([net.W.ravel(), net.A.ravel()])
    gain = np.where((flat != 0) | (q < TINY), 0, g**2 / (q + TINY))
    chosen = np.argsort(-gain, kind="stable")[:number]
    flat[chosen] = -g[chosen] / (q[chosen] + TINY)
    return TwoLayers(flat[: net.W.size].reshape(net.W.shape), flat[net.W.size :].reshape(net.A.shape))


def with_split(net: TwoLayers, data: Samples) -> TwoLayers | None:
    """With relu(c h_i - e h_k) taken out of a row that passes h_i on, for the pair of largest gain; None without one.

    At e = 0 nothing changes, and the derivative by e is -h_k 1{h_i > 0}. c is half of the weight of h_i.
    """
    def products(XT: np.ndarray, y: np.ndarray) -> np.ndarray:
        H, Z = net.hidden(XT)
        r = residual(Z, y).astype(XT.dtype)
        return np.stack([((H > 0) * r) @ H.T, (H > 0).astype(H.dtype) @ (H**2).T])

    g, q = data.mean(products)  # [k1, k1] each
    passed = np.where(np.all(net.A >= 0, axis=1)[:, None], net.A, 0)
    allowed = np.any(passed > 0, axis=0)[:, None] & (g > 0) & (q > TINY) & ~np.eye(len(g), dtype=bool)
    gain = np.where(allowed, g**2 / (q + TINY), 0)
    if not gain.any():
        return None
    i, k = np.unravel_index(np.argmax(gain), gain.shape)
    A, row, source = net.A.copy(), np.zeros(len(g)), np.argmax(passed[:, i])
    row[i] = A[source, i] = A[source, i] / 2
    row[k] = -g[i, k] / q[i, k]
    return TwoLayers(net.W, np.vstack([A, row]))


def regrown(net: TwoLayers, data: Samples, value: float, budget: Budget, target: float) -> tuple[TwoLayers, float]:
    """Weights or a split added, whichever serves better, for some rounds; the network and its loss."""
    for _ in range(ROUNDS):
        grown = [with_weights(net, data, NEW_WEIGHTS), with_split(net, data)]
        tried = [polish(other, data, budget, STEPS, target) for other in grown if other is not None]
        better, lowest = min(tried, key=lambda pair: pair[1])
        if not lowest < WORTHWHILE * value:
            break
        net, value = better, lowest
        if value < target:
            break
    return net, value
