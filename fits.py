"""What every fit shares: checked data and options, what it tells while it runs, and the record of what it found.

A method is a function `solve(X, y, s, *, width, ...) -> Found`, made of a function of checked arguments by `solver`:

    @solver(Options, depths=(1,))
    def solve(X, y, s, *, width, num_layers, seed, work, callback, options):
        ...
        return Found(net, {"steps": steps})

    fit = network_of(solve)  # the same, and gives the network alone

Callers name the options as keywords, solve(X, y, s=20, width=5, num_epochs=30); sweep/methods.py passes an object.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np

import options
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module, real_array, to_device, to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from options import SEED, SIZE, OptionError, Options, at_least, declarations, made, one_of, option
from sensing import RandomGates
from units import Units, largest, shifted

Details = dict[str, Any]  # for the log: what JSON holds


@dataclass(frozen=True)
class Found:
    """What a fit found.

    Args:
        net: on the host, at most s nonzero weights and `width` neurons per hidden layer.
        details: numbers that the log keeps, by name.
        outputs: predictions on the inputs of the score, where the method makes them in an arithmetic of its own.
    """

    net: SparseNet
    details: Details = field(default_factory=dict)
    outputs: np.ndarray | None = None


# ---- what a fit tells while it runs ----


@dataclass(frozen=True)
class FitState:
    """What the callback of a fit gets after a step.

    Args:
        net: function () -> the network as it is now, on the host. It is made when it is called: a callback that does
            not ask for it costs next to nothing. To be called before the callback returns.
        loss: the share |y_hat - y|^2 / |y|^2 of the targets that is left, where the method knows it anyway.
        layer: the hidden layer that is fitted, from 0.  steps: in all, where that is known.
        slist: the numbers of nonzeros that are still looked for, where one fit serves several.
    """

    net: Callable[[], SparseNet]
    loss: float | None = None
    layer: int = 0
    steps: int | None = None
    slist: tuple[int, ...] = ()


Callback = Callable[[int, FitState], object]  # (number of the step, from 1; FitState), whatever it returns


class Progress:
    """The callback of a fit that goes layer by layer: it counts the steps and puts the layers together."""

    def __init__(self, callback: Callback):
        self.callback, self.number = callback, 0
        self.gates: RandomGates | None = None  # of a network that keeps random ones

    def begin(self, layers: Sequence[SparseLayer], place: Callable[[SparseVector], SparseLayer]) -> None:
        """A new layer, after `layers`; `place` makes one of the weights w [m d] that the steps will give."""
        self.layers, self.place, self.before = tuple(layers), place, self.number

    def restart(self) -> None:
        """This layer is begun again, and so are the numbers of its steps."""
        self.number = self.before

    def step(self, w: SparseVector, output: SparseVector | None = None, loss: float | None = None) -> None:
        """After a step: hidden weights, and output weights V' [k, m] if there are any."""
        self.number += 1

        def net() -> SparseNet:
            layer = self.place(w)
            V = None if output is None else SparseLayer(output, output.size // layer.m, layer.m)
            return SparseNet((*self.layers, layer), V, self.gates)

        self.callback(self.number, FitState(net, loss, len(self.layers)))


# ---- what a fit is given ----


@dataclass(frozen=True)
class Needs:
    """What a method asks of a problem.

    Args:
        depths: the numbers of hidden layers that it can fit, the usual one first; () for any, 1 as a rule.
        most_outputs: the largest number of outputs k that it can fit; None for any.
        sums: whether one output must be a sum of neurons, sum_j relu(w_j . x), and not a difference.
        overdetermined: whether it needs more samples than inputs.
        planted: whether a sparse network must have made the targets. No data show that: only a sweep can refuse it.
    """

    depths: tuple[int, ...] = ()
    most_outputs: int | None = None
    sums: bool = False
    overdetermined: bool = False
    planted: bool = False

    @property
    def usual_depth(self) -> int:
        """Hidden layers where nobody says how many."""
        return self.depths[0] if self.depths else 1

    def misfit(self, n: int, d: int, k: int, num_layers: int) -> tuple[str, str] | None:
        """(name of an argument, what is wrong with it) for n samples of d inputs and k outputs; None if nothing is."""
        if self.depths and num_layers not in self.depths:
            return "num_layers", f"fits {counted(self.depths[0], 'hidden layer')}, not {num_layers}"
        if self.most_outputs is not None and k > self.most_outputs:
            return "y", f"fits {counted(self.most_outputs, 'output')}, not {k}"
        if self.overdetermined and n <= d:
            return "X", f"needs more samples than inputs, not {n} of {d}"
        return None


def counted(number: int, thing: str) -> str:
    """For example "1 output" or "2 outputs"."""
    return f"{number} {thing}{'s' if number != 1 else ''}"


class Solver(Protocol):
    """A function that fits a network; made by `solver`."""

    Options: type[options.Options]
    needs: Needs
    __module__: str

    def __call__(self, X: Array, y: Array, s: int, *, width: int, num_layers: int | None = None, seed: int = 0,
                 work: Workspace | None = None, callback: Callback | None = None, **options: Any) -> Found: ...


def solver(declared: type[Options], **needs: Any) -> Callable[[Callable[..., Found]], Solver]:
    """A decorator that checks data and options before a function, and opens a workspace where none is given.

    What it makes takes X [n, d] and y [n] or [n, k], arrays or what numpy.asarray takes, best feature-major (X.T
    contiguous); s, the nonzero weights in all; `width`, the neurons per hidden layer; `num_layers`, `seed`, `work`
    (threads and memory; one thread without it), `callback` (called after each step with its number, from 1, and a
    FitState) and the options as keywords. The function that is decorated gets all of them by these names, checked, X
    and y in single precision, the options as an object. Errors are ValueErrors or TypeErrors that name the argument.

    Args:
        declared: the class of its options.  needs: fields of Needs.
    """
    asks = Needs(**needs)

    def decorate(function: Callable[..., Found]) -> Solver:
        @functools.wraps(function)
        def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int | None = None, seed: int = 0,
                  work: Workspace | None = None, callback: Callback | None = None, **given: Any) -> Found:
            chosen = given.pop("options") if given.keys() == {"options"} else made(declared, given)
            num_layers = asks.usual_depth if num_layers is None else num_layers
            s, width, num_layers = (SIZE.check(name, value) for name, value in (
                ("s", s), ("width", width), ("num_layers", num_layers)))
            seed, (X, y) = SEED.check("seed", seed), fit_data(X, y)
            n, d, k = *X.shape, 1 if y.ndim == 1 else y.shape[1]
            if misfit := asks.misfit(n, d, k, num_layers):
                raise ValueError(f"{misfit[0]}: {function.__module__} {misfit[1]}")
            chosen.check_data(n, d, k)
            units = units_of(X, y, chosen)
            X, y = units.divide(X, y)
            with Workspace(xp=array_module(X)) if work is None else contextlib.nullcontext(work) as space:
                found = function(X, y, s, width=width, num_layers=num_layers, seed=seed, work=space,
                                 callback=callback and in_units(callback, units), options=chosen)
            if asks.sums and y.ndim == 1 and (below := below_zero(y)):
                found = replace(found, details={**found.details, "out_of_reach": below})
            return restored(found, units)

        vars(solve).update(Options=declared, needs=asks, __signature__=signature(declared, asks))
        return cast(Solver, solve)

    return decorate


