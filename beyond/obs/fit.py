"""Sparse networks for targets that no network made: digits, photographs, tables. Ours, not the paper's.

    python runner.py --task mnist --method obs --mlist 20 --slist 200 --save_results

A small dense network is trained and pruned to s weights. What is pruned is chosen by the curvature of the loss, with
the others moved to make up for it: the optimal brain surgeon (Hassibi and Stork 1993). That alone is no better than a
good linear classifier. The gain is in cycles at a constant s (search.py): a cycle

 1. with one hidden layer adds units, each made for a random direction of the residual (grow.py: born),
 2. adds 0.3 to 4 s weights (0.02 to 1 s on few samples) where gradient^2 / curvature is largest (grow.py: grown),
 3. trains, then prunes to s weights and m units in rounds, with training after each (prune.py),
 4. and counts only if the objective falls.

Two things make it work. Rescaling a hidden unit changes nothing, so its curvature is 0, and the surgeon would repair
every loss by it for free: the curvature is made stiff there (curvature.py). And the rates, the growth and the pace of
pruning are drawn anew in each cycle, since which of them helps differs from network to network.

With few weights a fit has several starts, and half of them goes on each time. With one output that is nowhere
negative GNHTP's network is one of them. Where the score is on the training samples, as with images, GNHTP's and AIHT's
are all: nothing that was found from a dense network came near them. On few samples and weights the training is
Levenberg and Marquardt's (levenberg.py).
docs/real-data.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import aiht
from beyond import gnhtp
from beyond.obs.search import Candidate, Search
from beyond.obs.student import Data, alive, objective
from fits import Callback, FitState, Found, LossOptions, network_of, solver
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, to_host
from numerics.streams import Stream
from numerics.workspace import Workspace, one_thread
from options import SWITCH, OptionError, at_least, between, option, real

if TYPE_CHECKING:
    from beyond.obs.search import Weights

INPUT_SCALE = 3.0  # inputs are divided by so many root mean squares: pixels of digits then lie between 0 and 1
L2 = (0.0025, 0.01, 0.03, 0.1, 0.3, 1.0)  # strengths to choose from
CHOICE = 1 / 8  # of the epochs, for each of them
AIHT_EPOCHS = 100  # the paper's number for images


@dataclass(frozen=True)
class Options(LossOptions):
    """How it searches."""

    num_epochs: int = option(1000, at_least(1), "passes through the data, over all cycles; for s <= 300, 2.5 times as "
                             "many where it tries several dense networks as starts", words="epochs {}")
    l2: float = option(0.01, real("a number of at least 0", lambda value: value >= 0), "weight decay, in units of "
                       "s / samples; 0 where the score is on the training samples", words="l2 {:g}")
    held_out: float = option(0.0, between(0, 0.5), "share of training samples held out to choose l2; 0: keep "
                             "--l2", words="held out {:g}")
    labels: bool = option(False, SWITCH, "whether y holds class labels; one output of 0 and 1 is then fitted with "
                          "logistic loss", flag=False)
    interpolate: bool = option(False, SWITCH, "whether the score is on the training samples", flag=False)

    def check_data(self, n: int, d: int, k: int) -> None:
        super().check_data(n, d, k)
        if self.held_out and n < 2:
            raise OptionError("held_out", "one sample cannot be split; use 0")


@solver(Options)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Fit a ReLU network of at most s weights and `width` neurons in each hidden layer, for any loss and outputs.

    With one output the output weights are +1 or -1 and do not count. The callback is called after each cycle with the
    best network of its start. Details: objective, in units of the mean square of the targets where the loss is squared;
    l2; cycles; units, those in use in each hidden layer.
    """
    with one_thread():
        return Fit(X, y, s, width, num_layers, seed, work, callback, options).found()


fit = network_of(solve)


