"""Accelerated iterative hard thresholding (AIHT): the paper's solver, and the centrepiece of this repository.

A one-layer ReLU network whose gates are fixed is a linear model y_hat = A w (see sensing.py). AIHT looks for the best
w with at most s nonzeros; the sequential convex scheme then takes the gates from w itself and goes on. Deeper networks
are fitted layer by layer. Run it from a shell with

    python runner.py --task mlp_planted --method aiht --mlist 5 --slist 20

or from Python with aiht.fit(X, y, s=50, width=20).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from aiht_vector import fit_with_restarts, split
from models import Callback, Progress, SparseLayer, SparseNet
from numerics.arrays import Array, array_module, fit_data, to_device, to_host
from numerics.batches import with_samples
from numerics.sparse import SparseVector, largest
from numerics.streams import Stream
from numerics.workspace import Workspace, workspace_or_new
from sensing import Columns, Gates, GaussianSensing, RandomGates, ReluSensing, WeightGates

FIRST_STEP = 1e-14  # step size while the support is empty: that step only chooses the support (the paper's value)
INNER_STEPS = 10  # on the support, per step (the paper's value)
GAUSSIAN_INNER_STEPS = 3  # the same for the Gaussian sanity check, `recover`
REFUSALS = 11  # halvings of the inner step size before it is given up (the paper's value)


def aiht_step(A: ReluSensing | GaussianSensing, y: Array, w: SparseVector, s: int, inner_steps: int) -> SparseVector:
    """One step of AIHT for min |A w - y|^2 with at most s nonzeros.

    Args:
        A: sensing matrix, n x p.  y: targets [n].  w: the iterate, on its support S.
    Returns:
        the new iterate, at most s nonzeros; `w` is not changed.
    """
    A_S = A.columns(w.indices)
    r, mu = residual_and_step(A_S, w, y)
    new = hard_threshold(w, mu, A.adjoint_blocks(r), s)
    if not new.is_on_support_of(w):
        A_S = None  # so that the next one can have its memory
        A_S = A.columns(new.indices)
    return descend_on_support(A_S, y, new, mu, inner_steps)


def residual_and_step(A_S: Columns, w: SparseVector, y: Array) -> tuple[Array, Array | float]:
    """r = A w - y [n] and the step size mu = |g_S|^2 / |A g_S|^2, exact along the gradient g = A' r on the support."""
    r, g = A_S.residual(w.values, y)
    return r, (g @ g) / (g @ A_S.gram(g) + 1e-8) if len(w) else FIRST_STEP


def hard_threshold(w: SparseVector, mu: Array | float, gradient: Iterable, s: int) -> SparseVector:
    """The s entries of w - mu g largest in magnitude, for a gradient that comes in blocks; of equal ones the first.

    Args:
        gradient: yields (ascending indices [b], entries of g there [b]); the blocks ascend and cover the support of w.
    """
    xp = array_module(w.values)
    indices, values = w.indices[:0], w.values[:0]
    for place, g in gradient:
        u = (-mu * g + w.at(place)).astype(w.values.dtype)
        indices, values = largest(xp.concatenate([indices, place]), xp.concatenate([values, u]), s)
    return SparseVector(indices, values, w.size).nonzero()


def descend_on_support(A_S: Columns, y: Array, w: SparseVector, mu: Array | float, inner_steps: int) -> SparseVector:
    """Gradient steps x <- x - mu g on a fixed support, each with a step size halved until it is accepted.

    A step is accepted when |A_S x - y|^2 falls by at least 0.9 mu |g|^2. The objective is quadratic, so that is
    mu |A_S g|^2 <= 1.1 |g|^2, and the next gradient is g - mu A_S' A_S g: one pass over A_S per step, no trial
    evaluations. After REFUSALS refusals the iterate goes back to w. The step size carries over.
    """
    xp = array_module(w.values)
    halves = 0.5 ** xp.arange(REFUSALS)
    x = start = w.values.astype(np.float64)
    _, start_g = A_S.residual(x, y)
    g = start_g
    for _ in range(inner_steps):
        q = A_S.gram(g)  # g . q = |A_S g|^2
        refusals = xp.count_nonzero(mu * halves * (g @ q) > 1.1 * (g @ g))
        mu = mu * 0.5**refusals
        accepted = refusals < REFUSALS
        x = xp.where(accepted, x - mu * g, start)
        g = xp.where(accepted, g - mu * q, start_g)
    return SparseVector(w.indices, x.astype(w.values.dtype), w.size).nonzero()


