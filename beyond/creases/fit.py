"""Crease pursuit: exact recovery of one-hidden-layer networks, signs and outputs included. Start here.

Ours, not the paper's. It fits Y = sum_j v_j relu(w_j . x), W [m, d] sparse; with one output v_j = +-1, with several V
[m, k] is sparse, too. Since 2 relu(z) = |z| + z,

    Y = B x + sum_j v_j |w_j . x| / 2,      B = sum_j v_j w_j' / 2

and the linear part is what makes recovery ambiguous: relu(z) = relu(-z) + z. So it is taken out of everything
(samples.py), and what is looked for are the creases |w_j . x|, where the function bends (search.py). A sign is then
an amplitude, found by least squares. At the end B tells on which side each crease is open (orient.py), and the creases
become neurons (relu_form.py).

    python runner.py --task mlp_planted --method creases --mlist 20 --slist 100
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

import options
from beyond.creases.least_squares import refined
from beyond.creases.orient import orient
from beyond.creases.relu_form import fit_budgets, relu_neurons, without_rounding
from beyond.creases.samples import CreaseSamples, Neurons, NeuronSamples
from beyond.creases.search import State, search
from fits import Callback, FitState, Found, network_of, solver
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module, take_samples, to_host
from numerics.streams import Stream
from numerics.workspace import Workspace
from options import at_least, option

SEARCH_SAMPLES = 8192  # of the search; all are used at the end
POLISHING_STEPS = 2, 4  # Gauss-Newton steps on all samples, on creases and on neurons
STANDARD_ERRORS, ROUNDING = 5, 1e-5  # of B: what is within both counts as nothing
EXACT = 1e-9  # of |Y|^2: less is left where the network was found


@dataclass(frozen=True)
class Options(options.Options):
    """How crease pursuit searches."""

    num_epochs: int = option(60, at_least(1), "steps of the search at most", words="epochs {}")


@solver(Options, depths=(1,), overdetermined=True)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Fit a network of one hidden layer by crease pursuit.

    With one output s counts the hidden weights, and the output weights are +-1, or left out where all are +1; with
    several it counts both. The callback is called after each step of the search. Its loss is the share that is left of
    the targets without their linear part, and its network has the sides that the samples of the search give the
    creases. The details are energy_left, the share |r|^2 / |y|^2 that the network leaves, and the steps of the search.
    """
    xp = array_module(X)
    YT, exponent = in_range(xp.ascontiguousarray(y.reshape(len(y), -1).T))
    pursuit, tried = Pursuit(xp.ascontiguousarray(X.T), YT, s, width, work, seed), []
    report = pursuit.reporter(callback, exponent) if callback else None
    for budget in hidden_budgets(s, width, len(YT)):
        tried.append(pursuit.attempt(budget, options.num_epochs, report))
        if tried[-1][0] <= EXACT:
            break
    left, steps, neurons = min(tried, key=itemgetter(0))
    return Found(sparse_net(neurons, width, exponent), {"energy_left": left, "steps": steps})


