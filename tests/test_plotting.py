"""plotting/: logs of the paper's own code, the numbers of a heatmap, cells of several logs on a grid, the drawing."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import recipe, save_log

from plotting import figures as pf
from plotting import heatmaps as hm
from plotting import logs as pl
from plotting import numbers as pn
from plotting import page, words
from plotting.numbers import Quantity
from sweep.logbook import LogError, completed
from sweep.settings import parse_arguments
from tasks import TASKS, Measure

NAN = np.nan
PUBLISHED = "hidden1_m[1, 2]_s[5, 10]_seed[0]_convexFalse_bs0_biasFalse_15epochs_"
MEAN, STD = Quantity(), Quantity(statistic="std")
PSNR = TASKS["mlp_planted"].measure
MINUS = "\u2212"


def all_logs():
    return [pl.read_log(path) for path in pl.find_logs("logs")]


def save_published(table, task="mlp_planted", method="aiht", name=PUBLISHED):
    path = Path("logs", task, method, f"{name}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(table, float))
    return path


# ---- logs of the paper's own code ----


@pytest.mark.parametrize("name, settings, axes", [
    ("hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_",
     dict(num_layers=1, convex=False, batch_size=0, bias=False, num_epochs=15, expname=""),
     {"m": [1, 2], "s": [1], "seed": [0]}),
    ("hidden2_m[1000]_s[5, 10]_seed[0, 1, 2]_convexTrue_bs5000_biasTrue_100epochs_try_2 b",
     dict(num_layers=2, convex=True, batch_size=5000, bias=True, num_epochs=100, expname="try_2 b"),
     {"m": [1000], "s": [5, 10], "seed": [0, 1, 2]}),
])
def test_published_names_are_parsed(name, settings, axes):
    assert pl.parse_name(pl.PUBLISHED.fullmatch(name)) == (settings, axes)


@pytest.mark.parametrize("axis", [(), (2,)])
@pytest.mark.parametrize("task, own, expected", [
    ("mlp_planted", "mlp_planted", NAN), ("MLP_PLANTED", "mlp_planted", NAN),
    ("gaussian_sparse", "gaussian_sparse", 0), ("GAUSSIAN_SPARSE", "gaussian_sparse", 0),
    ("Binry_MNIST", "binary_mnist", NAN),
])
def test_published_zeros_are_skipped_cells_except_as_gaussian_errors(folder, task, own, expected, axis):
    """In folders of any case, which the paper's own code writes in capitals."""
    path = save_published(np.expand_dims([[0.0, 1], [2, 3]], axis), task, "AIHT")  # [m, s] or [m, s, seed]
    [log] = all_logs()
    grid = pl.grid_of(log)
    np.testing.assert_array_equal(grid.values("score"), [[[expected], [1]], [[2], [3]]])
    assert grid.kinds[0, 0, 0] == ("done" if expected == 0 else "skipped")
    assert log.measure == TASKS[own].measure and (log.settings["task"], log.settings["method"]) == (own, "aiht")
    assert pl.find_logs("logs") == [path]


def test_the_one_number_of_a_published_cell_counts_for_one_seed(folder):
    save_published([[1, 2], [3, 4]], name=PUBLISHED.replace("[0]", "[0, 1]"))
    grid = pl.grid_of(all_logs()[0])
    np.testing.assert_array_equal(pn.heatmap(grid, MEAN, PSNR).values, [[1, 2], [3, 4]])
    assert pn.heatmap(grid, MEAN, PSNR).count.tolist() == [[1, 1], [1, 1]] and grid.seedlist == (0, 1)


@pytest.mark.parametrize("content, words", [
    (np.ones((2, 3)), "does not fit"), (np.array([[["a"]]]), "numbers"), (None, "no readable table"),
])
def test_broken_tables_of_the_papers_code_are_refused_by_name(folder, content, words):
    path = save_published(np.ones((2, 2)))
    path.write_bytes(b"PK") if content is None else np.save(path, content)
    with pytest.raises(LogError, match=words) as refused:
        pl.read_log(path)
    assert str(path) in str(refused.value) and "again" in str(refused.value)


def test_only_folders_of_tasks_and_methods_hold_logs(folder):
    for path in ("logs/reference/gates", "logs/mnist/unheard_of", "logs/reference/mnist/aiht", "logs/mnist/aiht/deep"):
        (folder / path).mkdir(parents=True)
        np.save(folder / path / "log.npy", 1)
    np.save(folder / "logs/mnist/aiht/.unfinished.npy", 1)
    assert pl.find_logs("logs") == []
    assert [str(path) for path in pl.find_logs("logs/reference")] == ["logs/reference/mnist/aiht/log.npy"]


