"""One cell of a sweep, or a few that are computed together: the data, the method, the score.

runner.py calls `run_job` in its own process or, through workers.py, in others.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from beyond import recovery
from models import SparseNet
from numerics.arrays import cupy_on
from numerics.workspace import Workspace
from sensing import GaussianSensing
from sweep.logbook import DONE, FAILED, SKIPPED
from tasks import TASKS, SignalProblem, Skipped, score, support_error


@dataclass
class Result:
    """What became of a cell."""

    status: str
    score: float = np.nan
    details: dict = field(default_factory=dict)  # for the sidecar
    net: SparseNet | None = None


def jobs(cells, args) -> list[list[tuple[int, int, int]]]:
    """The cells (m, s, seed) in groups that are computed together: one cell, or all s of one pruning run."""
    groups = {}
    for m, s, seed in cells:
        alone = args.method != "pruning" or TASKS[args.task].depends_on_s
        groups.setdefault((m, seed, s if alone else None), []).append((m, s, seed))
    return list(groups.values())


def run_job(cells, args, device: str) -> dict[tuple, Result]:
    """Compute cells that belong together: one width and seed. A cell that raises is recorded as failed.

    Args:
        args: the flags.  device: "cpu" or "cuda:N".
    """
    started = time.perf_counter()
    m, _, seed = cells[0]
    slist = [s for _, s, _ in cells if s >= args.num_layers]
    results = {s: Result(f"{SKIPPED}: {s} nonzeros leave none for each of {args.num_layers} layers")
               for _, s, _ in cells if s < args.num_layers}
    if slist:
        try:
            problem = TASKS[args.task].build(args, m, slist[0], seed)
            found = METHODS[args.method](problem, m, slist, seed, args, device)
            for result in found.values():
                if result.net and problem.planted:
                    result.details |= recovery.compare(result.net, problem.planted)
            results |= found
        except Skipped as reason:
            results |= {s: Result(f"{SKIPPED}: {reason}") for s in slist}
        except Exception as error:  # whatever it is, the other cells go on
            results |= {s: failure(error) for s in slist}
    seconds = (time.perf_counter() - started) / len(cells)  # shared evenly by cells that are computed together
    for result in results.values():
        if result.status == DONE and np.isnan(result.score):
            result.status = f"{FAILED}: the score is not a number"
        result.details["seconds"] = round(seconds, 4)
    return {cell: results[cell[1]] for cell in cells}


def failure(error: BaseException) -> Result:
    """The result of a cell that raised; a MemoryError that says nothing is told by its name."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Result(f"{FAILED}: {text[:300]}")


def run_aiht(problem, m, slist, seed, args, device) -> dict[int, Result]:
    """AIHT for a list of one s: {s: Result}."""
    xp = np if device == "cpu" else cupy_on(args.gpu)[0]
    with Workspace(args.threads, args.memory_budget) as work:
        return {s: fit_aiht(problem, m, s, seed, args, xp, work) for s in slist}


def fit_aiht(problem, m: int, s: int, seed: int, args, xp, work: Workspace) -> Result:
    """One fit, and its score."""
    import aiht

    if isinstance(problem, SignalProblem):
        A = GaussianSensing(seed, args.nmeasurements, m, work, xp)
        w = aiht.recover(A, xp.asarray(problem.y), s, args.num_epochs)
        details = {"num_nonzero": len(w), "support_error": support_error(problem, w)}
        return Result(DONE, score(problem, w), details)
    net = aiht.fit(xp.asarray(problem.X), xp.asarray(problem.Y), s, width=m, num_layers=args.num_layers,
                   num_epochs=args.num_epochs, batch_size=args.batch_size, convex=args.convex,
                   update_every=args.update_every, seed=seed, loss=problem.loss, work=work)
    return scored(problem, net, {"step_sizes": net.step_sizes} if net.step_sizes else {})


def scored(problem, net: SparseNet, details: dict) -> Result:
    """The result of a fit."""
    return Result(DONE, score(problem, net.predict(problem.X_eval)), {"num_nonzero": net.num_nonzero} | details, net)


def run_fit(fit: Callable, problem, m, slist, seed, args, device) -> dict[int, Result]:
    """A method of scalar output for a list of one s: {s: Result}.

    Args:
        fit: function (X, y, s, width, num_layers, num_epochs, seed, work) -> SparseNet; those after s by name.
    """
    xp = np if device == "cpu" else cupy_on(args.gpu)[0]
    X, y = xp.asarray(problem.X), xp.asarray(problem.Y)
    with Workspace(args.threads, args.memory_budget) as work:
        nets = {s: fit(X, y, s, width=m, num_layers=args.num_layers, num_epochs=args.num_epochs, seed=seed, work=work)
                for s in slist}
    return {s: scored(problem, net, {}) for s, net in nets.items()}


def run_gnhtp(problem, m, slist, seed, args, device) -> dict[int, Result]:
    """Gauss-Newton hard thresholding pursuit for a list of one s: {s: Result}."""
    from beyond.gnhtp import fit as gnhtp

    fit = functools.partial(gnhtp.fit, realizable=problem.planted is not None and args.num_layers == 1,
                            least_squares=args.least_squares)
    return run_fit(fit, problem, m, slist, seed, args, device)


def run_pruning(problem, m, slist, seed, args, device) -> dict[int, Result]:
    """Iterative magnitude pruning: {s: Result}."""
    import torch

    import pruning

    torch.set_num_threads(args.threads)
    fits = pruning.prune(problem.X, problem.Y, problem.X_eval, lambda outputs: score(problem, outputs), slist, seed,
                         width=m, num_layers=args.num_layers, num_epochs=args.num_epochs, batch_size=args.batch_size,
                         prune_iters=args.prune_iters, prune_score=args.prune_score,
                         finetune_epochs=args.finetune_epochs, loss=problem.loss, device=device)
    return {s: Result(DONE, fit.score, {"num_nonzero": fit.num_nonzero, "connected": fit.connected},
                      SparseNet.from_dense(fit.weights)) for s, fit in fits.items()}


METHODS = {"aiht": run_aiht, "pruning": run_pruning, "gnhtp": run_gnhtp}