def batches(n: int, batch_size: int, num_epochs: int, rng: np.random.Generator) -> Iterator:
    """Yield (epoch, batch): everything at once for batch_size 0 or n, else a new random order each epoch.

    The last, smaller batch of an epoch is kept.
    """
    for epoch in range(num_epochs):
        if batch_size in (0, n):
            yield epoch, slice(None)
            continue
        order = rng.permutation(n)
        for start in range(0, n, batch_size):
            yield epoch, order[start : start + batch_size]


def with_updates(batches: Iterable, update_every: int) -> Iterator:
    """Yield (epoch, batch, whether the gates become those of w after this step).

    They do after every `update_every`-th step, counted from step 0, but not in the first epoch, which keeps the random
    gates. Never if it is 0 (--convex).
    """
    for step, (epoch, batch) in enumerate(batches):
        yield epoch, batch, update_every > 0 and epoch >= 1 and step % update_every == 0


@dataclass(frozen=True)
class Schedule:
    """The steps of the fit of one layer, (epoch, batch, update); the same ones each time it is gone through.

    Args:
        n: samples.  num_epochs: passes over them.  batch_size: 0 for full batch.
        update_every: see with_updates.  seed, layer: of the random stream of the mini-batches.
    """

    n: int
    num_epochs: int
    batch_size: int = 0
    update_every: int = 1
    seed: int = 0
    layer: int = 0

    def __iter__(self) -> Iterator:
        rng = Stream.AIHT_BATCHES.generator(self.seed, self.layer)
        return with_updates(batches(self.n, self.batch_size, self.num_epochs, rng), self.update_every)


@dataclass(frozen=True)
class LayerFit:
    """What was found for one layer: hidden weights w [m d] on the inputs that it was given.

    Args:
        gates: the random ones that the fit began with.
        output, step_size: with k outputs, the output weights V' [k, m] and the fixed step size.
    """

    w: SparseVector
    gates: RandomGates
    output: SparseLayer | None = None
    step_size: float | None = None


def iterates(XT: Array, y: Array, s: int, gates: RandomGates, schedule: Iterable,
             work: Workspace) -> Iterator[tuple[SparseVector, Gates]]:
    """Fit one layer, y ~ sum_j relu(X w_j), with at most s nonzeros in w [m d], step by step.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].  gates: of the first steps.
        schedule: yields (epoch, batch, update): a Schedule, or what with_updates yields.
    Yields:
        after each step w and the gates for the next: the random ones, or those of w itself (sequential convex).
    """
    d = len(XT)
    w, A = SparseVector.zeros(gates.m * d, array_module(XT)), ReluSensing(XT, gates, gates.m, work)
    for _, X_b, y_b, update in with_samples(schedule, XT, y, work):
        A = A.on(X_b, A.gates)
        w = aiht_step(A, y_b, w, s, INNER_STEPS)
        if update:
            A = A.on(X_b, WeightGates(w, d))
        yield w, A.gates


def fit_scalar_layer(XT: Array, y: Array, s: int, gates: RandomGates, schedule: Iterable, work: Workspace,
                     progress: Progress | None = None) -> LayerFit:
    """The last of the iterates; arguments as there."""
    last = SparseVector.zeros(gates.m * len(XT), array_module(XT))
    for w, _ in iterates(XT, y, s, gates, schedule, work):
        last = w
        if progress:
            progress.step(w)
    return LayerFit(last, gates)


def fit_vector_layer(XT: Array, Y: Array, s: int, gates: RandomGates, schedule: Schedule, work: Workspace, fan_in: int,
                     loss: str, progress: Progress | None = None) -> LayerFit:
    """The same for targets Y [n, k], with at most s nonzeros in w and the output weights together; see aiht_vector.py.

    Args:
        fan_in: width of the layer before, d or more.  loss: see fit.
    """
    YT = array_module(Y).ascontiguousarray(Y.T)
    theta, step_size = fit_with_restarts(XT, YT, s, gates, fan_in, schedule, loss, work, progress)
    w, v = split(theta, len(XT), len(YT))
    return LayerFit(w, gates, SparseLayer(v.to_host(), len(YT), gates.m), step_size)