@pytest.mark.parametrize("name, task, method", [
    ("MNIST", "mnist", None), ("binry_mnist", "binary_mnist", None), ("AIHT", None, "aiht"), ("imp", None, "pruning"),
    ("Pruning", None, "pruning"), ("mnst", None, None),
])
def test_names_of_tasks_and_methods_have_any_case(name, task, method):
    assert (pl.known_task(name), pl.known_method(name)) == (task, method)


# ---- over the seeds ----


def test_mean_and_count_over_the_seeds_that_ran():
    mean, count = pn.mean_over_seeds(np.array([[[1, 3, NAN], [NAN, NAN, NAN], [2, 4, 9], [1, np.inf, 0]]]))
    np.testing.assert_array_equal(mean, [[2, NAN, 5, np.inf]])
    np.testing.assert_array_equal(count, [[2, 0, 3, 3]])


def test_medians_are_those_of_numpy():
    table = np.random.default_rng(0).permutation([NAN] * 40 + [np.inf] * 10 + list(range(70))).reshape(5, 6, 4)
    median, count = pn.median_over_seeds(table)
    for row, value, number in zip(table.reshape(30, 4), median.ravel(), count.ravel(), strict=True):
        there = row[~np.isnan(row)]
        np.testing.assert_equal((value, number), (np.median(there) if len(there) else NAN, len(there)))


def test_exact_shows_medians_on_the_colours_of_shares(folder):
    save_log("log", [[[101, 99, 160], [3, 5, NAN]]])
    exact = Quantity(statistic="exact").on("mlp_planted")
    shown = pn.heatmap(pl.grid_of(all_logs()[0]), exact, TASKS["mlp_planted"].measure)
    np.testing.assert_allclose((shown.values, shown.numbers), ([[2 / 3, 0]], [[101, 4]]))
    measure = pf.shared_measure(all_logs(), exact)
    assert measure.name == "share of seeds with PSNR > 100 dB; numbers: median PSNR (dB)"
    written = {text.get_text() for ax in pf.draw_log(all_logs()[0], measure, exact).axes for text in ax.texts}
    assert {"101", "4"} <= written


def test_standard_deviation_has_n_minus_1_and_needs_two_seeds():
    table = np.array([[[1.0, 3, NAN], [5, NAN, NAN], [1, 2, 6], [NAN] * 3, [np.inf] * 3, [1, np.inf, 2]]])
    std, count = pn.std_over_seeds(table)
    np.testing.assert_allclose(std, [[2**0.5, NAN, 7**0.5, NAN, 0, np.inf]])
    np.testing.assert_array_equal(count, [[2, 1, 3, 0, 3, 3]])


def test_the_standard_deviation_on_a_log_scale_is_that_of_the_logarithms(folder):
    save_log("log", [[[1e-6, 1e-4]]], "gaussian_sparse")
    measure = pf.shared_measure(all_logs(), STD)
    assert (measure.scale, measure.name.replace("\u00a0", " ")) == (
        "linear", f"standard deviation (n {MINUS} 1) of log10 of relative l2 error")
    grid = pl.grid_of(all_logs()[0])
    np.testing.assert_allclose(pn.heatmap(grid, STD, TASKS["gaussian_sparse"].measure).values, 2**0.5)


@pytest.mark.parametrize("task, table, threshold, expected, label", [
    ("mlp_planted", [101, 100, 99, NAN], None, 1 / 3, "share of seeds with PSNR > 100 dB"),
    ("mlp_planted", [101, 100, 99, np.inf], 99.5, 3 / 4, "share of seeds with PSNR > 99.5 dB"),
    ("gaussian_sparse", [1e-5, 1e-4, 0, NAN], None, 2 / 3, "share of seeds with relative l2 error < 0.0001"),
    ("mnist", [0.5, 0.95, 0.9, NAN], 0.9, 1 / 3, "share of seeds with test accuracy > 0.9"),
    ("mnist", [NAN, NAN, NAN, NAN], 0.9, NAN, "share of seeds with test accuracy > 0.9"),
])
def test_success_is_the_share_of_the_seeds_that_ran(folder, task, table, threshold, expected, label):
    save_log("log", [[table]], task)
    quantity = Quantity(statistic="success", threshold=threshold).on(task)
    assert pf.shared_measure(all_logs(), quantity) == Measure(label, range=(0, 1))
    shown = pn.heatmap(pl.grid_of(all_logs()[0]), quantity, TASKS[task].measure)
    np.testing.assert_allclose(shown.values, [[expected]])


