"""The search by dense students: for several outputs, output signs, and more weights than search.py can fit.

 1. A dense student is trained by SOAP (dense.py), until its loss is next to nothing.
 2. Copies of units and rows are merged, and what is left is trained again, three times (merge.py).
 3. Weights are cut by saliency, from a high bar to a low one, each time with Levenberg-Marquardt steps, and what is
    missing then is added back, units and rows too, until the network is exact (cut.py, newton.py, grow.py).
 4. The skip becomes rows (rows.py), and weights are eliminated while the fit stays exact (eliminate.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from beyond.deep.cut import cut, cut_to
from beyond.deep.dense import random_student, sizes, trained
from beyond.deep.descent import EXACT, Budget
from beyond.deep.eliminate import SURE, eliminated, reduced
from beyond.deep.grow import regrown
from beyond.deep.merge import merged, oriented, with_open_row
from beyond.deep.network import Samples
from beyond.deep.newton import refined
from beyond.deep.rows import without_skip
from beyond.deep.student import Student
from beyond.soap import falling

HELD_OUT, LENIENT = 0.1, 100  # share of the samples that only the last steps use; what the loss may be there, in EXACT
SAMPLES, PER_WEIGHT = 6000, 20  # in double precision, before the last steps: so many, or this times s / k
STEPS = 6000  # of a dense fit
PACES, TARGETS = ((3e-3, 1000), (1e-2, 1000)), 3  # rate and samples of its steps, in turn; targets per weight, at least
MANY_SAMPLES = 20000  # with fewer the student is narrow, and only the noise of small batches leads out of its minima:
FEW_RATE, FEW_BATCH, FEWEST_BATCHES, FEW_TARGETS = 3e-2, 250, 8, (2, 2.5)
STEP_COST, STEP_WEIGHTS = 0.008, 5000  # of a training step of so many weights or more, in units of the budget
FITTED, WORTHWHILE = 3e-7, 0.3  # loss of a dense fit that suffices; share of it that more steps must leave at most
STUCK, HOPELESS = 1e-3, 3e-4  # losses of a dense fit that is not worth more steps, and not worth making sparse
REFITS = [(800, 1e-5), (800, 1e-5), (1200, 2e-6)]  # steps and last rate, after each round of merging
REFIT_RATE = 1e-3
SHARES, ACCURATE = (10, 1), 1e-8  # of the loss, or of this if it is more: bars of cutting
CUT_STEPS, LAST_STEPS, ELIMINATION_STEPS, REDUCTION_STEPS = 25, 6, 20, 5
SURPLUS = 2  # times s weights, from which a network that is not exact is cut down with care
REGROWABLE, SPARSE = 3e-4, 1e-9  # losses: below the first weights are added back; at the second it has all it needs
PARALLEL_BARS = (1e-6, 1e-7, 1e-8, 1e-9)  # of merging an exact network: the first at which it stays exact
ORIENTED_BAR = 1e-9  # energy of a weight of M that counts
WIDER, MISSED = 2, 1000  # times that samples with the largest errors come in, and how many
TRIES = 6  # units that may go as a whole, before elimination gives up

Finished = tuple[Student, float, float | None]  # a network, its loss over all samples, before that over those held out


def shortfall(found: Finished) -> float:
    """How far a network is from exact, its loss on samples that it was not fitted to taken into account."""
    _, value, held_out = found
    return max(value, (held_out or 0) / LENIENT)


class StudentSearch:
    """Trials from random students until one is exact, with at most s weights and m neurons per layer.

    Args:
        full: all samples in single precision, y [k, n] with a mean square of 1.  sums: whether C and M must be
            positive.  report: called with (network, loss) after each stage.
    """

    def __init__(self, full: Samples, s: int, width: int, budget: Budget, rng: np.random.Generator, sums: bool,
                 report: Callable[[Student, float], None]):
        self.s, self.width, self.budget, self.rng, self.sums = s, width, budget, rng, sums
        self.report = lambda net, value: report(self.unscaled(net), value)
        held, order = np.split(rng.permutation(len(full)), [int(HELD_OUT * len(full))])
        self.exponent = round(np.log2(np.sqrt(np.mean(np.square(full.XT))) or 1.0))  # exact, and inputs of about 1
        full = Samples(np.ldexp(full.XT, -self.exponent), full.y, full.work)
        self.held, self.train = full.take(np.sort(held)).astype(np.float64), full.take(order)
        self.full = full.astype(np.float64)
        self.data = full.take(np.sort(order[: max(SAMPLES, PER_WEIGHT * s // len(full.y))])).astype(np.float64)
        self.k, self.d = len(full.y), len(full.XT)
        few = FEW_RATE, max(min(FEW_BATCH, len(self.train) // FEWEST_BATCHES), 1)
        paces, targets = ([few], FEW_TARGETS) if len(full) < MANY_SAMPLES else (PACES, [TARGETS])
        students = [sizes(s, width, self.d, self.k, self.k * len(full) / each) for each in targets]
        self.trials = itertools.cycle(itertools.product(paces, students))
        self.batch = paces[0][1]

    def run(self) -> Finished:
        """The best network that keeps the limits, its loss over all samples, and before that over those held out."""
        best = self.finished(self.empty())
        while self.budget.left > 0 and shortfall(best) >= EXACT:
            net = self.within_limits(self.trial())
            if not (self.sums and (net.C < 0).any()):
                best = min(best, self.finished(net), key=shortfall)
        return self.unscaled(best[0]), *best[1:]

    def within_limits(self, net: Student) -> Student:
        """The network cut down to s weights and m neurons per layer without a skip, if it is not there yet."""
        if net.count <= self.s and net.width <= self.width and not net.M.any():
            return net
        net = without_skip(cut_to(net, self.data, SURPLUS * self.s))
        return reduced(net, self.data, self.free_refit, self.s, self.width)

    def finished(self, net: Student) -> Finished:
        """The network after the last steps, on all samples."""
        held_out = net.loss(self.held) if len(self.held) else None
        return *refined(net, self.full, Budget(LAST_STEPS), LAST_STEPS), held_out

    def unscaled(self, net: Student) -> Student:
        """The network for the inputs as they were given."""
        return replace(net, W=np.ldexp(net.W, -self.exponent))

    def empty(self) -> Student:
        """The network that is zero."""
        return Student(np.zeros((0, self.d)), np.zeros((0, 0)), np.zeros((self.k, 0)), np.zeros((self.k, 0)),
                       self.k == 1)

    def trial(self) -> Student:
        """A network that may be exact."""
        net, value = self.dense()
        if value > HOPELESS:
            return self.empty()
        net, value = self.cut_down(*self.condensed(net, value))
        net = self.smallest(net, value)
        for _ in range(WIDER):
            if net.loss(self.data) > EXACT or not self.missed(net):
                break
            net = self.smallest(*regrown(net, self.data, net.loss(self.data), self.budget, SURE, self.sums))
        self.report(net, net.loss(self.data))
        return net

    def missed(self, net: Student) -> bool:
        """Whether the network is not exact on all samples of training; those that it fits worst are used from then on.

        A row that is rarely open may be open nowhere in the samples before.
        """
        errors = np.sum((net.signals(self.train.XT).Y - self.train.y) ** 2, axis=0)
        if errors.mean() < EXACT * self.k:
            return False
        worst = self.train.take(np.sort(np.argsort(-errors, kind="stable")[:MISSED])).astype(np.float64)
        self.data = replace(worst, XT=np.hstack([worst.XT, self.data.XT]), y=np.hstack([worst.y, self.data.y]))
        return True

    def dense(self) -> tuple[Student, float]:
        """A dense student, and its loss; it is trained anew from where it is while that is too much, and falls."""
        (rate, self.batch), size = next(self.trials)
        net, value, before = random_student(self.d, self.k, *size, self.rng), 1.0, np.inf
        while FITTED < value < WORTHWHILE * before and not STUCK < value < 1 and self.budget.left > 0:
            before, net = value, self.training(net, falling(rate, STEPS))
            self.report(net, value := net.loss(self.data))
        return (replace(net, signs=True).balanced() if self.k == 1 else net), value

    def training(self, net: Student, rates: np.ndarray) -> Student:
        """The student after so many steps as there are rates, or fewer where the budget ends."""
        cost = STEP_COST * max(min(net.count / STEP_WEIGHTS, 1), 0.1)
        rates = rates[: max(int(self.budget.left / cost), 0)]
        self.budget.left -= cost * max(len(rates), 1)
        return trained(net, self.train, rates, self.rng, self.batch)

    def condensed(self, net: Student, value: float) -> tuple[Student, float]:
        """The student with copies merged, trained after each round; its loss."""
        for number, (steps, last) in enumerate(REFITS):
            net = merged(merged(net, self.data, value), self.data, 2 * value)
            if number:
                net = oriented(net, self.data, value, self.sums).balanced()
            net = self.training(net, np.geomspace(REFIT_RATE, last, steps))
            self.report(net, value := net.loss(self.data))
        return merged(net, self.data, 3 * value), value

    def cut_down(self, net: Student, value: float) -> tuple[Student, float]:
        """The sparse network of least loss, or the first that is exact; its loss."""
        best, lowest = net, np.inf
        for share in SHARES:
            other = cut(net, self.data, share * max(value, ACCURATE))
            other, after = refined(other, self.data, self.budget, CUT_STEPS, SURE)
            if after < REGROWABLE:
                other, after = regrown(other, self.data, after, self.budget, SURE, self.sums)
            self.report(other, after)
            if after < lowest:
                best, lowest = other, after
            if lowest < EXACT:
                break
        return best, lowest

    def refit(self, net: Student) -> tuple[Student, float]:
        """The steps after an elimination."""
        return refined(net, self.data, self.budget, ELIMINATION_STEPS, SURE / 100, EXACT)

    def free_refit(self, net: Student) -> tuple[Student, float]:
        """The same, not counted, for a network that is cut down to the limits."""
        return refined(net, self.data, Budget(REDUCTION_STEPS), REDUCTION_STEPS)

    def smallest(self, net: Student, value: float) -> Student:
        """Of a network that is exact, or nearly so, one with as few weights as elimination finds."""
        if value > SPARSE:
            return net
        net = self.lean(net, max(net.A.shape))
        self.report(net, net.loss(self.data))
        net = oriented(net, self.data, ORIENTED_BAR, self.sums)
        rows = without_skip(net)
        if self.k == 1 and rows.width > self.width:
            rows = without_skip(with_open_row(net, self.data, self.sums))
        net = self.lean(rows, self.width)
        return self.summed(net) if self.sums and (net.C < 0).any() else net

    def lean(self, net: Student, width: int) -> Student:
        """An exact network without the weights that can go, and with parallel units and rows merged."""
        while True:
            net = eliminated(net, self.data, self.refit, width, TRIES)
            other = self.joined(net)
            if other is net:
                return net
            net = other

    def joined(self, net: Student) -> Student:
        """With parallel units and rows merged, at the first bar at which it stays exact; itself if there are none."""
        for bar in PARALLEL_BARS:
            other = merged(net, self.data, bar)
            if other.A.shape == net.A.shape:
                break
            other, value = self.refit(other)
            if value < EXACT:
                return other
        return net

    def summed(self, net: Student) -> Student:
        """Without negative rows, if it is exact then; growth may find the right ones for them."""
        other, value = self.refit(net.part(np.arange(len(net.W)), net.C[0] > 0).tidied())
        if value > EXACT:
            other, value = regrown(other, self.data, value, self.budget, SURE, sums=True)
            if value > EXACT:
                return net
            other = self.lean(without_skip(oriented(other, self.data, ORIENTED_BAR, self.sums)), self.width)
        return other
