"""The training of a network under masks, for IMP: Adam, with gradients written out and few operations per step.

    trained = train(weights, masks, [(X, Y)], num_epochs=15, loss="squared")

A ReLU network without biases is a chain of products, so its gradients are a few lines; automatic differentiation would
record and replay them at every step. All trainable weights lie in one vector, which Adam updates at once. Samples are
held feature-major, in tiles [d, b], and a layer with few weights left is a sparse matrix.

On the CPU the dense products are those of NumPy's BLAS. The MKL of torch leaves half of the vector units of an AMD
processor idle: 1000 x 100 x 1048 takes 1.9 ms with it, and 0.85 ms with OpenBLAS (one core of an EPYC, AVX-512);
1000 x 1000 x 1048 takes 19 and 8.5 ms. Threads share the tiles of a batch, not a product, and the gradients of tiles
are added in their order: the bits of a result do not depend on the number of threads.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from numerics.adam import LEARNING_RATE, Adam, TensorAdam
from numerics.masks import full_masks

if TYPE_CHECKING:
    from torch import Tensor

    Batches = list[tuple[Tensor, Tensor]]  # inputs [b, d] and targets [b, k] of each batch
    Tiles = list[tuple[Tensor, Tensor]]  # inputs [d, b] and targets [k, b] of each tile of a batch

# Hidden values held at once, per layer. On the CPU a tile stays in the cache: a full-batch step at n = 50000,
# d = 100, m = 1000 took 0.17 s on 2 cores, against 0.48 s in one piece. A GPU wants few, large pieces (0.5 GiB).
CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**27}

# A layer is sparse on the CPU below this density. There a weight costs 5 to 8 times the products that a dense one takes
# (5000 samples of 100 x 1000, 500 x 500 and 784 x 1000; MKL against OpenBLAS on one core of an AMD EPYC).
SPARSE_DENSITY = 1 / 8


# The log odds of an output p under the logistic loss are ODDS (p - 1/2): decided at 1/2, of the slope 1 there.
ODDS = 4.0


class Rate(NamedTuple):
    """The learning rate of a training: constant, or falling linearly from `first` to 0."""

    first: float = LEARNING_RATE
    decays: bool = False

    def at(self, step: int, steps: int) -> float:
        """That of a step, from 0, of so many."""
        return self.first * (1 - step / steps) if self.decays else self.first


PUBLISHED = Rate()


def train(weights: list[Tensor], masks: list[Tensor], batches: Batches, num_epochs: int, loss: str,
          threads: int = 1, rate: Rate = PUBLISHED) -> list[Tensor]:
    """Copies of masked weights [out, in] after num_epochs of Adam, all its moments zero at the start.

    Args:
        loss: "squared" (mean over all entries), "cross_entropy" (Y one-hot), or "logistic" (Y [b, 1] of 0 and 1).
        threads: of the CPU, for the tiles of a batch. Torch and the BLAS should have one each, see one_thread.
    """
    tiles = [cut(X, Y, chunk_rows(weights, X)) for X, Y in batches]
    threads = min(threads, max(map(len, tiles)))
    with ThreadPoolExecutor(threads) as pool:
        gradients = Gradients(weights, masks, threads, pool.map if threads > 1 else map)
        replays = gradients.values.is_cuda and not rate.decays  # a graph repeats one epoch, with its rates
        adam, steps = (TensorAdam if replays else Adam)(gradients.values), num_epochs * len(tiles)

        def epoch() -> None:
            for batch in tiles:
                adam.step(gradients.of(batch, loss), rate.at(adam.steps, steps))

        (replayed if replays else repeated)(epoch, num_epochs)
    return gradients.network.weights()


def repeated(epoch: Callable[[], None], times: int) -> None:
    """Call epoch() so many times."""
    for _ in range(times):
        epoch()


def replayed(epoch: Callable[[], None], times: int) -> None:
    """The same on a GPU: after the first time its kernels are recorded as a CUDA graph, and started all at once.

    The shapes of a training do not change, nor do the places of what it holds in memory. The first time is on a stream
    of its own, as capturing asks for.
    """
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        epoch()
    torch.cuda.current_stream().wait_stream(stream)
    if times > 1:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # which runs nothing
            epoch()
        repeated(graph.replay, times - 1)


def gradient(weights: list[Tensor], X: Tensor, Y: Tensor, loss: str) -> list[Tensor]:
    """The gradient [out, in] per layer of the mean loss over X [b, d] and Y [b, k], with respect to all weights."""
    slopes = Gradients(weights, None).of(cut(X, Y, chunk_rows(weights, X)), loss)
    return [part.view(W.shape) for part, W in zip(slopes.split([W.numel() for W in weights]), weights, strict=True)]


def chunk_rows(weights: list[Tensor], X: Tensor) -> int:
    """Rows of X to take at once, so that no layer holds more than CHUNK_VALUES values."""
    return max(1, CHUNK_VALUES[X.device.type] // max(len(W) for W in weights))


def cut(X: Tensor, Y: Tensor, rows: int) -> Tiles:
    """A batch in tiles of so many samples, feature-major."""
    return [(x.T.contiguous(), y.T.contiguous()) for x, y in zip(X.split(rows), Y.split(rows), strict=True)]


class Gradients:
    """The gradients of a network under masks over batches, whose tiles some threads share.

    Every thread has a Network of its own; all have the same `values` [c].

    Args:
        map_tiles: `map`, or that of a pool of so many threads.
    """

    def __init__(self, weights: list[Tensor], masks: list[Tensor] | None, threads: int = 1,
                 map_tiles: Callable = map):
        self.network, self._map = Network(weights, masks), map_tiles
        self.values = self.network.values
        self._networks = [self.network, *(Network(weights, masks, self.values) for _ in range(threads - 1))]
        self._sum = self.values.new_zeros(len(self.values))

    def of(self, batch: Tiles, loss: str) -> Tensor:
        """The gradient [c] of the mean loss over a batch; the next call overwrites it."""
        total, at_once = sum(Y.shape[1] for _, Y in batch), len(self._networks)

        def differentiate(network: Network, tile: tuple[Tensor, Tensor]) -> Tensor:
            return network.differentiate(*tile, total, loss)

        if len(batch) == 1:
            total_slopes = differentiate(self.network, batch[0])
        else:
            total_slopes = self._sum.zero_()
            for start in range(0, len(batch), at_once):
                for slopes in self._map(differentiate, self._networks, batch[start : start + at_once]):
                    total_slopes.add_(slopes)
        # under Adam a weight that never has a slope does not move
        return total_slopes if self.network.kept is None else total_slopes.mul_(self.network.kept)


class Network:
    """A network in training: its layers, whose trainable weights lie one after the other in `values` [c].

    Args:
        masks: None where no weight is pruned, which need not be looked up then.
        values: those of another network with these weights and masks, to be shared.
    """

    def __init__(self, weights: list[Tensor], masks: list[Tensor] | None, values: Tensor | None = None):
        import torch

        full, masks = masks is None, masks or full_masks(weights)
        kinds = [CompressedLayer if not full and is_sparse(mask) else DenseLayer for mask in masks]
        kept = [kind.trainable(mask, mask) for kind, mask in zip(kinds, masks, strict=True)]
        self.kept = None if full or all(part.all() for part in kept) else torch.cat(kept)  # [c]; None for all
        if values is None:
            values = torch.cat([kind.trainable(W, mask) for kind, W, mask in zip(kinds, weights, masks, strict=True)])
        self.values, self._slopes, sizes = values, torch.zeros_like(values), [len(part) for part in kept]
        views = zip(values.split(sizes), self._slopes.split(sizes), strict=True)
        self.layers = [kind(mask, *view) for kind, mask, view in zip(kinds, masks, views, strict=True)]

    def weights(self) -> list[Tensor]:
        """The weights [out, in] of the layers, pruned ones zero."""
        return [layer.dense() for layer in self.layers]

    def differentiate(self, X: Tensor, Y: Tensor, total: int, loss: str) -> Tensor:
        """What a tile, X [d, b] and Y [k, b], adds to the gradient [c] of the mean loss over `total` samples.

        Pruned weights have slopes, too, where their layer is dense. The next call overwrites the result.
        """
        activations = [X]  # [units, b] before each layer
        with np.errstate(over="ignore", invalid="ignore"):  # whoever trains looks for what is not finite
            for layer in self.layers[:-1]:
                activations.append(layer.apply(activations[-1]).relu_())
            D = slope_of_loss(self.layers[-1].apply(activations[-1]), Y, total, loss)
            for layer, Z in zip(reversed(self.layers), reversed(activations), strict=True):
                layer.set_slopes(D, Z)
                if Z is not X:
                    D = where_open(layer.back(D), Z)
        return self._slopes


def where_open(D: Tensor, Z: Tensor) -> Tensor:
    """D [units, b], set to 0 in place where the activations Z [units, b] are 0: in one pass, and nothing is made."""
    import torch

    return torch.ops.aten.threshold_backward.grad_input(D, Z, 0, grad_input=D)


def slope_of_loss(P: Tensor, Y: Tensor, total: int, loss: str) -> Tensor:
    """The gradient [k, b] of the mean loss over `total` samples in predictions P [k, b], which it overwrites."""
    if loss == "squared":
        return P.sub_(Y).mul_(2 / (total * Y.shape[0]))
    if loss == "logistic":
        return log_odds(P).sigmoid().sub_(Y).mul_(ODDS / total)
    return P.softmax(0).sub_(Y).div_(total)


def log_odds(P: Tensor) -> Tensor:
    """Of the second class, for one output P [1, b]."""
    return (P - 0.5) * ODDS


def is_sparse(mask: Tensor) -> bool:
    """Whether a layer with this mask is held as a sparse matrix; torch needs MKL for their products on a CPU."""
    import torch

    return (mask.device.type == "cpu" and torch.backends.mkl.is_available()
            and int(mask.sum()) < SPARSE_DENSITY * mask.numel())


def multiply(A: Tensor, B: Tensor, out: Tensor) -> Tensor:
    """A B for a dense B, written into `out`."""
    import torch

    if A.layout == torch.sparse_csr:
        return torch.addmm(out, A, B, beta=0, out=out)
    if A.device.type != "cpu":
        return torch.mm(A, B, out=out)
    np.matmul(A.numpy(), B.numpy(), out=out.numpy())
    return out


class Room:
    """Memory for one matrix at a time, used again.

    Fresh memory costs page faults, more than a product with few inputs: a step of 5000 x 100 x 1000 x 10 took 29 ms
    with new matrices and 15 ms in such rooms (one core of an EPYC).
    """

    def __init__(self):
        self._largest, self._matrices = -1, {}  # a matrix may be empty

    def matrix(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """A matrix [rows, columns], uninitialised; the one before it is gone."""
        found = self._matrices.get((rows, columns))
        if found is None:
            if self._largest < rows * columns:  # there are as many shapes as kinds of tiles
                self._largest, self._flat, self._matrices = rows * columns, like.new_empty(rows * columns), {}
            found = self._matrices[rows, columns] = self._flat[: rows * columns].view(rows, columns)
        return found

    def product(self, A: Tensor, B: Tensor) -> Tensor:
        """A B for a dense B."""
        return multiply(A, B, self.matrix(A.shape[0], B.shape[1], B))


class DenseLayer:
    """A layer as a matrix W [out, in]; views of the network's values and slopes."""

    def __init__(self, mask: Tensor, values: Tensor, slopes: Tensor):
        self.W, self.slopes = values.view(mask.shape), slopes.view(mask.shape)
        self._applied, self._back, self._turned = Room(), Room(), Room()

    @staticmethod
    def trainable(W: Tensor, mask: Tensor) -> Tensor:
        """What of the weights is trained: all, and the slopes are masked."""
        return W.flatten()

    def apply(self, Z: Tensor) -> Tensor:
        """W Z [out, b] for Z [in, b]; the next call overwrites it."""
        return self._applied.product(self.W, Z)

    def back(self, D: Tensor) -> Tensor:
        """W' D [in, b] for D [out, b]; the next call overwrites it."""
        import torch

        if D.shape[0] == 1:
            return torch.mul(self.W.T, D, out=self._back.matrix(self.W.shape[1], D.shape[1], D))
        return self._back.product(self.W.T, D)

    def set_slopes(self, D: Tensor, Z: Tensor) -> None:
        """Set the slopes to D Z'.

        With few units D Z' is made as (Z D')': OpenBLAS takes 59 us rather than 110 for 20 x 784 x 256 with the kernel
        SkylakeX, and 89 rather than 85 with Haswell.
        """
        if D.shape[0] < Z.shape[0]:
            self.slopes.copy_(self._turned.product(Z, D.T).T)
        else:
            multiply(D, Z.T, self.slopes)

    def dense(self) -> Tensor:
        """W [out, in], a copy."""
        return self.W.clone()


