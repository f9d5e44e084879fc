"""AIHT for networks with k outputs: one budget over hidden and output weights.

    y_hat = sum_j 1{X h_j > 0} * (X w_j) v_j',      W [m, d], V [m, k], at most s nonzeros in both together

The iterate is a SparseVector theta of size m (d + k): row j is theta_j = [w_j, v_j], so that a neuron's entries lie
together and a block of neurons is a range of indices. There are no inner steps; a count sketch of all updates decides
which entries survive. Called by aiht.py for targets [n, k]; read that first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fits import Progress
from models import SparseLayer
from numerics.arrays import DTYPE, Array, array_module, to_device, to_host
from numerics.batches import Step, with_samples
from numerics.countsketch import CountSketch
from numerics.products import each_product, pays, sparse_matrix, times_transposed
from numerics.sparse import SparseVector, distinct, top_mask
from numerics.streams import Stream
from numerics.workspace import Workspace, sample_tiles
from sensing import Gates, RandomGates, ReluSensing, WeightGates

SQUARED_STEP, SPARSE_STEP, CROSS_ENTROPY_STEP = 0.005, 2.0, 0.001  # the paper's step sizes, see first_step_size
SMALLEST_STEP = 1e-12  # below it a fit that still diverges is given up


class VectorSensing(ReluSensing):
    """The gates of A with output weights V [m, k]: the products of a network with k outputs.

    The prediction and the gradient of a step need the same activations relu(X w); they are held in between where they
    fit into half of the memory budget.
    """

    def __init__(self, XT: Array, gates: Gates, m: int, work: Workspace):
        super().__init__(XT, gates, m, work)
        self._activations: dict[bytes, Array] = {}  # {block of neurons: relu(X w)' [b, n]}

    def _hidden(self, neurons: np.ndarray, W) -> Callable:
        """A function of a tile giving the gates of `neurons` and gate * (X w) there, both [b, n_t]."""
        if not self.gates.rows_are(neurons, W):
            gates = self.gates_of(neurons)

            def gated(tile):
                gate = gates(tile)
                return gate, gate * (W @ self.XT[:, tile])

            return gated
        held = self._activations.get(neurons.tobytes())
        if held is None:
            if pays(int(self.xp.count_nonzero(W)) / max(W.size, 1), len(W), self.XT.shape, self.xp):
                W = sparse_matrix(to_host(W), self.XT)
            if 4 * len(self.gates.neurons) * self.shape[0] <= self.work.bytes // 2:
                held = self._activations[neurons.tobytes()] = self.xp.empty((len(neurons), self.shape[0]), dtype=DTYPE)
                each_product(W, self.XT, lambda rows, tile, z: self.xp.maximum(z, 0, out=held[rows, tile]), self.work)

        def relu(tile):
            z = self.xp.maximum(W @ self.XT[:, tile], 0) if held is None else held[:, tile]
            return z > 0, z

        return relu

    def outputs(self, neurons: np.ndarray, W: Array, V: Array) -> Array:
        """sum_j gate_j * (X w_j) v_j', as [k, n], over neurons with weights W [b, d] and output weights V [b, k]."""
        hidden = self._hidden(neurons, W)
        tiles = sample_tiles(len(neurons), self.shape[0], self.xp, self.d)
        return self.xp.concatenate(self.work.map(lambda tile: V.T @ hidden(tile)[1], tiles), axis=1)

    def output_gradient(self, neurons: np.ndarray, W: Array, V: Array, R: Array) -> Array:
        """Gradients [b, d + k] float64 in [w_j, v_j]: M_j v_j and M_j' w_j, M_j = (diag(gate_j) X)' R', for R [k, n].

        M_j is not formed: for all j at once they are ((V R) * gates) X and ((W X') * gates) R'.
        """
        hidden = self._hidden(neurons, W)

        def product(tile):
            gate, activation = hidden(tile)
            w_part = times_transposed((V @ R[:, tile]) * gate, self.XT[:, tile])
            return self.xp.concatenate([w_part, activation @ R[:, tile].T], axis=1)

        return self.work.sum(product, sample_tiles(len(neurons), self.shape[0], self.xp, self.d))


def first_step_size(s: int, m: int, loss: str) -> float:
    """The paper's step size: 0.001 for cross-entropy, else 0.005, but 2 when s < 6 m^0.536."""
    if loss == "cross_entropy":
        return CROSS_ENTROPY_STEP
    return SPARSE_STEP if s < 6 * m**0.536 else SQUARED_STEP


