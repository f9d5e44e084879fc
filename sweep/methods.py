"""The methods: METHODS is the table that runner.py offers, the counterpart of TASKS in tasks.py.

A new method is a module with a function `fit`, and an entry; see `fitted_by`. Solvers are imported when they are run.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from models import Callback, SparseNet
from numerics.arrays import Array
from numerics.gpus import cupy_on, torch_on
from numerics.workspace import Workspace, one_thread
from sensing import GaussianSensing
from tasks import Problem, SignalProblem, score, support_error

if TYPE_CHECKING:
    from sweep.settings import Settings


Begin = Callable[[Sequence[int]], Callback]  # the s that a fit serves -> its callback; called when the fit begins


@dataclass(frozen=True)
class Fit:
    """What a method found for one s: its score, the network where there is one, and numbers for the log."""

    score: float
    net: SparseNet | None = None
    details: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """An entry of the table.

    Args:
        title: its name in figures and tables.
        summary: a line for --help.
        run: function (problem, m, slist, seed, settings, device, begin) -> {s: Fit}; `begin` is a Begin, or None.
        most_outputs: the largest number of outputs k that it can fit; None for any.
        depths: the numbers of hidden layers that it can fit; () for any.
        signs: whether one output may be a difference of neurons, sum_j +-relu(w_j . x), and not only a sum.
        unsuited: names of tasks that it cannot solve.  overdetermined: whether it needs more samples than inputs.
        settings: names of settings that were declared for other methods and have an effect on this one, too.
        defaults: of settings, where they are not those of the table of settings.
        library: what moves it to a GPU, "cupy" or "torch"; "" where nothing does.
        serves_list: whether one run serves all s of a list (on tasks whose data do not depend on s).
        step: what its callback counts.  renumbers: whether its neurons have other numbers after a step.
        step_seconds: function (n, d, m, s, epochs) -> about how long a step takes on one core of an AMD EPYC; how often
            --save_history looks depends on it. Rather too short, since not all cells of a size are the same.
        splits_budget: whether each of L hidden layers gets the budget int(s / L), so that s < L leaves nothing.
    """

    title: str
    summary: str
    run: Callable
    most_outputs: int | None = None
    depths: tuple[int, ...] = ()
    signs: bool = False
    unsuited: tuple[str, ...] = ()
    overdetermined: bool = False
    settings: tuple[str, ...] = ()
    defaults: dict = field(default_factory=dict)
    library: str = "cupy"
    serves_list: bool = False
    step: str = "step"
    renumbers: bool = False
    step_seconds: Callable[[int, int, int, int, int], float] = lambda n, d, m, s, epochs: 0.1
    splits_budget: bool = True


def scored(problem: Problem, net: SparseNet, **details: object) -> Fit:
    """The Fit of a network."""
    return Fit(score(problem, net.predict(problem.X_eval)), net, {"num_nonzero": net.num_nonzero} | details)


def on_device(device: str) -> ModuleType:
    """The array module of "cpu" or "cuda:N"."""
    return np if device == "cpu" else cupy_on(int(device.partition(":")[2]))[0]


def fitted_by(module: str, options: Callable = lambda problem, settings: {}) -> Callable:
    """The `run` of a method with a function fit(X, y, s, *, width, num_layers, num_epochs, seed, work, ...).

    It gives X [n, d] and y [n] or [n, k] on the device, and takes a SparseNet on the host.

    Args:
        module: its name, as in an import.
        options: function (problem, settings) -> what else `fit` takes, by name.
    """

    def fit_one(problem: Problem, X: Array, Y: Array, s: int, settings: Settings, **given: object) -> Fit:
        fit = importlib.import_module(module).fit
        if "callback" not in inspect.signature(fit).parameters:
            given.pop("callback", None)
        net = fit(X, Y, s, num_layers=settings.num_layers, num_epochs=settings.num_epochs, **given,
                  **options(problem, settings))
        return scored(problem, net, **({"step_sizes": net.step_sizes} if net.step_sizes else {}))

    return one_by_one(fit_one)


def one_by_one(fit_one: Callable[..., Fit]) -> Callable:
    """The `run` of a method that fits the s of a list one after the other.

    Args:
        fit_one: function (problem, X, Y, s, settings, *, width, seed, work) -> Fit, with X [n, d] and Y [n] or [n, k]
            on the device. It is given `callback`, too, where somebody wants to know of the steps.
    """

    def run(problem: Problem, m: int, slist: list[int], seed: int, settings: Settings, device: str,
            begin: Begin | None = None) -> dict[int, Fit]:
        xp, fits = on_device(device), {}
        with Workspace(settings.threads, settings.memory_budget, xp) as work:
            X, Y = xp.asarray(problem.X), xp.asarray(problem.Y)
            for s in slist:
                told = {"callback": begin([s])} if begin else {}
                fits[s] = fit_one(problem, X, Y, s, settings, width=m, seed=seed, work=work, **told)
        return fits

    return run


def aiht_options(problem: Problem, settings: Settings) -> dict:
    """What aiht.fit takes beside what every method takes."""
    return {"batch_size": settings.batch_size, "convex": settings.convex, "update_every": settings.update_every,
            "loss": problem.loss}


def run_aiht(problem: Problem | SignalProblem, m: int, slist: list[int], seed: int, settings: Settings,
             device: str, begin: Begin | None = None) -> dict[int, Fit]:
    """AIHT: a network, or the signal of gaussian_sparse."""
    if isinstance(problem, Problem):
        return fitted_by("aiht", aiht_options)(problem, m, slist, seed, settings, device, begin)
    return {s: recover_signal(problem, m, s, seed, settings, on_device(device)) for s in slist}


def recover_signal(problem: SignalProblem, p: int, s: int, seed: int, settings: Settings, xp: ModuleType) -> Fit:
    """AIHT without gates, on a signal of length p."""
    import aiht

    with Workspace(settings.threads, settings.memory_budget, xp) as work:
        A = GaussianSensing(seed, settings.nmeasurements, p, work, xp)
        w = aiht.recover(A, xp.asarray(problem.y), s, settings.num_epochs)
    return Fit(score(problem, w), None, {"num_nonzero": len(w), "support_error": support_error(problem, w)})


def gnhtp_options(problem: Problem, settings: Settings) -> dict:
    """What gnhtp's fit takes beside what every method takes."""
    return {"realizable": problem.planted is not None and settings.num_layers == 1,
            "least_squares": settings.least_squares}


