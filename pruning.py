"""Iterative magnitude pruning (IMP), the baseline: train, prune by magnitude, rewind, repeat.

The lottery-ticket procedure (Frankle and Carbin, arXiv 1803.03635) with the settings of the paper. One run:

    python runner.py --task mlp_planted --method pruning --mlist 5 --slist 20 --num_epochs 15

A round trains the network under its masks (one bool tensor [out, in] per layer), keeps the weights largest in
magnitude over all layers, scores the network right there without retraining, and rewinds to mask * initial weights.
Two choices beyond the paper make a stronger baseline: the weights may be ranked by LAMP, which does not empty a layer
before the others (prune_score), and the pruned network may be retrained before it is scored (finetune_epochs).

It differs from the published code, most of all in this:
- The current weights are ranked. The published code ranks weights that are one Adam step old from the second round on,
  since torch refreshes a pruned weight only in the forward pass; this changes the score of a cell by up to 1.9 dB.
- Where prune_iters is a number of rounds T, every s has a run of T rounds. The published code takes T - 1 rounds at a
  rate that the largest s sets, and goes on at that rate for the smaller ones.
- A network that has no more than s weights is scored unpruned.

torch is imported where it is needed, so that importing this file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models import Callback, FitState, SparseNet, mlp_forward, mlp_weights
from numerics.arrays import check_finite, fit_data
from numerics.streams import Stream
from numerics.training import chunk_rows, train
from numerics.workspace import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from numerics.training import Batches


@dataclass(frozen=True)
class Pruned:
    """A pruned network and its score, taken right after the pruning, or after the retraining that follows it."""

    score: float
    num_nonzero: int  # weights left by the masks
    connected: bool  # whether any path from input to output is left
    steps: int  # gradient steps of all rounds so far, and of the retraining before the score
    weights: list[np.ndarray]  # one float32 array [out, in] per layer


def prune(X: np.ndarray, Y: np.ndarray, X_eval: np.ndarray, score: Callable[[np.ndarray], float], slist: list[int],
          seed: int, *, width: int, num_layers: int = 1, num_epochs: int = 15, batch_size: int = 0,
          prune_iters: float = 0.1, loss: str = "squared", device: str = "cpu", finetune_epochs: int = 0,
          prune_score: str = "magnitude", threads: int = 1, callback: Callback | None = None) -> dict[int, Pruned]:
    """Fit Y from X with IMP; returns {s: Pruned}, each with at most s weights.

    Args:
        X: inputs [n, d] float32.  Y: targets [n] or [n, k] float32.  X_eval: inputs [n_eval, d] of the score.
        score: function of the predictions on X_eval, float32 [n_eval, k], or [n_eval] when Y is [n].
        num_epochs: of training in a round.  batch_size: 0 is full batch.  prune_iters: see runs.
        loss: "squared" (mean over all entries) or "cross_entropy" (Y one-hot).  device: "cpu" or "cuda:0".
        finetune_epochs: of retraining before the score, see Rounds.finetuned.
        prune_score: what the weights are ranked by, a key of RANKINGS.
        threads: of the CPU, for batches of several tiles (more than 2^20 hidden values); the bits do not depend on it.
            Torch and the BLAS should have one each, see one_thread.
        callback: called after each round, from 1 in every run (see runs), with the network right after the pruning.
    Raises:
        ValueError: X or Y is not finite, or prune_iters or prune_score is not one of those that are offered.
        FloatingPointError: a weight becomes non-finite.
    """
    import torch

    check_finite(X, Y)
    if prune_score not in RANKINGS:
        raise ValueError(f"prune_score is {prune_score!r}: use {' or '.join(RANKINGS)}")
    sizes = (X.shape[1], *[width] * num_layers, 1 if Y.ndim == 1 else Y.shape[1])
    plan = runs(sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes)), slist, prune_iters)
    inputs = np.asfortranarray(X) if batches_per_epoch(len(X), batch_size) == 1 else np.ascontiguousarray(X)
    rounds = Rounds(torch.tensor(inputs, device=device), torch.tensor(Y.reshape(len(Y), -1), device=device),
                    [W.to(device) for W in mlp_weights(sizes, seed)], seed, num_epochs, batch_size, loss,
                    prune_score, finetune_epochs, threads)
    eval_inputs = rounds.X if X_eval is X else torch.tensor(X_eval, device=device)
    results = {}
    for counts, columns in plan:
        for t, weights, masks in rounds.run(counts, columns, callback):
            outputs = predict(weights, eval_inputs).cpu().numpy()
            value = float(score(outputs[:, 0] if Y.ndim == 1 else outputs))
            pruned = Pruned(value, sum(int(mask.sum()) for mask in masks), bool(live_units(masks)[-1].any()),
                            rounds.steps(t, masks), [W.cpu().numpy() for W in weights])
            results |= {s: pruned for s in columns if columns[s] == t}
    return {s: results[s] for s in slist}


def fit(X: np.ndarray, Y: np.ndarray, s: int, *, width: int, seed: int = 0, threads: int = 1,
        callback: Callback | None = None, **options: Any) -> SparseNet:
    """The network with at most s weights that `prune` finds; `options` and errors as there. Their defaults, the paper's
    on planted networks, hardly train a network: more epochs, mini-batches and finetune_epochs do (docs/baselines.md).
    """
    X, Y = fit_data(X, Y, s, width)
    with one_thread():
        Y, first = np.ascontiguousarray(Y), X[:1].copy()  # torch takes no negative strides
        found = prune(X, Y, first, lambda _: math.nan, [s], seed, width=width, threads=threads, callback=callback,
                      **options)
    return SparseNet.from_dense(found[s].weights)


@dataclass(frozen=True)
class Rounds:
    """What the rounds of all runs share: the data and the initial weights on the device, and the settings of prune."""

    X: Tensor  # [n, d]
    Y: Tensor  # [n, k]
    initial: list[Tensor]  # [out, in] per layer
    seed: int
    num_epochs: int
    batch_size: int
    loss: str
    prune_score: str
    finetune_epochs: int
    threads: int

    def run(self, counts: list[int], columns: dict[int, int],
            callback: Callback | None = None) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """Rounds t = 0, 1, ... that leave counts[t] weights; yields (t, weights, masks) of the t in columns."""
        weights, masks = self.first
        for t, count in enumerate(counts):
            if t:
                weights = self.train(masked(self.initial, masks), masks, self.num_epochs, Stream.IMP_BATCHES, t)
            masks = kept_masks(weights, masks, count, self.prune_score)
            if callback:
                left = tuple(s for s, scored in columns.items() if scored >= t)
                callback(t + 1, FitState(partial(sparse_net, weights, masks), steps=len(counts), slist=left))
            if t in columns.values():
                yield t, self.finetuned(masked(weights, masks), masks, t), masks

    @cached_property
    def first(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and masks after the training of the first round, with which every run begins."""
        full = [W.new_ones(W.shape, dtype=bool) for W in self.initial]
        return self.train(self.initial, full, self.num_epochs, Stream.IMP_BATCHES, 0), full

    def finetuned(self, weights: list[Tensor], masks: list[Tensor], t: int) -> list[Tensor]:
        """The weights right after a pruning, retrained for finetune_epochs under the new masks.

        The Adam is a fresh one, mini-batches have an order of their own. The next round still starts from mask *
        initial weights and prunes what its own training has left, so that retraining changes no mask; it is therefore
        done only in rounds that are scored. A network that was not pruned, or has no path left, is not retrained.
        """
        if not self.finetune_epochs or all(mask.all() for mask in masks):
            return weights
        return self.train(weights, masks, self.finetune_epochs, Stream.FINETUNE_BATCHES, t)

    def steps(self, t: int, masks: list[Tensor]) -> int:
        """Gradient steps of the rounds 0 ... t, and of the retraining of the network with these masks."""
        retraining = 0 if all(mask.all() for mask in masks) else self.finetune_epochs
        return ((t + 1) * self.num_epochs + retraining) * batches_per_epoch(len(self.X), self.batch_size)

    def train(self, weights: list[Tensor], masks: list[Tensor], num_epochs: int, stream: Stream,
              t: int) -> list[Tensor]:
        """Trained copies of the weights; round t of the stream gives the order of mini-batches."""
        batches = split_batches(self.X, self.Y, self.batch_size, stream.generator(self.seed, t))
        return train_round(weights, masks, batches, num_epochs, self.loss, self.threads)