class Pursuit:
    """The stages of a fit, each on samples of its own: the search and the budgets on SEARCH_SAMPLES, the rest on all.

    Args:
        XT: inputs [d, n].  YT: targets [k, n].  s, m: as of `solve`.
    """

    def __init__(self, XT: Array, YT: Array, s: int, m: int, work: Workspace, seed: int):
        self.s, self.m, self.seed = s, m, seed
        part, xp = some_samples(XT.shape[1], seed), array_module(XT)
        X_part, Y_part = take_samples(XT, part), take_samples(YT, part)
        scale = xp.sqrt(xp.square(X_part).mean(axis=1))
        scale = xp.where(scale > 0, scale, DTYPE(1))
        self.scale = to_host(scale)  # for the search every input has a mean square of 1
        self.searched = CreaseSamples(X_part / scale[:, None], Y_part, work)
        self.budgeted = NeuronSamples(X_part, Y_part, work)
        self.creases, self.neurons = CreaseSamples(XT, YT, work), NeuronSamples(XT, YT, work)

    def attempt(self, budget: int, steps: int, report: Callable[[State], None] | None) -> tuple[float, int, Neurons]:
        """A fit whose search has `budget` weights: the share of the energy that is left, the steps, and neurons."""
        creases, steps = search(self.searched, budget, self.m, steps, Stream.CREASES.generator(self.seed, 1), report)
        creases = refined(self.creases, Neurons(creases.W / self.scale, creases.V), POLISHING_STEPS[0])
        creases = without_rounding(self.creases, creases)
        neurons = with_sides(self.creases, creases, *self.creases.residual(creases))
        neurons = refined(self.neurons, fit_budgets(self.budgeted, neurons, self.s, self.m), POLISHING_STEPS[1])
        left = self.neurons.squares(self.neurons.residual(neurons)[0]).sum()
        return float(left / self.neurons.energy) if left else 0.0, steps, neurons

    def reporter(self, callback: Callback, exponent: int) -> Callable[[State], None]:
        """What calls a callback after each step of the searches, for targets that were divided by 2^exponent."""
        numbers, data = itertools.count(1), self.searched

        def report(now: State) -> None:
            def net() -> SparseNet:
                neurons = with_sides(data, now.net, now.R, now.B, thorough=False)
                return sparse_net(Neurons(neurons.W / self.scale, neurons.V), max(self.m, len(neurons.W)), exponent)

            callback(next(numbers), FitState(net, float(now.loss / data.energy) if data.energy else 0.0))

        return report


def in_range(Y: Array) -> tuple[Array, int]:
    """Y / 2^e and e, with a largest entry of 1/2 to 1: no square of Y leaves single precision. Exact."""
    xp = array_module(Y)
    exponent = int(np.frexp(float(xp.abs(Y).max()))[1])
    return xp.ldexp(Y, -exponent), exponent


def some_samples(n: int, seed: int) -> slice | np.ndarray:
    """SEARCH_SAMPLES of n samples at random, ascending; or all."""
    if n <= SEARCH_SAMPLES:
        return slice(None)
    return np.sort(Stream.CREASES.generator(seed, 0).choice(n, SEARCH_SAMPLES, replace=False))


def hidden_budgets(s: int, m: int, k: int) -> list[int]:
    """Numbers of weights of W to search with, in turn until one is exact.

    With several outputs s counts V, too, and how much of it V takes is not known. The first budget leaves V one weight
    for each neuron, the least there can be: what is too much for W costs nothing but time, since it goes in the end.
    The second leaves it half, for targets where a fuller W fits noise.
    """
    if k == 1:
        return [s]
    return sorted({max(s - min(m, s // 2), 1), max(s // 2, 1)}, reverse=True)


def with_sides(data: CreaseSamples, net: Neurons, R: Array, B: np.ndarray, thorough: bool = True) -> Neurons:
    """Creases as neurons, by the linear part B of the targets; R, B as data.residual gives them, see orient."""
    error = np.sqrt(data.squares(R)[:, None] / data.n * np.diag(data.K))
    tolerance = STANDARD_ERRORS * error + ROUNDING * np.linalg.norm(net.W, axis=0)
    return relu_neurons(net, *orient(net, B, tolerance, thorough))


def sparse_net(net: Neurons, m: int, exponent: int) -> SparseNet:
    """The network in single precision, its neurons numbered from 0 among m, its outputs multiplied by 2^exponent."""
    d, k = net.W.shape[1], net.V.shape[1]
    layer = SparseLayer.from_dense(net.W, (m, d))
    layer = replace(layer, w=replace(layer.w, values=np.ldexp(layer.w.values, exponent)))
    fused = k == 1 and (net.V > 0).all()
    return SparseNet((layer,), None if fused else SparseLayer.from_dense(net.V.T, (k, m)))


fit = network_of(solve)