@pytest.mark.parametrize("ranges, tables, expected", [
    ([(0, 50), (0, 50)], [[[[70.0]]], [[[1.0]]]], (0, 50)),  # as stated, whatever the data
    ([(-5, 10), (0, 20)], [[[[1.0]]], [[[1.0]]]], (-5, 20)),
    ([None, None], [[[[3.0, 5]]], [[[-1.0, NAN]]]], (-1, 4)),  # means of both methods
    ([None, None], [[[[2.0]]], [[[NAN]]]], (1, 3)),
    (["log", "log"], [[[[0.0]]], [[[NAN]]]], (0.5, 1.5)),
    (["log", "log"], [[[[1e-3]]], [[[1e200]]]], (5e-4, 1.5e-3)),  # without what diverged
])
def test_the_methods_of_a_task_share_one_range(folder, ranges, tables, expected):
    for method, stated, table in zip(("aiht", "pruning"), ranges, tables, strict=True):
        measure = Measure("x", scale="log") if stated == "log" else Measure("x", range=stated)
        save_log("log", table, "inr_mnist", method, measure=measure)
    assert pf.shared_measure(all_logs(), MEAN).range == pytest.approx(expected)


@pytest.mark.parametrize("ours, theirs, expected, count", [
    ([1, 5], [NAN, 3], 2, 1),  # the seed that both have
    ([1, NAN], [NAN, 3], NAN, 0),  # none that both have
    ([np.inf, 4], [np.inf, 3], 0.5, 2),  # both exact
    ([np.inf, 4], [1, 3], np.inf, 2),
])
def test_differences_are_taken_seed_by_seed(ours, theirs, expected, count):
    shown = pn.difference(*map(grid_of_seeds, (ours, theirs)), MEAN, Measure())
    np.testing.assert_array_equal((shown.values, shown.count), ([[expected]], [[count]]))
    assert shown.reasons == ("not run" if count == 0 else "")


@pytest.mark.parametrize("quantity, measure, expected", [
    (STD, Measure(), 8**0.5),  # of 0.5 - 0.5 and 5 - 1
    (Quantity(statistic="success", threshold=2), Measure(), 0.5),
    (Quantity(statistic="success", threshold=2), Measure(higher_is_better=False), -0.5),
    (MEAN, Measure(scale="log"), np.log10(5) / 2),
    (STD, Measure(scale="log"), np.log10(5) / 2**0.5),
])
def test_differences_of_other_statistics_and_scales(quantity, measure, expected):
    shown = pn.difference(grid_of_seeds([0.5, 5.0]), grid_of_seeds([0.5, 1.0]), quantity, measure)
    np.testing.assert_allclose(shown.values, [[expected]])
    assert shown.signed == (quantity != STD)


def grid_of_seeds(scores):
    kinds = np.where(np.isnan(scores), "not run", "done")[None, None]
    return pl.Grid((1,), (5,), (0, 1), kinds, {"score": np.array([[scores]], float)})


def test_a_cell_with_several_reasons_shows_the_first_of_the_list(folder):
    kinds = ["skipped", "not run", "failed"]
    cells = {(0, i, k): {"status": kinds[min(i, k)]} for i in range(3) for k in range(3)}
    save_log("log", np.full((1, 3, 3), NAN), cells=cells)
    assert pn.heatmap(pl.grid_of(all_logs()[0]), MEAN, PSNR).reasons.tolist() == [["skipped", "not run", "failed"]]
    assert set(hm.HATCHES) == set(pn.REASONS) and len(set(hm.HATCHES.values())) == len(pn.REASONS)


# ---- gathering cells of several logs ----

WANTED = {"task": "mlp_planted", "method": "aiht"}


def gathered(mlist=(1, 2), slist=(5, 10), seeds=(0, 1), **settings):
    return pl.gather([log for log in all_logs() if pl.agrees(log, WANTED | settings)], mlist, slist, seeds)


def test_cells_are_gathered_from_logs_of_other_grids(folder):
    save_log("a", [[[1.0, 2]]], axes=[[1], [5], [0, 1]])
    save_log("b", [[[3.0], [4], [9]]], axes=[[2], [10, 5, 7], [1]])
    save_log("c", [[[7.0]]], axes=[[1], [10], [5]])  # another seed
    save_published(np.ones((2, 2)))  # it does not state all its settings
    grid, clashes = gathered()
    expected = np.full((2, 2, 2), NAN)
    expected[0, 0], expected[1, :, 1] = (1, 2), (4, 3)
    np.testing.assert_array_equal(grid.values("score"), expected)
    np.testing.assert_array_equal(grid.kinds, np.where(np.isnan(expected), "not run", "done"))
    assert clashes == []


