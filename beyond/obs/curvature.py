"""The curvature of the loss in the weights, as Gauss and Newton have it: J' C J with the curvature C in the outputs.

It is estimated from one row of the Jacobian J for a sample: E . outputs with E E' = C in the mean. For cross-entropy
E = onehot(c) - p with a class c drawn from the predictions p, since C = diag(p) - p p'; for the squared error E is a
vector of random signs. With one output that is exact, and for the logistic loss E is the root of C.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from beyond.gram import unit
from beyond.obs.student import Data, Student
from numerics.training import ODDS, log_odds

if TYPE_CHECKING:
    from torch import Tensor

    from beyond.obs.student import Slope

SAMPLES = 10_000  # of a diagonal, and at most of a whole matrix
GAUGE = 10.0  # stiffness along the rescalings of hidden units, in units of the mean of the diagonal
RIDGE, FLOOR = 1e-3, 1e-6  # added to the diagonal: a share of itself, and of its mean


def row_of(loss: str, rng: np.random.Generator) -> Slope:
    """The function outputs [k, b] -> E [k, b]."""
    import torch

    def signs(P: Tensor) -> Tensor:
        return torch.from_numpy(rng.choice(np.array([-1, 1], dtype=np.float32), P.shape)) * (2 / len(P)) ** 0.5

    def drawn_class(P: Tensor) -> Tensor:
        p, samples = P.softmax(0), torch.arange(P.shape[1])
        drawn = (p.cumsum(0) < torch.from_numpy(rng.random(len(samples), dtype=np.float32))).sum(0)
        E = -p
        E[drawn.clamp_(max=len(p) - 1), samples] += 1
        return E

    def root(P: Tensor) -> Tensor:
        p = log_odds(P).sigmoid()
        return ODDS * (p * (1 - p)).sqrt()

    return {"squared": signs, "logistic": root}.get(loss, drawn_class)


def diagonal(weights: Sequence[Tensor], data: Data, rng: np.random.Generator) -> list[Tensor]:
    """Its diagonal h [out, in] for all weights of each trained layer, pruned ones too."""
    import torch

    student, slope, tiles = Student(weights, data), row_of(data.loss, rng), data.some(SAMPLES, rng)
    total = [torch.zeros(W.shape) for W in data.free(weights)]
    for X, _ in tiles:
        for h, (D, Z) in zip(total, student.signals(X, slope), strict=True):
            h.addmm_(D.square(), Z.square().T)
    return [h / sum(X.shape[1] for X, _ in tiles) for h in total]


def jacobian(weights: Sequence[Tensor], data: Data, tiles: Sequence[tuple[Tensor, Tensor]],
             slope: Slope) -> np.ndarray:
    """The slopes of E . outputs in the nonzero weights, layer by layer and row by row: [P, samples of the tiles]."""
    import torch

    student, places = Student(weights, data), [W.nonzero(as_tuple=True) for W in data.free(weights)]
    return torch.cat([torch.cat([D[row] * Z[column] for (row, column), (D, Z) in
                                 zip(places, student.signals(X, slope), strict=True)]) for X, _ in tiles], 1).numpy()


def rescalings(weights: Sequence[Tensor], data: Data) -> np.ndarray:
    """Unit vectors [units, P] along which the rescaling of a hidden unit moves the nonzero weights.

    Its weights, those that come in times c and those that go out divided by c, make the same function.
    """
    free = [W.numpy() for W in data.free(weights)]
    starts, rows = np.cumsum([0, *map(np.count_nonzero, free)]), []
    for layer, (before, after) in enumerate(pairwise(free)):
        moves = np.zeros((len(before), starts[-1]))
        (into, _), (_, out) = before.nonzero(), after.nonzero()
        moves[into, np.arange(starts[layer], starts[layer + 1])] = before[before != 0]
        moves[out, np.arange(starts[layer + 1], starts[layer + 2])] = -after[after != 0]
        rows.append(unit(moves))
    return np.concatenate(rows) if rows else np.zeros((0, starts[-1]))


def curvature(weights: Sequence[Tensor], data: Data, rng: np.random.Generator) -> np.ndarray:
    """The curvature [P, P] in the nonzero weights, made definite, and stiff along the rescalings.

    Along a rescaling the loss does not change. Without the stiffness the surgeon believes that it may take a weight and
    repair everything by rescaling its unit, and that this is free.
    """
    samples = min(max(4 * data.count(weights), 2000), SAMPLES)
    J = jacobian(weights, data, data.some(samples, rng), row_of(data.loss, rng))
    A = (J @ J.T).astype(np.float64) / max(J.shape[1], 1)
    own, U = np.diag(A), rescalings(weights, data)
    ridge = RIDGE * own + FLOOR * own.mean() + data.l2 + np.finfo(float).tiny
    A += GAUGE * own.mean() * U.T @ U
    A.flat[:: len(A) + 1] += ridge
    return A
