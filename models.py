"""The two forms of a ReLU network without biases: dense torch weights for training, sparse ones for what AIHT finds.

`mlp_weights` and `mlp_forward` are the network that pruning.py trains. `SparseNet` holds only nonzero weights; it is
also the planted network of tasks.py. torch is imported when it is needed, so AIHT runs without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sensing import DTYPE, RandomGates, SparseVector

PREDICT_TILE = 4096  # samples per block of a prediction: a block of 1000 float64 activations takes 32 MB


def mlp_weights(sizes, seed):
    """Initial weights of the network with layer sizes (d, m, ..., m, k): float32 CPU tensors [out, in].

    They are bit for bit what nn.Linear(bias=False) gives, layer after layer, after torch.manual_seed(seed).
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too, outside the fork
        return [torch.nn.Linear(*fan, bias=False, device="cpu").weight.detach() for fan in pairwise(sizes)]


def mlp_forward(weights, X):
    """Outputs [n, k] of the network on the rows of X [n, d]."""
    for W in weights[:-1]:
        X = (X @ W.T).relu()
    return X @ weights[-1].T


@dataclass(frozen=True)
class SparseLayer:
    """Nonzero weights W [m, d] of one layer, as a SparseVector with the flat index j d + k."""

    w: SparseVector
    m: int
    d: int

    def __len__(self) -> int:
        return len(self.w)

    @property
    def neurons(self) -> np.ndarray:
        """Neurons that have weights, ascending."""
        return np.unique(self.w.indices // self.d)

    def matrix(self, inputs: np.ndarray):
        """The rows of the neurons with weights, as a scipy CSR matrix [neurons, inputs] in float64.

        Args:
            inputs: ascending numbers of the input features that are at hand; the others are zero.
        """
        from scipy.sparse import csr_matrix

        owner, feature = np.divmod(self.w.indices, self.d)
        here = np.isin(feature, inputs)
        rows = np.searchsorted(self.neurons, owner[here])
        columns = np.searchsorted(inputs, feature[here])
        shape = (len(self.neurons), len(inputs))
        return csr_matrix((self.w.values[here].astype(np.float64), (rows, columns)), shape=shape)


    def activations(self, XT: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """relu(W x) of the neurons with weights, [neurons, n] float32, for the features `inputs` of XT [inputs, n]."""
        matrix = self.matrix(inputs)
        starts = range(0, XT.shape[1], PREDICT_TILE)
        return np.hstack([np.maximum(matrix @ XT[:, a : a + PREDICT_TILE], 0).astype(DTYPE) for a in starts])


@dataclass(frozen=True)
class SparseNet:
    """A network of sparse layers: relu(W_l x) in each, then the sum of the last activations or a linear output layer.

    Args:
        layers: hidden layers.
        output: output weights V' [k, m], or None where the outputs are summed (scalar output, fused weights).
        gates: fixed random gates of the last hidden layer, 1{h_j . x > 0} (w_j . x), instead of the ReLU (--convex).
        step_sizes: of the fit of each layer, where it was a fixed one.
    """

    layers: tuple[SparseLayer, ...]
    output: SparseLayer | None = None
    gates: RandomGates | None = None
    step_sizes: tuple[float, ...] = ()

    @property
    def num_nonzero(self) -> int:
        """Nonzero weights in all layers."""
        return sum(int(np.count_nonzero(layer.w.values)) for layer in (*self.layers, *filter(None, [self.output])))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Outputs [n], or [n, k] with an output layer, float64, for inputs X [n, d]."""
        starts = range(0, len(X), PREDICT_TILE)
        return np.concatenate([self._predict_tile(X[start : start + PREDICT_TILE].T) for start in starts])

    def _predict_tile(self, XT):
        Z, inputs = XT.astype(np.float64), np.arange(len(XT))
        for layer in self.layers[:-1]:
            Z, inputs = np.maximum(layer.matrix(inputs) @ Z, 0), layer.neurons
        last = self.layers[-1]
        P = last.matrix(inputs) @ Z  # [neurons, n]
        gate = P > 0 if self.gates is None else self.gates.rows(last.neurons) @ Z > 0
        Z = P * gate
        if self.output is None:
            return Z.sum(axis=0)
        outputs = np.zeros((self.output.m, Z.shape[1]))
        outputs[self.output.neurons] = self.output.matrix(last.neurons) @ Z
        return outputs.T
