"""A formula from a table: X and y, nothing else.

    python examples/tabular.py                 # prints formulas and scores
    python examples/tabular.py --figures .     # and writes pictures of the paths
    python examples/tabular.py --notebook examples/tabular.ipynb    # the same as a notebook, with its pictures

It needs scikit-learn: pip install -e '.[estimators]'
"""

from __future__ import annotations

import argparse
import base64
import inspect
import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1
from sklearn.model_selection import train_test_split

from beyond.estimators import SparseNetClassifier, SparseNetRegressor
from beyond.estimators.base import SparseNetwork


def told(model: SparseNetwork, X: Any, y: Any, measure: str) -> SparseNetwork:
    """The model, fitted to three quarters of the samples; prints its formula, and how it does on the others."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model.fit(X_train, y_train)
    print(model.formula())
    print(f"{measure} {model.score(X_test, y_test):.3f}; {model.score_report()}")
    return model


def friedman() -> SparseNetwork:
    """Friedman's first function, 10 sin(pi x0 x1) + 20 (x2 - 1/2)^2 + 10 x3 + 5 x4, and five inputs of no use."""
    return told(SparseNetRegressor(), *make_friedman1(500, noise=1.0, random_state=0), "R^2")


def diabetes() -> SparseNetwork:
    """The progression of diabetes, where a linear model is all that the data support."""
    return told(SparseNetRegressor(), *load_diabetes(return_X_y=True, as_frame=True, scaled=False), "R^2")


def breast_cancer() -> SparseNetwork:
    """Benign or malignant, with a probability."""
    return told(SparseNetClassifier(), *load_breast_cancer(return_X_y=True, as_frame=True), "accuracy")


PARTS: tuple[Callable[[], SparseNetwork], ...] = (friedman, diabetes, breast_cancer)


def picture(model: SparseNetwork) -> bytes:
    """The path of a model as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    model.plot_path(ax)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    plt.close(figure)
    return file.getvalue()


def cells(part: Callable[[], SparseNetwork]) -> list[dict]:
    """What a part says, its code with what it prints, and its picture, as cells of a notebook."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        model = part()
    code = f"{inspect.getsource(part)}\n\nmodel = {part.__name__}()\nmodel.plot_path();"
    image = base64.b64encode(picture(model)).decode()
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)},
               {"output_type": "display_data", "data": {"image/png": image}, "metadata": {}}]
    return [{"cell_type": "markdown", "metadata": {}, "source": [part.__doc__ or ""]},
            {"cell_type": "code", "metadata": {}, "execution_count": None, "source": code.splitlines(keepends=True),
             "outputs": outputs}]


def notebook() -> dict:
    """The example as a Jupyter notebook."""
    text = Path(__file__).read_text()
    imports = text[text.index("from sklearn") : text.index("def told")]
    path = 'import sys\nfrom typing import Any\n\nsys.path.insert(0, "..")\n\n'
    setup = f"{path}{imports}{inspect.getsource(told)}".rstrip()
    first = [{"cell_type": "markdown", "metadata": {}, "source": ["# A formula from a table: X and y, nothing else"]},
             {"cell_type": "code", "metadata": {}, "execution_count": None, "source": setup.splitlines(keepends=True),
              "outputs": []}]
    return {"cells": first + [cell for part in PARTS for cell in cells(part)], "nbformat": 4, "nbformat_minor": 4,
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--figures", type=Path, help="folder for pictures of the paths")
    parser.add_argument("--notebook", type=Path, help="file for a notebook with what is printed, and the pictures")
    args = parser.parse_args(argv)
    if args.notebook:
        args.notebook.write_text(json.dumps(notebook(), indent=1) + "\n")
        return
    for part in PARTS:
        model = part()
        if args.figures:
            (args.figures / f"path_{part.__name__}.png").write_bytes(picture(model))


if __name__ == "__main__":
    main()
