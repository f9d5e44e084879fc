"""The network of an estimator in the units of the data: predictions, a formula, a torch module, what it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class DataNetwork:
    """c + A x + V' relu(W_L ... relu(W_1 x + b_1) + b_L), float64.

    Args:
        layers: (W [m, inputs], b [m]) of each hidden layer.  V: [m, k].  A: [k, d].  c: [k].
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    V: np.ndarray
    A: np.ndarray
    c: np.ndarray

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """[n, k] for X [n, d]."""
        Z = X
        for W, b in self.layers:
            Z = np.maximum(Z @ W.T + b, 0)
        return Z @ self.V + X @ self.A.T + self.c

    def num_weights(self, intercepts: bool) -> int:
        """Nonzero weights; output weights count where there are several outputs, intercepts where they are to."""
        parts = [W for W, _ in self.layers] + [self.A] + ([self.V] if self.V.shape[1] > 1 else [])
        if intercepts:
            parts += [b for _, b in self.layers] + [self.c]
        return sum(int(np.count_nonzero(part)) for part in parts)

    @property
    def inputs(self) -> np.ndarray:
        """Numbers of the inputs in use."""
        return np.flatnonzero(self.A.any(axis=0) | self.layers[0][0].any(axis=0))


def text_formula(net: DataNetwork, names: Sequence[str], targets: Sequence[str], digits: int, latex: bool) -> str:
    """One line for each output, and with several hidden layers for each neuron of those before the last."""
    if latex:
        names, targets = [latex_name(name) for name in names], [latex_name(target) for target in targets]
    lines, units = [], list(names)
    for number, (W, b) in enumerate(net.layers, 1):
        neurons = [relu(combination(w, bias, units, digits, latex), latex) for w, bias in zip(W, b, strict=True)]
        if number < len(net.layers):
            units = [f"h_{{{j}}}" if latex else f"h{j}" for j in range(1, len(W) + 1)]
            lines += [f"{unit} = {neuron}" for unit, neuron in zip(units, neurons, strict=True)]
        else:
            units = neurons
    for output, target in enumerate(targets):
        linear = terms(net.A[output], names, digits, latex)
        bent = terms(net.V[:, output], units, digits, latex)
        lines.append(f"{target} = {joined([*constant(net.c[output], digits), *linear, *bent])}")
    if not latex:
        return "\n".join(lines)
    rows = " \\\\\n".join(line.replace(" = ", " &= ", 1) for line in lines)
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


SPECIAL = {"\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim "}  # other characters have a backslash before them


def latex_name(name: str) -> str:
    """A name as LaTeX sets it in a formula: x3 with an index, others upright, as they are."""
    if match := re.fullmatch(r"([a-z])(\d*)", name):
        return f"{match[1]}_{{{match[2]}}}" if match[2] else name
    return r"\mathrm{" + re.sub(r"[\\^~_%&#${} ]", lambda match: SPECIAL.get(match[0], f"\\{match[0]}"), name) + "}"


def relu(inside: str, latex: bool) -> str:
    return rf"\max(0,\, {inside})" if latex else f"max(0, {inside})"


def combination(w: np.ndarray, bias: float, names: Sequence[str], digits: int, latex: bool) -> str:
    return joined([*terms(w, names, digits, latex), *constant(bias, digits)])


def terms(w: np.ndarray, names: Sequence[str], digits: int, latex: bool) -> list[str]:
    """Terms like "-2.1 age"; a factor of 1 is left out."""
    times = r"\, " if latex else " "
    found = []
    for value, name in zip(w, names, strict=True):
        if value:
            factor = rounded(abs(value), digits)
            found.append(("-" if value < 0 else "+") + (name if factor == "1" else f"{factor}{times}{name}"))
    return found


def constant(value: float, digits: int) -> list[str]:
    return [("-" if value < 0 else "+") + rounded(abs(value), digits)] if value else []


def joined(signed: Sequence[str]) -> str:
    """Signed terms as a sum."""
    if not signed:
        return "0"
    first, *others = signed
    return first.removeprefix("+") + "".join(f" {term[0]} {term[1:]}" for term in others)


def rounded(value: float, digits: int) -> str:
    """A number with so many significant digits, without exponent where it is of a usual size."""
    return np.format_float_positional(value, digits, fractional=False, trim="-") if 1e-4 <= value < 1e7 else (
        f"{value:.{digits - 1}e}")


def torch_module(net: DataNetwork) -> Module:
    """A torch module with the same outputs [n, k], float64; its parameters can be trained on."""
    import torch

    def linear(W: np.ndarray, b: np.ndarray) -> torch.nn.Linear:
        layer = torch.nn.utils.skip_init(torch.nn.Linear, W.shape[1], W.shape[0], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(W))
            layer.bias.copy_(torch.as_tensor(b))
        return layer

    class WithSkip(torch.nn.Module):
        """hidden(x) + skip(x)."""

        def __init__(self) -> None:
            super().__init__()
            hidden = [part for W, b in net.layers for part in (linear(W, b), torch.nn.ReLU())]
            self.hidden = torch.nn.Sequential(*hidden, linear(net.V.T, np.zeros(net.V.shape[1])))
            self.skip = linear(net.A, net.c)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.hidden(x) + self.skip(x)

    return WithSkip()
