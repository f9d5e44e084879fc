"""The command lines of studies/ and benchmarks/: a mistake is refused in a line."""

import sys

import pytest

from benchmarks import memory, speed, workers
from studies import conditions, gate_updates, yardsticks

KEPT = {"broken": "[{", "foreign": "{}", "other": '[{"m": 1, "s": 2, "seed": 0}]'}  # logs of gate_updates, by folder


@pytest.mark.parametrize("module, line, words", [
    (conditions, "--input_dist mnist --input_dim 717", "argument --input_dim: 717 is over the 716"),
    (conditions, "--input_dist mnist --nlist 60000", "argument --nlist: 60000 is over the 50000"),
    (conditions, "--device cuda", "argument --device: cuda is not possible"),
    (conditions, "--input_dim 1 --nlist 9 --mlist 9 --slist 90", "argument --input_dim: with 1 no matrix has"),
    (conditions, "--logs_dir file", "argument --logs_dir: cannot write to"),
    (gate_updates, "--steps 0", "argument --steps: '0' is not a whole number from 1"),
    (gate_updates, "--nmeasurements 1 --nonzeros 1", "argument --nonzeros: 1 is too few, the labels are all zero"),
    (gate_updates, "--logs_dir broken", "gates.json cannot be continued (Expecting"),
    (gate_updates, "--logs_dir foreign", "gates.json cannot be continued (it is no list"),
    (gate_updates, "--logs_dir other", "gates.json cannot be continued (an entry has no n, steps, update_every"),
    (yardsticks, "--tasks mlp_planted", "argument --tasks: 'mlp_planted' is not one of mnist, binary_mnist"),
    (yardsticks, "--logs_dir file", "argument --logs_dir: cannot write to"),
    (speed, "--repeats x", "argument --repeats: "), (speed, "--figure --scaling", "argument --figure: "),
    (speed, "--page no/such/page.md", "argument --page: "), (speed, "--page file", "argument --page: "),
    (memory, "--widths 0", "argument --widths: "), (workers, "--workers 0", "argument --workers: "),
])
def test_a_mistake_is_refused_in_a_line(folder, monkeypatch, capsys, module, line, words):
    monkeypatch.setitem(sys.modules, "cupy", None)  # it cannot be imported
    (folder / "file").touch()
    for name, text in KEPT.items():
        (folder / name / "gates").mkdir(parents=True)
        (folder / name / "gates" / "gates.json").write_text(text)
    assert module.main(line.split()) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert message.startswith(f"python -m {module.__name__}: error: ") and words in message
