"""Levenberg-Marquardt on the free weights of both layers, with or without the penalty that makes them sparse.

The penalty is pen sum log(1 + (w / eps)^2); it is majorised at the current weights by a quadratic,

    log(1 + (w / eps)^2) <= const + w^2 / (w_0^2 + eps^2),

which adds a diagonal to the normal equations (iteratively reweighted least squares, Candes, Wakin and Boyd 2008).
"""

import contextlib
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


def descend(net: TwoLayers, data: Samples, budget: Budget, steps: int, penalty: Penalty = Penalty(),
            target: float = 0.0, damping: float = DAMPING) -> tuple[TwoLayers, float]:
    """The network, balanced, and its loss after `steps` steps at most, each accepted only if loss plus penalty fall.

    It is over at the target of the loss, at which a descent with a penalty does not look.
    """
    net, slow = net.balanced(), 0
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
    from scipy.linalg import cho_factor, cho_solve

    (G, g, _), theta = normal_equations(net, data), net.theta
    q, diagonal, unit = penalty.curvature(theta), np.diag_indices_from(G), np.trace(G) / len(G)
    G[diagonal] += q
    for _ in range(TRIALS):
        damped = G.copy()
        damped[diagonal] += damping * unit
        with contextlib.suppress(np.linalg.LinAlgError):  # it has no Cholesky factor
            factor = cho_factor(damped, overwrite_a=True, check_finite=False)
            moved = net.moved_to(theta - cho_solve(factor, g + q * theta, check_finite=False))
            after = loss(moved, data)
            if after + penalty.of(moved.theta) < value + penalty.of(theta):
                return moved, after, max(damping / 5, 1e-12)
        damping *= 5
    return net, value, damping
