"""What the theory asks of the sensing matrix: extreme eigenvalues of A_S' A_S / n over random supports S.

    python conditions.py

Guarantees for iterative hard thresholding hold with s~ >= 32 (beta / alpha)^2 s weights, where alpha |x|^2 <=
|A x|^2 / n <= beta |x|^2 for all sparse x. The extremes over all supports cannot be computed (NP-hard). Those over a
few random ones, found here by the Lanczos method, are inner bounds: the true alpha is smaller, the true beta larger and
the demand greater than what is shown; the more so as it is made on supports larger than s~, and S has only s columns.

The gates of A are `random`, as AIHT starts with, or those of the `planted` network, with which y = A w holds exactly.
Its neurons without weights have zero columns, and parallel ones the same columns, so supports are drawn among the
columns of its different neurons (recovery.py). n, m and s vary in turn around a base point. Products are in single
precision: an alpha below 1e-6 beta cannot be told from 0.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from pathlib import Path

import numpy as np

from beyond.recovery import NormalForm
from make_figures import write_figure
from numerics.arrays import DTYPE, cupy_on, to_host
from numerics.sparse import SparseVector
from numerics.streams import Stream
from numerics.workspace import Workspace
from runner import whole_number
from sensing import RandomGates, ReluSensing, WeightGates
from sweep.logbook import replace_files
from tasks import INPUT_DISTS, MNIST_LIMITS, data_folder, planted_inputs, planted_net

NLIST = (500, 1000, 2000, 5000, 10000, 20000, 50000)
MLIST = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SLIST = (5, 10, 20, 50, 100, 200, 500, 1000)
BASE = {"n": 50000, "m": 20, "s": 50}
GATES = ("random", "planted")

DENSE = 40  # columns up to which A_S' A_S is made whole: ARPACK's 20 Lanczos vectors would hardly be fewer products
TOLERANCE = 1e-6  # of the eigenvalues, relative to beta: what single-precision products allow


def extreme_eigenvalues(A_S, start: np.ndarray) -> tuple[float, float]:
    """Smallest and largest eigenvalue of A_S' A_S / n, each up to TOLERANCE times the largest.

    Args:
        A_S: columns of a sensing matrix (sensing.Columns), n x s.  start: first Lanczos vector [s].
    """
    n, s = A_S.shape

    def gram(x):
        return to_host(A_S.gram(A_S.xp.asarray(x))) / n

    if s <= DENSE:
        values = np.linalg.eigvalsh([gram(e) for e in np.eye(s)])
        return float(values[0]), float(values[-1])
    beta = largest_eigenvalue(gram, start)
    return beta - largest_eigenvalue(lambda x: beta * x - gram(x), start), beta  # an alpha of 0 converges so, too


def largest_eigenvalue(product, start: np.ndarray) -> float:
    """Of a positive semidefinite matrix given by its product with a vector."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((len(start), len(start)), lambda x: product(x.ravel()), dtype=np.float64)
    [value] = eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(value)


def planted_gates(d: int, m: int, s: int, seed: int) -> WeightGates:
    """The gates of the planted network's different neurons."""
    W = NormalForm.of(planted_net(d, m, 1, 1, s, seed)).U.toarray().ravel().astype(DTYPE)
    places = np.flatnonzero(W)
    return WeightGates(SparseVector(places, W[places], W.size), d)


def study(gates: str, n: int, m: int, s: int, args, xp, work: Workspace) -> dict | None:
    """The row of the table for one point; None where a matrix has fewer than s columns."""
    d, found, num_columns = args.input_dim, [], []
    for seed in args.seedlist:
        H = RandomGates(seed, 0, m, d) if gates == "random" else planted_gates(d, m, s, seed)
        num_columns.append(len(H.neurons) * d)
        if num_columns[-1] < s:
            return None
        XT = xp.asarray(planted_inputs(args.input_dist, n, d, seed, args.data_dir).T)
        A = ReluSensing(XT, H, len(H.neurons), work)
        for number in range(args.supports):
            rng = Stream.SUPPORTS.generator(seed, number)
            support = np.sort(rng.choice(num_columns[-1], s, replace=False))
            found.append(extreme_eigenvalues(A.columns(xp.asarray(support)), rng.standard_normal(s)))
    alphas, betas = np.array(found).T
    alpha, beta = max(alphas.min(), 0.0), betas.max()
    demand = 32 * (beta / alpha) ** 2 * s if alpha > TOLERANCE * beta else np.inf
    return {"gates": gates, "input_dist": args.input_dist, "n": n, "d": d, "m": m, "s": s,
            "columns": min(num_columns), "supports": len(found), "alpha": alpha, "mean_alpha": alphas.mean(),
            "mean_beta": betas.mean(), "beta": beta, "demand": demand}


