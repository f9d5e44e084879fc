"""runner.py: mistakes are refused in one line, sweeps are saved and resumed, and every method runs end to end."""

import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import ROOT, bits, save_log
from processes import assert_refused, cell_lines, statuses, tree

import aiht
import pruning
import runner
from beyond import dst, gmp, gnhtp
from instances.task import Measure, Problem, Task
from models import SparseNet
from numerics import training
from sweep import machine, report
from sweep.cells import run_job
from sweep.flags import parse_arguments
from sweep.methods import METHODS
from sweep.settings import logged
from tasks import TASKS

# One thread: on a busy machine the threads of torch wait for each other, and these nets are tiny.
EVERYWHERE = ("aiht", "pruning", "gnhtp", "gmp", "set", "rigl")  # they fit two hidden layers of sums of neurons
PLANTED = "--task mlp_planted --mlist 2 --slist 5 --nmeasurements 50 --num_epochs 2 --device cpu --threads 1"
IMAGE = "--task inr_mnist --mlist 2 --slist 5 --num_epochs 2 --device cpu"
SIGNAL = "--task gaussian_sparse --mlist 20 30 --slist 2 --seedlist 0 1 --nmeasurements 50 --num_epochs 2 --device cpu"
TOY = "--task inr_mnist --mlist 3 --slist 1 4 9 --seedlist 0 1 --num_epochs 3 --device cpu --threads 1 --save_results"
SWEEP = ("--task mlp_planted --mlist 2 20 --slist 1 4 20 --seedlist 0 1 --num_layers 2 --nmeasurements 500 "
         "--input_dim 10 --num_epochs 3 --device cpu --threads 1")


def toy_problem(seed, peak=None):
    """Forty samples of two neurons, to be fitted and then scored on."""
    X = np.asfortranarray(np.random.default_rng(seed).normal(size=(40, 4)).astype(np.float32))
    y = np.maximum(X[:, 0], 0) + np.maximum(X[:, 1], 0)
    return Problem(X, y, X.copy(), y, peak=peak or float(y.max()))


@pytest.fixture
def toy(monkeypatch):
    """A few numbers whose data do not depend on s, in place of a task's images.

    `builds` are the instances that were built, `left` is the number of those until somebody presses Ctrl-C, `peaks` and
    `errors` are the peaks and errors of seeds.
    """
    toy = SimpleNamespace(builds=[], left=math.inf, peaks={}, errors={})

    def build(m, s, seed):
        if toy.left == 0:
            raise KeyboardInterrupt
        toy.left -= 1
        toy.builds.append((m, s, seed))
        if seed in toy.errors:
            raise toy.errors[seed]
        return toy_problem(seed, toy.peaks.get(seed))

    class Toy(Task):
        summary, measure = "a toy", Measure("PSNR", "dB", (0, 50))
        samples, inputs = 40, 4

        def build(self, m, s, seed, *, num_layers, data_dir):
            return build(m, s, seed)

    monkeypatch.setitem(TASKS, "inr_mnist", Toy)
    return toy


def instance(line):
    """The instance of the first cell of a command line."""
    settings = parse_arguments(line.split())
    cell = settings.grid.mlist[0], settings.grid.slist[0], settings.grid.seedlist[0]
    return toy_problem(cell[2]) if settings.grid.task == "inr_mnist" else settings.build(*cell)


def read_log(folder="logs"):
    """Table and sidecar of the only log."""
    [table], [sidecar] = Path(folder).rglob("*.npy"), Path(folder).rglob("*.json")
    assert table.stem == sidecar.stem
    return np.load(table), json.loads(sidecar.read_text())


# ---- mistakes ----

NOT_NUMBERS = ["abc", "-1", "1.5", "1e3", "nan", "inf", str(10**30), "9" * 5000, "1,2", "0x10", ""]
WHOLE_NUMBERS = {"mlist": 1, "slist": 1, "seedlist": 0, "num_epochs": 1, "num_layers": 1, "batch_size": 0, "gpu": 0,
                 "input_dim": 1, "output_dim": 1, "nmeasurements": 1, "update_every": 1, "threads": 1, "workers": 0,
                 "memory_budget": 16, "finetune_epochs": 0}


