"""make_figures.py: which logs it takes, what it calls its pictures, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import save_log
from test_plotting import PUBLISHED, SMALL, SMALL_AXES, TABLE, save_published

import make_figures as mf
from plotting import figures as pf
from plotting import logs as pl
from plotting import panels
from plotting.lines import draw_lines


@pytest.fixture
def folder(folder, monkeypatch):
    monkeypatch.setitem(mf.FIGURES, "small", SMALL)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """Stems of the figures that would be drawn and written."""
    names = []
    monkeypatch.setattr(panels, "draw_page", lambda *_: None)
    monkeypatch.setattr(mf.page, "save", lambda figure, stem: names.append(stem.name) or [])
    return names


def refused(capsys, line, *words):
    """The one line on stderr with which a command line ends, which holds these words."""
    assert mf.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("make_figures.py: error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error


# ---- pictures ----


def test_pictures_appear_as_png_and_pdf_and_are_printed(folder, capsys):
    save_log("log.v1", TABLE, expname=r"$\foo$")  # not to be taken for mathematics
    save_published(np.ones((2, 2)), "MLP_PLANTED", "AIHT")
    assert mf.main([]) == 0
    stems = ["MLP_PLANTED_AIHT_hidden1_m1-2_s5-10_seed0_convexFalse_bs0_biasFalse_15epochs", "log.v1"]
    paths = [f"figures/{stem}.{ending}" for stem in stems for ending in ("png", "pdf")]
    assert capsys.readouterr().out.split() == paths
    assert sorted(str(path) for path in Path("figures").iterdir()) == sorted(paths)
    assert Path("figures/log.v1.png").read_bytes().startswith(b"\x89PNG")
    pdf = Path("figures/log.v1.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"CreationDate" not in pdf  # text stays text, undated


def test_a_picture_is_replaced_whole_or_not_at_all(folder, capsys, monkeypatch):
    save_log("log", TABLE)
    Path("figures").mkdir()
    Path("figures/log.png").write_text("the old one")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    refused(capsys, "", "disk full", "--figures_dir")
    assert [path.name for path in Path("figures").iterdir()] == ["log.png"]
    assert Path("figures/log.png").read_text() == "the old one"


@pytest.mark.parametrize("constants, flags, expected", [
    ((None, None), "", "abc"), (("mnist", None), "", "ab"), (("MNIST", "Pruning"), "", "b"),
    (("mnist", "pruning"), "--method aiht", "a"), ((None, None), "--task INR_mnist", "c"),
    ((None, None), "--method imp", "b"),
])
def test_constants_choose_and_flags_override_them(folder, monkeypatch, drawn, constants, flags, expected):
    monkeypatch.setattr(mf, "TASK", constants[0])
    monkeypatch.setattr(mf, "METHOD", constants[1])
    for name, task, method in (("a", "mnist", "aiht"), ("b", "mnist", "pruning"), ("c", "inr_mnist", "aiht")):
        save_log(name, [[[1]]], task, method)
    assert mf.main(flags.split()) == 0 and "".join(sorted(drawn)) == expected
    save_log("small", np.ones((2, 2, 2)), axes=SMALL_AXES)
    assert mf.main(["--figure", "small"]) == 0 and drawn[-1] == "figure_small"  # to which they do not matter


def test_the_shipped_logs_are_no_logs_of_the_user(folder, drawn):
    save_log("own", TABLE)
    save_log("shipped", TABLE, folder="logs/reference")
    assert mf.main([]) == 0 and drawn == ["own"]
    assert mf.main(["--logs_dir", "logs/reference"]) == 0 and drawn == ["own", "shipped"]


@pytest.mark.parametrize("flags, suffix", [
    ("", ""), ("--statistic mean --metric score", ""), ("--statistic std", "_std"),
    ("--statistic success", "_success100"), ("--statistic success --threshold -1.5", "_success-1.5"),
    ("--statistic median", "_median"), ("--statistic exact", "_exact100"),
    ("--metric seconds", "_seconds"), ("--metric seconds --statistic std", "_seconds_std"),
    ("--metric connected --statistic success --threshold 0.5", "_connected_success0.5"),
])
def test_pictures_of_other_numbers_have_other_names(folder, drawn, flags, suffix):
    cells = {(0, 0, 0): {"seconds": 1.5, "connected": True}}
    for method in ("aiht", "pruning"):
        save_log(method, np.ones((2, 2, 2)), method=method, axes=SMALL_AXES, cells=cells)
    assert mf.main(flags.split()) == 0 and mf.main(["--figure", "small", *flags.split()]) == 0
    assert drawn == [f"aiht{suffix}", f"pruning{suffix}", f"figure_small{suffix}"]


def test_a_figure_of_shares_shows_means_of_other_metrics():
    lines = "--figure recovery2", "--figure recovery2 --metric seconds"
    assert [mf.parse_arguments(line.split()).statistic for line in lines] == ["exact", "mean"]


def test_a_reader_that_stops_reading_is_no_fault_of_the_folder(folder, drawn, monkeypatch):
    save_log("own", TABLE)
    monkeypatch.setattr(mf, "run_main", lambda prog, run: run())
    monkeypatch.setattr(mf, "print", Mock(side_effect=BrokenPipeError), raising=False)
    with pytest.raises(BrokenPipeError):
        mf.main([])


def test_no_picture_takes_the_name_of_another_log(folder, drawn):
    for name in ("log", "LOG_std"):
        save_log(name, TABLE)
    assert mf.main([]) == 0 and mf.main(["--statistic", "std"]) == 0
    assert len({name.lower() for name in drawn}) == 4


def test_stems_are_unique_and_shell_friendly(folder):
    saved = [save_published(np.ones((2, 2)), "MLP_PLANTED", "AIHT", f"{PUBLISHED}{expname}")
             for expname in ("", "a b", "a-b", "a(b)", "$é", "é")]
    saved += [save_log("log", TABLE), save_log("log", TABLE, "mnist"), save_log("LOG", TABLE, "inr_mnist")]
    saved.append(save_log("own", TABLE))
    paths = pl.find_logs("logs")
    stems = pl.picture_names(paths, dict.fromkeys(paths, ""))
    assert set(stems) == set(saved) and len({stem.lower() for stem in stems.values()}) == len(saved)
    for path, stem in stems.items():
        assert stem.isascii() and not set(stem) & set(" []()$,")
        assert "[" not in path.name or stem.startswith("MLP_PLANTED_AIHT_hidden1_m1-2_s5-10_seed0_")
    assert stems[saved[-1]] == "own"  # a log's own stem is kept


def test_logs_without_a_metric_are_passed_over(folder, drawn):
    save_log("a", TABLE)
    save_log("b", TABLE, method="pruning", cells={(0, 0, 0): {"connected": True}})
    assert mf.main(["--metric", "connected"]) == 0 and drawn == ["b_connected"]


# ---- what is left out or refused ----


def test_logs_that_cannot_be_read_are_named_and_the_others_drawn(folder, capsys, drawn):
    save_log("broken", TABLE).write_bytes(b"")
    save_log("lonely", TABLE).with_suffix(".json").unlink()
    save_log("sound", [[[1]]])
    assert mf.main([]) == 2 and drawn == ["sound"]
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2 and "broken.npy" in error[0] and "lonely.npy" in error[1] and "sidecar" in error[1]
    assert mf.main(["--task", "mlp_planted", "--method", "aiht"]) == 2
    save_log("other", [[[1]]], method="pruning")
    capsys.readouterr()
    assert mf.main(["--method", "pruning"]) == 0 and not capsys.readouterr().err  # not asked for


def test_a_figure_is_drawn_without_logs_that_cannot_be_read_or_judged(folder, capsys, drawn):
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, colour="red")
    save_log("unrelated", TABLE, "mnist").write_bytes(b"")
    save_log("broken", TABLE).write_bytes(b"")
    assert mf.main(["--figure", "small"]) == 2 and drawn == ["figure_small"]
    error = capsys.readouterr().err
    assert error.count("\n") == 2 and "broken.npy" in error and "setting colour" in error


def test_a_clash_of_logs_is_one_line(folder, capsys, drawn):
    for name, epochs in (("a", 30), ("b", 40)):
        save_log(name, np.ones((1, 2, 1)), method="gnhtp", axes=[[1], [5, 10], [0]], num_epochs=epochs)
    refused(capsys, "--figure gnhtp", "a.npy and b.npy")
    assert drawn == ["figure_gnhtp"]


@pytest.mark.parametrize("line, words", [
    ("--metric colour", ["--metric", "colour", "connected, score"]),
    ("--statistic success --task mnist", ["--statistic", "success", "mnist", "--threshold"]),
    ("--statistic success --metric connected --task mlp_planted", ["success", "connected", "--threshold"]),
    ("--statistic success --figure 3", ["success", "binary_mnist", "--threshold"]),
    ("--figure 1 --logs_dir elsewhere", ["no folder elsewhere", "--logs_dir", "--save_results"]),
    ("--figure 2", ["Figure 2", "--logs_dir", "--commands"]),  # logs there are, but of other settings
    ("--figure off", ["no cells of Off the grid"]),
    ("--figure 1 --figures_dir occupied", ["--figures_dir", "occupied", "choose another"]),
    ("--figures_dir occupied/deeper", ["--figures_dir", "occupied/deeper", "choose another"]),
    ("--logs_dir elsewhere", ["elsewhere", "--logs_dir", "--save_results"]),
    ("--task mlp_plantd", ["--task mlp_plantd", "mlp_planted/aiht"]),
    ("--method imq", ["--method imq", "mlp_planted/aiht"]),
    ("--figure 9", ["--figure", "baselines"]), ("--figure 1 --task mnist", ["leave --task out"]),
    ("--figure 1 --method aiht", ["leave"]), ("--threshold 3", ["--statistic success"]),
    ("--statistic success --threshold nan", ["nan"]),
    ("--statistic success --threshold x", ["number"]), ("--statistic mode", ["success"]),
    ("--tolerance 1", ["--against"]), ("--against logs --tolerance -1", ["-1"]),
    ("--against logs --statistic std", ["--against", "leave"]), ("--against elsewhere", ["elsewhere"]),
    ("--tas mnist", ["--help"]),
])
def test_what_cannot_be_drawn_is_one_line(folder, monkeypatch, capsys, line, words):
    save_log("a", TABLE, axes=[[1, 2], [5, 10, 20], [0, 1]], cells={(0, 0, 0): {"connected": True}})
    save_log("b", TABLE, "mnist")
    save_log("c", TABLE, "binary_mnist", batch_size=1000, cells={(0, 0, 0): {"connected": True}})
    Path("occupied").write_text("a file")
    off = pf.Entry("Off the grid", (pf.both((7,), (8,), {"task": "mlp_planted"}),))
    monkeypatch.setattr(mf, "FIGURES", mf.FIGURES | {"off": off})
    refused(capsys, line, *words)
    assert not Path("figures").exists()


def test_lines_are_medians_with_a_band_from_the_worst_to_the_best(folder, capsys):
    save_log("a", [[[10, 13, 30], [20, 25, 21]]], "inr_mnist", axes=[[20], [20, 100], [0, 1, 2]], num_epochs=100)
    save_log("b", [[[7, 9, 5]]], "inr_mnist", "rigl", axes=[[20], [100], [0, 1, 2]], num_epochs=3000)
    assert mf.main(["--figure", "opponents"]) == 0 and Path("figures/figure_opponents.png").exists()
    figure = draw_lines(mf.FIGURES["opponents"], [pl.read_log(path) for path in pl.find_logs(Path("logs"))])
    [ax] = [ax for ax in figure.axes if ax.lines]
    assert {line.get_label(): line.get_xydata().tolist() for line in ax.lines} == {
        "RigL": [[100, 7]], "AIHT": [[20, 13], [100, 21]]}
    bands = [collection.get_paths()[0].get_extents() for collection in ax.collections]
    assert [(band.y0, band.y1) for band in bands] == [(5, 9), (10, 30)]
    refused(capsys, "--figure opponents --statistic std", "--figure", "opponents", "--statistic")


# ---- tables ----


def test_logs_are_printed_as_tables(folder, capsys):
    """Of the settings those that differ where they have an effect; seeds are those that have a score."""
    save_log("a", [[[10, 13, np.nan]], [[np.inf, 3, 4]]], num_layers=2, update_every=2)
    save_log("b", [[[np.nan], [7]]], method="pruning", prune_score="lamp", cells={(0, 1, 0): {"seconds": 0.5}})
    assert mf.main(["--table", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "task,method,num_layers,m,s,mean,std,median,seeds", f"mlp_planted,aiht,2,1,1,11.5,{4.5 ** 0.5},11.5,2",
        "mlp_planted,aiht,2,2,1,inf,inf,4.0,3", "mlp_planted,pruning,1,1,2,7.0,,7.0,1"]
    mf.main(["--table", "markdown", "--metric", "seconds"])
    assert capsys.readouterr().out.endswith("- |\n| mlp_planted | pruning | 1 | 1 | 2 | 5.00e-01 |  | 5.00e-01 | 1 |\n")
    mf.main(["--table", "latex", "--method", "imp"])
    assert capsys.readouterr().out.splitlines() == [
        r"\begin{tabular}{llrrrrrr}", r"task & method & m & s & mean & std & median & seeds \\", r"\hline",
        r"mlp\_planted & pruning & 1 & 2 & 7.00 &  & 7.00 & 1 \\", r"\end{tabular}"]
    refused(capsys, "--table csv --figure 1", "argument --table: csv", "leave --figure")


def test_logs_of_the_same_settings_are_one_table(folder, capsys):
    """A cell that two logs have counts once; other settings are a table of their own."""
    save_log("a", [[[10, 20]], [[1, 2]]])
    save_log("b", [[[20, 60]]], axes=([1], [1], [2, 5]))
    save_log("c", [[[7]]], num_epochs=30)
    mf.main(["--table", "csv"])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "mlp_planted,aiht,15,1,1,30.0," + str(np.std([10, 20, 60], ddof=1)) + ",20.0,3",
        f"mlp_planted,aiht,15,2,1,1.5,{0.5 ** 0.5},1.5,2", "mlp_planted,aiht,30,1,1,7.0,,7.0,1"]


def test_a_reader_that_stops_reading_ends_it_quietly(folder):
    save_log("a", TABLE)
    script = Path(mf.__file__)
    done = subprocess.run(f"{sys.executable} {script} --table csv | true", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
