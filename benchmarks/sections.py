"""The sections of benchmarks/gpu.py: each yields rows (what, what was found, whether it is right or None).

What they do on a GPU the tests do on the CPU, with the double of CuPy or with NumPy itself.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks import speed
from instances.task import Problem
from numerics.arrays import DTYPE, Array, to_device, to_host
from numerics.gpus import TF32_VARIABLES, GpuError, cupy_on, torch_on
from numerics.products import sparse_matrix
from numerics.sparse import to_choose_from
from numerics.workspace import Workspace
from sweep.cells import Result, judged, read_data, run_job
from sweep.machine import processor_name, versions
from sweep.methods import solve_cells, work_module
from sweep.settings import Settings, make_settings
from sweep.table import DONE

Found = tuple[str, str, "bool | None"]
ROOT = Path(__file__).resolve().parents[1]
GPU = "cuda:0"
EPOCHS = {"aiht": 10, "pruning": 2}  # of a cell whose numbers are compared
MORE = (  # cells of the other methods
    {"method": "gnhtp", "mlist": [5], "slist": [20]}, {"method": "creases", "mlist": [5], "slist": [20]},
    {"method": "set", "mlist": [20], "slist": [100], "num_epochs": 20, "batch_size": 1000},
    {"method": "rigl", "mlist": [20], "slist": [100], "num_epochs": 20, "batch_size": 1000})
PLANTED_DECIBEL, OTHER_DECIBEL, SHARE = 0.1, 1.0, 0.02  # by which a CPU and a GPU may differ; SHARE of an accuracy
SINGLE, REPEATS = 1e-5, 3  # largest error of a product in single precision (TF32: 3e-4)
PROCESSES = (1, 4, 16)


# ---- facts ----


def facts() -> Iterator[Found]:
    """What there is, and whether both libraries take the GPU."""
    yield "processor", processor_name(), None
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions(with_cupy=True).items()), None
    if line := nvidia_smi("name,driver_version,compute_mode,memory.total"):
        yield "name, driver, compute mode, memory", line, None
    asked = [f"{name}={os.environ[name]}" for name in TF32_VARIABLES if name in os.environ]
    yield "variables of TF32", ", ".join(asked) or "none", None
    for library, look in (("CuPy", lambda: cupy_on(0)[1]), ("torch", lambda: torch_on(0))):
        try:
            gpu = look()
            told = ", ".join(f"{name} {number}" for name, number in gpu.versions.items())
            yield library, f"takes {gpu.name}, {gpu.memory / 2**30:.0f} GiB; {told}", True
        except GpuError as error:
            yield library, str(error), False


def nvidia_smi(query: str) -> str:
    """What nvidia-smi tells of the first GPU; "" without it."""
    try:
        call = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "--id=0"]
        return subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


# ---- primitives ----


def primitives(xp: ModuleType | None = None) -> Iterator[Found]:
    """What the solvers are made of, against float64 on the host."""
    xp, rng = xp or cupy_on(0)[0], np.random.default_rng(0)
    A, B = (rng.standard_normal((700, 700), dtype=DTYPE) for _ in range(2))
    W, v = A * (rng.random(A.shape) < 0.01), A[0]
    there_A, there_B, there_v = map(xp.asarray, (A, B, v))
    for what, product, expected in (
            ("product of matrices", there_A @ there_B, A.astype(float) @ B),
            ("its transposed", (there_B.T @ there_A.T).T, A.astype(float) @ B),
            ("matrix and vector", there_A @ there_v, A.astype(float) @ v),
            ("sparse product", sparse_matrix(W, there_B) @ there_B, W.astype(float) @ B),
            ("vector and vector", there_v @ there_v, v.astype(float) @ v)):
        error = float(np.abs(to_host(product) - expected).max() / np.abs(expected).max())
        yield what, f"error {error:.1e}", error < SINGLE
    yield from primitives_of_arrays(xp, rng)


def primitives_of_arrays(xp: ModuleType, rng: np.random.Generator) -> Iterator[Found]:
    """Sorts, masks, additions at places, and what is not a number."""
    values = rng.integers(-50, 50, 5000).astype(DTYPE)
    places, chosen = to_choose_from(xp.asarray(values), 300)
    order = np.sort(np.argsort(-np.abs(values), kind="stable")[:300])
    whole = np.arange(5000)[places], np.asarray(chosen)
    right = np.array_equal(np.intersect1d(whole[0], order), order) and np.array_equal(values[whole[0]], whole[1])
    yield "the largest entries", "of equal ones the first", bool(right)
    mask = values > 10
    yield "mask", f"{mask.sum()} entries", bool((to_host(xp.asarray(values)[xp.asarray(mask)]) == values[mask]).all())
    at, counts = rng.integers(0, 40, 5000), rng.integers(0, 2**40, 5000).astype(np.uint64)
    expected, found = np.zeros(40, np.uint64), xp.zeros(40, np.uint64)
    np.add.at(expected, at, counts)
    xp.add.at(found, xp.asarray(at), xp.asarray(counts))
    yield "additions at places", "of whole numbers", bool((to_host(found) == expected).all())
    largest = to_host(xp.asarray(np.array([1.0, np.nan, 2.0])).max())
    yield "largest of what holds a NaN", str(largest), bool(np.isnan(largest))


# ---- commands ----


def cells_of_commands(epochs: dict[str, int] | None) -> Iterator[tuple[str, Settings, tuple[int, int, int]]]:
    """The cells of benchmarks/speed.py: words, settings and cell; with fewer epochs if they are given."""
    for command in speed.COMMANDS:
        for method in speed.ALL_METHODS:
            given = command.selection(method)
            most = command.reduced.get(method, given["num_epochs"])
            number = min(epochs[method], most) if epochs else most
            settings = make_settings(**given | {"mlist": [command.m], "slist": [command.s], "num_epochs": number,
                                                "threads": os.cpu_count() or 1})
            layers = f", {settings.grid.num_layers} layers" if settings.grid.num_layers > 1 else ""
            words = f"figure {command.figure}, {given['task']}{layers}, {settings.method.title}, {number} epochs"
            yield words, settings, (command.m, command.s, 0)


def commands(device: str = GPU) -> Iterator[Found]:
    """The cells of the commands and of the other methods, on the CPU and twice on the GPU."""
    for words, settings, cell in cells_of_commands(EPOCHS):
        yield words, *agreement(settings, cell, device)
    for given in MORE:
        settings = make_settings(task="mlp_planted", nmeasurements=5000, **given)
        cell = settings.grid.mlist[0], settings.grid.slist[0], 0
        yield f"mlp_planted, {settings.method.title}", *agreement(settings, cell, device)
    here, there = (eigenvalues(name.partition(":")[0]) for name in ("cpu", device))
    spread = float(np.abs(here / there - 1).max())
    yield "eigenvalues of studies/conditions.py", f"differ by {spread:.1e}", spread < 1e-3


def agreement(settings: Settings, cell: tuple[int, int, int], device: str) -> tuple[str, bool]:
    """The scores of a cell on the CPU and on the GPU, and whether they agree, and two runs of the GPU to the bit."""
    read_data(settings)
    host, first, second = (run_job([cell], settings, name)[cell] for name in ("cpu", device, device))
    if {result.status for result in (host, first, second)} != {DONE}:
        return "; ".join(result.status for result in (host, first, second)), False
    close, same = agree(settings, host, first), bits(first) == bits(second)
    return f"{host.score:.4g} and {first.score:.4g}{'' if same else ', two runs differ'}", close and same


def agree(settings: Settings, host: Result, there: Result) -> bool:
    """Whether two scores are of the same fit, as far as single precision decides on it."""
    scores = np.array([host.score, there.score])
    if settings.task.measure.unit != "dB":
        return bool(np.ptp(scores) <= SHARE)
    exact, planted = settings.task.exact, settings.task.is_planted
    return bool(exact is not None and (scores > exact).all()
                or np.ptp(scores) <= (PLANTED_DECIBEL if planted else OTHER_DECIBEL))


def bits(result: Result) -> list[bytes]:
    """The weights of a network, as bytes."""
    assert result.net is not None
    return [b"" if W is None else W.tobytes() for W in result.net.weights()]


def eigenvalues(device: str) -> np.ndarray:
    """Smallest and largest eigenvalues that studies/conditions.py finds at a small shape."""
    shape = "--nlist 2000 --mlist 10 --slist 40 --input_dim 20 --seedlist 0 --supports 1"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "studies.conditions", "--device", device, "--logs_dir", folder,
                        "--figures_dir", folder, *shape.split()], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        [table] = Path(folder).rglob("*.csv")
        with table.open(newline="") as file:
            return np.array([[float(row["alpha"]), float(row["beta"])] for row in csv.DictReader(file)])


# ---- floors ----


def floors(xp: ModuleType | None = None) -> Iterator[Found]:
    """What an operation costs at least; medians of many."""
    xp, rng = xp or cupy_on(0)[0], np.random.default_rng(0)
    small, mask = xp.zeros(1000, DTYPE), xp.asarray(np.arange(1000) % 2 == 0)
    page = np.zeros(1024, DTYPE)
    for what, operation, waits in (("launch", lambda: small + small, False), ("wait", lambda: float(small[0]), True),
                                   ("upload of 4 KiB", lambda: xp.asarray(page), False),
                                   ("index by a mask", lambda: small[mask], True)):
        yield what, f"{1e6 * per_call(xp, operation, 300, waits):.1f} us", None
    large = xp.zeros(2**25, DTYPE)
    yield "copy", f"{2 * large.nbytes / per_call(xp, lambda: large.copy(), 10) / 1e9:.0f} GB/s", None
    A = xp.asarray(rng.standard_normal((4096, 4096), dtype=DTYPE))
    yield "product 4096^3", f"{2 * 4096**3 / per_call(xp, lambda: A @ A, 3) / 1e12:.1f} TFLOP/s", None
    for s in (50, 1000):
        A_S, x = xp.zeros((s, 50000), DTYPE), xp.zeros(s, DTYPE)
        yield f"pass over {s} columns", f"{1e6 * per_call(xp, partial(gram, A_S, x), 20):.0f} us", None
    yield from sparse_floor(xp, rng)


def gram(A_S: Array, x: Array) -> Array:
    """A_S' (A_S x) [s]."""
    return A_S @ (x @ A_S)


