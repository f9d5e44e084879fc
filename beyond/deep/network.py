"""The working form of a network with two hidden layers, its outputs, and the normal equations of its residual.

    y_hat = sum_j relu(z_j),   z = A h,   h = relu(W x),   W [k1, d],  A [k2, k1]

The free weights are the nonzero ones. The columns of the Jacobian are products of two rows that the forward pass has
already made, so it is built tile by tile and never stored (in all it would be n P entries):

    d y_hat / d A_jk = 1{z_j > 0} h_k,      d y_hat / d W_ki = c_k x_i,   c_k = 1{h_k > 0} sum_j A_jk 1{z_j > 0}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beyond.gram import PARALLEL, added_up, first_parallel, unit
from numerics.workspace import Workspace

TILE = 1024  # samples per block of the Jacobian: 1000 columns in float32 take 4 MB


@dataclass(frozen=True)
class Samples:
    """Inputs XT [d, n], feature-major, and targets y [n] or [k, n], on the host.

    The precision of XT is that of all products; sums over tiles are float64. Losses are in units of y^2: the search
    divides y by its root mean square first.
    """

    XT: np.ndarray
    y: np.ndarray
    work: Workspace

    def __len__(self) -> int:
        return self.XT.shape[1]

    def mean(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Sum of `function` (XT [d, t], y [t]) over the tiles of samples, divided by n."""
        tiles = [slice(start, start + TILE) for start in range(0, len(self), TILE)]
        return self.work.sum(lambda tile: function(self.XT[:, tile], self.y[..., tile]), tiles) / len(self)

    def take(self, places: np.ndarray) -> Samples:
        """Some of the samples."""
        return Samples(self.XT.take(places, axis=1), self.y[..., places], self.work)

    def astype(self, dtype: type) -> Samples:
        """The same in another precision."""
        return Samples(self.XT.astype(dtype), self.y.astype(dtype), self.work)


