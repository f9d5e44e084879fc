"""The estimators for regression, with scikit-learn's conventions; see __init__.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from beyond.estimators.base import SparseNetwork
from beyond.estimators.fitting import Table, fit_networks


class SparseNetRegressor(RegressorMixin, SparseNetwork, BaseEstimator):
    """f(x) = c + A x + sum_j v_j relu(w_j . x + b_j) with few weights, found from X and y alone.

    Parameters
    ----------
    num_nonzero : weights at most; None chooses them.
    fit_intercept : whether there are b and c.  count_intercepts : whether they count as weights.
    num_layers : 1 by crease pursuit; 2 by the joint fit of beyond/deep, ValueError where that is not exact; None tries
        two where one is not exact at once and the targets may have two: one output, none below zero, no noise.
    choice : "cv" (the smallest within a quarter standard error of the least held-out error of `cv` folds), "ebic"
        (extended Bayesian information criterion), or "auto": ebic
        where it leaves less than 1 % of the variance or there are more than 4000 targets, cv elsewhere. Without noise
        the smallest exact network is chosen.
    one_standard_error : with cv, the smallest network within a standard error of the best.
    random_state : seed, a whole number, a RandomState or None.

    Attributes
    ----------
    coef_ : A [d] or [k, d], the linear part.  intercept_ : c.
    weights_ : W [m, d] of the first hidden layer.  biases_ : b [m].  output_weights_ : V [m] or [m, k], +-1 with one
        output, of the last.
    num_weights_ : how many count.  path_ : a dict with s, errors, networks and the place of the choice.
    energy_left_ : the share of the variance of y (without intercept: of its energy) that is left.
    exact_ : whether y is fitted to 100 dB.  determined_ : exact, and so on fresh data from the same inputs.
    """

    def __init__(self, num_nonzero: int | None = None, *, num_layers: int | None = None, fit_intercept: bool = True,
                 count_intercepts: bool = True, choice: str = "auto", one_standard_error: bool = False, cv: Any = 5,
                 random_state: Any = 0):
        super().__init__(num_nonzero, fit_intercept=fit_intercept, count_intercepts=count_intercepts, choice=choice,
                         one_standard_error=one_standard_error, cv=cv, random_state=random_state)
        self.num_layers = num_layers

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SparseNetRegressor:
        """Fit X [n, d] and y [n] or [n, k]; weights [n] of the samples count as so many copies."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        y = np.asarray(y, dtype=np.float64)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        self._one_output = y.ndim == 1
        Y = y.reshape(len(y), -1)
        if not weight.any():
            raise ValueError("sample_weight: all weights are zero")
        if self.num_layers not in (None, 1, 2):
            raise ValueError(f"num_layers: {self.num_layers!r} is none of None, 1, 2")
        plan = self._plan(X, y, sample_weight is not None)
        self._keep(fit_networks(Table(X, Y, weight), plan))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """[n], or [n, k] for several outputs."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        outputs = self._network.outputs(X)
        return outputs[:, 0] if self._one_output else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
