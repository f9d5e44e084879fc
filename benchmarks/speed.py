"""How close the code is to the floor: the matrix products that any exact method must do, timed in the same process.

    make bench        or        python benchmarks/bench.py [--repeats 5] [--quick]

Ours and the floor run in turn, with the same library, dtype and threads; the table has the medians and their ratio.
Peak memory has a benchmark of its own, memory.py.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import memory  # noqa: E402  (after the path is set)
import per_neuron  # noqa: E402

import aiht  # noqa: E402
import aiht_vector  # noqa: E402
import pruning  # noqa: E402
import runner  # noqa: E402
import tasks  # noqa: E402
from aiht_vector import RandomFill
from numerics.countsketch import CountSketch
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import RandomGates, ReluSensing, WeightGates


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turn(repeats: int, *functions) -> list[float]:
    """Median seconds of each function, run in turn after one warm-up."""
    times = [[seconds(function) for function in functions] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def planted(n: int, d: int, m: int, s: int) -> tasks.Problem:
    flags = f"--task mlp_planted --mlist {m} --slist {s} --nmeasurements {n} --input_dim {d}"
    return tasks.mlp_planted(runner.parse_arguments(flags.split()), m, s, seed=0)


def scalar_case(args, work) -> list[tuple]:
    """AIHT, planted, full batch: a whole fit against its products and passes over A_S."""
    n, d, m, s, steps = (50000, 100, 1000, 200, 15) if not args.quick else (5000, 100, 200, 50, 5)
    problem = planted(n, d, m, s)
    active = []  # neurons with weights after each step
    for epochs in range(1, steps):
        net = aiht.fit(problem.X, problem.Y, s, width=m, num_epochs=epochs, work=work)
        active.append(len(net.layers[0].neurons))

    rng = np.random.default_rng(0)
    XT = problem.X.T
    W, r = rng.standard_normal((m, d), dtype=np.float32), rng.standard_normal(n, dtype=np.float32)
    Z, A_S = np.empty((m, n), dtype=np.float32), rng.standard_normal((s, n), dtype=np.float32)

    def floor():
        with threadpool_limits(args.threads, user_api="blas"):
            for step in range(steps):
                count = m if step < 2 else active[step - 1]
                np.matmul(W[:count], XT, out=Z[:count])
                Z[:count] @ XT.T
                for _ in range(aiht.INNER_STEPS):
                    A_S @ r
                    W.ravel()[:s] @ A_S

    def fit():
        return aiht.fit(problem.X, problem.Y, s, width=m, num_epochs=steps, work=work)

    ours, bare = in_turn(args.repeats, fit, floor)
    plain, careful = (loop_seconds(problem, net, s, m, steps, args.threads, skip) for skip in (False, True))
    return [(f"AIHT, scalar: n {n}, d {d}, m {m}, s {s}, {steps} steps", ours, bare, "<= 2"),
            ("  per-neuron loop / ours (steps timed and scaled up)", plain, ours, ">= 100"),
            ("  per-neuron loop that skips empty neurons / ours", careful, ours, "none")]


def loop_seconds(problem, net, s: int, m: int, steps: int, threads: int, skip_empty: bool) -> float:
    """Seconds of a fit with the per-neuron loop: its products are timed once each and counted.

    A step takes the gates, A w, A' r, A g_S and 10 inner steps, each with A w, A' r on the support and one trial.
    """
    X, d = np.ascontiguousarray(problem.X), problem.X.shape[1]
    W = net.layers[0].w.toarray().reshape(m, d)
    neurons = np.flatnonzero(W.any(axis=1)) if skip_empty else np.arange(m)
    gates = []
    with threadpool_limits(threads, user_api="blas"):
        gating = seconds(lambda: gates.extend(per_neuron.open_gates(X, W)))
        forward = seconds(lambda: per_neuron.apply(X, gates, W, neurons))
        backward = seconds(lambda: per_neuron.adjoint(X, gates, problem.Y, neurons))
        gradient = seconds(lambda: per_neuron.adjoint(X, gates, problem.Y, np.arange(m)))
    return steps * (gating + 2 * forward + gradient + aiht.INNER_STEPS * (2 * forward + backward))


def vector_case(args, work) -> list[tuple]:
    """AIHT with 10 outputs at the shapes of mnist: a start-up step on all neurons, and a later step."""
    b, d, m, s, k = (5000, 784, 1000, 1000, 10) if not args.quick else (500, 784, 100, 100, 10)
    rng = np.random.default_rng(0)
    XT = rng.standard_normal((d, b), dtype=np.float32)
    Y = np.eye(k, dtype=np.float32)[:, rng.integers(k, size=b)]
    gates, fill = RandomGates(0, 0, m, d), RandomFill(0, 0, m, d, k, d)
    size = m * (d + k)
    state = {"theta": SparseVector.zeros(size)}
    sketch = CountSketch(size, s, np.random.default_rng(1), np, work.map)
    mu = aiht_vector.first_step_size(s, m, "cross_entropy")

    def step(H, theta, fill=None):
        A = ReluSensing(XT, H, m, work)
        return aiht_vector.vector_step(A, Y, theta, s, mu, sketch, fill, "cross_entropy")

    def first():
        state["theta"] = step(gates, SparseVector.zeros(size), fill)

    first()
    for _ in range(10):
        state["theta"] = step(WeightGates(aiht_vector.split(state["theta"], d, k)[0], d), state["theta"])
    theta = state["theta"]
    H = WeightGates(aiht_vector.split(theta, d, k)[0], d)
    live = len(H.neurons)

    W, V, R = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, d), (m, k), (k, b)))
    Z = np.empty((m, b), dtype=np.float32)

    def floor(count, gates_apart):
        with threadpool_limits(args.threads, user_api="blas"):
            if gates_apart:  # H X', where H is not W
                np.matmul(W[:count], XT, out=Z[:count])
            np.matmul(W[:count], XT, out=Z[:count])  # X W'
            V[:count].T @ Z[:count]  # the prediction
            Z[:count] @ R.T  # gradient in V
            np.matmul(V[:count], R, out=Z[:count])  # R V'
            Z[:count] @ XT.T  # gradient in W

    rows = []
    place = (H.neurons[:, None] * (d + k) + np.arange(d + k)).ravel()
    delta = rng.standard_normal(len(place))
    for name, ours, count, apart, target in (
        ("a first step, all neurons", first, m, True, "<= 2"),
        (f"a later step, {live} neurons", lambda: step(H, theta), live, False, "<= 3"),
    ):
        mine, bare = in_turn(args.repeats, ours, lambda count=count, apart=apart: floor(count, apart))
        rows.append((f"AIHT, vector: batch {b}, d {d}, m {m}, s {s}, k {k}: {name}", mine, bare, target))

    def sketching():
        sketch.add(place, delta)
        sketch.estimate(place)

    sketching, whole = in_turn(args.repeats, sketching, lambda: step(H, theta))
    rows.append(("  of a later step, the sketch", sketching, whole, "<= 0.25"))
    return rows


def pruning_case(args) -> list[tuple]:
    """IMP, planted, full batch: an Adam step against its products; a round at density 0.5 % against a dense one."""
    import torch

    n, d, m = (50000, 100, 1000) if not args.quick else (5000, 100, 200)
    torch.set_num_threads(args.threads)
    problem = planted(n, d, m, 200)
    X, Y = torch.tensor(problem.X), torch.tensor(problem.Y)[:, None]
    weights = pruning.mlp_weights((d, m, 1), 0)
    full = [torch.ones_like(W, dtype=torch.bool) for W in weights]
    generator = torch.Generator().manual_seed(0)
    sparse = [torch.rand(W.shape, generator=generator) < 0.005 for W in weights]
    spread = [sparse[0], sparse[0].any(1)[None]]  # the harder case: every neuron with a weight has an output weight
    def round_of(masks, epochs=3):
        return pruning.train_round(pruning.masked(weights, masks), masks, [(X, Y)], epochs, "squared")

    rows_at_once = pruning.chunk_rows(weights, X)

    def products(steps=3):
        for _ in range(steps):
            for x in X.split(rows_at_once):
                Z = x @ weights[0].T
                Z @ weights[1].T
                Z.T @ x

    dense, bare = in_turn(args.repeats, lambda: round_of(full), products)
    rounds = [lambda masks=masks: round_of(masks) for masks in (sparse, spread, full)]
    thin, wide, again = in_turn(args.repeats, *rounds)
    live = [int(pruning.live_units(masks)[1].sum()) for masks in (sparse, spread)]
    return [(f"IMP: n {n}, d {d}, m {m}: an Adam step", dense / 3, bare / 3, "<= 1.5"),
            (f"  a round at density 0.5 %, {live[0]} live neurons / a dense one", thin, again, "<= 0.25"),
            (f"  the same 0.5 % on {live[1]} live neurons / a dense one", wide, again, "<= 0.25")]


def memory_case(args) -> list[tuple]:
    """Peak memory above the data of fits in processes of their own: a wide network against one of m = 1000."""
    widths = (100000, 10000) if not args.quick else (2000, 2000)
    rows = []
    for method, m, target in (("aiht", widths[0], "<= 1.2"), ("pruning", widths[1], "none")):
        wide, narrow = (memory.in_fresh_process(method=method, n=1000, d=784, m=width, s=1000, budget=512)
                        for width in (m, 1000))
        rows.append((f"{method}: peak memory, n 1000, d 784, s 1000: m {m} / m 1000", wide, narrow, target))
    return rows


def show(rows, unit: str):
    """The table: what is measured, what it is held against, their ratio and its target."""
    width = max(len(row[0]) for row in rows)
    print(f"{'case':<{width}}  {'ours, ' + unit:>9} {'floor':>9} {'ratio':>7}  target")
    for name, ours, bare, target in rows:
        verdict, ratio = "", ours / max(bare, 1e-9)
        if target != "none":
            relation, bound = target.split()
            met = ratio <= float(bound) if relation == "<=" else ratio >= float(bound)
            verdict = "met" if met else "MISSED"
        print(f"{name:<{width}}  {ours:9.4f} {bare:9.4f} {ratio:7.2f}  {target} {verdict}".rstrip())


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    args = parser.parse_args(argv)
    import torch

    print(f"{runner.processor_name()}, {args.threads} threads; Python {platform.python_version()}, "
          f"NumPy {np.__version__}, torch {torch.__version__}; medians of {args.repeats}, in turn")
    with Workspace(args.threads) as work:
        rows = scalar_case(args, work) + vector_case(args, work)
    show(rows + pruning_case(args), "s")
    print()
    show(memory_case(args), "MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
