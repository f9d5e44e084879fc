"""The sensing matrix A as an operator, on NumPy or CuPy, in blocks that fit a memory budget.

A ReLU network with fixed gates is linear in its hidden weights:

    y_hat = sum_j 1{X h_j > 0} * (X w_j) = A w,      A = [diag(1{X h_1 > 0}) X, ..., diag(1{X h_m > 0}) X]   [n, m*d]

A is never stored. An operator offers the two things that a solver needs: `adjoint_blocks`, the product A' r in pieces,
and `columns`, the matrix A_S of a few columns with its products. Read aiht.py first; the time of a fit is spent here.

Inputs are held feature-major, X' [d, n], so that a column of A is a contiguous row. Every product is computed in tiles
of samples (numerics/workspace.py), so that its bits do not depend on the number of threads. The memory budget decides
what is held and what is computed again: columns of A (up to half of it), gates of weights (up to a quarter) and
mini-batches (up to a quarter). Random gates are held up to 8 MiB. What is being computed at one time, a few tiles per
thread, takes about 16 MiB more.

What has the length of the samples lives where they do; what has the length of a support, S, x and A_S' r, on the host.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from numerics.arrays import DTYPE, Array, array_module, slices, to_device
from numerics.columns import Columns, columns_of
from numerics.products import Positive, pays, sparse_matrix, times_transposed
from numerics.sparse import SparseVector, distinct, find
from numerics.streams import DRAW_BLOCK, Stream
from numerics.workspace import Workspace

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

NEURON_BLOCK = 256  # neurons per block of A' r: with 1024 samples a tile of X h fills a 1 MiB cache
BLOCK_ENTRIES = 2**17  # entries of A' r per block: with GROUPS partial sums in float64, 8 MiB


class Gates(ABC):
    """The generators h_j of the gates 1{x_i . h_j > 0} of a layer.

    The operators rely on what a subclass guarantees:

    - `neurons` lists, ascending and once each, the neurons whose gate may be open. All others have h_j = 0, a gate that
      is always closed: A' r leaves their columns out.
    - `rows` gives the generators of any neurons, the same bits each time, whichever others are asked for with them. The
      operators do not hold H [m, d]; they ask again.
    - Neither changes while an operator uses the gates.
    """

    neurons: Sequence[int] | np.ndarray
    most_held: int | None = None  # number of gates [neurons, n] up to which they are held; None: by the memory budget
    density: float = 1.0  # share of nonzeros of the listed generators

    @abstractmethod
    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """H[neurons] [b, d] float32 on the host, for ascending neurons [b]; zeros for those not listed."""

    def are(self, weights: SparseVector) -> bool:
        """Whether they are made of these weights, an object: then gate * (X w) is relu(X w)."""
        return False

    def find(self, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where ascending neurons [b], repeated or not, stand among those listed, and a mask [b] of those that do."""
        return find(neurons, np.append(self.neurons, np.iinfo(np.int64).max))  # a last one: there may be none


class RandomGates(Gates):
    """Gate generators h_j ~ N(0, I_d), drawn on the host when asked for: H [m, d] is never held.

    Each block of DRAW_BLOCK neurons has a stream of its own, so any rows can be drawn again.
    """

    most_held = 2**26  # 8 MiB as bits, no share of the budget: it decides on bits. A fit needs them for a step or two

    def __init__(self, seed: int, layer: int, m: int, d: int):
        self.seed, self.layer, self.m, self.d = seed, layer, m, d
        self.neurons = range(m)

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Seed, layer, m and d."""
        return self.seed, self.layer, self.m, self.d

    def __eq__(self, other: object) -> bool:
        """Whether they are the same draws."""
        return isinstance(other, RandomGates) and self.key == other.key

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """H[neurons] [b, d] for ascending neurons [b]."""
        return Stream.GATES.rows(neurons, (self.m, self.d), self.seed, self.layer)

    def find(self, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The neurons themselves: all are listed."""
        return neurons, np.ones(len(neurons), dtype=bool)


