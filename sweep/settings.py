"""The flags of runner.py: those of the sweep are declared here, the others beside the tasks and methods that use them.

The parser (sweep/flags.py), the refusals of flags without effect, the names of logs and the titles of figures are read
from the declarations (options.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fits import Needs
from instances.files import data_folder
from instances.task import Problem, SignalProblem, Task
from numerics.workspace import BUDGET, GPU_BUDGET, Workspace
from options import (
    FOLDER,
    REQUIRED,
    SEED,
    SIZE,
    SWITCH,
    WORD,
    Declaration,
    ListOf,
    OptionError,
    Options,
    OptionTypeError,
    at_least,
    declarations,
    flags,
    made,
    one_of,
    option,
    optional,
    text,
    whole,
)
from shell.extensions import load
from sweep.methods import METHODS, Method
from tasks import TASKS


@dataclass(frozen=True)
class Grid(Options):
    """What is run."""

    task: str = option(REQUIRED, one_of(TASKS), "what is fitted")
    method: str = option("aiht", one_of(METHODS), "how")
    mlist: tuple[int, ...] = option(REQUIRED, ListOf(SIZE), "hidden widths m (gaussian_sparse: signal lengths p)")
    slist: tuple[int, ...] = option(REQUIRED, ListOf(SIZE), "numbers of nonzero weights")
    seedlist: tuple[int, ...] = option((0,), ListOf(SEED), "seeds")
    num_layers: int = option(Needs().usual_depth, SIZE, "hidden layers", words="hidden layers {}")
    expname: str = option("", WORD, "a word of your own in the log's name", words="{}")


@dataclass(frozen=True)
class Run(Options):
    """How and where it is run."""

    save_results: bool = option(False, SWITCH, "keep the table in the logs folder, after every cell")
    save_models: bool = option(False, SWITCH, "keep the network of every cell too, in a folder beside the table")
    save_history: bool = option(False, SWITCH, "keep how every fit went, step by step, in an .npz beside the table")
    overwrite: bool = option(False, SWITCH, "replace the log of an earlier run instead of continuing it")
    any_code: bool = option(False, SWITCH, "reuse finished cells that another version of the code computed")
    device: str = option("auto", one_of(("auto", "cpu", "cuda")), "auto: the GPU if there is one")
    gpu: int = option(0, whole(0, 1023), "which GPU")
    threads: int | None = option(None, optional(whole(1, 1024)), "CPU threads per cell (default: all cores, shared by "
                                 "--workers)")
    workers: int = option(0, whole(0, 1024), "worker processes; 0: compute in this process")
    scheduler: str | None = option(None, optional(text("an address; leave it out", lambda value: bool(value.strip()))),
                                   "compute on a running Dask cluster, e.g. tcp://127.0.0.1:8786", metavar="ADDRESS")
    memory_budget: int | None = option(None, optional(at_least(Workspace.MIN_BUDGET)), "limit on scratch memory, MiB "
                                       f"(default: {BUDGET}, on a GPU {GPU_BUDGET})", metavar="MIB")
    data_dir: str | None = option(None, optional(FOLDER), "folder of the data sets (default: the variable "
                                  "MLP_IHT_DATA, then ./data)")
    logs_dir: str = option("logs", FOLDER, "folder of the logs")
    dry_run: bool = option(False, SWITCH, "print settings, cells with an estimate of their time, and the log's path; "
                           "compute nothing")
    extend: tuple[str, ...] = option((), ListOf(FOLDER, allow_empty=True), "Python files that define more tasks or "
                                     "methods", metavar="FILE")

    @property
    def num_threads(self) -> int:
        """The threads of a cell; Settings say how many where nobody does."""
        return self.threads or 1

    def check(self) -> None:
        if self.workers and self.scheduler:
            raise OptionError("workers", f"{self.workers} has no effect with --scheduler; leave one out")
        if self.gpu and (self.workers or self.scheduler):
            raise OptionError("gpu", f"{self.gpu} has no effect with --workers or --scheduler; leave it out")
        if self.gpu and self.device == "cpu":
            raise OptionError("gpu", f"{self.gpu} has no effect with --device cpu; leave it out")
        for name in ("overwrite", "any_code", "save_models", "save_history"):
            if getattr(self, name) and not self.save_results:
                raise OptionError(name, "it has no effect without --save_results; add that")


@dataclass(frozen=True)
class Settings:
    """The checked flags of a run: of the grid, of how it is run, of its task and of its method."""

    grid: Grid
    run: Run
    task: Task
    options: Options

    @property
    def method(self) -> Method:
        """The entry of the method."""
        return METHODS[self.grid.method]

    @property
    def data_dir(self) -> Path:
        """The folder of the data sets."""
        return data_folder(self.run.data_dir, os.environ)

    def build(self, m: int, s: int, seed: int) -> Problem | SignalProblem:
        """The instance of a cell; raises Skipped."""
        return self.task.build(m, s, seed, num_layers=self.grid.num_layers, data_dir=self.data_dir)

    def values(self) -> dict[str, Any]:
        """The values of all flags, by name."""
        return {name: getattr(part, name) for part in (self.grid, self.task, self.options, self.run)
                for name in flags(type(part))}

    def __reduce__(self) -> tuple[Callable[..., Settings], tuple[dict[str, Any]]]:
        return made_again, (self.values(),)  # a process that unpickles it may not know the tasks that were added


def made_again(values: dict[str, Any]) -> Settings:
    """The Settings with these values, in a process that may have to load the files that add to the tables."""
    load(values["extend"])
    return make_settings(**values)


# ---- which options there are ----


def method_options(task: str, method: str) -> type[Options]:
    """The class of a method's options on a task."""
    return METHODS[method].solve.Options if TASKS[task].is_network else METHODS[method].SignalOptions


