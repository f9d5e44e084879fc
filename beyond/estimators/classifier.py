"""The estimator for classification, with scikit-learn's conventions; see __init__.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from beyond.estimators.base import SparseNetwork
from beyond.estimators.fitting import Table, fit_labels


class SparseNetClassifier(ClassifierMixin, SparseNetwork, BaseEstimator):
    """Class probabilities from a network f(x) = c + A x + V' relu(W x + b) with few weights.

    With two classes the probability of the second is 1 / (1 + exp(-f)); with k classes they are softmax(f), f [k]. It
    minimises the cross-entropy. The path begins with a sparse logistic regression, and folds choose by cross-entropy.

    Parameters and attributes as in SparseNetRegressor, and `classes_`; `energy_left_` is the share of the cross-entropy
    of class frequencies that is left. `exact_` and `determined_` are False: labels determine no function.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SparseNetClassifier:
        """Fit X [n, d] and labels y [n]; weights [n] of the samples count as so many copies."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(np.unique(labels[weight > 0])) < 2:
            raise ValueError("SparseNetClassifier needs two classes of positive weight, not one class; y has "
                             f"{self.classes_}")
        Y = np.eye(len(self.classes_))[labels]
        Y = Y[:, 1:] if len(self.classes_) == 2 else Y
        plan = self._plan(X, labels, sample_weight is not None)
        self._keep(fit_labels(Table(X, Y, weight), plan))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """f [n], positive for the second class, or [n, k] for several."""
        check_is_fitted(self)
        outputs = self._network.outputs(validate_data(self, X, dtype=np.float64, reset=False))
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [n, k] of the classes."""
        outputs = self.decision_function(X)
        return softmax(outputs, axis=1) if outputs.ndim == 2 else np.stack([expit(-outputs), expit(outputs)], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Labels [n]."""
        outputs = self.decision_function(X)
        return self.classes_[outputs.argmax(axis=1) if outputs.ndim == 2 else (outputs > 0).astype(int)]

    def _targets(self) -> list[str]:
        """Names of the outputs in the formula: log odds, or scores, of classes."""
        names = [f"score of {name}" for name in self.classes_]
        return names if len(names) > 2 else [f"log odds of {self.classes_[1]}"]
