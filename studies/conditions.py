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

import argparse
import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from beyond.recovery import NormalForm
from numerics.arrays import DTYPE, to_host
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from plotting import page
from runner import check_writable, read_data
from sensing import Columns, RandomGates, ReluSensing, WeightGates
from sweep import flags
from sweep.flags import Parser, UsageError, run_main
from sweep.logbook import replace_files
from sweep.machine import choose_device
from sweep.methods import on_device
from sweep.settings import Settings, make_settings
from tasks import INPUT_DISTS, MNIST_LIMITS, planted_inputs, planted_net

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROG = "python -m studies.conditions"
NLIST = (500, 1000, 2000, 5000, 10000, 20000, 50000)
MLIST = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SLIST = (5, 10, 20, 50, 100, 200, 500, 1000)
BASE = {"n": 50000, "m": 20, "s": 50}
GATES = ("random", "planted")

DENSE = 40  # columns up to which A_S' A_S is formed: s products, hardly more than the 20 Lanczos vectors of ARPACK take
TOLERANCE = 1e-6  # of the eigenvalues, relative to beta: what single-precision products allow


def extreme_eigenvalues(A_S: Columns, start: np.ndarray) -> tuple[float, float]:
    """Smallest and largest eigenvalue of A_S' A_S / n, each up to TOLERANCE times the largest.

    Args:
        A_S: columns of a sensing matrix (sensing.Columns), n x s.  start: first Lanczos vector [s].
    """
    n, s = A_S.shape

    def gram(x: np.ndarray) -> np.ndarray:
        return to_host(A_S.gram(A_S.xp.asarray(x))) / n

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


def study(gates: str, n: int, m: int, s: int, settings: Settings, supports: int, xp: ModuleType,
          work: Workspace) -> dict | None:
    """The row of the table for one point (n, m, s); None where a matrix has fewer than s columns.

    Args:
        gates: one of GATES.
        settings: of the planted task; its input_dist, input_dim, data_dir and seedlist are used.
        supports: number of random supports for each seed.
        xp: the array module of the device.
    """
    d, found, num_columns = settings.input_dim, [], []
    for seed in settings.seedlist:
        H = RandomGates(seed, 0, m, d) if gates == "random" else planted_gates(d, m, s, seed)
        num_columns.append(len(H.neurons) * d)
        if num_columns[-1] < s:
            return None
        XT = xp.asarray(planted_inputs(settings.input_dist, n, d, seed, settings.data_dir).T)
        A = ReluSensing(XT, H, len(H.neurons), work)
        for number in range(supports):
            rng = Stream.SUPPORTS.generator(seed, number)
            support = np.sort(rng.choice(num_columns[-1], s, replace=False))
            found.append(extreme_eigenvalues(A.columns(xp.asarray(support)), rng.standard_normal(s)))
    alphas, betas = np.array(found).T
    alpha, beta = max(alphas.min(), 0.0), betas.max()
    demand = 32 * (beta / alpha) ** 2 * s if alpha > TOLERANCE * beta else np.inf
    return {"gates": gates, "input_dist": settings.input_dist, "n": n, "d": d, "m": m, "s": s,
            "columns": min(num_columns), "supports": len(found), "alpha": alpha, "mean_alpha": alphas.mean(),
            "mean_beta": betas.mean(), "beta": beta, "demand": demand}


def points(nlist: list[int], mlist: list[int], slist: list[int]) -> list[dict[str, int]]:
    """The points {"n": n, "m": m, "s": s}: n, m and s vary in turn, the others are at BASE. Every point comes once."""
    lists = {"n": nlist, "m": mlist, "s": slist}
    varied = [BASE | {axis: value} for axis, values in lists.items() for value in values]
    return [dict(point) for point in dict.fromkeys(tuple(point.items()) for point in varied)]


