"""plotting/: logs of the paper's own code, the numbers of a heatmap, cells of several logs on a grid, the drawing."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers import save_log

from instances.task import Measure
from plotting import figures as pf
from plotting import heatmaps as hm
from plotting import logs as pl
from plotting import numbers as pn
from plotting import page, panels, words
from plotting.numbers import Heatmap, Quantity
from plotting.panels import Sizes, Strip
from sweep.flags import parse_arguments
from sweep.logbook import LogError
from sweep.settings import completed, logged
from tasks import TASKS

NAN = np.nan
PUBLISHED = "hidden1_m[1, 2]_s[5, 10]_seed[0]_convexFalse_bs0_biasFalse_15epochs_"
MEAN, STD = Quantity(), Quantity(statistic="std")
PSNR = TASKS["mlp_planted"].measure
MINUS = "\u2212"


def all_logs():
    return [pl.read_log(path) for path in pl.find_logs("logs")]


def only_heatmap(quantity=MEAN, measure=PSNR):
    [log] = all_logs()
    return pn.heatmap(pl.grid_of(log), quantity, measure)


def save_published(table, task="mlp_planted", method="aiht", name=PUBLISHED):
    path = Path("logs", task, method, f"{name}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(table, float))
    return path


# ---- logs of the paper's own code ----


def test_published_names_are_parsed():
    name = "hidden2_m[1000]_s[5, 10]_seed[0, 1, 2]_convexTrue_bs5000_biasTrue_100epochs_try_2 b"
    assert pl.parse_name(pl.PUBLISHED.fullmatch(name)) == (
        {"num_layers": 2, "convex": True, "batch_size": 5000, "bias": True, "num_epochs": 100, "expname": "try_2 b"},
        {"m": [1000], "s": [5, 10], "seed": [0, 1, 2]})


@pytest.mark.parametrize("axis", [(), (2,)])
@pytest.mark.parametrize("task, own, expected", [
    ("MLP_PLANTED", "mlp_planted", NAN), ("Binry_MNIST", "binary_mnist", NAN),
    ("GAUSSIAN_SPARSE", "gaussian_sparse", 0),
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
    shown = only_heatmap()
    np.testing.assert_array_equal((shown.values, shown.count), ([[1, 2], [3, 4]], [[1, 1], [1, 1]]))
    assert shown.seeds == 2


@pytest.mark.parametrize("content, words", [
    (np.ones((2, 3)), "is not that of m, s"), (np.array([[["a"]]]), "no readable table"), (b"PK", "no readable table"),
    (None, "no readable table"),  # every \n has become \r\n
])
def test_broken_tables_of_the_papers_code_are_refused_by_name(folder, content, words):
    path = save_published(np.ones((2, 2)))
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content or path.read_bytes().replace(b"\n", b"\r\n"))
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


# ---- over the seeds ----


@pytest.mark.parametrize("seeds, mean, median, std", [
    ([1, 3, NAN], 2, 2, 2**0.5), ([5, NAN, NAN], 5, 5, NAN), ([1, 2, 6], 3, 2, 7**0.5), ([NAN] * 3, NAN, NAN, NAN),
    ([np.inf, np.inf, NAN], np.inf, np.inf, 0), ([1, np.inf, 2], np.inf, 2, np.inf), ([0.1] * 3, 0.1, 0.1, 0),
    ([np.inf, -np.inf, NAN], NAN, NAN, np.inf),
])
def test_statistics_are_over_the_seeds_that_ran(seeds, mean, median, std, recwarn):
    for statistic, expected in (("mean", mean), ("median", median), ("std", std)):
        value, count = pn.over_seeds(np.array([[seeds]], float), statistic)
        np.testing.assert_allclose((value, count), ([[expected]], [[3 - seeds.count(NAN)]]))
    assert not recwarn.list


@pytest.mark.parametrize("task, table, quantity, expected, measure", [
    ("mlp_planted", [101, 100, 99, NAN], Quantity(statistic="success"), 1 / 3, "share of seeds with PSNR > 100 dB"),
    ("mlp_planted", [101, 100, 99, np.inf], Quantity(statistic="success", threshold=99.5), 3 / 4,
     "share of seeds with PSNR > 99.5 dB"),
    ("gaussian_sparse", [1e-5, 1e-4, 0, NAN], Quantity(statistic="success"), 2 / 3,
     "share of seeds with relative l2 error < 0.0001"),
    ("mnist", [NAN] * 4, Quantity(statistic="success", threshold=0.9), NAN, "share of seeds with test accuracy > 0.9"),
    ("mlp_planted", [101, 99, 160], Quantity(statistic="exact"), 2 / 3,
     "share of seeds with PSNR > 100 dB; numbers: median PSNR (dB)"),
    ("gaussian_sparse", [1e-6, 1e-4], STD, 2**0.5,
     "standard deviation over seeds of log10 of relative l2 error"),
])
def test_other_statistics_have_names_of_their_own(folder, task, table, quantity, expected, measure):
    save_log("log", [[table]], task)
    quantity = quantity.on(task)
    shared = panels.shared_measure(all_logs(), quantity)
    assert (shared.name, shared.scale) == (measure, "linear")
    shown = only_heatmap(quantity, TASKS[task].measure)
    np.testing.assert_allclose(shown.values, [[expected]])
    np.testing.assert_allclose(shown.numbers, [[101]] if quantity.statistic == "exact" else [[expected]])


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
    assert panels.shared_measure(all_logs(), MEAN).range == pytest.approx(expected)


OURS, THEIRS, ABOVE_2 = [0.5, 5.0], [0.5, 1.0], Quantity(statistic="success", threshold=2)


@pytest.mark.parametrize("ours, theirs, quantity, measure, expected, count", [
    ([1, 5], [NAN, 3], MEAN, Measure(), 2, 1),  # the seed that both have
    ([1, NAN], [NAN, 3], MEAN, Measure(), NAN, 0),  # none that both have
    ([np.inf, 4], [np.inf, 3], MEAN, Measure(), 0.5, 2),  # both exact
    ([np.inf, 4], [1, 3], MEAN, Measure(), np.inf, 2),
    (OURS, THEIRS, STD, Measure(), 8**0.5, 2),  # of 0.5 - 0.5 and 5 - 1
    (OURS, THEIRS, ABOVE_2, Measure(), 0.5, 2),
    (OURS, THEIRS, ABOVE_2, Measure(higher_is_better=False), -0.5, 2),
    (OURS, THEIRS, MEAN, Measure(scale="log"), np.log10(5) / 2, 2),
    (OURS, THEIRS, STD, Measure(scale="log"), np.log10(5) / 2**0.5, 2),
])
def test_differences_are_taken_seed_by_seed(ours, theirs, quantity, measure, expected, count):
    grids = [pl.Grid((1,), (5,), (0, 1), np.where(np.isnan(scores), "not run", "done")[None, None],
                     {"score": np.array([[scores]], float)}) for scores in (ours, theirs)]
    shown = pn.difference(*grids, quantity, measure)
    np.testing.assert_allclose((shown.values, shown.count), ([[expected]], [[count]]))
    assert shown.reasons == ("not run" if count == 0 else "") and shown.signed == (quantity != STD)


def test_other_numbers_of_the_cells_are_shown(folder):
    cells = {(0, 0, 0): {"connected": True, "num_nonzero": 4, "step": [1], "reason": "x", "none": None},
             (0, 0, 1): {"connected": False, "num_nonzero": 6}, (0, 1, 0): {"status": "skipped: no", "seconds": 9}}
    save_log("log", [[[1, 2], [NAN, 3], [4, 5]]], cells=cells)
    assert pl.grid_of(all_logs()[0]).numbers.keys() == {"score", "connected", "num_nonzero", "seconds"}
    for metric, expected, limits in (("connected", 0.5, (0, 1)), ("num_nonzero", 5, (2.5, 7.5)),
                                     ("seconds", NAN, (0.5, 1.5))):  # those of a skipped cell mean nothing
        shown = only_heatmap(Quantity(metric), pn.METRICS[metric])
        np.testing.assert_array_equal(shown.values, [[expected, NAN, NAN]])
        assert panels.shared_measure(all_logs(), Quantity(metric)).range == limits
    assert shown.reasons.tolist() == [["not recorded"] * 3]


# ---- gathering cells of several logs ----

WANTED = {"task": "mlp_planted", "method": "aiht"}


def gathered(mlist=(1, 2), slist=(5, 10), seeds=(0, 1), **settings):
    return pl.gather([log for log in all_logs() if pl.agrees(log, WANTED | settings)], mlist, slist, seeds)


def test_cells_are_gathered_from_logs_of_other_grids(folder):
    save_log("a", [[[1.0, 2]]], axes=[[1], [5], [0, 1]])
    save_log("b", [[[3.0], [4], [9]]], axes=[[2], [10, 5, 7], [1]])
    save_log("c", [[[7.0]]], axes=[[1], [10], [5]])  # another seed
    save_published(np.ones((2, 2)))  # it does not state all its settings
    grid = gathered()
    expected = np.full((2, 2, 2), NAN)
    expected[0, 0], expected[1, :, 1] = (1, 2), (4, 3)
    np.testing.assert_array_equal(grid.values("score"), expected)
    np.testing.assert_array_equal(grid.kinds, np.where(np.isnan(expected), "not run", "done"))
    assert not grid.clashes


@pytest.mark.parametrize("settings, selection, taken", [
    ({}, {}, True), ({}, {"output_dim": 1, "prune_score": "magnitude"}, True),
    ({"output_dim": 10}, {"output_dim": 10}, True), ({"output_dim": 10}, {}, False), ({}, {"output_dim": 10}, False),
    ({"expname": "mine"}, {}, False), ({"num_epochs": 300}, {}, False),
    ({"num_epochs": 300}, {"num_epochs": pl.ANY}, True), ({"num_layers": 2}, {"num_epochs": pl.ANY}, False),
    ({"unheard_of": 3}, {}, False), ({"task": "inr_mnist"}, {}, False), ({"method": "pruning"}, {}, False),
])
def test_logs_are_taken_whose_settings_agree(folder, settings, selection, taken):
    save_log("log", [[[1.0]]], axes=[[1], [5], [0]], **settings)
    assert (gathered(**selection).kinds == "done").any() == taken


def test_a_cell_is_taken_from_the_log_that_ran_it_and_then_by_name(folder):
    axes = [[1, 2], [5], [0]]
    save_log("a", [[[NAN]], [[1.0]]], axes=axes, cells={(0, 0, 0): {"status": "failed: x"}})
    save_log("b", [[[NAN]], [[2.0]]], axes=axes, cells={(0, 0, 0): {"status": "skipped: x"}})
    assert gathered(slist=(5,), seeds=(0,)).kinds.ravel().tolist() == ["skipped", "done"]
    save_log("c", [[[3.0]], [[4.0]]], axes=axes)
    assert gathered(slist=(5,), seeds=(0,)).values("score").ravel().tolist() == [3, 1]


def test_logs_of_different_settings_clash_over_a_cell(folder):
    for name, epochs in (("a", 30), ("b", 40), ("c", 30)):
        save_log(name, [[[float(epochs)]]], axes=[[1], [5], [0]], num_epochs=epochs)
    save_log("d", [[[50.0]]], axes=[[2], [5], [0]], num_epochs=50)
    grid = gathered(num_epochs=pl.ANY)
    assert grid.values("score")[:, 0, 0].tolist() == [30, 50]
    assert [(taken.path.name, other.path.name) for taken, other in grid.clashes] == [("a", "b")]


# ---- the commands of a figure ----

M = "1 2 5 10 20 50 100 200 500 1000"
PAPER = {  # task, widths, nonzeros and other flags of the paper's commands, each for AIHT and for IMP
    "1": [("mlp_planted", M, M, "15"), ("mlp_planted", M[2:], M[6:], "15 --num_layers 2")],
    "2": [("mlp_planted", M, M, "100 --batch_size 5000 --output_dim 10"),
          ("mlp_planted", M[2:], M[6:], "100 --batch_size 5000 --num_layers 2 --output_dim 10")],
    "3": [("binary_mnist", M, M[:-9], "15 --batch_size 1000"),
          ("mnist", M[6:], f"{M[15:]} 2000", "50 --batch_size 5000")],
    "4": [("inr_mnist", M[2:-9], M[2:], "100"), ("inr_mnist", M[2:-9], M[2:], "100 --num_layers 2")],
    "5": [("inr_cifar10", M[:-9], f"{M[4:]} 2000", "100"),
          ("inr_cifar10", M[:-9], f"{M[4:]} 2000", "100 --num_layers 2")],
}


@pytest.mark.parametrize("figure", PAPER)
def test_the_commands_of_the_papers_figures_are_its_own(figure):
    assert list(pf.commands(pf.FIGURES[figure])) == [
        f"python runner.py --task {task} --method {method} --mlist {mlist} --slist {slist} --seedlist 0 1 2 "
        f"--num_epochs {others} --save_results"
        for task, mlist, slist, others in PAPER[figure] for method in ("aiht", "pruning")]


@pytest.mark.parametrize("name", pf.FIGURES)
def test_the_commands_of_a_figure_fill_it(name):
    entry = pf.FIGURES[name]
    columns = [(row, selection) for row in entry.rows for selection in row.columns.values()]
    for command, (row, selection) in zip(pf.commands(entry), columns, strict=True):
        settings = parse_arguments(command.split()[2:])
        own, grid = logged(settings), settings.grid
        assert all(value in (pl.ANY, own[setting]) for setting, value in completed(selection).items())
        assert (grid.mlist, grid.slist, grid.seedlist) == (row.mlist, row.slist, entry.seeds)
        assert settings.run.save_results


def test_switches_and_words_are_spelled_as_the_shell_reads_them():
    row = pf.Row((1,), (2,), {"": WANTED | {"convex": True, "bias": False, "snr": None, "expname": "a b"}})
    assert list(pf.commands(pf.Entry("", (row,), seeds=(7,)))) == [
        "python runner.py --task mlp_planted --method aiht --mlist 1 --slist 2 --seedlist 7 --convex --expname 'a b' "
        "--save_results"]


# ---- words ----


@pytest.mark.parametrize("name, headings", [
    ("2", ["mlp_planted, 1 hidden layer: n 50000, batch 5000, epochs 100, outputs 10",
           "mlp_planted, 2 hidden layers: n 50000, batch 5000, epochs 100, outputs 10"]),
    ("baselines", ["mlp_planted, 1 hidden layer: n 50000", "binary_mnist, 1 hidden layer: n 10000, batch 1000",
                   "inr_mnist, 1 hidden layer: n 784, full batch"]),
    ("inputs", [f"mlp_planted, 1 hidden layer: n 10000, {words}" for words in (
        "full batch, epochs 15", "epochs 108", "epochs 60")]),
])
def test_row_headings_state_what_all_columns_share(name, headings):
    assert [words.row_heading(row) for row in pf.FIGURES[name].rows] == headings


def test_columns_say_how_they_were_trained_where_that_differs():
    base = {"task": "mlp_planted", "method": "pruning", "num_epochs": 15, "nmeasurements": 500}
    row = pf.Row((1,), (1,), {"a": base, "b": base, "c": base | {"finetune_epochs": 9, "batch_size": 100}})
    assert words.row_heading(row) == "mlp_planted, 1 hidden layer: n 500, epochs 15"
    assert words.column_notes(row) == {"a": "epochs 15\nbatch all", "b": "epochs 15\nbatch all",
                                       "c": "epochs 15 + 9\nbatch 100"}
    assert words.column_notes(pf.FIGURES["gnhtp"].rows[0]) == {"AIHT": "epochs 15"}
    assert all(words.column_notes(row) == {} for name in ("1", "inputs") for row in pf.FIGURES[name].rows)


@pytest.mark.parametrize("settings, title", [
    ({}, "mlp_planted, AIHT, 1 hidden layer epochs 15, mean over seeds 1, 2"),
    (dict(method="pruning", num_layers=2, batch_size=5000, output_dim=10, prune_score="lamp", expname=r"$\foo$"),
     "mlp_planted, IMP, 2 hidden layers batch 5000, epochs 15, outputs 10, pruned by lamp, mean over seeds 1, 2, "
     r"$\foo$"),
    ({"task": "gaussian_sparse"}, "gaussian_sparse, AIHT epochs 15, mean over seeds 1, 2"),
])
def test_the_title_states_what_differs_from_the_defaults(folder, settings, title):
    save_log("log", [[[1, 2]]], **settings)
    assert words.log_title(all_logs()[0], 99, "mean").replace("\n", " ") == title


def test_long_titles_are_wrapped_and_cut(folder):
    save_log("log", [[[1]]], expname="x_$ " * 90)
    lines = words.log_title(all_logs()[0], 36, "mean").split("\n")
    assert len(lines) <= 6 and max(map(len, lines)) <= 36 and "seed 1" in " ".join(lines)


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


# ---- any page ----


def panel(values, signed=False, count=3, pathless=0, reason="not run", measure=PSNR):
    """A heatmap [m, s] of these values."""
    values = np.array(values, float)
    reasons = np.where(np.isnan(values), reason, "")
    return Heatmap(tuple(range(101, 101 + len(values))), tuple(range(1001, 1001 + values.shape[1])), measure, values,
                   reasons, np.where(np.isnan(values), 0, np.broadcast_to(count, values.shape)), 3,
                   np.broadcast_to(pathless, values.shape), signed)


def drawn_page(strips, sizes=None, title="A title"):
    with page.style():
        figure = panels.draw_page(title, panels.share_colours(strips, MEAN), sizes or Sizes())
        figure.draw_without_rendering()
    return figure


def texts(ax):
    """The numbers in the cells of a panel."""
    return [text.get_text() for text in ax.texts if text.get_fontweight() != "bold"]


def boxes(figure):
    """What must not overlap: panels and colour bars, titles without the empty lines above them, headings, labels."""
    for ax in figure.axes:
        yield ax.get_window_extent()
        yield from (text.get_window_extent() for text in ax.texts if text.get_fontweight() == "bold")
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            if text.get_text().strip():
                box, lines = text.get_window_extent(), text.get_text().split("\n")
                box.y1 = box.y0 + box.height * (1 - lines.count("") / len(lines))
                yield box
    yield from (legend.get_window_extent() for legend in figure.legends)
    yield figure.texts[0].get_window_extent()


def inside(text, ax):
    """Whether a number is within its cell."""
    column, row = np.floor(text.get_position())
    box = text.get_window_extent().transformed(ax.transData.inverted())
    top, bottom = sorted((box.y0, box.y1))
    return column <= box.x0 and box.x1 <= column + 1 and row <= top and bottom <= row + 1


@pytest.mark.parametrize("shapes, columns, numbers", [
    ([(10, 10)], 2, True), ([(10, 8), (7, 5)], 2, True), ([(3, 3), (1, 2)], 5, True), ([(2, 4)], 1, True),
    ([(12, 40)], 2, False)])
def test_a_page_holds_its_numbers_and_nothing_overlaps(shapes, columns, numbers):
    strips = []
    for place, shape in enumerate(shapes):
        values = np.linspace(-12.3, 167.4, num=shape[0] * shape[1]).reshape(shape)
        score = Measure("a rather long name of what is shown", "dB", range=(-20, 50))
        shown = {f"IMP, number {i}, finetuned": panel(values, count=1 + place, measure=score) for i in range(columns)}
        shown[DIFFERENCE] = panel(values - 99, True, measure=Measure("difference in what is shown", "dB"))
        strips.append(Strip("hidden width m", shown, f"task {place}: " + "its settings " * 4,
                            {"IMP, number 0, finetuned": "epochs 100 + 300\nbatch 1000"}))
    figure = drawn_page(strips)
    axes = [ax for ax in figure.axes if ax.get_title()]
    assert len(axes) == len(shapes) * (columns + 1)
    written = [(text, ax) for ax in axes for text in ax.texts if text.get_fontweight() != "bold"]
    assert len(written) == numbers * sum(m * s for m, s in shapes) * (columns + 1)
    assert all(inside(*pair) and pair[0].get_fontsize() >= hm.MIN_FONT for pair in written)
    assert not any(a.overlaps(b) for a, b in combinations(boxes(figure), 2))
    widths = {round(ax.get_window_extent().width, 1) for ax in axes}
    assert len(widths) == 1 and figure.get_figwidth() == page.WIDTH


@pytest.mark.parametrize("shape, numbers, labels", [((10, 10), 100, 10), ((1, 30), 30, 30), ((2, 150), 0, 50),
                                                    ((30, 1), 30, 1)])
def test_grids_of_any_size_are_drawn_and_illegible_numbers_left_out(folder, shape, numbers, labels):
    save_log("log", np.stack([np.full(shape, NAN), np.full(shape, -123.45)], axis=2))
    with page.style():
        ax, *_ = panels.draw_log(all_logs()[0], PSNR, MEAN).axes
    assert len(ax.texts) == numbers and all(inside(text, ax) for text in ax.texts)
    assert len(ax.get_xticks()) == labels  # as many labels as there is room for


@pytest.mark.parametrize("width, decimals", [(6, None), (8, 0), (12.5, 1), (99, 1)])
def test_numbers_are_as_precise_as_the_cells_are_wide(width, decimals):
    form = hm.number_format([panel([[88.88]])], (width, 99), largest=7)
    assert (form and form[0]) == decimals
    assert form is None or hm.MIN_FONT <= form[1] <= 7
    assert hm.number_format([panel([[88.88]])], (99, 5.9), largest=7) is None
    assert hm.number_format([panel([[88.88]], count=1)], (99, 11.9), largest=7) is None  # two lines
    assert hm.number_format([panel([[88.88]])], (99, 99), largest=7, finest=0) == (0, 7)


@pytest.mark.parametrize("low, high, extend", [(-20, 50, "neither"), (-21, 1, "min"), (0, 51, "max"),
                                               (-21, np.inf, "both")])
def test_the_colour_bar_has_arrows_where_values_exceed_the_range(low, high, extend):
    assert hm.extent([panel([[low, high]])]) == extend


@pytest.mark.parametrize("higher", [True, False])
def test_blue_is_where_the_first_method_is_better(higher):
    measure = pn.shown(Measure("x", range=(0, 1), higher_is_better=higher), MEAN, signed=True)
    shown = panel([[1]], signed=True, measure=measure)
    norm, cmap = hm.colouring(replace(shown, measure=pn.common_range([shown], MEAN)))
    red, _, blue, _ = cmap(norm(1))
    assert (blue > red) == higher


# ---- figures of one log ----

TABLE = np.array([[[1, 3], [NAN, NAN], [200, 202]], [[-0.04, -0.04], [NAN, 7], [-99, -98]]])  # [2, 3, 2]
NO_PATH = "no path from input to output left"


def drawn_log(quantity=MEAN):
    """(the panel, the colour bar or None, the words of the legend) of the figure of the only log."""
    [log] = all_logs()
    with page.style():
        figure = panels.draw_log(log, panels.shared_measure([log], quantity), quantity)
    ax, *bars = figure.axes
    return ax, bars[0] if bars else None, legend_words(figure)


def legend_words(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_cells_hold_their_values_and_missing_seeds(folder):
    save_log("log", TABLE, axes=[[5, 50], [1, 20, 300], [0, 1]])
    ax, bar, legend = drawn_log()
    assert texts(ax) == ["2.0", "201.0", "0.0", "7.0\n1/2", "-98.5"]
    found = {text.get_text(): (text.get_position(), text.get_color()) for text in ax.texts}
    assert found["201.0"] == ((2.5, 0.5), "black") and found["-98.5"] == ((2.5, 1.5), "white")
    assert ax.yaxis_inverted() and not ax.xaxis_inverted()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["5", "50"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "20", "300"]
    assert [(patch.get_xy(), bool(patch.get_hatch())) for patch in ax.patches] == [((1, 0), True)]
    assert legend == ["not run", "1/2: seeds with a number, where these are not all 2"]
    assert (ax.get_xlabel(), ax.get_ylabel(), bar.get_xlabel()) == ("nonzeros s", "hidden width m", "PSNR (dB)")
    assert bar.get_xlim() == ax.collections[0].get_clim() == (-20, 50)


def test_a_full_grid_has_no_legend_and_a_signal_has_a_length(folder):
    save_log("log", [[[0.0, 0.0]], [[1e-3, 1e-3]]], "gaussian_sparse")
    ax, _, legend = drawn_log()
    assert texts(ax) == ["0", "1.0e-3"] and legend == [] and ax.get_ylabel() == "signal length p" and not ax.patches


def test_the_standard_deviation_of_one_seed_is_hatched(folder):
    save_log("log", [[[1, 3], [2, NAN], [NAN, NAN]]])
    ax, bar, legend = drawn_log(STD)
    assert [text[:3] for text in texts(ax)] == ["1.4"] and ax.collections[0].get_clim() == (0, 2**0.5)
    assert [patch.get_hatch() for patch in ax.patches] == [hm.HATCHES[pn.FEW], hm.HATCHES["not run"]]
    assert legend == ["not run", "fewer than 2 seeds"]


@pytest.mark.parametrize("scores, status, said", [
    ([7, 7], "skipped: no", "skipped"), ([7, 7], "failed: oops", "failed"), ([7, 7], "not run", "not run"),
    ([np.inf, -np.inf], "done", "undefined"),
])
def test_cells_without_a_score_say_why(folder, scores, status, said):
    save_log("log", [[scores, [1, 1]]], cells={(0, 0, k): {"status": status} for k in (0, 1)})
    shown = only_heatmap()  # whatever the table holds for a cell that is not done
    assert shown.reasons.tolist() == [[said, ""]] and np.isnan(shown.values[0, 0])
    assert [words for _, words in hm.legend_entries([shown])] == [said]


def test_cells_without_a_path_are_marked_for_some_or_all_seeds():
    shown = panel([[1, 2, 3, NAN]], pathless=[[0, 0.5, 1, 1]])
    ax = page.new_figure(3, 3).subplots()
    hm.draw_cells(ax, shown)
    _, marks = ax.collections
    assert marks.get_offsets().tolist() == [[2, 1], [3, 1]]  # the lower right corners of their cells
    assert marks.get_facecolors()[:, 3].tolist() == [0, 1]
    [shape] = marks.get_paths()
    assert shape.vertices[:, 0].max() < 0 < shape.vertices[:, 1].min()  # left of and above the corner
    assert [words for _, words in hm.legend_entries([shown])] == ["not run", f"{NO_PATH} (some seed)",
                                                                  f"{NO_PATH} (all seeds)"]


# ---- figures of several panels ----

SMALL = pf.Entry("Small", (pf.both((1, 2), (5, 10), {"task": "mlp_planted", "num_epochs": 15}),), (("AIHT", "IMP"),),
                 (0, 1))
SMALL_AXES = [[1, 2], [5, 10], [0, 1]]
DIFFERENCE = f"AIHT {MINUS} IMP"


def drawn_entry(entry=SMALL, quantity=MEAN):
    """{heading of a panel or label of a bar: Axes} of a figure, and the words of its legend."""
    strips, clashes = panels.assemble(entry, all_logs(), quantity)
    assert clashes == []
    with page.style():
        figure = panels.draw_entry(entry, strips, quantity)
    return {(ax.get_title() or ax.get_xlabel()).strip(): ax for ax in figure.axes}, legend_words(figure)


def test_the_methods_and_their_difference_stand_side_by_side(folder):
    save_log("a", [[[1, 3], [5, 6]], [[0, 0], [9, 9.4]]], axes=SMALL_AXES)
    save_log("b", [[[3, 4], [5, NAN]], [[0, 0], [NAN, NAN]]], method="pruning", axes=SMALL_AXES,
             cells={(0, 0, 1): {"connected": False}})
    found, legend = drawn_entry()
    assert set(found) == {"AIHT", "IMP", DIFFERENCE, "PSNR (dB)", "difference in PSNR (dB)"}
    assert texts(found["AIHT"]) == ["2.0", "5.5", "0", "9.2"]
    assert texts(found["IMP"]) == ["3.5", "5.0\n1/2", "0"]
    assert texts(found[DIFFERENCE]) == [f"{MINUS}1.5", "0\n1/2", "0"]  # no more decimals than the scores
    assert found["AIHT"].collections[0].get_clim() == found["IMP"].collections[0].get_clim() == (-20, 50)
    assert found[DIFFERENCE].collections[0].get_clim() == (-1.5, 1.5)
    assert [len(found[name].collections) for name in ("AIHT", "IMP", DIFFERENCE)] == [1, 2, 1]  # marks of IMP alone
    assert legend == ["not run", f"{NO_PATH} (all seeds)", "1/2: seeds with a number, where these are not all 2"]


def test_the_worse_reason_of_two_methods_shows_in_the_difference(folder):
    skipped = {(0, s, k): {"status": "skipped: x"} for s in (0, 1) for k in (0, 1)}
    failed = {(0, 0, 0): {"status": "failed: x"}, (0, 0, 1): {"status": "skipped: x"}}
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES, cells=skipped)
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES, cells=failed)
    strips, _ = panels.assemble(SMALL, all_logs(), MEAN)
    reasons = [shown.reasons[0].tolist() for shown in strips[0].heatmaps.values()]
    assert reasons == [["skipped", "skipped"], ["failed", ""], ["failed", "skipped"]]


def test_rows_of_one_kind_of_score_share_colours_and_others_have_their_own(folder):
    """A difference has a range no wider than its score."""
    rows = tuple(pf.both((1,), (5,), {"task": task}) for task in ("inr_mnist", "inr_cifar10", "mnist"))
    save_log("a", [[[100.0]]], "inr_mnist", axes=[[1], [5], [0]])
    save_log("b", [[[1.0]]], "inr_mnist", "pruning", axes=[[1], [5], [0]])
    strips, _ = panels.assemble(pf.Entry("Three", rows, (("AIHT", "IMP"),), seeds=(0,)), all_logs(), MEAN)
    coloured = panels.share_colours(strips, MEAN)
    assert [strip.heading.split(",")[0] for strip in coloured] == ["inr_mnist", "inr_cifar10", "mnist"]
    ranges = [[measure.range for measure in strip.measures] for strip in coloured]
    assert ranges == [[(0, 50), (-50, 50)], [(0, 50), (-50, 50)], [(0.1, 1), (-1, 1)]]


def test_differences_and_successes_are_told_in_numbers(folder):
    grid = {"axes": [[2], [2, 5], [0, 1]], "num_epochs": 100}
    save_log("a", [[[1.0, 5], [2, 2]]], "inr_mnist", "aiht", **grid)
    save_log("b", [[[0.0, 0], [4, 4]]], "inr_mnist", "pruning", **grid)
    row = "inr_mnist, 1 hidden layer: n 784, full batch, epochs 100"
    for quantity, title, lines in (
        (MEAN, "AIHT ahead of IMP in 1 of 2 cells",
         [f"{row}: {DIFFERENCE}: mean +0.5, positive in 1 of 2 cells, negative in 1"]),
        (Quantity(statistic="success", threshold=1.5), "AIHT 3 of 4, IMP 2 of 4",
         [f"{row}: AIHT: 3 of 4 cells and seeds", f"{row}: IMP: 2 of 4 cells and seeds"]),
        (STD, "standard deviation over seeds 0, 1, 2", []),
    ):
        strips, _ = panels.assemble(pf.FIGURES["4"], all_logs(), quantity)
        assert list(panels.summaries(strips, quantity)) == lines
        rows = [strip.heatmaps for strip in strips]
        assert words.figure_title(pf.FIGURES["4"], quantity, rows).startswith(f"Figure 4: {title}")