class WeightGates(Gates):
    """Gate generators H = W, weights w [m d] (sequential convex): only neurons with weights have a gate.

    Args:
        of: the vector that w is a part of, if it is one.
    """

    def __init__(self, w: SparseVector, d: int, of: SparseVector | None = None):
        self.w, self.d, self.of = w, d, of
        self.neurons = distinct(w.indices // d)
        self.density = len(w) / max(len(self.neurons) * d, 1)

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """W[neurons] [b, d] for ascending neurons [b]."""
        return self.w.rows(neurons, self.d)

    def are(self, weights: SparseVector) -> bool:
        """Whether w is a part of these weights; it is not if they have moved on since the gates' update."""
        return self.of is weights


class ReluSensing:
    """A = [diag(1{X h_1 > 0}) X, ..., diag(1{X h_m > 0}) X], n x (m d); column (j, k) has the index j d + k.

    Args:
        XT: inputs, feature-major [d, n] float32, on the host or a GPU.
        gates: their generators.  m: hidden width.
    """

    def __init__(self, XT: Array, gates: Gates, m: int, work: Workspace):
        self.XT, self.gates, self.m, self.work = XT, gates, m, work
        self.d, n = XT.shape
        self.shape = (n, m * self.d)
        self.xp = array_module(XT)

    def on(self, XT: Array, gates: Gates) -> Self:
        """The operator of other samples or gates; itself, with what it holds, where they are the same objects."""
        same = XT is self.XT and gates is self.gates
        return self if same else type(self)(XT, gates, self.m, self.work)

    def _rows(self, neurons):
        """H[neurons] [b, d], a sparse matrix where that of all listed ones multiplies faster: it decides on bits."""
        sparse = pays(self.gates.density, len(self.gates.neurons), self.XT.shape, self.xp)
        return (sparse_matrix if sparse else to_device)(self.gates.rows(neurons), self.XT)

    @functools.cached_property
    def _held_gates(self) -> Positive | None:
        """The gates of all listed neurons, where they may be held; else None."""
        neurons, n, most = self.gates.neurons, self.shape[0], self.gates.most_held
        if most is None or self.xp is not np:
            most = self.work.bytes // 4 * (8 if self.xp is np else 1)  # Positive holds bits, on a GPU bytes
        if len(neurons) * n > most:
            return None
        held, first = Positive(len(neurons), n, self.xp), 0
        for block in self.blocks(neurons):
            held.fill(first, self._rows(block), self.XT, self.work)
            first += len(block)
        return held

    def gates_of(self, neurons: np.ndarray) -> Callable[[slice], Array]:
        """A function of a tile giving the gates [b, n_t] of `neurons` [b], ascending, repeated or not, on the host."""
        held, (places, listed) = self._held_gates, self.gates.find(neurons)
        if held is not None and listed.all():
            in_a_row = len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all()
            rows = slice(places[0], places[-1] + 1) if in_a_row else to_device(places, self.XT)
            return functools.partial(held.tile, rows)
        once = distinct(neurons)
        rows, place = self._rows(once), to_device(np.searchsorted(once, neurons), self.XT)
        if len(once) == len(neurons):
            return lambda tile: rows @ self.XT[:, tile] > 0
        return lambda tile: (rows @ self.XT[:, tile] > 0)[place]

    def blocks(self, neurons: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Cut neurons into blocks; like the tiles, on the CPU they depend on the shapes alone, and decide on bits."""
        entries, most = (BLOCK_ENTRIES, NEURON_BLOCK) if self.xp is np else (self.work.bytes // 128, 16 * NEURON_BLOCK)
        block = min(max(entries // max(self.d, 1), 32), most)
        return (np.asarray(neurons[part]) for part in slices(len(neurons), block))

    def adjoint_blocks(self, r: Array, norms: bool = False) -> Iterator[tuple[Array, ...]]:
        """A' r piece by piece: yields (indices [b d] ascending, on the host, entries of A' r there [b d] float64).

        With `norms` the norms of these columns [b d] float64 come third.
        """
        for neurons in self.blocks(self.gates.neurons):
            gates = self.gates_of(neurons)

            def product(tile, gates=gates):
                gate, X = gates(tile), self.XT[:, tile]
                adjoint = times_transposed(gate * r[tile], X)  # [b, d]
                if not norms:
                    return adjoint[None]
                return self.xp.stack([adjoint, times_transposed(gate.astype(DTYPE), self.xp.square(X))])

            depth = None if norms else self.d  # with norms a tile is twice the work
            total, *squares = self.work.sum(product, self.work.tiles(len(neurons), self.shape[0], self.xp, depth))
            indices = (neurons[:, None] * self.d + np.arange(self.d)).ravel()
            total, squares = total.ravel(), [self.xp.sqrt(square).ravel() for square in squares]  # may be copies
            yield indices, total, *squares

    def columns(self, indices: np.ndarray) -> Columns:
        """A_S for ascending indices S [s]."""
        owner, feature = np.divmod(indices, self.d)
        gates, feature = self.gates_of(owner), to_device(feature, self.XT)

        def fill(tile, out):
            self.xp.multiply(gates(tile), self.XT[feature, tile], out=out)

        shape = (self.shape[0], len(indices))
        keep = 4 * shape[0] * shape[1] <= self.work.bytes // 2
        return columns_of(fill, shape, self.xp, self.work, keep)


class GaussianSensing:
    """A standard normal matrix n x p, drawn on the host column block by column block, never held whole."""

    def __init__(self, seed: int, n: int, p: int, work: Workspace, xp: ModuleType = np):
        self.seed, self.shape, self.work, self.xp = seed, (n, p), work, xp

    def _rows(self, indices: np.ndarray) -> Array:
        """Columns of ascending indices [b], on the host, as rows [b, n]."""
        return self.xp.asarray(Stream.GAUSSIAN.rows(indices, self.shape[::-1], self.seed))

    def adjoint_blocks(self, r: Array) -> Iterator[tuple[np.ndarray, Array]]:
        """A' r piece by piece: yields (indices [b] ascending, on the host, entries of A' r there [b])."""
        blocks = [np.arange(part.start, part.stop) for part in slices(self.shape[1], DRAW_BLOCK)]
        yield from zip(blocks, self.work.map(lambda block: self._rows(block) @ r, blocks), strict=True)

    def columns(self, indices: np.ndarray) -> Columns:
        """A_S for ascending indices S [s], held."""
        blocks = np.split(indices, np.flatnonzero(np.diff(indices // DRAW_BLOCK)) + 1)
        xp, AT = self.xp, self.xp.concatenate(self.work.map(self._rows, blocks))  # [s, n]
        return columns_of(lambda tile, out: xp.copyto(out, AT[:, tile]), AT.shape[::-1], xp, self.work, keep=True)