@contextlib.contextmanager
def torch_prepared(device: str) -> Iterator[None]:
    """One thread for torch in this process, which may be a worker; and the precision of its GPU if it has one."""
    if device != "cpu":
        torch_on(int(device.partition(":")[2]))
    with one_thread():
        yield


def run_pruning(problem: Problem, m: int, slist: list[int], seed: int, settings: Settings,
                device: str, begin: Begin | None = None) -> dict[int, Fit]:
    """Iterative magnitude pruning."""
    import pruning

    with torch_prepared(device):
        fits = pruning.prune(problem.X, problem.Y, problem.X_eval, lambda outputs: score(problem, outputs), slist, seed,
                             width=m, num_layers=settings.num_layers, num_epochs=settings.num_epochs,
                             batch_size=settings.batch_size, prune_iters=settings.prune_iters,
                             prune_score=settings.prune_score, finetune_epochs=settings.finetune_epochs,
                             loss=problem.loss, device=device, threads=settings.threads,
                             callback=begin(slist) if begin else None)
    return {s: Fit(fit.score, SparseNet.from_dense(fit.weights),
                   {"num_nonzero": fit.num_nonzero, "connected": fit.connected, "steps": fit.steps})
            for s, fit in fits.items()}


def run_dst(grow: str) -> Callable:
    """The `run` of dynamic sparse training: SET where `grow` is "random", RigL where it is "gradient"."""

    def run(problem: Problem, m: int, slist: list[int], seed: int, settings: Settings, device: str,
            begin: Begin | None = None) -> dict[int, Fit]:
        from beyond import dst

        def fit_one(s: int) -> Fit:
            found = dst.train(problem.X, problem.Y, s, width=m, num_layers=settings.num_layers,
                              num_epochs=settings.num_epochs, batch_size=settings.batch_size, grow=grow,
                              mask_init=settings.mask_init, update_every=settings.update_every,
                              drop_fraction=settings.drop_fraction, loss=problem.loss, seed=seed, device=device,
                              callback=begin([s]) if begin else None)
            return scored(problem, SparseNet.from_dense(found.weights), connected=found.connected, steps=found.steps,
                          moved=found.moved)

        with torch_prepared(device):
            return {s: fit_one(s) for s in slist}

    return run