def points(args) -> list[dict]:
    """n, m and s in turn, the others at the base point; every point once."""
    lists = {"n": args.nlist, "m": args.mlist, "s": args.slist}
    varied = [BASE | {axis: value} for axis, values in lists.items() for value in values]
    return [dict(point) for point in dict.fromkeys(tuple(point.items()) for point in varied)]


def write_table(rows: list[dict], path: Path):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                     for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files({path: text.getvalue().encode()})


def draw(rows: list[dict], path: Path):
    """Eigenvalues, and the demand on s~ against the number of columns there are, along each axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
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
        upper.set_title(", ".join(f"{key} = {value}" for key, value in sorted(others)), fontsize=10)
    axes[0, 0].set_ylabel("extreme eigenvalues\nof $A_S^T A_S / n$")
    axes[1, 0].set_ylabel(r"$32\,(\beta / \alpha)^2 s$")
    for ax in axes[:, 0]:
        ax.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(figure, path, bbox_inches=None)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conditions.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    add, positive = parser.add_argument, whole_number(1)
    for axis, values in (("n", NLIST), ("m", MLIST), ("s", SLIST)):
        add(f"--{axis}list", type=positive, nargs="+", default=values, help=f"values of {axis}, the others at {BASE}")
    add("--supports", type=positive, default=5, help="random supports per seed (default: 5)")
    add("--seedlist", type=whole_number(0), nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    add("--input_dim", type=positive, default=100, help="inputs d (default: 100)")
    add("--input_dist", default="normal", choices=INPUT_DISTS, help="distribution of the inputs (default: normal)")
    add("--data_dir", help="folder of MNIST, for --input_dist mnist (default: the variable MLP_IHT_DATA, then ./data)")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="where the products are computed (default: cpu)")
    add("--threads", type=positive, default=2, help="CPU threads (default: 2)")
    add("--logs_dir", type=Path, default=Path("logs"), help="the table is <logs_dir>/conditions/<input_dist>.csv")
    add("--figures_dir", type=Path, default=Path("figures"), help="for the figure (default: ./figures)")
    args = parser.parse_args(argv)
    args.data_dir = data_folder(args.data_dir, os.environ)
    limits = MNIST_LIMITS if args.input_dist == "mnist" else {}
    for name, value in {"nmeasurements": max(*args.nlist, BASE["n"]), "input_dim": args.input_dim}.items():
        if value > limits.get(name, value):
            flag = "nlist" if name == "nmeasurements" else name
            parser.error(f"argument --{flag}: {value} is over the {limits[name]} of --input_dist mnist; use fewer")
    return args


def main(argv=None) -> int:
    args = parse_arguments(argv)
    xp, rows = np if args.device == "cpu" else cupy_on(0)[0], []
    with Workspace(args.threads) as work:
        for point in points(args):
            for gates in GATES:
                row = study(gates, **point, args=args, xp=xp, work=work)
                if row is None:
                    print(f"{gates:8} {point}: fewer than s columns")
                    continue
                rows.append(row)
                print("{gates:8} n {n:<6} m {m:<5} s {s:<5} alpha {alpha:.4f}  beta {beta:7.3f}  demand {demand:.3g} "
                      "of {columns} columns".format(**row), flush=True)
    write_table(rows, args.logs_dir / "conditions" / f"{args.input_dist}.csv")
    name = "conditions" if args.input_dist == "normal" else f"conditions_{args.input_dist}"
    draw(rows, args.figures_dir / name)
    print(args.figures_dir / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
