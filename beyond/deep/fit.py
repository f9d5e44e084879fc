"""Recovery of planted networks with two hidden layers: both are fitted at once. Ours, not the paper's.

    y = sum_j relu(A_j relu(W x)),   at most s nonzero weights in W [m, d] and A [m, m] together

Fitting one layer after the other, as AIHT does, stops at 10 to 40 dB: no first layer alone is close to y, so nothing
says which one is right. Descent on both from a sparse start never leaves its basin either (1 of 18 small cells). What
works is to fit first and to make sparse afterwards:

 1. Screening. The inputs that correlate with y, themselves or in magnitude, are in use from the start; the others come
    in when the residual asks for them (regrow.py).
 2. A dense fit. Both layers begin random, a little wider than the planted ones can be, and go to zero loss by
    Levenberg-Marquardt steps on all weights of the inputs in use (descent.py, network.py).
 3. A penalty, log(1 + (w / eps)^2), from strong to weak. On the way small weights are cut off, parallel units merged,
    and the rest fitted again (sparsify.py). Where that leaves a little, missing weights are added, or a row of A that
    should be two is split (regrow.py).
 4. Backward elimination while the fit stays exact (eliminate.py), then a few steps on all samples.

A sparse network that does not fit yet, but comes closer, is filled up with small random weights and goes through 2 and
3 again; otherwise the next trial begins from new random weights. In 3 and 4 moves are tried that no descent finds
(orient.py): relu(z) = z + relu(-z), so a row of A may be turned round; rows or units that stand for one are merged.

`num_epochs` bounds the work of all this, in steps on 1000 free weights and 5000 samples (descent.Budget), so that a fit
is the same on every run; such a step takes 0.11 s on one core of an AMD EPYC. What was measured (n = 10000, d = 100):
(m, s) = (5, 10) to (20, 50) in 0.1 to 7 s, 30 of 30 exact; (5, 50), (10, 100), (50, 100) in 1 to 95 s, 12 of 12;
(20, 100) in 15 to 28 s, 7 of 8 (the miss ends at 97 dB after 108 s); (20, 200) is not found (30 to 33 dB).

    python runner.py --task mlp_planted --method deep --mlist 5 --slist 20 --nmeasurements 10000
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import aiht
from beyond.deep.descent import Budget, descend, polish
from beyond.deep.eliminate import SURE, costless_directions, eliminated, reduced
from beyond.deep.network import Samples, TwoLayers, loss
from beyond.deep.orient import moves
from beyond.deep.regrow import correlated_inputs, missing_inputs, regrown
from beyond.deep.sparsify import FITTED, sparsified
from models import Callback, FitState, SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, fit_data, to_host
from numerics.streams import Stream
from numerics.workspace import Workspace, workspace_or_new

SEARCH_SAMPLES, PER_WEIGHT = 5000, 4  # drawn at random for the search; at least so many per weight of a dense net
HELD_OUT = 0.1  # share of the samples that only the last steps use
SIZES = [(1.2, 0.8), (1.8, 1.2), (1.5, 1.0), (2.4, 1.6)]  # of the dense networks (k1, k2), in units of `units_in_use`
SPARE = 2  # and so many units and rows more
ROUNDS = 6  # of dense and sparse fits in a trial
DENSE_STEPS, INPUT_ROUNDS = 12, 6  # between additions of inputs; how often
HOPELESS = 2e-3  # loss of a dense fit that is not worth making sparse
EXACT = 1e-10  # loss that counts as zero: 100 dB below the power of y
ROUNDING = 1e-14  # loss at which labels in single precision leave nothing to fit
PROGRESS = 0.1  # a round must bring the loss below this share of that of the round before
LAST_STEPS = 20  # on all samples, in double precision
FILL = 0.02  # deviation of the weights that fill up a sparse network, and of those of new rows of A, tenfold

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Args:
        net: at most s nonzero weights, at most m neurons per layer.
        energy: |y_hat - y|^2 / |y|^2 over all samples; the fit is exact if it is below EXACT.
        held_out: the same over the samples that only the last steps use, before them; NaN where there is none, or where
            the answer is AIHT's.
            The function is not recovered, only fitted, where this is much larger than `energy`.
        free_directions: directions in which the weights can move without a change of the outputs at any sample, beyond
            the scale of each hidden unit. The weights are not identified unless this is 0.
        steps: work that the search took, in units of `num_epochs`.
    """

    net: SparseNet
    energy: float
    held_out: float
    free_directions: int
    steps: float

    @property
    def exact(self) -> bool:
        """Whether nothing is left of y that can be seen at 100 dB."""
        return self.energy < EXACT

    @property
    def determined(self) -> bool:
        """Whether it fits up to rounding, held-out samples almost so, and no weight can move: what a fresh input gives.

        Otherwise fresh inputs may fit worse, by what a rarely active row contributes. Even so another network may give
        the same outputs with fewer weights (recovery.py), so the weights need not be the planted ones.
        """
        return self.energy < ROUNDING and not self.held_out > 10 * ROUNDING and self.free_directions == 0


