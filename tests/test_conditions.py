"""studies/conditions.py: eigenvalues against dense ones, the supports that are drawn, a run from end to end."""

import csv

import numpy as np
import pytest
from helpers import dense_sensing

from instances.planted import planted_inputs, planted_net
from numerics.streams import Stream
from sensing import Gates, RandomGates, ReluSensing
from studies import conditions
from studies.conditions import DENSE, TOLERANCE, Options, extreme_eigenvalues, planted_gates, study


def instance(n=400, d=12, m=30, seed=0):
    X, gates = planted_inputs("normal", n, d, seed), RandomGates(seed, 0, m, d)
    return X, gates, dense_sensing(X, gates.rows(np.arange(m)))


class GivenGates(Gates):
    """The gates of these generators H [m, d]."""

    def __init__(self, H):
        self.H, self.neurons = H, range(len(H))

    def rows(self, neurons):
        return self.H[neurons]


# ---- eigenvalues ----


@pytest.mark.parametrize("s", [1, 2, DENSE, DENSE + 1, 250, 360])
def test_extreme_eigenvalues_are_the_dense_ones(work, s):
    X, gates, dense = instance()
    support = np.sort(np.random.default_rng(s).choice(360, s, replace=False))
    alpha, beta = extreme_eigenvalues(ReluSensing(X.T, gates, 30, work).columns(support), np.ones(s))
    values = np.linalg.eigvalsh(dense[:, support].T @ dense[:, support] / len(X))
    assert beta == pytest.approx(values[-1], rel=2e-6)
    assert alpha == pytest.approx(values[0], abs=2 * TOLERANCE * values[-1])


@pytest.mark.parametrize("s, n", [(20, 400), (60, 400), (60, 50), (300, 200)])
def test_singular_columns_have_alpha_zero(work, s, n):
    """Two neurons with the same gate, or more columns than samples."""
    X, gates, _ = instance(n)
    twins = GivenGates(gates.rows(np.arange(30))[[*range(29), 28]])
    support = np.arange(360 - s, 360)
    alpha, beta = extreme_eigenvalues(ReluSensing(X.T, twins, 30, work).columns(support), np.arange(1.0, s + 1))
    assert beta > 0.5 and abs(alpha) < 2 * TOLERANCE * beta


def test_eigenvalues_on_a_device_are_those_of_numpy(device, work):
    X, gates, _ = instance()
    for s in (10, 90):
        support = np.arange(s) * 3
        expected = extreme_eigenvalues(ReluSensing(np.ascontiguousarray(X.T), gates, 30, work).columns(support),
                                       np.ones(s))
        A = ReluSensing(device.asarray(np.ascontiguousarray(X.T)), gates, 30, work)
        assert extreme_eigenvalues(A.columns(support), np.ones(s)) == pytest.approx(expected, rel=1e-4)


# ---- the study ----


def test_planted_gates_are_those_of_the_different_neurons():
    net = planted_net(6, 40, 1, 1, 50, 3)
    W = net.layers[0].w.toarray().reshape(40, 6)
    live = W[W.any(axis=1)]
    patterns = {tuple(column) for column in (planted_inputs("normal", 500, 6, 0) @ live.T > 0).T}
    gates = planted_gates(6, 40, 50, 3)
    H = gates.rows(gates.neurons)
    assert len(patterns) == len(H) < len(live)  # some are multiples of each other
    assert {tuple(column) for column in (planted_inputs("normal", 500, 6, 0) @ H.T > 0).T} == patterns


@pytest.mark.parametrize("gates", conditions.GATES)
def test_a_row_has_the_extremes_over_all_supports(work, gates):
    """Three supports of 12 columns for each of two seeds, drawn from their stream."""
    row = study(gates, 300, 8, 12, Options(seedlist=(0, 4), input_dim=10, supports=3), np, work)
    extremes, columns = [], []
    for seed in (0, 4):
        H = RandomGates(seed, 0, 8, 10) if gates == "random" else planted_gates(10, 8, 12, seed)
        dense = dense_sensing(planted_inputs("normal", 300, 10, seed), H.rows(np.asarray(H.neurons)))
        columns.append(dense.shape[1])
        for number in range(3):
            A_S = dense[:, Stream.SUPPORTS.generator(seed, number).choice(columns[-1], 12, replace=False)]
            extremes.append(np.linalg.eigvalsh(A_S.T @ A_S / 300)[[0, -1]])
    alphas, betas = np.array(extremes).T
    assert row["supports"] == 6 and row["columns"] == min(columns) and (gates == "planted" or columns == [80, 80])
    expected = {"alpha": alphas.min(), "beta": betas.max(), "mean_alpha": alphas.mean(), "mean_beta": betas.mean()}
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert row["demand"] == pytest.approx(32 * (betas.max() / alphas.min()) ** 2 * 12, rel=1e-3)


def test_a_demand_is_infinite_where_columns_are_dependent(work):
    row = study("random", 20, 8, 50, Options(input_dim=10), np, work)
    assert row["alpha"] < 1e-6 * row["beta"] and row["demand"] == np.inf


def test_a_run_writes_a_table_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conditions, "BASE", {"n": 200, "m": 3, "s": 5})
    line = ["--nlist", "100", "200", "--mlist", "1", "3", "--slist", "5", "50", "--input_dim", "9", "--supports", "1",
            "--seedlist", "0", "--threads", "1", "--logs_dir", str(tmp_path), "--figures_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(conditions.page, "save", lambda figure, stem: [])
        assert conditions.main(line) == 0
    assert "fewer than s columns" in capsys.readouterr().out  # m = 3 neurons have 27
    rows = list(csv.DictReader((tmp_path / "conditions" / "normal.csv").read_text().splitlines()))
    assert [(row["gates"], row["n"], row["m"], row["s"]) for row in rows] == [
        (gates, n, m, "5") for n, m in (("100", "3"), ("200", "3"), ("200", "1")) for gates in ("random", "planted")]
    assert all(0 < float(row["alpha"]) <= float(row["mean_alpha"]) <= float(row["beta"]) for row in rows)
    assert conditions.main(line) == 2 and "use --overwrite" in capsys.readouterr().err
    assert conditions.main([*line, "--mlist", "3", "--overwrite"]) == 0
    assert len((tmp_path / "conditions" / "normal.csv").read_text().splitlines()) == 1 + 4
    assert {path.name for path in tmp_path.glob("conditions.*")} == {"conditions.png", "conditions.pdf"}
