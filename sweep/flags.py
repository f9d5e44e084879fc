"""The command line of runner.py: a parser made of the declarations, and what --help and docs/cli.md say of a flag."""

from __future__ import annotations

from collections.abc import Mapping

from instances.task import Task
from options import OptionError, OptionTypeError
from shell.extensions import load_named
from shell.program import Parser, add_flag, as_usage
from sweep.methods import METHODS, Method
from sweep.settings import Settings, all_flags, settings_of, sources
from tasks import TASKS

EXAMPLES = (  # at the end of --help
    "python runner.py --task mlp_planted --method creases --mlist 5 --slist 20 --nmeasurements 5000",
    "python runner.py --task mlp_planted --mlist 1 2 5 10 --slist 5 10 20 --seedlist 0 1 2 --save_results",
    "python runner.py --task inr_mnist --method gnhtp --mlist 20 --slist 100 --dry_run",
)


def make_parser() -> Parser:
    """The parser of runner.py. It leaves the values as texts: which limits hold depends on the task and the method."""
    parser = Parser("runner.py", "Sweep a grid of widths m, numbers of nonzeros s and seeds.", EXAMPLES)
    for title, names in all_flags().items():
        group = parser.add_argument_group(title)
        for name in names:
            _, declaration = next(sources(name))
            add_flag(group, declaration, described(name))
    return parser


def parse_arguments(argv: list[str] | None) -> Settings:
    """The checked flags; raises UsageError for everything that can be known to fail before any work."""
    load_named("runner.py", argv)
    typed = {name: value for name, value in vars(make_parser().parse_args(argv)).items() if value is not None}
    try:
        return settings_of(typed, lambda limit, name, value: value if value is True else limit.parse(name, value))
    except (OptionError, OptionTypeError) as error:
        raise as_usage(error) from None


# ---- words for people ----


def described(name: str) -> str:
    """Help, defaults and where a flag has an effect: "inputs d (default: 100; only on mlp_planted)"."""
    found = list(sources(name))
    helps: dict[str, list[str]] = {}
    for owner, declaration in found:
        helps.setdefault(declaration.help, []).append(owner)
    first, *others = helps
    said = [first, *(f"{', '.join(helps[help])}: {help}" for help in others)]
    if name in ("task", "method"):
        said = [summaries(TASKS if name == "task" else METHODS)]
    notes = [f"default: {default}"] if (default := defaults_in_words(name)) not in ("", "off", "required") else []
    for table, word in ((METHODS, "with"), (TASKS, "on")):
        owners = [owner for owner, _ in found if owner in table]
        notes += [f"only {word} {', '.join(owners)}"] if 0 < len(owners) < len(table) else []
    return "; ".join(said) + (f" ({'; '.join(notes)})" if notes else "")


def defaults_in_words(name: str) -> str:
    """The default as it is typed, and those of methods that have their own: "15, gnhtp: 108"."""
    (_, first), *others = sources(name)
    usual = first.spelled_default()
    own = [f"{owner}: {declaration.spelled_default()}" for owner, declaration in others
           if declaration.spelled_default() != usual]
    if name == "num_layers":
        own = [f"{owner}: {method.solve.needs.usual_depth}" for owner, method in METHODS.items()
               if method.solve.needs.usual_depth != first.default]
    return ", ".join([usual, *own])


def flag_table() -> list[str]:
    """The lines of a Markdown table of all flags."""
    rows = [f"| `--{name}` | {defaults_in_words(name)} | {described(name)} |"
            for names in all_flags().values() for name in names]
    return ["| flag | default | |", "|---|---|---|", *rows]


def summaries(table: Mapping[str, type[Task]] | Mapping[str, Method]) -> str:
    """What each entry of a table is, for --help."""
    return "; ".join(f"{name}: {entry.summary}" for name, entry in table.items())