@pytest.mark.parametrize("settings, selection, taken", [
    ({}, {}, True), ({}, {"output_dim": 1, "prune_score": "magnitude"}, True),
    ({"output_dim": 10}, {"output_dim": 10}, True), ({"output_dim": 10}, {}, False), ({}, {"output_dim": 10}, False),
    ({"expname": "mine"}, {}, False), ({"num_epochs": 300}, {}, False),
    ({"num_epochs": 300}, {"num_epochs": pl.ANY}, True), ({"num_layers": 2}, {"num_epochs": pl.ANY}, False),
    ({"unheard_of": 3}, {}, False), ({"task": "inr_mnist"}, {}, False), ({"method": "pruning"}, {}, False),
])
def test_logs_are_taken_whose_settings_agree(folder, settings, selection, taken):
    save_log("log", [[[1.0]]], axes=[[1], [5], [0]], **settings)
    assert (gathered(**selection)[0].kinds == "done").any() == taken


def test_a_cell_is_taken_from_the_log_that_ran_it_and_then_by_name(folder):
    axes = [[1, 2], [5], [0]]
    save_log("a", [[[NAN]], [[1.0]]], axes=axes, cells={(0, 0, 0): {"status": "failed: x"}})
    save_log("b", [[[NAN]], [[2.0]]], axes=axes, cells={(0, 0, 0): {"status": "skipped: x"}})
    assert gathered(slist=(5,), seeds=(0,))[0].kinds.ravel().tolist() == ["skipped", "done"]
    save_log("c", [[[3.0]], [[4.0]]], axes=axes)
    assert gathered(slist=(5,), seeds=(0,))[0].values("score").ravel().tolist() == [3, 1]


def test_logs_of_different_settings_clash_over_a_cell(folder):
    for name, epochs in (("a", 30), ("b", 40), ("c", 30)):
        save_log(name, [[[float(epochs)]]], axes=[[1], [5], [0]], num_epochs=epochs)
    save_log("d", [[[50.0]]], axes=[[2], [5], [0]], num_epochs=50)
    grid, clashes = gathered(num_epochs=pl.ANY)
    assert grid.values("score")[:, 0, 0].tolist() == [30, 50]
    assert [(taken.path.name, other.path.name) for taken, other in clashes] == [("a", "b")]


# ---- numbers in cells ----


@pytest.mark.parametrize("scale, value, decimals, text", [
    ("linear", -0.04, 1, "0.0"), ("linear", 99.96, 1, "100.0"), ("linear", -123456.0, 1, "-1.2e+5"),
    ("linear", np.inf, 0, "inf"), ("linear", 0.99951, 3, "1.000"), ("log", 0, 1, "0"), ("log", 1.23e-7, 1, "1.2e-7"),
    ("log", 0.123, 1, "0.12"), ("signed", 4.26, 1, "+4.3"), ("signed", -4.26, 1, f"{MINUS}4.3"), ("signed", 0, 1, "0"),
    ("signed", 0.04, 1, "0.0"), ("signed", -0.04, 1, "0.0"), ("signed", np.inf, 0, "+inf"),
    ("signed", 1e6, 0, "+1e+6"), ("signed", -0.5, 0, "0"), ("signed", 10.0, 0, "+10"),
])
def test_format_number(scale, value, decimals, text):
    signed = scale == "signed"  # of a difference
    assert hm.format_number(value, decimals, "linear" if signed else scale, signed=signed) == text


@pytest.mark.parametrize("width, decimals, largest", [(6, 0, 0), (8, 0, 7), (12.5, 1, 7), (99, 1, 7)])
def test_numbers_are_as_precise_as_the_cells_are_wide(width, decimals, largest):
    shown = pn.heatmap(grid_of_seeds([88.88, 88.88]), MEAN, PSNR)
    found, size = hm.fit_numbers([shown], PSNR, (width, 99), largest=7)
    assert found == decimals and (5 <= size <= largest if largest else size == 0)
    assert hm.text_width(hm.format_number(88.88, found, "linear")) * size <= width
    assert hm.fit_numbers([shown], PSNR, (99, 5.9), largest=7) == (0, 0)
    assert hm.fit_numbers([shown], PSNR, (99, 99), largest=7, finest=0) == (0, 7)


# ---- figures of one log ----

TABLE = np.array([[[1, 3], [NAN, NAN], [200, 202]], [[-0.04, -0.04], [NAN, 7], [-99, -98]]])  # [2, 3, 2]
NO_PATH = "no path from input to output left"


