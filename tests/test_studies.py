"""benchmarks/gates.py and benchmarks/inputs.py: what they measure, and small runs from end to end."""

import json

import numpy as np
import pytest

import aiht
from benchmarks import gates, inputs
from numerics.sparse import SparseVector
from sensing import RandomGates, WeightGates
from tasks import score


def weight_gates(W):
    W = np.asarray(W, dtype=np.float32)
    places = np.flatnonzero(W)
    return WeightGates(SparseVector(places, W.ravel()[places], W.size), W.shape[1])


def test_the_share_of_changed_bits(work):
    X = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    before = weight_gates([[1, 0], [0, 0], [0, 1], [1, 1]])
    assert gates.changed_share(X.T, before, before, work) == 0
    same = weight_gates([[3, 0], [0, 0], [0.5, 1], [2, 2]])
    assert gates.changed_share(X.T, before, same, work) == 0
    turned = weight_gates([[0, 1], [0, 0], [0, 1], [1, 1]])  # two samples of the first neuron
    assert gates.changed_share(X.T, before, turned, work) == 2 / 12
    lost = weight_gates([[1, 0], [0, 0], [0, 1], [0, 0]])  # the last neuron was open on one sample
    assert gates.changed_share(X.T, before, lost, work) == 1 / 12
    assert gates.changed_share(X.T, weight_gates(np.zeros((4, 2))), lost, work) == 0


def test_the_share_is_that_of_dense_gates(work):
    X = np.random.default_rng(0).standard_normal((5000, 7), dtype=np.float32)
    before, W = RandomGates(0, 0, 30, 7), np.random.default_rng(1).standard_normal((30, 7))
    W[::4] = 0
    changed = (X @ before.rows(np.arange(30)).T > 0) != (X @ W.T.astype(np.float32) > 0)
    assert gates.changed_share(X.T, before, weight_gates(W), work) == pytest.approx(changed.mean(), abs=1e-4)


@pytest.mark.parametrize("update_every", [1, 3])
def test_a_trace_ends_where_the_fit_does(work, update_every):
    run = gates.trace(m=4, s=15, seed=2, n=300, steps=8, update_every=update_every, work=work)
    problem = gates.planted(300, 4, 15, 2)
    patterns = []
    for step in (4, 7):  # after both of which the gates are updated
        net = aiht.fit(problem.X, problem.Y, 15, width=4, num_epochs=step, update_every=update_every, seed=2, work=work)
        assert run["psnr"][step - 1] == pytest.approx(score(problem, net.predict(problem.X)), abs=1e-3)
        patterns.append(problem.X @ net.layers[0].w.toarray().reshape(4, 100).T > 0)
    if update_every == 3:
        open_once = patterns[0].any(axis=0)
        assert run["changed"][6] == pytest.approx((patterns[0] != patterns[1])[:, open_once].mean(), abs=1e-9)
    assert [share > 0 for share in run["changed"][:4]] == [step > 0 and step % update_every == 0 for step in range(4)]


def test_the_ablation_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    line = ["--mlist", "3", "--update_every", "1", "4", "--seedlist", "0", "--nonzeros", "12", "--nmeasurements", "200",
            "--steps", "6", "--threads", "1", "--logs_dir", str(tmp_path), "--figures_dir", str(tmp_path)]
    monkeypatch.setattr(gates, "draw", lambda runs, path: drawn.append(runs))
    drawn = []
    assert gates.main(line) == 0
    monkeypatch.setattr(gates, "trace", None)
    assert gates.main(line) == 0
    assert drawn[0] == drawn[1] == json.loads((tmp_path / "gates.json").read_text())
    assert [run["update_every"] for run in drawn[0]] == [1, 4] and len(drawn[0][0]["psnr"]) == 6


def test_the_figures(tmp_path, monkeypatch, capsys):
    runs = [{"m": m, "update_every": k, "psnr": [1.0, 2, m], "changed": [0, 0.5, 0]} for m in (10, 100) for k in (1, 5)]
    gates.draw(runs, tmp_path / "gates")
    monkeypatch.setattr(inputs, "INPUT_DISTS", ("normal", "rademacher"))
    line = ["--mlist", "1", "20", "--slist", "1", "5", "--seedlist", "0", "--nmeasurements", "100", "--input_dim", "8",
            "--device", "cpu", "--threads", "1", "--logs_dir", str(tmp_path), "--figures_dir", str(tmp_path)]
    assert inputs.main(line) == 0
    out = capsys.readouterr().out
    for dist in inputs.INPUT_DISTS:
        [path] = [path for path in tmp_path.rglob("*.npy") if ("rademacher" in path.name) == (dist == "rademacher")]
        assert f"aiht     {dist:11} exact: {np.sum(np.load(path) >= 100)} of 4\n" in out
    assert {path.name for path in tmp_path.glob("*.p*")} == {f"{name}.{end}" for name in ("gates", "inputs")
                                                             for end in ("png", "pdf")}
