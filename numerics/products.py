"""Products W X' with weights of which few are not zero, by the sparse matrices of SciPy or CuPy.

Each entry of such a product is summed in the order of the weights, so its bits depend on no tile, block or thread. An
array stays as it is where the dense product is faster: see `pays`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from numerics.arrays import Array, array_module, to_device
from numerics.workspace import GPU_TILE_ENTRIES, TILE_ENTRIES, Workspace, sample_tiles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# From 12 shapes with 5 to 583 neurons, d 10 to 1500, n 784 to 50000 on one core (EPYC Zen 5): at a density of 0.1 the
# sparse product took 0.12 to 1.1 times the dense one, at 0.2 up to 2.4; below 2^20 products, making the matrix costs more
DENSITY = {True: 0.1, False: 0.03}  # by whether on a CPU; on a GPU from the bandwidths of its memory, not measured
FEWEST_PRODUCTS = 2**20


def pays(density: float, rows: int, shape: tuple[int, int], xp: ModuleType) -> bool:
    """Whether W [rows, d] with this share of nonzeros should be sparse in products with X' of `shape` [d, n]."""
    return density <= DENSITY[xp is np] and rows * shape[0] * shape[1] >= FEWEST_PRODUCTS


def density(W: Array) -> float:
    """Share of the entries of an array that are not zero."""
    return int(array_module(W).count_nonzero(W)) / max(W.size, 1)


def sparse_matrix(W: np.ndarray, like: Array) -> csr_matrix:
    """W [b, d], on the host, as a sparse matrix where `like` lives; `@` multiplies it by arrays there."""
    xp = array_module(like)
    module = importlib.import_module("scipy.sparse" if xp is np else f"{xp.__name__}x.scipy.sparse")
    places, (rows, d) = np.flatnonzero(W), W.shape
    starts = np.searchsorted(places, np.arange(rows + 1) * d)
    parts = W.ravel()[places], (places % max(d, 1)).astype(np.int32), starts.astype(np.int32)
    return module.csr_matrix(tuple(to_device(part, like) for part in parts), shape=W.shape)


def fill_product(out: Array, W: Array | csr_matrix, XT: Array, finish: Callable, work: Workspace) -> None:
    """out [b, n] = finish(W X'), for an array W in tiles of samples, for a sparse matrix in blocks of rows.

    Blocks of rows take all samples: a sparse product would copy a tile of X' first.
    """
    xp, (b, n) = array_module(XT), out.shape

    def fill(block: slice) -> None:
        rows, tile = (slice(None), block) if type(W) is type(XT) else (block, slice(None))
        out[rows, tile] = finish(W[rows] @ XT[:, tile])

    work.map(fill, sample_tiles(b, n, xp) if type(W) is type(XT) else row_blocks(b, n, xp))


def row_blocks(rows: int, n: int, xp: ModuleType) -> list[slice]:
    """Cut the rows of a product [rows, n] into blocks of some 2 MiB."""
    length = max((2 * TILE_ENTRIES if xp is np else GPU_TILE_ENTRIES) // n, 1)
    return [slice(start, min(start + length, rows)) for start in range(0, rows, length)]


def times_transposed(G: Array, X: Array) -> Array:
    """G X' [b, d] for G [b, n] and X [d, n]: the BLAS is faster with the longer side first (20 x 1500: 3.5, not 5 ms)."""
    return (X @ G.T).T if len(X) > len(G) else G @ X.T
