"""Joint fit of two hidden layers: recovery of planted networks, where layer after layer fails. Ours, not the paper's.

    y = C relu(A relu(W x)),   at most s nonzero weights in W [m, d], A [m, m] and, of several outputs, C [k, m]

No first layer alone is close to y, so fitting one after the other, as AIHT does, stops at 10 to 40 dB. Descent on both
from a sparse start never leaves its basin either (1 of 18 small cells). What works is to fit first,
and to make sparse afterwards. For sums, C = 1, with few weights (FEW) the trials of search.py do that:

 1. Screening. The inputs that correlate with y, themselves or in magnitude, are in use from the start; the others come
    in when the residual asks for them (regrow.py).
 2. A dense fit. Both layers begin random, a little wider than the planted ones can be, and go to zero loss by
    Levenberg-Marquardt steps on all weights of the inputs in use (descent.py, network.py).
 3. A penalty, log(1 + (w / eps)^2), from strong to weak. On the way small weights are cut off, parallel units merged,
    and the rest fitted again (search.py). Where that leaves a little, missing weights are added, or a row of A that
    should be two is split (regrow.py).
 4. Backward elimination while the fit stays exact (eliminate.py), then a few steps on all samples.

A sparse network that does not fit yet, but comes closer, is filled up with small random weights and goes through 2 and
3 again; otherwise the next trial begins from new random weights (search.py). In 3 and 4 moves are tried that no descent
finds (orient.py): relu(z) = z + relu(-z), so a row of A may be turned round; rows or units that stand for one are
merged.

Several outputs, output signs, more weights and what the trials miss take dense students with signed outputs, trained by
SOAP (students.py).

`num_epochs` bounds the work of all this, so that a fit is the same on every run (descent.Budget); a unit of it takes
0.11 s on 5000 samples on one core of an AMD EPYC. docs/recovery.md has what was measured.

    python runner.py --task mlp_planted --method deep --mlist 5 --slist 20 --nmeasurements 10000
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import aiht
import options
from beyond.deep.descent import EXACT, ROUNDING, Budget, polish
from beyond.deep.eliminate import costless_directions
from beyond.deep.network import Samples, TwoLayers, loss
from beyond.deep.newton import refined
from beyond.deep.search import LAST_STEPS, Search
from beyond.deep.student import Student
from beyond.deep.students import StudentSearch
from fits import Callback, Details, FitState, Found, network_of, solver
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, to_host
from numerics.streams import Stream
from numerics.workspace import Workspace
from options import at_least, option

FEW = 100  # weights up to which the search by trials comes first
TRIALS = 250  # of the budget for it, at most: networks of so few weights that it recovers took 220 or less


@dataclass(frozen=True)
class Options(options.Options):
    """How far the joint fit goes."""

    num_epochs: int = option(1000, at_least(1), "limit on the search, in steps on 1000 free weights",
                             words="epochs {}")


@solver(Options, depths=(2,), planted=True)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Fit a network with two hidden layers, at most s weights in all, and say how far that went.

    One output that is nowhere negative is a sum of the last neurons; otherwise it has output weights +1 and -1, which
    do not count. It runs on the CPU; the bits of the result do not depend on the number of threads. The callback is
    called with each network of the search, dense or sparse; its loss is that on the samples of the search. The details:

        energy_left: |y_hat - y|^2 / |y|^2 over all samples.  exact: whether that is below EXACT, 100 dB.
        held_out: the same over the samples that only the last steps use, before them; None where there are none, or
            where the answer is AIHT's. The function is not recovered, only fitted, where it is much larger.
        determined: whether it fits up to rounding, held-out samples almost so, and no weight can move: what a fresh
            input gives. Otherwise fresh inputs may fit worse, by what a rarely active row contributes. Even so another
            network may give the same outputs with fewer weights (recovery.py): these need not be the planted ones.
        steps: work that the search took, in units of `num_epochs`.
    """
    X, y = to_host(X), to_host(y)
    scale = float(np.sqrt(np.mean(y.astype(np.float64) ** 2))) or 1.0
    Y, sums, number = (y / scale).astype(DTYPE), y.ndim == 1 and y.min() >= 0, itertools.count(1)
    XT, budget = np.ascontiguousarray(X.T, dtype=DTYPE), Budget(options.num_epochs if y.any() else 0)

    def report(net: TwoLayers | Student, value: float) -> None:
        if callback:
            callback(next(number), FitState(lambda: sparse_net(net, width, scale), float(value), layer=1))

    outputs = Samples(XT, np.ascontiguousarray(Y.reshape(len(Y), -1).T), work)
    net, left, held_out = searched(outputs, s, width, budget, Stream.TRIALS.generator(seed), sums, report)
    if left > EXACT:  # AIHT's answer, layer after layer, and a few joint steps on its weights
        start = as_student(aiht.fit(X, y / scale, s, width=width, num_layers=2, seed=seed, work=work))
        other, other_left = refined(start, outputs.astype(np.float64), Budget(LAST_STEPS), LAST_STEPS)
        if other_left < left:
            net, left, held_out = other, other_left, None
    data = (Samples(XT, Y, work) if isinstance(net, TwoLayers) else outputs).astype(np.float64)
    determined = left < ROUNDING and (held_out or 0) <= 10 * ROUNDING and not costless_directions(net, data)
    details: Details = {"energy_left": left, "exact": left < EXACT, "determined": determined, "held_out": held_out,
                        "steps": options.num_epochs * bool(y.any()) - budget.left}
    return Found(sparse_net(net, width, scale), details)