@dataclass(frozen=True)
class TwoLayers:
    """Weights W [k1, d] and A [k2, k1] in float64; zero means fixed at zero."""

    W: np.ndarray
    A: np.ndarray

    @property
    def count(self) -> int:
        """Nonzero weights P."""
        return int(np.count_nonzero(self.W) + np.count_nonzero(self.A))

    @property
    def theta(self) -> np.ndarray:
        """The free weights [P]: those of W row by row, then those of A row by row."""
        return np.concatenate([self.W[self.W != 0], self.A[self.A != 0]])

    def moved_to(self, theta: np.ndarray) -> TwoLayers:
        """The network with other free weights [P]."""
        W, A = self.W.copy(), self.A.copy()
        split = np.count_nonzero(W)
        W[W != 0], A[A != 0] = theta[:split], theta[split:]
        return TwoLayers(W, A)

    def balanced(self) -> TwoLayers:
        """The same function, with |row k of W| = |column k of A| for every hidden unit that has both."""
        rows, columns = np.linalg.norm(self.W, axis=1), np.linalg.norm(self.A, axis=0)
        live = (rows > 0) & (columns > 0)
        scale = np.sqrt(np.where(live, columns, 1) / np.where(live, rows, 1))
        return TwoLayers(self.W * scale[:, None], self.A / scale)

    def hidden(self, XT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h [k1, t] and z [k2, t] of a tile XT [d, t], in its precision."""
        H = self.W.astype(XT.dtype) @ XT
        np.maximum(H, 0, out=H)
        return H, self.A.astype(XT.dtype) @ H

    def path_gains(self, Z: np.ndarray, H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The open gates 1{z_j > 0} [k2, t] and the slopes c_k = d y_hat / d (w_k x) [k1, t]."""
        gates = (Z > 0).astype(Z.dtype)
        slopes = self.A.astype(Z.dtype).T @ gates
        slopes *= H > 0
        return gates, slopes

    @property
    def width(self) -> int:
        """Neurons of the wider layer."""
        return max(self.A.shape)

    def loss(self, data: Samples) -> float:
        """Mean square of the residual y_hat - y."""
        return float(data.mean(lambda XT, y: np.sum(residual(self.hidden(XT)[1], y) ** 2)))

    def curvature(self, data: Samples) -> np.ndarray:
        """J'J / n [P, P]."""
        return normal_equations(self, data)[0]

    def gauges(self) -> np.ndarray:
        """Unit vectors [k1, P] along which the scale of a unit changes: (w_k, -a_k), row k of W and column k of A."""
        units = np.concatenate([np.nonzero(self.W)[0], np.nonzero(self.A)[1]])
        signs = np.repeat([1.0, -1.0], [np.count_nonzero(self.W), np.count_nonzero(self.A)])
        return unit((units == np.arange(len(self.W))[:, None]) * signs * self.theta)

    def tidied(self) -> TwoLayers:
        """See below."""
        return tidied(self)

    def without_neuron(self, data: Samples) -> TwoLayers:
        """Without the weakest neuron of the wider layer, by the mean square of its activations."""
        power = data.mean(lambda XT, _: np.concatenate([np.sum(np.maximum(Z, 0) ** 2, axis=1)
                                                        for Z in self.hidden(XT)]))
        k2, k1 = self.A.shape
        if k1 >= k2:
            k = np.argmin(power[:k1] * np.sum(self.A**2, axis=0))
            return tidied(TwoLayers(np.delete(self.W, k, axis=0), np.delete(self.A, k, axis=1)))
        return tidied(TwoLayers(self.W, np.delete(self.A, np.argmin(power[k1:]), axis=0)))


def loss(net: TwoLayers, data: Samples) -> float:
    """Mean square of the residual y_hat - y."""
    return net.loss(data)


def jacobian(net: TwoLayers, XT: np.ndarray, y: np.ndarray) -> np.ndarray:
    """d y_hat / d theta, and below it the residual y_hat - y: [P + 1, t] of a tile, in its precision."""
    H, Z = net.hidden(XT)
    gates, slopes = net.path_gains(Z, H)
    J = np.empty((net.count + 1, XT.shape[1]), dtype=XT.dtype)
    stop = 0
    for weights, factors, inputs in ((net.W, slopes, XT), (net.A, gates, H)):
        for row, factor in zip(weights, factors, strict=True):
            columns = np.flatnonzero(row)
            start, stop = stop, stop + len(columns)
            np.multiply(inputs[columns], factor, out=J[start:stop])
    J[-1] = residual(Z, y)
    return J


def residual(Z: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """sum_j relu(z_j) - y [t], added up in float64, as the difference of nearly equal numbers that it becomes."""
    return np.maximum(Z, 0).sum(axis=0, dtype=np.float64) - y


def normal_equations(net: TwoLayers, data: Samples) -> tuple[np.ndarray, np.ndarray, float]:
    """J'J / n [P, P], J'r / n [P] and the loss |r|^2 / n, for r = y_hat - y."""

    def products(XT: np.ndarray, y: np.ndarray) -> np.ndarray:
        J = jacobian(net, XT, y)
        return J @ J.T  # one symmetric product for all three

    K = data.mean(products)
    return K[:-1, :-1], K[:-1, -1], float(K[-1, -1])


def tidied(net: TwoLayers, parallel: float = PARALLEL) -> TwoLayers:
    """Without what has no effect, and with what can be merged, merged; the same function, up to rounding.

    A row of A without positive weights is never active; rows without negative ones add up to one row that passes h on.
    Rows that are positive multiples of each other are added, and so are parallel rows of W.
    """
    while True:
        A = net.A[(net.A > 0).any(axis=1)]
        used = net.W.any(axis=1) & A.any(axis=0)
        live = TwoLayers(net.W[used], A[:, used][(A[:, used] > 0).any(axis=1)])
        before, net = net, merged_rows(merged_units(live, parallel), parallel)
        if (net.count, net.A.shape) == (before.count, before.A.shape):
            return net


def merged_units(net: TwoLayers, parallel: float) -> TwoLayers:
    """Units with parallel rows of W as one: relu(a w x) = a relu(w x) for a > 0."""
    length, first = np.linalg.norm(net.W, axis=1), first_in_line(net.W, parallel)
    kept, uses = first == np.arange(len(first)), net.A * (length / length[first])
    return TwoLayers(net.W[kept], added_up(uses.T, first)[kept].T)


def merged_rows(net: TwoLayers, parallel: float) -> TwoLayers:
    """Rows of A that are active at the same samples as one: parallel ones, and all without negative weights."""
    first, passing = first_in_line(net.A, parallel), np.all(net.A >= 0, axis=1)
    if passing.any():
        first[passing[first]] = np.argmax(passing)
    return TwoLayers(net.W, added_up(net.A, first)[first == np.arange(len(first))])


def first_in_line(rows: np.ndarray, parallel: float) -> np.ndarray:
    """For each row [a] the first that is parallel to it, or to that one, and so on along a chain; it may be itself."""
    first = first_parallel(unit(rows), parallel)
    for row in range(len(rows)):
        first[row] = first[first[row]]  # rows before it are final
    return first