BAD_VALUES = {  # of a flag, and what is said of them
    **{flag: ([*NOT_NUMBERS, str(lowest - 1)], "is not a whole number from") for flag, lowest in WHOLE_NUMBERS.items()},
    "prune_iters": (["nan", "inf", "-inf", "-0.1", "1.5", "abc", "", "1/2", "1e30", "1e400", "2000000"],
                    "is not 0, a fraction between 0 and 1, or a whole number up to 1000000"),
    "drop_fraction": (["nan", "-0.1", "1.1", "abc", "", "1/2"], "is not a number from 0 to 1"),
    "expname": (["a b", "a/b", "/", "é", "x" * 61, "a\nb", "a\0b", "\udcff", "$x", "a*", "../x"],
                "is not up to 60 letters, digits, dots, dashes and underscores"),
    "logs_dir": (["", "a\nb", "a\0b"], "is not the name of a folder"),
    "scheduler": (["", " "], "is not an address; leave it out"),
}


@pytest.mark.parametrize("flag", BAD_VALUES)
def test_what_is_no_value_of_a_flag_is_refused(cli, flag):
    values, words = BAD_VALUES[flag]
    for value in values:
        assert_refused(cli(f"{PLANTED} --method pruning --save_results", f"--{flag}={value}"),
                       f"argument --{flag}: {' '.join(repr(value).split())} {words}")
    assert not tree()


MISTAKES = [  # flags, words of the message
    ("", "--task, --mlist, --slist"),
    ("--task mlp_planted --mlist --slist 1", "argument --mlist: expected at least one argument"),
    (f"{PLANTED} --task", "argument --task: expected one argument"),
    (f"{PLANTED} --task binry_mnist", "argument --task", "'binry_mnist'", "mlp_planted"),
    (f"{PLANTED} --method imp", "argument --method", "'imp'", "pruning"),
    (f"{PLANTED} --method pruning --prune_score lamb", "argument --prune_score", "'lamb'", "lamp"),
    (f"{PLANTED} --method rigl --mask_init erdos", "argument --mask_init", "'erdos'", "uniform"),
    (f"{PLANTED} --save_result", "--save_result", "see --help"),
    (f"{PLANTED} stray", "stray", "see --help"),
    (f"{PLANTED} --convex=1", "argument --convex", "'1'"),
    (f"{PLANTED} --mlist 1 2 1", "argument --mlist: 1 is listed twice"),
    (f"{PLANTED} --seedlist 0 00", "argument --seedlist: 0 is listed twice"),
    (f"{PLANTED} --seedlist {2**32 - 2}", "argument --seedlist"),
    (f"{PLANTED} --convex --update_every 2", "argument --update_every: 2", "--convex", "leave one out"),
    (f"{PLANTED} --overwrite", "argument --overwrite", "--save_results"),
    (f"{PLANTED} --save_history", "argument --save_history", "--save_results"),
    (f"{PLANTED} --scheduler nonsense", "argument --scheduler", "'nonsense'", "--workers"),
]


@pytest.mark.parametrize("line, words", [(line, words) for line, *words in MISTAKES])
def test_a_mistake_is_refused_in_one_line(cli, line, words):
    assert_refused(cli(line), *words)
    assert not tree()


def test_a_method_for_the_cpu_alone_takes_no_gpu(cli):
    line, why = f"{PLANTED} --input_dim 20 --method deep --device", f"{METHODS['deep'].title} computes on the CPU alone"
    assert_refused(cli(f"{line} cuda"), f"argument --device: cuda is not possible ({why}); use --device cpu")
    assert_refused(cli(f"{line} auto --gpu 3"), f"argument --gpu: 3 cannot be used ({why}); leave it out")
    assert f"device: CPU ({why})" in cli(f"{line} auto --dry_run").out


@pytest.mark.parametrize("place", ["nowhere", "file", "file/below", "/proc/none", "x" * 300])
def test_folders_that_cannot_be_are_refused_before_anything_is_made(cli, place):
    Path("file").write_text("a file")
    if place != "nowhere":
        assert_refused(cli(PLANTED, "--save_results", "--logs_dir", place), "argument --logs_dir")
    for line in (IMAGE, f"{PLANTED} --input_dist mnist"):
        assert_refused(cli(f"{line} --data_dir {place} --save_results"), "argument --data_dir", "train-images", place)
    assert tree() == {"file": b"a file"} and os.listdir() == ["file"]


