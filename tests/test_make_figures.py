"""make_figures.py: logs are read right, drawn right, and refused by name."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import figure_logs as fl
import figure_numbers as fn
import figure_page as fp
import heatmaps as hm
import numpy as np
import paper_figures as pf
import pytest

import make_figures as mf
import runner
from tasks import TASKS

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


def save(name, table, task="mlp_planted", method="aiht", axes=None, score=DECIBEL, cells=None, **settings):
    """Save a log below ./logs; a sidecar goes with it unless the name is a published one.

    `cells` are records by place in the table; the others are done where they have a score, else not run.
    """
    path, table = Path("logs", task, method, f"{name}.npy"), np.asarray(table, float)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    if "[" not in name:
        axes = dict(zip(("m", "s", "seed"), axes or [list(range(1, size + 1)) for size in table.shape], strict=True))
        settings = {"num_layers": 1, "num_epochs": 15, **settings}
        sidecar = {"settings": settings, "axes": axes, "score": score}
        if cells is not None:
            sidecar["cells"] = [{axis: axes[axis][i] for axis, i in zip(axes, place, strict=True)}
                                | {"status": "not run" if np.isnan(table[place]) else "done"} | cells.get(place, {})
                                for place in np.ndindex(table.shape)]
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


MEAN = fn.Quantity()
STD = fn.Quantity(statistic="std")


def draw(path, quantity=MEAN):
    """The main Axes of the figure of the log at path."""
    log = fl.read_log(path)
    return mf.heatmap_figure(log, mf.shared_score([log], quantity), quantity).axes[0]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


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
    assert fl.parse_name(fl.PUBLISHED.fullmatch(name)) == (settings, axes)


@pytest.mark.parametrize("name", ["", "results", PUBLISHED[:-3], PUBLISHED.replace("[5, 10]", "5-10")])
def test_other_names_are_not_published_ones(name):
    assert not fl.PUBLISHED.fullmatch(name)


@pytest.mark.parametrize("task, expected", [("mlp_planted", NAN), ("gaussian_sparse", 0)])
@pytest.mark.parametrize("axis", [(), (2,)])
def test_published_zeros_are_skipped_cells_except_as_gaussian_errors(folder, task, expected, axis):
    table = np.expand_dims([[0.0, 1], [2, 3]], axis)  # [m, s] or [m, s, seed]
    log = fl.read_log(save(PUBLISHED.format(""), table, task))
    np.testing.assert_array_equal(log.grid.values("score"), [[[expected], [1]], [[2], [3]]])


def test_a_zero_with_a_sidecar_is_a_score(folder):
    assert fl.read_log(save("log", [[[0, 1]]])).grid.values("score")[0, 0, 0] == 0


def test_a_2d_published_table_may_name_several_seeds(folder):
    log = fl.read_log(save(PUBLISHED.format("").replace("[0]", "[0, 1]"), [[1, 2], [3, 4]]))
    assert log.grid.kinds.shape == (2, 2, 1) and log.grid.seedlist == (0, 1)


# ---- reducing ----


def test_mean_and_count_over_the_seeds_that_ran():
    mean, count = fn.mean_over_seeds(np.array([[[1, 3, NAN], [NAN, NAN, NAN], [2, 4, 9], [1, np.inf, 0]]]))
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
    logs = [fl.read_log(save("log", table, task, method, score=score)) for method, score, table in both]
    score = mf.shared_score(logs, MEAN)
    assert score.range == expected
    assert {mf.heatmap_figure(log, score, MEAN).axes[0].collections[0].get_clim() for log in logs} == {expected}


# ---- drawing ----

TABLE = np.array([[[1, 3], [NAN, NAN], [200, 202]], [[-0.04, -0.04], [NAN, 7], [-99, -98]]])  # [2, 3, 2]


def test_cells_hold_their_values_and_missing_seeds(folder):
    ax = draw(save("log", TABLE))
    assert texts(ax) == ["2.0", "201.0", "0.0", "7.0", "n=1", "-98.5"]
    assert legend(ax) == ["not run", "n=1: number of seeds, where not 2"]
    assert legend(draw(save("full", [[[1, 2]]]))) == []


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
    log = fl.read_log(save("log", [[[low], [high]]]))
    score = mf.shared_score([log], MEAN)
    heatmap = fn.heatmap(log.grid, MEAN, score)
    assert hm.colours(score, [heatmap])[1].colorbar_extend == extend
    assert mf.heatmap_figure(log, score, MEAN).axes[0].child_axes[0].get_ylim() == (-20, 50)


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
    assert hm.format_number(value, precision, scale) == text


@pytest.mark.parametrize(
    "value, precision, text",
    [(4.26, 1, "+4.3"), (-4.26, 1, "\u22124.3"), (0, 1, "0"), (0.04, 1, "0.0"), (-0.04, 1, "0.0"), (np.inf, 0, "+inf"),
     (1e6, 0, "+1e+6"), (-0.5, 0, "0"), (10.0, 0, "+10")],
)
def test_differences_have_an_explicit_sign(value, precision, text):
    assert hm.format_number(value, precision, "linear", signed=True) == text


@pytest.mark.parametrize(
    "width, precision, size", [(6, 0, 0), (7, 0, 5), (11, 0, 7), (12, 1, 5), (16, 1, 6.1), (99, 1, 7)]
)
def test_numbers_are_as_precise_as_the_cells_are_wide(folder, width, precision, size):
    score = fl.SCORES["mlp_planted"]
    heatmap = fn.heatmap(fl.read_log(save("log", [[[88.88]]])).grid, MEAN, score)
    assert hm.fit_numbers([heatmap], score, (width, 99), largest=7) == (precision, pytest.approx(size, abs=0.1))
    assert hm.fit_numbers([heatmap], score, (99, 5.9), largest=7) == (0, 0)
    assert hm.fit_numbers([heatmap], score, (99, 99), largest=7, finest=0) == (0, 7)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 8), (8, 1), (10, 10)])
def test_nothing_overlaps_the_neighbouring_cell(folder, shape):
    table = np.full((*shape, 3), -123.45)
    table[..., 0] = NAN
    ax = draw(save("log", table))
    assert len(ax.texts) == 2 * shape[0] * shape[1]
    assert all(inside(text, ax, *map(int, text.get_position())) for text in ax.texts)


def test_the_title_states_what_differs_from_the_defaults(folder):
    path = save("log", TABLE, num_layers=2, batch_size=5000, output_dim=10, input_dim=100, prune_iters=0.1, bias=False)
    assert draw(path).get_title("left").split("\n") == [
        "mlp_planted, aiht, 2 hidden layers",
        "epochs 15, batch 5000, outputs 10, mean over 2", "seeds",
    ]


@pytest.mark.parametrize(
    "setting, words",
    [({"finetune_epochs": 50}, "finetuning 50"), ({"prune_score": "lamp"}, "pruned by lamp"),
     ({"input_dist": "uniform"}, "uniform inputs"), ({"update_every": 5}, "gates updated every 5 steps"),
     ({"least_squares": "never"}, "least squares never"), ({"expname": "mine"}, "mine"), ({}, ""),
     ({"finetune_epochs": 0, "prune_score": "magnitude", "input_dist": "normal", "update_every": 1,
       "least_squares": "auto"}, "")],
)
def test_the_title_names_newer_settings_where_they_are_not_at_default(folder, setting, words):
    log = fl.read_log(save("log", [[[1, 2]]], **setting))
    named = mf.describe(log, 99).split("\n")[1].split(", ")
    assert [word for word in named if word not in ("epochs 15", "mean over 2 seeds")] == [words] * bool(words)


def test_long_titles_are_wrapped_and_cut(folder):
    lines = draw(save("log", [[[1]]], expname="x_$ " * 90)).get_title("left").split("\n")
    assert len(lines) <= 6 and max(map(len, lines)) <= 36 and "seed 1" in " ".join(lines)


# ---- statistics and other numbers ----


def test_standard_deviation_has_n_minus_1_and_needs_two_seeds():
    table = np.array([[[1.0, 3, NAN], [5, NAN, NAN], [1, 2, 6], [NAN] * 3, [np.inf] * 3, [1, np.inf, 2]]])
    std, count = fn.std_over_seeds(table)
    np.testing.assert_allclose(std, [[2**0.5, NAN, 7**0.5, NAN, 0, np.inf]])
    np.testing.assert_array_equal(count, [[2, 1, 3, 0, 3, 3]])


def test_the_standard_deviation_of_one_seed_is_hatched_and_said_so(folder):
    path = save("log", [[[1, 3], [2, NAN], [NAN, NAN]]])
    ax = draw(path, STD)
    assert [text[:3] for text in texts(ax)] == ["1.4"]
    assert [patch.get_hatch() for patch in ax.patches] == [hm.HATCHES[fn.FEW], hm.HATCHES["not run"]]
    assert legend(ax) == ["not run", "fewer than 2 seeds"]
    assert ax.collections[0].get_clim() == (0, 2**0.5)
    assert ax.child_axes[0].get_ylabel().replace("\n", " ") == "standard deviation (n \u2212 1) of PSNR (dB)"
    assert "standard deviation over 2 seeds" in ax.get_title("left").replace("\n", " ")


def test_the_standard_deviation_on_a_log_scale_is_that_of_the_logarithms(folder):
    log = fl.read_log(save("log", [[[1e-6, 1e-4]]], "gaussian_sparse", score=None))
    score = mf.shared_score([log], STD)
    assert (score.scale, score.name) == ("linear", "standard deviation (n \u2212 1) of log10 of relative l2 error")
    np.testing.assert_allclose(fn.heatmap(log.grid, STD, fl.SCORES["gaussian_sparse"]).values, 2**0.5)


@pytest.mark.parametrize(
    "task, table, threshold, expected, label",
    [
        ("mlp_planted", [101, 100, 99, NAN], None, 1 / 3, "share of seeds with PSNR > 100 dB"),
        ("mlp_planted", [101, 100, 99, np.inf], 99.5, 3 / 4, "share of seeds with PSNR > 99.5 dB"),
        ("gaussian_sparse", [1e-5, 1e-4, 0, NAN], None, 2 / 3, "share of seeds with relative l2 error < 0.0001"),
        ("mnist", [0.5, 0.95, 0.9, NAN], 0.9, 1 / 3, "share of seeds with test accuracy > 0.9"),
        ("mnist", [NAN, NAN, NAN, NAN], 0.9, NAN, "share of seeds with test accuracy > 0.9"),
    ],
)
def test_success_is_the_share_of_the_seeds_that_ran(folder, task, table, threshold, expected, label):
    log = fl.read_log(save("log", [[table]], task, score=None))
    quantity = fn.Quantity(statistic="success", threshold=threshold).on(task)
    score = mf.shared_score([log], quantity)
    assert (score.name, score.unit, score.range, score.scale) == (label, "", (0, 1), "linear")
    np.testing.assert_allclose(fn.heatmap(log.grid, quantity, fl.SCORES[task]).values, [[expected]])


CELLS = {(0, 0, 0): {"connected": True, "num_nonzero": 4, "step": [1], "reason": "x", "none": None},
         (0, 0, 1): {"connected": False, "num_nonzero": 6}, (0, 1, 0): {"status": "skipped: no", "seconds": 9}}


def test_other_numbers_of_the_cells_are_drawn(folder):
    path = save("log", [[[1, 2], [NAN, 3], [4, 5]]], cells=CELLS)
    connected, nonzeros = (draw(path, fn.Quantity(metric)) for metric in ("connected", "num_nonzero"))
    assert texts(connected) == ["0.50"] and connected.collections[0].get_clim() == (0, 1)
    assert texts(nonzeros) == ["5.00"] and nonzeros.collections[0].get_clim() == (2.5, 7.5)
    assert nonzeros.child_axes[0].get_ylabel() == "number of nonzeros"
    assert legend(nonzeros)[:1] == ["not recorded"]
    assert fl.read_log(path).grid.numbers.keys() == {"score", "connected", "num_nonzero", "seconds"}
    seconds = fn.heatmap(fl.read_log(path).grid, fn.Quantity("seconds"), fn.METRICS["seconds"])
    assert np.isnan(seconds.values).all()  # those of a skipped cell mean nothing


@pytest.mark.parametrize("status, words", [("skipped: no", "skipped"), ("failed: oops", "failed"),
                                           ("not run", "not run")])
def test_cells_without_a_score_say_why(folder, status, words):
    path = save("log", [[[7, 7], [1, 1]]], cells={(0, 0, k): {"status": status} for k in (0, 1)})
    ax = draw(path)
    assert texts(ax) == ["1.0"]  # whatever the table holds for a cell that is not done
    assert legend(ax) == [words] and [patch.get_hatch() for patch in ax.patches] == [hm.HATCHES[words]]


def test_a_cell_with_several_reasons_shows_the_first_of_the_list(folder):
    kinds = ["skipped", "not run", "failed"]
    cells = {(0, i, k): {"status": kinds[min(i, k)]} for i in range(3) for k in range(3)}
    heatmap = fn.heatmap(fl.read_log(save("log", np.full((1, 3, 3), NAN), cells=cells)).grid, MEAN, fl.Score())
    assert heatmap.reasons.tolist() == [["skipped", "not run", "failed"]]


def test_a_mean_that_is_no_number_is_hatched_too(folder):
    ax = draw(save("log", [[[np.inf, -np.inf], [1, 1]]]))
    assert texts(ax) == ["1.0"] and legend(ax) == ["undefined"] and len(ax.patches) == 1


def test_all_hatches_differ():
    assert len(set(hm.HATCHES.values())) == len(hm.HATCHES) and set(hm.HATCHES) == set(fn.REASONS)


def test_cells_without_a_path_are_marked_for_some_or_all_seeds(folder):
    connected = [[True, True], [True, False], [False, False]]
    cells = {(0, s, k): {"connected": connected[s][k]} for s in range(3) for k in range(2)}
    ax = draw(save("log", [[[1, 2], [3, 4], [5, 6]]], method="pruning", cells=cells))
    marks = [(line.get_xydata().tolist(), line.get_markerfacecolor()) for line in ax.lines]
    assert marks[0] == ([[2, 1]], "none") and marks[1][0] == [[3, 1]] and marks[1][1] != "none" and len(marks) == 2
    words = "no path from input to output left"
    assert legend(ax) == [f"{words} (some seed)", f"{words} (all seeds)"]


@pytest.mark.parametrize("points, table", [((14.6, 14.6), [88.8]), ((14.6, 14.6), [-155, NAN]), ((43, 43), [-123.4]),
                                           ((72, 72), [-123.4, NAN])])
def test_marks_do_not_touch_the_numbers(folder, points, table):
    from matplotlib.figure import Figure

    path = save("log", [[table]], cells={(0, 0, 0): {"connected": False}})
    figure = Figure(figsize=(points[0] / 72, points[1] / 72), dpi=720, facecolor="red")
    ax = figure.add_axes((0, 0, 1, 1))
    score = fl.SCORES["mlp_planted"]
    hm.draw_heatmap(ax, fn.heatmap(fl.read_log(path).grid, MEAN, score), score)
    marks, numbers = (inked(figure, ax, artists) for artists in (list(ax.lines), list(ax.texts)))
    assert marks.any() and numbers.any() and not (marks & numbers).any()


def inked(figure, ax, artists):
    """Where these artists alone, black or white, are seen on a red figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    ax.set_axis_off()
    for artist in (*ax.collections, *ax.lines, *ax.texts):
        artist.set_visible(artist in artists)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.any(np.asarray(canvas.buffer_rgba())[..., :3] != (255, 0, 0), axis=2)


