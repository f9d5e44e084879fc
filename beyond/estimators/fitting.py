"""From arrays to a network in their units: scaling, the path, the choice, and what is known of the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from beyond.estimators.choice import Choice, among_families, at_most, by_criterion, least
from beyond.estimators.logistic import Labels, converged, fit_logistic_path
from beyond.estimators.network import Network, Samples, curvature, normal_equations, price, refitted, squares
from beyond.estimators.path import EXACT, Path, Point, fit_path
from beyond.estimators.report import DataNetwork
from beyond.estimators.search import MUCH
from beyond.estimators.two_layers import exact_two_layers, may_have_two_layers

MOST_WEIGHTS = 1000  # of the largest budget, at most
PER_WEIGHT = 4  # numbers for each weight of the largest budget, at least
FAR = 100  # standard deviations: an input with a larger mean is centred, and its intercepts are not sparse


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

    def most(self, count: float) -> int:
        """The largest budget for so many numbers."""
        return max(min(MOST_WEIGHTS, int(count) // PER_WEIGHT, self.num_nonzero or MOST_WEIGHTS), 1)


@dataclass(frozen=True)
class Scaling:
    """Inputs less `shift` [d], divided by `scale` [d], and a constant input; targets divided by `unit` [k]."""

    shift: np.ndarray
    scale: np.ndarray
    unit: np.ndarray
    constant: bool

    @classmethod
    def of(cls, X: np.ndarray, Y: np.ndarray, weight: np.ndarray, constant: bool) -> Scaling:
        """For X [n, d], Y [n, k] and weights [n] of the samples."""
        mean = np.average(X, axis=0, weights=weight) if constant else np.zeros(X.shape[1])
        deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
        varies = deviation > 1e-10 * np.abs(X).max(axis=0, initial=0)
        center = np.average(Y, axis=0, weights=weight) if constant else 0
        unit = np.sqrt(np.average((Y - center) ** 2, axis=0, weights=weight).mean())
        unit = unit if unit > 1e-13 * np.abs(Y).max(initial=0) else np.abs(Y).max(initial=0)  # that is rounding
        shift = np.where(np.abs(mean) > FAR * deviation, mean, 0.0)
        return cls(shift, np.where(varies, deviation, np.inf), np.full(Y.shape[1], unit if unit > 0 else 1.0), constant)

    def samples(self, X: np.ndarray, Y: np.ndarray, weight: np.ndarray) -> Samples:
        """Rows times the roots of the weights, see network.py."""
        root, (n, d) = np.sqrt(weight), X.shape
        XT = np.empty((d + self.constant, n))
        np.multiply(((X - self.shift) / self.scale).T, root, out=XT[:d])
        XT[d:] = root
        copies = weight.sum() * Y.shape[1] if (weight != 1).any() else None
        return Samples(XT, np.ascontiguousarray((Y / self.unit).T) * root, self.constant, copies)

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


def fit_networks(X: np.ndarray, Y: np.ndarray, weight: np.ndarray, plan: Plan) -> Fitted:
    """Fit X [n, d] and Y [n, k] with weights [n] of the samples, all float64."""
    scaling = Scaling.of(X, Y, weight, plan.fit_intercept)
    data = scaling.samples(X, Y, weight)
    path = one_path(data, plan)
    choice = chosen(path, data, plan)
    points = list(choice.points)
    if not path.exact:
        points[choice.place] = polished(points[choice.place], data)
    point = points[choice.place]
    exact = path.exact and point.left <= EXACT
    found = Fitted(choice, [scaling.undo(point.net) for point in points], exact,
                   exact and is_determined(point.net, data), float(point.left))
    if plan.num_layers == 2 or plan.num_layers is None and not exact and may_have_two_layers(Y):
        return with_two_layers(found, X[weight > 0], Y[weight > 0], plan)
    return found


def with_two_layers(found: Fitted, X: np.ndarray, Y: np.ndarray, plan: Plan) -> Fitted:
    """With an exact network of two hidden layers as the choice. ValueError where there is none, but was asked for."""
    deep = exact_two_layers(X, Y[:, 0], plan.seed) if Y.shape[1] == 1 and Y.min() >= 0 else None
    if deep and deep.network.num_weights(plan.count_intercepts) <= (plan.num_nonzero or MOST_WEIGHTS):
        values = np.array([*(point.left for point in found.choice.points), deep.energy_left])
        choice = found.choice._replace(place=len(values) - 1, rule="exact", values=values, errors=None)
        return Fitted(choice, [*found.networks, deep.network], True, deep.determined, deep.energy_left)
    if plan.num_layers == 2:
        raise ValueError("num_layers: no exact network of two hidden layers was found; noise and targets below zero "
                         "have none; use 1")
    return found


def fit_labels(X: np.ndarray, Y: np.ndarray, weight: np.ndarray, plan: Plan) -> Fitted:
    """Fit labels Y [n, k], one-hot, or [n, 1] of 0 and 1, by cross-entropy; energy_left: its share of no input's."""
    scaling = replace(Scaling.of(X, Y, weight, plan.fit_intercept), unit=np.ones(Y.shape[1]))
    XT = scaling.samples(X, Y, np.ones(len(X))).XT
    data = Labels(XT, np.ascontiguousarray(Y.T), weight, plan.fit_intercept)
    path = logistic_path(data, plan)
    choice = chosen_by_labels(path, data, plan)
    left = choice.points[choice.place].left / (path.points[0].left or 1.0)
    nets = [point.net for point in choice.points]
    nets[choice.place] = converged(nets[choice.place], data)
    return Fitted(choice, [scaling.undo(net) for net in nets], False, False, left)


def logistic_path(data: Labels, plan: Plan) -> Path:
    return fit_logistic_path(data, plan.counted(len(data.XT)), plan.most(data.total * len(data.Y)), plan.seed)


def chosen_by_labels(path: Path, data: Labels, plan: Plan) -> Choice:
    """The network of a path that the plan asks for."""
    points, total = path.points, data.total
    if plan.num_nonzero is not None:
        return Choice(points, at_most(points, plan.num_nonzero), "given", np.array([point.left for point in points]))
    if plan.folds is None:
        return least(points, [2 * total * point.left + price(total, point.net) * point.s for point in points])
    fits = [logistic_path(data.take(train), plan) for train, _ in plan.folds]
    tests = [data.take(test) for _, test in plan.folds]
    return among_families(path, fits, tests,
                          lambda net, test: test.loss(net.outputs(test.XT)) * test.total * len(tests) / total,
                          plan.one_standard_error)


def one_path(data: Samples, plan: Plan) -> Path:
    return fit_path(data, plan.counted(len(data.XT)), plan.most(data.count), plan.seed)


def chosen(path: Path, data: Samples, plan: Plan) -> Choice:
    """The network of a path that the plan asks for."""
    points = path.points
    if plan.num_nonzero is not None:
        return Choice(points, at_most(points, plan.num_nonzero), "given", np.array([point.left for point in points]))
    if path.exact:
        return Choice(points, len(points) - 1, "exact", np.array([point.left for point in points]))
    by_value = by_criterion(path, data)
    if plan.folds is None or plan.choice == "auto" and points[by_value.place].left < MUCH:
        return by_value
    fits = [one_path(data.take(train), plan) for train, _ in plan.folds]
    tests = [data.take(test) for _, test in plan.folds]
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
