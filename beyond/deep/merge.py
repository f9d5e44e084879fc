"""A student with fewer units and rows: copies are merged, what is always open goes into M, rows are turned round.

A student that fits well has every planted unit, in several copies: relu is positively homogeneous, so units that
compute the same up to a positive factor are one. All costs are shares of the loss, measured over samples.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from beyond.deep.network import Samples
from beyond.deep.student import Student

COSINE = 0.9  # of what two units or rows compute, below which they never join
IDLE_UNIT, IDLE_ROW = 0.3, 0.03  # saliency, in units of the bar, of a unit or row that goes
ALWAYS_OPEN, NEVER_OPEN = 0.1, 0.01  # the same of the closed side of a row that goes into M, and of the open side
SIGN_SAMPLES, NODES = 300, 10000  # of the search for a skip of one sign
NO_ENERGY = 1e-14  # of the wrong sign


def alike(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosines [a, b] of two sets of signals."""
    length, other = (np.linalg.norm(signals, axis=1) + 1e-300 for signals in (rows, others))
    return (rows / length[:, None]) @ (others / other[:, None]).T


def partners(saliency: np.ndarray, cosines: np.ndarray, bar: float) -> list[tuple[int, int]]:
    """Pairs (i, j) in which i joins j: saliency_i (1 - cos^2) below the bar, the weakest i first, j not weaker.

    A unit that others have joined stays.
    """
    cost = np.where(cosines > COSINE, saliency[:, None] * (1 - cosines**2), np.inf)
    order, gone, kept, pairs = np.argsort(saliency, kind="stable"), set[int](), set[int](), []
    for place, i in enumerate(order):
        later = [j for j in order[place + 1 :] if j not in gone]
        if i in kept or not later:
            continue
        j = min(later, key=lambda j: cost[i, j])
        if cost[i, j] < bar:
            pairs.append((i, j))
            gone.add(i)
            kept.add(j)
    return pairs


def merged_units(net: Student, data: Samples, bar: float) -> Student:
    """Units that compute the same as one."""
    now = net.signals(data.XT)
    pairs, A, M = partners(net.energies(data)[0], alike(now.H, now.H), bar), net.A.copy(), net.M.copy()
    for i, j in pairs:
        factor = now.H[i] @ now.H[j] / (now.H[j] @ now.H[j])
        A[:, j] += factor * A[:, i]
        M[:, j] += factor * M[:, i]
    kept = np.delete(np.arange(len(net.W)), [i for i, _ in pairs])
    return replace(net, A=A, M=M).part(kept, np.arange(len(A)))


def merged_rows(net: Student, data: Samples, bar: float) -> Student:
    """Rows that compute the same as one, opposite ones too: relu(-z) = relu(z) - z."""
    now, saliency = net.signals(data.XT), net.energies(data)[1]
    back = np.maximum(-(net.A @ now.H), 0)
    same, opposite = alike(now.R, now.R), alike(now.R, back)
    A, C, M = net.A.copy(), net.C.copy(), net.M.copy()
    pairs = partners(saliency, np.maximum(same, opposite), bar)
    for i, j in pairs:
        turned = opposite[i, j] > same[i, j]
        like = back[j] if turned else now.R[j]
        joined = C[:, i] * (now.R[i] @ like / (like @ like))
        C[:, j] += joined
        if turned:
            M -= np.outer(joined, A[j])
    kept = np.delete(np.arange(len(A)), [i for i, _ in pairs])
    return replace(net, A=A, C=C, M=M).part(np.arange(len(net.W)), kept)


def without_idle(net: Student, data: Samples, bar: float) -> Student:
    """Without units and rows that hardly move the outputs, and with rows that are nearly always open in M."""
    now, (units, rows) = net.signals(data.XT), net.energies(data)
    closed = np.mean(net.C**2, axis=0) * np.mean(np.minimum(net.A @ now.H, 0) ** 2, axis=1)
    opened = (closed < ALWAYS_OPEN * bar) & (rows >= NEVER_OPEN * bar)
    net = replace(net, M=net.M + net.C[:, opened] @ net.A[opened])
    return net.part(units >= IDLE_UNIT * bar, (rows >= IDLE_ROW * bar) & ~opened)


