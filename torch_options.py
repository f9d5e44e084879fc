"""The options of a training with torch, for IMP, GMP, SET and RigL; importing this file does not import torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fits import EpochOptions
from numerics.batches import batches_per_epoch
from numerics.training import LEARNING_RATE, Rate
from options import SWITCH, one_of, option, real, text
from units import SCALES

SHARE = real("0, or a number between 0 and 1", lambda value: 0 <= value < 1)
RATE = real("a number above 0 and at most 1", lambda value: 0 < value <= 1)
TORCH_DEVICE = text('"cpu" or "cuda:N"', lambda value: re.fullmatch(r"cpu|cuda:\d+", value) is not None)


@dataclass(frozen=True)
class TorchOptions(EpochOptions):
    """Of a method that trains with torch; the defaults are the published ones."""

    input_scale: str = option("none", one_of(SCALES), "divide the inputs by this in training, then the first layer's "
                              "weights; largest: the power of two nearest to the largest magnitude of an input",
                              words="inputs over their {}")
    output_share: float = option(0.0, SHARE, "share of the s weights that the output layer gets, rounded up; 0: let "
                                 "the ranking of all weights, or --mask_init, decide", words="output share {:g}")
    learning_rate: float = option(LEARNING_RATE, RATE, "of Adam", words="learning rate {:g}")
    rate_decay: bool = option(False, SWITCH, "let the learning rate fall linearly to 0", words="decaying")
    device: str = option("cpu", TORCH_DEVICE, "where it trains", flag=False)

    @property
    def rate(self) -> Rate:
        """The learning rate of every training."""
        return Rate(self.learning_rate, self.rate_decay)

    def num_steps(self, n: int) -> int:
        """The gradient steps of num_epochs passes through n samples."""
        return self.num_epochs * batches_per_epoch(n, self.batch_size)