# ---- gathering cells of several logs ----

WANTED = {"task": "mlp_planted", "method": "aiht", "num_epochs": 15}


def gathered(mlist=(1, 2), slist=(5, 10), seeds=(0, 1), **settings):
    logs = [fl.read_log(path) for path in fl.find_logs("logs")]
    return fl.gather(logs, WANTED | settings, mlist, slist, seeds)


def test_cells_are_gathered_from_logs_of_other_grids(folder):
    save("a", [[[1.0, 2]]], axes=[[1], [5], [0, 1]])
    save("b", [[[3.0], [4], [9]]], axes=[[2], [10, 5, 7], [1]])
    save("c", [[[7.0]]], axes=[[1], [10], [5]])  # another seed
    grid, clashes = gathered()
    expected = np.full((2, 2, 2), NAN)
    expected[0, 0], expected[1, :, 1] = (1, 2), (4, 3)
    np.testing.assert_array_equal(grid.values("score"), expected)
    np.testing.assert_array_equal(grid.kinds, np.where(np.isnan(expected), "not run", "done"))
    assert clashes == []


@pytest.mark.parametrize(
    "settings, selection, taken",
    [
        ({}, {}, True),
        ({"output_dim": 1, "prune_score": "magnitude", "finetune_epochs": 0}, {}, True),
        ({}, {"output_dim": 1, "finetune_epochs": 0, "least_squares": "auto"}, True),
        ({"output_dim": 10}, {"output_dim": 10}, True),
        ({"output_dim": 10}, {}, False),
        ({}, {"output_dim": 10}, False),
        ({"expname": "mine"}, {}, False),
        ({"finetune_epochs": 50}, {}, False),
        ({"num_epochs": 300}, {}, False),
        ({"num_epochs": 300}, {"num_epochs": fl.ANY}, True),
        ({"num_layers": 2}, {"num_epochs": fl.ANY}, False),
        ({"unheard_of": 3}, {}, False),
    ],
)
def test_logs_are_taken_whose_settings_agree_and_absent_ones_are_defaults(folder, settings, selection, taken):
    save("log", [[[1.0]]], axes=[[1], [5], [0]], **settings)
    assert (gathered(**selection)[0].kinds == "done").any() == taken