def units_in_use(s: int, m: int) -> float:
    """How many of m hidden units have an input and a use when s / 2 weights of each layer are in random places."""
    return m * (1 - np.exp(-s / (2 * max(m, 1)))) ** 2


class Search:
    """Trials from random weights until one is exact, with at most s weights and m neurons per layer.

    The trials use a part of the samples in single precision (`data`), elimination all but those held out in double
    precision (`accurate`).

    Args:
        full: all samples, y with a mean square of 1.  steps: see descent.Budget.
        report: called with (network, loss) after each dense fit, each one made sparse and each elimination.
    """

    def __init__(self, full: Samples, s: int, width: int, steps: float, rng: np.random.Generator,
                 report: Callable[[TwoLayers, float], None]):
        self.report = report
        self.s, self.width, self.budget, self.rng = s, width, Budget(steps), rng
        held, order = np.split(rng.permutation(len(full)), [int(HELD_OUT * len(full))])
        d = len(full.XT)
        k1, k2 = self.sizes(*SIZES[0])
        used = d * (1 - np.exp(-s / (2 * d)))  # inputs, when s / 2 weights are in random places
        count = max(SEARCH_SAMPLES, int(PER_WEIGHT * k1 * (used + k2)))
        self.data = full.take(np.sort(order[:count]))
        self.accurate, self.held = (full.take(np.sort(part)).astype(np.float64) for part in (order, held))
        self.inputs = correlated_inputs(full)

    def sizes(self, units: float, rows: float) -> tuple[int, int]:
        """(k1, k2) of a dense network, from an entry of SIZES."""
        k = units_in_use(self.s, self.width)
        return int(units * k) + SPARE, int(rows * k) + SPARE

    def fits(self, net: TwoLayers) -> bool:
        """Whether it has at most s weights and m neurons per layer."""
        return net.count <= self.s and max(net.A.shape) <= self.width

    def run(self) -> TwoLayers:
        """The best network that fits the limits; the empty one if no trial came close."""
        empty = np.zeros((0, len(self.data.XT)))
        best, lowest, trial = TwoLayers(empty, np.zeros((0, 0))), 1.0, 0
        while self.budget.left > 0 and lowest >= EXACT:
            for net, value in self.trial(*SIZES[trial % len(SIZES)]):
                if not self.fits(net):
                    net = reduced(net, self.data, self.s, self.width)
                    value = loss(net, self.data)
                    if value < EXACT:
                        net, value = self.smallest(net, value)
                if value < lowest:
                    best, lowest = net, value
            trial += 1
        return best

    def trial(self, units: float, rows: float) -> Iterator[tuple[TwoLayers, float]]:
        """Yield the sparse networks (net, loss) of one trial that are worth a look, within the limits or not."""
        net, before = self.random_net(units, rows), np.inf
        for number in range(ROUNDS):
            net, value = self.dense_fit(net)
            log.info("dense: %d weights, loss %.1e, %.0f steps left", net.count, value, self.budget.left)
            self.report(net, value)
            if value > HOPELESS or self.budget.left <= 0:
                return
            net, value = sparsified(net, self.data, value, self.budget, EXACT)
            log.info("round %d: %d weights, loss %.1e", number, net.count, value)
            self.report(net, value)
            if value < EXACT:
                yield self.smallest(net, value)
                return
            yield net, value
            if value > PROGRESS * before:
                return
            net, before = self.filled_up(net), value

    def smallest(self, net: TwoLayers, value: float) -> tuple[TwoLayers, float]:
        """An exact network with as few weights as elimination finds, and its loss."""
        if value > ROUNDING:
            net, value = polish(net, self.data, self.budget, LAST_STEPS, ROUNDING)
        net = eliminated(net, self.accurate, self.budget, EXACT, self.width)
        while simpler := self.simpler(net):
            net = simpler
        if (value := loss(net, self.accurate)) > SURE and net.count:
            grown, value = regrown(net, self.accurate, value, self.budget, SURE)
            if value < SURE:
                net = eliminated(grown, self.accurate, self.budget, EXACT, self.width)
        log.info("eliminated: %d weights, %d units, %d rows", net.count, *net.A.shape[::-1])
        value = loss(net, self.accurate)
        self.report(net, value)
        return net, value

    def simpler(self, net: TwoLayers) -> TwoLayers | None:
        """An exact network with fewer weights, from a move and another elimination; None where no move leads to one."""
        for other in moves(net):
            other, value = polish(other, self.accurate, self.budget, LAST_STEPS, ROUNDING)
            if value < EXACT:
                other = eliminated(other, self.accurate, self.budget, EXACT, self.width)
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
        power = float(self.data.mean(lambda XT, _: np.sum(net.predict(XT) ** 2)))
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
            W[:, new] = FILL / 20 * self.rng.normal(size=(len(W), len(new)))
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


