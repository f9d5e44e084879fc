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
from numerics.sparse import LargestByEstimate, SparseVector, distinct
from numerics.streams import Stream
from numerics.workspace import Workspace
from sensing import Gates, RandomGates, ReluSensing, WeightGates

SQUARED_STEP, SPARSE_STEP, CROSS_ENTROPY_STEP = 0.005, 2.0, 0.001  # the paper's step sizes, see first_step_size
SMALLEST_STEP = 1e-12  # below it a fit that still diverges is given up


class Block(NamedTuple):
    """Some neurons of a network, as they enter the products: their weights, where the samples live."""

    neurons: np.ndarray  # [b], ascending, on the host
    rows: Array  # [b, d + k], W and V side by side
    W: Array  # [b, d]
    V: Array  # [b, k]
    density: float  # share of nonzeros of W


class VectorSensing(ReluSensing):
    """The gates of A with output weights V [m, k]: the products of a network with k outputs.

    The prediction and the gradient of a step need the same weights and activations relu(X w). The latter are held in
    between where they fit into half of the memory budget.
    """

    def __init__(self, XT: Array, gates: Gates, m: int, work: Workspace):
        super().__init__(XT, gates, m, work)
        self._activations: dict[bytes, Array] = {}  # {block of neurons: relu(X w)' [b, n]}

    def block(self, neurons: np.ndarray, rows: np.ndarray) -> Block:
        """Neurons with their rows [b, d + k] of weights, on the host."""
        there, density = to_device(rows, self.XT), np.count_nonzero(rows[:, : self.d]) / max(len(rows) * self.d, 1)
        W, V = there[:, : self.d], there[:, self.d :]
        if self.xp is not np:  # CuPy would copy them for each product
            W, V = self.xp.ascontiguousarray(W), self.xp.ascontiguousarray(V)
        return Block(neurons, there, W, V, density)

    def _activation(self, block: Block) -> Callable:
        """A function of a tile giving relu(X w) [b, n_t] of neurons that are gates themselves."""
        held, W = self._activations.get(block.neurons.tobytes()), block.W
        if held is None:
            if pays(block.density, len(W), self.XT.shape, self.xp):
                W = sparse_matrix(to_host(W), self.XT)
            if 4 * len(self.gates.neurons) * self.shape[0] <= self.work.bytes // 2:
                shape = len(block.W), self.shape[0]
                held = self._activations[block.neurons.tobytes()] = self.xp.empty(shape, dtype=DTYPE)
                each_product(W, self.XT, lambda rows, tile, z: self.xp.maximum(z, 0, out=held[rows, tile]), self.work)
        return lambda tile: self.xp.maximum(W @ self.XT[:, tile], 0) if held is None else held[:, tile]

    def _hidden(self, block: Block, relu: bool) -> Callable:
        """A function of a tile giving the gates of a block and gate * (X w) there, both [b, n_t]."""
        if relu:
            activation = self._activation(block)

            def open_where_active(tile):
                z = activation(tile)
                return z > 0, z

            return open_where_active
        gates = self.gates_of(block.neurons)

        def gated(tile):
            gate = gates(tile)
            return gate, gate * (block.W @ self.XT[:, tile])

        return gated

    def outputs(self, block: Block, relu: bool) -> Array:
        """sum_j gate_j * (X w_j) v_j', as [k, n], over the neurons of a block.

        Args:
            relu: whether the weights of these neurons are their gates.
        """
        hidden = self._activation(block) if relu else lambda tile: self._hidden(block, relu)(tile)[1]
        tiles = self.work.tiles(len(block.W), self.shape[0], self.xp, self.d)
        parts = self.work.map(lambda tile: block.V.T @ hidden(tile), tiles)
        return parts[0] if len(parts) == 1 else self.xp.concatenate(parts, axis=1)

    def output_gradient(self, block: Block, R: Array, relu: bool) -> Array:
        """Gradients [b, d + k] float64 in [w_j, v_j]: M_j v_j and M_j' w_j, M_j = (diag(gate_j) X)' R', for R [k, n].

        M_j is not formed: for all j at once they are ((V R) * gates) X and ((W X') * gates) R'.
        """
        hidden = self._hidden(block, relu)

        def product(tile):
            gate, activation = hidden(tile)
            weighted = block.V @ R[:, tile]
            weighted *= gate
            w_part = times_transposed(weighted, self.XT[:, tile])
            return self.xp.concatenate([w_part, activation @ R[:, tile].T], axis=1)

        return self.work.sum(product, self.work.tiles(len(block.W), self.shape[0], self.xp, self.d))


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
    blocks = weight_blocks(A, theta, len(YT))
    R = residual(predict(A, theta, blocks, len(YT)), YT, loss)
    updates = Updates(A, theta, R, mu, fill, blocks, num_held=s)
    for place, _, delta in updates:
        sketch.add(place[: len(delta)], delta)
    top = LargestByEstimate(s)
    for place, u, _ in updates:
        top.add(place, u, sketch.estimate(place))
    order = np.argsort(top.indices)
    return SparseVector(top.indices[order], top.values[order], theta.size)


