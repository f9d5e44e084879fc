"""The search on targets that a sparse network made: budgets that come down from above."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from beyond.gnhtp.layer import (
    EXACT,
    GAUSS_NEWTON_STEPS,
    NEARLY,
    PARALLEL,
    POLISHING_STEPS,
    SAME,
    Layer,
    State,
    by_loss,
    gauss_newton,
    merge,
    num_active,
    renumber,
)
from beyond.gnhtp.regrow import BREATHS, breath
from beyond.gnhtp.supports import CandidateGates, draw_singles, eliminate, select, splits
from numerics.arrays import to_device, to_host
from numerics.sparse import SparseVector, top_mask
from numerics.streams import Stream
from sensing import ReluSensing

PERIOD = 18  # outer steps per cycle
AT_S = 3  # the last of them, with s~ = s
WIDEST = (1.5, 1.3)  # c at the start of the first cycle, and of later ones
PATIENCE = 2  # steps that do not lower |r|^2 by 1 % before the boldest proposal is let through,
KICK = 0.05  # if it leaves at least 1 - KICK of |y|^2 explained


def relaxation(cycle: int, phase: int, period: int) -> float:
    """c of a step: from WIDEST down to 1 in equal ratios, and 1 in the last AT_S steps of a cycle."""
    down = period - AT_S
    return WIDEST[min(cycle, 1)] ** (1 - phase / down) if phase < down else 1.0


def proposals(data: Layer, A: ReluSensing, w: SparseVector, s: int, pool, solve: Callable) -> Iterator[SparseVector]:
    """New weights on at most s coordinates, the most daring first.

    Args:
        pool: None, or further coordinates: then supports chosen by backward elimination come first.
    """
    supports = select(A, w, data.residual(w), s)
    if pool is not None:
        for bold in (supports[:1], []):
            P = np.unique(np.concatenate([*bold, supports[-1], pool]))
            S = P[eliminate(A.columns(to_device(P, data.XT)), data.y, s)]
            yield SparseVector(S, solve(A, S, w), w.size)
    for S in supports[:-1] if len(w) else supports[:1]:
        yield SparseVector(S, solve(A, S, w), w.size)
    if len(w):
        kept = np.isin(w.indices, supports[-1])
        yield SparseVector(w.indices[kept], w.values[kept], w.size)


def outer_step(data: Layer, now: State, s: int, m: int, cosine: float, mend: bool, kick: bool, key, solve) -> State:
    """One step: the first proposal that does not raise the residual, or else the one that raises it least.

    Args:
        s, m: budget and width of this step.  cosine: of neurons that are merged.
        mend: look for neurons to split.  kick: take the first proposal that is not a disaster.
        key: of the random stream of the candidates.
    """
    d = data.d
    parts = splits(now.w, d) if mend else np.zeros((0, 2), dtype=np.int64)
    active = num_active(now.w, d)
    free = max(min(m, 2 * s + 8) - active, 0)
    singles = np.concatenate([parts, draw_singles(now.w, d, parts, free // 2, Stream.CANDIDATES.generator(*key))])
    slots = active + len(parts) + free
    w = renumber(now.w, d, slots)
    A = data.sensing(CandidateGates(w, d, singles, slots, key), slots)
    pool = (active + np.arange(len(parts))) * d + parts[:, 0] if mend and len(w) else None
    trials = []
    for v in proposals(data, A, w, s, pool, solve):
        trials.append(gauss_newton(data, merge(v.nonzero(), d, cosine, m), GAUSS_NEWTON_STEPS, solve))
        if trials[-1].loss <= (max(now.loss, KICK * data.energy) if kick else now.loss):
            return trials[-1]
    return min(trials, key=by_loss)


def anneal(data: Layer, s: int, m: int, steps: int, key: list[int], mend: bool, stand_in: Callable,
           solve: Callable) -> State:
    """Cycles of outer steps, the search on targets that a sparse network made.

    After the first cycle AIHT's answer takes its place if that is better. Later ones end with a breath, and the next
    one goes on from there even if that is worse: from the same state it would find the same again.

    Args:
        steps: at most; exchanges are not counted.  key: of the random streams.
        mend: from the second cycle on, look for neurons to split.  stand_in: function () -> State, of AIHT.
    """
    now = best = State(SparseVector.zeros(m * data.d), data.energy)
    period, stuck = min(PERIOD, steps), 0
    for step in range(steps):
        cycle, phase = divmod(step, period)
        c, before, kick = relaxation(cycle, phase, period), now.loss, stuck >= PATIENCE
        now = outer_step(data, now, math.ceil(c * s), math.ceil(c * m), PARALLEL if c > 1 and cycle == 0 else SAME,
                         mend=mend and cycle > 0, kick=kick, key=[*key, step], solve=solve)
        stuck = 0 if kick or now.loss <= 0.99 * before else stuck + 1
        best = min(best, answer(data, now, s, m, c > 1, solve), key=by_loss)
        if best.loss <= EXACT * data.energy:
            break
        if step == period - 1:
            now = best = min(best, stand_in(), key=by_loss)
        elif phase == period - 1:
            now, _ = breath(data, best, s, m, BREATHS[(cycle - 1) % len(BREATHS)], PERIOD, solve)
            best = min(best, now, key=by_loss)
    return best


def answer(data: Layer, now: State, s: int, m: int, relaxed: bool, solve: Callable) -> State:
    """The iterate as an answer with s weights and m neurons: itself; rounded, where it is almost exact; or none."""
    if not relaxed:
        return now
    if now.loss > NEARLY * data.energy:
        return State(now.w, math.inf)
    w = merge(now.w, data.d, PARALLEL, m)
    size = w.values * to_host(data.scale)[w.indices % data.d]
    kept = top_mask(np.abs(size), s)
    return gauss_newton(data, SparseVector(w.indices[kept], w.values[kept], w.size), POLISHING_STEPS, solve)