def test_logs_of_another_task_or_method_and_published_ones_are_not_taken(folder):
    save("a", [[[1.0]]], "inr_mnist", axes=[[1], [5], [0]])
    save("b", [[[1.0]]], method="pruning", axes=[[1], [5], [0]])
    save(PUBLISHED.format(""), np.ones((2, 2)))
    assert (gathered()[0].kinds == "not run").all()


def test_a_cell_is_taken_from_the_log_that_ran_it_and_then_by_name(folder):
    axes = [[1, 2], [5], [0]]
    save("a", [[[NAN]], [[1.0]]], axes=axes, cells={(0, 0, 0): {"status": "failed: x"}})
    save("b", [[[NAN]], [[2.0]]], axes=axes, cells={(0, 0, 0): {"status": "skipped: x"}})
    assert gathered(slist=(5,), seeds=(0,))[0].kinds.ravel().tolist() == ["skipped", "done"]
    save("c", [[[3.0]], [[4.0]]], axes=axes)
    assert gathered(slist=(5,), seeds=(0,))[0].values("score").ravel().tolist() == [3, 1]


def test_logs_of_different_settings_clash_over_a_cell(folder):
    for name, epochs in (("a", 30), ("b", 40), ("c", 30)):
        save(name, [[[float(epochs)]]], axes=[[1], [5], [0]], num_epochs=epochs)
    save("d", [[[50.0]]], axes=[[2], [5], [0]], num_epochs=50)
    grid, clashes = gathered(num_epochs=fl.ANY)
    assert grid.values("score")[:, 0, 0].tolist() == [30, 50]
    assert [(taken.stem, other.stem) for taken, other in clashes] == [("a", "b")]


