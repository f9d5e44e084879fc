"""The creases of the path: crease pursuit with budgets of 8, 16, 32, ... weights, then again from the best of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from beyond.creases.fit import SEARCH_SAMPLES
from beyond.creases.samples import CreaseSamples, Neurons
from beyond.creases.search import GAUSS_NEWTON_STEPS, ROUNDS, State, descended, merged, step
from beyond.estimators.network import Samples, criterion
from numerics.arrays import DTYPE
from numerics.streams import Stream
from numerics.workspace import Workspace

FIRST, GROWTH = 8, 2  # weights of the first budget, and how much larger each is than the one before
RUNG_STEPS, VAIN_STEPS, GAIN = 12, 2, 0.7  # steps of the search with one budget; it ends after so many in vain
ALIKE = 1 - 1e-6, 1 - 1e-4, 1 - 1e-3, 1 - 1e-2  # cosines of creases that may be one, tried in turn
CHANCE = 5  # standard errors of a mean that may be zero
MUCH = 0.01  # of the energy: where more is left, the search has more restarts
FEW_RESTARTS, RESTARTS = 4, 20  # in vain, of the search, where nothing is exact
SLACK = 1.2, 3.0  # how much larger than the best their budgets are
LARGE = 4000  # numbers: with more of them a budget that does not pay is the last, and elimination takes larger steps
FITTED = 1e-9  # of |Y|^2: less is left where the targets have no noise


class Rung(NamedTuple):
    """Creases, the linear part B [k, d] beside them, whether both are exact, and the criterion."""

    creases: Neurons
    B: np.ndarray
    fitted: bool
    value: float


def growing(data: Samples, most: int, seed: int, restarts: tuple[int, int] = (FEW_RESTARTS, RESTARTS)
            ) -> Iterator[Rung]:
    """The best creases of each budget, until they are exact or more did not pay; those of no budget come first.

    Where nothing is exact, the search goes on from the best creases less about half of them, until so many `restarts`
    were in vain: the second number where MUCH is left.
    """
    with Workspace() as work:
        search = Search(data, seed, work)
        yield search.last
        s, patience = FIRST, 2 if data.count <= LARGE else 1
        while s <= most and search.vain < patience and not search.last.fitted:
            yield search.tried(search.now, s)
            s *= GROWTH
        much = search.best.loss > MUCH * search.samples.energy
        search.vain, (few, many) = 0, restarts
        while search.vain < (many if much else few) and len(search.best.net.W) and not search.last.fitted:
            yield search.tried(*search.restart())


class Search:
    """The search of crease pursuit, on SEARCH_SAMPLES, around the means of the inputs.

    Attributes:
        now, last: creases of the last budget, and the same for the data as they are.  best: those of least criterion.
        vain: budgets since then.  number: steps so far.  limit: loss that counts as exact.
    """

    def __init__(self, data: Samples, seed: int, work: Workspace):
        part = np.sort(Stream.CREASES.generator(seed, 0).permutation(data.XT.shape[1])[:SEARCH_SAMPLES])
        self.rng, self.mean, self.center = Stream.CREASES.generator(seed, 1), means(data), data.means(data.Y)
        XT, Y = (np.ascontiguousarray((Q - np.outer(q, data.XT[-1]))[:, part], dtype=DTYPE)
                 for Q, q in ((data.XT, self.mean), (data.Y, self.center)))
        share = len(part) / data.XT.shape[1]
        self.samples, self.count = CreaseSamples(XT, Y, work), data.count * share
        self.limit = FITTED * max(self.samples.energy, 1e-4 * data.energy * share)
        nothing = Neurons(np.zeros((0, len(XT))), np.zeros((0, len(Y))))
        self.now = self.best = State(nothing, self.samples.target, self.samples.linear, self.samples.energy)
        self.last = self.rung(self.now)
        self.lowest, self.vain, self.number = self.last.value, 0, 0

    def rung(self, state: State) -> Rung:
        """Creases around the origin."""
        W, B = state.net.W.copy(), state.B.copy()
        value = criterion(state.loss, self.count, int(np.count_nonzero(W)), state.net)
        W[:, -1] -= W @ self.mean
        B[:, -1] += self.center - B @ self.mean
        return Rung(Neurons(W, state.net.V), B, state.loss <= self.limit, value)

    def restart(self) -> tuple[State, int]:
        """The best creases less about half of them, and a larger budget."""
        kept = self.best.net.take(self.rng.random(len(self.best.net.W)) < 0.5)
        return State.of(self.samples, kept), int(self.rng.uniform(*SLACK) * np.count_nonzero(self.best.net.W))

    def tried(self, start: State, s: int) -> Rung:
        """The best creases with s weights of some steps."""
        self.now = self.simplified(self.searched(start, s))
        self.last = self.rung(self.now)
        if self.last.value < self.lowest:
            self.best, self.lowest, self.vain = self.now, self.last.value, 0
        else:
            self.vain += 1
        return self.last

    def searched(self, start: State, s: int) -> State:
        """After some steps of the search."""
        now = best = start
        record, vain = np.inf, 0
        for _ in range(RUNG_STEPS):
            now = step(self.samples, now, s, max(s // 2, 4), ROUNDS[self.number % len(ROUNDS)], vain > 0, self.rng)
            self.number += 1
            best = min(best, now, key=lambda state: state.loss)
            record, vain = (now.loss, 0) if now.loss < GAIN * record else (record, vain + 1)
            if vain == VAIN_STEPS or best.loss <= self.limit / 1000:
                break
        return best

    def simplified(self, best: State) -> State:
        """With nearly equal creases as one, where that loses nothing."""
        for cosine in ALIKE:
            once = merged(best.net, cosine)
            if len(once.W) < len(best.net.W):
                trial = descended(self.samples, State.of(self.samples, once), 2 * GAUSS_NEWTON_STEPS[0])
                best = trial if trial.loss <= max(1.001 * best.loss, self.limit / 100) else best
        return best


def means(data: Samples) -> np.ndarray:
    """The means [d] of inputs that are not zero up to chance: creases are looked for around them.

    Without a constant there are none. Inputs of mean zero keep the sparsity of creases through zero.
    """
    mean, energy = data.means(data.XT), np.sum(data.XT**2, axis=1)
    mean[mean**2 * (data.count / len(data.Y)) * (data.XT[-1] @ data.XT[-1]) < CHANCE**2 * energy] = 0
    mean[-1] = 0
    return mean
