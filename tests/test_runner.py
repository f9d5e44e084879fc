"""runner.py: mistakes are refused in one line, sweeps are saved and resumed, and both methods run end to end."""

import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import gnhtp
import numpy as np
import pytest

import datasets
import make_figures
import pruning
import runner
from sweep import locking
from tasks import TASKS, Measure, Problem, Task

REPOSITORY = Path(runner.__file__).parent

# One thread: on a busy machine the threads of torch wait for each other, and these nets are tiny.
PLANTED = "--task mlp_planted --mlist 2 --slist 5 --nmeasurements 50 --num_epochs 2 --device cpu --threads 1"
IMAGE = "--task inr_mnist --mlist 2 --slist 5 --num_epochs 2 --device cpu"
SIGNAL = "--task gaussian_sparse --mlist 20 30 --slist 2 --seedlist 0 1 --nmeasurements 50 --num_epochs 2 --device cpu"
TOY = "--task toy --mlist 3 --slist 1 4 9 --seedlist 0 1 --num_epochs 3 --device cpu --threads 1 --save_results"


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Runs a command line in an empty folder without network; returns exit code, stdout and stderr."""

    def no_network(*_):
        raise OSError("no network in tests")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLP_IHT_DATA", raising=False)
    monkeypatch.setattr(datasets, "_download", no_network)
    monkeypatch.setattr(runner, "commit", lambda: "1a2b")  # two calls of git for every run

    def cli(line, *more):
        code = runner.main([*shlex.split(line), *more])
        return SimpleNamespace(code=code, **dict(zip(("out", "err"), capfd.readouterr(), strict=True)))

    return cli


@pytest.fixture
def toy(monkeypatch):
    """A task of a few numbers whose data do not depend on s, and how often they were built."""
    builds = []

    def build(settings, m, s, seed):
        builds.append((m, s, seed))
        X = np.asfortranarray(np.random.default_rng(seed).normal(size=(40, 4)).astype(np.float32))
        y = np.maximum(X[:, 0], 0) + np.maximum(X[:, 1], 0)
        return Problem(X, y, X, y, peak=float(y.max()))

    monkeypatch.setitem(TASKS, "toy", Task("a toy", Measure("PSNR", "dB", (0, 50)), build, lambda settings: 40))
    return builds


def files(folder="."):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def read_log(folder="logs"):
    """Table and sidecar of the only log."""
    [table], [sidecar] = Path(folder).rglob("*.npy"), Path(folder).rglob("*.json")
    assert table.stem == sidecar.stem
    return np.load(table), json.loads(sidecar.read_text())


def edit_sidecar(change):
    [path] = Path("logs").rglob("*.json")
    sidecar = json.loads(path.read_text())
    change(sidecar)
    path.write_text(json.dumps(sidecar))


def statuses(sidecar):
    return {(cell["m"], cell["s"], cell["seed"]): cell["status"] for cell in sidecar["cells"]}


def cell_lines(out):
    return [line for line in out.splitlines() if re.match(r"m \d+ +s \d+ +seed \d+ ", line)]


def assert_refused(result, *words):
    """Exit code 2 and one line on stderr that has these words."""
    assert result.code == 2, result
    assert len(result.err.splitlines()) == 1 and result.err.startswith("runner.py: error: "), result.err
    for word in words:
        assert word in result.err
    assert not cell_lines(result.out)


# ---- mistakes ----

NOT_NUMBERS = ["abc", "-1", "1.5", "1e3", "nan", "inf", str(10**30), "9" * 5000, "1,2", "0x10", "''"]
WHOLE_NUMBERS = {"mlist": 1, "slist": 1, "seedlist": 0, "num_epochs": 1, "num_layers": 1, "batch_size": 0, "gpu": 0,
                 "input_dim": 1, "output_dim": 1, "nmeasurements": 1, "update_every": 1, "threads": 1,
                 "memory_budget": 16, "finetune_epochs": 0}


@pytest.mark.parametrize("flag", WHOLE_NUMBERS)
def test_what_is_no_whole_number_in_range_is_refused(cli, flag):
    for value in [*NOT_NUMBERS, str(WHOLE_NUMBERS[flag] - 1)]:
        [shown] = shlex.split(value)
        assert_refused(cli(f"{PLANTED} --{flag} {value}"), f"argument --{flag}: '{shown}' is not a whole number from")
    assert not files()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.1", "1.5", "abc", "''", "1/2", "1e30", "1e400", "2000000"])
def test_a_bad_prune_iters_is_refused(cli, value):
    [shown] = shlex.split(value)
    assert_refused(cli(f"{PLANTED} --method pruning --prune_iters={value}"), f"argument --prune_iters: '{shown}'",
                   "0, a fraction between 0 and 1, or a whole number")


@pytest.mark.parametrize("value", ["a b", "a/b", "/", "é", "x" * 61, "a\nb", "a\0b", "\udcff", "$x", "a*", "../x"])
def test_an_expname_that_is_no_part_of_a_file_name_is_refused(cli, value):
    assert_refused(cli(PLANTED, "--save_results", "--expname", value), f"argument --expname: {value!r}",
                   "letters, digits, dots, dashes and underscores")
    assert not files()


MISTAKES = [  # flags, words of the message
    ("", "--task, --mlist, --slist"),
    ("--task mlp_planted --slist 1", "--mlist"),
    ("--task mlp_planted --mlist 1", "--slist"),
    ("--mlist 1 --slist 1", "--task"),
    ("--task mlp_planted --mlist --slist 1", "argument --mlist: expected at least one argument"),
    (f"{PLANTED} --task", "argument --task: expected one argument"),
    (f"{PLANTED} --task binry_mnist", "argument --task", "'binry_mnist'", "'mlp_planted'"),
    (f"{PLANTED} --task ''", "argument --task", "''", "'mlp_planted'"),
    (f"{PLANTED} --method imp", "argument --method", "'imp'", "'aiht', 'pruning'"),
    (f"{PLANTED} --method ''", "argument --method"),
    (f"{PLANTED} --device tpu", "argument --device", "'tpu'", "'auto', 'cpu', 'cuda'"),
    (f"{PLANTED} --save_result", "--save_result", "see --help"),
    (f"{PLANTED} stray", "stray", "see --help"),
    (f"{PLANTED} --convex=1", "argument --convex", "'1'"),
    (f"{PLANTED} --mlist 1 2 1", "argument --mlist: 1 is listed twice"),
    (f"{PLANTED} --slist 5 7 7", "argument --slist: 7 is listed twice"),
    (f"{PLANTED} --seedlist 0 00", "argument --seedlist: 0 is listed twice"),
    (f"{PLANTED} --seedlist {2**32 - 2}", "argument --seedlist"),
    (f"{PLANTED} --batch_size 51", "argument --batch_size: 51", "50 samples", "use 0"),
    (f"{IMAGE} --batch_size 785", "argument --batch_size: 785", "784 samples", "use 0"),
    (f"{PLANTED} --bias", "argument --bias", "mlp_planted", "leave it out"),
    (f"{IMAGE} --bias", "argument --bias", "inr_mnist", "leave it out"),
    (f"{SIGNAL} --bias", "argument --bias", "gaussian_sparse", "leave it out"),
    (f"{SIGNAL} --num_layers 2", "argument --num_layers: 2", "gaussian_sparse", "leave it out"),
    (f"{SIGNAL} --batch_size 10", "argument --batch_size: 10", "gaussian_sparse", "leave it out"),
    (f"{SIGNAL} --convex", "argument --convex", "gaussian_sparse", "leave it out"),
    (f"{SIGNAL} --method pruning", "argument --method: pruning", "gaussian_sparse", "use --method aiht"),
    (f"{SIGNAL} --input_dim 5", "argument --input_dim: 5", "gaussian_sparse", "leave it out"),
    (f"{SIGNAL} --output_dim 2", "argument --output_dim: 2", "gaussian_sparse", "leave it out"),
    (f"{IMAGE} --input_dim 5", "argument --input_dim: 5", "inr_mnist", "leave it out"),
    (f"{IMAGE} --output_dim 2", "argument --output_dim: 2", "inr_mnist", "leave it out"),
    (f"{IMAGE} --nmeasurements 5", "argument --nmeasurements: 5", "inr_mnist", "leave it out"),
    (f"{PLANTED} --prune_iters 0.2", "argument --prune_iters: 0.2", "--method aiht", "leave it out"),
    (f"{PLANTED} --prune_score lamp", "argument --prune_score: lamp", "--method aiht", "leave it out"),
    (f"{PLANTED} --finetune_epochs 5", "argument --finetune_epochs: 5", "--method aiht", "leave it out"),
    (f"{PLANTED} --method pruning --prune_score lamb", "argument --prune_score", "'lamb'", "'magnitude', 'lamp'"),
    (f"{PLANTED} --method pruning --convex", "argument --convex", "--method pruning", "leave it out"),
    (f"{PLANTED} --method pruning --memory_budget 64", "argument --memory_budget: 64", "--method pruning"),
    (f"{IMAGE} --input_dist uniform", "argument --input_dist: uniform", "inr_mnist", "leave it out"),
    (f"{PLANTED} --input_dist cauchy", "argument --input_dist", "'cauchy'", "'rademacher'"),
    (f"{PLANTED} --input_dist mnist --input_dim 717", "argument --input_dim: 717", "over the 716", "use fewer"),
    (f"{PLANTED} --input_dist mnist --nmeasurements 50001", "argument --nmeasurements: 50001", "over the 50000"),
    (f"{SIGNAL} --update_every 2", "argument --update_every: 2", "gaussian_sparse", "leave it out"),
    (f"{PLANTED} --method pruning --update_every 2", "argument --update_every: 2", "--method pruning", "leave it out"),
    (f"{PLANTED} --convex --update_every 2", "argument --update_every: 2", "--convex", "leave one out"),
    (f"{IMAGE} --task mnist --method gnhtp", "argument --method: gnhtp", "a scalar output", "mnist has 10",
     "use --method aiht"),
    (f"{PLANTED} --method gnhtp --output_dim 3", "argument --method: gnhtp", "a scalar output", "has 3 here"),
    (f"{SIGNAL} --method gnhtp", "argument --method: gnhtp does not solve gaussian_sparse", "use --method aiht"),
    (f"{PLANTED} --method gnhtp --convex", "argument --convex", "--method gnhtp", "leave it out"),
    (f"{PLANTED} --method gnhtp --batch_size 10", "argument --batch_size: 10", "--method gnhtp", "leave it out"),
    (f"{PLANTED} --method gnhtp --update_every 2", "argument --update_every: 2", "--method gnhtp", "leave it out"),
    (f"{PLANTED} --method gnhtp --prune_iters 0.2", "argument --prune_iters: 0.2", "--method gnhtp", "leave it out"),
    (f"{PLANTED} --method gnhtp --prune_score lamp", "argument --prune_score: lamp", "--method gnhtp", "leave it out"),
    (f"{PLANTED} --method gnhtp --finetune_epochs 5", "argument --finetune_epochs: 5", "--method gnhtp"),
    (f"{PLANTED} --method gnhtp --least_squares qr", "argument --least_squares", "'qr'", "'auto', 'cholesky', 'cg'"),
    (f"{PLANTED} --least_squares cg", "argument --least_squares: cg", "--method aiht", "leave it out"),
    (f"{PLANTED} --method pruning --least_squares cholesky", "argument --least_squares: cholesky", "--method pruning"),
    (f"{SIGNAL} --least_squares cg", "argument --least_squares: cg", "--method aiht", "leave it out"),
    (f"{PLANTED} --overwrite", "argument --overwrite", "--save_results"),
    (f"{PLANTED} --save_models", "argument --save_models", "--save_results"),
    (f"{SIGNAL} --save_models --save_results", "argument --save_models", "gaussian_sparse", "leave it out"),
    (f"{PLANTED} --gpu 1", "argument --gpu: 1", "--device cpu", "leave it out"),
    (f"{PLANTED} --workers 1.5", "argument --workers: '1.5'"),
    (f"{PLANTED} --workers 2 --scheduler tcp://127.0.0.1:8786", "argument --workers: 2", "leave one out"),
    (f"{PLANTED} --scheduler ''", "argument --scheduler: ''", "leave it out"),
    (f"{PLANTED} --data_dir ''", "argument --data_dir: ''"),
    (f"{PLANTED} --save_results --logs_dir ''", "argument --logs_dir: ''"),
]


@pytest.mark.parametrize("line, words", [(line, words) for line, *words in MISTAKES])
def test_a_mistake_is_refused_in_one_line(cli, line, words):
    assert_refused(cli(line), *words)
    assert not files()


@pytest.mark.parametrize("method", runner.METHODS)
@pytest.mark.parametrize("flags, words", [
    ("--device cuda", "argument --device: cuda is not possible, no GPU today; use --device cpu"),
    ("--device auto --gpu 3", "argument --gpu: 3 is not there, no GPU today; leave it out"),
])
def test_a_gpu_that_is_not_there_is_refused(cli, monkeypatch, method, flags, words):
    def missing(gpu):
        raise RuntimeError("no GPU today")

    monkeypatch.setattr(runner, "cupy_on", missing)
    monkeypatch.setattr(runner, "torch_gpu", missing)
    assert_refused(cli(f"{PLANTED} --method {method} {flags}"), words)
    result = cli(f"{PLANTED} --method {method} --device auto --dry_run")
    assert result.code == 0 and "device: CPU (no GPU today)" in result.out


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none", "x" * 300, "a\0b"])
def test_a_logs_folder_that_cannot_be_is_refused(cli, place):
    Path("file").write_text("a file")
    assert_refused(cli(PLANTED, "--save_results", "--logs_dir", place), "argument --logs_dir")
    assert files() == {"file": b"a file"}


@pytest.mark.parametrize("place", ["nowhere", "file", "/proc/none", "x" * 300])
@pytest.mark.parametrize("save", ["", "--save_results"])
@pytest.mark.parametrize("line", [IMAGE, f"{PLANTED} --input_dist mnist"])
def test_missing_data_are_refused_before_anything_is_made(cli, line, place, save):
    Path("file").write_text("a file")
    assert_refused(cli(f"{line} --data_dir {place} {save}"), "argument --data_dir", "train-images-idx3", place)
    assert os.listdir() == ["file"]


DAMAGES = {
    "a table that is cut off": lambda table, sidecar: table.write_bytes(table.read_bytes()[:-8]),
    "a table of another kind": lambda table, sidecar: table.write_text("not a table"),
    "no table": lambda table, sidecar: table.unlink(),
    "a sidecar that is cut off": lambda table, sidecar: sidecar.write_bytes(sidecar.read_bytes()[:-9]),
    "a sidecar of another kind": lambda table, sidecar: sidecar.write_text("[]"),
    "no sidecar": lambda table, sidecar: sidecar.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_log_is_refused_and_kept(cli, damage):
    assert cli(f"{SIGNAL} --save_results").code == 0
    table, sidecar = [next(Path("logs").rglob(f"*.{end}")) for end in ("npy", "json")]
    damage(table, sidecar)
    before = files()
    for dry in ("", "--dry_run"):
        result = cli(f"{SIGNAL} --save_results {dry}")
        assert_refused(result, "--overwrite")
        assert str(table) in result.err or str(sidecar) in result.err
    assert files() == before
    assert cli(f"{SIGNAL} --save_results --overwrite").code == 0
    assert not np.isnan(read_log()[0]).any()


def test_a_log_of_other_settings_under_the_same_name_is_kept(cli):
    assert cli(f"{SIGNAL} --save_results").code == 0
    edit_sidecar(lambda sidecar: sidecar["settings"].update(num_epochs=3))
    before = files()
    assert_refused(cli(f"{SIGNAL} --save_results"), ".json", "other settings", "--expname")
    assert files() == before


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as stopped:
        runner.main(["--help"])
    assert not stopped.value.code
    shown = capsys.readouterr().out
    for flag in (*runner.SETTINGS, "task", "method", "mlist", "slist", "seedlist", "save_results", "expname", "gpu"):
        assert f"--{flag}" in shown


# ---- the paper's commands ----

TEN = "1 2 5 10 20 50 100 200 500 1000"
NINE, SEVEN = TEN[2:], "10 20 50 100 200 500 1000"
INR = "2 5 10 20 50 100 200"
PAPERS_METHODS = ("aiht", "pruning")
PAPER = [  # task, widths, sparsities, flags: two commands each, in the order of Figures 1 to 5
    ("mlp_planted", TEN, TEN, "--num_epochs 15"),
    ("mlp_planted", NINE, SEVEN, "--num_epochs 15 --num_layers 2"),
    ("mlp_planted", TEN, TEN, "--num_epochs 100 --batch_size 5000 --output_dim 10"),
    ("mlp_planted", NINE, SEVEN, "--num_epochs 100 --batch_size 5000 --num_layers 2 --output_dim 10"),
    ("binary_mnist", TEN, "1 2 5 10 20 50 100 200", "--num_epochs 15 --batch_size 1000"),
    ("mnist", SEVEN, "100 200 500 1000 2000", "--num_epochs 50 --batch_size 5000"),
    ("inr_mnist", INR, "2 5 10 20 50 100 200 500 1000", "--num_epochs 100"),
    ("inr_mnist", INR, "2 5 10 20 50 100 200 500 1000", "--num_epochs 100 --num_layers 2"),
    ("inr_cifar10", f"1 {INR}", "5 10 20 50 100 200 500 1000 2000", "--num_epochs 100"),
    ("inr_cifar10", f"1 {INR}", "5 10 20 50 100 200 500 1000 2000", "--num_epochs 100 --num_layers 2"),
]


@pytest.mark.parametrize("method", PAPERS_METHODS)
@pytest.mark.parametrize("task, mlist, slist, flags", PAPER)
def test_the_papers_commands_are_legal_and_need_no_data_for_a_dry_run(cli, task, mlist, slist, flags, method):
    if task not in TASKS:
        pytest.skip(f"{task} is not among the tasks yet")
    line = f"--task {task} --method {method} --mlist {mlist} --slist {slist} --seedlist 0 1 2 {flags} --save_results"
    result = cli(f"{line} --dry_run --device cpu")
    assert result.code == 0 and result.err == ""
    cells = 3 * len(mlist.split()) * len(slist.split())
    assert f"cells: {cells} of {cells} to run" in result.out
    assert f"  seed 2, m {mlist.split()[-1]}, s {slist}\n" in result.out
    [name] = re.findall(rf"^log: logs/{task}/{method}/(.*)\.npy$", result.out, re.MULTILINE)
    assert f"_m{mlist}_s{slist}_seed0-1-2_".replace(" ", "-") in name and len(name) <= 195
    assert not os.listdir()


def test_the_papers_commands_have_different_logs(cli):
    lines = [f"--task {task} --mlist {mlist} --slist {slist} {flags} --device cpu --save_results --dry_run"
             for task, mlist, slist, flags in PAPER if task in TASKS]
    logs = [cli(f"{line} --method {method}").out.split("log: ")[1] for line in lines for method in PAPERS_METHODS]
    assert len(logs) == len(set(logs))


@pytest.mark.parametrize("method, flags, epochs", [("aiht", "", 15), ("pruning", "", 15), ("gnhtp", "", 108),
                                                   ("gnhtp", "--num_epochs 15", 15), ("aiht", "--num_epochs 36", 36)])
def test_the_epochs_depend_on_the_method(cli, method, flags, epochs):
    line = f"--task mlp_planted --mlist 2 --slist 5 --device cpu --save_results --dry_run --method {method} {flags}"
    result = cli(line)
    assert result.code == 0 and f"num_epochs: {epochs}\n" in result.out
    assert result.out.rstrip().endswith(f"_bias0_{epochs}epochs.npy")


@pytest.mark.parametrize("task", ["inr_mnist", "inr_cifar10", "binary_mnist", "binary_cifar10", "mlp_planted"])
@pytest.mark.parametrize("least_squares", ["auto", "cholesky", "cg"])
def test_gnhtp_takes_every_task_of_one_output(cli, task, least_squares):
    line = f"--task {task} --method gnhtp --mlist 2 --slist 5 --num_layers 2 --least_squares {least_squares}"
    result = cli(f"{line} --memory_budget 16 --device cpu --save_results --dry_run")
    assert result.code == 0 and f"least_squares: {least_squares}\n" in result.out
    named = result.out.rstrip().endswith(f"_108epochs_least_squares{least_squares}.npy")
    assert named == (least_squares != "auto")


# ---- sweeps, end to end ----

SWEEP = ("--task mlp_planted --mlist 2 20 --slist 1 4 20 --seedlist 0 1 --num_layers 2 --nmeasurements 500 "
         "--input_dim 10 --num_epochs 3 --device cpu --threads 1")


@pytest.mark.parametrize("method", runner.METHODS)
def test_a_planted_sweep(cli, method):
    result = cli(f"{SWEEP} --method {method} --save_results --expname trial_1")
    assert result.code == 0 and result.err == ""
    table, sidecar = read_log()
    assert table.shape == (2, 3, 2) and table.dtype == np.float64
    assert sidecar["axes"] == {"m": [2, 20], "s": [1, 4, 20], "seed": [0, 1]}
    assert sidecar["settings"] == {
        "task": "mlp_planted", "method": method, "expname": "trial_1", "num_layers": 2, "convex": False,
        "batch_size": 0, "bias": False, "num_epochs": 3, "input_dim": 10, "output_dim": 1, "nmeasurements": 500,
        "input_dist": "normal", "update_every": 1, "least_squares": "auto", "prune_iters": 0.1,
        "prune_score": "magnitude", "finetune_epochs": 0}
    assert sidecar["score"]["name"] == "PSNR" and sidecar["score"]["unit"] == "dB"
    [environment] = sidecar["environments"]
    assert environment["device"] == "cpu" and environment["threads"] == 1 and environment["commit"] == "1a2b"
    assert environment["versions"]["numpy"] == np.__version__ and {"python", "scipy", "torch"} <= {
        *environment["versions"]}
    found = statuses(sidecar)
    for seed in (0, 1):
        for m in (2, 20):
            assert found[m, 1, seed] == "skipped: 1 nonzeros leave none for each of 2 layers"
        assert found[2, 20, seed] == "skipped: a layer of 2 x 2 weights cannot hold 10 nonzeros"
        assert found[20, 4, seed] == "skipped: the labels are all zero"
        assert found[2, 4, seed] == found[20, 20, seed] == "done"
    scores = {(m, s, seed): table[i, j, k] for i, m in enumerate((2, 20)) for j, s in enumerate((1, 4, 20))
              for k, seed in enumerate((0, 1))}
    assert {cell for cell, score in scores.items() if np.isnan(score)} == {
        cell for cell, status in found.items() if status != "done"}
    for cell in sidecar["cells"]:
        assert cell["environment"] == 0 and cell["seconds"] >= 0
        if cell["status"] == "done":
            assert cell["num_nonzero"] <= cell["s"]
            assert isinstance(cell.get("connected"), bool) == (method == "pruning")
    assert len(cell_lines(result.out)) == 12
    [path] = Path("logs", "mlp_planted", method).glob("*.npy")
    assert result.out.endswith(f"saved {path}\n") and path.name.endswith("_input_dim10_nmeasurements500__trial_1.npy")


RECOVERY = {"support_precision", "support_recall", "weight_error", "neurons_planted", "neurons_lost", "width_used"}


@pytest.mark.parametrize("method, flags", [*((method, "") for method in runner.METHODS), ("aiht", "--output_dim 3"),
                                           ("pruning", "--output_dim 3")])
def test_a_planted_cell_records_what_was_recovered(cli, method, flags):
    line = f"--task mlp_planted --mlist 2 --slist 12 --nmeasurements 500 --input_dim 8 --device cpu --threads 1 {flags}"
    assert cli(f"{line} --method {method} --num_epochs 2 --save_results").code == 0
    table, sidecar = read_log()
    [cell] = sidecar["cells"]
    assert cell.keys() >= RECOVERY
    assert 0 <= cell["support_recall"] <= 1 and 1 <= cell["neurons_planted"] <= 2 and cell["width_used"] <= 2


@pytest.mark.parametrize("method", ["aiht", "gnhtp"])
def test_an_exact_fit_has_recovered_everything(cli, method):
    line = "--task mlp_planted --mlist 1 --slist 5 --nmeasurements 500 --input_dim 8 --device cpu --num_epochs 40"
    assert cli(f"{line} --method {method} --save_results").code == 0
    table, sidecar = read_log()
    [cell] = sidecar["cells"]
    assert table.item() > 120 and cell["weight_error"] < 1e-5
    assert {key: cell[key] for key in RECOVERY - {"weight_error"}} == {
        "support_precision": 1, "support_recall": 1, "neurons_planted": 1, "neurons_lost": 0, "width_used": 1}


@pytest.mark.parametrize("line", [SIGNAL, f"{SWEEP} --slist 4", f"{PLANTED} --convex"])
def test_what_was_recovered_is_not_recorded_where_it_is_not_defined(cli, line):
    """No network, two hidden layers, fixed gates."""
    assert cli(f"{line} --save_results").code == 0
    assert not any(RECOVERY & cell.keys() for cell in read_log()[1]["cells"])


@pytest.mark.parametrize("flags", ["--input_dist uniform", "--input_dist rademacher", "--update_every 3"])
def test_new_settings_change_the_table_and_name_the_log(cli, flags):
    line = f"{PLANTED} --num_epochs 6 --save_results"
    [plain, changed] = [cli(f"{line} --logs_dir {folder} {more}") for folder, more in (("a", ""), ("b", flags))]
    assert plain.code == changed.code == 0 and read_log("a")[0] != read_log("b")[0]
    flag, value = flags.removeprefix("--").split()
    [name] = [path.stem for path in Path("b").rglob("*.npy")]
    assert name == next(Path("a").rglob("*.npy")).stem + f"_{flag}{value}"
    assert str(read_log("b")[1]["settings"][flag]) == value


def test_without_save_results_the_table_is_printed_and_nothing_is_written(cli):
    result = cli(SWEEP)
    assert result.code == 0 and not os.listdir()
    lines = result.out.splitlines()
    place = lines.index("PSNR, dB, mean over 2 seed(s); rows: m, columns: s")
    header, narrow, wide = (line.split() for line in lines[place + 1 :])
    assert header == ["1", "4", "20"]
    scores = [float(line.split()[6]) for line in cell_lines(result.out) if re.match("m 2 +s 4 ", line)]
    assert narrow[::2] == ["2", narrow[2]] and narrow[1] == narrow[3] == "-" and wide[:3] == ["20", "-", "-"]
    assert abs(float(narrow[2]) - np.mean(scores)) < 0.011


@pytest.mark.parametrize("line", [f"{SWEEP} --batch_size 100", f"{SWEEP} --output_dim 3", f"{SWEEP} --convex",
                                  f"{SWEEP} --method pruning --batch_size 100", SIGNAL, f"{SWEEP} --method gnhtp",
                                  f"{SWEEP} --method gnhtp --least_squares cg"])
def test_two_runs_give_the_same_bits(cli, line):
    tables = []
    for folder in ("a", "b"):
        assert cli(f"{line} --save_results --logs_dir {folder}").code == 0
        tables.append(read_log(folder)[0].tobytes())
    assert tables[0] == tables[1]


def test_a_scheduler_that_is_no_address_is_refused(cli):
    pytest.importorskip("distributed")
    assert_refused(cli(f"{PLANTED} --scheduler nonsense"), "argument --scheduler", "'nonsense'", "--workers")


def test_workers_give_the_same_bits(cli):
    pytest.importorskip("distributed")
    assert cli(f"{SWEEP} --save_results --logs_dir alone").code == 0
    result = cli(f"{SWEEP} --save_results --workers 2")
    assert result.code == 0 and result.err == "" and len(cell_lines(result.out)) == 12
    assert read_log()[0].tobytes() == read_log("alone")[0].tobytes()
    assert statuses(read_log()[1]) == statuses(read_log("alone")[1])


@pytest.mark.parametrize("flags", ["", "--batch_size 1000", "--convex", "--output_dim 3", "--method gnhtp"])
def test_the_number_of_threads_does_not_change_the_bits(cli, flags):
    tables = []
    for threads in (1, 2, 3):
        line = f"--task mlp_planted --mlist 20 --slist 30 --nmeasurements 3000 --num_epochs 3 --device cpu {flags}"
        assert cli(f"{line} --threads {threads} --save_results --logs_dir logs{threads}").code == 0
        tables.append(read_log(f"logs{threads}")[0].tobytes())
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("method", ["aiht", "gnhtp"])
def test_the_smallest_memory_budget_will_do(cli, method):
    assert cli(f"{PLANTED} --method {method} --memory_budget 16").code == 0


def test_one_pruning_run_serves_all_s_in_any_order(cli, toy):
    orders = {"a": [1, 4, 9], "b": [9, 1, 4], "c": [4], "d": [100, 4, 2, 9, 1]}
    scores = {}
    for folder, slist in orders.items():
        toy.clear()
        line = f"{TOY} --method pruning --seedlist 0 --slist {' '.join(map(str, slist))} --logs_dir {folder}"
        assert cli(line).code == 0 and len(toy) == 1
        scores[folder] = dict(zip(slist, read_log(folder)[0][0, :, 0], strict=True))
    assert all(scores[folder][s] == scores["d"][s] for folder, slist in orders.items() for s in slist)
    assert len(set(scores["d"].values())) > 1


def test_pruning_uses_as_many_threads_as_it_is_told(cli, toy):
    import torch

    for threads in (2, 1):
        assert cli(f"{TOY} --method pruning --threads {threads} --overwrite").code == 0
        assert torch.get_num_threads() == threads


def test_every_cell_moves_the_bar(cli, toy, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli(TOY).code == 0
    assert "6/6" in sys.stderr.getvalue() and "cell" in sys.stderr.getvalue()


def test_make_figures_draws_the_logs(cli, capfd):
    for line in (SWEEP, f"{SWEEP} --method pruning", SIGNAL):
        assert cli(f"{line} --save_results").code == 0
    assert make_figures.main([]) == 0
    assert capfd.readouterr().err == ""
    logs = {path.stem for path in Path("logs").rglob("*.npy")}
    assert len(logs) == 3
    assert sorted(os.listdir("figures")) == sorted(f"{log}.{end}" for log in logs for end in ("png", "pdf"))


# ---- resuming ----


def stop_after(monkeypatch, jobs):
    """Let a sweep be interrupted after so many jobs."""
    run_job = runner.run_job

    def counted(*args):
        nonlocal jobs
        if jobs == 0:
            raise KeyboardInterrupt
        jobs -= 1
        return run_job(*args)

    monkeypatch.setattr(runner, "run_job", counted)


@pytest.mark.parametrize("method, jobs, cells", [("aiht", 4, 4), ("pruning", 1, 3), ("gnhtp", 4, 4)])
def test_stopped_and_resumed_is_the_same_as_uninterrupted(cli, toy, monkeypatch, method, jobs, cells):
    line = f"{TOY} --method {method}"
    assert cli(f"{line} --logs_dir whole").code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, jobs)
        result = cli(line)
    assert result.code == 130 and "the same command goes on" in result.err and "Traceback" not in result.err
    assert np.isfinite(read_log()[0]).sum() == cells
    toy.clear()
    assert f"cells: {6 - cells} of 6 to run" in cli(f"{line} --dry_run").out
    result = cli(line)
    assert result.code == 0 and f"{cells} of 6 cells found in logs" in result.out
    assert len(cell_lines(result.out)) == 6 - cells and len(toy) == (1 if method == "pruning" else 2)
    assert read_log()[0].tobytes() == read_log("whole")[0].tobytes()


def test_a_finished_sweep_is_left_alone_unless_overwritten(cli, toy):
    cli(TOY)
    before, built = files(), len(toy)
    result = cli(TOY)
    assert result.code == 0 and "6 of 6 cells found" in result.out and not cell_lines(result.out)
    assert files() == before and len(toy) == built == 6
    result = cli(f"{TOY} --overwrite")
    assert result.code == 0 and len(cell_lines(result.out)) == 6 and len(toy) == 12 and "found" not in result.out


def test_overwriting_does_not_touch_the_old_log_before_the_first_cell(cli, toy, monkeypatch):
    cli(TOY)
    before = files()
    stop_after(monkeypatch, 0)
    assert cli(f"{TOY} --overwrite").code == 130
    assert files() == before
    assert cli(f"{TOY} --overwrite --dry_run").code == 0
    assert files() == before


def test_runs_of_other_settings_have_logs_of_their_own(cli, toy):
    for flags in ("", "--expname num_epochs4", "--num_epochs 4", "--convex", "--method pruning",
                  "--method pruning --prune_iters 1", "--method pruning --prune_score lamp",
                  "--method pruning --finetune_epochs 2", "--method gnhtp", "--method gnhtp --least_squares cg"):
        assert "found" not in cli(f"{TOY} {flags}").out
    assert len([*Path("logs").rglob("*.npy")]) == 10


@pytest.mark.parametrize("line, realizable", [(PLANTED, True), (TOY, False)])
def test_gnhtp_is_told_whether_a_network_made_the_targets(cli, toy, monkeypatch, line, realizable):
    given, fit = [], gnhtp.fit
    monkeypatch.setattr(gnhtp, "fit", lambda *args, **settings: given.append(settings) or fit(*args, **settings))
    for flags, least_squares in (("", "auto"), ("--least_squares cg", "cg")):
        assert cli(f"{line} --method gnhtp --num_epochs 2 {flags}").code == 0
        assert {(settings["realizable"], settings["least_squares"]) for settings in given} == {
            (realizable, least_squares)}
        given.clear()


def test_the_choices_of_pruning_reach_it(cli, monkeypatch):
    given, prune = [], pruning.prune
    monkeypatch.setattr(pruning, "prune", lambda *args, **settings: given.append(settings) or prune(*args, **settings))
    names = []
    for flags in ("", "--prune_score lamp --finetune_epochs 3 --prune_iters 2"):
        assert cli(f"{PLANTED} --method pruning --save_results {flags}").code == 0
        names += {path.stem for path in Path("logs").rglob("*.npy")} - {*names}
    flags = ("prune_iters", "prune_score", "finetune_epochs")
    assert [[settings[flag] for flag in flags] for settings in given] == [[0.1, "magnitude", 0], [2, "lamp", 3]]
    assert names[1] == f"{names[0]}_prune_iters2_prune_scorelamp_finetune_epochs3"


def test_the_rankings_of_pruning_are_all_on_offer():
    [action] = [action for action in runner.make_parser()._actions if action.dest == "prune_score"]
    assert list(action.choices) == list(pruning.SCORES)


def scores(folder):
    """{(m, s, seed): score} of the only log in a folder."""
    table, sidecar = read_log(folder)
    return dict(zip(itertools.product(*sidecar["axes"].values()), table.ravel().tolist(), strict=True))


def log_of(result):
    """A new folder with a copy of the log that a run saved."""
    [name] = re.findall(r"^saved (.*)\.npy$", result.out, re.MULTILINE)
    folder = Path(tempfile.mkdtemp(dir="."))
    for end in ("npy", "json"):
        shutil.copy(f"{name}.{end}", folder)
    return folder


@pytest.mark.parametrize("lists, found, cells", [
    ("--slist 1 4 9 16 --seedlist 0 1 2", 6, 12),
    ("--slist 9 1", 4, 4),
    ("--slist 4 --seedlist 1 5 0", 2, 3),
    ("--mlist 4 --slist 1", 0, 2),
])
@pytest.mark.parametrize("method", runner.METHODS)
def test_other_lists_take_over_the_cells_that_are_there(cli, toy, method, lists, found, cells):
    line = f"{TOY} --method {method}"
    cli(line)
    before = files()
    assert f"cells: {cells - found} of {cells} to run" in cli(f"{line} {lists} --dry_run").out
    assert files() == before
    result = cli(f"{line} {lists}")
    assert result.code == 0 and len(cell_lines(result.out)) == cells - found
    assert (f"{found} of {cells} cells found" in result.out) == bool(found)
    assert files().items() > before.items()  # the old log stays as it was
    afresh = cli(f"{line} {lists} --logs_dir afresh")
    assert scores(log_of(result)) == scores(log_of(afresh))


def test_a_damaged_log_of_other_lists_is_passed_over(cli, toy):
    cli(TOY)
    [sidecar] = Path("logs").rglob("*.json")
    sidecar.write_text("[]")
    assert len(cell_lines(cli(f"{TOY} --slist 1").out)) == 2


def test_models_are_taken_over_with_their_cells(cli, toy):
    cli(f"{TOY} --slist 1")
    cli(f"{TOY} --slist 4 --save_models")
    result = cli(f"{TOY} --save_models")
    assert len(cell_lines(result.out)) == 4 and "2 of 6 cells found" in result.out  # those of s = 4
    [folder] = [path for path in Path("logs").rglob("*.models") if "_s1-4-9_" in path.name]
    assert len(os.listdir(folder)) == 6


def test_a_log_that_another_run_writes_is_left_alone(cli, toy):
    cli(TOY)
    before = files()
    [table] = Path("logs").rglob("*.npy")
    with locking.locked(table.with_suffix(".lock")):
        for flags in ("", "--overwrite"):
            assert_refused(cli(f"{TOY} {flags}"), str(table), "another run", "--expname")
        assert cli(f"{TOY} --dry_run").code == 0 and cli(f"{TOY} --expname mine").code == 0
    assert files().items() >= before.items()
    assert cli(TOY).code == 0


FAILURES = {
    "the weights are not finite": FloatingPointError("the weights\nare not finite"),
    "Unable to allocate 9 GiB": MemoryError("Unable to allocate 9 GiB"),
    "MemoryError": MemoryError(),
    "can't allocate memory": RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    "the score is not a number": None,
}


@pytest.mark.parametrize("reason, error", FAILURES.items(), ids=FAILURES)
def test_a_cell_that_fails_is_recorded_and_run_again(cli, toy, monkeypatch, reason, error):
    prune = pruning.prune

    def fail_with_seed_0(X, Y, X_eval, score, slist, seed, **settings):
        if seed == 0 and error:
            raise error
        return prune(X, Y, X_eval, score if seed else lambda outputs: np.nan, slist, seed, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(pruning, "prune", fail_with_seed_0)
        result = cli(f"{TOY} --method pruning")
    assert result.code == 1 and result.err == "runner.py: 3 cell(s) failed; their lines say why\n"
    assert len(cell_lines(result.out)) == 6 and result.out.count(reason) == 3
    table, sidecar = read_log()
    assert np.isnan(table[..., 0]).all() and np.isfinite(table[..., 1]).all()
    found = statuses(sidecar)
    assert all(found[3, s, 0].startswith("failed: ") and reason in found[3, s, 0] for s in (1, 4, 9))
    result = cli(f"{TOY} --method pruning")
    assert result.code == 0 and "3 of 6 cells found" in result.out and len(cell_lines(result.out)) == 3
    assert {*statuses(read_log()[1]).values()} == {"done"} and np.isfinite(read_log()[0]).all()


def test_a_cell_that_raises_is_recorded_and_the_sweep_goes_on(cli, toy, monkeypatch):
    def wrong(*args, **settings):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(pruning, "prune", wrong)
    assert cli(f"{TOY} --method pruning").code == 1
    assert {*statuses(read_log()[1]).values()} == {"failed: RuntimeError: shapes differ"}


def test_models_that_were_not_kept_are_made_up_for(cli, toy, monkeypatch):
    cli(TOY)
    scores = read_log()[0]
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert cli(f"{TOY} --save_models").code == 130
    np.testing.assert_array_equal(read_log()[0], scores)  # the cells that wait for their turn keep their scores
    assert len(cell_lines(cli(f"{TOY} --save_models").out)) == 4
    assert len([*Path("logs").rglob("*.npz")]) == 6 and len(toy) == 12
    assert not cell_lines(cli(f"{TOY} --save_models").out)


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}\+?", runner.commit() or "0" * 40)  # None where the code is no checkout
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
    assert runner.commit() is None


# ---- signals and limits ----


def command(line, before="pass"):
    """A process of its own that runs `before` and then the command line."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {before}; import runner; sys.exit(runner.main())"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": ""}
    return subprocess.Popen([sys.executable, "-c", code, *shlex.split(line)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment)


def test_an_interrupt_keeps_what_was_computed(cli):
    seeds = " ".join(map(str, range(500)))
    line = f"{PLANTED} --seedlist {seeds} --nmeasurements 2000 --save_results"
    process = command(line)
    shown = [process.stdout.readline() for _ in range(4)]  # the device and three cells, as they come
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and err.strip().count("\n") == 0 and "the same command goes on" in err
    table, sidecar = read_log()
    done = sum(status == "done" for status in statuses(sidecar).values())
    lines = len(cell_lines("".join(shown) + out))
    assert 3 <= lines < 150  # 8 kB of output that waits for a full buffer would be 180
    assert lines - 1 <= done <= lines  # the last line may have been printed before it was saved
    assert np.isfinite(table).sum() >= done
    assert len(files("logs")) == 2
    assert f"cells: {500 - done} of 500 to run" in cli(f"{line} --dry_run").out


@pytest.mark.parametrize("limit, words", [(0, "argument --logs_dir"), (1000, "choose another --logs_dir")])
def test_a_full_disk_leaves_the_earlier_files_whole(cli, limit, words):
    """A limit on the size of files makes writing fail: at once, or between the table and its sidecar."""
    pytest.importorskip("resource")
    assert cli(f"{SIGNAL} --save_results").code == 0
    before = files()
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    process = command(f"{SIGNAL} --save_results --overwrite", limited)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert len(err.splitlines()) == 1 and words in err and "File too large" in err
    assert files() == before
