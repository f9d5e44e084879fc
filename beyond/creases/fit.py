"""Crease pursuit: exact recovery of one-hidden-layer networks, signs and outputs included. Start here.

Ours, not the paper's. It fits Y = sum_j v_j relu(w_j . x), W [m, d] sparse; with one output v_j = +-1, with several V
[m, k] is sparse, too. Since 2 relu(z) = |z| + z,

    Y = B x + sum_j v_j |w_j . x| / 2,      B = sum_j v_j w_j' / 2

and the linear part is what makes recovery ambiguous: relu(z) = relu(-z) + z. So it is taken out of everything
(samples.py), and what is looked for are the creases |w_j . x|, where the function bends (search.py). A sign is then
an amplitude, found by least squares. At the end B tells on which side each crease is open (orient.py), and the creases
become neurons, within the budgets (least_squares.py).

    python runner.py --task mlp_planted --method creases --mlist 20 --slist 100
"""

import functools
import itertools
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

import options
from beyond.creases.dense import dense_creases
from beyond.creases.least_squares import fit_budgets, refined, without_rounding
from beyond.creases.orient import orient, relu_neurons
from beyond.creases.samples import CreaseSamples, Neurons, NeuronSamples
from beyond.creases.search import State, search
from fits import Callback, FitState, Found, network_of, solver
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module, take_samples, to_device, to_host
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

    num_epochs: int = option(60, at_least(1), "limit on the search steps", words="epochs {}")


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
    XT, YT = xp.ascontiguousarray(X.T), xp.ascontiguousarray(y.reshape(len(y), -1).T)
    pursuit, tried = Pursuit(XT, YT, s, width, work, seed, callback), []
    # With several outputs s counts V, too, and how much of it V takes is not known. The first leaves V one weight
    # for each neuron, the least there can be: what is too much for W costs nothing but time, since it goes in the end.
    # The second leaves V half, for targets where a fuller W fits noise.
    budgets = [s] if len(YT) == 1 else sorted({max(s - min(width, s // 2), 1), max(s // 2, 1)}, reverse=True)
    for budget in budgets:
        tried.append(pursuit.attempt(budget, options.num_epochs))
        if tried[-1][0] <= EXACT:
            break
    left, steps, neurons = min(tried, key=itemgetter(0))
    return Found(pursuit.sparse_net(neurons), {"energy_left": left, "steps": steps})


class Pursuit:
    """The stages of a fit to XT [d, n] and YT [k, n]: the search and the budgets on SEARCH_SAMPLES, the rest on all."""

    def __init__(self, XT: Array, YT: Array, s: int, m: int, work: Workspace, seed: int, callback: Callback | None):
        self.s, self.m, self.seed, self.callback, self.numbers = s, m, seed, callback, itertools.count(1)
        xp, n = array_module(XT), XT.shape[1]
        part: slice | np.ndarray = slice(None)
        self.exponent = int(np.frexp(float(xp.abs(YT).max()))[1])
        YT = xp.ldexp(YT, -self.exponent)  # exact; the largest is 1/2 to 1, so that no square leaves single precision
        if n > SEARCH_SAMPLES:
            part = np.sort(Stream.CREASES.generator(seed, 0).choice(n, SEARCH_SAMPLES, replace=False))
        X_part, Y_part = take_samples(XT, part), take_samples(YT, part)
        scale = xp.sqrt(xp.square(X_part).mean(axis=1))
        scale = xp.where(scale > 0, scale, DTYPE(1))
        self.scale = to_host(scale)  # for the search every input has a mean square of 1
        self.searched = CreaseSamples(X_part / scale[:, None], Y_part, work)
        self.budgeted = NeuronSamples(X_part, Y_part, work)
        self.creases, self.neurons = CreaseSamples(XT, YT, work), NeuronSamples(XT, YT, work)

    def attempt(self, budget: int, steps: int) -> tuple[float, int, Neurons]:
        """A fit whose search has `budget` weights: the share of the energy that is left, the steps, and neurons."""
        rng = Stream.CREASES.generator(self.seed, 1)
        creases, steps = search(self.searched, budget, self.m, steps, rng, self.report, lambda: self.dense)
        creases = refined(self.creases, Neurons(creases.W / self.scale, creases.V), POLISHING_STEPS[0])
        creases = without_rounding(self.creases, creases)
        neurons = with_sides(self.creases, creases, *self.creases.residual(creases))
        neurons = refined(self.neurons, fit_budgets(self.budgeted, neurons, self.s, self.m), POLISHING_STEPS[1])
        left = self.neurons.squares(self.neurons.residual(neurons)[0]).sum()
        return float(left / self.neurons.energy) if left else 0.0, steps, neurons

    @functools.cached_property
    def dense(self) -> Neurons:
        """Creases of a dense student, from all samples, with the inputs of the search; the same for all attempts."""
        XT = self.creases.XT / to_device(self.scale, self.creases.XT)[:, None]
        data = CreaseSamples(XT, self.neurons.target, self.creases.work)
        return dense_creases(data, self.s, self.m, Stream.CREASES.generator(self.seed, 2))

    def report(self, now: State) -> None:
        """Tell the callback, if there is one, of a step of the searches."""

        def net() -> SparseNet:
            neurons = with_sides(self.searched, now.net, now.R, now.B, thorough=False)
            return self.sparse_net(Neurons(neurons.W / self.scale, neurons.V))

        if self.callback:
            loss = float(now.loss / self.searched.energy) if self.searched.energy else 0.0
            self.callback(next(self.numbers), FitState(net, loss))

    def sparse_net(self, net: Neurons) -> SparseNet:
        """The network in single precision, for targets as they were, with m neurons or more."""
        m, d, k = max(self.m, len(net.W)), net.W.shape[1], net.V.shape[1]
        layer = SparseLayer.from_dense(net.W, (m, d))
        layer = replace(layer, w=replace(layer.w, values=np.ldexp(layer.w.values, self.exponent)))
        fused = k == 1 and (net.V > 0).all()
        return SparseNet((layer,), None if fused else SparseLayer.from_dense(net.V.T, (k, m)))


def with_sides(data: CreaseSamples, net: Neurons, R: Array, B: np.ndarray, thorough: bool = True) -> Neurons:
    """Creases as neurons, by the linear part B of the targets; R, B as data.residual gives them, see orient."""
    error = np.sqrt(data.squares(R)[:, None] / data.n * np.diag(data.K))
    tolerance = STANDARD_ERRORS * error + ROUNDING * np.linalg.norm(net.W, axis=0)
    return relu_neurons(net, *orient(net, B, tolerance, thorough))


fit = network_of(solve)
