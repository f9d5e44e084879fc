"""The two forms of a ReLU network without biases: dense torch weights for training, sparse ones for what is found.

`mlp_weights` and `mlp_forward` are the network that pruning.py trains. `SparseNet` holds only nonzero weights; it is
also the planted network of tasks.py, and what --save_models writes:

    net = SparseNet.load("m5_s20_seed0.npz")
    *hidden, V = net.weights()
    y_hat = net.predict(X)

torch is imported when it is needed, so AIHT runs without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from numerics.arrays import DTYPE, real_array, slices
from numerics.sparse import SparseVector
from sensing import RandomGates

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from torch import Tensor

PREDICT_TILE = 4096  # samples per block of a prediction: a block of 1000 float64 activations takes 32 MB


def mlp_weights(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Initial weights of the network with layer sizes (d, m, ..., m, k): float32 CPU tensors [out, in].

    They are bit for bit what nn.Linear(bias=False) gives, layer after layer, after torch.manual_seed(seed).
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too, outside the fork
        layers = [torch.nn.Linear(*fan, bias=False, device="cpu", dtype=torch.float32) for fan in pairwise(sizes)]
    return [layer.weight.detach() for layer in layers]


def mlp_forward(weights: list[Tensor], X: Tensor) -> Tensor:
    """Outputs [n, k] of the network with weights [out, in], on the rows of X [n, d]."""
    for W in weights[:-1]:
        X = (X @ W.T).relu_()  # in place: the product itself is not needed for its gradient
    return X @ weights[-1].T


@dataclass(frozen=True)
class SparseLayer:
    """Nonzero weights W [m, d] of one layer, as a SparseVector with the flat index j d + k."""

    w: SparseVector
    m: int
    d: int

    @classmethod
    def from_dense(cls, W: np.ndarray, shape: tuple[int, int] | None = None) -> SparseLayer:
        """The nonzero weights of a matrix, in single precision; of a larger shape [m, d] if one is given."""
        W = W.astype(DTYPE)
        m, d = shape or W.shape
        row, column = np.nonzero(W)
        return cls(SparseVector(row * d + column, W[row, column], m * d), m, d)

    @classmethod
    def checked(cls, indices: np.ndarray, values: np.ndarray, shape: Sequence[int]) -> SparseLayer:
        """A layer [m, d] from a file; ValueError unless the indices ascend within the shape and match the values."""
        m, d = map(int, shape)
        w = SparseVector(indices.astype(np.int64), values.astype(DTYPE), m * d)
        inside = len(indices) == 0 or (0 <= indices[0] and indices[-1] < m * d)
        if indices.shape != values.shape or not inside or (np.diff(w.indices) <= 0).any():
            raise ValueError(f"indices and values do not fit a layer {m} x {d}")
        return cls(w, m, d)

    def __len__(self) -> int:
        return len(self.w)

    @property
    def neurons(self) -> np.ndarray:
        """Neurons that have weights, ascending."""
        return np.unique(self.w.indices // self.d)

    def dense(self) -> np.ndarray:
        """W [m, d], float32."""
        return self.w.toarray().reshape(self.m, self.d)

    def matrix(self, inputs: np.ndarray) -> csr_matrix:
        """The neurons with weights on the ascending input features at hand, scipy CSR [neurons, inputs] float64."""
        from scipy.sparse import csr_matrix

        owner, feature = np.divmod(self.w.indices, self.d)
        here = np.isin(feature, inputs)
        rows = np.searchsorted(self.neurons, owner[here])
        columns = np.searchsorted(inputs, feature[here])
        shape = (len(self.neurons), len(inputs))
        return csr_matrix((self.w.values[here].astype(np.float64), (rows, columns)), shape=shape)

    def activations(self, XT: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """relu(W x) of the neurons with weights, [neurons, n] float32, for the features `inputs` of XT [inputs, n]."""
        matrix, tiles = self.matrix(inputs), slices(XT.shape[1], PREDICT_TILE)
        return np.hstack([np.maximum(matrix @ XT[:, tile], 0).astype(DTYPE) for tile in tiles])


class Units(NamedTuple):
    """The neurons of a layer that have weights, by number [a]; W x [a, n] float64, and whether their gates are open."""

    neurons: np.ndarray
    P: np.ndarray
    gate: np.ndarray


@dataclass(frozen=True, repr=False)
class SparseNet:
    """A network of sparse layers: relu(W_l x) in each, then the sum of the last activations or a linear output layer.

    Args:
        layers: hidden layers.
        output: output weights V' [k, m], or None where the outputs are summed (scalar output, fused weights).
        gates: fixed random gates of the last hidden layer, 1{h_j . x > 0} (w_j . x), instead of the ReLU (--convex).
    """

    layers: tuple[SparseLayer, ...]
    output: SparseLayer | None = None
    gates: RandomGates | None = None

    def __repr__(self) -> str:
        """One line, for example SparseNet(100 -> 20 -> sum, 50 nonzeros): inputs, widths, outputs or their sum."""
        outputs = "sum" if self.output is None else self.output.m
        widths = " -> ".join(map(str, [self.layers[0].d, *(layer.m for layer in self.layers), outputs]))
        gates = "" if self.gates is None else ", random gates"
        return f"SparseNet({widths}, {self.num_nonzero} nonzero{'s' if self.num_nonzero != 1 else ''}{gates})"

    def weights(self) -> tuple[np.ndarray | None, ...]:
        """The dense weights, float32: W [m, inputs] of each hidden layer, then V [m, k], None where outputs are summed.

        For one hidden layer: `W, V = net.weights()`; the outputs are relu(X W') V, or the row sums of relu(X W').
        """
        return *(layer.dense() for layer in self.layers), None if self.output is None else self.output.dense().T

    @property
    def num_nonzero(self) -> int:
        """Nonzero weights in all layers. Zeros that are stored do not count, nor output weights that are signs."""
        layers = self.layers if self.output is None or self.has_signs else (*self.layers, self.output)
        return sum(int(np.count_nonzero(layer.w.values)) for layer in layers)

    @property
    def has_signs(self) -> bool:
        """Whether there is one output, all of whose weights are +1 or -1."""
        return self.output is not None and self.output.m == 1 and bool((np.abs(self.output.w.values) == 1).all())

    @classmethod
    def from_torch(cls, weights: Iterable[Tensor]) -> SparseNet:
        """The nonzero weights of a trained network, tensors [out, in] from input to output, on any device."""
        *layers, output = (SparseLayer.from_dense(W.cpu().numpy()) for W in weights)
        return cls(tuple(layers), output)

    def save(self, file: str | PathLike | BinaryIO, settings: dict | None = None) -> None:
        """Write all layers, and settings as JSON, to a path (which gets .npz where it lacks it) or a binary file."""
        arrays: dict[str, Any] = {"settings": np.array(json.dumps(settings or {}))}
        named = {f"layer{number}": layer for number, layer in enumerate(self.layers)}
        for name, layer in (named if self.output is None else named | {"output": self.output}).items():
            arrays |= {f"{name}_indices": layer.w.indices, f"{name}_values": layer.w.values,
                       f"{name}_shape": np.array([layer.m, layer.d])}
        if self.gates is not None:
            arrays["gates"] = np.array([self.gates.seed, self.gates.layer, self.gates.m, self.gates.d])
        np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | PathLike | BinaryIO) -> SparseNet:
        """The network that `save` wrote; reads no pickles. Raises ValueError naming a file that is something else."""
        if isinstance(path, (str, PathLike)) and not os.path.exists(path) and os.path.exists(f"{os.fspath(path)}.npz"):
            path = f"{os.fspath(path)}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                arrays = dict(arrays)
            names = sorted(name.removesuffix("_shape") for name in arrays if name.endswith("_shape"))
            layers = {name: SparseLayer.checked(*(arrays[f"{name}_{part}"] for part in ("indices", "values", "shape")))
                      for name in names}
            output = layers.pop("output", None)
            gates = RandomGates(*map(int, arrays["gates"])) if "gates" in arrays else None
            if not layers:
                raise ValueError("it has no layers")
            return cls(tuple(layers[f"layer{number}"] for number in range(len(layers))), output, gates)
        except FileNotFoundError:
            raise
        except Exception as error:  # a truncated or foreign archive fails in many ways
            raise ValueError(f"{path} is no saved network ({error})") from None

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Outputs [n], or [n, k] with an output layer of k > 1, float64, for X [n, d]: what a fit takes. ValueError."""
        X = real_array("X", X)
        if X.ndim != 2 or X.shape[1] != self.layers[0].d:
            raise ValueError(f"X is {list(X.shape)}, but the network takes inputs [n, {self.layers[0].d}]")
        tiles = slices(len(X), PREDICT_TILE) or [slice(0, 0)]
        return np.concatenate([self.outputs(self.units(X[tile].T)[-1]) for tile in tiles])

    def units(self, XT: np.ndarray) -> list[Units]:
        """The neurons that have weights, layer by layer, at inputs XT [d, n]."""
        Z, inputs, found = XT.astype(np.float64, copy=False), np.arange(len(XT)), []
        for number, layer in enumerate(self.layers, 1):
            P = layer.matrix(inputs) @ Z  # [neurons, n]
            gates = self.gates if number == len(self.layers) else None
            found.append(Units(layer.neurons, P, P > 0 if gates is None else gates.rows(layer.neurons) @ Z > 0))
            Z, inputs = P * found[-1].gate, layer.neurons
        return found

    def outputs(self, last: Units) -> np.ndarray:
        """Outputs [n] or [n, k] from the last hidden layer."""
        Z = last.P * last.gate
        if self.output is None:
            return Z.sum(axis=0)
        outputs = np.zeros((self.output.m, Z.shape[1]))
        outputs[self.output.neurons] = self.output.matrix(last.neurons) @ Z
        return outputs.T if len(outputs) > 1 else outputs[0]
