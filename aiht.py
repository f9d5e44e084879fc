"""Accelerated iterative hard thresholding (AIHT): the paper's solver, and the centrepiece of this repository.

A one-layer ReLU network whose gates are fixed is a linear model y_hat = A w (see sensing.py). AIHT looks for the best
w with at most s nonzeros; the sequential convex scheme then takes the gates from w itself and goes on. Deeper networks
are fitted layer by layer. Run it from a shell with

    python runner.py --task mlp_planted --method aiht --mlist 5 --slist 20

or from Python with aiht.fit(X, y, s=50, width=20).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from aiht_vector import VectorFit, fit_vector_layer
from fits import Callback, EpochOptions, Found, Progress, layer_by_layer, network_of, solver
from models import SparseNet
from numerics.arrays import Array, array_module, to_device
from numerics.batches import Schedule, Step, with_samples
from numerics.columns import Columns
from numerics.sparse import Largest, SparseVector
from numerics.workspace import Workspace
from options import SWITCH, OptionError, at_least, option
from sensing import Gates, GaussianSensing, RandomGates, ReluSensing, WeightGates

FIRST_STEP = 1e-14  # step size while the support is empty: that step only chooses the support (the paper's value)
INNER_STEPS = 10  # on the support, per step (the paper's value)
GAUSSIAN_INNER_STEPS = 3  # the same for the Gaussian sanity check, `recover`
REFUSALS = 11  # halvings of the inner step size before it is given up (the paper's value)


@dataclass(frozen=True)
class Options(EpochOptions):
    """How AIHT goes through the data, and when its gates move."""

    convex: bool = option(False, SWITCH, "keep the initial random gates; never update them", words="convex")
    update_every: int = option(1, at_least(1), "steps from one update of the gates to the next",
                               words="updates every {} steps")

    def check(self) -> None:
        if self.convex and self.update_every > 1:
            raise OptionError("update_every", f"{self.update_every} has no effect with --convex; leave one out")


# ---- one step ----


def aiht_step(A: ReluSensing | GaussianSensing, y: Array, w: SparseVector, s: int, inner_steps: int) -> SparseVector:
    """One step of AIHT for min |A w - y|^2 with at most s nonzeros.

    Args:
        A: sensing matrix, n x p.  y: targets [n].  w: the iterate, on its support S.
    Returns:
        the new iterate, at most s nonzeros; `w` is not changed.
    """
    with A.columns(w.indices) as A_S:
        r, mu = residual_and_step(A_S, w, y)
        new = hard_threshold(w, mu, A.adjoint_blocks(r), s)
        if new.is_on_support_of(w):
            return descend_on_support(A_S, y, new, mu, inner_steps)
    with A.columns(new.indices) as A_S:
        return descend_on_support(A_S, y, new, mu, inner_steps)


def residual_and_step(A_S: Columns, w: SparseVector, y: Array) -> tuple[Array, float]:
    """r = A w - y [n] and the step size mu = |g_S|^2 / |A g_S|^2, exact along the gradient g = A' r on the support."""
    r, g = A_S.residual(w.values, y)
    return r, (g @ g) / (g @ A_S.gram(g) + 1e-8) if len(w) else FIRST_STEP


def hard_threshold(w: SparseVector, mu: float, gradient: Iterable, s: int) -> SparseVector:
    """The s entries of w - mu g largest in magnitude, for a gradient that comes in blocks; of equal ones the first.

    Args:
        gradient: yields (ascending indices [b] on the host, entries of g there [b]); the blocks ascend and cover the
            support of w.
    """
    top = Largest(s)
    for place, g in gradient:
        u = -mu * g
        at, weights = w.stored_at(place)
        array_module(u).add.at(u, to_device(at, u), to_device(weights.astype(u.dtype), u))
        top.add(place, u.astype(w.values.dtype), at)
    return SparseVector(top.indices, top.values, w.size).nonzero()