def check_prune_iters(value: float) -> Fraction:
    """The exact prune_iters as a Fraction: 0.07 is 7/100. ValueError unless it is in [0, 1) or a whole number."""
    try:
        exact = Fraction(str(value))
    except ValueError:  # nan, inf
        exact = Fraction(-1)
    if 0 <= exact < 1 or exact > 0 and exact.denominator == 1:
        return exact
    raise ValueError(f"prune_iters is {value}: use 0 (prune once), a fraction between 0 and 1 of the active weights "
                     "to prune in each round, or a whole number of rounds")


def runs(num_weights: int, slist: list[int], prune_iters: float) -> list[tuple[list[int], dict[int, int]]]:
    """The runs that serve slist: pairs (counts, columns), counts[t] weights left by round t, column s scored in round
    columns[s]. With prune_iters

    - 0: one round, which leaves s;
    - p in (0, 1): p of the active weights go in each round; one run, column s is its first round with at most s;
    - T = 1, 2, ...: a run of T rounds for each s, the same fraction in each, up to rounding.

    A network with no more than s weights is scored after one round, unpruned.
    """
    rate = check_prune_iters(prune_iters)
    unpruned = {s: 0 for s in slist if s >= num_weights}
    smaller = [s for s in slist if s < num_weights]
    plan = [([num_weights], unpruned)] if unpruned else []
    if 0 < rate < 1 and smaller:
        counts = [after_pruning(num_weights, rate)]
        while counts[-1] > min(smaller):
            counts.append(after_pruning(counts[-1], rate))
        return [*plan, (counts, {s: next(t for t, count in enumerate(counts) if count <= s) for s in smaller})]
    T = max(1, int(rate))
    return plan + [(geometric_counts(num_weights, s, T), {s: T - 1}) for s in smaller]


