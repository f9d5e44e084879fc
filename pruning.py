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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fits import Callback, FitState, Found, network_of, solver
from models import SparseNet, mlp_forward, mlp_weights
from numerics.arrays import DTYPE, Array
from numerics.batches import batches_per_epoch, gather
from numerics.masks import RANKINGS, count_kept, full_masks, kept_masks, live_units, masked, trim, untrim
from numerics.streams import Stream
from numerics.training import chunk_rows, train
from numerics.workspace import Workspace, one_thread
from options import at_least, one_of, option, real
from torch_options import TorchOptions

if TYPE_CHECKING:
    from torch import Tensor

    from numerics.training import Batches

MOST_ROUNDS = 10**6  # a plan of 2^31 rounds would not fit into memory
PRUNE_ITERS = real(f"0, a fraction between 0 and 1, or a whole number up to {MOST_ROUNDS}",
                   lambda value: 0 <= value < 1 or value.is_integer() and 1 <= value <= MOST_ROUNDS)


@dataclass(frozen=True)
class Options(TorchOptions):
    """How IMP trains and prunes."""

    prune_iters: float = option(0.1, PRUNE_ITERS, "0: prune once, after training; in (0, 1): prune that fraction of "
                                "what is left per round; integer T: T rounds", words="prune_iters {}")
    prune_score: str = option("magnitude", one_of(RANKINGS), "score that ranks the weights; lamp: magnitude relative "
                              "to the layer", words="pruned by {}")
    finetune_epochs: int = option(0, at_least(0), "epochs of retraining before a pruned network is scored (0, as "
                                  "published)", words="finetuning {}")