def test_the_settings_samples_and_scores_are_those_of_the_runner():
    args = runner.parse_arguments("--task mlp_planted --mlist 1 --slist 1".split())
    known = {name: default for name, (default, _) in fl.SETTINGS.items() if name in runner.SETTINGS}
    assert known == {flag: getattr(args, flag) for flag in runner.SETTINGS}
    networks = {name: TASKS[name] for name in TASKS if name not in ("mlp_planted", "gaussian_sparse")}
    assert {name: task.samples(None) for name, task in networks.items()} == pf.SAMPLES
    assert {name: asdict(task.measure) for name, task in TASKS.items()} == {
        name: asdict(score) for name, score in fl.SCORES.items()}


# ---- figures of several panels ----

SMALL = pf.Entry("Small", (pf.both((1, 2), (5, 10), task="mlp_planted", num_epochs=15),), (("AIHT", "IMP"),), (0, 1))
SMALL_AXES = [[1, 2], [5, 10], [0, 1]]


@pytest.fixture
def small(folder, monkeypatch):
    monkeypatch.setitem(mf.FIGURES, "small", SMALL)
    return folder


def page(entry=SMALL, quantity=MEAN):
    """{heading: Axes} of a figure, its colour bars last; and the words of its legend."""
    logs = [fl.read_log(path) for path in fl.find_logs("logs")]
    strips, _ = pf.assemble(entry, logs, quantity)
    figure = fp.draw_page(entry, strips, quantity)
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return {ax.get_title() or ax.get_xlabel(): ax for ax in figure.axes}, words