def after_pruning(active: int, fraction: Fraction) -> int:
    """Weights left when the nearest whole number to fraction * active is pruned: halves go down, at least one is."""
    return active - max(1, math.ceil(fraction * active - Fraction(1, 2)))


def geometric_counts(num_weights: int, s: int, T: int) -> list[int]:
    """N0 (s / N0)^(t / T) for t = 1 ... T, rounded; it is never a half, since its T-th power is a whole number."""
    return [round(num_weights * (s / num_weights) ** (t / T)) for t in range(1, T + 1)]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Gradient steps of a pass through n samples; a batch_size of 0 is full batch."""
    return math.ceil(n / batch_size) if batch_size else 1


def split_batches(X: Tensor, Y: Tensor, batch_size: int, rng: np.random.Generator) -> Batches:
    """The batches (X_b, Y_b) of one training: everything, or slices of one random order, the last of them smaller.

    Those are gathered by rows and then turned, so that X_b is feature-major as the training needs it.
    """
    import torch

    if not 0 < batch_size < len(X):
        return [(X, Y)]
    parts = torch.from_numpy(rng.permutation(len(X))).to(X.device).split(batch_size)
    return [(X.index_select(0, part).T.contiguous().T, Y.index_select(0, part)) for part in parts]


def train_round(weights: list[Tensor], masks: list[Tensor], batches: Batches, num_epochs: int,
                loss: str, threads: int = 1) -> list[Tensor]:
    """Trained copies of masked weights. Raises FloatingPointError when one becomes non-finite.

    Only the units on a path from input to output take part: the gradients of all other weights are exactly zero.
    """
    live = live_units(masks)
    if not live[-1].any():
        return weights
    live[-1] = live[-1] | True  # an output that nothing reaches is 0 and still counts in the loss
    columns = live[0].nonzero()[:, 0]
    if len(columns) < len(live[0]):
        batches = [(X.T.index_select(0, columns).T, Y) for X, Y in batches]
    trained = train(trim(weights, live), trim(masks, live), batches, num_epochs, loss, threads)
    if not all(W.isfinite().all() for W in trained):
        raise FloatingPointError(f"training diverged: a weight is not finite after {num_epochs} epochs")
    return [W.masked_scatter(after[:, None] & before, block)
            for W, block, (before, after) in zip(weights, trained, pairwise(live), strict=True)]


def predict(weights: list[Tensor], X: Tensor) -> Tensor:
    """Outputs [n, k] of the network, a piece of X at a time."""
    import torch

    return torch.cat([mlp_forward(weights, x) for x in X.split(chunk_rows(weights, X))])


def kept_masks(weights: list[Tensor], masks: list[Tensor], count: int, prune_score: str) -> list[Tensor]:
    """Masks of the `count` active weights that rank highest over all layers; of equal ones the first stays.

    prune_score: what they are ranked by, a key of RANKINGS.
    """
    import torch

    ranks = [RANKINGS[prune_score](W, mask) for W, mask in zip(weights, masks, strict=True)]
    ranks = torch.cat([R.where(mask, -1).flatten() for R, mask in zip(ranks, masks, strict=True)])
    kept = torch.zeros_like(ranks, dtype=torch.bool)
    kept[ranks.sort(descending=True, stable=True).indices[:count]] = True
    return [part.view_as(mask) & mask for part, mask in zip(kept.split([m.numel() for m in masks]), masks, strict=True)]


def magnitude(W: Tensor, mask: Tensor) -> Tensor:
    """The published ranking of the weights W [out, in] of a layer."""
    return W.abs()


def lamp(W: Tensor, mask: Tensor) -> Tensor:
    """The LAMP scores [out, in] of the active weights of a layer (Lee et al., ICLR 2021, arXiv 2010.07611), else 0.

    W[u]^2 over the sum of W[v]^2 of all v that rank at or before u in magnitude, of equal ones the first. A layer is
    thus pruned in the order of magnitude, and its first weight scores 1, also where all are zero: while count is at
    least the number of layers, none loses all of its weights (though it may keep them at different neurons).
    """
    import torch

    squares, order = W[mask].cpu().double().square().sort(descending=True, stable=True)  # one order of summing anywhere
    ranked = squares / squares.cumsum(0)
    ranked[squares == 0] = 0  # after a first weight that is 0 itself it was 0 / 0
    ranked[:1] = 1
    return torch.zeros(W.shape, dtype=torch.float64).masked_scatter(mask.cpu(), ranked[order.argsort()]).to(W.device)


RANKINGS = {"magnitude": magnitude, "lamp": lamp}  # (W, mask) -> what active weights are ranked by, at least 0


def masked(weights: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    """The weights with the pruned ones set to zero."""
    return [W * mask for W, mask in zip(weights, masks, strict=True)]


def sparse_net(weights: list[Tensor], masks: list[Tensor]) -> SparseNet:
    """The masked weights as a network on the host."""
    return SparseNet.from_dense([W.cpu().numpy() for W in masked(weights, masks)])


def live_units(masks: list[Tensor]) -> list[Tensor]:
    """For each layer, inputs to outputs, the bool vector of units that lie on a path from an input to an output."""
    forward = [masks[0].any(0) | True]  # reached from the inputs
    for mask in masks:
        forward.append(mask[:, forward[-1]].any(1))
    backward = [masks[-1].any(1) | True]  # leading to the outputs
    for mask in reversed(masks):
        backward.append(mask[backward[-1]].any(0))
    return [reached & leads for reached, leads in zip(forward, reversed(backward), strict=True)]


def trim(matrices: list[Tensor], live: list[Tensor]) -> list[Tensor]:
    """The parts of the layers' matrices between live units."""
    return [M[after][:, before] for M, (before, after) in zip(matrices, pairwise(live), strict=True)]