def fit_creases(problem: Problem, X: Array, Y: Array, s: int, settings: Settings, **given: object) -> Fit:
    """Crease pursuit, and what it says of its own answer."""
    from beyond import creases

    found = creases.recover(X, Y, s, num_epochs=settings.num_epochs, **given)
    return scored(problem, found.net, energy_left=found.residual, steps=found.steps)


def fit_deep(problem: Problem, X: Array, Y: Array, s: int, settings: Settings, **given: object) -> Fit:
    """Two hidden layers at once, and what the search says of its own answer."""
    from beyond import deep

    found = deep.solve(X, Y, s, num_layers=settings.num_layers, num_epochs=settings.num_epochs, **given)
    return scored(problem, found.net, energy_left=found.energy, exact=found.exact, determined=found.determined,
                  held_out=None if np.isnan(found.held_out) else found.held_out, steps=found.steps)


# RigL's paper updates the masks every 100 steps; SET's does so once an epoch.
DYNAMIC = {"library": "torch", "step": "update", "step_seconds": lambda *_: 0.01, "signs": True, "splits_budget": False,
           "defaults": {"update_every": 100}}

METHODS = {
    "aiht": Method("AIHT", "accelerated iterative hard thresholding, the paper's solver", run_aiht,
                   step_seconds=lambda n, d, m, s, epochs: 3e-4 + n * (d * (1 + m / 10) / 2.5 + 3 * s) / 1e9),
    "pruning": Method("IMP", "iterative magnitude pruning, the paper's baseline", run_pruning, library="torch",
                      signs=True, serves_list=True, step="round", splits_budget=False,
                      step_seconds=lambda n, d, m, s, epochs: 3e-11 * n * d * m * epochs),
    "gnhtp": Method("GNHTP", "Gauss-Newton hard thresholding pursuit, beyond the paper",
                    fitted_by("beyond.gnhtp.fit", gnhtp_options), most_outputs=1, defaults={"num_epochs": 108},
                    renumbers=True, step_seconds=lambda n, d, m, s, epochs: n * d / 1e8),
    "creases": Method("Creases", "crease pursuit, beyond the paper: one hidden layer, any signs and outputs",
                      one_by_one(fit_creases), depths=(1,), signs=True, overdetermined=True,
                      unsuited=("mnist", "inr_mnist", "inr_cifar10"), defaults={"num_epochs": 60}, renumbers=True,
                      step_seconds=lambda n, d, m, s, epochs: 0.03),
    "deep": Method("Joint", "two hidden layers at once, beyond the paper: planted networks", one_by_one(fit_deep),
                   most_outputs=1, depths=(2,), library="", defaults={"num_layers": 2, "num_epochs": 1000},
                   renumbers=True, unsuited=("binary_mnist", "mnist", "binary_cifar10", "inr_mnist", "inr_cifar10")),
    "set": Method("SET", "sparse evolutionary training, which moves weights to random places", run_dst("random"),
                  **DYNAMIC),
    "rigl": Method("RigL", "the same, to the places of the largest gradients", run_dst("gradient"), **DYNAMIC),
}
