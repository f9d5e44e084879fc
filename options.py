"""Options: declared once, typed and checked, beside the code that they steer.

    @dataclass(frozen=True)
    class Options(options.Options):
        num_epochs: int = option(15, at_least(1), "passes through the data", words="epochs {}")

A method, a task and the sweep each have such a class. The flags of runner.py, what they refuse, the names of logs, the
titles of figures, the table in docs/cli.md and the signatures of `fit` are read from the fields. There is one check for
all doors: making the object. It raises OptionError, a ValueError, or OptionTypeError, a TypeError, in the words that
the command line prints behind "argument --num_epochs: ".
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

LARGEST = 2**31 - 1  # of whole numbers
LARGEST_SEED = 2**32 - 3  # RandomState takes 32 bits, and the planted task adds 2


class _Refusal(Exception):
    """What OptionError and OptionTypeError have in common: the name of the option, and what is wrong with it.

    The reason names other options as flags, --convex; what Python prints leaves the dashes out.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason.replace(' --', ' ')}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.name, self.reason)  # otherwise it is pickled by its message


class OptionError(_Refusal, ValueError):
    """An option with a value that it cannot have."""


class OptionTypeError(_Refusal, TypeError):
    """An option with a value of a type that it cannot have."""


# ---- limits ----


@dataclass(frozen=True)
class Limit(Generic[T]):
    """The values that an option may have.

    Args:
        wanted: what they are; it ends the sentence "3 is not ...".
        kind: the type of a value that Python gives; bools are of the kind bool alone.
        read: a value of that kind, or a text -> T; raises ValueError for a text that spells none.
        holds: whether a T is within the limits.
        choices: the values, by name, where they are few.
        or_none: whether Python may also give None.
    """

    wanted: str
    kind: type
    read: Callable[[Any], T]
    holds: Callable[[T], bool]
    choices: Collection[str] = ()
    or_none: bool = False

    def check(self, name: str, value: Any) -> T:
        """The value as T. Raises OptionTypeError or OptionError."""
        if value is None and self.or_none:
            return cast(T, None)
        if not isinstance(value, self.kind) or isinstance(value, bool) and self.kind is not bool:
            raise OptionTypeError(name, self._refusal(value))
        own = self.read(value)
        if not self.holds(own):
            raise OptionError(name, self._refusal(value))
        return own

    def parse(self, name: str, text: str) -> T:
        """The value that a text spells. Raises OptionError."""
        with contextlib.suppress(ValueError):
            value = self.read(text)
            if self.holds(value):
                return value
        raise OptionError(name, self._refusal(text))

    def _refusal(self, value: object) -> str:
        return f"{value!r} is not {self.wanted}{', '.join(self.choices)}"


@dataclass(frozen=True)
class ListOf(Generic[T]):
    """A limit like any other: values within a limit, each listed once, and at least one unless it may be empty."""

    limit: Limit[T]
    allow_empty: bool = False

    @property
    def choices(self) -> Collection[str]:
        """Those of each value, where there are some."""
        return self.limit.choices

    def check(self, name: str, values: object) -> tuple[T, ...]:
        """The values as a tuple. Raises OptionTypeError or OptionError."""
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise OptionTypeError(name, f"{values!r} is not a list")
        own = tuple(self.limit.check(name, value) for value in values)
        if not own and not self.allow_empty:
            raise OptionError(name, "the list is empty; give at least one value")
        if len(set(own)) < len(own):
            twice = next(value for value in own if own.count(value) > 1)
            raise OptionError(name, f"{twice} is listed twice; list every value once")
        return own

    def parse(self, name: str, texts: Iterable[str]) -> tuple[T, ...]:
        """The values that some texts spell. Raises OptionError."""
        try:
            return self.check(name, [self.limit.parse(name, text) for text in texts])
        except OptionError as error:
            if any("," in text for text in texts):
                raise OptionError(name, f"{error.reason}; use spaces between values") from None
            raise


def whole(low: int, high: int = LARGEST) -> Limit[int]:
    """A whole number from `low` to `high`."""
    return Limit(f"a whole number from {low} to {high}", numbers.Integral, int, lambda value: low <= value <= high)


at_least = whole  # where no highest is named


def real(wanted: str, holds: Callable[[float], bool]) -> Limit[float]:
    """A finite number for which a condition holds."""
    return Limit(wanted, numbers.Real, float, lambda value: math.isfinite(value) and holds(value))


def between(low: float, high: float, what: str = "a number") -> Limit[float]:
    """A number from `low` to `high`."""
    return real(f"{what} from {low:g} to {high:g}", lambda value: low <= value <= high)


