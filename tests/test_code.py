"""A log knows its code and its data: finished cells of others are refused, edits that move no number change nothing."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, copy_project

from sweep import code
from sweep.flags import parse_arguments

LINES = {"aiht": "--task mlp_planted", "pruning": "--task mlp_planted --method pruning",
         "creases": "--task mlp_planted --method creases", "deep": "--task mlp_planted --method deep",
         "digits": "--task binary_mnist --method rigl", "signal": "--task gaussian_sparse"}
EDITS = [  # file, text, what it becomes, the sweeps that are then of other code
    ("aiht.py", "INNER_STEPS = 10", "INNER_STEPS = 9", {"aiht", "deep", "signal"}),
    ("pruning.py", "MOST_ROUNDS = 10**6", "MOST_ROUNDS = 10**5", {"pruning"}),
    ("beyond/creases/search.py", "PATIENCE = 9", "PATIENCE = 8", {"creases"}),
    ("tasks.py", "> 0.5", "> 0.4", set(LINES)),
    ("instances/planted.py", "RandomState(seed + 1)", "RandomState(seed + 3)", set(LINES) - {"digits"}),
    ("instances/classification.py", 'num_classes == 2 else "cross', 'num_classes == 3 else "cross', {"digits"}),
    ("sensing.py", "NEURON_BLOCK = 256", "NEURON_BLOCK = 128", set(LINES)),
    ("aiht.py", "(the paper's value)", "(a value)", set()),  # a comment
    ("aiht.py", "the paper's solver, and the centrepiece", "a solver", set()),  # a docstring
    ("tasks.py", '    "mnist": Mnist,\n', '    "mnist": Mnist,\n    "more": Mnist,\n', set()),  # an entry of the table
    ("sweep/methods.py", '"round"', '"turn"', set()), ("plotting/page.py", "DPI = 200", "DPI = 100", set()),
    ("sweep/report.py", "REFRESH = 0.1", "REFRESH = 0.2", set()), ("docs/cli.md", "The command line", "Flags", set()),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    return folder


@pytest.mark.parametrize("file, before, after, others", EDITS, ids=[f"{edit[0]}: {edit[2]}" for edit in EDITS])
def test_an_edit_counts_exactly_where_it_may_move_a_number(original, monkeypatch, file, before, after, others):
    def codes():
        return {name: code.code_of(settings) for name, settings in sweeps.items()}

    sweeps = {name: parse_arguments(f"{line} --mlist 2 --slist 5".split()) for name, line in LINES.items()}

    monkeypatch.setattr(code, "ROOT", original)
    first, text = codes(), (original / file).read_text()
    assert before in text
    (original / file).write_text(text.replace(before, after))
    second = codes()
    (original / file).write_text(text)
    assert {name for name in LINES if first[name] != second[name]} == others
    changed = {name for each in LINES for name in code.changed(first[each], second[each])}
    assert changed == ({file} if others else set())


def test_what_is_left_of_a_text_is_its_code():
    text = '"""Doc."""\n\nx = "# none"  # a comment\n\ndef f():\n    """Doc,\n\n    more."""\n    return f"{x}#"\n'
    assert code.code_text(text) == 'x = "# none"\ndef f():\n    return f"{x}#"'
    assert code.code_text("import a\nT = {1: 2}\nT[3] = 4\nU = T[3]\n", "T") == "U = T[3]"


# ---- the sweep ----

SWEEP = "--task mlp_planted --mlist 1 2 --slist 5 --nmeasurements 200 --num_epochs 3 --device cpu --save_results"


def run(folder, line, program="runner.py"):
    """Exit code and output of a sweep, or another program, in a copy of the project."""
    done = subprocess.run([sys.executable, program, *line.split()], cwd=folder, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def scores(folder):
    return {path.name: np.load(path).tolist() for path in folder.rglob("*.npy")}


def test_an_edited_solver_stops_until_it_is_told_what_to_do(tmp_path):
    copy_project(tmp_path)
    assert run(tmp_path, SWEEP)[0] == 0
    old, solver = scores(tmp_path), tmp_path / "aiht.py"
    solver.write_text(solver.read_text().replace("INNER_STEPS = 10", "INNER_STEPS = 1"))
    for line in (SWEEP, f"{SWEEP} --seedlist 0 1"):  # its own log, and that of another list
        status, said = run(tmp_path, line)
        assert status == 2 and "2 finished cells" in said and "other code (aiht.py)" in said and scores(tmp_path) == old
        assert all(way in said for way in ("--overwrite", "--expname", "--any_code"))
    assert "it would stop: " in run(tmp_path, f"{SWEEP} --dry_run")[1]
    assert "2 of 2 cells found" in run(tmp_path, f"{SWEEP} --any_code")[1] and scores(tmp_path) == old
    run(tmp_path, f"{SWEEP} --seedlist 0 1 --any_code")  # old cells and new ones: whoever draws them is told
    assert "aiht are of more than one code (aiht.py)" in run(tmp_path, "--method aiht", "make_figures.py")[1]
    assert run(tmp_path, f"{SWEEP} --expname one")[0] == 0 and len(scores(tmp_path)) == 3
    assert run(tmp_path, f"{SWEEP} --overwrite")[0] == 0 and scores(tmp_path) != old
    assert "2 of 2 cells found" in run(tmp_path, SWEEP)[1]