# ---- sweeps, end to end ----


@pytest.mark.parametrize("method", EVERYWHERE)
def test_a_planted_sweep(cli, method):
    line = f"{SWEEP} --method {method} --save_results --expname trial_1"
    result = cli(line)
    assert result.code == 0 and result.err == ""
    table, sidecar = read_log()
    assert table.shape == (2, 3, 2) and table.dtype == np.float64
    assert sidecar["axes"] == {"m": [2, 20], "s": [1, 4, 20], "seed": [0, 1]}
    assert sidecar["settings"] == logged(parse_arguments(line.split()))
    assert sidecar["score"]["name"] == "PSNR" and sidecar["score"]["unit"] == "dB"
    found = statuses(sidecar)
    starved = "1 nonzeros leave none for each of 2 layers"
    starved = starved if METHODS[method].splits_budget else "the labels are all zero"
    for seed in (0, 1):
        assert found[2, 1, seed] == found[20, 1, seed] == f"skipped: {starved}"
        assert found[2, 20, seed] == "skipped: a layer of 2 x 2 weights cannot hold 10 nonzeros"
        assert found[20, 4, seed] == "skipped: the labels are all zero"
        assert found[2, 4, seed] == found[20, 20, seed] == "done"
    assert [[[found[m, s, seed] == "done" for seed in (0, 1)] for s in (1, 4, 20)] for m in (2, 20)] == np.isfinite(
        table).tolist()
    for cell in sidecar["cells"]:
        assert cell["environment"] == 0 and cell["seconds"] >= 0
        if cell["status"] == "done":
            assert cell["num_nonzero"] <= cell["s"]
            assert isinstance(cell.get("connected"), bool) == (METHODS[method].library == "torch")
    assert len(cell_lines(result.out)) == 12
    assert ("  no weight has moved" in result.out) == (method in ("set", "rigl"))  # in 3 steps
    [path] = Path("logs", "mlp_planted", method).glob("*.npy")
    assert "_input_dim10_nmeasurements500_" in path.name and path.stem.endswith("__trial_1")
    assert result.out.splitlines()[-2:] == [f"saved {path}", (
        "4 done, 0 taken over, 0 failed, 8 skipped; draw: python make_figures.py "
        f"--task mlp_planted --method {method}")]


RECOVERY = {"support_precision", "support_recall", "weight_error", "neurons_planted", "neurons_lost", "width_used"}
DEEP = {"support_precision", "support_recall", "neurons_planted", "neurons_lost"}  # where there are two hidden layers


@pytest.mark.parametrize("line, defined", [
    *((f"{PLANTED} --slist 12 {flags}", RECOVERY) for flags in ("--method pruning", "--output_dim 3")),
    (f"{SWEEP} --mlist 2 --slist 4", DEEP), (f"{SWEEP} --mlist 2 --slist 4 --method pruning", DEEP),
    (f"{SWEEP} --mlist 10 --slist 60 --output_dim 3", DEEP), (SIGNAL, set()), (f"{PLANTED} --convex", set())])
def test_what_was_recovered_is_recorded_where_it_is_defined(cli, line, defined):
    """Not where no network is planted, nor for fixed gates."""
    assert cli(f"{line} --save_results").code == 0
    for cell in read_log()[1]["cells"]:
        assert RECOVERY & cell.keys() == defined


def test_two_hidden_layers_at_once(cli):
    """Recovered, and said not to be exact where the steps end too soon."""
    line = f"{PLANTED} --method deep --input_dim 20 --nmeasurements 3000 --save_results"
    for grid, exact in (("--mlist 3 --slist 10 --num_epochs 60", True), ("--mlist 9 --slist 60 --num_epochs 1", False)):
        result = cli(f"{line} {grid} --logs_dir {exact}")
        [cell] = read_log(str(exact))[1]["cells"]
        assert result.code == 0 and cell["exact"] == cell["determined"] == exact == (cell["energy_left"] < 1e-10)
        assert (" of the energy is left" in result.out) == (not exact) and cell["num_nonzero"] <= cell["s"]
        assert (cell["support_recall"] == 1 and cell["held_out"] < 1e-10 and 0 < cell["steps"] < 60) == exact


