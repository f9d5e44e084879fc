"""The training of a network under masks, for IMP: Adam, with gradients written out and few operations per step.

    trained = train(weights, masks, [(X, Y)], num_epochs=15, loss="squared")

A ReLU network without biases is a chain of products, so its gradients are a few lines; automatic differentiation would
record and replay them at every step. All trainable weights lie in one vector, which Adam updates at once. Samples are
held feature-major, in tiles [d, b], and a layer with few weights left is a sparse matrix.

On one CPU thread the dense products are those of NumPy's and SciPy's BLAS. The MKL of torch leaves half of the vector
units of an AMD processor idle: 1000 x 100 x 1048 takes 1.9 ms with it, and 0.85 ms with OpenBLAS (one core of an EPYC,
AVX-512); 1000 x 1000 x 1048 takes 19 and 8.5 ms.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Batches = list[tuple[Tensor, Tensor]]  # inputs [b, d] and targets [b, k] of each batch
    Tiles = list[tuple[Tensor, Tensor]]  # inputs [d, b] and targets [k, b] of each tile of a batch

LEARNING_RATE = 1e-3  # of Adam, as in the paper
MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # of Adam; the defaults of torch

# Hidden values held at once, per layer. On the CPU a tile stays in the cache: a full-batch step at n = 50000,
# d = 100, m = 1000 took 0.17 s on 2 cores, against 0.48 s in one piece. A GPU wants few, large pieces (0.5 GiB).
CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**27}

# A layer is sparse on the CPU below this density. There a weight costs 5 to 8 times the products that a dense one takes
# (5000 samples of 100 x 1000, 500 x 500 and 784 x 1000; MKL against OpenBLAS on one core of an AMD EPYC).
SPARSE_DENSITY = 1 / 8


def train(weights: list[Tensor], masks: list[Tensor], batches: Batches, num_epochs: int, loss: str) -> list[Tensor]:
    """Copies of masked weights [out, in] after num_epochs of Adam, all its moments zero at the start.

    Args:
        loss: "squared" (mean over all entries) or "cross_entropy" (Y one-hot).
    """
    network = Network(weights, masks)
    tiles = [cut(X, Y, chunk_rows(weights, X)) for X, Y in batches]
    adam = Adam(network.values)
    for _ in range(num_epochs):
        for batch in tiles:
            network.differentiate(batch, loss)
            adam.step(network.slopes)
    return network.weights()


def gradient(weights: list[Tensor], X: Tensor, Y: Tensor, loss: str) -> list[Tensor]:
    """The gradient [out, in] per layer of the mean loss over X [b, d] and Y [b, k], with respect to all weights."""
    network = Network(weights, [W.new_ones(W.shape, dtype=bool) for W in weights])
    network.differentiate(cut(X, Y, chunk_rows(weights, X)), loss)
    return [layer.slopes for layer in network.layers]


def chunk_rows(weights: list[Tensor], X: Tensor) -> int:
    """Rows of X to take at once, so that no layer holds more than CHUNK_VALUES values."""
    return max(1, CHUNK_VALUES[X.device.type] // max(len(W) for W in weights))


def cut(X: Tensor, Y: Tensor, rows: int) -> Tiles:
    """A batch in tiles of so many samples, feature-major."""
    return [(x.T.contiguous(), y.T.contiguous()) for x, y in zip(X.split(rows), Y.split(rows), strict=True)]


class Network:
    """A network in training: its layers, whose trainable weights lie one after the other in `values` [c].

    `slopes` [c] is the gradient of the loss that `differentiate` has found, in the same order.
    """

    def __init__(self, weights: list[Tensor], masks: list[Tensor]):
        import torch

        kinds = [SparseLayer if is_sparse(mask) else DenseLayer for mask in masks]
        parts = [kind.trainable(W, mask) for kind, W, mask in zip(kinds, weights, masks, strict=True)]
        self.values = torch.cat([part.flatten() for part in parts])
        self.slopes = torch.zeros_like(self.values)
        sizes = [part.numel() for part in parts]
        self.layers = [kind(mask, *views) for kind, mask, *views in
                       zip(kinds, masks, self.values.split(sizes), self.slopes.split(sizes), strict=True)]

    def weights(self) -> list[Tensor]:
        """The weights [out, in] of the layers, pruned ones zero."""
        return [layer.dense() for layer in self.layers]

    def differentiate(self, batch: Tiles, loss: str) -> None:
        """Set the slopes to the gradient of the mean loss over one batch."""
        self.slopes.zero_()
        for layer in self.layers:
            layer.refresh()
        total = sum(Y.shape[1] for _, Y in batch)
        for X, Y in batch:
            self._add_gradient(X, Y, total, loss)
        for layer in self.layers:
            layer.mask_slopes()

    def _add_gradient(self, X: Tensor, Y: Tensor, total: int, loss: str) -> None:
        activations = [X]  # [units, b] before each layer
        for layer in self.layers[:-1]:
            activations.append(layer.apply(activations[-1]).relu_())
        D = slope_of_loss(self.layers[-1].apply(activations[-1]), Y, total, loss)
        for layer, Z in zip(reversed(self.layers), reversed(activations), strict=True):
            layer.add_slopes(D, Z)
            if Z is not X:
                D = layer.back(D).mul_(Z.sign_())  # of an activation, which is 0 or positive: whether it is open


def slope_of_loss(P: Tensor, Y: Tensor, total: int, loss: str) -> Tensor:
    """The gradient [k, b] of the mean loss over `total` samples in predictions P [k, b], which it overwrites."""
    if loss == "squared":
        return P.sub_(Y).mul_(2 / (total * len(Y)))
    return P.softmax(0).sub_(Y).div_(total)


def is_sparse(mask: Tensor) -> bool:
    """Whether a layer with this mask is held as a sparse matrix; its shape, its count and the device decide.

    torch needs MKL for the products of sparse matrices on a CPU.
    """
    import torch

    return (mask.device.type == "cpu" and torch.backends.mkl.is_available()
            and int(mask.sum()) < SPARSE_DENSITY * mask.numel())


def on_one_thread(matrix: Tensor) -> bool:
    """Whether it is on the CPU, and torch computes on one thread.

    On several, the threads of another BLAS and those of torch would wait for each other, spinning: a small cell took
    6.5 s on two threads, and 0.35 s on one.
    """
    import torch

    return matrix.device.type == "cpu" and torch.get_num_threads() == 1


class Room:
    """Memory for one matrix at a time, used again.

    Fresh memory costs page faults, more than a product with few inputs: a step of 5000 x 100 x 1000 x 10 took 29 ms
    with new matrices and 15 ms in such rooms (one core of an EPYC).
    """

    def __init__(self):
        self._flat = None

    def matrix(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """A matrix [rows, columns], uninitialised; the one before it is gone."""
        if self._flat is None or len(self._flat) < rows * columns:
            self._flat = like.new_empty(rows * columns)
        return self._flat[: rows * columns].view(rows, columns)

    def product(self, A: Tensor, B: Tensor) -> Tensor:
        """A B for dense matrices."""
        import torch

        out = self.matrix(len(A), B.shape[1], B)
        if not on_one_thread(A):
            return torch.mm(A, B, out=out)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever trains looks for what is not finite
            np.matmul(A.numpy(), B.numpy(), out=out.numpy())
        return out

    def sparse_product(self, A: Tensor, B: Tensor) -> Tensor:
        """A B for a sparse A."""
        import torch

        out = self.matrix(A.shape[0], B.shape[1], B)
        return torch.addmm(out, A, B, beta=0, out=out)


class DenseLayer:
    """A layer as a matrix W [out, in]; views of the network's values and slopes."""

    def __init__(self, mask: Tensor, values: Tensor, slopes: Tensor):
        self.W, self.slopes = values.view(mask.shape), slopes.view(mask.shape)
        self.mask = None if mask.all() else mask
        self._applied, self._back = Room(), Room()

    @staticmethod
    def trainable(W: Tensor, mask: Tensor) -> Tensor:
        """What of the weights is trained: all, and the slopes are masked."""
        return W

    def refresh(self) -> None:
        """Nothing follows from the values."""

    def apply(self, Z: Tensor) -> Tensor:
        """W Z [out, b] for Z [in, b]; the next call overwrites it."""
        return self._applied.product(self.W, Z)

    def back(self, D: Tensor) -> Tensor:
        """W' D [in, b] for D [out, b]; the next call overwrites it."""
        import torch

        if len(D) == 1:
            return torch.mul(self.W.T, D, out=self._back.matrix(self.W.shape[1], D.shape[1], D))
        return self._back.product(self.W.T, D)

    def add_slopes(self, D: Tensor, Z: Tensor) -> None:
        """Add D Z' to the slopes."""
        if not on_one_thread(D):
            self.slopes.addmm_(D, Z.T)
            return
        from scipy.linalg.blas import sgemm

        Z, D, slopes = (matrix.numpy().T for matrix in (Z, D, self.slopes))  # columns in a row, as the BLAS has them
        sgemm(1, Z, D, beta=1, c=slopes, trans_a=True, overwrite_c=True)

    def mask_slopes(self) -> None:
        """A weight that never has a slope does not move under Adam: the pruned ones stay at zero."""
        if self.mask is not None:
            self.slopes.mul_(self.mask)

    def dense(self) -> Tensor:
        """W [out, in], a copy."""
        return self.W.clone()


