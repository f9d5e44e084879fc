"""What the command lines of the project share: a parser, flags from declared options, and how they end."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
import io
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from options import SWITCH, Declaration, ListOf, OptionError, OptionTypeError
from shell import VERSION


class UsageError(Exception):
    """A mistake in the flags: one line that names the flag, the value and the remedy; exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError and takes no abbreviations; its help ends with the examples."""

    def __init__(self, prog: str, description: str, examples: Sequence[str] = (), add_help: bool = True):
        epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None
        super().__init__(prog=prog, description=description, allow_abbrev=False, epilog=epilog, add_help=add_help,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        if add_help:
            self.add_argument("--version", action="version", version=VERSION)
        # Before Python 3.14 argparse takes -1e1 for a flag.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)

    def parse_args(self, *given: Any, **more: Any) -> Any:
        """As argparse does; what is no flag is named with the flag that it resembles."""
        args, unknown = self.parse_known_args(*given, **more)
        if unknown:
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            alike = difflib.get_close_matches(unknown[0].partition("=")[0], flags, 1)
            meant = f"; did you mean {alike[0]}?" if alike else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return args

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def add_flag(group: argparse.ArgumentParser | argparse._ArgumentGroup, declaration: Declaration, help: str) -> None:
    """The flag of a declared option, whose value stays the text that was typed: None where it was not."""
    limit, name = declaration.limit, f"--{declaration.name}"
    if limit is SWITCH:
        group.add_argument(name, action="store_true", default=None, help=help)
    else:
        metavar = f"{{{','.join(limit.choices)}}}" if limit.choices else declaration.metavar
        nargs = None if not isinstance(limit, ListOf) else "*" if limit.allow_empty else "+"
        group.add_argument(name, nargs=nargs, metavar=metavar, required=declaration.is_required, help=help)


def folder(text: str) -> Path:
    """The type of flags that name a file or a folder."""
    return Path(text).expanduser()


def number(text: str) -> float:
    """The type of flags that are a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def as_usage(error: OptionError | OptionTypeError) -> UsageError:
    """What is wrong with an option, in the words of the command line."""
    return UsageError(f"argument --{error.name}: {error.reason}")


def complain(prog: str, message: object) -> int:
    """Say in one line on stderr what is wrong; returns the exit code that goes with it."""
    print(f"{prog}: error:", " ".join(str(message).split()), file=sys.stderr)
    return 2


def require(prog: str, *packages: str) -> None:
    """End with exit code 2 and one line where one of these packages is not installed."""
    lacking = [package for package in packages if importlib.util.find_spec(package) is None]
    if lacking:
        remedy = f"run `make setup`, then .venv/bin/python {prog}"
        sys.exit(complain(prog, f"{sys.executable} has no {', '.join(lacking)}: {remedy}"))


def run_main(prog: str, run: Callable[[], int | None]) -> int:
    """The exit code of a command line: what `run` returns, 0 for None; 2 and one line where it raises UsageError.

    Who reads its output may stop reading, as `head` does: then it ends, too, with 0.
    """
    prepare_streams()
    try:
        code = run() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        return complain_of_output(prog, error)
    except (UsageError, OptionError, OptionTypeError) as error:
        return complain(prog, error if isinstance(error, UsageError) else as_usage(error))


def prepare_streams() -> None:
    """Make printing safe: into a stream that is closed it does nothing, and what cannot be encoded is escaped.

    Programs draw into files alone, whatever backend the environment names for matplotlib.
    """
    for name, file in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # closed by the shell, >&-: its number would go to the next file that is opened
            with contextlib.suppress(OSError):
                os.fstat(file)
                continue
            os.dup2(os.open(os.devnull, os.O_RDWR), file)
            setattr(sys, name, os.fdopen(file, "r" if file == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "agg"


def complain_of_output(prog: str, error: OSError) -> int:
    """The exit code where printing fails, on a full disk or otherwise; raises an error of a file that it names."""
    if error.filename is not None:
        raise error
    discard_output()
    return complain(prog, f"cannot print ({error.strerror}); redirect the output to where there is room")


def discard_output() -> None:
    """Let stdout lead nowhere after it has failed; otherwise Python fails to flush it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
