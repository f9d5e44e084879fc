"""Products W X' [b, n]: sparse ones where few weights are not zero, and their signs held as bits.

Each entry of a sparse product is summed in the order of the weights, so its bits depend on no tile, block or thread. A
dense product is made instead where that is faster: see `pays`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from numerics.arrays import Array, array_module, slices, to_device
from numerics.workspace import TILE_ENTRIES, Workspace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# At 12 shapes with 5 to 583 neurons, d 10 to 1500, n 784 to 50000, on one core (EPYC Zen 5): at a density of 0.1
# the sparse product took 0.12 to 1.1 times as long as the dense one, at 0.2 up to 2.4 times. With fewer than 2^20
# products, making the matrix costs more than it saves.
CPU_DENSITY, GPU_DENSITY = 0.1, 0.03  # those on a GPU are estimates from its bandwidths, not measured: there a matrix
FEWEST_PRODUCTS, GPU_FEWEST_PRODUCTS = 2**20, 2**33  # made on the host costs as much as a dense product of 0.2 ms


def pays(density: float, rows: int, shape: tuple[int, int], xp: ModuleType) -> bool:
    """Whether W [rows, d] with this share of nonzeros should be sparse in products with X' of `shape` [d, n]."""
    most, fewest = (CPU_DENSITY, FEWEST_PRODUCTS) if xp is np else (GPU_DENSITY, GPU_FEWEST_PRODUCTS)
    return density <= most and rows * shape[0] * shape[1] >= fewest


def sparse_matrix(W: np.ndarray, like: Array) -> csr_matrix:
    """W [b, d], on the host, as a sparse matrix where `like` lives; `@` multiplies it by arrays there."""
    xp = array_module(like)
    module = importlib.import_module("scipy.sparse" if xp is np else f"{xp.__name__}x.scipy.sparse")
    places, (rows, d) = np.flatnonzero(W), W.shape
    starts = np.searchsorted(places, np.arange(rows + 1) * d)
    parts = W.ravel()[places], (places % max(d, 1)).astype(np.int32), starts.astype(np.int32)
    return module.csr_matrix(tuple(to_device(part, like) for part in parts), shape=W.shape)


def each_product(W: Array | csr_matrix, XT: Array, use: Callable, work: Workspace) -> None:
    """Call use(rows, tile, W[rows] @ X'[:, tile]) for all blocks of W X' [b, n], on the threads.

    They are tiles of samples, whole bytes of bits; for a sparse matrix on the CPU blocks of rows with all samples,
    since a sparse product would copy a tile of X' first.
    """
    xp, b, n, everything = array_module(XT), W.shape[0], XT.shape[1], slice(None)
    if xp is not np or type(W) is type(XT):
        blocks = [(everything, tile) for tile in slices(n, -(-work.tiles(b, n, xp)[0].stop // 8) * 8)]
    else:
        blocks = [(rows, everything) for rows in slices(b, max(2 * TILE_ENTRIES // n, 1))]  # of some 2 MiB
    whole = len(blocks) == 1  # a slice of a sparse matrix is a copy

    def multiply(block):
        rows, tile = block
        use(rows, tile, W @ XT if whole else W[rows] @ XT[:, tile])

    work.map(multiply, blocks)


def times_transposed(G: Array, X: Array) -> Array:
    """G X' [b, d] for G [b, n], X [d, n]; with the longer side first 20 x 1500 and n = 3072 take 3.5 ms, not 4.9."""
    return (X @ G.T).T if len(X) > len(G) else G @ X.T


class Positive:
    """Where some product W X' is positive, held: [b, n] as bits on a CPU, as bool on a GPU (CuPy packs flat arrays)."""

    def __init__(self, b: int, n: int, xp: ModuleType):
        self.xp = xp
        self.held = xp.empty((b, n), dtype=bool) if xp is not np else np.empty((b, -(-n // 8)), np.uint8)

    def fill(self, first: int, W: Array | csr_matrix, XT: Array, work: Workspace) -> None:
        """Set the rows from `first` on to where W X' > 0."""
        held = self.held[first : first + W.shape[0]]

        def use(rows: slice, tile: slice, product: Array) -> None:
            if self.xp is np:
                held[rows, in_bytes(tile)] = np.packbits(product > 0, axis=1)
            else:
                self.xp.greater(product, 0, out=held[rows, tile])

        each_product(W, XT, use, work)

    def tile(self, rows: slice | Array, tile: slice) -> Array:
        """Some rows of a tile of samples, [., n_t] bool."""
        if self.xp is not np:
            return self.held[:, tile][rows]
        bits = np.unpackbits(self.held[rows, in_bytes(tile)], axis=1)
        return bits[:, tile.start % 8 :][:, : tile.stop - tile.start].view(bool)


def in_bytes(tile: slice) -> slice:
    """The bytes that hold a tile of bits."""
    return tile if tile == slice(None) else slice(tile.start // 8, -(-tile.stop // 8))