def test_the_methods_and_their_difference_stand_side_by_side(small):
    save("a", [[[1, 3], [5, 6]], [[0, 0], [9, 9.4]]], axes=SMALL_AXES)
    save("b", [[[3, 4], [5, NAN]], [[0, 0], [NAN, NAN]]], method="pruning", axes=SMALL_AXES)
    panels, words = page()
    assert list(panels) == ["AIHT", "IMP", "AIHT \u2212 IMP", "PSNR (dB)", "difference in PSNR (dB)"]
    assert texts(panels["AIHT"]) == ["2.0", "5.5", "0", "9.2"]
    assert texts(panels["IMP"]) == ["3.5", "5.0", "n=1", "0"]
    assert texts(panels["AIHT \u2212 IMP"]) == ["\u22121.5", "0", "n=1", "0"]
    assert panels["AIHT"].collections[0].get_clim() == panels["IMP"].collections[0].get_clim() == (-20, 50)
    assert panels["AIHT \u2212 IMP"].collections[0].get_clim() == (-1.5, 1.5)
    assert words == ["not run", "n=1: number of seeds, where not 2"]


@pytest.mark.parametrize("ours, theirs, expected, count", [
    ([1, 5], [NAN, 3], 2, 1),  # the seed that both have
    ([1, NAN], [NAN, 3], NAN, 0),  # none that both have
    ([np.inf, 4], [np.inf, 3], 0.5, 2),  # both exact
    ([np.inf, 4], [1, 3], np.inf, 2),
])
def test_differences_are_taken_seed_by_seed(ours, theirs, expected, count):
    grids = [fl.Grid((1,), (5,), (0, 1), np.where(np.isnan(x), "not run", "done")[None, None],
                     {"score": np.array([[x]], float)}) for x in (ours, theirs)]
    heatmap = fn.difference(*grids, MEAN, fl.Score())
    np.testing.assert_array_equal((heatmap.values, heatmap.count), ([[expected]], [[count]]))
    assert heatmap.reasons == ("not run" if count == 0 else "")


@pytest.mark.parametrize("quantity, score, expected", [
    (STD, fl.Score(), 8**0.5),  # of 0.5 - 0.5 and 5 - 1
    (fn.Quantity(statistic="success", threshold=2), fl.Score(), 0.5),
    (fn.Quantity(statistic="success", threshold=2), fl.Score(higher_is_better=False), -0.5),
    (MEAN, fl.Score(scale="log"), np.log10(5) / 2),
    (STD, fl.Score(scale="log"), np.log10(5) / 2**0.5),
])
def test_differences_of_other_statistics_and_scales(quantity, score, expected):
    grids = [fl.Grid((1,), (5,), (0, 1), np.full((1, 1, 2), "done"), {"score": np.array([[x]])})
             for x in ([0.5, 5.0], [0.5, 1.0])]
    heatmap = fn.difference(*grids, quantity, score)
    np.testing.assert_allclose(heatmap.values, [[expected]])
    assert heatmap.signed == (quantity != STD)


def test_the_worse_reason_of_two_methods_shows_in_the_difference(small):
    skipped = {(0, 0, k): {"status": "skipped: x"} for k in (0, 1)}
    failed = {(0, 0, 0): {"status": "failed: x"}, (0, 0, 1): {"status": "skipped: x"}}
    table = np.ones((2, 2, 2))
    save("a", table, axes=SMALL_AXES, cells=skipped | {(0, 1, k): {"status": "skipped: x"} for k in (0, 1)})
    save("b", table, method="pruning", axes=SMALL_AXES, cells=failed)
    strips, _ = pf.assemble(SMALL, [fl.read_log(path) for path in fl.find_logs("logs")], MEAN)
    reasons = [heatmap.reasons[0].tolist() for heatmap in pf.heatmaps_of(strips[0].blocks)]
    assert reasons == [["skipped", "skipped"], ["failed", ""], ["failed", "skipped"]]


