"""benchmarks/: small cases of each, and the plain loop against the operator that it is compared with."""

import numpy as np
import pytest

from benchmarks import memory, per_neuron, speed, workers
from benchmarks.speed import Row
from sensing import RandomGates, ReluSensing


def test_the_loop_over_neurons_has_the_products_of_the_operator(work):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((200, 6), dtype=np.float32), rng.standard_normal((9, 6), dtype=np.float32)
    r, random = rng.standard_normal(200, dtype=np.float32), RandomGates(0, 0, 9, 6)
    A, neurons = ReluSensing(np.ascontiguousarray(X.T), random, 9, work), np.arange(9)
    gates = per_neuron.open_gates(X, random.rows(neurons))
    product = A.columns(np.arange(54)).apply(W.ravel())
    np.testing.assert_allclose(per_neuron.apply(X, gates, W, neurons), product, rtol=1e-4, atol=1e-4)
    gradient = np.concatenate([entries for _, entries in A.adjoint_blocks(r)])
    np.testing.assert_allclose(per_neuron.adjoint(X, gates, r, neurons).ravel(), gradient, rtol=1e-4, atol=1e-3)
    some = per_neuron.adjoint(X, gates, r, [2, 5])
    assert set(np.flatnonzero(some.any(axis=1))) == {2, 5}


def test_every_case_of_speed_runs(work):
    rows = [*speed.scalar_case(n=300, d=10, m=8, s=12, steps=3, repeats=1, work=work),
            *speed.vector_case(n=60, d=12, m=8, s=40, k=3, repeats=1, work=work),
            *speed.pruning_case(n=300, d=40, m=30, repeats=1, threads=1)]
    assert len(rows) == 9 and all(row.ours > 0 and row.floor > 0 for row in rows)


def test_a_table_says_which_targets_are_met():
    rows = [Row("a", 3.0, 2.0, "<= 1.5"), Row("b", 3.0, 2.0, ">= 1.6"), Row("c", 1.0, 4.0)]
    assert [line.split() for line in speed.table(rows, "s")[1:]] == [
        ["a", "3.0000", "2.0000", "1.50", "<=", "1.5", "met"], ["b", "3.0000", "2.0000", "1.50", ">=", "1.6", "MISSED"],
        ["c", "1.0000", "4.0000", "0.25"]]


@pytest.mark.parametrize("method", ["aiht", "pruning"])
def test_memory_is_that_of_a_fit(method):
    assert memory.measure(method, n=100, d=20, m=50, s=30) >= 0


def test_memory_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "in_fresh_process", lambda method, n, d, m, s: m / 100 + s)
    assert memory.main(["--widths", "1000", "2000", "--figures_dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "aiht     s 1000: m 1000: 1010 MiB  m 2000: 1020 MiB\n" in out and "s 250: 350 MiB" in out
    assert {path.name for path in tmp_path.iterdir()} == {"memory.png", "memory.pdf"}


def test_workers_are_timed_on_equal_tables(monkeypatch, capsys):
    alone = workers.sweep(workers.QUICK)
    assert alone.table.shape == (2, 1, 1) and np.isfinite(alone.table).all() and alone.wall > 0 < alone.processor
    sweeps = {(): alone, ("--workers", "2"): workers.Sweep(2 * alone.wall, 1.0, alone.table)}
    monkeypatch.setattr(workers, "sweep", lambda cells, *flags: sweeps[flags])
    assert workers.main(["--quick"]) == 0
    assert "2 cells: " in (out := capsys.readouterr().out) and out.endswith("ratio 0.50\n")
    sweeps["--workers", "2"] = workers.Sweep(1.0, 1.0, alone.table + 1)
    assert workers.main(["--quick"]) == 1
    assert capsys.readouterr().err == "python -m benchmarks.workers: the tables differ\n"


@pytest.mark.parametrize("module, line", [(speed, "--repeats x"), (memory, "--widths 0"), (workers, "--workers 0")])
def test_a_mistake_is_refused_in_a_line(capsys, module, line):
    assert module.main(line.split()) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert message.startswith(f"python -m {module.__name__}: error: argument {line.split()[0]}: ")