def vector_step(A: VectorSensing, YT: Array, theta: SparseVector, s: int, mu: float, sketch: CountSketch,
                fill: RandomFill | None, loss: str) -> SparseVector:
    """The next iterate: a gradient step, its updates into the sketch, and the s candidates of largest |estimate| stay.

    Candidates are the entries that are not zero after the gradient step.

    Args:
        YT: targets [k, n].  mu: step size.
        fill: RandomFill at a start-up step, else None. Then each block w_j or v_j that is all zero takes its values,
            after the residual is computed and before the gradients. Those of neurons without a gate too: their
            gradient is zero, but the values are candidates, so a neuron can return.
    """
    R = residual(predict(A, theta, len(YT)), YT, loss)
    updates = Updates(A, theta, R, mu, fill, num_held=s)
    for place, _, delta in updates:
        sketch.add(place[: len(delta)], delta)
    xp = array_module(theta.values)
    indices, values, estimates = theta.indices[:0], theta.values[:0], sketch.table[0, :0]
    for place, u, _ in updates:
        place, u = place[u != 0], u[u != 0]
        indices, values = xp.concatenate([indices, place]), xp.concatenate([values, u])
        estimates = xp.concatenate([estimates, sketch.estimate(place)])
        keep = top_mask(xp.abs(estimates), s)
        indices, values, estimates = indices[keep], values[keep], estimates[keep]
    order = xp.argsort(indices)
    return SparseVector(indices[order], values[order], theta.size)


