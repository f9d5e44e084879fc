"""The estimators for data of one's own: scikit-learn's conventions, planted networks, and what is said of an answer."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

pytest.importorskip("sklearn")
pandas = pytest.importorskip("pandas")  # scikit-learn takes its frames

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import make_friedman1, make_moons  # noqa: E402
from sklearn.linear_model import LinearRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

import aiht  # noqa: E402
from beyond import gnhtp  # noqa: E402
from beyond.estimators import SparseNetClassifier, SparseNetRegressor  # noqa: E402
from beyond.estimators.network import Network, Samples, normal_equations  # noqa: E402
from beyond.estimators.report import latex_name  # noqa: E402
from instances.planted import planted_problem  # noqa: E402
from instances.task import Measure  # noqa: E402
from sweep.cells import Result  # noqa: E402
from sweep.report import cell_line  # noqa: E402


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [SparseNetRegressor, SparseNetClassifier])
def test_scikit_learns_checks_pass(kind):
    quick = kind(8, choice="ebic")  # one short path for each fit, where folds take six; what is checked is the same
    failed = [check for check in check_estimator(quick, on_fail=None) if check["status"] == "failed"]
    assert not failed


@pytest.mark.parametrize("n, m, s, options", [
    (300, 5, 20, {"planted_signs": True}), (1000, 10, 50, {}), (300, 5, 20, {"output_dim": 10})])
def test_a_planted_network_is_found_from_x_and_y_alone(n, m, s, options):
    problem = planted_problem(m, s, 700, nmeasurements=n, **options)
    model = SparseNetRegressor().fit(problem.X, problem.Y)
    fresh = np.random.default_rng(1).normal(size=(1000, 100))
    truth = problem.planted.predict(fresh)
    assert np.sum((model.predict(fresh) - truth) ** 2) < 1e-10 * np.sum(truth**2)
    assert model.num_weights_ <= problem.planted.num_nonzero and model.exact_ and model.determined_


@pytest.mark.parametrize("m, s, seed, options", [(5, 20, 803, {}), (10, 50, 804, {"planted_signs": True})])
def test_a_planted_network_is_found_in_noise(m, s, seed, options):
    problem = planted_problem(m, s, seed, nmeasurements=20 * s, snr=40.0, **options)
    model = SparseNetRegressor().fit(problem.X, problem.Y)
    fresh = np.random.default_rng(1).normal(size=(1000, 100))
    truth = problem.planted.predict(fresh)
    assert not model.exact_ and not model.determined_ and model.num_weights_ <= s
    assert np.sum((model.predict(fresh) - truth) ** 2) < 10**-4.8 * np.sum(truth**2)  # the noise is 10^-4


@pytest.mark.parametrize("choice", ["ebic", "cv"])
@pytest.mark.parametrize("kind", [SparseNetRegressor, SparseNetClassifier])
def test_weights_copies_and_order_give_the_same_bits(kind, choice):
    """On noise, where the search depends on every bit."""
    rng = np.random.default_rng(3)
    X, y, weight = rng.normal(size=(60, 3)), rng.integers(0, 3, size=60), rng.integers(0, 4, size=60)
    fold, order = np.arange(60) % 3, rng.permutation(60)
    rows = [np.repeat(np.arange(60), weight), order]
    models = []
    for part, weights in [(rows[0], None), (rows[1], weight[order])]:
        cv = [(np.flatnonzero(fold[part] != number), np.flatnonzero(fold[part] == number)) for number in range(3)]
        models.append(kind(choice=choice, cv=cv).fit(X[part], y[part], sample_weight=weights))
    np.testing.assert_array_equal(models[0].path_["s"], models[1].path_["s"])
    np.testing.assert_array_equal(*(model.predict(X) for model in models))
    np.testing.assert_array_equal(*(model.weights_ for model in models))


def test_names_are_set_as_they_are_in_latex():
    assert [latex_name(name) for name in ("x3", "y", "a_b", "od280/od315 %", "a^b\\c")] == [
        "x_{3}", "y", r"\mathrm{a\_b}", r"\mathrm{od280/od315\ \%}", r"\mathrm{a\wedge b\backslash c}"]


def test_a_part_of_paired_samples_shows_what_differs_in_pairs():
    """More samples than the search takes, in an order in which every second one is alike in x0."""
    rng = np.random.default_rng(5)
    X = np.repeat(rng.normal(size=(5000, 3)), 2, axis=0)
    X[:, 0] = np.arange(10000) % 2
    truth = 3 * X[:, 0] + X[:, 1] + np.maximum(X[:, 2], 0)
    model = SparseNetRegressor(choice="ebic").fit(X, truth + 0.3 * rng.normal(size=10000))
    assert model.energy_left_ < 0.03
    assert np.mean((model.predict(X) - truth) ** 2) < 1e-3  # of noise of 0.09; a bend at x0, 0 or 1, may be a line


def test_two_layers_are_tried_for_copies_too_and_whatever_has_no_weight():
    problem = planted_problem(3, 10, 916, num_layers=2, nmeasurements=500)
    plain, twice = (SparseNetRegressor(choice="ebic").fit(problem.X, problem.Y, sample_weight=weight)
                    for weight in (None, np.full(500, 2.0)))
    copies = SparseNetRegressor(choice="ebic").fit(np.repeat(problem.X, 2, axis=0), np.repeat(problem.Y, 2))
    more = SparseNetRegressor(choice="ebic").fit(np.vstack([problem.X, problem.X[:1]]), np.append(problem.Y, -1),
                                                 sample_weight=np.append(np.ones(500), 0))
    for model in (twice, copies, more):
        assert model.determined_
        np.testing.assert_array_equal(model.weights_, plain.weights_)


@pytest.mark.parametrize("kind", [SparseNetRegressor, SparseNetClassifier])
def test_folds_without_weight_are_left_out(kind):
    rng = np.random.default_rng(0)
    X, fold = rng.normal(size=(60, 3)), np.arange(60) % 3
    cv = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(3)]
    y = (X[:, 0] > 0).astype(int)
    model = kind(cv=cv, choice="cv").fit(X, y, sample_weight=(fold > 0).astype(float))
    assert model.num_weights_ > 0


def test_labels_that_inputs_do_not_explain_leave_all_of_their_entropy():
    rng = np.random.default_rng(1)
    model = SparseNetClassifier(choice="ebic").fit(rng.normal(size=(400, 3)), rng.random(400) < 0.04)
    assert model.num_weights_ == 1 and model.energy_left_ == pytest.approx(1, abs=0.01)


def test_two_hidden_layers_are_found_where_one_is_not_exact():
    problem = planted_problem(3, 10, 916, num_layers=2, nmeasurements=500)
    model = SparseNetRegressor(choice="ebic").fit(problem.X, problem.Y)
    fresh = np.random.default_rng(1).normal(size=(1000, 100))
    truth = problem.planted.predict(fresh)
    assert np.sum((model.predict(fresh) - truth) ** 2) < 1e-10 * np.sum(truth**2) and model.determined_
    assert model.num_weights_ <= 10 and "h1 = max(0, " in model.formula() and "exact and determined" in (
        model.score_report())
    torch = pytest.importorskip("torch")
    outputs = model.to_torch()(torch.as_tensor(fresh)).detach().numpy()[:, 0]
    np.testing.assert_allclose(outputs, model.predict(fresh), atol=1e-12)


def test_two_hidden_layers_are_refused_where_none_are_exact():
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match="num_layers: no exact network of two hidden layers"):
        SparseNetRegressor(num_layers=2, choice="ebic").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="num_layers: 3 is none of None, 1, 2"):
        SparseNetRegressor(num_layers=3).fit(X, X[:, 0])


@pytest.mark.parametrize("method", [aiht, gnhtp])
def test_what_lies_below_zero_is_out_of_reach_of_sums_of_neurons(method):
    X = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    details = method.solve(X, X[:, 0], 4, width=2, num_epochs=1).details
    share = np.sum(np.minimum(X[:, 0], 0) ** 2) / np.sum(X[:, 0] ** 2)
    assert details["out_of_reach"] == pytest.approx(share, rel=1e-5)
    line = cell_line((2, 4, 0), Result("done", 1.0, {"seconds": 0.0, **details}), Measure("PSNR", "dB"))
    assert f"{share:.0%} of the energy, below zero, is out of reach of this class" in line
    assert "out_of_reach" not in method.solve(X, np.abs(X[:, 0]), 4, width=2, num_epochs=1).details


@pytest.mark.parametrize("n, known", [(8, False), (40, None), (80, True)])
def test_what_is_determined_holds_on_fresh_samples(n, known):
    """Also with fewer samples than weights, and with a neuron that one sample opens; none does where none can."""
    determined = []
    for seed in range(4):
        rng = np.random.default_rng([seed, n])
        W, b, v = rng.normal(size=(2, 4)) * (rng.random((2, 4)) < 0.7), np.array([0, -2.0]), rng.choice([-1, 1], 2)
        X, fresh = rng.normal(size=(n, 4)), rng.normal(size=(2000, 4))
        if not (X @ W.T + b > 0).any(axis=0).all():  # of a neuron that is never open the samples say nothing
            continue
        model = SparseNetRegressor(choice="ebic", num_layers=1).fit(X, np.maximum(X @ W.T + b, 0) @ v)
        truth = np.maximum(fresh @ W.T + b, 0) @ v
        wrong = np.sum((model.predict(fresh) - truth) ** 2) > 1e-9 * np.sum(truth**2)
        assert not (model.determined_ and wrong) and model.exact_ >= model.determined_
        determined.append(model.determined_)
    assert known is None or any(determined) == known


def test_weights_speak_in_the_units_of_the_data():
    X, y = make_friedman1(200, noise=1.0, random_state=0)
    scale, shift = np.array([1e3, 1e-2, 1, 5, 1, 1, 1, 1, 1, 1]), np.arange(10.0)
    model = SparseNetRegressor(choice="ebic").fit(X, y)
    other = SparseNetRegressor(choice="ebic").fit(X * scale + shift, y)
    same = SparseNetRegressor(choice="ebic").fit(X * 2.0 ** np.arange(-5, 5), 8 * y)  # without rounding
    np.testing.assert_array_equal(same.path_["s"], model.path_["s"])
    np.testing.assert_array_equal(same.coef_ * 2.0 ** np.arange(-5, 5), 8 * model.coef_)
    by_hand = model.intercept_ + X @ model.coef_ + np.maximum(X @ model.weights_.T + model.biases_, 0) @ (
        model.output_weights_)
    np.testing.assert_allclose(model.predict(X), by_hand)
    assert other.score(X * scale + shift, y) == pytest.approx(model.score(X, y), abs=0.02)


def test_it_works_inside_scikit_learns_tools():
    X, y = make_friedman1(60, n_features=5, noise=1.0, random_state=0)
    frame = pandas.DataFrame(X, columns=[*"abcde"])
    search = GridSearchCV(SparseNetRegressor(choice="ebic"), {"num_nonzero": [1, 5]}, cv=2).fit(frame, y)
    assert search.best_params_ == {"num_nonzero": 5} and list(search.best_estimator_.feature_names_in_) == [*"abcde"]
    pipeline = make_pipeline(StandardScaler(), clone(search.best_estimator_)).fit(frame, np.stack([y, -y], axis=1))
    assert pipeline.predict(frame).shape == (60, 2) and " d" in search.best_estimator_.formula()


@pytest.mark.parametrize("n, k", [(12, 1), (30, 1), (12, 2)])
def test_few_samples_determine_nothing(n, k):
    """With no more than two numbers for each weight a network may fit by chance: here it has only noise."""
    rng = np.random.default_rng(n)
    X, Y = rng.normal(size=(n, 20)), rng.normal(size=(n, k)).squeeze()
    assert not SparseNetRegressor(choice="ebic").fit(X, Y).determined_


def test_linear_data_get_the_linear_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    y = 3 + X @ [2.0, 0, -1, 0, 0] + rng.normal(size=200)
    model = SparseNetRegressor().fit(X, y)
    known = LinearRegression().fit(X[:, [0, 2]], y)
    assert len(model.weights_) == 0 and model.num_weights_ == 3
    np.testing.assert_allclose(model.coef_[[0, 2]], known.coef_, rtol=1e-5)
    assert model.formula(digits=2).startswith("y = ")


def test_the_normal_equations_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3, 4)) * (rng.random((3, 4)) < 0.7)
    net = Network(W, rng.normal(size=(3, 2)), rng.normal(size=(2, 4)))
    data = Samples(rng.normal(size=(4, 50)), rng.normal(size=(2, 50)))
    gram, gradient, loss = normal_equations(net, data)
    theta, step = net.theta, 1e-6
    J = np.stack([(net.moved_to(theta + step * e).outputs(data.XT) - net.moved_to(theta - step * e).outputs(data.XT)
                   ).ravel() / (2 * step) for e in np.eye(len(theta))])
    residual = (data.Y - net.outputs(data.XT)).ravel()
    np.testing.assert_allclose(gram, J @ J.T, atol=1e-5)
    np.testing.assert_allclose(gradient, J @ residual, atol=1e-5)
    assert loss == pytest.approx(residual @ residual)


def test_formula_torch_and_pickle_give_the_predictions():
    torch = pytest.importorskip("torch")
    X, y = make_friedman1(200, noise=0.5, random_state=1)
    model = SparseNetRegressor(num_nonzero=12).fit(X, y)
    assert 0 < model.num_weights_ <= 12
    np.testing.assert_allclose(model.to_torch()(torch.as_tensor(X)).detach().numpy()[:, 0], model.predict(X))
    names = [f"x{number}" for number in range(10)]
    text = model.formula(digits=12).removeprefix("y = ")
    for name in names:
        text = text.replace(f" {name}", f" * {name}").replace("- * ", "- ").replace("+ * ", "+ ").replace("= * ", "")
    known = [eval(text, {"max": max, **dict(zip(names, row, strict=True))}) for row in X[:20]]  # noqa: S307
    np.testing.assert_allclose(known, model.predict(X[:20]), rtol=1e-8)
    assert "aligned" in model.formula(latex=True)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_the_path_is_told_and_drawn():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    X, y = make_friedman1(100, noise=3.0, random_state=1)
    model = SparseNetRegressor(one_standard_error=True, cv=3).fit(X, y)
    path = model.path_
    assert len(path["s"]) == len(path["errors"]) == len(path["networks"])
    best = SparseNetRegressor(choice="cv", cv=3).fit(X, y)
    assert path["s"][path["chosen"]] == model.num_weights_ <= best.num_weights_
    assert "chosen" in model.plot_path().get_legend_handles_labels()[1][0] and "not exact" in model.score_report()


def test_a_classifier_bends_where_a_line_will_not_do():
    """In the mean over five data: a single search depends on the last bits, and so on the kernel (.91 to .97)."""
    scores = []
    for seed in range(5):
        X, y = make_moons(400, noise=0.2, random_state=seed)
        model = SparseNetClassifier().fit(X[:300], y[:300])
        scores.append(model.score(X[300:], y[300:]))
        assert not model.determined_
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert np.mean(scores) > 0.93


def test_nothing_else_needs_scikit_learn():
    code = "import sys, runner, beyond.estimators; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_the_example_runs_and_the_notebook_is_the_same(monkeypatch, capsys):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import tabular

    monkeypatch.setattr(tabular, "PARTS", [tabular.diabetes])  # the quickest
    tabular.main([])
    assert capsys.readouterr().out.count("weights (intercepts included)") == 1
    shipped = json.loads((ROOT / "examples/tabular.ipynb").read_text())["cells"]
    written = tabular.notebook()["cells"]
    assert len(shipped) == 8 and shipped[:2] == written[:2]
    assert {"".join(cell["source"]) for cell in written} <= {"".join(cell["source"]) for cell in shipped}
    code = "\n".join("".join(cell["source"]) for cell in written if cell["cell_type"] == "code")
    exec(compile(code, "the notebook", "exec"), {})