@solver(Options)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Train, prune and rewind a network until it has at most s weights.

    The defaults, the paper's on planted networks, hardly train a network: more epochs, mini-batches and finetune_epochs
    do (docs/baselines.md). The details are those of solve_list. FloatingPointError where a weight becomes non-finite.
    """
    return solve_list(X, y, [s], width=width, num_layers=num_layers, seed=seed, work=work, callback=callback,
                      options=options)[s]


fit = network_of(solve)


def solve_list(X: np.ndarray, y: np.ndarray, slist: Sequence[int], *, width: int, num_layers: int, seed: int,
               work: Workspace, callback: Callback | None, options: Options,
               X_eval: np.ndarray | None = None) -> dict[int, Found]:
    """The same for several s at once, which share what they can; data and options are checked already.

    Args:
        work: its threads help with batches of several tiles (over 2^20 hidden values); no bit depends on them.
        callback: called after each round, from 1 in every run (see runs), with the network right after the pruning.
        X_eval: inputs [n_eval, d] of the outputs [n_eval] or [n_eval, k], float32; None for no outputs.
    Returns:
        {s: Found}. Details: num_nonzero, the weights left by the masks; connected, whether any path from an input to an
        output is left; steps, the gradient steps of all rounds so far, and of the retraining at the end.
    """
    found: dict[int, Found] = {}
    with one_thread():
        rounds = Rounds(X, y, X_eval, width, num_layers, seed, options, work.threads)
        first = rounds.rewound(full_masks(rounds.initial), 0)  # every run begins with it
        for run in runs(sum(W.numel() for W in first), slist, options.prune_iters):
            for t, result in rounds.run(run, first, callback):
                found |= {s: result for s, last in run.last.items() if last == t}
    return {s: found[s] for s in slist}


# ---- the rounds ----


class Run(NamedTuple):
    """Rounds t = 0, 1, ... that leave counts[t] weights; the network of s is that of round last[s]."""

    counts: list[int]
    last: dict[int, int]


def runs(num_weights: int, slist: Sequence[int], prune_iters: float) -> list[Run]:
    """The runs that serve slist. With prune_iters

    - 0: one round, which leaves s;
    - p in (0, 1): p of the active weights go in each round; one run, the last of s is its first round with at most s;
    - T = 1, 2, ...: a run of T rounds for each s, the same fraction in each: N0 (s / N0)^(t / T) are left, rounded.

    A network with no more than s weights is done after one round, unpruned.
    """
    rate = Fraction(str(prune_iters))  # exact: 0.07 is 7/100
    smaller = [s for s in slist if s < num_weights]
    unpruned = [Run([num_weights], {s: 0 for s in slist if s >= num_weights})] if len(smaller) < len(slist) else []
    if 0 < rate < 1 and smaller:
        counts = [after_pruning(num_weights, rate)]
        while counts[-1] > min(smaller):
            counts.append(after_pruning(counts[-1], rate))
        last = {s: next(t for t, count in enumerate(counts) if count <= s) for s in smaller}
        return [*unpruned, Run(counts, last)]
    T = max(1, int(rate))
    # what is rounded is never a half, since its T-th power is a whole number
    return unpruned + [Run([round(num_weights * (s / num_weights) ** (t / T)) for t in range(1, T + 1)], {s: T - 1})
                       for s in smaller]


def after_pruning(active: int, fraction: Fraction) -> int:
    """Weights left when the nearest whole number to fraction * active is pruned: halves go down, at least one is."""
    return active - max(1, math.ceil(fraction * active - Fraction(1, 2)))


class Rounds:
    """What the rounds of all runs share: the data and the initial weights on the device, and how they are trained."""

    def __init__(self, X: np.ndarray, y: np.ndarray, X_eval: np.ndarray | None, width: int, num_layers: int, seed: int,
                 options: Options, threads: int):
        import torch

        def move(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=options.device)

        self.seed, self.options, self.threads = seed, options, threads
        self.steps_per_epoch = batches_per_epoch(len(X), options.batch_size)
        self.X = move(np.asfortranarray(X))  # [n, d], feature-major; torch takes no negative strides
        self.Y = move(np.asfortranarray(y.reshape(len(y), -1)))  # [n, k], likewise
        self.X_eval = self.X if X_eval is X else None if X_eval is None else move(X_eval)  # [n_eval, d]
        sizes = (X.shape[1], *[width] * num_layers, self.Y.shape[1])
        self.initial = [W.to(options.device) for W in mlp_weights(sizes, seed)]  # [out, in] per layer

    def run(self, run: Run, first: list[Tensor], callback: Callback | None) -> Iterator[tuple[int, Found]]:
        """The rounds of a run, of weights `first` after the first training; yields the last of each s, (t, Found)."""
        weights, masks = first, full_masks(first)
        for t, count in enumerate(run.counts):
            if t:
                weights = self.rewound(masks, t)
            masks = kept_masks(weights, masks, count, RANKINGS[self.options.prune_score],
                               self.options.output_share)
            weights = masked(weights, masks)
            if callback:
                left = tuple(s for s, last in run.last.items() if last >= t)
                callback(t + 1, FitState(partial(SparseNet.from_torch, weights), steps=len(run.counts), slist=left))
            if t in run.last.values():
                yield t, self.found(weights, masks, t)

    def rewound(self, masks: list[Tensor], t: int) -> list[Tensor]:
        """The initial weights under the masks, trained in round t."""
        return self._trained(masked(self.initial, masks), masks, self.options.num_epochs, Stream.IMP_BATCHES, t)

    def found(self, weights: list[Tensor], masks: list[Tensor], t: int) -> Found:
        """The network of round t, retrained for finetune_epochs under its new masks, and what the log keeps of it.

        The Adam is a fresh one, mini-batches have an order of their own. The next round still starts from mask *
        initial weights and prunes what its own training has left, so that retraining changes no mask; it is therefore
        done only in rounds that are scored. A network that was not pruned, or has no path left, is not retrained.
        """
        retraining = 0 if all(mask.all() for mask in masks) else self.options.finetune_epochs
        if retraining:
            weights = self._trained(weights, masks, retraining, Stream.FINETUNE_BATCHES, t)
        epochs = (t + 1) * self.options.num_epochs + retraining
        details = {"num_nonzero": count_kept(masks), "connected": live_units(masks) is not None,
                   "steps": epochs * self.steps_per_epoch}
        return Found(SparseNet.from_torch(weights), details, self.outputs(weights))

    def _trained(self, weights: list[Tensor], masks: list[Tensor], epochs: int, stream: Stream, t: int) -> list[Tensor]:
        """Trained copies of the weights; round t of the stream gives the order of mini-batches."""
        units, rng = live_units(masks), stream.generator(self.seed, t)
        if units is None:
            return weights
        inputs = None if units[0].all() else units[0].nonzero()[:, 0]
        batches = split_batches(self.X, self.Y, self.options.batch_size, rng, inputs)
        return train_round(weights, masks, units, batches, epochs, self.options, self.threads)

    def outputs(self, weights: list[Tensor]) -> np.ndarray | None:
        """Outputs [n_eval], or [n_eval, k] for k > 1, of a network, a piece of X_eval at a time."""
        import torch

        if self.X_eval is None:
            return None
        pieces = self.X_eval.split(chunk_rows(weights, self.X_eval))
        outputs = torch.cat([mlp_forward(weights, X) for X in pieces]).cpu().numpy()
        return outputs if outputs.shape[1] > 1 else outputs[:, 0]


def split_batches(X: Tensor, Y: Tensor, batch_size: int, rng: np.random.Generator,
                  inputs: Tensor | None = None) -> Batches:
    """The batches (X_b, Y_b) of one training: everything, or slices of one random order, the last of them smaller.

    All are feature-major, as the training needs them.

    Args:
        inputs: numbers of the inputs to take, ascending; None for all.
    """
    if not 0 < batch_size < len(X):
        return [(X if inputs is None else X.T.index_select(0, inputs).T, Y)]
    order = rng.permutation(len(X))
    parts = (in_batches(array.T, order, batch_size, chosen) for array, chosen in ((X, inputs), (Y, None)))
    return [(x.T, y.T) for x, y in zip(*parts, strict=True)]


def in_batches(rows: Tensor, order: np.ndarray, size: int, chosen: Tensor | None) -> list[Tensor]:
    """Batches [c, b] of the chosen ones of rows [d, n], in an order [n] of the samples."""
    import torch

    if rows.device.type != "cpu":
        rows = rows if chosen is None else rows.index_select(0, chosen)
        return [rows.index_select(1, part) for part in torch.from_numpy(order).to(rows.device).split(size)]
    whole, found = len(order) // size * size, list[np.ndarray]()
    for places in (order[:whole].reshape(-1, size), order[None, whole:]):
        if places.size:
            room = np.empty(len(rows if chosen is None else chosen) * places.size, dtype=DTYPE)
            found.extend(gather(rows.numpy(), places, room, chosen=None if chosen is None else chosen.numpy()))
    return [torch.from_numpy(batch) for batch in found]


def train_round(weights: list[Tensor], masks: list[Tensor], units: list[Tensor], batches: Batches, num_epochs: int,
                options: Options, threads: int = 1) -> list[Tensor]:
    """Trained copies of masked weights; those that are on no path from an input to an output take no part.

    Args:
        units: of each layer those on a path, the inputs of the batches first.
    Raises FloatingPointError when a weight becomes non-finite.
    """
    trained = train(trim(weights, units), trim(masks, units), batches, num_epochs, options.loss, threads,
                    options.rate)
    if not all(W.isfinite().all() for W in trained):
        raise FloatingPointError(f"training diverged in {num_epochs} epochs; lower learning_rate")
    return untrim(weights, trained, units)