def predict(A: VectorSensing, theta: SparseVector, k: int) -> Array:
    """The predictions [k, n] of the network theta with the gates of A."""
    length = A.d + k
    total = A.xp.zeros((k, A.shape[0]), dtype=A.XT.dtype)
    live = distinct(to_host(theta.indices) // length)
    for neurons in A.blocks(live[A.gates.find(live)[1]]):
        rows = theta.rows(to_device(neurons, A.XT), length)
        total += A.outputs(neurons, rows[:, : A.d], rows[:, A.d :])
    return total


def residual(P: Array, YT: Array, loss: str) -> Array:
    """(P - Y) / n, or (softmax(P) - Y) / n, for predictions and targets [k, n]: the gradient of the mean loss in P."""
    xp = array_module(P)
    if loss == "cross_entropy":
        P = xp.exp(P - P.max(axis=0))
        P /= P.sum(axis=0)
    return (P - YT) / YT.shape[1]


Update = tuple[Array, Array, Array]  # of a block: indices [c], entries after the step [c] float32, updates [<= c]


class Updates:
    """The gradient step of all neurons, block by block; it can be gone through more than once.

    The updates, float64, belong to the first indices; the entries after them are start-up values of neurons without a
    gate, which have no gradient. About `num_held` neurons are held for the next time, so that memory grows with s; the
    rest are computed again. R is the residual [k, n].
    """

    def __init__(self, A: VectorSensing, theta: SparseVector, R: Array, mu: float, fill: RandomFill | None,
                 num_held: int):
        self.A, self.theta, self.R, self.mu, self.fill, self.num_held = A, theta, R, mu, fill, num_held
        live = distinct(to_host(theta.indices) // (A.d + len(R))) if fill is None else np.arange(fill.m)
        gated = A.gates.find(live)[1]
        self.blocks = [*A.blocks(live[gated]), *A.blocks(live[~gated])]
        self.held: dict[int, Update] = {}

    def __iter__(self) -> Iterator[Update]:
        num_seen = 0
        for number, neurons in enumerate(self.blocks):
            update = self.held.get(number) or self._update(neurons)
            if num_seen < self.num_held:
                self.held[number] = update
            num_seen += len(neurons)
            yield update

    def _update(self, neurons: np.ndarray) -> Update:
        A, xp, length = self.A, self.A.xp, self.A.d + len(self.R)
        device_neurons = to_device(neurons, A.XT)
        rows = self.theta.rows(device_neurons, length)
        if self.fill is not None:
            start = to_device(self.fill.rows(neurons), A.XT)
            for part in (slice(None, A.d), slice(A.d, None)):
                rows[:, part] = xp.where(rows[:, part].any(axis=1, keepdims=True), rows[:, part], start[:, part])
        place = (device_neurons[:, None] * length + xp.arange(length)).ravel()
        if not A.gates.find(neurons)[1].all():
            return place, rows.ravel(), xp.zeros(0)
        delta = -self.mu * A.output_gradient(neurons, rows[:, : A.d], rows[:, A.d :], self.R)
        return place, (rows + delta).astype(rows.dtype).ravel(), delta.ravel()


class RandomFill:
    """The start-up values of the vector case: rows [w_j, v_j] uniform in +-1/sqrt(m fan_in) and +-1/sqrt(m k).

    fan_in is the width of the layer before: inputs that are always zero count.
    """

    def __init__(self, seed: int, layer: int, m: int, d: int, k: int, fan_in: int):
        self.seed, self.layer, self.m = seed, layer, m
        self.bounds = np.repeat([(m * fan_in) ** -0.5, (m * k) ** -0.5], [d, k]).astype(DTYPE)

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """Rows [b, d + k] for ascending neurons [b]."""
        drawn = Stream.FILL.rows(neurons, (self.m, len(self.bounds)), self.seed, self.layer,
                                 draw=np.random.Generator.random)
        return (2 * drawn - 1) * self.bounds


class VectorFit(NamedTuple):
    """What was found for a layer: hidden weights [m d], output weights V' [k, m], and the step size that it took."""

    w: SparseVector
    output: SparseLayer
    step_size: float


def fit_vector_layer(XT: Array, y: Array, s: int, gates: RandomGates, schedule: Iterable[Step], work: Workspace,
                     progress: Progress | None = None, *, fan_in: int, loss: str) -> VectorFit:
    """Fit one hidden layer and the output layer with at most s nonzeros in both.

    A fit that becomes non-finite is started again with half the step size, as often as needed; FloatingPointError
    where none is small enough.

    Args:
        XT: inputs [d, n].  y: targets [n, k].  gates: of the first steps.
        fan_in: width of the layer before.  loss: one of fits.LOSSES.
    """
    YT, mu = array_module(y).ascontiguousarray(y.T), first_step_size(s, gates.m, loss)
    while mu > SMALLEST_STEP:
        theta = try_step_size(XT, YT, s, mu, gates, schedule, work, progress, fan_in=fan_in, loss=loss)
        if theta is not None:
            w, v = split(theta, len(XT), len(YT))
            return VectorFit(w, SparseLayer(v.to_host(), len(YT), gates.m), mu)
        mu /= 2
    raise FloatingPointError(f"AIHT diverges even with step size {mu:.1e}")


def try_step_size(XT: Array, YT: Array, s: int, mu: float, gates: RandomGates, schedule: Iterable[Step],
                  work: Workspace, progress: Progress | None = None, *, fan_in: int, loss: str) -> SparseVector | None:
    """theta of the fit with step size mu to targets [k, n], or None where it becomes non-finite."""
    (d, _), k, xp = XT.shape, len(YT), array_module(XT)
    fill = RandomFill(gates.seed, gates.layer, gates.m, d, k, fan_in)
    theta = SparseVector.zeros(gates.m * (d + k), xp)
    sketch = CountSketch(theta.size, s, Stream.SKETCH.generator(gates.seed, gates.layer), xp, work.map)
    A, last_epoch = VectorSensing(XT, gates, gates.m, work), -1
    if progress:
        progress.restart()
    with np.errstate(over="ignore", invalid="ignore"):  # the sketch never forgets an update: it shows a divergence
        for epoch, X_b, Y_b, update in with_samples(schedule, XT, YT, work):
            start_up = epoch > last_epoch and (X_b is not XT or epoch == 0)
            if epoch > last_epoch and not xp.isfinite(sketch.table).all():
                return None
            last_epoch = epoch
            A = A.on(X_b, A.gates)
            theta = vector_step(A, Y_b, theta, s, mu, sketch, fill if start_up else None, loss)
            if update:
                A = A.on(X_b, WeightGates(split(theta, d, k)[0], d))
            if progress:
                progress.step(*split(theta, d, k))
    finite = xp.isfinite(sketch.table).all() and xp.isfinite(theta.values).all()  # float64 and float32
    return theta if finite else None


def split(theta: SparseVector, d: int, k: int) -> tuple[SparseVector, SparseVector]:
    """Hidden weights W [m, d] and output weights V' [k, m] of theta, as SparseVectors with row-major indices."""
    xp = array_module(theta.values)
    m = theta.size // (d + k)
    neuron, column = xp.divmod(theta.indices, d + k)
    hidden = column < d
    w = SparseVector((neuron * d + column)[hidden], theta.values[hidden], m * d)
    flat, values = ((column - d) * m + neuron)[~hidden], theta.values[~hidden]
    order = xp.argsort(flat)
    return w, SparseVector(flat[order], values[order], k * m)
