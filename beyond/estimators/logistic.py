"""Cross-entropy by reweighted least squares: the path of path.py, with weights and working targets of the samples.

For class probabilities p = softmax(f) (or the logistic function of f) a Newton step of the cross-entropy is least
squares on f + (y - p) / h with the weights h = p (1 - p); with k classes one class at a time, h an upper bound.
So crease pursuit serves cross-entropy, since a sample of weight h is a row times sqrt(h). The path begins with a sparse
logistic regression.
"""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from beyond.estimators.network import Network, Samples, curvature, directions, refitted, without
from beyond.estimators.path import Path, Point, envelope, oriented, removability
from beyond.estimators.search import FEW_RESTARTS, growing

LEAST_WEIGHT = 0.02  # of a sample: no working target is farther from f than 1 / 0.02
STEPS = 15  # of Newton at most
RIDGE = 1e-3  # of |f|^2: keeps separable classes finite
ROW_RIDGE = 1.0  # of |w|^2 / 2 in the sum over the samples, for linear models: the usual one; it makes them unique
FULL_STEPS, SHARES = 100, (1.0, 0.5, 0.25, 0.1, 0.01)  # with the curvature of all classes
ROUNDS, RESTARTS = 2, 2  # of growth, for the working targets of the network before; and of each search, in vain


class Labels:
    """Targets Y [k, n], one-hot, or [1, n] of 0 and 1, with inputs XT [d, n] and weights [n] of the samples.

    To the samples come +-x_i for every input, without label: there f^2 is kept small, as RIDGE does at the samples.
    """

    def __init__(self, XT: np.ndarray, Y: np.ndarray, weight: np.ndarray, constant: bool):
        axes = np.eye(len(XT))[:, : len(XT) - constant]
        self.constant, more = constant, 2 * axes.shape[1]
        self.XT = np.concatenate([XT, axes, -axes], axis=1)
        self.Y = np.concatenate([Y, np.zeros((len(Y), more))], axis=1)
        self.weight = np.concatenate([weight, np.zeros(more)])
        self.ridge = np.concatenate([RIDGE * weight, np.full(more, ROW_RIDGE / 2)])
        self.total = float(weight.sum())
        self.count = self.total * len(Y)

    def loss(self, F: np.ndarray) -> float:
        """Mean cross-entropy of outputs F [k, n]."""
        if len(F) == 1:
            losses = np.logaddexp(0, F[0]) - self.Y[0] * F[0]
        else:
            top = F.max(axis=0)
            losses = top + np.log(np.exp(F - top).sum(axis=0)) - (self.Y * F).sum(axis=0)
        return float(np.average(losses, weights=self.weight))

    def penalised(self, F: np.ndarray) -> float:
        return self.loss(F) + float(np.sum(F**2 @ self.ridge)) / (2 * self.total)

    def working(self, F: np.ndarray) -> Samples:
        """Rows times the roots of the weights, and the working targets, for outputs F [k, n].

        With several classes the weights of a sample are those of its largest p (1 - p): one number for all outputs.
        """
        p = probabilities(F)
        h = self.weight * np.maximum((p * (1 - p)).max(axis=0) * (1 if len(F) == 1 else 2), LEAST_WEIGHT)
        root = np.sqrt(h + self.ridge)
        Z = (h * F + self.weight * (self.Y - p)) / np.maximum(root, 1e-300)
        return Samples(self.XT * root, Z, self.constant, self.total * len(F))


def probabilities(F: np.ndarray) -> np.ndarray:
    """Of the classes, for outputs F [k, n]; of the second class, [1, n], for one output."""
    if len(F) == 1:
        return 0.5 * (1 + np.tanh(F / 2))
    E = np.exp(F - F.max(axis=0))
    return E / E.sum(axis=0)


