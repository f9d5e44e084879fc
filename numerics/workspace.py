"""Threads and memory of the operators: tiles of samples, computed side by side, within a budget.

The tiles, not the BLAS, run in parallel, and partial sums are added in the order of the tiles. So the bits of a result
do not depend on the number of threads.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
from threadpoolctl import threadpool_limits

from numerics.arrays import DTYPE, Array, slices

TILE_ENTRIES = 2**18  # float32 entries of a tile, 1 MiB: at 256 x 1024 the ReLU costs a tenth of the products (Zen 5)
ONE_TILE_PRODUCTS = 2**24  # a product of so many takes 0.3 ms, four tiles of it 0.1 ms more on one thread
GPU_TILE_ENTRIES = 2**26  # 256 MiB: on a GPU a tile must outweigh the launch of its kernels
GPU_TILES = 8  # of the memory budget at least, so that a step, which has some three tiles at a time, keeps within it
GPU_SAMPLES = 1_048_560  # of a tile: cuSPARSE gives zeros beyond in CuPy 13.6 to 14.0 (cupy/cupy issue 9850)
BUDGET, GPU_BUDGET = 512, 2048  # MiB; at n = 50000, half of it holds 1342 columns of A, on a GPU 5368
GROUPS = 8  # runs of tiles that the threads share: fewer, larger tasks, and sums that do not depend on the threads


class Shared:
    """A setting of the process that several Python threads may want at once: the last to leave restores what was.

    Args:
        change: makes the setting, and returns the function that takes it back.
    """

    def __init__(self, change: Callable[[], Callable[[], object]]):
        self._change, self._lock, self._users = change, threading.Lock(), 0
        self._restore: Callable[[], object] = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._restore = self._change()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._restore()


ONE_BLAS_THREAD = Shared(lambda: threadpool_limits(1, user_api="blas").restore_original_limits)


class Workspace:
    """Threads and temporary memory that the operators may use; a context manager.

    Inside `with`, the BLAS of NumPy and that of SciPy run on one thread, and the tiles of samples on `threads` of them.

    Args:
        threads: number of CPU threads, at least 1.
        memory_budget: bound on what is held beside the data and the result, MiB, at least `MIN_BUDGET`; None for
            that of `default_budget`.
        xp: the array module. A GPU is used from one thread, whatever `threads` is: the others would be on GPU 0, and
            all share one stream.
    """

    MIN_BUDGET = 16

    def __init__(self, threads: int = 1, memory_budget: int | None = None, xp: ModuleType = np):
        memory_budget = default_budget(gpu=xp is not np) if memory_budget is None else memory_budget
        if threads < 1 or memory_budget < self.MIN_BUDGET:
            raise ValueError(f"threads {threads} must be >= 1, memory_budget {memory_budget} >= {self.MIN_BUDGET} MiB")
        self.threads, self.bytes = threads if xp is np else 1, memory_budget * 2**20
        self._pool: ThreadPoolExecutor | None = None
        self._spare: list[np.ndarray] = []

    def __enter__(self) -> Workspace:
        import scipy.linalg  # noqa: F401  (has a BLAS of its own, which can only be limited once it is loaded)
        import scipy.sparse  # noqa: F401  (before threads want it all at once)

        ONE_BLAS_THREAD.__enter__()
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        return self

    def __exit__(self, *_):
        if self._pool:
            self._pool.shutdown()
            self._pool = None
        self._spare.clear()
        ONE_BLAS_THREAD.__exit__()

    def map(self, function: Callable, items: Iterable) -> list:
        """[function(item) for item in items], on the threads."""
        return list(itertools.chain.from_iterable(self._groups(lambda group: list(map(function, group)), items)))

    def sum(self, function: Callable, items: Iterable) -> Array:
        """Sum of `function` over items, in float64, in an order that depends on the items alone."""

        def add(group):
            total = function(group[0]).astype(np.float64)
            for item in group[1:]:
                total += function(item)
            return total

        return functools.reduce(lambda a, b: a + b, self._groups(add, items))

    def _groups(self, function: Callable, items: Iterable) -> Iterator:
        """`function` of GROUPS runs of the items, on the threads."""
        items = list(items)
        groups = [items[part] for part in slices(len(items), -(-len(items) // GROUPS) or 1)]
        if self._pool is None or len(groups) < 2:
            return map(function, groups)
        numerics = np.geterr()  # of this thread; the others would warn where it does not

        def call(group):
            with np.errstate(**numerics):
                return function(group)

        return self._pool.map(call, groups)

    def tiles(self, rows: int, n: int, xp: ModuleType, depth: int | None = None) -> list[slice]:
        """The tiles of `sample_tiles`, on a GPU so small that the memory budget holds GPU_TILES of them."""
        return sample_tiles(rows, n, xp, depth, min(GPU_TILE_ENTRIES, self.bytes // (4 * GPU_TILES)))

    def borrow(self, size: int) -> np.ndarray:
        """Uninitialised DTYPE [size or more], for whoever gives it back or else keeps it.

        Fresh memory costs a page fault for every 4 KiB: as much as filling it.
        """
        fits = [place for place, array in enumerate(self._spare) if len(array) >= size]
        if fits:
            return self._spare.pop(fits[0])
        self._spare.clear()  # those there are all too small: they go before the new one is filled
        return np.empty(size, dtype=DTYPE)

    def give_back(self, array: np.ndarray) -> None:
        """The end of a loan: the next borrower overwrites it."""
        self._spare.append(array)


def default_budget(gpu: bool) -> int:
    """The memory budget that nobody has set, MiB."""
    return GPU_BUDGET if gpu else BUDGET


def sample_tiles(rows: int, n: int, xp: ModuleType, depth: int | None = None,
                 gpu_entries: int = GPU_TILE_ENTRIES) -> list[slice]:
    """Cut n samples into tiles for blocks of `rows` rows; on the CPU it depends on the shapes alone.

    With a `depth`, a product [rows, depth] x [depth, n] so small that threads gain nothing is one tile.
    """
    if xp is not np:
        length = min(max(gpu_entries // max(rows, 1), 256), GPU_SAMPLES)
    elif depth and rows * n <= TILE_ENTRIES and rows * n * depth <= ONE_TILE_PRODUCTS:
        length = n
    else:
        length = min(max(TILE_ENTRIES // max(rows, 1), 256), 8192)
        length = min(length, max(-(-n // 4), 192))  # small problems: four tiles still leave work for four threads
    return slices(n, length)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the BLAS of NumPy and SciPy in this block, as in the threads that it starts."""
    import scipy.linalg  # noqa: F401  (has a BLAS of its own, as above)
    import torch

    with ONE_TORCH_THREAD, ONE_BLAS_THREAD:
        torch.set_num_threads(1)  # of this Python thread, too, where another one has entered first
        yield


def _limit_torch() -> Callable[[], object]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


ONE_TORCH_THREAD = Shared(_limit_torch)
