"""benchmarks/: small cases of each, and the plain loop against the operator that it is compared with."""

import json
import sys
import time

import numpy as np
import pytest
import strict_array

from benchmarks import floors, gpu, memory, per_neuron, scaling, sections, speed, workers
from benchmarks.speed import Command
from instances.planted import planted_problem
from plotting.figures import FIGURES, Row
from sensing import RandomGates, ReluSensing
from sweep.methods import METHODS


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


# ---- speed ----


def command(figure, m, s, reduced, **settings):
    """The command of a row of one cell of planted networks."""
    given = {"task": "mlp_planted", "nmeasurements": 300, "input_dim": 10} | settings
    columns = {METHODS[method].title: given | {"method": method} for method in speed.ALL_METHODS}
    return Command(figure, Row((m,), (s,), columns), m, s, reduced)


VECTOR = {"output_dim": 3, "batch_size": 128, "num_layers": 2}
TINY = command("1", 8, 12, {}, num_epochs=2), command("2", 8, 40, {"pruning": 2}, num_epochs=5, **VECTOR)
BATCHES = {"num_layers": 2, "num_epochs": 3, "batch_size": 128}  # of 128, 128 and 44 samples


def planted(s, **settings):
    """300 samples of a network of the commands."""
    return planted_problem(8, s, 0, nmeasurements=300, input_dim=10, **settings)


@pytest.fixture
def tiny(monkeypatch, one_thread):
    monkeypatch.setattr(speed, "COMMANDS", TINY)
    monkeypatch.setattr(speed, "LOOP", speed.QUICK_LOOP)


