"""Gauss-Newton hard thresholding pursuit (GNHTP): recovers planted networks where AIHT stops.

Ours, not the paper's. It looks for what aiht.py looks for, a network y_hat = sum_j relu(X w_j) with at most s nonzero
weights and m neurons, on the same operators. Read aiht.py first; the README's "Beyond the paper" has the measurements.

    python runner.py --task mlp_planted --method gnhtp --mlist 20 --slist 100

An outer step adds candidate neurons with gates drawn anew (a neuron that lost its weights would never return), chooses
the s~ coordinates that promise most, solves for their weights by least squares, and takes Gauss-Newton steps, in which
the gates follow the weights. Its answer must not raise the true residual r = y - sum_j relu(X w_j), or more timid ones
are tried, and the best of them is taken. The budget s~ = c s and the width m~ = c m start above s and m and come down,
in cycles: the theory, too, asks for s~ > s. Where the first cycle does worse than AIHT, the second starts from that.

That is for targets that a sparse network made (`anneal`). On others the support grows from below (`breathe`): exchanges
add coordinates and eliminate others, and count only where the true residual falls; a support of s weights is cut back
and grown again.

The iterate is a SparseVector on the host, its active neurons numbered from 0; samples stay where XT is.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

import aiht
from beyond.gnhtp.anneal import anneal
from beyond.gnhtp.layer import POLISHING_STEPS, Layer, State, gauss_newton, renumber
from beyond.gnhtp.least_squares import CG_STEPS, cholesky, conjugate_gradients
from beyond.gnhtp.regrow import breathe
from models import SparseNet
from numerics.arrays import DTYPE, to_device
from numerics.sparse import SparseVector
from numerics.workspace import Workspace
from sensing import RandomGates

AIHT_STEPS = 100  # of the fit that takes over after a first cycle that did worse (the paper's number for images)


def solver(data: Layer, least_squares: str, realizable: bool) -> Callable:
    """The function (A, S, w) -> x [s], least squares on A_S, starting from w."""

    def solve(A, S, w):
        A_S = A.columns(to_device(S, data.XT))
        if least_squares == "cholesky":
            return cholesky(A_S, data.y).astype(DTYPE)
        return conjugate_gradients(A_S, data.y, to_device(w.at(S), data.XT), CG_STEPS[realizable]).astype(DTYPE)

    return solve


def aiht_answer(data: Layer, s: int, m: int, seed: int, layer: int) -> State:
    """What AIHT finds: a better start, where a first cycle ends in nonsense (on images with large s and m)."""
    schedule = aiht.with_updates(aiht.batches(data.n, 0, AIHT_STEPS, None), 1)
    gates = RandomGates(seed, layer, m, data.d)
    [(w, _)] = deque(aiht.iterates(data.XT, data.y, s, gates, schedule, data.work), maxlen=1)  # of the last step
    w = w.to_host()
    return State(w, data.losses(w, w, [0])[0])


def fit_layer(XT, y, s: int, m: int, *, seed: int, layer: int, steps: int, realizable: bool, least_squares: str,
              work: Workspace) -> SparseVector:
    """Fit one layer, y ~ sum_j relu(X w_j), with at most s nonzeros in w [m d]; on the host.

    Args:
        XT: inputs, feature-major [d, n].  y: targets [n].
        layer: its number, for the random streams.  steps: at most.  The others: see fit.
    """
    data, d = Layer(XT, y, work), len(XT)
    if not d:
        return SparseVector.zeros(0)
    solve, stand_in = solver(data, least_squares, realizable), functools.partial(aiht_answer, data, s, m, seed, layer)
    if realizable:
        best = anneal(data, s, m, steps, [seed, layer], least_squares == "cholesky", stand_in, solve)
    else:
        best = breathe(data, s, m, steps, stand_in, solve)
    return renumber(gauss_newton(data, best.w, POLISHING_STEPS, solve).w, d, m)


def fit(X, y, s: int, *, width: int, num_layers: int = 1, num_epochs: int = 108, realizable: bool = False,
        least_squares: str = "auto", seed: int = 0, work: Workspace) -> SparseNet:
    """Fit a ReLU network of scalar output, layer by layer; see aiht.fit for the arguments that it shares.

    Args:
        num_epochs: outer steps per layer, or exchanges where no sparse network made y, at most. Not counted: AIHT's
            steps, and the exchanges of the breaths between outer steps, at most PERIOD per cycle.
        realizable: whether a sparse network made y. Then accurate least squares pay; on other targets ten steps of
            conjugate gradients generalise better to the next gates (exact solves cost 10 to 50 dB on images).
        least_squares: "cholesky", "cg" (memory O(n s) at most, no Gram matrix) or "auto", by `realizable`.
    """
    if least_squares == "auto":
        least_squares = "cholesky" if realizable else "cg"

    budget = s // num_layers

    def fit_one(XT, fan_in: int, layer: int) -> SparseVector:
        return fit_layer(XT, y, budget, width, seed=seed, layer=layer, steps=num_epochs, realizable=realizable,
                         least_squares=least_squares, work=work)

    return SparseNet(aiht.layer_by_layer(X, width, num_layers, fit_one))
