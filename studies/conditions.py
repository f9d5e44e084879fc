"""What the theory asks of the sensing matrix: extreme eigenvalues of A_S' A_S / n over random supports S.

    python -m studies.conditions

The guarantees for iterative hard thresholding hold when the budget of weights is at least 32 (beta / alpha)^2 s, where
alpha |x|^2 <= |A x|^2 / n <= beta |x|^2 for all x with that many nonzeros. Finding the extremes over all supports is
NP-hard. This study takes a few random supports of s columns each and finds their eigenvalues by the Lanczos method. The
true alpha is smaller than what it finds, the true beta is larger, and so the true demand is larger than the one shown:
other supports are worse, and the guarantee asks for supports of more than s columns.

The gates of A are `random`, as those that AIHT starts with, or those of the `planted` network, for which y = A w holds
exactly. A planted neuron without weights would give zero columns, and parallel ones the same columns twice, so each of
its different neurons (beyond/recovery.py) counts once. n, m and s vary in turn around a base point. Products are in
single precision: an alpha below 1e-6 beta cannot be told from 0.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from beyond.recovery import NormalForm
from instances.files import data_folder
from instances.planted import INPUT_DISTS, MNIST_LIMITS, planted_inputs, planted_net
from numerics.arrays import DTYPE
from numerics.columns import Columns
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from options import FOLDER, SIZE, SWITCH, ListOf, OptionError, one_of, option, optional
from plotting import page
from sensing import Gates, RandomGates, ReluSensing, WeightGates
from shell.command import Program
from shell.files import replace_files
from shell.program import UsageError
from studies.entries import Computed, Entry
from sweep.cells import read_data
from sweep.machine import choose_device
from sweep.methods import work_module
from sweep.settings import make_settings

BASE = {"n": 50000, "m": 20, "s": 50}
GATES = ("random", "planted")

DENSE = 40  # columns up to which A_S' A_S is formed: s products, hardly more than the 20 Lanczos vectors of ARPACK take
TOLERANCE = 1e-6  # of the eigenvalues, relative to beta: what single-precision products allow


@dataclass(frozen=True)
class Options(Computed):
    """What is computed: n, m and s vary in turn, the others are at BASE."""

    nlist: tuple[int, ...] = option((500, 1000, 2000, 5000, 10000, 20000, 50000), ListOf(SIZE), "samples n")
    mlist: tuple[int, ...] = option((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), ListOf(SIZE), "hidden widths m")
    slist: tuple[int, ...] = option((5, 10, 20, 50, 100, 200, 500, 1000), ListOf(SIZE), "columns s")
    supports: int = option(5, SIZE, "random supports per seed")
    input_dim: int = option(100, SIZE, "inputs d")
    input_dist: str = option("normal", one_of(INPUT_DISTS), "distribution of the inputs")
    data_dir: str | None = option(None, optional(FOLDER), "folder of MNIST, for --input_dist mnist (default: the "
                                  "variable MLP_IHT_DATA, then ./data)")
    device: str = option("cpu", one_of(("cpu", "cuda")), "where the products are computed")
    overwrite: bool = option(False, SWITCH, "replace the table of an earlier run")

    def check(self) -> None:
        most = MNIST_LIMITS["nmeasurements"]
        if self.input_dist == "mnist" and max(self.nlist) > most:
            raise OptionError("nlist", f"{max(self.nlist)} is over the {most} of --input_dist mnist; use fewer")

    def points(self) -> list[dict[str, int]]:
        """The points {"n": n, "m": m, "s": s}, every one once."""
        lists = {"n": self.nlist, "m": self.mlist, "s": self.slist}
        varied = [BASE | {axis: value} for axis, values in lists.items() for value in values]
        return [point for place, point in enumerate(varied) if point not in varied[:place]]


def extreme_eigenvalues(A_S: Columns, start: np.ndarray) -> tuple[float, float]:
    """Smallest and largest eigenvalue of A_S' A_S / n, each up to TOLERANCE times the largest.

    Args:
        A_S: columns of a sensing matrix (numerics/columns.py), n x s.  start: first Lanczos vector [s].
    """
    n, s = A_S.shape

    def gram(x: np.ndarray) -> np.ndarray:
        return A_S.gram(x) / n

    if s <= DENSE:
        values = np.linalg.eigvalsh([gram(e) for e in np.eye(s)])
        return float(values[0]), float(values[-1])
    beta = largest_eigenvalue(gram, start)
    return beta - largest_eigenvalue(lambda x: beta * x - gram(x), start), beta  # an alpha of 0 converges so, too


def largest_eigenvalue(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """The largest eigenvalue of a positive semidefinite matrix [s, s], given by its product with a vector [s]."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((len(start), len(start)), lambda x: product(x.ravel()), dtype=np.float64)
    [value] = eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(value)


def planted_gates(d: int, m: int, s: int, seed: int) -> WeightGates:
    """The gates of the planted network's different neurons."""
    W = NormalForm.of(planted_net(d, m, 1, 1, s, seed)).U.toarray().ravel().astype(DTYPE)
    places = np.flatnonzero(W)
    return WeightGates(SparseVector(places, W[places], W.size), d)


