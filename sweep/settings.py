"""Every flag of runner.py, declared once: SETTINGS is the table.

The parser, the refusals of flags without effect, the names of logs, the titles of figures and the flag table of the
README are derived from it. A new flag is one entry here, and its use. The table of methods is methods.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, make_dataclass, replace
from typing import Any

from datasets import data_folder
from numerics.workspace import BUDGET, GPU_BUDGET, Workspace
from sweep import flags
from sweep.flags import Parser, UsageError, whole_number
from sweep.methods import METHODS
from tasks import INPUT_DISTS, MNIST_LIMITS, TASKS

REQUIRED = object()  # in place of a default
NETWORKS = ("networks",)  # in place of names of tasks: all that fit a network


@dataclass(frozen=True)
class Setting:
    """An entry of the table: one flag.

    Args:
        name, help: as in --help; the default is added to the help.
        type: function (text) -> value, or bool for a switch.  default: REQUIRED if there is none.
        choices: the values it may have.  many: whether it takes a list.  metavar: its value in --help.
        methods, tasks: names of those on which it has an effect, () for all; a Method or a Task may name further
            settings that it takes. Elsewhere it may only have its default.
        logged: whether it changes the numbers, and so belongs to the log and its name.
        in_name: how the log's name always spells it, such as "hidden{}"; without, it is named where it is not at its
            default. The order of the table is that of the names.
        words: how the title of a figure says it, such as "hidden layers {}".
    """

    name: str
    type: Callable
    default: Any
    help: str
    choices: tuple = ()
    many: bool = False
    metavar: str | None = None
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    logged: bool = True
    in_name: str = ""
    words: str = ""

    def suits_method(self, method: str) -> bool:
        """Whether a value other than the default changes anything for this method."""
        return not self.methods or method in self.methods or self.name in METHODS[method].settings

    def suits_task(self, task: str) -> bool:
        """Whether a value other than the default changes anything on this task."""
        if self.tasks == NETWORKS:
            return TASKS[task].is_network
        return not self.tasks or task in self.tasks or self.name in TASKS[task].settings


DYNAMIC = ("set", "rigl")  # dynamic sparse training
IMAGES = ("mnist", "binary_mnist", "binary_cifar10")  # classification
WHAT = (
    Setting("task", str, REQUIRED, "; ".join(f"{name}: {task.summary}" for name, task in TASKS.items()),
            choices=tuple(TASKS)),
    Setting("method", str, "aiht", "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()),
            choices=tuple(METHODS)),
    Setting("mlist", flags.positive, REQUIRED, "hidden widths m (gaussian_sparse: signal lengths p)", many=True,
            logged=False),
    Setting("slist", flags.positive, REQUIRED, "numbers of nonzero weights", many=True, logged=False),
    Setting("seedlist", flags.seed, (0,), "seeds", many=True, logged=False),
    Setting("num_layers", flags.positive, 1, "hidden layers", tasks=NETWORKS, in_name="hidden{}",
            words="hidden layers {}"),
    Setting("convex", bool, False, "keep the random gates, no sequential convex updates", methods=("aiht",),
            tasks=NETWORKS, in_name="convex{}", words="convex"),
    Setting("batch_size", flags.count, 0, "samples per step, 0 for all of them",
            methods=("aiht", "pruning", *DYNAMIC), tasks=NETWORKS, in_name="bs{}", words="batch {}"),
    Setting("bias", bool, False, "append a constant 1 to the inputs", tasks=IMAGES, in_name="bias{}", words="bias"),
    Setting("num_epochs", flags.positive, 15, "passes through the data; pruning: per round; gnhtp, deep: steps at most",
            in_name="{}epochs", words="epochs {}"),
    Setting("input_dim", flags.positive, 100, "inputs d", tasks=("mlp_planted",), words="inputs {}"),
    Setting("output_dim", flags.positive, 1, "outputs k", tasks=("mlp_planted",), words="outputs {}"),
    Setting("nmeasurements", flags.positive, 50000, "samples n", tasks=("mlp_planted", "gaussian_sparse"),
            words="n {}"),
    Setting("input_dist", str, "normal", "distribution of the inputs; mnist: the input_dim pixels of largest variance "
            "of random training images, standardised", choices=INPUT_DISTS, tasks=("mlp_planted",), words="{} inputs"),
    Setting("planted_signs", bool, False, "give the planted neurons output weights +-1 at random, where the paper "
            "has +1", tasks=("mlp_planted",), words="signs +-1"),
    Setting("snr", flags.decibels, None, "add noise to the targets, at this ratio of signal to noise in dB (default: "
            "no noise)", tasks=("mlp_planted",), metavar="DB", words="SNR {:g} dB"),
    Setting("update_every", flags.positive, 1, "steps from one update to the next: of the gates (aiht), of the masks "
            "(set, rigl)", methods=("aiht", *DYNAMIC), tasks=NETWORKS, words="updates every {} steps"),
    Setting("least_squares", str, "auto", "how it solves on a support; auto: cholesky on mlp_planted, ten steps of "
            "conjugate gradients elsewhere", choices=("auto", "cholesky", "cg"), methods=("gnhtp",),
            words="least squares {}"),
    Setting("prune_iters", flags.prune_iters, 0.1, "0: prune once, after training; in (0, 1): that fraction of the "
            "active weights per round; a whole T: T rounds", methods=("pruning",), words="prune_iters {}"),
    Setting("prune_score", str, "magnitude", "what weights are ranked by; lamp empties no layer before the others",
            choices=("magnitude", "lamp"), methods=("pruning",), words="pruned by {}"),
    Setting("finetune_epochs", flags.count, 0, "epochs of retraining before a pruned network is scored (0, as "
            "published)", methods=("pruning",), words="finetuning {}"),
    Setting("mask_init", str, "erk", "shares of the layers in the s weights; erk: proportional to inputs plus outputs "
            "of the layer; uniform: to their product", choices=("erk", "uniform"), methods=DYNAMIC, words="{} masks"),
    Setting("drop_fraction", flags.share, 0.3, "share of its weights that a layer drops and regrows in the first "
            "update, rounded down; it falls to 0", methods=DYNAMIC, words="drops {:g}"),
    Setting("expname", flags.experiment_name, "", "a word of your own in the log's name", words="{}"),
)
HOW = (
    Setting("save_results", bool, False, "keep the table in the logs folder, after every cell", logged=False),
    Setting("save_models", bool, False, "keep the network of every cell too, in a folder beside the table",
            tasks=NETWORKS, logged=False),
    Setting("save_history", bool, False, "keep how every fit went, step by step, in an .npz beside the table",
            tasks=NETWORKS, logged=False),
    Setting("overwrite", bool, False, "start afresh where the log of an earlier run would be continued", logged=False),
    Setting("device", str, "auto", "auto: the GPU if there is one", choices=("auto", "cpu", "cuda"), logged=False),
    Setting("gpu", whole_number(0, 1023), 0, "which GPU", logged=False),
    Setting("threads", whole_number(1, 1024), None, "CPU threads per cell (default: all cores, shared by --workers)",
            logged=False),
    Setting("workers", whole_number(0, 1024), 0, "processes that compute cells side by side; 0: this one",
            logged=False),
    Setting("scheduler", flags.address, None, "compute on a running Dask cluster, e.g. tcp://127.0.0.1:8786",
            metavar="ADDRESS", logged=False),
    Setting("memory_budget", whole_number(Workspace.MIN_BUDGET), None, f"bound on temporary blocks, MiB (default: "
            f"{BUDGET}, on a GPU {GPU_BUDGET})", metavar="MIB", methods=("aiht", "gnhtp", "creases"), logged=False),
    Setting("data_dir", flags.folder, None, "folder of the data sets (default: the variable MLP_IHT_DATA, then ./data)",
            logged=False),
    Setting("logs_dir", flags.folder, "logs", "folder of the logs", logged=False),
    Setting("dry_run", bool, False, "print settings, cells with an estimate of their "
            "time, and the log's path; compute nothing", logged=False),
)
SETTINGS = {setting.name: setting for setting in WHAT + HOW}

# All flags of a run, frozen: what goes down to the tasks and the methods.
Settings = make_dataclass("Settings", [(name, Any) for name in SETTINGS], frozen=True,
                          namespace={"__module__": __name__, "__doc__": "The checked flags of a run, by name."})


EXAMPLES = (  # at the end of --help
    "python runner.py --task mlp_planted --method creases --mlist 5 --slist 20 --nmeasurements 5000",
    "python runner.py --task mlp_planted --mlist 1 2 5 10 --slist 5 10 20 --seedlist 0 1 2 --save_results",
    "python runner.py --task inr_mnist --method gnhtp --mlist 20 --slist 100 --dry_run",
)


# ---- from flags to Settings ----


def make_parser() -> Parser:
    """The parser of runner.py. It leaves out what is not given, since some defaults depend on other flags."""
    parser = Parser("runner.py", "Sweep a grid of widths m, numbers of nonzeros s and seeds.", EXAMPLES)
    for title, group in (("what is run", WHAT), ("how and where", HOW)):
        add = parser.add_argument_group(title).add_argument
        for setting in group:
            words = described(setting)
            if setting.type is bool:
                add(f"--{setting.name}", action="store_true", default=None, help=words)
            else:
                add(f"--{setting.name}", type=setting.type, choices=setting.choices or None, metavar=setting.metavar,
                    nargs="+" if setting.many else None, required=setting.default is REQUIRED, help=words)
    return parser


def described(setting: Setting) -> str:
    """Help, default and where it has an effect: "inputs d (default: 100; only on mlp_planted)"."""
    notes = []
    if setting.default not in (REQUIRED, None, "") and setting.type is not bool:
        notes.append(f"default: {spelled_default(setting)}")
    if setting.methods:
        notes.append(f"only with {', '.join(setting.methods)}")
    if setting.tasks and setting.tasks != NETWORKS:
        notes.append(f"only on {', '.join(setting.tasks)}")
    return setting.help + (f" ({'; '.join(notes)})" if notes else "")


def spelled_default(setting: Setting) -> str:
    """The default as it is typed, and those of methods that have their own: "15, gnhtp: 108"."""
    if setting.type is bool:
        return "off"
    if setting.default is REQUIRED:
        return "required"
    default = " ".join(map(str, setting.default)) if setting.many else setting.default
    own = [f"{name}: {method.defaults[setting.name]}" for name, method in METHODS.items()
           if setting.name in method.defaults]
    return ", ".join(["" if default is None else str(default), *own])


def parse_arguments(argv: list[str] | None) -> Settings:
    """The checked flags; raises UsageError for everything that can be known to fail before any work."""
    return make_settings(**vars(make_parser().parse_args(argv)))


def make_settings(**given: object) -> Settings:
    """The Settings with these values, all others at their defaults; None stands for what is not given.

    Raises UsageError, as the command line does.
    """
    given = {name: tuple(value) if SETTINGS[name].many else value
             for name, value in given.items() if value is not None}
    check_given(given)
    settings = Settings(**defaults(given.get("method", SETTINGS["method"].default)) | given)
    check_lists(settings)
    refuse_without_effect(settings)
    refuse_combinations(settings)
    values = asdict(settings)
    values["threads"] = settings.threads or max(1, num_cores() // max(settings.workers, 1))
    values["data_dir"] = data_folder(settings.data_dir, os.environ)
    return Settings(**values)


def defaults(method: str = "") -> dict[str, Any]:
    """The default of every setting, by name; those of a method where it has its own."""
    own = METHODS[method].defaults if method else {}
    return {name: own.get(name, setting.default) for name, setting in SETTINGS.items()}


def logged(settings: Settings) -> dict[str, Any]:
    """What changes the numbers, task and method among them: the settings of a log."""
    return {name: getattr(settings, name) for name, setting in SETTINGS.items() if setting.logged}


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- refusals ----


def check_given(given: dict[str, Any]) -> None:
    """A required value that is missing, or one that is no choice; on the command line the parser refuses them first."""
    for name, setting in SETTINGS.items():
        if setting.default is REQUIRED and name not in given:
            raise UsageError(f"argument --{name}: it is required")
        if setting.choices and name in given and given[name] not in setting.choices:
            raise UsageError(f"argument --{name}: {given[name]!r} is not one of {', '.join(setting.choices)}")


def check_lists(settings: Settings) -> None:
    for flag in ("mlist", "slist", "seedlist"):
        values = getattr(settings, flag)
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UsageError(f"argument --{flag}: {twice} is listed twice; list every value once")


def misfit(settings: Settings, name: str) -> str | None:
    """Why a method cannot do what the settings ask for, None if it can."""
    task, method = TASKS[settings.task], METHODS[name]
    outputs = task.outputs(settings)
    if method.most_outputs and outputs > method.most_outputs:
        return f"argument --method: {name} fits a scalar output, {settings.task} has {outputs} here"
    if task.methods and name not in task.methods:
        return f"argument --method: {name} does not solve {settings.task}"
    if settings.planted_signs and not method.signs:
        return f"argument --planted_signs: {name} fits sums of relu(w . x), not differences"
    if method.depths and settings.num_layers not in method.depths:
        return f"argument --num_layers: {name} fits {method.depths[0]} hidden layer(s), not {settings.num_layers}"
    if settings.task in method.unsuited:
        return (f"argument --task: {name} needs targets that a sparse network made, or nearly, and more samples than "
                f"inputs, which {settings.task} has not")
    return None


def refuse_without_effect(settings: Settings) -> None:
    """A method that cannot do what is asked for, or a flag that would change nothing."""
    if reason := misfit(settings, settings.method):
        others = [name for name in METHODS if not misfit(settings, name)]
        listed = " or ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
        remedy = f"use --method {listed}" if others else "no method does: leave that out"
        raise UsageError(f"{reason}; {remedy}")
    usual = defaults(settings.method)
    for name, setting in SETTINGS.items():
        value = getattr(settings, name)
        if value == usual[name]:
            continue
        if not setting.suits_method(settings.method):
            raise UsageError(f"argument --{name}: {value} has no effect with --method {settings.method}; leave it out")
        if not setting.suits_task(settings.task):
            raise UsageError(f"argument --{name}: {value} has no effect on {settings.task}; leave it out")


def refuse_combinations(settings: Settings) -> None:
    """Flags that are wrong together."""
    if settings.convex and settings.update_every > 1:
        raise UsageError(f"argument --update_every: {settings.update_every} has no effect with --convex; leave one out")
    for flag, most in MNIST_LIMITS.items() if settings.input_dist == "mnist" else ():
        value = getattr(settings, flag)
        if value > most:
            raise UsageError(f"argument --{flag}: {value} is over the {most} of --input_dist mnist; use fewer")
    if settings.planted_signs and settings.output_dim > 1:
        raise UsageError(f"argument --planted_signs: True has no effect with --output_dim {settings.output_dim}; leave "
                         "one out")
    if settings.workers and settings.scheduler:
        raise UsageError(f"argument --workers: {settings.workers} has no effect with --scheduler; leave one out")
    if settings.gpu and (settings.workers or settings.scheduler):
        raise UsageError(f"argument --gpu: {settings.gpu} has no effect where each worker has its GPU; leave it out")
    if settings.gpu and settings.device == "cpu":
        raise UsageError(f"argument --gpu: {settings.gpu} has no effect with --device cpu; leave it out")
    if METHODS[settings.method].overdetermined and SETTINGS["input_dim"].suits_task(settings.task) and (
            settings.nmeasurements <= settings.input_dim):
        raise UsageError(f"argument --nmeasurements: {settings.nmeasurements} samples, and a linear function of "
                         f"{settings.input_dim} inputs fits any targets; use more samples than inputs")
    samples = TASKS[settings.task].samples(settings)
    if settings.batch_size > samples:
        raise UsageError(f"argument --batch_size: {settings.batch_size} is over the {samples} samples of "
                         f"{settings.task}; use 0 for full batch")
    for flag in ("overwrite", "save_models", "save_history"):
        if getattr(settings, flag) and not settings.save_results:
            raise UsageError(f"argument --{flag}: True has no effect without --save_results; add that")


# ---- words ----


def setting_words(values: dict, always: tuple[str, ...] = ()) -> list[str]:
    """Words for the settings that are not at their default, and for those that always are named."""
    named = [setting for name, setting in SETTINGS.items() if setting.words and values.get(name) is not None
             and (name in always or values[name] != setting.default)]
    return ["full batch" if (setting.name, values[setting.name]) == ("batch_size", 0)
            else setting.words.format(values[setting.name]) for setting in named]


def flag_table() -> list[str]:
    """The lines of a Markdown table of all flags."""
    rows = []
    for name, setting in SETTINGS.items():
        limits = described(replace(setting, default=None, type=str))
        rows.append(f"| `--{name}` | {spelled_default(setting)} | {limits} |")
    return ["| flag | default | |", "|---|---|---|", *rows]