class SparseLayer:
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

    def refresh(self) -> None:
        """Bring W' up to the values."""
        import torch

        torch.index_select(self.values, 0, self._order, out=self._turned)

    def apply(self, Z: Tensor) -> Tensor:
        """W Z [out, b] for Z [in, b]; the next call overwrites it."""
        return self._applied.sparse_product(self.W, Z)

    def back(self, D: Tensor) -> Tensor:
        """W' D [in, b] for D [out, b]; the next call overwrites it."""
        return self._back.sparse_product(self.WT, D)

    def add_slopes(self, D: Tensor, Z: Tensor) -> None:
        """Add the entries of D Z' at the weights to the slopes."""
        import torch

        torch.sparse.sampled_addmm(self.slopes, D, Z.T, out=self.slopes)

    def mask_slopes(self) -> None:
        """There are none outside the mask."""

    def dense(self) -> Tensor:
        """W [out, in]."""
        return self.values.new_zeros(self.mask.shape).masked_scatter(self.mask, self.values)


def compressed(row: Tensor, column: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """The sparse matrix of values [c] at ascending rows and columns [c]; it shares the values."""
    import torch

    starts = torch.searchsorted(row, torch.arange(shape[0] + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
        return torch.sparse_csr_tensor(starts, column, values, tuple(shape))


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) on one vector of values [c], which it updates in place."""

    def __init__(self, values: Tensor):
        self.values, self.steps = values, 0
        self.mean, self.square, self._root = (values.new_zeros(len(values)) for _ in range(3))

    def step(self, slopes: Tensor) -> None:
        """One step; the two bias corrections are factors of the step and of epsilon."""
        import torch

        self.steps += 1
        unbiased = math.sqrt(1 - SQUARE_DECAY**self.steps)
        self.mean.lerp_(slopes, 1 - MEAN_DECAY)
        self.square.mul_(SQUARE_DECAY).addcmul_(slopes, slopes, value=1 - SQUARE_DECAY)
        torch.sqrt(self.square, out=self._root).add_(EPSILON * unbiased)
        self.values.addcdiv_(self.mean, self._root, value=-LEARNING_RATE * unbiased / (1 - MEAN_DECAY**self.steps))