def write_table(rows: list[dict], path: Path) -> None:
    """Write the rows as CSV, numbers with six digits. Raises OSError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                     for row in rows)
    replace_files({path: text.getvalue().encode()})


def draw(rows: list[dict]) -> Figure:
    """The eigenvalues, and below them the demand and the number of columns that there are, along n, m and s."""
    figure = page.new_figure(10.5, 5.6)
    axes = figure.subplots(2, 3, sharex="col", sharey="row")
    names = {"n": "samples n", "m": "hidden width m", "s": "nonzeros s"}
    for (axis, name), (upper, lower) in zip(names.items(), axes.T, strict=True):
        others = BASE.items() - {(axis, BASE[axis])}
        for gates, style, colour in zip(GATES, ("o-", "s--"), ("tab:blue", "tab:orange"), strict=True):
            line = sorted((row for row in rows if row["gates"] == gates and others <= row.items()),
                          key=lambda row: row[axis])
            x = [row[axis] for row in line]
            for value in ("beta", "alpha"):
                y = [max(row[value], TOLERANCE) for row in line]
                upper.loglog(x, y, style, color=colour, label=f"{value}, {gates} gates", markersize=4,
                             fillstyle="full" if value == "beta" else "none")
            lower.loglog(x, [row["demand"] for row in line], style, color=colour, markersize=4,
                         label=f"demand, {gates} gates")
            lower.loglog(x, [row["columns"] for row in line], ":", color=colour, label=f"columns, {gates} gates")
        lower.set_xlabel(name)
        upper.set_title(", ".join(f"{key} = {value}" for key, value in sorted(others)))
    axes[0, 0].set_ylabel("extreme eigenvalues\nof $A_S^T A_S / n$")
    axes[1, 0].set_ylabel(r"$32\,(\beta / \alpha)^2 s$")
    for ax in axes[:, 0]:
        ax.legend()
    return figure


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags; `settings` among them are those of the planted task. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    for axis, values in (("n", NLIST), ("m", MLIST), ("s", SLIST)):
        add(f"--{axis}list", type=flags.positive, nargs="+", default=values,
            help=f"values of {axis}, the others at {BASE}")
    add("--supports", type=flags.positive, default=5, help="random supports per seed (default: 5)")
    add("--seedlist", type=flags.seed, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    add("--input_dim", type=flags.positive, default=100, help="inputs d (default: 100)")
    add("--input_dist", default="normal", choices=INPUT_DISTS, help="distribution of the inputs (default: normal)")
    add("--data_dir", type=flags.folder,
        help="folder of MNIST, for --input_dist mnist (default: the variable MLP_IHT_DATA, then ./data)")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="where the products are computed (default: cpu)")
    add("--threads", type=flags.positive, default=2, help="CPU threads (default: 2)")
    add("--logs_dir", type=flags.folder, default="logs", help="the table is <logs_dir>/conditions/<input_dist>.csv")
    add("--overwrite", action="store_true", help="replace the table of an earlier run")
    add("--figures_dir", type=flags.folder, default="figures", help="for the figure (default: ./figures)")
    args = parser.parse_args(argv)
    most = MNIST_LIMITS["nmeasurements"]
    if args.input_dist == "mnist" and max(args.nlist) > most:  # make_settings checks the inputs
        raise UsageError(f"argument --nlist: {max(args.nlist)} is over the {most} of --input_dist mnist; use fewer")
    args.settings = make_settings(task="mlp_planted", mlist=args.mlist, slist=args.slist, seedlist=args.seedlist,
                                  input_dim=args.input_dim, input_dist=args.input_dist, data_dir=args.data_dir,
                                  device=args.device, threads=args.threads)
    return args


def run(args: argparse.Namespace) -> None:
    """Compute the table, keep it and draw it. Raises UsageError."""
    settings, rows = args.settings, []
    xp = on_device(choose_device(settings).name)
    read_data(settings)
    table = Path(args.logs_dir, "conditions", f"{settings.input_dist}.csv")
    check_writable(table.parent)
    if table.exists() and not args.overwrite:
        raise UsageError(f"argument --logs_dir: {table} is there already; choose another folder, or use --overwrite")
    page.make_folder(Path(args.figures_dir))
    with Workspace(settings.threads, xp=xp) as work:
        for point in points(args.nlist, args.mlist, args.slist):
            for gates in GATES:
                row = study(gates, **point, settings=settings, supports=args.supports, xp=xp, work=work)
                if row is None:
                    print(f"{gates:8} {point}: fewer than s columns")
                    continue
                rows.append(row)
                print("{gates:8} n {n:<6} m {m:<5} s {s:<5} alpha {alpha:.4f}  beta {beta:7.3f}  demand {demand:.3g} "
                      "of {columns} columns".format(**row), flush=True)
    if not rows:
        raise UsageError(f"argument --input_dim: with {settings.input_dim} no matrix has s columns; use more inputs")
    write_table(rows, table)
    name = "conditions" if settings.input_dist == "normal" else f"conditions_{settings.input_dist}"
    with page.style():
        print(*page.save(draw(rows), Path(args.figures_dir, name)), sep="\n")


def main(argv: list[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