def descend_on_support(A_S: Columns, y: Array, w: SparseVector, mu: float, inner_steps: int) -> SparseVector:
    """Gradient steps x <- x - mu g on a fixed support, each with a step size halved until it is accepted.

    A step is accepted when |A_S x - y|^2 falls by at least 0.9 mu |g|^2. The objective is quadratic, so that is
    mu |A_S g|^2 <= 1.1 |g|^2, and the next gradient is g - mu A_S' A_S g: one pass over A_S per step, no trial
    evaluations. After REFUSALS refusals the iterate goes back to w. The step size carries over.
    """
    x = start = w.values.astype(np.float64)
    g = start_g = A_S.gradient(x, y)
    for _ in range(inner_steps):
        q = A_S.gram(g)  # g . q = |A_S g|^2
        refusals, length, bent = 0, g @ g, g @ q
        while refusals < REFUSALS and mu * bent > 1.1 * length:
            mu, refusals = mu / 2, refusals + 1
        x, g = (x - mu * g, g - mu * q) if refusals < REFUSALS else (start, start_g)
    return SparseVector(w.indices, x.astype(w.values.dtype), w.size).nonzero()


# ---- the steps of a layer ----


def iterates(XT: Array, y: Array, s: int, gates: RandomGates, schedule: Iterable[Step],
             work: Workspace) -> Iterator[tuple[SparseVector, Gates]]:
    """Fit one layer, y ~ sum_j relu(X w_j), with at most s nonzeros in w [m d], step by step.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].  gates: of the first steps.
    Yields:
        after each step w and the gates for the next: the random ones, or those of w itself (sequential convex).
    """
    d = len(XT)
    w, A = SparseVector.zeros(gates.m * d), ReluSensing(XT, gates, gates.m, work)
    for _, X_b, y_b, update in with_samples(schedule, XT, y, work):
        A = A.on(X_b, A.gates)
        w = aiht_step(A, y_b, w, s, INNER_STEPS)
        if update:
            A = A.on(X_b, WeightGates(w, d))
        yield w, A.gates


# ---- whole fits ----


@solver(Options, sums=True)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Fit a ReLU network, layer by layer.

    Each layer has the budget int(s / num_layers) and is fitted to y on the activations of those before it. With k
    outputs the budget is shared with the output weights, and those of all layers but the last are thrown away; a layer
    that diverges is started again with half the step size, and then the numbers of its steps begin again, too. The
    details name the step sizes of the layers. FloatingPointError where a layer diverges at every step size.
    """
    progress = Progress(callback) if callback else None
    budget, update_every = s // num_layers, 0 if options.convex else options.update_every
    random_gates: list[RandomGates] = []  # of each layer
    vector_fits: list[VectorFit] = []

    def fit_layer(XT: Array, fan_in: int, layer: int) -> SparseVector:
        gates = RandomGates(seed, layer, width, len(XT))
        random_gates.append(gates)
        schedule = Schedule(len(y), options.num_epochs, options.batch_size, update_every, seed, layer)
        if progress and options.convex:
            progress.gates = gates
        if y.ndim == 1:
            for w, _ in iterates(XT, y, budget, gates, schedule, work):
                if progress:
                    progress.step(w)
            return w
        found = fit_vector_layer(XT, y, budget, gates, schedule, work, progress, fan_in=fan_in, loss=options.loss)
        vector_fits.append(found)
        return found.w

    layers = layer_by_layer(X, width, num_layers, fit_layer, progress)
    output = vector_fits[-1].output if vector_fits else None
    net = SparseNet(layers, output, random_gates[-1] if options.convex else None)
    return Found(net, {"step_sizes": [found.step_size for found in vector_fits]} if vector_fits else {})


fit = network_of(solve)


def recover(A: GaussianSensing, y: Array, s: int, num_epochs: int) -> SparseVector:
    """Recover w [p] with at most s nonzeros from y = A w [n]: the Gaussian sanity check, without gates."""
    w = SparseVector.zeros(A.shape[1])
    for _ in range(num_epochs):
        w = aiht_step(A, y, w, s, GAUSSIAN_INNER_STEPS)
    return w