def draw(quantity=MEAN):
    """(the panel, the colour bar or None, the words of the legend, the title) of the figure of the only log."""
    [log] = all_logs()
    with page.style():
        figure = pf.draw_log(log, pf.shared_measure([log], quantity), quantity)
    [panel] = [ax for ax in figure.axes if ax.get_ylabel()]
    bars = [ax for ax in figure.axes if ax.get_xlabel() and ax is not panel]
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    return panel, bars[0] if bars else None, legends, figure.texts[0].get_text()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_cells_hold_their_values_and_missing_seeds(folder):
    save_log("log", TABLE, axes=[[5, 50], [1, 20, 300], [0, 1]])
    ax, bar, legend, _ = draw()
    assert texts(ax) == ["2.0", "201.0", "0.0", "7.0", "n=1", "-98.5"]
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["201.0"] == (2.5, 0.5) and places["-98.5"] == (2.5, 1.5)
    assert ax.yaxis_inverted() and not ax.xaxis_inverted()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["5", "50"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "20", "300"]
    assert [(patch.get_xy(), bool(patch.get_hatch())) for patch in ax.patches] == [((1, 0), True)]
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours["201.0"] == "black" and colours["-98.5"] == "white"
    assert legend == ["not run", "n=1: number of seeds, where not 2"]
    assert (ax.get_xlabel(), ax.get_ylabel(), bar.get_xlabel()) == ("nonzeros s", "hidden width m", "PSNR (dB)")


def test_a_full_grid_has_no_legend_and_a_signal_has_a_length(folder):
    save_log("log", [[[0.0, 0.0]], [[1e-3, 1e-3]]], "gaussian_sparse")
    ax, _, legend, title = draw()
    assert texts(ax) == ["0", "1.0e-3"] and legend == [] and ax.get_ylabel() == "signal length p"
    assert title == "gaussian_sparse, AIHT\nepochs 15, mean over 2 seeds"
    assert not np.ma.getmaskarray(ax.collections[0].get_array()).any() and not ax.patches  # 0 has a colour, too


@pytest.mark.parametrize("low, high, extend", [(-20, 50, "neither"), (-21, 1, "min"), (0, 51, "max"),
                                               (-21, np.inf, "both")])
def test_the_colour_bar_has_arrows_where_values_exceed_the_range(folder, low, high, extend):
    save_log("log", [[[low], [high]]])
    shown = pn.heatmap(pl.grid_of(all_logs()[0]), MEAN, PSNR)
    assert hm.look_of(PSNR, [shown]).cmap.colorbar_extend == extend
    ax, bar, *_ = draw()
    assert bar.get_xlim() == ax.collections[0].get_clim() == (-20, 50)


@pytest.mark.parametrize("shape, numbers", [((10, 10), 100), ((1, 30), 30), ((2, 150), 0), ((30, 1), 30)])
def test_grids_of_any_size_are_drawn_and_illegible_numbers_left_out(folder, shape, numbers):
    table = np.full((*shape, 2), -123.45)
    table[..., 0] = NAN
    save_log("log", table)
    ax, *_ = draw()
    assert len(ax.texts) == 2 * numbers
    assert all(inside(text, ax, *map(int, text.get_position())) for text in ax.texts)
    assert len(ax.get_xticks()) == (shape[1] if shape[1] < 100 else 50)  # as many labels as there is room for


def inside(text, ax, column, row):
    """Whether a text is within its cell."""
    box = text.get_window_extent().transformed(ax.transData.inverted())
    top, bottom = sorted((box.y0, box.y1))
    return column <= box.x0 and box.x1 <= column + 1 and row <= top and bottom <= row + 1


def test_the_title_states_what_differs_from_the_defaults(folder):
    save_log("log", TABLE, num_layers=2, batch_size=5000, output_dim=10, prune_score="lamp", expname=r"$\foo$")
    title = draw()[-1].replace("\n", " ")
    assert title == r"mlp_planted, AIHT, 2 hidden layers batch 5000, epochs 15, outputs 10, pruned by lamp, " \
                    r"mean over 2 seeds, $\foo$"


def test_long_titles_are_wrapped_and_cut(folder):
    save_log("log", [[[1]]], expname="x_$ " * 90)
    lines = draw()[-1].split("\n")
    assert len(lines) <= 6 and max(map(len, lines)) <= 36 and "seed 1" in " ".join(lines)