def units_of(X: Array, y: Array, options: Options) -> Units:
    """The units in which a fit with these options takes its data."""
    return Units.of(X, y, getattr(options, "loss", "squared"), getattr(options, "input_scale", "none"))


OUT_OF_REACH = 0.01  # share of the energy of targets below zero that is told


def below_zero(y: Array) -> float | None:
    """The share of the energy of targets [n] that no sum of neurons, never negative, fits; None if small."""
    xp = array_module(y)
    energy = float(xp.square(y, dtype=np.float64).sum())
    below = float(xp.square(xp.minimum(y, 0), dtype=np.float64).sum())
    return below / energy if below > OUT_OF_REACH * energy else None


def in_units(callback: Callback, units: Units) -> Callback:
    """A callback that gets its networks for the data as they were given."""
    return lambda step, state: callback(step, replace(state, net=lambda: units.undo(state.net())))


def restored(found: Found, units: Units) -> Found:
    """What was found, for the data as they were given. Raises FloatingPointError."""
    outputs = None if found.outputs is None else shifted(found.outputs, units.targets)
    return replace(found, net=units.undo(found.net), outputs=outputs)


def network_of(solve: Solver) -> Callable[..., SparseNet]:
    """The `fit` of a `solve`: the same arguments, the network alone."""

    def fit(X: Array, y: Array, s: int, **given: Any) -> SparseNet:
        return solve(X, y, s, **given).net

    fit.__module__, fit.__doc__ = solve.__module__, f"The network that solve finds.\n\n{solve.__doc__}"
    vars(fit)["__signature__"] = inspect.signature(solve).replace(return_annotation=SparseNet)
    return fit


def signature(declared: type[Options], needs: Needs) -> inspect.Signature:
    """What `solve` takes, for help(): the arguments that all have, and the options with their defaults."""
    given = {"width": inspect.Parameter.empty, "num_layers": needs.usual_depth, "seed": 0, "work": None,
             "callback": None} | {name: declaration.default for name, declaration in declarations(declared).items()}
    return inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("X", "y", "s")]
        + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in given.items()],
        return_annotation=Found)


