"""Programs whose flags are the fields of a class of options.

    @dataclass(frozen=True)
    class Options(options.Options):
        steps: int = option(100, SIZE, "steps of a fit")

    main = Program("python -m studies.example", __doc__, Options, run)

The flags of this one are --steps, --help and --version; `run` gets the object, checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import options
from options import FOLDER, AnyOptions, option
from shell.files import check_writable
from shell.program import Parser, add_flag, run_main


@dataclass(frozen=True)
class Drawing(options.Options):
    """The options of a program that draws."""

    figures_dir: str = option("figures", FOLDER, "folder of the figures")

    def figures(self) -> Path:
        """The folder, made before any work. Raises UsageError."""
        return check_writable(Path(self.figures_dir), "--figures_dir")


@dataclass(frozen=True)
class Program(Generic[AnyOptions]):
    """A program: called with the words of a command line, it runs and returns its exit code; see run_main.

    Args:
        prog: how it is called.  doc: what it does, in the first line.
        declared: its options.  run: does the work; returns the exit code, None for 0.
    """

    prog: str
    doc: str | None
    declared: type[AnyOptions]
    run: Callable[[AnyOptions], int | None]

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        return run_main(self.prog, lambda: self.run(self.parse(argv)))

    def parse(self, argv: Sequence[str] | None) -> AnyOptions:
        """The options of a command line. Raises UsageError, OptionError or OptionTypeError."""
        parser, known = Parser(self.prog, (self.doc or "").partition("\n")[0]), options.flags(self.declared)
        for declaration in known.values():
            default = declaration.spelled_default()
            add_flag(parser, declaration, declaration.help + f" (default: {default})" * (default not in ("", "off")))
        given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
        return self.declared(**{name: value if value is True else known[name].limit.parse(name, value)
                                for name, value in given.items()})
