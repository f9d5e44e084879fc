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

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

import options
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE, Array, array_module, check_finite, to_device, to_host
from numerics.sparse import SparseVector
from numerics.workspace import Workspace, workspace_or_new
from options import SEED, SIZE, OptionError, Options, at_least, declarations, made, one_of, option, text
from sensing import RandomGates

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
            V = None if output is None else SparseLayer(output.to_host(), output.size // layer.m, layer.m)
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
            if found := asks.misfit(n, d, k, num_layers):
                raise ValueError(f"{found[0]}: {function.__module__} {found[1]}")
            chosen.check_data(n, d, k)
            with workspace_or_new(work) as space:
                return function(X, y, s, width=width, num_layers=num_layers, seed=seed, work=space, callback=callback,
                                options=chosen)

        vars(solve).update(Options=declared, needs=asks, __signature__=signature(declared, asks))
        return cast(Solver, solve)

    return decorate


def network_of(solve: Solver) -> Callable[..., SparseNet]:
    """The `fit` of a `solve`: the same arguments, the network alone."""

    def fit(X: Array, y: Array, s: int, **given: Any) -> SparseNet:
        return solve(X, y, s, **given).net

    fit.__module__, fit.__doc__ = solve.__module__, f"The network that solve finds.\n\n{solve.__doc__}"
    vars(fit)["__signature__"] = inspect.signature(solve).replace(return_annotation=SparseNet)
    return fit


def signature(declared: type[Options], needs: Needs) -> inspect.Signature:
    """What `solve` takes, for help(): the arguments that all have, and the options with their defaults."""
    keyword, place = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    shared = [("width", inspect.Parameter.empty), ("num_layers", needs.usual_depth), ("seed", 0), ("work", None),
              ("callback", None)]
    own = [(name, declaration.default) for name, declaration in declarations(declared).items()]
    return inspect.Signature([inspect.Parameter(name, place) for name in ("X", "y", "s")]
                             + [inspect.Parameter(name, keyword, default=default) for name, default in shared + own],
                             return_annotation=Found)


def fit_data(X: Array, y: Array) -> tuple[Array, Array]:
    """X [n, d] and y [n] or [n, k] as arrays of DTYPE, refused where no method can fit them.

    Raises ValueError, which names the argument, as check_finite does, for complex numbers, and for one output in two
    dimensions.
    """
    X, y = (array if hasattr(array, "strides") else np.asarray(array) for array in (X, y))
    for name, array in (("X", X), ("y", y)):
        if array.dtype.kind == "c":
            raise ValueError(f"{name} must hold real numbers, its type is {array.dtype}")
    X, y = (array.astype(DTYPE, copy=False) for array in (X, y))
    check_finite(X, y)
    if y.ndim == 2 and y.shape[1] == 1:  # predictions would be [n], and differences [n, n]
        raise ValueError(f"y has the shape {y.shape}: give one output as y[:, 0]")
    return X, y


# ---- options that several methods have ----

LOSSES = ("squared", "cross_entropy")
TORCH_DEVICE = text('"cpu" or "cuda:N"', lambda value: re.fullmatch(r"cpu|cuda:\d+", value) is not None)


def _batch_words(batch_size: int) -> str:
    return f"batch {batch_size}" if batch_size else "full batch"


@dataclass(frozen=True)
class Epochs(Options):
    """Of a method that goes through the data."""

    num_epochs: int = option(15, SIZE, "passes through the data; pruning: per round", words="epochs {}")


@dataclass(frozen=True)
class EpochOptions(Epochs):
    """Of a method that goes through the data in batches."""

    batch_size: int = option(0, at_least(0), "samples per step, 0 for all of them", words=_batch_words)
    loss: str = option("squared", one_of(LOSSES), "what is minimised; cross_entropy: of one-hot targets", flag=False)

    def check_data(self, n: int, d: int, k: int) -> None:
        if self.batch_size > n:
            raise OptionError("batch_size", f"{self.batch_size} is over the {n} samples; use 0 for full batch")
        if self.loss == "cross_entropy" and k == 1:
            raise OptionError("loss", "cross_entropy takes one-hot targets, and y has one output; use squared")


@dataclass(frozen=True)
class TorchOptions(EpochOptions):
    """Of a method that trains with torch."""

    device: str = option("cpu", TORCH_DEVICE, "where it trains", flag=False)


# ---- layer by layer ----


class Layers:
    """The hidden layers that a fit has found, and the inputs of the next one: the activations of the last.

    Args:
        progress: is told where each layer begins.
    """

    def __init__(self, X: Array, width: int, progress: Progress | None = None):
        self.found: list[SparseLayer] = []
        self.fan_in, self._width, self._progress = X.shape[1], width, progress
        self._XT, self._inputs = array_module(X).ascontiguousarray(X.T), np.arange(X.shape[1])

    def begin(self) -> Array:
        """A new layer. Returns its inputs that are not always zero, feature-major; `fan_in` counts the others too."""
        if self.found:  # embed once, on the neurons that have weights
            activations = self.found[-1].activations(to_host(self._XT), self._inputs)
            self._XT, self._inputs = to_device(activations, self._XT), self.found[-1].neurons
            self.fan_in = self._width
        if self._progress:
            self._progress.begin(self.found, self._place)
        return self._XT

    def end(self, w: SparseVector) -> None:
        """The layer that was begun has the weights w [m d] on these inputs."""
        self.found.append(self._place(w))

    def _place(self, w: SparseVector) -> SparseLayer:
        return widen(w, self._inputs, self._width, self.fan_in)


def layer_by_layer(X: Array, width: int, num_layers: int, fit_layer: Callable[[Array, int, int], SparseVector],
                   progress: Progress | None = None) -> tuple[SparseLayer, ...]:
    """Hidden layers, each fitted on the activations of those before it.

    Args:
        fit_layer: function (XT, fan_in, layer) -> w [width len(XT)]. XT are the inputs that are not always zero,
            feature-major; fan_in counts the others too.
        progress: is told where each layer begins.
    """
    layers = Layers(X, width, progress)
    for layer in range(num_layers):
        XT = layers.begin()
        layers.end(fit_layer(XT, layers.fan_in, layer))
    return tuple(layers.found)


def widen(w: SparseVector, inputs: np.ndarray, m: int, fan_in: int) -> SparseLayer:
    """Weights on some inputs as a layer [m, fan_in] of weights on all of them; of more neurons where w has more."""
    w, m = w.to_host(), max(m, w.size // max(len(inputs), 1))
    neuron, feature = np.divmod(w.indices, max(len(inputs), 1))
    return SparseLayer(SparseVector(neuron * fan_in + inputs[feature], w.values, m * fan_in), m, fan_in)
