"""Programs whose flags are the fields of a class of options.

    @dataclass(frozen=True)
    class Options(options.Options):
        steps: int = option(100, SIZE, "steps of a fit")

    def main(argv: Sequence[str] | None = None) -> int:
        return run_command(PROG, __doc__, Options, run, argv)

The flags of this one are --steps, --help and --version; `run` gets the object, checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import options
from options import FOLDER, SWITCH, AnyOptions, Declaration, OptionError, OptionTypeError, option
from shell.program import Parser, add_flag, as_usage, run_main


@dataclass(frozen=True)
class Drawing(options.Options):
    """The options of a program that draws."""

    figures_dir: str = option("figures", FOLDER, "folder of the figures")


def run_command(prog: str, doc: str | None, declared: type[AnyOptions], run: Callable[[AnyOptions], int | None],
                argv: Sequence[str] | None) -> int:
    """The exit code of a program that is run with the options of a command line; see run_main."""
    return run_main(prog, lambda: run(parsed(make_parser(prog, doc, declared), declared, argv)))


def make_parser(prog: str, doc: str | None, declared: type[options.Options]) -> Parser:
    """A parser of the flags of a class of options. What it returns are texts, of the flags that are given."""
    parser = Parser(prog, (doc or "").partition("\n")[0])
    for declaration in options.flags(declared).values():
        add_flag(parser, declaration, described(declaration))
    return parser


def described(declaration: Declaration) -> str:
    """Help and default: "inputs d (default: 100)"."""
    default = "" if declaration.limit is SWITCH else declaration.spelled_default()
    return declaration.help + f" (default: {default})" * bool(default)


def parsed(parser: Parser, declared: type[AnyOptions], argv: Sequence[str] | None) -> AnyOptions:
    """The options of a command line. Raises UsageError."""
    given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    known = options.flags(declared)
    try:
        return declared(**{name: value if value is True else known[name].limit.parse(name, value)
                           for name, value in given.items()})
    except (OptionError, OptionTypeError) as error:
        raise as_usage(error) from None