Report = Callable[[TwoLayers | Student, float], None]
Fitted = tuple[TwoLayers | Student, float, float | None]  # network, its loss over all samples, that over those held out


def searched(data: Samples, s: int, width: int, budget: Budget, rng: np.random.Generator, sums: bool,
             report: Report) -> Fitted:
    """What trials find, where there are few weights, and students where trials do not come first or are not exact."""
    found: list[Fitted] = []
    if sums and s <= FEW:
        share = Budget(min(TRIALS, budget.left))
        budget.left -= share.left
        found.append(by_trials(replace(data, y=data.y[0]), s, width, share, rng, report))
        budget.left += share.left
    if not found or found[0][1] > EXACT:
        found.append(StudentSearch(data, s, width, budget, rng, sums, report).run())
    return min(found, key=lambda each: each[1])


def by_trials(data: Samples, s: int, width: int, budget: Budget, rng: np.random.Generator, report: Report) -> Fitted:
    """What the search for few weights finds."""
    search = Search(data, s, width, budget, rng, report)
    net = search.run()
    held_out = loss(net, search.held) if len(search.held) else None
    return *polish(net, data.astype(np.float64), Budget(LAST_STEPS), LAST_STEPS, ROUNDING / 10), held_out


def as_student(net: SparseNet) -> Student:
    """A network of AIHT, with its outputs summed or not."""
    W, A = (layer.dense().astype(np.float64) for layer in net.layers)
    C = np.ones((1, len(A))) if net.output is None else net.output.dense().astype(np.float64)
    return Student(W, A, C, np.zeros((len(C), len(W))), net.output is None).tidied()


def sparse_net(net: TwoLayers | Student, width: int, scale: float) -> SparseNet:
    """As a SparseNet on the host with `width` neurons per layer or more, its outputs multiplied by `scale`."""
    d, width = net.W.shape[1], max(width, *net.A.shape)
    C = np.ones((1, len(net.A))) if isinstance(net, TwoLayers) else net.C
    A, C = (scale * net.A, C) if len(C) == 1 else (net.A, scale * C)
    layers = SparseLayer.from_dense(net.W, (width, d)), SparseLayer.from_dense(A, (width, width))
    summed = len(C) == 1 and (C == 1).all()
    return SparseNet(layers, None if summed else SparseLayer.from_dense(C, (len(C), width)))


fit = network_of(solve)
