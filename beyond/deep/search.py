"""The search of the joint fit: trials that go from a random dense network to a sparse one; see fit.py."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from beyond.deep.descent import EXACT, ROUNDING, Budget, Penalty, descend, polish
from beyond.deep.eliminate import SURE, eliminated, reduced
from beyond.deep.network import Samples, TwoLayers, loss, residual, tidied
from beyond.deep.orient import moves
from beyond.deep.regrow import correlated_inputs, missing_inputs, regrown

SAMPLES, PER_WEIGHT = 5000, 4  # drawn at random for the trials; at least so many per weight of a dense net
HELD_OUT = 0.1  # share of the samples that only the last steps use
# Units and rows of the dense networks, in units of the hidden units that have an input and a use when s / 2 weights of
# each layer are in random places.
SIZES = [(1.2, 0.8), (1.8, 1.2), (1.5, 1.0), (2.4, 1.6)]
SPARE = 2  # and so many units and rows more
ROUNDS = 6  # of dense and sparse fits in a trial
DENSE_STEPS, INPUT_ROUNDS = 12, 6  # between additions of inputs; how often
HOPELESS = 2e-3  # loss of a dense fit that is not worth making sparse
PROGRESS = 0.1  # a round must bring the loss below this share of that of the round before

FITTED = 1e-6  # loss below which the dense network counts as fitted
LEVELS = [(1e-6, 0.1), (1e-7, 0.03), (1e-8, 0.01), (1e-9, 0.003), (1e-10, 0.001)]  # of (weight, eps) then
UNFITTED_LEVELS = [(1.0, 0.05), (0.1, 0.03), (0.01, 0.01)]  # otherwise, the weight in units of the loss
PENALISED_STEPS, REFIT_STEPS, SPARSE_STEPS, ELIMINATION_STEPS = 12, 15, 40, 25
MOVED = 2.0  # times the loss that a network with fewer weights may have
REGROWABLE = 2e-5  # loss above which a sparse network lacks too much

LAST_STEPS = 20  # on all samples, in double precision
FILL = 0.02  # deviation of the weights that fill up a sparse network, and of those of new rows of A, tenfold
NEW_INPUT = 0.001  # the same for an input that comes in; from 1e-4 to 1e-1 it solves as many cells (19 or 20 of 20)


class Search:
    """Trials from random weights until one is exact, with at most s weights and m neurons per layer.

    The trials use a part of the samples in single precision (`data`), elimination all but those held out in double
    precision (`accurate`).

    Args:
        full: all samples, y with a mean square of 1.  budget: spent by the search.
        report: called with (network, loss) after each dense fit, each one made sparse and each elimination.
    """

    def __init__(self, full: Samples, s: int, width: int, budget: Budget, rng: np.random.Generator,
                 report: Callable[[TwoLayers, float], None]):
        self.s, self.width, self.budget, self.rng, self.report = s, width, budget, rng, report
        held, order = np.split(rng.permutation(len(full)), [int(HELD_OUT * len(full))])
        d = len(full.XT)
        k1, k2 = self.sizes(*SIZES[0])
        used = d * (1 - np.exp(-s / (2 * d)))  # inputs, when s / 2 weights are in random places
        count = max(SAMPLES, int(PER_WEIGHT * k1 * (used + k2)))
        self.data = full.take(np.sort(order[:count]))
        self.accurate, self.held = (full.take(np.sort(part)).astype(np.float64) for part in (order, held))
        self.inputs = correlated_inputs(full)

    def refit(self, net: TwoLayers) -> tuple[TwoLayers, float]:
        """The steps after an elimination."""
        return polish(net, self.accurate, self.budget, ELIMINATION_STEPS, SURE / 100)

    def free_refit(self, net: TwoLayers) -> tuple[TwoLayers, float]:
        """The same on fewer samples, not counted, for a network that is cut down to the limits."""
        return descend(net, self.data, Budget(ELIMINATION_STEPS), ELIMINATION_STEPS)

    def sizes(self, units: float, rows: float) -> tuple[int, int]:
        """(k1, k2) of a dense network, from an entry of SIZES."""
        used = self.width * (1 - np.exp(-self.s / (2 * self.width))) ** 2
        return int(units * used) + SPARE, int(rows * used) + SPARE

    def run(self) -> TwoLayers:
        """The best network that fits the limits; the empty one if no trial came close."""
        best, lowest = TwoLayers(np.zeros((0, len(self.data.XT))), np.zeros((0, 0))), 1.0
        sizes = itertools.cycle(SIZES)
        while self.budget.left > 0 and lowest >= EXACT:
            for net, value in self.trial(*next(sizes)):
                if net.count > self.s or max(net.A.shape) > self.width:
                    net = reduced(net, self.data, self.free_refit, self.s, self.width)
                    value = loss(net, self.data)
                    if value < EXACT:
                        net, value = self.smallest(net, value)
                if value < lowest:
                    best, lowest = net, value
        return best

    def trial(self, units: float, rows: float) -> Iterator[tuple[TwoLayers, float]]:
        """Yield the sparse networks (net, loss) of one trial that are worth a look, within the limits or not."""
        net, before = self.random_net(units, rows), np.inf
        for _ in range(ROUNDS):
            net, value = self.dense_fit(net)
            self.report(net, value)
            if value > HOPELESS or self.budget.left <= 0:
                return
            net, value = self.sparsified(net, value)
            self.report(net, value)
            if value < EXACT:
                yield self.smallest(net, value)
                return
            yield net, value
            if value > PROGRESS * before:
                return
            net, before = self.filled_up(net), value

    def sparsified(self, net: TwoLayers, value: float) -> tuple[TwoLayers, float]:
        """The sparse network of least loss along the path of penalties, and its loss; the first that is exact."""
        levels = LEVELS if value < FITTED else [(weight * value, eps) for weight, eps in UNFITTED_LEVELS]
        best, lowest = net, np.inf
        for weight, eps in levels:
            net, _ = descend(net, self.data, self.budget, PENALISED_STEPS, Penalty(weight, eps))
            large = TwoLayers(net.W * (abs(net.W) >= eps / 3), net.A * (abs(net.A) >= eps / 3))
            sparse, value = self.rearranged(*self.refitted(tidied(large)))
            if value < lowest:
                best, lowest = sparse, value
            if value < EXACT or self.budget.left <= 0:
                break
        if EXACT < lowest < REGROWABLE:
            best, lowest = polish(best, self.data, self.budget, SPARSE_STEPS, EXACT / 100)
        return best, lowest

    def refitted(self, net: TwoLayers) -> tuple[TwoLayers, float]:
        """After a descent, with what it still lacks added where that is little; its loss."""
        net, value = polish(net, self.data, self.budget, REFIT_STEPS, EXACT / 100)
        return regrown(net, self.data, value, self.budget, EXACT / 100) if EXACT < value < REGROWABLE else (net, value)

    def rearranged(self, net: TwoLayers, value: float) -> tuple[TwoLayers, float]:
        """A network that fits better, or as well with fewer weights, from moves that no descent finds; its loss."""
        while EXACT < value < REGROWABLE and self.budget.left > 0:
            for other in moves(net):
                other, after = self.refitted(other)
                if after < value / MOVED or (after < MOVED * value and other.count < net.count):
                    net, value = other, after
                    break
            else:
                break
        return net, value

    def smallest(self, net: TwoLayers, value: float) -> tuple[TwoLayers, float]:
        """An exact network with as few weights as elimination finds, and its loss."""
        if value > ROUNDING:
            net, value = polish(net, self.data, self.budget, LAST_STEPS, ROUNDING)
        net = eliminated(net, self.accurate, self.refit, self.width)
        while simpler := self.simpler(net):
            net = simpler
        if (value := loss(net, self.accurate)) > SURE and net.count:
            grown, value = regrown(net, self.accurate, value, self.budget, SURE)
            if value < SURE:
                net = eliminated(grown, self.accurate, self.refit, self.width)
        value = loss(net, self.accurate)
        self.report(net, value)
        return net, value

    def simpler(self, net: TwoLayers) -> TwoLayers | None:
        """An exact network with fewer weights, from a move and another elimination; None where no move leads to one."""
        for other in moves(net):
            other, value = polish(other, self.accurate, self.budget, LAST_STEPS, ROUNDING)
            if value < EXACT:
                other = eliminated(other, self.accurate, self.refit, self.width)
                if other.count < net.count:
                    return other
        return None

    def random_net(self, units: float, rows: float) -> TwoLayers:
        """Random weights from the screened inputs, with outputs of mean square 1; the first row of A passes h on."""
        k1, k2 = self.sizes(units, rows)
        W = np.zeros((k1, len(self.data.XT)))
        W[:, self.inputs] = self.rng.normal(size=(k1, len(self.inputs))) / len(self.inputs) ** 0.5
        A = self.rng.normal(size=(k2, k1)) / k1**0.5
        A[0] = abs(A[0])
        net = TwoLayers(W, A)
        power = float(self.data.mean(lambda XT, _: np.sum(residual(net.hidden(XT)[1], 0) ** 2)))
        scale = power**-0.25 if power > 0 else 1.0  # no row may be active
        return TwoLayers(W * scale, A * scale)

    def dense_fit(self, net: TwoLayers) -> tuple[TwoLayers, float]:
        """The network after a descent, with the inputs that the residual asks for, and its loss."""
        for _ in range(INPUT_ROUNDS):
            net, value = descend(net, self.data, self.budget, DENSE_STEPS, target=ROUNDING)
            if value < FITTED or self.budget.left <= 0:
                break
            new = missing_inputs(net, self.data, value)
            if not len(new):
                break
            W = net.W.copy()
            W[:, new] = NEW_INPUT * self.rng.normal(size=(len(W), len(new)))
            net = TwoLayers(W, net.A)
        return descend(net, self.data, self.budget, 2 * DENSE_STEPS, target=ROUNDING)

    def filled_up(self, net: TwoLayers) -> TwoLayers:
        """With small random weights wherever there is none, on the inputs in use, and new units and rows."""
        net = net.balanced()
        (k2, k1), inputs = net.A.shape, np.flatnonzero((net.W != 0).any(axis=0))
        shape = (k2 + -(-k2 // 4), k1 + -(-k1 // 3))
        W, A = np.zeros((shape[1], net.W.shape[1])), FILL * self.rng.normal(size=shape)
        W[:, inputs] = FILL * self.rng.normal(size=(shape[1], len(inputs)))
        W[k1:, inputs] *= 1 / (FILL * max(len(inputs), 1) ** 0.5)
        A[k2:] *= 10
        W[:k1] = np.where(net.W != 0, net.W, W[:k1])
        A[:k2, :k1] = np.where(net.A != 0, net.A, A[:k2, :k1])
        return TwoLayers(W, A)