def test_without_save_results_the_table_is_printed_and_nothing_is_written(cli):
    result = cli(SWEEP)
    assert result.code == 0 and not os.listdir()
    assert result.out.endswith("4 done, 0 taken over, 0 failed, 8 skipped; to keep them: --save_results\n")
    table = result.out.partition("\nPSNR, dB, mean over 2 seed(s); rows: m, columns: s\n")[2].splitlines()
    header, narrow, wide = (line.split() for line in table[:3])
    assert header == ["1", "4", "20"]
    scores = [float(line.split()[6]) for line in cell_lines(result.out) if re.match("m 2 +s 4 ", line)]
    assert narrow[::2] == ["2", narrow[2]] and narrow[1] == narrow[3] == "-" and wide[:3] == ["20", "-", "-"]
    assert abs(float(narrow[2]) - np.mean(scores)) < 0.011


def test_what_was_recovered_and_taken_over_is_said_at_the_end(cli):
    line = f"{PLANTED} --save_results --logs_dir 'my logs'"
    outs = [cli(line).out, cli(f"{line} --seedlist 0 1").out]
    *_, header, _, row, _, last = outs[1].splitlines()
    assert header == "support recall, mean over 2 seed(s); rows: m, columns: s"
    recalls = [float(re.search(r"recall (\d\.\d+)", out)[1]) for out in outs]
    assert row.split()[0] == "2" and abs(float(row.split()[1]) - np.mean(recalls)) < 2e-3
    assert last == ("1 done, 1 taken over, 0 failed; draw: python make_figures.py --task mlp_planted --method aiht "
                    "--logs_dir 'my logs'")


def test_a_dry_run_estimates_times_from_the_logs_at_hand(cli):
    """The nearest cell of the same settings counts, in --logs_dir and in what is shipped."""
    assert "seed 0, m 2, s 5: no estimate" in cli(f"{PLANTED} --dry_run").out
    for m, seconds, other in ((2, 100, {"expname": "x"}), (20, 9000, {}), (4, 1, {"batch_size": 10})):
        save_log(f"m{m}", [[[50]]], axes=[[m], [5], [0]], cells={(0, 0, 0): {"seconds": seconds}},
                 **{"nmeasurements": 50, "num_epochs": 2} | other)
    assert cli(f"{PLANTED} --mlist 2 4 30 --slist 5 7 --dry_run").out.splitlines()[-5:-1] == [
        "  seed 0, m 2, s 5 7: about 3 min (as m 2, s 5)", "  seed 0, m 4, s 5 7: about 3 min (as m 2, s 5)",
        "  seed 0, m 30, s 5 7: about 5.0 h (as m 20, s 5)",
        "time: about 5.1 h, by 2 cells of logs of this task, method and settings"]
    shipped = cli("--task inr_mnist --mlist 5 --slist 20 --num_epochs 100 --device cpu --dry_run").out
    assert re.search(r"m 5, s 20: about [\d.]+ s$", shipped, re.MULTILINE)


@pytest.mark.parametrize("script", ["runner.py", "make_figures.py"])
def test_a_python_without_numpy_is_told_what_to_do(script):
    call = [sys.executable, "-S", Path(runner.__file__).with_name(script), "--help"]  # -S: no installed packages
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert re.match(rf"{script}: error: \S+ has no numpy, .*: run `make setup`, then ", done.stderr)


@pytest.mark.parametrize("flags", [
    "", "--batch_size 1000 --update_every 2", "--convex", "--num_layers 2", "--output_dim 3", "--task gaussian_sparse",
    "--output_dim 3 --batch_size 1000", "--method gnhtp", "--method gnhtp --least_squares cg", "--method pruning",
    "--method pruning --num_layers 2 --batch_size 1000", "--method gmp", "--method rigl", "--method creases",
    "--method deep"])
def test_the_same_command_gives_the_same_bits_with_any_number_of_threads(cli, monkeypatch, flags):
    monkeypatch.setitem(training.CHUNK_VALUES, "cpu", 20 * 400)  # several tiles in a batch
    line = f"--task mlp_planted --mlist 20 --slist 30 --nmeasurements 2200 --num_epochs 3 --device cpu {flags}"
    for threads in (1, 3):
        assert cli(f"{line} --threads {threads} --save_results --logs_dir {threads}").code == 0
    assert read_log("1")[0].tobytes() == read_log("3")[0].tobytes()


