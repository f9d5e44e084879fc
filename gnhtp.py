"""Gauss-Newton hard thresholding pursuit (GNHTP): recovers planted networks where AIHT stops.

Ours, not the paper's. It looks for what aiht.py looks for, a network y_hat = sum_j relu(X w_j) with at most s nonzero
weights and m neurons, on the same operators. Read aiht.py first; the README's "Beyond the paper" has the measurements.

    python runner.py --task mlp_planted --method gnhtp --mlist 20 --slist 100

An outer step adds candidate neurons with gates drawn anew (a neuron that lost its weights would never return), chooses
the s~ coordinates that promise most, solves for their weights by least squares, and takes Gauss-Newton steps, in which
the gates follow the weights. Its answer must not raise the true residual r = y - sum_j relu(X w_j), or more timid ones
are tried, and the best of them is taken. The budget s~ = c s and the width m~ = c m start above s and m and come down,
in cycles: the theory, too, asks for s~ > s. Where the first cycle does worse than AIHT, the second starts from that.

That is for targets that a sparse network made (`anneal`). On others the support grows from below (`breathe`): exchanges
add coordinates and eliminate others, and count only where the true residual falls; a support of s weights is cut back
and grown again.

The iterate is a SparseVector on the host, its active neurons numbered from 0; samples stay where XT is.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

import numpy as np

import aiht
from models import SparseNet
from sensing import (
    DTYPE,
    RandomGates,
    ReluSensing,
    SparseVector,
    WeightGates,
    Workspace,
    array_module,
    draw_rows,
    largest,
    rank,
    sample_tiles,
    to_device,
    to_host,
)

# The schedule of anneal. In ablations of a prototype (n = 10000, 4 cells x 3 seeds) 12 were exact with all of it, 9
# without c > 1, 10 without a second cycle, 3 without candidates, 4 without Gauss-Newton steps.
PERIOD = 18  # outer steps per cycle
AT_S = 3  # the last of them, with s~ = s
WIDEST = (1.5, 1.3)  # c at the start of the first cycle, and of later ones
DARING = (1.0, 0.25, 0.06, 0.0)  # mu, from bold to timid; 0 only refines the weights that are there
GAUSS_NEWTON_STEPS, POLISHING_STEPS = 2, 3
MOVES = 0.5 ** np.arange(1, 6)  # of the way to the least squares solution, when all of it is too far
PARALLEL, SAME = 0.999, 1 - 1e-5  # cosine of neurons that are merged: while s~ > s in the first cycle, and otherwise
PATIENCE = 2  # steps that do not lower |r|^2 by 1 % before the boldest proposal is let through,
KICK = 0.05  # if it leaves at least 1 - KICK of |y|^2 explained
EXACT, NEARLY = 1e-11, 1e-9  # |r|^2 / |y|^2 of an exact fit (117 to 125 dB), and of one worth rounding to s nonzeros
AIHT_STEPS = 100  # of the fit that takes over after a first cycle that did worse (the paper's number for images)

# On targets that no sparse network made; see breathe.
BREATHS = (0.5, 0.7, 0.85)  # shares of s that the second, third, fourth cycle starts from, and so on in turn
GROWTH = 10  # steps of a cycle in which the support grows to s, where all of them succeed
REFUSALS = 4  # exchanges in a row that end a cycle, each half as large as the one before; or one of 1
WORTH = 1e-4  # an exchange must lower |r|^2 by that share

RIDGE = 1e-6  # of the mean diagonal of the Gram matrix; ten times more, as often as needed, where that is indefinite
CG_STEPS = {True: 100, False: 10}  # conjugate gradients: for targets that a sparse network made, and for others
CONVERGED = 1e-13  # |r|^2, of the first one, where conjugate gradients are done, in single precision
FLAT = 1e-12  # |A_S p|^2 / |p|^2, for columns of unit norm, that may be nothing but rounding
TINY = 1e-300  # keeps conjugate gradients from 0 / 0: those that are done, and columns that are 0
COLUMN_FLOOR = 1e-3  # added to column norms, in units of sqrt(n): columns that are hardly ever on promise nothing

CANDIDATE_STREAM = 7  # named random stream: default_rng([seed, stream, layer, step, block])


class State(NamedTuple):
    """An iterate and its |r|^2."""

    w: SparseVector
    loss: float


by_loss = attrgetter("loss")


class CandidateGates:
    """Gate generators of an outer step: the active neurons' weights, then single inputs +-e_k, then draws of N(0, I_d).

    The draws are made when asked for, on the host.

    Args:
        w: the iterate, neurons 0 ... active - 1.  singles: (k, sign) [c, 2], the gates sign e_k of c further neurons.
        slots: number of gates in all.  key: of the random stream.
    """

    def __init__(self, w: SparseVector, d: int, singles: np.ndarray, slots: int, key: list[int]):
        self.w, self.d, self.singles, self.key = w, d, singles, key
        self.active = num_active(w, d)
        self.neurons = np.arange(slots)

    def rows(self, neurons: np.ndarray) -> np.ndarray:
        """Gate generators [b, d] for ascending neurons [b]."""
        first, last = np.searchsorted(neurons, [self.active, self.active + len(self.singles)])
        rows = self.w.rows(neurons, self.d)
        k, sign = self.singles[neurons[first:last] - self.active].T
        rows[np.arange(first, last), k] = sign
        rows[last:] = draw_rows(neurons[last:], len(self.neurons), self.d, self._draw)
        return rows

    def _draw(self, block: int, count: int) -> np.ndarray:
        return np.random.default_rng([*self.key, block]).standard_normal((count, self.d), dtype=DTYPE)


class Layer:
    """The data of one layer, and the products that the method takes of them.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].
    """

    def __init__(self, XT, y, work: Workspace):
        self.XT, self.y, self.work, self.xp = XT, y, work, array_module(XT)
        self.d, self.n = XT.shape
        nothing = SparseVector.zeros(self.d)
        self.energy = self.losses(nothing, nothing, [0])[0]  # |y|^2

    @functools.cached_property
    def scale(self):
        """Root mean square of each input [d]."""
        squares = self.work.sum(lambda tile: self.xp.square(self.XT[:, tile]).sum(axis=1), self._tiles(self.XT))
        return self.xp.sqrt(squares / self.n)

    def sensing(self, gates, slots: int) -> ReluSensing:
        return ReluSensing(self.XT, gates, slots, self.work)

    def residual(self, w: SparseVector):
        """r = y - sum_j relu(X w_j) [n]."""
        inputs, W = self._dense(w)

        def part(tile):
            return self.y[tile] - self.xp.maximum(W @ self.XT[inputs, tile], 0).sum(axis=0)

        return self.xp.concatenate(self.work.map(part, self._tiles(W)))

    def single_promise(self, r):
        """Correlation with r over the norm [2 d], of relu(X_k) for each input k, then of relu(-X_k)."""

        def part(tile):
            up = self.xp.maximum(self.XT[:, tile], 0)
            both = self.xp.concatenate([up, up - self.XT[:, tile]])
            return self.xp.stack([both @ r[tile], self.xp.square(both).sum(axis=1)])

        G, squares = self.work.sum(part, self._tiles(self.XT))
        return G / (self.xp.sqrt(squares) + COLUMN_FLOOR * math.sqrt(self.n))

    def losses(self, w: SparseVector, v: SparseVector, moves) -> np.ndarray:
        """|r|^2 at w + t (v - w) for each t of `moves`; w and v have the same indices."""
        (inputs, W), (_, V) = self._dense(w), self._dense(v)
        D = V - W

        def part(tile):
            X, y = self.XT[inputs, tile], self.y[tile]
            Z, dZ = W @ X, D @ X
            residuals = (y - self.xp.maximum(Z + DTYPE(t) * dZ, 0).sum(axis=0) for t in moves)
            return self.xp.stack([self.xp.sum(self.xp.square(r, dtype=np.float64)) for r in residuals])

        return to_host(self.work.sum(part, self._tiles(W)))

    def _dense(self, w: SparseVector):
        """The inputs in use, and the weights of the active neurons on them [b, inputs]."""
        inputs, neurons = np.unique(w.indices % self.d), np.unique(w.indices // self.d)
        return to_device(inputs, self.XT), to_device(w.rows(neurons, self.d)[:, inputs], self.XT)

    def _tiles(self, W) -> list[slice]:
        return sample_tiles(max(len(W), 1), self.n, self.xp)


# ---- least squares on a support ----


def cholesky(A_S, y) -> np.ndarray:
    """Least squares by the normal equations in float64, then one refinement of the residual."""
    K = positive_definite(to_host(A_S.gram_matrix()))
    x = np.linalg.solve(K, to_host(A_S.adjoint(y)))
    r = y - A_S.apply(to_device(x, y))
    return x + np.linalg.solve(K, to_host(A_S.adjoint(r)))


def positive_definite(K: np.ndarray) -> np.ndarray:
    """K + ridge I for the smallest ridge of 1e-6, 1e-5, ... of the mean diagonal that has a Cholesky factor.

    Products in single precision leave a Gram matrix of nearly equal columns slightly indefinite.
    """
    if not np.isfinite(K).all():
        raise FloatingPointError("a Gram matrix is not finite; are all inputs?")
    ridge = RIDGE * np.trace(K) / max(len(K), 1) or 1.0
    while True:
        ridged = K + ridge * np.eye(len(K))
        try:
            np.linalg.cholesky(ridged)
            return ridged
        except np.linalg.LinAlgError:
            ridge *= 10


def conjugate_gradients(A_S, y, x, steps: int) -> np.ndarray:
    """Least squares by conjugate gradients from x, columns scaled to unit norm.

    They are done where what is left is the rounding of single precision, which would be blown up along directions in
    which A_S is FLAT.
    """
    norms = A_S.norms()
    scale = 1 / (norms + RIDGE**0.5 * (norms @ norms / max(len(norms), 1)) ** 0.5 + TINY)
    z = x / scale
    r = scale * A_S.adjoint(y - A_S.apply(x))  # minus half the gradient
    p, done = r, CONVERGED * (r @ r)
    for _ in range(steps):
        q = scale * A_S.gram(scale * p)
        going_on = (r @ r > done) & (p @ q > FLAT * (p @ p))
        mu = going_on * (r @ r) / (p @ q + TINY)
        z, before, r = z + mu * p, r @ r, going_on * (r - mu * q)
        p = r + (r @ r) / (before + TINY) * p
    return to_host(scale * z)


# ---- supports ----


def select(A: ReluSensing, w: SparseVector, r, s: int) -> list[np.ndarray]:
    """For each mu of DARING the s coordinates where |N w + mu G / N| is largest, from one pass over A.

    G = A' r and N are the column norms: (G / N)^2 is what column and residual alone would gain, (N w)^2 what dropping a
    weight would cost if columns were orthogonal.
    """

    def promises(weights, G, N):
        weighted = N * weights
        return [weighted + mu * G / N for mu in DARING]

    return leading(A, w, r, s, len(DARING), promises)


def newcomers(A: ReluSensing, w: SparseVector, r, count: int) -> np.ndarray:
    """The `count` coordinates without weight that alone would gain most, |G| / N; see select."""
    [S] = leading(A, w, r, count, 1, lambda weights, G, N: [(weights == 0) * G / N])
    return S


def leading(A: ReluSensing, w: SparseVector, r, s: int, count: int, promises: Callable) -> list[np.ndarray]:
    """For each of `count` promises the s coordinates where it is largest in magnitude and not 0, from one pass over A.

    Args:
        promises: function (weights, G = A' r, column norms N) -> the promises, of the same coordinates.
    """
    xp = array_module(r)
    w = SparseVector(to_device(w.indices, r), to_device(w.values, r), w.size)
    tops = [(w.indices[:0], w.values[:0])] * count
    for place, G, N in A.correlations(r):
        N += COLUMN_FLOOR * math.sqrt(len(r))
        tops = [largest(xp.concatenate([indices, place]), xp.concatenate([values, promise.astype(DTYPE)]), s)
                for (indices, values), promise in zip(tops, promises(w.at(place), G, N), strict=True)]
    return [to_host(indices[values != 0]) for indices, values in tops]


def eliminate(A_P, y, s: int) -> np.ndarray:
    """Places [s] of the columns of a pool that survive backward elimination.

    Without column i, least squares leaves x_i^2 / (K^-1)_ii more, K = A_P' A_P: unlike the size of a weight, that sees
    which columns can stand in for each other. A quarter of the excess goes at a time.
    """
    b = to_host(A_P.adjoint(y))
    inverse = np.linalg.inv(positive_definite(to_host(A_P.gram_matrix())))
    left = np.arange(len(b))
    while len(left) > s:
        cost = (inverse @ b[left]) ** 2 / np.diag(inverse)  # the diagonal is positive, since the matrix is definite
        worst = np.argsort(cost, kind="stable")[: max(1, (len(left) - s) // 4)]
        kept = np.delete(np.arange(len(left)), worst)
        shared = inverse[np.ix_(kept, worst)]  # the inverse of what stays is a Schur complement
        inverse = inverse[np.ix_(kept, kept)] - shared @ np.linalg.solve(inverse[np.ix_(worst, worst)], shared.T)
        left = left[kept]
    return left


def splits(w: SparseVector, d: int) -> np.ndarray:
    """Gates (k, sign) [c, 2] for the single weights of all neurons that have several.

    The usual last mistake is a neuron that stands for two planted ones of nearly the same direction, one of them with a
    single weight. No correlation shows it: their columns differ in the few samples between the two gates only.
    """
    return np.unique(directions(w, d)[~alone(w, d)], axis=0)


def draw_singles(w: SparseVector, d: int, taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` gates (k, sign) at random, for inputs k in use: where most neurons of a sparse network point.

    Not those of `taken`, nor the gate of a neuron that is there with its one weight: its columns would be there twice.
    """
    everything = [(k, sign) for k in np.unique(w.indices % d) for sign in (-1, 1)]
    known = set(map(tuple, np.concatenate([taken, directions(w, d)[alone(w, d)]])))
    free = np.array([single for single in everything if single not in known], dtype=np.int64).reshape(-1, 2)
    return rng.permutation(free)[:count]


def best_singles(data: Layer, w: SparseVector, r, count: int) -> np.ndarray:
    """The `count` gates (k, sign) [c, 2] of which relu(sign X_k), with a positive weight, alone would gain most.

    Not those of neurons that are there with this one weight.
    """
    promise = to_host(data.single_promise(r)).reshape(2, data.d)
    for k, sign in directions(w, data.d)[alone(w, data.d)]:
        promise[0 if sign > 0 else 1, k] = 0
    order = np.argsort(-promise, axis=None, kind="stable")[:count]
    row, k = np.divmod(order[promise.ravel()[order] > 0], data.d)
    return np.stack([k, 1 - 2 * row], axis=1)


def directions(w: SparseVector, d: int) -> np.ndarray:
    """Input and sign (k, sign) [len(w), 2] of each weight."""
    return np.stack([w.indices % d, np.sign(w.values).astype(np.int64)], axis=1)


def alone(w: SparseVector, d: int) -> np.ndarray:
    """Whether each weight [len(w)] is the only one of its neuron."""
    neuron = w.indices // d
    return np.bincount(neuron, minlength=1)[neuron] == 1


# ---- the iterate ----


def num_active(w: SparseVector, d: int) -> int:
    """Neurons that have weights."""
    return len(np.unique(w.indices // d))


def renumber(w: SparseVector, d: int, slots: int) -> SparseVector:
    """The same neurons, numbered from 0 in the same order, among `slots` of them."""
    neuron, k = np.divmod(w.indices, d)
    return SparseVector(np.unique(neuron, return_inverse=True)[1] * d + k, w.values, slots * d)


def merge(w: SparseVector, d: int, cosine: float, width: int) -> SparseVector:
    """Add up neurons whose vectors enclose more than this cosine, and keep the `width` largest."""
    neurons, inputs = np.unique(w.indices // d), np.unique(w.indices % d)
    W = w.rows(neurons, d)[:, inputs].astype(np.float64)
    U = W / np.linalg.norm(W, axis=1, keepdims=True)
    near = U @ U.T > cosine
    owner = np.arange(len(W))
    for j in range(len(W)):
        if owner[j] == j:
            owner[near[j] & (owner == np.arange(len(W))) & (owner > j)] = j
    merged = np.zeros_like(W)
    np.add.at(merged, owner, W)
    merged[~rank(np.linalg.norm(merged, axis=1), width)] = 0
    row, column = np.nonzero(merged.astype(DTYPE))
    return SparseVector(neurons[row] * d + inputs[column], merged[row, column].astype(DTYPE), w.size)


def gauss_newton(data: Layer, w: SparseVector, steps: int, solve: Callable) -> State:
    """Least squares with the gates of w, taken as far as the true residual falls; then with the new gates."""
    loss = data.energy
    for _ in range(steps if len(w) else 0):
        A = data.sensing(WeightGates(w, data.d), w.size // data.d)
        v = SparseVector(w.indices, solve(A, w.indices, w), w.size)
        loss, whole = data.losses(w, v, (0, 1))
        if whole < loss:
            w, loss = v, whole
            continue
        shorter = data.losses(w, v, MOVES)
        falls = np.flatnonzero(shorter < loss)
        if not len(falls):
            break
        w = SparseVector(w.indices, w.values + DTYPE(MOVES[falls[0]]) * (v.values - w.values), w.size)
        loss = shorter[falls[0]]
    return State(w.nonzero(), float(loss))


# ---- the search ----


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
    singles = np.concatenate([parts, draw_singles(now.w, d, parts, free // 2, np.random.default_rng(key))])
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


# ---- the search on targets that no sparse network made ----


def exchange(data: Layer, w: SparseVector, s: int, m: int, count: int, solve: Callable) -> State:
    """Add `count` coordinates, of the neurons there are and of new ones, and eliminate; up to half of them stay extra.

    A new neuron begins with a single input's gate, which a weight on that input alone gives it again.
    """
    d, r = data.d, data.residual(w)
    active = num_active(w, d)
    singles = best_singles(data, w, r, min(count, m - active))
    slots = active + len(singles)
    w = renumber(w, d, slots)
    k, sign = singles.T
    gates = SparseVector(np.concatenate([w.indices, (active + np.arange(len(singles))) * d + k]),
                         np.concatenate([w.values, sign.astype(DTYPE)]), w.size)
    A = data.sensing(WeightGates(gates, d), slots)
    P = np.union1d(w.indices, newcomers(A, w, r, count))
    S = P[eliminate(A.columns(to_device(P, data.XT)), data.y, min(s, len(w) + max(1, count // 2)))]
    v = toward(data, A, S, w, solve)
    return gauss_newton(data, merge(v.nonzero(), d, SAME, m), GAUSS_NEWTON_STEPS, solve)


def toward(data: Layer, A: ReluSensing, S: np.ndarray, w: SparseVector, solve: Callable) -> SparseVector:
    """w on a support S, all of the way to least squares there, or the half, quarter, ... where the residual is least.

    The gates of A are not yet those of the solution, of which all of the way may be too much.
    """
    here, there = w.at(S), solve(A, S, w)
    moves = np.array([1.0, *MOVES])
    losses = data.losses(SparseVector(S, here, w.size), SparseVector(S, there, w.size), moves)
    return SparseVector(S, here + DTYPE(moves[np.argmin(losses)]) * (there - here), w.size)


def exhale(data: Layer, w: SparseVector, s: int, solve: Callable) -> State:
    """The s weights that eliminating the others leaves."""
    A = data.sensing(WeightGates(w, data.d), w.size // data.d)
    S = w.indices[eliminate(A.columns(to_device(w.indices, data.XT)), data.y, s)]
    return gauss_newton(data, toward(data, A, S, w, solve).nonzero(), GAUSS_NEWTON_STEPS, solve)


def breath(data: Layer, now: State, s: int, m: int, share: float, steps: int, solve: Callable) -> tuple[State, int]:
    """Cut the support back to share s weights, and let it grow again by exchanges that lower the true residual.

    Returns the state, which may be worse, and the exchanges it took, at most `steps`.
    """
    now = exhale(data, now.w, int(share * s), solve)
    count = most = max(2, int(2 * (1 - share) * s / GROWTH))
    refusals, taken = 0, 0
    while taken < steps and count and refusals < REFUSALS and now.loss > EXACT * data.energy:
        trial = exchange(data, now.w, s, m, count, solve)
        taken += 1
        if trial.loss < now.loss * (1 - WORTH):
            now, count, refusals = trial, min(2 * count, most), 0
        else:
            count, refusals = count // 2, refusals + 1
    return now, taken


def breathe(data: Layer, s: int, m: int, steps: int, stand_in: Callable, solve: Callable) -> State:
    """Breaths, each from the best state so far, until all of BREATHS were in vain; the first begins with nothing.

    Budgets from below, the opposite of the schedule above: where no sparse network fits, columns that a larger support
    found worth its while are not those of a good smaller one.

    Args:
        steps: exchanges at most.  stand_in: function () -> State that competes with the end of the first breath.
    """
    best, taken = breath(data, State(SparseVector.zeros(0), data.energy), s, m, 0.0, min(steps, PERIOD), solve)
    if best.loss > EXACT * data.energy:
        best = min(best, stand_in(), key=by_loss)
    in_vain = 0
    for share in itertools.cycle(BREATHS):
        if taken == steps or in_vain == len(BREATHS) or best.loss <= EXACT * data.energy:
            return best
        now, more = breath(data, best, s, m, share, min(steps - taken, PERIOD), solve)
        best, taken, in_vain = min(best, now, key=by_loss), taken + more, 0 if now.loss < best.loss else in_vain + 1


# ---- fits ----


def solver(data: Layer, least_squares: str, realizable: bool) -> Callable:
    """The function (A, S, w) -> x [s], least squares on A_S, starting from w."""

    def solve(A, S, w):
        A_S = A.columns(to_device(S, data.XT))
        if least_squares == "cholesky":
            return cholesky(A_S, data.y).astype(DTYPE)
        return conjugate_gradients(A_S, data.y, to_device(w.at(S), data.XT), CG_STEPS[realizable]).astype(DTYPE)

    return solve


def answer(data: Layer, now: State, s: int, m: int, relaxed: bool, solve: Callable) -> State:
    """The iterate as an answer with s weights and m neurons: itself; rounded, where it is almost exact; or none."""
    if not relaxed:
        return now
    if now.loss > NEARLY * data.energy:
        return State(now.w, math.inf)
    w = merge(now.w, data.d, PARALLEL, m)
    size = w.values * to_host(data.scale)[w.indices % data.d]
    kept = rank(np.abs(size), s)
    return gauss_newton(data, SparseVector(w.indices[kept], w.values[kept], w.size), POLISHING_STEPS, solve)


def aiht_answer(data: Layer, s: int, m: int, seed: int, layer: int) -> State:
    """What AIHT finds: a better start, where a first cycle ends in nonsense (on images with large s and m)."""
    schedule = aiht.with_updates(aiht.batches(data.n, 0, AIHT_STEPS, None), 1)
    gates = RandomGates(seed, layer, m, data.d)
    [(w, _)] = deque(aiht.iterates(data.XT, data.y, s, gates, schedule, data.work), maxlen=1)  # of the last step
    w = w.to_host()
    return State(w, data.losses(w, w, [0])[0])


def fit_layer(XT, y, s: int, m: int, *, seed: int, layer: int, steps: int, realizable: bool, least_squares: str,
              work: Workspace) -> SparseVector:
    """Fit one layer, y ~ sum_j relu(X w_j), with at most s nonzeros in w [m d]; on the host.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].
        layer: its number, for the random streams.  steps: at most.  The others: see fit.
    """
    data, d = Layer(XT, y, work), len(XT)
    if not d:
        return SparseVector.zeros(0)
    solve, stand_in = solver(data, least_squares, realizable), functools.partial(aiht_answer, data, s, m, seed, layer)
    if realizable:
        best = anneal(data, s, m, steps, [seed, CANDIDATE_STREAM, layer], least_squares == "cholesky", stand_in, solve)
    else:
        best = breathe(data, s, m, steps, stand_in, solve)
    return renumber(gauss_newton(data, best.w, POLISHING_STEPS, solve).w, d, m)


def fit(X, y, s: int, *, width: int, num_layers: int = 1, num_epochs: int = 108, realizable: bool = False,
        least_squares: str = "auto", seed: int = 0, work: Workspace) -> SparseNet:
    """Fit a ReLU network of scalar output, layer by layer; see aiht.fit for the arguments that it shares.

    Args:
        num_epochs: outer steps per layer, or exchanges where no sparse network made y, at most. Not counted: AIHT's
            steps, and the exchanges of the breaths between outer steps, at most PERIOD per cycle.
        realizable: whether a sparse network made y. Then accurate least squares pay; on other targets ten steps of
            conjugate gradients generalise better to the next gates (exact solves cost 10 to 50 dB on images).
        least_squares: "cholesky", "cg" (memory O(n s) at most, no Gram matrix) or "auto", by `realizable`.
    """
    if least_squares == "auto":
        least_squares = "cholesky" if realizable else "cg"

    budget = s // num_layers

    def fit_one(XT, fan_in: int, layer: int) -> SparseVector:
        return fit_layer(XT, y, budget, width, seed=seed, layer=layer, steps=num_epochs, realizable=realizable,
                         least_squares=least_squares, work=work)

    return SparseNet(aiht.layer_by_layer(X, width, num_layers, fit_one))