def text(wanted: str, holds: Callable[[str], bool]) -> Limit[str]:
    """A text for which a condition holds."""
    return Limit(wanted, str, str, holds)


def one_of(choices: Collection[str]) -> Limit[str]:
    """One of some names; those of a table that grows later count, too."""
    return Limit("one of ", str, str, lambda value: value in choices, choices)


SWITCH = Limit("True or False", bool, bool, lambda value: True)  # as a flag it has no text to read
FOLDER = Limit("the name of a folder", str, os.path.expanduser, lambda value: bool(value) and value.isprintable())


def optional(limit: Limit[Any]) -> Limit[Any]:
    """The same, or None."""
    return dataclasses.replace(limit, or_none=True)


# ---- declarations ----


@dataclass(frozen=True)
class Declaration:
    """What is said of an option where it is declared; see `option`."""

    name: str
    default: Any  # of the option's type; REQUIRED where it must be given
    limit: Limit[Any] | ListOf[Any]
    help: str
    flag: bool
    metavar: str | None
    unnamed: Any
    words: Callable[[Any], str] | None

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    def spelled_default(self) -> str:
        """The default as it is typed."""
        if self.limit is SWITCH:
            return "off"
        if self.is_required:
            return "required"
        if isinstance(self.limit, ListOf):
            return " ".join(map(str, self.default))
        return "" if self.default is None else str(self.default)


REQUIRED: Any = object()  # as a default: there is none
SAME: Any = object()  # as `unnamed`: the default


def option(default: T, limit: Limit[T] | ListOf[Any], help: str, *, flag: bool = True, metavar: str | None = None,
           unnamed: object = SAME, words: str | Callable[[T], str] | None = None) -> T:
    """A field of a class of Options.

    Args:
        default: its value where none is given; REQUIRED for none.
        limit: the values that it may have.
        help: what it does; for --help and the table of flags, which add the default and where it has an effect.
        flag: whether it is a flag of runner.py; otherwise only Python sets it, and a sweep where the problem says it.
        metavar: how --help writes its value.
        unnamed: the value at which the name of a log leaves it out, where that is not the default.
        words: how the title of a figure says it: "inputs {}", or a function of the value.
    """
    unnamed, said = default if unnamed is SAME else unnamed, words.format if isinstance(words, str) else words
    declaration = Declaration("", default, limit, help, flag, metavar, unnamed, said)
    return cast(T, field(default=default, metadata={"declaration": declaration}))


@dataclass(frozen=True)
class Options:
    """Base of the classes of options: making an object checks it, field by field, then `check`."""

    def __post_init__(self) -> None:
        for name, declaration in declarations(type(self)).items():
            value = getattr(self, name)
            if value is REQUIRED:
                raise OptionError(name, "it is required")
            object.__setattr__(self, name, declaration.limit.check(name, value))
        self.check()

    def check(self) -> None:
        """Refuse options that are wrong together; raises OptionError."""

    def check_data(self, n: int, d: int, k: int) -> None:
        """Refuse options that are wrong for n samples of d inputs and k outputs; raises OptionError."""


AnyOptions = TypeVar("AnyOptions", bound=Options)
_DECLARED: dict[type, Mapping[str, Declaration]] = {}  # what declarations has read


def declarations(options: type[Options]) -> Mapping[str, Declaration]:
    """The options that a class declares, by name, those of its bases first."""
    if options not in _DECLARED:
        _DECLARED[options] = MappingProxyType({
            each.name: dataclasses.replace(each.metadata["declaration"], name=each.name)
            for each in dataclasses.fields(options) if each.metadata})
    return _DECLARED[options]


def flags(options: type[Options]) -> dict[str, Declaration]:
    """Those that are flags of runner.py."""
    return {name: declaration for name, declaration in declarations(options).items() if declaration.flag}


def made(options: type[AnyOptions], given: Mapping[str, Any]) -> AnyOptions:
    """The object with these values. A name that it does not have is an OptionTypeError, which lists those it has."""
    for name in given:
        if name not in declarations(options):
            raise OptionTypeError(name, f"there is no such option; there are {', '.join(declarations(options))}")
    return options(**given)


# ---- limits that several declarations share ----

SIZE = at_least(1)  # m, s, hidden layers
SEED = whole(0, LARGEST_SEED)
WORD = text("up to 60 letters, digits, dots, dashes and underscores",  # it becomes part of a file name
            lambda value: re.fullmatch(r"[A-Za-z0-9._-]{0,60}", value) is not None)
