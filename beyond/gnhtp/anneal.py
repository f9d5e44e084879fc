"""The search on targets that a sparse network made: cycles of outer steps, whose budgets come down from above.

In ablations of a prototype (n = 10000, 4 cells x 3 seeds) 12 fits were exact with all of it, 9 without c > 1, 10
without a second cycle, 10 without merging, 3 without candidates, 4 without Gauss-Newton steps.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from beyond.gnhtp.layer import POLISHING_STEPS, SAME, Iterate, LayerProblem, merge, num_active, renumber
from beyond.gnhtp.regrow import EXCHANGES, SHARES, regrow
from beyond.gnhtp.supports import CandidateGates, draw_singles, keep_best, select, splits, with_singles
from numerics.arrays import to_host
from numerics.sparse import SparseVector, top_mask
from numerics.streams import Stream

PERIOD = 18  # outer steps per cycle
AT_S = 3  # the last of them, with s~ = s
WIDEST = (1.5, 1.3)  # c at the start of the first cycle, and of later ones
ALIKE = 0.999  # cosine above which neurons are added up while there is room to spare in the first cycle; else SAME
PROGRESS, PATIENCE = 0.99, 2  # a kick follows on PATIENCE steps in a row that leave more than 0.99 of |r|^2
KICK = 0.05  # |r|^2 / |y|^2 up to which a kick may raise the residual
NEARLY_EXACT = 1e-9  # |r|^2 / |y|^2 of a fit with room to spare that is worth rounding to s weights


class Step(NamedTuple):
    """What an outer step may do."""

    s: int  # s~, its budget
    m: int  # m~, its width
    cosine: float  # above which it adds up neurons
    split: bool  # whether it tries to split neurons
    kick: bool  # whether it may raise the residual; see outer_step
    key: tuple[int, ...]  # of the random stream of its candidates


def schedule(layer: LayerProblem, number: int, period: int, kick: bool) -> Step:
    """What outer step `number`, counted from 0, may do. It splits only where Gram matrices may be formed anyway.

    c comes down from WIDEST to 1 in equal ratios, and is 1 in the last AT_S steps of a cycle.
    """
    (cycle, phase), down = divmod(number, period), period - AT_S
    c = WIDEST[min(cycle, 1)] ** (1 - phase / down) if phase < down else 1.0
    return Step(math.ceil(c * layer.s), math.ceil(c * layer.m), cosine=ALIKE if c > 1 and cycle == 0 else SAME,
                split=cycle > 0 and layer.cg_steps is None, kick=kick, key=(*layer.key, number))


def trials(layer: LayerProblem, now: Iterate, step: Step) -> Iterator[Iterate]:
    """What an outer step may go to, with new neurons on offer; those first that change the support most.

    First come supports chosen by backward elimination, where neurons may be split; then least squares for each step
    scale; last the weights that are there, cut to s~. Gauss-Newton steps follow.
    """
    d, active = layer.d, num_active(now.w, layer.d)
    parts = splits(now.w, d) if step.split else np.zeros((0, 2), dtype=np.int64)
    free = max(min(step.m, 2 * step.s + 8) - active, 0)  # new gates; no more than s~ neurons can get weights
    singles = np.concatenate([parts, draw_singles(now.w, d, parts, free // 2, Stream.CANDIDATES.generator(*step.key))])
    slots = active + len(parts) + free
    w = renumber(now.w, d, slots)
    gates = with_singles(w, d, singles)
    A = layer.sensing(CandidateGates(gates, d, slots, step.key), slots)

    def finished(v: SparseVector) -> Iterate:
        return layer.gauss_newton(merge(v.nonzero(), d, step.cosine, step.m))

    supports = select(A, w, layer.residual(w), step.s)
    if step.split and len(w):
        places = gates.indices[len(w) :][: len(parts)]
        for pool in ([supports[0], supports[-1], places], [supports[-1], places]):
            yield finished(layer.solve(A, keep_best(layer, A, np.unique(np.concatenate(pool)), step.s), w))
    for S in supports[:-1] if len(w) else supports[:1]:  # without weights the step scales select the same
        yield finished(layer.solve(A, S, w))
    if len(w):
        kept = np.isin(w.indices, supports[-1])
        yield finished(SparseVector(w.indices[kept], w.values[kept], w.size))


def outer_step(layer: LayerProblem, now: Iterate, step: Step) -> Iterate:
    """The first trial that does not raise |r|^2, or else the one that raises it least.

    With a kick the first that leaves no more than KICK |y|^2 will do, too: a way out where nothing helps.
    """
    most = max(now.loss, KICK * layer.energy) if step.kick else now.loss
    tried = []
    for trial in trials(layer, now, step):
        if trial.loss <= most:
            return trial
        tried.append(trial)
    return min(tried)


def answer(layer: LayerProblem, now: Iterate, step: Step) -> Iterate:
    """The iterate after a step as an answer with s weights and m neurons.

    After a step with room to spare that is the iterate rounded, if it is almost exact; or else none, with an infinite
    |r|^2.
    """
    if step.s <= layer.s:
        return now
    if now.loss > NEARLY_EXACT * layer.energy:
        return Iterate(now.w, math.inf)
    w = merge(now.w, layer.d, ALIKE, layer.m)
    size = w.values * to_host(layer.scale)[w.indices % layer.d]
    kept = top_mask(np.abs(size), layer.s)
    return layer.gauss_newton(SparseVector(w.indices[kept], w.values[kept], w.size), POLISHING_STEPS)


def anneal(layer: LayerProblem, steps: int) -> Iterate:
    """Cycles of outer steps, from no weights; the best answer of all.

    AIHT's answer competes with the first cycle's. Every later cycle ends by regrowing the best support, and the next
    one starts from the result even where that is worse: from where it was, the search would only come back. `steps`
    bounds the number of outer steps; exchanges are not counted.
    """
    now = best = Iterate(SparseVector.zeros(layer.m * layer.d), layer.energy)
    period, stuck = min(PERIOD, steps), 0
    for number in range(steps):
        step, before = schedule(layer, number, period, stuck >= PATIENCE), now.loss
        now = outer_step(layer, now, step)
        layer.report(now)
        stuck = 0 if step.kick or now.loss <= PROGRESS * before else stuck + 1
        best = min(best, answer(layer, now, step))
        if layer.is_exact(best):
            break
        cycle, phase = divmod(number, period)
        if number == period - 1:
            now = best = min(best, layer.aiht_answer())
        elif phase == period - 1:
            now, _ = regrow(layer, best, SHARES[(cycle - 1) % len(SHARES)], EXCHANGES)
            best = min(best, now)
    return best
