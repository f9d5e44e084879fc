"""One warm path over the number of weights: creases are added while they pay, then weights go, one after the other.

 1. Crease pursuit with budgets of 8, 16, 32, ... weights, each begun with the creases of the one before, until the
    network is exact, or more did not pay (search.py). The linear functions of x are free in all of them.
 2. The creases of a budget become neurons with a linear part, each open on the side that leaves the linear part the
    fewest weights (`oriented`).
 3. Backward elimination of all weights, those of the linear part included, down to nothing (`shrinking`). The linear
    model gets a path of its own. Of all networks with one number of weights the best stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from beyond.creases.fit import SEARCH_SAMPLES
from beyond.creases.orient import orient
from beyond.creases.samples import Neurons
from beyond.estimators.network import Equations, Network, Samples, criterion, living, price, refitted, squares, without
from beyond.estimators.search import FEW_RESTARTS, LARGE, MUCH, RESTARTS, Rung, growing

EXACT = 1e-10  # of |Y|^2: less is left of an exact fit, 100 dB
FREE = 1e-9  # of |w|: an intercept that Gauss-Newton moves
CANCELLED = 0.5  # of a line: less is left of it where a neuron was on the wrong side
PER_WEIGHT = 5  # samples of an exact network to tell which of its weights are rounding
ROUNDING = 1e-13  # what a weight may bring that is nothing but rounding
POLISHING_STEPS = 4
REMOVED = 0.1  # of the weights that are left go at a time, above ONE_BY_ONE, or FEW_BY_ONE with many samples
ONE_BY_ONE, FEW_BY_ONE = 40, 8
NOTHING = 2.0  # times the variance of the noise: what costs less may well be noise
FEW_RUNGS, RUNGS = 3, 8  # budgets from whose creases weights are taken out


@dataclass(frozen=True)
class Point:
    """A network on the path: s weights, and the share of |Y|^2 that it leaves of the data of the fit."""

    s: int
    left: float
    net: Network


@dataclass(frozen=True)
class Path:
    """Networks by ascending numbers of weights, each with a lower loss than those before; is the last one exact?

    And linear ones: with as many weights they leave more, but may lose less on fresh data.
    """

    points: list[Point]
    exact: bool
    linear: list[Point] = field(default_factory=list)


def quick_path(data: Samples, counted: np.ndarray, most: int, seed: int) -> Path:
    """The exact network, if growing budgets find it at once, after the creases of smaller ones."""
    rungs, point = grown(data, counted, most, seed, (0, 0))
    return until_exact(data, counted, rungs, point)


def fit_path(data: Samples, counted: np.ndarray, most: int, seed: int) -> Path:
    """The path for some samples; weights on the inputs that are `counted` [d] count."""
    rungs, point = grown(data, counted, most, seed, (FEW_RESTARTS, RESTARTS))
    if point:
        return until_exact(data, counted, rungs, point)
    part = data.spread(SEARCH_SAMPLES)
    linear = linear_points(data, counted)
    points = list(linear)
    rungs.sort(key=attrgetter("value"))
    much = plain_point(part, *rungs[0][:2], counted).left > MUCH
    for creases, B, *_ in rungs[: 1 if data.count > LARGE else RUNGS if much else FEW_RUNGS]:
        noise = plain_point(part, creases, B, counted).left * part.energy / part.count
        points += shrinking(oriented(part, creases, B, noise), part, counted)
    return Path(envelope(points), False, envelope(linear))


def grown(data: Samples, counted: np.ndarray, most: int, seed: int, restarts: tuple[int, int]
          ) -> tuple[list[Rung], Point | None]:
    """The rungs until one is exact, without it, and the smallest exact network of that, or None."""
    rungs: list[Rung] = []
    for stage in growing(data, most, seed, restarts):
        if stage.fitted and (point := exact_point(data, *stage[:2], counted)):
            return rungs, point
        rungs.append(stage)
    return rungs, None


def until_exact(data: Samples, counted: np.ndarray, rungs: Sequence[Rung], point: Point | None) -> Path:
    """The creases of each budget as they are, and the exact network, if there is one."""
    plain = [plain_point(data, *stage[:2], counted) for stage in rungs]
    return Path(envelope([*plain, *([point] if point else [])]), point is not None)


def oriented(data: Samples, creases: Neurons, B: np.ndarray, noise: float, exact: bool = False) -> Network:
    """The network of creases sum_j v_j |w_j . x| + B x; `noise` is the variance of the targets beside it.

    Where that is `exact` the noise is rounding, and entries of the linear part within their errors are left out.

    A crease v |z| is 2 v relu(z) - v z or 2 v relu(-z) + v z. The sides are those of crease pursuit, and then each is
    turned where that leaves fewer weights of the linear part, up to its errors.
    """
    scatter = np.linalg.pinv(data.XT @ data.XT.T, rcond=1e-12, hermitian=True)
    error = np.sqrt(np.maximum(noise, 0) * np.maximum(np.diag(scatter), 0))  # of B
    size = np.linalg.norm(creases.W, axis=0) + np.linalg.norm(B, axis=0)
    tolerance = np.broadcast_to(5 * error + 1e-5 * size + 1e-300, B.shape)
    sides = np.ones(len(creases.W))
    if len(sides):
        Q, _ = orient(creases, B, tolerance)
        sides = np.where(np.sum(Q * creases.V, axis=1) < 0, -1.0, 1.0)
    linear = B - (sides[:, None] * creases.V).T @ creases.W
    turned = True
    while turned:
        turned = False
        for j, (w, v) in enumerate(zip(creases.W, creases.V, strict=True)):
            other = linear + 2 * sides[j] * np.outer(v, w)
            if weight_of(other, tolerance) < weight_of(linear, tolerance) - 1e-6:
                linear, sides[j], turned = other, -sides[j], True
    W = 2 * sides[:, None] * creases.W
    if exact:
        return Network(W, creases.V, np.where(np.abs(linear) > tolerance, linear, 0)).tidied()
    if data.constant:  # every neuron has an intercept that may go
        W[:, -1] += np.where(W[:, -1] == 0, FREE * np.linalg.norm(W, axis=1), 0)
    return Network(W, creases.V, linear).tidied()


def weight_of(linear: np.ndarray, tolerance: np.ndarray) -> float:
    """About how many entries are not nothing."""
    return float(np.minimum(np.abs(linear) / tolerance, 1).sum())


def linear_points(data: Samples, counted: np.ndarray) -> list[Point]:
    """Linear models with ever fewer weights, by backward elimination from the one with all."""
    (d, n), k = data.XT.shape, len(data.Y)
    nothing = Network(np.zeros((0, d)), np.zeros((0, k)), np.zeros((k, d)))
    many = d > n // 2  # then those that correlate most
    strength = np.abs(data.Y @ data.XT.T) / np.linalg.norm(data.XT, axis=1).clip(1e-300)
    kept = strength >= np.partition(strength.ravel(), -n // 2)[-n // 2] if many else strength > 0
    net = nothing._replace(A=np.where(kept | ~counted, 1e-300, 0.0))
    return list(shrinking(net, data, counted))


def shrinking(net: Network, data: Samples, counted: np.ndarray, steps: int = 3) -> Iterator[Point]:
    """Networks with ever fewer weights, down to none that is counted."""
    by_one = ONE_BY_ONE if data.count <= LARGE else FEW_BY_ONE
    energy, dear = data.energy or 1.0, price(data.count, net)
    noise, limit, limits = 0.0, 0.0, [NOTHING, 3 * NOTHING, dear]

    def choose(cost: np.ndarray) -> np.ndarray:
        s = now.net.num_weights(counted)
        cost = np.where(removability(now.net, counted), cost, np.inf)
        cheap = int(np.count_nonzero(cost < limit * noise))
        if limit == dear and cheap:
            limits.append(dear)  # once more, until every weight is worth what it costs
        count = max(1, cheap) if cheap or s <= by_one else int(REMOVED * s)
        return np.argsort(cost, kind="stable")[:max(1, min(count, s if s > by_one else 1))]

    now = refitted(net, data, 2 * steps)
    noise = now.loss / max(data.count - len(now.gradient), 1)
    yield Point(now.net.num_weights(counted), now.loss / energy, now.net)
    while now.net.num_weights(counted) > 0:
        limit = limits.pop(0) if limits else 0.0
        now = on_better_sides(refitted(without(now, data, choose), data, steps), data, counted, steps)
        yield Point(now.net.num_weights(counted), now.loss / energy, now.net)


def on_better_sides(now: Equations, data: Samples, counted: np.ndarray, steps: int) -> Equations:
    """Neurons on their other side, relu(z) = z + relu(-z), if A has fewer weights then and the criterion falls."""
    W, A = now.net.W.copy(), now.net.A.copy()
    for j, v in enumerate(now.net.V):
        line = np.outer(v, W[j])
        other = np.where(np.abs(A + line) < CANCELLED * np.abs(line), 0, A + line)
        if np.count_nonzero(other) < np.count_nonzero(A):
            W[j], A = -W[j], other
    if np.count_nonzero(A) == np.count_nonzero(now.net.A):
        return now
    trial = refitted(now.net._replace(W=W, A=A), data, steps)
    return min(now, trial, key=lambda each: criterion(each.loss, data.count, each.net.num_weights(counted), each.net))


def removability(net: Network, counted: np.ndarray) -> np.ndarray:
    """Which of the free weights [P] count."""
    W, V, A = net.free
    return np.concatenate([np.broadcast_to(counted, W.shape)[W], np.ones(np.count_nonzero(V), dtype=bool),
                           np.broadcast_to(counted, A.shape)[A]])


def plain_point(data: Samples, creases: Neurons, B: np.ndarray, counted: np.ndarray) -> Point:
    """Creases as they are, both sides of each a neuron: of no use but to know how far they come."""
    net = Network(np.concatenate([creases.W, -creases.W]), np.concatenate([creases.V, creases.V]), B)
    return Point(net.num_weights(counted), squares(net, data) / (data.energy or 1.0), net)


def exact_point(data: Samples, creases: Neurons, B: np.ndarray, counted: np.ndarray) -> Point | None:
    """The smallest exact network with these creases; None if there is none."""
    size = np.count_nonzero(creases.W) + np.count_nonzero(creases.V) + B.size
    part = data.spread(max(PER_WEIGHT * size, 1000))
    rounding = plain_point(part, creases, B, counted).left * part.energy / part.count
    for noise in rounding, 0.0:  # 0: with entries of the linear part that are within their errors
        net = living(oriented(part, creases, B, noise, exact=True), data)
        now = refitted(without_rounding(net, part, counted), data, 2)
        if now.loss <= EXACT * (data.energy or 1.0):
            return Point(now.net.num_weights(counted), now.loss / (data.energy or 1.0), now.net)
    return None


def without_rounding(net: Network, data: Samples, counted: np.ndarray) -> Network:
    """An exact network without weights that bring nothing but rounding."""
    now = refitted(net, data, POLISHING_STEPS, 1e-3)
    limit = max(ROUNDING * data.energy, now.loss)
    while now.net.num_weights(counted):
        before = now.net.num_weights(counted)
        now = refitted(without(now, data, lambda cost: np.flatnonzero(cost < limit)), data, POLISHING_STEPS)
        if now.net.num_weights(counted) == before:
            break
    return now.net


def envelope(points: Iterable[Point]) -> list[Point]:
    """By ascending s, those that leave less than all with fewer weights."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.s, point.left)):
        if not best or point.left < best[-1].left:
            best.append(point)
    return best