def study(gates: str, n: int, m: int, s: int, options: Options, xp: ModuleType, work: Workspace) -> Entry | None:
    """The row of the table for one point (n, m, s); None where a matrix has fewer than s columns.

    Args:
        gates: one of GATES.  xp: the array module of the device.
    """
    d, found, least = options.input_dim, [], m * options.input_dim
    for seed in options.seedlist:
        H: Gates = RandomGates(seed, 0, m, d) if gates == "random" else planted_gates(d, m, s, seed)
        num_columns = len(H.neurons) * d
        if num_columns < s:
            return None
        least = min(least, num_columns)
        X = planted_inputs(options.input_dist, n, d, seed, data_folder(options.data_dir, os.environ))
        A = ReluSensing(xp.asarray(X.T), H, len(H.neurons), work)
        for number in range(options.supports):
            rng = Stream.SUPPORTS.generator(seed, number)
            support = np.sort(rng.choice(num_columns, s, replace=False))
            found.append(extreme_eigenvalues(A.columns(support), rng.standard_normal(s)))
    alphas, betas = np.array(found).T
    alpha, beta = max(alphas.min(), 0.0), betas.max()
    demand = 32 * (beta / alpha) ** 2 * s if alpha > TOLERANCE * beta else np.inf
    return {"gates": gates, "input_dist": options.input_dist, "n": n, "d": d, "m": m, "s": s, "columns": least,
            "supports": len(found), "alpha": alpha, "mean_alpha": alphas.mean(), "mean_beta": betas.mean(),
            "beta": beta, "demand": demand}


def as_csv(rows: list[Entry]) -> bytes:
    """The rows as CSV, numbers with six digits; no value holds a comma."""
    lines = [list(rows[0]), *([f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()]
                              for row in rows)]
    return "".join(f"{','.join(line)}\n" for line in lines).encode()


def draw(rows: list[Entry]) -> page.Figure:
    """The eigenvalues, and below them the demand and the number of columns that there are, along n, m and s."""
    figure = page.new_figure(10.5, 5.6)
    axes = figure.subplots(2, 3, sharex="col", sharey="row")
    names = {"n": "samples n", "m": "hidden width m", "s": "nonzeros s"}
    for (axis, name), (upper, lower) in zip(names.items(), axes.T, strict=True):
        others = BASE.items() - {(axis, BASE[axis])}
        for gates, style, colour in zip(GATES, ("o-", "s--"), ("tab:blue", "tab:orange"), strict=True):
            line = sorted((row for row in rows if row["gates"] == gates and others <= row.items()),
                          key=lambda row: row[axis])
            for ax, value, marks, fill in ((upper, "beta", style, "full"), (upper, "alpha", style, "none"),
                                           (lower, "demand", style, "full"), (lower, "columns", ":", "full")):
                ax.loglog([row[axis] for row in line], [max(row[value], TOLERANCE) for row in line], marks,
                          color=colour, fillstyle=fill, label=f"{value}, {gates} gates")
        lower.set_xlabel(name)
        upper.set_title(", ".join(f"{key} = {value}" for key, value in sorted(others)))
    axes[0, 0].set_ylabel("extreme eigenvalues\nof $A_S^T A_S / n$")
    axes[1, 0].set_ylabel(r"$32\,(\beta / \alpha)^2 s$")
    for ax in axes[:, 0]:
        ax.legend()
    return figure


def run(options: Options) -> None:
    """Compute the table, keep it and draw it. Raises UsageError."""
    settings = make_settings(task="mlp_planted", mlist=options.mlist, slist=options.slist, input_dim=options.input_dim,
                             input_dist=options.input_dist, data_dir=options.data_dir, device=options.device)
    xp, rows = work_module(settings.method, choose_device(settings).name), []
    read_data(settings)
    folder, figures = options.folders("conditions")
    table = folder / f"{options.input_dist}.csv"
    if table.exists() and not options.overwrite:
        raise UsageError(f"argument --logs_dir: {table} is there already; choose another folder, or use --overwrite")
    with Workspace(options.threads, xp=xp) as work:
        for point, gates in itertools.product(options.points(), GATES):
            if row := study(gates, **point, options=options, xp=xp, work=work):
                rows.append(row)
                print("{gates:8} n {n:<6} m {m:<5} s {s:<5} alpha {alpha:.4f}  beta {beta:7.3f}  demand {demand:.3g} "
                      "of {columns} columns".format(**row), flush=True)
            else:
                print(f"{gates:8} {point}: fewer than s columns")
    if not rows:
        raise UsageError(f"argument --input_dim: with {options.input_dim} no matrix has s columns; use more inputs")
    replace_files({table: as_csv(rows)})
    name = "conditions" if options.input_dist == "normal" else f"conditions_{options.input_dist}"
    with page.style():
        print(*page.save(draw(rows), figures / name), sep="\n")


main = Program("python -m studies.conditions", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