def sources(name: str) -> Iterator[tuple[str, Declaration]]:
    """All declarations of an option: (task or method that declares it, or "", declaration)."""
    owners: list[tuple[str, type[Options]]] = [("", Grid), ("", Run), *TASKS.items()]
    owners += [(own, method.solve.Options) for own, method in METHODS.items()]
    for owner, options in owners:
        if name in flags(options):
            yield owner, flags(options)[name]


def all_flags() -> dict[str, list[str]]:
    """The names of all flags, by the title of their group."""
    groups: dict[str, Iterable[type[Options]]] = {
        "what is run": [Grid], "the task": TASKS.values(),
        "the method": [method.solve.Options for method in METHODS.values()], "how and where": [Run]}
    return {title: list(dict.fromkeys(name for options in group for name in flags(options)))
            for title, group in groups.items()}


def flags_of(task: str, method: str) -> dict[str, Declaration]:
    """The flags that have an effect with a task and a method, by name."""
    useless = set() if TASKS[task].is_network else set(NETWORK_FLAGS)
    if METHODS[method].library != "cupy":
        useless.add("memory_budget")
    groups = flags(Grid), flags(TASKS[task]), flags(method_options(task, method)), flags(Run)
    return {name: declaration for group in groups for name, declaration in group.items() if name not in useless}


NETWORK_FLAGS = ("num_layers", "save_models", "save_history")  # of no use where a vector is fitted


# ---- from flags to Settings ----


def make_settings(**given: Any) -> Settings:
    """The Settings with these values, all others at their defaults; None stands for what is not given.

    Raises OptionError or OptionTypeError, in the words of the command line.
    """
    return settings_of({name: value for name, value in given.items() if value is not None},
                       lambda limit, name, value: limit.check(name, value))


