"""Tables of real data: the estimators of beyond/estimators against what one would take otherwise; docs/own-data.md.

    python -m studies.own_data --fit    # ten splits of every table; it goes on where it stopped
    python -m studies.own_data          # its figure, from what was saved; its table: make tables

Seven tenths are for training, all choices are made inside these; R^2 or the accuracy is taken once on the rest.
It needs scikit-learn, pandas, interpret and the data of ISLP.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from options import SWITCH, option
from shell.command import Drawing, Program
from studies.entries import Entry, computed, read_log

RESULTS = Path(__file__).parents[1] / "logs/reference/own_data/tables.json"
SPLITS = 10
OURS = "sparse network"
NAMES = ("ridge", "lasso", "random forest", "gradient boosting", "MLP", "EBM", OURS)
Table = tuple[np.ndarray, np.ndarray]


def islp(name: str, target: str, log: bool = False, drop: Sequence[str] = ()) -> Callable[[int], Table]:
    """A table of the package ISLP, with dummy columns for words."""

    def load(seed: int) -> Table:
        import importlib.util

        import pandas as pd

        spec = importlib.util.find_spec("ISLP")
        assert spec and spec.submodule_search_locations
        frame = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / f"{name}.csv", na_values="?").dropna()
        y, X = frame[target].to_numpy(dtype=float), frame.drop(columns=[target, *drop])
        X = pd.get_dummies(X, drop_first=True).to_numpy(dtype=float)
        return X, np.log(y) if log else y

    return load


def friedman(number: int, noise: float) -> Callable[[int], Table]:
    """Friedman's functions, 500 samples, drawn anew for each split."""

    def load(seed: int) -> Table:
        from sklearn import datasets

        return getattr(datasets, f"make_friedman{number}")(500, noise=noise, random_state=1000 + seed)

    return load


def shipped(name: str) -> Callable[[int], Table]:
    """A table of scikit-learn."""

    def load(seed: int) -> Table:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(return_X_y=True)

    return load


TABLES = {"friedman1": friedman(1, 1.0), "friedman2": friedman(2, 50.0), "friedman3": friedman(3, 0.1),
          "diabetes": shipped("diabetes"), "Auto": islp("Auto", "mpg", drop=("name",)),
          "Boston": islp("Boston", "medv"),
          "Carseats": islp("Carseats", "Sales"), "Hitters": islp("Hitters", "Salary", log=True),
          "College": islp("College", "Outstate"), "breast cancer": shipped("breast_cancer"), "wine": shipped("wine"),
          "iris": shipped("iris")}
LABELS = {"breast cancer", "wine", "iris"}


def models(labels: bool) -> dict[str, Any]:
    """Fresh estimators by name, each with what it needs to choose."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    from sklearn import ensemble, linear_model, neural_network
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from beyond.estimators import SparseNetClassifier, SparseNetRegressor

    kind = "Classifier" if labels else "Regressor"
    trees = {"n_estimators": [100, 300], "max_depth": [2, 3]}
    mlp = getattr(neural_network, f"MLP{kind}")(hidden_layer_sizes=(50,), solver="lbfgs", max_iter=500,
                                                         random_state=0)
    linear = {"ridge": linear_model.LogisticRegressionCV(max_iter=2000),
              "lasso": linear_model.LogisticRegressionCV(penalty="l1", solver="saga", max_iter=2000)} if labels else {
        "ridge": linear_model.RidgeCV(np.logspace(-3, 3, 13)), "lasso": linear_model.LassoCV(max_iter=20000)}
    return {**{name: make_pipeline(StandardScaler(), model) for name, model in linear.items()},
            "random forest": getattr(ensemble, f"RandomForest{kind}")(300, random_state=0),
            "gradient boosting": GridSearchCV(
                getattr(ensemble, f"GradientBoosting{kind}")(learning_rate=0.05, random_state=0), trees, cv=3),
            "MLP": make_pipeline(StandardScaler(), GridSearchCV(mlp, {"alpha": [1e-2, 1, 1e2]}, cv=3)),
            "EBM": (ExplainableBoostingClassifier if labels else ExplainableBoostingRegressor)(
                n_jobs=1, outer_bags=2, learning_rate=0.1, max_rounds=1000, interactions=5, random_state=0),
            OURS: SparseNetClassifier() if labels else SparseNetRegressor()}


def parameters(model: Any) -> int:
    """Numbers that a fitted model holds: weights, or splits and leaves of trees, or the entries of the EBM's tables."""
    model = model[-1] if hasattr(model, "steps") else model
    model = getattr(model, "best_estimator_", model)
    if hasattr(model, "num_weights_"):
        return int(model.num_weights_)
    if hasattr(model, "term_scores_"):
        return sum(np.size(scores) for scores in model.term_scores_)
    if hasattr(model, "estimators_"):
        return sum(tree.tree_.node_count for tree in np.ravel(model.estimators_))
    if hasattr(model, "coefs_"):
        return sum(part.size for part in [*model.coefs_, *model.intercepts_])
    return int(np.count_nonzero(model.coef_) + np.size(model.intercept_))