def fit(X: Array, y: Array, s: int, *, width: int, num_layers: int = 1, num_epochs: int = 15, batch_size: int = 0,
        convex: bool = False, update_every: int = 1, seed: int = 0, loss: str = "squared",
        work: Workspace | None = None, callback: Callback | None = None) -> SparseNet:
    """Fit a ReLU network, layer by layer.

    Each layer has the budget int(s / num_layers) and is fitted to y on the activations of those before it. With k
    outputs the budget is shared with the output weights, and those of all layers but the last are thrown away.

    Args:
        X: inputs [n, d] float32, best feature-major (X.T contiguous).
        y: targets [n] or [n, k] float32, on the same device.
        s: nonzero weights in all.  width: neurons m per hidden layer.  batch_size: 0 for full batch.
        convex: keep the random gates.  update_every: steps from one update of the gates to the next.
        loss: "squared" or, for k outputs, "cross_entropy" (y one-hot).
        work: threads and memory; without it the fit runs on one thread.
        callback: called after each step with its number and a models.FitState. A fit with k outputs that is started
            again with half the step size counts from 1 again.
    Returns:
        a SparseNet on the host whose predictions are those of the last layer's fit.
    Raises:
        ValueError for data or budgets that cannot be fitted (fit_data), FloatingPointError where AIHT with k outputs
        diverges at every step size.
    """
    X, y = fit_data(X, y, s, width)
    budget, fits = s // num_layers, []
    progress = Progress(callback) if callback else None

    def fit_layer(XT, fan_in: int, layer: int) -> SparseVector:
        gates = RandomGates(seed, layer, width, len(XT))
        schedule = Schedule(len(y), num_epochs, batch_size, 0 if convex else update_every, seed, layer)
        if progress and convex:
            progress.gates = gates
        if y.ndim == 1:
            fits.append(fit_scalar_layer(XT, y, budget, gates, schedule, space, progress))
        else:
            fits.append(fit_vector_layer(XT, y, budget, gates, schedule, space, fan_in, loss, progress))
        return fits[-1].w

    with workspace_or_new(work) as space:
        layers = layer_by_layer(X, width, num_layers, fit_layer, progress)
    step_sizes = tuple(found.step_size for found in fits if found.step_size is not None)
    return SparseNet(layers, fits[-1].output, fits[-1].gates if convex else None, step_sizes)


def layer_by_layer(X: Array, width: int, num_layers: int, fit_layer: Callable,
                   progress: Progress | None = None) -> tuple[SparseLayer, ...]:
    """Hidden layers, each fitted on the activations of those before it.

    Args:
        fit_layer: function (XT, fan_in, layer) -> w [width len(XT)]. XT are the inputs that are not always zero,
            feature-major; fan_in counts the others too.
        progress: is told where each layer begins.
    """
    XT, inputs, fan_in, layers = array_module(X).ascontiguousarray(X.T), np.arange(X.shape[1]), X.shape[1], []
    for layer in range(num_layers):
        place = partial(widen, inputs=inputs, m=width, fan_in=fan_in)
        if progress:
            progress.begin(layers, place)
        layers.append(place(fit_layer(XT, fan_in, layer)))
        if layer < num_layers - 1:  # embed once, on the neurons that have weights
            XT, inputs, fan_in = to_device(layers[-1].activations(to_host(XT), inputs), XT), layers[-1].neurons, width
    return tuple(layers)


def widen(w: SparseVector, inputs: np.ndarray, m: int, fan_in: int) -> SparseLayer:
    """Weights on some inputs as a layer [m, fan_in] of weights on all of them; of more neurons where w has more."""
    w, m = w.to_host(), max(m, w.size // max(len(inputs), 1))
    neuron, feature = np.divmod(w.indices, max(len(inputs), 1))
    return SparseLayer(SparseVector(neuron * fan_in + inputs[feature], w.values, m * fan_in), m, fan_in)


def recover(A: GaussianSensing, y: Array, s: int, num_epochs: int) -> SparseVector:
    """Recover w [p] with at most s nonzeros from y = A w [n]: the Gaussian sanity check, without gates; on the host."""
    w = SparseVector.zeros(A.shape[1], A.xp)
    for _ in range(num_epochs):
        w = aiht_step(A, y, w, s, GAUSSIAN_INNER_STEPS)
    return w.to_host()