class CompressedLayer:
    """A layer as a sparse matrix: its weights, row by row, are the network's values."""

    def __init__(self, mask: Tensor, values: Tensor, slopes: Tensor):
        import torch

        row, column = mask.nonzero(as_tuple=True)
        self.mask, self.values = mask, values
        self.W, self.slopes = (compressed(row, column, part, mask.shape) for part in (values, slopes))
        self._order = torch.sort(column, stable=True).indices  # of the weights, column by column
        self._turned = torch.empty_like(values)
        self.WT = compressed(column[self._order], row[self._order], self._turned, mask.shape[::-1])
        self._applied, self._back = Room(), Room()

    @staticmethod
    def trainable(W: Tensor, mask: Tensor) -> Tensor:
        """What of the weights is trained: those of the mask."""
        return W[mask]

    def apply(self, Z: Tensor) -> Tensor:
        """W Z [out, b] for Z [in, b]; the next call overwrites it."""
        return self._applied.product(self.W, Z)

    def back(self, D: Tensor) -> Tensor:
        """W' D [in, b] for D [out, b]; the next call overwrites it."""
        import torch

        torch.index_select(self.values, 0, self._order, out=self._turned)
        return self._back.product(self.WT, D)

    def set_slopes(self, D: Tensor, Z: Tensor) -> None:
        """Set the slopes to the entries of D Z' at the weights."""
        import torch

        torch.sparse.sampled_addmm(self.slopes, D, Z.T, beta=0, out=self.slopes)

    def dense(self) -> Tensor:
        """W [out, in]."""
        return self.values.new_zeros(self.mask.shape).masked_scatter(self.mask, self.values)


def compressed(row: Tensor, column: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """The sparse matrix of values [c] at ascending rows and columns [c]; it shares the values."""
    import torch

    starts = torch.searchsorted(row, torch.arange(shape[0] + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
        return torch.sparse_csr_tensor(starts, column, values, tuple(shape))