def points() -> list[Entry]:
    """All fits."""
    return [{"table": table, "split": split, "model": name} for split in range(SPLITS) for table in TABLES
            for name in NAMES]


def fit(point: Entry) -> Entry:
    """The score of a model on the rest of a split, its parameters, and its seconds of processor time."""
    X, y = TABLES[point["table"]](point["split"])
    order = np.random.default_rng([point["split"], len(y)]).permutation(len(y))
    train, test = np.split(order, [int(0.7 * len(y))])
    model, start = models(point["table"] in LABELS)[point["model"]], time.process_time()
    model.fit(X[train], y[train])
    return {"score": round(float(model.score(X[test], y[test])), 4), "parameters": parameters(model),
            "seconds": round(time.process_time() - start, 2)}


def whole_splits(entries: Sequence[Entry], table: str) -> list[dict[str, list[float]]]:
    """{model: (score, parameters, seconds)} of each split of a table that has all models."""
    splits: list[dict[str, list[float]]] = [{} for _ in range(SPLITS)]
    for entry in entries:
        if entry["table"] == table:
            splits[entry["split"]][entry["model"]] = [entry[name] for name in ("score", "parameters", "seconds")]
    return [found for found in splits if found.keys() == {*NAMES}]


def means(entries: Sequence[Entry]) -> dict[str, dict[str, np.ndarray]]:
    """(score, parameters, seconds), means over whole splits, of each model on each table."""
    found = {table: splits for table in TABLES if (splits := whole_splits(entries, table))}
    return {table: {name: np.mean([split[name] for split in splits], axis=0) for name in NAMES}
            for table, splits in found.items()}


HEADINGS = ("table, R^2 or accuracy", *NAMES, "its weights", "its seconds", "splits")


def rows(path: Path) -> Iterator[tuple[str, ...]]:
    """A row for each table, the best in bold, and ours with its weights and seconds, from what was saved."""
    entries = read_log(path)
    for table, entry in means(entries).items():
        scores = {name: round(values[0], 3) for name, values in entry.items()}
        cells = [f"**{score:.3f}**" if score == max(scores.values()) else f"{score:.3f}" for score in scores.values()]
        yield (table, *cells, f"{entry[OURS][1]:.0f}", f"{entry[OURS][2]:.1f}",
               str(len(whole_splits(entries, table))))


def draw(scores: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Score less the best one, over the number of parameters: a panel for each table."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 4
    figure, axes = plt.subplots(-(-len(scores) // columns), columns, figsize=(12, 2.6 * -(-len(scores) // columns)),
                                squeeze=False, sharex=True, layout="constrained")
    for ax, (table, entry) in zip(axes.flat, scores.items(), strict=False):
        for number, (name, values) in enumerate(entry.items()):
            ax.plot(values[1], values[0], "*" if name == OURS else "o", color=f"C{number}", label=name,
                    markersize=13 if name == OURS else 6)
        ax.set(title=table, xscale="log", ylabel="accuracy" if table in LABELS else "$R^2$")
    for ax in axes[-1]:
        ax.set_xlabel("parameters")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=7)
    figure.savefig(path, dpi=110)


@dataclass(frozen=True)
class Options(Drawing):
    """What to do."""

    fit: bool = option(False, SWITCH, "fit what is missing first")


def run(options: Options) -> None:
    """Fit, if asked for, and draw."""
    if options.fit:
        list(computed(points(), fit, RESULTS))
    path = options.figures() / "own_data.png"
    draw(means(read_log(RESULTS)), path)
    print(path)


main = Program("python -m studies.own_data", __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
