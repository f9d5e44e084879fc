"""What the command lines of the project share: a parser, how they end, and the types of flags."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

VERSION = "1.0.0"  # of the project; CHANGELOG.md says what is new in it
LARGEST = 2**31 - 1  # of the whole-number flags
LARGEST_SEED = 2**32 - 3  # RandomState takes 32 bits, and the planted task adds 2
MOST_ROUNDS = 10**6  # of --prune_iters: a plan of 2^31 rounds would not fit into memory


class UsageError(Exception):
    """A mistake in the flags: one line that names the flag, the value and the remedy; exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError and takes no abbreviations; its help ends with the examples."""

    def __init__(self, prog: str, description: str, examples: Sequence[str] = ()):
        epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None
        super().__init__(prog=prog, description=description, allow_abbrev=False, epilog=epilog,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--version", action="version", version=VERSION)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


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
    try:
        code = run() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        return complain_of_output(prog, error)
    except UsageError as error:
        return complain(prog, error)


def complain_of_output(prog: str, error: OSError) -> int:
    """The exit code where stdout leads to a full disk; raises any other error, such as one of a file that it names."""
    if error.errno != errno.ENOSPC or error.filename is not None:
        raise error
    discard_output()
    return complain(prog, f"cannot print ({error.strerror}); lead the output to where there is room")


def discard_output() -> None:
    """Let stdout lead nowhere after it has failed; otherwise Python fails to flush it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_number(low: int, high: int = LARGEST) -> Callable[[str], int]:
    """The type of a flag that takes a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse


def prune_iters(text: str) -> float:
    """The type of --prune_iters: 0, a fraction in (0, 1), or a whole number of rounds."""
    import pruning

    try:
        value = float(text)
        pruning.check_prune_iters(value)
    except ValueError:
        value = MOST_ROUNDS + 1
    if value > MOST_ROUNDS:
        wanted = f"0, a fraction between 0 and 1, or a whole number up to {MOST_ROUNDS}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def experiment_name(text: str) -> str:
    """The type of --expname: it becomes part of a file name."""
    if len(text) > 60 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise argparse.ArgumentTypeError(f"{text!r} may have up to 60 letters, digits, dots, dashes and underscores")
    return text


def folder(text: str) -> str:
    """The type of --data_dir and --logs_dir: an empty text would mean the working folder, or the default."""
    if not text.isprintable() or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a folder")
    return text


def decibels(text: str) -> float:
    """The type of --snr."""
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not abs(value) <= 300:  # nor is NaN; the squares of others would leave the range of a float
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dB from -300 to 300")
    return value


def share(text: str) -> float:
    """The type of --drop_fraction."""
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def address(text: str) -> str:
    """The type of --scheduler."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no address; leave it out")
    return text


positive = whole_number(1)
count = whole_number(0)
seed = whole_number(0, LARGEST_SEED)