def dense_product(W: np.ndarray, X: Array) -> Array:
    """W X for a W on the host."""
    return to_device(W, X) @ X


def sparse_product(W: np.ndarray, X: Array) -> Array:
    """The same by a sparse matrix, which is made first."""
    return sparse_matrix(W, X) @ X


def sparse_floor(xp: ModuleType, rng: np.random.Generator) -> Iterator[Found]:
    """A sparse product with its matrix, which decides on GPU_FEWEST_PRODUCTS, beside the dense one."""
    X = xp.asarray(rng.standard_normal((784, 50000), dtype=DTYPE))
    for b in (20, 500):
        W = np.zeros((b, 784), DTYPE)
        W.flat[:: 784 * b // 1000 or 1] = 1
        seconds = [per_call(xp, partial(product, W, X), 5) for product in (dense_product, sparse_product)]
        yield f"{b} x 784 x 50000, dense and sparse", " and ".join(f"{1e3 * each:.2f} ms" for each in seconds), None


def per_call(xp: ModuleType, operation: Callable[[], object], calls: int, waits: bool = False) -> float:
    """Seconds of a call: the median of three runs of some calls, the last of which is waited for."""
    runs = []
    for _ in range(4):
        synchronise(xp)
        start = time.perf_counter()
        for _ in range(calls):
            operation()
        if not waits:
            synchronise(xp)
        runs.append((time.perf_counter() - start) / calls)
    return statistics.median(runs[1:])


def synchronise(xp: ModuleType) -> None:
    """Wait for a GPU."""
    if hasattr(xp, "cuda"):
        xp.cuda.get_current_stream().synchronize()


# ---- speed ----


def timings(device: str = GPU) -> Iterator[Found]:
    """Seconds of the cells of benchmarks/speed.py, warm, the data and the prediction apart."""
    for words, settings, cell in cells_of_commands(None):
        read_data(settings)
        parts = np.median([timed_parts(settings, cell, device) for _ in range(REPEATS + 1)][1:], axis=0)
        yield words, "data {:.3f} s, fit {:.3f} s, prediction {:.3f} s".format(*parts), None


def timed_parts(settings: Settings, cell: tuple[int, int, int], device: str) -> list[float]:
    """Seconds of making the data, of the fit and of the score."""
    (m, s, seed), clock = cell, [time.perf_counter()]
    problem = settings.build(m, s, seed)
    assert isinstance(problem, Problem)
    clock.append(time.perf_counter())
    with Workspace(settings.run.num_threads, None, work_module(settings.method, device)) as work:
        found = solve_cells(settings.method, problem, m, [s], seed, settings.options, work=work, device=device,
                            num_layers=settings.grid.num_layers)
    clock.append(time.perf_counter())
    judged(problem, found[s])
    return np.diff([*clock, time.perf_counter()]).tolist()


# ---- tests and sharing ----


def tests(words: str = "cupy", among: str = "tests") -> Iterator[Found]:
    """The tests that run on CuPy itself."""
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", words, among], cwd=ROOT, capture_output=True,
                         text=True)
    yield f"pytest -k {words}", (run.stdout.strip() or run.stderr.strip()).rpartition("\n")[2], run.returncode == 0


