"""studies/gate_updates.py: the share of changed bits, the traces, and a run that is resumed."""

import json

import numpy as np
import pytest
from helpers import sparse

import aiht
from sensing import WeightGates
from studies import gate_updates
from studies.gate_updates import changed_share, planted, trace
from tasks import score


def weight_gates(W):
    return WeightGates(sparse(W), np.shape(W)[1])


@pytest.mark.parametrize("after, share", [
    ([[3, 0], [0, 0], [0.5, 1], [2, 2]], 0),
    ([[0, 1], [0, 0], [0, 1], [1, 1]], 2 / 12),  # two samples of the first neuron
    ([[1, 0], [0, 0], [0, 1], [0, 0]], 1 / 12),  # the last neuron was open on one sample
])
def test_the_share_of_changed_bits(work, after, share):
    X = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    before = weight_gates([[1, 0], [0, 0], [0, 1], [1, 1]])
    assert changed_share(X.T, before, weight_gates(after), work) == share
    assert changed_share(X.T, before, before, work) == 0
    assert changed_share(X.T, weight_gates(np.zeros((4, 2))), before, work) == 0


@pytest.mark.parametrize("update_every", [1, 3])
def test_a_trace_ends_where_the_fit_does(work, update_every):
    run = trace(work, m=4, s=15, seed=2, n=300, steps=8, update_every=update_every)
    problem = planted(300, 4, 15, 2)
    patterns = []
    for step in (4, 7):  # after both of which the gates are updated
        net = aiht.fit(problem.X, problem.Y, 15, width=4, num_epochs=step, update_every=update_every, seed=2, work=work)
        assert run["psnr"][step - 1] == pytest.approx(score(problem, net.predict(problem.X)), abs=1e-3)
        patterns.append(problem.X @ net.layers[0].dense().T > 0)
    if update_every == 3:
        open_once = patterns[0].any(axis=0)
        assert run["changed"][6] == pytest.approx((patterns[0] != patterns[1])[:, open_once].mean(), abs=1e-9)
    assert [share > 0 for share in run["changed"][:4]] == [step > 0 and step % update_every == 0 for step in range(4)]


def line(folder, *more):
    small = "--mlist 3 --update_every 1 4 --seedlist 0 1 --nonzeros 12 --nmeasurements 200 --steps 6 --threads 1"
    return [*small.split(), "--logs_dir", f"{folder}/logs", "--figures_dir", str(folder), *more]


def test_finished_fits_are_kept_and_drawn(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gate_updates.page, "save", lambda figure, stem: [])
        assert gate_updates.main(line(tmp_path, "--seedlist", "1")) == 0
    log = tmp_path / "logs/gates/gates.json"
    entries = json.loads(log.read_text())
    entries[0]["psnr"][-1] = 99.0  # it would not be computed again
    log.write_text(json.dumps(entries))
    assert gate_updates.main(line(tmp_path)) == 0
    kept = json.loads(log.read_text())
    assert [(entry["seed"], entry["update_every"]) for entry in kept] == [(1, 1), (1, 4), (0, 1), (0, 4)]
    assert kept[:2] == entries and len(kept[2]["psnr"]) == 6
    assert {path.name for path in tmp_path.glob("gates.p*")} == {"gates.png", "gates.pdf"}


def test_a_curve_is_the_median_of_its_seeds():
    entries = [{"m": 3, "update_every": 2, "seed": seed, "psnr": psnr, "changed": [0, 0.5]}
               for seed, psnr in enumerate(([1, 2], [3, 9], [4, 4]))]
    upper, lower = gate_updates.draw(entries).axes
    assert upper.lines[0].get_xydata().tolist() == [[1, 3], [2, 4]]
    assert lower.lines[0].get_xydata().tolist() == [[2, 0.5]] and upper.get_title() == "m = 3"