def test_torch_and_the_blas_have_one_thread_each_while_imp_shares_its_tiles_out(toy):
    import torch
    from threadpoolctl import threadpool_info

    def look(step, state):
        seen.update((torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info()
                                                if library["user_api"] == "blas")))

    before, seen = torch.get_num_threads(), set()
    settings = parse_arguments(f"{TOY} --method pruning --threads 2".split())
    [result] = run_job([(3, 4, 0)], settings, "cpu", look).values()
    assert result.status == "done" and seen == {1} and torch.get_num_threads() == before


def test_every_cell_moves_the_bar(cli, toy, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(report, "REFRESH", -1)
    assert cli(f"{TOY} --method pruning").code == 0
    assert "6/6" in sys.stderr.getvalue() and "cell" in sys.stderr.getvalue()
    assert "m 3, seed 1: round 2 of 1" in sys.stderr.getvalue()


LAMP = {"prune_iters": 2, "prune_score": "lamp", "finetune_epochs": 3}
DYNAMIC = {"mask_init": "uniform", "update_every": 2, "drop_fraction": 0.5, "batch_size": 7}


@pytest.mark.parametrize("line, method, fit, options", [
    (PLANTED, "gnhtp", gnhtp.fit, {"realizable": True}),  # a network of its own form made the targets
    (f"{PLANTED} --num_layers 2 --slist 8 --input_dim 5", "gnhtp", gnhtp.fit, {"num_layers": 2}),
    (TOY, "gnhtp", gnhtp.fit, {"least_squares": "cholesky"}),
    (TOY, "pruning", pruning.fit, {}), (TOY, "pruning", pruning.fit, LAMP),
    (TOY, "set", dst.fit, DYNAMIC | {"grow": "random"}), (TOY, "rigl", dst.fit, DYNAMIC | {"grow": "gradient"}),
    (TOY, "gmp", gmp.fit, {"output_share": 0.4, "prune_end": 0.5, "update_every": 1, "learning_rate": 0.01}),
    (TOY, "aiht", aiht.fit, {"batch_size": 7, "update_every": 3}),
])
def test_a_sweep_fits_what_the_method_fits_with_the_same_options(cli, toy, line, method, fit, options):
    flags = [f"--{name} {value}" for name, value in options.items() if name not in ("realizable", "grow")]
    line = f"{line} --mlist 3 --slist 9 --seedlist 1 --method {method} {' '.join(flags)}"
    assert cli(f"{line} --save_results --save_models").code == 0
    problem, [path] = instance(line), Path().rglob("*.npz")
    epochs = 2 if line.startswith(PLANTED) else 3
    net = fit(problem.X, problem.Y, 9, width=3, seed=1, num_epochs=epochs, **options)
    assert bits(SparseNet.load(path)) == bits(net)


# ---- resuming ----


def histories(folder="logs", name="*"):
    """The arrays of the only file of histories of that name, but for the seconds."""
    [path] = Path(folder).rglob(f"{name}.history.npz")
    return {name: array.tolist() for name, array in np.load(path).items() if name != "seconds"}


@pytest.mark.parametrize("method, jobs, cells", [("aiht", 4, 4), ("pruning", 1, 3), ("gnhtp", 4, 4)])
def test_stopped_and_resumed_is_the_same_as_uninterrupted(cli, toy, method, jobs, cells):
    """Histories, too; and --save_history changes no score."""
    line = f"{TOY} --method {method}"
    assert cli(f"{line} --logs_dir plain").code == 0
    line += " --save_history"
    assert cli(f"{line} --logs_dir whole").code == 0
    toy.left = jobs
    result = cli(line)
    toy.left = math.inf
    assert result.code == 130 and "the same command goes on" in result.err and "Traceback" not in result.err
    assert np.isfinite(read_log()[0]).sum() == cells
    toy.builds.clear()
    assert f"cells: {6 - cells} of 6 to run" in cli(f"{line} --dry_run").out
    result = cli(line)
    assert result.code == 0 and f"{cells} of 6 cells found in logs" in result.out
    assert len(cell_lines(result.out)) == 6 - cells and len(toy.builds) == (1 if method == "pruning" else 2)
    assert read_log()[0].tobytes() == read_log("whole")[0].tobytes() == read_log("plain")[0].tobytes()
    np.testing.assert_equal(histories(), histories("whole"))
    scores = [score for step, score in itertools.zip_longest(histories()["step"][1:], histories()["score"], fillvalue=0)
              if step <= 1]  # of the last row of each cell; 40 samples are all looked at
    np.testing.assert_allclose(scores, read_log()[0].transpose(2, 0, 1).ravel(), rtol=1e-4)


def test_a_cell_is_kept_before_it_is_told_to_a_reader_that_is_gone(cli, toy, monkeypatch):
    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(runner, "discard_output", lambda: None)
    monkeypatch.setattr(report, "cell_line", broken)
    result = cli(TOY)
    assert result.code == 141 and result.err == "runner.py: stopped, since nothing reads its output any more\n"
    assert np.isfinite(read_log()[0]).sum() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("program", ["runner.py --task mlp_planted --mlist 1 --slist 5 --nmeasurements 50",
                                     "make_figures.py --table csv --logs_dir logs/reference --task mnist"])
def test_output_that_finds_no_room_is_told_in_a_line(program):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *program.split()], cwd=ROOT, stdout=full, stderr=subprocess.PIPE,
                              text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "cannot print (No space left" in done.stderr


