"""Gauss-Newton hard thresholding pursuit (GNHTP): recovers planted networks where AIHT stops.

Ours, not the paper's. It looks for what aiht.py looks for, a network y_hat = sum_j relu(X w_j) with at most s nonzero
weights and m neurons, on the same operators. Read aiht.py first; the README's "Beyond the paper" has the measurements.

    python runner.py --task mlp_planted --method gnhtp --mlist 20 --slist 100

Three things stop AIHT, as its answers beside planted networks show: a neuron that lost its weights has a gate that is
always 0, and never returns; the fit is made with the old gates and judged with the new ones; and copies of one planted
neuron take the budget of others, or one neuron stands for several. So here:

 1. Candidates. Every step offers neurons with gates drawn anew, half of them single inputs +-e_k, as many planted
    neurons have, half normal draws (supports.py).
 2. Selection. The coordinates where |N w + mu G / N| is largest, G = A' r with the true residual r = y - sum_j
    relu(X w_j), N the norms of the columns: a hard thresholded gradient step, as in AIHT, but on columns of unit norm.
    mu = 1, 1/4, ... until |r| does not grow (supports.py).
 3. Least squares on the support, as in hard thresholding pursuit (Foucart 2011) and CoSaMP (Needell and Tropp 2009), in
    place of AIHT's gradient steps: by Cholesky factors, or by conjugate gradients (least_squares.py).
 4. Gauss-Newton steps: the gates follow the weights, and a step is taken as far as |r| falls. Neurons that have become
    parallel are added up (layer.py).
 5. Room to spare. The budget s~ = c s and the width m~ = c m start above s and m and come down, in cycles; the theory
    asks for s~ > s, too (Jain, Tewari and Kar 2014; the paper's theorem). Later cycles split neurons that stand for
    two, and choose among correlated columns by backward elimination (anneal.py).

That is for targets that a sparse network made. On others the support grows from below: exchanges add coordinates and
eliminate others, and count only where |r| falls; then the support is cut back and regrown, several times (regrow.py).
Either search is deterministic under a seed, and AIHT's answer takes over after a first cycle that did worse.

What was measured for single choices stands with them: constants in the files named above, variants in the README.
"""

from __future__ import annotations

import aiht
from beyond.gnhtp.anneal import anneal
from beyond.gnhtp.layer import POLISHING_STEPS, Layer, gauss_newton, renumber
from beyond.gnhtp.least_squares import CG_STEPS
from beyond.gnhtp.regrow import grow_from_below
from models import Callback, Progress, SparseNet
from numerics.arrays import Array, fit_data
from numerics.sparse import SparseVector
from numerics.workspace import Workspace, workspace_or_new

LEAST_SQUARES = ("auto", "cholesky", "cg")


def fit_layer(layer: Layer, steps: int, realizable: bool) -> SparseVector:
    """Weights w [m d] of one layer, on the host: search, then polish.

    Args:
        steps: outer steps (anneal.py), or exchanges (regrow.py) where not realizable, at most.
    """
    best = anneal(layer, steps) if realizable else grow_from_below(layer, steps)
    return renumber(gauss_newton(layer, best.w, POLISHING_STEPS).w, layer.d, layer.m)


def fit(X: Array, y: Array, s: int, *, width: int, num_layers: int = 1, num_epochs: int = 108, realizable: bool = False,
        least_squares: str = "auto", seed: int = 0, work: Workspace | None = None,
        callback: Callback | None = None) -> SparseNet:
    """Fit a ReLU network of scalar output, layer by layer; see aiht.fit for the arguments that it shares.

    Args:
        y: targets [n].
        num_epochs: outer steps per layer, or exchanges where no sparse network made y, at most. Not counted: AIHT's
            steps, and the exchanges between cycles of outer steps, at most regrow.EXCHANGES per cycle.
        realizable: whether a sparse network made y. Then accurate least squares pay; on other targets ten steps of
            conjugate gradients generalise better to the next gates (exact solves cost 10 to 50 dB on images).
        least_squares: "cholesky", "cg" (conjugate gradients) or "auto", by `realizable`. With "cg" only the
            backward elimination of regrow.py forms Gram matrices, of some s columns.
        callback: called after each outer step and each exchange; in between, networks may have more than s weights.
    Returns:
        a SparseNet on the host, with at most int(s / num_layers) nonzero weights per layer.
    Raises:
        ValueError: X, y, s or width cannot be fitted (fit_data), or least_squares is unknown.
    """
    if least_squares not in LEAST_SQUARES:
        raise ValueError(f"least_squares is {least_squares!r}; it can be {', '.join(LEAST_SQUARES)}")
    X, y = fit_data(X, y, s, width)
    if y.ndim != 1:
        raise ValueError(f"gnhtp fits one output: y must hold targets [n], its shape is {y.shape}")
    progress = Progress(callback) if callback else None
    by_cholesky = least_squares == "cholesky" or (least_squares == "auto" and realizable)

    def fit_one(XT: Array, fan_in: int, number: int) -> SparseVector:
        if not len(XT):  # the layer before has no weights
            return SparseVector.zeros(0)
        layer = Layer(XT, y, s // num_layers, width, key=(seed, number),
                      cg_steps=None if by_cholesky else CG_STEPS[realizable], work=work, progress=progress)
        return fit_layer(layer, num_epochs, realizable)

    with workspace_or_new(work) as work:
        return SparseNet(aiht.layer_by_layer(X, width, num_layers, fit_one, progress))