def test_a_method_without_logs_is_hatched_as_not_run(small):
    save("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    panels, words = page()
    assert list(panels) == ["AIHT", "IMP", "AIHT \u2212 IMP", "PSNR (dB)"]  # nothing to colour: no bar
    assert len(panels["IMP"].patches) == len(panels["AIHT \u2212 IMP"].patches) == 4 and words == ["not run"]


def test_blue_is_where_the_first_method_is_better():
    one, none = np.ones((1, 1)), np.array([[""]])
    heatmap = fn.Heatmap((1,), (1,), one, none, one, seeds=1, pathless=0 * one, signed=True)
    for higher in (True, False):
        score = fn.shown(fl.Score("x", higher_is_better=higher, range=(0, 1)), MEAN, signed=True)
        _, cmap = hm.colours(fn.fill_range(score, MEAN, [heatmap]), [heatmap])
        red, _, blue, _ = cmap(1.0)
        assert (blue > red) == higher


def test_a_difference_has_a_range_no_wider_than_its_score(small):
    save("a", [[[100.0, 100]]], axes=[[1], [5], [0, 1]])
    save("b", [[[1.0, 1]]], method="pruning", axes=[[1], [5], [0, 1]])
    assert page()[0]["AIHT \u2212 IMP"].collections[0].get_clim() == (-70, 70)


def test_rows_of_one_kind_of_score_share_colours_and_others_have_their_own(folder):
    two = pf.Entry("Two", tuple(pf.both((1,), (5,), task=task) for task in ("inr_mnist", "inr_cifar10", "mnist")),
                   seeds=(0,))
    save("a", [[[1.0]]], "inr_mnist", axes=[[1], [5], [0]], score=None)
    strips, _ = pf.assemble(two, [fl.read_log(path) for path in fl.find_logs("logs")], MEAN)
    bands = pf.share_colours(strips, MEAN)
    assert [[strip.row.task for strip in band] for band in bands] == [["inr_mnist", "inr_cifar10"], ["mnist"]]
    assert [band[0].blocks[0].score.range for band in bands] == [(0, 50), (0.1, 1)]


def test_figures_mark_cells_without_a_path_in_the_method_alone(small):
    save("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    save("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, cells={(0, 0, 1): {"connected": False}})
    panels, words = page()
    assert [len(ax.lines) for ax in list(panels.values())[:3]] == [0, 1, 0]
    assert words == ["no path from input to output left (all seeds)"]  # of those that say so


@pytest.mark.parametrize("name, headings", [
    ("1", ["mlp_planted, 1 hidden layer: n 50000, epochs 15, full batch",
           "mlp_planted, 2 hidden layers: n 50000, epochs 15, full batch"]),
    ("2", ["mlp_planted, 1 hidden layer: n 50000, epochs 100, batch 5000, outputs 10",
           "mlp_planted, 2 hidden layers: n 50000, epochs 100, batch 5000, outputs 10"]),
    ("3", ["binary_mnist, 1 hidden layer: n 10000, epochs 15, batch 1000",
           "mnist, 1 hidden layer: n 50000, epochs 50, batch 5000"]),
    ("baselines", ["mlp_planted, 1 hidden layer: n 50000",
                   "binary_mnist, 1 hidden layer: n 10000, batch 1000",
                   "inr_mnist, 1 hidden layer: n 784, full batch"]),
])
def test_row_headings_state_what_all_columns_share(name, headings):
    assert [pf.row_heading(row) for row in pf.FIGURES[name].rows] == headings


def test_settings_that_any_column_has_otherwise_are_not_in_the_row_heading():
    base = {"task": "mlp_planted", "method": "aiht", "num_epochs": 15, "nmeasurements": 500}
    tuned = base | {"finetune_epochs": 9, "batch_size": 100}
    row = pf.Row((1,), (1,), {"a": base, "b": base, "c": tuned})
    assert pf.row_heading(row) == "mlp_planted, 1 hidden layer: n 500, epochs 15"
    notes = {"a": "epochs 15, batch all", "b": "epochs 15, batch all", "c": "epochs 15 + 9, batch 100"}
    assert pf.column_notes(row) == notes


def test_columns_say_their_epochs_where_these_differ():
    assert pf.column_notes(pf.FIGURES["baselines"].rows[1]) == {
        "IMP as published": "epochs 15", "IMP, trained": "epochs 30", "IMP, finetuned": "epochs 30 + 30",
        "IMP, LAMP, finetuned": "epochs 30 + 30", "AIHT": "epochs 15"}
    assert pf.column_notes(pf.FIGURES["gnhtp"].rows[0]) == {"AIHT": "epochs 15"}
    assert pf.column_notes(pf.FIGURES["1"].rows[0]) == {}


def makefile_commands(figure):
    """Parsed runner commands of a figure's target of the Makefile."""
    text = (Path(mf.__file__).parent / "Makefile").read_text()
    lists = dict(line.split(" := ") for line in text.splitlines() if line[:2] in ("M1", "M2", "S1", "S2"))
    target = text.split(f"\nfigure{figure}: ")[1].split("\n\n")[0]
    for line in target.splitlines():
        if "$(call BOTH," in line:
            flags = line.split("$(call BOTH,")[1].rstrip(")")
            for name, values in lists.items():
                flags = flags.replace(f"$({name})", values)
            for method in ("aiht", "pruning"):
                yield runner.parse_arguments(f"--method {method} {flags} --seedlist 0 1 2 --save_results".split())


@pytest.mark.parametrize("figure", "12345")
def test_figures_are_those_of_the_commands(figure):
    entry = pf.FIGURES[figure]
    ours = [(fl.complete(selection), row.mlist, row.slist, entry.seeds)
            for row in entry.rows for selection in row.columns.values()]
    for args, (selection, mlist, slist, seeds) in zip(makefile_commands(figure), ours, strict=True):
        settings, axes, *_ = runner.identify(args)
        assert {name: selection[name] for name in settings} == settings
        assert [list(mlist), list(slist), list(seeds)] == list(axes.values())


def save_entry(entry):
    """Save a log for each column of an entry, with the longest numbers to be expected and a seed missing."""
    for i, row in enumerate(entry.rows):
        for heading, selection in row.columns.items():
            settings = {name: 99 if value is fl.ANY else value for name, value in selection.items()}
            task, method = settings.pop("task"), settings.pop("method")
            longest = 0.123 if "accuracy" in fl.SCORES[task].name else 167.0
            longest *= 1 if method == "aiht" else 0.07
            table = np.full((len(row.mlist), len(row.slist), 3), longest)
            table[0, 0, 0] = NAN
            save(f"{i} {heading}", table, task, method, [row.mlist, row.slist, [0, 1, 2]], None, **settings)


@pytest.mark.parametrize("name", pf.FIGURES)
def test_every_figure_fits_on_its_page_and_its_numbers_into_their_cells(folder, name):
    entry = pf.FIGURES[name]
    save_entry(entry)
    strips, clashes = pf.assemble(entry, [fl.read_log(path) for path in fl.find_logs("logs")], MEAN)
    figure = fp.draw_page(entry, strips, MEAN)
    box, panels = figure.get_tightbbox(), [ax for ax in figure.axes if ax.get_title()]
    assert clashes == [] and -0.05 < box.x0 and box.x1 <= fp.WIDTH + 0.05 and box.y1 <= figure.get_figheight() + 0.05
    for ax, shown in zip(panels, pf.heatmaps_of(block for strip in strips for block in strip.blocks), strict=True):
        assert len(ax.texts) == shown.values.size + 1 and min(text.get_fontsize() for text in ax.texts) >= 5
        assert len(ax.get_xticks()) == shown.values.shape[1]  # no width or s is left out
        assert all(inside(text, ax, *map(int, text.get_position())) for text in ax.texts)


def inside(text, ax, column, row):
    """Whether a text is within its cell."""
    box = text.get_window_extent().transformed(ax.transData.inverted())
    top, bottom = sorted((box.y0, box.y1))
    return column <= box.x0 and box.x1 <= column + 1 and row <= top and bottom <= row + 1


def test_differences_are_told_in_numbers(folder):
    entry = pf.FIGURES["4"]
    save("a", np.array([[[1.0, 5], [2, 2]]]), "inr_mnist", "aiht", [[2], [2, 5], [0, 1]], None, num_epochs=100)
    save("b", np.array([[[0.0, 0], [4, 4]]]), "inr_mnist", "pruning", [[2], [2, 5], [0, 1]], None, num_epochs=100)
    strips, _ = pf.assemble(entry, [fl.read_log(path) for path in fl.find_logs("logs")], MEAN)
    assert list(pf.summaries(strips)) == [
        "inr_mnist, 1 hidden layer: n 784, epochs 100, full batch: AIHT \u2212 IMP: mean +0.5, "
        "positive in 1 of 2 cells, negative in 1"]


# ---- the program: figures, statistics and metrics ----


def test_a_figure_is_written_as_png_and_pdf_with_the_same_bytes_each_time(small, capsys):
    save("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    assert mf.main(["--figure", "small"]) == 0
    assert capsys.readouterr().out.split() == ["figures/figure_small.png", "figures/figure_small.pdf"]
    first = {path: path.read_bytes() for path in Path("figures").iterdir()}
    assert mf.main(["--figure", "small"]) == 0
    assert first == {path: path.read_bytes() for path in Path("figures").iterdir()}
    assert b"/FontFile2" in first[Path("figures/figure_small.pdf")]  # TrueType: text stays text


@pytest.mark.parametrize("flags, suffix", [
    ("", ""), ("--statistic mean --metric score", ""), ("--statistic std", "_std"),
    ("--statistic success", "_success100"), ("--statistic success --threshold -1.5", "_success-1.5"),
    ("--metric seconds", "_seconds"), ("--metric seconds --statistic std", "_seconds_std"),
    ("--metric connected --statistic success --threshold 0.5", "_connected_success0.5"),
])
def test_pictures_of_other_numbers_have_other_names(small, drawn, flags, suffix):
    cells = {(0, 0, 0): {"seconds": 1.5, "connected": True}}
    for method in ("aiht", "pruning"):
        save(method, np.ones((2, 2, 2)), method=method, axes=SMALL_AXES, cells=cells)
    assert mf.main(flags.split()) == 0 and mf.main(["--figure", "small", *flags.split()]) == 0
    assert drawn == [f"aiht{suffix}", f"pruning{suffix}", f"figure_small{suffix}"]


def test_no_picture_takes_the_name_of_another_log(folder, drawn):
    for name in ("log", "LOG_std"):
        save(name, TABLE)
    assert mf.main([]) == 0 and mf.main(["--statistic", "std"]) == 0
    assert len({name.lower() for name in drawn}) == 4


def test_logs_without_a_metric_are_passed_over(folder, drawn):
    save("a", TABLE)
    save("b", TABLE, method="pruning", cells={(0, 0, 0): {"connected": True}})
    assert mf.main(["--metric", "connected"]) == 0 and drawn == ["b_connected"]


@pytest.mark.parametrize("flags, words", [
    ("--metric colour", ["--metric", "colour", "connected, score"]),
    ("--metric colour --figure small", ["--metric", "colour", "connected, score"]),
    ("--statistic success --task mnist", ["--statistic", "success", "mnist", "--threshold"]),
    ("--statistic success", ["--statistic", "success", "mnist", "--threshold"]),
    ("--statistic success --metric connected --task mlp_planted", ["success", "connected", "--threshold"]),
    ("--statistic success --figure 3", ["success", "binary_mnist", "--threshold"]),
    ("--figure 1 --logs_dir elsewhere", ["Figure 1", "--logs_dir elsewhere", "--save_results"]),
    ("--figure 2", ["Figure 2", "--logs_dir", "--save_results"]),  # logs there are, but of other settings
    ("--figure 1 --figures_dir occupied", ["--figures_dir occupied", "choose another"]),
])
def test_what_cannot_be_drawn_is_one_line(small, capsys, flags, words):
    save("a", TABLE, axes=[[1, 2], [5, 10, 20], [0, 1]], cells={(0, 0, 0): {"connected": True}})
    save("b", TABLE, "mnist", score=None)
    save("c", TABLE, "binary_mnist", score=None, batch_size=1000, cells={(0, 0, 0): {"connected": True}})
    Path("occupied").write_text("a file")
    assert mf.main(flags.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)
    assert not Path("figures").exists()


def test_logs_off_the_grid_of_a_figure_are_nothing_to_draw(small, capsys):
    save("a", TABLE, axes=[[3, 4], [6, 7, 8], [0, 1]])
    assert mf.main(["--figure", "small"]) == 2 and "no cells of Small" in capsys.readouterr().err


@pytest.mark.parametrize("flags, words", [
    ("--figure 9", "baselines"), ("--figure 1 --task mnist", "leave --task and --method out"),
    ("--figure 1 --method aiht", "leave"), ("--threshold 3", "--statistic success"),
    ("--threshold 3 --statistic std", "--statistic success"), ("--statistic success --threshold nan", "nan"),
    ("--statistic success --threshold x", "number"), ("--statistic median", "success"),
])
def test_flags_that_do_not_go_together_are_refused_in_one_line(capsys, flags, words):
    with pytest.raises(SystemExit) as stop:
        mf.main(flags.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and words in error


def test_the_constants_do_not_matter_to_a_figure(small, monkeypatch, drawn):
    monkeypatch.setattr(mf, "TASK", "mnist")
    save("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    assert mf.main(["--figure", "small"]) == 0 and drawn == ["figure_small"]


def test_a_figure_is_drawn_without_logs_that_cannot_be_read_or_judged(small, capsys, drawn):
    save("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    save("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, colour="red")
    save("unrelated", TABLE, "mnist").write_bytes(b"")
    broken_log("truncated")
    assert mf.main(["--figure", "small"]) == 2 and drawn == ["figure_small"]
    error = capsys.readouterr().err
    assert error.count("\n") == 2 and "broken.npy" in error and "setting colour" in error


def test_a_clash_of_logs_is_one_line(folder, capsys, drawn):
    for name, epochs in (("a", 30), ("b", 40)):
        save(name, np.ones((1, 2, 1)), method="gnhtp", axes=[[1], [5, 10], [0]], num_epochs=epochs)
    assert mf.main(["--figure", "gnhtp"]) == 2 and drawn == ["figure_gnhtp"]
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "a.npy and b.npy" in error


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
    paths = fl.find_logs("logs")
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


def cells_like(cell, times=12):
    """A sidecar whose cells are all this one."""
    return "{" + AXES + f', "cells": [{", ".join([cell] * times)}]' + "}"


SIDECARS = [  # broken ones
    "{",
    "[]",
    "{}",
    '{"settings": {}, "axes": {"m": [1]}}',
    cells_like('{"m": 1, "s": 1, "seed": 0}'),
    cells_like('{"m": 9, "s": 1, "seed": 0, "status": "done"}'),
    cells_like('{"m": 1, "s": 1, "seed": 0, "status": "finished"}'),
    cells_like('{"m": 1, "s": 1, "seed": 0, "status": "done"}', times=11),
    "{" + AXES + ', "cells": 3}',
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


def test_the_sidecars_above_are_broken_by_their_last_word_alone(folder):
    path = save("log", TABLE)
    for sidecar in ("{" + AXES + "}", cells_like('{"m": 1, "s": 1, "seed": 0, "status": "done: yes"}')):
        path.with_suffix(".json").write_text(sidecar)
        assert fl.read_log(path).score is None


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
    code = "import sys, make_figures; print(any(name in sys.modules for name in ('matplotlib', 'torch', 'scipy')))"
    run = subprocess.run([sys.executable, "-Bc", code], cwd=folder, env={"PYTHONPATH": str(root)}, capture_output=True)
    assert run.stdout.split() == [b"False"] and not list(folder.iterdir())
