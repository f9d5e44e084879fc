"""The search: starts that prune a dense network, then cycles at a constant s that grow and prune, kept if better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from beyond.obs.grow import born, grown
from beyond.obs.levenberg import levenberg
from beyond.obs.prune import narrowed, pruned
from beyond.obs.student import Data, alive, descend, objective, widest

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Sequence[Tensor]

# Where no measurement is named, the values of a prototype that was tuned on other seeds of ten digits.
PER_UNIT, LEAST_UNITS = 12, 4  # a start has LEAST_UNITS + s / PER_UNIT units, or m
START_EPOCHS, START_RATE, START_SHARE = 3, 3e-3, 0.85
MANY, MANY_SHARE = 6000, 0.6  # weights above which a round of pruning keeps so many, and trains for half as long
LAST_RATE = 1e-5  # to which the rate falls at the end of a cycle
NEWTON_STEPS = 2  # of Levenberg and Marquardt in place of an epoch
FEW, STARTS, MORE_EPOCHS = 300, 8, 2.5  # with so few weights a fit has so many starts, and so many times the epochs


@dataclass(frozen=True)
class Pace:
    """What a cycle does; of two numbers one between them is drawn, its logarithm uniform.

    Args:
        rates: of Adam.  growth: weights that it adds, in units of s.  births: units that it adds at most.
        shares: of the weights that are left by a round of pruning; one of them is drawn.
        grown, round, last: epochs after growth, after each round, and at the end, when the rate falls.
    """

    rates: tuple[float, float] = (6e-3, 5e-2)
    growth: tuple[float, float] = (0.3, 4.0)
    births: int = 3
    shares: tuple[float, float] = (0.9, 0.95)
    grown: float = 2
    round: float = 1
    last: float = 3


# Ten digits, starts of 250 epochs on nine tenths of the training samples, mean objective of the seeds 70 to 77 at
# s = 100 and 70, 71 at s = 500: SLOW .617, .164; FAST .588, .168. Rounds of 0.3 epochs: .588 at s = 100.
SLOW = Pace()
FAST = Pace(rates=(2e-2, 1e-1), grown=1, round=0.5, last=2)  # up to FEW weights
NEWTON = Pace(growth=(0.02, 1.0))
START_ROUND_RATE = math.prod(SLOW.rates) ** 0.5  # of the rounds of a start


class Candidate(NamedTuple):
    """A network and its objective; the less, the better."""

    objective: float
    weights: Weights


@dataclass
class Search:
    """A search for at most s weights and m units in each hidden layer.

    Args:
        depth: hidden layers.  epochs: that may be spent.
        report: is told of the best candidate of a line of cycles, after each of them.
    """

    data: Data
    s: int
    m: int
    depth: int
    epochs: float
    rng: np.random.Generator
    report: Callable[[Candidate], object]

    def run(self, others: Sequence[Candidate] = (), own_starts: bool = True) -> Candidate:
        """The best candidate, from others and from starts of its own.

        Half of the epochs is for all of them, half of what is left for the better half, and so on. What a start takes
        before its first cycle, about 18 epochs with 100 weights, comes on top of its share.
        """
        starts = own_starts * (STARTS if self.s <= FEW else 1)
        self.epochs *= MORE_EPOCHS if starts > 1 else 1
        found: Sequence[Candidate | None] = [*others, *[None] * starts]
        while len(found) > 1:
            share = self.epochs / 2 / len(found)
            tried = [self.cycles(each or self.start(), share) for each in found]
            found = sorted(tried, key=lambda each: each.objective)[: len(found) // 2]
        return self.cycles(found[0] or self.start(), self.epochs)

    @property
    def pace(self) -> Pace:
        """That of its cycles."""
        return NEWTON if self.data.is_fitted_by_newton else FAST if self.s <= FEW else SLOW

    def cycles(self, now: Candidate, epochs: float) -> Candidate:
        """The best candidate after cycles that spend so many epochs."""
        end = self.epochs - epochs
        while self.epochs > max(end, 0):
            other = self.cycle(now)
            if other.objective < now.objective:
                now = other
            self.report(now)
        return now

    def start(self) -> Candidate:
        """A dense network of few units, trained and pruned."""
        units = min(self.m, LEAST_UNITS + self.s // PER_UNIT)
        if self.data.outputs == 1:
            units = max(units, 2)  # one of each sign; what is too many goes
        weights = initial_weights(self.data, units, self.depth, self.rng)
        weights = self.train(weights, START_EPOCHS, START_RATE)
        return self.judged(self.down(weights, START_SHARE, START_ROUND_RATE))

    def cycle(self, now: Candidate) -> Candidate:
        """A candidate from one that has grown and was pruned again; a new start where no path is left."""
        if not widest(now.weights):
            return self.start()
        pace, weights = self.pace, now.weights
        growth, rate, share = self.drawn(pace.growth), self.drawn(pace.rates), float(self.rng.choice(pace.shares))
        births = max(int(self.rng.integers(-pace.births, pace.births + 1)), 0)
        if births and self.depth == 1:
            each = max(int((1 + growth) * self.s / max(widest(weights), 1)), 1)
            weights = born(weights, births, each, self.data, self.rng)
        weights = grown(weights, int(growth * self.s), self.data, self.rng)
        return self.judged(self.down(self.train(weights, pace.grown, rate), share, rate))

    def drawn(self, ends: tuple[float, float]) -> float:
        """A number between two ends, its logarithm uniform."""
        return math.exp(self.rng.uniform(*np.log(ends)))

    def judged(self, weights: Weights) -> Candidate:
        """The network as a candidate."""
        return Candidate(objective(weights, self.data), weights)

    def down(self, weights: Weights, share: float, rate: float) -> Weights:
        """The network pruned to s weights and m units, trained after each round, and at the end."""
        while (count := self.data.count(weights)) > self.s or widest(weights) > self.m:
            many = count > MANY
            part = MANY_SHARE if many else share
            weights = narrowed(weights, max(self.m, int(part * widest(weights))), self.data, self.rng)
            weights = pruned(weights, max(self.s, int(part * count)), self.data, self.rng)
            weights = self.train(weights, self.pace.round / (2 if many else 1), rate)
        return self.train(weights, self.pace.last, rate, LAST_RATE)

    def train(self, weights: Weights, epochs: float, rate: float, end: float | None = None) -> Weights:
        """The network after some epochs of Adam, at a constant rate, or at one that falls along a cosine to `end`."""
        self.epochs -= epochs
        if self.data.is_fitted_by_newton and self.data.is_small(self.data.count(weights)):
            return alive(levenberg(weights, self.data, round(NEWTON_STEPS * epochs)))  # a step may empty a unit
        steps = np.arange(round(epochs * len(self.data.tiles)))
        end = rate if end is None else end
        rates = end + (rate - end) * (1 + np.cos(np.pi * steps / max(len(steps), 1))) / 2
        return descend(weights, self.data, rates.tolist(), self.rng)


def initial_weights(data: Data, m: int, depth: int, rng: np.random.Generator) -> Weights:
    """A dense network of m units in each layer, without weights at inputs that are always 0.

    W ~ N(0, 2 / 100), other layers ~ N(0, 1 / m). With one output half of the signs are negative.
    """
    import torch

    def drawn(inputs: int, outputs: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((outputs, inputs), dtype=np.float32)) / inputs**0.5

    used = torch.stack([X.abs().amax(1) for X, _ in data.tiles]).amax(0) > 0
    sizes = [len(used), *[m] * depth, data.outputs]
    weights = [drawn(*pair) for pair in pairwise(sizes)]
    weights[0] *= used * (len(used) / 50) ** 0.5
    if data.outputs == 1:
        weights[-1] = torch.from_numpy(np.where(np.arange(m) % 2, -1, 1).astype(np.float32))[None]
    return weights