def sharing(device: str = "cuda", numbers: tuple[int, ...] = PROCESSES) -> Iterator[Found]:
    """Plain processes side by side on one GPU: cells per minute, and its memory."""
    cells = "--task mlp_planted --mlist 20 --slist 50 --threads 1 --memory_budget 256 --seedlist 0 1 2 3"
    for number in numbers:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            call = [sys.executable, "runner.py", *cells.split(), "--device", device, "--logs_dir", folder]
            children = [subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env=os.environ | {"CUPY_GPU_MEMORY_LIMIT": f"{50 // number}%"})
                        for _ in range(number)]
            peak = most_memory(children)
            codes = [child.wait() for child in children]
        pace = 4 * number * 60 / (time.perf_counter() - start)
        yield f"{number} processes", f"{pace:.0f} cells per minute, start included; {peak} in use", not any(codes)


def most_memory(children: list[subprocess.Popen]) -> str:
    """The most memory of the GPU that is in use while some processes run; empty without nvidia-smi."""
    seen = [""]
    while any(child.poll() is None for child in children):
        seen.append(nvidia_smi("memory.used"))
        time.sleep(0.2)
    return max(seen, key=lambda text: int(text.partition(" ")[0] or 0)) or "memory unknown"


SECTIONS: dict[str, Callable[[], Iterator[Found]]] = {
    "facts": facts, "primitives": primitives, "commands": commands, "floors": floors, "speed": timings, "tests": tests,
    "sharing": sharing}