LEAST = 2.0**-100  # the largest magnitude, so that what is a billionth of it keeps all digits


def fit_data(X: Array, y: Array) -> tuple[Array, Array]:
    """X [n, d] and y [n] or [n, k] as arrays of DTYPE, n, d, k > 0.

    Raises ValueError where no method can fit them. It names the argument, and the first entry, counted from 0, that is
    not finite in single precision. Arrays that vanish there and one output in two dimensions are refused, too.
    """
    X, y = real_array("X", X), real_array("y", y)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X must have shape [n, d] with n, d >= 1, but its shape is {X.shape}")
    if y.ndim not in (1, 2) or len(y) != len(X) or not y.size:
        raise ValueError(f"y must be [n] or [n, k] with n = {len(X)} as in X, but its shape is {y.shape}")
    if y.ndim == 2 and y.shape[1] == 1:  # predictions would be [n], and differences [n, n]
        raise ValueError(f"y has the shape {y.shape}: give one output as y[:, 0]")
    for name, array in (("X", X), ("y", y)):
        if 0 < (size := largest(array)) < LEAST:
            raise ValueError(f"{name} is at most {size:.3g}, too small for single precision: rescale it")
    with np.errstate(over="ignore"):
        X, y, xp = X.astype(DTYPE, copy=False), y.astype(DTYPE, copy=False), array_module(X)
    for name, array, column in (("X", X, "input"), ("y", y, "output")):
        # min and max are NaN where any entry is; unlike isfinite of all entries they take no memory
        if not xp.isfinite(array.min()) & xp.isfinite(array.max()):
            place = to_host(xp.argwhere(~xp.isfinite(array))[0]).tolist()
            where = ", ".join(f"{axis} {number}" for axis, number in zip(("sample", column), place, strict=False))
            raise ValueError(f"{name} is not finite: {where} is {float(array[tuple(place)])}")
    return X, y


# ---- options that several methods have ----

LOSSES = ("squared", "cross_entropy")


@dataclass(frozen=True)
class Epochs(Options):
    """Of a method that goes through the data."""

    num_epochs: int = option(15, SIZE, "passes through the data; pruning: per round", words="epochs {}")


@dataclass(frozen=True)
class LossOptions(Options):
    """Of a method that minimises either of LOSSES."""

    loss: str = option("squared", one_of(LOSSES), "what is minimised; cross_entropy: of one-hot targets", flag=False)

    def check_data(self, n: int, d: int, k: int) -> None:
        if self.loss == "cross_entropy" and k == 1:
            raise OptionError("loss", "cross_entropy takes one-hot targets, and y has one output; use squared")


@dataclass(frozen=True)
class EpochOptions(LossOptions, Epochs):
    """Of a method that goes through the data in batches."""

    batch_size: int = option(0, at_least(0), "samples per step, 0 for all of them",
                             words=lambda size: f"batch {size}" if size else "full batch")

    def check_data(self, n: int, d: int, k: int) -> None:
        if self.batch_size > n:
            raise OptionError("batch_size", f"{self.batch_size} is over the {n} samples; use 0 for full batch")
        super().check_data(n, d, k)


# ---- layer by layer ----


def layer_by_layer(X: Array, width: int, num_layers: int, fit_layer: Callable[[Array, int, int], SparseVector],
                   progress: Progress | None = None) -> tuple[SparseLayer, ...]:
    """Hidden layers, each fitted on the activations of those before it.

    Args:
        fit_layer: function (XT, fan_in, layer) -> w [width len(XT)]. XT are the inputs that are not always zero,
            feature-major; fan_in counts the others too.
        progress: is told where each layer begins.
    """
    layers: list[SparseLayer] = []
    XT, inputs, fan_in = array_module(X).ascontiguousarray(X.T), np.arange(X.shape[1]), X.shape[1]
    for number in range(num_layers):
        if layers:  # embed once, on the neurons that have weights
            XT = to_device(layers[-1].activations(to_host(XT), inputs), XT)
            inputs, fan_in = layers[-1].neurons, width
        place = functools.partial(widen, inputs=inputs, m=width, fan_in=fan_in)
        if progress:
            progress.begin(layers, place)
        layers.append(place(fit_layer(XT, fan_in, number)))
    return tuple(layers)


def widen(w: SparseVector, inputs: np.ndarray, m: int, fan_in: int) -> SparseLayer:
    """Weights on some inputs as a layer [m, fan_in] of weights on all of them; of more neurons where w has more."""
    m = max(m, w.size // max(len(inputs), 1))
    neuron, feature = np.divmod(w.indices, max(len(inputs), 1))
    return SparseLayer(SparseVector(neuron * fan_in + inputs[feature], w.values, m * fan_in), m, fan_in)