def settings_of(given: Mapping[str, Any], read: Callable[[Any, str, Any], Any]) -> Settings:
    """The Settings with these values. Raises OptionError or OptionTypeError for what can be known to fail.

    Args:
        read: function (limit, name, value) -> the value within the limit; raises.
    """
    known = {name for names in all_flags().values() for name in names}
    if unknown := [name for name in given if name not in known]:
        raise OptionTypeError(unknown[0], f"there is no such flag; there are {', '.join(sorted(known))}")
    grid = made(Grid, read_all(Grid, given, read))
    if "num_layers" not in given:
        grid = replace(grid, num_layers=METHODS[grid.method].solve.needs.usual_depth)
    task = made(TASKS[grid.task], read_all(TASKS[grid.task], given, read))
    refuse_misfit(grid, task)
    refuse_without_effect(grid, given, read)
    own = method_options(grid.task, grid.method)
    options = made(own, read_all(own, given, read))
    options.check_data(task.samples, task.inputs, task.outputs)
    run = made(Run, read_all(Run, given, read))
    run = replace(run, threads=run.threads or max(1, num_cores() // max(run.workers, 1)),
                  data_dir=str(data_folder(run.data_dir, os.environ)))
    return Settings(grid, run, task, options)


def read_all(options: type[Options], given: Mapping[str, Any], read: Callable[[Any, str, Any], Any]) -> dict[str, Any]:
    """The values that are given for the flags of a class."""
    return {name: read(declaration.limit, name, given[name]) for name, declaration in flags(options).items()
            if name in given}


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- refusals ----


def misfit(grid: Grid, task: Task, name: str) -> tuple[str, str] | None:
    """(flag, why a method cannot do what is asked for), None if it can."""
    method, needs = METHODS[name], METHODS[name].solve.needs
    if not task.is_network:
        return None if method.signal else ("method", f"{name} does not solve {grid.task}")
    if task.is_signed and needs.sums:
        return "method", f"{name} fits sums of relu(w . x), and {grid.task} has differences here"
    if task.loss != "squared" and "loss" not in declarations(method.solve.Options):
        return "method", f"{name} fits squared errors, and {grid.task} asks for {task.loss}"
    if needs.planted and not task.is_planted:
        return "method", f"{name} needs targets that a sparse network made, and {grid.task} has others"
    if not (found := needs.misfit(task.samples, task.inputs, task.outputs, grid.num_layers)):
        return None
    argument, reason = found
    flag = {"num_layers": "num_layers", "X": "nmeasurements"}.get(argument, "method")
    return flag if flag in flags_of(grid.task, name) else "method", f"{name} {reason}"


def refuse_misfit(grid: Grid, task: Task) -> None:
    """Raise OptionError where the method cannot do what is asked for; it says which can."""
    if not (found := misfit(grid, task, grid.method)):
        return
    others = [name for name in METHODS if not misfit(grid, task, name)]
    listed = " or ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    raise OptionError(found[0], f"{found[1]}; {f'use --method {listed}' if others else 'no method does'}")


def refuse_without_effect(grid: Grid, given: Mapping[str, Any], read: Callable[[Any, str, Any], Any]) -> None:
    """Raise OptionError for a flag that would change nothing, unless it has its default."""
    for name in given.keys() - flags_of(grid.task, grid.method).keys():
        owners = list(sources(name))
        value = read(owners[0][1].limit, name, given[name])
        if value in (declaration.default for _, declaration in owners):
            continue
        of_method = name == "memory_budget" or any(owner in METHODS for owner, _ in owners)
        of_method = of_method and name not in flags(METHODS[grid.method].solve.Options)
        where = f"with --method {grid.method}" if of_method else f"on {grid.task}"
        raise OptionError(name, f"{value} has no effect {where}; leave it out")


# ---- what a log holds ----


PUBLISHED = ("num_layers", "convex", "batch_size", "bias", "num_epochs")  # the settings in every log's name, in order


def logged_flags(task: str, method: str) -> dict[str, Declaration]:
    """The flags that change the numbers, but for task and method, in the order in which names and titles say them."""
    grid = {name: declaration for name, declaration in flags_of(task, method).items()
            if name in ("num_layers", "expname")}
    every = {**grid, **flags(TASKS[task]), **flags(method_options(task, method))}
    first = [name for name in PUBLISHED if name in every]
    return {name: every[name] for name in [*first, *(name for name in every if name not in first)]}


def logged(settings: Settings) -> dict[str, Any]:
    """What changes the numbers, task and method among them: the settings of a log."""
    task, method = settings.grid.task, settings.grid.method
    values = settings.values()
    return {"task": task, "method": method} | {name: values[name] for name in logged_flags(task, method)}


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a log: those that it lacks at their defaults, without those that have no effect.

    A setting that no task and no method has any more stays: such a log agrees with no run.
    """
    task, method = settings["task"], settings["method"]
    if task not in TASKS or method not in METHODS:
        return dict(settings)
    own = logged_flags(task, method)
    usual = {name: declaration.default for name, declaration in own.items()}
    if "num_layers" in own:
        usual["num_layers"] = METHODS[method].solve.needs.usual_depth
    known = {name for names in all_flags().values() for name in names}
    kept = {name: value for name, value in settings.items() if name in own or name not in known}
    return {"task": task, "method": method} | usual | kept


def is_known(name: str) -> bool:
    """Whether any task, method or the sweep has such a flag."""
    return any(name in names for names in all_flags().values())


def setting_words(values: Mapping[str, Any], own: Mapping[str, Declaration], always: tuple[str, ...] = ()) -> list[str]:
    """Words for settings that are not at their default, and for those that always are named.

    Args:
        own: the flags, such as logged_flags gives them, in the order of the words.
    """
    named = {name: value for name, value in values.items() if value is not None and name in own
             and (name in always or value != own[name].unnamed)}
    return [words(named[name]) for name, declaration in own.items() if name in named and (words := declaration.words)]
