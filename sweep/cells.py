"""One cell of a sweep, or a few that are computed together: the data, the method, the score.

runner.py calls `run_job` in its own process or, through workers.py, in others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from beyond import recovery
from beyond.deep import recovery as deep_recovery
from fits import Callback, Details, Found
from instances import files
from instances.task import Problem, SignalProblem, Skipped
from models import SparseNet
from numerics.workspace import Workspace
from shell.program import UsageError
from sweep.history import History, Recorder
from sweep.methods import solve_cells, solve_signal, work_module
from sweep.settings import Settings
from sweep.table import DONE, FAILED, SKIPPED, Cell
from tasks import score, signal_score, support_error


@dataclass
class Result:
    """What became of a cell."""

    status: str
    score: float = np.nan
    details: Details = field(default_factory=dict)  # for the log
    net: SparseNet | None = None
    history: History | None = None


def read_data(settings: Settings) -> None:
    """Read and check the data set of the task, downloading it where it is missing."""
    if name := settings.task.dataset:
        try:
            files.fetch(name, settings.data_dir)
            settings.task.read(settings.data_dir)
        except files.DataError as error:
            raise UsageError(f"argument --data_dir: {error}") from None


def jobs(cells: list[Cell], settings: Settings) -> list[list[Cell]]:
    """The cells in groups that are computed together: one cell, or all s of one run."""
    together = settings.method.solve_list and not settings.task.depends_on_s
    groups: dict[tuple[int, int, int | None], list[Cell]] = {}
    for m, s, seed in cells:
        groups.setdefault((m, seed, None if together else s), []).append((m, s, seed))
    return list(groups.values())


def run_job(cells: list[Cell], settings: Settings, device: str, show: Callback | None = None) -> dict[Cell, Result]:
    """Compute cells that belong together: one width and seed. A cell that raises is recorded as failed.

    Args:
        device: "cpu" or "cuda:N".  show: called after each step of a fit.
    """
    started, looked = time.perf_counter(), 0.0
    m, _, seed = cells[0]
    slist = [s for _, s, _ in cells]
    results: dict[int, Result] = {}
    try:
        results = {s: Result(f"{SKIPPED}: {reason}") for s in slist if (reason := skips((m, s, seed), settings))}
        if left := [s for s in slist if s not in results]:
            fits, looked = fit_all(m, left, seed, settings, device, show)
            results |= fits
    except Skipped as reason:
        results |= {s: Result(f"{SKIPPED}: {reason}") for s in slist if s not in results}
    except Exception as error:  # whatever it is, the other cells go on
        results |= {s: failure(error) for s in slist if s not in results}
    seconds = (time.perf_counter() - started - looked) / len(cells)  # shared evenly by cells that are computed together
    for result in results.values():
        result.details["seconds"] = round(seconds, 4)
    return {cell: results[cell[1]] for cell in cells}


def skips(cell: Cell, settings: Settings) -> str | None:
    """Why a cell will be skipped, as far as that is known without its data; None if it will not."""
    m, s, seed = cell
    L = settings.grid.num_layers
    if settings.method.splits_budget and s < L:  # int(s / L) weights for each of L layers
        return f"{s} nonzeros leave none for each of {L} layers"
    return settings.task.skips(m, s, seed, num_layers=L)


def fit_all(m: int, slist: list[int], seed: int, settings: Settings, device: str,
            show: Callback | None) -> tuple[dict[int, Result], float]:
    """The results of one instance, and the seconds that their histories took.

    Raises Skipped where there is no instance, and whatever a method raises.
    """
    num_layers, method = settings.grid.num_layers, settings.method
    problem = settings.build(m, slist[0], seed)
    xp = work_module(method, device)
    with Workspace(settings.run.num_threads, settings.run.memory_budget, xp) as work:
        if isinstance(problem, SignalProblem):
            return {s: recover_signal(problem, m, s, settings, work, device) for s in slist}, 0.0
        recorder = Recorder(problem, seed, method.renumbers, show) if settings.run.save_history else None
        begin = recorder.begin if recorder else (lambda slist: show) if show else None
        fits = solve_cells(method, problem, m, slist, seed, settings.options, num_layers=num_layers, work=work,
                           device=device, begin=begin)
    results = {s: judged(problem, found) for s, found in fits.items()}
    if not recorder:
        return results, 0.0
    for s, found in fits.items():
        results[s].history = recorder.finished(s, found.net)
    return results, recorder.spent


def recover_signal(problem: SignalProblem, p: int, s: int, settings: Settings, work: Workspace, device: str) -> Result:
    """The result of a signal of length p."""
    w = solve_signal(settings.method, problem, p, s, settings.options, work, device)
    return Result(DONE, signal_score(problem, w), {"num_nonzero": len(w), "support_error": support_error(problem, w)})


def judged(problem: Problem, found: Found) -> Result:
    """The result of a fit: its score, and what it says and is worth beside the planted network if there is one."""
    net = found.net
    outputs = net.predict(problem.X_eval) if found.outputs is None else found.outputs
    value = score(problem, outputs)
    if np.isnan(value):
        raise FloatingPointError("the score is not a number")
    details: Details = {"num_nonzero": net.num_nonzero, **found.details}
    if problem.peak is not None:
        details.setdefault("energy_left", energy_left(problem, outputs))
    if problem.planted:
        measure = deep_recovery if len(problem.planted.layers) == 2 else recovery
        details |= measure.compare(net, problem.planted)
    if problem.clean is not None:
        details["clean_score"] = score(replace(problem, Y_eval=problem.clean), net.predict(problem.X_eval))
    return Result(DONE, value, details, net)


def energy_left(problem: Problem, outputs: np.ndarray) -> float:
    """|f(x) - y|^2 / |y|^2 over the samples that are scored; methods that know it of the fit say that."""
    y = problem.Y_eval.astype(np.float64)
    return float(np.sum((outputs - y) ** 2) / (np.sum(y**2) or 1.0))


def failure(error: BaseException) -> Result:
    """The result of a cell that raised; a MemoryError without a message is called by its name."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Result(f"{FAILED}: {text[:300]}")
