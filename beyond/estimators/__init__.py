"""Estimators for data of one's own, with scikit-learn's conventions: nothing is given but X and y.

    from beyond.estimators import SparseNetRegressor

    model = SparseNetRegressor().fit(X, y)
    print(model.formula(), model.score_report())

scikit-learn is loaded with the first name that is taken from here; nothing else of the project needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beyond.estimators.classifier import SparseNetClassifier
    from beyond.estimators.regressor import SparseNetRegressor

__all__ = ["SparseNetClassifier", "SparseNetRegressor"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from beyond.estimators import classifier, regressor

        return getattr(classifier if name == "SparseNetClassifier" else regressor, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
