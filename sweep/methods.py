"""The methods: METHODS is the table that runner.py offers, the counterpart of TASKS in tasks.py.

A new method is a module with a function `solve` made by fits.solver, and an entry; see docs/extending.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

import aiht
import pruning
from beyond import creases, deep, dst, gmp, gnhtp, obs
from fits import Callback, Epochs, Found, Solver, in_units, restored, units_of
from instances.task import Problem, SignalProblem
from numerics.gpus import cupy_on, torch_on
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from options import Options, declarations
from sensing import GaussianSensing
from units import shifted

Begin = Callable[[Sequence[int]], Callback]  # the s that a fit serves -> its callback; called when the fit begins


@dataclass(frozen=True)
class Method:
    """An entry of the table.

    Args:
        title: its one name in figures, tables and pages.
        summary: a line for --help.
        solve: the fit; its options are flags, and what it needs decides on which tasks and depths it is offered.
        given: options that the entry sets and nobody else.
        solve_list: the same for all s of a list at once, where one run serves them.
        signal, SignalOptions: the fit of a sparse vector, function (A, y, s, ...) -> SparseVector, where there is one,
            and its options.
        library: what moves it to a GPU, "cupy" or "torch"; "" where nothing does. Methods of cupy keep to the
            memory budget.
        step: what its callback counts.  renumbers: whether its neurons have other numbers after a step.
        splits_budget: whether each of L hidden layers gets the budget int(s / L), so that s < L leaves nothing.
    """

    title: str
    summary: str
    solve: Solver
    given: Mapping[str, object] = field(default_factory=dict)
    solve_list: Callable[..., dict[int, Found]] | None = None
    signal: Callable[..., SparseVector] | None = None
    SignalOptions: type[Options] = Options
    library: str = "cupy"
    step: str = "step"
    renumbers: bool = False
    splits_budget: bool = True


METHODS = {
    "aiht": Method("AIHT", "accelerated iterative hard thresholding, the paper's solver", aiht.solve,
                   signal=aiht.recover, SignalOptions=Epochs),
    "pruning": Method("IMP", "iterative magnitude pruning, the paper's baseline", pruning.solve,
                      solve_list=pruning.solve_list, library="torch", step="round", splits_budget=False),
    "gnhtp": Method("GNHTP", "Gauss-Newton hard thresholding pursuit, beyond the paper", gnhtp.solve, renumbers=True),
    "creases": Method("crease pursuit", "crease pursuit, beyond the paper: planted networks with one hidden layer, "
                      "any signs and outputs", creases.solve, renumbers=True),
    "deep": Method("joint fit", "joint fit of two hidden layers, beyond the paper: planted networks", deep.solve,
                   library="", renumbers=True),
    "gmp": Method("GMP", "gradual magnitude pruning in one training", gmp.solve, library="torch", step="update",
                  splits_budget=False),
    "obs": Method("pruning by curvature", "pruning by curvature, beyond the paper: targets that no network made",
                  obs.solve, library="", step="cycle", renumbers=True, splits_budget=False),
    "set": Method("SET", "sparse evolutionary training, which moves weights to random places", dst.solve,
                  given={"grow": "random"}, library="torch", step="update", splits_budget=False),
    "rigl": Method("RigL", "the same, but to the places of the largest gradients", dst.solve,
                   given={"grow": "gradient"}, library="torch", step="update", splits_budget=False),
}


def solve_cells(method: Method, problem: Problem, m: int, slist: Sequence[int], seed: int, options: Options, *,
                num_layers: int, work: Workspace, device: str, begin: Begin | None = None) -> dict[int, Found]:
    """What a method finds for each s of a list.

    Args:
        options: the flags; what the problem and the entry say is added.  device: "cpu" or "cuda:N".
        begin: makes the callbacks of the fits; None for none.
    """
    xp = work_module(method, device)
    X, y = xp.asarray(problem.X), xp.asarray(problem.Y)
    known = {"loss": problem.loss, "device": device, "realizable": problem.planted is not None and num_layers == 1,
             "interpolate": problem.X_eval is problem.X, "labels": problem.peak is None}
    known |= method.given
    own = {name: value for name, value in known.items() if name in declarations(type(options))}
    shared: dict[str, Any] = {"width": m, "num_layers": num_layers, "seed": seed, "work": work,
                              "options": replace(options, **own)}
    if method.solve_list:
        units = units_of(X, y, shared["options"])
        X, y = units.divide(X, y)
        X_eval = X if problem.X_eval is problem.X else shifted(problem.X_eval, -units.inputs)
        found = method.solve_list(X, y, slist, X_eval=X_eval, callback=in_units(begin(slist), units) if begin else None,
                                  **shared)
        return {s: restored(each, units) for s, each in found.items()}
    return {s: method.solve(X, y, s, callback=begin([s]) if begin else None, **shared) for s in slist}


def solve_signal(method: Method, problem: SignalProblem, p: int, s: int, options: Options, work: Workspace,
                 device: str) -> SparseVector:
    """The signal of length p that a method finds."""
    assert method.signal is not None  # sweep/settings.py refuses the others
    xp = work_module(method, device)
    A = GaussianSensing(problem.seed, len(problem.y), p, work, xp)
    return method.signal(A, xp.asarray(problem.y), s, **vars(options))


def work_module(method: Method, device: str) -> ModuleType:
    """The array module of "cpu" or "cuda:N"; torch is prepared for its GPU."""
    if device == "cpu":
        return np
    gpu = int(device.partition(":")[2])
    if method.library == "cupy":
        return cupy_on(gpu)[0]
    torch_on(gpu)
    return np
