"""plotting/against.py: two hand-made sets of logs, and what make_figures.py --against says of them."""

from pathlib import Path

import numpy as np
import pytest
from helpers import save_log

import make_figures as mf
from plotting.against import compare_all, default_tolerance
from plotting.logs import find_logs, read_log
from tasks import TASKS

pytestmark = pytest.mark.usefixtures("folder")
AXES = [[5], [20, 50], [0, 1, 2]]
HASWELL, SKYLAKE = {"blas": ["openblas 0.3.31 Haswell"]}, {"blas": ["openblas 0.3.31 SkylakeX"]}


def save(folder, table, task="inr_mnist", name="log", axes=AXES, **more):
    save_log(name, table, task, folder=folder, axes=axes, **more)


def compared(**more):
    [comparison] = compare_all(*([read_log(path) for path in find_logs(folder)] for folder in "ab"), **more)
    return comparison


def run(line, capsys, code):
    """What is printed, line by line."""
    assert mf.main(["--logs_dir", "a", "--against", "b", *line.split()]) == code
    return capsys.readouterr().out.splitlines()


SCORES = np.array([[[10.0, 20, 30], [40, 40, 40]]])  # of standard deviations 10 and 0


def test_differences_are_those_of_the_cells_whatever_the_grids():
    save("a", SCORES + [[[0, 0.25, -12], [0, 0, 0.5]]])
    save("b", SCORES[:, :1], axes=[[5], [20], [0, 1, 2]])
    save("b", SCORES[:, 1:, ::-1], name="more", axes=[[5], [50], [2, 1, 0]])
    save("b", [[[7.0]]], name="yet more", axes=[[6], [50], [0]])
    found = compared()
    assert found.alone == (0, 1) and len(found.cells) == 6
    difference = dict(zip(found.cells, found.differences, strict=True))
    assert difference[5, 20, 1] == 0.25 and difference[5, 20, 2] == -12 and difference[5, 50, 2] == 0.5
    assert found.num_both == 6 and found.num_differing == 3
    assert dict(zip(found.cells, found.spreads, strict=True)) == {
        (5, s, seed): {20: 10, 50: 0}[s] for s in (20, 50) for seed in (0, 1, 2)}


def test_the_report_says_what_differs(capsys):
    save("a", SCORES + [[[0, 0.25, -12], [0, 0, 0.5]]], environment=HASWELL | {
        "threads": 1, "commit": "abc", "device": "cpu", "versions": {"numpy": "2.4.6", "python": "3.11.7"}})
    save("b", SCORES, environment={"threads": 2, "commit": "abc", "device": "cpu",
                                   "versions": {"numpy": "2.0.0", "python": "3.11.7", "cupy": "13.6.0"}})
    assert run("", capsys, 0) == [
        "reproduced: 2 of 2 cells have the colour of those in b",
        "a / b",
        "inr_mnist, AIHT, 1 hidden layer, epochs 15",
        "  cells: 6 in both",
        "  difference in PSNR: largest 12 dB (m 5, s 20, seed 2: 18 / 30), mean 2.125 dB",
        "  beyond the tolerance of 0.01 dB: 3 of 6",
        "  beyond the spread over the seeds, too: 2: m 5, s 20, seed 2 (12 > 10); m 5, s 50, seed 2 (0.5 > 0)",
        "  threads: 1 / 2 (6 cells)",
        "  BLAS kernel: openblas 0.3.31 Haswell / not recorded (6 cells)",
        "  numpy: 2.4.6 / 2.0.0 (6 cells)",
        "  cupy: not recorded / 13.6.0 (6 cells)",
        "3 of 6 cells differ",
    ]
    assert run("--tolerance 12", capsys, 0)[-1] == "all 6 cells agree"
    assert run("--tolerance 11.9", capsys, 1)[-1] == "1 of 6 cells differ"


def test_equal_logs_agree_and_older_ones_name_no_kernel(capsys):
    save("a", SCORES)
    save("b", SCORES)
    lines = run("", capsys, 0)
    assert "  BLAS kernel: not recorded / not recorded (6 cells)" in lines
    assert "  settings, commit, device, processor, threads and versions are the same" in lines
    assert lines[-1] == "all 6 cells agree"


def test_scores_are_spread_over_the_kernels_of_all_logs(capsys):
    save("a", SCORES, environment=HASWELL)
    save("a", SCORES[:, :, :1] + 3, name="more", axes=[[5], [20, 50], [0]], environment=SKYLAKE)
    save("b", SCORES + 1, environment=SKYLAKE)
    lines = run("", capsys, 0)
    assert lines[1].endswith("export OPENBLAS_CORETYPE=SkylakeX")
    [line] = [line for line in lines if "over the BLAS kernels" in line]
    assert line == ("  over the BLAS kernels openblas 0.3.31 Haswell / openblas 0.3.31 SkylakeX: 6 cells, "
                    "scores spread by up to 3 dB (m 5, s 20, seed 0), mean 1.667 dB")


