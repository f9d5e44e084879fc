"""Crease pursuit: exact recovery of one-hidden-layer networks, signs and outputs included. Start here.

Ours, not the paper's. It fits Y = sum_j v_j relu(w_j . x), W [m, d] sparse; with one output v_j = +-1, with several V
[m, k] is sparse, too. Since 2 relu(z) = |z| + z,

    Y = B x + sum_j v_j |w_j . x| / 2,      B = sum_j v_j w_j' / 2

and the linear part is what makes recovery ambiguous: relu(z) = relu(-z) + z. So it is taken out of everything
(projection.py), and what is looked for are the creases |w_j . x|, where the function bends (search.py). A sign is then
an amplitude, found by least squares. At the end B tells on which side each crease is open (orient.py), and the creases
become neurons (relu_form.py).

    python runner.py --task mlp_planted --method creases --mlist 20 --slist 100
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from beyond.creases.least_squares import refined
from beyond.creases.orient import orient
from beyond.creases.projection import Neurons, Samples
from beyond.creases.relu_form import fit_budgets, relu_neurons, without_nothing
from beyond.creases.search import State, search
from models import Callback, FitState, SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module, fit_data, take_samples, to_host
from numerics.streams import Stream
from numerics.workspace import Workspace, workspace_or_new

SEARCH_SAMPLES = 8192  # of the search; all are used at the end
POLISHING_STEPS = 2, 4  # Gauss-Newton steps on all samples, on creases and on neurons
STANDARD_ERRORS, ROUNDING = 5, 1e-5  # of B: what is within both counts as nothing
EXACT = 1e-9  # of |Y|^2: less is left where the network was found


class Recovery(NamedTuple):
    """A fitted network, the share |R|^2 / |Y|^2 of the energy that it leaves, and the steps of the search."""

    net: SparseNet
    residual: float
    steps: int

    @property
    def exact(self) -> bool:
        return self.residual <= EXACT


def fit(X: Array, Y: Array, s: int, *, width: int, num_epochs: int = 60, seed: int = 0,
        work: Workspace | None = None, callback: Callback | None = None) -> SparseNet:
    """The network of `recover`."""
    return recover(X, Y, s, width=width, num_epochs=num_epochs, seed=seed, work=work, callback=callback).net


def recover(X: Array, Y: Array, s: int, *, width: int, num_epochs: int = 60, seed: int = 0,
            work: Workspace | None = None, callback: Callback | None = None) -> Recovery:
    """Fit a network of one hidden layer.

    Args:
        X: inputs [n, d] float32, best feature-major (X.T contiguous), n > d.
        Y: targets [n] or [n, k] float32, on the same device.
        s: nonzero weights, at most: with one output those of W, otherwise of W and V together.
        width: neurons m, at most.  num_epochs: steps of the search, at most.
        seed: of the samples of the search and its random choices.
        callback: called after each step of the search. Its loss is the share that is left of the targets without their
            linear part, and its network has the sides that the samples of the search give the creases.
    Returns:
        the network on the host. With one output it has output weights +-1 that are not counted, or no output layer
        where all of them are +1. ValueError for data or budgets that cannot be fitted, and for too few samples.
    """
    X, Y = fit_data(X, Y, s, width)
    xp = array_module(X)
    YT, exponent = in_range(xp.ascontiguousarray(Y.reshape(len(Y), -1).T))
    XT = xp.ascontiguousarray(X.T)
    check_samples(XT)
    best, report = None, Report(callback, width, exponent) if callback else None
    with workspace_or_new(work) as work:
        for budget in hidden_budgets(s, width, len(YT)):
            found = recover_within(XT, YT, budget, s, width, num_epochs, seed, work, report)
            best = found if best is None else min(best, found, key=lambda each: each.residual)
            if best.exact:
                break
    return best._replace(net=scaled(best.net, exponent))


def recover_within(XT: Array, YT: Array, budget: int, s: int, m: int, steps: int, seed: int,
                   work: Workspace, report: Report | None = None) -> Recovery:
    """`recover`, the search with `budget` weights in W. XT [d, n], YT [k, n]."""
    part = draw_samples(XT.shape[1], seed)
    some = take_samples(XT, part), take_samples(YT, part)
    found, steps = find_creases(*some, budget, m, steps, seed, work, report)
    neurons = oriented(Samples(XT, YT, work), found)
    data = Samples(XT, YT, work, relu=True)
    neurons = fit_budgets(Samples(*some, work, relu=True), neurons, s, m)
    neurons = refined(data, neurons, POLISHING_STEPS[1])
    left = data.squares(data.residual(neurons)[0]).sum()
    return Recovery(sparse_net(neurons, m), left / data.energy if left else 0.0, steps)


class Report:
    """Calls the callback of a fit after each step of its searches."""

    def __init__(self, callback: Callback, width: int, exponent: int):
        self.callback, self.width, self.exponent, self.number = callback, width, exponent, 0

    def __call__(self, data: Samples, now: State, scale: np.ndarray) -> None:
        """`data` has the inputs divided by `scale` [d]."""
        self.number += 1

        def net() -> SparseNet:
            neurons = with_sides(data, now.net, now.R, now.B, thorough=False)
            net = sparse_net(Neurons(neurons.W / scale, neurons.V), max(self.width, len(neurons.W)))
            return scaled(net, self.exponent)

        self.callback(self.number, FitState(net, float(now.loss / data.energy) if data.energy else 0.0))


def check_samples(XT: Array) -> None:
    """ValueError for as many inputs as samples, or more."""
    d, n = XT.shape
    if n <= d:
        raise ValueError(f"{n} samples for {d} inputs: a linear function fits any targets; more samples than inputs")


def in_range(Y: Array) -> tuple[Array, int]:
    """Y / 2^e and e, with a largest entry of 1/2 to 1: no square of Y leaves single precision. Exact."""
    xp = array_module(Y)
    exponent = int(np.frexp(float(xp.abs(Y).max()))[1])
    return xp.ldexp(Y, -exponent), exponent


def scaled(net: SparseNet, exponent: int) -> SparseNet:
    """The network with its outputs multiplied by 2^exponent."""
    [layer] = net.layers
    return replace(net, layers=(replace(layer, w=replace(layer.w, values=np.ldexp(layer.w.values, exponent))),))


def draw_samples(n: int, seed: int) -> slice | np.ndarray:
    """SEARCH_SAMPLES of n samples at random, ascending; or all."""
    if n <= SEARCH_SAMPLES:
        return slice(None)
    return np.sort(Stream.CREASES.generator(seed, 0).choice(n, SEARCH_SAMPLES, replace=False))


def find_creases(XT: Array, YT: Array, budget: int, m: int, steps: int, seed: int,
                 work: Workspace, report: Report | None = None) -> tuple[Neurons, int]:
    """The search, with every input scaled to a mean square of 1."""
    xp = array_module(XT)
    scale = xp.sqrt(xp.square(XT).mean(axis=1))
    scale = xp.where(scale > 0, scale, DTYPE(1))
    data = Samples(XT / scale[:, None], YT, work)
    divisors = to_host(scale)
    told = partial(report, scale=divisors) if report else None
    net, steps = search(data, budget, m, steps, Stream.CREASES.generator(seed, 1), told)
    return Neurons(net.W / divisors, net.V), steps


def hidden_budgets(s: int, m: int, k: int) -> list[int]:
    """Numbers of weights of W to search with, in turn until one is exact.

    With several outputs s counts V, too, and how much of it V takes is not known. The first budget leaves V one weight
    for each neuron, the least there can be: what is too much for W costs nothing but time, since it goes in the end.
    The second leaves it half, for targets where a fuller W fits noise.
    """
    if k == 1:
        return [s]
    return sorted({max(s - min(m, s // 2), 1), max(s // 2, 1)}, reverse=True)


def oriented(data: Samples, net: Neurons) -> Neurons:
    """Creases as neurons, after Gauss-Newton steps on all samples."""
    net = without_nothing(data, refined(data, net, POLISHING_STEPS[0]))
    return with_sides(data, net, *data.residual(net))


def with_sides(data: Samples, net: Neurons, R: Array, B: np.ndarray, thorough: bool = True) -> Neurons:
    """Creases as neurons, by the linear part B of the targets; R, B as Samples.residual gives them, see orient."""
    error = np.sqrt(data.squares(R)[:, None] / data.n * np.diag(data.K))
    tolerance = STANDARD_ERRORS * error + ROUNDING * np.linalg.norm(net.W, axis=0)
    return relu_neurons(net, *orient(net, B, tolerance, thorough))


def sparse_net(net: Neurons, m: int) -> SparseNet:
    """The network in single precision, its neurons numbered from 0 among m."""
    d, k = net.W.shape[1], net.V.shape[1]
    fused = k == 1 and (net.V > 0).all()
    output = None if fused else SparseLayer.from_dense(net.V.T, (k, m))
    return SparseNet((SparseLayer.from_dense(net.W, (m, d)),), output)
