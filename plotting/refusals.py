"""Flags of make_figures.py that have no sense together."""

from __future__ import annotations

import argparse

from plotting.figures import Entry
from plotting.numbers import MEAN, SHARES, STD
from shell.program import UsageError

SENSELESS = {  # flag: what it does, and the flags that have no sense beside it
    "commands": ("it prints commands and draws nothing",
                 ("statistic", "threshold", "metric", "top", "against", "tolerance", "table", "history", "logs_dir",
                  "figures_dir")),
    "figure": ("a figure has its own tasks and methods", ("task", "method")),
    "history": ("it draws {} and nothing else", ("figure", "against", "table", "metric", "statistic", "top")),
    "table": ("{} has all statistics of single logs", ("figure", "against", "statistic", "top")),
    "against": ("it compares the scores of single cells", ("metric", "statistic", "top")),
    "html": ("the page shows the scores of all figures, with switches for the statistic",
             ("figure", "commands", "statistic", "threshold", "metric", "top", "tolerance", "table", "history",
              "draw")),
}


def refuse_combinations(args: argparse.Namespace, given: set[str], entry: Entry | None) -> None:
    """Flags that are wrong together. Raises UsageError.

    Args:
        given: the names of those that do not have their default.  entry: the figure that is asked for.
    """
    for flag, (reason, others) in SENSELESS.items():
        clashing = " and ".join(f"--{name}" for name in others if name in given)
        if flag in given and clashing:
            raise UsageError(f"argument --{flag}: {reason.format(getattr(args, flag))}; leave {clashing} out")
    if args.commands and not args.figure:
        raise UsageError("argument --commands: it prints the commands of a figure; add --figure")
    if entry and entry.as_lines and (lost := [f"--{name}" for name in ("metric", "statistic", "top") if name in given]):
        raise UsageError(f"argument --figure: {args.figure} shows scores as lines; leave {' and '.join(lost)} out")
    statistic = args.statistic or (entry.statistic if entry else MEAN)
    if args.top is not None and (statistic in (STD, *SHARES) or "metric" in given):
        raise UsageError(f"argument --top: {args.top:g} is a score, and the colours show another number; leave it out")
    if args.tolerance is not None and not args.against:
        raise UsageError(f"argument --tolerance: {args.tolerance:g} has no effect without --against; add that")
    if args.draw and not args.against:
        raise UsageError("argument --draw: it has no effect without --against; add that")
    if args.tolerance is not None and args.tolerance < 0:
        raise UsageError(f"argument --tolerance: {args.tolerance:g} is below 0; give 0 or more")
