"""Figures in the one style of the project, laid out by matplotlib and saved as PNG and PDF.

A script draws so, whatever matplotlibrc says and without a display:

    with page.style():
        figure = page.new_figure(6.8, 4)
        figure.subplots().plot(x, y)
        page.save(figure, Path("figures/name"))
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shell.files import replace_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.8  # inches: two columns of a paper
STYLE = {  # of every figure of the project
    "pdf.fonttype": 42,  # embeds TrueType: text in the PDF stays text
    "hatch.linewidth": 0.6,
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "legend.title_fontsize": 8, "legend.frameon": False, "figure.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.3, "lines.markersize": 4,
}
DPI = 200  # of a PNG
LETTER = 0.58  # width of a letter, in font sizes


@contextmanager
def style() -> Iterator[None]:
    """The style of the project, in which figures are made and saved."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, whose layout engine makes room for labels and titles."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png and stem.pdf, each whole or not at all, and return their paths. Raises OSError.

    The page is cut, or grows, until what is on it fits. The files carry no date.
    """
    pictures = {}
    with style():
        for ending, metadata in (("png", None), ("pdf", {"CreationDate": None})):
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=DPI, bbox_inches="tight", metadata=metadata)
            pictures[stem.with_name(f"{stem.name}.{ending}")] = content.getvalue()
    stem.parent.mkdir(parents=True, exist_ok=True)
    replace_files(pictures)
    return list(pictures)


def wrap(text: str, width: float, size: float) -> str:
    """The text in lines that are about so many points wide, at this font size."""
    return textwrap.fill(text, max(1, int(width / (LETTER * size))), break_long_words=False)