def newton(net: Network, data: Labels, steps: int = STEPS, gain: float = 1e-5) -> tuple[Network, float]:
    """After at most so many steps that lower the penalised cross-entropy, each by a share `gain` or more; and that."""
    loss = data.penalised(net.outputs(data.XT))
    for _ in range(steps):
        target = refitted(net, data.working(net.outputs(data.XT)), 1, 0.0).net
        share = 1.0
        while share > 1e-3:
            other = net.moved_to(net.theta + share * (target.theta - net.theta))
            value = data.penalised(other.outputs(data.XT))
            if value < loss:
                break
            share /= 4
        else:
            return net, loss
        won, net, loss = loss - value, other, value
        if won < gain * loss:
            break
    return net, loss


def converged(net: Network, data: Labels) -> Network:
    """After Newton steps with the curvature of all classes together, until none lowers the penalised cross-entropy."""
    loss = data.penalised(net.outputs(data.XT))
    for _ in range(FULL_STEPS):
        gram, gradient = curvature_of_classes(net, data)
        if not len(gram):
            break
        step = np.linalg.solve(curvature(net, gram), gradient)
        trials = (net.moved_to(net.theta + share * step) for share in SHARES)
        values = ((data.penalised(trial.outputs(data.XT)), trial) for trial in trials)
        before, (loss, net) = loss, next((value for value in values if value[0] < loss), (loss, net))
        if loss == before:
            break
    return net


def curvature_of_classes(net: Network, data: Labels) -> tuple[np.ndarray, np.ndarray]:
    """J D J' [P, P], D = diag(p) - p p' of each sample, and J (y - p) [P], for the free weights; with the ridge."""
    owner, feature = np.nonzero(net.W)
    used = np.flatnonzero(net.A.any(axis=0))
    C = np.concatenate([(net.W @ data.XT > 0)[owner] * data.XT[feature], data.XT[used]])  # [c, n]
    E, T = directions(net, owner, feature, used)
    F = net.outputs(data.XT)
    p, weight, ridge, moves = probabilities(F), data.weight / data.total, data.ridge / data.total, T @ C  # [P, n]
    gram = np.zeros((len(E), len(E)))
    for row in range(len(F)):
        for column in range(len(F)):
            D = (row == column) * (p[row] * weight + ridge) - p[row] * p[column] * weight
            gram += np.outer(E[:, row], E[:, column]) * ((moves * D) @ moves.T)
    return gram, np.sum((E @ ((data.Y - p) * weight - ridge * F)) * moves, axis=1)


def fit_logistic_path(data: Labels, counted: np.ndarray, most: int, seed: int) -> Path:
    """Networks by ascending numbers of weights; `left` is their mean cross-entropy."""
    d, k = len(data.XT), len(data.Y)
    dense = np.full((k, d), 1e-12)
    net = Network(np.zeros((0, d)), np.zeros((0, k)), dense)
    net, _ = newton(net, data)
    linear = list(logistic_shrinking(net, data, counted))
    points, best = list(linear), net
    for _ in range(ROUNDS):
        _, *rungs = growing(data.working(best.outputs(data.XT)), most, seed, (FEW_RESTARTS, RESTARTS))
        if not rungs:
            break  # the least budget is beyond `most`
        creases, B, *_ = min(rungs, key=attrgetter("value"))  # the working targets are too noisy to say that none pay
        working = data.working(best.outputs(data.XT))
        best, _ = newton(oriented(working, creases, B, 1.0), data)
        points += logistic_shrinking(best, data, counted)
    return Path(envelope(points), False, envelope(linear))


def logistic_shrinking(net: Network, data: Labels, counted: np.ndarray) -> list[Point]:
    """Networks with ever fewer weights, down to none that is counted."""
    points = []
    while True:
        s, F = net.num_weights(counted), net.outputs(data.XT)
        points.append(Point(s, data.loss(F), net))
        if not s:
            return points
        now = refitted(net, data.working(F), 0)
        removable = removability(net, counted)
        count = 1 if s <= 30 else max(1, s // 8)

        def choose(cost: np.ndarray, removable: np.ndarray = removable, count: int = count) -> np.ndarray:
            return np.argsort(np.where(removable, cost, np.inf), kind="stable")[:count]

        net, _ = newton(without(now, data.working(F), choose), data, 4)
