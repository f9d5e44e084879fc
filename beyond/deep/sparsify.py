"""From a dense network that fits to a sparse one that fits: the log penalty from strong to weak."""

from __future__ import annotations

from beyond.deep.descent import Budget, Penalty, descend, polish
from beyond.deep.network import Samples, TwoLayers, tidied
from beyond.deep.orient import moves
from beyond.deep.regrow import regrown

FITTED = 1e-6  # loss below which the dense network counts as fitted
LEVELS = [(1e-6, 0.1), (1e-7, 0.03), (1e-8, 0.01), (1e-9, 0.003), (1e-10, 0.001)]  # of (weight, eps) then
UNFITTED_LEVELS = [(1.0, 0.05), (0.1, 0.03), (0.01, 0.01)]  # otherwise, the weight in units of the loss
PENALISED_STEPS, REFIT_STEPS, LAST_STEPS = 12, 15, 40
MOVED = 2.0  # times the loss that a network with fewer weights may have
REGROWABLE = 2e-5  # loss above which a sparse network lacks too much


def cut(net: TwoLayers, bar: float) -> TwoLayers:
    """Without the weights below `bar`, tidied."""
    return tidied(TwoLayers(net.W * (abs(net.W) >= bar), net.A * (abs(net.A) >= bar)))


def sparsified(net: TwoLayers, data: Samples, value: float, budget: Budget, exact: float) -> tuple[TwoLayers, float]:
    """The sparse network of least loss along the path of penalties, and its loss; the first that is exact."""
    levels = LEVELS if value < FITTED else [(weight * value, eps) for weight, eps in UNFITTED_LEVELS]
    best, lowest = net, float("inf")
    for weight, eps in levels:
        net, _ = descend(net, data, budget, PENALISED_STEPS, Penalty(weight, eps))
        sparse, loss = polish(cut(net, eps / 3), data, budget, REFIT_STEPS, exact / 100)
        if exact < loss < REGROWABLE:
            sparse, loss = regrown(sparse, data, loss, budget, exact / 100)
        sparse, loss = rearranged(sparse, data, loss, budget, exact)
        if loss < lowest:
            best, lowest = sparse, loss
        if loss < exact or budget.left <= 0:
            break
    if exact < lowest < REGROWABLE:
        best, lowest = polish(best, data, budget, LAST_STEPS, exact / 100)
    return best, lowest


def rearranged(net: TwoLayers, data: Samples, value: float, budget: Budget, exact: float) -> tuple[TwoLayers, float]:
    """A network that fits better, or as well with fewer weights, from moves that a descent does not find; its loss."""
    improved = True
    while improved and exact < value < REGROWABLE and budget.left > 0:
        improved = False
        for other in moves(net):
            other, loss = polish(other, data, budget, REFIT_STEPS, exact / 100)
            if exact < loss < REGROWABLE:
                other, loss = regrown(other, data, loss, budget, exact / 100)
            if loss < value / MOVED or (loss < MOVED * value and other.count < net.count):
                net, value, improved = other, loss, True
                break
    return net, value