def test_every_cell_of_speed_has_a_floor_and_is_drawn(tiny, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- cells: why -->\nold\n<!-- end -->\nafter\n<!-- growth: why -->\nkept\n<!-- end -->\n")
    line = f"--repeats 1 --threads 1 --figure --figures_dir {tmp_path / 'figures'} --page {page}"
    assert speed.main(line.split()) == 0
    out = capsys.readouterr().out
    assert page.read_text() == (f"before\n<!-- cells: why -->\n{out}<!-- end -->\nafter\n<!-- growth: why -->\nkept\n"
                                "<!-- end -->\n")
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert [line[:8] for line in lines[1:]] == [
        ["1", "1", "mlp_planted", "AIHT", "1", "8", "12", "2"], ["2", "1", "mlp_planted", "IMP", "1", "8", "12", "2"],
        ["3", "2", "mlp_planted, 3 outputs", "AIHT", "2", "8", "40", "5"],
        ["4", "2", "mlp_planted, 3 outputs", "IMP", "2", "8", "40", "2 of 5"]]
    for line in lines[1:]:
        seconds, floor, ratio, whole_floor, whole_ratio = map(float, line[8:])
        assert seconds > 0 and whole_floor >= floor and ratio >= whole_ratio > 0
    assert "times as long" in out and {path.name for path in (tmp_path / "figures").iterdir()} == {
        "speed.png", "speed.pdf"}


def test_the_cells_are_those_of_the_figures():
    """A cell may have fewer epochs, and is one of the grid; every row of the paper's figures has one."""
    assert [command.row for command in speed.COMMANDS] == [row for name in "12345" for row in FIGURES[name].rows]
    for command in speed.COMMANDS:
        assert command.m in command.row.mlist and command.s in command.row.slist
        for method, epochs in command.reduced.items():
            assert epochs < command.selection(method)["num_epochs"]


def test_the_floor_of_aiht_counts_the_products_of_its_steps():
    """The gates are random for an epoch and a step; 40 weights for two layers."""
    steps = floors.aiht_steps(planted(40, output_dim=3, num_layers=2), 8, 40, **BATCHES)
    random = {step: count for step, count in steps.items() if step.random}
    assert sum(steps.values()) % 9 == 0 and sum(random.values()) * 9 == sum(steps.values()) * 4
    assert {step.neurons for step in random} == {8} and {step.n for step in steps} == {128, 44}
    assert all(step.neurons <= 8 and step.d <= 10 and step.weights <= 20 for step in steps)


@pytest.mark.parametrize("problem, options, gathered", [
    ({"s": 12}, {"num_layers": 1, "num_epochs": 3, "batch_size": 0}, 0),
    ({"s": 40, "output_dim": 3, "num_layers": 2}, BATCHES, 2 * 3),  # epochs of all layers
])
def test_the_whole_floor_counts_gates_columns_and_samples(monkeypatch, problem, options, gathered):
    """One second for each product."""
    monkeypatch.setattr(floors, "median_seconds", lambda function, threads: function() is not function)
    steps = floors.aiht_steps(planted(**problem), 8, problem["s"], **options)
    seconds = floors.extra_seconds(planted(**problem), steps, 1)
    assert seconds == pytest.approx(2 * sum(steps.values()) + gathered)


def test_the_floor_of_imp_counts_the_steps_of_its_rounds():
    steps, rounds = floors.trainings(planted(40, output_dim=3, num_layers=2), 8, 40, **BATCHES)
    assert len(rounds) > 5 and steps == 3 * 300 / 128
    assert rounds[0][0].shape == (8, 10) and all(mask.all() for mask in rounds[0])
    assert [mask.shape for mask in rounds[-1]] != [mask.shape for mask in rounds[0]]  # live units alone


def test_slopes_are_exponents(monkeypatch):
    assert scaling.slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    monkeypatch.setattr(scaling, "cell_time", lambda method, n, d, m, s, threads: n * d**0.5)
    monkeypatch.setattr(memory, "in_fresh_process", lambda method, n, d, m, s: m / n)
    rows = [line.split(" | ") for line in scaling.table(scaling.SMALL, (1, 2), 1)][1:]
    assert [(row[0], row[1], row[4], row[6]) for row in rows[:4]] == [
        ("| AIHT", "n", "1.00", "-1.00 |"), ("| AIHT", "d", "0.50", "0.00 |"), ("| AIHT", "m", "0.00", "1.00 |"),
        ("| AIHT", "s", "0.00", "0.00 |")] and len(rows) == 8
    monkeypatch.undo()
    assert all(scaling.cell_time(method, **scaling.SMALL, threads=1) > 0 for method in scaling.RUNS)


# ---- memory and workers ----


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


# ---- the first day on a GPU ----


def test_without_a_gpu_there_are_facts_and_one_line(monkeypatch, capsys, tmp_path):
    """Whatever this machine has: no library takes a GPU."""
    monkeypatch.setenv("CUPY_TF32", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.main(["--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    lines = [line for line in out.partition("<!--")[0].splitlines() if line]
    assert [line.split(" | ")[0] for line in lines[:-1]] == ["| facts"] * (len(lines) - 1)
    assert lines[-1].startswith("|  | no further section | a working GPU is needed: ")
    assert err.startswith("\npython -m benchmarks.gpu: no working GPU was found: ") and len(err.splitlines()) == 2
    rows = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) and (tmp_path / "gpu.md").read_text() in f"{out}\n"


def test_sections_that_fail_or_last_are_rows(monkeypatch, capsys):
    """The others go on, and only the processes that are theirs are ended."""
    script = ("import json, sys, time; name = sys.argv[-1]; print('noise'); print(json.dumps([name, 'well', True]), "
              "flush=True); name == 'floors' and time.sleep(60); name == 'speed' and sys.exit('out of memory')")
    popen = gpu.subprocess.Popen

    def child(command, **settings):
        assert command[:3] == [sys.executable, "-m", "benchmarks.gpu"]
        return popen([sys.executable, "-c", script, command[-1]], **settings)

    monkeypatch.setattr(gpu.subprocess, "Popen", child)
    start = time.monotonic()
    assert gpu.main(["--seconds", "48"]) == 1 and time.monotonic() - start < 40
    out = capsys.readouterr().out
    for name in gpu.LIMITS:
        assert f"| {name} | {name} | well | yes |" in out
    assert "| floors | ended with code -9 | not ready after 4 s | NO |" in out
    assert "| speed | ended with code 1 | out of memory | NO |" in out


def test_the_table_is_short_enough_for_a_page():
    rows = [gpu.Row("speed", "w" * 100, "a|b" * 100, number % 2 == 0) for number in range(200)]
    table = gpu.table(rows)
    assert len(table) < 12_000 and "more rows" in table and "a|b" not in table
    assert table.startswith("<!-- gpu: ") and table.endswith("\n<!-- end -->")


def test_primitives_are_right_on_the_double_and_wrong_ones_are_seen(monkeypatch):
    found = list(sections.primitives(strict_array))
    assert len(found) == 9 and all(right is True for _, _, right in found)
    monkeypatch.setattr(strict_array.ndarray, "__matmul__", lambda a, b: strict_array.asarray(
        (a._data.astype(np.float16) @ b._data.astype(np.float16)).astype(np.float32)))  # 10 bits, as TF32 has
    assert next(right for what, _, right in sections.primitives(strict_array) if "vector" in what) is False


def test_commands_are_compared_and_timed(tiny, monkeypatch):
    """On the CPU, which agrees with itself."""
    monkeypatch.setattr(sections, "MORE", sections.MORE[1:2])
    found = list(sections.commands("cpu"))
    assert len(found) == 6 and all(right for _, _, right in found)
    known = sections.eigenvalues("cpu")
    monkeypatch.setattr(sections, "eigenvalues", lambda device: known)
    run_job, runs = sections.run_job, []

    def noisy(cells, settings, device):
        runs.append(device)
        results = run_job(cells, settings, device)
        results[cells[0]].score = 10.0 * (len(runs) % 3)
        return results

    monkeypatch.setattr(sections, "run_job", noisy)
    assert [right for _, _, right in sections.commands("cpu")] == [False] * 5 + [True]
    assert len(list(sections.timings("cpu"))) == 4


def test_floors_sharing_and_tests_of_a_gpu_run_here(monkeypatch):
    monkeypatch.setattr(sections, "per_call", lambda xp, operation, *_: operation() is None or 1e-3)
    assert len(list(sections.floors(np))) == 10
    [(words, found, right)] = sections.sharing("cpu", (1,))
    assert words == "1 processes" and right and "cells per minute" in found
    [(_, last, right)] = sections.tests("nothing_has_this_name", "tests/test_names.py")
    assert not right and "deselected" in last
