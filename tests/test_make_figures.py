"""make_figures.py: logs are read right, drawn right, and refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import make_figures as mf

NAN = np.nan
DECIBEL = {"name": "PSNR", "unit": "dB", "higher_is_better": True, "range": [-20, 50], "scale": "linear"}
PUBLISHED = "hidden1_m[1, 2]_s[5, 10]_seed[0]_convexFalse_bs0_biasFalse_15epochs_{}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """Stems of the figures that would be written."""
    names = []
    monkeypatch.setattr(mf, "write_figure", lambda figure, target: names.append(target.name) or [])
    return names


def save(name, table, task="mlp_planted", method="aiht", axes=None, score=DECIBEL, **settings):
    """Save a log below ./logs; a sidecar goes with it unless the name is a published one."""
    path, table = Path("logs", task, method, f"{name}.npy"), np.asarray(table, float)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    if "[" not in name:
        axes = dict(zip(("m", "s", "seed"), axes or [list(range(1, size + 1)) for size in table.shape], strict=True))
        settings = {"num_layers": 1, "num_epochs": 15, **settings}
        path.with_suffix(".json").write_text(json.dumps({"settings": settings, "axes": axes, "score": score}))
    return path


def draw(path, score=None):
    """The main Axes of the figure of the log at path."""
    log = mf.read_log(path)
    return mf.heatmap_figure(log, score or mf.shared_score([log])).axes[0]


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def pictures():
    return sorted(path.name for path in Path("figures").glob("*")) if Path("figures").exists() else []


# ---- reading ----


@pytest.mark.parametrize(
    "name, settings, axes",
    [
        (
            "hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_",
            dict(num_layers=1, convex=False, batch_size=0, bias=False, num_epochs=15, expname=""),
            ((1, 2), (1,), (0,)),
        ),
        (
            "hidden2_m[1000]_s[5, 10]_seed[0, 1, 2]_convexTrue_bs5000_biasTrue_100epochs_try_2 b",
            dict(num_layers=2, convex=True, batch_size=5000, bias=True, num_epochs=100, expname="try_2 b"),
            ((1000,), (5, 10), (0, 1, 2)),
        ),
    ],
)
def test_published_names_are_parsed(name, settings, axes):
    assert mf.parse_name(mf.PUBLISHED.fullmatch(name)) == (settings, axes)


@pytest.mark.parametrize("name", ["", "results", PUBLISHED[:-3], PUBLISHED.replace("[5, 10]", "5-10")])
def test_other_names_are_not_published_ones(name):
    assert not mf.PUBLISHED.fullmatch(name)


@pytest.mark.parametrize("task, expected", [("mlp_planted", NAN), ("gaussian_sparse", 0)])
@pytest.mark.parametrize("axis", [(), (2,)])
def test_published_zeros_are_skipped_cells_except_as_gaussian_errors(folder, task, expected, axis):
    table = np.expand_dims([[0.0, 1], [2, 3]], axis)  # [m, s] or [m, s, seed]
    log = mf.read_log(save(PUBLISHED.format(""), table, task))
    np.testing.assert_array_equal(log.table, [[[expected], [1]], [[2], [3]]])


def test_a_zero_with_a_sidecar_is_a_score(folder):
    assert mf.read_log(save("log", [[[0, 1]]])).table[0, 0, 0] == 0


def test_a_2d_published_table_may_name_several_seeds(folder):
    log = mf.read_log(save(PUBLISHED.format("").replace("[0]", "[0, 1]"), [[1, 2], [3, 4]]))
    assert log.table.shape == (2, 2, 1) and log.seedlist == (0, 1)


# ---- reducing ----


def test_mean_and_count_over_the_seeds_that_ran():
    mean, count = mf.mean_over_seeds(np.array([[[1, 3, NAN], [NAN, NAN, NAN], [2, 4, 9], [1, np.inf, 0]]]))
    np.testing.assert_array_equal(mean, [[2, NAN, 5, np.inf]])
    np.testing.assert_array_equal(count, [[2, 0, 3, 3]])


@pytest.mark.parametrize(
    "task, scores, tables, expected",
    [
        ("inr_mnist", [None, None], [[[[70.0]]], [[[1.0]]]], (0, 50)),  # from SCORES, whatever the data
        ("mlp_planted", [{"range": [-5, 10]}, None], [[[[1.0]]], [[[1.0]]]], (-5, 10)),  # the sidecar wins
        ("mlp_planted", [{"range": [-5, 10]}, {"range": [0, 20]}], [[[[1.0]]], [[[1.0]]]], (-5, 20)),
        ("unheard_of", [None, {"name": "x"}], [[[[3.0, 5]]], [[[-1.0, NAN]]]], (-1, 4)),  # means of both methods
        ("unheard_of", [None, None], [[[[2.0]]], [[[NAN]]]], (1, 3)),
        ("unheard_of", [{"scale": "log"}] * 2, [[[[0.0]]], [[[NAN]]]], (0.5, 1.5)),
    ],
)
def test_the_methods_of_a_task_share_one_colour_range(folder, task, scores, tables, expected):
    both = zip(("aiht", "pruning"), scores, tables, strict=True)
    logs = [mf.read_log(save("log", table, task, method, score=score)) for method, score, table in both]
    score = mf.shared_score(logs)
    assert score.range == expected
    assert {mf.heatmap_figure(log, score).axes[0].collections[0].get_clim() for log in logs} == {expected}


# ---- drawing ----

TABLE = np.array([[[1, 3], [NAN, NAN], [200, 202]], [[-0.04, -0.04], [NAN, 7], [-99, -98]]])  # [2, 3, 2]


def test_cells_hold_their_values_and_missing_seeds(folder):
    notes = "hatched: no seed ran\ncells with fewer than 2 seeds: 1"
    assert texts(draw(save("log", TABLE))) == ["2.0", "201.0", "0.0", "7.0", "n=1", "-98.5", notes]


def test_numbers_stand_m_down_and_s_across(folder):
    ax = draw(save("log", TABLE, axes=[[5, 50], [1, 20, 300], [0, 1]]))
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["201.0"] == (2.5, 0.5) and places["-98.5"] == (2.5, 1.5)
    assert ax.yaxis_inverted() and not ax.xaxis_inverted()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["5", "50"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "20", "300"]


@pytest.mark.parametrize("task, label", [("mnist", "hidden width m"), ("gaussian_sparse", "signal length p")])
def test_axes_and_colour_bar_say_what_they_show(folder, task, label):
    ax = draw(save("log", TABLE, task))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nonzeros s", label)
    assert ax.child_axes[0].get_ylabel() == "PSNR (dB)"


def test_only_cells_without_any_seed_are_hatched(folder):
    assert [(patch.get_xy(), bool(patch.get_hatch())) for patch in draw(save("log", TABLE)).patches] == [((1, 0), True)]


def test_text_is_dark_on_bright_cells_and_bright_on_dark_ones(folder):
    ax = draw(save("log", TABLE))
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours["201.0"] == "black" and colours["-98.5"] == "white"


@pytest.mark.parametrize(
    "low, high, extend", [(-20, 50, "neither"), (-21, 1, "min"), (0, 51, "max"), (-21, 51, "both")]
)
def test_the_colour_bar_has_arrows_where_values_exceed_the_range(folder, low, high, extend):
    mesh = draw(save("log", [[[low], [high]]])).collections[0]
    assert mesh.colorbar.extend == extend


def test_exact_and_infinite_scores_are_coloured_not_blank(folder):
    gaussian = draw(save("log", [[[0.0], [1e-3]]], "gaussian_sparse", score=None))
    planted = draw(save("log", [[[np.inf], [1]]]))
    for ax, first in ((gaussian, "0"), (planted, "inf")):
        assert texts(ax)[0] == first
        assert not np.ma.getmaskarray(ax.collections[0].get_array()).any() and not ax.patches


@pytest.mark.parametrize("shape, numbers", [((10, 10), 100), ((1, 30), 30), ((2, 150), 0)])
def test_numbers_are_left_out_where_they_would_be_illegible(folder, shape, numbers):
    assert len(texts(draw(save("log", np.full((*shape, 1), 100))))) == numbers


@pytest.mark.parametrize(
    "value, precision, scale, text",
    [
        (-0.04, 1, "linear", "0.0"),
        (99.96, 1, "linear", "100.0"),
        (-123456.0, 1, "linear", "-1.2e+5"),
        (np.inf, 0, "linear", "inf"),
        (0.99951, 3, "linear", "1.000"),
        (0, 1, "log", "0"),
        (1.23e-7, 1, "log", "1.2e-7"),
        (0.123, 1, "log", "0.12"),
    ],
)
def test_format_number(value, precision, scale, text):
    assert mf.format_number(value, precision, scale) == text


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 8), (8, 1), (10, 10)])
def test_nothing_overlaps_the_neighbouring_cell(folder, shape):
    table = np.full((*shape, 3), -123.45)
    table[..., 0] = NAN
    ax = draw(save("log", table))
    for text in ax.texts[: 2 * shape[0] * shape[1]]:
        box = text.get_window_extent().transformed(ax.transData.inverted())
        (x, y), cell = text.get_position(), sorted((box.y0, box.y1))
        assert int(x) <= box.x0 and box.x1 <= int(x) + 1 and int(y) <= cell[0] and cell[1] <= int(y) + 1


def test_the_title_states_what_differs_from_the_defaults(folder):
    path = save("log", TABLE, num_layers=2, batch_size=5000, output_dim=10, input_dim=100, prune_iters=0.1, bias=False)
    first, second = draw(path).get_title("left").split("\n")
    assert first == "mlp_planted, aiht, 2 hidden layers"
    assert second == "epochs 15, batch 5000, outputs 10, 2 seeds"


def test_long_titles_are_wrapped_and_cut(folder):
    lines = draw(save("log", [[[1]]], expname="x_$ " * 90)).get_title("left").split("\n")
    assert len(lines) <= 6 and max(map(len, lines)) <= 36 and "seed 1" in " ".join(lines)


# ---- the program ----


def test_pictures_appear_as_png_and_pdf_and_are_printed(folder, capsys):
    save("log.v1", TABLE, expname=r"$\foo$")  # not to be taken for mathematics
    assert mf.main([]) == 0
    assert pictures() == ["log.v1.pdf", "log.v1.png"]
    assert Path("figures/log.v1.png").read_bytes().startswith(b"\x89PNG")
    assert Path("figures/log.v1.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(capsys.readouterr().out.split()) == ["figures/log.v1.pdf", "figures/log.v1.png"]


@pytest.mark.parametrize(
    "constants, flags, expected",
    [
        ((None, None), [], "abc"),
        (("mnist", None), [], "ab"),
        (("mnist", "pruning"), [], "b"),
        (("mnist", "pruning"), ["--method", "aiht"], "a"),
        ((None, None), ["--task", "inr_mnist"], "c"),
    ],
)
def test_constants_choose_and_flags_override_them(folder, monkeypatch, drawn, constants, flags, expected):
    monkeypatch.setattr(mf, "TASK", constants[0])
    monkeypatch.setattr(mf, "METHOD", constants[1])
    for name, task, method in (("a", "mnist", "aiht"), ("b", "mnist", "pruning"), ("c", "inr_mnist", "aiht")):
        save(name, [[[1]]], task, method)
    assert mf.main(flags) == 0 and "".join(sorted(drawn)) == expected


def test_stems_are_unique_and_shell_friendly(folder):
    saved = [save(PUBLISHED.format(name), np.ones((2, 2))) for name in ("", "a b", "a-b", "a(b)", "$é", "é")]
    saved += [save("log", TABLE), save("log", TABLE, "mnist"), save("LOG", TABLE, "inr_mnist"), save("own", TABLE)]
    paths = mf.find_logs("logs")
    stems = mf.figure_stems(paths)
    assert sorted(saved) == paths and len({stem.lower() for stem in stems.values()}) == len(saved)
    for path, stem in stems.items():
        assert not set(stem) - set("abcdefghijklmnopqrstuvwxyzLOG0123456789_-convexFalse")
        assert "[" not in path.name or stem.startswith("mlp_planted_aiht_hidden1_m1-2_s5-10_seed0_")
    assert stems[saved[-1]] == "own"  # a log's own stem is kept


def broken_log(kind):
    """Save a log that is broken in this way; returns the name of the file to blame."""
    if kind == "published shape":
        return save(PUBLISHED.format(""), np.ones((2, 3))).name
    path = save("broken", TABLE)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "zip":
        path.write_bytes(b"PK\x03\x04")
    elif kind == "no table":
        path.write_bytes(b"plain text")
    elif kind == "pickle":
        np.save(path, np.array([None]), allow_pickle=True)
    elif kind == "words":
        np.save(path, np.array([[["a"]]]))
    elif kind == "shape":
        np.save(path, TABLE[:1])
    elif kind == "no sidecar":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text(kind)
        return "broken.json"
    return "broken.npy"


AXES = '"settings": {}, "axes": {"m": [1, 2], "s": [1, 2, 3], "seed": [0, 1]}'
SIDECARS = [  # broken ones
    "{",
    "[]",
    "{}",
    '{"settings": {}, "axes": {"m": [1]}}',
    '{"settings": {}, "axes": {"m": "12", "s": [1, 2, 3], "seed": [0, 1]}}',
    "{" + AXES + ', "score": {"range": [3, 1]}}',
    "{" + AXES + ', "score": {"range": [0, 1], "scale": "log"}}',
    "{" + AXES + ', "score": {"range": ["a", "b"]}}',
    "{" + AXES + ', "score": {"scale": "cubic"}}',
]
KINDS = ["truncated", "empty", "zip", "no table", "pickle", "words", "shape", "no sidecar", "published shape"]


@pytest.mark.parametrize("kind", KINDS + SIDECARS)
def test_broken_logs_are_refused_by_name_and_the_others_drawn(folder, capsys, drawn, kind):
    blamed = broken_log(kind)
    save("sound", [[[1]]])
    assert mf.main([]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{blamed}: " in error and ("again" in error or "put the sidecar back" in error)
    assert "load it unsafely" not in error  # NumPy's advice on what is no .npy file
    assert drawn == ["sound"]


def test_the_sidecars_above_are_broken_by_their_score_alone(folder):
    path = save("log", TABLE)
    path.with_suffix(".json").write_text("{" + AXES + "}")
    assert mf.read_log(path).score is None


def test_nothing_is_written_for_a_broken_log(folder):
    broken_log("truncated")
    assert mf.main([]) == 2 and not Path("figures").exists()
    save("sound", [[[1]]])
    assert mf.main([]) == 2 and pictures() == ["sound.pdf", "sound.png"]


def test_a_broken_log_of_a_method_not_asked_for_is_passed_over(folder, capsys, drawn):
    broken_log("truncated")
    save("sound", [[[1]]], method="pruning")
    assert mf.main(["--method", "pruning"]) == 0 and not capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--logs_dir", "elsewhere"], ["--logs_dir elsewhere", "--save_results"]),
        (["--task", "mlp_plantd"], ["--task mlp_plantd", "mlp_planted/aiht"]),
        (["--method", "imp"], ["--method imp", "mlp_planted/aiht"]),
        (["--figures_dir", "occupied"], ["--figures_dir occupied", "choose another"]),
        (["--figures_dir", "occupied/deeper"], ["--figures_dir occupied/deeper", "choose another"]),
    ],
)
def test_nothing_to_draw_or_nowhere_to_write_is_one_line(folder, capsys, flags, words):
    save("log", TABLE)
    Path("occupied").write_text("a file")
    assert mf.main(flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)
    assert not Path("figures").exists()


@pytest.mark.parametrize("flags", [["--tas", "mnist"], ["--task"], ["extra"]])
def test_flags_are_refused_in_one_line(capsys, flags):
    with pytest.raises(SystemExit) as stop:
        mf.main(flags)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "--help" in error


def test_a_picture_is_replaced_whole_or_not_at_all(folder, capsys, monkeypatch):
    save("log", TABLE)
    Path("figures").mkdir()
    Path("figures/log.png").write_text("the old one")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(mf.os, "replace", full)
    assert mf.main([]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "disk full" in error and "--figures_dir" in error
    assert [path.name for path in Path("figures").iterdir()] == ["log.png"]
    assert Path("figures/log.png").read_text() == "the old one"


def test_drawing_twice_gives_the_same_bytes(folder):
    save("log", TABLE)
    mf.main([])
    first = {path: path.read_bytes() for path in Path("figures").iterdir()}
    mf.main([])
    assert first == {path: path.read_bytes() for path in Path("figures").iterdir()}
    assert b"CreationDate" not in first[Path("figures/log.pdf")]


def test_importing_loads_no_matplotlib_and_touches_no_disk(folder):
    root = Path(mf.__file__).parent
    code = "import sys, make_figures; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-Bc", code], cwd=folder, env={"PYTHONPATH": str(root)}, capture_output=True)
    assert run.stdout.split() == [b"False"] and not list(folder.iterdir())
