"""One cell of a sweep, or a few that are computed together: the data, the method, the score.

runner.py calls `run_job` in its own process or, through workers.py, in others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from beyond import recovery
from beyond.deep import recovery as deep_recovery
from models import Callback, SparseNet
from sweep.history import History, Recorder, stride
from sweep.logbook import DONE, FAILED, SKIPPED, Cell
from sweep.methods import METHODS
from sweep.settings import Settings
from tasks import TASKS, Skipped, score


@dataclass
class Result:
    """What became of a cell."""

    status: str
    score: float = np.nan
    details: dict = field(default_factory=dict)  # for the log
    net: SparseNet | None = None
    history: History | None = None


def jobs(cells: list[Cell], settings: Settings) -> list[list[Cell]]:
    """The cells in groups that are computed together: one cell, or all s of one run."""
    together = METHODS[settings.method].serves_list and not TASKS[settings.task].depends_on_s
    groups = {}
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
    results = starved(slist, settings)
    slist = [s for s in slist if s not in results]
    if slist:
        try:
            fits, looked = fit_all(m, slist, seed, settings, device, show)
            results |= fits
        except Skipped as reason:
            results |= {s: Result(f"{SKIPPED}: {reason}") for s in slist}
        except Exception as error:  # whatever it is, the other cells go on
            results |= {s: failure(error) for s in slist}
    seconds = (time.perf_counter() - started - looked) / len(cells)  # shared evenly by cells that are computed together
    for result in results.values():
        result.details["seconds"] = round(seconds, 4)
    return {cell: results[cell[1]] for cell in cells}


def starved(slist: list[int], settings: Settings) -> dict[int, Result]:
    """The cells whose budget int(s / L) leaves no weight for each of L layers, where the method splits it so."""
    L = settings.num_layers if METHODS[settings.method].splits_budget else 1
    return {s: Result(f"{SKIPPED}: {s} nonzeros leave none for each of {L} layers") for s in slist if s < L}


def fit_all(m: int, slist: list[int], seed: int, settings: Settings, device: str,
            show: Callback | None) -> tuple[dict[int, Result], float]:
    """The results of one instance, and the seconds that their histories took.

    Raises Skipped where there is no instance, and whatever a method raises.
    """
    problem, method = TASKS[settings.task].build(settings, m, slist[0], seed), METHODS[settings.method]
    recorder = None
    if settings.save_history:
        n, d = problem.X.shape
        step_seconds = method.step_seconds(settings.batch_size or n, d, m, min(slist), settings.num_epochs)
        recorder = Recorder(problem, seed, stride(step_seconds), method.renumbers, show)
    begin = recorder.begin if recorder else (lambda slist: show) if show else None
    fits, histories = method.run(problem, m, slist, seed, settings, device, begin), {}
    for s, fit in fits.items():
        if np.isnan(fit.score):
            raise FloatingPointError("the score is not a number")
        if fit.net and problem.planted:
            measure = deep_recovery if len(problem.planted.layers) == 2 else recovery
            fit.details.update(measure.compare(fit.net, problem.planted))
        if fit.net and problem.clean is not None:
            fit.details["clean_score"] = score(replace(problem, Y_eval=problem.clean), fit.net.predict(problem.X_eval))
        if recorder:
            histories[s] = recorder.finished(s, fit.net)
    results = {s: Result(DONE, fit.score, dict(fit.details), fit.net, histories.get(s)) for s, fit in fits.items()}
    return results, recorder.spent if recorder else 0.0


def failure(error: BaseException) -> Result:
    """The result of a cell that raised; a MemoryError that says nothing is told by its name."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Result(f"{FAILED}: {text[:300]}")
