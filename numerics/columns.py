"""Some columns A_S of a sensing matrix, in tiles of samples, and their products: passes over them, or a Gram matrix.

What has the length of the samples lives where they do; what has the length of the support S, x and A_S' r, on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from numerics.arrays import DTYPE, Array, to_host
from numerics.workspace import Workspace

ONE_TILE = 2**19  # entries of A_S that two threads do not go through faster than one (784 x 500: 117, 45 us)
MOST_GRAM = 512  # columns whose Gram matrix comes to the host of a GPU: 2 MiB, read there in some 0.1 ms; an estimate


class Columns:
    """A_S: some columns of a sensing matrix, tile by tile of samples, with their products.

    At the end of `with A.columns(S) as A_S` the next columns get its memory. Without a `with` it stays as long as A_S.

    Args:
        fill: function (slice of samples, out [s, n_t]) that writes A_S' there into out.
        shape: (n, s).
        keep: hold the tiles (4 n s bytes), or make them again for each product. The first product makes them, one by
            one, while they are in the cache.
    """

    def __init__(self, fill: Callable, shape: tuple[int, int], xp: ModuleType, work: Workspace, keep: bool):
        self.shape, self.xp, self.work, self.keep = shape, xp, work, keep
        at_once = shape[0] <= 8192 and shape[0] * shape[1] <= ONE_TILE
        self.tiles = [slice(0, shape[0])] if at_once else work.tiles(shape[1], shape[0], xp)
        self._fill: Callable | None = fill
        self._unfilled = {tile.start for tile in self.tiles}
        if keep:
            size = shape[0] * shape[1]
            self._held = work.borrow(size) if xp is np else xp.empty(size, dtype=DTYPE)

    def __enter__(self) -> Columns:
        return self

    def __exit__(self, *_: object) -> None:
        if self.keep and self.xp is np:
            self.work.give_back(self._held)
            del self._held  # a product after the end is an error

    def _tile(self, tile: slice) -> Array:
        """A_S' of a tile [s, n_t]."""
        (_, s), length = self.shape, tile.stop - tile.start
        if self.keep:
            out = self._held[tile.start * s : tile.stop * s].reshape(s, length)
        else:
            out = self.xp.empty((s, length), dtype=DTYPE)
        if tile.start in self._unfilled:
            assert self._fill is not None
            self._fill(tile, out)
            if self.keep:
                self._unfilled.discard(tile.start)
                self._fill = self._fill if self._unfilled else None  # it may hold gate generators
        return out

    def _sum(self, product: Callable[[Array, slice], Array]) -> np.ndarray:
        """The sum of product(A_S' [s, n_t], tile) over all tiles, in a single pass over A_S; float64, on the host."""
        if len(self.tiles) == 1:  # a small problem, in which what it takes to be called counts
            return to_host(product(self._tile(self.tiles[0]), self.tiles[0]).astype(np.float64))
        return to_host(self.work.sum(lambda tile: product(self._tile(tile), tile), self.tiles))

    def _there(self, x: np.ndarray) -> Array:
        """x [s] in single precision, where the samples are."""
        return self.xp.asarray(x.astype(DTYPE))

    def apply(self, x: np.ndarray) -> Array:
        """A_S x: [s] -> [n]."""
        there = self._there(x)
        return self.xp.concatenate(self.work.map(lambda tile: there @ self._tile(tile), self.tiles))

    def adjoint(self, r: Array) -> np.ndarray:
        """A_S' r: [n] -> [s], float64."""
        return self._sum(lambda A_t, tile: A_t @ r[tile])

    def residual(self, x: np.ndarray, y: Array) -> tuple[Array, np.ndarray]:
        """r = A_S x - y [n] and A_S' r [s] float64, in a single pass over A_S."""
        r = self.xp.empty_like(y)
        return r, self._sum(self._residual_into(r, x, y))

    def _residual_into(self, r: Array, x: np.ndarray, y: Array) -> Callable[[Array, slice], Array]:
        """A function (A_S' of a tile, tile) that writes A_S x - y there into r and returns its part of A_S' r."""
        there = self._there(x)

        def product(A_t, tile):
            self.xp.subtract(there @ A_t, y[tile], out=r[tile])
            return A_t @ r[tile]

        return product

    def gradient(self, x: np.ndarray, y: Array) -> np.ndarray:
        """A_S' (A_S x - y) [s], float64."""
        return self.residual(x, y)[1]

    def gram(self, x: np.ndarray) -> np.ndarray:
        """A_S' (A_S x): [s] -> [s], float64, in a single pass over A_S."""
        there = self._there(x)
        return self._sum(lambda A_t, _: A_t @ (there @ A_t))

    def norms(self) -> np.ndarray:
        """Norms of the columns [s], float64."""
        return np.sqrt(self._sum(lambda A_t, _: self.xp.square(A_t).sum(axis=1)))

    def gram_matrix(self) -> np.ndarray:
        """A_S' A_S [s, s], float64 sums of single-precision products of tiles."""
        return self._sum(lambda A_t, _: A_t @ A_t.T)


class GramColumns(Columns):
    """The same on a GPU: G = A_S' A_S comes to the host once, and further products there need no pass over A_S.

    Twelve passes, each of them waited for, become one. Products of n s^2 outweigh their launches up to MOST_GRAM
    columns; beyond, G on the host would take longer than passes on the GPU.
    """

    _gram: np.ndarray | None = None
    _last: tuple[np.ndarray, np.ndarray] | None = None  # x of the last residual, and its gradient

    def residual(self, x: np.ndarray, y: Array) -> tuple[Array, np.ndarray]:
        """r = A_S x - y [n] and A_S' r [s] float64; G is made in the same pass, and comes with them."""
        r = self.xp.empty_like(y)
        part = self._residual_into(r, x, y)
        if self._gram is None:
            both = self._sum(lambda A_t, tile: self.xp.concatenate([part(A_t, tile)[:, None], A_t @ A_t.T], axis=1))
            gradient, self._gram = both[:, 0], both[:, 1:]
        else:
            gradient = self._sum(part)
        self._last = x, gradient
        return r, gradient

    def gradient(self, x: np.ndarray, y: Array) -> np.ndarray:
        """A_S' (A_S x - y) [s], float64; after a residual from its gradient and the way from there."""
        if self._last is None:
            return self.residual(x, y)[1]
        before, gradient = self._last
        return gradient + self.gram(x - before.astype(np.float64))

    def gram(self, x: np.ndarray) -> np.ndarray:
        """G x: [s] -> [s], float64."""
        return self.gram_matrix() @ x

    def gram_matrix(self) -> np.ndarray:
        """A_S' A_S [s, s], float64 sums of single-precision products of tiles."""
        if self._gram is None:
            self._gram = super().gram_matrix()
        return self._gram


def columns_of(fill: Callable, shape: tuple[int, int], xp: ModuleType, work: Workspace, keep: bool) -> Columns:
    """The kind of columns that is fast where their samples live; the arguments are those of Columns."""
    kind = Columns if xp is np or shape[1] > MOST_GRAM else GramColumns
    return kind(fill, shape, xp, work, keep)
