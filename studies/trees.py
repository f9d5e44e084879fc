"""A decision tree with at most s thresholds and leaves."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from instances.task import Problem, Task
from studies.answer import Answer, Find, held_out

SMALLER = (1, 2, 4, 8)  # of so many times fewer leaves, trees are tried, too
CRITERIA = ("gini", "entropy")  # what a split is to lower


def tree(task: Task, problem: Problem, seed: int, slist: Sequence[int]) -> Find:
    """Trees of L leaves and L - 1 thresholds, which is s = 2 L - 1 numbers.

    Leaves hold a class. What a split lowers, and the number of leaves where fewer are better, are chosen on held-out
    training samples; then the tree is grown on all.
    """
    from sklearn.tree import DecisionTreeClassifier

    X, labels = problem.X, problem.Y if problem.Y.ndim == 1 else problem.Y.argmax(axis=1)
    out = held_out(len(X), seed)

    def grown(criterion: str, leaves: int, rows: np.ndarray) -> DecisionTreeClassifier:
        return DecisionTreeClassifier(criterion=criterion, max_leaf_nodes=leaves, random_state=seed).fit(
            X[rows], labels[rows])

    @functools.cache
    def accuracy(criterion: str, leaves: int) -> float:
        return grown(criterion, leaves, ~out).score(X[out], labels[out])

    def find(s: int) -> Answer:
        sizes = dict.fromkeys(max(2, (s + 1) // 2 // by) for by in SMALLER)
        criterion, leaves = max(itertools.product(CRITERIA, sizes), key=lambda form: accuracy(*form))
        best = grown(criterion, leaves, np.full(len(X), True))
        classes = best.predict(problem.X_eval).astype(int)
        outputs = classes if problem.Y.ndim == 1 else np.eye(problem.Y.shape[1])[classes]
        return Answer(outputs, best.tree_.node_count, f"{criterion}, {best.get_n_leaves()} leaves")

    return find