def test_a_cell_that_is_done_in_one_set_alone_differs(capsys):
    failed = {(0, 0, 0): {"status": "failed: MemoryError"}, (0, 0, 1): {"status": "skipped: x"}}
    save("a", SCORES, cells=failed)
    save("b", SCORES, cells={(0, 0, 1): {"status": "failed: y"}})
    lines = run("", capsys, 0)
    assert "  cells: 6 in both, 1 of them skipped or failed in both" in lines
    assert "  done in one set alone: 1: m 5, s 20, seed 0 (failed: MemoryError / done)" in lines
    assert lines[-1] == "1 of 6 cells differ"


@pytest.mark.parametrize("task, ours, theirs, differing", [
    ("inr_mnist", 20.0, 20.01, 0), ("inr_mnist", 20.0, 20.011, 1), ("inr_mnist", np.inf, np.inf, 0),
    ("inr_mnist", np.inf, 150.0, 1), ("mlp_planted", 165.0, 160.0, 0), ("mlp_planted", 165.0, 99.0, 1),  # exact: > 100
    ("mnist", 0.9, 0.9005, 0), ("mnist", 0.9, 0.9006, 1), ("gaussian_sparse", 0.1, 0.102, 0),
    ("gaussian_sparse", 0.1, 0.103, 1), ("gaussian_sparse", 1e-7, 1e-5, 0), ("gaussian_sparse", 1e-7, 1e-3, 1),
])
def test_tolerances_are_those_of_the_measure(task, ours, theirs, differing):
    save("a", [[[ours]]], task, axes=[[1], [1], [0]])
    save("b", [[[theirs]]], task, axes=[[1], [1], [0]])
    assert compared().num_differing == differing
    assert compared(tolerance=1000).num_differing == (1 if ours == np.inf != theirs else 0)
    assert default_tolerance(TASKS[task].measure) == (0.0005 if task == "mnist" else 0.01)


def test_settings_that_one_set_alone_has_are_named_with_the_nearest(capsys):
    save("a", SCORES)
    save("b", SCORES)
    save("a", SCORES, name="more", num_epochs=30)
    save("b", SCORES, name="deep", num_epochs=15, num_layers=2)
    lines = run("", capsys, 0)
    assert lines[-3:-1] == [
        "only in a: inr_mnist, AIHT, 1 hidden layer, epochs 30; b has --num_epochs 15 instead of 30",
        "only in b: inr_mnist, AIHT, 2 hidden layers, epochs 15; a has --num_layers 1 instead of 2"]


def test_a_figure_is_compared_column_by_column(capsys):
    for folder, epochs in (("a", 50), ("b", 60)):  # the columns of gnhtp take any number of epochs
        save_log("aiht", SCORES, "inr_mnist", folder=folder, axes=[[5], [20, 30], [0, 1, 2]], num_epochs=100)
        save_log("gnhtp", SCORES, "inr_mnist", "gnhtp", folder=folder, axes=[[5], [20, 100], [0, 1, 3]],
                 num_epochs=epochs)
    lines = run("--figure gnhtp", capsys, 0)
    first = lines.index("inr_mnist, 1 hidden layer: n 784, full batch: AIHT")
    assert lines[first + 1] == "  cells: 3 in both"  # s = 30 and seed 3 are off its grid
    first = lines.index("inr_mnist, 1 hidden layer: n 784, full batch: GNHTP")
    assert lines[first + 1] == "  cells: 4 in both" and "  --num_epochs: 50 / 60 (4 cells)" in lines[first:]
    assert lines[-1] == "all 7 cells agree"
    assert run("--figure 1", capsys, 2) == []


def test_a_task_or_a_method_is_compared_alone(capsys):
    for folder in "ab":
        save(folder, SCORES)
        save_log("log", SCORES, "mnist", "pruning", folder=folder)
    assert run("--task MNIST", capsys, 0)[-1] == "all 6 cells agree"
    assert run("--method aiht", capsys, 0)[2].startswith("inr_mnist, AIHT")
    assert run("", capsys, 0)[-1] == "all 12 cells agree"


def test_a_figure_is_reproduced_where_its_colours_and_who_is_ahead_are(capsys):
    """What is over 50 dB has one colour; 12 of 12 dB apart and a method behind are not the figure."""
    for folder, aiht, imp in (("c", [60.0, 30, 20], [20.0, 20, 20]), ("d", [20.0, 30, 20], [60.0, 20, 20])):
        for name, scores in (("aiht", aiht), ("pruning", imp)):
            save_log("log", [[scores]], "inr_mnist", name, folder=folder, axes=[[5], [20], [0, 1, 2]], num_epochs=100)
    for name, scores in (("aiht", [110.0, 33, 22]), ("pruning", [20.0, 20, 20])):
        save_log("log", [[scores]], "inr_mnist", name, folder="b", axes=[[5], [20], [0, 1, 2]], num_epochs=100)
    for folder, code, words in (("c", 0, "reproduced: 2 of 2"), ("d", 1, "not reproduced: 0 of 2")):
        assert mf.main(["--figure", "4", "--logs_dir", folder, "--against", "b", "--draw"]) == code
        out = capsys.readouterr().out
        assert out.startswith(words) and f"ahead of IMP in {1 - code} of 1 cells, there in 1" in out
        assert Path("figures", folder, "figure4_against.png").exists()