def test_the_standard_deviation_of_one_seed_is_hatched_and_said_so(folder):
    save_log("log", [[[1, 3], [2, NAN], [NAN, NAN]]])
    ax, bar, legend, title = draw(STD)
    assert [text[:3] for text in texts(ax)] == ["1.4"] and ax.collections[0].get_clim() == (0, 2**0.5)
    assert [patch.get_hatch() for patch in ax.patches] == [hm.HATCHES[pn.FEW], hm.HATCHES["not run"]]
    assert legend == ["not run", "fewer than 2 seeds"] and "standard deviation over 2 seeds" in title.replace("\n", " ")
    assert " ".join(bar.get_xlabel().split()) == f"standard deviation (n {MINUS} 1) of PSNR (dB)"


def test_other_numbers_of_the_cells_are_drawn(folder):
    cells = {(0, 0, 0): {"connected": True, "num_nonzero": 4, "step": [1], "reason": "x", "none": None},
             (0, 0, 1): {"connected": False, "num_nonzero": 6}, (0, 1, 0): {"status": "skipped: no", "seconds": 9}}
    save_log("log", [[[1, 2], [NAN, 3], [4, 5]]], cells=cells)
    ax, *_ = draw(Quantity("connected"))
    assert texts(ax) == ["0.50"] and ax.collections[0].get_clim() == (0, 1)
    ax, bar, legend, _ = draw(Quantity("num_nonzero"))
    assert texts(ax) == ["5.00"] and ax.collections[0].get_clim() == (2.5, 7.5)
    assert bar.get_xlabel() == "number of nonzeros" and legend[0] == "not recorded"
    grid = pl.grid_of(all_logs()[0])
    assert grid.numbers.keys() == {"score", "connected", "num_nonzero", "seconds"}
    seconds = pn.heatmap(grid, Quantity("seconds"), pn.METRICS["seconds"])
    assert np.isnan(seconds.values).all()  # those of a skipped cell mean nothing


@pytest.mark.parametrize("scores, status, said", [
    ([7, 7], "skipped: no", "skipped"), ([7, 7], "failed: oops", "failed"), ([7, 7], "not run", "not run"),
    ([np.inf, -np.inf], "done", "undefined"),
])
def test_cells_without_a_score_say_why(folder, scores, status, said):
    save_log("log", [[scores, [1, 1]]], cells={(0, 0, k): {"status": status} for k in (0, 1)})
    ax, _, legend, _ = draw()
    assert texts(ax) == ["1.0"]  # whatever the table holds for a cell that is not done
    assert legend == [said] and [patch.get_hatch() for patch in ax.patches] == [hm.HATCHES[said]]


def test_cells_without_a_path_are_marked_for_some_or_all_seeds(folder):
    connected = [[True, True], [True, False], [False, False]]
    cells = {(0, s, k): {"connected": connected[s][k]} for s in range(3) for k in range(2)}
    save_log("log", [[[1, 2], [3, 4], [5, 6]]], method="pruning", cells=cells)
    ax, _, legend, _ = draw()
    some, full = ax.patches
    assert some.get_facecolor()[3] == 0 and full.get_facecolor()[3] == 1
    for column, mark in ((1, some), (2, full)):  # in the lower right corner of its cell
        (left, top), (right, bottom) = mark.get_xy().min(axis=0), mark.get_xy().max(axis=0)
        assert column + 0.8 < left < right < column + 1 and 0.8 < top < bottom < 1
    assert legend == [f"{NO_PATH} (some seed)", f"{NO_PATH} (all seeds)"]


# ---- figures of several panels ----

SMALL = pf.Entry("Small", (pf.both((1, 2), (5, 10), task="mlp_planted", num_epochs=15),), (("AIHT", "IMP"),), (0, 1))
SMALL_AXES = [[1, 2], [5, 10], [0, 1]]
DIFFERENCE = f"AIHT {MINUS} IMP"


def draw_page(entry=SMALL, quantity=MEAN):
    """{heading of a panel or label of a bar: Axes} of a figure, and the words of its legend."""
    strips, clashes = pf.assemble(entry, all_logs(), quantity)
    assert clashes == []
    with page.style():
        figure = pf.draw_entry(entry, strips, quantity)
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    return {ax.get_title() or ax.get_xlabel(): ax for ax in figure.axes if ax.get_title() or ax.get_xlabel()}, legends


