"""From arrays to a network in their units: scaling, the path, the choice, and what is known of the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from beyond.estimators.choice import Choice, among_families, as_left, at_most, by_criterion, least
from beyond.estimators.logistic import Labels, converged, fit_logistic_path
from beyond.estimators.network import Network, Samples, curvature, normal_equations, price, refitted, squares
from beyond.estimators.path import EXACT, Path, Point, fit_path, quick_path
from beyond.estimators.report import DataNetwork
from beyond.estimators.search import MUCH
from beyond.estimators.two_layers import TwoLayers, exact_two_layers, may_have_two_layers

MOST_WEIGHTS = 1000  # of the largest budget, at most
PER_WEIGHT = 4  # numbers for each weight of the largest budget, at least
FAR = 100  # standard deviations: an input with a larger mean is centred, and its intercepts are not sparse


class Table(NamedTuple):
    """Inputs X [n, d], targets Y [n, k] and weights [n] of the samples, float64."""

    X: np.ndarray
    Y: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> Table:
        return Table(*(array[rows] for array in self))

    def distinct(self) -> Table:
        """Every sample once, with the weight of its copies, which follow one another."""
        X, Y, weight = self
        new = (X[1:] != X[:-1]).any(axis=1) | (Y[1:] != Y[:-1]).any(axis=1)
        first = np.flatnonzero(np.r_[True, new])
        return Table(X[first], Y[first], np.add.reduceat(weight, first))


Folds = list[tuple[np.ndarray, np.ndarray]]  # numbers of the samples of a fit, and of those held out


@dataclass(frozen=True)
class Plan:
    """How to fit; as the parameters of the estimators."""

    num_nonzero: int | None = None
    fit_intercept: bool = True
    count_intercepts: bool = True
    choice: str = "auto"
    one_standard_error: bool = False
    folds: Folds | None = None
    seed: int = 0
    num_layers: int | None = 1

    def counted(self, d: int) -> np.ndarray:
        """Which of d inputs, the last of them the constant, count."""
        counted = np.ones(d, dtype=bool)
        counted[-1:] = self.count_intercepts or not self.fit_intercept
        return counted

    def limits(self, data: Samples | Labels) -> tuple[np.ndarray, int, int]:
        """For these samples: which inputs count, the largest budget, and the seed."""
        most = min(MOST_WEIGHTS, int(data.count) // PER_WEIGHT, self.num_nonzero or MOST_WEIGHTS)
        return self.counted(len(data.XT)), max(most, 1), self.seed


def in_one_order(table: Table, plan: Plan) -> tuple[Table, Plan]:
    """The samples that have weight in an order of their own, and the plan with their new numbers in its folds.

    So copies and weights, and samples in another order, give the same bits: a search in single precision would make
    other networks of them. Folds without weight on one side go; without any left the criterion decides.
    """
    given = np.flatnonzero(table.weight > 0)
    X, Y, weight = table.take(given)
    order = given[np.lexsort([weight, *Y.T, *X.T])]
    place = np.full(len(table.X), -1)
    place[order] = np.arange(len(order))
    folds = [tuple(np.sort(place[part][place[part] >= 0]) for part in fold) for fold in plan.folds or []]
    kept = [(train, test) for train, test in folds if len(train) and len(test)]
    return table.take(order), replace(plan, folds=kept or None)


@dataclass(frozen=True)
class Scaling:
    """Inputs less `shift` [d], divided by `scale` [d], and a constant input; targets divided by `unit` [k]."""

    shift: np.ndarray
    scale: np.ndarray
    unit: np.ndarray
    constant: bool

    @classmethod
    def of(cls, table: Table, constant: bool) -> Scaling:
        """For these samples."""
        X, Y, weight = table
        mean = np.average(X, axis=0, weights=weight) if constant else np.zeros(X.shape[1])
        deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
        varies = deviation > 1e-10 * np.abs(X).max(axis=0, initial=0)
        center = np.average(Y, axis=0, weights=weight) if constant else 0
        unit = np.sqrt(np.average((Y - center) ** 2, axis=0, weights=weight).mean())
        unit = unit if unit > 1e-13 * np.abs(Y).max(initial=0) else np.abs(Y).max(initial=0)  # that is rounding
        shift = np.where(np.abs(mean) > FAR * deviation, mean, 0.0)
        return cls(shift, np.where(varies, deviation, np.inf), np.full(Y.shape[1], unit if unit > 0 else 1.0), constant)

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """XT [d, n] of the search, the constant included."""
        XT = np.ones((X.shape[1] + self.constant, len(X)))
        XT[: X.shape[1]] = ((X - self.shift) / self.scale).T
        return XT

    def samples(self, table: Table) -> Samples:
        """Rows times the roots of the weights, see network.py."""
        X, Y, weight = table.distinct()
        root = np.sqrt(weight)
        copies = weight.sum() * Y.shape[1] if (weight != 1).any() else None
        return Samples(self.inputs(X) * root, np.ascontiguousarray((Y / self.unit).T) * root, self.constant, copies)

    def labels(self, table: Table) -> Labels:
        """The same for targets that say classes."""
        X, Y, weight = table.distinct()
        return Labels(self.inputs(X), np.ascontiguousarray(Y.T), weight, self.constant)

    def undo(self, net: Network) -> DataNetwork:
        """The network in the units of the data."""
        d = len(self.scale)

        def split(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            slopes = W[:, :d] / self.scale
            return slopes, W[:, d:].sum(axis=1) - slopes @ self.shift

        bent = net.W[:, :d].any(axis=1)  # the others are constants
        A, c = split(net.A)
        W, b = split(net.W)
        c = c + np.maximum(b[~bent], 0) @ net.V[~bent]
        W, b, V = W[bent], b[bent], net.V[bent]
        if len(self.unit) == 1:
            return DataNetwork(((W * self.unit, b * self.unit),), V, A * self.unit, c * self.unit)
        return DataNetwork(((W, b),), V * self.unit, A * self.unit[:, None], c * self.unit)


@dataclass(frozen=True)
class Fitted:
    """What a fit found: the choice, and the networks of the path in the units of the data."""

    choice: Choice
    networks: list[DataNetwork]
    exact: bool
    determined: bool
    energy_left: float

    @property
    def network(self) -> DataNetwork:
        return self.networks[self.choice.place]


def fit_networks(table: Table, plan: Plan) -> Fitted:
    """Fit targets of any kind. ValueError where no exact network of two hidden layers is found, but was asked for."""
    table, plan = in_one_order(table, plan)
    once = table.distinct()
    scaling = Scaling.of(once, plan.fit_intercept)
    data, path = scaling.samples(table), None
    if plan.num_layers == 2 or plan.num_layers is None and may_have_two_layers(once.Y):
        path = quick_path(data, *plan.limits(data))
        if not path.exact or plan.num_layers == 2:
            deep = two_layers(once, plan)
            if deep:
                return with_two_layers(path, scaling, deep)
            if plan.num_layers == 2:
                raise ValueError("num_layers: no exact network of two hidden layers was found, or none within "
                                 "num_nonzero; noise and targets below zero have none; use 1")
    if not (path and path.exact):
        path = fit_path(data, *plan.limits(data))
    choice = chosen(path, data, table, scaling, plan)
    points = list(choice.points)
    if not path.exact:
        points[choice.place] = polished(points[choice.place], data)
    point = points[choice.place]
    exact = path.exact and point.left <= EXACT
    return Fitted(choice, [scaling.undo(point.net) for point in points], exact,
                  exact and is_determined(point.net, data), float(point.left))


def two_layers(table: Table, plan: Plan) -> TwoLayers | None:
    """An exact network of two hidden layers within the weights of the plan."""
    if table.Y.shape[1] > 1 or table.Y.min() < 0:
        return None
    deep = exact_two_layers(table.X, table.Y[:, 0], plan.seed)
    most = MOST_WEIGHTS if plan.num_nonzero is None else plan.num_nonzero
    return deep if deep and deep.network.num_weights(plan.count_intercepts) <= most else None


def with_two_layers(path: Path, scaling: Scaling, deep: TwoLayers) -> Fitted:
    """The exact network, after those of one hidden layer."""
    values = np.array([*(point.left for point in path.points), deep.energy_left])
    choice = Choice(path.points, len(path.points), "exact", values)
    networks = [*(scaling.undo(point.net) for point in path.points), deep.network]
    return Fitted(choice, networks, True, deep.determined, deep.energy_left)


def fit_labels(table: Table, plan: Plan) -> Fitted:
    """Fit labels Y [n, k], one-hot, or [n, 1] of 0 and 1, by cross-entropy; energy_left: see `without_inputs`."""
    table, plan = in_one_order(table, plan)
    scaling = replace(Scaling.of(table.distinct(), plan.fit_intercept), unit=np.ones(table.Y.shape[1]))
    data = scaling.labels(table)
    path = fit_logistic_path(data, *plan.limits(data))
    choice = chosen_by_labels(path, table, scaling, plan)
    left = choice.points[choice.place].left / without_inputs(table, plan.fit_intercept)
    nets = [point.net for point in choice.points]
    nets[choice.place] = converged(nets[choice.place], data)
    return Fitted(choice, [scaling.undo(net) for net in nets], False, False, left)


def without_inputs(table: Table, constant: bool) -> float:
    """The cross-entropy of the frequencies of the classes, or, without a constant, of equal ones."""
    from scipy.special import entr

    p = np.average(table.Y, axis=0, weights=table.weight)
    p = np.append(p, 1 - p) if len(p) == 1 else p
    return float(entr(p).sum() if constant else np.log(len(p)))


def chosen_by_labels(path: Path, table: Table, scaling: Scaling, plan: Plan) -> Choice:
    """The network of a path that the plan asks for."""
    points, total = path.points, float(table.weight.sum())
    if plan.num_nonzero is not None:
        return as_left(points, at_most(points, plan.num_nonzero), "given")
    if plan.folds is None:
        return least(points, [2 * total * point.left + price(total, point.net) * point.s for point in points])
    parts, tests = zip(*([scaling.labels(table.take(rows)) for rows in fold] for fold in plan.folds), strict=True)
    fits = [fit_logistic_path(part, *plan.limits(part)) for part in parts]
    return among_families(path, fits, tests,
                          lambda net, test: test.loss(net.outputs(test.XT)) * test.total * len(tests) / total,
                          plan.one_standard_error)


def chosen(path: Path, data: Samples, table: Table, scaling: Scaling, plan: Plan) -> Choice:
    """The network of a path that the plan asks for; `data` are the samples of the table."""
    points = path.points
    if plan.num_nonzero is not None:
        return as_left(points, at_most(points, plan.num_nonzero), "given")
    if path.exact:
        return as_left(points, len(points) - 1, "exact")
    by_value = by_criterion(path, data)
    if plan.folds is None or plan.choice == "auto" and points[by_value.place].left < MUCH:
        return by_value
    parts, tests = zip(*([scaling.samples(table.take(rows)) for rows in fold] for fold in plan.folds), strict=True)
    fits = [fit_path(part, *plan.limits(part)) for part in parts]
    count = data.count / len(tests)
    return among_families(path, fits, tests, lambda net, test: squares(net, test) / count, plan.one_standard_error)


def shuffled_folds(n: int, count: int, seed: int) -> Folds:
    """So many folds of n samples."""
    parts = np.array_split(np.random.default_rng([seed, n]).permutation(n), count)
    return [(np.setdiff1d(np.arange(n), part), np.sort(part)) for part in parts]


def polished(point: Point, data: Samples) -> Point:
    """The network after Gauss-Newton steps on all samples, to the end."""
    now = refitted(point.net, data, 20, 1e-12)
    return Point(point.s, now.loss / (data.energy or 1.0), now.net)


def is_determined(net: Network, data: Samples) -> bool:
    """Whether an exact network is one on fresh inputs, too.

    There must be twice as many numbers as weights, so that no network fits by chance; no direction of the weights may
    be free (the Gram matrix of the Jacobian has full rank), and every neuron must bend among the samples: enough
    on both of its sides, or what it does beyond them is not known.
    """
    gram, _, _ = normal_equations(net, data)
    if 2 * len(gram) > data.Y.size:
        return False
    stiff = curvature(net, gram, 0.0)
    scale = 1 / np.sqrt(np.diag(stiff).clip(1e-300))
    if len(gram) and np.linalg.eigvalsh(stiff * scale * scale[:, None])[0] < 1e-9:
        return False
    opened = (net.W @ data.XT > 0).sum(axis=1)
    few = np.count_nonzero(net.W, axis=1) + 1
    return bool((np.minimum(opened, data.XT.shape[1] - opened) >= few).all())
