"""The one look of each method in all figures of lines; its one name is METHODS[method].title.

The colours are those of Okabe and Ito, with a brown and a violet: they read without colour vision, and in grey the
markers tell the lines apart. Several forms of a method, such as IMP finetuned, share its colour and marker; those after
the first are dashed, with hollow markers. What is no method, such as a yardstick, is a grey line without markers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any

from sweep.methods import METHODS

LOOKS = {  # colour and marker of each method
    "aiht": ("#0072B2", "o"), "pruning": ("#E69F00", "s"), "gnhtp": ("#009E73", "^"), "creases": ("#D55E00", "D"),
    "deep": ("#CC79A7", "P"), "obs": ("#000000", "*"), "gmp": ("#8C510A", "X"), "set": ("#56B4E9", "v"),
    "rigl": ("#7A4EA3", "p"),
}
SPARE = ("#B22222", "#6B8E23", "#483D8B")  # colours of methods that a user adds
DASHES = (5, 1.5), (2, 1), (1, 2)  # and gaps, of the further forms of a method
FORMS: tuple[dict[str, Any], ...] = ({"linestyle": "-"}, *({"linestyle": (0, dashes), "fillstyle": "none"}
                                                           for dashes in DASHES))


def look(method: str) -> dict[str, str]:
    """Colour and marker of a method."""
    added = [name for name in METHODS if name not in LOOKS]
    colour, marker = LOOKS.get(method) or (SPARE[added.index(method) % len(SPARE)], "h")
    return {"color": colour, "marker": marker}


def method_of(heading: str) -> str:
    """The method whose title a heading begins with."""
    return max((name for name, method in METHODS.items() if heading.startswith(method.title)),
               key=lambda name: len(METHODS[name].title))


def looks(headings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{heading: how its line is drawn}; the forms of a method in the order of their headings."""
    forms = {method: cycle(FORMS) for method in METHODS}
    return {heading: look(method_of(heading)) | next(forms[method_of(heading)]) for heading in headings}


def shade(colour: str, share: float) -> tuple[float, ...]:
    """A colour that is mixed with this share of white."""
    from matplotlib.colors import to_rgb

    return tuple(part + share * (1 - part) for part in to_rgb(colour))
