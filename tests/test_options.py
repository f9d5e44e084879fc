"""Options: limits, declarations, and one check for two doors, Python and the command line."""

import math
import pickle
from dataclasses import dataclass

import pytest

from options import (
    LARGEST,
    SIZE,
    SWITCH,
    ListOf,
    OptionError,
    Options,
    OptionTypeError,
    at_least,
    between,
    declarations,
    flags,
    made,
    one_of,
    option,
    optional,
)
from shell.program import UsageError
from sweep.flags import parse_arguments
from sweep.methods import METHODS
from sweep.settings import Grid, flags_of, make_settings, misfit
from tasks import TASKS

KINDS = ["a", "b"]


@dataclass(frozen=True)
class Example(Options):
    count: int = option(3, at_least(1), "how many", words="count {}")
    share: float | None = option(None, optional(between(0, 1)), "of all")
    kind: str = option("a", one_of(KINDS), "which")
    inner: bool = option(False, SWITCH, "for Python alone", flag=False)
    sizes: tuple[int, ...] = option((1,), ListOf(SIZE), "all of them")

    def check(self):
        if self.kind == "b" and self.inner:
            raise OptionError("inner", "True has no effect with kind b; leave one out")


REFUSED = [  # value, whether its type is wrong, the reason
    ("count", 0, False, f"0 is not a whole number from 1 to {LARGEST}"), ("count", 1.0, True, "1.0 is not a whole"),
    ("count", True, True, "True is not a whole number"), ("count", None, True, "None is not a whole number"),
    ("share", 1.01, False, "1.01 is not a number from 0 to 1"), ("share", math.nan, False, "nan is not a number"),
    ("share", "0.5", True, "'0.5' is not a number"), ("kind", "c", False, "'c' is not one of a, b"),
    ("kind", 1, True, "1 is not one of a, b"), ("inner", 1, True, "1 is not True or False"),
    ("sizes", (1, 1), False, "1 is listed twice; list every value once"), ("sizes", (), False, "the list is empty"),
    ("sizes", (2, 0), False, "0 is not a whole number"), ("sizes", 2, True, "2 is not a list"),
    ("sizes", "12", True, "'12' is not a list"), ("other", 1, True, "there is no such option; there are count, share"),
]


@pytest.mark.parametrize(("name", "value", "wrong_type", "reason"), REFUSED)
def test_a_value_beyond_the_limit_or_of_another_type_is_refused(name, value, wrong_type, reason):
    with pytest.raises(TypeError if wrong_type else ValueError) as caught:
        made(Example, {name: value})
    error = caught.value
    assert isinstance(error, OptionTypeError if wrong_type else OptionError) and error.reason.startswith(reason)
    assert str(error) == f"{name}: {error.reason}" == str(pickle.loads(pickle.dumps(error)))


def test_what_is_within_the_limits_is_taken_and_has_the_declared_type():
    example = Example(count=1, share=1, sizes=[3, 2], kind="b")
    assert (example.share, type(example.share), example.sizes) == (1.0, float, (3, 2))
    with pytest.raises(OptionError, match="inner: True has no effect with kind b"):
        Example(kind="b", inner=True)
    assert "inner" in declarations(Example) and "inner" not in flags(Example)
    assert declarations(Example)["count"].words(5) == "count 5"


def test_a_choice_that_is_added_to_a_table_later_counts(monkeypatch):
    monkeypatch.setattr(Example, "__doc__", "")
    KINDS.append("c")
    assert Example(kind="c").kind == "c"
    KINDS.remove("c")


# ---- every flag of every task and method ----


def suits(task, method):
    grid = Grid(task=task, method=method, mlist=(2,), slist=(5,))
    return misfit(grid if method != "deep" else Grid(**vars(grid) | {"num_layers": 2}), TASKS[task](), method) is None


PLACES = {(name, repr(declaration.limit)): (task, method, name, declaration.limit)  # of every flag and limit, one
          for method in METHODS for task in TASKS if suits(task, method)
          for name, declaration in flags_of(task, method).items() if name not in ("task", "method", "extend")}
NUMBERS = [-1, 0, 1, 2, 15, 16, 1023, 1024, 10**6, 10**6 + 1, 2**31 - 1, 2**31, 2**32 - 3, 2**32 - 2, 2**40, -300.5,
           -0.5, 0.25, 1.0, 1.5, 300.5, math.inf, math.nan, True, "many", ""]
PROBES = {int: NUMBERS, float: NUMBERS, str: ["", "no such thing", "-", "x" * 61, "a b", "\0"],
          tuple: [[1], [1, 1], [0], [-1], [1.5], ["x"], [2**32 - 3], [2**40]]}


def outcome(door, *args, **given):
    """None where the door takes it, else (option, reason), without the quotes of a text that was typed."""
    try:
        door(*args, **given)
    except (OptionError, OptionTypeError) as error:
        return error.name, error.reason.replace("'", "")
    except UsageError as error:
        name, _, reason = str(error).removeprefix("argument --").partition(": ")
        return name, reason.replace("'", "")
    return None


def probes(limit):
    """Values to try: at the limits of an option, beyond them, and of other types."""
    if limit is SWITCH:
        return []
    return PROBES[tuple if isinstance(limit, ListOf) else type(limit.read("1"))]


@pytest.mark.parametrize(("task", "method", "flag", "limit"), PLACES.values())
def test_python_and_the_shell_take_and_refuse_the_same(task, method, flag, limit):
    for value in probes(limit):
        given = {"task": task, "method": method, "mlist": [2], "slist": [5], flag: value}
        lists = {name: texts for name, texts in given.items() if isinstance(texts, list)}
        words = [f"--{name}={text}" for name, text in given.items() if name not in lists]
        words += [word for name, texts in lists.items() for word in (f"--{name}", *map(str, texts))]
        if [-1] not in lists.values():  # "--mlist -1" is another flag to argparse
            assert outcome(parse_arguments, words) == outcome(make_settings, **given), (task, method, value)


def test_options_that_are_no_flags_are_refused_from_python():
    inner = {(method.solve.Options, name) for method in METHODS.values()
             for name, declaration in declarations(method.solve.Options).items() if not declaration.flag}
    assert len(inner) > 5
    for options, name in inner:
        with pytest.raises((OptionError, OptionTypeError), match=f"{name}: 'no such thing' is not "):
            made(options, {name: "no such thing"})