def test_a_finished_sweep_is_left_alone_unless_overwritten(cli, toy):
    cli(TOY)
    before, built = tree(), len(toy.builds)
    result = cli(TOY)
    assert result.code == 0 and "6 of 6 cells found" in result.out and not cell_lines(result.out)
    toy.left = 0  # nothing is lost before the first cell
    assert cli(f"{TOY} --overwrite").code == 130
    toy.left = math.inf
    assert cli(f"{TOY} --overwrite --dry_run").code == 0
    assert tree() == before and len(toy.builds) == built == 6
    result = cli(f"{TOY} --overwrite")
    assert result.code == 0 and len(cell_lines(result.out)) == 6 and len(toy.builds) == 12 and "found" not in result.out


def test_a_log_that_is_not_that_of_the_command_is_refused_and_kept(cli):
    """Damaged, or of other settings though the name is right; it is overwritten only on demand."""
    line = f"{SIGNAL} --save_results"
    assert cli(f"{line} --num_epochs 4").code == 0
    for path in Path("logs").rglob("*4epochs*.[nj]*"):
        path.rename(path.with_name(path.name.replace("4epochs", "2epochs")))
    [sidecar] = Path("logs").rglob("*.json")
    for reason in ("it has other settings", "delimiter"):
        before = tree()
        for flags in ("", "--dry_run"):
            assert_refused(cli(f"{line} {flags}"), str(sidecar), reason, "--expname", "--overwrite")
        assert "found" not in cli(f"{line} --seedlist 0 1 2 --dry_run").out  # nor are its cells taken over
        assert tree() == before
        sidecar.write_bytes(sidecar.read_bytes()[:-9])
    assert cli(f"{line} --overwrite").code == 0
    assert not np.isnan(read_log()[0]).any()


@pytest.mark.parametrize("method, lists, found, cells", [
    ("aiht", "--slist 4 16 --seedlist 1 5 0", 2, 6),
    ("aiht", "--mlist 4 --slist 1", 0, 2),
    ("pruning", "--slist 1 4 9 16 --seedlist 0 1 2", 6, 12),
    ("pruning", "--slist 9 1", 4, 4),
])
def test_other_lists_take_over_the_cells_that_are_there(cli, toy, method, lists, found, cells):
    line = f"{TOY} --method {method}"
    cli(line)
    cli(f"{line} --num_epochs 4 {lists}")  # of other settings: nothing is taken from it
    before = tree()
    assert f"cells: {cells - found} of {cells} to run" in cli(f"{line} {lists} --dry_run").out
    assert tree() == before
    result = cli(f"{line} {lists}")
    assert result.code == 0 and len(cell_lines(result.out)) == cells - found
    assert (f"{found} of {cells} cells found" in result.out) == bool(found)
    assert tree().items() > before.items()  # the old logs stay as they were
    [table] = re.findall(r"^saved (.*)$", result.out, re.MULTILINE)
    assert cli(f"{line} {lists} --logs_dir afresh").code == 0
    assert np.load(table).tobytes() == read_log("afresh")[0].tobytes()


