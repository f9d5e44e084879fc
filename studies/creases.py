"""A picture of the idea of crease pursuit: take the linear part out of a network, and its creases are left.

    python -m studies.creases

Left, relu(z) = z / 2 + |z| / 2: the second half is the crease. Then a network of three neurons of two inputs, one of
them subtracted, and the same without the linear function that fits it best, as crease pursuit sees it: what is left
bends on the three lines w_j . x = 0 and nowhere else. They are found from samples, drawn as dots, and dashed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beyond import creases
from numerics.arrays import DTYPE
from numerics.streams import Stream
from plotting import page
from shell.command import Drawing, run_command
from shell.files import check_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROG = "python -m studies.creases"
W = np.array([[1.0, 0.4], [0.3, 1.0], [0.9, -0.9]])
V = np.array([1.0, 1.0, -1.0])
SAMPLES, SHOWN, EXTENT = 1000, 150, 2.5


def network(X: np.ndarray) -> np.ndarray:
    """sum_j v_j relu(w_j . x) of inputs [n, 2]."""
    return np.maximum(X @ W.T, 0) @ V


def found_creases(X: np.ndarray) -> np.ndarray:
    """The weights [3, 2] that crease pursuit finds from the network's values at X [n, 2], in any order."""
    net = creases.fit(X, network(X).astype(DTYPE), int(np.count_nonzero(W)), width=len(W))
    return net.layers[0].dense()


def draw_half(ax: Axes) -> None:
    """relu and its two halves."""
    z = np.linspace(-EXTENT, EXTENT, 101)
    for values, words, style in ((np.maximum(z, 0), "relu(z)", "k-"), (z / 2, "z / 2: linear", ":"),
                                 (abs(z) / 2, "|z| / 2: the crease", "--")):
        ax.plot(z, values, style, linewidth=2.5 if style == "k-" else 1.5, label=words)
    ax.legend()
    ax.set_xlabel("z = w . x")
    ax.set_title("a neuron")


def draw(X: np.ndarray) -> Figure:
    """The three panels, for samples X [n, 2]."""
    figure = page.new_figure(9.6, 3.1)
    half, before, after = figure.subplots(1, 3)
    draw_half(half)
    line = np.linspace(-EXTENT, EXTENT, 301)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    linear = np.linalg.lstsq(X.astype(np.float64), network(X), rcond=None)[0]
    for ax, values, words in ((before, network(grid), "a network of three neurons"),
                              (after, network(grid) - grid @ linear, "without its linear part")):
        most = np.abs(values).max()
        ax.contourf(line, line, values.reshape(301, 301), levels=21, cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), xlabel="$x_1$", ylabel="$x_2$")
        ax.set_title(words)
    after.plot(*X[:SHOWN].T, ".", color="black", markersize=1.5)
    for w in found_creases(X):
        after.plot(*np.outer((-w[1], w[0]), (-9, 9)), "--", color="black", linewidth=1.2)
    return figure


def run(options: Drawing) -> None:
    """Draw. Raises UsageError."""
    folder = Path(options.figures_dir)
    check_writable(folder, "--figures_dir")
    X = Stream.PICTURE.generator(0).standard_normal((SAMPLES, 2)).astype(DTYPE)
    with page.style():
        print(*page.save(draw(X), folder / "creases"), sep="\n")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROG, __doc__, Drawing, run, argv)


if __name__ == "__main__":
    sys.exit(main())