def test_the_methods_and_their_difference_stand_side_by_side(folder):
    save_log("a", [[[1, 3], [5, 6]], [[0, 0], [9, 9.4]]], axes=SMALL_AXES)
    save_log("b", [[[3, 4], [5, NAN]], [[0, 0], [NAN, NAN]]], method="pruning", axes=SMALL_AXES)
    panels, legend = draw_page()
    assert set(panels) == {"AIHT", "IMP", DIFFERENCE, "PSNR (dB)", "difference in PSNR (dB)"}
    assert texts(panels["AIHT"]) == ["2.0", "5.5", "0", "9.2"]
    assert texts(panels["IMP"]) == ["3.5", "5.0", "n=1", "0"]
    assert texts(panels[DIFFERENCE]) == [f"{MINUS}1.5", "0", "n=1", "0"]  # no more decimals than the scores
    assert panels["AIHT"].collections[0].get_clim() == panels["IMP"].collections[0].get_clim() == (-20, 50)
    assert panels[DIFFERENCE].collections[0].get_clim() == (-1.5, 1.5)
    assert legend == ["not run", "n=1: number of seeds, where not 2"]


def test_a_method_without_logs_is_hatched_as_not_run(folder):
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    panels, legend = draw_page()
    assert set(panels) == {"AIHT", "IMP", DIFFERENCE, "PSNR (dB)"}  # nothing to colour: no bar
    assert len(panels["IMP"].patches) == len(panels[DIFFERENCE].patches) == 4 and legend == ["not run"]


def test_the_worse_reason_of_two_methods_shows_in_the_difference(folder):
    skipped = {(0, 0, k): {"status": "skipped: x"} for k in (0, 1)}
    failed = {(0, 0, 0): {"status": "failed: x"}, (0, 0, 1): {"status": "skipped: x"}}
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES,
             cells=skipped | {(0, 1, k): {"status": "skipped: x"} for k in (0, 1)})
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, cells=failed)
    strips, _ = pf.assemble(SMALL, all_logs(), MEAN)
    reasons = [shown.reasons[0].tolist() for shown in page.heatmaps_of(strips[0].blocks)]
    assert reasons == [["skipped", "skipped"], ["failed", ""], ["failed", "skipped"]]


@pytest.mark.parametrize("higher", [True, False])
def test_blue_is_where_the_first_method_is_better(higher):
    one = np.ones((1, 1))
    shown = pn.Heatmap((1,), (1,), one, np.array([[""]]), one, seeds=1, pathless=0 * one, signed=True)
    measure = pn.shown(Measure("x", range=(0, 1), higher_is_better=higher), MEAN, signed=True)
    red, _, blue = hm.look_of(pn.fill_range(measure, MEAN, [shown]), [shown]).colours(one)[0, 0]
    assert (blue > red) == higher


def test_a_difference_has_a_range_no_wider_than_its_score(folder):
    save_log("a", [[[100.0, 100]]], axes=[[1], [5], [0, 1]])
    save_log("b", [[[1.0, 1]]], method="pruning", axes=[[1], [5], [0, 1]])
    panels, _ = draw_page()
    assert panels[DIFFERENCE].collections[0].get_clim() == (-70, 70)


def test_rows_of_one_kind_of_score_share_colours_and_others_have_their_own(folder):
    rows = tuple(pf.both((1,), (5,), task=task) for task in ("inr_mnist", "inr_cifar10", "mnist"))
    save_log("a", [[[1.0]]], "inr_mnist", axes=[[1], [5], [0]])
    strips, _ = pf.assemble(pf.Entry("Three", rows, seeds=(0,)), all_logs(), MEAN)
    bands = pf.share_colours(strips, MEAN)
    assert [[strip.heading.split(",")[0] for strip in band] for band in bands] == [["inr_mnist", "inr_cifar10"],
                                                                                   ["mnist"]]
    assert [band[0].blocks[0].measure.range for band in bands] == [(0, 50), (0.1, 1)]


def test_figures_mark_cells_without_a_path_in_the_method_alone(folder):
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, cells={(0, 0, 1): {"connected": False}})
    panels, legend = draw_page()
    assert [len(panels[name].patches) for name in ("AIHT", "IMP", DIFFERENCE)] == [0, 1, 0]
    assert legend == [f"{NO_PATH} (all seeds)"]  # of those that say so


@pytest.mark.parametrize("name, headings", [
    ("2", ["mlp_planted, 1 hidden layer: n 50000, batch 5000, epochs 100, outputs 10",
           "mlp_planted, 2 hidden layers: n 50000, batch 5000, epochs 100, outputs 10"]),
    ("3", ["binary_mnist, 1 hidden layer: n 10000, batch 1000, epochs 15",
           "mnist, 1 hidden layer: n 50000, batch 5000, epochs 50"]),
    ("baselines", ["mlp_planted, 1 hidden layer: n 50000", "binary_mnist, 1 hidden layer: n 10000, batch 1000",
                   "inr_mnist, 1 hidden layer: n 784, full batch"]),
    ("inputs", ["mlp_planted, 1 hidden layer: n 10000, full batch, epochs 15",
                "mlp_planted, 1 hidden layer: n 10000, full batch, epochs 108",
                "mlp_planted, 1 hidden layer: n 10000, full batch, epochs 60"]),
])
def test_row_headings_state_what_all_columns_share(name, headings):
    assert [words.row_heading(row) for row in pf.FIGURES[name].rows] == headings


