"""Dense networks with two hidden layers, from random samples alone: how exactly they are found; docs/recovery.md.

    python -m studies.dense_networks --fit    # 36 fits; it goes on where it stopped
    python -m studies.dense_networks          # its table: make tables

The sizes are those on which cryptanalysts extract networks from chosen inputs, y = c . relu(A relu(W x + b) + b'),
with c = +-1 and with or without the biases b, b'. Here the inputs are random, and there are ten for each weight. Biases
are weights of an input that is 1, and the second layer gets its own from one more unit of the first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beyond import deep
from beyond.deep.recovery import normal_form
from beyond.recovery import best_matching
from models import SparseLayer, SparseNet
from numerics.arrays import DTYPE
from options import SWITCH, Options, option
from shell.command import Program
from studies.entries import Entry, computed, read_log

RESULTS = Path(__file__).parents[1] / "logs/reference/dense_networks.json"
SIZES = [(10, 5), (10, 10), (10, 15), (10, 20), (20, 10), (40, 20)]  # inputs d, neurons m of each layer
SAMPLES_PER_WEIGHT, FRESH = 10, 100000
BUDGET, FOUND = 1000, 150.0  # of the joint fit, in its units; dB


def planted(d: int, m: int, biases: bool, seed: int) -> tuple[SparseNet, int]:
    """A network on d inputs, the last of them 1 if it has biases, and its weights; c does not count."""
    rng = np.random.default_rng([seed, d, m, biases])
    W, A, c = rng.normal(0, d**-0.5, (m, d)), rng.normal(0, m**-0.5, (m, m)), rng.choice([-1.0, 1.0], (1, m))
    if biases:
        W = np.block([[W, rng.normal(0, 0.5, (m, 1))], [np.zeros((1, d)), np.ones((1, 1))]])
        A = np.block([[A, rng.normal(0, 0.5, (m, 1))], [np.zeros((1, m + 1))]])
        c = np.hstack([c, np.ones((1, 1))])
    layers = tuple(SparseLayer.from_dense(part) for part in (W, A))
    return SparseNet(layers, SparseLayer.from_dense(c)), int(np.count_nonzero(W) + np.count_nonzero(A))


def inputs(n: int, d: int, biases: bool, rng: np.random.Generator) -> np.ndarray:
    """Standard normal ones [n, d], and a 1."""
    X = rng.normal(size=(n, d))
    return (np.hstack([X, np.ones((n, 1))]) if biases else X).astype(DTYPE)


def largest_error(net: SparseNet, true: SparseNet) -> float | None:
    """The largest difference of weights of the normal forms; None if not all units and rows have a match."""
    forms = [normal_form(each) for each in (net, true)]
    if any(form is None for form in forms) or len({(form.A.shape, bool(form.M.any())) for form in forms if form}) > 1:
        return None
    found, planted = (form for form in forms if form is not None)
    k, k_true = best_matching(np.maximum(found.W @ planted.W.T, 0))
    if len(k) < len(planted.W):
        return None
    A, B = found.A[:, k], planted.A[:, k_true]
    j, j_true = best_matching(np.maximum(A @ B.T, 0) * np.maximum(found.C.T @ planted.C, 0))
    if len(j) < len(planted.A):
        return None
    pairs = [(found.W[k], planted.W[k_true]), (A[j], B[j_true]), (found.M[:, k], planted.M[:, k_true])]
    return float(max(np.abs(one - other).max(initial=0) for one, other in pairs))


def fit(point: Entry) -> Entry:
    """What is measured of one network."""
    d, m, biases, seed = (point[name] for name in ("d", "m", "biases", "seed"))
    true, weights = planted(d, m, biases, seed)
    rng = np.random.default_rng([1, seed, d, m, biases])
    X, start = inputs(SAMPLES_PER_WEIGHT * weights, d, biases, rng), time.process_time()
    net = deep.fit(X, true.predict(X).astype(DTYPE), weights, width=m + biases, num_layers=2, seed=seed,
                   num_epochs=BUDGET)
    seconds, fresh = time.process_time() - start, inputs(FRESH, d, biases, rng)
    y = true.predict(fresh)
    error = np.mean((net.predict(fresh) - y) ** 2) + 1e-30
    return {"samples": len(X), "weights": weights, "found": net.num_nonzero, "seconds": round(seconds, 1),
            "psnr": round(float(10 * np.log10(np.ptp(y) ** 2 / error)), 1), "largest_error": largest_error(net, true)}


def points() -> list[Entry]:
    """All that is measured."""
    return [{"d": d, "m": m, "biases": biases, "seed": seed}
            for biases in (False, True) for seed in (0, 1, 2) for d, m in SIZES]


HEADINGS = ("network", "biases", "weights", "samples", "150 dB or more", "PSNR on fresh inputs, dB",
            "largest error of a weight", "seconds")


def rows(path: Path) -> Iterator[tuple[str, ...]]:
    """A row for each size, from what was saved."""
    saved = read_log(path)
    for biases in (False, True):
        for d, m in SIZES:
            entries = [entry for entry in saved if (entry["d"], entry["m"], entry["biases"]) == (d, m, biases)]
            if not entries:
                continue
            errors = [f"{entry['largest_error']:.0e}" if entry["largest_error"] is not None else "no match"
                      for entry in entries]
            yield (f"{d}-{m}-{m}-1", "yes" if biases else "no", str(entries[0]["weights"]), str(entries[0]["samples"]),
                   f"{sum(entry['psnr'] >= FOUND for entry in entries)} of {len(entries)}",
                   ", ".join(f"{entry['psnr']:.0f}" for entry in entries), ", ".join(errors),
                   ", ".join(f"{entry['seconds']:.0f}" for entry in entries))


@dataclass(frozen=True)
class Fits(Options):
    """What to do."""

    fit: bool = option(False, SWITCH, "fit what is missing")


def run(options: Fits) -> None:
    """Fit, if asked for, and tell of what there is."""
    if options.fit:
        for entry in computed(points(), fit, RESULTS):
            print(entry, flush=True)
    for row in rows(RESULTS):
        print(" | ".join(row))


main = Program("python -m studies.dense_networks", __doc__, Fits, run)

if __name__ == "__main__":
    sys.exit(main())
