"""Adam on one vector of values, for IMP, SET and RigL; torch is imported where it is needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEARNING_RATE = 1e-3  # as in the paper
MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # the defaults of torch


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) on one vector of values [c], which it updates in place."""

    def __init__(self, values: Tensor):
        self.values, self.steps = values, 0
        self.mean, self.square, self._root = (values.new_zeros(len(values)) for _ in range(3))

    def step(self, slopes: Tensor, rate: float = LEARNING_RATE) -> None:
        """One step; the two bias corrections are factors of the step and of epsilon."""
        import torch

        self.steps += 1
        unbiased = math.sqrt(1 - SQUARE_DECAY**self.steps)
        self.mean.lerp_(slopes, 1 - MEAN_DECAY)
        self.square.mul_(SQUARE_DECAY).addcmul_(slopes, slopes, value=1 - SQUARE_DECAY)
        torch.sqrt(self.square, out=self._root).add_(EPSILON * unbiased)
        self.values.addcdiv_(self.mean, self._root, value=-rate * unbiased / (1 - MEAN_DECAY**self.steps))


class TensorAdam(Adam):
    """The same with its corrections as tensors, so that a step is the same kernels each time: for CUDA graphs."""

    def __init__(self, values: Tensor):
        import torch

        super().__init__(values)
        self._decays = torch.tensor([MEAN_DECAY, SQUARE_DECAY], dtype=torch.float64, device=values.device)
        self._powers = torch.ones_like(self._decays)  # decay^steps

    def step(self, slopes: Tensor, rate: float = LEARNING_RATE) -> None:
        """One step; the two bias corrections are factors of the step and of epsilon."""
        import torch

        self._powers.mul_(self._decays)
        mean_correction, square_correction = (1 - self._powers).unbind()
        unbiased = square_correction.sqrt()
        self.mean.lerp_(slopes, 1 - MEAN_DECAY)
        self.square.mul_(SQUARE_DECAY).addcmul_(slopes, slopes, value=1 - SQUARE_DECAY)
        torch.sqrt(self.square, out=self._root).add_(EPSILON * unbiased)
        self.values.addcdiv_(self.mean * (unbiased / mean_correction), self._root, value=-rate)
