"""A linear classifier with at most s weights and biases."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from instances.task import Problem, Task
from numerics.arrays import DTYPE
from studies.answer import Answer, Find, held_out
from studies.greedy import least_squares, select
from tasks import decide

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1)  # penalties of squared weights that are tried, for inputs of at most 1
STEPS, FEW_STEPS = 100, 30  # of L-BFGS: in a fit that counts, and in one that only says where the next weights go
GROWTH = 10  # the likelihood is asked anew when there are a tenth more weights
TINY = 1e-30  # of a probability, whose logarithm is taken
FLOOR = 1e-6  # of a curvature: an input that is never on has none

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # X [n, d], Y [n, k], chosen [d, k] -> W [d, k]
Supports = dict[int, np.ndarray]  # by s: which weights may be nonzero, bool [d, k]


def classifier(task: Task, problem: Problem, seed: int, slist: Sequence[int]) -> Find:
    """Supports and weights that are best on held-out training samples; then the weights are fitted to all samples.

    Supports: greedy, by least squares or by likelihood, of any of the `slist` up to s. Weights: of least squares, or of
    logistic regression with one of RIDGES. The constant is an input like any other.
    """
    scale = np.abs(problem.X).max()
    X, X_eval = (with_constant(part / scale) for part in (problem.X, problem.X_eval))
    Y = problem.Y.reshape(len(X), -1)
    out = held_out(len(X), seed)
    supports = {"squares": by_squares(X[~out], Y[~out], slist), "likelihood": by_likelihood(X[~out], Y[~out], slist)}
    fits: dict[str, Fit] = {"least squares": least_squares}
    fits |= {f"logistic, ridge {ridge:g}": functools.partial(logistic, ridge=ridge) for ridge in RIDGES}

    @functools.cache
    def accuracy(by: str, size: int, form: str) -> float:
        W = fits[form](X[~out], Y[~out], supports[by][size])
        return float(np.mean(decide(outputs(X[out], W, form)) == decide(problem.Y[out])))

    def find(s: int) -> Answer:
        sizes = [size for size in slist if size <= s]  # fewer weights may be better
        by, size, form = max(itertools.product(supports, sizes, fits), key=lambda each: accuracy(*each))
        W = fits[form](X, Y, supports[by][size])
        return Answer(outputs(X_eval, W, form), int(np.count_nonzero(W)), f"{size} chosen by {by}, {form}")

    return find


def with_constant(X: np.ndarray) -> np.ndarray:
    """X [n, d - 1] with a column of ones."""
    return np.column_stack([X, np.ones(len(X), DTYPE)])


def outputs(X: np.ndarray, W: np.ndarray, form: str) -> np.ndarray:
    """Predictions [n], or [n, k] of several outputs, as tasks.decide takes them."""
    linear = X @ W.astype(DTYPE)
    if W.shape[1] > 1:
        return linear
    return linear[:, 0] if form == "least squares" else linear[:, 0] + 0.5


# ---- supports ----


def by_squares(X: np.ndarray, Y: np.ndarray, slist: Sequence[int]) -> Supports:
    """Orthogonal least squares of each output; of all their steps those come first that take most of the energy."""
    G, B = (X.T @ X).astype(float), (X.T @ Y).astype(float)
    steps = []
    for output, b in enumerate(B.T):
        columns, energies = select(G, b, min(max(slist), len(G)), anew=True)
        falling = np.minimum.accumulate(energies)  # so that each output keeps its own order
        steps += [(-energy, place, column, output)
                  for place, (energy, column) in enumerate(zip(falling, columns, strict=True))]
    order = np.array([(column, output) for *_, column, output in sorted(steps)])
    return {s: mask(B.shape, order[:s]) for s in slist}


def mask(shape: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """Bool of this shape, true at the places [s, 2]."""
    chosen = np.zeros(shape, dtype=bool)
    chosen[tuple(places.T)] = True
    return chosen


def by_likelihood(X: np.ndarray, Y: np.ndarray, slist: Sequence[int]) -> Supports:
    """Those weights are added that a Newton step of one weight gains most from, and all of them are fitted again."""
    chosen = np.zeros((X.shape[1], Y.shape[1]), dtype=bool)
    W, squares, found = np.zeros(chosen.shape), X**2, Supports()
    for s in sorted(slist):
        while (count := int(chosen.sum())) < min(s, chosen.size):
            P = probabilities(X, W)
            gain = (X.T @ (P - Y)) ** 2 / (squares.T @ (P * (1 - P)) + FLOOR * len(X))
            best = np.argsort(np.where(chosen, -1, gain), axis=None)[-min(max(1, count // GROWTH), s - count):]
            chosen.ravel()[best] = True
            W = logistic(X, Y, chosen, RIDGES[0], FEW_STEPS)
        found[s] = chosen.copy()
    return found


# ---- logistic regression ----


def probabilities(X: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Of the classes [n, k] of k outputs; of one output [n, 1] that of class 1."""
    Z = X @ W.astype(DTYPE)
    if Z.shape[1] == 1:
        return 1 / (1 + np.exp(-np.clip(Z, -50, 50)))
    Z = np.exp(Z - Z.max(axis=1, keepdims=True))
    return Z / Z.sum(axis=1, keepdims=True)


def logistic(X: np.ndarray, Y: np.ndarray, chosen: np.ndarray, ridge: float, steps: int = STEPS) -> np.ndarray:
    """The weights [d, k], zero but where `chosen`, of the least cross-entropy + ridge / 2 |w|^2, by L-BFGS."""
    from scipy.optimize import minimize

    used = chosen.any(axis=1)
    places, X = chosen[used], np.ascontiguousarray(X[:, used])

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        P = probabilities(X, filled(w, places))
        likelihood = np.where(Y > 0.5, P, 1 - P) if Y.shape[1] == 1 else P[Y > 0.5]
        loss = -np.mean(np.log(np.maximum(likelihood, TINY)), dtype=float)
        return loss + ridge / 2 * w @ w, (X.T @ (P - Y) / len(X))[places] + ridge * w

    found = minimize(objective, np.zeros(np.count_nonzero(places)), jac=True, method="L-BFGS-B",
                     options={"maxiter": steps})
    return filled(found.x, chosen)


def filled(w: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The weights at their places, 0 elsewhere."""
    W = np.zeros(places.shape)
    W[places] = w
    return W