def turned(net: Student, rows: list[int]) -> Student:
    """The same function with some rows of A turned round: relu(z) = relu(-z) + z."""
    A = net.A.copy()
    A[rows] *= -1
    return replace(net, A=A, M=net.M + net.C[:, rows] @ net.A[rows])


def entries(net: Student, scale: np.ndarray, bar: float, sums: bool) -> float:
    """Weights in M whose energy, for units of mean squares scale [k1], is above the bar; of sums they are positive."""
    large = net.M**2 * scale > bar * len(net.C)
    return np.count_nonzero(large) + 10 * sums * np.count_nonzero(large & (net.M < 0))


def least_skip(net: Student, scale: np.ndarray) -> list[int]:
    """The rows to be turned round for the least M, by a linear program: min |M + sum_j x_j C_j A_j|_1, 0 <= x_j <= 1.

    Where all rows are dense, so is M for every orientation but the right one: no single turn shows the way there.

    Args:
        scale: mean squares of the units [k1].
    """
    from scipy.optimize import linprog

    if not (net.M.any() and len(net.A)):
        return []
    weights = np.sqrt(scale)
    m = (net.M * weights).ravel()
    B = (net.C.T[:, :, None] * (net.A * weights)[:, None]).reshape(len(net.A), -1).T  # [k k1, k2]
    above = np.hstack([B, -np.eye(len(m))]), np.hstack([-B, -np.eye(len(m))])  # |m + B x| <= u
    cost = np.repeat([0.0, 1.0], [len(net.A), len(m)])
    bounds = [(0, 1)] * len(net.A) + [(0, None)] * len(m)
    found = linprog(cost, np.vstack(above), np.concatenate([-m, m]), bounds=bounds, method="highs")
    return list(np.flatnonzero(found.x[: len(net.A)] > 0.5)) if found.success else []


def oriented(net: Student, data: Samples, bar: float, sums: bool) -> Student:
    """With its rows so that M has the fewest weights.

    Those of the least M are turned first, if that helps, then one, or two, while that lowers their number.
    """
    scale, lowest = np.mean(net.signals(data.XT).H ** 2, axis=1), np.inf
    net = min(net, turned(net, least_skip(net, scale)), key=lambda other: entries(other, scale, bar, sums))
    moves = [[], *([i] for i in range(len(net.A))), *map(list, itertools.combinations(range(len(net.A)), 2))]
    while True:
        costs = [entries(turned(net, move), scale, bar, sums) for move in moves]
        if not min(costs) < lowest:
            return net
        net, lowest = turned(net, moves[int(np.argmin(costs))]), min(costs)


def with_open_row(net: Student, data: Samples, sums: bool) -> Student:
    """With its skip, of one output, as a row that is open at all samples, if that is what it is; else the same student.

    A planted row with weights of both signs may be always open. Then M is that row, once the right ones of the others
    are turned round: those x_j of 0 and 1 for which M h + sum_j x_j C_j A_j h has one sign, by an integer program on
    some samples.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    now = net.signals(data.XT)
    skip, moves = (net.M @ now.H)[0], net.C.T * (net.A @ now.H)
    rows, n = len(moves), min(len(skip), SIGN_SAMPLES)
    cost, bounds = np.repeat([0, 1], [rows, n]), Bounds(0, np.repeat([1, np.inf], [rows, n]))
    for sign in (1.0,) if sums else (1.0, -1.0):
        signs = np.hstack([sign * moves[:, :n].T, np.eye(n)])  # the sum of what is short of 0 is minimised
        positive = LinearConstraint(signs, lb=-sign * skip[:n])
        found = milp(cost, integrality=1 - cost, bounds=bounds, constraints=positive, options={"node_limit": NODES})
        flipped = found.x[:rows] > 0.5 if found.x is not None else np.zeros(rows, dtype=bool)
        if np.mean(np.minimum(sign * (skip + flipped @ moves), 0) ** 2) < NO_ENERGY:
            net = turned(net, list(np.flatnonzero(flipped)))
            return replace(net, A=np.vstack([net.A, sign * net.M]), C=np.hstack([net.C, [[sign]]]), M=0 * net.M)
    return net


def merged(net: Student, data: Samples, bar: float) -> Student:
    """With copies of units and rows merged, and idle ones gone."""
    for step in (merged_units, merged_rows, without_idle):
        net = step(net, data, bar)
    return net.balanced()
