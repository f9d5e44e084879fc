"""The fitting tasks: the table TASKS, and THE score, one function for every method.

An entry is a class derived from instances.task.Task: what the task is, its options, how its score is drawn, and what
builds one instance. Data are generated or read once per process and seed, not once per cell.
"""

from __future__ import annotations

import numpy as np

from instances.classification import BinaryCifar10, BinaryMnist, Mnist
from instances.image import InrCifar10, InrMnist
from instances.planted import GaussianSparse, MlpPlanted
from instances.task import Problem, SignalProblem, Task
from numerics.sparse import SparseVector

TASKS: dict[str, type[Task]] = {
    "mlp_planted": MlpPlanted,
    "gaussian_sparse": GaussianSparse,
    "binary_mnist": BinaryMnist,
    "mnist": Mnist,
    "binary_cifar10": BinaryCifar10,
    "inr_mnist": InrMnist,
    "inr_cifar10": InrCifar10,
}


def score(problem: Problem, outputs: np.ndarray) -> float:
    """THE score of a fit. FloatingPointError where predictions are not finite: as classes they would score as chance.

    Args:
        outputs: predictions on X_eval, [n_eval] or [n_eval, k].
    Returns:
        PSNR = 20 log10 peak - 10 log10 MSE in dB, +inf for an exact fit; or the accuracy, at threshold 0.5 or of the
        largest of k outputs.
    """
    check_predictions(outputs)
    if problem.peak is None:
        return float(np.mean(decide(outputs) == decide(problem.Y_eval)))
    error = np.asarray(outputs, dtype=np.float64) - problem.Y_eval
    with np.errstate(divide="ignore"):  # an exact fit has infinite PSNR
        return float(20 * np.log10(problem.peak) - 10 * np.log10(np.mean(error**2)))


def signal_score(problem: SignalProblem, w: SparseVector) -> float:
    """The score of a recovered signal: the relative l2 error |w_hat - w| / |w|, where lower is better."""
    check_predictions(w.values)
    error = w.toarray().astype(np.float64) - problem.w.toarray()
    return float(np.linalg.norm(error) / np.linalg.norm(problem.w.values))


def check_predictions(values: np.ndarray) -> None:
    """Raise FloatingPointError where some are not finite."""
    if bad := np.size(values) - np.count_nonzero(np.isfinite(values)):
        raise FloatingPointError(f"{bad} of {np.size(values)} predictions are not finite")


def decide(outputs: np.ndarray) -> np.ndarray:
    """The class [n] of each sample, from outputs [n] or [n, k]."""
    return outputs > 0.5 if outputs.ndim == 1 else outputs.argmax(axis=1)


def support_error(problem: SignalProblem, w: SparseVector) -> float:
    """|S_hat xor S| / (2 s): 0 for the right support, 1 for a disjoint one of the same size."""
    return len(np.setxor1d(w.indices, problem.w.indices)) / (2 * len(problem.w))
