"""What both estimators have: parameters, what was found, and how it is told and drawn."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from beyond.estimators.choice import CHOICES
from beyond.estimators.fitting import Fitted, Folds, Plan, shuffled_folds
from beyond.estimators.report import DataNetwork, text_formula, torch_module
from beyond.estimators.search import LARGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SparseNetwork:
    """A fitted sparse network with a linear part; the classes of regressor.py and classifier.py."""

    def __init__(self, num_nonzero: int | None = None, *, fit_intercept: bool = True,
                 count_intercepts: bool = True, choice: str = "auto", one_standard_error: bool = False, cv: Any = 5,
                 random_state: Any = 0):
        self.num_nonzero = num_nonzero
        self.fit_intercept = fit_intercept
        self.count_intercepts = count_intercepts
        self.choice = choice
        self.one_standard_error = one_standard_error
        self.cv = cv
        self.random_state = random_state

    def _plan(self, X: np.ndarray, y: np.ndarray, weighted: bool) -> Plan:
        """The parameters, checked, for X [n, d] and y [n] or [n, k]. ValueError."""
        from sklearn.utils import check_random_state

        if self.choice not in CHOICES:
            raise ValueError(f"choice: {self.choice!r} is none of {', '.join(CHOICES)}")
        given = self.num_nonzero
        if given is not None and not (isinstance(given, numbers.Integral) and int(given) >= 0):
            raise ValueError(f"num_nonzero: {given!r} is not a whole number from 0 on")
        seed = self.random_state
        if not isinstance(seed, numbers.Integral):
            seed = check_random_state(seed).randint(2**31)
        folds = self._folds(X, y, int(seed), weighted)
        choice = "cv" if self.one_standard_error and self.choice == "auto" else self.choice
        return Plan(self.num_nonzero, self.fit_intercept, self.count_intercepts, choice, self.one_standard_error,
                    folds, int(seed), getattr(self, "num_layers", 1))

    def _folds(self, X: np.ndarray, y: np.ndarray, seed: int, weighted: bool) -> Folds | None:
        """The folds of `cv`; None where the criterion decides: many targets, sample weights, or few samples.

        A number of folds says nothing of copies of a sample, which sample weights stand for; folds that are given do.
        """
        from sklearn.model_selection import check_cv

        counted = isinstance(self.cv, numbers.Integral)
        many = y.dtype == np.float64 and y.size > LARGE  # the cross-entropy of labels has no sharp criterion
        automatic = self.choice == "auto" and (many or weighted and counted)
        if self.choice == "ebic" or automatic or (counted and len(X) < 2 * self.cv):
            return None
        if counted:
            return shuffled_folds(len(X), int(self.cv), seed)
        return list(check_cv(self.cv, y).split(X, y))

    def _keep(self, found: Fitted) -> None:
        """Set the attributes of a fitted estimator."""
        net, one = found.network, found.network.V.shape[1] == 1
        self._network: DataNetwork = net
        (self.weights_, self.biases_), *_ = net.layers
        self.output_weights_ = net.V[:, 0] if one else net.V
        self.coef_: np.ndarray = net.A[0] if one else net.A
        self.intercept_: float | np.ndarray = float(net.c[0]) if one else net.c
        self.num_weights_ = net.num_weights(self.count_intercepts)
        self.energy_left_, self.exact_, self.determined_ = found.energy_left, found.exact, found.determined
        self.path_: dict[str, Any] = {"s": np.array([net.num_weights(self.count_intercepts) for net in found.networks]),
                      "errors": found.choice.values, "standard_errors": found.choice.errors,
                      "networks": found.networks, "chosen": found.choice.place, "rule": found.choice.rule}

    def formula(self, names: list[str] | None = None, *, digits: int = 3, latex: bool = False) -> str:
        """The network as a formula, in text or LaTeX, with the names of the features and rounded to `digits` digits."""
        names = list(names if names is not None else self._names())
        return text_formula(self._network, names, self._targets(), digits, latex)

    def _names(self) -> list[str]:
        d = self._network.A.shape[1]
        return list(getattr(self, "feature_names_in_", [f"x{number}" for number in range(d)]))

    def _targets(self) -> list[str]:
        k = self._network.A.shape[0]
        return ["y"] if k == 1 else [f"y{number}" for number in range(k)]

    def to_torch(self) -> Any:
        """A torch module with the outputs [n, k] of the network, float64."""
        return torch_module(self._network)

    def score_report(self) -> str:
        """One paragraph: weights, units, what is left, whether it is exact and determined, and how it was chosen."""
        net = self._network
        widths = [len(W) for W, _ in net.layers]
        units = f"{', '.join(map(str, widths))} unit{'s' * (widths != [1])}"
        intercepts = "intercepts included" if self.count_intercepts else "intercepts not counted"
        words = {"exact": "the smallest exact network", "cv": "the smallest near the least held-out error",
                 "ebic": "least information criterion", "given": "as many weights as asked for",
                 "one standard error": "the smallest within one standard error"}
        state = "exact and determined" if self.determined_ else "exact, but not determined: fresh data may not fit" if (
            self.exact_) else "not exact"
        weights = f"{self.num_weights_} weight{'s' * (self.num_weights_ != 1)}"
        return (f"{weights} ({intercepts}), {units}, {len(net.inputs)} of {net.A.shape[1]} "
                f"inputs; {self.energy_left_:.3g} of the energy left; {state}; chosen: {words[self.path_['rule']]}")

    def plot_path(self, ax: Axes | None = None) -> Axes:
        """The errors of the path over the number of weights, with the choice marked; matplotlib axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        s, values, place = self.path_["s"], self.path_["errors"], self.path_["chosen"]
        if self.path_["standard_errors"] is None:
            ax.plot(s, values, "o-", markersize=3)
        else:
            ax.errorbar(s, values, self.path_["standard_errors"], fmt="o-", markersize=3, elinewidth=0.8)
        ax.plot(s[place], values[place], "o", markersize=10, fillstyle="none", color="tab:red",
                label=f"chosen: {s[place]} weights")
        words = {"ebic": "information criterion", "cv": "held-out loss", "one standard error": "held-out loss"}
        ax.set(xlabel="nonzero weights s", ylabel=words.get(self.path_["rule"], "share of the energy left"),
               yscale="log" if values.min() > 0 else "linear")
        ax.legend()
        return ax