def test_columns_say_how_they_were_trained_where_that_differs():
    base = {"task": "mlp_planted", "method": "aiht", "num_epochs": 15, "nmeasurements": 500}
    row = pf.Row((1,), (1,), {"a": base, "b": base, "c": base | {"finetune_epochs": 9, "batch_size": 100}})
    assert words.row_heading(row) == "mlp_planted, 1 hidden layer: n 500, epochs 15"
    assert words.column_notes(row) == {"a": "epochs 15, batch all", "b": "epochs 15, batch all",
                                       "c": "epochs 15 + 9, batch 100"}
    assert words.column_notes(pf.FIGURES["gnhtp"].rows[0]) == {"AIHT": "epochs 15"}
    assert words.column_notes(pf.FIGURES["1"].rows[0]) == {}


@pytest.mark.parametrize("figure", "12345")
def test_figures_are_those_of_the_commands(figure):
    entry = pf.FIGURES[figure]
    ours = [(completed(selection), row.mlist, row.slist) for row in entry.rows for selection in row.columns.values()]
    lines = re.findall(r" runner\.py (.*?)(?: &&|$)", recipe(f"figure{figure}"), re.MULTILINE)
    for line, (selection, mlist, slist) in zip(lines, ours, strict=True):
        settings = parse_arguments(line.split())
        assert {name: getattr(settings, name) for name in selection} == selection
        assert (settings.mlist, settings.slist, settings.seedlist) == (mlist, slist, entry.seeds)


def save_entry(entry):
    """Save a log for each column of an entry, with the longest numbers to be expected and a seed missing."""
    for i, row in enumerate(entry.rows):
        for heading, selection in row.columns.items():
            settings = {name: 99 if value is pl.ANY else value for name, value in selection.items()}
            task, method = settings.pop("task"), settings.pop("method")
            longest = 0.123 if "accuracy" in TASKS[task].measure.name else 167.0
            table = np.full((len(row.mlist), len(row.slist), 3), longest * (1 if method == "aiht" else 0.07))
            table[0, 0, 0] = NAN
            save_log(f"{i} {heading}", table, task, method, axes=[row.mlist, row.slist, [0, 1, 2]], **settings)


@pytest.mark.parametrize("name", [name for name, entry in pf.FIGURES.items() if not entry.as_lines])
def test_every_figure_is_drawn_with_all_numbers_in_their_cells(folder, name):
    save_entry(pf.FIGURES[name])
    strips, _ = pf.assemble(pf.FIGURES[name], all_logs(), MEAN)
    with page.style():
        figure = pf.draw_entry(pf.FIGURES[name], strips, MEAN)
    panels = [ax for ax in figure.axes if ax.get_title()]
    for ax, shown in zip(panels, page.heatmaps_of([block for strip in strips for block in strip.blocks]), strict=True):
        assert len(ax.texts) == shown.values.size + 1 and min(text.get_fontsize() for text in ax.texts) >= 5
        assert len(ax.get_xticks()) == shown.values.shape[1]  # no s is left out
        assert all(inside(text, ax, *map(int, text.get_position())) for text in ax.texts)
    boxes = [ax.get_window_extent() for ax in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_differences_and_successes_are_told_in_numbers(folder):
    grid = {"axes": [[2], [2, 5], [0, 1]], "num_epochs": 100}
    save_log("a", [[[1.0, 5], [2, 2]]], "inr_mnist", "aiht", **grid)
    save_log("b", [[[0.0, 0], [4, 4]]], "inr_mnist", "pruning", **grid)
    row = "inr_mnist, 1 hidden layer: n 784, full batch, epochs 100"
    for quantity, expected in (
        (MEAN, [f"{row}: {DIFFERENCE}: mean +0.5, positive in 1 of 2 cells, negative in 1"]),
        (Quantity(statistic="success", threshold=1.5), [f"{row}: AIHT: 3 of 4 cells and seeds",
                                                        f"{row}: IMP: 2 of 4 cells and seeds"]),
        (STD, []),
    ):
        strips, _ = pf.assemble(pf.FIGURES["4"], all_logs(), quantity)
        assert list(pf.summaries(strips, quantity)) == expected