@pytest.mark.parametrize("kept", ["--save_models", "--save_history"])
def test_models_and_histories_are_taken_over_with_their_cells(cli, toy, kept):
    cli(f"{TOY} --slist 1")
    cli(f"{TOY} --slist 4 {kept}")
    result = cli(f"{TOY} {kept}")
    assert len(cell_lines(result.out)) == 4 and "2 of 6 cells found" in result.out  # those of s = 4
    if kept == "--save_history":
        cli(f"{TOY} {kept} --logs_dir afresh")
        np.testing.assert_equal(histories("logs", "*_s1-4-9_*"), histories("afresh"))
    else:
        assert len([*Path("logs").rglob("*_s1-4-9_*.models/*")]) == 6


@pytest.mark.parametrize("kept, files", [("--save_models", 6), ("--save_history", 1)])
def test_models_and_histories_that_were_not_kept_are_made_up_for(cli, toy, kept, files):
    cli(TOY)
    scores = read_log()[0]
    toy.left = 2
    assert cli(f"{TOY} {kept}").code == 130
    toy.left = math.inf
    np.testing.assert_array_equal(read_log()[0], scores)  # the cells that wait for their turn keep their scores
    assert len(cell_lines(cli(f"{TOY} {kept}").out)) == 4
    assert len([*Path("logs").rglob("*.npz")]) == files and len(toy.builds) == 12
    assert not cell_lines(cli(f"{TOY} {kept}").out)


def test_damaged_histories_are_refused_and_kept(cli, toy):
    line = f"{TOY} --save_history"
    cli(line)
    [path] = Path("logs").rglob("*.history.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert_refused(cli(line), str(path), "cannot be continued", "--overwrite")
    assert path.read_bytes() == whole[:-9] and cli(TOY).code == 0  # without histories none are read


# ---- cells that fail ----

FAILURES = {
    "FloatingPointError: the weights are not finite": FloatingPointError("the weights\nare not finite"),
    "MemoryError:": MemoryError(),
    "RuntimeError: can't allocate memory": RuntimeError("can't allocate memory"),
    "FloatingPointError: the score is not a number": None,
}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_cell_that_fails_is_recorded_and_run_again(cli, toy, reason):
    if FAILURES[reason]:
        toy.errors[0] = FAILURES[reason]
    else:
        toy.peaks[0] = math.nan
    result = cli(f"{TOY} --method pruning")
    assert result.code == 1 and result.err == "runner.py: 3 cell(s) failed; their lines say why\n"
    assert len(cell_lines(result.out)) == 6 and result.out.count(f"failed: {reason}") == 3
    table, sidecar = read_log()
    assert np.isnan(table[..., 0]).all() and np.isfinite(table[..., 1]).all()
    assert all(statuses(sidecar)[3, s, 0] == f"failed: {reason}" for s in (1, 4, 9))
    toy.errors, toy.peaks = {}, {}
    result = cli(f"{TOY} --method pruning")
    assert result.code == 0 and "3 of 6 cells found" in result.out and len(cell_lines(result.out)) == 3
    assert {*statuses(read_log()[1]).values()} == {"done"} and np.isfinite(read_log()[0]).all()


def test_cells_that_were_lost_with_their_workers_are_recorded_as_failed(cli, toy, monkeypatch):
    def die(jobs, call, **options):
        return ((job, call(job) if job[0][2] else RuntimeError("its worker died")) for job in jobs)

    monkeypatch.setattr(runner, "run_on_workers", die)
    assert cli(f"{TOY} --workers 2").code == 1
    found = statuses(read_log()[1])
    assert [found[3, 4, seed] for seed in (0, 1)] == ["failed: RuntimeError: its worker died", "done"]


# ---- what a log says of the machine ----


def test_the_environment_names_the_machine_the_versions_and_the_kernels(cli):
    assert cli(f"{SIGNAL} --threads 1 --save_results").code == 0
    [environment] = read_log()[1]["environments"]
    assert environment["device"] == "cpu" and environment["threads"] == 1 and environment["commit"] == "1a2b"
    assert environment["blas"] and all(re.match(r"\w+ \d+\.\d+", kernel) for kernel in environment["blas"])
    assert environment["versions"]["numpy"] == np.__version__
    assert {*environment["versions"]} == {"python", "numpy", "scipy", "torch"}


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}\+?", machine.commit() or "0" * 40)  # None where the code is no checkout
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.commit() is None
