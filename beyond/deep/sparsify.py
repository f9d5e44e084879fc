"""From a dense network that fits to a sparse one that fits: the log penalty from strong to weak."""

from __future__ import annotations

from beyond.deep.descent import EXACT, Budget, Penalty, descend, polish
from beyond.deep.network import Samples, TwoLayers, tidied
from beyond.deep.orient import moves
from beyond.deep.regrow import regrown

FITTED = 1e-6  # loss below which the dense network counts as fitted
LEVELS = [(1e-6, 0.1), (1e-7, 0.03), (1e-8, 0.01), (1e-9, 0.003), (1e-10, 0.001)]  # of (weight, eps) then
UNFITTED_LEVELS = [(1.0, 0.05), (0.1, 0.03), (0.01, 0.01)]  # otherwise, the weight in units of the loss
PENALISED_STEPS, REFIT_STEPS, LAST_STEPS = 12, 15, 40
MOVED = 2.0  # times the loss that a network with fewer weights may have
REGROWABLE = 2e-5  # loss above which a sparse network lacks too much


def sparsified(net: TwoLayers, data: Samples, value: float, budget: Budget) -> tuple[TwoLayers, float]:
    """The sparse network of least loss along the path of penalties, and its loss; the first that is exact."""
    levels = LEVELS if value < FITTED else [(weight * value, eps) for weight, eps in UNFITTED_LEVELS]
    best, lowest = net, float("inf")
    for weight, eps in levels:
        net, _ = descend(net, data, budget, PENALISED_STEPS, Penalty(weight, eps))
        sparse, loss = rearranged(*refitted(cut(net, eps / 3), data, budget), data, budget)
        if loss < lowest:
            best, lowest = sparse, loss
        if loss < EXACT or budget.left <= 0:
            break
    if EXACT < lowest < REGROWABLE:
        best, lowest = polish(best, data, budget, LAST_STEPS, EXACT / 100)
    return best, lowest


def cut(net: TwoLayers, bar: float) -> TwoLayers:
    """Without the weights below `bar`, tidied."""
    return tidied(TwoLayers(net.W * (abs(net.W) >= bar), net.A * (abs(net.A) >= bar)))


def refitted(net: TwoLayers, data: Samples, budget: Budget) -> tuple[TwoLayers, float]:
    """After a descent, with what it still lacks added where that is little; its loss."""
    net, loss = polish(net, data, budget, REFIT_STEPS, EXACT / 100)
    return regrown(net, data, loss, budget, EXACT / 100) if EXACT < loss < REGROWABLE else (net, loss)


def rearranged(net: TwoLayers, value: float, data: Samples, budget: Budget) -> tuple[TwoLayers, float]:
    """A network that fits better, or as well with fewer weights, from moves that a descent does not find; its loss."""
    while EXACT < value < REGROWABLE and budget.left > 0:
        for other in moves(net):
            other, loss = refitted(other, data, budget)
            if loss < value / MOVED or (loss < MOVED * value and other.count < net.count):
                net, value = other, loss
                break
        else:
            break
    return net, value
