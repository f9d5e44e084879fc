"""Gauss-Newton hard thresholding pursuit (GNHTP): recovers planted networks where AIHT stops.

Ours, not the paper's. It looks for what aiht.py looks for, a network y_hat = sum_j relu(X w_j) with at most s nonzero
weights and m neurons, on the same operators. Read aiht.py first; docs/gnhtp.md has the measurements and the variants.

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
    place of AIHT's gradient steps (least_squares.py).
 4. Gauss-Newton steps: the gates follow the weights, and a step is taken as far as |r| falls. Neurons that have become
    parallel are added up (layer.py).
 5. Room to spare. The budget s~ = c s and the width m~ = c m start above s and m and come down, in cycles; the theory
    asks for s~ > s, too (Jain, Tewari and Kar 2014; the paper's theorem). Later cycles split neurons that stand for
    two, and choose among correlated columns by backward elimination (anneal.py).

On targets that no sparse network made the support grows from below: exchanges add coordinates and eliminate others, and
count only where |r| falls; then it is cut back and regrown, several times (regrow.py). In both searches AIHT's answer
takes over after a first cycle that did worse.
"""

from dataclasses import dataclass

import options
from beyond.gnhtp.anneal import anneal
from beyond.gnhtp.layer import POLISHING_STEPS, LayerProblem, renumber
from beyond.gnhtp.regrow import grow_from_below
from fits import Callback, Found, Progress, layer_by_layer, network_of, solver
from models import SparseNet
from numerics.arrays import Array
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from options import SWITCH, at_least, one_of, option

LEAST_SQUARES = ("auto", "cholesky", "cg")
# Conjugate gradients per least squares problem. Where a sparse network made the targets, accurate solutions pay. On
# others few steps generalise better to the next gates: exact solutions cost 10 to 50 dB on images.
ACCURATE_CG_STEPS, CG_STEPS = 100, 10


@dataclass(frozen=True)
class Options(options.Options):
    """How GNHTP searches. Not counted as outer steps: AIHT's, and the exchanges between cycles (regrow.EXCHANGES)."""

    num_epochs: int = option(108, at_least(1), "limit on outer steps per layer, or exchanges if no sparse network "
                             "made the targets", words="epochs {}")
    least_squares: str = option("auto", one_of(LEAST_SQUARES), "least-squares solver on a support; auto: cholesky "
                                "where a planted network with one hidden layer made the targets, else ten steps of "
                                "conjugate gradients (cg)", words="least squares {}")
    realizable: bool = option(False, SWITCH, "whether a sparse network of this form made the targets", flag=False)

    @property
    def cg_steps(self) -> int | None:
        """Steps of conjugate gradients per least squares problem; None: Cholesky factors instead."""
        if self.least_squares == "cholesky" or (self.least_squares == "auto" and self.realizable):
            return None
        return ACCURATE_CG_STEPS if self.realizable else CG_STEPS


@solver(Options, most_outputs=1, sums=True)
def solve(X: Array, y: Array, s: int, *, width: int, num_layers: int, seed: int, work: Workspace,
          callback: Callback | None, options: Options) -> Found:
    """Fit a ReLU network of one output, layer by layer, each with at most int(s / num_layers) weights.

    The callback is called after each outer step and each exchange; in between, networks may have more than s weights.
    """
    progress = Progress(callback) if callback else None

    def fit_layer(XT: Array, fan_in: int, number: int) -> SparseVector:
        if not len(XT):  # the layer before has no weights
            return SparseVector.zeros(0)
        layer = LayerProblem(XT, y, s // num_layers, width, key=(seed, number), cg_steps=options.cg_steps, work=work,
                             progress=progress)
        best = (anneal if options.realizable else grow_from_below)(layer, options.num_epochs)
        return renumber(layer.gauss_newton(best.w, POLISHING_STEPS).w, layer.d, width)

    return Found(SparseNet(layer_by_layer(X, width, num_layers, fit_layer, progress)))


fit = network_of(solve)