class Fit:
    """A fit to X [n, d] and y: its data in units of about 1, its searches, and its network in those of the data."""

    def __init__(self, X: np.ndarray, y: np.ndarray, s: int, m: int, depth: int, seed: int, work: Workspace,
                 callback: Callback | None, options: Options):
        X, y = to_host(X), to_host(y)
        self.given, self.s, self.m, self.depth, self.seed, self.work = (X, y), s, m, depth, seed, work
        self.callback, self.options, self.cycles = callback, options, 0
        self.scale = INPUT_SCALE * root_mean_square(X)
        self.loss = "logistic" if options.labels and y.ndim == 1 else options.loss
        if self.loss == "logistic" and not np.isin(y, (0, 1)).all():
            raise OptionError("labels", "y must hold only 0 and 1; else leave it out")
        self.target_scale = root_mean_square(y) if self.loss == "squared" else 1.0
        self.X, self.Y = X / DTYPE(self.scale), y.reshape(len(y), -1) / DTYPE(self.target_scale)

    def found(self) -> Found:
        """The network of the longest search."""
        l2 = 0.0 if self.options.interpolate else self.chosen_l2() if self.options.held_out else self.options.l2
        everything = slice(None)
        best = self.searched(everything, l2, self.others(everything), self.options.num_epochs, self.report)
        details = {"objective": best.objective, "l2": l2, "cycles": self.cycles,
                   "units": [len(W) for W in alive(best.weights)[:-1]]}
        return Found(self.net(best.weights), details)

    def data(self, part: slice | np.ndarray, l2: float) -> Data:
        """Some of the samples, with a weight decay of l2 s / samples."""
        X, Y = self.X[part], self.Y[part]
        return Data.of(X, Y, self.loss, l2 * self.s / len(X), Stream.CURVATURE.generator(self.seed, 0))

    def searched(self, part: slice | np.ndarray, l2: float, others: Sequence[Weights], epochs: float,
                 report: Callable[[Candidate], object]) -> Candidate:
        """The best network for some of the samples, from others or from starts of its own."""
        data = self.data(part, l2)
        rng = Stream.CURVATURE.generator(self.seed, 1)
        search = Search(data, self.s, self.m, self.depth, epochs, rng, report)
        found = [Candidate(objective(weights, data), weights) for weights in others]
        return search.run(found, own_starts=not (found and self.options.interpolate))

    def chosen_l2(self) -> float:
        """The strength with the least loss on the samples that are held out, by short searches on the others."""
        order = Stream.CURVATURE.generator(self.seed, 2).permutation(len(self.X))
        held, rest = np.split(order, [max(int(self.options.held_out * len(order)), 1)])
        judge, others, epochs = self.data(held, 0.0), self.others(rest), CHOICE * self.options.num_epochs
        return min(L2, key=lambda l2: objective(self.searched(rest, l2, others, epochs, lambda _: None).weights, judge))

    def others(self, part: slice | np.ndarray) -> list[Weights]:
        """The networks of GNHTP, and on images of AIHT, where they can fit the targets.

        That is: squared errors of one output that is nowhere negative.
        """
        X, y = (array[part] for array in self.given)
        if y.ndim > 1 or y.min() < 0:
            return []
        shared = {"width": self.m, "num_layers": self.depth, "seed": self.seed, "work": self.work}
        nets = [aiht.fit(X, y, self.s, num_epochs=AIHT_EPOCHS, **shared)] if self.options.interpolate else []
        nets.append(gnhtp.fit(X, y, self.s, **shared))
        return [self.weights(net) for net in nets if net.num_nonzero]

    def report(self, now: Candidate) -> None:
        """Tell the callback, if there is one, of a cycle."""
        self.cycles += 1
        if self.callback:
            self.callback(self.cycles, FitState(lambda: self.net(now.weights)))

    def net(self, weights: Sequence) -> SparseNet:
        """A network in the units of the data."""
        layers = [W.double().numpy() for W in weights]
        layers[0] = layers[0] / self.scale
        last = -2 if self.Y.shape[1] == 1 else -1  # signs have no scale
        layers[last] = layers[last] * self.target_scale
        *hidden, V = layers
        sizes = [self.X.shape[1], *[self.m] * self.depth]
        placed = tuple(SparseLayer.from_dense(W, (m, d)) for W, m, d in zip(hidden, sizes[1:], sizes, strict=False))
        summed = self.Y.shape[1] == 1 and (V > 0).all()
        return SparseNet(placed, None if summed else SparseLayer.from_dense(V, (len(V), self.m)))

    def weights(self, net: SparseNet) -> list:
        """A network of summed outputs, in the units of the search."""
        import torch

        layers = [torch.tensor(layer.dense()) for layer in net.layers]
        layers[0] *= self.scale
        layers[-1] /= self.target_scale
        return alive([*layers, torch.ones(1, len(layers[-1]))])


def root_mean_square(array: np.ndarray) -> float:
    """Of all entries; 1 where all are 0."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) or 1.0
