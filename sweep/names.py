"""The file names of logs, which tell each run from every other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.settings import logged_flags

AXES = {"m": "mlist", "s": "slist", "seed": "seedlist"}
NAME_LENGTH = 195  # a name with its extension stays within 200 characters
LIST_LENGTHS = (32, 24, 0)  # longest list that a name spells out, first choice to last; longer ones are abridged

# The settings that every name spells, in the words of the paper's own code, and their values where a method has none.
SPELLED = {"num_layers": ("hidden{}", 1), "convex": ("convex{}", 0), "batch_size": ("bs{}", 0), "bias": ("bias{}", 0),
           "num_epochs": ("{}epochs", 0)}


def log_name(settings: Mapping[str, Any], axes: Mapping[str, Sequence[int]]) -> str:
    """The file name, without extension, that tells this run from every other: letters, digits and . _ - alone.

    Settings that are not SPELLED are named where they are not at their default. A double underscore precedes the
    expname, so that it cannot pass for a setting. Where even the shortest spelling is too long, a hash of all of it
    comes after the method and the end is cut off.

    Args:
        settings: all that changes the numbers, by flag.
        axes: {"m": [...], "s": [...], "seed": [...]}.
    """
    depth, *spelled = [form.format(plain(settings.get(name, absent))) for name, (form, absent) in SPELLED.items()]
    others = [name + plain(settings[name])
              for name, declaration in logged_flags(settings["task"], settings["method"]).items()
              if name not in (*SPELLED, "expname") and settings[name] != declaration.unnamed]
    head = f"{settings['task']}_{settings['method']}"
    for longest in LIST_LENGTHS:
        lists = [axis + abridge(axes[axis], longest) for axis in AXES]
        tail = "_".join([depth, *lists, *spelled, *others])
        tail += f"__{settings['expname']}" if settings["expname"] else ""
        if len(f"{head}_{tail}") <= NAME_LENGTH:
            return f"{head}_{tail}"
    everything = f"{[list(axes[axis]) for axis in AXES]} {tail}"
    return f"{head}_{digest(everything, 16)}_{tail}"[:NAME_LENGTH]


def abridge(values: Sequence[int], longest: int) -> str:
    """The values joined by "-"; where that is longer than `longest`, first..last, their number and a hash."""
    spelled = "-".join(map(str, values))
    if len(spelled) <= longest or len(values) == 1:
        return spelled
    return f"{values[0]}..{values[-1]}-{len(values)}x{digest(spelled, 8)}"


def digest(text: str, length: int) -> str:
    """The first hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def plain(value: Any) -> str:
    """A value as a name spells it: True as 1, 5.0 as 5."""
    return value if isinstance(value, str) else str(int(value) if value == int(value) else value)
