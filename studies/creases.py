"""A picture of the idea of crease pursuit: take the linear part out of a network, and its creases are left.

    python -m studies.creases

Left, relu(z) = z / 2 + |z| / 2: the second half is the crease. Then a network of three neurons of two inputs, one of
them subtracted, and the same without the linear function that fits it best, as crease pursuit sees it: what is left
bends on the three lines w_j . x = 0 and nowhere else. They are found from samples, drawn as dots, and dashed.
"""

from __future__ import annotations

import sys

import numpy as np

from beyond import creases
from numerics.arrays import DTYPE
from numerics.streams import Stream
from plotting import page
from shell.command import Drawing, Program

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


def draw(X: np.ndarray) -> page.Figure:
    """The three panels, for samples X [n, 2]."""
    figure = page.new_figure(9.6, 3.1)
    half, before, after = figure.subplots(1, 3)
    z = np.linspace(-EXTENT, EXTENT, 301)
    half.plot(z, np.maximum(z, 0), "k-", linewidth=2.5, label="relu(z)")
    half.plot(z, z / 2, ":", linewidth=1.5, label="z / 2: linear")
    half.plot(z, abs(z) / 2, "--", linewidth=1.5, label="|z| / 2: the crease")
    half.legend()
    half.set(title="a neuron", xlabel="z = w . x")
    grid = np.stack(np.meshgrid(z, z), axis=-1)
    values, linear = network(grid), np.linalg.lstsq(X.astype(np.float64), network(X), rcond=None)[0]
    for ax, shown, words in ((before, values, "a network of three neurons"),
                             (after, values - grid @ linear, "without its linear part")):
        most = np.abs(shown).max()
        ax.contourf(z, z, shown, levels=21, cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(title=words, aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), xlabel="$x_1$",
               ylabel="$x_2$")
    after.plot(*X[:SHOWN].T, ".", color="black", markersize=1.5)
    for w in found_creases(X):
        after.axline((0, 0), (-w[1], w[0]), linestyle="--", color="black", linewidth=1.2)
    return figure


def run(options: Drawing) -> None:
    """Draw. Raises UsageError."""
    folder = options.figures()
    X = Stream.PICTURE.generator(0).standard_normal((SAMPLES, 2)).astype(DTYPE)
    with page.style():
        print(*page.save(draw(X), folder / "creases"), sep="\n")


main = Program("python -m studies.creases", __doc__, Drawing, run)

if __name__ == "__main__":
    sys.exit(main())
