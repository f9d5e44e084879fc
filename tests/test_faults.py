"""Nothing is silently wrong: units, inputs of any kind, data and streams, each with what is right."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, bits
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_info

import aiht
import pruning
from beyond import creases, deep, dst, gnhtp
from instances.files import DataError, class_split
from instances.planted import planted_problem
from models import SparseNet
from shell.files import replace_files
from shell.program import Parser, UsageError
from sweep.flags import parse_arguments

LINE = np.array([[1.0], [-1.0], [2.0]])


# ---- units ----


@pytest.mark.parametrize("fit", [aiht.fit, gnhtp.fit, creases.fit])
@pytest.mark.parametrize("exponent", [-100, -60, -20, -10, -7, -3, 0, 5, 12, 28, 60, 100])
def test_the_answer_does_not_depend_on_the_unit(fit, exponent):
    X, y = LINE * 2.0**exponent, np.maximum(LINE[:, 0], 0) * 2.0**exponent
    assert fit(X, y, 1, width=1).layers[0].w.values == pytest.approx(1, rel=1e-5)
    assert fit(LINE, y, 1, width=1).layers[0].w.values == pytest.approx(2.0**exponent, rel=1e-5)


@pytest.mark.parametrize("fit, options", [(aiht.fit, {}), (pruning.fit, {}), (dst.fit, {}), (creases.fit, {}), (
    deep.fit, {"num_layers": 2}), (aiht.fit, {"num_layers": 2, "convex": True})])
def test_powers_of_two_far_away_move_no_bit_but_the_exponent(fit, options):
    problem = planted_problem(3, 12, 0, nmeasurements=200, input_dim=6, num_layers=options.get("num_layers", 1))
    seen = []
    usual = fit(problem.X / problem.X.max(), problem.Y / problem.Y.max(), 12, width=3, num_epochs=3, **options)
    far = fit(problem.X / problem.X.max() * 2.0**40, problem.Y / problem.Y.max() * 2.0**30, 12, width=3, num_epochs=3,
              callback=lambda step, state: seen.append(state.net()), **options)
    near = fit(problem.X / problem.X.max() * 2.0**60, problem.Y / problem.Y.max() * 2.0**50, 12, width=3, num_epochs=3,
               **options)
    assert bits(far) == bits(near) and 0 < far.num_nonzero <= 12 >= usual.num_nonzero
    assert seen and all(net.layers[0].d == 6 for net in seen)
    with pytest.raises(FloatingPointError, match="rescale X or y"):
        fit(problem.X * 2.0**-100, problem.Y * 2.0**100, 12, width=3, num_epochs=1, **options)


# ---- inputs from Python ----

X, Y = np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 5 / 5.0
MASKED = np.ma.masked_array(Y, Y == 0)
REFUSED = [
    (X * 1e-60, Y, "X is at most .*e-60, too small for single precision"), (X, Y * 1e-40, "y is at most"),
    (X, MASKED, "y has masked entries"), (np.ma.masked_array(X, X > 2), Y, "X has masked entries"),
    (csr_matrix(X), Y, "X is a sparse matrix: give X.toarray"), (X.astype(str), Y, "X must hold real numbers"),
    (X.astype("datetime64[s]"), Y, "X must hold real numbers"), (X + 1j, Y, "X must hold real numbers"),
    ([[1, 2], [3]], [1, 2], "X is no array of numbers"), (torch.tensor(X, requires_grad=True), Y, "X is no array"),
    (X[:0], Y[:0], "with n, d >= 1"), (X, Y[:, None], "give one output as y"),
    (X, Y[:-1], "with n = 40 as in X"), (X.astype(object), Y, "X must hold real numbers"),
]


@pytest.mark.parametrize("inputs, targets, words", REFUSED)
@pytest.mark.parametrize("fit", [aiht.fit, creases.fit])
def test_what_holds_no_real_numbers_is_refused_in_a_line(fit, inputs, targets, words):
    with pytest.raises(ValueError, match=words) as error:
        fit(inputs, targets, 3, width=2)
    assert "\n" not in str(error.value)


def test_what_numpy_takes_is_taken_and_predict_takes_it_too():
    expected = aiht.fit(X, Y, 5, width=2, num_epochs=3)
    for form in (np.ndarray.tolist, torch.tensor, np.asfortranarray, np.ma.masked_array, np.float64, lambda a: a[::1]):
        net = aiht.fit(form(X), form(Y), 5, width=2, num_epochs=3)
        assert bits(net) == bits(expected)
        np.testing.assert_array_equal(net.predict(form(X)), expected.predict(X))
    assert expected.predict(np.zeros((0, 4))).shape == (0,)
    with pytest.raises(ValueError, match="X must hold real numbers"):
        expected.predict(X.astype(str))
    assert aiht.fit(X, Y, 10**6, width=2, num_epochs=2).num_nonzero <= 8
    with pytest.raises(ValueError, match="loss: cross_entropy takes one-hot targets"):
        aiht.fit(X, Y, 5, width=2, loss="cross_entropy")


def test_the_default_type_of_torch_moves_no_bit():
    expected = [bits(fit(X, Y, 5, width=3, num_epochs=3)) for fit in (pruning.fit, dst.fit)]
    torch.set_default_dtype(torch.float64)
    try:
        assert [bits(fit(X, Y, 5, width=3, num_epochs=3)) for fit in (pruning.fit, dst.fit)] == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_network_equals_its_copy_and_is_loaded_by_the_name_that_it_was_saved_by(tmp_path):
    net = aiht.fit(X, Y, 5, width=2, num_epochs=3)
    net.save(tmp_path / "net2")
    assert SparseNet.load(tmp_path / "net2") == net == SparseNet.load(str(tmp_path / "net2.npz"))
    assert net != aiht.fit(X, Y, 4, width=2, num_epochs=3)
    fixed = aiht.fit(X, Y, 5, width=2, num_epochs=3, convex=True)
    fixed.save(tmp_path / "fixed.npz")
    assert SparseNet.load(tmp_path / "fixed") == fixed != net


def test_threads_are_what_they_were_after_fits_in_several_python_threads():
    def threads():
        return [library["num_threads"] for library in threadpool_info()], torch.get_num_threads()

    before = threads()
    pool = [threading.Thread(target=fit, args=(X, Y, 5), kwargs={"width": 3, "num_epochs": 40})
            for fit in (aiht.fit, pruning.fit, gnhtp.fit, pruning.fit)]
    for each in pool:
        each.start()
    for each in pool:
        each.join()
    assert threads() == before


# ---- data, files, streams ----


def test_too_few_images_of_a_class_are_named():
    labels = np.repeat([0, 1], [6000, 910])
    with pytest.raises(DataError, match="class 1 has 910 images where the split takes 6000"):
        class_split(np.zeros((len(labels), 1)), labels, range(2))


def test_a_link_to_a_table_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere")
    replace_files({tmp_path / "link": b"new"})
    assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere").read_bytes() == b"new"


def test_a_home_folder_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    line = "--task mlp_planted --mlist 2 --slist 5 --logs_dir=~/logs".split()
    assert parse_arguments(line).run.logs_dir == str(tmp_path / "logs")
    monkeypatch.setenv("MLP_IHT_DATA", "~/data")
    assert parse_arguments(line).data_dir == tmp_path / "data"


def test_negative_numbers_are_values_and_unknown_flags_have_a_neighbour():
    assert parse_arguments("--task mlp_planted --mlist 2 --slist 5 --snr -1e1".split()).task.snr == -10
    with pytest.raises(UsageError, match="--mlst 3; did you mean --mlist"):
        parse_arguments("--task mlp_planted --mlist 2 --slist 5 --mlst 3".split())
    with pytest.raises(UsageError, match="'5,10' is not a whole number from 1 to .*; use spaces between values"):
        parse_arguments("--task mlp_planted --mlist 5,10 --slist 5".split())
    assert Parser("x", "").parse_args([]) is not None


SWEEP = "--task mlp_planted --mlist 1 2 --slist 5 --nmeasurements 200 --num_epochs 2 --device cpu --save_results"
STREAMS = [  # what the shell does with the streams, environment, exit code
    (">&-", {}, 0), ("2>&-", {}, 0), ("> /dev/null", {"PYTHONIOENCODING": "ascii"}, 0),
    ("> /dev/null", {"PYTHONOPTIMIZE": "2"}, 0), ("> /dev/full", {}, 2),
]


@pytest.mark.parametrize("stream, environment, status", STREAMS)
def test_programs_end_well_whatever_their_streams_are(tmp_path, stream, environment, status):
    calls = [f"{ROOT}/runner.py {SWEEP}", f"{ROOT}/make_figures.py --table csv"]
    for call in calls if status == 0 else calls[:1]:
        done = subprocess.run(f"{sys.executable} {call} {stream}", shell=True, cwd=tmp_path, text=True,
                              capture_output=True, env=os.environ | environment)
        assert done.returncode == status and "Traceback" not in done.stderr
    assert not status == 0 or len([*tmp_path.rglob("*.npy")]) == 1


def test_figures_are_drawn_whatever_backend_is_named(tmp_path):
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    for call in (f"{ROOT}/runner.py {SWEEP}", f"{ROOT}/make_figures.py"):
        done = subprocess.run([sys.executable, *call.split()], cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert [*Path(tmp_path, "figures").glob("*.png")]


def test_workers_that_cannot_start_are_one_line(tmp_path):
    (tmp_path / "occupied").write_text("")
    environment = os.environ | {"DASK_TEMPORARY_DIRECTORY": str(tmp_path / "occupied")}
    call = [sys.executable, f"{ROOT}/runner.py", *SWEEP.split(), "--workers", "1"]
    done = subprocess.run(call, cwd=tmp_path, text=True, env=environment, capture_output=True)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "argument --workers: 1 cannot be started" in done.stderr