def weight_blocks(A: VectorSensing, theta: SparseVector, k: int) -> list[Block]:
    """The neurons of theta that have a gate."""
    length = A.d + k
    live = distinct(theta.indices // length)
    return [A.block(neurons, theta.rows(neurons, length)) for neurons in A.blocks(live[A.gates.find(live)[1]])]


def predict(A: VectorSensing, theta: SparseVector, blocks: list[Block], k: int) -> Array:
    """The predictions [k, n] of the network theta, in blocks, with the gates of A."""
    relu = A.gates.are(theta)
    if len(blocks) == 1:
        return A.outputs(blocks[0], relu)
    total = A.xp.zeros((k, A.shape[0]), dtype=A.XT.dtype)
    for block in blocks:
        total += A.outputs(block, relu)
    return total


def residual(P: Array, YT: Array, loss: str) -> Array:
    """(P - Y) / n, or (softmax(P) - Y) / n, for predictions and targets [k, n]: the gradient of the mean loss in P."""
    xp = array_module(P)
    if loss == "cross_entropy":
        P = xp.exp(P - P.max(axis=0))
        P /= P.sum(axis=0)
    return (P - YT) / YT.shape[1]


Update = tuple[np.ndarray, Array, Array]  # of a block: indices [c], entries after the step [c] float32, updates [<= c]


class Updates:
    """The gradient step of all neurons, block by block; it can be gone through more than once.

    The updates, float64, belong to the first indices; the entries after them are start-up values of neurons without a
    gate, which have no gradient. About `num_held` neurons are held for the next time, so that memory grows with s; the
    rest are computed again. R is the residual [k, n]; `known` are the blocks that made it.
    """

    def __init__(self, A: VectorSensing, theta: SparseVector, R: Array, mu: float, fill: RandomFill | None,
                 known: list[Block], num_held: int):
        self.A, self.theta, self.R, self.mu, self.fill, self.num_held = A, theta, R, mu, fill, num_held
        self.known = {block.neurons.tobytes(): block for block in known} if fill is None else {}
        live = distinct(theta.indices // (A.d + len(R))) if fill is None else np.arange(fill.m)
        gated, none = A.gates.find(live)[1], live[:0]
        with_gate, without = list(A.blocks(live[gated])), list(A.blocks(live[~gated]))
        both = [(with_gate.pop(), without.pop(0))] if with_gate and without else []  # in one go: fewer calls
        self.blocks = [*((neurons, none) for neurons in with_gate), *both, *((none, neurons) for neurons in without)]
        self.held: dict[int, Update] = {}

    def __iter__(self) -> Iterator[Update]:
        num_seen = 0
        for number, (gated, without) in enumerate(self.blocks):
            update = self.held.get(number) or self._update(gated, without)
            if num_seen < self.num_held:
                self.held[number] = update
            num_seen += len(gated) + len(without)
            yield update

    def _update(self, gated: np.ndarray, without: np.ndarray) -> Update:
        """The update of neurons with a gate, and the entries of neurons without one."""
        A, xp, length = self.A, self.A.xp, self.A.d + len(self.R)
        place = (np.concatenate([gated, without])[:, None] * length + np.arange(length)).ravel()
        entries, delta = [], xp.zeros(0)
        if len(gated):
            block = self.known.get(gated.tobytes()) or A.block(gated, self._rows(gated, length))
            delta = -self.mu * A.output_gradient(block, self.R, A.gates.are(self.theta))
            entries.append(xp.add(block.rows, delta, out=xp.empty_like(block.rows)).ravel())
        if len(without):
            entries.append(to_device(self._rows(without, length).ravel(), A.XT))
        return place, xp.concatenate(entries) if len(entries) > 1 else entries[0], delta.ravel()

    def _rows(self, neurons: np.ndarray, length: int) -> np.ndarray:
        """Weights [b, d + k] before the step, those of the fill where there are none."""
        rows = self.theta.rows(neurons, length)
        if self.fill is not None:
            start = self.fill.rows(neurons)
            for part in (slice(None, self.A.d), slice(self.A.d, None)):
                rows[:, part] = np.where(rows[:, part].any(axis=1, keepdims=True), rows[:, part], start[:, part])
        return rows


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
            return VectorFit(w, SparseLayer(v, len(YT), gates.m), mu)
        mu /= 2
    raise FloatingPointError(f"AIHT diverged at step sizes over {mu:.1e}")


def try_step_size(XT: Array, YT: Array, s: int, mu: float, gates: RandomGates, schedule: Iterable[Step],
                  work: Workspace, progress: Progress | None = None, *, fan_in: int, loss: str) -> SparseVector | None:
    """theta of the fit with step size mu to targets [k, n], or None where it becomes non-finite."""
    (d, _), k, xp = XT.shape, len(YT), array_module(XT)
    fill = RandomFill(gates.seed, gates.layer, gates.m, d, k, fan_in)
    theta = SparseVector.zeros(gates.m * (d + k))
    room = {} if xp is np else {"room": work.bytes // 16}
    sketch = CountSketch(theta.size, s, Stream.SKETCH.generator(gates.seed, gates.layer), xp, work.map, **room)
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
                A = A.on(X_b, WeightGates(hidden_part(theta, d, k), d, of=theta))
            if progress:
                progress.step(*split(theta, d, k))
    finite = xp.isfinite(sketch.table).all() and np.isfinite(theta.values).all()  # float64 and float32
    return theta if finite else None


def split(theta: SparseVector, d: int, k: int) -> tuple[SparseVector, SparseVector]:
    """Hidden weights W [m, d] and output weights V' [k, m] of theta, as SparseVectors with row-major indices."""
    m = theta.size // (d + k)
    neuron, column = np.divmod(theta.indices, d + k)
    outer = column >= d
    flat, values = ((column - d) * m + neuron)[outer], theta.values[outer]
    order = np.argsort(flat)
    return hidden_part(theta, d, k), SparseVector(flat[order], values[order], k * m)


def hidden_part(theta: SparseVector, d: int, k: int) -> SparseVector:
    """The hidden weights W [m, d] of theta."""
    neuron, column = np.divmod(theta.indices, d + k)
    hidden = column < d
    return SparseVector((neuron * d + column)[hidden], theta.values[hidden], theta.size // (d + k) * d)
