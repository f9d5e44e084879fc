"""Levenberg-Marquardt steps for a student of any number of outputs, by conjugate gradients.

A step solves (J'J / n + damping D) p = -J'r / n, D the diagonal of an estimate of J'J / n from fewer samples, which is
the preconditioner, too: with a few products by the whole Jacobian that is enough, and J is never stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from beyond.deep.descent import Budget
from beyond.deep.network import Samples
from beyond.deep.student import Signals, Student, gathered, scattered

DAMPING, LEAST, TRIALS = 1e-3, 1e-12, 6  # of the diagonal; the smallest; of larger and larger ones
PRODUCTS, ACCURATE = 8, 1e-3  # by the Jacobian at most; share of the gradient at which that is enough
STALLED, PATIENCE = 0.02, 4  # it is over after so many steps that gained less than this share
TRIED = 3


def refined(net: Student, data: Samples, budget: Budget, steps: int, target: float = 0.0,
            wanted: float = np.inf) -> tuple[Student, float]:
    """The student after so many steps that lower the loss, or fewer at the target or where it stalls; its loss.

    After TRIED steps it is over, too, where the pace of the last one does not lead to the loss that is wanted.
    """
    net, damping, slow = net.balanced(), DAMPING, 0
    value = net.loss(data)
    for number in range(steps):
        if value <= target or not net.count or slow == PATIENCE or budget.left <= 0:
            break
        budget.spend(net.count)
        before = value
        net, value, damping = step(net, data, value, damping)
        slow = slow + 1 if value > (1 - STALLED) * before else 0
        if number >= TRIED and value * (value / before) ** (steps - number) > wanted:
            break
    return net, value


def step(net: Student, data: Samples, value: float, damping: float) -> tuple[Student, float, float]:
    """One step: the student, its loss and the next damping; the same student where no damping helps."""
    from scipy.linalg import cho_factor, cho_solve

    now, size = net.signals(data.XT), data.y.size
    slope = gathered(net.parts, net.gradient(now.Y - data.y, data.XT, now)) / size
    G = net.curvature(data)
    D = np.diag(G) + 1e-9 * np.mean(np.diag(G))
    for _ in range(TRIALS):
        try:
            factor = cho_factor(G + np.diag(damping * D), check_finite=False)
        except np.linalg.LinAlgError:
            damping = 5 * max(damping, LEAST)
            continue

        def product(p: NDArray, damping: float = damping) -> NDArray:
            moved = pushed(net, p, data, now)
            return gathered(net.parts, net.gradient(moved, data.XT, now)) / size + damping * D * p

        p = conjugate_gradients(product, -slope, functools.partial(cho_solve, factor, check_finite=False))
        other = net.moved_to(net.theta + p)
        if (after := other.loss(data)) < value:
            return other, after, max(damping / 5, LEAST)
        damping *= 5
    return net, value, damping


def pushed(net: Student, p: NDArray, data: Samples, now: Signals) -> NDArray:
    """J p [k, n]: how the outputs move with the free weights."""
    W, A, M, *C = scattered(net.parts, p)
    H = (W @ data.XT) * (now.H > 0)
    R = (A @ now.H + net.A @ H) * (now.R > 0)
    Y = net.C @ R + M @ now.H + net.M @ H
    return Y + C[0] @ now.R if C else Y


def conjugate_gradients(product: Callable[[NDArray], NDArray], b: NDArray,
                        precondition: Callable[[NDArray], NDArray]) -> NDArray:
    """x with K x = b for a positive definite K, after PRODUCTS products at most."""
    x, r = np.zeros_like(b), b
    z = p = precondition(r)
    for _ in range(PRODUCTS):
        Kp = product(p)
        along = r @ z
        if not (bend := p @ Kp) > 0:
            break
        x, r = x + along / bend * p, r - along / bend * Kp
        if np.linalg.norm(r) < ACCURATE * np.linalg.norm(b):
            break
        z = precondition(r)
        p = z + (r @ z) / along * p
    return x
