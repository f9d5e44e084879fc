"""Levenberg-Marquardt on the free weights of both layers, with or without the penalty that makes them sparse.

The penalty is pen sum log(1 + (w / eps)^2); it is majorised at the current weights by a quadratic,

    log(1 + (w / eps)^2) <= const + w^2 / (w_0^2 + eps^2),

which adds a diagonal to the normal equations (iteratively reweighted least squares, Candes, Wakin and Boyd 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beyond.deep.network import Samples, TwoLayers, loss, normal_equations

EXACT = 1e-10  # loss that counts as zero: 100 dB below the power of y
ROUNDING = 1e-14  # loss at which labels in single precision leave nothing to fit
DAMPING = 1e-2  # at the start, in units of the mean diagonal of J'J
CLOSE = 1e-8  # the same near a solution: more would hide directions in which the loss is nearly flat
TRIALS = 8  # of larger and larger damping, before a step counts as failed
STALLED, PATIENCE = 0.02, 4  # the search ends after so many steps that gained less than this share
STEP_COST = 0.02  # of any step, see Budget


@dataclass
class Budget:
    """How far a search may go, the same on every machine: in steps on 1000 free weights.

    A step on P free weights costs (P / 1000)^2 of that, as the symmetric product J J' does, and a little that does not
    depend on P.
    """

    left: float

    def spend(self, count: int) -> None:
        """One step on `count` weights."""
        self.left -= STEP_COST + (count / 1000) ** 2


@dataclass(frozen=True)
class Penalty:
    """weight sum log(1 + (w / eps)^2)."""

    weight: float = 0.0
    eps: float = 1.0

    def of(self, theta: np.ndarray) -> float:
        """Its value at the weights [P]."""
        return self.weight * float(np.sum(np.log1p((theta / self.eps) ** 2)))

    def curvature(self, theta: np.ndarray) -> np.ndarray:
        """q [P] of the majorising quadratic q w^2."""
        return self.weight / (theta**2 + self.eps**2)


def solve(G: np.ndarray, g: np.ndarray, damping: float) -> np.ndarray | None:
    """-(G + damping I)^-1 g, None where that matrix has no Cholesky factor."""
    from scipy.linalg import cho_factor, cho_solve

    H = G.copy()
    H[np.diag_indices_from(H)] += damping
    try:
        return -cho_solve(cho_factor(H, overwrite_a=True, check_finite=False), g, check_finite=False)
    except np.linalg.LinAlgError:
        return None


def descend(net: TwoLayers, data: Samples, budget: Budget, steps: int, penalty: Penalty = Penalty(),
            target: float = 0.0, damping: float = DAMPING) -> tuple[TwoLayers, float]:
    """At most `steps` steps, each accepted only if the loss plus the penalty falls.

    Args:
        target: of the loss, at which it is over; with a penalty it is not looked at.
        damping: of the first step.
    Returns:
        the network, balanced, and its loss.
    """
    slow = 0
    net = net.balanced()
    value = loss(net, data)
    for _ in range(steps):
        if budget.left <= 0 or not net.count or (value <= target and not penalty.weight):
            break
        budget.spend(net.count)
        before = value + penalty.of(net.theta)
        net, value, damping = step(net, data, penalty, value, damping)
        gain = 1 - (value + penalty.of(net.theta)) / before
        slow = slow + 1 if gain < STALLED else 0
        if slow == PATIENCE or damping > 1e8:
            break
        net = net.balanced()
    return net, value


def polish(net: TwoLayers, data: Samples, budget: Budget, steps: int, target: float) -> tuple[TwoLayers, float]:
    """A descent from near a solution."""
    return descend(net, data, budget, steps, target=target, damping=CLOSE)


def step(net: TwoLayers, data: Samples, penalty: Penalty, value: float,
         damping: float) -> tuple[TwoLayers, float, float]:
    """One step: the network, its loss, and the damping for the next; the same network where no damping helps."""
    G, g, _ = normal_equations(net, data)
    theta = net.theta
    q = penalty.curvature(theta)
    unit = np.trace(G) / len(G)
    G[np.diag_indices_from(G)] += q
    before = value + penalty.of(theta)
    for _ in range(TRIALS):
        move = solve(G, g + q * theta, damping * unit)
        if move is not None:
            moved = net.moved_to(theta + move)
            after = loss(moved, data)
            if after + penalty.of(moved.theta) < before:
                return moved, after, max(damping / 5, 1e-12)
        damping *= 5
    return net, value, damping
