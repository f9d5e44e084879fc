"""How close the code is to the floor: the matrix products that any exact method must do, timed in the same process.

    python -m benchmarks.speed [--repeats 5] [--quick]

Ours and the floor run in turn, with the same library, dtype and threads; the table has the medians and their ratio.
Peak memory has a benchmark of its own, memory.py.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

import aiht
import aiht_vector
import pruning
import training
from aiht_vector import RandomFill, VectorSensing
from benchmarks import memory, per_neuron
from models import SparseNet
from numerics.countsketch import CountSketch
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import Gates, RandomGates, WeightGates
from sweep import flags
from sweep.flags import Parser, run_main
from sweep.machine import processor_name, versions
from sweep.settings import make_settings, num_cores
from tasks import Problem, mlp_planted

PROG = "python -m benchmarks.speed"
DENSITY = 0.005  # of the sparse rounds of IMP
ADAM_STEPS = 3  # in a timed round
FULL = {"scalar": {"n": 50000, "d": 100, "m": 1000, "s": 200, "steps": 15},
        "vector": {"n": 5000, "d": 784, "m": 1000, "s": 1000, "k": 10},  # a mini-batch of mnist
        "pruning": {"n": 50000, "d": 100, "m": 1000},
        "memory": {"aiht": 100000, "pruning": 10000, "narrow": 1000}}
QUICK = {"scalar": {"n": 5000, "d": 100, "m": 200, "s": 50, "steps": 5},
         "vector": {"n": 500, "d": 784, "m": 100, "s": 100, "k": 10},
         "pruning": {"n": 5000, "d": 100, "m": 200},
         "memory": {"aiht": 2000, "pruning": 2000, "narrow": 1000}}


@dataclass(frozen=True)
class Row:
    """A line of a table: what is measured, what it is held against, and the target of their ratio, such as "<= 2"."""

    case: str
    ours: float
    floor: float
    target: str = ""

    def verdict(self) -> str:
        """The target and whether the ratio meets it; nothing where there is none."""
        if not self.target:
            return ""
        relation, bound = self.target.split()
        met = self.ratio <= float(bound) if relation == "<=" else self.ratio >= float(bound)
        return f"{self.target} {'met' if met else 'MISSED'}"

    @property
    def ratio(self) -> float:
        return self.ours / max(self.floor, 1e-9)


def table(rows: list[Row], unit: str) -> list[str]:
    """The lines of a table."""
    width = max(len(row.case) for row in rows)
    lines = [f"{'case':<{width}}  {'ours, ' + unit:>9} {'floor':>9} {'ratio':>7}  target"]
    for row in rows:
        line = f"{row.case:<{width}}  {row.ours:9.4f} {row.floor:9.4f} {row.ratio:7.2f}  {row.verdict()}"
        lines.append(line.rstrip())
    return lines


def seconds(function: Callable) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turn(repeats: int, *functions: Callable) -> list[float]:
    """Median seconds of each function, run in turn after one warm-up."""
    times = [[seconds(function) for function in functions] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def planted(n: int, d: int, m: int, s: int) -> Problem:
    """The planted problem of seed 0."""
    settings = make_settings(task="mlp_planted", mlist=[m], slist=[s], nmeasurements=n, input_dim=d)
    return mlp_planted(settings, m, s, seed=0)


# ---- AIHT with one output ----


def scalar_case(n: int, d: int, m: int, s: int, steps: int, repeats: int, work: Workspace) -> list[Row]:
    """AIHT on a planted network, full batch: a whole fit against its matrix products and its passes over A_S."""
    problem = planted(n, d, m, s)
    nets = [aiht.fit(problem.X, problem.Y, s, width=m, num_epochs=epochs, work=work) for epochs in range(1, steps)]
    active = [len(net.layers[0].neurons) for net in nets]  # neurons with weights after each step

    rng = np.random.default_rng(0)
    XT = problem.X.T
    W, r = rng.standard_normal((m, d), dtype=np.float32), rng.standard_normal(n, dtype=np.float32)
    Z, A_S = np.empty((m, n), dtype=np.float32), rng.standard_normal((s, n), dtype=np.float32)

    def fit() -> None:
        aiht.fit(problem.X, problem.Y, s, width=m, num_epochs=steps, work=work)

    def floor() -> None:
        with threadpool_limits(work.threads, user_api="blas"):
            for step in range(steps):
                count = m if step < 2 else active[step - 1]
                np.matmul(W[:count], XT, out=Z[:count])
                Z[:count] @ XT.T
                for _ in range(aiht.INNER_STEPS):
                    A_S @ r
                    W.ravel()[:s] @ A_S

    ours, bare = in_turn(repeats, fit, floor)
    plain, careful = (loop_seconds(problem, nets[-1], steps, work.threads, skip_empty) for skip_empty in (False, True))
    return [Row(f"AIHT, scalar: n {n}, d {d}, m {m}, s {s}, {steps} steps", ours, bare, "<= 2"),
            Row("  per-neuron loop / ours (steps timed and scaled up)", plain, ours, ">= 100"),
            Row("  per-neuron loop that skips empty neurons / ours", careful, ours)]


def loop_seconds(problem: Problem, net: SparseNet, steps: int, threads: int, skip_empty: bool) -> float:
    """Seconds of a fit with the per-neuron loop: each of its products is timed once, and counted.

    A step takes the gates, A w, A' r, A g_S and 10 inner steps, each with A w, A' r on the support and one trial.
    """
    [layer] = net.layers
    X, W = np.ascontiguousarray(problem.X), layer.w.toarray().reshape(layer.m, layer.d)
    neurons = np.flatnonzero(W.any(axis=1)) if skip_empty else np.arange(layer.m)
    gates = []
    with threadpool_limits(threads, user_api="blas"):
        gating = seconds(lambda: gates.extend(per_neuron.open_gates(X, W)))
        forward = seconds(lambda: per_neuron.apply(X, gates, W, neurons))
        backward = seconds(lambda: per_neuron.adjoint(X, gates, problem.Y, neurons))
        gradient = seconds(lambda: per_neuron.adjoint(X, gates, problem.Y, np.arange(layer.m)))
    return steps * (gating + 2 * forward + gradient + aiht.INNER_STEPS * (2 * forward + backward))


# ---- AIHT with k outputs ----


class VectorSteps:
    """Steps of AIHT on random data with one-hot targets, X [n, d] and Y [n, k], and the products they cannot avoid."""

    def __init__(self, n: int, d: int, m: int, s: int, k: int, work: Workspace):
        rng = np.random.default_rng(0)
        self.n, self.d, self.m, self.s, self.k, self.work = n, d, m, s, k, work
        self.XT = rng.standard_normal((d, n), dtype=np.float32)
        self.Y = np.eye(k, dtype=np.float32)[:, rng.integers(k, size=n)]
        self.sketch = CountSketch(m * (d + k), s, np.random.default_rng(1), np, work.map)
        self.W, self.V, self.R = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, d), (m, k), (k, n)))
        self.Z = np.empty((m, n), dtype=np.float32)

    def step(self, H: Gates, theta: SparseVector, fill: RandomFill | None = None) -> SparseVector:
        A = VectorSensing(self.XT, H, self.m, self.work)
        mu = aiht_vector.first_step_size(self.s, self.m, "cross_entropy")
        return aiht_vector.vector_step(A, self.Y, theta, self.s, mu, self.sketch, fill, "cross_entropy")

    def first_step(self) -> SparseVector:
        """A start-up step: all neurons have random gates and random weights."""
        fill = RandomFill(0, 0, self.m, self.d, self.k, self.d)
        return self.step(RandomGates(0, 0, self.m, self.d), SparseVector.zeros(self.m * (self.d + self.k)), fill)

    def gates(self, theta: SparseVector) -> WeightGates:
        """The gates that belong to the weights."""
        return WeightGates(aiht_vector.split(theta, self.d, self.k)[0], self.d)

    def floor(self, count: int, gates_apart: bool) -> None:
        """The products of a step with `count` neurons, whose gates are or are not those of their own weights."""
        W, V, XT, Z = self.W[:count], self.V[:count], self.XT, self.Z[:count]
        with threadpool_limits(self.work.threads, user_api="blas"):
            if gates_apart:
                np.matmul(W, XT, out=Z)  # H X'
            np.matmul(W, XT, out=Z)  # W X'
            V.T @ Z  # the prediction
            Z @ self.R.T  # gradient in V
            np.matmul(V, self.R, out=Z)  # V R
            Z @ XT.T  # gradient in W


def vector_case(n: int, d: int, m: int, s: int, k: int, repeats: int, work: Workspace) -> list[Row]:
    """AIHT with k outputs: a start-up step on all neurons, a later step, and the count sketch in it."""
    steps = VectorSteps(n, d, m, s, k, work)
    theta = steps.first_step()
    for _ in range(10):
        theta = steps.step(steps.gates(theta), theta)
    H = steps.gates(theta)
    place = (H.neurons[:, None] * (d + k) + np.arange(d + k)).ravel()
    delta = np.random.default_rng(2).standard_normal(len(place))

    def later_step() -> None:
        steps.step(H, theta)

    def sketching() -> None:
        steps.sketch.add(place, delta)
        steps.sketch.estimate(place)

    name, live = f"AIHT, vector: batch {n}, d {d}, m {m}, s {s}, k {k}", len(H.neurons)
    first, first_floor = in_turn(repeats, steps.first_step, lambda: steps.floor(m, gates_apart=True))
    later, later_floor = in_turn(repeats, later_step, lambda: steps.floor(live, gates_apart=False))
    sketch, whole = in_turn(repeats, sketching, later_step)
    return [Row(f"{name}: a first step, all neurons", first, first_floor, "<= 2"),
            Row(f"{name}: a later step, {live} neurons", later, later_floor, "<= 3"),
            Row("  of a later step, the sketch", sketch, whole, "<= 0.25")]


# ---- IMP, and memory ----


def pruning_case(n: int, d: int, m: int, repeats: int, threads: int) -> list[Row]:
    """IMP on a planted network, full batch: an Adam step against its products; sparse rounds against a dense one."""
    import torch

    torch.set_num_threads(threads)
    problem = planted(n, d, m, 200)
    X, Y = torch.tensor(problem.X), torch.tensor(problem.Y)[:, None]
    weights = pruning.mlp_weights((d, m, 1), 0)
    full = [torch.ones_like(W, dtype=torch.bool) for W in weights]
    generator = torch.Generator().manual_seed(0)
    sparse = [torch.rand(W.shape, generator=generator) < DENSITY for W in weights]
    spread = [sparse[0], sparse[0].any(1)[None]]  # the harder case: every neuron with a weight has an output weight
    rows_at_once = training.chunk_rows(weights, X)

    def trained(masks: list) -> Callable:
        return lambda: pruning.train_round(pruning.masked(weights, masks), masks, [(X, Y)], ADAM_STEPS, "squared")

    def products() -> None:
        for _ in range(ADAM_STEPS):
            for x in X.split(rows_at_once):
                Z = x @ weights[0].T
                Z @ weights[1].T
                Z.T @ x

    dense, bare = in_turn(repeats, trained(full), products)
    thin, wide, again = in_turn(repeats, *map(trained, (sparse, spread, full)))
    live = [int(pruning.live_units(masks)[1].sum()) for masks in (sparse, spread)]
    density = f"{100 * DENSITY:g} %"
    return [Row(f"IMP: n {n}, d {d}, m {m}: an Adam step", dense / ADAM_STEPS, bare / ADAM_STEPS, "<= 1.5"),
            Row(f"  a round at density {density}, {live[0]} live neurons / a dense one", thin, again, "<= 0.25"),
            Row(f"  the same {density} on {live[1]} live neurons / a dense one", wide, again, "<= 0.25")]


def memory_case(narrow: int, **widths: int) -> list[Row]:
    """Peak memory above the data of fits in processes of their own: a wide network of each method, and a narrow one."""
    rows = []
    for method, m in widths.items():
        wide, small = (memory.in_fresh_process(method=method, n=1000, d=784, m=width, s=1000) for width in (m, narrow))
        name = f"{method}: peak memory, n 1000, d 784, s 1000: m {m} / m {narrow}"
        rows.append(Row(name, wide, small, "<= 1.2" if method == "aiht" else ""))
    return rows


# ---- command line ----


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    add("--repeats", type=flags.positive, default=5, help="of which the median is taken (default: 5)")
    add("--threads", type=flags.positive, default=num_cores(), help="CPU threads (default: all cores)")
    add("--quick", action="store_true", help="small shapes, to see that it runs; the targets are for the full ones")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Time all cases and print their table."""
    shapes, found = QUICK if args.quick else FULL, versions(with_cupy=False)
    print(f"{processor_name()}, {args.threads} threads; Python {platform.python_version()}, NumPy {found['numpy']}, "
          f"torch {found['torch']}; medians of {args.repeats}, in turn")
    with Workspace(args.threads) as work:
        rows = [*scalar_case(**shapes["scalar"], repeats=args.repeats, work=work),
                *vector_case(**shapes["vector"], repeats=args.repeats, work=work)]
    rows += pruning_case(**shapes["pruning"], repeats=args.repeats, threads=args.threads)
    print(*table(rows, "s"), "", *table(memory_case(**shapes["memory"]), "MiB"), sep="\n")


def main(argv: list[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