def greedy(X: np.ndarray, y: np.ndarray, s: int, width: int, seed: int, data: Samples) -> tuple[TwoLayers, float]:
    """AIHT's answer, layer after layer, and a few joint steps on its weights; its loss on `data`, y in their units."""
    net = aiht.fit(X, y, s, width=width, num_layers=2, seed=seed, work=data.work)
    return descend(TwoLayers(*(layer.dense().astype(np.float64) for layer in net.layers)), data, Budget(LAST_STEPS),
                   LAST_STEPS)


def sparse_net(net: TwoLayers, width: int, scale: float) -> SparseNet:
    """As a SparseNet on the host with `width` neurons per layer or more, its outputs multiplied by `scale`."""
    d, width = net.W.shape[1], max(width, *net.A.shape)
    return SparseNet((SparseLayer.from_dense(net.W, (width, d)), SparseLayer.from_dense(scale * net.A, (width, width))))


def reporter(callback: Callback | None, width: int, scale: float) -> Callable[[TwoLayers, float], None]:
    """The function with which a Search calls a callback; see sparse_net."""
    number = itertools.count(1)

    def report(net: TwoLayers, value: float) -> None:
        if callback:
            callback(next(number), FitState(lambda: sparse_net(net, width, scale), float(value), layer=1))

    return report


def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int = 2, num_epochs: int = 1000, seed: int = 0,
          work: Workspace | None = None, callback: Callback | None = None) -> Found:
    """Fit a network with two hidden layers and summed outputs, and say how far that went.

    It runs on the CPU, on the threads of `work`; the bits of the result do not depend on their number.

    Args:
        X: inputs [n, d].  y: targets [n].
        s: nonzero weights in both layers together.  width: neurons m per hidden layer.
        num_epochs: work of the search, at most, see descent.Budget.
        seed: of the random weights and of the samples for the search.
        work: threads; without it the fit runs on one.
        callback: called with each network of the search, dense or sparse; its loss is that on the samples searched.
    Raises:
        ValueError: X, y, s or width cannot be fitted (fit_data), or num_layers is not 2.
    """
    if num_layers != 2:
        raise ValueError(f"this method fits two hidden layers, num_layers is {num_layers}")
    X, y = fit_data(X, y, s, width)
    if y.ndim != 1:
        raise ValueError(f"this method fits one output: y must hold targets [n], its shape is {y.shape}")
    X, y = to_host(X), to_host(y)
    scale = float(np.sqrt(np.mean(y.astype(np.float64) ** 2))) or 1.0
    with workspace_or_new(work) as work:
        full = Samples(np.ascontiguousarray(X.T, dtype=DTYPE), (y / scale).astype(DTYPE), work)
        search = Search(full, s, width, num_epochs if y.any() else 0, Stream.TRIALS.generator(seed),
                        reporter(callback, width, scale))
        net = search.run()
        held_out = loss(net, search.held) if len(search.held) else np.nan
        accurate = full.astype(np.float64)
        net, energy = polish(net, accurate, Budget(LAST_STEPS), LAST_STEPS, ROUNDING / 10)
        if energy > EXACT and y.any():
            other, other_energy = greedy(X, y / scale, s, width, seed, full)
            if other_energy < energy:
                net, energy, held_out = other, other_energy, np.nan
        free = costless_directions(net, accurate)
        return Found(sparse_net(net, width, scale), energy, held_out, free, num_epochs - search.budget.left)


def fit(X: Array, y: Array, s: int, *, width: int, num_layers: int = 2, num_epochs: int = 1000, seed: int = 0,
        work: Workspace | None = None, callback: Callback | None = None) -> SparseNet:
    """The network that `solve` finds; the same arguments."""
    return solve(X, y, s, width=width, num_layers=num_layers, num_epochs=num_epochs, seed=seed, work=work,
                 callback=callback).net
